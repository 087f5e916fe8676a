"""What was submitted to forms, on the day it was, with the channel that the page's address tells."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from decimal import Decimal
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from b2b_sandbox import hubspot_forms, lead_forms
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import metric
from b2b_sandbox.truth_people import UTM_MEDIUM, day_in
from b2b_sandbox.world import World

METRICS = {"form_submissions": metric("count", "form_submissions")}
CLICKED = {"gclid": "paid_search", "fbclid": "paid_social", "li_fat_id": "paid_social"}


def hubspot(world: World, connection: sqlite3.Connection, as_of: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    """Of all forms but those of comments, which HubSpot does not tell."""
    for each in hubspot_forms.submissions(connection, as_of):
        yield Fact("form_submissions", day_in(zone, each.at // 1000), channel_of(each.url), Decimal(1))


def lead_ads(vendor: str) -> Callable[[World, sqlite3.Connection, int, ZoneInfo, Money], Iterator[Fact]]:
    def facts(world: World, connection: sqlite3.Connection, as_of: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
        """Leads of ads are submissions, too; those of tests are none."""
        for each in lead_forms.leads(connection, as_of, vendor):
            if not each.is_test:
                yield Fact("form_submissions", day_in(zone, each.at // 1000), "paid_social", Decimal(1))

    return facts


def channel_of(url: str) -> str | None:
    query = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
    for name, channel in CLICKED.items():
        if name in query:
            return channel
    medium = query.get("utm_medium")
    return UTM_MEDIUM.get(medium.strip().lower(), "unknown") if medium else None
