"""Stages and credits as long tables; an axis and an age of components.

Derived tables are made anew by the next derive, and so is the view: until then their numbers say that they are behind.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Text, delete, inspect, text

from b2b_pipeline.warehouse.tables import component_day_gap, credit, deal, made_of, person, stage_entry

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    connection = op.get_bind()
    op.execute(text("drop view if exists kpi_daily"))
    op.execute(text("drop table if exists metric_term"))
    for table in (person, stage_entry, deal, credit, component_day_gap):
        op.execute(text(f"drop table if exists {table.name}"))
        table.create(connection)
    for name in ("kpi_component_daily", "kpi_change"):
        there = {column["name"] for column in inspect(connection).get_columns(name)}
        for column in (Column("axis", Text), Column("age", BigInteger)):
            if column.name not in there:
                op.add_column(name, column)
    connection.execute(delete(made_of).where(made_of.c.name != "coverage"))
