"""Parquet copies of a real warehouse."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Numeric, select, text

from b2b_pipeline.metrics.definitions import make_view
from b2b_pipeline.operations.export import EXPORTED, export_parquet
from b2b_pipeline.warehouse import bulk
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import opportunity, spend
from b2b_pipeline.warehouse.write import append
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.end_to_end import ENGINES, new_warehouses


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Warehouse]:
    with pytest.MonkeyPatch.context() as patch:
        yield installation.shared(patch).pipeline().warehouse


@pytest.fixture
def url(request: pytest.FixtureRequest) -> str:
    return new_warehouses(request)()


@pytest.fixture(scope="module")
def folder(warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "made"
    files = export_parquet(warehouse, folder)
    assert sorted(files) == sorted(folder.iterdir())
    return folder


def exported(folder: Path, name: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / f"{name}.parquet").to_pylist()
    return rows


def counted(rows: list[dict[str, Any]]) -> Counter[tuple[Any, ...]]:
    return Counter(tuple(row.values()) for row in rows)


def test_every_table_is_there_with_exactly_its_rows(warehouse: Warehouse, folder: Path) -> None:
    filled = 0
    for table in EXPORTED:
        rows = exported(folder, table.name)
        assert counted(rows) == counted(warehouse.rows(select(table))), table.name
        filled += bool(rows)
    assert filled > len(EXPORTED) / 2
    assert len(list(folder.iterdir())) == len(EXPORTED) + 1


def test_the_view_of_all_metrics_is_there_with_exactly_its_rows(warehouse: Warehouse, folder: Path) -> None:
    rows = exported(folder, "kpi_daily")
    stored = warehouse.rows(text(f"select {', '.join(rows[0])} from kpi_daily"))  # noqa: S608
    for row in stored:
        row["value"] = None if row["value"] is None else float(row["value"])
    assert counted(rows) == counted(stored)
    assert any(row["value"] is None for row in rows)


@pytest.mark.parametrize("url", ENGINES, indirect=True)
def test_odd_values_leave_either_engine_as_they_are(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "BATCH_ROWS", 3)
    names = [
        "",
        None,
        "NULL",
        "\\N",
        'say "so", she said',
        "two\r\nlines\n",
        "100 %s :x",
        "\u20ac\U0001f600",
        "'; drop",
        "\\",
    ]
    rows = [
        {
            "source": "source", "opp_id": str(number), "name": name, "amount": Decimal("-0.000001") * number,
            "is_won": [True, False, None][number % 3], "date_day": date(2026, 1, 1),
            "created_at": datetime.fromisoformat("2026-01-01 23:59:59"),
        }
        for number, name in enumerate(names)
    ]  # fmt: skip
    warehouse = Warehouse(url)
    make_view(warehouse)
    with warehouse.write() as connection:
        append(connection, opportunity, pa.Table.from_pylist(rows, schema=arrow_schema(opportunity)))
    export_parquet(warehouse, tmp_path)
    found = {row["opp_id"]: row for row in exported(tmp_path, "opportunity")}
    assert [{name: found[row["opp_id"]][name] for name in row} for row in rows] == rows
    assert found["1"]["close_date"] is None
    assert len(found) == len(rows)


def test_money_is_a_decimal_of_the_declared_scale_and_never_a_float(folder: Path) -> None:
    for table in EXPORTED:
        schema = pq.read_schema(folder / f"{table.name}.parquet")
        for column in table.columns:
            kind = schema.field(column.name).type
            assert not pa.types.is_floating(kind)
            if isinstance(column.type, Numeric):
                assert kind == pa.decimal128(column.type.precision or 0, column.type.scale or 0)
    assert {type(row["spend"]) for row in exported(folder, "spend")} == {Decimal}


def test_an_export_that_breaks_off_leaves_the_old_file_and_the_next_one_leaves_no_rest(
    warehouse: Warehouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export_parquet(warehouse, tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    class Broken(pq.ParquetWriter):  # type: ignore[misc]
        def write_batch(self, *_: Any, **__: Any) -> None:
            raise OSError("no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq, "ParquetWriter", Broken)
        with pytest.raises(OSError, match="no space"):
            export_parquet(warehouse, tmp_path)
    assert {path: path.read_bytes() for path in before} == before
    export_parquet(warehouse, tmp_path)
    assert set(tmp_path.iterdir()) == set(before)


def test_who_reads_while_it_is_replaced_goes_on_with_the_old_file(warehouse: Warehouse, tmp_path: Path) -> None:
    export_parquet(warehouse, tmp_path)
    with open(tmp_path / f"{spend.name}.parquet", "rb") as reader:
        export_parquet(warehouse, tmp_path)
        assert pq.read_table(reader).num_rows == len(warehouse.rows(select(spend)))
