"""Lead generation: persons who became leads, qualified leads, and what they cost."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.base import Component, Family, Leg, Metric, one
from b2b_pipeline.metrics.paid_media import AD_SPEND
from b2b_pipeline.warehouse.tables import cost_ledger, person

PERSON_DIMENSIONS = {
    "channel": person.c.channel, "campaign": person.c.campaign_id,
    "owner": person.c.owner, "country": person.c.country, "region": person.c.region,
    "source": person.c.lead_source, "status": person.c.status, "company": person.c.company,
    "capture_type": person.c.capture_type,
}  # fmt: skip
_COST_DIMENSIONS = {
    "channel": cost_ledger.c.channel,
    "campaign": cost_ledger.c.campaign_id,
    "currency": cost_ledger.c.currency,
}
MARKETING = ("ads", "agency", "tools", "salaries_marketing", "content", "event")
SALES = ("salaries_sales",)
LEADS, MQLS, SQLS = Need("lead"), Need("stage_event", ("mql",)), Need("stage_event", ("sql",))


def counts(config: Config) -> ColumnElement[bool]:
    """Persons that are not excluded."""
    return ~person.c.is_excluded


def _ledger(categories: tuple[str, ...]) -> Leg:
    return Leg(
        cost_ledger,
        cost_ledger.c.date_day,
        cost_ledger.c.amount_reporting,
        _COST_DIMENSIONS,
        lambda config: cost_ledger.c.category.in_(categories),
        needs=(Need("cost_ledger", categories),),
    )


FAMILY = Family(
    name="lead_generation",
    title="Lead generation",
    description="Leads are distinct persons on the day they first became one; qualified ones on their first entry.",
    headline="leads",
    components=(
        Component(
            "leads",
            "persons on the day they became a lead",
            (Leg(person, person.c.date_day, one(), PERSON_DIMENSIONS, counts, needs=(LEADS,)),),
        ),
        Component(
            "mqls",
            "persons on the day they first became an MQL",
            (
                Leg(
                    person,
                    person.c.mql_day,
                    one(),
                    PERSON_DIMENSIONS,
                    lambda c: counts(c) & person.c.mql_day.is_not(None),
                    needs=(LEADS, MQLS),
                ),
            ),
        ),
        Component(
            "sqls",
            "persons on the day they first became an SQL",
            (
                Leg(
                    person,
                    person.c.sql_day,
                    one(),
                    PERSON_DIMENSIONS,
                    lambda c: counts(c) & person.c.sql_day.is_not(None),
                    needs=(LEADS, SQLS),
                ),
            ),
        ),
        Component(
            "marketing_cost",
            "ad spend and the marketing part of the cost ledger",
            (AD_SPEND, _ledger(MARKETING)),
            "money",
            bought=True,
        ),
        Component("sales_cost", "the sales part of the cost ledger", (_ledger(SALES),), "money", bought=True),
    ),
    metrics=(
        Metric(
            "leads",
            "distinct persons by the day of their first lead record",
            "count",
            {"leads": 1},
        ),
        Metric("mqls", "persons by the day of their first entry into MQL", "count", {"mqls": 1}),
        Metric("sqls", "persons by the day of their first entry into SQL", "count", {"sqls": 1}),
        Metric(
            "cost_per_lead",
            "(ad spend + marketing costs) / leads",
            "money",
            {"marketing_cost": 1},
            {"leads": 1},
            "ratio",
            example=({"marketing_cost": "1250.00", "leads": "8"}, "156.25"),
        ),
        Metric(
            "cost_per_lead_ads",
            "ad spend / leads",
            "money",
            {"spend": 1},
            {"leads": 1},
            "ratio",
            example=({"spend": "1000.00", "leads": "8"}, "125"),
        ),
        Metric(
            "cost_per_mql",
            "(ad spend + marketing costs) / MQLs",
            "money",
            {"marketing_cost": 1},
            {"mqls": 1},
            "ratio",
            example=({"marketing_cost": "1250.00", "mqls": "4"}, "312.5"),
        ),
        Metric(
            "cost_per_sql",
            "(ad spend + marketing costs) / SQLs",
            "money",
            {"marketing_cost": 1},
            {"sqls": 1},
            "ratio",
            example=({"marketing_cost": "1250.00", "sqls": "2"}, "625"),
        ),
    ),
)
