"""Meta's Marketing API: ad accounts, campaigns, insights, and the leads of ads, over the world.

From the official SDK (PyPI facebook-business 26.0.3), https://developers.facebook.com/docs/marketing-api and what
public connectors recorded, read 2026-12-01.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import lead_forms, tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "meta_ads"
OLDEST, NEWEST = 22, 26  # versions that are served
STATUS = {"ACTIVE": 1, "DISABLED": 2, "CLOSED": 101}
DELETED_AFTER = 20 * DAY  # a campaign that is over is cleared away then
ENTITIES = f"select * from ad_entity where vendor = '{VENDOR}' and account_id = ? and visible_at <= ? order by id"  # noqa: S608
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day between ? and ? and known_at <= ?
group by campaign_id, date_day order by date_day, campaign_id
"""  # noqa: S608


def routes(world: World, page_size: int = 5000, most: int = 1_000_000) -> list[BaseRoute]:
    """The paths of one system user. `page_size`: records of a page; `most`: rows of a report, else it is refused."""

    def accounts(call: Call) -> Shown:
        with world.connect() as connection:
            found = connection.execute("select * from ad_account where vendor = ? order by id", (VENDOR,)).fetchall()
        return _paged(call, [_account(row) for row in found], page_size)

    def campaigns(call: Call) -> Shown:
        with world.connect() as connection:
            found = [
                _campaign(row, call.now) for row in connection.execute(ENTITIES, (_known(connection, call), call.now))
            ]
        return _paged(call, _kept(found, call, "effective_status"), page_size)

    def insights(call: Call) -> Shown:
        with world.connect() as connection:
            found = [*_report(connection, _known(connection, call), call)]
        if len(found) > most:
            message = "Please reduce the amount of data you're asking for, then retry your request"
            raise _refused(500, 1, message, kind="OAuthException")
        return _paged(call, found, page_size)

    def ads(call: Call) -> Shown:
        """One of each campaign."""
        with world.connect() as connection:
            rows = connection.execute(ENTITIES, (_known(connection, call), call.now)).fetchall()
        shown = [(_ad(row["id"]), _campaign(row, call.now)) for row in rows]
        listed = [
            {"id": ad, "campaign_id": its["id"], "effective_status": its["effective_status"]} for ad, its in shown
        ]
        return _paged(call, _kept(listed, call, "effective_status"), page_size)

    def leads(call: Call) -> Shown:
        begun = [each["value"] for each in json.loads(call.query("filtering", "[]")) if each["field"] == "time_created"]
        with world.connect() as connection:
            found = lead_forms.leads(connection, call.now, VENDOR)
        mine = [each for each in found if _ad(each.campaign) == call.path("ad") and not each.is_test]
        return _paged(call, [_lead(each) for each in mine if not begun or each.at > begun[0] * 1000], page_size)

    at = partial(route, world, enter=partial(_enter, world))
    return [
        at("/{version}/me/adaccounts", accounts),
        at("/{version}/act_{account}/campaigns", campaigns),
        at("/{version}/act_{account}/insights", insights),
        at("/{version}/act_{account}/ads", ads),
        at("/{version}/{ad}/leads", leads),
    ]


def _enter(world: World, request: Request) -> dict[str, str]:
    """By a token in the header or, as the SDK sends it, among the parameters; with the app's proof, if there is one."""
    version = request.path_params["version"]
    number = version.removeprefix("v").removesuffix(".0")
    if not number.isdecimal() or not OLDEST <= int(number) <= NEWEST:
        why = "(#2635) You are calling a deprecated version of the Ads API. Please update to the latest version"
        raise _refused(400, 2635, f"{why}: v{NEWEST}.0.")
    token = tokens.bearer(request) or request.query_params.get("access_token", "")
    if not token:
        raise _refused(400, 104, "An access token is required to request this resource.")
    if token != tokens.PRIVATE_APP_TOKEN:
        raise Refused(_expired())
    proof = request.query_params.get("appsecret_proof")
    expected = hmac.new(tokens.CLIENT_SECRET.encode(), token.encode(), hashlib.sha256).hexdigest()
    if proof is not None and not hmac.compare_digest(proof, expected):
        raise _refused(400, 100, "Invalid appsecret_proof provided in the API argument", kind="GraphMethodException")
    usage = {"type": "ads_insights", "call_count": 1, "total_cputime": 1, "total_time": 1}
    return {"x-business-use-case-usage": json.dumps({"1": [usage | {"estimated_time_to_regain_access": 0}]})}


