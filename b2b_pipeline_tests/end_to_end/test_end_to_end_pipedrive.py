"""A company that sells with Pipedrive alone: its deals are those that Salesforce has in the same world."""

from __future__ import annotations

import json
from collections import Counter
from datetime import date
from fnmatch import fnmatchcase

import pytest
import time_machine
from sqlalchemy import func, select

from b2b_pipeline.derived.gone import GONE, gone
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import identity_cluster, lead, opportunity, stage_event, touchpoint
from b2b_pipeline_tests.support.end_to_end import assert_true, clock, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world
from b2b_sandbox.pipedrive import FIELDS, company_at

START, FIRST_UNTIL, UNTIL = date(2026, 2, 1), date(2026, 5, 26), date(2026, 6, 8)
SETTINGS = f"""\
currency: EUR
start_date: {START}
system_of_record: pipedrive
sources:
  pipedrive:
    fields:
      utm_medium: {FIELDS["utm_medium"]}
      utm_campaign: {FIELDS["utm_campaign"]}
      gclid: {FIELDS["hs_google_click_id"]}
  ecb: {{}}
exclude:
  email_domains: [ourcompany.example]
  email_patterns: ["qa+test*@*"]
"""
OF_DEALS = (
    "opportunities", "pipeline", "won", "lost", "bookings", "win_rate", "win_rate_amount", "average_deal_size",
    "cycle_days_mean", "cycle_days_median", "cycle_days_p90", "close_rate", "new_customers", "open_opportunities",
    "open_pipeline", "accounts_with_opportunities",
)  # fmt: skip


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read once over all days, and again two weeks later, when a deal has been deleted."""
    folder = tmp_path_factory.mktemp("pipedrive")
    days = (FIRST_UNTIL - START).days + 1
    world = make_world(folder / "world.sqlite", until=FIRST_UNTIL, days=days, leads=398, seed=5)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day",), ("month",), ()])
def test_the_numbers_of_deals_are_those_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=OF_DEALS)


def test_archived_deals_stay_and_deleted_ones_are_marked(installed: Installation, shop: Pipeline) -> None:
    with installed.world.connect() as connection:
        given = connection.execute(
            "select id, max(is_deleted) from record_version where vendor = 'hubspot' and object = 'deals'"
            " and visible_at <= ? group by id", (installed.world.now(),),
        ).fetchall()  # fmt: skip
    was_deleted = {identifier: bool(is_deleted) for identifier, is_deleted in given}
    rows = shop.warehouse.rows(select(opportunity.c.opp_id, opportunity.c.is_deleted))
    found = {row["opp_id"]: row["is_deleted"] for row in rows}
    assert found.items() <= was_deleted.items()
    never_seen = was_deleted.keys() - found.keys()  # out of the bin before we came
    assert all(was_deleted[identifier] for identifier in never_seen)
    assert {*found.values()} == {True, False}


def test_a_deal_s_stages_are_those_that_it_went_through(installed: Installation, shop: Pipeline) -> None:
    with installed.world.connect() as connection:
        moves = connection.execute(
            "select id, group_concat(value, ' ') from (select * from property_history where object = 'deals' and"
            " property = 'dealstage' and visible_at <= ? order by id, at) group by id", (installed.world.now(),),
        ).fetchall()  # fmt: skip
    order = ("appointmentscheduled", "qualifiedtobuy", "presentationscheduled", "decisionmakerboughtin", "contractsent")
    expected = {}
    for deal, words in moves:
        open_stages = [order.index(word) for word in words.split() if not word.startswith("closed")]
        expected[deal] = [stage for n, stage in enumerate(open_stages) if n == 0 or stage != open_stages[n - 1]]
    events = select(stage_event).where(stage_event.c.object == "opportunity").order_by(stage_event.c.entered_at)
    found: dict[str, list[int]] = {}
    for row in shop.warehouse.rows(events):
        found.setdefault(row["object_id"], []).append(int(row["to_stage"]) % 10)
    assert found == expected


def test_persons_merged_away_are_gone_and_their_addresses_are_with_who_stays(
    installed: Installation, shop: Pipeline
) -> None:
    """Pipedrive tells nobody of a merge: the one is in no list any more, the other has the addresses of both."""
    merged = _merged(installed)
    assert merged
    with shop.warehouse.write() as connection, gone(connection, shop.config):
        away = {row.object_id for row in connection.execute(select(GONE)) if row.object == "lead"}
    clusters = {row["record_key"]: row["person_key"] for row in shop.warehouse.rows(select(identity_cluster))}
    read = {row["lead_id"] for row in shop.warehouse.rows(select(lead.c.lead_id))}
    known = [(loser, winner) for loser, winner in merged if loser in read]
    assert known
    for loser, winner in known:
        assert loser in away
        assert clusters[f"pipedrive:contact:{loser}"] == clusters[f"pipedrive:contact:{winner}"]


def _merged(installed: Installation) -> list[tuple[str, str]]:
    with installed.world.connect() as connection:
        rows = connection.execute(
            "select id, payload, max(version) from record_version where vendor = 'hubspot' and object = 'contacts'"
            " and is_gone = 0 and visible_at <= ? group by id", (installed.world.now(),),
        ).fetchall()  # fmt: skip
    pairs = ((json.loads(payload).get("hs_merged_object_ids"), identifier) for identifier, payload, _ in rows)
    return [(loser, winner) for losers, winner in pairs for loser in (losers or "").split(";") if loser]


def test_leads_are_the_persons_that_are_there_each_once_on_the_day_they_were_added(
    installed: Installation, shop: Pipeline
) -> None:
    with installed.world.connect() as connection:
        persons = company_at(connection, installed.world.now()).persons
    own = {person["id"] for person in persons if any(_is_ours(email["value"]) for email in person["emails"])}
    expected = Counter(person["add_time"][:10] for person in persons if person["id"] not in own)
    with time_machine.travel(clock(installed.world)):
        answers = [
            answer.as_json() for answer in ask(shop.warehouse, shop.config, ["leads", "mqls"], START, UNTIL, ["day"])
        ]
    found = {row["date"]: row["value"] for row in answers if row["metric"] == "leads"}
    assert own
    assert {day: n for day, n in found.items() if n} == expected
    unknown = [row for row in answers if row["metric"] == "mqls"]
    assert unknown
    assert all(row["value"] is None for row in unknown)


def _is_ours(address: str) -> bool:
    return address.endswith("@ourcompany.example") or fnmatchcase(address, "qa+test*@*")


def test_custom_fields_tell_the_channel_of_a_person(shop: Pipeline) -> None:
    query = select(touchpoint.c.channel, touchpoint.c.evidence, func.count().label("n"))
    found = shop.warehouse.rows(query.group_by(touchpoint.c.channel, touchpoint.c.evidence))
    assert any(row["channel"] == "paid_search" and row["evidence"] == "gclid" for row in found)
    assert any(row["channel"] == "email" and row["evidence"] == "utm_medium=email" for row in found)


def test_nobody_s_name_or_address_is_in_landing(installed: Installation) -> None:
    with inside(installed) as pipeline:
        items = pipeline.landing.slices("pipedrive", "person")
        people = [record for item in items for record in pipeline.landing.records(item)]
    assert people
    for record in people:
        assert all(address["value"].startswith("h1:") for address in record["emails"])
        assert record["name"].startswith("h1:")
        assert record["first_name"].startswith("h1:")


def test_without_a_field_that_tells_channels_no_revenue_is_credited_to_any(shop: Pipeline) -> None:
    """Nobody said so: nobody has a channel then, which must not look like revenue that no channel brought."""
    silent = shop.config.model_copy(deep=True)
    silent.sources["pipedrive"].fields.clear()
    for config, is_known in ((shop.config, True), (silent, False)):
        answers = ask(shop.warehouse, config, ["revenue_first_touch"], START, UNTIL)
        assert {answer.value is not None for answer in answers} == {is_known}
