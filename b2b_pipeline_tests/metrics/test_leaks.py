"""The leak check: what money and people do not meet, with amounts."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import Table, insert

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.leaks import FRUITLESS, SHOWN, UNFED, UNKNOWN, UNTOUCHED, leaks
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import campaign, cost_ledger, credit, person, spend
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import START, UNTIL
from b2b_pipeline_tests.support.migrated import migrated

TODAY = date(2026, 6, 16)
CONFIG = Config.model_validate({"start_date": "2026-01-01", "system_of_record": "files"})


@pytest.fixture
def warehouse(tmp_path: Any) -> Warehouse:
    found = Warehouse(f"duckdb:///{tmp_path / 'warehouse.duckdb'}")
    migrated(found)
    return found


def found(warehouse: Warehouse, *rows: tuple[Table, dict[str, Any]]) -> list[str]:
    """What is told of these rows, all of yesterday unless they say so."""
    base = {"date_day": TODAY - timedelta(days=1), "source": "test"}
    with warehouse.write() as connection:
        for number, (table, row) in enumerate(rows):
            more = {"person_key": str(number), "is_excluded": False} if table is person else {}
            more |= {"opp_id": str(number), "model": "last"} if table is credit else {}
            whole = {name: value for name, value in {**base, **more, **row}.items() if name in table.c}
            connection.execute(insert(table), [whole])
    with warehouse.read() as connection:
        return [leak.told("EUR") for leak in leaks(connection, CONFIG, TODAY)]


def test_a_paid_channel_with_leads_and_revenue_and_no_spend_is_told_with_both(warehouse: Warehouse) -> None:
    told = found(
        warehouse,
        (person, {"channel": "paid_social"}), (person, {"channel": "paid_social"}),
        (credit, {"channel": "paid_social", "amount_reporting": Decimal(31000)}),
        (person, {"channel": "direct"}),
    )  # fmt: skip
    assert told == [f"paid_social: 2 leads, 1 won deal of 31,000.00 EUR: {UNFED[0]}"]


def test_a_channel_whose_ads_are_booked_as_a_cost_is_no_leak(warehouse: Warehouse) -> None:
    booked = (cost_ledger, {"channel": "paid_social", "category": "ads"})
    assert not found(warehouse, (person, {"channel": "paid_social"}), booked)


def test_a_campaign_that_no_source_knows_is_told_and_one_that_is_known_is_not(warehouse: Warehouse) -> None:
    spent = (spend, {"channel": "display", "campaign_id": "1", "spend_reporting": Decimal(10)})
    told = found(
        warehouse, spent,
        (person, {"channel": "display", "campaign_id": "1"}),
        (person, {"channel": "display", "campaign_id": "sprnig"}),
        (person, {"channel": "email", "campaign_id": "june newsletter"}),
        (campaign, {"campaign_id": "2"}), (person, {"channel": "display", "campaign_id": "2"}),
    )  # fmt: skip
    assert told == [f"display, campaign 'sprnig': 1 lead: {UNKNOWN[0]}"]


def test_what_was_spent_without_a_lead_is_told_the_most_first_and_the_rest_as_one(warehouse: Warehouse) -> None:
    rows = [
        (spend, {"channel": "display", "campaign_id": f"c{n}", "spend_reporting": Decimal(1000 * n)})
        for n in range(1, 8)
    ]
    assert not found(warehouse, *rows), "where no lead names a campaign, nobody knows that none came by these"
    told = found(warehouse, *[(person, {"channel": "display", "campaign_id": "c1"})] * 100)
    assert told[0] == f"display, campaign 'c7': 7,000.00 EUR spent: {FRUITLESS[0]}"
    assert told[-1] == f"1 more: 2,000.00 EUR spent: {FRUITLESS[0]}"
    assert len(told) == SHOWN + 1


def test_a_campaign_that_is_too_small_to_have_bought_a_lead_is_no_leak(warehouse: Warehouse) -> None:
    rows = [
        (spend, {"channel": "display", "campaign_id": name, "spend_reporting": Decimal(much)})
        for name, much in (("a", 900), ("b", 100))
    ]
    assert not found(warehouse, *rows, *[(person, {"channel": "display", "campaign_id": "a"})] * 3)


def test_won_deals_without_a_touch_are_told_and_amounts_that_are_unknown_are_no_zeros(warehouse: Warehouse) -> None:
    told = found(warehouse, (credit, {"amount_reporting": Decimal(500)}), (credit, {"amount_reporting": None}))
    assert told == [f"deals: 2 won deals of 500.00 EUR, 1 of them without an amount: {UNTOUCHED[0]}"]


def test_a_deal_without_any_known_amount_is_not_told_as_one_of_nothing(warehouse: Warehouse) -> None:
    assert found(warehouse, (credit, {})) == [f"deals: 1 won deal of unknown amount: {UNTOUCHED[0]}"]


def test_days_of_long_ago_and_today_are_not_looked_at(warehouse: Warehouse) -> None:
    lead = {"channel": "paid_social"}
    assert not found(
        warehouse, (person, {**lead, "date_day": TODAY}), (person, {**lead, "date_day": TODAY - timedelta(days=91)})
    )


@pytest.mark.thorough
def test_the_demos_paid_social_is_told_with_the_leads_that_its_metric_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = installation.shared(monkeypatch).pipeline()
    today = UNTIL + timedelta(days=1)
    with pipeline.warehouse.read() as connection:
        told = leaks(connection, pipeline.config, today)
    social = next(leak for leak in told if leak.where == "paid_social" and leak.kind == UNFED[0])
    answers = ask(pipeline.warehouse, pipeline.config, ["leads"], START, UNTIL, ["channel"])
    assert [answer.value for answer in answers if answer.keys["channel"] == "paid_social"] == [social.sums.leads]
