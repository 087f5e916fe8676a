"""What counts of visits to the site, by docs/semantics.md: those of each source, and what else the property has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from b2b_sandbox import ga4
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric, metric

if TYPE_CHECKING:
    import sqlite3
    from zoneinfo import ZoneInfo

    from b2b_sandbox.world import World

MEDIUM = {
    "cpc": "paid_search", "paid_social": "paid_social", "paidsocial": "paid_social", "social_paid": "paid_social",
    "email": "email", "newsletter": "email", "organic": "organic_search", "referral": "referral", "(none)": "direct",
}  # fmt: skip
COMPONENTS = {
    "sessions": "sessions", "engagedSessions": "engaged_sessions", "newUsers": "new_users",
    "screenPageViews": "pageviews", "keyEvents": "key_events", "userEngagementDuration": "engagement_seconds",
}  # fmt: skip
METRICS: dict[str, Metric] = {
    "sessions": metric("count", "sessions"),
    "engaged_sessions": metric("count", "engaged_sessions"),
    "site_engagement_rate": metric("rate", "engaged_sessions", "sessions"),
    "pageviews": metric("count", "pageviews"),
    "key_events": metric("count", "key_events"),
    "time_on_site": metric("rate", "engagement_seconds", "sessions"),
    "new_users": metric("count", "new_users"),
    "landing_page_sessions": metric("count", "landing_page_sessions"),
}


def facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    for name, visits in ga4.visits_at(connection, now).items():
        if ga4.PROPERTIES[name][-1] != ga4.ORDINARY:
            continue
        sums: dict[tuple[str, str], int] = defaultdict(int)
        for (text, _, medium, *_), counts in visits:
            day, channel = date.fromisoformat(text), MEDIUM.get(medium.strip().lower(), "unknown")
            for field, component in COMPONENTS.items():
                sums[text, field] += counts[field]
                if counts["sessions"]:  # else there is no row
                    yield Fact(component, day, channel, Decimal(counts[field]))
            if counts["sessions"]:
                yield Fact("landing_page_sessions", day, None, Decimal(counts["sessions"]))
        for (text, field), n in sums.items():
            beside = max(ga4.estimated(name, text, field), -n)
            yield Fact(COMPONENTS[field], date.fromisoformat(text), None, Decimal(beside))
