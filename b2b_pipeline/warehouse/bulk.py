"""Bulk loading and unloading: Arrow for DuckDB, COPY for PostgreSQL. The only raw driver calls of the project."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Column, Connection, MetaData, Select, Table
from sqlalchemy.schema import CreateTable, DropTable

BATCH_ROWS = 100_000


@contextmanager
def stage(connection: Connection, table: Table, rows: pa.Table) -> Iterator[Table]:
    """`rows` as a temporary relation `incoming` with the columns of `table`, inside the current transaction."""
    incoming = Table("incoming", MetaData(), *(Column(c.name, c.type) for c in table.columns), prefixes=["TEMPORARY"])
    rows = rows.select([column.name for column in table.columns])
    driver = _driver(connection)
    if connection.dialect.name == "duckdb":
        driver.register("incoming", rows)
        try:
            yield incoming
        finally:
            driver.unregister("incoming")
    else:
        connection.execute(CreateTable(incoming))
        with driver.cursor() as cursor, cursor.copy("copy incoming from stdin (format csv)") as copy:
            options = pyarrow.csv.WriteOptions(include_header=False, quoting_style="all_valid")
            for batch in rows.to_batches(max_chunksize=BATCH_ROWS):
                buffer = io.BytesIO()
                pyarrow.csv.write_csv(batch, buffer, options)
                copy.write(buffer.getbuffer())
        yield incoming
        connection.execute(DropTable(incoming))


def unload(connection: Connection, query: Select[Any], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """The rows of `query`, which has no parameters, in batches typed as `schema`."""
    sql, driver = str(query.compile(connection)), _driver(connection)
    if connection.dialect.name == "duckdb":
        for batch in driver.execute(sql).to_arrow_reader(BATCH_ROWS):
            yield batch.cast(schema)
        return
    reading = pyarrow.csv.ReadOptions(column_names=schema.names)
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    converting = pyarrow.csv.ConvertOptions(
        column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
        true_values=["t"], false_values=["f"],
    )  # fmt: skip
    with driver.cursor() as cursor, cursor.copy(f"copy ({sql}) to stdout (format csv)") as rows:
        while part := b"".join(islice(rows, BATCH_ROWS)):
            typed = pyarrow.csv.read_csv(io.BytesIO(part), reading, parsing, converting)
            yield from typed.combine_chunks().to_batches()


def _driver(connection: Connection) -> Any:
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
    return driver
