"""Faults on request: what goes wrong at the vendors, shown by the sandbox in each vendor's own words.

A fault is a row of the world's table `fault`, so another process can add one to a running server. It is shown to the
next `count` requests that it fits, then is gone; `withhold` stays until cleared. At most one fault touches a request:
the oldest, but those that only alter the true answer come last.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

from starlette.concurrency import run_in_threadpool
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.responses import JSONResponse, Response, StreamingResponse

from b2b_sandbox import dialects, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from b2b_sandbox.world import World

FOREVER = -1

_ANY = ("google_ads", "hubspot", "salesforce", "ecb")
_APIS = ("google_ads", "hubspot", "salesforce")

# Kind -> the vendors that can show it, and the options that it takes with their defaults.
KINDS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "throttle": (_APIS, {"retry_after": None, "daily": False}),  # seconds; a daily quota is used up
    "platform_throttle": (("google_ads",), {"retry_after": 60}),  # by Google's platform, before the API is reached
    "token_error": (_APIS, {"error": "unknown_error"}),  # of the token endpoint (path_contains="token")
    "server_error": (_ANY, {"status": 500}),  # 500, 502 or 503, with an HTML page
    "withhold": (_ANY, {}),  # an error 500 in the vendor's dialect, until cleared
    "missing_scope": (("hubspot",), {"scope": "content"}),  # that the app was not granted, until cleared
    "html_page": (_ANY, {}),  # status 200
    "error_in_200": (_APIS, {}),
    "cut_body": (_ANY, {}),  # half of the answer, then a clean end: no Content-Length gives it away
    "slow": (_ANY, {"seconds": 5.0}),
    "expire_token": (_APIS, {}),  # the tokens issued so far are refused, as expired
    "expire_cursor": (("google_ads", "salesforce"), {}),  # the next request for a following page
    "repeat_cursor": (_APIS, {}),  # the next page's cursor is the one just asked for
    "total_mismatch": (_APIS, {"by": 7}),  # announces more rows than there are
    "drop_field": (_ANY, {"field": ""}),  # schema drift: a dotted path within each row
    "add_field": (_ANY, {"field": "", "value": "unexpected"}),
}


LASTING = {"withhold", "missing_scope"}
# Shown in the true answer; the others are answers in the vendor's place, or a wait.
ALTERING = {"cut_body", "repeat_cursor", "total_mismatch", "drop_field", "add_field"}


@dataclass(frozen=True)
class Fault:
    """One row of the table `fault`."""

    fault_id: int
    vendor: str
    kind: str
    path_contains: str
    remaining: int
    options: Mapping[str, Any]


def add_fault(
    world: World, vendor: str, kind: str, *, path_contains: str = "", count: int = 1, **options: object
) -> int:
    """Show a fault to the next `count` requests of the vendor whose path, query string or body holds `path_contains`.

    Token routes are left alone unless `path_contains` says "token". Raises ValueError for a kind that the vendor does
    not know, and for options that the kind does not take.
    """
    vendors, defaults = KINDS.get(kind, ((), {}))
    if vendor not in vendors:
        known = ", ".join(name for name, (its, _) in KINDS.items() if vendor in its)
        raise ValueError(f"{vendor!r} has no fault {kind!r}" + (f"; it has {known}" if known else ""))
    if unknown := options.keys() - defaults.keys():
        raise ValueError(f"fault {kind!r} takes {sorted(defaults) or 'no options'}, not {sorted(unknown)}")
    if defaults.get("field") == "" and not options.get("field"):
        raise ValueError(f"fault {kind!r} needs the option 'field'")
    if options.get("status", 500) not in (500, 502, 503):
        raise ValueError("status must be 500, 502 or 503")
    if count < 1:
        raise ValueError("count must be at least 1")
    with world.connect() as connection:
        cursor = connection.execute(
            "insert into fault (vendor, kind, path_contains, remaining, options) values (?, ?, ?, ?, ?)",
            (vendor, kind, path_contains, FOREVER if kind in LASTING else count, json.dumps(defaults | options)),
        )
    return int(cursor.lastrowid or 0)


def clear_faults(world: World) -> None:
    """No fault is left."""
    with world.connect() as connection:
        connection.execute("delete from fault")


def list_faults(world: World, vendor: str | None = None) -> list[Fault]:
    """The faults still to be shown, oldest first."""
    with world.connect() as connection:
        rows = connection.execute(
            "select * from fault where vendor = coalesce(?, vendor) and remaining <> 0 order by fault_id", (vendor,)
        ).fetchall()
    return [Fault(**{**row, "options": json.loads(row["options"])}) for row in map(dict, rows)]


class FaultMiddleware(BaseHTTPMiddleware):
    """Shows the faults of the vendor whose mount is the first part of the path."""

    def __init__(self, app: ASGIApp, world: World) -> None:
        super().__init__(app)
        self.world = world

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        vendor = request.url.path.split("/")[1]
        waiting = await run_in_threadpool(list_faults, self.world, vendor)
        if not waiting:
            return await call_next(request)
        cursor = await _cursor(vendor, request)
        text = (
            f"{request.url.path}?{unquote_plus(request.url.query)}\n{(await request.body()).decode(errors='replace')}"
        )
        is_token_route = request.url.path.endswith("/token")
        fitting = [
            fault
            for fault in waiting
            if fault.path_contains in text
            and (not is_token_route or "token" in fault.path_contains)
            and (cursor or not fault.kind.endswith("_cursor"))
        ]
        for fault in fitting:
            if fault.kind in ALTERING or not await run_in_threadpool(_take, self.world, fault):
                continue
            if fault.kind == "slow":
                await asyncio.sleep(float(fault.options["seconds"]))
                return await call_next(request)
            if fault.kind == "expire_token":
                await run_in_threadpool(tokens.revoke, self.world, vendor)
            return INSTEAD[fault.kind](fault)
        return await self._altered([f for f in fitting if f.kind in ALTERING], cursor, await call_next(request))

    async def _altered(self, faults: list[Fault], cursor: str, answer: Response) -> Response:
        """The true answer with the first of the faults that it can show; the others are kept."""
        if not faults or answer.status_code != 200:
            return answer
        body = b"".join([bytes(part) async for part in answer.body_iterator])  # type: ignore[attr-defined]
        headers = {name: value for name, value in answer.headers.items() if name != "content-length"}
        for fault in faults:
            changed = _alter(fault, cursor, body, headers)
            if changed is not None and await run_in_threadpool(_take, self.world, fault):
                if fault.kind == "cut_body":  # without a Content-Length
                    return StreamingResponse(iter([changed]), headers=headers)
                return Response(changed, headers=headers)
        return Response(body, headers=headers)


def _take(world: World, fault: Fault) -> bool:
    """Count one showing; False if another request was faster."""
    with world.connect() as connection:
        taken = connection.execute(
            "update fault set remaining = max(remaining - 1, -1) where fault_id = ? and remaining <> 0",
            (fault.fault_id,),
        )
    return taken.rowcount == 1


# --- Answers given in the vendor's place -----------------------------------------------------------------------------


def _throttle(fault: Fault) -> Response:
    wait, daily = fault.options["retry_after"], fault.options["daily"]
    if fault.vendor == "google_ads":
        quota = {
            "rateScope": "DEVELOPER",
            "rateName": "Number of operations for basic access" if daily else "Requests per second",
            "retryDelay": f"{wait or (86_400 if daily else 1)}s",
        }
        code = "RESOURCE_EXHAUSTED" if daily else "RESOURCE_TEMPORARILY_EXHAUSTED"
        return dialects.google_ads(
            429, "quotaError", code, "Too many requests. Retry later.", details={"quotaErrorDetails": quota}
        )
    if fault.vendor == "hubspot":
        policy = "DAILY" if daily else "TEN_SECONDLY_ROLLING"
        answer = dialects.hubspot(
            429,
            "RATE_LIMITS",
            f"You have reached your {policy.lower()} limit.",
            errorType="RATE_LIMIT",
            policyName=policy,
        )
    elif daily:
        answer = dialects.salesforce(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
    else:
        answer = dialects.salesforce(503, "SERVER_UNAVAILABLE", "The server is temporarily unavailable.")
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _server_error(fault: Fault) -> Response:
    status = int(fault.options["status"])
    return dialects.html(status, f"{status} Server Error")


def _internal_error(fault: Fault, status: int = 500) -> Response:
    if fault.vendor == "google_ads":
        answer: Response = dialects.google_ads(
            500, "internalError", "INTERNAL_ERROR", "An internal error has occurred."
        )
    elif fault.vendor == "hubspot":
        answer = dialects.hubspot(500, "INTERNAL_ERROR", "internal error")
    elif fault.vendor == "salesforce":
        answer = dialects.salesforce(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred.")
    else:
        answer = dialects.html(500, "500 Internal Server Error")
    answer.status_code = status
    return answer


def _platform_throttle(fault: Fault) -> Response:
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "RATE_LIMIT_EXCEEDED"}
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{fault.options['retry_after']}s"}
    error = {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded.", "details": [info, retry]}
    return JSONResponse({"error": error}, 429)


def _token_error(fault: Fault) -> Response:
    """RFC 6749, section 5.2; Salesforce says `unknown_error`, "retry your request", of its own troubles."""
    return JSONResponse({"error": fault.options["error"], "error_description": "retry your request"}, 400)


def _missing_scope(fault: Fault) -> Response:
    needed = {"requiredGranularScopes": [fault.options["scope"]]}
    error = {"message": "One or more of the following scopes are required.", "context": needed}
    message = "This app hasn't been granted all required scopes to make this call."
    return dialects.hubspot(403, "MISSING_SCOPES", message, errors=[error])


def _expired_token(fault: Fault) -> Response:
    if fault.vendor == "google_ads":
        return dialects.google_ads(
            401, "authenticationError", "OAUTH_TOKEN_EXPIRED", "Oauth token provided has expired."
        )
    if fault.vendor == "hubspot":
        return dialects.hubspot(
            401, "EXPIRED_AUTHENTICATION", "The OAuth token used to make this call expired 5 second(s) ago."
        )
    return dialects.salesforce(401, "INVALID_SESSION_ID", "Session expired or invalid")


def _expired_cursor(fault: Fault) -> Response:
    if fault.vendor == "google_ads":
        return dialects.google_ads(400, "requestError", "EXPIRED_PAGE_TOKEN", "The page token has expired.")
    return dialects.salesforce(400, "INVALID_QUERY_LOCATOR", "invalid query locator")


INSTEAD: dict[str, Callable[[Fault], Response]] = {
    "throttle": _throttle,
    "server_error": _server_error,
    "withhold": _internal_error,
    "missing_scope": _missing_scope,
    "platform_throttle": _platform_throttle,
    "token_error": _token_error,
    "html_page": lambda fault: dialects.html(200, "Scheduled maintenance"),
    "error_in_200": lambda fault: _internal_error(fault, 200),
    "expire_token": _expired_token,
    "expire_cursor": _expired_cursor,
}


# --- Answers altered -------------------------------------------------------------------------------------------------


async def _cursor(vendor: str, request: Request) -> str:
    """The cursor that a request for a following page carries, else ""."""
    if vendor == "salesforce":
        is_following = "/query/" in request.url.path or "/queryAll/" in request.url.path
        return request.url.path.removeprefix("/salesforce") if is_following and "/jobs/" not in request.url.path else ""
    if vendor == "ecb":
        return ""
    asked = dict(request.query_params)
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        body = {}
    if isinstance(body, dict):
        asked |= body
    names = ("pageToken",) if vendor == "google_ads" else ("after", "offset")
    return next((str(asked[name]) for name in names if asked.get(name)), "")


def _alter(fault: Fault, cursor: str, body: bytes, headers: dict[str, str]) -> bytes | None:
    """The answer's body with the fault in it; None where the fault does not fit. May change the headers."""
    if fault.kind == "cut_body":
        return body[: len(body) // 2] if len(body) > 1 else None
    if fault.kind == "total_mismatch" and "sforce-numberofrecords" in headers:
        headers["sforce-numberofrecords"] = str(int(headers["sforce-numberofrecords"]) + fault.options["by"])
        return body
    if "csv" in headers.get("content-type", ""):
        return _alter_csv(fault, body.decode()).encode() if fault.kind.endswith("_field") and body else None
    try:
        answer = json.loads(body)
    except ValueError:
        return None
    batches = answer if isinstance(answer, list) else [answer]  # a Google Ads stream is a list of batches
    changed = [_alter_json(fault, cursor, batch) for batch in batches if isinstance(batch, dict)]
    return json.dumps(answer).encode() if any(changed) else None


def _alter_json(fault: Fault, cursor: str, answer: dict[str, Any]) -> bool:
    """Change one page in place; False where there is nothing to change."""
    if fault.kind == "repeat_cursor":
        return _repeat_cursor(fault.vendor, cursor, answer)
    if fault.kind == "total_mismatch":
        names = [name for name in ("total", "totalSize", "totalResultsCount") if name in answer]
        for name in names:  # a Google count is an int64, written as a string
            answer[name] = type(answer[name])(int(answer[name]) + fault.options["by"])
        return bool(names)
    *parents, leaf = str(fault.options["field"]).split(".")
    rows = [
        row
        for row in _rows(answer)
        if (parent := _descend(row, parents)) is not None and (fault.kind == "add_field" or leaf in parent)
    ]
    for row in rows:
        parent = _descend(row, parents) or {}
        if fault.kind == "add_field":
            parent[leaf] = fault.options["value"]
        else:
            del parent[leaf]
    return bool(rows)


def _repeat_cursor(vendor: str, cursor: str, answer: dict[str, Any]) -> bool:
    if vendor == "google_ads":
        answer["nextPageToken"] = cursor
    elif vendor == "salesforce":
        answer |= {"nextRecordsUrl": cursor, "done": False}
    elif "hasMore" in answer:  # HubSpot's e-mail events
        answer |= {"offset": cursor, "hasMore": True}
    else:
        answer["paging"] = {"next": {"after": cursor}}
    return True


def _rows(answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in ("results", "records", "events"):
        rows = answer.get(name)
        if isinstance(rows, list):
            yield from (row for row in rows if isinstance(row, dict))


def _descend(row: dict[str, Any], parents: list[str]) -> dict[str, Any] | None:
    """The object that the path leads to, if the row has it."""
    for name in parents:
        inner = row.get(name)
        if not isinstance(inner, dict):
            return None
        row = inner
    return row


def _alter_csv(fault: Fault, text: str) -> str:
    field = str(fault.options["field"])
    rows = list(csv.DictReader(io.StringIO(text)))
    names = [name for name in (rows[0] if rows else {}) if name != field or fault.kind == "add_field"]
    if fault.kind == "add_field":
        names.append(field)
    out = io.StringIO()
    writer = csv.DictWriter(out, names, restval=fault.options.get("value", ""), extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()
