"""Google Ads over REST, v23 to v26: listAccessibleCustomers, googleAds:search and googleAds:searchStream.

Reference: https://developers.google.com/google-ads/api/rest/overview. The one user that the sandbox knows reaches the
accounts without a manager directly, and all accounts below a manager, at whatever level, by naming it in
`login-customer-id`.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from b2b_sandbox import dialects, gaql, google, google_ads_rows, tokens
from b2b_sandbox.gaql_fields import FIELDS, camel
from b2b_sandbox.toolkit import Dialect, Refused, asked_by

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request

    from b2b_sandbox.google_ads_rows import Account
    from b2b_sandbox.world import World

VERSIONS = ("v26", "v25", "v24", "v23")
PAGE_SIZE = 10_000
PAGE_TOKEN_LIFETIME = 3600.0


def routes(
    world: World, page_size: int = PAGE_SIZE, page_token_lifetime: float = PAGE_TOKEN_LIFETIME
) -> list[BaseRoute]:
    """The API's routes, and the token route that Google serves from oauth2.googleapis.com. Lifetime in seconds."""

    def list_accessible_customers(request: Request, body: bytes) -> Response:
        _authenticate(world, request)
        direct = sorted(account.id for account in google_ads_rows.accounts(world) if account.manager_id is None)
        return JSONResponse({"resourceNames": [f"customers/{customer}" for customer in direct]})

    def search(request: Request, body: bytes) -> Response:
        version, account = _authenticate(world, request), _authorize(world, request)
        asked = _request(body, {"query", "pageToken", "pageSize", "validateOnly", "searchSettings"})
        if "pageSize" in asked:
            message = (
                "Setting the page size is not supported. Search Responses will have fixed page size of '10000' rows."
            )
            raise _refused(version, 400, "requestError", "PAGE_SIZE_NOT_SUPPORTED", message)
        text = str(asked.get("query", ""))
        query_id = hashlib.sha256(f"{account.id} {text}".encode()).hexdigest()
        start, now = _page(version, str(asked["pageToken"]), query_id) if asked.get("pageToken") else (0, world.now())
        query, rows = _rows(world, version, account, text, now)
        if asked.get("validateOnly"):
            return JSONResponse({})
        end = start + page_size
        answer = _batch(query, rows[start:end])
        if end < len(rows):
            expires = time.time() + page_token_lifetime
            answer["nextPageToken"] = tokens.sign({"query": query_id, "start": end, "now": now, "expires": expires})
        if asked.get("searchSettings", {}).get("returnTotalResultsCount"):
            answer["totalResultsCount"] = str(len(rows))
        return JSONResponse(answer)

    def search_stream(request: Request, body: bytes) -> Response:
        try:
            version, account = _authenticate(world, request), _authorize(world, request)
            asked = _request(body, {"query", "summaryRowSetting"})
            query, rows = _rows(world, version, account, str(asked.get("query", "")), world.now())
        except Refused as refused:  # a stream is a list of messages, and so is its error
            return JSONResponse([json.loads(bytes(refused.answer.body))], refused.answer.status_code)
        request_id = uuid4().hex[:22]
        starts = range(0, max(len(rows), 1), page_size)
        return JSONResponse([_batch(query, rows[at : at + page_size]) | {"requestId": request_id} for at in starts])

    return [
        *google.token_routes("google_ads", "https://www.googleapis.com/auth/adwords"),
        Route("/{version}/customers:listAccessibleCustomers", _endpoint(list_accessible_customers)),
        Route("/{version}/customers/{customer}/googleAds:search", _endpoint(search), methods=["POST"]),
        Route("/{version}/customers/{customer}/googleAds:searchStream", _endpoint(search_stream), methods=["POST"]),
    ]


