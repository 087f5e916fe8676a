"""What counts of searches, by docs/semantics.md: of the site as a whole, with those whose query is told of nobody."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING

from b2b_sandbox import search_console
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric, metric

if TYPE_CHECKING:
    import sqlite3
    from zoneinfo import ZoneInfo

    from b2b_sandbox.world import World

SITES = ("sc-domain:ourcompany.example", "https://shop.partner.example/")  # verified, and not within another one
METRICS: dict[str, Metric] = {
    "search_impressions": metric("count", "search_impressions"),
    "search_clicks": metric("count", "search_clicks"),
    "search_ctr": metric("rate", "search_clicks", "search_impressions"),
    "search_average_position": metric("count", "search_positions", "search_impressions"),
}


def facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    start = date.fromisoformat(world.setting("start"))
    for site in SITES:
        for each in search_console.searches_of(site, start, now):
            day = date.fromisoformat(each.day)
            for component, n in (
                ("search_impressions", each.impressions),
                ("search_clicks", each.clicks),
                ("search_positions", each.positions),
            ):
                yield Fact(component, day, "organic_search", Decimal(n))
