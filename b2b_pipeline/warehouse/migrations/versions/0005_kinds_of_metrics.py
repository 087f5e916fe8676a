"""Stages and credits as long tables; an axis and an age of components.

Derived tables are made anew by the next derive, and so is the view: until then their numbers say that they are behind.
"""

from __future__ import annotations

from alembic import op
from sqlalchemy import BigInteger, Column, Date, Text, delete, insert, inspect, select, text

from b2b_pipeline.warehouse.tables import (
    component_day_gap,
    credit,
    deal,
    kpi_component_daily,
    made_of,
    person,
    stage_entry,
)

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    connection = op.get_bind()
    op.execute(text("drop view if exists kpi_daily"))
    op.execute(text("drop table if exists metric_term"))
    for table in (person, stage_entry, deal, credit, component_day_gap):
        op.execute(text(f"drop table if exists {table.name}"))
        table.create(connection)
    of_cells = (Column("axis", Text), Column("age", BigInteger))
    added = {"kpi_component_daily": of_cells, "kpi_change": of_cells, "metric_def": (Column("known_until", Date),)}
    for name, columns in added.items():
        there = {column["name"] for column in inspect(connection).get_columns(name)}
        for column in columns:
            if column.name not in there:
                op.add_column(name, Column(column.name, column.type))
    connection.execute(delete(made_of))
    if connection.execute(select(kpi_component_daily.c.component).limit(1)).first():
        connection.execute(insert(made_of).values(name="coverage", state=""))
