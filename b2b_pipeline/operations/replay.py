"""Everything behind landing, brought up to date or made again: core and derived tables, KPIs, coverage. No network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import numpy.typing as npt
from sqlalchemy import Table, Text, cast, func, literal, select

from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.load import LoadReport, load_tables
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.metrics import ledger
from b2b_pipeline.metrics.definitions import publish_definitions
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse

# The fixings come first: the other tables are converted by them.
# Columns that tell how a row came to be there, not what it says.
STAMPS = {"slice_id", "run_id", "loaded_at", "quarantined_at", "as_of"}

Fingerprints = npt.NDArray[np.uint64]


@dataclass
class Rebuilt:
    """What a rebuild did: the load of each core table, the days that changed in each derived table and KPI family."""

    loads: dict[str, LoadReport] = field(default_factory=dict)
    derived: dict[str, set[date | None]] = field(default_factory=dict)
    families: dict[str, set[date | None]] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """Rows of one table that a replay took away, and that it brought; an altered row is in both."""

    table: str
    gone: int
    came: int


def rebuild(pipeline: Pipeline, run_id: str, *, replay: bool, only: tuple[Table, ...] = tables.CORE) -> Rebuilt:
    """Load what landed since, or with `replay` all of it again, into the core tables `only`; then derive everything.

    A table that nothing feeds or fed is left alone.
    """
    warehouse, landing, config = pipeline.warehouse, pipeline.landing, pipeline.config
    rebuilt = Rebuilt()
    held = {row["target_table"] for row in warehouse.rows(select(tables.load_audit.c.target_table).distinct())}
    fed = [each for each in only if each.name in held or feeds(each.name, config)]
    rebuilt.loads = load_tables(warehouse, landing, config, fed, run_id, replay=replay)
    for broken in (report.broken for report in rebuilt.loads.values() if report.broken):
        raise broken
    with warehouse.kept_open():
        for table in tables.DERIVED:
            rebuilt.derived[table.name] = derive_table(warehouse, config, table)
    ledger.restore(warehouse, landing.root)
    with warehouse.kept_open():
        stored = {row["family"] for row in warehouse.rows(select(tables.kpi_component_daily.c.family).distinct())}
        fed_families = families_of(config)
        for name in (name for name in FAMILIES if name in stored or name in fed_families):
            rebuilt.families[name] = publish_family(warehouse, config, FAMILIES[name], run_id)
    ledger.keep(warehouse, landing.root, whole=replay)
    update_coverage(warehouse, landing, config, datetime.now(config.zone).date())
    publish_definitions(warehouse, config)
    return rebuilt


def replay(pipeline: Pipeline, run_id: str, only: tuple[Table, ...] = tables.CORE) -> tuple[Rebuilt, list[Difference]]:
    """Rebuild from landing alone, and what came out differently: nothing, unless code or configuration changed."""
    watched = (*only, *tables.DERIVED, tables.quarantine, tables.kpi_component_daily)
    before = _fingerprints(pipeline.warehouse, watched)
    rebuilt = rebuild(pipeline, run_id, replay=True, only=only)
    after = _fingerprints(pipeline.warehouse, watched)
    differences = []
    for table in watched:
        old, new = before[table.name], after[table.name]
        gone, came = len(np.setdiff1d(old, new)), len(np.setdiff1d(new, old))
        if gone or came:
            differences.append(Difference(table.name, gone, came))
    return rebuilt, differences


def _fingerprints(warehouse: Warehouse, watched: Sequence[Table]) -> dict[str, Fingerprints]:
    with warehouse.read():  # one for all of them
        return {table.name: fingerprints(warehouse, table) for table in watched}


def fingerprints(warehouse: Warehouse, table: Table) -> Fingerprints:
    """A 64-bit hash of what each row says, in no order; stamps left out."""
    null, end = literal("\x1e"), literal("\x1f")
    columns = [column for column in table.columns if column.name not in STAMPS]
    parts = [part for column in columns for part in (func.coalesce(cast(column, Text), null), end)]
    digest = func.substr(func.md5(func.concat(*parts)), 1, 16)
    with warehouse.read() as connection:
        rows = connection.execution_options(yield_per=100_000).execute(select(digest)).scalars()
        return np.fromiter((int(row, 16) for row in rows), dtype=np.uint64)
