"""The door that events come in by: `POST /collect`; and the one that they are read by: `GET /events`.

Who may write: a server of ours, by a token that is a secret; browsers, by a key that everybody can read in the page,
and only from pages of the origins that are configured. That key and `Origin` keep other sites' pages and stray tags
out. They keep nobody out who means to send something made up, as with every tag: events are marked by whom they came,
and browsers may not speak of the product's users, nor say where a visitor is.

204 is said when the events are on the disk, and not before. Everything else means: not kept, or not known to be.
"""

from __future__ import annotations

import asyncio
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import uvicorn
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_pipeline.collect.events import BY_SERVER, EVENTS, Event, kept
from b2b_pipeline.errors import ConfigError, DamagedError
from b2b_pipeline.landing.spool import BEAT, Spool, Writer, stamp

BODY = 65_536  # bytes of a request
PATIENCE = 15.0  # seconds for the disk, and for a body
WELL = 5.0  # seconds for which it is taken for well once it was
PAGE = 5000  # events of a page that is read


@dataclass(frozen=True)
class Doors:
    """Who is let in. `reader` and `server` are secrets, `key` is public; none of the latter two: nobody by that way.

    per_second, burst: requests of one sender by the public key; all: of all browsers together.
    """

    reader: str
    server: str = ""
    key: str = ""
    origins: frozenset[str] = frozenset()
    click_ids: tuple[str, ...] = ()
    per_second: float = 20.0
    burst: int = 100
    all: float = 500.0

    def __post_init__(self) -> None:
        if len(self.reader) < 16 or (self.server and len(self.server) < 16):
            raise ConfigError("a token of less than 16 characters can be guessed: `openssl rand -hex 32` makes one")
        if self.key and (not self.origins or "*" in self.origins or self.key in (self.reader, self.server)):
            raise ConfigError("COLLECTOR_WRITE_KEY is public: it needs COLLECTOR_ORIGINS, and may not be a token too")
        if self.reader == self.server:
            raise ConfigError("COLLECTOR_SERVER_TOKEN may not be COLLECTOR_TOKEN: who writes need not read")


@dataclass
class Meter:
    """A bucket of requests for each sender. Where they come from is known to this process alone, while they come."""

    rate: float
    burst: float
    left: dict[str, tuple[float, float]] = field(default_factory=dict)

    def wait(self, sender: str) -> float:
        """Seconds until the sender may come again; 0 is now."""
        now = time.monotonic()
        if len(self.left) > 20_000:
            self.left = {name: held for name, held in self.left.items() if now - held[1] < self.burst / self.rate}
        tokens, before = self.left.get(sender, (self.burst, now))
        tokens = min(self.burst, tokens + (now - before) * self.rate)
        self.left[sender] = (tokens - 1 if tokens >= 1 else tokens, now)
        return 0.0 if tokens >= 1 else (1 - tokens) / self.rate


class Refused(Exception):
    """The answer that ends a request."""

    def __init__(self, status: int, error: str, fields: Sequence[str] = (), wait: float = 0.0) -> None:
        super().__init__(error)
        self.status, self.error, self.fields, self.wait = status, error, fields, wait

    def answer(self) -> Response:
        body: dict[str, Any] = {"error": self.error, **({"fields": [*self.fields]} if self.fields else {})}
        return JSONResponse(body, self.status, {"Retry-After": f"{self.wait:.0f}"} if self.wait else None)


