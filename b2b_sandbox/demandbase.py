"""Demandbase's Data Export and Intent APIs: activities and intent of the companies that the world has.

From Demandbase's OpenAPI documents and its page on errors (as github.com/api-evangelist/demandbase keeps them, 2026-08)
and its SDK (PyPI demandbase-sdk 0.1.7), read 2026-12-01. What no document says is an option of `routes`, so that both
readings can be shown: how a file names its columns, and which periods lie between two days.
"""

from __future__ import annotations

import csv
import io
import json
import time
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shapes, Shown, asked_by, page, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "demandbase"
TOKEN_LIFETIME = 28_800.0
LABELS = {
    "{Activity}.id": "Activity ID", "{Account}.id": "Account ID", "{Activity}.accountDomain": "Account Domain",
    "{Activity}.activityDate": "Activity Date", "{Activity}.activityType": "Activity Type",
}  # fmt: skip
FREE = ("gmail.com", "gmx.de", "outlook.com")
TYPES = ("Web Visit", "Email Click", "Keyword Intent", "Webinar: Attended, on demand")
KEYWORD_SETS = {7303: "Security Keywords", 9190: "Competitors"}
KEYWORDS = {"Zero Trust": 7303, "SASE": 7303, "Rival, Inc.": 9190}
STRENGTHS = ("LOW", "MED", "HIGH")


def companies_at(connection: sqlite3.Connection, now: int) -> list[tuple[int, str]]:
    """Number and domain of each company that somebody is from whom the CRM knows."""
    found = connection.execute(CURRENT, {"vendor": "hubspot", "object": "contacts", "now": now})
    addresses = (json.loads(row["payload"]).get("email") or "" for row in found if not row["is_gone"])
    domains = {address.partition("@")[2].strip().lower() for address in addresses} - {"", *FREE}
    return sorted((_number(domain) % 10_000_000, domain) for domain in domains)


def _number(*what: object) -> int:
    return int.from_bytes(sha256(" ".join(map(str, what)).encode()).digest()[:6])


def routes(
    world: World, page_size: int = 100, labels: bool = False, within: bool = True, parts: int = 1
) -> list[BaseRoute]:
    """The paths of one tenant. labels: what a file calls its columns; within: whether intent is of periods that lie
    between two days, else of those that touch them; parts: files of an export."""
    companies = Shapes(world, companies_at)
    intent = Shapes(world, lambda connection, now: signals(companies_at(connection, now), now))

    async def token(request: Request) -> Response:
        body = await request.body()
        given = json.loads(body) if request.headers.get("content-type", "").startswith("application/json") else {}
        names = {"grantType": "grant_type", "clientId": "client_id", "clientSecret": "client_secret"}
        return _token({names[name]: str(value) for name, value in given.items()} or await tokens.form(request))

    def submit(call: Call) -> Shown:
        asked = json.loads(call.body)
        _check(asked)
        job = {"asked": asked, "submitted": time.time()}
        return _job(asked, tokens.sign(job)) | {"jobStatus": "accepted"}

    def status(call: Call) -> Shown:
        if (job := tokens.unsign(call.path("job"))) is None:
            raise Refused(_error(404, "404-302", "Job id invalid"))
        at = call.request.url.path.partition("/data/export/")[0]
        urls = [f"{call.request.url.replace(path=f'{at}/results/{n}', query='')}?job={call.path('job')}"
                for n in range(parts)]  # fmt: skip
        shown = _job(job["asked"], call.path("job")) | {"updatedAt": _at(job["submitted"]), "message": ""}
        return shown | {"jobStatus": "finished", "resultsUrl": urls[0]} | ({"resultsUrls": urls} if parts > 1 else {})

    def file(request: Request) -> Response:
        if (job := tokens.unsign(request.query_params.get("job", ""))) is None:
            return Response("<Error><Code>AccessDenied</Code></Error>", 403, media_type="application/xml")
        part, asked = int(request.path_params["part"]), job["asked"]
        found = activities(companies(), world.now(), asked["fromDate"], asked["toDate"])[part::parts]
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow([LABELS[name] if labels else name for name in asked["fields"]])
        writer.writerows([[row[name] for name in asked["fields"]] for row in found])
        return Response(text.getvalue(), media_type="text/csv")

    def fields(call: Call) -> list[Shown]:
        if call.query("entityType").lower() != "activity":
            raise Refused(_error(400, "400-125", "Invalid entityType."))
        return [{"name": name, "label": label, "dataType": "String"} for name, label in LABELS.items()]

    def query(call: Call) -> Shown:
        return _intent(intent(), json.loads(call.body), page_size, within)

    at = partial(route, world, enter=partial(_enter, world))
    return [
        Route("/auth/v1/token", token, methods=["POST"]),
        at("/data/export/v1/fields", fields),
        at("/data/export/v1/job", submit, method="POST"),
        at("/data/export/v1/job/{job}", status),
        Route("/results/{part:int}", file),
        at("/data/intent/v1/companies/intent/query", query, method="POST"),
    ]


