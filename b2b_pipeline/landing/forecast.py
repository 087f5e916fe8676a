"""What a backfill will ask of the vendors, told before it starts: calls, share of the daily quota, time."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from math import ceil

from b2b_pipeline.configuration.config import Config, SourceConfig
from b2b_pipeline.connectors.base import OF_NOW, Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse.read import through
from b2b_pipeline.landing.store import Landing, Slice

SECONDS_PER_CALL = 0.6  # a usual round trip of a full page; what comes sooner comes sooner
OPENING_CALLS = 2  # of every run of a stream: to log in, and to ask for the accounts


@dataclass(frozen=True)
class Forecast:
    """One source. `quota`: the vendor's calls a day, None where it has none or does not say.

    `is_minimum`: nothing has landed yet that would tell how many rows a day has.
    """

    source: str
    days: int
    calls: int
    quota: int | None
    is_minimum: bool

    @property
    def seconds(self) -> float:
        return self.calls * SECONDS_PER_CALL


def forecast(source: str, runs: Sequence[tuple[date, date]], landing: Landing, config: Config) -> Forecast:
    """Calls of runs over these days (both ends included): one a page, pages by the rows that landing has seen so far.

    A source that has not landed yet has the accounts that the configuration names.
    """
    vendor, settings = through(SOURCES[source], config), config.sources[source]
    streams = vendor.switched_on(config)
    slices = {stream.name: landing.slices(source, stream.name) for stream in streams}
    accounts = {item.account["id"] for found in slices.values() for item in found} or set(settings.accounts) or {""}
    calls = sum(_calls(stream, slices[stream.name], accounts, runs) for stream in streams)
    days = sum(_days(*run) for run in runs)
    return Forecast(source, days, calls, _quota(vendor.daily_calls, settings), not any(slices.values()))


def _quota(daily: int | Mapping[str, int | None] | None, settings: SourceConfig) -> int | None:
    """Calls a day at the level of access that the configuration names; without one, at the first level."""
    if not isinstance(daily, Mapping):
        return daily
    return daily.get(settings.options.get("access", next(iter(daily))))


def _calls(
    stream: Stream, slices: Sequence[Slice], accounts: Collection[str], runs: Sequence[tuple[date, date]]
) -> int:
    """Of one stream. An account is asked for at most `max_days` at once, and for a page at least."""
    newest = {item.account["id"]: item.records for item in slices}
    a_list = sum(newest.values()) / max(len(newest), 1)
    covered = sum((date.fromisoformat(item.end) - date.fromisoformat(item.start)).days for item in slices)
    a_day = sum(item.records for item in slices) / max(covered, 1)
    calls = 0
    for run in runs:
        questions = ceil(_days(*run) / stream.policy.max_days)
        rows = a_list * questions if stream.kind in OF_NOW else a_day * _days(*run)
        calls += OPENING_CALLS + len(accounts) * (questions + int(rows / stream.page_size))
    return calls


def _days(first: date, last: date) -> int:
    return (last - first).days + 1