class Collector:
    """The application over one spool."""

    def __init__(self, spool: Spool, doors: Doors, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._spool, self._doors, self._now = spool, doors, now
        self._writer, self._well = Writer(spool, now), -WELL
        self._each, self._all = Meter(doors.per_second, doors.burst), Meter(doors.all, doors.all * 2)
        routes = [("/collect", self.collect, "POST"), ("/collect", self.preflight, "OPTIONS"),
                  ("/events", self.events, "GET"), ("/healthz", self.healthz, "GET")]  # fmt: skip
        self.app = Starlette(routes=[Route(path, handle, methods=[method]) for path, handle, method in routes])

    async def collect(self, request: Request) -> Response:
        headers = {}
        try:
            if (origin := request.headers.get("origin", "")) in self._doors.origins:
                headers = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
            by_server = self._enter(request)
            events = _parsed(await asyncio.wait_for(_body(request), PATIENCE))
            if not by_server:
                _of_browser(events)
            agent = request.headers.get("user-agent", "")
            rows = [kept(event, agent, self._doors.click_ids, by_server=by_server) for event in events]
            await asyncio.wait_for(asyncio.wrap_future(self._writer.put(rows)), PATIENCE)
            answer = Response(status_code=204)
        except Refused as refused:
            answer = refused.answer()
        except ClientDisconnect:
            answer = Refused(400, "the request ended early").answer()
        except TimeoutError:
            answer = Refused(503, "it took too long: send it again", wait=30).answer()
        except Exception:  # noqa: BLE001  # the disk, whatever is wrong with it: what an event says is in no message
            answer = Refused(503, "events cannot be kept: send them again", wait=30).answer()
        answer.headers.update(headers)
        return answer

    async def preflight(self, request: Request) -> Response:
        origin = request.headers.get("origin", "")
        if origin not in self._doors.origins:
            return Refused(403, "pages of this origin may not send events").answer()
        allowed = {
            "Access-Control-Allow-Origin": origin, "Vary": "Origin", "Access-Control-Allow-Methods": "POST",
            "Access-Control-Allow-Headers": "Content-Type", "Access-Control-Max-Age": "600",
        }  # fmt: skip
        return Response(status_code=204, headers=allowed)

    async def events(self, request: Request) -> Response:
        """A page of the events received in `[since, until)`, in that order, without the first `from`; `next` is what
        the following page is asked for with.

        `silent`, on the first page: when in that time no process was there that could have received any.
        """
        try:
            if not _same(_bearer(request), self._doors.reader):
                raise Refused(401, "a bearer token that may read is needed")
            since, until = (_instant(request, name) for name in ("since", "until"))
            if until > self._now():
                raise Refused(425, "until is not over by this clock", wait=5)
            start = _number(request, "from", 0)
            limit = min(max(_number(request, "limit", PAGE), 1), PAGE)
            return JSONResponse(await run_in_threadpool(self._page, since, until, start, limit))
        except Refused as refused:
            return refused.answer()
        except DamagedError as error:
            return Refused(409, str(error)).answer()
        except OSError as error:
            return Refused(503, f"the spool cannot be read: {error.strerror}", wait=30).answer()

    def _page(self, since: datetime, until: datetime, start: int, limit: int) -> dict[str, Any]:
        every = (event for event in self._spool.read(since, until) if event["type"] != BEAT["type"])
        found = [*islice(every, start, start + limit + 1)]
        silent = [] if start else [[stamp(a), stamp(b)] for a, b in self._spool.silences(since, until)]
        following = None
        if len(found) > limit:  # from the time of the last one on, without those of that time
            last = found[limit - 1]["received_at"]
            seen = sum(event["received_at"] == last for event in found[:limit])
            following = {"since": last, "from": seen + (start if last == stamp(since) else 0)}
        return {"events": found[:limit], "next": following, "until": stamp(until), "silent": silent}

    async def healthz(self, request: Request) -> Response:
        """Whether events can be kept. Tried once in five seconds, however often it is asked."""
        if time.monotonic() - self._well < WELL:
            return JSONResponse({"ok": True})
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._writer.put([BEAT])), PATIENCE)
        except Exception:  # noqa: BLE001
            return Refused(503, "events cannot be kept").answer()
        self._well = time.monotonic()
        return JSONResponse({"ok": True})

    def _enter(self, request: Request) -> bool:
        """Whether it is a server of ours. Raises Refused for whom nobody knows, and who comes too often."""
        doors = self._doors
        if "authorization" in request.headers:
            if not _same(_bearer(request), doors.server):
                raise Refused(401, "the bearer token is not one that may write")
            return True
        if not _same(request.query_params.get("key", ""), doors.key):
            raise Refused(401, "no bearer token, and no write key")
        if request.headers.get("origin", "") not in doors.origins:
            raise Refused(403, "pages of this origin may not send events")
        sender = request.client.host if request.client else ""
        if wait := max(self._each.wait(sender), self._all.wait("")):
            raise Refused(429, "too many requests", wait=max(1.0, wait))
        return False