def _enter(world: World, request: Request) -> dict[str, str]:
    if tokens.problem(world, VENDOR, tokens.bearer(request)):
        raise Refused(_expired())
    return {}


def _token(fields: dict[str, str]) -> Response:
    """As a form, as the SDK sends it, or as JSON, as the document has it."""
    if tokens.grant_problem(VENDOR, fields, ("client_credentials",)):
        return _error(400, "400-103", "Invalid client credentials")
    access = tokens.issue(VENDOR, TOKEN_LIFETIME)
    return JSONResponse({"accessToken": access, "tokenType": "bearer", "expiresIn": int(TOKEN_LIFETIME)})


# -- activities


def _check(asked: Shown) -> None:
    allowed = {"entityType", "jobName", "fromDate", "toDate", "fields", "filters", "format", "accountListIds"}
    if unknown := sorted(asked.keys() - allowed):
        raise Refused(_error(400, "400-147", f"Unrecognized property: {unknown[0]}"))
    if str(asked.get("entityType")).lower() != "activity":
        raise Refused(_error(400, "400-127", "Invalid entityType."))
    if not 1 <= len(str(asked.get("jobName") or "")) <= 50:
        raise Refused(_error(400, "400-126", "jobName is missing or longer than 50 characters"))
    if wrong := [name for name in asked.get("fields", []) if name not in LABELS]:
        raise Refused(_error(400, "400-115", f"Invalid field names: {', '.join(wrong)}"))
    first, last = (date.fromisoformat(asked[name]) for name in ("fromDate", "toDate"))
    if first >= last:
        raise Refused(_error(400, "400-137", "fromDate is not before toDate"))
    if last - first > timedelta(days=90):
        raise Refused(_error(400, "400-114", "The requested Activity date range is longer than 90 days"))


def _job(asked: Shown, identifier: str) -> Shown:
    told = tokens.unsign(identifier) or {}
    return {"jobId": identifier, "jobName": asked["jobName"], "entityType": "activity",
            "createdAt": _at(told["submitted"])}  # fmt: skip


