"""A metric over the days up to a day, from the answers of those days: what `ask` says of the whole range."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from datetime import date
from fractions import Fraction
from itertools import accumulate

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.query import Answer, Counts, combine, without_value


class Trailing:
    """The answers of a metric on days without a gap, made ready to be asked over any number of them in a row.

    Whatever the number, a question costs the same: sums run from the first day, and of two the difference is taken.
    """

    def __init__(self, days: Mapping[date, Answer], config: Config) -> None:
        self._config, self._first = config, min(days)
        self._answers = answers = [days[day] for day in sorted(days)]
        self._parts = {name: _Sums(a.parts.get(name) for a in answers) for name in _named(a.parts for a in answers)}
        self._rows, self._values = (
            {
                name: _Sums(getattr(a.counts[name], kind) if name in a.counts else None for a in answers)
                for name in _named(a.counts for a in answers)
            }
            for kind in ("rows", "values")
        )
        self._given = {
            name: _Sums(1 if name in a.parts else None for a in answers) for name in _named(a.parts for a in answers)
        }
        self._missing = {
            name: _Sums(1 if name in a.missing else None for a in answers)
            for name in _named(a.missing for a in answers)
        }

    def over(self, day: date, length: int) -> Answer:
        """The answer over the `length` days up to `day`. Components are added, and only then divided."""
        end = (day - self._first).days + 1
        start = end - length
        last = self._answers[end - 1]
        parts = {
            name: sums.between(start, end) for name, sums in self._parts.items() if self._given[name].known(start, end)
        }
        counts = {
            name: Counts(int(rows.between(start, end) or 0), int(self._values[name].between(start, end) or 0))
            for name, rows in self._rows.items()
            if rows.known(start, end)
        }
        missing = {name: why for name, why in last.missing.items() if self._missing[name].known(start, end) == length}
        missing |= {name: without_value(name, counts[name]) for name, part in parts.items() if part is None}
        numerator, denominator = combine(last.metric, self._config, parts, missing)
        reasons = (reason for answer in reversed(self._answers[start:end]) for reason in answer.reasons)
        return replace(
            last, keys={}, numerator=numerator, denominator=denominator, why_null=next(iter(missing.values()), ""),
            reasons=tuple(dict.fromkeys(reasons)), parts=parts, missing=missing, counts=counts,
        )  # fmt: skip


class _Sums:
    """Running sums of values, one a day; a day may have none."""

    def __init__(self, values: Iterable[Fraction | int | None]) -> None:
        values = list(values)
        self._totals = list(accumulate((value or 0 for value in values), _added, initial=Fraction(0)))
        self._known = list(accumulate((value is not None for value in values), initial=0))

    def known(self, start: int, end: int) -> int:
        """On how many days there is one."""
        return self._known[end] - self._known[start]

    def between(self, start: int, end: int) -> Fraction | None:
        return self._totals[end] - self._totals[start] if self.known(start, end) else None


def _added(total: Fraction, value: Fraction | int) -> Fraction:
    return total + value if value else total  # most days of what is rare have nothing to add


def _named(mappings: Iterable[Collection[str]]) -> list[str]:
    return list(dict.fromkeys(name for mapping in mappings for name in mapping))
