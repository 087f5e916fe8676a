"""Zoom's API for webinars, over the contacts of the world: a webinar each Tuesday, and a series each Thursday.

From Zoom's OpenAPI document of the Meeting API and answers that devforum.zoom.us and public clients recorded, read
2026-12-01. Who registered joins with an address or, as guests do, without; others come by telephone. A host who has
left is no user any more, but their webinars are in the history. Not established, and taken so here: a webinar is listed
for 30 days after it, can be asked for until 90, the history's days are those of UTC, both of them within, and a list of
registrants of a webinar without registration is refused as that of its absentees is.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens, voices
from b2b_sandbox.generate_base import DAY, HOUR, MINUTE
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Sequence

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.voices import Contact
    from b2b_sandbox.world import World

VENDOR, ACCOUNT = "zoom_webinars", "sAndbox0QqWw3rTtYyUu"
TOKEN_LIFETIME = 3600.0
HOST, BASIC, LEFT = "30R7kT7bTIKSNUFEuH_Qlg", "x1yCzABCDEfg23HiJKl4mN", "KDcuGIm1QgePTO8WbOqwIQ"
SERIES = 99_289_110_036
WEEK, LASTS, LISTED, KEPT = 7 * DAY, HOUR, 30 * DAY, 90 * DAY  # ms
CATEGORIES = {"report": "Heavy"}


class Webinar(NamedTuple):
    """`start` is when it is to be, of a series the next or the last time."""

    id: int
    topic: str
    kind: int
    start: int
    host: str
    has_registration: bool


class Registrant(NamedTuple):
    webinar: int
    id: str
    contact: Contact
    at: int
    status: str


class Joined(NamedTuple):
    """One time that somebody joined. `person`: a user or a registrant, if known; `number` is of this instance alone."""

    person: str
    number: str
    registrant: str
    email: str
    at: int
    left: int
    waited: bool


class Held(NamedTuple):
    """An instance of a webinar that is over."""

    webinar: Webinar
    uuid: str
    start: int
    joins: tuple[Joined, ...]


class Book(NamedTuple):
    webinars: dict[int, Webinar]
    registrants: list[Registrant]
    held: list[Held]


# -- what it makes of the world


def book_at(connection: sqlite3.Connection, now: int) -> Book:
    contacts = list(voices.contacts(connection, now))
    first = min((each.created for each in contacts), default=now) // WEEK
    weeks = range(first, now // WEEK + 3)
    webinars = {each.id: each for each in (_webinar(week, now) for week in weeks)}
    series = [n * WEEK + 16 * HOUR for n in weeks]
    due = next((at for at in series if at + LASTS > now), series[-1])
    webinars[SERIES] = Webinar(SERIES, "Office hours \U0001f4ac", 9, due, HOST, True)
    signed = [each for contact in contacts for each in _registrations(contact, now, webinars)]
    held = [
        *(_held(each, each.start, signed) for each in webinars.values() if each.id != SERIES),
        *(_held(webinars[SERIES], at, signed) for at in series),
    ]
    over = sorted((each for each in held if each.start + LASTS <= now), key=lambda each: each.start)
    return Book(webinars, sorted(signed, key=lambda each: (each.at, each.id)), over)


def _webinar(week: int, now: int) -> Webinar:
    """Tuesdays at 14 o'clock. For every fourth nobody need register; the host of every fifth has left after it."""
    topic = ("Getting started", "What's new?", "Ports, \u201cpilots\u201d & <people>", "Live demo")[week % 4]
    start = week * WEEK + 5 * DAY + 14 * HOUR
    host = LEFT if week % 5 == 2 and start + LASTS <= now else HOST
    return Webinar(91_000_000_000 + week, topic, 5, start, host, week % 4 != 3)


