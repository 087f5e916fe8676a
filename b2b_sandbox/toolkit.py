"""What the twins share, each once: how a vendor words its troubles, who is let in and how fast, pages, what it shows.

A vendor is then a module with its `routes`, its shapes over the world, its peculiarities, and its `DIALECT`: see
pipedrive.py, which is one that was written with this.
"""

from __future__ import annotations

import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import dialects, tokens

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from starlette.requests import Request

    from b2b_sandbox.world import World

DAY = 86_400.0
Shown = dict[str, Any]  # a record as the vendor shows it
T = TypeVar("T")


@dataclass(frozen=True)
class Dialect:
    """How a vendor words what goes wrong, for faults.py; what it has no words for cannot be shown.

    throttled: by the seconds to wait, if any, and whether it is the day's quota that is used up.
    broken: an error 500 in its words. expired: an access token that is no longer good.
    platform_throttled: by what stands before the API, with the seconds to wait.
    missing_scope: a scope that was not granted. expired_cursor: a page that cannot be followed any more.
    cursor: of a request for a following page, given what it asks for; repeat: put that cursor into its answer.
    rows: the members of an answer that may hold records. token_route: whether it gives out tokens.
    """

    throttled: Callable[[int | None, bool], Response] | None = None
    broken: Callable[[], Response] = lambda: dialects.html(500, "500 Internal Server Error")
    expired: Callable[[], Response] | None = None
    platform_throttled: Callable[[int], Response] | None = None
    missing_scope: Callable[[str], Response] | None = None
    expired_cursor: Callable[[], Response] | None = None
    cursor: Callable[[Request, Shown], str] | None = None
    repeat: Callable[[str, Shown], None] | None = None
    rows: tuple[str, ...] = ()
    token_route: bool = False
    announces_totals: bool = False


def asked_by(*names: str) -> Callable[[Request, Shown], str]:
    """The cursor is the first of these parameters that a request has."""
    return lambda request, asked: next((str(asked[name]) for name in names if asked.get(name)), "")


class Refused(Exception):
    """The answer that ends a request."""

    def __init__(self, answer: Response) -> None:
        super().__init__(answer.status_code)
        self.answer = answer


@dataclass(frozen=True)
class Meter:
    """Counts what was let in during the last `seconds`: requests, or what they cost."""

    most: int
    seconds: float
    times: deque[tuple[float, int]] = field(default_factory=deque)
    lock: Lock = field(default_factory=Lock)

    def used(self) -> int:
        with self.lock:
            return self._used()

    def take(self, cost: int = 1) -> bool:
        """Count one more; False, and nothing is counted, if that would be too many."""
        with self.lock:
            if self._used() + cost > self.most:
                return False
            self.times.append((time.monotonic(), cost))
            return True

    def _used(self) -> int:
        while self.times and self.times[0][0] <= time.monotonic() - self.seconds:
            self.times.popleft()
        return sum(cost for _, cost in self.times)


@dataclass(frozen=True)
class Call:
    """A request that has been let in; `now` is the sandbox's clock in ms."""

    request: Request
    body: bytes
    now: int

    def path(self, name: str) -> str:
        return str(self.request.path_params[name])

    def query(self, name: str, default: str = "") -> str:
        return self.request.query_params.get(name, default)


def route(
    world: World, path: str, handle: Callable[[Call], Any], enter: Callable[[Request], dict[str, str]],
    method: str = "GET",
) -> Route:  # fmt: skip
    """A path whose answer is what `handle` gives, as JSON. `enter` lets requests in; its headers go with the answer."""

    def answer(request: Request, body: bytes) -> Response:
        try:
            headers = enter(request)
            return JSONResponse(handle(Call(request, body, world.now())), headers=headers)
        except Refused as refused:
            return refused.answer

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(answer, request, await request.body())

    return Route(path, endpoint, methods=[method])


class Shapes(Generic[T]):
    """What a vendor makes of the world, made anew when the world has changed or its clock has moved."""

    def __init__(self, world: World, make: Callable[[sqlite3.Connection, int], T]) -> None:
        self._world, self._make, self._lock = world, make, Lock()
        self._made: tuple[object, T] | None = None

    def __call__(self) -> T:
        with self._lock:
            path = self._world.path
            state = self._world.now(), _changed(path), _changed(path.with_name(f"{path.name}-wal"))
            if self._made is None or self._made[0] != state:
                with self._world.connect() as connection:
                    self._made = state, self._make(connection, self._world.now())
            return self._made[1]


def _changed(file: Path) -> int:
    """When something was last written into a file. An empty one comes and goes with whoever reads the world."""
    with suppress(FileNotFoundError):
        found = file.stat()
        return found.st_mtime_ns if found.st_size else 0
    return 0


def page(rows: Sequence[Shown], cursor: str, limit: int) -> tuple[list[Shown], str | None]:
    """The rows after a signed cursor ("" is the first page), and the cursor of the next page, if there is one.

    Raises ValueError for a cursor that is not ours.
    """
    at = tokens.unsign(cursor) if cursor else {"start": 0}
    if at is None:
        raise ValueError(cursor)
    end = int(at["start"]) + limit
    return list(rows[end - limit : end]), tokens.sign({"start": end}) if end < len(rows) else None
