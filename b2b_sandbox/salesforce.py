"""Salesforce's REST API 31.0 to 68.0 over the world: OAuth, versions, SOQL queries, describe, limits, single records.

https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/intro_rest.htm
"""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import threading
import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from b2b_sandbox import dialects, salesforce_bulk, salesforce_query, tokens
from b2b_sandbox.salesforce_call import NEWEST, OLDEST, Call, Gate, SalesforceError, not_found
from b2b_sandbox.salesforce_schema import OBJECTS, SObject
from b2b_sandbox.soql import SoqlError
from b2b_sandbox.toolkit import Dialect, Shown

if TYPE_CHECKING:
    from starlette.requests import Request

    from b2b_sandbox.salesforce_query import Result
    from b2b_sandbox.world import World

PAGE_SIZE = 2000
SMALLEST_BATCH = 200
DAILY_REQUESTS = 100_000
TOKEN_LIFETIME = 7200.0
OPEN_CURSORS = 10  # of one user; opening another releases the oldest
GRANTS = ("refresh_token", "client_credentials", "authorization_code")
GRANT_ERRORS = {
    "unsupported_grant_type": ("unsupported_grant_type", "grant type not supported"),
    "invalid_client": ("invalid_client", "invalid client credentials"),
    "invalid_grant": ("invalid_grant", "expired access/refresh token"),
}
ORGANIZATION = "00DWx0000000001MAA"


