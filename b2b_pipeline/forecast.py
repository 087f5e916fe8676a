"""What a backfill will ask of the vendors, told before it starts: calls, share of the daily quota, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Stream
from b2b_pipeline.landing import Landing

SECONDS_PER_CALL = 0.6  # a usual round trip of a full page; what comes sooner comes sooner


@dataclass(frozen=True)
class Forecast:
    """One source. `quota` is the vendor's calls a day, None where it has none or does not say."""

    source: str
    days: int
    calls: int
    quota: int | None

    @property
    def seconds(self) -> float:
        return self.calls * SECONDS_PER_CALL


def forecast(source: str, ranges: Sequence[tuple[date, date]], landing: Landing, configured: Sequence[str]) -> Forecast:
    """Calls for the ranges (both ends included): one a page, pages by the rows a day that landing has seen so far."""
    vendor = SOURCES[source]
    days = sum((end - start).days + 1 for start, end in ranges)
    calls = sum(_calls(landing, source, stream, ranges, configured) for stream in vendor.streams)
    return Forecast(source, days, calls, vendor.daily_calls)


def _calls(landing: Landing, source: str, stream: Stream, ranges: Sequence[tuple[date, date]], configured: Sequence[str]) -> int:
    slices = landing.slices(source, stream.name)
    accounts = {item.account["id"] for item in slices} or set(configured) or {""}
    calls = 0
    for start, end in ranges:
        days = (end - start).days + 1
        conversations = ceil(days / stream.policy.max_days)
        calls += len(accounts) * conversations
        if slices:
            seen = sum((date.fromisoformat(item.end) - date.fromisoformat(item.start)).days for item in slices)
            rows_a_day = sum(item.records for item in slices) / max(seen, 1) * len(accounts)
            calls += int(rows_a_day * days / stream.page_size)
    return calls
