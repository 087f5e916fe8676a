"""Microsoft Advertising's API v13 over REST: the user, accounts, campaigns, and reports as zipped CSV files, over the
world.

From the official SDK (PyPI msads 13.0.30.1), https://learn.microsoft.com/advertising/guides and what Airbyte's
source-bing-ads recorded, read 2026-12-01. A report's id and the address of its file are its question, signed.
"""

from __future__ import annotations

import csv
import io
import json
import time
import zipfile
from collections import defaultdict
from datetime import date
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_base import DAY, midnight
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "microsoft_ads"
USER, CUSTOMER = "138440787", "251186883"
TOKEN_LIFETIME = 3599.0
ADDRESS_LIFETIME = 300.0  # seconds that a report's address is good
ZONES = {"Europe/Berlin": "AmsterdamBerlinBernRomeStockholmVienna", "America/New_York": "EasternTimeUSCanada"}
# As reports call the types of campaigns.
REPORTED = {"Search": "Search & content", "Audience": "Audience", "PerformanceMax": "Performance max"}
COLUMNS = {"CampaignPerformanceReportRequest": {"CampaignId", "CampaignName", "CampaignType", "CampaignStatus"},
           "AccountPerformanceReportRequest": set()}  # fmt: skip
BOTH = {"TimePeriod", "AccountId", "CurrencyCode", "Impressions", "Clicks", "Spend", "ConversionsQualified", "Revenue"}
ENTITIES = f"select * from ad_entity where vendor = '{VENDOR}' and account_id = ? and visible_at <= ? order by id"  # noqa: S608
DAYS = f"""
select *, max(known_at) from ad_day
where vendor = '{VENDOR}' and account_id = ? and date_day between ? and ? and known_at <= ?
group by campaign_id, date_day order by date_day, campaign_id
"""  # noqa: S608


def routes(world: World, pending: int = 0) -> list[BaseRoute]:
    """The paths of one user. `pending`: how often a report is still being made when one looks."""
    looks: dict[str, int] = defaultdict(int)

    async def token(request: Request) -> Response:
        return _token(await tokens.form(request))

    async def file(request: Request) -> Response:
        return await run_in_threadpool(_file, world, request)

    def accounts(call: Call) -> Shown:
        asked = json.loads(call.body)
        wanted = {each["Field"]: each["Value"] for each in asked.get("Predicates") or []}
        if wanted.get("UserId") != USER:
            raise _refused(400, 1, "InvalidPredicate")
        with world.connect() as connection:
            found = connection.execute("select * from ad_account where vendor = ? order by id", (VENDOR,)).fetchall()
        paging = asked.get("PageInfo") or {"Index": 0, "Size": 100}
        at = paging["Index"] * paging["Size"]
        return {"Accounts": [_account(row) for row in found[at : at + paging["Size"]]]}

    def campaigns(call: Call) -> Shown:
        asked = json.loads(call.body)
        kinds = set((asked.get("CampaignType") or "Search").split(","))
        with world.connect() as connection:
            found = [_campaign(row, call.now) for row in connection.execute(ENTITIES, (_account_of(call), call.now))]
        return {"Campaigns": [row for row in found if row["CampaignType"] in kinds and row["Status"] != "Deleted"]}

    def submit(call: Call) -> Shown:
        request = json.loads(call.body)["ReportRequest"]
        kind, account = request.get("Type"), _account_of(call)
        if kind not in COLUMNS or not set(request["Columns"]) <= BOTH | COLUMNS[kind]:
            raise _refused(400, 2034, "InvalidReportColumn")
        if request["Scope"]["AccountIds"] != [account] or not all(isinstance(one, str) for one in [account]):
            raise _refused(400, 2010, "InvalidAccountThruCampaignReportScope")
        return {"ReportRequestId": tokens.sign({"account": account, "request": request, "now": call.now})}

    def poll(call: Call) -> Shown:
        identifier = json.loads(call.body)["ReportRequestId"]
        job = tokens.unsign(identifier)
        if job is None:
            raise _refused(400, 2100, "InvalidReportRequestId")
        looks[identifier] += 1
        if looks[identifier] <= pending:
            return {"ReportRequestStatus": {"Status": "Pending", "ReportDownloadUrl": None}}
        address = None
        if _rows(world, job):
            base = str(call.request.url).partition("/Reporting/")[0]
            address = f"{base}/files/report.zip?sig={tokens.sign(job | {'expires': time.time() + ADDRESS_LIFETIME})}"
        return {"ReportRequestStatus": {"Status": "Success", "ReportDownloadUrl": address}}

    at = partial(route, world, enter=partial(_enter, world), method="POST")
    return [
        Route("/common/oauth2/v2.0/authorize", tokens.consent(VENDOR, ("scope", "offline_access"))),
        Route("/common/oauth2/v2.0/token", token, methods=["POST"]),
        Route("/files/report.zip", file),
        at("/CustomerManagement/v13/User/Query", lambda call: {"User": {"Id": USER, "CustomerId": CUSTOMER}}),
        at("/CustomerManagement/v13/Accounts/Search", accounts),
        at("/CampaignManagement/v13/Campaigns/QueryByAccountId", campaigns),
        at("/Reporting/v13/GenerateReport/Submit", submit),
        at("/Reporting/v13/GenerateReport/Poll", poll),
    ]


def _enter(world: World, request: Request) -> dict[str, str]:
    problem = tokens.problem(world, VENDOR, tokens.bearer(request))
    if problem == "expired":
        raise Refused(_expired())
    if problem or not request.headers.get("developertoken"):
        raise _refused(401, 105, "InvalidCredentials")
    return {}


