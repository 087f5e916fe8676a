"""The core and derived tables as assets. What belongs here: load or derive, and tell each day's rows."""

from collections.abc import Iterator, Sequence
from datetime import date, datetime

import dagster as dg
from sqlalchemy import Table, func, select

from b2b_pipeline.core.coverage import INPUTS, update_coverage
from b2b_pipeline.core.derive import derive_table
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.load import CONVERTED, load_table
from b2b_pipeline.orchestration.common import OWNER, RETRY, Calendar, column_schema, days_of, report_days, translated
from b2b_pipeline.pipeline import Pipeline, sizes
from b2b_pipeline.warehouse import tables


class DeriveConfig(dg.Config):
    """`replay`: load every slice again, not only the new ones."""

    replay: bool = False


def core_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for table in tables.CORE:
        yield _core_asset(table, calendar)
    for table in tables.DERIVED:
        yield _derived_asset(table, calendar)
    yield _quarantine(calendar)
    yield _coverage(calendar)


def _core_asset(table: Table, calendar: Calendar) -> dg.AssetsDefinition:
    raw = dict.fromkeys((feed.source, feed.stream) for feed in feeds(table.name, calendar.config))
    upstream = [dg.AssetDep(["raw", *pair], partition_mapping=_mapping(pair[0])) for pair in raw]
    if table.name in CONVERTED:
        upstream.append(dg.AssetDep(tables.fx_rate.name))

    @_table_asset(table, calendar, upstream, "core", {"pandas"})
    def core(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline], config: DeriveConfig) -> None:
        with translated():
            report = load_table(pipeline.warehouse, pipeline.landing, pipeline.config, table, context.run_id, replay=config.replay)
        for slice_id, reason in report.failures.items():
            context.log.error(f"slice {slice_id} was left out: {reason}")
        context.log.info(
            f"{report.slices} new slices: {report.rows_in} rows in = {report.loaded} loaded + {report.quarantined} quarantined "
            f"+ {report.deduplicated} deduplicated; {len(report.failures)} slices failed as a whole"
        )
        _tell(context, pipeline, table, {"slices_loaded": report.slices, "slices_failed": len(report.failures)})

    return core


def _derived_asset(table: Table, calendar: Calendar) -> dg.AssetsDefinition:
    upstream: list[dg.AssetDep] = [dg.AssetDep(name) for name in INPUTS.get(table.name, ("lead", "identity_link"))]
    if table.name in ("person", "deal"):
        upstream.append(dg.AssetDep(tables.identity_cluster.name))

    @_table_asset(table, calendar, upstream, "derived", {"sql"})
    def derived(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            changed = derive_table(pipeline.warehouse, pipeline.config, table)
        _tell(context, pipeline, table, {"days_changed": len(changed)}, changed)

    return derived


def _table_asset(table: Table, calendar: Calendar, upstream: Sequence[dg.AssetDep], group: str, kinds: set[str]):  # type: ignore[no-untyped-def]
    return dg.asset(
        key=table.name,
        deps=upstream,
        description=f"{table.info['grain']}\n\nKey: {', '.join(table.info['key'])}.",
        group_name=group,
        kinds={"table", *kinds},
        owners=[OWNER],
        partitions_def=calendar.daily,
        backfill_policy=calendar.backfill,
        retry_policy=RETRY,
        metadata={"dagster/column_schema": column_schema(table.name), "dagster/table_name": table.name},
    )


def _mapping(source: str) -> dg.PartitionMapping | None:
    """File drops are partitioned by name: every file may hold rows of any day."""
    return dg.AllPartitionMapping() if source == "files" else None


def _tell(
    context: dg.AssetExecutionContext,
    pipeline: Pipeline,
    table: Table,
    shared: dict[str, int | str | None],
    changed: set[date | None] | None = None,
) -> None:
    """Per-day row counts of the run's days; days outside it that changed get an event of their own."""
    start, end = days_of(context)
    counts: dict[str, int] = {}
    if "date_day" in table.c:
        query = select(table.c.date_day, func.count().label("n")).where(table.c.date_day.is_not(None)).group_by(table.c.date_day)
        counts = {row["date_day"].isoformat(): row["n"] for row in pipeline.warehouse.rows(query)}
    watermark = {"watermark": max(counts)} if counts else {}
    days = {day: {"dagster/partition_row_count": rows, **watermark, **shared} for day, rows in sizes(counts, start, end).items()}
    last = end
    restated = {
        day.isoformat(): {"dagster/partition_row_count": counts.get(day.isoformat(), 0)}
        for day in sorted(d for d in changed or () if d is not None)
        if pipeline.config.start_date <= day < start or day >= last
    }
    known = set(context.assets_def.partitions_def.get_partition_keys()) if restated and context.assets_def.partitions_def else set()
    report_days(context, context.asset_key, days, {day: metadata for day, metadata in restated.items() if day in known})


def _quarantine(calendar: Calendar) -> dg.AssetsDefinition:
    table = tables.quarantine

    @_table_asset(table, calendar, [dg.AssetDep(t.name) for t in tables.CORE], "books", {"sql"})
    def quarantine(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        """The loaders fill it in the transaction that loads a slice; here its days are counted."""
        _tell(context, pipeline, table, {})

    return quarantine


def _coverage(calendar: Calendar) -> dg.AssetsDefinition:
    table = tables.coverage

    @_table_asset(table, calendar, [dg.AssetDep(t.name) for t in tables.CORE], "books", {"sql"})
    def coverage(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            update_coverage(pipeline.warehouse, pipeline.landing, pipeline.config, datetime.now(pipeline.config.zone).date())
        _tell(context, pipeline, table, {})

    return coverage
