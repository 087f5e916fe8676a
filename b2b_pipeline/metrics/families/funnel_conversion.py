"""Funnel conversion: which share of those who entered a stage went on, by cohort and by period."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.families.lead_generation import LEADS, MQLS, SQLS, at_least
from b2b_pipeline.metrics.families.pipeline import OPPORTUNITIES, WON
from b2b_pipeline.metrics.kinds import Cohort, Fitted, Linear
from b2b_pipeline.metrics.model import Family, Metric, reached

_TIED = Need("opportunity", ("person",))


def _cohort(name: str, numerator: str, denominator: str, words: str, within: int | None = None) -> Metric:
    return Metric(
        name,
        words,
        "rate",
        Cohort(numerator, denominator, within),
        owner="revenue operations",
        example=({numerator: "3", denominator: "12"}, "0.25"),
    )


def _period(name: str, numerator: str, denominator: str, words: str) -> Metric:
    return Metric(
        name,
        words,
        "rate",
        Linear({numerator: 1}, over={denominator: 1}),
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
        reached(
            "leads_reached_mql",
            "leads of the day that reached MQL or a later stage",
            LEADS,
            at_least("mql"),
            Need("stage_event", ("mql",)),
        ),
        reached(
            "mqls_reached_sql",
            "MQLs of the day that reached SQL or a later stage",
            MQLS,
            at_least("sql"),
            Need("stage_event", ("sql",)),
        ),
        reached("sqls_with_opportunity", "SQLs of the day whose person has an opportunity", SQLS, OPPORTUNITIES, _TIED),
        reached(
            "leads_with_won",
            "leads of the day whose person has a won opportunity",
            LEADS,
            WON,
            _TIED,
            Need("opportunity", ("won",)),
        ),
    ),
    metrics=(
        _cohort(
            "lead_to_mql_rate", "leads_reached_mql", "leads", "leads of the day that reached MQL / leads of the day"
        ),
        _cohort(
            "lead_to_mql_rate_30d",
            "leads_reached_mql",
            "leads",
            "leads of the day that reached MQL within 30 days / leads of the day",
            30,
        ),
        Metric(
            "lead_to_mql_rate_30d_resolved",
            "leads of the day that reached MQL within 30 days / leads of the day, of those that have had 30 days",
            "rate",
            Cohort("leads_reached_mql", "leads", 30, "resolved"),
            owner="revenue operations",
            example=({"leads_reached_mql": "3", "leads": "12"}, "0.25"),
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
        Metric(
            "opportunity_to_won_rate_resolved",
            "opportunities opened on the day that are won / won or lost, without those that are still open",
            "rate",
            Cohort("opened_won", "opportunities", basis="resolved", decided="opened_resolved"),
            owner="revenue operations",
            example=({"opened_won": "3", "opened_resolved": "4", "opportunities": "12"}, "0.75"),
        ),
        _cohort(
            "lead_to_customer_rate",
            "leads_with_won",
            "leads",
            "leads of the day with a won opportunity / leads of the day",
        ),
        Metric(
            "lead_to_customer_rate_90d",
            "the share of leads that have a won opportunity after 90 days, estimated (Kaplan-Meier) from all leads of "
            "the days, those that have not had 90 days yet too",
            "rate",
            Fitted("leads_with_won", "leads", within=90, minimum_n=30),
            owner="revenue operations",
            example=({"leads_with_won": "3", "leads": "12"}, "0.25"),
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
