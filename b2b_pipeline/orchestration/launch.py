"""Runs launched from the command line: whole ranges in one process, recorded by the same instance that the UI shows."""

import os
import select
import signal
import socket
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any

import dagster as dg

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.files.inbox import decide_files, held, note_ambiguous, standing
from b2b_pipeline.files.refusals import Refusal, Refusals
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.orchestration.assets.kpi import kpi_key
from b2b_pipeline.orchestration.assets.raw import file_key, file_partitions, raw_key
from b2b_pipeline.orchestration.common import EARLY, Calendar
from b2b_pipeline.orchestration.freshness import FRESHNESS
from b2b_pipeline.orchestration.jobs import DERIVE, RANGE_END, RANGE_START, ingest_job_name
from b2b_pipeline.orchestration.narrow import narrowed
from b2b_pipeline.pipeline import Pipeline

DAY = timedelta(days=1)
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def announce_ranges_at_once() -> None:
    """For the process of a command: a range run's partitions are announced in one event instead of one each. The days
    of a failed run then show as missing."""
    os.environ.setdefault("DAGSTER_EMIT_PARTITION_SUBSET_IN_PLANNED_EVENTS", "1")


class Launcher:
    """Launches runs of one code location against one Dagster instance."""

    def __init__(self, defs: dg.Definitions, pipeline: Pipeline, instance: dg.DagsterInstance) -> None:
        self._defs, self._pipeline, self._instance = defs, pipeline, instance

    def ingest(self, source: str, start: date, end: date) -> str:
        """Land days `start` to `end`, both included, of the streams that the vendor still tells all of them of. Returns
        what went wrong, empty when nothing did."""
        oldest, tags = self._oldest(source), {RANGE_START: start.isoformat(), RANGE_END: end.isoformat()}
        told = [raw_key(source, name) for name, day in oldest.items() if start >= day]
        job = self._defs.resolve_job_def(ingest_job_name(source))
        return self._execute(job, tags=tags, asset_selection=told if len(told) < len(oldest) else None)

    def sweep(self, source: str, streams: Sequence[str], day: date) -> str:
        """Land snapshots now, whosever turn it is, as of `day`."""
        days = {RANGE_START: day.isoformat(), RANGE_END: day.isoformat()}
        job = self._defs.resolve_job_def(ingest_job_name(source))
        selection = [raw_key(source, stream) for stream in streams]
        return self._execute(job, tags={**days, EARLY: "by hand"}, asset_selection=selection)

    def derive(self, start: date, end: date) -> str:
        """Core tables and KPIs of days `start` to `end`, both included."""
        return self._run(DERIVE, {RANGE_START: start.isoformat(), RANGE_END: end.isoformat()})

    def derive_files(self, streams: Collection[str], day: date) -> str:
        """What files of these streams can have changed, as of `day`; everything, where something else is late."""
        selection = narrowed(Calendar(self._pipeline.config), self._pipeline, self._instance, streams, day)
        if not selection:
            return self.derive(day, day)
        tags = {RANGE_START: day.isoformat(), RANGE_END: day.isoformat()}
        return self._execute(self._defs.resolve_job_def(DERIVE), tags=tags, asset_selection=selection)

    def freshness(self) -> str:
        """Judge the freshness of every KPI, which `derive` leaves to a job of its own."""
        return self._run(FRESHNESS, {})

    def files(self) -> tuple[dict[str, str], list[str]]:
        """The news of the inbox and the stream that each lands in; what is wrong with files that are left there."""
        inbox, files = self._pipeline.inbox, self._pipeline.config.files
        if not inbox.is_dir():
            return {}, [f"there is no folder {inbox}"] if files else []
        landing, (listing, moving) = self._pipeline.landing, standing(inbox)
        refusals = Refusals(landing.root)
        for name in moving:
            refusals.note(Refusal(name, "", "unread", "it is still being written"))
        note_ambiguous(listing, files, landing)
        wanted, complaints = decide_files(listing, held(listing, inbox, files, landing), files)
        return wanted, [*complaints, *(f"{name} is still being written: the next backfill takes it" for name in moving)]

    def land(self, name: str, stream: str) -> str:
        self._instance.add_dynamic_partitions(file_partitions(stream).name or "", [name])
        job = self._defs.resolve_implicit_global_asset_job_def()
        return self._execute(job, asset_selection=[file_key(stream)], partition_key=name)

    def missing(self, source: str, start: date, end: date, *, again: bool = False) -> list[tuple[date, date]]:
        """The parts of `start` to `end` in which some stream of the source was not materialised, as ranges, each of
        which the vendor tells of the same streams. What it keeps no more is not missed. `again`: what there is, too."""
        oldest = self._oldest(source)
        return self._gaps({raw_key(source, name): day for name, day in oldest.items()}, start, end, again=again)

    def _oldest(self, source: str) -> dict[str, date]:
        """Stream -> the first day that the vendor still tells of."""
        config = self._pipeline.config
        today = datetime.now(config.zone).date()
        kept = {
            stream.name: None if config.sources[source].warehouse else stream.policy.kept
            for stream in SOURCES[source].switched_on(config)
        }
        return {name: date.min if limit is None else today - limit + DAY for name, limit in kept.items()}

    def underived(self, start: date, end: date) -> list[tuple[date, date]]:
        keys = (kpi_key(family) for family in families_of(self._pipeline.config))
        return self._gaps(dict.fromkeys(keys, date.min), start, end)

    def _gaps(
        self, since: Mapping[dg.AssetKey, date], start: date, end: date, *, again: bool = False
    ) -> list[tuple[date, date]]:
        """Where one of the assets is not materialised, from its own day on: cut where another one comes to it."""
        done = {key: set() if again else self._instance.get_materialized_partitions(key) for key in since}
        gaps: list[tuple[date, date]] = []
        for ordinal in range(start.toordinal(), end.toordinal() + 1):
            day = date.fromordinal(ordinal)
            if all(day < oldest or day.isoformat() in done[key] for key, oldest in since.items()):
                continue
            if gaps and gaps[-1][1] == day - DAY and day not in since.values():
                gaps[-1] = (gaps[-1][0], day)
            else:
                gaps.append((day, day))
        return gaps

    def _run(self, job: str, tags: dict[str, str]) -> str:
        return self._execute(self._defs.resolve_job_def(job), tags=tags)

    def _execute(self, job: dg.JobDefinition, **options: Any) -> str:
        """What went wrong. Raises KeyboardInterrupt after an interrupt, which Dagster may take for a failed step."""
        with _interrupts() as heard:
            result = job.execute_in_process(instance=self._instance, raise_on_error=False, run_config=QUIET, **options)
            if heard():
                raise KeyboardInterrupt
        return _problem(result)


@contextmanager
def _interrupts() -> Iterator[Callable[[], bool]]:
    """Tells whether a signal has arrived meanwhile, whoever handled it."""
    ours, pythons = socket.socketpair()
    with ours, pythons:
        for end in (ours, pythons):
            end.setblocking(False)
        before = signal.set_wakeup_fd(pythons.fileno())
        try:
            yield lambda: bool(select.select([ours], [], [], 0)[0])
        finally:
            signal.set_wakeup_fd(before)


def _problem(result: dg.ExecuteInProcessResult) -> str:
    if result.success:
        return ""
    for event in result.all_events:
        if event.is_step_failure:
            failure = event.step_failure_data
            told = failure.user_failure_data
            error = failure.error.cause or failure.error if failure.error else None
            text = told.description if told and told.description else error.message if error else ""
            return f"{event.step_key}: {(text or 'failed').strip().splitlines()[0]}"
    return f"run {result.run_id} failed"
