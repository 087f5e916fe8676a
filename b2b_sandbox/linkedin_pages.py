"""LinkedIn's Community Management API: pages that a member administers, and what became of their posts by day.

From https://learn.microsoft.com/linkedin/marketing/community-management/organizations/share-statistics (version
2026-03), read 2026-12-01. The newest days may not be told yet (`lag`); the member is no administrator of every page.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.responses import Response
from starlette.routing import Route

from b2b_sandbox import linkedin_ads, tokens
from b2b_sandbox.generate_base import DAY
from b2b_sandbox.linkedin_ads import error, refused, throttled, unauthorized
from b2b_sandbox.toolkit import Call, Dialect, Shown, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "linkedin_pages"
OURS = ("urn:li:organization:2414183", "urn:li:organizationBrand:5590506")
SPAN = re.compile(r"\(timeRange:\(start:(\d+),end:(\d+)\),timeGranularityType:DAY\)")


def routes(world: World, lag: int = 0, page_size: int = 1000) -> list[BaseRoute]:
    """The paths of one app and one member. `lag`: days before the clock's that are not told yet."""

    async def token(request: Request) -> Response:
        return linkedin_ads.give_token(await tokens.form(request), VENDOR, "rw_organization_admin")

    def roles(call: Call) -> Shown:
        if call.query("q") != "roleAssignee":
            raise refused(400, "QUERY_PARAM_NOT_ALLOWED", "Invalid query parameters passed to request")
        role = {"role": "ADMINISTRATOR", "state": "APPROVED", "roleAssignee": "urn:li:person:A1b2C3"}
        found = [role | {"organization": of} for of in OURS]
        return _listed(call, found, page_size)

    def statistics(call: Call) -> Shown:
        given = dict(part.partition("=")[::2] for part in call.request.url.query.split("&"))
        entity, span = unquote(given.get("organizationalEntity", "")), SPAN.fullmatch(given.get("timeIntervals", ""))
        if ":" in given.get("organizationalEntity", ":") or span is None or call.query("q") != "organizationalEntity":
            raise refused(400, "ILLEGAL_ARGUMENT", "Parameter 'timeIntervals' is invalid")
        if entity not in OURS:
            raise refused(403, "ACCESS_DENIED", "Member does not have permission to read statistics of the entity")
        start, end = (int(at) for at in span.groups())
        if end - start < DAY:
            raise refused(400, "INVALID_TIME_RANGE", "DAY granularity needs a range of at least a day")
        told = call.now // DAY * DAY - lag * DAY
        days = range(start // DAY * DAY, min(end, told), DAY)
        return _listed(call, [_shown(entity, at, call.now) for at in days if at >= call.now - 365 * DAY], page_size)

    def size(call: Call) -> Shown:
        if call.query("edgeType") != "COMPANY_FOLLOWED_BY_MEMBER":
            raise refused(400, "INVALID_VALUE_FOR_FIELD", "Field edgeType is invalid")
        if call.path("entity") not in OURS:
            raise refused(403, "ACCESS_DENIED", "Member does not have permission to read the entity")
        return {"firstDegreeSize": followers(call.path("entity"), call.now)}

    at = partial(route, world, enter=partial(linkedin_ads.enter, world, vendor=VENDOR))
    return [
        Route("/oauth/v2/authorization", tokens.consent(VENDOR)),
        Route("/oauth/v2/accessToken", token, methods=["POST"]),
        at("/rest/organizationAcls", roles),
        at("/rest/organizationalEntityShareStatistics", statistics),
        at("/rest/networkSizes/{entity}", size),
    ]


def _listed(call: Call, found: list[Shown], page_size: int) -> Shown:
    start, count = int(call.query("start", "0")), page_size
    links = []
    if start + count < len(found):
        query = re.sub(r"&start=\d+", "", call.request.url.query)
        links = [{"rel": "next", "type": "application/json", "href": f"{_path(call)}?{query}&start={start + count}"}]
    return {"paging": {"start": start, "count": count, "links": links}, "elements": found[start : start + count]}


def _path(call: Call) -> str:
    return "/rest/" + call.request.url.path.rpartition("/rest/")[2]


def counts(entity: str, day: date, now: int) -> dict[str, int]:
    """What is known of a day at a moment: some more comes in the two days after it."""
    late = datetime.fromtimestamp(now / 1000, UTC).date() - day < timedelta(days=2)
    base = 100 + _number(entity, day) % 900 - (7 if late else 0)
    return {
        "impressionCount": base, "uniqueImpressionsCount": base * 7 // 10, "clickCount": base // 20,
        "likeCount": base // 40, "commentCount": base // 150, "shareCount": base // 300,
    }  # fmt: skip


def followers(entity: str, now: int) -> int:
    """Some come and some leave, at noon of UTC."""
    days = (now + DAY // 2) // DAY
    return 3000 + _number(entity) % 900 + days % 1000 * 3 + _number(entity, "followers", days) % 11


def _shown(entity: str, at: int, now: int) -> Shown:
    found = counts(entity, datetime.fromtimestamp(at / 1000, UTC).date(), now)
    acted = sum(found[name] for name in ("clickCount", "likeCount", "commentCount", "shareCount"))
    total = {**found, "engagement": acted / found["impressionCount"]}
    return {"organizationalEntity": entity, "timeRange": {"start": at, "end": at + DAY}, "totalShareStatistics": total}


def _number(*what: object) -> int:
    return int.from_bytes(sha256(" ".join(map(str, what)).encode()).digest()[:6])


DIALECT = Dialect(
    throttled=throttled,
    broken=lambda: error(500, "INTERNAL_SERVER_ERROR", "Internal Server Error"),
    expired=partial(unauthorized, "expired"),
    missing_scope=lambda scope: error(403, "ACCESS_DENIED", f"Not enough permissions to access: {scope}", 100),
    rows=("elements",),
    token_route=True,
)
