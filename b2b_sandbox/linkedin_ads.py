"""LinkedIn's Marketing API: ad accounts, campaigns, conversion rules, the report `adAnalytics` and leads, of the world.

From https://learn.microsoft.com/linkedin/marketing (version 2026-03), the official client (PyPI linkedin-api-client
0.3.0), and answers and errors that public connectors recorded, read 2026-12-01. What an unknown metric, or a query
string in another encoding, is answered with is documented nowhere: it is refused here as any malformed question.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import date
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import lead_forms, tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, asked_by, page, route

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "linkedin_ads"
OLDEST, NEWEST = "202512", "202607"  # versions that are served
TOKEN_LIFETIME = 5_184_000.0  # seconds: 60 days
METRICS = {
    "impressions": "impressions", "clicks": "clicks", "costInLocalCurrency": "cost_micros",
    "externalWebsiteConversions": "conversions", "conversionValueInLocalCurrency": "conversions_value",
    "landingPageClicks": "clicks",
}  # fmt: skip
# The newest row of each key: beside max(), SQLite takes the other columns from the row that has the maximum.
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day between ? and ? and known_at <= ?
group by campaign_id, date_day order by campaign_id, date_day
"""  # noqa: S608
RULES = (
    ("104012", "Demo request", 30, 7, True),
    ("104013", "Any page", 90, 30, True),
    ("104014", "Old", 365, 90, False),
)


def routes(world: World, page_size: int = 1000, most: int = 15_000) -> list[BaseRoute]:
    """The paths of one app and one member. `page_size`: of listings; `most`: rows that a report has at most."""

    async def token(request: Request) -> Response:
        return give_token(await tokens.form(request))

    def accounts(call: Call) -> Shown:
        with world.connect() as connection:
            found = connection.execute("select * from ad_account where vendor = ? order by id", (VENDOR,)).fetchall()
        return _listed(call, [_account(row) for row in found], page_size)

    def campaigns(call: Call) -> Shown:
        query = "select * from ad_entity where vendor = ? and account_id = ? and visible_at <= ? order by id"
        with world.connect() as connection:
            found = connection.execute(query, (VENDOR, call.path("account"), call.now)).fetchall()
        return _listed(call, [_campaign(row, call.now) for row in found], page_size)

    def conversions(call: Call) -> Shown:
        account, start, count = call.query("account"), int(call.query("start", "0")), int(call.query("count", "10"))
        if call.query("q") != "account":
            raise refused(400, "QUERY_PARAM_NOT_ALLOWED", "Invalid query parameters passed to request")
        rules = [_rule(account, *rule) for rule in RULES]
        paging = {"start": start, "count": count, "links": [], "total": len(rules)}
        return {"paging": paging, "elements": rules[start : start + count]}

    def analytics(call: Call) -> Shown:
        asked = _asked(call.request.url.query)
        found: list[Shown] = []
        with world.connect() as connection:
            for account in asked["accounts"]:
                found += _report(connection, account, asked, call.now)
        return {"paging": {"start": 0, "count": 10, "links": []}, "elements": found[:most]}

    def leads(call: Call) -> Shown:
        account, since, until = _asked_leads(call.request.url.query)
        start, count = int(call.query("start", "0")), int(call.query("count", "10"))
        with world.connect() as connection:
            mine = [each for each in lead_forms.leads(connection, call.now, VENDOR) if each.account == account]
        rows = [_lead(each) for each in mine if since <= each.at < until]
        paging = {"start": start, "count": count, "links": [], "total": len(rows)}
        return {"paging": paging, "elements": rows[start : start + count]}

    at = partial(route, world, enter=partial(enter, world))
    return [
        Route("/oauth/v2/authorization", tokens.consent(VENDOR)),
        Route("/oauth/v2/accessToken", token, methods=["POST"]),
        at("/rest/adAccounts", accounts),
        at("/rest/adAccounts/{account}/adCampaigns", campaigns),
        at("/rest/conversions", conversions),
        at("/rest/adAnalytics", analytics),
        at("/rest/leadFormResponses", leads),
    ]


