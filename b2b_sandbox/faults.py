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
from b2b_sandbox.vendors import VENDORS

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from b2b_sandbox.toolkit import Dialect
    from b2b_sandbox.world import World

FOREVER = -1

# Kind -> who can show it, and the options that it takes with their defaults.
_KINDS: dict[str, tuple[Callable[[Dialect], object], dict[str, Any]]] = {
    "throttle": (lambda its: its.throttled, {"retry_after": None, "daily": False}),  # seconds; the day's quota is gone
    "platform_throttle": (lambda its: its.platform_throttled, {"retry_after": 60}),  # before the API is reached
    "token_error": (lambda its: its.token_route, {"error": "unknown_error"}),  # needs path_contains="token"
    "server_error": (lambda its: True, {"status": 500}),  # 500, 502 or 503, with an HTML page
    "withhold": (lambda its: True, {}),  # an error 500 in the vendor's dialect, until cleared
    "missing_scope": (lambda its: its.missing_scope, {"scope": "content"}),  # was not granted, until cleared
    "html_page": (lambda its: True, {}),  # status 200
    "error_in_200": (lambda its: its.throttled, {}),
    "cut_body": (lambda its: True, {}),  # half of the answer, then a clean end: no Content-Length gives it away
    "slow": (lambda its: True, {"seconds": 5.0}),
    "expire_token": (lambda its: its.expired, {}),  # the tokens issued so far are refused, as expired
    "expire_cursor": (lambda its: its.expired_cursor, {}),  # the next request for a following page
    "repeat_cursor": (lambda its: its.repeat, {}),  # the next page's cursor is the one just asked for
    "total_mismatch": (lambda its: its.announces_totals, {"by": 7}),  # announces more rows than there are
    "drop_field": (lambda its: True, {"field": ""}),  # schema drift: a dotted path within each row
    "add_field": (lambda its: True, {"field": "", "value": "unexpected"}),
}
# Kind -> the vendors that can show it, and its options.
KINDS = {
    kind: (tuple(name for name, vendor in VENDORS.items() if can(vendor.DIALECT)), options)
    for kind, (can, options) in _KINDS.items()
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
    """Shows the faults of the vendor whose mount is the first part of the path; counts how often each was `asked`."""

    def __init__(self, app: ASGIApp, world: World, asked: Counter[str]) -> None:
        super().__init__(app)
        self.world, self.asked = world, asked

    async def dispatch(self, request: Request, call_next: RequestResponseEndpoint) -> Response:
        vendor = request.url.path.split("/")[1]
        self.asked[vendor] += 1
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


def _dialect(fault: Fault) -> Dialect:
    return VENDORS[fault.vendor].DIALECT


def _server_error(fault: Fault) -> Response:
    status = int(fault.options["status"])
    return dialects.html(status, f"{status} Server Error")


def _internal_error(fault: Fault, status: int = 500) -> Response:
    answer = _dialect(fault).broken()
    answer.status_code = status
    return answer


def _token_error(fault: Fault) -> Response:
    """RFC 6749, section 5.2; Salesforce says `unknown_error`, "retry your request", of its own troubles."""
    return JSONResponse({"error": fault.options["error"], "error_description": "retry your request"}, 400)


def _said(word: Callable[..., Response] | None, *arguments: Any) -> Response:
    assert word is not None  # add_fault takes only what the vendor has words for
    return word(*arguments)


INSTEAD: dict[str, Callable[[Fault], Response]] = {
    "throttle": lambda fault: _said(_dialect(fault).throttled, fault.options["retry_after"], fault.options["daily"]),
    "platform_throttle": lambda fault: _said(_dialect(fault).platform_throttled, fault.options["retry_after"]),
    "server_error": _server_error,
    "withhold": _internal_error,
    "missing_scope": lambda fault: _said(_dialect(fault).missing_scope, fault.options["scope"]),
    "token_error": _token_error,
    "html_page": lambda fault: dialects.html(200, "Scheduled maintenance"),
    "error_in_200": lambda fault: _internal_error(fault, 200),
    "expire_token": lambda fault: _said(_dialect(fault).expired),
    "expire_cursor": lambda fault: _said(_dialect(fault).expired_cursor),
}


# --- Answers altered -------------------------------------------------------------------------------------------------


async def _cursor(vendor: str, request: Request) -> str:
    """The cursor that a request for a following page carries, else ""."""
    if vendor not in VENDORS or (cursor := VENDORS[vendor].DIALECT.cursor) is None:
        return ""
    asked = dict(request.query_params)
    try:
        body = json.loads(await request.body() or b"{}")
    except ValueError:
        body = {}
    return cursor(request, asked | body if isinstance(body, dict) else asked)


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
        if repeat := _dialect(fault).repeat:
            repeat(cursor, answer)
        return True
    if fault.kind == "total_mismatch":
        names = [name for name in ("total", "totalSize", "totalResultsCount", "rowCount") if name in answer]
        for name in names:  # a Google count is an int64, written as a string
            answer[name] = type(answer[name])(int(answer[name]) + fault.options["by"])
        return bool(names)
    *parents, leaf = str(fault.options["field"]).split(".")
    rows = [
        row
        for row in _rows(_dialect(fault).rows, answer)
        if (parent := _descend(row, parents)) is not None and (fault.kind == "add_field" or leaf in parent)
    ]
    for row in rows:
        parent = _descend(row, parents) or {}
        if fault.kind == "add_field":
            parent[leaf] = fault.options["value"]
        else:
            del parent[leaf]
    return bool(rows)


def _rows(names: tuple[str, ...], answer: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name in names:
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
