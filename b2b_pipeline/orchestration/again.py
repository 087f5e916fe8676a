"""A vendor that wanted to be left alone is asked again once its time has come, and only for what failed.

Until when is kept in the failed run's own events, so it outlives a restart. The run that asks again carries the ids of
those before it: what they landed is not read again.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from dagster import DagsterRunStatus

from b2b_pipeline.orchestration.assets.raw import raw_key
from b2b_pipeline.orchestration.common import AGAIN, EARLY, WAIT_UNTIL, Calendar
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START, ingest_job_name, tagged_days

LOOK_BACK = timedelta(days=8)  # a day longer than the longest wait
LINEAGE = 20  # runs before it that a run knows of


@dataclass(frozen=True)
class Asked:
    """A run that read streams of one source for some days. `until`: the vendor wants to be left alone until then."""

    run_id: str
    source: str
    streams: frozenset[str]
    days: tuple[date, date]
    created: datetime
    until: datetime | None = None
    before: tuple[str, ...] = ()
    early: str = ""  # it reads snapshots whose turn has not come

    def repeats(self, other: "Asked") -> bool:
        """Whether this run asked for all that the other one did not get, after it."""
        return (
            self.source == other.source
            and self.created > other.created
            and self.streams >= other.streams
            and self.days[0] <= other.days[0]
            and other.days[1] <= self.days[1]
        )


def decide_again(runs: Collection[Asked], now: datetime) -> list[Asked] | dg.SkipReason:
    """The runs to repeat: those that a vendor stopped, whose time has come, and that nothing has repeated since."""
    stopped = [run for run in runs if run.until and not any(other.repeats(run) for other in runs)]
    due = [run for run in stopped if run.until and run.until <= now]
    if due:
        return due
    waiting = "; ".join(f"{run.source} is asked again at {run.until:%Y-%m-%d %H:%M} UTC" for run in stopped)
    return dg.SkipReason(waiting or "no vendor wants to be left alone")


def again_sensor(calendar: Calendar) -> dg.SensorDefinition:
    keys = [raw_key(source, stream.name) for source in calendar.config.sources for stream in calendar.streams(source)]

    @dg.sensor(
        name="ask_again",
        asset_selection=keys,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks a vendor again that wanted to be left alone until now (a quota, an announced outage).",
    )
    def ask_again(context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        now = datetime.now(UTC)
        decided = decide_again(_runs(context.instance, keys, now - LOOK_BACK), now)
        return decided if isinstance(decided, dg.SkipReason) else [_request(run) for run in decided]

    return ask_again


def _request(run: Asked) -> dg.RunRequest:
    first, last = (day.isoformat() for day in run.days)
    lineage = ",".join([*run.before, run.run_id][-LINEAGE:])
    return dg.RunRequest(
        f"again:{run.source}:{run.run_id}",
        tags={RANGE_START: first, RANGE_END: last, AGAIN: lineage, **({EARLY: run.early} if run.early else {})},
        asset_selection=[raw_key(run.source, stream) for stream in sorted(run.streams)],
    )


def _runs(instance: dg.DagsterInstance, keys: Collection[dg.AssetKey], since: datetime) -> list[Asked]:
    """Every run of raw assets since then; of one that failed and was told to wait, only the streams that failed."""
    by_step = {"__".join(key.path): key for key in keys}
    found = []
    for record in instance.get_run_records(dg.RunsFilter(created_after=since)):
        run, days = record.dagster_run, tagged_days(record.dagster_run.tags)
        if days is None or run.status == DagsterRunStatus.CANCELED:
            continue
        asked = run.asset_selection or {key for key in keys if run.job_name == ingest_job_name(key.path[1])}
        until, failed = wait_of(instance, run) if run.status == DagsterRunStatus.FAILURE else (None, set())
        left = {by_step[step] for step in failed if step in by_step} if until else asked & {*keys}
        before = tuple(filter(None, run.tags.get(AGAIN, "").split(",")))
        for source, streams in _by_source(left).items():
            early = run.tags.get(EARLY, "")
            found.append(Asked(run.run_id, source, streams, days, record.create_timestamp, until, before, early))
    return found


def _by_source(keys: Collection[dg.AssetKey]) -> Mapping[str, frozenset[str]]:
    sources = sorted({key.path[1] for key in keys})
    return {source: frozenset(key.path[2] for key in keys if key.path[1] == source) for source in sources}


def wait_of(instance: dg.DagsterInstance, run: dg.DagsterRun) -> tuple[datetime | None, set[str]]:
    """Until when a failed run was told to wait, None when it was not; and its steps that failed."""
    untils, steps = [], set()
    for step, metadata in _failures(instance, run.run_id):
        steps.add(step)
        if WAIT_UNTIL in metadata:
            untils.append(datetime.fromisoformat(str(metadata[WAIT_UNTIL].value)))
    return max(untils, default=None), steps


def _failures(instance: dg.DagsterInstance, run_id: str) -> Iterator[tuple[str, Mapping[str, dg.MetadataValue[Any]]]]:
    records = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.STEP_FAILURE).records
    for event in (record.event_log_entry.dagster_event for record in records):
        if event is not None and event.step_key:
            told = event.step_failure_data.user_failure_data
            yield event.step_key, told.metadata if told else {}
