"""The value below which a share of the rows lie: a median, a 90th percentile. Each grain has its own, nothing sums."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.model import Additivity, Aggregate, Measure, ModelError, Term, Terms


@dataclass(frozen=True)
class Quantile:
    """`Quantile("cycle_lengths", Decimal("0.5"))`: between two values it lies in proportion, as `percentile_cont`."""

    of: str
    share: Decimal

    @property
    def numerator(self) -> Terms:
        return {Term(self.of): 1}

    @property
    def denominator(self) -> Terms:
        return {}

    @property
    def beside(self) -> tuple[Term, ...]:
        return ()

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        if measures[self.of].aggregate is not Aggregate.QUANTILE:
            raise ModelError(f"{self.of} is not kept value by value: declare it with Aggregate.QUANTILE")
        return "quantile"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        return columns[self.of], None
