"""From the vendors' APIs to every number, on both warehouses: equal to the sandbox's truth, to the cent."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal

import pytest
import time_machine
from sqlalchemy import text

from b2b_pipeline.configuration.targets import Target
from b2b_pipeline.metrics.compare import aim
from b2b_pipeline.metrics.definitions import publish_definitions
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import ADDITIVITY
from b2b_pipeline.warehouse.tables import (
    identity_cluster,
    identity_link,
    kpi_change,
    lead,
    record_present,
    stage_event,
    touchpoint,
)
from b2b_pipeline_tests.support.end_to_end import (
    COMPARED,
    ENGINES,
    START,
    UNTIL,
    Workshop,
    assert_same,
    assert_true,
    at_once,
    build,
    clock,
    content,
    new_warehouses,
    nightly,
)
from b2b_sandbox.truth import OWN_DOMAINS, TEST_PATTERNS, truth
from b2b_sandbox.truth_files import event_leads
from b2b_sandbox.truth_people import People, local_midnight, seconds, standing_contacts

OF_CONTACTS = (lead, stage_event, touchpoint, identity_link, identity_cluster)
GRAINS = [(), ("day",), ("week",), ("month",), ("day", "channel"), ("month", "channel")]


@pytest.fixture(scope="module", params=ENGINES)
def new_warehouse(request: pytest.FixtureRequest) -> Callable[[], str]:
    return new_warehouses(request)


@pytest.fixture(scope="module")
def whole(new_warehouse: Callable[[], str]) -> Workshop:
    """Everything, read and built at once."""
    return build(at_once(), new_warehouse())[0]


@pytest.mark.parametrize("by", GRAINS, ids="-".join)
def test_every_metric_equals_the_truth_and_is_complete(whole: Workshop, by: tuple[str, ...]) -> None:
    assert_true(at_once(), whole, UNTIL, by)


def test_the_view_says_of_every_day_channel_and_campaign_what_is_asked(whole: Workshop) -> None:
    publish_definitions(whole.warehouse, whole.config)
    rows = [row for row in whole.warehouse.rows(text("select * from kpi_daily")) if row["date_day"]]
    names = sorted({row["metric"] for row in rows})
    assert {"ctr", "cac", "cycle_days_p90", "accounts_with_opportunities", "lead_to_mql_rate_30d"} <= {*names}
    with time_machine.travel(clock(at_once().world)):
        answers = ask(whole.warehouse, whole.config, names, None, None, ["day", "channel", "campaign"])
    told = {(a.metric.name, *a.keys.values()): a for a in answers}
    assert sum(row["value"] is not None for row in rows) > 5000
    for row in rows:
        answer = told[row["metric"], row["date_day"], row["channel"], row["campaign_id"]]
        assert (row["value"] is None) == (answer.value is None), row
        assert answer.value is None or float(row["value"]) == pytest.approx(float(answer.value)), row
        assert row["complete"] == answer.complete, row
        adds_up = ADDITIVITY[row["metric"]] in ("additive", "ratio", "cohort")
        assert adds_up or (row["numerator"], row["denominator"]) == (None, None), row


def test_a_target_is_held_against_the_truth_and_changes_no_number(whole: Workshop) -> None:
    goals = {"leads": "40", "bookings": "90000.50", "opportunity_to_won_rate_resolved": "0.25"}
    by, found = ("month", "channel"), at_once()
    expected = truth(found.world, metrics=[*goals], start=START, end=UNTIL, by=by, currency="EUR")
    known = [row for row in expected if row["channel"] and row["value"] is not None]
    targets = [
        Target(metric=row["metric"], where={"channel": row["channel"]}, values={row["date"][:7]: Decimal(goal)})
        for row in known
        for goal in [goals[row["metric"]]]
    ]
    aimed = whole.config.model_copy(update={"targets": targets})
    with time_machine.travel(clock(found.world)):
        pairs = aim(whole.warehouse, aimed, [*goals], None, None, by)
        unaimed = ask(whole.warehouse, whole.config, [*goals], None, None, by)
    assert [(pair.now.keys, pair.now.value, pair.now.reasons) for pair in pairs] == [
        (answer.keys, answer.value, answer.reasons) for answer in unaimed
    ]
    told = {(row["metric"], row["date"], row["channel"]): row for row in (pair.as_json() for pair in pairs)}
    assert {row["metric"] for row in known} == {*goals}
    for row in known:
        share = float(Decimal(row["value"]) / Decimal(goals[row["metric"]]))
        assert told.pop((row["metric"], row["date"], row["channel"]))["attainment"] == pytest.approx(share, abs=1e-6)
    assert not [row for row in told.values() if row["target"] is not None or not row["because"]]


def test_what_is_told_once_per_model_is_split_by_it(whole: Workshop) -> None:
    by_model = {
        a.keys["model"]: a.value for a in ask(whole.warehouse, whole.config, ["attributed_revenue"], by=["model"])
    }
    for model in ("first", "last"):
        (fixed,) = ask(whole.warehouse, whole.config, [f"revenue_{model}_touch"])
        assert by_model.pop(model) == fixed.value != 0
    assert not by_model


@pytest.mark.parametrize("new_warehouse", ["duckdb"], indirect=True)  # nothing in it is particular to an engine
def test_in_another_time_zone_and_currency_every_metric_equals_the_truth(new_warehouse: Callable[[], str]) -> None:
    start = START - timedelta(days=1)  # what happened in the world's first hours is the day before in Los Angeles
    found = at_once(timezone="America/Los_Angeles", currency="USD", start_date=start.isoformat())
    shop, _ = build(found, new_warehouse())
    for by in ((), ("day",), ("day", "channel")):
        assert_true(found, shop, UNTIL - timedelta(days=1), by)
        # In Los Angeles the last day still has two hours to go.
        assert_true(found, shop, UNTIL, by, incomplete=True)


def test_after_every_night_every_metric_equals_the_truth_of_then(
    whole: Workshop, new_warehouse: Callable[[], str]
) -> None:
    found, nights = nightly()
    url = new_warehouse()
    for night in (nights[0], nights[1], nights[-1]):
        shop, _ = build(found, url, str(night.until), night.slices, night.now)
        for by in ((), ("day",), ("day", "channel")):
            assert_true(found, shop, night.until, by, now=night.now)
    changes = shop.warehouse.rows(kpi_change.select())
    spend = [row for row in changes if row["component"] == "spend" and row["run_id"] == str(nights[1].until)]
    assert spend
    assert all(row["date_day"] <= nights[0].until and row["old_value"] != row["new_value"] for row in spend)
    assert all("google_ads/campaign_daily" in row["because"] for row in spend)
    # Whoever reads everything only now gets the same, but for contacts that HubSpot has merged away and shows no more.
    # The weekly list of ids is that of the first night here.
    told = [table for table in COMPARED if table not in (*OF_CONTACTS, record_present)]
    assert_same(shop.warehouse, whole.warehouse, told)
    for table in OF_CONTACTS:
        ours, theirs = content(shop.warehouse, table), content(whole.warehouse, table)
        assert theirs <= ours, table.name
        assert (ours - theirs).total() < 10, table.name


def test_leads_by_a_dimension_of_the_configuration_equal_the_world(whole: Workshop) -> None:
    found = at_once()
    with found.world.connect() as connection:
        now, zone = found.world.now(), whole.config.zone
        badges = event_leads(connection, now)
        people = People(connection, now, zone, badges, OWN_DOMAINS, TEST_PATTERNS)
        said: dict[int, list[tuple[int, str, str | None]]] = defaultdict(list)
        for vendor, created, records in (
            ("hubspot:contact", "createdate", standing_contacts(connection, now)),
            ("salesforce:lead", "CreatedDate", people.salesforce_leads),
        ):
            for record in (record for record in records if not record.is_deleted):
                node, industry = f"{vendor}:{record.id}", record.data.get("industry") or record.data.get("Industry")
                said[id(people.of(node))].append((seconds(record.data[created]), node, industry))
        for row in badges:
            node = f"files:lead:{row.badge}"
            said[id(people.of(node))].append((local_midnight(row.day, zone), node, None))
        # A person is what their earliest record says.
        expected = Counter(min(said[id(person)])[2] for person in people.leads())
    answers = ask(whole.warehouse, whole.config, ["leads"], by=["industry"])
    assert {answer.keys["industry"]: answer.value for answer in answers} == expected
    assert len(expected) > 3
