"""What did not get into the tables: slices that were refused whole, and rows in quarantine, a line for each reason."""

from __future__ import annotations

from sqlalchemy import func, select

from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import load_audit, quarantine


def refused_slices(warehouse: Warehouse, table: str | None = None) -> list[str]:
    """Of one table or of all: which slice, and why."""
    audit = load_audit.c
    query = select(audit.slice_id, audit.source, audit.stream, audit.error).where(audit.error.is_not(None))
    query = query if table is None else query.where(audit.target_table == table)
    found = warehouse.rows(query.order_by(audit.slice_id).distinct())
    return [f"{row['source']}/{row['stream']} {row['slice_id']}: {row['error']}" for row in found]


def quarantined_rows(warehouse: Warehouse, table: str | None = None) -> list[str]:
    """Of one table or of all: how many rows of which stream, and why."""
    bad = quarantine.c
    reason = (bad.source, bad.stream, bad.column_name, bad.reason)
    query = select(*reason, func.count().label("rows")).group_by(*reason).order_by(*reason)
    found = warehouse.rows(query if table is None else query.where(bad.target_table == table))
    return [f"{row['rows']} of {row['source']}/{row['stream']}: {row['column_name']} {row['reason']}" for row in found]
