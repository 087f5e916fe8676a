"""The registry of metrics: every metric is whole, its worked example comes out, and its page is up to date."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics import docs
from b2b_pipeline.metrics.base import Component
from b2b_pipeline.metrics.query import Answer, combine
from b2b_pipeline.metrics.registry import COMPONENTS, FAMILIES, METRICS, borrowed_families
from b2b_pipeline.metrics.store import definition

FIXED_NAMES = (  # noqa: SIM905 - readable
    "spend impressions clicks ctr cpc cpm leads cost_per_lead cost_per_lead_ads mqls sqls cost_per_mql cost_per_sql "
    "lead_to_mql_rate mql_to_sql_rate sql_to_opportunity_rate opportunity_to_won_rate lead_to_customer_rate "
    "lead_to_mql_rate_period mql_to_sql_rate_period sql_to_opportunity_rate_period opportunity_to_won_rate_period "
    "lead_to_customer_rate_period opportunities won lost pipeline win_rate win_rate_amount close_rate "
    "average_deal_size bookings cycle_days_mean cycle_days_median new_customers cpa cac roas mer romi_multiple romi "
    "roi email_sends email_deliveries email_open_rate email_click_rate email_bounce_rate email_unsubscribe_rate "
    "revenue_first_touch revenue_last_touch "
).split()
WITH_EXAMPLE = [metric for metric in METRICS.values() if metric.example]


def config(gross_margin: str | None) -> Config:
    margin = None if gross_margin is None else Decimal(gross_margin)
    return Config(start_date=date(2026, 1, 1), system_of_record="files", gross_margin=margin)


@pytest.mark.parametrize("name", FIXED_NAMES)
def test_every_metric_name_that_users_rely_on_exists(name: str) -> None:
    assert name in METRICS


def test_every_metric_is_made_of_components_that_exist_and_every_component_is_used_by_one() -> None:
    used = {component for metric in METRICS.values() for component in metric.components}
    assert used == set(COMPONENTS)


def test_families_borrow_from_each_other_without_a_circle() -> None:
    def reaches(start: str, goal: str, seen: frozenset[str] = frozenset()) -> bool:
        following = borrowed_families(FAMILIES[start]) - seen
        return goal in following or any(reaches(name, goal, seen | {start}) for name in following)

    assert not [name for name in FAMILIES if reaches(name, name)]


@pytest.mark.parametrize("metric", WITH_EXAMPLE, ids=lambda metric: metric.name)
def test_the_worked_example_of_a_metric_comes_out(metric) -> None:  # type: ignore[no-untyped-def]
    given, value = metric.example
    parts = {name: Fraction(number) for name, number in given.items()}
    numerator, denominator = combine(metric, config(given.get("gross_margin")), parts)
    assert Answer(metric, {}, numerator, denominator).value == Fraction(value)


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.denominator], ids=lambda metric: metric.name)
def test_every_ratio_has_a_worked_example(metric) -> None:  # type: ignore[no-untyped-def]
    assert metric.example


def test_a_ratio_over_nothing_is_undefined_and_not_zero_or_infinite() -> None:
    answer = Answer(METRICS["ctr"], {}, Fraction(3), Fraction(0))
    assert answer.value is None
    assert answer.as_json()["denominator"] == 0


def test_a_metric_that_lacks_the_gross_margin_has_no_numerator() -> None:
    numerator, _ = combine(
        METRICS["romi"], config(None), {"marketing_revenue": Fraction(1), "marketing_cost": Fraction(1)}
    )
    assert numerator is None


def test_the_page_of_metrics_is_what_the_registry_says() -> None:
    written = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    assert written == docs.page(), "run: python -m b2b_pipeline.metrics.docs > docs/metrics.md"


def test_a_changed_formula_or_setting_that_a_component_takes_is_another_definition_and_no_other_setting() -> None:
    now = config(None)
    before = {name: definition(component, now) for name, component in COMPONENTS.items()}
    assert len({*before.values()}) == len(before)
    channels = now.channels.model_copy(update={"paid": [*now.channels.paid, "events"]})
    other = now.model_copy(update={"channels": channels})
    altered = {name for name, component in COMPONENTS.items() if definition(component, other) != before[name]}
    assert "paid_revenue" in altered
    assert not altered & {"leads", "spend", "bookings"}
    spend = COMPONENTS["spend"]
    (leg,) = spend.legs
    doubled: Component = replace(spend, legs=(replace(leg, value=leg.value * 2),))
    assert definition(doubled, now) != before["spend"]
