"""Which days of what components are made of are not whole, as coverage tells, and why."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any

from sqlalchemy import Connection, func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.blanks import BLANK
from b2b_pipeline.derived.coverage import FX, amounts_behind, streams_behind
from b2b_pipeline.metrics.registry import COMPONENTS
from b2b_pipeline.warehouse.tables import coverage


@dataclass(frozen=True)
class Gaps:
    """Incomplete days, and the first and last day of what can be known; None where nothing is read.

    days: day, why, and whether it lies beyond what the only file tells: that counts when a range is asked for. In the
    order of the days.
    """

    days: list[tuple[date, str, bool]]
    first: date | None
    last: date | None
    today: date
    from_start: bool  # whether `first` is the start of the history, and not the first row of a file

    def reasons(self, start: date | None, end: date | None) -> tuple[str, ...]:
        found = [reason for _, reason, beyond in self._between(start, end) if start or end or not beyond]
        if end and end >= self.today:
            found.append(f"{end} is not over yet")
        elif end and self.last and end > self.last:
            found.append(f"nothing was derived for {end} yet")
        if self.first and start and start < self.first:
            found.append(f"nothing is read before {'start_date ' if self.from_start else ''}{self.first}")
        return tuple(dict.fromkeys(found))

    def nothing_whole(self, start: date | None, end: date | None) -> bool:
        """Whether no day of the range was read whole; an open end is that of what was read."""
        if self.first is None or self.last is None:
            return False
        first, last = max(start or self.first, self.first), min(end or self.last, self.last)
        last = min(last, self.today - timedelta(days=1))
        gaps = {day for day, *_ in self._between(first, last)}
        return len(gaps) == max((last - first).days + 1, 0)

    @cached_property
    def known_until(self) -> date:
        """The last day of which all can be known: not today, and not those beyond the only file."""
        beyond = {day for day, _, is_beyond in self.days if is_beyond}
        day = min(self.last or date.max, self.today - timedelta(days=1))
        while day in beyond:
            day -= timedelta(days=1)
        return day

    def _between(self, start: date | None, end: date | None) -> list[tuple[date, str, bool]]:
        since = bisect_left(self._order, start) if start else 0
        return self.days[since : bisect_right(self._order, end) if end else None]

    @cached_property
    def _order(self) -> list[date]:
        return [day for day, *_ in self.days]


@dataclass(frozen=True)
class _Behind:
    """What components are made of: streams of a table, amounts converted, columns that may be empty."""

    streams: tuple[tuple[str, str, str], ...]
    amounts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]


class FoundGaps:
    """Asked of one open connection; what it has found it keeps, of all components that are made of the same."""

    def __init__(self, connection: Connection, config: Config) -> None:
        self._connection, self._config = connection, config
        self._found: dict[tuple[tuple[str, ...], bool] | _Behind, Gaps] = {}
        self._tables: dict[str, tuple[set[tuple[str, str, str]], set[tuple[str, str]]]] = {}

    def of(self, names: Sequence[str], located: bool = True) -> Gaps:
        """`located`: of their splits, too, and not of their totals alone."""
        known, key = self._found, (tuple(sorted(names)), located)
        if key not in known:
            behind = self._behind(*key)
            if behind not in known:
                known[behind] = self._find(behind)
            known[key] = known[behind]
        return known[key]

    def _behind(self, names: Sequence[str], located: bool) -> _Behind:
        streams, amounts = set[tuple[str, str, str]](), set[tuple[str, str]]()
        legs = [(name, leg) for name in names for leg in COMPONENTS[name].legs if located or not leg.located]
        for name, leg in legs:
            for table in leg.tables:
                if table not in self._tables:
                    self._tables[table] = streams_behind(table, self._config), amounts_behind(table, self._config)
                streams |= {each for each in self._tables[table][0] if _level(each) in ("", leg.level)}
                amounts |= self._tables[table][1] if COMPONENTS[name].unit == "money" else set()
        needs = (need for _, leg in legs for need in leg.needs)
        columns = {f"{need.table}.{fact}" for need in needs for fact in need.facts}
        return _Behind(tuple(sorted(streams)), tuple(sorted(amounts)), tuple(sorted(columns)))

    def _find(self, behind: _Behind) -> Gaps:
        streams = {*behind.streams}
        # A count stays whole when an amount has no exchange rate, and so does a sum of another table's money.
        keys = [*streams, *((FX, *amount) for amount in behind.amounts), *((BLANK, name) for name in behind.columns)]
        rows = (row for key in keys for row in self._lacking.get(key, ()))
        incomplete = sorted((row.date_day, row.reason or "", row.is_complete is None) for row in rows)
        spans = [self._spans[stream] for stream in streams if stream in self._spans]
        first, last = min((a for a, _ in spans), default=None), max((b for _, b in spans), default=None)
        start = self._config.start_date
        if any(source != FILES for source, _, _ in streams):  # a file may tell of days before the first that is read
            first = start
        return Gaps(
            incomplete,
            (first or start) if streams else None,
            (last or date.min) if streams else None,
            datetime.now(self._config.zone).date(),
            first in (None, start),
        )

    @cached_property
    def _lacking(self) -> dict[tuple[str, ...], list[Any]]:
        """What coverage says of days that are not complete, by what it is of: a stream and its table, amounts that have
        no exchange rate, a column with empty cells."""
        c = coverage.c
        told = select(c.source, c.stream, c.source_account, c.target_table, c.date_day, c.reason, c.is_complete)
        found: dict[tuple[str, ...], list[Any]] = defaultdict(list)
        for row in self._connection.execute(told.where(c.is_complete.is_(None) | ~c.is_complete)):
            of_rates, of_cells = (FX, row.source, row.source_account), (BLANK, row.source_account)
            key = {FX: of_rates, BLANK: of_cells}.get(row.stream, (row.source, row.stream, row.target_table))
            found[key].append(row)
        return found

    @cached_property
    def _spans(self) -> dict[tuple[str, str, str], tuple[date, date]]:
        """Source, stream and table -> the first and the last day that coverage tells of."""
        c = coverage.c
        keys = c.source, c.stream, c.target_table
        query = select(*keys, func.min(c.date_day), func.max(c.date_day)).where(c.date_day.is_not(None)).group_by(*keys)
        return {(source, stream, table): (a, b) for source, stream, table, a, b in self._connection.execute(query)}


def _level(behind: tuple[str, str, str]) -> str:
    """The only level of its table that a stream gives, if there is one."""
    source, stream, _ = behind
    return SOURCES[source].stream(stream).level if source != FILES else ""
