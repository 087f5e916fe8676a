"""A collector of web events, as `GET /events` of ours gives them: what the site of the world's company sent to it.

The people of the world come to the site when they first turn up: with consent or without, by ads, mail and links, with
bots among them. Their events are rough: some are sent twice, some come hours late, some by clocks that are years wrong.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shapes, Shown, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

SECOND, HOUR, YEAR = 1000, 3_600_000, 365 * 86_400_000
HOST = "www.ourcompany.example"
REFERRERS = (
    "www.google.com", None, "www.linkedin.com", "duckduckgo.com", None, "news.partner.example", HOST, "www.bing.com",
)  # fmt: skip
PATHS = ("/", "/pricing", "/product", "/blog/why-numbers", "/about")
CLICK_IDS = {"hs_google_click_id": "gclid", "hs_facebook_click_id": "fbclid", "hs_linkedin_click_id": "li_fat_id"}


class Step(NamedTuple):
    """What happens at one moment, and when it is received."""

    kind: str
    at: int
    received: int
    said: Shown
    is_twice: bool = False
    is_skewed: bool = False


class Visit(NamedTuple):
    """One visit as it was, however it is told. Without a visitor there was no consent."""

    visitor: str | None
    steps: list[Step]
    is_bot: bool
    country: str | None


def routes(world: World, page_size: int = 5000) -> list[BaseRoute]:
    """`page_size` events a page at most."""
    events = Shapes(world, events_at)

    def enter(request: Request) -> dict[str, str]:
        if request.headers.get("authorization") != f"Bearer {tokens.PRIVATE_APP_TOKEN}":
            raise Refused(_error(401, "a bearer token that may read is needed"))
        return {}

    def listed(call: Call) -> Shown:
        try:
            since, until = (_moment(call.query(name)) for name in ("since", "until"))
            start, limit = int(call.query("from", "0")), int(call.query("limit", str(page_size)))
        except ValueError:
            raise Refused(_error(400, "since is an instant such as 2026-01-31T12:00:00Z")) from None
        found = [event for event in events() if since <= event["received_at"] < until]
        end = start + min(limit, page_size)
        following = None
        if end < len(found):
            last = found[end - 1]["received_at"]
            seen = sum(event["received_at"] == last for event in found[:end])
            following = {"since": last, "from": seen}
        return {"events": found[start:end], "next": following, "until": until, "silent": []}

    return [partial(route, world, enter=enter)("/events", listed)]


def _moment(given: str) -> str:
    at = datetime.fromisoformat(given)
    if at.tzinfo is None:
        raise ValueError(given)
    return _iso(int(at.timestamp() * 1000))


# -- what it makes of the world


def visits(connection: sqlite3.Connection) -> Iterator[Visit]:
    """All that ever happens on the site, in the order of the people's numbers."""
    first = """
        select id, min(modified_at) as at, payload from record_version
        where vendor = 'hubspot' and object = 'contacts' group by id order by id"""
    for identifier, at, payload in connection.execute(first):
        given, number = json.loads(payload), int(hashlib.sha256(identifier.encode()).hexdigest()[:8], 16)
        yield from _of_person(identifier, at, given, number)


