"""X's Ads API: ad accounts, campaigns, active entities and synchronous analytics, over the world.

From https://docs.x.com/x-ads-api and the official SDK (PyPI twitter-ads 11.0.0), read 2026-12-01. Requests are signed
(RFC 5849). What a time that is not the account's midnight is answered with is documented nowhere: it is refused here
as any wrong parameter.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from oauthlib.oauth1 import RequestValidator, SignatureOnlyEndpoint
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "x_ads"
VERSIONS = ("11", "12")
DELETED_AFTER = 20 * DAY  # a campaign that is over is cleared away then
LONGEST, ENTITIES = 7, 20  # days, entities
FUNDED_BY = "FUNDING_INSTRUMENT"
KEPT = 90 * DAY  # hours in which something changed
GROUPS = {
    "ENGAGEMENT": ("impressions", "engagements", "likes", "follows"),
    "BILLING": ("billed_engagements", "billed_charge_local_micro"),
    "VIDEO": ("video_total_views",),
    "WEB_CONVERSION": ("conversion_purchases", "conversion_sign_ups", "conversion_site_visits"),
}
OFFERED = {"ACCOUNT": {"ENGAGEMENT"}, FUNDED_BY: {"ENGAGEMENT", "BILLING"}, "CAMPAIGN": {*GROUPS}}
NOT_OF_ACCOUNTS = ("clicks", "url_clicks", "app_clicks")  # beside those of ENGAGEMENT
PLACEMENTS = ("ALL_ON_TWITTER", "SPOTLIGHT", "TREND")
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day >= ? and date_day < ? and known_at <= ?
group by campaign_id, date_day order by campaign_id, date_day
"""  # noqa: S608
CHANGED = f"select * from ad_day where vendor = '{VENDOR}' and account_id = ? and known_at >= ? and known_at < ?"  # noqa: S608
ACCOUNTS = f"select * from ad_account where vendor = '{VENDOR}' order by id"  # noqa: S608
ENTITIES_OF = f"select * from ad_entity where vendor = '{VENDOR}' and account_id = ? and visible_at <= ? order by id"  # noqa: S608


def routes(world: World, page_size: int = 1000) -> list[BaseRoute]:
    """The paths of one user. `page_size`: records of a page at most."""

    def accounts(call: Call) -> Shown:
        with world.connect() as connection:
            return _paged(call, [_account(row) for row in connection.execute(ACCOUNTS)], page_size)

    def account(call: Call) -> Shown:
        with world.connect() as connection:
            return _answer(call, _account(_known(connection, call)))

    def campaigns(call: Call) -> Shown:
        with world.connect() as connection:
            of = _known(connection, call)
            found = connection.execute(ENTITIES_OF, (of["id"], call.now))
            return _paged(call, [_campaign(row, of["currency"], call.now) for row in found], page_size)

    def active(call: Call) -> Shown:
        with world.connect() as connection:
            row = _known(connection, call)
            start, end = _window(call, row["time_zone"], 90, any_hour=True)
            entity = _one_of(call, "entity", ("CAMPAIGN", FUNDED_BY))
            hours = (max(midnight(start), call.now - KEPT), min(midnight(end), call.now))
            days = connection.execute(CHANGED, (row["id"], *hours)).fetchall()
        found = [*_active(days, row["id"] if entity == FUNDED_BY else "")]
        return _answer(call, found, start_time=str(start), end_time=str(end))

    def funding(call: Call) -> Shown:
        with world.connect() as connection:
            return _paged(call, [_funding(_known(connection, call))], page_size)

    def stats(call: Call) -> Shown:
        with world.connect() as connection:
            return _stats(connection, _known(connection, call), call)

    at = partial(route, world, enter=partial(_enter, world))
    return [
        *login_routes(),
        at("/{version}/accounts", accounts),
        at("/{version}/accounts/{account}", account),
        at("/{version}/accounts/{account}/campaigns", campaigns),
        at("/{version}/accounts/{account}/funding_instruments", funding),
        at("/{version}/stats/accounts/{account}", stats),
        at("/{version}/stats/accounts/{account}/active_entities", active),
    ]


# -- who is let in


class _Known(RequestValidator):
    """One app, one user. A nonce may come again: that a request is sent again is not what is tried here."""

    client_key_length = access_token_length = (5, 60)
    nonce_length = (8, 60)
    enforce_ssl = False
    dummy_client = dummy_access_token = "nobody"

    def check_client_key(self, client_key: str) -> bool:
        return bool(client_key)

    def check_nonce(self, nonce: str) -> bool:
        return bool(nonce)

    def validate_timestamp_and_nonce(self, *_: Any, **__: Any) -> bool:
        return True

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == tokens.CLIENT_ID and request.resource_owner_key == tokens.PRIVATE_APP_TOKEN

    def get_client_secret(self, client_key: str, request: Any) -> str:
        return tokens.CLIENT_SECRET

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return tokens.REFRESH_TOKEN


