"""Sensors: each decides in a pure function and is a thin shell around it. A failed read is a SkipReason."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
from dagster import DagsterRunStatus

from b2b_pipeline import settings
from b2b_pipeline.alerts import tell
from b2b_pipeline.core.feeds import file_stream
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.landing import settled, signature
from b2b_pipeline.files.mapping import FileMapping, mapping_for
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.orchestration.again import again_sensor, wait_of
from b2b_pipeline.orchestration.common import Calendar, expected_day, missing_days
from b2b_pipeline.orchestration.jobs import (
    DERIVE,
    FRESHNESS,
    ingest_job_name,
    range_request,
    tagged_days,
)
from b2b_pipeline.orchestration.kpi_assets import kpi_key
from b2b_pipeline.orchestration.raw_assets import file_partitions, file_streams, raw_key
from b2b_pipeline.pipeline import Pipeline

DEADLINE = timedelta(hours=2)  # how long derive waits for a source that does not finish
LOOK_BACK = timedelta(days=7)  # how old an ingest may be that nobody derived from
OVERLAP = timedelta(minutes=1)  # runs end in one process and are noticed in another


def sensors(calendar: Calendar, check_keys: Sequence[dg.AssetCheckKey]) -> Iterator[dg.SensorDefinition]:
    yield _derive_sensor(calendar)
    if calendar.config.sources:
        yield again_sensor(calendar)
    if calendar.config.files:
        yield _file_sensor(calendar)
    # Freshness is asked for itself, whenever it was last checked.
    yield _state_sensor(calendar, [key for key in check_keys if key.name != FRESHNESS])


# -- derive, once the ingests are done


@dataclass(frozen=True)
class Run:
    """A run: its first and last day (None for a file drop), when it started and ended, None where it has not yet."""

    days: tuple[date, date] | None
    started: datetime | None
    ended: datetime | None

    def covers(self, ingest: "Run") -> bool:
        """Whether this run of derive sees all that the ingest landed, and marks its days."""
        if ingest.ended is None or (self.started is not None and self.started < ingest.ended):
            return False
        if ingest.days is None or self.days is None:
            return ingest.days is None
        return self.days[0] <= ingest.days[0] and ingest.days[1] <= self.days[1]


def decide_derive(
    ingests: Collection[Run], derives: Collection[Run], now: datetime, yesterday: date
) -> dg.RunRequest | dg.SkipReason:
    """Derive the days of every ingest that no derive covers. `derives`: those that succeeded or may still.

    Waits while an ingest runs, but not longer than DEADLINE after the first news: an outage holds nobody up. The run
    key is the end of the newest ingest: a derive that failed is tried again with the next one.
    """
    ends = {ingest: ingest.ended for ingest in ingests if ingest.ended}
    news = {ingest: end for ingest, end in ends.items() if not any(derive.covers(ingest) for derive in derives)}
    if not news:
        return dg.SkipReason("no ingest has ended since the last derive")
    running = len(ingests) - len(ends)
    if running and now - min(news.values()) < DEADLINE:
        return dg.SkipReason(f"{running} ingests have not ended")
    days = [ingest.days for ingest in news if ingest.days] or [(yesterday, yesterday)]
    first, last = min(first for first, _ in days), max(last for _, last in days)
    return range_request(first, last, f"{DERIVE}:{max(news.values()).isoformat()}")


def _derive_sensor(calendar: Calendar) -> dg.SensorDefinition:
    @dg.sensor(
        name="derive_after_ingest",
        job_name=DERIVE,
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts `derive` once every ingest has ended, or at a deadline, from whatever is landed.",
    )
    def derive_after_ingest(context: dg.SensorEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        yesterday = calendar.now().date() - timedelta(days=1)
        if yesterday < calendar.config.start_date:
            return dg.SkipReason(f"start_date {calendar.config.start_date} is not over yet")
        now = datetime.now(UTC)
        ingests, derives = _recent_runs(context.instance, now - LOOK_BACK)
        return decide_derive(ingests, derives, now, yesterday)

    return derive_after_ingest


def _recent_runs(instance: dg.DagsterInstance, since: datetime) -> tuple[list[Run], list[Run]]:
    """Runs that only land (ingest jobs, backfills and file drops of raw assets), and runs of derive that count.

    An ingest that failed may have landed some of its accounts; one that was cancelled is nobody's news.
    """
    ingests, derives = [], []
    for record in instance.get_run_records(dg.RunsFilter(updated_after=since)):
        run = record.dagster_run
        if run.status == DagsterRunStatus.CANCELED:
            continue
        started, ended = _moment(record.start_time), _moment(record.end_time) if run.is_finished else None
        found = Run(tagged_days(run.tags), started, ended)
        assets = run.asset_selection or ()
        if run.job_name.startswith(ingest_job_name("")) or (assets and all(key.path[0] == "raw" for key in assets)):
            ingests.append(found)
        elif run.job_name == DERIVE and (not run.is_finished or run.is_success):
            derives.append(found)
    return ingests, derives


def _moment(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp else None


# -- files


def decide_files(
    listing: Mapping[str, str], seen: Mapping[str, str], files: Mapping[str, FileMapping]
) -> tuple[dict[str, str], list[str]]:
    """New and replaced files (name -> the stream that they land in), and what is wrong with those that fit nowhere."""
    wanted, complaints = {}, []
    for name in sorted(name for name, found in listing.items() if seen.get(name) != found):
        try:
            mapping = mapping_for(name, files)
        except ContractError as error:
            complaints.append(str(error))
            continue
        if mapping is None:
            complaints.append(f"{name} matches no mapping under `files:` in pipeline.yaml")
        else:
            wanted[name] = file_stream(files[mapping])
    return wanted, complaints


def list_inbox(folder: Path) -> dict[str, str]:
    """File name -> signature. Hidden and half-written files (`.part`, `.tmp`) are left out. Raises OSError."""
    stats = {
        path.name: path.stat()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", ".tmp")
        if path != settings.config_path()  # which may lie beside what it maps
    }
    return {name: signature(stat) for name, stat in stats.items()}


def _file_sensor(calendar: Calendar) -> dg.SensorDefinition:
    files = calendar.config.files

    @dg.sensor(
        name="file_drops",
        asset_selection=[raw_key("files", stream) for stream in file_streams(files)],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lands files that are new in the inbox, or were replaced. A malformed one fails its own run, once.",
    )
    def file_drops(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            listing = list_inbox(pipeline.inbox)
        except FileNotFoundError:
            return dg.SkipReason(f"there is no folder {pipeline.config.inbox}: make it, and drop files there")
        except OSError as error:
            return dg.SkipReason(f"the inbox cannot be read: {error.strerror}")
        seen = json.loads(context.cursor or "{}")
        wanted, complaints = decide_files(listing, seen, files)
        if not wanted:
            return dg.SkipReason("; ".join(complaints) or "nothing new in the inbox")
        # What a backfill has landed already needs no run of its own.
        fresh = {
            name: stream
            for name, stream in wanted.items()
            if not settled(pipeline.inbox / name, files[mapping_for(name, files) or ""], stream, pipeline.landing)
        }
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(f"{name}:{listing[name]}", partition_key=name, asset_selection=[raw_key("files", stream)])
                for name, stream in fresh.items()
            ],
            dynamic_partitions_requests=[
                file_partitions(stream).build_add_request([name]) for name, stream in fresh.items()
            ],
            # A file that fits nowhere is not remembered: it is taken once pipeline.yaml knows it.
            cursor=json.dumps(seen | {name: listing[name] for name in wanted}),
        )

    return file_drops


# -- telling people


def decide_news(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """One line per change of state: something went wrong, or is right again."""
    told = [f"{name}: {state}" for name, state in sorted(now.items()) if before.get(name) != state]
    return told + [f"{name}: ok again" for name in sorted(before) if name not in now]


def _state_sensor(calendar: Calendar, check_keys: Sequence[dg.AssetCheckKey]) -> dg.SensorDefinition:
    @dg.sensor(
        name="tell_state_changes",
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells log and webhook once when a run or check fails or a KPI is stale, and once when it is well.",
    )
    def tell_state_changes(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        now = datetime.now(UTC)
        cursor = json.loads(context.cursor or "{}")
        before, since = cursor.get("state", {}), cursor.get("looked", (now - LOOK_BACK).isoformat())
        state = {
            **_failed_runs(context.instance, datetime.fromisoformat(since) - OVERLAP, before),
            **_failed_checks(context.instance, check_keys, before),
            **_stale_assets(context.instance, calendar),
        }
        news = decide_news(before, state)
        if news:
            context.log.warning("\n".join(news))
            tell(news, calendar.config.alerts)
        # Only now: when the webhook does not take it, the tick fails and the next one tells the same.
        context.update_cursor(json.dumps({"looked": now.isoformat(), "state": state}))
        return dg.SkipReason(f"{len(news)} news, {len(state)} things are not well")

    return tell_state_changes


def _failed_runs(instance: dg.DagsterInstance, since: datetime, before: Mapping[str, str]) -> dict[str, str]:
    """Jobs, and selections of assets, whose newest run failed: as before, but for what ended since."""
    found = {name: state for name, state in before.items() if name.startswith("run ")}
    ended = dg.RunsFilter(statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE], updated_after=since)
    for record in instance.get_run_records(ended, order_by="update_timestamp", ascending=True):
        name = run_name(record.dagster_run)
        found.pop(name, None)
        if not record.dagster_run.is_success:
            until, _ = wait_of(instance, record.dagster_run)
            found[name] = f"failed, asked again at {until:%Y-%m-%d %H:%M} UTC" if until else "failed"
    return found


def run_name(run: dg.DagsterRun) -> str:
    """What runs of the same thing have in common: the job, or the assets and the file."""
    if not run.asset_selection:
        return f"run of {run.job_name}"
    first, *others = sorted(key.to_user_string() for key in run.asset_selection)
    file = "" if tagged_days(run.tags) else f" {run.tags.get('dagster/partition', '')}"
    return f"run of {first}{f' and {len(others)} more' if others else ''}{file}"


def _failed_checks(
    instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey], before: Mapping[str, str]
) -> dict[str, str]:
    """Checks whose newest result is a failure, warnings apart; while one runs, it is as before."""
    found = {}
    for key in keys:
        name = f"check {key.name} of {key.asset_key.to_user_string()}"
        record = instance.get_latest_asset_check_evaluation_record(key)
        result = record.event.asset_check_evaluation if record and record.event else None
        if name in before if result is None else not result.passed and result.severity == dg.AssetCheckSeverity.ERROR:
            found[name] = "failed"
    return found


def _stale_assets(instance: dg.DagsterInstance, calendar: Calendar) -> dict[str, str]:
    """KPI assets without a day that must be there by now."""
    expected = expected_day(calendar.now())
    if expected < calendar.config.start_date:
        return {}
    keys = [kpi_key(family) for family in FAMILIES]
    missing = {key: missing_days(instance.get_materialized_partitions(key), expected) for key in keys}
    return {f"asset {key.to_user_string()}": f"stale, {days[0]} is missing" for key, days in missing.items() if days}
