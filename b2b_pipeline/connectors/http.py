"""HTTP for connectors: one session whose every answer is classified by the vendor's own dialect.

What the vendor says (wait, quota, expired token) is handled here, driven by a pure `classify(response)` per vendor;
connections that fail by urllib3's Retry; what is still transient then, and a dead process, by Dagster.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import urlsplit

import orjson
import requests
from urllib3.util import Retry

from b2b_pipeline.connectors.rates import Limits, Rate
from b2b_pipeline.connectors.transport import DeadlineError, Transport, unreachable
from b2b_pipeline.errors import (
    AuthError,
    PermanentError,
    QuotaError,
    SkippedError,
    SplitError,
    TransientError,
    UnreachableError,
)
from b2b_pipeline.privacy import mask

TIMEOUT = (10.0, 120.0)  # connect, read; seconds
MAX_WAIT = timedelta(minutes=10)  # a longer wait belongs to the orchestrator, not to a sleeping process
MAX_WAITS = 8
LONGEST = timedelta(days=7)  # what a vendor may make us wait
STREAM_DEADLINE = timedelta(hours=12)  # for all that one session asks
MAX_BODY = 256 * 2**20
RETRY = Retry(
    total=4, backoff_factor=0.5, backoff_max=30, backoff_jitter=0.5, allowed_methods=None,
    respect_retry_after_header=False,
)  # fmt: skip

_log = logging.getLogger(__name__)
for _name in ("urllib3.connectionpool", "urllib3.util.retry"):  # below an error, they tell whole URLs, query included
    # Not by their level: clients of vendors set that, and all of it would be told again.
    logging.getLogger(_name).addFilter(lambda record: record.levelno >= logging.ERROR)


@dataclass(frozen=True)
class Ok:
    """The answer is what was asked for."""


@dataclass(frozen=True)
class Wait:
    """Throttled: ask again after `seconds`."""

    seconds: float
    reason: str = "throttled"


@dataclass(frozen=True)
class Stop:
    """A quota is used up until `until` (UTC)."""

    until: datetime
    reason: str = "quota used up"


@dataclass(frozen=True)
class Reauth:
    """The access token is no longer good: refresh once and replay."""

    reason: str = "token expired"


@dataclass(frozen=True)
class Split:
    """The question was too large: ask for half."""

    reason: str = "too large"


@dataclass(frozen=True)
class Skip:
    """This one thing cannot be had; go on with the rest. `closed`: it is an account that has ended."""

    reason: str
    closed: bool = False


@dataclass(frozen=True)
class Fatal:
    """It will fail the same way again. `auth` when credentials or scopes are at fault. `fix`: what to do about it."""

    reason: str
    auth: bool = False
    fix: str = ""


Outcome = Ok | Wait | Stop | Reauth | Split | Skip | Fatal
Classify = Callable[[requests.Response], Outcome]


class Auth(Protocol):
    """Puts credentials into headers, never into a URL. `identity` tells them from others, without a secret. One that
    can be called signs requests, as those of `requests` do."""

    @property
    def identity(self) -> str: ...

    def headers(self) -> Mapping[str, str]: ...

    def refresh(self) -> None:
        """Get a new token, or raise AuthError."""


@dataclass(frozen=True)
class Answer:
    """A good answer. `request` is the fingerprint of what was asked."""

    response: requests.Response
    request: str

    def json(self) -> Any:
        """The parsed body. Raises TransientError when it is not JSON: status, length and SHA-256, never the body."""
        return parse_json(self.response)

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The records in a member of the body. Raises TransientError when it has none, but for instance an error."""
        body = self.json()
        if not isinstance(body, dict) or not isinstance(body.get(name), list):
            raise TransientError(f"{place(self.response)}: status {self.response.status_code} without {name!r}")
        return body[name]  # type: ignore[no-any-return]


def parse_json(response: requests.Response) -> Any:
    try:
        return _parsed(response)
    except (ValueError, RecursionError):  # the latter of what is nested a thousand deep
        digest = hashlib.sha256(response.content).hexdigest()[:16]
        raise TransientError(
            f"{place(response)}: status {response.status_code}, body is not JSON "
            f"({len(response.content)} bytes, sha256 {digest})"
        ) from None


def json_or_none(response: requests.Response) -> Any:
    """For classifiers: the parsed body, or None when it does not parse."""
    try:
        return _parsed(response)
    except (ValueError, RecursionError):
        return None


def _parsed(response: requests.Response) -> Any:
    """The body, parsed once: classifier and connector both look at it."""
    if "parsed" not in response.__dict__:
        response.__dict__["parsed"] = _loads(response.content)
    return response.__dict__["parsed"]


_DIGITS = bytes.maketrans(b"123456789", b"0" * 9)
_LONG = re.compile(rb"[\[:,\s]-?\d{19}|^-?\d{19}")


