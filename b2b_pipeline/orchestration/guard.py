"""The door of the local Dagster UI: only its own page gets in.

Dagster's webserver has no authentication and executes mutations sent by GET, and every web page that is open on this
machine can send requests to 127.0.0.1. A page cannot hide where it comes from, though: browsers say so in `Origin`,
`Host` and `Sec-Fetch-Site` (w3.org/TR/fetch-metadata). docker/nginx.conf.template does the same for the containers.
"""

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
HEADERS = {
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Guard:
    """Wraps the whole ASGI application that answers on `port` of the loopback interface."""

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        self._hosts = {f"{name}:{port}" for name in LOOPBACK} | (set(LOOPBACK) if port == 80 else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = None if scope["type"] == "lifespan" else self.refusal(scope)
        if refused is None:
            await self._app(scope, receive, _with_headers(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})  # before accept: HTTP 403
        else:
            status, why = refused
            await PlainTextResponse(f"{why}\n", status)(scope, receive, _with_headers(send))

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason of a request that nothing but our own page may send; None for one that may pass."""
        headers, is_http = Headers(scope=scope), scope["type"] == "http"
        method = scope["method"] if is_http else "GET"
        asks_graphql = "graphql" in scope["path"].lower().split("/")
        hosts = headers.getlist("host")
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return 421, "this name is not ours: a name of another site points at this machine"
        if any(origin.lower() != f"http://{hosts[0].lower()}" for origin in headers.getlist("origin")):
            return 403, "a page of another origin may not speak to the Dagster UI"
        is_link = is_http and method == "GET" and not asks_graphql and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and not is_link:
            return 403, "a page of another site may not speak to the Dagster UI"
        if is_http and asks_graphql and method != "POST":
            return 405, "GraphQL is POST only: a GET could be a mutation that an image or a link fires"
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if method not in ("GET", "HEAD") and kind != "application/json":
            return 415, "Content-Type: application/json, which a page's form cannot send"
        return None


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message).update(HEADERS)
        await send(message)

    return sending
