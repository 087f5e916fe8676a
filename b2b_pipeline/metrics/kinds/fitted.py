"""Which share will have got somewhere after so many days, estimated from all who entered, however long ago.

The product-limit estimate (Kaplan and Meier, "Nonparametric Estimation from Incomplete Observations", JASA 53, 1958):
at each age, of those who have been watched that long and had not got there, the share that did. Whoever entered lately
counts for the days they were watched. It takes for granted that later cohorts do as earlier ones did.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Double, Subquery, case, cast, func, literal, null, select, union_all

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds.cohort import Cohort
from b2b_pipeline.metrics.model import Additivity, Measure, ModelError, Term
from b2b_pipeline.warehouse.dialects import days_between

ESTIMATE = "estimate"


@dataclass(frozen=True)
class Fitted(Cohort):
    """`Fitted("leads_with_won", "leads", within=90, minimum_n=30)`: the share that is `reached` after 90 days.

    minimum_n: so many of those who entered must have had all these days, else nothing is estimated. Where all have had
    them there is nothing to estimate: it is the share that got there.
    """

    minimum_n: int = 30

    @property
    def least(self) -> int:
        return self.minimum_n

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        super().additivity(measures)
        if self.within is None or self.basis != "all" or self.minimum_n < 1:
            raise ModelError(f"{self.reached} is estimated of all who entered, within so many days, of at least one")
        return "fitted"

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        """How many will have got there, and how many entered; not known while one got there on no known day."""
        entered = columns[Term(self.entered).label]
        (reached,) = (columns[term.label] for term in self.numerator)
        return case((reached.is_not(None), cast(entered, Double) * columns[ESTIMATE])), entered


def watched(kind: Fitted, cells: Subquery, names: Sequence[str], known_until: ColumnElement[Any]) -> Subquery:
    """The cells, and a row more for those who got there; each with `at`, the age at which its people leave those who
    are watched: by getting there, or because more is not known. `n_arrived` of the `n_watched` of that age got there.
    """
    c = cells.c
    until = days_between(c.date_day, known_until)
    age = func.greatest(c.age, 0)  # a date of before they entered
    got_there = (c.component == kind.reached) & (age <= until)
    leaving = case((c.component == kind.entered, c.value), (got_there, -c.value), else_=0)
    stay = [column if column.name in names else cast(null(), column.type).label(column.name) for column in c]
    both = union_all(
        select(*c, until.label("at"), leaving.label("leaving"), literal(0).label("arriving")),
        select(*stay, age, c.value, c.value).where(got_there),
    ).subquery()
    keys = [both.c[name] for name in names]
    return select(
        both,
        func.sum(both.c.leaving).over(partition_by=keys, order_by=both.c.at.desc()).label("n_watched"),
        func.sum(both.c.arriving).over(partition_by=[*keys, both.c.at]).label("n_arrived"),
    ).subquery("watched")


def estimate(kind: Fitted, rows: Subquery) -> ColumnElement[Any]:
    """The share that got there within its days; NULL where nobody was watched."""
    c = rows.c
    counts = (c.arriving > 0) & (c.at <= kind.within)
    is_all = counts & (c.n_arrived == c.n_watched)
    stayed = func.ln(1 - cast(c.n_arrived, Double) / c.n_watched) * c.arriving / c.n_arrived
    logarithm = func.coalesce(func.sum(case((counts & (c.n_arrived < c.n_watched), stayed))), 0)
    return case(
        (func.max(c.at).is_(None), null()), (func.count(case((is_all, 1))) > 0, 1), else_=1 - func.exp(logarithm)
    )
