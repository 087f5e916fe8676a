"""Of which days a term is, seen from the period that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

Span = tuple[date | None, date | None]  # first and last day, both included; None: open


@dataclass(frozen=True)
class When:
    """The period itself."""

    def span(self, first: date | None, last: date | None) -> Span:
        return first, last


@dataclass(frozen=True)
class Start(When):
    """All up to the day before the period: a level as it began."""

    def span(self, first: date | None, last: date | None) -> Span:
        return None, first - timedelta(days=1) if first else date.min

    def __str__(self) -> str:
        return "at the start"


@dataclass(frozen=True)
class End(When):
    """All up to the last day of the period: a level as it ended."""

    def span(self, first: date | None, last: date | None) -> Span:
        return None, last

    def __str__(self) -> str:
        return "at the end"


@dataclass(frozen=True)
class Last(When):
    """The last day of the period: what each day tells whole, as that one tells it."""

    def span(self, first: date | None, last: date | None) -> Span:
        day = last or date.min  # of no last day nothing is known
        return day, day

    def __str__(self) -> str:
        return "on the last day"


@dataclass(frozen=True)
class Trailing(When):
    """So many days up to the end of the period."""

    days: int

    def span(self, first: date | None, last: date | None) -> Span:
        return (last - timedelta(days=self.days - 1) if last else None), last

    def __str__(self) -> str:
        return f"in {self.days} days"


@dataclass(frozen=True)
class Shifted(When):
    """The period so many months before."""

    months: int

    def span(self, first: date | None, last: date | None) -> Span:
        end = shifted(last, -self.months) if last else None
        if last and end and (last + timedelta(days=1)).day == 1:  # of a whole February that is the whole of January
            end = shifted(end.replace(day=1), 1) - timedelta(days=1)
        return (shifted(first, -self.months) if first else None), end

    def __str__(self) -> str:
        return f"{self.months} months before"


PERIOD = When()


def shifted(day: date, months: int) -> date:
    """The same day so many months later, or the last of that month."""
    number = day.year * 12 + day.month - 1 + months
    first = date(number // 12, number % 12 + 1, 1)
    last = (first.replace(day=28) + timedelta(days=4)).replace(day=1) - timedelta(days=1)
    return first.replace(day=min(day.day, last.day))
