"""Pipeline: opportunities of the system of record, opened, won and lost, their value and how long they take."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.base import Component, Family, Leg, Metric, one
from b2b_pipeline.warehouse.tables import deal

DEAL_DIMENSIONS = {
    "channel": deal.c.channel, "campaign": deal.c.campaign_id, "currency": deal.c.currency, "owner": deal.c.owner,
    "product": deal.c.product, "region": deal.c.region, "account": deal.c.account_id,
    "stage": deal.c.stage, "type": deal.c.opp_type,
}  # fmt: skip


def _leg(day: Column[Any], value: ColumnElement[Any], where: ColumnElement[bool] | None = None, needs: str = "") -> Leg:
    """`needs`: the facts of opportunities without which the sum is unknown."""
    return Leg(
        deal, day, value, DEAL_DIMENSIONS, None if where is None else lambda config: where,
        needs=(Need("opportunity"), *(Need("opportunity", (fact,)) for fact in needs.split())),
        dated=(Need("opportunity", ("created_at" if day is _OPENED else "close_date",)),),
    )  # fmt: skip


def _sum(
    day: Column[Any], value: ColumnElement[Any], where: ColumnElement[bool] | None = None, needs: str = ""
) -> tuple[Leg, ...]:
    return (_leg(day, value, where, needs),)


_OPENED, _CLOSED, _AMOUNT = deal.c.date_day, deal.c.close_date, deal.c.amount_reporting
_CYCLE, _DATES = deal.c.is_won & deal.c.cycle_days.is_not(None), "won created_at close_date"

FAMILY = Family(
    name="pipeline",
    title="Pipeline and revenue",
    description="Opportunities count on the day they were opened; won, lost and bookings on the close date.",
    headline="bookings",
    trailing=(28, 90),
    components=(
        Component("opportunities", "opportunities on the day they were opened", _sum(_OPENED, one())),
        Component(
            "opened_won",
            "opportunities opened on the day that are won by now",
            _sum(_OPENED, one(), deal.c.is_won, "won"),
        ),
        Component(
            "pipeline",
            "amount of opportunities on the day they were opened",
            _sum(_OPENED, _AMOUNT, needs="amount"),
            "money",
            of="opportunities",
        ),
        Component("won", "won opportunities on their close date", _sum(_CLOSED, one(), deal.c.is_won, "won")),
        Component("lost", "lost opportunities on their close date", _sum(_CLOSED, one(), deal.c.is_lost, "lost")),
        Component(
            "bookings",
            "amount of won opportunities on their close date",
            _sum(_CLOSED, _AMOUNT, deal.c.is_won, "won amount"),
            "money",
            of="won deals",
        ),
        Component(
            "lost_amount",
            "amount of lost opportunities on their close date",
            _sum(_CLOSED, _AMOUNT, deal.c.is_lost, "lost amount"),
            "money",
            of="lost deals",
        ),
        Component(
            "won_with_amount",
            "won opportunities that have an amount, on their close date",
            _sum(_CLOSED, one(), deal.c.is_won & _AMOUNT.is_not(None), "won amount"),
        ),
        Component(
            "cycle_days",
            "days from opened to won, on the close date",
            _sum(_CLOSED, deal.c.cycle_days, _CYCLE, _DATES),
            "days",
        ),
        Component(
            "won_with_cycle",
            "won opportunities with both dates, on the close date",
            _sum(_CLOSED, one(), _CYCLE, _DATES),
        ),
        Component(
            "new_customers",
            "accounts on the close date of their first won opportunity",
            _sum(_CLOSED, one(), deal.c.is_new_customer, "won account_id"),
        ),
    ),
    metrics=(
        Metric(
            "opportunities",
            "opportunities opened",
            "count",
            {"opportunities": 1},
            stage="pipeline",
            owner="sales",
        ),
        Metric(
            "pipeline",
            "amount of opportunities opened",
            "money",
            {"pipeline": 1},
            stage="pipeline",
            owner="sales",
        ),
        Metric(
            "won",
            "opportunities won, by close date",
            "count",
            {"won": 1},
            stage="revenue",
            owner="sales",
        ),
        Metric(
            "lost",
            "opportunities lost, by close date",
            "count",
            {"lost": 1},
            stage="revenue",
            owner="sales",
            tier="diagnostic",
        ),
        Metric(
            "win_rate",
            "won / (won + lost), by close date",
            "rate",
            {"won": 1},
            {"won": 1, "lost": 1},
            "ratio",
            "pipeline",
            "sales",
            example=({"won": "3", "lost": "2"}, "0.6"),
        ),
        Metric(
            "win_rate_amount",
            "amount won / (amount won + amount lost), by close date",
            "rate",
            {"bookings": 1},
            {"bookings": 1, "lost_amount": 1},
            "ratio",
            "pipeline",
            "sales",
            tier="diagnostic",
            example=({"bookings": "900", "lost_amount": "100"}, "0.9"),
        ),
        Metric(
            "close_rate",
            "won / opened, by the day opened",
            "rate",
            {"opened_won": 1},
            {"opportunities": 1},
            "cohort",
            "pipeline",
            "sales",
            example=({"opened_won": "1", "opportunities": "4"}, "0.25"),
        ),
        Metric(
            "average_deal_size",
            "bookings / won opportunities with an amount",
            "money",
            {"bookings": 1},
            {"won_with_amount": 1},
            "ratio",
            "revenue",
            "sales",
            example=({"bookings": "90000", "won_with_amount": "4"}, "22500"),
        ),
        Metric(
            "bookings",
            "amount of won opportunities, by close date",
            "money",
            {"bookings": 1},
            stage="revenue",
            owner="sales",
        ),
        Metric(
            "cycle_days_mean",
            "mean days from opened to won, by close date",
            "days",
            {"cycle_days": 1},
            {"won_with_cycle": 1},
            "ratio",
            "pipeline",
            "sales",
            example=({"cycle_days": "135", "won_with_cycle": "3"}, "45"),
        ),
        Metric(
            "cycle_days_median",
            "median days from opened to won, by close date",
            "days",
            additivity="distinct",
            stage="pipeline",
            owner="sales",
            tier="diagnostic",
            median_of=_leg(_CLOSED, deal.c.cycle_days, _CYCLE, _DATES),
        ),
        Metric(
            "new_customers",
            "accounts by the close date of their first won opportunity",
            "count",
            {"new_customers": 1},
            stage="revenue",
            owner="sales",
        ),
    ),
)
