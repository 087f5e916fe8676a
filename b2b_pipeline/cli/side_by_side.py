"""Sources read side by side, in a few processes that take them in turn: in one, Dagster executes one run at a time.

The processes are forked when everything is imported and built and nothing is open: no thread's lock and no database of
this process goes with them, and none of them has to do that again.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
from collections import deque
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

AT_ONCE = 8  # sources, as many as a daemon's runs that read (dagster.yaml): each takes some 100 MB
PATIENCE = 15.0  # seconds that an interrupted process has to end
Runs = Mapping[str, Sequence[tuple[date, date]]]
Read = Callable[["Launcher", str, date, date], str]  # of a source these days; what went wrong


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
    source: str = ""  # that it reads now


Ingest = Callable[["Launcher", Runs], Iterator[Step]]


def pulled(launcher: Launcher, source: str, start: date, end: date) -> str:
    return launcher.ingest(source, start, end)


@contextmanager
def readers(sources: Sequence[str], open_launcher: Callable[[], Launcher], read: Read = pulled) -> Iterator[Ingest]:
    """What lands the runs of each source in their order, AT_ONCE sources at once, and ends what it started however it
    ends.

    open_launcher: what each process opens for itself.
    """
    if len(sources) < 2:
        yield partial(here, read=read)
        return
    from b2b_pipeline.orchestration.build import end_with_the_run

    context = multiprocessing.get_context("fork")
    started: list[_Reader] = []
    gc.collect()
    gc.freeze()  # what is there by now is nobody's garbage: looking for some would copy its pages into each process
    try:
        for _ in range(min(len(sources), AT_ONCE)):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(theirs, open_launcher, read, end_with_the_run), daemon=True)
            process.start()
            theirs.close()
            started.append(_Reader(process, ours))
        yield partial(_ingest, started, read)
    finally:
        gc.unfreeze()
        _end(started)


def here(launcher: Launcher, runs: Runs, read: Read = pulled) -> Iterator[Step]:
    """Land them one after the other in this process."""
    for source, ranges in runs.items():
        for start, end in ranges:
            yield Step(source, start, end)
            yield Step(source, start, end, read(launcher, source, start, end))


def _ingest(started: Sequence[_Reader], read: Read, launcher: Launcher, runs: Runs) -> Iterator[Step]:
    left = {source: list(ranges) for source, ranges in runs.items() if ranges}
    if len(left) < 2:
        yield from here(launcher, left, read)
        return
    waiting = deque(left)
    working: dict[Any, _Reader] = {}

    def give(reader: _Reader) -> None:
        reader.source = waiting.popleft() if waiting else ""
        if reader.source:
            working[reader.pipe] = reader
            with suppress(OSError):  # it is gone: reading from it says so
                reader.pipe.send((reader.source, left[reader.source]))

    for reader in started:
        give(reader)
    while working:
        for pipe in wait(list(working)):
            reader, is_gone = working[pipe], False
            try:
                told: Step | str | None = reader.pipe.recv()
            except (EOFError, OSError):
                reader.process.join()
                told, is_gone = f"its process ended with {reader.process.exitcode}", True
            if isinstance(told, Step):
                if told.problem is not None:
                    left[told.source].remove((told.start, told.end))
                yield told
                continue
            if told:
                yield from (Step(reader.source, *days, f"{reader.source}: {told}") for days in left[reader.source])
            del working[pipe]
            if not is_gone:
                give(reader)
    for source in waiting:
        yield from (Step(source, *days, f"{source}: no process is left to read it") for days in left[source])
    _end(started)


def _end(started: Sequence[_Reader]) -> None:
    """As Ctrl-C does, which a terminal tells to each of them and a signal to this process alone; then by force."""
    for reader in started:
        if not reader.source:
            reader.process.kill()
        elif reader.process.pid and reader.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(reader.process.pid, signal.SIGINT)
    for reader in started:
        reader.process.join(PATIENCE)
        reader.process.kill()
        reader.process.join()


def _work(
    pipe: Connection[Any, Any], open_launcher: Callable[[], Launcher], read: Read, end_with_the_run: Callable[[], None]
) -> None:
    """Read one source after the other; of each, tell its steps, then what broke it, or None."""
    launcher: Launcher | None = None
    with suppress(KeyboardInterrupt, EOFError):
        end_with_the_run()
        while True:
            source, ranges = pipe.recv()
            try:
                launcher = launcher or open_launcher()
                for step in here(launcher, {source: ranges}, read):
                    pipe.send(step)
                pipe.send(None)
            except Exception as error:  # noqa: BLE001 - such as a full disk: it is told, not shown with its trace
                from b2b_pipeline.failures import explained
                from b2b_pipeline.privacy import mask

                pipe.send(mask(str(error if isinstance(error, PipelineError) else explained(error))))
