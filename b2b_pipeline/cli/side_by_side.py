"""Sources read side by side, a process for each: in one process Dagster executes one run at a time."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import date
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from b2b_pipeline.orchestration.launch import Launcher

NOTICED = 0.5  # seconds until it is that a process is gone
PATIENCE = 15.0  # seconds that an interrupted process has to end


class Step(NamedTuple):
    """Of one run of a source: it begins (`problem` None), or it ended and this went wrong, empty when nothing did."""

    source: str
    start: date
    end: date
    problem: str | None = None


def prepare() -> None:
    """Start the server that forks the processes: it imports everything once, beside what this process does until then.

    Forked from this one they would have its threads' locks and its open databases.
    """
    multiprocessing.set_forkserver_preload(["b2b_pipeline.orchestration.launch", "b2b_pipeline.orchestration.build"])
    forkserver.ensure_running()


def ingest(launcher: Launcher, runs: Mapping[str, Sequence[tuple[date, date]]]) -> Iterator[Step]:
    """Land the runs of each source in their order, all sources at once. Ends what it started however it ends."""
    busy = {source: ranges for source, ranges in runs.items() if ranges}
    if len(busy) < 2:
        yield from ingest_here(launcher, busy)
        return
    context = multiprocessing.get_context("forkserver")
    told = context.Queue()
    processes: dict[str, BaseProcess] = {
        source: context.Process(target=_work, args=(source, ranges, told, dict(os.environ)), daemon=True)
        for source, ranges in busy.items()
    }
    try:
        for process in processes.values():
            process.start()
        yield from _told(told, processes, busy)
    finally:
        _end(processes.values())


def _told(told: Any, processes: Mapping[str, BaseProcess], busy: Mapping[str, Sequence[Any]]) -> Iterator[Step]:
    left = {source: list(ranges) for source, ranges in busy.items()}
    while any(left.values()):
        gone = [source for source, process in processes.items() if left[source] and not process.is_alive()]
        try:
            while True:
                step: Step = told.get(timeout=NOTICED)
                if step.problem is not None:
                    left[step.source].remove((step.start, step.end))
                yield step
        except Empty:  # what those who are gone had to say is said
            for source in gone:
                for start, end in left[source]:
                    yield Step(source, start, end, f"{source}: its process ended with {processes[source].exitcode}")
                left[source] = []


def _end(processes: Sequence[BaseProcess] | Any) -> None:
    """As Ctrl-C does, which a terminal tells to each of them and a signal to this process alone; then by force."""
    for process in processes:
        if process.pid and process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    for process in processes:
        if process.pid:
            process.join(PATIENCE)
            process.kill()
            process.join()


def _work(source: str, ranges: Sequence[tuple[date, date]], told: Any, environment: Mapping[str, str]) -> None:
    from b2b_pipeline.cli.backfill import open_launcher
    from b2b_pipeline.cli.common import pipeline
    from b2b_pipeline.orchestration.build import end_with_the_run

    end_with_the_run()
    os.environ.clear()
    os.environ.update(environment)
    with suppress(KeyboardInterrupt):
        for step in ingest_here(open_launcher(pipeline()), {source: ranges}):
            told.put(step)


def ingest_here(launcher: Launcher, runs: Mapping[str, Sequence[tuple[date, date]]]) -> Iterator[Step]:
    """Land them one after the other in this process."""
    for source, ranges in runs.items():
        for start, end in ranges:
            yield Step(source, start, end)
            yield Step(source, start, end, launcher.ingest(source, start, end))
