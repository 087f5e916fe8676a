"""Sensors: each decides in a pure function and is a thin shell around it. A failed read is a SkipReason."""

import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial

import dagster as dg
from dagster import DagsterRunStatus

from b2b_pipeline.files.inbox import Trouble, decide_files, held, list_inbox, note_ambiguous, troubles
from b2b_pipeline.files.source import file_streams
from b2b_pipeline.operations.alerts import tell
from b2b_pipeline.orchestration.again import again_sensor, wait_of
from b2b_pipeline.orchestration.assets.kpi import kpi_key
from b2b_pipeline.orchestration.assets.raw import file_key, file_partitions
from b2b_pipeline.orchestration.checks import ACCEPTED, accepted_result
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.freshness import FRESHNESS, freshness_result, stale_days
from b2b_pipeline.orchestration.jobs import DERIVE, ingest_job_name, range_request, tagged_days
from b2b_pipeline.orchestration.narrow import OF_FILES, narrowed
from b2b_pipeline.pipeline import Pipeline

FINISHED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
DEADLINE = timedelta(hours=2)  # how long derive waits for a source that does not finish
LOOK_BACK = timedelta(days=7)  # how old an ingest may be that nobody derived from
FIRST_WAIT, LONGEST_WAIT = 300.0, 6 * 3600.0  # seconds until a file whose run died is asked for again
NOT_FINISHED = tuple(status for status in DagsterRunStatus if status not in FINISHED)
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
    """A run: its first and last day (None for a file drop), when it started and ended, None where it has not yet.

    streams: of files that it landed; of a derive that is narrowed to them.
    """

    days: tuple[date, date] | None
    started: datetime | None
    ended: datetime | None
    streams: frozenset[str] = frozenset()

    def covers(self, ingest: "Run") -> bool:
        """Whether this run of derive sees all that the ingest landed, and marks its days."""
        if ingest.ended is None or (self.started is not None and self.started < ingest.ended):
            return False
        if self.streams:
            return ingest.days is None and bool(ingest.streams) and ingest.streams <= self.streams
        if ingest.days is None or self.days is None:
            return ingest.days is None
        return self.days[0] <= ingest.days[0] and ingest.days[1] <= self.days[1]


