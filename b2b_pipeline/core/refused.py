"""What did not get into the tables: slices that were refused whole, and rows in quarantine, a line for each reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import func, select

from b2b_pipeline.warehouse.contract import reason_text
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import load_audit, quarantine


def has_data(warehouse: Warehouse) -> bool:
    """Whether anything was ever loaded."""
    return bool(warehouse.rows(select(load_audit.c.slice_id).limit(1)))


def refused_slices(warehouse: Warehouse, table: str | None = None) -> list[str]:
    """Of one table or of all: which slice, and why."""
    audit = load_audit.c
    query = select(audit.slice_id, audit.source, audit.stream, audit.error).where(audit.error.is_not(None))
    query = query if table is None else query.where(audit.target_table == table)
    found = warehouse.rows(query.order_by(audit.slice_id).distinct())
    return [f"{row['source']}/{row['stream']} {row['slice_id']}: {row['error']}" for row in found]


def quarantined_rows(warehouse: Warehouse, table: str | None = None) -> list[str]:
    """Of one table or of all: how many rows of which stream, and why; the most frequent reason first."""
    bad = quarantine.c
    reason = (bad.source, bad.stream, bad.column_name, bad.reason)
    texts = (func.count().label("rows"), func.min(bad.about).label("first"), func.max(bad.about).label("last"),
             func.count(bad.about.distinct()).label("different"))  # fmt: skip
    query = select(*reason, *texts).group_by(*reason).order_by(func.count().desc(), *reason)
    found = warehouse.rows(query if table is None else query.where(bad.target_table == table))
    return [f"{row['rows']} of {row['source']}/{row['stream']}: {_reason(row)}" for row in found]


def told(warehouse: Warehouse) -> list[str]:
    """What loads did that loses no row but should be known: lines left out, rows that a newer file changed."""
    audit = load_audit.c
    query = select(audit.source, audit.target_table, audit.source_account, audit.notes).where(audit.notes.is_not(None))
    found = warehouse.rows(query.order_by(audit.target_table, audit.source_account, audit.slice_id))
    return [
        f"{row['source']}/{row['target_table']} {row['source_account']}: {note}"
        for row in found
        for note in row["notes"].split("\n")
    ]


def _reason(row: Mapping[str, Any]) -> str:
    examples = list(dict.fromkeys(text for text in (row["first"], row["last"]) if text is not None))
    return reason_text(row["column_name"], row["reason"], examples, row["different"] > len(examples))
