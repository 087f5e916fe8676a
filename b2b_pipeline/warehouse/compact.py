"""Writes the stored tables anew: a deleted row's bytes stay in a database's files until something overwrites them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from sqlalchemy import Connection, create_engine, func, literal, select, text
from sqlalchemy.pool import NullPool

from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import metadata


def compact(warehouse: Warehouse) -> None:
    """Leave nothing of deleted rows in the warehouse's files. Readers and writers wait meanwhile."""
    if warehouse.dialect == "duckdb":
        with warehouse.alone():
            with warehouse.engine.connect() as connection:
                connection.execute(text("checkpoint"))  # else a dead writer's log would be applied to the copy again
            _copy(Path(warehouse.url.database or "").resolve())
    else:
        with warehouse.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            for name in metadata.tables:
                # The planner's statistics hold frequent values of the rows as they were.
                connection.execute(text(f"vacuum (full, analyze) {_quoted(connection, name)}"))


def _copy(path: Path) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    engine = create_engine(f"duckdb:///{fresh}", poolclass=NullPool)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        source = literal(str(path)).compile(connection, compile_kwargs={"literal_binds": True})
        connection.execute(text(f"attach {str(source).replace(':', chr(92) + ':')} as old (read_only)"))
        target = _quoted(connection, connection.execute(select(func.current_database())).scalar_one())
        connection.execute(text(f"copy from database old to {target}"))
    shutil.copymode(path, fresh)
    os.replace(fresh, path)


def _quoted(connection: Connection, name: str) -> str:
    return connection.dialect.identifier_preparer.quote_identifier(name)