def _endpoint(handle: Callable[[Request, bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
    def guarded(request: Request, body: bytes) -> Response:
        try:
            return handle(request, body)
        except Refused as refused:
            return refused.answer

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(guarded, request, await request.body())

    return endpoint


def _refused(version: str, status: int, family: str, code: str, message: str) -> Refused:
    return Refused(dialects.google_ads(status, family, code, message, version=version))


def _authenticate(world: World, request: Request) -> str:
    """The API version, once it is served and the caller is known."""
    version = str(request.path_params["version"])
    if version not in VERSIONS:
        number = int(version[1:]) if re.fullmatch(r"v\d{1,3}", version) else 0
        if not 0 < number < int(VERSIONS[-1][1:]):
            raise Refused(dialects.html(404, "Error 404 (Not Found)!!1"))
        message = f"Version {version} is deprecated. Requests to this version will be blocked."
        raise _refused(version, 400, "requestError", "UNSUPPORTED_VERSION", message)
    problem = tokens.problem(world, "google_ads", tokens.bearer(request))
    if problem == "missing":
        message = "Request is missing required authentication credential."
        raise _refused(version, 401, "authenticationError", "AUTHENTICATION_ERROR", message)
    if problem:
        code = "OAUTH_TOKEN_EXPIRED" if problem == "expired" else "OAUTH_TOKEN_INVALID"
        raise _refused(version, 401, "authenticationError", code, f"Oauth token is {problem}.")
    # A developer token is ignored, as Google does since 2026-09-09; an empty header is not.
    if request.headers.get("developer-token") == "":
        message = "The developer token is not valid: the header is empty."
        raise _refused(version, 400, "requestError", "DEVELOPER_TOKEN_PARAMETER_MISSING", message)
    return version


def _authorize(world: World, request: Request) -> Account:
    """The account of the path, if the caller reaches it."""
    version, customer = request.path_params["version"], request.path_params["customer"]
    login = request.headers.get("login-customer-id")
    if not re.fullmatch(r"\d{1,10}", customer):
        raise _refused(version, 400, "requestError", "INVALID_CUSTOMER_ID", f"Invalid customer ID '{customer}'.")
    if login is not None and not re.fullmatch(r"\d{1,10}", login):
        message = f"The login customer ID header '{login}' could not be validated."
        raise _refused(version, 400, "headerError", "INVALID_LOGIN_CUSTOMER_ID", message)
    known = {account.id: account for account in google_ads_rows.accounts(world)}
    account, entry = known.get(customer), login or customer
    # The user was invited to the accounts without a manager, and enters by them.
    if account is None or entry not in account.path or known[entry].manager_id is not None:
        message = (
            "User doesn't have permission to access customer. Note: If you're accessing a client customer, the "
            "manager's customer id must be set in the 'login-customer-id' header."
        )
        raise _refused(version, 403, "authorizationError", "USER_PERMISSION_DENIED", message)
    if account.status != "ENABLED" or not account.currency or not account.time_zone:
        message = "The customer account can't be accessed because it is not yet enabled or has been deactivated."
        raise _refused(version, 403, "authorizationError", "CUSTOMER_NOT_ENABLED", message)
    return account


def _request(body: bytes, allowed: set[str]) -> dict[str, Any]:
    """The request message. What Google's JSON gateway cannot read never reaches the API: no GoogleAdsFailure."""
    try:
        asked = json.loads(body or b"{}")
        problem = "" if isinstance(asked, dict) else "Unknown value for the root."
    except ValueError:
        asked, problem = {}, "Unexpected token."
    if not problem and (unknown := sorted(asked.keys() - allowed)):
        problem = f'Unknown name "{unknown[0]}": Cannot find field.'
    if problem:
        message = f"Invalid JSON payload received. {problem}"
        raise Refused(JSONResponse({"error": {"code": 400, "message": message, "status": "INVALID_ARGUMENT"}}, 400))
    return dict(asked)


def _page(version: str, page_token: str, query_id: str) -> tuple[int, int]:
    """The first row of the page, and the clock of the query's first page, so that no page sees a later world."""
    page = tokens.unsign(page_token)
    if page is None or page.get("query") != query_id:
        message = "The page token is invalid: it belongs to another request."
        raise _refused(version, 400, "requestError", "INVALID_PAGE_TOKEN", message)
    if page["expires"] <= time.time():
        raise _refused(version, 400, "requestError", "EXPIRED_PAGE_TOKEN", "The page token has expired.")
    return int(page["start"]), int(page["now"])


def _rows(world: World, version: str, account: Account, text: str, now: int) -> tuple[gaql.Query, list[gaql.Row]]:
    """The parsed query and every row that it finds, at the clock `now`."""
    try:
        query = gaql.parse(text, account.today(now))
        return query, google_ads_rows.find(world, account, query, now)
    except gaql.QueryError as error:
        raise _refused(version, 400, "queryError", error.code, str(error)) from error


def _batch(query: gaql.Query, rows: list[gaql.Row]) -> dict[str, Any]:
    """A page of results. Like Google's, one without rows has no member `results`."""
    results = [_result(query, row) for row in rows]
    mask = ",".join(".".join(map(camel, field.split("."))) for field in query.select)
    return ({"results": results} if results else {}) | {"fieldMask": mask}


def _result(query: gaql.Query, row: gaql.Row) -> dict[str, Any]:
    """One GoogleAdsRow in proto3 JSON: the selected fields, and the resource name of each resource they are of."""
    resources = {query.resource, *(field.split(".")[0] for field in query.select)} - {"metrics", "segments"}
    result: dict[str, Any] = {}
    for field in [*(f"{resource}.resource_name" for resource in sorted(resources)), *query.select]:
        if field in row:
            *parents, name = map(camel, field.split("."))
            node = result
            for parent in parents:
                node = node.setdefault(parent, {})
            node[name] = str(row[field]) if FIELDS[field] == "int64" else row[field]
    return result


# -- what goes wrong, in Google's words


def _throttled(wait: int | None, daily: bool) -> Response:
    quota = {
        "rateScope": "DEVELOPER",
        "rateName": "Number of operations for basic access" if daily else "Requests per second",
        "retryDelay": f"{wait or (86_400 if daily else 1)}s",
    }
    code = "RESOURCE_EXHAUSTED" if daily else "RESOURCE_TEMPORARILY_EXHAUSTED"
    details = {"quotaErrorDetails": quota}
    return dialects.google_ads(429, "quotaError", code, "Too many requests. Retry later.", details=details)


def _expired() -> Response:
    message = "Oauth token provided has expired."
    return dialects.google_ads(401, "authenticationError", "OAUTH_TOKEN_EXPIRED", message)


DIALECT = Dialect(
    throttled=_throttled,
    platform_throttled=google.platform_throttled,
    broken=lambda: dialects.google_ads(500, "internalError", "INTERNAL_ERROR", "An internal error has occurred."),
    expired=_expired,
    expired_cursor=lambda: dialects.google_ads(
        400, "requestError", "EXPIRED_PAGE_TOKEN", "The page token has expired."
    ),
    cursor=asked_by("pageToken"),
    repeat=lambda cursor, answer: answer.update(nextPageToken=cursor),
    rows=("results",),
    token_route=True,
    announces_totals=True,
)
