"""The periods of a grain: day, ISO week, month, quarter, year."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

GRAINS = ("day", "week", "month", "quarter", "year")


def periods(first: date, last: date, grain: str) -> Iterator[date]:
    """The first day of each period from the one that has `first` to the one that has `last`."""
    day = period_start(first, grain)
    while day <= last:
        yield day
        if (day := next_period(day, grain)) == date.max:
            return


def period_start(day: date, grain: str) -> date:
    match grain:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def next_period(day: date, grain: str) -> date:
    steps = {"day": 1, "week": 7, "month": 32, "quarter": 95, "year": 370}
    try:
        return period_start(day + timedelta(days=steps[grain]), grain)
    except OverflowError:
        return date.max


def span(period: date, grain: str, start: date | None, end: date | None) -> tuple[date, date]:
    """The days of a period that lie in the range asked for."""
    last = next_period(period, grain) - timedelta(days=1)
    return max(period, start or period), min(last, end or last)
