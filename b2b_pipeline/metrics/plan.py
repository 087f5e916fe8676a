"""The query of a metric: what `ask` runs, what `kpi_daily` is made of, and what `explain` shows. There is no other.

Cells (sums by day) are summed over the days of each period and only then combined, as the metric's kind says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    FromClause,
    Numeric,
    Select,
    Subquery,
    Text,
    and_,
    case,
    cast,
    column,
    distinct,
    func,
    literal,
    null,
    or_,
    select,
    text,
    true,
    union_all,
)

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds import Cohort, Fitted, Quantile
from b2b_pipeline.metrics.kinds.fitted import ESTIMATE, estimate, watched
from b2b_pipeline.metrics.kinds.linear import EXACT
from b2b_pipeline.metrics.model import STANDARD, Aggregate, Metric, Term
from b2b_pipeline.metrics.registry import COMPONENTS
from b2b_pipeline.metrics.when import When
from b2b_pipeline.warehouse.dialects import minus_days, truncate_day
from b2b_pipeline.warehouse.tables import SUM, kpi_component_daily


class Bounds(NamedTuple):
    """Of a period: its name, its first and its last day; None where it is open."""

    period: date | None
    first: date | None
    last: date | None


@dataclass(frozen=True)
class Asked:
    """What is asked of a metric.

    periods: in place of those of `grain`, for terms that are not of the days of the period itself.
    without: channels that a ratio leaves out on both sides, unless it is split by channel.
    known_until: the last day of which all can be known.
    """

    start: date | None = None
    end: date | None = None
    grain: str | None = None
    dimensions: tuple[str, ...] = ()
    without: Sequence[str] = ()
    known_until: ColumnElement[Any] = field(default_factory=null)
    periods: Sequence[Bounds] | None = None


class Sums(NamedTuple):
    """Of a term: NULL without rows, where none of them has a value, and where one lacks the age that is asked for."""

    value: ColumnElement[Any]
    n_rows: ColumnElement[Any]
    n_values: ColumnElement[Any]


class Maturity(NamedTuple):
    """Of a cohort; NULL where it is no matter of time."""

    n_entered: ColumnElement[Any]
    n_mature: ColumnElement[Any]


def plan(metric: Metric, config: Config, asked: Asked) -> Select[Any]:
    """Columns period (with a grain), the dimensions, numerator, denominator, n_entered and n_mature (of a cohort that
    has to mature: how many entered, and how many of them have had their time or have an outcome), and of each term in
    order its value, n_rows and n_values.

    Of a term without rows the sides take 0; they are NULL where rows of one all lack a value.
    """
    cells = _cells(metric, config, asked)
    names = (*(("period",) if asked.grain else ()), *asked.dimensions)
    rows = cells
    if isinstance(metric.kind, Quantile):
        rows = _ranked(cells, names)
        sums = {term: _quantile(metric.kind, rows) for term in metric.terms}
        known = {term.label: found.value for term, found in sums.items()}
    else:
        if isinstance(metric.kind, Fitted):
            rows = watched(metric.kind, cells, names, asked.known_until)
        sums = {term: _sums(term, metric, rows, asked) for term in metric.terms}
        known = {
            term.label: case((func.coalesce(found.n_rows, 0) == 0, 0), else_=found.value)
            for term, found in sums.items()
        }
        if isinstance(metric.kind, Fitted):
            known[ESTIMATE] = estimate(metric.kind, rows)
    numerator, denominator = metric.kind.sides(known, config)
    keys = [rows.c[name] for name in names]
    return select(
        *keys,
        cast(numerator, EXACT).label("numerator"),
        cast(null() if denominator is None else denominator, EXACT).label("denominator"),
        *(cast(n, BigInteger).label(name) for name, n in _maturity(metric, rows, asked)._asdict().items()),
        *(part.label(f"{name}_{n}") for n, found in enumerate(sums.values()) for name, part in found._asdict().items()),
    ).group_by(*keys)


# -- cells


def _cells(metric: Metric, config: Config, asked: Asked) -> Subquery:
    """Columns period, the dimensions, date_day, component, axis, age, value, n_rows, n_values, seen (of what is counted
    anew, each key), and which of the metric's `whens` the row is for."""
    parts = [_on_days_of(when, metric, config, asked, number) for number, when in enumerate(metric.whens)]
    return (union_all(*parts) if len(parts) > 1 else parts[0]).subquery("cells")


