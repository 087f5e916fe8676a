"""Google Analytics' Data API v1beta (runReport) and Admin API v1beta (accountSummaries, properties), over the world.

From the discovery documents (revisions 20261006 and 20261102) and
https://developers.google.com/analytics/devguides/reporting/data/v1, read 2026-12-01. Visits come from the clicks of ads
and e-mails, and from what a site has anyway, made of a hash of the day. Of a day that was not over 72
hours ago not all is processed. Sessions and users of a whole day are estimates, not the sum of those of its sources.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from zoneinfo import ZoneInfo

from b2b_sandbox import google
from b2b_sandbox.toolkit import Call, Dialect, Refused, Shapes, Shown, page, route

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "ga4"
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
MOST = 250_000  # rows of a page
LATE = timedelta(hours=72)
ORDINARY, ROLLUP = "PROPERTY_TYPE_ORDINARY", "PROPERTY_TYPE_ROLLUP"
PROPERTIES = {  # id -> name, currency, time zone, type
    "412345678": ("Our Company | Web", "EUR", "Europe/Berlin", ORDINARY),
    "498765432": ("Our Company | US", "USD", "America/New_York", ORDINARY),
    "455555555": ("Our Company | All", "EUR", "Europe/Berlin", ROLLUP),
}
OF_PLATFORM = {
    "google_ads": ("google", "cpc"), "microsoft_ads": ("bing", "cpc"), "linkedin_ads": ("linkedin", "paid_social"),
    "meta_ads": ("facebook", "paidsocial"), "reddit_ads": ("reddit", "Paid_Social"), "tiktok_ads": ("tiktok", "paid"),
    "x_ads": ("x", "social_paid"),
}  # fmt: skip
ANYWAY = (  # source, medium, campaign, visits of a day at most
    ("google", "organic", "(organic)", 60), ("bing", "organic", "(organic)", 9), ("(direct)", "(none)", "(direct)", 40),
    ("partner.example", "referral", "(referral)", 12), ("lists.example", "newsletter", "(not set)", 5),
    ("chat.example", "(not set)", "(not set)", 4), ("(not set)", "(not set)", "(not set)", 2), ("", "Organic", "", 2),
)  # fmt: skip
PAGES = ("/", "/pricing", "/product/überblick", "/blog/2026/roi?", "(not set)", "")
DIMENSIONS = ("date", "sessionSource", "sessionMedium", "sessionCampaignName", "landingPage")
METRICS = {
    "sessions": "TYPE_INTEGER", "engagedSessions": "TYPE_INTEGER", "newUsers": "TYPE_INTEGER",
    "totalUsers": "TYPE_INTEGER", "screenPageViews": "TYPE_INTEGER", "keyEvents": "TYPE_FLOAT",
    "userEngagementDuration": "TYPE_SECONDS",
}  # fmt: skip
ESTIMATED = ("sessions", "engagedSessions", "newUsers", "totalUsers")


class Visits(NamedTuple):
    """Of one day, source and landing page."""

    dimensions: tuple[str, ...]  # as DIMENSIONS
    counts: dict[str, int]


def routes(
    world: World, page_size: int = MOST, service_key: str = "", told: Mapping[str, Mapping[str, Any]] | None = None
) -> list[BaseRoute]:
    """The paths of one user. `page_size`: rows of a page at most; `told`: ISO day -> what the metadata of every report
    with that day says; of days that are thresholded rows of fewer than 5 sessions are withheld, and where there is an
    "(other)" row, they are rolled up into it."""
    visits = Shapes(world, visits_at)

    def summaries(call: Call) -> Shown:
        shown, cursor = page([_summary()], call.query("pageToken"), min(int(call.query("pageSize", "50")), 200))
        return {"accountSummaries": shown, **({"nextPageToken": cursor} if cursor else {})}

    def report(call: Call) -> Shown:
        name = _known(call)
        return _report(name, google.body(call.body), visits()[name], told or {}, page_size)

    at = partial(route, world, enter=partial(_enter, world))
    return [
        *google.token_routes(VENDOR, SCOPE, service_key),
        at("/v1beta/accountSummaries", summaries),
        at("/v1beta/properties/{property:int}", lambda call: _property(_known(call))),
        at("/v1beta/properties/{property:int}:runReport", report, method="POST"),
    ]


def _enter(world: World, request: Request) -> dict[str, str]:
    return google.enter(world, VENDOR, request)


def _known(call: Call) -> str:
    if (name := call.path("property")) not in PROPERTIES:
        raise Refused(google.error(403, "User does not have sufficient permissions for this property."))
    return name


def _summary() -> Shown:
    listed = [
        {"property": f"properties/{name}", "displayName": shown, "propertyType": kind, "parent": "accounts/1122334"}
        for name, (shown, _, _, kind) in PROPERTIES.items()
    ]
    return {
        "name": "accountSummaries/1122334", "account": "accounts/1122334", "displayName": "Our Company",
        "propertySummaries": listed,
    }  # fmt: skip


def _property(name: str) -> Shown:
    shown, currency, zone, kind = PROPERTIES[name]
    return {
        "name": f"properties/{name}", "parent": "accounts/1122334", "account": "accounts/1122334",
        "createTime": "2024-02-01T09:30:00.123Z", "updateTime": "2026-01-07T10:00:00Z", "displayName": shown,
        "industryCategory": "TECHNOLOGY", "timeZone": zone, "currencyCode": currency, "propertyType": kind,
        "serviceLevel": "GOOGLE_ANALYTICS_STANDARD",
    }  # fmt: skip


# -- what it makes of the world


def visits_at(connection: sqlite3.Connection, now: int) -> dict[str, list[Visits]]:
    """Property -> its visits, as far as they are processed."""
    start = connection.execute("select value from setting where name = 'start'").fetchone()[0]
    found: dict[str, list[Visits]] = {}
    for name, (_, currency, zone, kind) in PROPERTIES.items():
        if kind == ORDINARY:
            came = _came(connection, now, currency, name, date.fromisoformat(start), ZoneInfo(zone))
            found[name] = [
                _visits(name, key, n, _share(key[0], ZoneInfo(zone), now)) for key, n in sorted(came.items())
            ]
    every = [each for visits in found.values() for each in visits]
    return {name: found.get(name, every) for name in PROPERTIES}


def _came(
    connection: sqlite3.Connection, now: int, currency: str, name: str, start: date, zone: ZoneInfo
) -> dict[tuple[str, ...], int]:
    """Day, source, medium, campaign -> how many came."""
    came: dict[tuple[str, ...], int] = defaultdict(int)
    clicks = """
        select d.date_day, d.vendor, coalesce(e.payload ->> 'name', d.campaign_id), d.clicks, min(d.known_at)
        from ad_day d join ad_account a on a.vendor = d.vendor and a.id = d.account_id
        left join ad_entity e on e.vendor = d.vendor and e.level = 'campaign' and e.id = d.campaign_id
        where a.currency = ? and d.known_at <= ? group by d.vendor, d.campaign_id, d.ad_group_id, d.date_day"""
    for day, vendor, campaign, n, _ in connection.execute(clicks, (currency, now)):
        came[(day, *OF_PLATFORM.get(vendor, (vendor, "cpc")), campaign)] += n
    mails = "select created, email_campaign_id from email_event where type = 'CLICK' and visible_at <= ?"
    for at, campaign in connection.execute(mails, (now,)):
        if currency == "EUR":
            came[(_day(at, zone), "hubspot", "email", str(campaign))] += 1
    today = date.fromisoformat(_day(now, zone))
    for day in (start + timedelta(days=n) for n in range((today - start).days + 1)):
        for source, medium, campaign, most in ANYWAY:
            came[(day.isoformat(), source, medium, campaign)] += _number(name, str(day), source, medium) % (most + 1)
    return came


def _visits(name: str, key: tuple[str, ...], n: int, share: float) -> Visits:
    landing = PAGES[_number(name, *key) % len(PAGES)]
    n = int(n * share)
    engaged = n * (40 + _number("engaged", *key) % 40) // 100
    counts = {
        "sessions": n, "engagedSessions": engaged, "newUsers": n * 2 // 3, "totalUsers": n - n // 8,
        "screenPageViews": n + engaged * 2, "keyEvents": engaged // 7, "userEngagementDuration": engaged * 95 + n,
    }  # fmt: skip
    return Visits((*key, landing), counts)


def _share(day: str, zone: ZoneInfo, now: int) -> float:
    """How much of a day is processed: all of it 72 hours after its end."""
    over = datetime.combine(date.fromisoformat(day) + timedelta(days=1), time(), zone).astimezone(UTC)
    age = datetime.fromtimestamp(now / 1000, UTC) - over
    return 1.0 if age >= LATE else 0.9 if age >= timedelta(0) else 0.4


def _day(at: int, zone: ZoneInfo) -> str:
    return datetime.fromtimestamp(at / 1000, zone).date().isoformat()


def _number(*words: str) -> int:
    return int.from_bytes(hashlib.sha256("|".join(words).encode()).digest()[:4], "big")


def estimated(name: str, day: str, metric: str) -> int:
    """By how much the estimate of a whole day differs from the sum of its sources."""
    return _number("estimate", name, day, metric) % 5 - 2 if metric in ESTIMATED else 0


# -- a report


def _report(
    name: str, asked: Shown, visits: list[Visits], told: Mapping[str, Mapping[str, Any]], page_size: int
) -> Shown:
    dimensions = _names(asked, "dimensions", DIMENSIONS, 9)
    metrics = _names(asked, "metrics", tuple(METRICS), 10)
    ranges = asked.get("dateRanges", [])
    if len(ranges) != 1 or not metrics:
        raise google.invalid("A dateRange and a metric are required.")
    first, last = ranges[0]["startDate"], ranges[0]["endDate"]
    if first > last:
        raise google.invalid("The end date must not be before the start date.")
    about = {key: value for day, says in sorted(told.items()) if first <= day <= last for key, value in says.items()}
    places = [DIMENSIONS.index(each) for each in dimensions]
    sums: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in visits:
        if first <= each.dimensions[0] <= last:
            key = tuple(each.dimensions[place] for place in places)
            for metric in metrics:
                sums[key][metric] += each.counts[metric]
    if dimensions == ["date"]:
        for (day,), counts in sums.items():
            counts |= {metric: max(n + estimated(name, day, metric), 0) for metric, n in counts.items()}
    rows = [row for row in _kept(sums, dimensions, told).items() if any(row[1].values())]
    rows.sort(key=lambda row: row[0] if asked.get("orderBys") else (-row[1][metrics[0]],))  # else its order may change
    limit, offset = int(asked.get("limit", 10_000)), int(asked.get("offset", 0))
    if limit <= 0:
        raise google.invalid("Limit must be positive.")
    shown = rows[offset : offset + min(limit, page_size, MOST)]
    _, currency, zone, _ = PROPERTIES[name]
    left = {"tokensPerDay": 199_987, "tokensPerHour": 39_987, "concurrentRequests": 10,
            "serverErrorsPerProjectPerHour": 10, "potentiallyThresholdedRequestsPerHour": 120,
            "tokensPerProjectPerHour": 13_987}  # fmt: skip
    quota = {key: {"consumed": 13 if "tokens" in key else 0, "remaining": n} for key, n in left.items()}
    return {
        "dimensionHeaders": [{"name": each} for each in dimensions],
        "metricHeaders": [{"name": each, "type": METRICS[each]} for each in metrics],
        **({"rows": [_row(key, counts, metrics) for key, counts in shown]} if shown else {}),
        **({"rowCount": len(rows)} if rows else {}),
        "metadata": {"currencyCode": currency, "timeZone": zone, **about},
        **({"propertyQuota": quota} if asked.get("returnPropertyQuota") else {}),
        "kind": "analyticsData#runReport",
    }  # fmt: skip


def _kept(
    sums: dict[tuple[str, ...], dict[str, int]], dimensions: list[str], told: Mapping[str, Mapping[str, Any]]
) -> dict[tuple[str, ...], dict[str, int]]:
    """The rows without those that are withheld, and with those that are rolled up."""
    kept: dict[tuple[str, ...], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for key, counts in sums.items():
        says = told.get(key[dimensions.index("date")], {}) if "date" in dimensions else {}
        is_rare = len(dimensions) > 1 and counts.get("sessions", 0) < 5
        if is_rare and says.get("subjectToThresholding"):
            continue
        if is_rare and says.get("dataLossFromOtherRow"):
            key = tuple(cell if of == "date" else "(other)" for cell, of in zip(key, dimensions, strict=True))
        for metric, n in counts.items():
            kept[key][metric] += n
    return kept


def _row(key: tuple[str, ...], counts: Mapping[str, int], metrics: list[str]) -> Shown:
    cells = [cell.replace("-", "") if n == 0 and len(cell) == 10 else cell for n, cell in enumerate(key)]
    return {
        "dimensionValues": [{"value": cell} for cell in cells],
        "metricValues": [{"value": str(counts[each])} for each in metrics],
    }


def _names(asked: Shown, kind: str, known: tuple[str, ...], most: int) -> list[str]:
    names = [str(each.get("name")) for each in asked.get(kind, [])]
    if unknown := [name for name in names if name not in known]:
        raise google.invalid(
            f"Field {unknown[0]} is not a valid {kind[:-1]}. For a list of valid dimensions and metrics, see "
            "https://developers.google.com/analytics/devguides/reporting/data/v1/api-schema"
        )
    if len(names) > most:
        raise google.invalid(f"Requests are limited to {most} {kind}.")
    return names


# -- what goes wrong


def _throttled(wait: int | None, daily: bool) -> Response:
    if daily:
        return google.error(429, "Exhausted property tokens per day. These quota tokens will return in under 24 hours.")
    if wait is None:
        return google.error(429, "Exhausted concurrent requests quota. Please send fewer requests concurrently.")
    retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{wait}s"}
    return google.error(429, "Resource has been exhausted (e.g. check quota).", [retry])


DIALECT = Dialect(
    throttled=_throttled,
    platform_throttled=google.platform_throttled,
    broken=lambda: google.error(500),
    expired=google.expired,
    missing_scope=google.missing_scope,
    rows=("rows", "accountSummaries"),
    token_route=True,
    announces_totals=True,
)