def _loads(content: bytes) -> Any:
    """JSON, by orjson, which is several times as fast. What it refuses, and long numbers, which it rounds, the standard
    library decides."""
    if b"0" * 19 not in content.translate(_DIGITS) or not _LONG.search(content):
        with suppress(ValueError):
            return orjson.loads(content)
    try:
        parsed = json.loads(content, parse_constant=str)  # NaN is no number; it stays to be seen
    except RecursionError:
        raise ValueError("nested too deep") from None
    if b"\\ud" in content.lower():  # half of a surrogate pair, which JSON may escape, fits in no file
        parsed = json.loads(json.dumps(parsed, ensure_ascii=False).encode("utf-8", "replace"))
    return parsed


def place(response: requests.Response) -> str:
    """Host and path of an answer; the query may hold secrets or personal data and is left out."""
    return _place(response.url or "")


def _place(url: str) -> str:
    parts = urlsplit(url)
    return mask(f"{parts.netloc.rpartition('@')[2]}{parts.path}")


def retry_after(response: requests.Response, default: float) -> float:
    """Seconds of a `Retry-After` header, a number or an HTTP date (RFC 9110, section 10.2.3), else `default`."""
    given = response.headers.get("Retry-After", "")
    try:
        return max(0.0, float(given))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(given) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return default


def wait_or_stop(seconds: float, reason: str = "throttled") -> Wait | Stop:
    """A wait that a process can sit out, or the moment until which it cannot."""
    if seconds <= MAX_WAIT.total_seconds():
        return Wait(seconds, reason)
    return Stop(datetime.now(UTC) + timedelta(seconds=min(seconds, LONGEST.total_seconds())), reason)


def by_status(response: requests.Response, reason: str = "refused") -> Outcome:
    """What an answer means by its status alone (RFC 9110), where the vendor has no words of its own for it."""
    status = response.status_code
    if status in (200, 201, 202, 207):
        is_page = "text/html" in response.headers.get("Content-Type", "")
        return Wait(5.0, "an HTML page instead of an answer") if is_page else Ok()
    if status == 429:
        return wait_or_stop(retry_after(response, 10.0))
    if status >= 500:
        return wait_or_stop(retry_after(response, 5.0), reason)
    if status == 401:
        return Reauth(reason)
    return Fatal(reason, auth=status == 403)


def next_utc_midnight(now: datetime | None = None) -> datetime:
    now = now or datetime.now(UTC)
    return (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)


