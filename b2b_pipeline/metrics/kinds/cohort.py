"""Which share of those who entered on a day got somewhere: by now, within so many days, or of those with an outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds.linear import total
from b2b_pipeline.metrics.model import Additivity, Aggregate, Measure, ModelError, Term, Terms


@dataclass(frozen=True)
class Cohort:
    """`Cohort("leads_reached_mql", "leads", within=30)`: `reached` of the `entered`.

    within: days; those who entered later have not had their time, and while there are any the number is not known.
    Without it, it is what is known by now, and keeps growing.
    basis: "resolved" is the share of those alone whose outcome is known, and how many have none yet is told beside it.
    Within days that is who has had them, on both sides; else `decided` counts them, whatever came of it.
    """

    reached: str
    entered: str
    within: int | None = None
    basis: Literal["all", "resolved"] = "all"
    decided: str | None = None

    @property
    def numerator(self) -> Terms:
        return {Term(self.reached, within=self.within): 1}

    @property
    def denominator(self) -> Terms:
        return {Term(self.decided or self.entered): 1}

    @property
    def is_resolved(self) -> bool:
        return self.basis == "resolved"

    @property
    def matures(self) -> bool:
        """Whether those who entered count only from some time on."""
        return self.within is not None or self.is_resolved

    @property
    def least(self) -> int | None:
        """How many of those who entered must have had their time, or have an outcome; None: all of them."""
        return 1 if self.is_resolved else None

    @property
    def beside(self) -> tuple[Term, ...]:
        return (Term(self.entered),) if self.decided else ()

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        for name in (self.reached, self.entered, self.decided or self.entered):
            if measures[name].aggregate is not Aggregate.SUM:
                raise ModelError(f"{name} is no count of those who entered or got there")
        outcomes = (self.within is not None) + (self.decided is not None)
        if (self.is_resolved and outcomes != 1) or (self.decided and not self.is_resolved):
            raise ModelError(
                f"{self.reached} of those with an outcome: say by `within` or by `decided` which these are"
            )
        if self.within is not None and not all(leg.into for leg in measures[self.reached].legs):
            raise ModelError(f"{self.reached} has no ages: make it by `reached(...)`")
        return "cohort"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        return total(self.numerator, columns, config), total(self.denominator, columns, config)
