"""Google's Search Console API: sites and searchAnalytics.query, over the days of the world.

From the discovery document (v1, revision 20260805) and https://developers.google.com/webmaster-tools/v1, read
2026-12-01; words of enumerations are as recorded answers have them. The world knows no searches: their numbers are made
of a hash of the day. A day is counted to its end 60 hours after it is over in Pacific time, and told from six hours
after its beginning on.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from starlette.responses import JSONResponse

from b2b_sandbox import google
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shown, route

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "search_console"
SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
PACIFIC = ZoneInfo("America/Los_Angeles")
COUNTED, TOLD = timedelta(hours=60), timedelta(hours=6)
MOST = 25_000
SITES = {
    "sc-domain:ourcompany.example": "siteOwner", "https://www.ourcompany.example/": "siteFullUser",
    "https://shop.partner.example/": "siteRestrictedUser", "https://old.example/": "siteUnverifiedUser",
}  # fmt: skip
QUERIES = ("our company", "b2b pipeline", "überblick kosten", "dagster", '"exact" words', "=formula", "что это", "a")
PAGES = ("", "pricing", "blog/2026/roi?utm_source=x", "produkt/überblick")
DIMENSIONS = ("DATE", "QUERY", "PAGE", "COUNTRY", "DEVICE")


class Searches(NamedTuple):
    """Of a day, a query and a page; of queries that are told of nobody `query` is None."""

    day: str
    query: str | None
    page: str
    impressions: int
    clicks: int
    positions: int  # summed over the impressions


def routes(world: World, page_size: int = MOST, service_key: str = "") -> list[BaseRoute]:
    """The paths of one user. `page_size`: rows of a page at most."""

    def query(call: Call) -> Shown:
        site = call.path("site")
        if SITES.get(site, "siteUnverifiedUser") == "siteUnverifiedUser":
            raise Refused(_forbidden(site))
        start = date.fromisoformat(world.setting("start"))
        return _answer(google.body(call.body), site, start, call.now, page_size)

    def enter(request: Request) -> dict[str, str]:
        return google.enter(world, VENDOR, request)

    listed = {"siteEntry": [{"siteUrl": site, "permissionLevel": level} for site, level in SITES.items()]}
    at = partial(route, world, enter=enter)
    return [
        *google.token_routes(VENDOR, SCOPE, service_key),
        at("/webmasters/v3/sites", lambda call: listed),
        at("/webmasters/v3/sites/{site:path}/searchAnalytics/query", query, method="POST"),
    ]


def searches_of(site: str, start: date, now: int, first: str = "", last: str = "9") -> Iterator[Searches]:
    """Of every day of the world from `first` to `last`, as far as it is counted."""
    today = datetime.fromtimestamp(now / 1000, PACIFIC).date()
    for day in (start + timedelta(days=n) for n in range((today - start).days + 1)):
        if not first <= str(day) <= last:
            continue
        share = _share(day, now)
        for number, query in enumerate((*QUERIES, None)):
            page = PAGES[_number(site, str(query)) % len(PAGES)]
            shown = int((_number(site, str(day), str(query)) % (90 // (number + 1) + 2)) * share)
            if shown:
                clicks = shown * (_number("clicks", str(day), str(query)) % 30) // 100
                positions = shown * (1 + number) + _number("position", str(day), str(query)) % (shown * 3)
                yield Searches(str(day), query, page, shown, clicks, positions)


def _share(day: date, now: int) -> float:
    begins, ends = (datetime.combine(each, time(), PACIFIC) for each in (day, day + timedelta(days=1)))
    at = datetime.fromtimestamp(now / 1000, UTC)
    return 1.0 if at >= ends + COUNTED else 0.7 if at >= begins + TOLD else 0.0


def first_incomplete(now: int) -> date:
    today = datetime.fromtimestamp(now / 1000, PACIFIC).date()
    return next(day for n in range(9, -2, -1) if _share(day := today - timedelta(days=n), now) < 1)


def _number(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:4], "big")


def _answer(asked: dict[str, Any], site: str, start: date, now: int, page_size: int) -> Shown:
    dimensions = [str(name).upper() for name in asked.get("dimensions", [])]
    first, last, limit = asked.get("startDate", ""), asked.get("endDate", ""), int(asked.get("rowLimit", 1000))
    if first > last or not 1 <= limit <= MOST or not {*dimensions} <= {*DIMENSIONS}:
        raise google.invalid("Request contains an invalid argument.")
    is_all = str(asked.get("dataState", "FINAL")).upper() == "ALL"
    until = first_incomplete(now).isoformat()
    sums: dict[tuple[str, ...], list[int]] = defaultdict(lambda: [0, 0, 0])
    for each in searches_of(site, start, now, first, last):
        if each.day >= until and not is_all:
            continue
        if "QUERY" in dimensions and each.query is None:
            continue
        address = f"https://www.{site.rpartition(':')[2].strip('/').rpartition('/')[2]}/{each.page}"
        cells = {"DATE": each.day, "QUERY": each.query or "", "PAGE": address, "COUNTRY": "deu", "DEVICE": "DESKTOP"}
        found = sums[tuple(cells[name] for name in dimensions)]
        for place, n in enumerate((each.clicks, each.impressions, each.positions)):
            found[place] += n
    rows = sorted(sums.items(), key=lambda row: (row[0],) if dimensions == ["DATE"] else (-row[1][0], row[0]))
    begin = int(asked.get("startRow", 0))
    shown = [
        {"keys": [*key], "clicks": float(clicks), "impressions": float(n), "ctr": clicks / n, "position": at / n}
        for key, (clicks, n, at) in rows[begin : begin + min(limit, page_size)]
    ]
    about = {"metadata": {"firstIncompleteDate": until}} if is_all and "DATE" in dimensions and last >= until else {}
    by = "byPage" if "PAGE" in dimensions else "byProperty"
    return {**({"rows": shown} if shown else {}), "responseAggregationType": by, **about}


# -- what goes wrong


def _older(status: int, reason: str, message: str) -> Response:
    """An error as the older APIs of Google have them."""
    told = {"message": message, "domain": "global" if status == 403 else "usageLimits", "reason": reason}
    return JSONResponse({"error": {"code": status, "message": message, "errors": [told]}}, status)


def _forbidden(site: str) -> Response:
    more = "See also: https://support.google.com/webmasters/answer/2451999."
    return _older(403, "forbidden", f"User does not have sufficient permission for site '{site}'. {more}")


def _throttled(wait: int | None, daily: bool) -> Response:
    if daily:
        return _older(403, "quotaExceeded", "Search Analytics load quota exceeded. Learn about usage limits.")
    answer = _older(429, "rateLimitExceeded", "Rate Limit Exceeded")
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    platform_throttled=google.platform_throttled,
    broken=lambda: google.error(500),
    expired=google.expired,
    missing_scope=google.missing_scope,
    rows=("rows", "siteEntry"),
    token_route=True,
)
