"""What counts by sources that the demo does not read: their metrics, and the facts of each."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from zoneinfo import ZoneInfo

from b2b_sandbox import truth_behaviour, truth_web
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import Metric
from b2b_sandbox.world import World

MONEY: set[str] = set()  # components of money
METRICS: dict[str, Metric] = {
    **truth_web.METRICS,
    **truth_behaviour.METRICS,
}
# Source -> its facts, as they could be known at a moment (ms), on days of a time zone.
FACTS: dict[str, Callable[[World, sqlite3.Connection, int, ZoneInfo, Money], Iterable[Fact]]] = {
    "collector": truth_web.facts,
    "clarity": truth_behaviour.facts,
}
