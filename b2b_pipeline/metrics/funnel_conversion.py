"""Funnel conversion: which share of those who entered a stage went on, by cohort and by period."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, ColumnElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.base import Component, Family, Leg, Metric, one
from b2b_pipeline.metrics.lead_generation import LEADS, MQLS, PERSON_DIMENSIONS, SQLS, counts
from b2b_pipeline.warehouse.tables import person

_DEALS = Need("opportunity", ("person",))
_WON = Need("opportunity", ("won",))


def _of_cohort(day: Column[Any], also: Callable[[Config], ColumnElement[bool]], *needs: Need) -> tuple[Leg, ...]:
    """Persons of the cohort that entered on `day` for whom `also` holds."""
    return (
        Leg(
            person,
            day,
            one(),
            PERSON_DIMENSIONS,
            lambda config: counts(config) & day.is_not(None) & also(config),
            needs=(LEADS, *needs),
        ),
    )


def _cohort(name: str, numerator: str, denominator: str, words: str) -> Metric:
    return Metric(
        name,
        words,
        "rate",
        {numerator: 1},
        {denominator: 1},
        "cohort",
        owner="revenue operations",
        example=({numerator: "3", denominator: "12"}, "0.25"),
    )


def _period(name: str, numerator: str, denominator: str, words: str) -> Metric:
    return Metric(
        name,
        words,
        "rate",
        {numerator: 1},
        {denominator: 1},
        "ratio",
        owner="revenue operations",
        tier="diagnostic",
        example=({numerator: "3", denominator: "4"}, "0.75"),
    )


FAMILY = Family(
    name="funnel_conversion",
    title="Funnel conversion",
    description="A cohort belongs to its entry day and keeps maturing; `_period` rates divide one period's counts.",
    headline="lead_to_mql_rate",
    components=(
        Component(
            "leads_reached_mql",
            "leads of the day that reached MQL or a later stage",
            _of_cohort(person.c.date_day, lambda c: person.c.stage_rank >= c.stages.rank("mql"), MQLS),
        ),
        Component(
            "mqls_reached_sql",
            "MQLs of the day that reached SQL or a later stage",
            _of_cohort(person.c.mql_day, lambda c: person.c.stage_rank >= c.stages.rank("sql"), MQLS, SQLS),
        ),
        Component(
            "sqls_with_opportunity",
            "SQLs of the day whose person has an opportunity",
            _of_cohort(person.c.sql_day, lambda c: person.c.has_opportunity, SQLS, _DEALS),
        ),
        Component(
            "leads_with_won",
            "leads of the day whose person has a won opportunity",
            _of_cohort(person.c.date_day, lambda c: person.c.has_won, _DEALS, _WON),
        ),
    ),
    metrics=(
        _cohort(
            "lead_to_mql_rate", "leads_reached_mql", "leads", "leads of the day that reached MQL / leads of the day"
        ),
        _cohort("mql_to_sql_rate", "mqls_reached_sql", "mqls", "MQLs of the day that reached SQL / MQLs of the day"),
        _cohort(
            "sql_to_opportunity_rate",
            "sqls_with_opportunity",
            "sqls",
            "SQLs of the day with an opportunity / SQLs of the day",
        ),
        _cohort(
            "opportunity_to_won_rate",
            "opened_won",
            "opportunities",
            "opportunities opened on the day that are won / opened",
        ),
        _cohort(
            "lead_to_customer_rate",
            "leads_with_won",
            "leads",
            "leads of the day with a won opportunity / leads of the day",
        ),
        _period("lead_to_mql_rate_period", "mqls", "leads", "MQLs / leads of the same period"),
        _period("mql_to_sql_rate_period", "sqls", "mqls", "SQLs / MQLs of the same period"),
        _period(
            "sql_to_opportunity_rate_period", "opportunities", "sqls", "opportunities opened / SQLs of the same period"
        ),
        _period(
            "opportunity_to_won_rate_period", "won", "opportunities", "won / opportunities opened in the same period"
        ),
        _period("lead_to_customer_rate_period", "new_customers", "leads", "new customers / leads of the same period"),
    ),
)
