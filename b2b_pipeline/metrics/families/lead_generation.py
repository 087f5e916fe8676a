"""Lead generation: persons who became leads, qualified leads, and what they cost."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import COSTS, PERSONS, STAGE_ENTRIES
from b2b_pipeline.metrics.families.paid_media import SPEND
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric, one
from b2b_pipeline.warehouse.tables import cost_ledger, person, stage_entry

MARKETING = ("ads", "agency", "tools", "salaries_marketing", "content", "event")
SALES = ("salaries_sales",)
_LEADS = Need("lead")


def _entered(stage: str) -> Leg:
    """First entries of persons into a stage."""
    entry = stage_entry.c
    return Leg(
        STAGE_ENTRIES, entry.date_day, one(), (entry.stage == stage) & (entry.nth == 1) & ~entry.is_implied,
        needs=(_LEADS, Need("stage_event", (stage,))), entity=entry.person_key,
    )  # fmt: skip


def at_least(stage: str) -> Measure:
    """Entries of persons into a stage or a later one."""
    later = STAGE_ENTRIES.only(lambda config: stage_entry.c.stage.in_(config.stages.order[config.stages.rank(stage) :]))
    leg = Leg(later, stage_entry.c.date_day, one(), entity=stage_entry.c.person_key)
    return Measure(f"at_least_{stage}", f"entries into {stage} or a later stage", (leg,))


def _ledger(categories: tuple[str, ...]) -> Leg:
    return Leg(
        COSTS, cost_ledger.c.date_day, cost_ledger.c.amount_reporting, cost_ledger.c.category.in_(categories),
        needs=(Need("cost_ledger", categories),),
    )  # fmt: skip


LEADS = Measure(
    "leads",
    "persons on the day they became a lead",
    (Leg(PERSONS, person.c.date_day, one(), needs=(_LEADS,), entity=person.c.person_key),),
)
MQLS = Measure("mqls", "persons on the day they first became an MQL", (_entered("mql"),))
SQLS = Measure("sqls", "persons on the day they first became an SQL", (_entered("sql"),))


def _cost_per(name: str, formula: str, cost: str, of: str, example: tuple[str, str, str]) -> Metric:
    spent, number, value = example
    return Metric(
        name, formula, "money", Linear({cost: 1}, over={of: 1}), example=({cost: spent, of: number}, value)
    )  # fmt: skip


FAMILY = Family(
    name="lead_generation",
    title="Lead generation",
    description="Leads are distinct persons on the day they first became one; qualified ones on their first entry.",
    headline="leads",
    components=(
        LEADS,
        MQLS,
        SQLS,
        Measure(
            "marketing_cost",
            "ad spend and the marketing part of the cost ledger",
            (*SPEND.legs, _ledger(MARKETING)),
            "money",
            bought=True,
        ),
        Measure("sales_cost", "the sales part of the cost ledger", (_ledger(SALES),), "money", bought=True),
    ),
    metrics=(
        Metric("leads", "distinct persons by the day of their first lead record", "count", Linear({"leads": 1})),
        Metric("mqls", "persons by the day of their first entry into MQL", "count", Linear({"mqls": 1})),
        Metric("sqls", "persons by the day of their first entry into SQL", "count", Linear({"sqls": 1})),
        _cost_per(
            "cost_per_lead", "(ad spend + marketing costs) / leads", "marketing_cost", "leads",
            ("1250.00", "8", "156.25"),
        ),
        _cost_per("cost_per_lead_ads", "ad spend / leads", "spend", "leads", ("1000.00", "8", "125")),
        _cost_per(
            "cost_per_mql", "(ad spend + marketing costs) / MQLs", "marketing_cost", "mqls", ("1250.00", "4", "312.5")
        ),
        _cost_per(
            "cost_per_sql", "(ad spend + marketing costs) / SQLs", "marketing_cost", "sqls", ("1250.00", "2", "625")
        ),
    ),
)  # fmt: skip
