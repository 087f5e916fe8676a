"""Typed rows into the warehouse against the engine's own bulk path.

    python -m benchmarks.load [--rows 2000000] [--pairs 5]

Ours: an Arrow table through `warehouse.write.append`, in a transaction. The engine's own: on DuckDB `INSERT … SELECT`
from the registered Arrow table; on PostgreSQL `COPY` of a CSV that lies ready in memory, straight into the table. The
two take turns; the ratio is the median of the pairs' ratios.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import delete, func, select

from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import append
from b2b_pipeline_tests.support.postgres import database, server
from benchmarks.common import load, show

FIRST_DAY = date(2023, 1, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    rows = spend_rows(options.rows)
    found = []
    for url in warehouses():
        warehouse = Warehouse(url)
        upgrade(warehouse)
        plain = duckdb_insert(url, rows) if warehouse.dialect == "duckdb" else postgres_copy(url, rows)
        ours, own = pairs(partial(ours_once, warehouse, rows), plain, partial(empty, warehouse), options.pairs)
        found.append({
            "warehouse": warehouse.dialect, "ratio": median(a / b for a, b in zip(ours, own, strict=True)),
            "ours s": median(ours), "engine's own s": median(own), "rows/s ours": round(options.rows / median(ours)),
            "load": load(),
        })  # fmt: skip
        show(f"{options.rows:,} rows of `spend`", found)


@contextmanager
def duckdb_file() -> Iterator[str]:
    with TemporaryDirectory(prefix="b2b-benchmark-") as folder:
        yield f"duckdb:///{Path(folder) / 'warehouse.duckdb'}"


def warehouses() -> Iterator[str]:
    """URLs of an empty warehouse of each kind."""
    with duckdb_file() as url:
        yield url
    with server() as one, database(one) as url:
        yield url


def spend_rows(count: int) -> pa.Table:
    """Rows of `spend` as a mapping leaves them: 2,000 ads over the days that it takes."""
    number = np.arange(count)
    ad, random = number % 2000, np.random.default_rng(7)

    def text(prefix: str, values: np.ndarray) -> pa.Array:
        return pa.array(np.char.add(prefix, values.astype(str)))

    def money(cents: np.ndarray) -> pa.Array:
        return pa.array(cents / 100).cast(pa.decimal128(20, 6))

    amounts = money(random.integers(0, 100_000, count))
    columns = {
        "source": pa.repeat("google_ads", count), "source_account": text("41000000", ad % 7), "source_id": text("", ad),
        "date_day": pa.array(np.datetime64(FIRST_DAY) + number // 2000), "account_id": text("41000000", ad % 7),
        "campaign_id": text("c", ad // 40), "ad_group_id": text("g", ad // 8), "ad_id": text("a", ad),
        "level": pa.repeat("ad", count), "channel": pa.array(np.array(["paid_search", "display", "video"])[ad % 3]),
        "campaign_name": text("Campaign ", ad // 40), "impressions": random.integers(0, 10_000, count),
        "clicks": random.integers(0, 500, count), "conversions_platform": money(random.integers(0, 1000, count)),
        "conv_value_platform": amounts, "conv_value_reporting": amounts, "spend": amounts, "spend_reporting": amounts,
        "currency": pa.repeat("EUR", count),
        "fx_date": pa.array(np.datetime64(FIRST_DAY) + number // 2000), "account_tz": pa.repeat("Europe/Berlin", count),
        "slice_id": text("20260101-", number // 100_000), "run_id": pa.repeat("benchmark", count),
        "loaded_at": pa.repeat(datetime(2026, 1, 1), count),  # noqa: DTZ001 - the table's timestamps are UTC without a zone
    }  # fmt: skip
    schema = arrow_schema(tables.spend)
    return pa.table([pa.array(columns[field.name]).cast(field.type) for field in schema], schema=schema)


def ours_once(warehouse: Warehouse, rows: pa.Table) -> None:
    with warehouse.write() as connection:
        append(connection, tables.spend, rows)


def duckdb_insert(url: str, rows: pa.Table) -> Callable[[], None]:
    def insert() -> None:
        with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
            connection.register("prepared", rows)
            connection.execute("insert into spend select * from prepared")

    return insert


def postgres_copy(url: str, rows: pa.Table) -> Callable[[], None]:
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(rows, buffer, pyarrow.csv.WriteOptions(include_header=False))
    prepared = buffer.getbuffer()

    def copy() -> None:
        with (
            psycopg.connect(url.replace("+psycopg", "")) as connection,
            connection.cursor() as cursor,
            cursor.copy("copy spend from stdin (format csv)") as out,
        ):
            for start in range(0, len(prepared), 1 << 20):
                out.write(prepared[start : start + (1 << 20)])

    return copy


def empty(warehouse: Warehouse) -> None:
    with warehouse.write() as connection:
        rows = connection.execute(select(func.count()).select_from(tables.spend)).scalar()
        connection.execute(delete(tables.spend))
    if warehouse.dialect == "postgresql":
        with warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("vacuum spend")
    if not rows:
        raise RuntimeError("nothing was loaded")


def pairs(
    ours: Callable[[], None], own: Callable[[], None], between: Callable[[], None], count: int
) -> tuple[list[float], list[float]]:
    """Seconds of both, taking turns; a first turn of each is not counted."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(count + 1):
        for which, run in enumerate((ours, own)):
            began = time.perf_counter()
            run()
            seconds[which].append(time.perf_counter() - began)
            between()
    return seconds[0][1:], seconds[1][1:]


if __name__ == "__main__":
    main()