def routes(world: World, page_size: int = PAGE_SIZE, daily_requests: int = DAILY_REQUESTS) -> list[BaseRoute]:
    """The paths of one org. Query cursors, bulk jobs and the count of requests live in the memory of this server."""
    gate = Gate(world, daily_requests)
    cursors = _Cursors()

    async def token(request: Request) -> Response:
        return _token(request, _basic(request) | await tokens.form(request))

    def query(call: Call) -> Response:
        soql = call.request.query_params.get("q")
        if soql is None:
            raise SoqlError("MALFORMED_QUERY", "A query string has to be specified")
        result = salesforce_query.run(world, soql, world.now(), include_deleted="/queryAll" in call.request.url.path)
        size = _batch_size(call, page_size)
        return _page(call, result, cursors.open(result) if len(result.rows) > size else "", 0, size)

    def query_more(call: Call) -> Response:
        locator, _, start = call.path("locator").partition("-")
        result = cursors.find(locator)
        if result is None or not start.isdecimal() or int(start) >= result.total:
            raise SalesforceError(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        return _page(call, result, locator, int(start), _batch_size(call, page_size))

    def limits(call: Call) -> Response:
        left = daily_requests - gate.allowance.used()
        return JSONResponse({"DailyApiRequests": {"Max": daily_requests, "Remaining": left}})

    def record(call: Call) -> Response:
        return _record(world, call)

    return [
        Route("/services/oauth2/authorize", tokens.consent("salesforce", ("scope", "refresh_token"))),
        Route("/services/oauth2/token", token, methods=["POST"]),
        Route("/services/data", _versions),
        Route("/services/data/", _versions),
        *gate.routes("/query", query),
        *gate.routes("/queryAll", query),
        *gate.routes("/query/{locator}", query_more),
        *gate.routes("/queryAll/{locator}", query_more),
        *gate.routes("/limits", limits),
        *gate.routes("/sobjects", _describe_global),
        *gate.routes("/sobjects/{object}", _sobject_info),
        *gate.routes("/sobjects/{object}/describe", _describe),
        *gate.routes("/sobjects/{object}/{id}", record),
        *salesforce_bulk.routes(world, gate),
        *gate.routes("", _resources),
        *gate.routes("/{rest:path}", _nowhere, "GET", "POST", "PATCH", "PUT", "DELETE"),
    ]


class _Cursors:
    """The results that clients are still reading, by locator."""

    def __init__(self) -> None:
        self._results: dict[str, Result] = {}
        self._lock = threading.Lock()

    def open(self, result: Result) -> str:
        locator = f"01g{secrets.token_hex(8)[:15]}"
        with self._lock:
            if len(self._results) >= OPEN_CURSORS:
                del self._results[next(iter(self._results))]
            self._results[locator] = result
        return locator

    def find(self, locator: str) -> Result | None:
        return self._results.get(locator)


def _page(call: Call, result: Result, locator: str, start: int, size: int) -> Response:
    """One batch of a result; without a locator it is the only one. The next URL says `query` after `queryAll`, too."""
    end = start + size
    answer: dict[str, object] = {"totalSize": result.total, "done": not locator or end >= result.total}
    if not answer["done"]:
        answer["nextRecordsUrl"] = f"/services/data/v{call.version}/query/{locator}-{end}"
    return JSONResponse(answer | {"records": result.records(call.version, start, end)})


def _batch_size(call: Call, page_size: int) -> int:
    """What `Sforce-Query-Options: batchSize=500` asks for, within Salesforce's bounds, but never more than a page."""
    asked = re.search(r"batchSize=(\d+)", call.request.headers.get("sforce-query-options", ""))
    return min(page_size, max(int(asked[1]), SMALLEST_BATCH)) if asked else page_size


def _basic(request: Request) -> dict[str, str]:
    """The client's id and secret where HTTP Basic carries them."""
    scheme, _, word = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return {}
    try:
        client_id, _, secret = base64.b64decode(word).decode().partition(":")
    except (ValueError, binascii.Error):
        return {}
    return {"client_id": client_id, "client_secret": secret}


def _token(request: Request, fields: dict[str, str]) -> Response:
    """https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_refresh_token_flow.htm"""
    if problem := tokens.grant_problem("salesforce", fields, GRANTS):
        error, description = GRANT_ERRORS[problem]
        if problem == "invalid_client" and fields.get("client_id") != tokens.CLIENT_ID:
            error, description = "invalid_client_id", "client identifier invalid"
        return JSONResponse({"error": error, "error_description": description}, 400)
    instance_url = f"{request.url.scheme}://{request.url.netloc}{request.scope['root_path']}"
    return JSONResponse(
        {
            "access_token": tokens.issue("salesforce", TOKEN_LIFETIME),
            "signature": secrets.token_urlsafe(32),
            "scope": "refresh_token api",
            "instance_url": instance_url,
            "id": f"{instance_url}/id/{ORGANIZATION}/{salesforce_bulk.USER}",
            "token_type": "Bearer",
            "issued_at": str(int(time.time() * 1000)),
            **tokens.lasting(fields),
        }
    )


def _versions(request: Request) -> Response:
    """What an org answers without a session."""
    return JSONResponse(
        [
            {"label": _release(number), "url": f"/services/data/v{number}.0", "version": f"{number}.0"}
            for number in range(OLDEST, NEWEST + 1)
        ]
    )


def _release(number: int) -> str:
    """The name of a version's release: 31.0 was Summer '14, and three releases make a year."""
    years, season = divmod(number - OLDEST, 3)
    return f"{('Summer', 'Winter', 'Spring')[season]} '{14 + years + (season > 0)}"


def _resources(call: Call) -> Response:
    names = ("query", "queryAll", "limits", "sobjects", "jobs")
    return JSONResponse({name: f"/services/data/v{call.version}/{name}" for name in names})


def _nowhere(call: Call) -> Response:
    raise not_found()


def _sobject(call: Call) -> SObject:
    if sobject := OBJECTS.get(call.path("object")):
        return sobject
    raise not_found()


def _describe_global(call: Call) -> Response:
    objects = [sobject.describe_global(call.version) for sobject in OBJECTS.values()]
    return JSONResponse({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": objects})


def _sobject_info(call: Call) -> Response:
    return JSONResponse({"objectDescribe": _sobject(call).describe_global(call.version), "recentItems": []})


def _describe(call: Call) -> Response:
    return JSONResponse(_sobject(call).describe(call.version))


def _record(world: World, call: Call) -> Response:
    """One record with all its fields, or those that `fields` names."""
    sobject, record_id = _sobject(call), call.path("id")
    if not re.fullmatch(r"[A-Za-z0-9]{15}(?:[A-Za-z0-9]{3})?", record_id):
        raise SalesforceError(404, "NOT_FOUND", "Provided external ID field does not exist or is not accessible")
    names = call.request.query_params.get("fields") or ",".join(field.name for field in sobject.fields)
    soql = f"SELECT {names} FROM {sobject.name} WHERE Id = '{record_id}'"  # noqa: S608  # SOQL, of checked parts
    for include_deleted in (False, True):
        result = salesforce_query.run(world, soql, world.now(), include_deleted=include_deleted)
        found = result.records(call.version, 0, 1)
        if found and include_deleted:
            raise SalesforceError(404, "ENTITY_IS_DELETED", "entity is deleted")
        if found:
            return JSONResponse(found[0])
    raise not_found()


# -- what goes wrong, in Salesforce's words


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = (
        dialects.salesforce(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
        if daily
        else dialects.salesforce(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable.")
    )
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _cursor(request: Request, asked: Shown) -> str:
    """The next page is a path of its own."""
    path = request.url.path
    is_following = "/query/" in path or "/queryAll/" in path
    return path.removeprefix("/salesforce") if is_following and "/jobs/" not in path else ""


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: dialects.salesforce(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred."),
    expired=lambda: dialects.salesforce(401, "INVALID_SESSION_ID", "Session expired or invalid"),
    expired_cursor=lambda: dialects.salesforce(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    cursor=_cursor,
    repeat=lambda cursor, answer: answer.update(nextRecordsUrl=cursor, done=False),
    rows=("records",),
    token_route=True,
    announces_totals=True,
)
