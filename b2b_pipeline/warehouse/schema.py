"""Arrow schemas of the tables: what a frame must look like to be loaded."""

from __future__ import annotations

import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Numeric, Table, Text


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
