"""What a metric is made of: measures over datasets, combined only when somebody asks.

    Dataset   rows of one grain, and what they can be split by
    Measure   what is aggregated over them, and how; stored by day, it is a component of `kpi_component_daily`
    Term      a measure as a metric takes it: of which days, on which axis, within how many days
    Metric    a kind (metrics/kinds/) over terms

How a measure aggregates says over what it can be summed; nothing is declared to be additive.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import Enum
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    ColumnElement,
    FromClause,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    case,
    cast,
    func,
    literal,
    null,
    select,
    union_all,
)

from b2b_pipeline.configuration.config import Channels, Config, Dimensions
from b2b_pipeline.core.given import Need
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.metrics.when import PERIOD, When
from b2b_pipeline.warehouse.dialects import days_between, entry
from b2b_pipeline.warehouse.tables import SUM

Condition = Callable[[Config], ColumnElement[bool]]
Coefficient = int | Callable[[Config], Decimal | None]
DESCRIBED = {"person": "lead", "deal": "opportunity"}  # derived table -> the core table whose `dimensions` it has
STANDARD = ("channel", "campaign", "currency")  # dimensions at which components are stored; any other is computed live
Unit = Literal["money", "count", "rate", "multiple", "days", "seconds", "minutes", "score"]
Additivity = Literal["additive", "ratio", "cohort", "distinct", "quantile", "level", "fitted"]


class ModelError(ConfigError):
    """A metric that would give a wrong number is refused where it is declared; the message says what can be had."""


class Aggregate(Enum):
    """How values become one.

    SUM: over anything. DISTINCT: counted anew at the grain that is asked for. QUANTILE: kept value by value, of which
    any grain has its own. LEVEL: what is there, kept as its changes: over splits it sums, over days it does not.
    STATE: what is there, as every day tells it whole: likewise.
    """

    SUM = "sum"
    DISTINCT = "distinct"
    QUANTILE = "quantile"
    LEVEL = "level"
    STATE = "state"


@dataclass(frozen=True)
class Join:
    """A table of which each row has at most one: `on` gives all of its key. Raises ModelError otherwise.

    alias: the table by another name, where it is joined to itself.
    """

    table: Table
    on: Mapping[str, ColumnElement[Any]]
    alias: FromClause | None = None

    def __post_init__(self) -> None:
        if {*self.on} != {*self.table.info["key"]}:
            key = ", ".join(self.table.info["key"])
            raise ModelError(f"a row may have many of {self.table.name}: its key is {key}, not {', '.join(self.on)}")

    def beside(self, source: FromClause) -> FromClause:
        joined = self.table if self.alias is None else self.alias
        return source.outerjoin(joined, and_(*(joined.c[name] == value for name, value in self.on.items())))


class Axis(NamedTuple):
    """By which the same rows are told several times over, such as an attribution model: never summed over."""

    name: str
    column: Column[Any]


@dataclass(frozen=True)
class Dataset:
    """Rows of `table`, once each. What the configuration says of them is said here (`counts`), and nowhere below.

    dimensions: what a measure can be split by; `channel`, `campaign` and `currency` are stored, the rest runs live.
    beside: tables that `counts` looks at, too.
    """

    table: Table
    dimensions: Mapping[str, ColumnElement[Any]]
    joins: tuple[Join, ...] = ()
    counts: Condition | None = None
    axis: Axis | None = None
    beside: tuple[Table, ...] = ()

    def only(self, condition: Condition) -> Dataset:
        """Those of its rows for which `condition` holds, too."""
        counts = self.counts
        return replace(self, counts=(lambda config: counts(config) & condition(config)) if counts else condition)

    def splits(self, further: Dimensions) -> Mapping[str, ColumnElement[Any]]:
        """What it can be split by: `dimensions`, and those that the configuration adds to leads or deals."""
        found = dict(self.dimensions)
        for table in (self.table, *(join.table for join in self.joins)):
            named = getattr(further, DESCRIBED[table.name]) if table.name in DESCRIBED else ()
            found |= {name: entry(table.c.dimensions, name) for name in named}
        return found

    def source(self) -> FromClause:
        found: FromClause = self.table
        for join in self.joins:
            found = join.beside(found)
        return found


@dataclass(frozen=True)
class Leg:
    """Rows of one dataset in a measure: the `value` of those that pass `where`, on their `day`.

    sign: -1 where its rows are taken away.
    entity: whom a row is about, where cohorts are made of them.
    into: of the rows only those whose entity has a row in one of these, at an age of as many days.
    needs: what the inputs must state for the sum to be known; `dated` what they must state for its days to be known.
    level: of a table whose rows have a `level`, that of its rows; streams of another one concern it not.
    located: it says to what others belong, and another leg takes it away again: what it lacks concerns splits alone.
    """

    dataset: Dataset
    day: Column[Any]
    value: ColumnElement[Any]
    where: ColumnElement[bool] | None = None
    needs: tuple[Need, ...] = ()
    dated: tuple[Need, ...] = ()
    sign: Literal[1, -1] = 1
    entity: ColumnElement[Any] | None = None
    into: tuple[Leg, ...] = ()
    level: str = ""
    located: bool = False

    @property
    def table(self) -> Table:
        return self.dataset.table

    @property
    def tables(self) -> set[str]:
        joined = {join.table.name for join in self.dataset.joins}
        return {self.table.name, *joined}.union(*(leg.tables for leg in self.into))

    def select(self, config: Config, *columns: ColumnElement[Any] | Table, within: int | None = None) -> Select[Any]:
        """`columns` of the rows that count; `within`: at this age at most."""
        arrived = self._arrived(config)
        query = self._where(config, select(*columns), arrived)
        if arrived is not None and within is not None:
            query = query.where(days_between(self.day, arrived.c.date_day) <= within)
        return query

    def rows(self, config: Config, dimensions: tuple[str, ...], aggregate: Aggregate) -> Select[Any]:
        """Columns date_day, the dimensions asked for (NULL where there is none), axis, age, value, sign."""
        splits, axis, arrived = self.dataset.splits(config.dimensions), self.dataset.axis, self._arrived(config)
        keys = [cast(splits.get(name, null()), Text).label(name) for name in dimensions]
        age: ColumnElement[Any] = self.value if aggregate is Aggregate.QUANTILE else null()
        if arrived is not None:
            age = days_between(self.day, arrived.c.date_day)
        query = select(
            self.day.label("date_day"), *keys, cast(axis.column if axis else null(), Text).label("axis"),
            cast(age, BigInteger).label("age"),
            (literal(1) if aggregate is Aggregate.QUANTILE else self.value if self.sign == 1 else -self.value)
            .label("value"), literal(self.sign).label("sign"),
        )  # fmt: skip
        return self._where(config, query, arrived)

    def _where(self, config: Config, query: Select[Any], arrived: Subquery | None) -> Select[Any]:
        source = self.dataset.source()
        if arrived is not None:
            source = source.join(arrived, arrived.c.entity == self.entity)
        conditions = [self.dataset.counts(config)] if self.dataset.counts else []
        return query.select_from(source).where(*conditions, *([] if self.where is None else [self.where]))

    def _arrived(self, config: Config) -> Subquery | None:
        """Entity -> the first day on which it has a row in `into`."""
        if not self.into:
            return None
        legs = [leg.select(config, leg.about.label("entity"), leg.day.label("date_day")) for leg in self.into]
        rows = union_all(*legs).subquery()
        first = func.min(rows.c.date_day).label("date_day")
        return select(rows.c.entity, first).group_by(rows.c.entity).subquery("arrived")

    @property
    def about(self) -> ColumnElement[Any]:
        """Its entity. Raises ModelError without one."""
        if self.entity is None:
            raise ModelError(f"rows of {self.table.name} have no entity by which a cohort could meet them")
        return self.entity


@dataclass(frozen=True)
class Measure:
    """A quantity over one or several datasets, which it adds up. Money is in the reporting currency.

    bought: money spent, or what it bought at once: in a channel or campaign of which no row was ever given it is
    unknown, not 0.
    of: what its rows are called, where a row counts elsewhere even without the amount that is summed here.
    left_out: the cure where it counts only some channels, and not the one that is asked for.
    """

    name: str
    description: str
    legs: tuple[Leg, ...]
    unit: Literal["money", "count", "days", "minutes"] = "count"
    aggregate: Aggregate = Aggregate.SUM
    bought: bool = False
    of: str = ""
    left_out: Callable[[Channels, str], str] | None = None

    @property
    def tables(self) -> set[str]:
        return set().union(*(leg.tables for leg in self.legs))

    @property
    def axis(self) -> Axis | None:
        return self.legs[0].dataset.axis

    @property
    def is_stored(self) -> bool:
        return self.aggregate is not Aggregate.DISTINCT

    def rows(self, config: Config, dimensions: tuple[str, ...]) -> Subquery:
        """Its rows, uncounted: see `Leg.rows`."""
        legs = [leg.rows(config, dimensions, self.aggregate) for leg in self.legs]
        return (union_all(*legs) if len(legs) > 1 else legs[0]).subquery()

    def cells(self, config: Config, dimensions: tuple[str, ...]) -> Select[Any]:
        """Columns date_day, the dimensions, axis, age, value (sum), n_rows and n_values (rows with a value; of a level
        how many more there are): one row per day and combination that occurs."""
        rows = self.rows(config, dimensions)
        keys = [rows.c.date_day, *(rows.c[name] for name in dimensions), rows.c.axis, rows.c.age]
        counts: dict[str, ColumnElement[Any]] = {"n_rows": func.count(), "n_values": func.count(rows.c.value)}
        if self.aggregate is Aggregate.LEVEL:
            with_value = case((rows.c.value.is_not(None), rows.c.sign), else_=0)
            counts = {"n_rows": func.sum(rows.c.sign), "n_values": func.sum(with_value)}
        return select(
            *keys,
            cast(func.sum(rows.c.value), SUM).label("value"),
            *(cast(count, BigInteger).label(name) for name, count in counts.items()),
        ).group_by(*keys)

    def splits(self, further: Dimensions) -> set[str]:
        """What it can be split by."""
        return set.intersection(*({*leg.dataset.splits(further), "channel", "campaign"} for leg in self.legs))


def reached(name: str, description: str, entered: Measure, into: Measure, *needs: Need) -> Measure:
    """Those of the `entered` that are `into` something by now, on the day they entered; `needs` what that takes.

    Its cells have an age: how many days it took them.
    """
    legs = tuple(replace(leg, into=into.legs, needs=tuple(dict.fromkeys((*leg.needs, *needs)))) for leg in entered.legs)
    return replace(entered, name=name, description=description, legs=legs)


@dataclass(frozen=True)
class Term:
    """A measure as a metric takes it.

    when: of which days, seen from the period that is asked for. axis: on which value of its measure's axis; without one
    a question must split by it. within: at which age at most.
    """

    measure: str
    axis: str | None = None
    when: When = PERIOD
    within: int | None = None

    @cached_property
    def label(self) -> str:
        """What it is called beside others: its measure's name, and what it takes of that."""
        words = [f" {self.when}" if self.when != PERIOD else "", f" ({self.axis})" if self.axis else ""]
        return self.measure + "".join(words)