class _Asking(_Known):
    """Who has no token yet, or one to ask by: a word of ours, whose secret is `request-secret`."""

    def validate_client_key(self, client_key: str, request: Any) -> bool:
        return client_key == tokens.CLIENT_ID

    def get_access_token_secret(self, client_key: str, token: str, request: Any) -> str:
        return "request-secret"


_SIGNED, _ASKING = SignatureOnlyEndpoint(_Known()), SignatureOnlyEndpoint(_Asking())


def is_signed(request: Request) -> bool:
    return bool(_SIGNED.validate_request(str(request.url), request.method, None, dict(request.headers))[0])


def login_routes() -> list[BaseRoute]:
    """The three legs (https://docs.x.com/fundamentals/authentication/oauth-1-0a/obtaining-user-access-tokens, …/
    api-reference): of 127.0.0.1 any callback is one of the app's, of localhost none. Who cancels comes back with
    `denied`, as github.com/jaredhanson/passport-twitter tells."""

    def ask(request: Request) -> Response:
        valid, asked = _ASKING.validate_request(str(request.url), "POST", None, dict(request.headers))
        if not valid:
            return _login_error(401, 32, "Could not authenticate you.")
        if urlsplit(asked.redirect_uri or "").hostname != "127.0.0.1":
            return _login_error(403, 415, "Callback URL not approved for this client application.")
        token = tokens.sign({"for": "request", "back": asked.redirect_uri})
        return _form(oauth_token=token, oauth_token_secret="request-secret", oauth_callback_confirmed="true")

    def authorize(request: Request) -> Response:
        token = request.query_params.get("oauth_token", "")
        content = tokens.unsign(token)
        if content is None or content["for"] != "request":
            return PlainTextResponse("Whoa there! There is no request token for this page.", 403)
        agreed = {"oauth_token": token, "oauth_verifier": tokens.sign({"for": token})}
        given = {"denied": token} if request.query_params.get("cancel") else agreed
        return RedirectResponse(f"{content['back']}?{urlencode(given)}", 302)

    def give(request: Request) -> Response:
        valid, asked = _ASKING.validate_request(str(request.url), "POST", None, dict(request.headers))
        verifier = tokens.unsign(asked.verifier or "") if valid else None
        if verifier is None or verifier["for"] != asked.resource_owner_key:
            return _login_error(401, 32, "Could not authenticate you.")
        given = {"oauth_token": tokens.PRIVATE_APP_TOKEN, "oauth_token_secret": tokens.REFRESH_TOKEN}
        return _form(**given, user_id="6253282", screen_name="ours")

    return [
        Route("/oauth/request_token", ask, methods=["POST"]),
        Route("/oauth/authorize", authorize),
        Route("/oauth/access_token", give, methods=["POST"]),
    ]


def _form(**fields: str) -> Response:
    return Response(urlencode(fields), media_type="application/x-www-form-urlencoded")


def _login_error(status: int, code: int, message: str) -> Response:
    return JSONResponse({"errors": [{"code": code, "message": message}]}, status)


def _enter(world: World, request: Request) -> dict[str, str]:
    if request.path_params["version"] not in VERSIONS:
        raise _refused(404, "ROUTE_NOT_FOUND", f"The requested resource could not be found: {request.url.path}")
    if not is_signed(request):
        raise _refused(401, "UNAUTHORIZED_ACCESS", "This request is not properly authenticated")
    reset = str(int(time.time()) + 900)
    return {"x-rate-limit-limit": "250", "x-rate-limit-remaining": "249", "x-rate-limit-reset": reset}


def _known(connection: sqlite3.Connection, call: Call) -> Any:
    found = {row["id"]: row for row in connection.execute(ACCOUNTS)}
    if call.path("account") not in found:
        raise _refused(404, "NOT_FOUND", f"account {call.path('account')} was not found")
    return found[call.path("account")]


# -- listings


def _answer(call: Call, data: Any, **params: Any) -> Shown:
    return {"request": {"params": {**call.request.query_params, **params}}, "data": data}


def _paged(call: Call, found: list[Shown], page_size: int) -> Shown:
    count = call.query("count", "200")
    if not count.isdecimal() or not 1 <= int(count) <= 1000:
        raise _refused(400, "INVALID_PARAMETER", f"Expected Integer in 1..1000, got {count!r} for count")
    kept = [row for row in found if call.query("with_deleted").lower() == "true" or not row["deleted"]]
    try:
        shown, cursor = page(kept, call.query("cursor"), min(int(count), page_size))
    except ValueError:
        raise _refused(400, "INVALID_PARAMETER", "Invalid cursor") from None
    return {**_answer(call, shown), "next_cursor": cursor}


