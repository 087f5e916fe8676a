"""Zendesk's incremental export of tickets, its CSAT surveys, its OAuth, and who is asking, over voices.py.

From https://developer.zendesk.com (incremental exports, ticket metrics, side-loading, OAuth) and what public connectors
(singer-io/tap-zendesk, Estuary) and zenpy 2.0.57 do with it, read 2026-12-01. The status of a start that is too recent
is documented nowhere. Of who rated a ticket some were asked by a survey, whose first version has five steps and the
second three; others were asked and said nothing. Each page begins with the last ticket of the one before: that may
happen, and here it always does.
"""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens, voices
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, route

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.voices import Ticket
    from b2b_sandbox.world import World

VENDOR = "zendesk"
ADMIN = "admin@ourcompany.example"
USER = f"{ADMIN}/token"
TOKEN_LIFETIME = 1800.0
LAG = 7  # seconds from a change until the export has it
MINUTE = 60_000
TEXT = "My name is Jo, call 555 0100 or jo@private.example"


def routes(world: World, page_size: int = 1000, per_minute: int = 100_000, role: str = "admin") -> list[BaseRoute]:
    """The paths of one help desk. `per_minute`: requests for exports; `role`: of who asks."""
    asked = Shapes(world, lambda connection, now: voices.tickets(connection, now, VENDOR))
    meter = Meter(per_minute, 60.0)

    def enter(request: Request, *, export: bool = False, of_admins: bool = False) -> dict[str, str]:
        if problem := _problem(world, request):
            raise Refused(problem)
        if export and role != "admin":
            raise Refused(_error(403, {"title": "Forbidden", "message": "You do not have access to this page."}))
        if of_admins and role != "admin":
            raise Refused(_of_guide(403, "Forbidden", "Access to the resource is forbidden"))
        if export and not meter.take():
            raise Refused(_throttled(None, False))
        return {"X-Rate-Limit": "200", "X-Rate-Limit-Remaining": "199"}

    async def token(request: Request) -> Response:
        return _token(await _fields(request))

    at = partial(route, world, enter=enter)
    return [
        Route("/oauth/authorizations/new", tokens.consent(VENDOR, ("scope", "read"))),
        Route("/oauth/tokens", token, methods=["POST"]),
        at("/api/v2/users/me.json", lambda call: {"user": {"id": 35436, "name": "Jo", "email": ADMIN, "role": role}}),
        at("/api/v2/oauth/tokens/current.json", lambda call: {"token": {"id": 1, "scopes": ["read"]}}),
        *(
            route(world, f"/api/v2/incremental/tickets/cursor{end}", lambda call: _export(call, asked(), page_size),
                  enter=partial(enter, export=True))
            for end in ("", ".json")
        ),
        *(
            route(world, path, partial(answer, asked), enter=partial(enter, of_admins=True))
            for path, answer in (
                ("/api/v2/guide/survey_responses", _surveys),
                ("/api/v2/guide/{locale}/survey_responses/{id}", _survey),
            )
        ),
    ]  # fmt: skip


def _problem(world: World, request: Request) -> Response | None:
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    if scheme == "Basic":
        user, _, secret = base64.b64decode(word).decode().partition(":")
        is_good = (user, secret) == (USER, tokens.PRIVATE_APP_TOKEN)
        return None if is_good else _error(401, "Couldn't authenticate you")
    return _expired() if tokens.problem(world, VENDOR, word) else None


def _export(call: Call, found: list[Ticket], page_size: int) -> Shown:
    """What changed up to a minute ago, by when."""
    cursor, start, size = call.query("cursor"), call.query("start_time"), call.query("per_page", "1000")
    now = call.now // 1000
    if not cursor and (not start.isdecimal() or int(start) > now - 60):
        raise Refused(
            _error(400, "StartTimeTooRecent", "Too recent start_time. Use a start_time older than 60 seconds")
        )
    at = tokens.unsign(cursor) if cursor else {"since": int(start), "of": now}
    if at is None:
        raise Refused(_error(400, "InvalidPaginationCursor", "The cursor is not valid"))
    shown = [ticket for ticket in found if at["since"] <= _generated(ticket) <= now - 60]
    shown.sort(key=lambda ticket: (_generated(ticket), ticket.number))
    first = int(at.get("start", 0))
    rows = [_ticket(each) for each in shown[max(0, first - 1) : first + min(int(size), page_size)]]
    end = first + min(int(size), page_size)
    after = tokens.sign({"since": at["since"], "start": min(end, len(shown))})
    include = call.query("include").split(",")
    if "metric_sets" not in include:
        rows = [{name: value for name, value in row.items() if name != "metric_set"} for row in rows]
    people = {ticket.contact.id: ticket.contact for ticket in shown}
    beside = {"users": [_user(contact) for contact in people.values()]} if "users" in include else {}
    return {
        "tickets": rows, **beside, "after_cursor": after, "before_cursor": None, "before_url": None,
        "after_url": str(call.request.url.replace(query=f"cursor={after}")), "end_of_stream": end >= len(shown),
    }  # fmt: skip