def _known(connection: sqlite3.Connection, call: Call) -> str:
    account = call.path("account")
    if not connection.execute("select 1 from ad_account where vendor = ? and id = ?", (VENDOR, account)).fetchone():
        message = f"Unsupported get request. Object with ID 'act_{account}' does not exist, or you lack permissions"
        raise _refused(400, 100, message, subcode=33, kind="GraphMethodException")
    return account


def _paged(call: Call, found: list[Shown], page_size: int) -> Shown:
    """A page. Cursors are there on the last one, too; the address of the next page is not."""
    limit = min(int(call.query("limit", "25")), page_size)
    try:
        shown, after = page(found, call.query("after"), limit)
    except ValueError:
        raise _refused(400, 100, "(#100) Invalid cursor", kind="OAuthException") from None
    fields = call.query("fields")
    if fields:
        asked = {*fields.split(","), "id", "date_start", "date_stop"}
        shown = [{name: value for name, value in row.items() if name in asked} for row in shown]
    if not shown:
        return {"data": [], "paging": {}} if found else {"data": []}
    cursors = {"before": "MAZDZD", "after": after or tokens.sign({"start": len(found)})}
    next_page = {"next": str(call.request.url.include_query_params(after=after))} if after else {}
    return {"data": shown, "paging": {"cursors": cursors, **next_page}}


def _kept(found: list[Shown], call: Call, name: str) -> list[Shown]:
    """What the filter on a status lets through; without one, what is neither archived nor deleted."""
    asked = [each for each in json.loads(call.query("filtering", "[]")) if each["field"].endswith("effective_status")]
    wanted = set(asked[0]["value"]) if asked else {"ACTIVE", "PAUSED", "IN_PROCESS", "WITH_ISSUES"}
    return [row for row in found if row[name] in wanted]


def _account(row: sqlite3.Row) -> Shown:
    return {
        "id": f"act_{row['id']}", "account_id": row["id"], "name": row["name"], "currency": row["currency"],
        "timezone_name": row["time_zone"], "account_status": STATUS[row["status"]], "amount_spent": "0",
    }  # fmt: skip


def _campaign(row: sqlite3.Row, now: int) -> Shown:
    given = json.loads(row["payload"])
    over = midnight(date.fromisoformat(given["last"])) + DAY if given["last"] else None
    status = "ACTIVE"
    if over and over <= now:
        status = "DELETED" if over + DELETED_AFTER <= now else "PAUSED"
    begun, changed = row["visible_at"], over if over and over <= now else row["visible_at"]
    return {
        "id": row["id"], "name": given["name"], "status": status, "effective_status": status,
        "objective": given["type"], "created_time": _time(begun), "updated_time": _time(changed),
        "start_time": _time(begun),
    }  # fmt: skip


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H:%M:%S}+0000"


def _ad(campaign: str) -> str:
    return str(int(campaign) + 5_000_000)


def _lead(each: lead_forms.Lead) -> Shown:
    """Answers by the names of the questions; a form of one's own may call them anything."""
    email = "work_email" if each.number % 4 == 0 else "email"
    given = {"full_name": "Ada Muster", email: each.email, "company_name": each.company, "wann?": "bald"}
    return {
        "id": str(10**14 + each.number), "created_time": _time(each.at), "ad_id": _ad(each.campaign),
        "campaign_id": each.campaign, "form_id": "1206842404104078", "is_organic": False,
        "field_data": [{"name": name, "values": [value]} for name, value in given.items() if value],
    }  # fmt: skip


# -- insights