class Session:
    """A vendor's API behind a base URL. Threads may share one: each has connections of its own.

    `rates` are what the vendor allows of these credentials: a call waits for its turn, as long as the budget lasts.
    Raises what the classifier decides: TransientError, QuotaError, AuthError, PermanentError, SplitError, SkippedError;
    UnreachableError without a connection; TransientError for an answer that takes longer than `answer_seconds`, and
    once the session, which is that of one stream, has lasted longer than `budget`.
    """

    def __init__(
        self,
        base_url: str,
        *,
        classify: Classify,
        auth: Auth | None = None,
        headers: Mapping[str, str] | None = None,
        max_wait: timedelta = MAX_WAIT,
        budget: timedelta = STREAM_DEADLINE,
        answer_seconds: float | None = None,
        rates: Sequence[Rate] = (),
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._classify = classify
        self._auth = auth
        self._max_wait = max_wait.total_seconds()
        self._sleep = sleep
        self._budget = budget
        self._end = time.monotonic() + budget.total_seconds()
        self._answer_seconds = answer_seconds
        self._headers = {"User-Agent": "b2b-pipeline", "Accept": "application/json", **(headers or {})}
        identity = auth.identity if auth and rates else ""
        self._limits = Limits(urlsplit(base_url).netloc, identity, rates)
        self._of_thread = threading.local()
        self._counting, self._renewing = threading.Lock(), threading.Lock()
        self.calls = 0

    def get(self, path: str, params: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        return self._ask("GET", path, headers, params=params)

    def post(self, path: str, body: Any, **headers: str) -> Answer:
        return self._ask("POST", path, headers, json=body)

    def delete(self, path: str) -> Answer:
        return self._ask("DELETE", path, {})

    def _ask(self, method: str, path: str, headers: Mapping[str, str], **content: Any) -> Answer:
        waited, waits, refreshed = 0.0, 0, False
        while True:
            response, credentials = self._send(method, path, headers, **content)
            outcome = self._classify(response)
            if isinstance(outcome, Ok):
                return Answer(response, _fingerprint(method, path, content))
            told = mask(f"{method} {place(response)}: status {response.status_code}, {outcome.reason}")
            match outcome:
                case Wait(seconds) if seconds > self._max_wait:
                    wait = min(seconds, LONGEST.total_seconds())
                    raise QuotaError(told, datetime.now(UTC) + timedelta(seconds=wait))
                case Wait(seconds):
                    if waited + seconds > self._max_wait or waits == MAX_WAITS:
                        raise TransientError(f"{told}: gave up after {waits} waits of {waited:.0f} s in all")
                    _log.warning("%s: asked again in %.0f s", told, seconds)
                    self._sleep(seconds)
                    waited, waits = waited + seconds, waits + 1
                case Reauth():
                    if refreshed or self._auth is None:
                        raise AuthError(f"{told}, even with a new token" if refreshed else told)
                    with self._renewing:
                        if self._auth.headers() == credentials:  # else another thread has got a new token meanwhile
                            self._auth.refresh()
                    refreshed = True
                case Stop(until):
                    raise QuotaError(told, until)
                case Split():
                    raise SplitError(told)
                case Skip(_, closed):
                    raise SkippedError(told, closed)
                case Fatal(_, auth, fix):
                    error = (AuthError if auth else PermanentError)(told)
                    error.fix, error.status = fix, response.status_code
                    raise error

    def _send(
        self, method: str, path: str, headers: Mapping[str, str], **content: Any
    ) -> tuple[requests.Response, Mapping[str, str]]:
        """The answer, and the credentials that it was asked for with."""
        if "://" in path:
            if urlsplit(path)[:2] != urlsplit(self.base_url)[:2]:
                raise PermanentError(f"refused to follow a link to another host: {urlsplit(path).hostname}")
            url = path
        else:
            url = f"{self.base_url}/{path.lstrip('/')}"
        what = f"{method} {_place(url)}"
        with self._turn(what, urlsplit(url).path):
            auth, http = self._auth.headers() if self._auth else {}, self._transport()
            with self._counting:
                self.calls += 1
            try:
                with http.request(
                    method, url, headers={**auth, **headers}, auth=self._auth if callable(self._auth) else None,
                    timeout=TIMEOUT, stream=True, allow_redirects=False, **content,
                ) as response:  # fmt: skip
                    _read(response)
            except DeadlineError:
                raise TransientError(f"{what}: the answer took longer than {http.seconds:g} s") from None
            except (requests.RequestException, UnicodeError) as error:
                raise failed(what, error, url) from None
        return response, auth

    @contextmanager
    def _turn(self, what: str, path: str) -> Iterator[None]:
        """When the vendor's rates and the budget allow a call, and until it has its answer."""
        bucket, wait = self._limits.bucket(path), 0.0
        while True:
            if time.monotonic() + wait > self._end:
                raise TransientError(f"{what}: not asked, the stream has taken longer than {self._budget}")
            if wait:
                self._sleep(wait)
            place = bucket.take() if bucket else None
            if not isinstance(place, float):
                break
            wait = place
        try:
            yield
        finally:
            if bucket and place:
                bucket.answered(place)

    def _transport(self) -> Transport:
        """That of this thread: a session of requests is not safe to share."""
        if not hasattr(self._of_thread, "transport"):
            self._of_thread.transport = Transport(RETRY, self._answer_seconds)
            self._of_thread.transport.headers.update(self._headers)
        transport: Transport = self._of_thread.transport
        return transport


def failed(what: str, error: Exception, url: str) -> PermanentError | TransientError:
    """What an error on the way to a URL means.

    A value error is about what we sent (a base URL without a scheme, a token with a line break): it stays.
    """
    if isinstance(error, ValueError):
        return PermanentError(f"{what}: {type(error).__name__}")
    if found := unreachable(error, urlsplit(url).hostname or ""):
        return UnreachableError(f"{what}: {found[0]}", found[1])
    return TransientError(f"{what}: {type(error).__name__}")


def _read(response: requests.Response) -> None:
    """Read the body, at most MAX_BODY bytes, and notice one that ends early."""
    chunks, size = [], 0
    for chunk in response.iter_content(2**16):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY:
            raise PermanentError(f"{place(response)}: body larger than {MAX_BODY} bytes")
    response._content = b"".join(chunks)
    response._content_consumed = True  # type: ignore[attr-defined]


def _fingerprint(method: str, path: str, content: Mapping[str, Any]) -> str:
    canonical = json.dumps([method, path, content], sort_keys=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def follow(
    ask: Callable[[str | None], Answer], next_cursor: Callable[[Answer], str | None], *, max_pages: int = 100_000
) -> Iterator[Answer]:
    """Every page of a listing. Raises TransientError on a cursor that repeats and on more than `max_pages` pages."""
    cursor: str | None = None
    seen: set[str] = set()
    for _ in range(max_pages):
        answer = ask(cursor)
        yield answer
        cursor = next_cursor(answer)
        if not cursor:
            return
        if cursor in seen:
            raise TransientError(f"{place(answer.response)}: the page cursor repeats")
        seen.add(cursor)
    raise TransientError(f"more than {max_pages} pages")
