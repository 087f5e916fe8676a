"""What all calls to the Salesforce API have in common: sizes, versions, sessions, the daily allowance, errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.routing import BaseRoute, Route

from b2b_sandbox import dialects, tokens
from b2b_sandbox.soql import SoqlError
from b2b_sandbox.toolkit import DAY, Meter

if TYPE_CHECKING:
    from starlette.requests import Request

    from b2b_sandbox.world import World

OLDEST, NEWEST = 31, 68  # 21.0 to 30.0 were retired in Summer '25
MAX_URI_BYTES = 16_384  # also of URI and headers together


class SalesforceError(Exception):
    """An answer of Salesforce's error dialect."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Call:
    """A request that was let through. `version` is that of its path: "67.0"."""

    request: Request
    version: str
    body: bytes

    def path(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])


Handler = Callable[[Call], Response]


def not_found() -> SalesforceError:
    return SalesforceError(404, "NOT_FOUND", "The requested resource does not exist")


class Gate:
    """Lets a request through to its handler, or answers it as Salesforce does."""

    def __init__(self, world: World, daily_requests: int) -> None:
        self.world = world
        self.allowance = Meter(daily_requests, DAY)

    def routes(self, path: str, handler: Handler, *methods: str) -> list[BaseRoute]:
        """A data path of any version, with and without a slash at its end."""

        async def endpoint(request: Request) -> Response:
            return await run_in_threadpool(self._answer, request, await request.body(), handler)

        path = "/services/data/v{version}" + path
        return [Route(end, endpoint, methods=list(methods) or ["GET"]) for end in (path, f"{path}/")]

    def _answer(self, request: Request, body: bytes, handler: Handler) -> Response:
        if too_long := _too_long(request):
            return too_long
        try:
            version = _version(request.path_params["version"])
            if tokens.problem(self.world, "salesforce", tokens.bearer(request)):
                raise SalesforceError(401, "INVALID_SESSION_ID", "Session expired or invalid")
            if not self.allowance.take():
                raise SalesforceError(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded.")
            answer = handler(Call(request, version, body))
        except SalesforceError as error:
            answer = dialects.salesforce(error.status, error.code, str(error))
        except SoqlError as error:
            answer = dialects.salesforce(400, error.code, str(error))
        if answer.status_code != 401:
            answer.headers["Sforce-Limit-Info"] = f"api-usage={self.allowance.used()}/{self.allowance.most}"
        return answer


def _too_long(request: Request) -> Response | None:
    """https://help.salesforce.com/s/articleView?id=000386264&type=1"""
    uri = len(request.scope["raw_path"]) + len(request.scope["query_string"])
    headers = sum(len(name) + len(value) for name, value in request.headers.raw)
    for size, status, reason in ((uri, 414, "URI Too Long"), (uri + headers, 431, "Request Header Fields Too Large")):
        if size > MAX_URI_BYTES:
            return HTMLResponse(f"<h1>Bad Message {status}</h1><pre>reason: {reason}</pre>", status)
    return None


def _version(text: str) -> str:
    number, _, minor = text.partition(".")
    if minor != "0" or not number.isdecimal() or int(number) > NEWEST:
        raise not_found()
    if int(number) < OLDEST:
        raise SalesforceError(410, "GONE", f"API version {text} is retired and no longer available")
    return text
