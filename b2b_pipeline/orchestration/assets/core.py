"""The core and derived tables as assets. What belongs here: load or derive, and tell each day's rows."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Table, func, select

from b2b_pipeline.connectors.base import Kind
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.fingerprint import digest
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.core.load import LoadReport, load_tables
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.derived.registry import DERIVED, reads
from b2b_pipeline.orchestration.common import OWNER, Calendar, about_table, days_of, report_days, translated
from b2b_pipeline.orchestration.places import Place, code_references, place_of, place_of_feed
from b2b_pipeline.orchestration.versions import keep_versions
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables


class LoadConfig(dg.Config):
    """`replay`: load every slice again, not only the new ones."""

    replay: bool = False


def core_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    yield _core(calendar)
    for table in tables.DERIVED:
        yield _derived(table, calendar)
    yield _quarantine(calendar)
    yield _coverage(calendar)


def _core(calendar: Calendar) -> dg.AssetsDefinition:
    """All core tables in one step, or those of them that are selected: a slice is read once for all that it feeds."""

    @calendar.assets([_core_spec(table, calendar) for table in calendar.core], name="core")
    def core(
        context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline], config: LoadConfig
    ) -> Iterator[dg.MaterializeResult[Any]]:
        wanted = [table for table in calendar.core if dg.AssetKey(table.name) in context.selected_asset_keys]
        keep_versions(pipeline.config)
        with pipeline.warehouse.read():
            before = {table.name: _rows_by_day(pipeline, table) for table in wanted}
        with translated():
            reports = load_tables(
                pipeline.warehouse, pipeline.landing, pipeline.config, wanted, context.run.run_id, replay=config.replay
            )
        broken = {name: report.broken for name, report in reports.items() if report.broken}
        whole = [table for table in wanted if not broken.keys() & {table.name, *_rates_of(table)}]
        with pipeline.warehouse.read():
            for table in whole:
                _told(context, pipeline, table, before[table.name], reports[table.name])
        for table in whole:
            yield dg.MaterializeResult(asset_key=table.name)
        for name, error in broken.items():
            context.log.error(f"{name} was not loaded to its end")
            with translated():
                raise error

    return core


def _core_spec(table: Table, calendar: Calendar) -> dg.AssetSpec:
    feeding = feeds(table.name, calendar.config)
    raw = {(feed.source, feed.stream): feed.kind for feed in feeding}
    upstream = [dg.AssetDep(["raw", *stream], partition_mapping=_mapping(kind)) for stream, kind in raw.items()]
    upstream += [dg.AssetDep(name) for name in _rates_of(table)]
    about = _about(table, calendar, map(place_of_feed, feeding))
    return dg.AssetSpec(**about, group_name="core", kinds={"table", "pandas"}, deps=upstream, owners=[OWNER])


def _rates_of(table: Table) -> list[str]:
    return [tables.fx_rate.name] if table.name in CONVERTED else []


def _told(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    table: Table,
    before: Mapping[date | None, int],
    report: LoadReport,
) -> None:
    for slice_id, reason in report.failures.items():
        context.log.error(f"{table.name}: slice {slice_id} was left out: {reason}")
    context.log.info(
        f"{table.name}: {report.slices} new slices: {report.rows_in} rows in = {report.loaded} loaded "
        f"+ {report.quarantined} quarantined + {report.deduplicated} deduplicated"
    )
    after, written = _rows_by_day(pipeline, table), _rows_by_day(pipeline, table, context.run.run_id)
    changed = {day for day in {*before, *after} if day in written or before.get(day) != after.get(day)}
    _report(context, table, after, changed, {"slices_loaded": report.slices, "slices_failed": len(report.failures)})


def _derived(table: Table, calendar: Calendar) -> dg.AssetsDefinition:
    upstream = [dg.AssetDep(name) for name in sorted(reads(table.name))]

    about = _about(table, calendar, [place_of(DERIVED[table.name].queries, f"the query of {table.name}")])

    @calendar.asset(**about, group_name="derived", kinds={"table", "sql"}, deps=upstream)
    def derived(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            changed = derive_table(pipeline.warehouse, pipeline.config, table)
        told = {"days_changed": len(changed)}
        _report(context, table, _rows_by_day(pipeline, table), changed, told)

    return derived


def _quarantine(calendar: Calendar) -> dg.AssetsDefinition:
    table = tables.quarantine

    @calendar.asset(
        **_about(table, calendar),
        group_name="books",
        kinds={"table", "sql"},
        deps=[table.name for table in calendar.core],
    )
    def quarantine(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        # The loaders fill the table in the transaction that loads a slice; here its days are counted.
        _report(context, table, _rows_by_day(pipeline, table))

    return quarantine


def _coverage(calendar: Calendar) -> dg.AssetsDefinition:
    table = tables.coverage

    about = _about(table, calendar, [place_of(update_coverage, "the query of coverage")])

    @calendar.asset(**about, group_name="books", kinds={"table", "sql"}, deps=[table.name for table in calendar.core])
    def coverage(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            update_coverage(pipeline.warehouse, pipeline.landing, pipeline.config, calendar.now().date())
            pipeline.landing.remove_leftovers(calendar.now() - timedelta(days=1))
        _report(context, table, _rows_by_day(pipeline, table))
        # What is made of it is told to be out of date only where it says something else of these days.
        context.set_data_version(dg.AssetKey(table.name), _digest_of(pipeline, table, *days_of(context)))

    return coverage


def _digest_of(pipeline: Pipeline, table: Table, start: date, end: date) -> dg.DataVersion:
    """Of the rows of the days from `start` until before `end`."""
    key = (table.c[name] for name in table.info["key"])
    rows = select(table).where(table.c.date_day >= start, table.c.date_day < end).order_by(*key)
    return dg.DataVersion(digest(*(repr(tuple(row.values())) for row in pipeline.warehouse.rows(rows))))


def _about(table: Table, calendar: Calendar, places: Iterable[Place | None] = ()) -> dict[str, Any]:
    return {
        "key": table.name,
        "description": f"{table.info['grain']}\n\nKey: {', '.join(table.info['key'])}.",
        "code_version": calendar.versions.get(table.name),
        "metadata": {**about_table(table), **code_references(places)},
    }


def _mapping(kind: Kind) -> dg.PartitionMapping | None:
    """A collection of files is partitioned by name: every one may hold rows of any day."""
    return dg.AllPartitionMapping() if kind == "collection" else None


def _rows_by_day(pipeline: Pipeline, table: Table, run_id: str | None = None) -> dict[date | None, int]:
    """How many rows each day has, or how many of them one run wrote. Rows without a day are under None."""
    if "date_day" not in table.c:
        return {None: pipeline.warehouse.rows(select(func.count().label("n")).select_from(table))[0]["n"]}
    query = select(table.c.date_day, func.count().label("n")).group_by(table.c.date_day)
    rows = pipeline.warehouse.rows(query if run_id is None else query.where(table.c.run_id == run_id))
    return {row["date_day"]: row["n"] for row in rows}


def _report(
    context: dg.AssetExecutionContext,
    table: Table,
    counts: Mapping[date | None, int],
    changed: Collection[date | None] = (),
    told: Mapping[str, int] = {},
) -> None:
    """Row counts of the run's days, and of the days outside it whose rows changed."""
    dated = {day.isoformat(): rows for day, rows in counts.items() if day}
    whole = {"dagster/row_count": sum(counts.values()), **({"watermark": max(dated)} if dated else {}), **told}
    days = dict.fromkeys([*context.partition_keys, *sorted(day.isoformat() for day in changed if day)])
    if "date_day" in table.c:
        report = {day: {"dagster/partition_row_count": dated.get(day, 0), **whole} for day in days}
    else:
        report = dict.fromkeys(days, whole)
    report_days(context, dg.AssetKey(table.name), report)
