"""Events that were sent to us, kept as they came until they are read: `collected/<hour>.jsonl` beside landing.

A line is an event behind its checksum (as in a journal), stamped with the time at which it was received; the hour in a
file's name is of that time, UTC. Files are only ever added to. Whoever is told that an event is kept can rely on it: it
is on the disk by then. A line without an end is of a writer that died: nobody was told that it is kept.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any

from b2b_pipeline.errors import DamagedError
from b2b_pipeline.landing.journal import entry_of, line_of, line_of_text, locked
from b2b_pipeline.privacy import PREFIX, Pseudonyms

PERSONAL = ("email", "user")  # of an event, replaced by keyed hashes before it is written, as `visitor` is
HOUR = timedelta(hours=1)
BATCH = 500  # waiting events that are put on the disk at once
BEAT = {"type": "beat"}  # what is written while nothing comes: a sign of life
EVERY, SILENT = timedelta(minutes=1), timedelta(minutes=5)  # how often; and without any, nobody was there
WAITING = 2000  # batches that may wait for the disk; with more it is too slow

Event = dict[str, Any]


def stamp(at: datetime) -> str:
    """As times are written in the spool: sorted as text they are sorted in time."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Spool:
    """The folder, which machines may share. Without `pseudonyms` it is only read."""

    def __init__(self, folder: Path, pseudonyms: Pseudonyms | None = None) -> None:
        self.folder, self._pseudonyms = folder, pseudonyms

    @property
    def lock(self) -> Path:
        return self.folder / "spool.lock"

    def silences(self, since: datetime, until: datetime) -> Iterator[tuple[datetime, datetime]]:
        """When in `[since, until)` nobody was there who could have received anything."""
        last = since - SILENT
        for line in (*self.read(last, until), {"received_at": stamp(until)}):
            at = datetime.fromisoformat(line["received_at"])
            if at - last > SILENT and at > since:
                yield max(last, since), at
            last = at

    def write(self, events: Sequence[Event], now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Add events, all or none, and wait for the disk. Raises OSError when it takes them not.

        People are replaced by pseudonyms under the same lock that forgetting holds: who is forgotten meanwhile is so
        here too.
        """
        names = self._pseudonyms
        if names is None:
            raise ValueError("this spool is only for reading")
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with locked(self.lock):
            names.reload()
            received = now()
            kept = [_without_people({**event, "received_at": stamp(received)}, names) for event in events]
            _append(self._file(received), b"".join(map(line_of, kept)))

    def read(self, since: datetime, until: datetime) -> Iterator[Event]:
        """Events, and signs of life, received in `[since, until)`, in that order.

        Raises DamagedError for a line that is not as written.
        """
        first, last = stamp(since), stamp(until)
        for path in self.hours(since, until):
            found, damaged = read_lines(path)
            if damaged:
                what = f"{path.name}: {damaged} of its lines are not what was written"
                raise DamagedError(f"{what}: restore {path} from a backup, or delete those lines: they are lost then")
            yield from sorted(
                (event for event in found if first <= event["received_at"] < last),
                key=lambda event: str(event["received_at"]),
            )

    def hours(self, since: datetime, until: datetime) -> list[Path]:
        """The files that may have events received in `[since, until)`, oldest first."""
        first, last = self._file(since).name, self._file(until).name
        return sorted(path for path in self.folder.glob("*.jsonl") if first <= path.name <= last)

    def rewrite(self, change: Callable[[str], str]) -> tuple[int, list[str]]:
        """Pass each event through `change`, which gets and gives its line of JSON.

        Returns how many became others, and what could not be read and so not be searched.
        """
        changed, unread = 0, []
        for path in sorted(self.folder.glob("*.jsonl")):
            with locked(self.lock):  # of one file at a time: who sends events meanwhile waits no longer
                lines, altered = path.read_bytes().split(b"\n"), 0
                for number, line in enumerate(lines[:-1]):
                    if entry_of(line) is None:
                        unread.append(f"not searched, because it is damaged: line {number + 1} of {path}: delete it")
                        continue
                    text = line.partition(b" ")[2].decode()
                    if (new := change(text).rstrip("\n")) != text:
                        lines[number], altered = line_of_text(new).rstrip(b"\n"), altered + 1
                if altered:
                    _replace(path, b"\n".join(lines))
                    changed += altered
        return changed, unread

    def _file(self, at: datetime) -> Path:
        return self.folder / f"{at.astimezone(UTC):%Y-%m-%dT%H}.jsonl"


class Writer:
    """Puts what many requests bring on the disk, many at once: a thread of its own, which is alone in its process."""

    def __init__(self, spool: Spool, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._spool, self._now = spool, now
        self._waiting: Queue[tuple[Sequence[Event], Future[None]]] = Queue(WAITING)
        threading.Thread(target=self._run, name="spool", daemon=True).start()

    def put(self, events: Sequence[Event]) -> Future[None]:
        """Done when the events are on the disk; fails with OSError when they are not."""
        done: Future[None] = Future()
        try:
            self._waiting.put_nowait((events, done))
        except Full:
            done.set_exception(OSError("the disk is too slow"))
        return done

    def _run(self) -> None:
        alive = False
        while True:
            try:
                batch = [self._waiting.get(timeout=EVERY.total_seconds() if alive else 0)]
            except Empty:
                batch = [([BEAT], Future())]
            alive = True
            with suppress(Empty):
                while sum(len(events) for events, _ in batch) < BATCH:
                    batch.append(self._waiting.get_nowait())
            try:
                self._spool.write([event for events, _ in batch for event in events], self._now)
                failed = None
            except Exception as error:  # noqa: BLE001  # whoever waits is told; the thread lives on
                failed = error
            for _, done in batch:
                with suppress(InvalidStateError):  # who waits no longer
                    done.set_exception(failed) if failed else done.set_result(None)


def _without_people(event: Event, names: Pseudonyms) -> Event:
    """Of a visitor who is forgotten the visits stay, though nobody knows whose they were: so what stands for a visitor
    is no pseudonym that forgetting would take away."""
    visitor = event.get("visitor")
    kept = names.scrub(names.apply(dict(event), PERSONAL))
    return {**kept, "visitor": f"v{names.text(visitor).removeprefix(PREFIX)}"} if visitor else kept


def read_lines(path: Path) -> tuple[list[Event], int]:
    """The events of a file, and how many of its lines are damaged."""
    *lines, _ = path.read_bytes().split(b"\n")
    found = [entry_of(line) for line in lines]
    events = [event for event in found if event is not None]
    return events, len(found) - len(events)


def _append(path: Path, text: bytes) -> None:
    """All of it or nothing. A half line that a dead writer left is taken away first."""
    is_new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        size = _whole(descriptor, os.fstat(descriptor).st_size)
        try:
            rest = memoryview(text)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fsync(descriptor)
        except OSError:
            with suppress(OSError):
                os.ftruncate(descriptor, size)
            raise
    finally:
        os.close(descriptor)
    if is_new:
        _sync(path.parent)


def _whole(descriptor: int, size: int) -> int:
    """The size without a last line that has no end, which is cut off."""
    end = size
    while end and os.pread(descriptor, 1, end - 1) != b"\n":
        start = max(0, end - 65_536)
        found = os.pread(descriptor, end - start, start).rfind(b"\n")
        end = start + found + 1 if found >= 0 else start
    if end != size:
        os.ftruncate(descriptor, end)
    return end


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.part")
    with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
