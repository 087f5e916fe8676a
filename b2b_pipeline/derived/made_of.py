"""What derived tables, KPI families and coverage were last made of: a number whose inputs have moved on is not whole.

Between a load and the derive that follows it, after a derive that broke off, and when pipeline.yaml says something else
by now, the numbers are those of before, whatever coverage says of the tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, delete, func, insert, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.derived.registry import DERIVED, reads
from b2b_pipeline.warehouse.tables import CORE, load_audit, made_of
from b2b_pipeline.warehouse.write import serialise

COVERAGE, KPI_DAILY, EVERY = "coverage", "kpi_daily", [table.name for table in CORE]
BEHIND = (
    "tables or pipeline.yaml have changed since this was derived: run `derive` in the Dagster UI, or `b2b backfill`"
)


class Loads:
    """What is loaded now, and what pipeline.yaml says now."""

    def __init__(self, connection: Connection, config: Config) -> None:
        audit = load_audit.c
        loaded = select(audit.target_table, func.count(), func.max(audit.loaded_at)).where(audit.error.is_(None))
        self._loads = {name: f"{n} {at}" for name, n, at in connection.execute(loaded.group_by(audit.target_table))}
        self._marks: dict[str, str] = {row.name: row.state for row in connection.execute(select(made_of))}
        self._meaning = config.model_dump_json(exclude={"limits", "alerts", "inbox", "gross_margin", "targets"})

    def note(self, connection: Connection, name: str, tables: Iterable[str] | None = None) -> None:
        """In the transaction that writes `name`: what it was made of, `tables` where it is not a derived one.

        Nothing, where one of these is itself behind.
        """
        tables = list(reads(name) if tables is None else tables)
        late = any(self._is_late(table) for table in tables if table in self._marks)
        serialise(connection, f"{made_of.name} {name}")
        connection.execute(delete(made_of).where(made_of.c.name == name))
        connection.execute(insert(made_of), [{"name": name, "state": "" if late else self._state(tables)}])

    def is_whole(self, made: Mapping[str, Iterable[str]]) -> bool:
        """Whether `made`, coverage and the definitions are known to be what they would be if they were made now."""
        return COVERAGE in self._marks and not self.behind({KPI_DAILY: EVERY, **made})

    def behind(self, made: Mapping[str, Iterable[str]]) -> bool:
        """Whether something of `made` (what -> from which tables) is not what it would be if it were made now.

        A warehouse that an earlier version filled has no marks until the next derive.
        """
        if COVERAGE not in self._marks:
            return False
        everything = {COVERAGE: EVERY, **made}
        return any(self._marks.get(name) != self._state(tables) for name, tables in everything.items())

    def _is_late(self, derived: str) -> bool:
        return self._marks[derived] != self._state(reads(derived))

    def _state(self, tables: Iterable[str]) -> str:
        core = {part for table in tables for part in _core_of(table)}
        core |= {"fx_rate"} if core & CONVERTED.keys() else set()
        text = repr([(name, self._loads.get(name)) for name in sorted(core)])
        return hashlib.sha256((self._meaning + text).encode()).hexdigest()[:16]


def _core_of(table: str) -> set[str]:
    return {part for each in reads(table) for part in _core_of(each)} if table in DERIVED else {table}
