"""Pipedrive's API v2 over the contacts, companies and deals of the world, as a company would have them that uses it.

Deals, archived and deleted ones, persons, organizations, pipelines and stages; of API v1 the log of a deal's changes
and the user. From the official SDK (npm pipedrive 33.7.0) and https://developers.pipedrive.com/docs/api/v1, read
2026-11-30. The error bodies are as public clients recorded them; that of a 429 is documented nowhere.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import JSONResponse, Response

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

DAY_MS = 86_400_000
BIN = 30 * DAY_MS  # what is deleted can be listed for so long
ARCHIVED_AFTER = 45 * DAY_MS  # every second deal that was lost is put away then
PIPELINES = {
    "newbusiness": (1, "New Business"),
    "existingbusiness": (2, "Existing Business"),
    "renewal": (3, "Renewal"),
}
STAGES = {
    "appointmentscheduled": "Qualified", "qualifiedtobuy": "Contact Made", "presentationscheduled": "Demo Scheduled",
    "decisionmakerboughtin": "Proposal Made", "contractsent": "Negotiations Started",
}  # fmt: skip
CLOSED = {"closedwon": "won", "closedlost": "lost"}
# The keys of custom fields are made for each company: https://pipedrive.readme.io/docs/core-api-concepts-custom-fields
FIELDS = {
    "utm_medium": "8c4ad1d6c6c08c7d1c3f2a57d3ac4b29e7dc7a11",
    "utm_campaign": "f1b6cbb1f0a64f0f9d5d3a2f0c5d2e6a7b8c9d0e",
    "hs_google_click_id": "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567",
}  # fmt: skip
COSTS = {"deals/archived": 20, "pipelines": 5, "stages": 5, "changelog": 20, "users/me": 2}  # tokens; other lists: 10


class Company(NamedTuple):
    """All of it that can be listed, by id; the changes of a deal by its id, newest first."""

    deals: list[Shown]
    persons: list[Shown]
    organizations: list[Shown]
    changes: dict[int, list[Shown]]


def routes(world: World, burst: int = 100_000, daily: int = 10_000_000, page_size: int = 500) -> list[BaseRoute]:
    """The paths of one company. `burst` requests in two seconds, `daily` tokens, at most `page_size` records a page."""
    company = Shapes(world, company_at)
    requests, budget = Meter(burst, 2.0), Meter(daily, 86_400.0)

    def enter(request: Request) -> dict[str, str]:
        if request.headers.get("x-api-token") != tokens.PRIVATE_APP_TOKEN:
            raise _refused(401, "unauthorized access", info="Please check developers.pipedrive.com")
        cost = next((cost for end, cost in COSTS.items() if request.url.path.endswith(end)), 10)
        for meter, what in ((budget, "daily"), (requests, "burst")):
            if not meter.take(cost if meter is budget else 1):
                raise Refused(_throttled(None, what == "daily"))
        left = {
            "x-daily-ratelimit-token-limit": str(daily),
            "x-daily-ratelimit-token-remaining": str(daily - budget.used()),
        }
        return left | {"x-ratelimit-limit": str(burst), "x-ratelimit-remaining": str(burst - requests.used())}

    def deals(call: Call, *, archived: bool = False) -> Shown:
        states = set(filter(None, call.query("status").split(","))) or {"open", "won", "lost"}
        rows = [row for row in company().deals if row["is_archived"] is archived and row["status"] in states]
        return _listed(call, rows, page_size)

    def changelog(call: Call) -> Shown:
        if (changes := company().changes.get(int(call.path("id")))) is None:
            raise _refused(404, "Deal not found")
        return _listed(call, changes, page_size)

    at = partial(route, world, enter=enter)
    return [
        at("/api/v2/deals", deals),
        at("/api/v2/deals/archived", partial(deals, archived=True)),
        at("/api/v2/persons", lambda call: _listed(call, company().persons, page_size)),
        at("/api/v2/organizations", lambda call: _listed(call, company().organizations, page_size)),
        at("/api/v2/pipelines", lambda call: _listed(call, _pipelines(), page_size)),
        at("/api/v2/stages", lambda call: _listed(call, _stages(), page_size)),
        at("/api/v2/personFields", lambda call: _listed(call, _fields(), page_size)),
        at("/api/v2/dealFields", lambda call: _listed(call, [], page_size)),  # without the standard ones
        at("/api/v1/deals/{id:int}/changelog", changelog),
        at("/api/v1/users/me", lambda call: {"success": True, "data": ME}),
    ]


ME = {
    "id": 1, "name": "Sandbox", "default_currency": "EUR", "timezone_name": "Europe/Berlin", "is_deleted": False,
    "company_id": 7654321, "company_name": "Our Company", "company_domain": "ourcompany", "active_flag": True,
    "access": [{"app": "sales", "admin": True, "permission_set_id": "62cc4d7f-4038-4352-abf3-a8c1c822b631"}],
}  # fmt: skip


def _listed(call: Call, rows: list[Shown], page_size: int) -> Shown:
    """A page of what was updated in the window that is asked for: `[updated_since, updated_until)`."""
    since, until = (_time(call, name) for name in ("updated_since", "updated_until"))
    key, limit = call.query("sort_by", "id"), call.query("limit", "100")
    if key not in ("id", "update_time", "add_time") or not limit.isdecimal() or not 1 <= int(limit) <= 500:
        raise _refused(400, "Validation failed: sort_by or limit")
    if since or until:
        rows = [row for row in rows if (since or "") <= row["update_time"] < (until or "9")]
    if rows and key in rows[0]:
        rows = sorted(rows, key=lambda row: (row[key], row["id"]), reverse=call.query("sort_direction") == "desc")
    try:
        shown, cursor = page(rows, call.query("cursor"), min(int(limit), page_size))
    except ValueError:
        raise _refused(400, "Invalid cursor") from None
    return {"success": True, "data": shown, "additional_data": {"next_cursor": cursor}}


def _time(call: Call, name: str) -> str:
    """RFC 3339, in whole seconds: with a fraction it is refused."""
    given = call.query(name)
    if given and not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(Z|[+-]\d\d:\d\d)", given):
        raise _refused(400, f"Validation failed: {name}: must be a valid RFC3339 date-time")
    return _iso(int(datetime.fromisoformat(given).timestamp() * 1000)) if given else ""


# -- what it makes of the world


def company_at(connection: sqlite3.Connection, now: int) -> Company:
    def records(name: str) -> Iterator[tuple[int, sqlite3.Row, Any]]:
        scope = {"vendor": "hubspot", "object": name, "now": now}
        for row in connection.execute(CURRENT + " and v.is_gone = 0 order by v.id", scope):
            yield int(row["id"]), row, json.loads(row["payload"])

    organizations = [_organization(*record) for record in records("companies") if not record[1]["is_deleted"]]
    known = {organization["id"] for organization in organizations}
    persons = [_person(*record, known) for record in records("contacts") if not record[1]["is_deleted"]]
    of_deal = "select from_id, min(to_id) from association where from_object = 'deals' and visible_at <= ? group by 1"
    person_of = {int(deal): int(person) for deal, person in connection.execute(of_deal, (now,))}
    moves: dict[int, list[tuple[int, str]]] = defaultdict(list)
    history = "select id, at, value from property_history where object = 'deals' and property = 'dealstage'"
    for deal, at, value in connection.execute(f"{history} and visible_at <= ? order by id, at", (now,)):
        moves[int(deal)].append((at, value))
    deals, changes = [], {}
    for number, row, given in records("deals"):
        pipeline, _ = PIPELINES[given["dealtype"]]
        if not (states := [*_states(moves[number], pipeline)]):
            continue  # its first stage is not shown yet
        deal = _deal(number, row, given, states, now) | {"person_id": person_of.get(number), "pipeline_id": pipeline}
        if not row["is_deleted"] or row["modified_at"] > now - BIN:
            deals.append(deal)
            changes[number] = [*_changes(deal, states)]
    return Company(deals, persons, organizations, changes)


def _states(moves: list[tuple[int, str]], pipeline: int) -> Iterator[tuple[int, int, str]]:
    """When a deal came into which stage, and status: who closes it leaves it in the stage where it is."""
    stage = pipeline * 10
    for at, value in moves:
        stage = stage if value in CLOSED else pipeline * 10 + [*STAGES].index(value)
        yield at, stage, CLOSED.get(value, "open")


def _deal(number: int, row: sqlite3.Row, given: Any, states: list[tuple[int, int, str]], now: int) -> Shown:
    at, stage, status = states[-1]
    entered = min(at for at, its, _ in states if its == stage)
    closed = f"{given['closedate'][:10]}T{_iso(at)[11:]}" if status != "open" else None  # it can be set back
    put_away = row["modified_at"] + ARCHIVED_AFTER
    is_archived = status == "lost" and number % 2 == 0 and put_away <= now
    updated = _iso(put_away if is_archived else row["modified_at"])
    return {
        "id": number, "title": given["dealname"], "creator_user_id": 1, "owner_id": int(given["hubspot_owner_id"]),
        "org_id": int(given["hs_primary_associated_company"] or 0) or None, "stage_id": stage,
        "value": float(given["amount"] or 0), "currency": given["deal_currency_code"],
        "add_time": given["createdate"][:19] + "Z", "update_time": updated,
        "stage_change_time": _iso(entered) if stage != states[0][1] else None, "is_deleted": bool(row["is_deleted"]),
        "status": "deleted" if row["is_deleted"] else status, "is_archived": is_archived,
        "archive_time": _iso(put_away) if is_archived else None, "probability": None,
        "lost_reason": "No budget" if status == "lost" else None, "visible_to": 3, "close_time": closed,
        "won_time": closed if status == "won" else None, "lost_time": closed if status == "lost" else None,
        "expected_close_date": given["closedate"][:10], "label_ids": [], "origin": "API", "origin_id": None,
        "channel": None, "channel_id": None, "acv": None, "arr": None, "mrr": None, "custom_fields": {},
    }  # fmt: skip


def _changes(deal: Shown, states: list[tuple[int, int, str]]) -> Iterator[Shown]:
    """The log of a deal: that it was added, and each change of stage and status. Values are words."""
    for (_, old_stage, old_status), (at, stage, status) in reversed([*pairwise(states)]):
        if status != old_status:
            yield _change(at, "status", old_status, status)
        if stage != old_stage:
            yield _change(at, "stage_id", str(old_stage), str(stage))
    added = deal["add_time"].replace("T", " ").rstrip("Z")
    yield _change(states[0][0], "add_time", None, added) | {"time": added}


def _change(at: int, field: str, old: str | None, new: str) -> Shown:
    return {
        "field_key": field, "old_value": old, "new_value": new, "actor_user_id": 1, "is_bulk_update_flag": False,
        "time": _iso(at).replace("T", " ").rstrip("Z"), "change_source": "app", "change_source_user_agent": None,
    }  # fmt: skip


def _person(number: int, row: sqlite3.Row, given: Any, organizations: set[int]) -> Shown:
    addresses = [given["email"], *filter(None, (given.get("hs_additional_emails") or "").split(";"))]
    organization = 300_000_000 + number % 100_000_000 // 10
    return {
        "id": number, "name": f"{given['firstname']} {given['lastname']}", "first_name": given["firstname"],
        "last_name": given["lastname"], "owner_id": int(given["hubspot_owner_id"]),
        "org_id": organization if organization in organizations else None,
        "add_time": given["createdate"][:19] + "Z", "update_time": _iso(row["modified_at"]),
        "emails": [{"value": word, "primary": not n, "label": "work"} for n, word in enumerate(addresses)],
        "phones": [], "is_deleted": False, "visible_to": 3, "label_ids": [], "picture_id": None,
        "custom_fields": {key: given.get(name) for name, key in FIELDS.items()},
    }  # fmt: skip


def _organization(number: int, row: sqlite3.Row, given: Any) -> Shown:
    return {
        "id": number, "name": given["name"], "owner_id": int(given["hubspot_owner_id"]),
        "add_time": given["createdate"][:19] + "Z", "update_time": _iso(row["modified_at"]), "is_deleted": False,
        "visible_to": 3, "address": {"value": given["country"], "country": given["country"]}, "label_ids": [],
        "website": f"https://www.{given['domain']}", "linkedin": None, "industry": None, "annual_revenue": None,
        "employee_count": None, "custom_fields": {},
    }  # fmt: skip


def _pipelines() -> list[Shown]:
    made = {"is_deleted": False, "is_deal_probability_enabled": False, "add_time": _iso(0), "update_time": _iso(0)}
    return [{"id": number, "name": name, "order_nr": number, **made} for number, name in PIPELINES.values()]


def _stages() -> list[Shown]:
    made = {"is_deleted": False, "deal_probability": 100, "is_deal_rot_enabled": False, "days_to_rotten": None}
    stamps = {"add_time": _iso(0), "update_time": _iso(0)}
    return [
        {"id": pipeline * 10 + n, "order_nr": n, "name": name, "pipeline_id": pipeline, **made, **stamps}
        for pipeline, _ in PIPELINES.values()
        for n, name in enumerate(STAGES.values())
    ]


def _fields() -> list[Shown]:
    return [
        {"field_name": name, "field_code": key, "field_type": "varchar", "options": None, "is_custom_field": True}
        for name, key in FIELDS.items()
    ]


def _iso(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Pipedrive's words


def _error(status: int, error: str, info: str = "") -> Response:
    body = {"success": False, "error": error, "errorCode": status, "data": None, "additional_data": None}
    return JSONResponse(body | ({"error_info": info} if info else {}), status)


def _refused(status: int, error: str, info: str = "") -> Refused:
    return Refused(_error(status, error, info))


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "Daily request limit exceeded" if daily else "Rate limit exceeded")
    answer.headers["x-daily-ratelimit-token-remaining"] = "0" if daily else "29000"
    answer.headers["x-ratelimit-reset"] = str(2 if wait is None else wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "Internal server error"),
    cursor=asked_by("cursor"),
    repeat=lambda cursor, answer: answer.update(additional_data={"next_cursor": cursor}),
    rows=("data",),
)
