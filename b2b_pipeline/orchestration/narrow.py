"""What a dropped file can have changed: where all else is up to date, `derive` takes that alone.

A file of costs changes no lead; that the rest need not be made again is known, not guessed: from what everything was
last made of, from which code, when, and that the day is there.
"""

from collections.abc import Collection
from datetime import date

import dagster as dg
from sqlalchemy import Table

from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.derived.made_of import Loads
from b2b_pipeline.derived.registry import DERIVED, behind, reads
from b2b_pipeline.metrics.model import Family
from b2b_pipeline.metrics.registry import tables_of
from b2b_pipeline.orchestration.assets.kpi import EXPORT, kpi_key
from b2b_pipeline.orchestration.assets.raw import raw_key
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

OF_FILES = "b2b/files"  # tag of a derive that takes no more than what files of these streams can have changed


def narrowed(
    calendar: Calendar, pipeline: Pipeline, instance: dg.DagsterInstance, streams: Collection[str], day: date
) -> list[dg.AssetKey]:
    """What files of these streams can have changed of what is there for `day`; nothing where other things are late."""
    kpis = [kpi_key(name) for name in calendar.families]
    if not all(day.isoformat() in instance.get_materialized_partitions(key) for key in kpis):
        return []
    every = [*(dg.AssetKey(name) for name in (*(table.name for table in calendar.core), *DERIVED)), *kpis]
    told = {key: calendar.versions.get(key.to_user_string()) for key in every}
    versions = {key: version for key, version in told.items() if version}
    if instance.get_latest_materialization_code_versions(list(versions)) != versions:
        return []
    made: dict[str, Collection[str]] = {name: reads(name) for name in DERIVED}
    made |= {name: family.tables for name, family in calendar.families.items() if family.stored}
    with pipeline.warehouse.read() as connection:
        if not Loads(connection, calendar.config).is_whole(made):
            return []
    found = changed(calendar, streams)
    read = [raw_key(source, stream.name) for source in calendar.config.sources for stream in calendar.streams(source)]
    is_seen = min(_ids(instance, {*every} - {*found}), default=0) >= max(_ids(instance, read), default=0)
    return found if is_seen else []  # else something was read of a vendor that was not derived since


def _ids(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey]) -> list[int]:
    """Of the newest materialisation of each, which grow with time; 0 where there is none."""
    records = instance.get_asset_records([*keys]) if keys else []
    return [record.asset_entry.last_materialization_storage_id or 0 for record in records]


def changed(calendar: Calendar, streams: Collection[str]) -> list[dg.AssetKey]:
    """The assets that are made of what these streams of files feed."""
    core = {table.name for table in calendar.core if _is_fed(calendar, table, streams)}
    if tables.fx_rate.name in core:
        core |= CONVERTED.keys() & {table.name for table in calendar.core}
    derived = [name for name in DERIVED if behind(name) & core]
    families = {name for name, family in calendar.families.items() if _reads(family, core)}
    books = [tables.quarantine.name, tables.coverage.name]
    return [*map(dg.AssetKey, [*sorted(core), *derived, *books]), *map(kpi_key, sorted(families)), EXPORT]


def _is_fed(calendar: Calendar, table: Table, streams: Collection[str]) -> bool:
    return any(feed.files and feed.stream in streams for feed in feeds(table.name, calendar.config))


def _reads(family: Family, core: set[str]) -> bool:
    return any(behind(table) & core for table in tables_of(family))