def _generated(ticket: Ticket) -> int:
    return ticket.changed // 1000 + LAG


def _ticket(asked: Ticket) -> Shown:
    status = "open" if asked.replied else "new"
    status = "solved" if asked.solved else status
    status = "closed" if asked.is_closed else status
    status = "deleted" if asked.is_deleted else status
    rated = {True: "good", False: "bad", None: "offered" if asked.solved else "unoffered"}[asked.is_good]
    metrics = {} if asked.is_deleted else {"metric_set": _metrics(asked)}
    text = "SCRUBBED" if asked.is_deleted else TEXT
    return {
        "id": asked.number, "url": f"https://ourcompany.zendesk.com/api/v2/tickets/{asked.number}.json",
        "subject": text, "raw_subject": text, "description": text, "status": status, "priority": asked.priority,
        "type": None, "created_at": _iso(asked.created), "updated_at": _iso(asked.touched),
        "generated_timestamp": _generated(asked), "requester_id": asked.contact.id, "submitter_id": asked.contact.id,
        "organization_id": asked.contact.company if asked.number % 5 else None, "assignee_id": 35436,
        "via": {"channel": asked.channel, "source": {"from": {"address": asked.contact.email, "name": "Jo"}, "to": {}}},
        "recipient": "support@ourcompany.example", "tags": ["a"], "custom_fields": [{"id": 1, "value": TEXT}],
        "satisfaction_rating": {"score": rated} | ({"comment": TEXT} if asked.is_good is False else {}), **metrics,
    }  # fmt: skip