def _account(row: sqlite3.Row) -> Shown:
    return {
        "name": row["name"], "business_name": None, "timezone": row["time_zone"],
        "timezone_switch_at": "2016-07-21T07:00:00Z", "id": row["id"], "created_at": "2016-07-21T22:42:09Z",
        "updated_at": "2017-07-06T16:51:04Z", "business_id": None, "approval_status": "ACCEPTED",
        "deleted": row["status"] == "DELETED",
    }  # fmt: skip


def _campaign(row: sqlite3.Row, currency: str, now: int) -> Shown:
    given = json.loads(row["payload"])
    last = midnight(date.fromisoformat(given["last"])) + DAY if given["last"] else None
    is_over, is_gone = bool(last and last <= now), bool(last and last + DELETED_AFTER <= now)
    return {
        "name": given["name"], "budget_optimization": "CAMPAIGN", "servable": not is_over,
        "reasons_not_servable": ["PAUSED_BY_ADVERTISER"] if is_over else [], "purchase_order_number": None,
        "effective_status": "PAUSED" if is_over else "RUNNING", "daily_budget_amount_local_micro": 140_000_000,
        "funding_instrument_id": "lygyi", "duration_in_days": None, "standard_delivery": True,
        "total_budget_amount_local_micro": None, "id": row["id"], "entity_status": "PAUSED" if is_over else "ACTIVE",
        "frequency_cap": None, "currency": currency, "created_at": _time(row["visible_at"]),
        "updated_at": _time(last if last and is_over else row["visible_at"]), "deleted": is_gone,
    }  # fmt: skip


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# -- what they had


def _window(call: Call, zone: str, most: int, any_hour: bool = False) -> tuple[date, date]:
    """The days that the time between two midnights of the account, or any two hours, touches; the last not included."""
    start, end = (_moment(call, name, zone, any_hour) for name in ("start_time", "end_time"))
    after = (end - timedelta(microseconds=1)).date() + timedelta(days=1)
    if not 0 < (after - start.date()).days <= most:
        raise _refused(400, "INVALID_TIME_WINDOW", f"Time window may not be longer than {most} days")
    return start.date(), after


def _moment(call: Call, name: str, zone: str, any_hour: bool) -> datetime:
    """A date alone is midnight in the account's time zone."""
    text, here = call.query(name), ZoneInfo(zone)
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise _refused(400, "INVALID_PARAMETER", f'Expected time, got "{text}" for {name}') from None
    moment = given.replace(tzinfo=here) if given.tzinfo is None else given.astimezone(here)
    if (moment.minute, moment.second) != (0, 0) or (moment.hour and not any_hour):
        raise _refused(400, "INVALID_PARAMETER", f'Expected midnight in {zone}, got "{text}" for {name}')
    return moment


def _one_of(call: Call, name: str, allowed: Iterable[str]) -> str:
    if call.query(name) not in allowed:
        raise _refused(400, "INVALID_PARAMETER", f'Expected one of {", ".join(allowed)}, got "{call.query(name)}"')
    return call.query(name)


def _shares(campaign: str) -> dict[str, int]:
    """Placement -> its part of ten of what a campaign had: every third one is in trends, too."""
    return {"ALL_ON_TWITTER": 7, "TREND": 3} if sum(map(ord, campaign)) % 3 == 0 else {"ALL_ON_TWITTER": 10}


def _active(changed: list[sqlite3.Row], account: str) -> Iterable[Shown]:
    """What changed in some hours, and of which days: by campaign, or all of an account together."""
    days: dict[str, list[str]] = defaultdict(list)
    placements: dict[str, set[str]] = defaultdict(set)
    for row in changed:
        if row["impressions"] or row["cost_micros"]:
            of = _funded_by(account) if account else row["campaign_id"]
            days[of].append(row["date_day"])
            placements[of] |= {*_shares(row["campaign_id"])}
    for of, found in days.items():
        yield {
            "entity_id": of, "activity_start_time": f"{min(found)}T01:30:07Z",
            "activity_end_time": f"{max(found)}T22:42:55Z", "placements": sorted(placements[of]),
        }  # fmt: skip


def _funded_by(account: str) -> str:
    return f"{account[-4:]}yi"


def _funding(row: sqlite3.Row) -> Shown:
    return {
        "start_time": "2016-07-22T04:24:04Z", "description": "Visa ending in 0650", "end_time": None,
        "credit_limit_local_micro": 200_000_000, "id": _funded_by(row["id"]), "entity_status": "ACTIVE",
        "account_id": row["id"], "reasons_not_able_to_fund": [], "io_header": None, "currency": row["currency"],
        "funded_amount_local_micro": 645_940_000, "created_at": "2016-07-22T04:24:04Z", "type": "CREDIT_CARD",
        "able_to_fund": True, "updated_at": "2017-04-05T00:25:13Z", "credit_remaining_local_micro": None,
        "deleted": False,
    }  # fmt: skip


