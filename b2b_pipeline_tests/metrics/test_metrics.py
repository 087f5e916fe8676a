"""The registry of metrics: every metric is whole, its worked example comes out, and its page is up to date."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import Date, Text, create_engine, insert, literal

from b2b_pipeline.configuration.config import TAKEN, Config
from b2b_pipeline.metrics import docs
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.kinds import Cohort, Linear, Quantile
from b2b_pipeline.metrics.model import Aggregate, Join, Measure, Metric, ModelError, Term
from b2b_pipeline.metrics.periods import GRAINS
from b2b_pipeline.metrics.plan import Asked, Bounds, plan
from b2b_pipeline.metrics.registry import ADDITIVITY, COMPONENTS, DIMENSIONS, FAMILIES, METRICS, borrowed_families
from b2b_pipeline.metrics.store import definition
from b2b_pipeline.metrics.when import End, Last, Shifted, Start, Trailing
from b2b_pipeline.warehouse.tables import kpi_component_daily, opp_contact_role, opportunity

FIXED_NAMES = (  # noqa: SIM905 - readable
    "spend impressions clicks ctr cpc cpm leads cost_per_lead cost_per_lead_ads mqls sqls cost_per_mql cost_per_sql "
    "lead_to_mql_rate mql_to_sql_rate sql_to_opportunity_rate opportunity_to_won_rate lead_to_customer_rate "
    "lead_to_mql_rate_period mql_to_sql_rate_period sql_to_opportunity_rate_period opportunity_to_won_rate_period "
    "lead_to_customer_rate_period opportunities won lost pipeline win_rate win_rate_amount close_rate "
    "average_deal_size bookings cycle_days_mean cycle_days_median new_customers cpa cac roas mer romi_multiple romi "
    "roi email_sends email_deliveries email_open_rate email_click_rate email_bounce_rate email_unsubscribe_rate "
    "revenue_first_touch revenue_last_touch "
    "revenue_invoiced invoices average_customer_value new_subscriptions churned_subscriptions active_subscriptions "
).split()
WITH_EXAMPLE = [metric for metric in METRICS.values() if metric.example]


def config(gross_margin: str | None) -> Config:
    margin = None if gross_margin is None else Decimal(gross_margin)
    return Config(start_date=date(2026, 1, 1), system_of_record="files", gross_margin=margin)


def computed(metric: Metric, given: Mapping[str, str]) -> Answer:
    """The metric by its own plan, of a cell for each term."""
    with create_engine("duckdb:///:memory:").begin() as connection:
        kpi_component_daily.create(connection)
        for term in metric.terms:
            if COMPONENTS[term.measure].aggregate is Aggregate.DISTINCT:  # then all is counted anew, of rows
                (leg,), number = COMPONENTS[term.measure].legs, int(given[term.label])
                leg.table.create(connection)
                texts = [column.name for column in leg.table.c if isinstance(column.type, Text)]
                (amount,) = (Decimal(value) / number for name, value in given.items() if name != term.label)
                for n in range(number):
                    words = dict.fromkeys(texts, str(n)) | {"kind": "invoice", "amount_reporting": amount}
                    connection.execute(insert(leg.table).values(date_day=date(2026, 3, 1), **words))
            row = {"component": term.measure, "axis": term.axis, "age": term.within, "n_rows": 1}
            value = Decimal(given[term.label])
            connection.execute(insert(kpi_component_daily).values(date_day=date(2026, 3, 1), value=value, **row))
        asked = Asked(known_until=literal(date(2026, 12, 31), Date))
        found = connection.execute(plan(metric, config(given.get("gross_margin")), asked)).one()
    sides = (None if side is None else Fraction(side) for side in (found.numerator, found.denominator))
    return Answer(metric, {}, *sides)


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
    assert computed(metric, given).value == Fraction(value)


@pytest.mark.parametrize("metric", [m for m in METRICS.values() if m.denominator], ids=lambda metric: metric.name)
def test_every_ratio_has_a_worked_example(metric) -> None:  # type: ignore[no-untyped-def]
    assert metric.example


def test_a_ratio_over_nothing_is_undefined_and_not_zero_or_infinite() -> None:
    answer = Answer(METRICS["ctr"], {}, Fraction(3), Fraction(0))
    assert answer.value is None
    assert answer.as_json()["denominator"] == 0


def test_a_metric_that_lacks_the_gross_margin_has_no_numerator() -> None:
    given = {"marketing_revenue (last)": "1", "marketing_cost": "1"}
    assert computed(METRICS["romi"], given).numerator is None
    assert computed(METRICS["romi"], given | {"gross_margin": "0.5"}).numerator == Fraction(-1, 2)


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
    doubled: Measure = replace(spend, legs=(replace(leg, value=leg.value * 2),))
    assert definition(doubled, now) != before["spend"]


REFUSED = {
    "a sum over days of a level": (Linear({"open_pipeline": 1}), "is a level, which days do not add up to"),
    "a sum over days of what each of them tells whole": (Linear({"community_members": 1}), "take it on Last"),
    "a ratio of a level over the period": (Linear({"open_pipeline": 1}, over={"won": 1}), "take it at Start"),
    "a sum of values of which quantiles are taken": (Linear({"cycle_lengths": 1}), "take a Quantile of it"),
    "a quantile of what was summed": (Quantile("cycle_days", Decimal("0.5")), "is not kept value by value"),
    "a cohort of a level": (Cohort("open_pipeline", "leads"), "is no count of those who entered"),
    "a horizon where nothing has an age": (Cohort("opened_won", "opportunities", 30), "has no ages"),
    "a horizon of those with an outcome alone": (
        Cohort("leads_reached_mql", "leads", 30, "resolved", "opened_resolved"), "say by `within` or by `decided`",
    ),
    "a share of those with an outcome, and nothing that says which": (
        Cohort("opened_won", "opportunities", basis="resolved"), "say by `within` or by `decided`",
    ),
    "a share of those with an outcome, of a level": (
        Cohort("opened_won", "opportunities", None, "resolved", "open_pipeline"), "is no count of those who entered",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_metric_that_would_give_a_wrong_number_cannot_be_declared(case: str) -> None:
    kind, why = REFUSED[case]
    with pytest.raises(ModelError, match=why):
        kind.additivity(COMPONENTS)


def test_additivity_follows_from_how_measures_aggregate() -> None:
    expected = {
        "spend": "additive", "ctr": "ratio", "lead_to_mql_rate": "cohort", "cycle_days_p90": "quantile",
        "open_pipeline": "level", "community_members": "level",
        "accounts_with_opportunities": "distinct", "attributed_revenue": "additive",
    }  # fmt: skip
    assert {name: ADDITIVITY[name] for name in expected} == expected


def test_a_table_is_joined_only_where_each_row_has_at_most_one_of_it() -> None:
    at = opp_contact_role.c
    assert Join(opportunity, {"source": at.source, "opp_id": at.opp_id})
    with pytest.raises(ModelError, match="a row may have many of opp_contact_role"):
        Join(opp_contact_role, {"source": opportunity.c.source, "opp_id": opportunity.c.opp_id})


@pytest.mark.parametrize(
    ("when", "first", "last"),
    [
        (Start(), None, "2026-02-28"), (End(), None, "2026-03-31"), (Last(), "2026-03-31", "2026-03-31"),
        (Trailing(90), "2026-01-01", "2026-03-31"),
        (Shifted(1), "2026-02-01", "2026-02-28"), (Shifted(12), "2025-03-01", "2025-03-31"),
    ],
)  # fmt: skip
def test_a_term_may_be_of_other_days_than_those_of_the_period(when, first, last) -> None:  # type: ignore[no-untyped-def]
    found = when.span(date(2026, 3, 1), date(2026, 3, 31))
    assert found == tuple(day and date.fromisoformat(day) for day in (first, last))


def test_terms_of_different_days_meet_in_one_period() -> None:
    """Growth of what was booked against the month before, and the level at the start of each month."""
    growth = Metric("growth", "", "rate", Linear({"bookings": 1}, over={Term("bookings", when=Shifted(1)): 1}))
    level = Metric("level", "", "count", Linear({Term("open_opportunities", when=Start()): 1}))
    months = [Bounds(date(2026, n, 1), date(2026, n, 1), date(2026, n + 1, 1) - timedelta(days=1)) for n in (2, 3)]
    cells = {
        "bookings": {date(2026, 1, 31): 100, date(2026, 2, 28): 50, date(2026, 3, 1): 20},
        "open_opportunities": {date(2026, 1, 5): 3, date(2026, 2, 10): -1},
    }
    with create_engine("duckdb:///:memory:").begin() as connection:
        kpi_component_daily.create(connection)
        for component, days in cells.items():
            rows = [{"component": component, "date_day": day, "value": n, "n_rows": 1} for day, n in days.items()]
            connection.execute(insert(kpi_component_daily), rows)
        asked = Asked(grain="month", periods=months)
        found = {m.name: connection.execute(plan(m, config(None), asked)).all() for m in (growth, level)}
    assert {row.period.month: (row.numerator, row.denominator) for row in found["growth"]} == {
        2: (50, 100),
        3: (20, 50),
    }
    assert {row.period.month: row.numerator for row in found["level"]} == {2: 3, 3: 2}


def test_no_dimension_of_ones_own_can_have_a_name_that_a_query_or_an_answer_has() -> None:
    measures = [COMPONENTS[name] for name in ("spend", "leads_reached_mql", "open_pipeline", "attributed_revenue")]
    columns = {column.name for measure in measures for column in measure.rows(config(None), ()).c}
    asked = Asked(grain="month", periods=[Bounds(date(2026, 3, 1), date(2026, 3, 1), date(2026, 3, 31))])
    (cells,) = plan(METRICS["spend"], config(None), asked).get_final_froms()
    columns |= {column.name for column in cells.c}
    keys = Answer(METRICS["spend"], {"date": date(2026, 3, 1)}, None, None).as_json().keys()
    assert {*GRAINS, *DIMENSIONS, *columns, *keys} <= TAKEN
