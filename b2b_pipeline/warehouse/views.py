"""The view `kpi_daily`: for BI tools, the metrics by day, channel and campaign."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Select, case, exists, func, select

from b2b_pipeline.warehouse.dialects import ratio
from b2b_pipeline.warehouse.tables import kpi_component_daily, metric_def, metric_term


def kpi_daily() -> Select[Any]:
    """One row per metric, day, channel and campaign: numerator, denominator and their ratio.

    For any coarser grain sum numerators and denominators, then divide: a ratio is never averaged. Medians are not in
    it. A metric that lacks what it needs (a gross margin, a cost) is NULL.
    """
    row, term, divisor = kpi_component_daily.c, metric_term.c, metric_term.alias("divisor")

    def side(name: str) -> ColumnElement[Any]:
        return func.coalesce(func.sum(case((term.side == name, term.coefficient * row.value))), 0)

    divides = (divisor.c.metric == metric_def.c.metric) & (divisor.c.side == "denominator")
    is_ratio = exists(select(1).select_from(divisor).where(divides))
    keys = (row.date_day, metric_def.c.metric, metric_def.c.family, row.channel, row.campaign_id)
    available = metric_def.c.unavailable_because.is_(None)
    sums = (
        select(
            *keys, is_ratio.label("is_ratio"),
            case((available, side("numerator"))).label("numerator"),
            case((available & is_ratio, side("denominator"))).label("denominator"),
        )
        .select_from(kpi_component_daily)
        .join(metric_term, term.component == row.component)
        .join(metric_def, metric_def.c.metric == term.metric)
        .group_by(*keys, metric_def.c.unavailable_because)
        .subquery()
    )  # fmt: skip
    part = sums.c
    value = case((part.is_ratio, ratio(part.numerator, part.denominator)), else_=part.numerator)
    return select(
        part.date_day, part.metric, part.family, part.channel, part.campaign_id,
        part.numerator, part.denominator, value.label("value"),
    )  # fmt: skip
