"""Intercom's search of conversations and its workspace, over what people in the world asked (voices.py).

From Intercom's OpenAPI description (2.14, of 2026-08-21), python-intercom 5.0.1 and its page on rate limits, read
2026-12-01. Beside what people asked there are messages that were sent to many, which nobody answered. What is deleted
is in no list any more.
"""

from __future__ import annotations

import json
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens, voices
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, page, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.voices import Contact, Ticket
    from b2b_sandbox.world import World

VENDOR = "intercom"
VERSIONS = ("2.13", "2.14", "2.15")
APP = {
    "type": "app", "id_code": "wjw5eps7", "name": "Our Company", "region": "US", "timezone": "Europe/Berlin",
    "created_at": 1_700_000_000, "identity_verification": False,
}  # fmt: skip
BODY = "<p>I am Jo, write to jo@private.example or call 555 0100</p>"
MINUTE = 60_000


def routes(
    world: World, page_size: int = 150, per_window: int = 100_000, inclusive: bool = False, region: str = "US"
) -> list[BaseRoute]:
    """The paths of one workspace. `per_window`: requests in 10 seconds; `inclusive`: whether `>` and `<` take what is
    equal."""
    made = Shapes(world, _conversations)
    meter = Meter(per_window, 10.0)

    def enter(request: Request) -> dict[str, str]:
        if tokens.bearer(request) != tokens.PRIVATE_APP_TOKEN:
            raise Refused(_error(401, "unauthorized", "Access Token Invalid"))
        if request.headers.get("intercom-version", VERSIONS[0]) not in VERSIONS:
            raise Refused(_error(400, "bad_request", "The requested version could not be found"))
        if not meter.take():
            raise Refused(_throttled(None, False))
        return {"X-RateLimit-Limit": "166", "X-RateLimit-Remaining": "165", "X-RateLimit-Reset": _in(10)}

    def search(call: Call) -> Shown:
        asked = json.loads(call.body)
        found = [each for each in made() if _fits(each, asked.get("query") or {}, inclusive)]
        return _page(found, asked.get("pagination") or {}, page_size)

    me = {"type": "admin", "id": "1", "email": "jo@ourcompany.example", "name": "Jo", "email_verified": True}
    at = partial(route, world, enter=enter)
    return [
        at("/me", lambda call: me | {"app": APP | {"region": region}}),
        at("/conversations/search", search, method="POST"),
    ]


def _fits(shown: Shown, query: Shown, inclusive: bool) -> bool:
    if "value" in query and query.get("operator") in ("AND", "OR") and isinstance(query["value"], list):
        within = all if query["operator"] == "AND" else any
        return within(_fits(shown, each, inclusive) for each in query["value"])
    field, operator, value = (query.get(name) for name in ("field", "operator", "value"))
    if field not in ("updated_at", "created_at") or operator not in ("=", "<", ">"):
        raise Refused(_error(400, "parameter_invalid", "The query is not valid"))
    given, wanted = int(shown[str(field)]), int(str(value))
    more, less = given > wanted, given < wanted
    return {"=": given == wanted, ">": more, "<": less}[str(operator)] or (inclusive and given == wanted)


