"""The view `kpi_daily`: for BI tools, the metrics by day, channel and campaign, each by the plan that `ask` runs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnCollection,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    case,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    or_,
    select,
    true,
    union_all,
)
from sqlalchemy.schema import CreateView

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.fingerprint import digest
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.metrics.kinds import Cohort
from b2b_pipeline.metrics.known import LOCATED
from b2b_pipeline.metrics.model import Metric, Terms
from b2b_pipeline.metrics.plan import Asked, plan
from b2b_pipeline.metrics.query import free_axes
from b2b_pipeline.metrics.registry import ADDITIVITY
from b2b_pipeline.metrics.when import PERIOD
from b2b_pipeline.warehouse.dialects import ratio
from b2b_pipeline.warehouse.tables import component_day_gap, made_of, metric_day_gap, metric_def, metric_gap
from b2b_pipeline.warehouse.write import serialise

NAME = "kpi_daily"
SUMS = ("additive", "ratio", "cohort")  # of which numerators and denominators add up


def refresh_view(connection: Connection, config: Config, versions: Mapping[str, str]) -> None:
    """Make the view anew where the metrics, of these `versions`, or this file are others: else nobody has to wait.

    It is replaced: who may read it, and the views that others have on it, stay.
    """
    serialise(connection, f"view {NAME}")
    parts = (f"{name} {version}" for name, version in sorted(versions.items()))
    mark, state = made_of.c.name == f"view {NAME}", digest(Path(__file__).read_text(encoding="utf-8"), *parts)
    if connection.scalar(select(made_of.c.state).where(mark)) == state:
        return
    connection.execute(CreateView(kpi_daily(config), NAME, or_replace=True))
    connection.execute(delete(made_of).where(mark))
    connection.execute(insert(made_of).values(name=f"view {NAME}", state=state))


def kpi_daily(config: Config) -> Select[Any]:
    """One row per metric that something feeds, day, channel and campaign: numerator, denominator and their ratio.

    For any coarser grain sum numerators and denominators, then divide: a ratio is never averaged. What does not add up,
    a quantile or a distinct count, has a value and no numerator. Levels, and what is told once per attribution model,
    are not in it. A metric that lacks what it needs (a gross margin, a cost) is NULL; so is one in a channel or
    campaign of which nothing gives what was bought, and in a channel whose ad spend nothing feeds its numerator and
    denominator too, so that sums cover the same channels on both sides. `because` says why, why a day is not
    `complete`, and of which cohorts some have no outcome yet; `unit` is money (in the reporting currency, which
    `installation` has), count, rate, multiple or days.
    """
    metrics = [(family.name, metric) for family in families_of(config).values() for metric in family.metrics]
    part = union_all(*(_rows(name, metric, config) for name, metric in metrics if _is_of_a_day(metric))).subquery().c
    about, gap, day = metric_def.c, metric_gap.c, metric_day_gap.c
    same_place = and_(
        gap.metric == part.metric, _same(gap.channel, part.channel), _same(gap.campaign_id, part.campaign_id)
    )
    is_given = about.unavailable_because.is_(None)
    is_kept = is_given & part.adds_up & func.coalesce(gap.is_left_out, False).is_(False)
    value = case((part.is_ratio, ratio(part.numerator, part.denominator)), else_=part.numerator)
    is_known = is_given & gap.metric.is_(None) & ~part.is_early
    # Coverage comes first in a derive, what is incomplete last: in between nobody knows it.
    marks = [
        select(made_of.c.state).where(made_of.c.name == name).scalar_subquery() for name in ("coverage", "kpi_daily")
    ]
    is_settled = marks[0].is_not_distinct_from(marks[1])
    return select(
        part.date_day, part.metric, part.family, part.channel, part.campaign_id,
        case((is_kept, part.numerator)).label("numerator"), case((is_kept, part.denominator)).label("denominator"),
        case((is_known, value)).label("value"), about.unit,
        (day.metric.is_(None) & is_settled).label("complete"),
        func.coalesce(about.unavailable_because, gap.because, day.because, part.still_open).label("because"),
    ).select_from(
        part.metric.table.join(metric_def, about.metric == part.metric)
        .outerjoin(metric_gap, same_place)
        .outerjoin(metric_day_gap, and_(day.metric == part.metric, day.date_day == part.date_day))
    )  # fmt: skip


def _is_of_a_day(metric: Metric) -> bool:
    return metric.whens == (PERIOD,) and not free_axes(metric)


def _rows(family: str, metric: Metric, config: Config) -> Select[Any]:
    known_until = select(metric_def.c.known_until).where(metric_def.c.metric == metric.name).scalar_subquery()
    found = plan(metric, config, Asked(grain="day", dimensions=LOCATED, known_until=known_until)).subquery().c
    above, below = (
        case((~_is_unknown(side, metric, found), value))
        for side, value in ((metric.numerator, found.numerator), (metric.denominator, found.denominator))
    )
    is_open = func.coalesce(found.n_mature < found.n_entered, False)
    kind = metric.kind if isinstance(metric.kind, Cohort) else None
    is_early = is_open & (found.n_mature < kind.least) if kind and kind.least is not None else is_open
    lack = "had their time" if kind and kind.within is not None else "an outcome"
    return select(
        found.period.label("date_day"), _text(metric.name).label("metric"), _text(family).label("family"),
        found.channel, found.campaign.label("campaign_id"), above.label("numerator"), below.label("denominator"),
        (true() if metric.denominator else false()).label("is_ratio"),
        (true() if ADDITIVITY[metric.name] in SUMS else false()).label("adds_up"),
        is_early.label("is_early"),
        case((is_open, literal(f"not all who entered have {lack} yet"))).label("still_open"),
    )  # fmt: skip


def _is_unknown(side: Terms, metric: Metric, found: ColumnCollection[str, Any]) -> ColumnElement[bool]:
    """Whether a term has no row on a day of which nothing was read: that is not the same as none."""
    gap = component_day_gap.c
    lacking = [
        found[f"n_rows_{metric.terms.index(term)}"].is_(None)
        & func.coalesce(found.period.in_(select(gap.date_day).where(gap.component == term.measure)), False)
        for term in side
    ]
    return or_(false(), *lacking)


def _text(value: str) -> ColumnElement[str]:
    return cast(literal(value), Text)


def _same(one: Column[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Equal, or both NULL; as a plain equation, by which both engines can join."""
    return func.coalesce(one, "\x1e") == func.coalesce(other, "\x1e")