def _of_person(identifier: str, at: int, given: Any, number: int) -> Iterator[Visit]:
    """They look around, come back by another way, and send a form."""
    came: Shown = {name: given.get(name) for name in ("utm_source", "utm_medium", "utm_campaign") if given.get(name)}
    if clicked := [word for name, word in CLICK_IDS.items() if given.get(name)]:
        came["click_id"] = clicked[0]
    if not came and REFERRERS[number % 8]:
        came = {"referrer": REFERRERS[number % 8]}
    visitor, country = f"v{_digest('visitor', identifier)}", ("DE", "US", None)[number % 3]
    form = {"form_id": "demo", "form_name": "Demo", "capture_type": "demo_request", "page": f"{HOST}/demo",
            "email": f"h1:{_digest('mail', given['email'])}@client.example"}  # fmt: skip
    pages = 1 + number % 4
    yield Visit(
        visitor, [*_steps(number, at, came, pages), *_late(number, at, "form_submit", pages, form)], False, country
    )
    if number % 2:
        again = {"utm_source": "newsletter", "utm_medium": "email", "utm_campaign": "monthly"}
        yield Visit(visitor, [*_steps(number + 1, at + (2 + number % 40) * HOUR, again, 1)], False, country)
    if number % 6 == 0:  # it goes on beyond midnight
        night = at - at % (24 * HOUR) + 24 * HOUR - 5 * 60 * SECOND
        if night > at + HOUR:
            yield Visit(f"v{_digest('owl', identifier)}", [*_steps(number, night, {}, 4, 200)], False, country)
    if number % 5 == 0:
        denied = {name: value for name, value in form.items() if name != "email"}
        yield Visit(None, [*_late(number, at + HOUR, "form_submit", 0, denied)], False, None)
    if number % 7 == 0:
        yield Visit(f"v{_digest('bot', identifier)}", [*_steps(number, at + HOUR, {}, 3)], True, None)
    if number % 9 == 0:
        said = {"name": "activated", "account": f"acme-{number % 50}", "user": f"h1:{_digest('user', identifier)}"}
        step = Step("product_event", at + 2 * HOUR, at + 2 * HOUR + 400, {**said, "via": "server"})
        yield Visit(None, [step], False, None)


def _steps(number: int, start: int, came: Shown, pages: int, pause: int = 90) -> Iterator[Step]:
    """Pages, one after the other, with how long each was looked at."""
    for index in range(pages):
        path, inside = PATHS[(number + index) % len(PATHS)], {"referrer": HOST} if index else came
        at = start + index * pause * SECOND
        yield Step("page_view", at, at + 250, {"page": HOST + path, **inside}, is_skewed=(number + index) % 29 == 0)
        yield from _late(
            number + index, at + 20 * SECOND, "ping", 0, {"engaged_ms": 1000 + (number + index) % 9 * 1500}
        )


def _late(number: int, at: int, kind: str, pages: int, said: Shown) -> Iterator[Step]:
    """What may be sent again, or hours after it happened."""
    at += pages * 90 * SECOND
    yield Step(kind, at, at + (3 * HOUR if number % 23 == 0 else 300), said, is_twice=number % 19 == 0)


def events_at(connection: sqlite3.Connection, now: int) -> list[Shown]:
    """All that is received by now, in that order."""
    found: list[Shown] = []
    for number, visit in enumerate(visits(connection)):
        for index, step in enumerate(visit.steps):
            for received in (step.received, *([step.received + 2 * HOUR] if step.is_twice else [])):
                if received <= now:
                    found.append(_event(visit, step, f"{number}-{index}", received))
    return sorted(found, key=lambda event: (event["received_at"], event["id"]))


def _event(visit: Visit, step: Step, name: str, received: int) -> Shown:
    event = {
        "id": f"e-{_digest('event', f'{visit.visitor} {name} {step.at}')}", "type": step.kind,
        "at": _iso(step.at - 3 * YEAR if step.is_skewed else step.at), "via": "browser",
        "consent": "granted" if visit.visitor else "denied", "host": HOST, "device": "desktop", "is_bot": visit.is_bot,
        "visitor": visit.visitor, "country": visit.country, **step.said, "received_at": _iso(received),
    }  # fmt: skip
    return {name: value for name, value in event.items() if value is not None}


def _digest(what: str, word: str) -> str:
    return hashlib.sha256(f"{what} {word}".encode()).hexdigest()[:32]


def _iso(milliseconds: int) -> str:
    at = datetime.fromtimestamp(milliseconds // 1000, UTC).replace(microsecond=milliseconds % 1000 * 1000)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- what goes wrong


def _error(status: int, error: str, wait: int | None = None) -> Response:
    return JSONResponse({"error": error}, status, {"Retry-After": str(wait)} if wait else None)


def _following(request: Request, asked: Shown) -> str:
    return str(asked.get("from") or "").removeprefix("0")


DIALECT = Dialect(
    throttled=lambda wait, daily: _error(429, "too many requests", wait or 1),
    broken=lambda: _error(503, "the spool cannot be read: Input/output error", 30),
    cursor=_following,
    repeat=lambda cursor, answer: answer.update(next={"since": "2000-01-01T00:00:00.000Z", "from": int(cursor)}),
    rows=("events",),
)
