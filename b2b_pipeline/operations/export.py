"""Parquet copies of the tables, for BI tools. Each file is replaced whole: a reader sees the old one or the new one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Select, column, select
from sqlalchemy import table as relation

from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.bulk import unload
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema

EXPORTED = (*tables.CORE, *tables.DERIVED, tables.kpi_component_daily, tables.kpi_change, tables.coverage)
MONEY = pa.decimal128(38, 12)
KPI_DAILY = pa.schema([
    ("date_day", pa.date32()), ("metric", pa.string()), ("family", pa.string()), ("channel", pa.string()),
    ("campaign_id", pa.string()), ("numerator", MONEY), ("denominator", MONEY), ("value", pa.float64()),
    ("unit", pa.string()), ("complete", pa.bool_()), ("because", pa.string()),
])  # fmt: skip


def export_parquet(warehouse: Warehouse, folder: Path) -> list[Path]:
    """Write every table and `kpi_daily` to `<folder>/<name>.parquet`. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    view = relation("kpi_daily", *(column(name) for name in KPI_DAILY.names))
    with warehouse.turn("export"), warehouse.read() as connection:
        written = [
            _write(connection, select(table), arrow_schema(table), folder / f"{table.name}.parquet")
            for table in EXPORTED
        ]
        return [*written, _write(connection, select(view), KPI_DAILY, folder / "kpi_daily.parquet")]


def _write(connection: Connection, query: Select[Any], schema: pa.Schema, path: Path) -> Path:
    temporary = path.with_suffix(".part")  # always the same: what a killed process leaves is overwritten
    with pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for batch in unload(connection, query, schema):
            writer.write_batch(batch)
    os.replace(temporary, path)
    return path
