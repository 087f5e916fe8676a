"""TikTok's API for Business: ad accounts, campaigns and synchronous reports, over the world.

Every answer has status 200 and a code in it. From https://business-api.tiktok.com/portal/docs (v1.3), the official SDK
(PyPI tiktok-business-api-sdk-official 1.1.3) and what public connectors recorded, read 2026-12-01.
"""

from __future__ import annotations

import json
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit

from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "tiktok_ads"
REQUEST = "20261201120000A1B2C3D4E5F60718293A4B"
LONGEST = timedelta(days=30)
DELETED_AFTER = 20 * DAY  # a campaign that is over is cleared away then
SHOWN_ZONE = {"Etc/GMT-1": "Europe/Berlin", "Etc/GMT+5": "America/New_York"}
ENTITIES = f"select * from ad_entity where vendor = '{VENDOR}' and account_id = ? and visible_at <= ? order by id desc"  # noqa: S608
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day between ? and ? and known_at <= ?
group by campaign_id, date_day order by date_day, campaign_id
"""  # noqa: S608


def routes(world: World, page_size: int = 1000, most: int = 1_000_000) -> list[BaseRoute]:
    """The paths of one app. `page_size`: records of a page, however many are asked for; `most`: rows of a report."""

    def of(connection: sqlite3.Connection) -> list[sqlite3.Row]:
        return connection.execute("select * from ad_account where vendor = ? order by id", (VENDOR,)).fetchall()

    def authorized(call: Call) -> Shown:
        if (call.query("app_id"), call.query("secret")) != (tokens.CLIENT_ID, tokens.CLIENT_SECRET):
            raise _refused(40101, "App id and secret do not match.")
        with world.connect() as connection:
            return _ok(
                {"list": [{"advertiser_id": row["id"], "advertiser_name": row["name"]} for row in of(connection)]}
            )

    def info(call: Call) -> Shown:
        with world.connect() as connection:
            known = {row["id"]: row for row in of(connection)}
        return _ok({"list": [_account(known[name]) for name in _json(call, "advertiser_ids") if name in known]})

    def campaigns(call: Call) -> Shown:
        with world.connect() as connection:
            found = _campaigns(connection, _advertiser(connection, call), call.now)
        kept = _kept(found, _json(call, "filtering", "{}").get("primary_status"))
        fields = _json(call, "fields", "null") or (kept[0] if kept else ())
        return _paged(call, [{name: row[name] for name in fields} for row in kept], page_size)

    def report(call: Call) -> Shown:
        with world.connect() as connection:
            found = [*_report(connection, _advertiser(connection, call), call)]
        if len(found) > most:
            raise _refused(40067, "Your query is too large, please reduce the query size and retry after a while.")
        return _paged(call, found, page_size)

    def consent(request: Request) -> Response:
        asked = request.query_params
        if asked.get("app_id") != tokens.CLIENT_ID or urlsplit(asked.get("redirect_uri", "")).hostname != "localhost":
            return PlainTextResponse("Invalid redirect_uri", 400)
        code = tokens.sign({"for": VENDOR})
        told = urlencode({"auth_code": code, "code": code, "state": asked.get("state", "")})
        return RedirectResponse(f"{asked['redirect_uri']}?{told}", 302)

    def token(call: Call) -> Shown:
        asked = json.loads(call.body or b"{}")
        if (asked.get("app_id"), asked.get("secret")) != (tokens.CLIENT_ID, tokens.CLIENT_SECRET):
            raise _refused(40101, "App id and secret do not match.")
        if (tokens.unsign(str(asked.get("auth_code"))) or {}).get("for") != VENDOR:
            raise _refused(40110, "Auth_code is used or expired.")
        with world.connect() as connection:
            ids = [row["id"] for row in of(connection)]
        return _ok({"access_token": tokens.PRIVATE_APP_TOKEN, "advertiser_ids": ids, "scope": [4, 7, 8]})

    at = partial(route, world, enter=_enter)
    return [
        Route("/portal/auth", consent),
        route(world, "/open_api/v1.3/oauth2/access_token/", token, enter=lambda request: {}, method="POST"),
        at("/open_api/v1.3/oauth2/advertiser/get/", authorized),
        at("/open_api/v1.3/advertiser/info/", info),
        at("/open_api/v1.3/campaign/get/", campaigns),
        at("/open_api/v1.3/report/integrated/get/", report),
    ]


def _enter(request: Request) -> dict[str, str]:
    token = request.headers.get("access-token", "")
    if not token:
        raise _refused(40104, "Access token is empty. Please set the access token in the header.")
    if token != tokens.PRIVATE_APP_TOKEN:
        raise Refused(_expired())
    return {}


def _advertiser(connection: sqlite3.Connection, call: Call) -> str:
    account = call.query("advertiser_id")
    if not connection.execute("select 1 from ad_account where vendor = ? and id = ?", (VENDOR, account)).fetchone():
        raise _refused(40001, f"No permission to operate advertiser {account}.")
    return account


def _json(call: Call, name: str, default: str = "[]") -> Any:
    try:
        return json.loads(call.query(name, default))
    except ValueError:
        raise _refused(40002, f"{name}: Not a valid JSON string.") from None


def _paged(call: Call, found: list[Shown], most: int) -> Shown:
    number, asked = int(call.query("page", "1")), int(call.query("page_size", "10"))
    if number < 1 or not 1 <= asked <= 1000:
        raise _refused(40002, "page_size: Must be less than or equal to 1000.")
    size = min(asked, most)
    pages = {"page": number, "page_size": size, "total_number": len(found), "total_page": -(-len(found) // size)}
    return _ok({"list": found[(number - 1) * size : number * size], "page_info": pages})


def _kept(found: list[Shown], status: str | None) -> list[Shown]:
    """Without a filter what is not deleted."""
    return [row for row in found if status == "STATUS_ALL" or row["secondary_status"] != "CAMPAIGN_STATUS_DELETE"]


def _account(row: sqlite3.Row) -> Shown:
    reserved = row["status"] == "RESERVATION"
    return {
        "advertiser_id": row["id"], "name": row["name"], "currency": row["currency"], "timezone": row["time_zone"],
        "display_timezone": SHOWN_ZONE[row["time_zone"]], "status": "STATUS_ENABLE" if reserved else row["status"],
        "role": "ROLE_ADVERTISER", "advertiser_account_type": "RESERVATION" if reserved else "AUCTION",
        "company": "Acme", "balance": 0, "create_time": 1630055520,
    }  # fmt: skip


def _campaigns(connection: sqlite3.Connection, account: str, now: int) -> list[Shown]:
    return [_campaign(row, now) for row in connection.execute(ENTITIES, (account, now))]


def _campaign(row: sqlite3.Row, now: int) -> Shown:
    given = json.loads(row["payload"])
    over = midnight(date.fromisoformat(given["last"])) + DAY if given["last"] else None
    is_over = over is not None and over <= now
    status = "DELETE" if over and over + DELETED_AFTER <= now else "DISABLE" if is_over else "ENABLE"
    return {
        "advertiser_id": row["account_id"], "campaign_id": row["id"], "campaign_name": given["name"],
        "objective_type": given["type"], "operation_status": "DISABLE" if is_over else "ENABLE",
        "secondary_status": f"CAMPAIGN_STATUS_{status}", "create_time": _time(row["visible_at"]),
        "modify_time": _time(over if over and is_over else row["visible_at"]), "campaign_type": "REGULAR_CAMPAIGN",
        "budget": 50, "budget_mode": "BUDGET_MODE_DAY",
    }  # fmt: skip


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%d %H:%M:%S}"


# -- reports


def _report(connection: sqlite3.Connection, account: str, call: Call) -> Iterator[Shown]:
    """A row for each day with something in it; all values are text. Not sorted by anything that one could rely on."""
    level, dimensions = call.query("data_level"), _json(call, "dimensions")
    by_campaign = level == "AUCTION_CAMPAIGN"
    start, end = (date.fromisoformat(call.query(name)) for name in ("start_date", "end_date"))
    if call.query("report_type") != "BASIC" or level not in ("AUCTION_CAMPAIGN", "AUCTION_ADVERTISER"):
        raise _refused(40002, "data_level: Not an acceptable value.")
    if dimensions != ["campaign_id" if by_campaign else "advertiser_id", "stat_time_day"]:
        raise _refused(40002, "Conflict occurs. The input params including metrics and dimensions have no relation.")
    if end - start >= LONGEST:
        raise _refused(40002, "The maximum time range is 30 days.")
    status = [each["filter_value"] for each in _json(call, "filtering") if each["field_name"] == "campaign_status"]
    known = _campaigns(connection, account, call.now)
    shown = {row["campaign_id"]: row for row in _kept(known, json.loads(status[0])[0] if status else None)}
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in connection.execute(DAYS, (account, str(start), str(end), call.now)):
        if not by_campaign or row["campaign_id"] in shown:
            for name in ("impressions", "clicks", "cost_micros", "conversions", "conversions_value"):
                sums[row["date_day"], row["campaign_id"] if by_campaign else account][name] += Decimal(row[name])
    for (day, identifier), found in sums.items():
        told = {
            "campaign_name": shown[identifier]["campaign_name"] if by_campaign else "-",
            "spend": f"{found['cost_micros'].scaleb(-6):.2f}", "impressions": str(found["impressions"]),
            "clicks": str(found["clicks"]), "conversion": str(found["conversions"]),
            "complete_payment": str(found["conversions"]),
            "total_complete_payment_rate": f"{found['conversions_value']:.3f}",
        }  # fmt: skip
        asked = _json(call, "metrics", '["spend", "impressions"]')
        if unknown := set(asked) - told.keys():
            raise _refused(40002, f"Invalid metric fields: {sorted(unknown)}")
        if found["impressions"]:
            of = {dimensions[0]: identifier, "stat_time_day": f"{day} 00:00:00"}
            yield {"dimensions": of, "metrics": {name: told[name] for name in asked}}


# -- what it says, and what goes wrong, in TikTok's words


def _ok(data: Shown) -> Shown:
    return {"code": 0, "message": "OK", "request_id": REQUEST, "data": data}


def _error(code: int, message: str) -> Response:
    return JSONResponse({"code": code, "message": message, "request_id": REQUEST, "data": {}})


def _refused(code: int, message: str) -> Refused:
    return Refused(_error(code, message))


def _expired() -> Response:
    return _error(40105, "Access token is incorrect or has been revoked.")


DIALECT = Dialect(
    throttled=lambda wait, daily: _error(40100, "Requests made too frequently. Please retry later."),
    broken=lambda: _error(50000, "System error. Please try again later."),
    expired=_expired,
    missing_scope=lambda scope: _error(40001, f"No permission to the related operation: {scope}."),
    rows=("data",),
)
