"""Tables and columns that came after the baseline, where they are missing.

Nothing is taken away: core tables are loaded again from landing when their mapping changes, the others are derived.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, inspect, text

from b2b_pipeline.warehouse.tables import metadata

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    connection = op.get_bind()
    there = inspect(connection)
    op.execute(text("drop view if exists kpi_daily"))
    for table in metadata.sorted_tables:
        if not there.has_table(table.name):
            table.create(connection)
            continue
        names = {column["name"] for column in there.get_columns(table.name)}
        for column in table.columns:
            if column.name not in names:
                op.add_column(table.name, Column(column.name, column.type))
