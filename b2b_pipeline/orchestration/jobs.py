"""Jobs and schedules: an ingest job per source, one that derives from whatever is landed, one of freshness checks."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
from dagster import AssetSelection

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.orchestration.assets.kpi import kpi_key
from b2b_pipeline.orchestration.assets.raw import raw_key
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.freshness import FRESHNESS
from b2b_pipeline.orchestration.retention import RETENTION_DAYS, retention

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
NIGHTLY_HOUR = 2  # in the reporting time zone; vendors' days are over, settle lags have passed
CATCH_UP_DAYS = 14
DERIVE = "derive"
READS = "b2b/reads"  # of how many runs at once, see dagster.yaml


def ingest_job_name(source: str) -> str:
    return f"ingest_{source}"


def jobs(calendar: Calendar) -> Iterator[Any]:  # Dagster does not export the type of what define_asset_job returns
    raw = AssetSelection.key_prefixes(["raw"])
    for source in calendar.config.sources:
        yield dg.define_asset_job(
            ingest_job_name(source),
            AssetSelection.key_prefixes(["raw", source]),
            description=f"Reads {SOURCES[source].title} into landing.",
            tags={READS: source},
        )
    # In any other job these would judge days that it is not about.
    freshness = AssetSelection.checks(*(dg.AssetCheckKey(kpi_key(family), FRESHNESS) for family in calendar.families))
    yield dg.define_asset_job(
        DERIVE,
        AssetSelection.all() - raw - freshness,
        description="Core tables and KPIs from whatever is landed; no network.",
        executor_def=dg.in_process_executor,  # a process for each step would take longer than the steps
    )
    yield dg.define_asset_job(FRESHNESS, freshness, description="Is every day there that should be?")
    yield retention


def range_request(start: date, end: date, run_key: str) -> dg.RunRequest:
    """A run of the partitions from `start` to `end`, both included, in one go."""
    return dg.RunRequest(run_key, tags={RANGE_START: start.isoformat(), RANGE_END: end.isoformat()})


def nightly_range(today: date, first: date, done: Collection[str]) -> tuple[date, date]:
    """From the earliest of the last days that was not materialised to yesterday: an outage is caught up by itself."""
    yesterday = today - timedelta(days=1)
    days = (yesterday - timedelta(days=n) for n in range(CATCH_UP_DAYS))
    return min((day for day in days if day >= first and day.isoformat() not in done), default=yesterday), yesterday


def schedules(calendar: Calendar) -> Iterator[dg.ScheduleDefinition]:
    for source in calendar.config.sources:
        yield _nightly(source, calendar)
    yield dg.ScheduleDefinition(
        name="freshness_every_hour",
        job_name=FRESHNESS,
        cron_schedule="30 * * * *",
        execution_timezone=calendar.config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Every hour: is every day there that should be?",
    )
    yield dg.ScheduleDefinition(
        name="retention_every_night",
        job=retention,
        cron_schedule="50 4 * * *",
        execution_timezone=calendar.config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night: Dagster's own history of more than {RETENTION_DAYS} days ago goes.",
    )


def _nightly(source: str, calendar: Calendar) -> dg.ScheduleDefinition:
    @dg.schedule(
        name=f"nightly_{source}",
        job_name=ingest_job_name(source),
        cron_schedule=f"0 {NIGHTLY_HOUR} * * *",
        execution_timezone=calendar.config.timezone,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Every night: yesterday, from the earliest of the last {CATCH_UP_DAYS} days that is missing.",
    )
    def nightly(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        today = context.scheduled_execution_time.astimezone(calendar.config.zone).date()
        if today <= calendar.config.start_date:
            return dg.SkipReason(f"start_date {calendar.config.start_date} is not over yet")
        done = _materialised(context.instance, source, calendar)
        start, end = nightly_range(today, calendar.config.start_date, done)
        return range_request(start, end, f"{source}:{end}")

    return nightly


def tagged_days(tags: Mapping[str, str]) -> tuple[date, date] | None:
    """The days of a run, both included; None when its partition is a file name."""
    first = tags.get(RANGE_START) or tags.get("dagster/partition", "")
    try:
        return date.fromisoformat(first), date.fromisoformat(tags.get(RANGE_END, first))
    except ValueError:
        return None


def _materialised(instance: dg.DagsterInstance, source: str, calendar: Calendar) -> set[str]:
    """Days on which every stream of the source is materialised."""
    keys = [raw_key(source, stream.name) for stream in calendar.streams(source)]
    return set.intersection(*(set(instance.get_materialized_partitions(key)) for key in keys))
