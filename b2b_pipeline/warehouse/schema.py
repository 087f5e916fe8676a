"""Arrow schemas of the tables: what a frame must look like to be loaded."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Numeric, Table, Text

PART = 10_000  # rows that are held as dicts


def arrow_type(column: Column[object]) -> pa.DataType:
    match column.type:
        case Numeric(precision=int(precision), scale=int(scale)):
            return pa.decimal128(precision, scale)
        case BigInteger():
            return pa.int64()
        case Boolean():
            return pa.bool_()
        case DateTime():
            return pa.timestamp("us")
        case Date():
            return pa.date32()
        case Text():
            return pa.string()
    raise TypeError(f"no Arrow type for {column.table.name}.{column.name}: {column.type!r}")


def arrow_schema(table: Table) -> pa.Schema:
    return pa.schema([(column.name, arrow_type(column)) for column in table.columns])


def arrow_table(table: Table, rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows of a table as Arrow, which takes a fraction of the memory of dicts: of these there are few at a time."""
    schema, rows = arrow_schema(table), iter(rows)
    parts = iter(lambda: [*islice(rows, PART)], [])
    return pa.Table.from_batches((pa.RecordBatch.from_pylist(part, schema=schema) for part in parts), schema)