def enter(world: World, request: Request, vendor: str = VENDOR) -> dict[str, str]:
    problem = tokens.problem(world, vendor, tokens.bearer(request))
    if problem == "missing":
        body = {"message": "Empty oauth2_access_token", "serviceErrorCode": 401, "status": 401}
        raise Refused(JSONResponse(body, 401))
    if problem:
        raise Refused(unauthorized(problem))
    version = request.headers.get("linkedin-version", "")
    if not version:
        raise refused(
            400, "VERSION_MISSING", "A version must be present. Please specify a version by adding the header"
        )
    if not re.fullmatch(r"\d{6}", version) or not OLDEST <= version <= NEWEST:
        raise refused(426, "NONEXISTENT_VERSION", f"Requested version {version}01 is not active")
    return {"x-restli-protocol-version": request.headers.get("x-restli-protocol-version", "1.0.0")}


def give_token(fields: dict[str, str], vendor: str = VENDOR, scope: str = "r_ads,r_ads_reporting") -> Response:
    problem = tokens.grant_problem(vendor, fields, ("refresh_token", "authorization_code"))
    if problem == "invalid_client" or "code_verifier" in fields:  # https://github.com/nextauthjs/next-auth/issues/8831
        body = {"error": "invalid_client", "error_description": "Client authentication failed"}
        return JSONResponse(body, 401)
    if problem:
        description = "The provided authorization grant or refresh token is invalid, expired or revoked"
        return JSONResponse({"error": "invalid_request", "error_description": description}, 400)
    year = {"refresh_token": tokens.REFRESH_TOKEN, "refresh_token_expires_in": 31_536_000}
    return JSONResponse({
        "access_token": tokens.issue(vendor, TOKEN_LIFETIME), "expires_in": int(TOKEN_LIFETIME),
        "scope": scope, **year,
    })  # fmt: skip


# -- listings


def _listed(call: Call, found: list[Shown], page_size: int) -> Shown:
    size, fields = call.query("pageSize", "100"), call.query("fields")
    if call.query("q") != "search" or not size.isdecimal() or not 1 <= int(size) <= 1000:
        raise refused(400, "QUERY_PARAM_NOT_ALLOWED", "Invalid query parameters passed to request")
    try:
        shown, token = page(found, call.query("pageToken"), min(int(size), page_size))
    except ValueError:
        raise refused(400, "INVALID_VALUE_FOR_FIELD", "Invalid page token") from None
    if fields:
        shown = [{name: row[name] for name in fields.split(",") if name in row} for row in shown]
    return {"elements": shown, "metadata": {"nextPageToken": token} if token else {}}


def _account(row: sqlite3.Row) -> Shown:
    is_test = row["status"] == "TEST"
    return {
        "test": is_test, "notifiedOnCreativeRejection": False, "notifiedOnNewFeaturesEnabled": False,
        "notifiedOnEndOfCampaign": False, "notifiedOnCampaignOptimization": False, "notifiedOnCreativeApproval": False,
        "servingStatuses": ["RUNNABLE"] if row["status"] == "ACTIVE" else ["STOPPED"], "type": "BUSINESS",
        "version": {"versionTag": "6"}, "reference": "urn:li:organization:64265083", "name": row["name"],
        **({"currency": row["currency"]} if row["currency"] else {}), "id": int(row["id"]),
        "status": "ACTIVE" if is_test else row["status"], "changeAuditStamps": _stamps(0, 0),
    }  # fmt: skip


def _campaign(row: sqlite3.Row, now: int) -> Shown:
    given = json.loads(row["payload"])
    begins, end = midnight(date.fromisoformat(given["first"])), given["last"]
    over = midnight(date.fromisoformat(end)) + DAY if end else None
    is_over = over is not None and over <= now
    return {
        "id": int(row["id"]), "name": given["name"], "account": f"urn:li:sponsoredAccount:{row['account_id']}",
        "campaignGroup": "urn:li:sponsoredCampaignGroup:615492066", "type": given["type"], "test": False,
        "status": "COMPLETED" if is_over else "ACTIVE", "servingStatuses": ["STOPPED"] if is_over else ["RUNNABLE"],
        "objectiveType": "LEAD_GENERATION", "costType": "CPM", "format": "STANDARD_UPDATE",
        "locale": {"country": "US", "language": "en"}, "version": {"versionTag": "12"},
        "runSchedule": {"start": begins, **({"end": over} if over else {})},
        "changeAuditStamps": _stamps(row["visible_at"], over if over and is_over else row["visible_at"]),
    }  # fmt: skip