def _on_days_of(when: When, metric: Metric, config: Config, asked: Asked, number: int) -> Select[Any]:
    names = sorted({term.measure for term in metric.terms if term.when == when})
    rows = _rows(names, config, _wanted(metric, asked))
    columns = [column for column in rows.c if column.name != "channel" or "channel" in asked.dimensions]
    period: ColumnElement[Any] = truncate_day(literal(asked.grain), rows.c.date_day) if asked.grain else null()
    source: FromClause = rows
    if asked.periods is not None:
        spans = _spans(when, asked.periods)
        since, until = (or_(spans.c[name].is_(None), test) for name, test in (
            ("since", rows.c.date_day >= spans.c.since), ("until", rows.c.date_day <= spans.c.until),
        ))  # fmt: skip
        source, period = rows.join(spans, and_(since, until)), spans.c.period
    query = select(cast(period, Date).label("period"), *columns, literal(number).label("which")).select_from(source)
    if asked.periods is None:
        query = query.where(in_range(rows.c.date_day, asked.start, asked.end))
    if _leaves_out(metric, asked):
        query = query.where(func.coalesce(rows.c.channel, "").not_in(asked.without))
    return query


def _leaves_out(metric: Metric, asked: Asked) -> bool:
    return bool(asked.without and metric.denominator and "channel" not in asked.dimensions)


def _wanted(metric: Metric, asked: Asked) -> tuple[str, ...]:
    return (*asked.dimensions, "channel") if _leaves_out(metric, asked) else asked.dimensions


def _spans(when: When, periods: Sequence[Bounds]) -> FromClause:
    """As text: a thousand periods are some thousand literals, of which each would be an expression of its own."""
    rows = ((bounds.period, *when.span(bounds.first, bounds.last)) for bounds in periods)
    listed = ", ".join("({}, {}, {})".format(*map(_day, row)) for row in rows)
    names = ("period", "since", "until")
    query = f"select {', '.join(names)} from (values {listed}) as listed ({', '.join(names)})"  # noqa: S608 - of days
    return text(query).columns(*(column(name, Date) for name in names)).subquery("span")


def _day(day: date | None) -> str:
    return f"date '{day.isoformat()}'" if day else "cast(null as date)"


def _rows(names: Sequence[str], config: Config, dimensions: tuple[str, ...]) -> Subquery:
    """From the stored components where they have the dimensions, else from the tables."""
    axes = {axis.name for name in names if (axis := COMPONENTS[name].axis)}
    is_stored = {*dimensions} - axes <= {*STANDARD} and all(COMPONENTS[name].is_stored for name in names)
    found = list(_stored(names, dimensions) if is_stored else _live(names, config, dimensions))
    return (union_all(*found) if len(found) > 1 else found[0]).subquery()


def _stored(names: Sequence[str], dimensions: tuple[str, ...]) -> Iterator[Select[Any]]:
    row = kpi_component_daily.c
    columns = {"channel": row.channel, "campaign": row.campaign_id, "currency": row.currency}
    yield select(
        row.date_day, *(columns.get(name, row.axis).label(name) for name in dimensions),
        row.component, row.axis.label("of_axis"), row.age, row.value, row.n_rows,
        func.coalesce(row.n_values, row.n_rows).label("n_values"),  # NULL until the next derive
        cast(null(), Text).label("seen"),
    ).where(row.component.in_(names))  # fmt: skip


def _live(names: Sequence[str], config: Config, dimensions: tuple[str, ...]) -> Iterator[Select[Any]]:
    for name in names:
        measure = COMPONENTS[name]
        splits = tuple(each for each in dimensions if not measure.axis or each != measure.axis.name)
        is_counted_anew = measure.aggregate is Aggregate.DISTINCT
        part = measure.rows(config, splits) if is_counted_anew else measure.cells(config, splits).subquery()
        value, n_rows, n_values = (literal(1) if is_counted_anew else part.c[field] for field in Sums._fields)
        yield select(
            part.c.date_day, *(part.c[each if each in splits else "axis"].label(each) for each in dimensions),
            cast(literal(name), Text).label("component"), part.c.axis.label("of_axis"), part.c.age,
            cast(value, SUM).label("value"), cast(n_rows, BigInteger).label("n_rows"),
            cast(n_values, BigInteger).label("n_values"),
            cast(part.c.value if is_counted_anew else null(), Text).label("seen"),
        )  # fmt: skip


