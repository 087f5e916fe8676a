"""What published numbers were and became, kept beside landing: no pull and no replay can tell it again.

`<landing>/ledger/kpi_change-<month>.jsonl` holds every row of `kpi_change`, a line each, only ever added to. A
publish that was killed before it could write them down is caught up with by the next one.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from b2b_pipeline.landing.journal import Journal, locked
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import kpi_change, kpi_component_daily
from b2b_pipeline.warehouse.write import append, serialise

CATCH_UP = timedelta(days=1)  # longer than a publish takes
Row = dict[str, Any]


def restore(warehouse: Warehouse, landing: Path) -> None:
    """Before the first publish into an empty warehouse: put back what the files have. Any number of times is as once.

    Only there: a warehouse beside another one, on the same landing, has its own changes.
    """
    if warehouse.rows(select(kpi_component_daily.c.component).limit(1)):
        return
    with locked(_lock(landing)), warehouse.write() as connection:
        serialise(connection, kpi_change.name)
        known = {_key(_plain(row)) for row in connection.execute(select(kpi_change)).mappings()}
        entries = {_key(entry): entry for journal in _journals(landing) for entry in journal.entries}
        rows = [_typed(entry) for key, entry in entries.items() if key not in known]
        if rows:
            append(connection, kpi_change, pa.Table.from_pylist(rows, schema=arrow_schema(kpi_change)))


def keep(warehouse: Warehouse, landing: Path, *, whole: bool = False) -> None:
    """Write down what the table has and the files lack: with `whole` of all, else of the last days."""
    with locked(_lock(landing)):
        journals = _journals(landing)
        entries = [entry for journal in (journals if whole else journals[-2:]) for entry in journal.entries]
        query = select(kpi_change).order_by(kpi_change.c.changed_at)
        if entries and not whole:
            newest = datetime.fromisoformat(max(entry["changed_at"] for entry in entries))
            query = query.where(kpi_change.c.changed_at >= newest - CATCH_UP)
        known = set(map(_key, entries))
        rows = [row for row in map(_plain, warehouse.rows(query)) if _key(row) not in known]
        for month, found in groupby(rows, lambda row: str(row["changed_at"])[:7]):
            Journal(landing / "ledger" / f"{kpi_change.name}-{month}.jsonl").append(found)


def _lock(landing: Path) -> Path:
    landing.mkdir(parents=True, exist_ok=True)
    return landing / "ledger.lock"


def _journals(landing: Path) -> list[Journal]:
    """Oldest first."""
    return [Journal(path) for path in sorted((landing / "ledger").glob(f"{kpi_change.name}-*.jsonl"))]


def _key(row: Mapping[str, Any]) -> tuple[Any, ...]:
    of = ("changed_at", "component", "axis", "age", "date_day", "channel", "run_id")
    return tuple(row.get(name) for name in of)  # lines of earlier versions have no axis and no age


def _plain(row: Mapping[Any, Any]) -> Row:
    """A row in JSON's types."""
    return {
        str(name): value.isoformat()
        if isinstance(value, date)
        else format(value, "f")
        if isinstance(value, Decimal)
        else value
        for name, value in row.items()
    }


def _typed(entry: Row) -> Row:
    days = {
        "date_day": date.fromisoformat(entry["date_day"]),
        "changed_at": datetime.fromisoformat(entry["changed_at"]),
    }
    sums = {name: Decimal(entry[name]) for name in ("old_value", "new_value") if entry.get(name) is not None}
    return {**entry, **days, **sums}
