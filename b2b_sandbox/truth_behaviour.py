"""What a recorder of sessions could tell, asked now: of the last 24 hours, which are taken for yesterday."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox.clarity import DAY_MS, SIGNALS, depth, signals, visits_of, within
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric, metric
from b2b_sandbox.world import World

NAMES = {
    "dead_clicks": "DeadClickCount", "rage_clicks": "RageClickCount", "excessive_scrolls": "ExcessiveScroll",
    "quickbacks": "QuickbackClick", "script_errors": "ScriptErrorCount", "error_clicks": "ErrorClickCount",
}  # fmt: skip
METRICS: dict[str, Metric] = {
    **{name: metric("count", name) for name in NAMES},
    "recorded_sessions": metric("count", "recorded_sessions"),
    "average_scroll_depth": metric("rate", "scroll_depth_sum", "100*recorded_sessions"),
    "dead_clicks_per_session": metric("rate", "dead_clicks", "recorded_sessions"),
    "rage_clicks_per_session": metric("rate", "rage_clicks", "recorded_sessions"),
}
assert SIGNALS.keys() == {*NAMES.values()}


def facts(world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money) -> Iterator[Fact]:
    day = datetime.fromtimestamp(now / 1000, UTC).astimezone(zone).date() - timedelta(days=1)
    found = [visit for visit in within(visits_of(connection), (now - DAY_MS, now)) if not visit.is_bot]
    for name, its in NAMES.items():
        yield Fact(name, day, None, Decimal(sum(signals(visit, its) for visit in found)))
    yield Fact("recorded_sessions", day, None, Decimal(len(found)))
    average = Decimal(str(round(sum(map(depth, found)) / (len(found) or 1), 2)))  # which is what is told
    yield Fact("scroll_depth_sum", day, None, average * len(found))
