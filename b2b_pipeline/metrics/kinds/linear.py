"""A sum of terms, or a ratio of two sums: terms are summed at the grain that is asked for, and only then divided."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Numeric, cast, literal, null

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.model import Additivity, Aggregate, Coefficient, Measure, ModelError, Term, Terms, terms
from b2b_pipeline.metrics.when import End, Last, Start

EXACT = Numeric(38, 12)


@dataclass(frozen=True)
class Linear:
    """`Linear({"spend": 1000}, over={"impressions": 1})`."""

    of: Mapping[Any, Coefficient]
    over: Mapping[Any, Coefficient] = field(default_factory=dict)

    @property
    def numerator(self) -> Terms:
        return terms(self.of)

    @property
    def denominator(self) -> Terms:
        return terms(self.over)

    @property
    def beside(self) -> tuple[Term, ...]:
        return ()

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        found = set()
        for term in (*self.numerator, *self.denominator):
            aggregate = measures[term.measure].aggregate
            if aggregate is Aggregate.QUANTILE:
                raise ModelError(f"{term.measure} is kept value by value and cannot be summed: take a Quantile of it")
            if aggregate is Aggregate.LEVEL and not isinstance(term.when, Start | End):
                raise ModelError(f"{term.measure} is a level, which days do not add up to: take it at Start() or End()")
            if aggregate is Aggregate.STATE and not isinstance(term.when, Last):
                raise ModelError(f"{term.measure} is told whole by each day, which do not add up: take it on Last()")
            found.add(aggregate)
        if Aggregate.DISTINCT in found:
            return "distinct"
        if self.over:
            return "ratio"
        return "level" if {Aggregate.LEVEL, Aggregate.STATE} & found else "additive"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        return total(self.numerator, columns, config), total(self.denominator, columns, config) if self.over else None


def total(given: Mapping[Term, Coefficient], columns: Mapping[str, ColumnElement[Any]], config: Config) -> Any:
    """The sum of terms with their coefficients; NULL where a term or a coefficient is."""
    found: ColumnElement[Any] | None = None
    for term, coefficient in given.items():
        factor = coefficient(config) if callable(coefficient) else Decimal(coefficient)
        if factor is None:
            return cast(null(), EXACT)
        part = columns[term.label]
        part = part if factor == 1 else -part if factor == -1 else part * cast(literal(factor), Numeric(20, 6))
        found = part if found is None else found + part
    return cast(found, EXACT)
