"""Sources read side by side, a process for each: in one process Dagster executes one run at a time.

The processes are forked when everything is imported and built and nothing is open: no thread's lock and no database of
this process goes with them, and none of them has to do that again.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from queue import Empty
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from b2b_pipeline.orchestration.launch import Launcher

NOTICED = 0.5  # seconds until it is that a process is gone
PATIENCE = 15.0  # seconds that an interrupted process has to end
Runs = Mapping[str, Sequence[tuple[date, date]]]


class Step(NamedTuple):
    """Of one run of a source: it begins (`problem` None), or it ended and this went wrong, empty when nothing did."""

    source: str
    start: date
    end: date
    problem: str | None = None


class _Reader(NamedTuple):
    process: BaseProcess
    inbox: Connection[Any, Any]


Ingest = Callable[["Launcher", Runs], Iterator[Step]]


@contextmanager
def readers(sources: Sequence[str], open_launcher: Callable[[], Launcher]) -> Iterator[Ingest]:
    """What lands the runs of each source in their order, all sources at once, and ends what it started however it ends.

    open_launcher: what each process opens for itself.
    """
    if len(sources) < 2:
        yield ingest_here
        return
    context = multiprocessing.get_context("fork")
    told, started = context.Queue(), dict[str, _Reader]()
    try:
        for source in sources:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(source, theirs, told, open_launcher), daemon=True)
            process.start()
            theirs.close()
            started[source] = _Reader(process, ours)
        yield partial(_ingest, started, told)
    finally:
        _end(started)


def ingest_here(launcher: Launcher, runs: Runs) -> Iterator[Step]:
    """Land them one after the other in this process."""
    for source, ranges in runs.items():
        for start, end in ranges:
            yield Step(source, start, end)
            yield Step(source, start, end, launcher.ingest(source, start, end))


def _ingest(started: Mapping[str, _Reader], told: Any, launcher: Launcher, runs: Runs) -> Iterator[Step]:
    left = {source: list(ranges) for source, ranges in runs.items() if ranges}
    if len(left) < 2:
        yield from ingest_here(launcher, left)
        return
    for source in left:
        started[source].inbox.send(runs[source])
    while any(left.values()):
        gone = [source for source in left if left[source] and not started[source].process.is_alive()]
        try:
            while True:
                step: Step = told.get(timeout=NOTICED)
                if step.problem is not None:
                    left[step.source].remove((step.start, step.end))
                yield step
        except Empty:  # what those who are gone had to say is said
            for source in gone:
                why = f"{source}: its process ended with {started[source].process.exitcode}"
                yield from (Step(source, start, end, why) for start, end in left[source])
                left[source] = []
    _end(started)


def _end(started: Mapping[str, _Reader]) -> None:
    """As Ctrl-C does, which a terminal tells to each of them and a signal to this process alone; then by force."""
    for process, _ in started.values():
        if process.pid and process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGINT)
    for process, _ in started.values():
        process.join(PATIENCE)
        process.kill()
        process.join()


def _work(source: str, inbox: Connection[Any, Any], told: Any, open_launcher: Callable[[], Launcher]) -> None:
    from b2b_pipeline.orchestration.build import end_with_the_run

    end_with_the_run()
    with suppress(KeyboardInterrupt, EOFError):
        for step in ingest_here(open_launcher(), {source: inbox.recv()}):
            told.put(step)
