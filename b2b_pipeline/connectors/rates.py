"""What a vendor allows in so many seconds, kept by all threads of this process that ask it with the same credentials.

A vendor counts a call when it arrives, which is some time between its sending and its answer. So a call has its place
from when it is sent, and keeps it until so many seconds after its answer: then no window of the vendor's holds more.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import pyrate_limiter
from pyrate_limiter import InMemoryBucket, RateItem


@dataclass(frozen=True)
class Rate:
    """At most `most` calls in any `seconds`.

    `paths` is a regular expression: only calls whose path it matches count, and they count for no rate of other paths.
    Without it all other calls count. Several rates of the same paths hold together.
    """

    most: int
    seconds: float
    paths: str = ""


class Bucket:
    """The places of calls of the same paths."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        self._lock = threading.Lock()
        self._sent: list[RateItem] = []  # without an answer yet
        self._bucket = InMemoryBucket([pyrate_limiter.Rate(rate.most, int(rate.seconds * 1000)) for rate in rates])

    def take(self) -> RateItem | float:
        """A place for a call that is sent now, else after how many seconds to ask for one again."""
        with self._lock:
            now = _now()
            self._count(self._sent, now)
            self._bucket.leak(now)
            item = RateItem("", now)
            if self._bucket.put(item):
                self._sent.append(item)
                return item
            wait = self._bucket.waiting(item)
            assert isinstance(wait, int)  # only those of buckets elsewhere are awaited
            return max(wait, 1) / 1000

    def answered(self, item: RateItem) -> None:
        """The call of this place has its answer, or will have none."""
        with self._lock:
            self._sent.remove(item)
            self._count([item], _now())

    def _count(self, items: Iterable[RateItem], now: int) -> None:
        """From now on they count from now."""
        for item in items:
            with suppress(ValueError):  # it was long on its way, and its place gone
                self._bucket.items.remove(item)
            item.timestamp = now
            self._bucket.items.append(item)


def _now() -> int:
    return time.monotonic_ns() // 1_000_000


class Limits:
    """The rates of one vendor for one set of credentials."""

    def __init__(self, rates: Sequence[Rate]) -> None:
        groups = sorted({rate.paths for rate in rates}, key=lambda paths: not paths)  # those of all others last
        self._buckets = [(paths, Bucket([rate for rate in rates if rate.paths == paths])) for paths in groups]

    def bucket(self, path: str) -> Bucket | None:
        """The places for calls of a path; None where there is no limit."""
        return next((bucket for paths, bucket in self._buckets if re.search(paths, path)), None)


_all: dict[tuple[object, ...], Limits] = {}
_lock = threading.Lock()


def limits(host: str, identity: str, rates: Sequence[Rate]) -> Limits:
    """Those that this process has for a vendor's host and credentials."""
    with _lock:
        return _all.setdefault((host, identity, *rates), Limits(rates))
