"""Which days the files of one mapping cover: told by the days of their rows, and by how often files should come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from statistics import median_high
from typing import Literal

ONE = timedelta(days=1)
ABOUT_A_MONTH = 20  # days; files whose rows span less are pieces of any size
ALL = " (if that is all there is, its `cadence` is once)"
Cadence = Literal["daily", "monthly", "once", "irregular"]
Told = tuple[bool | None, str]  # complete, not complete, or None where nobody said that it should be there; why


@dataclass(frozen=True)
class Span:
    """One file: the days from its first row to its last, both included, and the day on which it was written."""

    first: date
    last: date
    written: date


def told_days(mapping: str, declared: Cadence | None, spans: Sequence[Span], days: Sequence[date]) -> Iterator[Told]:
    """Of each day, in order: whether the files have all of it, and else why not."""
    cadence = declared or _shown(spans)
    spans = [span for span in spans if span.first <= span.last]
    if cadence in ("once", "irregular"):
        yield from ((True, "") for _ in days)
        return
    pieces = _months(spans) if cadence == "monthly" else _merged([(span.first, span.last) for span in spans])
    at = 0
    for day in days:
        while at < len(pieces) and pieces[at][1] < day:
            at += 1
        if at < len(pieces) and pieces[at][0] <= day:
            yield True, ""
        elif not pieces:
            yield False, f"no row of a file of mapping {mapping} tells its days"
        elif at == 0:
            why = f"no file of mapping {mapping} has days before {pieces[0][0]}"
            yield (False, why) if declared else (None, why + ALL)
        elif at < len(pieces):
            yield False, _between(mapping, pieces[at - 1][1] + ONE, pieces[at][0] - ONE)
        else:
            why = f"no file of mapping {mapping} has days after {pieces[-1][1]}"
            yield (False, why) if cadence else (None, why + ALL)


def _between(mapping: str, first: date, last: date) -> str:
    whole = first.day == 1 and (last + ONE).day == 1
    shown = [f"{day:%Y-%m}" if whole else str(day) for day in (first, last)]
    return f"no file of mapping {mapping} covers {' to '.join(dict.fromkeys(shown))}"


def _shown(spans: Sequence[Span]) -> Cadence | None:
    """The cadence that files show by themselves: one or more a month, or smaller pieces that do not overlap."""
    if len({span.first for span in spans}) < 2:
        return None
    usual = median_high((span.last - span.first).days + 1 for span in spans)
    in_one_month = all(_month(span.first) == _month(span.last) for span in spans)
    if in_one_month and usual >= ABOUT_A_MONTH:
        return "monthly"
    ordered = sorted(spans, key=lambda span: span.first)
    apart = all(one.last < other.first for one, other in pairwise(ordered))
    return "daily" if apart and usual < ABOUT_A_MONTH else None


def _months(spans: Sequence[Span]) -> list[tuple[date, date]]:
    """The months that files have rows of; one that no file was written after only up to the last row of it."""
    covered: list[tuple[date, date]] = []
    for month in sorted({month for span in spans for month in _each_month(span.first, span.last)}):
        end = (month + timedelta(days=32)).replace(day=1) - ONE
        touching = [span for span in spans if span.first <= end and span.last >= month]
        last = end if any(span.written > end for span in touching) else min(end, max(span.last for span in touching))
        covered.append((month, last))
    return _merged(covered)


def _each_month(first: date, last: date) -> Iterator[date]:
    month = _month(first)
    while month <= last:
        yield month
        month = (month + timedelta(days=32)).replace(day=1)


def _month(day: date) -> date:
    return day.replace(day=1)


def _merged(spans: Sequence[tuple[date, date]]) -> list[tuple[date, date]]:
    """Spans that touch or overlap as one."""
    found: list[tuple[date, date]] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1] + ONE:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found
