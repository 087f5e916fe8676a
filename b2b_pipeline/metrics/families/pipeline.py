"""Pipeline: opportunities of the system of record, opened, won and lost, their value and how long they take."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import DEALS
from b2b_pipeline.metrics.kinds import Cohort, Linear, Quantile
from b2b_pipeline.metrics.model import Aggregate, Family, Leg, Measure, Metric, Term, one
from b2b_pipeline.metrics.when import End
from b2b_pipeline.warehouse.tables import deal

_OPENED, _CLOSED, _AMOUNT = deal.c.date_day, deal.c.close_date, deal.c.amount_reporting
_CYCLE, _DATES = deal.c.is_won & deal.c.cycle_days.is_not(None), "won created_at close_date"


def _leg(day: Column[Any], value: ColumnElement[Any], where: ColumnElement[bool] | None = None, needs: str = "") -> Leg:
    """`needs`: the facts of opportunities without which the sum is unknown."""
    return Leg(
        DEALS, day, value, where,
        needs=(Need("opportunity"), *(Need("opportunity", (fact,)) for fact in needs.split())),
        dated=(Need("opportunity", ("created_at" if day is _OPENED else "close_date",)),),
        entity=deal.c.person_key,
    )  # fmt: skip


def _measure(
    name: str,
    description: str,
    day: Column[Any],
    value: ColumnElement[Any],
    where: ColumnElement[bool] | None = None,
    needs: str = "",
    unit: Literal["money", "count", "days"] = "count",
    **more: Any,
) -> Measure:
    return Measure(name, description, (_leg(day, value, where, needs),), unit, **more)


def _level(
    name: str, description: str, value: ColumnElement[Any], unit: Literal["money", "count"], needs: str, of: str = ""
) -> Measure:
    """What was opened, less what was closed; of deals that say when."""
    closed = deal.c.is_won | deal.c.is_lost
    is_dated = _OPENED.is_not(None) & (~closed | _CLOSED.is_not(None))
    opened = _leg(_OPENED, value, is_dated, needs)
    legs = (opened, replace(_leg(_CLOSED, value, is_dated & closed, needs), sign=-1))
    return Measure(name, description, legs, unit, Aggregate.LEVEL, of=of)


OPPORTUNITIES = _measure("opportunities", "opportunities on the day they were opened", _OPENED, one())
WON = _measure("won", "won opportunities on their close date", _CLOSED, one(), deal.c.is_won, "won")


def _metric(name: str, formula: str, unit: Any, kind: Any, stage: Any = "pipeline", **more: Any) -> Metric:
    return Metric(name, formula, unit, kind, stage, "sales", **more)


FAMILY = Family(
    name="pipeline",
    title="Pipeline and revenue",
    description="Opportunities count on the day they were opened; won, lost and bookings on the close date.",
    headline="bookings",
    trailing=(28, 90),
    components=(
        OPPORTUNITIES,
        _measure(
            "opened_won", "opportunities opened on the day that are won by now", _OPENED, one(), deal.c.is_won, "won"
        ),
        _measure(
            "opened_resolved", "opportunities opened on the day that are won or lost by now", _OPENED, one(),
            deal.c.is_won | deal.c.is_lost, "won lost",
        ),
        _measure(
            "pipeline", "amount of opportunities on the day they were opened", _OPENED, _AMOUNT, None, "amount",
            "money", of="opportunities",
        ),
        _level(
            "open_opportunities", "opportunities that were opened and not yet closed", one(), "count", "won lost"
        ),
        _level(
            "open_pipeline", "amount of opportunities that were opened and not yet closed", _AMOUNT, "money",
            "won lost amount", "open opportunities",
        ),
        Measure(
            "accounts_with_opportunities", "accounts with an opportunity opened",
            (_leg(_OPENED, deal.c.account_id, deal.c.account_id.is_not(None), "account_id"),),
            aggregate=Aggregate.DISTINCT,
        ),
        WON,
        _measure("lost", "lost opportunities on their close date", _CLOSED, one(), deal.c.is_lost, "lost"),
        _measure(
            "bookings", "amount of won opportunities on their close date", _CLOSED, _AMOUNT, deal.c.is_won,
            "won amount", "money", of="won deals",
        ),
        _measure(
            "lost_amount", "amount of lost opportunities on their close date", _CLOSED, _AMOUNT, deal.c.is_lost,
            "lost amount", "money", of="lost deals",
        ),
        _measure(
            "won_with_amount", "won opportunities that have an amount, on their close date", _CLOSED, one(),
            deal.c.is_won & _AMOUNT.is_not(None), "won amount",
        ),
        _measure(
            "cycle_days", "days from opened to won, on the close date", _CLOSED, deal.c.cycle_days, _CYCLE, _DATES,
            "days",
        ),
        _measure(
            "won_with_cycle", "won opportunities with both dates, on the close date", _CLOSED, one(), _CYCLE, _DATES
        ),
        _measure(
            "cycle_lengths", "won opportunities by their days from opened to won, on the close date", _CLOSED,
            deal.c.cycle_days, _CYCLE, _DATES, "days", aggregate=Aggregate.QUANTILE,
        ),
        _measure(
            "new_customers", "accounts on the close date of their first won opportunity", _CLOSED, one(),
            deal.c.is_new_customer, "won account_id",
        ),
    ),
    metrics=(
        _metric("opportunities", "opportunities opened", "count", Linear({"opportunities": 1})),
        _metric("pipeline", "amount of opportunities opened", "money", Linear({"pipeline": 1})),
        _metric(
            "open_opportunities", "opportunities open at the end of the period", "count",
            Linear({Term("open_opportunities", when=End()): 1}),
        ),
        _metric(
            "open_pipeline", "amount of the opportunities open at the end of the period", "money",
            Linear({Term("open_pipeline", when=End()): 1}),
        ),
        _metric(
            "accounts_with_opportunities", "distinct accounts in which an opportunity was opened", "count",
            Linear({"accounts_with_opportunities": 1}), tier="diagnostic",
        ),
        _metric("won", "opportunities won, by close date", "count", Linear({"won": 1}), "revenue"),
        _metric(
            "lost", "opportunities lost, by close date", "count", Linear({"lost": 1}), "revenue", tier="diagnostic"
        ),
        _metric(
            "win_rate", "won / (won + lost), by close date", "rate", Linear({"won": 1}, over={"won": 1, "lost": 1}),
            example=({"won": "3", "lost": "2"}, "0.6"),
        ),
        _metric(
            "win_rate_amount", "amount won / (amount won + amount lost), by close date", "rate",
            Linear({"bookings": 1}, over={"bookings": 1, "lost_amount": 1}), tier="diagnostic",
            example=({"bookings": "900", "lost_amount": "100"}, "0.9"),
        ),
        _metric(
            "close_rate", "won / opened, by the day opened", "rate", Cohort("opened_won", "opportunities"),
            example=({"opened_won": "1", "opportunities": "4"}, "0.25"),
        ),
        _metric(
            "average_deal_size", "bookings / won opportunities with an amount", "money",
            Linear({"bookings": 1}, over={"won_with_amount": 1}), "revenue",
            example=({"bookings": "90000", "won_with_amount": "4"}, "22500"),
        ),
        _metric(
            "bookings", "amount of won opportunities, by close date", "money", Linear({"bookings": 1}), "revenue"
        ),
        _metric(
            "cycle_days_mean", "mean days from opened to won, by close date", "days",
            Linear({"cycle_days": 1}, over={"won_with_cycle": 1}),
            example=({"cycle_days": "135", "won_with_cycle": "3"}, "45"),
        ),
        _metric(
            "cycle_days_median", "median days from opened to won, by close date", "days",
            Quantile("cycle_lengths", Decimal("0.5")), tier="diagnostic",
        ),
        _metric(
            "cycle_days_p90", "days within which 9 of 10 won opportunities went from opened to won, by close date",
            "days", Quantile("cycle_lengths", Decimal("0.9")), tier="diagnostic",
        ),
        _metric(
            "new_customers", "accounts by the close date of their first won opportunity", "count",
            Linear({"new_customers": 1}), "revenue",
        ),
    ),
)  # fmt: skip
