"""YouTube's Analytics and Data APIs: a channel, and reports of it by day in Pacific time.

From https://developers.google.com/youtube/analytics/reference/reports/query and …/youtube/v3/docs/channels, read
2026-12-01. The most recent days are not told, nor are days without anything.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "youtube"
CHANNEL = "UC_x5XG1OV2P6uZZ5FSM9Ttw"
TOKEN_LIFETIME = 3600.0
METRICS = ("views", "likes", "comments", "shares")
LAG = 2  # days


def routes(world: World, has_channel: bool = True) -> list[BaseRoute]:
    """The paths of one user."""

    async def token(request: Request) -> Response:
        return _token(await tokens.form(request))

    def channels(call: Call) -> Shown:
        if call.query("mine") != "true" or call.query("part") != "snippet":
            raise Refused(_error(400, "missingRequiredParameter", "No filter selected."))
        snippet = {"title": "Our Channel", "publishedAt": "2019-03-04T05:06:07Z", "country": "DE"}
        item = {"kind": "youtube#channel", "etag": "x", "id": CHANNEL, "snippet": snippet}
        more = {"items": [item]} if has_channel else {}
        return {"kind": "youtube#channelListResponse", "etag": "x", "pageInfo": {"totalResults": 1}, **more}

    def reports(call: Call) -> Shown:
        names = ["day", *call.query("metrics").split(",")]
        if call.query("dimensions") != "day" or not set(names[1:]) <= {*METRICS}:
            raise Refused(_error(400, "badRequest", "The query is not supported."))
        if call.query("ids") not in (f"channel=={CHANNEL}", "channel==MINE"):
            raise Refused(_error(403, "forbidden", "Forbidden"))
        first, last = (date.fromisoformat(call.query(name)) for name in ("startDate", "endDate"))
        here = datetime.fromtimestamp(call.now / 1000, UTC).astimezone(ZoneInfo("America/Los_Angeles")).date()
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        found = [(day, counts(day)) for day in days if day < here - timedelta(days=LAG)]
        table = [[str(day), *(told[name] for name in names[1:])] for day, told in found if told["views"]]
        headers = [
            {"name": name, "columnType": "METRIC" if n else "DIMENSION", "dataType": "INTEGER" if n else "STRING"}
            for n, name in enumerate(names)
        ]
        shown: Shown = {"kind": "youtubeAnalytics#resultTable", "columnHeaders": headers}
        return shown | ({"rows": table} if table else {})

    at = partial(route, world, enter=partial(_enter, world))
    return [
        Route("/o/oauth2/v2/auth", tokens.consent(VENDOR, ("access_type", "offline"))),
        Route("/token", token, methods=["POST"]),
        at("/youtube/v3/channels", channels),
        at("/v2/reports", reports),
    ]


def counts(day: date) -> dict[str, int]:
    views = int.from_bytes(sha256(day.isoformat().encode()).digest()[:4]) % 400
    views = 0 if views < 20 else views
    return {"views": views, "likes": views // 25, "comments": views // 90, "shares": views // 120}


def _enter(world: World, request: Request) -> dict[str, str]:
    if tokens.problem(world, VENDOR, tokens.bearer(request)):
        raise Refused(_expired())
    return {}


def _token(fields: dict[str, str]) -> Response:
    if problem := tokens.grant_problem(VENDOR, fields, ("refresh_token", "authorization_code")):
        return JSONResponse({"error": problem, "error_description": "Bad Request"}, 401 if "client" in problem else 400)
    return JSONResponse({
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "expires_in": int(TOKEN_LIFETIME) - 1,
        "scope": "https://www.googleapis.com/auth/yt-analytics.readonly", "token_type": "Bearer",
        **tokens.lasting(fields),
    })  # fmt: skip


# -- what goes wrong, in YouTube's words


def _error(status: int, reason: str, message: str) -> Response:
    listed = [{"message": message, "domain": "global", "reason": reason}]
    return JSONResponse({"error": {"code": status, "message": message, "errors": listed}}, status)


def _expired() -> Response:
    return _error(401, "authError", "Invalid Credentials")


def _throttled(wait: int | None, daily: bool) -> Response:
    return _error(403, "quotaExceeded" if daily else "rateLimitExceeded", "Quota exceeded.")


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "backendError", "Backend Error"),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "insufficientPermissions", "Insufficient Permission"),
    rows=("items", "rows"),
    token_route=True,
)
