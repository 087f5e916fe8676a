"""The two bulk loaders: Arrow into DuckDB, COPY into PostgreSQL. The only raw driver calls of the project."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Column, Connection, MetaData, Table
from sqlalchemy.schema import CreateTable, DropTable


@contextmanager
def stage(connection: Connection, table: Table, rows: pa.Table) -> Iterator[Table]:
    """`rows` as a temporary relation `incoming` with the columns of `table`, inside the current transaction."""
    incoming = Table("incoming", MetaData(), *(Column(c.name, c.type) for c in table.columns), prefixes=["TEMPORARY"])
    rows = rows.select([column.name for column in table.columns])
    driver = connection.connection.driver_connection
    if driver is None:
        raise RuntimeError("the connection is closed")
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
            for batch in rows.to_batches(max_chunksize=100_000):
                buffer = io.BytesIO()
                pyarrow.csv.write_csv(batch, buffer, options)
                copy.write(buffer.getbuffer())
        yield incoming
        connection.execute(DropTable(incoming))