def _at(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def activities(companies: list[tuple[int, str]], now: int, first: str, last: str) -> list[dict[str, str]]:
    """Of each company on some days, both included. An account is numbered by the tenant, some have no domain."""
    until = datetime.fromtimestamp(now / 1000, UTC).date()
    days, day = [], date.fromisoformat(first)
    while day <= min(date.fromisoformat(last), until):
        days.append(day.isoformat())
        day += timedelta(days=1)
    return [
        {
            "{Activity}.id": str(_number("activity", company, day)), "{Account}.id": str(number + 1),
            "{Activity}.accountDomain": "" if number % 19 == 7 else domain.capitalize(),
            "{Activity}.activityDate": day, "{Activity}.activityType": TYPES[_number(company, day, "type") % 4],
        }
        for day in days
        for number, (company, domain) in enumerate(companies)
        if _number(company, day) % 20 == 0
    ]  # fmt: skip


# -- intent


def signals(companies: list[tuple[int, str]], now: int) -> list[Shown]:
    """Of each company and keyword, weeks from Sunday to Saturday that are over."""
    last = datetime.fromtimestamp(now / 1000, UTC).date() - timedelta(days=1)
    last -= timedelta(days=(last.weekday() - 5) % 7)
    return [
        {
            "companyId": str(company), "domain": domain, "keyword": keyword,
            "numPeopleResearching": _number(company, keyword, end) % 12 + 1,
            "intentStrength": STRENGTHS[_number(company, keyword, end) % 3], "isTrending": n % 2 == 0,
            "trendingScore": _number(company, end) % 101, "numTrendingDays": n % 4,
            "startDate": str(end - timedelta(days=6)), "endDate": str(end), "keywordSetId": keywords,
            "keywordSetName": KEYWORD_SETS[keywords],
        }
        for n in range(12)
        for end in [last - timedelta(weeks=n)]
        for company, domain in companies
        for keyword, keywords in KEYWORDS.items()
        if _number(company, keyword, end, "is") % 6 == 0
    ]  # fmt: skip


def _intent(known: list[Shown], asked: Shown, page_size: int, within: bool) -> Shown:
    sets, words, ids = (asked.get(name, []) for name in ("keywordSetIds", "keywords", "companyIds"))
    if not (sets or words or ids):
        message = "At least one of companyIds, keywordSetIds, or keywords must be provided for intent search."
        raise Refused(_error(400, "400-218", message))
    for given, most, code in ((ids, 10, "219"), (sets, 10, "229"), (words, 50, "230")):
        if len(given) > most:
            raise Refused(_error(400, f"400-{code}", f"must contain no more than {most} items."))
    start, end = asked["startDate"], asked["endDate"]
    if start > end:
        raise Refused(_error(400, "400-222", "startDate must be on or before endDate."))
    if not 1 <= asked.get("pageSize", 25) <= 100:
        raise Refused(_error(400, "400-226", "pageSize must be between 1 and 100."))
    found = [
        row
        for row in known
        if (not sets or row["keywordSetId"] in sets) and (not words or row["keyword"] in words)
        if (not ids or row["companyId"] in ids)
        if (row["startDate"] >= start and row["endDate"] <= end if within else
            row["endDate"] >= start and row["startDate"] <= end)
    ]  # fmt: skip
    found.sort(key=lambda row: str(row[asked.get("sortBy", "endDate")]), reverse=asked.get("sortOrder") != "ASC")
    try:
        shown, after = page(found, asked.get("pageToken", ""), min(asked.get("pageSize", 25), page_size))
    except ValueError:
        raise Refused(_error(400, "400-228", "pageToken is invalid.")) from None
    return {"data": shown, "pagination": {"after": after, "before": None, "totalCount": len(found)}}


# -- what goes wrong, in Demandbase's words


def _error(status: int, code: str, message: str) -> Response:
    diagnostic = str(UUID(int=_number(code, message)))
    return JSONResponse({"errorCode": code, "errorMessage": message, "diagnosticCode": diagnostic}, status)


def _expired() -> Response:
    return _error(401, "401-100", "Authentication credentials are missing or invalid.")


def _throttled(wait: int | None, daily: bool) -> Response:
    code, message = ("429-101", "Export quota exceeded.") if daily else ("429-100", "Rate limit exceeded.")
    return _error(429, code, message)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "500-100", "Error while communicating with internal service."),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "403-102", "API Key does not have privilege to access the resource"),
    cursor=asked_by("pageToken"),
    repeat=lambda cursor, answer: answer["pagination"].update(after=cursor),
    rows=("data",),
    token_route=True,
)