def _stamps(created: int, modified: int) -> Shown:
    stamps = {"created": created or 1_623_665_362_000, "lastModified": modified or 1_630_107_610_000}
    return {name: {"actor": "urn:li:unknown:0", "time": time} for name, time in stamps.items()}


def _rule(account: str, number: str, name: str, click: int, view: int, enabled: bool) -> Shown:
    return {
        "postClickAttributionWindowSize": click, "viewThroughAttributionWindowSize": view, "created": 1_563_230_311_551,
        "type": "LEAD", "enabled": enabled, "name": name, "lastModified": 1_563_230_311_551, "id": int(number),
        "attributionType": "LAST_TOUCH_BY_CAMPAIGN", "account": account, "conversionMethod": "INSIGHT_TAG",
    }  # fmt: skip


# -- leads


def _asked_leads(query: str) -> tuple[str, int, int]:
    """Whose leads, and of when, from the query string as it came."""
    owner = re.search(r"(?:^|&)owner=\(sponsoredAccount:urn%3Ali%3AsponsoredAccount%3A(\d+)\)(?:&|$)", query)
    given = re.search(r"(?:^|&)submittedAtTimeRange=\(([^()]+)\)(?:&|$)", query)
    span = dict(part.split(":") for part in given[1].split(",") if ":" in part) if given else {}
    is_whole = "leadType=(leadType:SPONSORED)" in query and re.search(r"\bq=owner\b", query)
    if not owner or not {"start", "end"} <= span.keys() or not is_whole:
        raise refused(400, "ILLEGAL_ARGUMENT", "Invalid query parameters passed to request")
    return owner[1], int(span["start"]), int(span["end"])


QUESTIONS = ("FIRST_NAME", "WORK_EMAIL", "EMAIL", "COMPANY_NAME", None)


def _lead(each: lead_forms.Lead) -> Shown:
    """With its form, as `fields` asks for it. Some forms ask for the address at work, some for any."""
    email = "WORK_EMAIL" if each.number % 2 else "EMAIL"
    given = {"FIRST_NAME": "Ada", email: each.email, "COMPANY_NAME": each.company, None: "as soon as you can"}
    answers = [
        {"questionId": 100 + n, "answerDetails": {"textQuestionAnswer": {"answer": given[field]}}}
        for n, field in enumerate(QUESTIONS)
        if given.get(field)
    ]
    questions = [
        {"questionId": 100 + n, "name": "q", "responseRequired": False, **({"predefinedField": field} if field else {})}
        for n, field in enumerate(QUESTIONS)
    ]
    return {
        "id": f"{each.number:012x}-4", "submittedAt": each.at, "testLead": each.is_test,
        "leadMetadata": {"sponsoredLeadMetadata": {"campaign": f"urn:li:sponsoredCampaign:{each.campaign}"}},
        "associatedEntity": {"associatedCreative": f"urn:li:sponsoredCreative:{each.number % 10**9}"},
        "formResponse": {"answers": answers, "consentResponses": [{"accepted": True, "consentId": 7}]},
        "form": {"id": 7234246, "name": "Demo | form \U0001f4dd", "content": {"questions": questions}},
    }  # fmt: skip


# -- reports


