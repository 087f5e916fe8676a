"""Which share of those who entered on a day got somewhere: by now, within so many days, or of those with an outcome."""

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
    resolved: which of the `entered` have an outcome by now, whatever it is; the share is of these alone, and how many
    have none yet is told beside it. Without either, it is what is known by now, and keeps growing.
    """

    reached: str
    entered: str
    within: int | None = None
    resolved: str | None = None

    @property
    def numerator(self) -> Terms:
        return {Term(self.reached, within=self.within): 1}

    @property
    def denominator(self) -> Terms:
        return {Term(self.resolved or self.entered): 1}

    @property
    def matures(self) -> bool:
        """Whether those who entered count only from some time on."""
        return self.within is not None or self.resolved is not None

    @property
    def beside(self) -> tuple[Term, ...]:
        return (Term(self.entered),) if self.resolved else ()

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        for name in (self.reached, self.entered, self.resolved or self.entered):
            if measures[name].aggregate is not Aggregate.SUM:
                raise ModelError(f"{name} is no count of those who entered or got there")
        if self.within is not None and self.resolved:
            raise ModelError(f"{self.reached} within days, or of {self.resolved}: in both the fast would count first")
        if self.within is not None and not all(leg.into for leg in measures[self.reached].legs):
            raise ModelError(f"{self.reached} has no ages: make it by `reached(...)`")
        return "cohort"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        return total(self.numerator, columns, config), total(self.denominator, columns, config)