def _registrations(contact: Contact, now: int, webinars: dict[int, Webinar]) -> list[Registrant]:
    """For the next Tuesday's, and for the series; one of five is denied two days later, one of eight waits."""
    dice, found = voices.drawn("webinar", contact.id), []
    for wanted, webinar in ((dice % 2 == 0, None), (dice // 2 % 4 == 0, SERIES)):
        at = voices.daytime(contact, dice // 8 % 4, "webinar", webinar)
        of = webinar or 91_000_000_000 + (at - 5 * DAY - 14 * HOUR) // WEEK + 1
        if not wanted or at > now or of not in webinars or not webinars[of].has_registration:
            continue
        odd = dice // 32 % 72
        status = "denied" if odd % 5 == 0 and at + 2 * DAY <= now else "pending" if odd % 8 == 0 else "approved"
        found.append(Registrant(of, _id(of, contact.id), contact, at, status))
    return found


def _held(webinar: Webinar, start: int, signed: Sequence[Registrant]) -> Held:
    joins = [_join(HOST, "16778240", "", "jo@ourcompany.example", start - 5 * MINUTE, 70)]
    for each in signed:
        dice = voices.drawn("joined", each.id, start)
        if each.webinar != webinar.id or each.at > start or each.status != "approved" or dice % 3 == 0:
            continue
        email = "" if dice // 3 % 4 == 0 else each.contact.email.strip().lower()
        at = start + dice // 12 % 20 * MINUTE + dice // 240 % 60 * 1000
        joins.append(_join(each.id, str(16_780_000 + dice % 9999), each.id, email, at, 9))
        if dice // 7 % 5 == 0:  # and once more, from another device
            joins.append(_join(each.id, str(16_790_000 + dice % 9999), each.id, email, at + 15 * MINUTE, 12))
    if voices.drawn("phone", start) % 2:
        joins.append(_join("", str(16_800_000 + start // WEEK), "", "", start + 2 * MINUTE, 30))
        joins.append(_join("", str(16_900_000 + start // WEEK), "", "", start + 3 * MINUTE, 1)._replace(waited=True))
    return Held(webinar, _uuid(webinar.id, start), start, tuple(joins))


def _join(person: str, number: str, registrant: str, email: str, at: int, minutes: int) -> Joined:
    return Joined(person, number, registrant, email, at, at + minutes * MINUTE, False)


def _id(*of: object) -> str:
    return base64.urlsafe_b64encode(hashlib.md5(repr(of).encode(), usedforsecurity=False).digest()).decode()[:22]


def _uuid(webinar: int, start: int) -> str:
    """Some begin with two slashes."""
    of = hashlib.md5(f"{webinar} {start}".encode(), usedforsecurity=False).digest()
    return base64.b64encode((b"\xff\xff" if of[0] % 2 else of[:2]) + of[2:]).decode()


# -- what it answers


def routes(
    world: World, page_size: int = 300, per_second: int = 100_000, heavy: int = 1_000_000, single: bool = False
) -> list[BaseRoute]:
    """`page_size`: records of a page, the most; `heavy`: such calls of a day; `single`: a new token ends the others, as
    it did in 2022."""
    book = Shapes(world, book_at)
    meter, daily = Meter(per_second, 1.0), Meter(heavy, 86_400.0)
    issued: list[str] = []

    def enter(request: Request) -> dict[str, str]:
        token = tokens.bearer(request)
        if tokens.problem(world, VENDOR, token) or token in issued[:-1]:
            raise Refused(_expired())
        category = next((CATEGORIES[part] for part in request.url.path.split("/") if part in CATEGORIES), "Medium")
        if category == "Heavy" and not daily.take():
            raise Refused(_throttled(None, True))
        if not meter.take():
            raise Refused(_throttled(None, False))
        return {
            "X-RateLimit-Category": category, "X-RateLimit-Type": "QPS", "X-RateLimit-Limit": str(per_second),
            "X-RateLimit-Remaining": str(per_second - meter.used()),
        }  # fmt: skip

    async def token(request: Request) -> Response:
        answer = _token(request, dict(request.query_params) | await tokens.form(request))
        if single and isinstance(answer, dict):
            issued.append(answer["access_token"])
        return JSONResponse(answer) if isinstance(answer, dict) else answer

    def users(call: Call) -> Shown:
        emails = {HOST: "jo@ourcompany.example", BASIC: "mo@ourcompany.example"}
        shown = [
            {"id": user, "first_name": "Jo", "last_name": "Doe", "email": email, "type": 2 if user == HOST else 1,
             "status": "active", "created_at": "2024-01-15T09:00:00Z", "dept": ""}
            for user, email in emails.items()
        ]  # fmt: skip
        return _paged(call, "users", shown if call.query("status", "active") == "active" else [], page_size)

    def webinars(call: Call) -> Shown:
        user = call.path("user")
        if user == BASIC:
            raise _refused(400, 200, "Webinar plan is missing. You must subscribe to the webinar plan and enable "
                           "webinars for this user in order to perform this action.")  # fmt: skip
        if user != HOST:
            raise _refused(404, 1001, f"User does not exist: {user}.")
        shown = [each for each in book().webinars.values() if each.host == HOST and each.start + LISTED > call.now]
        return _paged(call, "webinars", [_listed(each) for each in shown], page_size)

    def registrants(call: Call) -> Shown:
        webinar = book().webinars.get(int(call.path("webinar")))
        if webinar is None or webinar.start + KEPT <= call.now:
            raise _refused(404, 3001, f"Webinar does not exist: {call.path('webinar')}.")
        if not webinar.has_registration:
            raise _refused(400, 3000, f"This Webinar has not registration required: {webinar.id}")
        status = call.query("status", "approved")
        shown = [each for each in book().registrants if (each.webinar, each.status) == (webinar.id, status)]
        return _paged(call, "registrants", [_registrant(each) for each in shown], page_size)

    def history(call: Call) -> Shown:
        try:
            first, last = (date.fromisoformat(call.query(name)) for name in ("from", "to"))
        except ValueError:
            raise _refused(400, 300, "Invalid parameter: from.") from None
        if last - first > timedelta(days=31):
            raise _refused(400, 300, "Invalid parameter: to.")
        found = [each for each in book().held if first <= _at(each.start).date() <= last]
        answer = _paged(call, "history_meetings", [_past(each) for each in found], page_size)
        return {name: answer[name] for name in ("history_meetings", "next_page_token", "page_size")}

    def participants(call: Call) -> Shown:
        given = call.path("uuid")
        uuid = unquote(given) if "%" in given else given
        is_plain = not uuid.startswith("/") and "//" not in uuid
        found = next((each for each in book().held if each.uuid == uuid), None)
        if found is None or (not is_plain and given == uuid) or found.start + 2 * KEPT <= call.now:
            raise _refused(404, 3001, f'Webinar "{given}" not found or has expired')
        with_id = call.query("include_fields") == "registrant_id"
        return _paged(call, "participants", [_participant(each, with_id) for each in found.joins], page_size)

    at = partial(route, world, enter=enter)
    return [
        Route("/oauth/token", token, methods=["POST"]),
        at("/v2/users", users),
        at("/v2/users/{user}/webinars", webinars),
        at("/v2/webinars/{webinar:int}/registrants", registrants),
        at("/v2/report/history_meetings", history),
        at("/v2/report/webinars/{uuid:path}/participants", participants),
    ]


def _paged(call: Call, name: str, found: Sequence[Shown], most: int) -> Shown:
    size = min(int(call.query("page_size", "30")), most)
    try:
        shown, following = page(found, call.query("next_page_token"), size)
    except ValueError:
        raise _refused(400, 300, "The next page token is invalid or expired.") from None
    return {
        "page_count": -(-len(found) // size), "page_size": size, "total_records": len(found),
        "next_page_token": following or "", name: shown,
    }  # fmt: skip


def _listed(each: Webinar) -> Shown:
    return {
        "uuid": _uuid(each.id, each.start), "id": each.id, "host_id": each.host, "topic": each.topic,
        "type": each.kind, "start_time": _iso(each.start), "duration": LASTS // MINUTE, "timezone": "Europe/Berlin",
        "created_at": _iso(_made(each)), "join_url": f"https://sandbox.zoom.us/j/{each.id}",
        "agenda": "Ask me anything", "is_simulive": False,
    }  # fmt: skip


def _made(each: Webinar) -> int:
    return each.start - 21 * DAY if each.id != SERIES else 1_760_000_000_000


def _registrant(each: Registrant) -> Shown:
    given = each.contact.given
    return {
        "id": each.id, "first_name": given["firstname"], "last_name": given["lastname"], "email": each.contact.email,
        "address": "Main St 1", "city": "Berlin", "country": "DE", "zip": "10115", "state": "", "phone": "+49 30 1",
        "industry": "Software", "org": given.get("company") or "", "job_title": "CTO",
        "purchasing_time_frame": "1-3 months", "role_in_purchase_process": "Influencer", "no_of_employees": "1-20",
        "comments": "Call me, please", "custom_questions": [{"title": "Why?", "value": "My boss Ada told me to"}],
        "status": each.status, "create_time": _iso(each.at),
        "join_url": f"https://sandbox.zoom.us/w/{each.webinar}?tk={each.id}",
    }  # fmt: skip


def _past(each: Held) -> Shown:
    guests = len({join.registrant or join.number for join in each.joins})
    return {
        "meeting_uuid": each.uuid, "meeting_id": each.webinar.id, "type": "Webinar", "topic": each.webinar.topic,
        "host_display_name": "Jo", "host_email": "jo@ourcompany.example", "department": "", "group": [],
        "create_time": _iso(_made(each.webinar)), "start_time": _iso(each.start), "source": "Zoom",
        "end_time": _iso(each.start + LASTS), "duration": LASTS // MINUTE, "participants": guests,
        "unique_viewers": guests, "max_concurrent_views": guests, "total_participant_minutes": 20 * guests,
        "tracking_fields": [], "custom_fields": [], "feature_used": {"screen_sharing": True},
    }  # fmt: skip


def _participant(each: Joined, with_id: bool) -> Shown:
    return {
        "id": each.person, "participant_user_id": each.person, "user_id": each.number, "customer_key": "",
        "name": "Ada L." if each.person else "49301234567", "user_email": each.email, "join_time": _iso(each.at),
        "leave_time": _iso(each.left), "duration": (each.left - each.at) // 1000, "bo_mtg_id": "", "failover": False,
        "status": "in_waiting_room" if each.waited else "in_meeting",
        **({"registrant_id": each.registrant} if with_id else {}),
    }  # fmt: skip


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _iso(milliseconds: int) -> str:
    return f"{_at(milliseconds):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Zoom's words


def _token(request: Request, fields: dict[str, str]) -> Response | dict[str, Any]:
    scheme, _, pair = request.headers.get("authorization", "").partition(" ")
    client, _, secret = base64.b64decode(pair or "").decode().partition(":") if scheme == "Basic" else ("", "", "")
    fields |= {"client_id": client, "client_secret": secret}
    if problem := tokens.grant_problem(VENDOR, fields, ("account_credentials",)):
        reason = "Invalid client_id or client_secret" if problem == "invalid_client" else "unsupported grant type"
        return JSONResponse({"reason": reason, "error": problem}, 400)
    if fields.get("account_id") != ACCOUNT:
        return JSONResponse({"reason": "Bad Request", "error": "invalid_request"}, 400)
    scope = "user:read:list_users:admin webinar:read:list_webinars:admin webinar:read:list_registrants:admin"
    return {
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "token_type": "bearer", "expires_in": int(TOKEN_LIFETIME),
        "scope": scope, "api_url": "https://api.zoom.us",
    }  # fmt: skip


def _error(status: int, code: int, message: str) -> Response:
    return JSONResponse({"code": code, "message": message}, status)


def _refused(status: int, code: int, message: str) -> Refused:
    return Refused(_error(status, code, message))


def _expired() -> Response:
    return _error(401, 124, "Invalid access token.")


def _throttled(wait: int | None, daily: bool) -> Response:
    """By the second without a time to wait; by the day until midnight."""
    kind = "daily" if daily else "per-second"
    answer = _error(429, 429, f"You have reached the maximum {kind} rate limit for this API. Try again later.")
    answer.headers["X-RateLimit-Category"], answer.headers["X-RateLimit-Remaining"] = "Heavy", "0"
    answer.headers["X-RateLimit-Type"] = "Daily-limit" if daily else "QPS"
    if daily or wait is not None:
        now = datetime.now(UTC)
        until = now + timedelta(seconds=wait) if wait is not None else now + timedelta(days=1)
        until = until if wait is not None else until.replace(hour=0, minute=0, second=0)
        answer.headers["Retry-After"] = f"{until:%Y-%m-%dT%H:%M:%SZ}"
    return answer


def _repeat(cursor: str, answer: Shown) -> None:
    if answer.get("next_page_token"):
        answer["next_page_token"] = cursor


def _scope(scope: str) -> Response:
    return _error(400, 4711, f"Invalid access token, does not contain scopes:[{scope}].")


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, 500, "Internal server error"),
    expired=_expired,
    missing_scope=_scope,
    expired_cursor=lambda: _error(400, 300, "The next page token is invalid or expired."),
    cursor=asked_by("next_page_token"),
    repeat=_repeat,
    rows=("users", "webinars", "registrants", "history_meetings", "participants"),
    token_route=True,
)
