"""Reddit's Ads API v3: businesses, ad accounts, campaigns and reports, over the world.

From Reddit's OpenAPI document (https://ads-api.reddit.com/docs/v3) and what public connectors (PyPI adloop 0.35.1,
PostHog) found, read 2026-12-01. A report covers `beyond` hours after its last one, as adloop saw it; a day that it
covers in part has a part of its figures.
"""

from __future__ import annotations

import base64
import json
import re
from collections import defaultdict
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "reddit_ads"
BUSINESS = "1e200a0b-4e98-32cc-dd47-3006e4c85bb2"
TOKEN_LIFETIME = 3600.0
HOUR = re.compile(r"\d{4}-\d\d-\d\dT\d\d:00:00Z")
BREAKDOWNS = {"CAMPAIGN_ID", "DATE"}
FIELDS = BREAKDOWNS | {"CURRENCY", "IMPRESSIONS", "CLICKS", "SPEND", "KEY_CONVERSION_TOTAL_COUNT"}
ENTITIES = f"select * from ad_entity where vendor = '{VENDOR}' and account_id = ? and visible_at <= ? order by id"  # noqa: S608
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day between ? and ? and known_at <= ?
group by campaign_id, date_day order by date_day, campaign_id
"""  # noqa: S608


def routes(world: World, page_size: int = 1000, beyond: int = 24) -> list[BaseRoute]:
    """The paths of one user. `page_size`: records of a page, the most; `beyond`: hours that a report is longer."""

    async def token(request: Request) -> Response:
        return _token(request, await tokens.form(request))

    def listed(call: Call) -> Shown:
        with world.connect() as connection:
            found = connection.execute("select * from ad_account where vendor = ? order by id", (VENDOR,)).fetchall()
        return _paged(call, [_account(row) for row in found], page_size)

    def account(call: Call) -> Shown:
        with world.connect() as connection:
            return {"data": _account(_of(connection, call))}

    def campaigns(call: Call) -> Shown:
        with world.connect() as connection:
            known = _of(connection, call)["id"]
            found = [_campaign(row, call.now) for row in connection.execute(ENTITIES, (known, call.now))]
        return _paged(call, found, page_size)

    def reports(call: Call) -> Shown:
        asked = json.loads(call.body).get("data", {})
        with world.connect() as connection:
            found = _report(connection, _of(connection, call), asked, call.now, beyond)
        shown = _paged(call, found, page_size)
        return shown | {"data": {"metrics": shown["data"], "metrics_updated_at": _time(call.now)}}

    businesses = [{"id": BUSINESS, "name": "Example", "industry": "TECH_B2B"}]
    at = partial(route, world, enter=partial(_enter, world))
    return [
        Route("/api/v1/authorize", tokens.consent(VENDOR, ("duration", "permanent"))),
        Route("/api/v1/access_token", token, methods=["POST"]),
        at("/api/v3/me/businesses", lambda call: _paged(call, businesses, page_size, 700)),
        at("/api/v3/businesses/{business}/ad_accounts", listed),
        at("/api/v3/ad_accounts/{account}", account),
        at("/api/v3/ad_accounts/{account}/campaigns", campaigns),
        at("/api/v3/ad_accounts/{account}/reports", reports, method="POST"),
    ]


def _enter(world: World, request: Request) -> dict[str, str]:
    _agent(request)
    if tokens.problem(world, VENDOR, tokens.bearer(request)):
        raise Refused(_expired())
    return {"RateLimit": '"ads-reporting";r=59;t=60'}


def _agent(request: Request) -> None:
    if "python-requests" in request.headers.get("user-agent", "python-requests"):
        raise Refused(_throttled(60, False))


def _token(request: Request, fields: dict[str, str]) -> Response:
    """The client must be in the header."""
    scheme, _, pair = request.headers.get("authorization", "").partition(" ")
    client, _, secret = base64.b64decode(pair).decode().partition(":") if scheme == "Basic" else ("", "", "")
    try:
        _agent(request)
    except Refused as refused:
        return refused.answer
    asked = {**fields, "client_id": client, "client_secret": secret}
    problem = tokens.grant_problem(VENDOR, asked, ("refresh_token", "authorization_code"))
    if problem == "invalid_client":
        return JSONResponse({"message": "Unauthorized", "error": 401}, 401)
    if problem:
        return JSONResponse({"error": problem}, 400)
    return JSONResponse({
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "token_type": "bearer",
        "expires_in": int(TOKEN_LIFETIME), "scope": "adsread", **tokens.lasting(fields),
    })  # fmt: skip


def _of(connection: sqlite3.Connection, call: Call) -> sqlite3.Row:
    query = "select * from ad_account where vendor = ? and id = ?"
    found: sqlite3.Row | None = connection.execute(query, (VENDOR, call.path("account"))).fetchone()
    if found is None:
        raise Refused(_error(404, "Not Found"))
    return found


def _paged(call: Call, found: list[Shown], most: int, largest: int = 1000) -> Shown:
    """`largest`: what may be asked for at most; lists differ in it."""
    if not 1 <= int(call.query("page.size", "100")) <= largest:
        raise Refused(_error(400, "Bad Request", "page.size"))
    try:
        shown, after = page(found, call.query("page.token"), min(int(call.query("page.size", "100")), most))
    except ValueError:
        raise Refused(_error(400, "Bad Request", "page.token")) from None
    url = call.request.url.include_query_params(**{"page.token": after}) if after else None
    return {"data": shown, "pagination": {"next_url": str(url)} if url else {}}


def _account(row: sqlite3.Row) -> Shown:
    return {
        "id": row["id"], "business_id": BUSINESS, "name": row["name"], "currency": row["currency"],
        "time_zone_id": row["time_zone"], "admin_approval": row["status"], "click_attribution_window": "MONTH",
        "view_attribution_window": "DAY", "attribution_type": "ALL_CONVERSION", "suspension_reason": None,
    }  # fmt: skip


def _campaign(row: sqlite3.Row, now: int) -> Shown:
    given = json.loads(row["payload"])
    over = midnight(date.fromisoformat(given["last"])) + DAY if given["last"] else None
    is_over = over is not None and over <= now
    return {
        "id": row["id"], "ad_account_id": row["account_id"], "name": given["name"], "objective": given["type"],
        "type": "MANUAL", "configured_status": "ACTIVE", "effective_status": "COMPLETED" if is_over else "ACTIVE",
        "created_at": _time(row["visible_at"]), "modified_at": _time(row["visible_at"]),
    }  # fmt: skip


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _report(
    connection: sqlite3.Connection, about: sqlite3.Row, asked: dict[str, Any], now: int, beyond: int
) -> list[Shown]:
    fields, breakdowns = asked.get("fields", []), asked.get("breakdowns", [])
    if unknown := [name for name in fields if name not in FIELDS]:
        raise Refused(_error(400, "Bad Request", f"data.fields.{fields.index(unknown[0])}"))
    if not set(breakdowns) <= BREAKDOWNS or "DATE" not in breakdowns:
        raise Refused(_error(400, "Bad Request", "data.breakdowns"))
    if wrong := [name for name in ("starts_at", "ends_at") if not HOUR.fullmatch(str(asked.get(name)))]:
        raise Refused(_error(400, "Bad Request", f"data.{wrong[0]}"))
    zone = ZoneInfo(asked.get("time_zone_id") or "UTC")
    since, until = (datetime.fromisoformat(asked[name]) for name in ("starts_at", "ends_at"))
    until += timedelta(hours=beyond)
    first, last = (at.astimezone(zone).date().isoformat() for at in (since, until))
    sums: dict[tuple[str, str], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in connection.execute(DAYS, (about["id"], first, last, now)):
        share = _share(date.fromisoformat(row["date_day"]), zone, since, until)
        counts = {
            "impressions": row["impressions"], "clicks": row["clicks"], "spend": row["cost_micros"],
            "key_conversion_total_count": int(row["conversions"]),
        }  # fmt: skip
        for name, count in counts.items():
            sums[row["date_day"], row["campaign_id"] if "CAMPAIGN_ID" in breakdowns else ""][name] += int(count * share)
    names = [name.lower() for name in fields]
    rows = [
        {"date": day, "currency": about["currency"], **({"campaign_id": of} if of else {}), **found}
        for (day, of), found in sums.items()
        if found["impressions"]
    ]
    return [{name: row[name] for name in names if name in row} for row in rows]


def _share(day: date, zone: ZoneInfo, since: datetime, until: datetime) -> float:
    """The part of a day that lies between two instants."""
    begins, ends = (datetime.combine(each, time(), zone).astimezone(UTC) for each in (day, day + timedelta(days=1)))
    return max(timedelta(0), min(ends, until) - max(begins, since)) / (ends - begins)


# -- what goes wrong, in Reddit's words


def _error(status: int, message: str, where: str = "") -> Response:
    about = {"fields": [{"field": where, "message": "invalid"}]} if where else {}
    return JSONResponse({"error": {"code": status, "message": message, **about}}, status)


def _expired() -> Response:
    return _error(401, "Unauthorized")


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "Too Many Requests")
    answer.headers["RateLimit"] = f'"ads-reporting";r=0;t={86400 if daily else wait or 5},"ads-reporting-day";r=9;t=1'
    return answer


def _repeat(cursor: str, answer: Shown) -> None:
    if url := answer["pagination"].get("next_url"):
        answer["pagination"]["next_url"] = re.sub(r"(page\.token=)[^&]+", rf"\g<1>{cursor}", url)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "Internal Server Error"),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "Forbidden"),
    cursor=asked_by("page.token"),
    repeat=_repeat,
    rows=("data",),
    token_route=True,
)
