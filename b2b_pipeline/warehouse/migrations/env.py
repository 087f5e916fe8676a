"""Alembic's entry: migrations run on the connection, and in the transaction, of `warehouse.migrate.upgrade`."""

from __future__ import annotations

import duckdb_sqlalchemy.alembic_impl  # noqa: F401 - tells alembic about DuckDB
from alembic import context

from b2b_pipeline.warehouse.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
