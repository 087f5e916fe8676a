"""Jobs and schedules: one ingest job per source, one derive job from whatever is landed, one job of freshness checks."""

from collections.abc import Collection, Iterator
from datetime import date, timedelta

import dagster as dg
from dagster import AssetSelection

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.kpi_assets import kpi_key

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
NIGHTLY_HOUR = 2  # in the reporting time zone; vendors' days are over, settle lags have passed
CATCH_UP_DAYS = 14
DERIVE, FRESHNESS = "derive", "freshness"
UnresolvedAssetJobDefinition = type(dg.define_asset_job("any"))


def ingest_job_name(source: str) -> str:
    return f"ingest_{source}"


def ingest_selection(source: str) -> AssetSelection:
    return AssetSelection.key_prefixes(["raw", source])


def derive_selection() -> AssetSelection:
    return AssetSelection.all() - AssetSelection.key_prefixes(["raw"])


def freshness_checks() -> AssetSelection:
    """Kept out of every other job: in a backfill they would paint old days red."""
    return AssetSelection.checks(*(dg.AssetCheckKey(kpi_key(family), "freshness") for family in FAMILIES))


def jobs(calendar: Calendar) -> list[UnresolvedAssetJobDefinition]:
    ingest = [
        dg.define_asset_job(ingest_job_name(source), ingest_selection(source), description=f"Read {source} into landing.")
        for source in calendar.config.sources
    ]
    derive = dg.define_asset_job(
        DERIVE, derive_selection() - freshness_checks(), description="Core tables and KPIs from whatever is landed; no network."
    )
    freshness = dg.define_asset_job(FRESHNESS, freshness_checks(), description="Is the newest day that should be there, there?")
    return [*ingest, derive, freshness]


def range_request(start: date, end: date, **request: str | None) -> dg.RunRequest:
    """A run of the partitions from `start` to `end`, both included, in one go."""
    return dg.RunRequest(**request, tags={RANGE_START: start.isoformat(), RANGE_END: end.isoformat()})  # type: ignore[arg-type]


def nightly_range(today: date, first: date, done: Collection[str]) -> tuple[date, date]:
    """From the earliest of the last days that was not materialised to yesterday: an outage is caught up by itself."""
    yesterday = today - timedelta(days=1)
    days = (yesterday - timedelta(days=n) for n in range(CATCH_UP_DAYS))
    return min((day for day in days if day >= first and day.isoformat() not in done), default=yesterday), yesterday


def schedules(calendar: Calendar) -> Iterator[dg.ScheduleDefinition]:
    for source in calendar.config.sources:
        yield _nightly(source, calendar)
    yield _freshness(calendar)


def _nightly(source: str, calendar: Calendar) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"nightly_{source}",
        job_name=ingest_job_name(source),
        cron_schedule=f"0 {NIGHTLY_HOUR} * * *",
        execution_timezone=calendar.config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night: yesterday of {source}, and any of the last {CATCH_UP_DAYS} days that is missing.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        tick = context.scheduled_execution_time
        today = tick.astimezone(calendar.config.zone).date()
        if today <= calendar.config.start_date:
            return dg.SkipReason(f"start_date {calendar.config.start_date} is not over yet")
        missing = _materialised_everywhere(context.instance, source)
        start, end = nightly_range(today, calendar.config.start_date, missing)
        return range_request(start, end, run_key=f"{source}:{end}")

    return nightly


def _materialised_everywhere(instance: dg.DagsterInstance, source: str) -> set[str]:
    """Days on which every stream of the source is materialised."""
    keys = [dg.AssetKey(["raw", source, stream.name]) for stream in SOURCES[source].streams]
    return set.intersection(*(set(instance.get_materialized_partitions(key)) for key in keys))


def _freshness(calendar: Calendar) -> dg.ScheduleDefinition:
    return dg.ScheduleDefinition(
        name="freshness_every_hour", job_name=FRESHNESS, cron_schedule="30 * * * *",
        execution_timezone=calendar.config.timezone, default_status=dg.DefaultScheduleStatus.RUNNING,
    )  # fmt: skip
