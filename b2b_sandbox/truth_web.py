"""What counts of the visits to the site: by docs/semantics.md, from the visits as they were."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox.collector import HOST, Step, visits
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric, metric
from b2b_sandbox.truth_people import UTM_MEDIUM, day_in
from b2b_sandbox.world import World

METRICS: dict[str, Metric] = {
    "visits": metric("count", "visits"),
    "engaged_visits": metric("count", "engaged_visits"),
    "visit_engagement_rate": metric("rate", "engaged_visits", "visits"),
    "visitors": metric("count", "visitors", is_distinct=True),
    "visit_pageviews": metric("count", "visit_pageviews"),
    "time_per_visit": metric("rate", "visit_seconds", "visits"),
    "visit_form_submissions": metric("count", "visit_form_submissions"),
    "form_conversion_rate": metric("rate", "visit_form_submissions", "visits"),
}
BY_CLICK = {"gclid": "paid_search", "fbclid": "paid_social", "li_fat_id": "paid_social"}
BY_SITE = {
    "www.google.com": "organic_search", "duckduckgo.com": "organic_search", "www.bing.com": "organic_search",
    "www.linkedin.com": "organic_social", "news.partner.example": "referral", HOST: "direct", None: "direct",
}  # fmt: skip


def facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    for visit in visits(connection):
        known = [step for step in visit.steps if step.received <= now]
        if not known or visit.is_bot or visit.visitor is None:
            continue
        first = min(known, key=_happened)
        day, views = day_in(zone, _happened(first) // 1000), [step for step in known if step.kind == "page_view"]
        channel, one = _channel(min(views, key=_happened) if views else first), Decimal(1)
        seconds = Decimal(sum(step.said.get("engaged_ms", 0) for step in known)) / 1000
        forms = [step for step in known if step.kind == "form_submit"]
        yield Fact("visits", day, channel, one)
        if len(views) > 1 or forms or seconds >= 10:
            yield Fact("engaged_visits", day, channel, one)
        yield Fact("visitors", day, channel, one, visit.visitor)
        yield Fact("visit_pageviews", day, channel, Decimal(len(views)))
        yield Fact("visit_seconds", day, channel, seconds)
        for form in forms:
            yield Fact("visit_form_submissions", day_in(zone, _happened(form) // 1000), channel, one)


def _happened(step: Step) -> int:
    """By the client's clock, where it is right."""
    return step.received if step.is_skewed else step.at


def _channel(step: Step) -> str:
    said = step.said
    if "click_id" in said:
        return BY_CLICK[said["click_id"]]
    if {"utm_source", "utm_medium", "utm_campaign"} & said.keys():
        return UTM_MEDIUM.get(str(said.get("utm_medium")).lower(), "unknown")
    return BY_SITE[said.get("referrer")]
