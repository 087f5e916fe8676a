"""Which share of those who entered on a day got somewhere, by now or within so many days."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds.linear import total
from b2b_pipeline.metrics.model import Additivity, Aggregate, Measure, ModelError, Term, Terms


@dataclass(frozen=True)
class Cohort:
    """`Cohort("leads_reached_mql", "leads", within=30)`: `reached` of the `entered`.

    within: days; those who entered later have not had their time, and while there are any the number is not known.
    Without it, it is what is known by now, and keeps growing.
    """

    reached: str
    entered: str
    within: int | None = None

    @property
    def numerator(self) -> Terms:
        return {Term(self.reached, within=self.within): 1}

    @property
    def denominator(self) -> Terms:
        return {Term(self.entered): 1}

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        for name in (self.reached, self.entered):
            if measures[name].aggregate is not Aggregate.SUM:
                raise ModelError(f"{name} is no count of those who entered or got there")
        if self.within is not None and not all(leg.into for leg in measures[self.reached].legs):
            raise ModelError(f"{self.reached} has no ages: make it by `reached(...)`")
        return "cohort"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        return total(self.numerator, columns, config), total(self.denominator, columns, config)
