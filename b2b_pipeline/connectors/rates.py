"""What a vendor allows in so many seconds, kept by all threads and processes of this home with the same credentials.

A vendor counts a call when it arrives, which is some time between its sending and its answer. So a call has its place
from when it is sent, and keeps it until so many seconds after its answer: then no window of the vendor's holds more.

The places are in a SQLite file of the home, for each source is read in a process of its own, and backfills run beside
the night. Libraries (pyrate-limiter 4.5 was tried) count a call once, when it is let in.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from b2b_pipeline.configuration import settings

LOST = 900.0  # seconds after which a call without an answer has none any more: its process was killed
AGAIN = 0.05  # seconds after which to ask again when only calls that are under way hold the places


@dataclass(frozen=True)
class Rate:
    """At most `most` calls in any `seconds`.

    `paths` is a regular expression: only calls whose path it matches count, and they count for no rate of other paths.
    Without it all other calls count. Several rates of the same paths hold together.
    """

    most: int
    seconds: float
    paths: str = ""


_SCHEMA = """
create table if not exists place (id integer primary key, at real not null, answered integer not null default 0);
create index if not exists place_by_time on place (at);
"""


@dataclass
class Bucket:
    """The places of calls of the same paths."""

    rates: Sequence[Rate]
    path: Path
    _here: threading.local = field(default_factory=threading.local)  # a connection is of one thread, and of no fork

    def take(self) -> int | float:
        """The place (a number) of a call that is sent now, else after how many seconds to ask for one again."""
        with self._turn() as connection:
            now = time.monotonic()
            longest = max(rate.seconds for rate in self.rates)
            # The clock begins anew with the machine: what lies ahead is of before.
            gone = "delete from place where (answered and at <= ?) or (not answered and at <= ?) or at > ?"
            connection.execute(gone, (now - longest, now - longest - LOST, now + 1))
            wait = max(self._wait(connection, rate, now) for rate in self.rates)
            if wait > 0:
                return wait
            place = connection.execute("insert into place (at) values (?) returning id", (now,)).fetchone()[0]
        return int(place)

    def answered(self, place: int) -> None:
        """The call of this place has its answer, or will have none: from now on it counts from now."""
        with self._turn() as connection:
            connection.execute("update place set at = ?, answered = 1 where id = ?", (time.monotonic(), place))

    @staticmethod
    def _wait(connection: sqlite3.Connection, rate: Rate, now: float) -> float:
        """Seconds until a call keeps to a rate, at least; what is under way counts from now."""
        ended = [
            at
            for (at,) in connection.execute(
                "select at from place where answered and at > ? order by at", (now - rate.seconds,)
            )
        ]
        (under_way,) = connection.execute("select count(*) from place where not answered").fetchone()
        too_many = len(ended) + under_way + 1 - rate.most
        if too_many <= 0:
            return 0.0
        return ended[too_many - 1] + rate.seconds - now if too_many <= len(ended) else AGAIN

    @contextmanager
    def _turn(self) -> Iterator[sqlite3.Connection]:
        """The file, for this call alone."""
        if getattr(self._here, "pid", None) != os.getpid():
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            connection = sqlite3.connect(self.path, timeout=60, isolation_level=None)
            connection.execute("pragma synchronous = off")  # a count that a power loss takes away is soon over
            connection.executescript(_SCHEMA)
            self._here.connection, self._here.pid = connection, os.getpid()
        connection = self._here.connection
        connection.execute("begin immediate")
        try:
            yield connection
        finally:
            connection.execute("commit")


class Limits:
    """The rates of one vendor for one set of credentials."""

    def __init__(self, host: str, identity: str, rates: Sequence[Rate]) -> None:
        groups = sorted({rate.paths for rate in rates}, key=lambda paths: not paths)  # those of all others last
        self._buckets = [
            (paths, Bucket([rate for rate in rates if rate.paths == paths], _file(host, identity, paths)))
            for paths in groups
        ]

    def bucket(self, path: str) -> Bucket | None:
        """The places for calls of a path; None where there is no limit."""
        return next((bucket for paths, bucket in self._buckets if re.search(paths, path)), None)


def _file(*about: str) -> Path:
    """Where the places are; its name tells nothing of the credentials."""
    digest = hashlib.sha256("\n".join(about).encode()).hexdigest()[:32]
    return folder() / f"{digest}.sqlite"


def folder() -> Path:
    return settings.home() / "rates"
