"""What a metric is found to be at one key: exact, and with what is missing of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from b2b_pipeline.metrics.model import Metric, Terms
from b2b_pipeline.metrics.registry import ADDITIVITY, COMPONENTS


class Counts(NamedTuple):
    """Of a term: its rows, and those of them that have a value."""

    rows: int
    values: int

    def lacking(self, of: str) -> str:
        """`2 of 5 won deals have no amount …`; empty where all have one."""
        n = self.rows - self.values
        what = "has" if n == 1 else "have"
        return f"{n} of {self.rows} {of} {what} no amount in the reporting currency" if n else ""


@dataclass(frozen=True)
class Answer:
    """One row: the keys asked for, and the exact numerator and denominator. `reasons` say why it is not complete.

    Raises nothing: an undefined value is None, and `why_null` tells the reason where there is a better one than 0.
    parts, counts, missing: term -> its sum, of those with rows; of what; and why it is unknown.
    """

    metric: Metric
    keys: dict[str, Any]
    numerator: Fraction | None
    denominator: Fraction | None
    reasons: tuple[str, ...] = ()
    why_null: str = ""
    leaves_out: tuple[str, ...] = ()
    parts: Mapping[str, Fraction | None] = field(default_factory=dict, repr=False)
    missing: Mapping[str, str] = field(default_factory=dict, repr=False)
    counts: Mapping[str, Counts] = field(default_factory=dict, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the number covers, where that is less than its name says."""
        of = {term.label: COMPONENTS[term.measure].of for term in self.metric.terms}
        named = [(name, of[name]) for name in self.counts if of[name] and name not in self.missing]
        lacking = [text for name, words in named if (text := self.counts[name].lacking(words))]
        return tuple(dict.fromkeys([*self.leaves_out, *lacking]))

    @property
    def complete(self) -> bool:
        return not self.reasons

    @property
    def value(self) -> Fraction | None:
        if self.why_null or self.numerator is None:
            return None
        if not self.metric.denominator:
            return self.numerator
        return self.numerator / self.denominator if self.denominator else None  # unknown, or 0

    def as_json(self) -> dict[str, Any]:
        """Money as decimal strings, in cents for the value; counts as integers; everything else as numbers.

        A quantile has no numerator.
        """
        numerator = None if ADDITIVITY[self.metric.name] == "quantile" else self.numerator
        return {
            "metric": self.metric.name,
            **{name: key.isoformat() if isinstance(key, date) else key for name, key in self.keys.items()},
            "value": self.shown(self.value),
            "numerator": _part(self.metric.numerator, numerator),
            "denominator": _part(self.metric.denominator, self.denominator),
            "complete": self.complete,
        }

    @property
    def places(self) -> int:
        """Decimals of an amount: a price below 1, as of an impression, has more than a sum."""
        return 4 if self.metric.denominator and self.value and abs(self.value) < 1 else 2

    def shown(self, value: Fraction | None) -> Any:
        """A value of this metric in JSON's types."""
        if value is None:
            return None
        match self.metric.unit:
            case "money":
                return decimal_text(value, self.places)
            case "count":
                return whole_or_float(value)
            case _:
                return float(value)


def is_money(terms: Terms) -> bool:
    return any(COMPONENTS[term.measure].unit == "money" for term in terms)


def decimal_text(value: Fraction, places: int) -> str:
    """Decimal notation, rounded half-even once: Python's `round` of a Fraction does that."""
    return f"{Decimal(round(value * 10**places)).scaleb(-places):f}"


def _part(terms: Terms, value: Fraction | None) -> Any:
    if value is None:
        return None
    return decimal_text(value, 6) if is_money(terms) else whole_or_float(value)


def whole_or_float(value: Fraction) -> int | float:
    """A count; ad platforms share one conversion out among campaigns."""
    return int(value) if value.denominator == 1 else float(value)