def _metrics(asked: Ticket) -> Shown:
    """Of a ticket that is open again they go on telling its last solution."""

    def minutes(until: int | None) -> Shown:
        took = None if until is None else (until - asked.created) // MINUTE
        return {"calendar": took, "business": None if took is None else took // 3}

    return {
        "id": asked.number + 1, "ticket_id": asked.number, "created_at": _iso(asked.created),
        "updated_at": _iso(asked.changed), "replies": asked.replies, "reopens": asked.reopens, "group_stations": 1,
        "assignee_stations": 1, "solved_at": _iso(asked.last_solved) if asked.last_solved else None,
        "reply_time_in_minutes": minutes(asked.replied), "full_resolution_time_in_minutes": minutes(asked.last_solved),
        "first_resolution_time_in_minutes": minutes(asked.last_solved), "agent_wait_time_in_minutes": minutes(None),
    }  # fmt: skip


# -- surveys

SCALES = {1: (1, 2, 3, 4, 5), 2: (1, 3, 5)}  # version -> ratings


def said(ticket: Ticket) -> tuple[int, int] | None:
    """The version of the survey and the rating, of a ticket that was rated by one."""
    if not ticket.survey or ticket.rated is None or ticket.stars is None:
        return None
    stars = ticket.stars
    return ticket.survey, min(SCALES[ticket.survey], key=lambda rating: abs(rating - stars))


def _surveys(asked: Callable[[], list[Ticket]], call: Call) -> Shown:
    since, until = (int(call.query(f"filter[created_at_{end}]", "0")) for end in ("start", "end"))
    shown = sorted((each for each in asked() if _asked_at(each) and since <= _asked_at(each) <= (until or call.now)),
                   key=lambda each: each.number)  # fmt: skip
    cursor, size = call.query("page[after]"), int(call.query("page[size]", "100"))
    at = tokens.unsign(cursor) if cursor else {"start": 0}
    if at is None:
        raise Refused(_of_guide(400, "BadRequest", "The cursor is not valid"))
    end = int(at["start"]) + size
    return {
        "survey_responses": [_response(each, options=False) for each in shown[int(at["start"]) : end]],
        "meta": {"has_more": end < len(shown), "after_cursor": tokens.sign({"start": end}), "before_cursor": "MQ"},
    }  # fmt: skip


def _survey(asked: Callable[[], list[Ticket]], call: Call) -> Shown:
    for each in asked():
        if _asked_at(each) and _ulid(each) == call.path("id"):
            return {"survey_response": _response(each, options=True)}
    raise Refused(_of_guide(404, "NotFound", "The survey response could not be found"))


def _asked_at(ticket: Ticket) -> int:
    """0 of one without a survey."""
    return ticket.last_solved or 0 if ticket.survey else 0


def _ulid(ticket: Ticket) -> str:
    return f"01J{ticket.number:023d}"


def _response(ticket: Ticket, *, options: bool) -> Shown:
    answers = []
    if given := said(ticket):
        version, rating = given
        at = {name: _iso(ticket.rated or 0).replace("Z", ".000Z") for name in ("created_at", "updated_at")}
        label = {"type": "static", "value": TEXT}
        more = {"options": [{"label": label, "rating": each} for each in SCALES[version]]} if options else {}
        category = "good" if rating > 3 else "neutral" if rating == 3 else "bad"
        question = {"id": "01J1WBE8QR0YQVE373K2JDJR0F", "sub_type": "customer_satisfaction",
                    "type": "rating_scale_emoji", **more}  # fmt: skip
        text = {"id": "01J1WBNS76ZC4TTFWP9RCNQ1S8", "type": "open_ended"}
        answers = [{"type": "rating_scale", "rating": rating, "rating_category": category, "question": question, **at},
                   {"type": "open_ended", "value": TEXT, "question": text, **at}]  # fmt: skip
    return {
        "id": _ulid(ticket), "answers": answers, "expires_at": _iso(_asked_at(ticket) + 28 * 86_400_000),
        "responder_id": ticket.contact.id, "subject_zrns": [f"zen:ticket:{ticket.number}"],
        "subjects": [{"id": str(ticket.number), "type": "ticket", "zrn": f"zen:ticket:{ticket.number}"}],
        "survey": {"id": "01J58KJ9RAE0D2EK7HRVM7Z8F2", "state": "enabled",
                   "version": ticket.survey},
    }  # fmt: skip


def _user(contact: voices.Contact) -> Shown:
    return {
        "id": contact.id, "name": f"{contact.given['firstname']} {contact.given['lastname']}", "email": contact.email,
        "phone": contact.given["phone"], "role": "end-user", "organization_id": contact.company, "active": True,
    }  # fmt: skip


def _iso(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Zendesk's words


async def _fields(request: Request) -> dict[str, str]:
    if "json" in request.headers.get("content-type", ""):
        return {name: str(value) for name, value in json.loads(await request.body()).items()}
    return await tokens.form(request)


def _token(fields: dict[str, str]) -> Response:
    grants = ("refresh_token", "authorization_code", "client_credentials")
    if problem := tokens.grant_problem(VENDOR, fields, grants):
        return JSONResponse({"error": problem, "error_description": "The provided access grant is invalid"}, 401)
    refresh = {} if fields["grant_type"] == "client_credentials" else {"refresh_token": tokens.REFRESH_TOKEN}
    return JSONResponse({
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "token_type": "bearer", "scope": fields.get("scope", ""),
        "expires_in": int(TOKEN_LIFETIME), **refresh,
    })  # fmt: skip


def _error(status: int, error: Any, description: str = "") -> Response:
    return JSONResponse({"error": error} | ({"description": description} if description else {}), status)


def _of_guide(status: int, code: str, title: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "status": str(status), "title": title}]}, status)


def _expired() -> Response:
    return _error(401, "invalid_token", "The access token provided is expired, revoked, malformed or invalid")


def _throttled(wait: int | None, daily: bool) -> Response:
    about = "Number of allowed incremental export API requests per minute exceeded"
    answer = _error(429, "APIRateLimitExceeded", about)
    answer.headers["Retry-After"] = str(86_400 if daily else 1 if wait is None else wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, {"title": "Internal Server Error", "message": "Something went wrong"}),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "Forbidden", f"You are missing the following required scopes: {scope}"),
    expired_cursor=lambda: _error(400, "InvalidPaginationCursor", "The cursor is not valid"),
    cursor=asked_by("cursor", "page[after]"),
    repeat=lambda cursor, answer: answer.update(
        after_cursor=cursor, end_of_stream=False, meta={"after_cursor": cursor, "has_more": True}
    ),
    rows=("tickets", "survey_responses"),
    token_route=True,
)