def _report(connection: sqlite3.Connection, account: str, call: Call) -> Iterator[Shown]:
    """A row for each day with something in it. What an action came to is there only where it came to something."""
    level, span = call.query("level", "account"), json.loads(call.query("time_range", "null"))
    is_whole = call.query("date_preset") == "maximum" and not span  # one row of all that is kept
    if is_whole:
        today = datetime.fromtimestamp(call.now / 1000, UTC).date()
        span = {"since": str(_oldest(call.now)), "until": str(today)}
    if not span or call.query("time_increment") != ("" if is_whole else "1") or level not in ("account", "campaign"):
        raise _refused(400, 100, "(#100) Invalid parameter")
    if date.fromisoformat(span["since"]) < _oldest(call.now):
        message = "(#3018) The start date of the time range cannot be beyond 37 months from the current date"
        raise _refused(400, 3018, message)
    about = connection.execute("select * from ad_account where vendor = ? and id = ?", (VENDOR, account)).fetchone()
    campaigns = {row["id"]: _campaign(row, call.now) for row in connection.execute(ENTITIES, (account, call.now))}
    shown = {row["id"]: row for row in _kept([*campaigns.values()], call, "effective_status")}
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in connection.execute(DAYS, (account, span["since"], span["until"], call.now)):
        if level == "account" or row["campaign_id"] in shown:
            key = span["since"] if is_whole else row["date_day"], row["campaign_id"] if level == "campaign" else ""
            for name in ("impressions", "clicks", "cost_micros", "conversions", "conversions_value"):
                sums[key][name] += Decimal(row[name])
    for (day, campaign), found in sums.items():
        if found["impressions"]:
            of = {"campaign_id": campaign, "campaign_name": campaigns[campaign]["name"]} if campaign else {}
            yield {
                "account_id": account, "account_currency": about["currency"], **of, "date_start": day,
                "date_stop": span["until"] if is_whole else day,
                "spend": f"{found['cost_micros'].scaleb(-6):f}".rstrip("0").rstrip("."),
                "impressions": str(found["impressions"]), "clicks": str(found["clicks"]),
                "inline_link_clicks": str(found["clicks"] // 2), **_actions(found),
            }  # fmt: skip


def _actions(found: dict[str, Decimal]) -> Shown:
    """`lead` is the sum of the kinds of leads."""
    actions = [("link_click", found["clicks"] // 2), ("lead", found["conversions"]),
               ("offsite_conversion.fb_pixel_lead", found["conversions"])]  # fmt: skip
    values = [("lead", found["conversions_value"])]
    lists = {"actions": actions, "action_values": values}
    kept = {
        name: [{"action_type": kind, "value": str(amount)} for kind, amount in listed if amount]
        for name, listed in lists.items()
    }
    return {name: listed for name, listed in kept.items() if listed}


def _oldest(now: int) -> date:
    return datetime.fromtimestamp(now / 1000, UTC).date() - timedelta(days=37 * 30 + 18)


# -- what goes wrong, in Meta's words


def _error(
    status: int, code: int, message: str, *, subcode: int | None = None, kind: str = "OAuthException"
) -> Response:
    error: dict[str, Any] = {"message": message, "type": kind, "code": code, "fbtrace_id": "AbCdEfGhIjKlMnOpQrStUvW"}
    return JSONResponse({"error": error | ({} if subcode is None else {"error_subcode": subcode})}, status)


def _refused(
    status: int, code: int, message: str, *, subcode: int | None = None, kind: str = "OAuthException"
) -> Refused:
    return Refused(_error(status, code, message, subcode=subcode, kind=kind))


def _expired() -> Response:
    message = "Error validating access token: Session has expired on Saturday, 28-Nov-26 08:00:00 PST."
    return _error(400, 190, message, subcode=463)


def _throttled(wait: int | None, daily: bool) -> Response:
    """In whole minutes."""
    answer = _error(400, 80000, "(#80000) There have been too many calls from this ad-account.", subcode=2446079)
    minutes = 60 * 24 if daily else -(-(wait or 0) // 60)
    usage = {"type": "ads_insights", "call_count": 100, "total_cputime": 25, "total_time": 25}
    told = {"1": [usage | {"estimated_time_to_regain_access": minutes}]}
    answer.headers["x-business-use-case-usage"] = json.dumps(told)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, 2, "An unexpected error has occurred. Please retry your request later."),
    expired=_expired,
    missing_scope=lambda scope: _error(403, 200, f"(#200) Requires {scope} permission to manage the object."),
    cursor=asked_by("after"),
    repeat=lambda cursor, answer: answer["paging"]["cursors"].update(after=cursor) if answer.get("paging") else None,
    rows=("data",),
)