def _stats(connection: sqlite3.Connection, account: Any, call: Call) -> Shown:
    entity = _one_of(call, "entity", ("ACCOUNT", FUNDED_BY, "CAMPAIGN"))
    placement, ids = _one_of(call, "placement", PLACEMENTS), call.query("entity_ids").split(",")
    _one_of(call, "granularity", ("DAY",))
    groups = call.query("metric_groups").split(",")
    if not {*groups} <= OFFERED[entity] or not 1 <= len(ids) <= ENTITIES or ids == [""]:
        raise _refused(400, "INVALID_PARAMETER", "Invalid metric_groups, or not 1 to 20 entity_ids")
    start, end = _window(call, account["time_zone"], LONGEST)
    days = [(start + timedelta(days=number)).isoformat() for number in range((end - start).days)]
    had: dict[str, dict[str, dict[str, int]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(int)))
    for row in connection.execute(DAYS, (account["id"], days[0], end.isoformat(), call.now)):
        totals = {"ACCOUNT": account["id"], FUNDED_BY: _funded_by(account["id"])}
        of = totals.get(entity, row["campaign_id"])
        for name, amount in _had(row, placement).items():
            had[of][name][row["date_day"]] += amount
    names = [name for group in groups for name in GROUPS[group]]
    names += NOT_OF_ACCOUNTS if entity == "CAMPAIGN" and "ENGAGEMENT" in groups else ()
    data = [{"id": of, "id_data": [{"segment": None, "metrics": _shown(names, had[of], days)}]} for of in ids]
    length = {"time_series_length": len(days), "data_type": "stats"}
    return {**length, **_answer(call, data, entity_ids=ids, metric_groups=groups, segmentation_type=None)}


def _had(row: sqlite3.Row, placement: str) -> dict[str, int]:
    """Of a campaign's day, what it had in a placement. The first one has what does not divide by ten."""
    shares = _shares(row["campaign_id"])

    def split(amount: int) -> int:
        parts = {name: amount * part // 10 for name, part in shares.items()}
        return parts.get(placement, 0) + (amount - sum(parts.values()) if placement == PLACEMENTS[0] else 0)

    return {
        "impressions": split(row["impressions"]), "engagements": split(row["clicks"] * 2),
        "likes": split(row["clicks"] // 4), "clicks": split(row["clicks"] * 2), "url_clicks": split(row["clicks"]),
        "billed_engagements": split(row["clicks"]), "billed_charge_local_micro": split(row["cost_micros"]),
        "conversion_sign_ups": split(int(row["conversions"])), "conversion_site_visits": split(row["clicks"] // 2),
    }  # fmt: skip


def _shown(names: list[str], had: dict[str, dict[str, int]], days: list[str]) -> Shown:
    """A number for each day, or null where there was nothing on any of them."""
    series = {name: [had[name].get(day, 0) for day in days] if any(had[name].values()) else None for name in names}
    return {name: _kinds(numbers) if name.startswith("conversion_") else numbers for name, numbers in series.items()}


def _kinds(numbers: list[int] | None) -> Shown:
    if numbers is None:
        return dict.fromkeys(("post_view", "post_engagement", "assisted", "order_quantity", "sale_amount", "metric"))
    nothing = [0] * len(numbers)
    return {
        "post_view": nothing, "post_engagement": numbers, "assisted": nothing, "order_quantity": nothing,
        "sale_amount": nothing, "metric": numbers,
    }  # fmt: skip


# -- what goes wrong, in X's words


def _error(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> Response:
    body = {"errors": [{"code": code, "message": message}], "request": {"params": {}}}
    return JSONResponse(body, status, headers=headers)


def _refused(status: int, code: str, message: str) -> Refused:
    return Refused(_error(status, code, message))


def _throttled(wait: int | None, daily: bool) -> Response:
    """Until a moment, in seconds since 1970. There is no limit of a day."""
    reset = str(int(time.time()) + (900 if wait is None else wait))
    headers = {"x-rate-limit-limit": "250", "x-rate-limit-remaining": "0", "x-rate-limit-reset": reset}
    return _error(429, "TOO_MANY_REQUESTS", "Rate limit exceeded", headers)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "INTERNAL_ERROR", "An internal error occurred"),
    expired=lambda: _error(401, "UNAUTHORIZED_ACCESS", "This request is not properly authenticated"),
    missing_scope=lambda scope: _error(403, "UNAUTHORIZED_CLIENT_APPLICATION", f"The client application: {scope}"),
    cursor=asked_by("cursor"),
    repeat=lambda cursor, answer: answer.update(next_cursor=cursor),
    rows=("data",),
)
