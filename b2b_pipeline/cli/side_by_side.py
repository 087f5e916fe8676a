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
from dataclasses import dataclass
from datetime import date
from functools import partial
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, NamedTuple

from b2b_pipeline.errors import PipelineError

if TYPE_CHECKING:
    from b2b_pipeline.orchestration.launch import Launcher

PATIENCE = 15.0  # seconds that an interrupted process has to end
Runs = Mapping[str, Sequence[tuple[date, date]]]


class Step(NamedTuple):
    """Of one run of a source: it begins (`problem` None), or it ended and this went wrong, empty when nothing did."""

    source: str
    start: date
    end: date
    problem: str | None = None


@dataclass
class _Reader:
    process: BaseProcess
    pipe: Connection[Any, Any]
    is_busy: bool = False


Ingest = Callable[["Launcher", Runs], Iterator[Step]]


@contextmanager
def readers(sources: Sequence[str], open_launcher: Callable[[], Launcher]) -> Iterator[Ingest]:
    """What lands the runs of each source in their order, all sources at once, and ends what it started however it ends.

    open_launcher: what each process opens for itself.
    """
    if len(sources) < 2:
        yield ingest_here
        return
    from b2b_pipeline.orchestration.build import end_with_the_run

    context = multiprocessing.get_context("fork")
    started: dict[str, _Reader] = {}
    try:
        for source in sources:
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(source, theirs, open_launcher, end_with_the_run), daemon=True)
            process.start()
            theirs.close()
            started[source] = _Reader(process, ours)
        yield partial(_ingest, started)
    finally:
        _end(started)


def ingest_here(launcher: Launcher, runs: Runs) -> Iterator[Step]:
    """Land them one after the other in this process."""
    for source, ranges in runs.items():
        for start, end in ranges:
            yield Step(source, start, end)
            yield Step(source, start, end, launcher.ingest(source, start, end))


def _ingest(started: Mapping[str, _Reader], launcher: Launcher, runs: Runs) -> Iterator[Step]:
    left = {source: list(ranges) for source, ranges in runs.items() if ranges}
    if len(left) < 2:
        yield from ingest_here(launcher, left)
        return
    told: dict[Any, str] = {started[source].pipe: source for source in left}
    for source, ranges in left.items():
        with suppress(OSError):  # it is gone: reading from it says so
            started[source].is_busy = True
            started[source].pipe.send(ranges)
    while told:
        for pipe in wait(list(told)):
            source = told[pipe]
            try:
                step: Step | str = started[source].pipe.recv()
            except (EOFError, OSError):  # it is done, or gone
                started[source].process.join()
                step = f"its process ended with {started[source].process.exitcode}"
            if isinstance(step, str):
                del told[pipe]
                yield from (Step(source, start, end, f"{source}: {step}") for start, end in left[source])
                continue
            if step.problem is not None:
                left[source].remove((step.start, step.end))
            yield step
    _end(started)


def _end(started: Mapping[str, _Reader]) -> None:
    """As Ctrl-C does, which a terminal tells to each of them and a signal to this process alone; then by force."""
    for reader in started.values():
        if not reader.is_busy:
            reader.process.kill()
        elif reader.process.pid and reader.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(reader.process.pid, signal.SIGINT)
    for reader in started.values():
        reader.process.join(PATIENCE)
        reader.process.kill()
        reader.process.join()


def _work(
    source: str,
    pipe: Connection[Any, Any],
    open_launcher: Callable[[], Launcher],
    end_with_the_run: Callable[[], None],
) -> None:
    with suppress(KeyboardInterrupt, EOFError):
        end_with_the_run()
        runs = {source: pipe.recv()}
        try:
            for step in ingest_here(open_launcher(), runs):
                pipe.send(step)
        except Exception as error:  # noqa: BLE001 - such as a full disk: it is told, not shown with its trace
            from b2b_pipeline.failures import explained
            from b2b_pipeline.privacy import mask

            pipe.send(mask(str(error if isinstance(error, PipelineError) else explained(error))))