def _account_of(call: Call) -> str:
    headers = call.request.headers
    if headers.get("customerid") != CUSTOMER or not headers.get("customeraccountid"):
        raise _refused(400, 106, "UserIsNotAuthorized")
    return headers["customeraccountid"]


def _token(fields: dict[str, str]) -> Response:
    problem = tokens.grant_problem(VENDOR, fields, ("refresh_token", "authorization_code"))
    if problem:
        told = {"invalid_client": "AADSTS7000215: Invalid client secret provided.",
                "invalid_grant": "AADSTS70000: The provided value for the 'refresh_token' is not valid."}  # fmt: skip
        body = {"error": problem, "error_description": told.get(problem, "AADSTS70003: Unsupported grant type.")}
        return JSONResponse(body, 401 if problem == "invalid_client" else 400)
    lasting = tokens.lasting(fields) or {"refresh_token": tokens.REFRESH_TOKEN}
    return JSONResponse({
        "token_type": "Bearer", "scope": "https://ads.microsoft.com/msads.manage", "expires_in": int(TOKEN_LIFETIME),
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), **lasting,
    })  # fmt: skip


def _account(row: sqlite3.Row) -> Shown:
    return {
        "BillToCustomerId": CUSTOMER, "CurrencyCode": row["currency"], "AccountFinancialStatus": "ClearFinancialStatus",
        "Id": row["id"], "Language": "English", "Name": row["name"], "Number": f"F149{row['id'][-4:]}",
        "ParentCustomerId": CUSTOMER, "AccountLifeCycleStatus": row["status"], "TimeZone": ZONES[row["time_zone"]],
        "PauseReason": None, "LinkedAgencies": [], "AccountMode": "Expert",
    }  # fmt: skip


def _campaign(row: sqlite3.Row, now: int) -> Shown:
    given = json.loads(row["payload"])
    is_over = given["last"] is not None and midnight(date.fromisoformat(given["last"])) + DAY <= now
    return {
        "Id": row["id"], "Name": given["name"], "Status": "Deleted" if is_over else "Active", "TimeZone": None,
        "CampaignType": given["type"], "DailyBudget": 50.0, "BudgetType": "DailyBudgetStandard", "Languages": ["All"],
    }  # fmt: skip


# -- reports


def _rows(world: World, job: dict[str, Any]) -> list[Shown]:
    """The rows of a report with something in them; all values are text."""
    request, account, now = job["request"], job["account"], job["now"]
    start, end = (_date(request["Time"][f"CustomDateRange{name}"]) for name in ("Start", "End"))
    by_campaign = request["Type"] == "CampaignPerformanceReportRequest"
    sums: dict[tuple[str, str], dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    with world.connect() as connection:
        query = "select * from ad_account where vendor = ? and id = ?"
        about = connection.execute(query, (VENDOR, account)).fetchone()
        campaigns = {row["id"]: _campaign(row, now) for row in connection.execute(ENTITIES, (account, now))}
        for row in connection.execute(DAYS, (account, start, end, now)):
            for name in ("impressions", "clicks", "cost_micros", "conversions", "conversions_value"):
                sums[row["date_day"], row["campaign_id"] if by_campaign else ""][name] += Decimal(row[name])
    found = []
    for (day, campaign), total in sums.items():
        of = campaigns.get(campaign, {})
        row = {
            "TimePeriod": day, "AccountId": account, "CurrencyCode": about["currency"],
            "Impressions": total["impressions"], "Clicks": total["clicks"], "Spend": total["cost_micros"].scaleb(-6),
            "ConversionsQualified": f"{total['conversions']:.2f}", "Revenue": f"{total['conversions_value']:.2f}",
            "CampaignId": campaign, "CampaignName": of.get("Name"), "CampaignStatus": of.get("Status"),
            "CampaignType": REPORTED.get(of.get("CampaignType", "")),
        }  # fmt: skip
        if total["impressions"]:
            found.append({name: str(row[name]) for name in request["Columns"]})
    return found


def _date(given: dict[str, int]) -> str:
    return date(given["Year"], given["Month"], given["Day"]).isoformat()


def _file(world: World, request: Request) -> Response:
    job = tokens.unsign(request.query_params.get("sig", ""))
    if job is None or job["expires"] <= time.time():
        return Response("<Error><Code>AuthenticationFailed</Code></Error>", 403, media_type="application/xml")
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, job["request"]["Columns"], quoting=csv.QUOTE_ALL)
    writer.writeheader()
    writer.writerows(_rows(world, job))
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("report.csv", text.getvalue().encode("utf-8-sig"))
    return Response(packed.getvalue(), media_type="application/x-zip-compressed")


# -- what goes wrong, in Microsoft's words


def _error(status: int, code: int, name: str) -> Response:
    error = {"Code": code, "Detail": None, "ErrorCode": name, "Message": name}
    body = {"TrackingId": "5f1c8a0e-0000-4000-8000-000000000000", "Type": "AdApiFaultDetail", "Errors": [error]}
    return JSONResponse(body, status)


def _refused(status: int, code: int, name: str) -> Refused:
    return Refused(_error(status, code, name))


def _expired() -> Response:
    return _error(401, 109, "AuthenticationTokenExpired")


DIALECT = Dialect(
    throttled=lambda wait, daily: _error(400, 117, "CallRateExceeded"),
    broken=lambda: _error(500, 0, "InternalError"),
    expired=_expired,
    missing_scope=lambda scope: _error(400, 106, "UserIsNotAuthorized"),
    rows=("Campaigns", "Accounts"),
    token_route=True,
)
