"""What a metric is made of: additive components over tables, combined only when somebody asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Select, Table, cast, literal, null, select
from sqlalchemy.types import Text

from b2b_pipeline.configuration.config import Channels, Config, Dimensions
from b2b_pipeline.core.given import Need
from b2b_pipeline.warehouse.dialects import entry

Condition = Callable[[Config], ColumnElement[bool]]
Coefficient = int | Callable[[Config], Decimal | None]
DESCRIBED = {"person": "lead", "deal": "opportunity"}  # derived table -> the core table whose `dimensions` it has
STANDARD = ("channel", "campaign", "currency")  # dimensions at which components are stored; any other is computed live


@dataclass(frozen=True)
class Leg:
    """A sum over one table: `value` of each row that passes `where`, on its `day`.

    dimensions: what the sum can be split by; `channel`, `campaign` and `currency` are stored, the rest runs live.
    needs: what the inputs must state for the sum to be known; `dated` what they must state for its days to be known.
    """

    table: Table
    day: Column[Any]
    value: ColumnElement[Any]
    dimensions: Mapping[str, ColumnElement[Any]]
    where: Condition | None = None
    needs: tuple[Need, ...] = ()
    dated: tuple[Need, ...] = ()

    def splits(self, further: Dimensions) -> Mapping[str, ColumnElement[Any]]:
        """What the sum can be split by: `dimensions`, and those that the configuration adds to leads or deals."""
        named = getattr(further, DESCRIBED[self.table.name]) if self.table.name in DESCRIBED else ()
        return {**self.dimensions, **{name: entry(self.table.c.dimensions, name) for name in named}}

    def rows(self, config: Config, dimensions: tuple[str, ...]) -> Select[Any]:
        """Columns date_day, the dimensions asked for (NULL where the table has none), value."""
        splits = self.splits(config.dimensions)
        keys = [cast(splits.get(name, null()), Text).label(name) for name in dimensions]
        query = select(self.day.label("date_day"), *keys, self.value.label("value"))
        return query.where(self.where(config)) if self.where else query


@dataclass(frozen=True)
class Component:
    """An additive quantity, stored per day, channel, campaign and currency in `kpi_component_daily`.

    Any split of it sums to its total. Money is in the reporting currency.
    bought: money spent, or what it bought at once: in a channel or campaign of which no row was ever given it is
    unknown, not 0.
    of: what its rows are called, where a row counts elsewhere even without the amount that is summed here.
    left_out: the cure where it counts only some channels, and not the one that is asked for.
    """

    name: str
    description: str
    legs: tuple[Leg, ...]
    unit: Literal["money", "count", "days"] = "count"
    bought: bool = False
    of: str = ""
    left_out: Callable[[Channels, str], str] | None = None

    @property
    def tables(self) -> set[str]:
        return {leg.table.name for leg in self.legs}


@dataclass(frozen=True)
class Metric:
    """One metric, declared once; queries, docs, asset descriptions and refusals follow from it.

    numerator, denominator: component -> coefficient; a metric without a denominator is a sum.
    median_of: the leg whose values' median it is, for a metric that is no sum and no ratio.
    stage, owner, tier: where in the funnel it stands, whose it is, and whether it is watched or asked for a reason.
    additivity: additive, ratio, cohort (a ratio over those who entered on the day), distinct, snapshot or model.
    example: a worked example, components -> value, which a test computes.
    """

    name: str
    formula: str
    unit: Literal["money", "count", "rate", "multiple", "days"]
    numerator: Mapping[str, Coefficient] = field(default_factory=dict)
    denominator: Mapping[str, Coefficient] = field(default_factory=dict)
    additivity: Literal["additive", "ratio", "cohort", "distinct", "snapshot", "model"] = "additive"
    stage: Literal["awareness", "leads", "pipeline", "revenue"] = "leads"
    owner: Literal["marketing", "sales", "revenue operations"] = "marketing"
    tier: Literal["primary", "diagnostic"] = "primary"
    median_of: Leg | None = None
    example: tuple[Mapping[str, str], str] | None = None

    @property
    def components(self) -> set[str]:
        return {*self.numerator, *self.denominator}

    @property
    def takes_margin(self) -> bool:
        return any(callable(coefficient) for coefficient in (*self.numerator.values(), *self.denominator.values()))


@dataclass(frozen=True)
class Family:
    """Metrics that are read together: one asset `kpi/<name>`. Its components are stored by it."""

    name: str
    title: str
    description: str
    components: tuple[Component, ...]
    metrics: tuple[Metric, ...]
    headline: str  # the metric shown with its change and a sparkline
    trailing: tuple[
        int, ...
    ] = ()  # of rare events: the days up to a day over which they are shown, instead of that day

    @property
    def tables(self) -> set[str]:
        return set().union(*(component.tables for component in self.components))


def one() -> ColumnElement[Any]:
    """Counts rows."""
    return literal(1)
