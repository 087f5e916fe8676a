"""Bringing a derived table up to date.

It is recomputed whole and only rows that differ are written, so nothing has to know what depends on what: a merge, a
backdated stage or a late touch changes exactly what it changes. Definitions: docs/semantics.md.
"""

from __future__ import annotations

from datetime import date

from sqlalchemy import Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.made_of import Loads
from b2b_pipeline.derived.registry import DERIVED
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.write import read_whole, serialise, synchronise


def derive_table(warehouse: Warehouse, config: Config, table: Table) -> set[date | None]:
    """Bring one derived table up to date with the core tables. Returns the days of the rows that changed."""
    with warehouse.write() as connection:
        serialise(connection, table.name)
        Loads(connection, config).note(connection, table.name)
        read_whole(connection)
        with DERIVED[table.name].rows(connection, config) as wanted:
            tell = [name for name in ("date_day",) if name in table.c]
            return synchronise(connection, table, wanted, tell=tell).days()