def _same(given: str, secret: str) -> bool:
    return bool(secret) and hmac.compare_digest(given.encode(), secret.encode())


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


async def _body(request: Request) -> bytes:
    told = request.headers.get("content-length", "0")
    chunks, size = [], int(told) if told.isdecimal() else 0
    if size <= BODY:
        size = 0
        async for chunk in request.stream():
            chunks.append(chunk)
            if (size := size + len(chunk)) > BODY:
                break
    if size > BODY:
        raise Refused(413, f"more than {BODY} bytes")
    return b"".join(chunks)


def _parsed(body: bytes) -> list[Event]:
    """One event, or a list of them. Says which fields are wrong, and never what was in them."""
    text = body.strip()
    try:
        return EVENTS.validate_json(text if text.startswith(b"[") else b"[" + text + b"]")
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
        told = {_field(each["loc"]): each["type"] for each in found[:20]}
        raise Refused(422, "not a valid event", [f"{name}: {why}" for name, why in told.items()]) from None


def _field(location: tuple[int | str, ...]) -> str:
    """Where an error is. A name that is none of ours is not repeated: it may be anything."""
    named = [str(part) for part in location if isinstance(part, int) or part in Event.model_fields]
    return ".".join(named) + ("" if len(named) == len(location) else ".?") if location else "body"


def _of_browser(events: Sequence[Event]) -> None:
    for number, event in enumerate(events):
        said = [name for name in (*BY_SERVER, "user", "account", "domain") if getattr(event, name) is not None]
        if said or event.type == "product_event":
            what = [f"{number}.{name}: only a server may say it" for name in said] or [
                f"{number}.type: only by a server"
            ]
            raise Refused(403, "a browser may not say this", what)


def _instant(request: Request, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(request.query_params.get(name, ""))
        if at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise Refused(400, f"{name} is an instant such as 2026-01-31T12:00:00Z")


def _number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not given.isdecimal() or len(given) > 12:
        raise Refused(400, f"{name} is a number")
    return int(given)


def doors(environment: Mapping[str, str], click_ids: Sequence[str]) -> Doors:
    """By the environment: see docs/collector.md. Raises ConfigError."""

    def given(name: str) -> str:
        return environment.get(f"COLLECTOR_{name}", "").strip()

    if not given("TOKEN"):
        raise ConfigError("COLLECTOR_TOKEN is not set: `openssl rand -hex 32` makes one")
    if not given("SERVER_TOKEN") and not given("WRITE_KEY"):
        raise ConfigError("nobody may send events: set COLLECTOR_SERVER_TOKEN, or COLLECTOR_WRITE_KEY and its origins")
    origins = frozenset(word.rstrip("/").lower() for word in given("ORIGINS").replace(",", " ").split())
    return Doors(given("TOKEN"), given("SERVER_TOKEN"), given("WRITE_KEY"), origins, tuple(click_ids))


def server(app: Starlette, **more: Any) -> uvicorn.Server:
    """No log of requests: it would have addresses of people."""
    return uvicorn.Server(uvicorn.Config(
        app, lifespan="off", ws="none", log_level="warning", access_log=False, timeout_keep_alive=10,
        limit_concurrency=2000, timeout_graceful_shutdown=20, server_header=False, **more,
    ))  # fmt: skip
