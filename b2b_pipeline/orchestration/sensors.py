"""Sensors: each decides in a pure function and is a thin shell around it. A failed read is a SkipReason, never nothing there."""

import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import dagster as dg

from b2b_pipeline.alerts import tell
from b2b_pipeline.files.mapping import FileMapping, mapping_for
from b2b_pipeline.errors import ContractError
from b2b_pipeline.orchestration.checks import expected_day
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.jobs import DERIVE, RANGE_END, RANGE_START, ingest_job_name, range_request
from b2b_pipeline.orchestration.kpi_assets import kpi_key
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.core.feeds import file_stream
from b2b_pipeline.orchestration.raw_assets import file_partitions, file_streams
from b2b_pipeline.pipeline import Pipeline

DEADLINE = timedelta(hours=2)  # how long derive waits for a source that does not finish
UNFINISHED = (dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED)
FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)


def sensors(calendar: Calendar) -> Iterator[dg.SensorDefinition]:
    yield _derive_sensor(calendar)
    if calendar.config.files:
        yield _file_sensor(calendar)
    yield _state_sensor(calendar)


# -- derive, once the ingests are done


@dataclass(frozen=True)
class IngestRun:
    """A run that landed something: its days (None for a file drop), and when it ended, if it has."""

    run_id: str
    days: tuple[date, date] | None
    started: datetime
    ended: datetime | None


def decide_derive(runs: Collection[IngestRun], cursor: str, now: datetime, yesterday: date) -> tuple[dg.RunRequest | str, str]:
    """What to request and the new cursor (the end of the newest run derived from), or why not.

    Waits while an ingest runs, but not longer than DEADLINE after the first news: an outage holds nobody up.
    """
    after = datetime.fromisoformat(cursor) if cursor else datetime.min.replace(tzinfo=timezone.utc)
    news = [run for run in runs if run.ended and run.ended > after]
    if not news:
        return "no ingest has ended since the last derive", cursor
    running = [run for run in runs if run.ended is None]
    if running and now - min(run.ended for run in news if run.ended) < DEADLINE:
        return f"{len(running)} ingest runs have not ended", cursor
    newest = max(run.ended for run in news if run.ended)
    days = [run.days for run in news if run.days]
    start = min((first for first, _ in days), default=yesterday)
    end = max((last for _, last in days), default=yesterday)
    return range_request(start, end, run_key=f"derive:{newest.isoformat()}"), newest.isoformat()


def _derive_sensor(calendar: Calendar) -> dg.SensorDefinition:
    @dg.sensor(
        name="derive_after_ingest", job_name=DERIVE, minimum_interval_seconds=30, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts `derive` once every ingest has ended, or at a deadline, from whatever is landed.",
    )  # fmt: skip
    def derive_after_ingest(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        now = datetime.now(timezone.utc)
        yesterday = datetime.now(calendar.config.zone).date() - timedelta(days=1)
        if yesterday < calendar.config.start_date:
            return dg.SkipReason("the first day is not over yet")
        runs = list(_ingest_runs(context.instance, calendar, context.cursor or "", yesterday))
        request, cursor = decide_derive(runs, context.cursor or "", now, yesterday)
        if isinstance(request, str):
            return dg.SkipReason(request)
        return dg.SensorResult(run_requests=[request], cursor=cursor)

    return derive_after_ingest


def _ingest_runs(instance: dg.DagsterInstance, calendar: Calendar, cursor: str, yesterday: date) -> Iterator[IngestRun]:
    """Runs that only land: the ingest jobs, and backfills or manual runs of raw assets alone."""
    since = datetime.fromisoformat(cursor) if cursor else datetime.now(timezone.utc) - timedelta(days=2)
    filters = dg.RunsFilter(statuses=list(FINISHED), updated_after=since - timedelta(minutes=1))
    records = [*instance.get_run_records(filters, limit=200), *instance.get_run_records(dg.RunsFilter(statuses=list(UNFINISHED)), limit=200)]
    jobs = {ingest_job_name(source) for source in calendar.config.sources}
    for record in records:
        run = record.dagster_run
        selection = run.asset_selection or frozenset()
        if run.job_name in jobs or (selection and all(key.path[0] == "raw" for key in selection)):
            ended = datetime.fromtimestamp(record.end_time, timezone.utc) if record.end_time and run.is_finished else None
            yield IngestRun(run.run_id, _days(run.tags), record.create_timestamp, ended)


def _days(tags: Mapping[str, str]) -> tuple[date, date] | None:
    start = tags.get(RANGE_START) or tags.get("dagster/partition", "")
    end = tags.get(RANGE_END) or start
    try:
        return date.fromisoformat(start), date.fromisoformat(end)
    except ValueError:
        return None  # a file name


# -- files


def decide_files(
    listing: Mapping[str, str], cursor: Mapping[str, str], files: Mapping[str, FileMapping]
) -> tuple[list[tuple[str, str, str]], dict[str, str], list[str]]:
    """(name, stream, signature) of new and replaced files, the new cursor, and what is wrong with the rest."""
    wanted, complaints = [], []
    for name, signature in sorted(listing.items()):
        if cursor.get(name) == signature:
            continue
        try:
            mapping = mapping_for(name, files)
        except ContractError as error:
            complaints.append(str(error))
            continue
        if mapping is None:
            complaints.append(f"{name} matches no mapping under `files:` in pipeline.yaml")
        else:
            wanted.append((name, file_stream(files[mapping]), signature))
    return wanted, {**cursor, **listing}, complaints


def list_inbox(folder: Path) -> dict[str, str]:
    """File name -> signature. Hidden and half-written files (`.part`, `.tmp`) are left out. Raises OSError."""
    found = {}
    for path in folder.iterdir():
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", ".tmp"):
            stat = path.stat()
            found[path.name] = f"{stat.st_mtime_ns}:{stat.st_size}"
    return found


def _file_sensor(calendar: Calendar) -> dg.SensorDefinition:
    targets = [dg.AssetKey(["raw", "files", stream]) for stream in file_streams(calendar.config.files)]

    @dg.sensor(
        name="file_drops", asset_selection=dg.AssetSelection.assets(*targets), minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lands files that are new in the inbox, or were replaced. A malformed one fails its own run, once.",
    )  # fmt: skip
    def file_drops(context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.SensorResult | dg.SkipReason:
        try:
            listing = list_inbox(pipeline.inbox)
        except FileNotFoundError:
            return dg.SkipReason(f"there is no folder {pipeline.config.inbox}: make it, and drop files there")
        except OSError as error:
            return dg.SkipReason(f"the inbox cannot be read: {error.strerror}")
        wanted, cursor, complaints = decide_files(listing, json.loads(context.cursor or "{}"), calendar.config.files)
        for complaint in complaints:
            context.log.warning(complaint)
        names: dict[str, list[str]] = {}
        for name, stream, _ in wanted:
            names.setdefault(stream, []).append(name)
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(run_key=f"{name}:{signature}", partition_key=name, asset_selection=[dg.AssetKey(["raw", "files", stream])])
                for name, stream, signature in wanted
            ],
            dynamic_partitions_requests=[file_partitions(stream).build_add_request(keys) for stream, keys in names.items()],
            cursor=json.dumps(cursor),
            skip_reason=None if wanted else dg.SkipReason("; ".join(complaints) or "nothing new in the inbox"),
        )

    return file_drops


