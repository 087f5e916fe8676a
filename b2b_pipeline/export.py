"""Parquet copies of the tables, for BI tools. Each file is replaced whole, so a reader sees the old one or the new one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Column, Connection, Select, column, select
from sqlalchemy import table as relation

from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_type

EXPORTED = (*tables.CORE, *tables.DERIVED, tables.kpi_component_daily, tables.kpi_change, tables.coverage)
KPI_DAILY = ("date_day", "metric", "family", "channel", "campaign_id", "numerator", "denominator", "value")
BATCH_ROWS = 100_000


def export_parquet(warehouse: Warehouse, folder: Path) -> list[Path]:
    """Write every table and `kpi_daily` to `<folder>/<name>.parquet`. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    with warehouse.read() as connection:
        for table in EXPORTED:
            schema = pa.schema([(c.name, arrow_type(c)) for c in table.columns])
            written.append(_write(connection, select(table), schema, folder / f"{table.name}.parquet"))
        view = select(*(column(name) for name in KPI_DAILY)).select_from(relation("kpi_daily"))
        types = {"date_day": pa.date32(), "numerator": pa.decimal128(38, 6), "denominator": pa.decimal128(38, 6), "value": pa.float64()}
        schema = pa.schema([(name, types.get(name, pa.string())) for name in KPI_DAILY])
        written.append(_write(connection, view, schema, folder / "kpi_daily.parquet"))
    return written


def _write(connection: Connection, query: Select[tuple[Column[object], ...]], schema: pa.Schema, path: Path) -> Path:
    temporary = path.with_suffix(".part")
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in _batches(connection, query, schema):
            writer.write_batch(batch)
    os.replace(temporary, path)
    return path


def _batches(connection: Connection, query: Select[tuple[Column[object], ...]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    result = connection.execution_options(yield_per=BATCH_ROWS).execute(query)
    for part in result.partitions():
        columns = zip(*part, strict=True)
        yield pa.record_batch([pa.array(_plain(values, kind), kind) for values, kind in zip(columns, schema.types, strict=True)], schema)


def _plain(values: tuple[object, ...], kind: pa.DataType) -> list[object]:
    return [None if value is None else float(str(value)) for value in values] if kind == pa.float64() else list(values)
