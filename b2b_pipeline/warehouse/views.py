"""The view `kpi_daily`: for BI tools, the metrics by day, channel and campaign."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, and_, case, exists, func, select

from b2b_pipeline.warehouse.dialects import ratio
from b2b_pipeline.warehouse.tables import (
    kpi_component_daily,
    made_of,
    metric_day_gap,
    metric_def,
    metric_gap,
    metric_term,
)


def kpi_daily() -> Select[Any]:
    """One row per metric, day, channel and campaign: numerator, denominator and their ratio.

    For any coarser grain sum numerators and denominators, then divide: a ratio is never averaged. Medians are not in
    it. A metric that lacks what it needs (a gross margin, a cost) is NULL; so is one in a channel or campaign of which
    nothing gives what was bought, and in a channel whose ad spend nothing feeds its numerator and denominator too, so
    that sums cover the same channels on both sides. `because` says why, and why a day is not `complete`; `unit` is
    money (in the reporting currency, which `installation` has), count, rate, multiple or days.
    """
    row, term, divisor = kpi_component_daily.c, metric_term.c, metric_term.alias("divisor")

    def side(name: str) -> ColumnElement[Any]:
        """NULL where there are rows but none with a value, 0 where there are none."""
        mine = term.side == name
        without_value = (func.count(case((mine, 1))) > 0) & (func.count(case((mine, row.value))) == 0)
        return case((~without_value, func.coalesce(func.sum(case((mine, term.coefficient * row.value))), 0)))

    divides = (divisor.c.metric == metric_def.c.metric) & (divisor.c.side == "denominator")
    is_ratio = exists(select(1).select_from(divisor).where(divides))
    about = (metric_def.c.unit, metric_def.c.unavailable_because)
    keys = (row.date_day, metric_def.c.metric, metric_def.c.family, row.channel, row.campaign_id, *about)
    is_given = metric_def.c.unavailable_because.is_(None)
    sums = (
        select(
            *keys, is_ratio.label("is_ratio"),
            case((is_given, side("numerator"))).label("numerator"),
            case((is_given & is_ratio, side("denominator"))).label("denominator"),
        )
        .select_from(kpi_component_daily)
        .join(metric_term, term.component == row.component)
        .join(metric_def, metric_def.c.metric == term.metric)
        .group_by(*keys)
        .subquery()
    )  # fmt: skip
    part, gap = sums.c, metric_gap.c
    is_kept = func.coalesce(gap.is_left_out, False).is_(False)
    value = case(
        (gap.metric.is_not(None), None), (part.is_ratio, ratio(part.numerator, part.denominator)), else_=part.numerator
    )
    same_place = and_(
        gap.metric == part.metric, _same(gap.channel, part.channel), _same(gap.campaign_id, part.campaign_id)
    )
    day = metric_day_gap.c
    # Coverage comes first in a derive, what is incomplete last: in between nobody knows it.
    marks = [
        select(made_of.c.state).where(made_of.c.name == name).scalar_subquery() for name in ("coverage", "kpi_daily")
    ]
    is_settled = marks[0].is_not_distinct_from(marks[1])
    return select(
        part.date_day, part.metric, part.family, part.channel, part.campaign_id,
        case((is_kept, part.numerator)).label("numerator"), case((is_kept, part.denominator)).label("denominator"),
        value.label("value"), part.unit, (day.metric.is_(None) & is_settled).label("complete"),
        func.coalesce(part.unavailable_because, gap.because, day.because).label("because"),
    ).select_from(
        sums.outerjoin(metric_gap, same_place)
        .outerjoin(metric_day_gap, and_(day.metric == part.metric, day.date_day == part.date_day))
    )  # fmt: skip


def _same(one: Column[Any], other: ColumnElement[Any]) -> ColumnElement[bool]:
    """Equal, or both NULL; as a plain equation, by which both engines can join."""
    return func.coalesce(one, "\x1e") == func.coalesce(other, "\x1e")