Terms = Mapping[Term, Coefficient]


def terms(given: Mapping[str | Term, Coefficient]) -> Terms:
    return {Term(item) if isinstance(item, str) else item: factor for item, factor in given.items()}


class Kind(Protocol):
    """How terms become a number. A file each in metrics/kinds/."""

    @property
    def numerator(self) -> Terms: ...
    @property
    def denominator(self) -> Terms: ...
    @property
    def beside(self) -> tuple[Term, ...]:
        """What is on neither side, and tells how many could be."""

    def additivity(self, measures: Mapping[str, Measure]) -> Additivity:
        """Over what it can be summed. Raises ModelError where its terms do not go together."""

    def sides(self, columns: Mapping[str, ColumnElement[Any]], config: Config) -> tuple[Any, Any]:
        """Numerator and denominator (None without one) of sums by term: NULL where a term is."""


@dataclass(frozen=True)
class Metric:
    """One metric, declared once; queries, docs, asset descriptions and refusals follow from it.

    stage, owner, tier: where in the funnel it stands, whose it is, and whether it is watched or asked for a reason.
    example: a worked example, terms -> value, which a test computes.
    """

    name: str
    formula: str
    unit: Unit
    kind: Kind
    stage: Literal["awareness", "leads", "pipeline", "revenue"] = "leads"
    owner: Literal["marketing", "sales", "revenue operations"] = "marketing"
    tier: Literal["primary", "diagnostic"] = "primary"
    example: tuple[Mapping[str, str], str] | None = None

    @cached_property
    def numerator(self) -> Terms:
        return self.kind.numerator

    @cached_property
    def denominator(self) -> Terms:
        return self.kind.denominator

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        return tuple(dict.fromkeys((*self.numerator, *self.denominator, *self.kind.beside)))

    @cached_property
    def whens(self) -> tuple[When, ...]:
        """Of which days its terms are, each once."""
        return tuple(dict.fromkeys(term.when for term in self.terms))

    @cached_property
    def components(self) -> frozenset[str]:
        return frozenset(term.measure for term in self.terms)

    @property
    def takes_margin(self) -> bool:
        return any(callable(coefficient) for coefficient in (*self.numerator.values(), *self.denominator.values()))


def one() -> ColumnElement[Any]:
    """Counts rows."""
    return literal(1)


@dataclass(frozen=True)
class Family:
    """Metrics that are read together: one asset `kpi/<name>`. Its measures are stored by it."""

    name: str
    title: str
    description: str
    components: tuple[Measure, ...]
    metrics: tuple[Metric, ...]
    headline: str  # the metric shown with its change and a sparkline
    trailing: tuple[
        int, ...
    ] = ()  # of rare events: the days up to a day over which they are shown, instead of that day

    @property
    def stored(self) -> list[Measure]:
        return [component for component in self.components if component.is_stored]

    @property
    def tables(self) -> set[str]:
        legs = (leg for component in self.components for leg in component.legs)
        beside = {table.name for leg in legs for table in leg.dataset.beside}
        return beside.union(*(component.tables for component in self.components))