# -- sums


def _sums(term: Term, metric: Metric, cells: Subquery, asked: Asked) -> Sums:
    mine = _is(term, metric, cells)
    if isinstance(metric.kind, Cohort) and metric.kind.is_resolved and metric.kind.within is not None:
        mine = and_(mine, _had_time(metric.kind.within, cells, asked))
    n_rows, n_values = (cast(func.sum(case((mine, cells.c[name]))), BigInteger) for name in Sums._fields[1:])
    if COMPONENTS[term.measure].aggregate is Aggregate.DISTINCT:
        return Sums(cast(func.count(distinct(case((mine, cells.c.seen)))), SUM), n_rows, n_values)
    value = func.sum(case((mine, cells.c.value)))
    if term.within is None:
        return Sums(cast(case((n_values != 0, value)), SUM), n_rows, n_values)
    no_age = and_(cells.c.component == term.measure, cells.c.age.is_(None))
    n_without = cast(func.coalesce(func.sum(case((no_age, cells.c.n_rows))), 0), BigInteger)
    every = func.nullif(func.coalesce(n_rows, 0) + n_without, 0)
    return Sums(cast(case((and_(n_values != 0, n_without == 0), value)), SUM), every, n_values)


def _is(term: Term, metric: Metric, cells: Subquery) -> ColumnElement[bool]:
    """Which cells a term is of."""
    conditions = [cells.c.component == term.measure, cells.c.which == metric.whens.index(term.when)]
    conditions += [cells.c.of_axis == term.axis] if term.axis else []
    conditions += [cells.c.age <= term.within] if term.within is not None else []
    return and_(*conditions)


def _maturity(metric: Metric, cells: Subquery, asked: Asked) -> Maturity:
    kind = metric.kind
    if not isinstance(kind, Cohort) or not kind.matures:
        return Maturity(null(), null())
    entered = mature = _is(Term(kind.entered), metric, cells)
    if kind.decided:
        mature = _is(Term(kind.decided), metric, cells)
    if kind.within is not None:
        mature = and_(entered, _had_time(kind.within, cells, asked))
    return Maturity(*(func.coalesce(func.sum(case((which, cells.c.n_rows))), 0) for which in (entered, mature)))


def _had_time(days: int, cells: Subquery, asked: Asked) -> ColumnElement[bool]:
    return cells.c.date_day <= minus_days(asked.known_until, days)


def _ranked(cells: Subquery, names: Sequence[str]) -> Subquery:
    """The cells of each key in the order of their values, with how many rows there are up to each, and in all."""
    keys = [cells.c[name] for name in names]
    upto = func.sum(cells.c.n_rows).over(partition_by=keys, order_by=cells.c.age)
    total = cast(func.sum(cells.c.n_rows).over(partition_by=keys), BigInteger)
    return select(*keys, cells.c.age, upto.label("upto"), total.label("total")).subquery("ranked")


def _quantile(kind: Quantile, ranked: Subquery) -> Sums:
    """As `percentile_cont` has it: between the two rows that lie at the share it is in proportion."""
    at = cast(literal(kind.share), Numeric(7, 6)) * (ranked.c.total - 1)
    low, high = (func.min(case((ranked.c.upto > side(at), ranked.c.age))) for side in (func.floor, func.ceil))
    part = func.max(at - func.floor(at))
    total = cast(func.max(ranked.c.total), BigInteger)
    return Sums(cast(low + (high - low) * part, EXACT), total, total)


def in_range(day: ColumnElement[Any], start: date | None, end: date | None) -> ColumnElement[bool]:
    conditions = [day >= start if start else None, day <= end if end else None]
    return and_(true(), *(c for c in conditions if c is not None))