def decide_derive(
    ingests: Collection[Run],
    derives: Collection[Run],
    now: datetime,
    yesterday: date,
    narrow: Callable[[Collection[str]], Sequence[dg.AssetKey]] = lambda streams: (),
) -> dg.RunRequest | dg.SkipReason:
    """Derive the days of every ingest that no derive covers. `derives`: those that succeeded or may still.

    Waits while an ingest runs, but not longer than DEADLINE after the first news: an outage holds nobody up. The run
    key is the end of the newest ingest: a derive that failed is tried again with the next one. Where files are all the
    news, what they can have changed is derived: that of their streams, by `narrow`; nothing is everything.
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
    request = range_request(first, last, f"{DERIVE}:{max(news.values()).isoformat()}")
    streams = frozenset().union(*(ingest.streams for ingest in news))
    if all(ingest.days is None and ingest.streams for ingest in news) and (selection := narrow(streams)):
        tags = {**request.tags, OF_FILES: ",".join(sorted(streams))}
        request = dg.RunRequest(request.run_key, tags=tags, asset_selection=selection)
    return request


def _derive_sensor(calendar: Calendar) -> dg.SensorDefinition:
    @dg.sensor(
        name="derive_after_ingest",
        job_name=DERIVE,
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Starts `derive` once every ingest has ended, or at a deadline, from whatever is landed.",
    )
    def derive_after_ingest(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.RunRequest | dg.SkipReason:
        yesterday = calendar.now().date() - timedelta(days=1)
        if yesterday < calendar.config.start_date:
            return dg.SkipReason(f"start_date {calendar.config.start_date} is not over yet")
        now = datetime.now(UTC)
        ingests, derives = _recent_runs(context.instance, now - LOOK_BACK)
        narrow = partial(narrowed, calendar, pipeline, context.instance, day=yesterday)
        return decide_derive(ingests, derives, now, yesterday, narrow)

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
        assets = run.asset_selection or ()
        landed = {key.path[-1] for key in assets if key == file_key(key.path[-1])}
        narrow = filter(None, run.tags.get(OF_FILES, "").split(","))
        found = Run(tagged_days(run.tags), started, ended, frozenset(landed or narrow))
        if run.job_name.startswith(ingest_job_name("")) or (assets and all(key.path[0] == "raw" for key in assets)):
            ingests.append(found)
        elif run.job_name == DERIVE and (not run.is_finished or run.is_success):
            derives.append(found)
    return ingests, derives


def _moment(timestamp: float | None) -> datetime | None:
    return datetime.fromtimestamp(timestamp, UTC) if timestamp else None


# -- files


@dataclass(frozen=True)
class AskedFile:
    """A version of a file that a run was asked for: how often, and when last (epoch seconds)."""

    signature: str
    attempts: int
    at: float


def decide_drops(
    wanted: Mapping[str, str], asked: Mapping[str, AskedFile], running: Collection[str], now: float
) -> tuple[dict[str, str], dict[str, AskedFile]]:
    """Of the files `wanted` (name -> signature) those to ask a run for, with its key; and what has been asked for.

    A file whose run has ended and that is still not landed is asked for again, after longer and longer waits.
    """
    keys, known = {}, {}
    for name, signature in wanted.items():
        earlier = asked.get(name)
        if earlier is None or earlier.signature != signature:
            earlier = AskedFile(signature, 0, 0.0)
        wait = min(FIRST_WAIT * 2 ** (earlier.attempts - 1), LONGEST_WAIT) if earlier.attempts else 0
        if name not in running and now >= earlier.at + wait:
            earlier = AskedFile(signature, earlier.attempts + 1, now)
            again = f":{earlier.attempts}" if earlier.attempts > 1 else ""
            keys[name] = f"{name}:{signature}{again}"
        known[name] = earlier
    return keys, known


def _file_sensor(calendar: Calendar) -> dg.SensorDefinition:
    files = calendar.config.files

    @dg.sensor(
        name="file_drops",
        asset_selection=[file_key(stream) for stream in file_streams(files)],
        minimum_interval_seconds=5,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lands files that are new in the inbox, or were replaced, once they stand still, and tells at once "
        "which were refused or fit nowhere. A malformed one fails its own run, once.",
    )
    def file_drops(
        context: dg.SensorEvaluationContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> dg.SensorResult | dg.SkipReason:
        try:
            listing = list_inbox(pipeline.inbox)
        except FileNotFoundError:
            return dg.SkipReason(f"there is no folder {pipeline.inbox}: make it, and drop files there")
        except OSError as error:
            return dg.SkipReason(f"the inbox cannot be read: {error.strerror}")
        cursor = json.loads(context.cursor or "{}")
        before, told = cursor.get("listing", {}), cursor.get("told", {})
        still = {name: found for name, found in listing.items() if before.get(name) == found}
        note_ambiguous(still, files, pipeline.landing)
        wanted, complaints = decide_files(still, held(still, pipeline.inbox, files, pipeline.landing), files)
        asked = {name: AskedFile(*entry) for name, entry in cursor.get("asked", {}).items()}
        signatures = {name: still[name] for name in wanted}
        running = _landing(context.instance)
        keys, asked = decide_drops(signatures, asked, running, time.time())
        found = [each for each in troubles(pipeline.inbox, files, pipeline.landing) if each.file not in running]
        events, told = _news_of_files(found, file_streams(files), told)
        moving = f"{len(listing) - len(still)} files may still be written to" if listing != still else ""
        why = "; ".join(filter(None, [*complaints, moving])) or "nothing new in the inbox"
        return dg.SensorResult(
            run_requests=[
                dg.RunRequest(key, partition_key=name, asset_selection=[file_key(wanted[name])])
                for name, key in keys.items()
            ],
            skip_reason=None if keys else dg.SkipReason(why),
            dynamic_partitions_requests=[file_partitions(wanted[name]).build_add_request([name]) for name in keys],
            asset_events=events,
            cursor=json.dumps({"listing": listing, "told": told, "asked": {n: astuple(a) for n, a in asked.items()}}),
        )

    return file_drops


def _landing(instance: dg.DagsterInstance) -> set[str]:
    """The files that a run is landing, or is going to."""
    running = instance.get_run_records(dg.RunsFilter(statuses=list(NOT_FINISHED)))
    return {record.dagster_run.tags.get("dagster/partition", "") for record in running} - {""}


def _news_of_files(
    found: Sequence[Trouble], streams: Iterable[str], told: Mapping[str, str]
) -> tuple[list[dg.AssetCheckEvaluation], dict[str, str]]:
    """The check `accepted` of each stream of files whose state is another than the one last told, and all states."""
    results = {stream: accepted_result(found, stream) for stream in streams}
    now = {
        stream: "" if result.passed else str(result.metadata["not_landed"].value) for stream, result in results.items()
    }
    return [
        _evaluation(file_key(stream), ACCEPTED, results[stream])
        for stream, state in now.items()
        if state != told.get(stream)
    ], now


def _evaluation(key: dg.AssetKey, check: str, result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """A result as a sensor reports it."""
    return dg.AssetCheckEvaluation(
        asset_key=key, check_name=check, passed=result.passed, metadata=result.metadata, severity=result.severity
    )


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
    def tell_state_changes(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        now, here = datetime.now(UTC), calendar.now()
        keys = [kpi_key(family) for family in calendar.families]
        there = {key: context.instance.get_materialized_partitions(key) for key in keys}
        cursor = json.loads(context.cursor or "{}")
        before, since = cursor.get("state", {}), cursor.get("looked", (now - LOOK_BACK).isoformat())
        state = {
            **_failed_runs(context.instance, datetime.fromisoformat(since) - OVERLAP, before),
            **_failed_checks(context.instance, check_keys, before),
            **_stale_assets(there, calendar, here),
        }
        news = decide_news(before, state)
        if news:
            context.log.warning("\n".join(news))
            tell(news, calendar.config.alerts)
        another = [key for key in there if before.get(_stale_name(key)) != state.get(_stale_name(key))]
        # Only now: when the webhook does not take it, the tick fails and the next one tells the same.
        return dg.SensorResult(
            skip_reason=dg.SkipReason(f"{len(news)} news, {len(state)} things are not well"),
            cursor=json.dumps({"looked": now.isoformat(), "state": state}),
            asset_events=[
                _evaluation(key, FRESHNESS, freshness_result(key, there[key], calendar.config, here)) for key in another
            ],
        )

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


def _stale_assets(there: Mapping[dg.AssetKey, Collection[str]], calendar: Calendar, now: datetime) -> dict[str, str]:
    """KPI assets without a day that must be there by now."""
    stale = {key: stale_days(days, calendar.config, now) for key, days in there.items()}
    return {_stale_name(key): f"stale, {days[0]} is missing" for key, days in stale.items() if days}


def _stale_name(key: dg.AssetKey) -> str:
    return f"asset {key.to_user_string()}"