# -- telling people


def decide_news(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line per change of state: something went wrong, or is right again."""
    told = [f"{name}: {state}" for name, state in sorted(now.items()) if before.get(name) != state]
    return told + [f"{name}: ok again" for name in sorted(before) if name not in now]


def _state_sensor(calendar: Calendar) -> dg.SensorDefinition:
    @dg.sensor(
        name="tell_state_changes", minimum_interval_seconds=60, default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells the log and the webhook once when a job fails, a check fails or a KPI is stale, and once when it is well again.",
    )  # fmt: skip
    def tell_state_changes(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        state = {**_failed_jobs(context.instance, calendar), **_failed_checks(context), **_stale(context.instance, calendar)}
        news = decide_news(json.loads(context.cursor or "{}"), state)
        if news:
            for line in news:
                context.log.warning(line)
            tell(news, calendar.config.alerts)
        # Only now: when the webhook does not answer, the tick fails and the news is told again.
        context.update_cursor(json.dumps(state))
        return dg.SkipReason(f"{len(news)} news, {len(state)} things not well")

    return tell_state_changes


def _failed_jobs(instance: dg.DagsterInstance, calendar: Calendar) -> dict[str, str]:
    """Jobs whose newest finished run failed."""
    found = {}
    for job in [*(ingest_job_name(source) for source in calendar.config.sources), DERIVE]:
        runs = instance.get_runs(dg.RunsFilter(job_name=job, statuses=list(FINISHED)), limit=1)
        if runs and runs[0].status == dg.DagsterRunStatus.FAILURE:
            found[f"job {job}"] = "failed"
    return found


def _failed_checks(context: dg.SensorEvaluationContext) -> dict[str, str]:
    """Checks whose newest result is a failure, warnings apart."""
    definition = context.repository_def
    if definition is None:
        return {}
    keys = sorted(definition.asset_checks_defs_by_key, key=str)
    records = context.instance.event_log_storage.get_latest_asset_check_execution_by_key(keys)
    found = {}
    for key, record in records.items():
        event = record.event
        evaluation = event.asset_check_evaluation if event and event.is_dagster_event and event.dagster_event else None
        if evaluation is None and event and event.dagster_event:
            data: Any = event.dagster_event.event_specific_data
            evaluation = data if isinstance(data, dg.AssetCheckEvaluation) else None
        if evaluation is not None and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR:
            found[f"check {key.asset_key.to_user_string()}:{key.name}"] = "failed"
    return found


def _stale(instance: dg.DagsterInstance, calendar: Calendar) -> dict[str, str]:
    """KPI assets without the day that must be there by now."""
    day = expected_day(datetime.now(calendar.config.zone)).isoformat()
    if day < calendar.config.start_date.isoformat():
        return {}
    return {
        f"asset kpi/{family}": f"stale: {day} is missing"
        for family in FAMILIES
        if day not in instance.get_materialized_partitions(kpi_key(family))
    }


