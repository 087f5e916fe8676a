"""The rough world, with accounts as real ones are: every number is true there too, and what is not known is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import time_machine
from sqlalchemy import select

from b2b_pipeline.derived.gone import sweeps
from b2b_pipeline.landing.absences import still_absent
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.warehouse.tables import spend
from b2b_pipeline_tests.support.end_to_end import (
    ENGINES,
    EVERY,
    ROUGH_UNTIL,
    Workshop,
    assert_true,
    build,
    clock,
    new_warehouses,
    rough,
)
from b2b_sandbox.generate_ads import NESTED_MANAGER, ROUGH_ACCOUNTS
from b2b_sandbox.truth_campaigns import leads_by_campaign

OF_EMAIL = [name for name in EVERY if name.startswith("email_")]


@pytest.fixture(scope="module", params=ENGINES)
def whole(request: pytest.FixtureRequest) -> Workshop:
    new: Callable[[], str] = new_warehouses(request)
    return build(rough(), new())[0]


@pytest.mark.parametrize("by", [(), ("day",), ("month",), ("day", "channel")], ids="-".join)
def test_every_metric_of_the_rough_world_equals_the_truth_and_is_complete(whole: Workshop, by: tuple[str, ...]) -> None:
    assert_true(rough(), whole, ROUGH_UNTIL, by, names=[name for name in EVERY if name not in OF_EMAIL])


def test_what_no_stream_gives_is_unknown_and_not_zero(whole: Workshop) -> None:
    with time_machine.travel(clock(rough().world)):
        answers = ask(whole.warehouse, whole.config, OF_EMAIL, whole.config.start_date, ROUGH_UNTIL)
    assert [answer.value for answer in answers] == [None] * len(OF_EMAIL)
    assert all(answer.why_null or answer.reasons for answer in answers)


def test_leads_meet_the_campaigns_that_portals_know_by_name_alone(whole: Workshop) -> None:
    with time_machine.travel(clock(rough().world)):
        answers = ask(whole.warehouse, whole.config, ["leads"], by=["campaign"])
    found = Counter({answer.keys["campaign"]: int(answer.numerator or 0) for answer in answers if answer.numerator})
    assert found == leads_by_campaign(rough().world, clock(rough().world), "America/New_York")
    spent_on = {row["campaign_id"] for row in whole.warehouse.rows(select(spend.c.campaign_id))}
    assert len(spent_on & found.keys()) > 5
    assert found["brand | search | us"] > 0  # two campaigns have this name: not guessed


def test_people_deleted_for_privacy_and_purged_leads_are_found_by_the_sweep(whole: Workshop) -> None:
    with whole.warehouse.read() as connection:
        found = sweeps(connection, whole.config)
    left = {source for (source, object_), sweep in found.items() if object_ == "lead" and sweep.gone}
    assert left == {"hubspot", "salesforce"}  # and yet every number is the truth


def test_accounts_that_nobody_can_read_cost_the_others_nothing(whole: Workshop) -> None:
    readable = {account for account, _, currency, _, _, status in ROUGH_ACCOUNTS if currency and status == "ENABLED"}
    read = {row["account_id"] for row in whole.warehouse.rows(select(spend.c.account_id))}
    assert read & {account for account, *_ in ROUGH_ACCOUNTS} == readable - {NESTED_MANAGER}
    told = " ".join(
        str(item) for item in still_absent(whole.landing.root, "google_ads", whole.config, "campaign_daily")
    )
    assert all(account in told for account, *_ in ROUGH_ACCOUNTS if account not in (*readable, NESTED_MANAGER))