def _asked(query: str) -> dict[str, Any]:
    """What a report is asked for, from the query string as it came: encoded otherwise it is not understood."""
    given = dict(part.split("=", 1) for part in query.split("&") if "=" in part)
    days = [_date(re.search(rf"\b{end}:\(([^()]+)\)", given.get("dateRange", ""))) for end in ("start", "end")]
    listed = re.fullmatch(r"List\((urn%3Ali%3AsponsoredAccount%3A\d+(?:,urn%3Ali%3AsponsoredAccount%3A\d+)*)\)",
                          given.get("accounts", ""))  # fmt: skip
    fields = unquote(given.get("fields", "impressions,clicks")).split(",")
    pivot = given.get("pivot", "")
    if None in days or not listed or (given.get("q"), given.get("timeGranularity")) != ("analytics", "DAILY"):
        raise refused(400, "PARAM_INVALID", "Invalid param. Please see errorDetails for more information.")
    if (
        pivot not in ("CAMPAIGN", "ACCOUNT")
        or len(fields) > 20
        or not {*fields} <= {*METRICS, "dateRange", "pivotValues"}
    ):
        raise refused(400, "FIELD_INVALID", "Invalid value for field pivot or fields")
    accounts = [urn.rpartition("%3A")[2] for urn in listed[1].split(",")]
    return {"accounts": accounts, "pivot": pivot, "fields": fields, "days": days}


def _date(record: re.Match[str] | None) -> date | None:
    """`year:2026,month:6,day:1`, in any order."""
    parts = dict(part.split(":") for part in record[1].split(",")) if record else {}
    return date(*(int(parts[name]) for name in ("year", "month", "day"))) if len(parts) == 3 else None


def _report(connection: sqlite3.Connection, account: str, asked: dict[str, Any], now: int) -> Iterator[Shown]:
    """Rows with something in them. Of an account that one has no role in there are none, and no error."""
    start, end = asked["days"]
    by_campaign = asked["pivot"] == "CAMPAIGN"
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in connection.execute(DAYS, (account, start.isoformat(), end.isoformat(), now)):
        for name in {*METRICS.values()}:
            sums[row["campaign_id"] if by_campaign else account, row["date_day"]][name] += Decimal(row[name])
    kind = "sponsoredCampaign" if by_campaign else "sponsoredAccount"
    for (identifier, day), found in sums.items():
        if any(found.values()):
            row = {name: _shown(name, found[column]) for name, column in METRICS.items()}
            row |= {"pivotValues": [f"urn:li:{kind}:{identifier}"], "dateRange": _range(date.fromisoformat(day))}
            yield {name: row[name] for name in asked["fields"]}


def _shown(metric: str, amount: Decimal) -> Any:
    """Money is text, summed in floating point."""
    if metric == "costInLocalCurrency":
        return repr(float(amount.scaleb(-6)) - 4e-14) if amount else "-2E-18"
    return str(amount) if "Value" in metric else int(amount)


def _range(day: date) -> Shown:
    parts = {"month": day.month, "day": day.day, "year": day.year}
    return {"start": parts, "end": parts}


# -- what goes wrong, in LinkedIn's words


def error(status: int, code: str, message: str, service: int | None = None) -> Response:
    more = {} if service is None else {"serviceErrorCode": service}
    return JSONResponse({"status": status, **more, "code": code, "message": message}, status)


def refused(status: int, code: str, message: str) -> Refused:
    return Refused(error(status, code, message))


def unauthorized(problem: str) -> Response:
    if problem == "expired":
        return error(401, "EXPIRED_ACCESS_TOKEN", "The token used in the request has expired", 65602)
    return error(401, "INVALID_ACCESS_TOKEN", "Invalid access token", 65600)


def throttled(wait: int | None, daily: bool) -> Response:
    """Without a Retry-After, whatever `wait` says."""
    limit = "APPLICATION_AND_MEMBER DAY" if daily else "APPLICATION_AND_MEMBER MINUTE"
    message = f"Resource level throttle {limit} limit for calls to this resource is reached."
    return error(429, "TOO_MANY_REQUESTS", message, 101)


DIALECT = Dialect(
    throttled=throttled,
    broken=lambda: error(500, "INTERNAL_SERVER_ERROR", "Internal Server Error"),
    expired=partial(unauthorized, "expired"),
    missing_scope=lambda scope: error(403, "ACCESS_DENIED", f"Not enough permissions to access: {scope}", 100),
    cursor=asked_by("pageToken"),
    repeat=lambda cursor, answer: answer.update(metadata={"nextPageToken": cursor}),
    rows=("elements",),
    token_route=True,
)