def _page(found: list[Shown], asked: Shown, page_size: int) -> Shown:
    """The newest first."""
    size = min(int(asked.get("per_page", 20)), page_size)
    found = sorted(found, key=lambda each: (each["updated_at"], each["id"]), reverse=True)
    try:
        shown, after = page(found, str(asked.get("starting_after") or ""), size)
    except ValueError:
        raise Refused(_error(400, "parameter_invalid", "bad 'starting_after' param")) from None
    pages: Shown = {"type": "pages", "page": 1, "per_page": size, "total_pages": -(-len(found) // size)}
    if after:
        pages["next"] = {"per_page": size, "starting_after": after}
    return {"type": "conversation.list", "pages": pages, "total_count": len(found), "conversations": shown}


def _conversations(connection: sqlite3.Connection, now: int) -> list[Shown]:
    asked = [_conversation(ticket) for ticket in voices.tickets(connection, now, VENDOR)]
    sent = [
        _sent(contact, at)
        for contact in voices.contacts(connection, now)
        if contact.id % 7 == 0 and (at := voices.daytime(contact, 2, "sent")) <= now
    ]
    return [*asked, *sent]


def _conversation(asked: Ticket) -> Shown:
    """Of one that is open again its statistics go on telling when it was closed last."""

    def office(until: int | None) -> int | None:
        return None if until is None else (until - asked.created) // 1000 // 3

    rating = {
        "rating": asked.stars,
        "remark": BODY,
        "created_at": asked.created // 1000,
        "contact": {"type": "contact"},
    }
    statistics = {
        "type": "conversation_statistics", "time_to_admin_reply": office(asked.replied),
        "time_to_last_close": office(asked.last_solved), "time_to_first_close": office(asked.last_solved),
        "first_contact_reply_at": asked.created // 1000, "first_admin_reply_at": _seconds(asked.replied),
        "last_close_at": _seconds(asked.last_solved), "count_reopens": asked.reopens, "count_conversation_parts": 3,
        "last_closed_by_id": "1",
    }  # fmt: skip
    return _shown(asked.contact, asked.number, asked.created, asked.changed, "customer_initiated") | {
        "state": "closed" if asked.solved else "open", "open": not asked.solved, "statistics": statistics,
        "priority": "priority" if asked.priority == "urgent" else "not_priority",
        "conversation_rating": rating if asked.stars is not None else None,
        "first_contact_reply": {"created_at": asked.created // 1000, "type": "conversation", "url": None},
    }  # fmt: skip


def _sent(contact: Contact, at: int) -> Shown:
    """A message to many that nobody answered."""
    shown = _shown(contact, contact.id * 2 + 900_000_000_000, at, at, "automated")
    author = {"type": "admin", "id": "1", "name": "Jo", "email": "jo@ourcompany.example"}
    return shown | {"source": shown["source"] | {"author": author}}


def _shown(contact: Contact, number: int, created: int, changed: int, initiated: str) -> Shown:
    name = f"{contact.given['firstname']} {contact.given['lastname']}"
    author = {"type": "user", "id": f"{contact.id:024x}", "name": name, "email": contact.email}
    return {
        "type": "conversation", "id": str(number), "title": BODY, "created_at": created // 1000,
        "updated_at": changed // 1000, "waiting_since": None, "snoozed_until": None, "read": True, "state": "closed",
        "open": False, "priority": "not_priority", "admin_assignee_id": 1, "team_assignee_id": None,
        "source": {
            "type": "email" if number % 3 else "conversation", "id": str(number), "delivered_as": initiated,
            "subject": BODY, "body": BODY, "author": author, "attachments": [], "url": None, "redacted": False,
        },
        "contacts": {"type": "contact.list", "contacts": [{"type": "contact", "id": author["id"]}]},
        "company": {"type": "company", "id": f"{contact.company:024x}", "name": contact.given["company"]},
        "custom_attributes": {"note": BODY}, "statistics": None, "first_contact_reply": None,
        "conversation_rating": None, "tags": {"type": "tag.list", "tags": []}, "ai_agent_participated": False,
    }  # fmt: skip


def _seconds(milliseconds: int | None) -> int | None:
    return None if milliseconds is None else milliseconds // 1000


# -- what goes wrong, in Intercom's words


def _error(status: int, code: str, message: str) -> Response:
    body: dict[str, Any] = {"type": "error.list", "request_id": "b3b1", "errors": [{"code": code, "message": message}]}
    return JSONResponse(body, status)


def _in(seconds: int) -> str:
    return str(int(time.time()) + seconds)


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "rate_limit_exceeded", "Exceeded rate limit of 166 in 10 seconds")
    answer.headers["X-RateLimit-Reset"] = _in(86_400 if daily else 1 if wait is None else wait)
    return answer


def _cursor(request: Request, asked: Shown) -> str:
    return str((asked.get("pagination") or {}).get("starting_after") or "")


def _repeat(cursor: str, answer: Shown) -> None:
    answer["pages"]["next"] = {"per_page": 20, "starting_after": cursor}


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "server_error", "Internal Server Error"),
    missing_scope=lambda scope: _error(403, "api_plan_restricted", "Active subscription needed."),
    cursor=_cursor,
    repeat=_repeat,
    rows=("conversations",),
)
