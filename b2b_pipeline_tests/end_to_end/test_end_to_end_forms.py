"""What was submitted to forms, on the site and in ads at LinkedIn and Meta, in a company with HubSpot."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest
from sqlalchemy import select

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import identity_cluster, lead, person, touchpoint
from b2b_pipeline_tests.support.end_to_end import assert_true, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox import lead_forms
from b2b_sandbox.generate import make_world

START, FIRST_UNTIL = date(2026, 5, 15), date(2026, 6, 8)
UNTIL = FIRST_UNTIL + timedelta(days=4)
SETTINGS = f"""\
start_date: {START}
system_of_record: hubspot
sources:
  hubspot: {{streams: [contact, deal, form_submission]}}
  linkedin_ads: {{streams: [lead]}}
  meta_ads: {{streams: [lead]}}
exclude: {{email_domains: [ourcompany.example], email_patterns: ["qa+test*@*"]}}
"""
READ = ["hubspot", "linkedin_ads/lead", "meta_ads/lead"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("forms")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=(FIRST_UNTIL - START).days + 1, leads=90)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day", "channel"), ()])
def test_submissions_are_those_of_the_world(installed: Installation, shop: Pipeline, by: tuple[str, ...]) -> None:
    assert_true(installed, shop, UNTIL, by, names=["form_submissions"], platforms=READ)


def test_submissions_can_be_told_by_form_and_none_is_of_a_comment(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["form_submissions"], START, UNTIL, ["form"])
    assert {answer.keys["form"] for answer in answers} == {
        None, "Demo | form \U0001f4dd", "Contact us", "Demo \U0001f3af, \u201ctailored\u201d", "Newsletter pop-up",
        "#signup-old .embedded", "Old whitepaper",
    }  # fmt: skip


@pytest.mark.parametrize("vendor", ["linkedin_ads", "meta_ads"])
def test_a_lead_of_an_ad_is_the_person_whom_the_crm_has_by_the_same_address(
    installed: Installation, shop: Pipeline, vendor: str
) -> None:
    with installed.world.connect() as connection:
        given = [each for each in lead_forms.leads(connection, installed.world.now(), vendor) if not each.is_test]
    rows = shop.warehouse.rows(select(lead).where(lead.c.source == vendor))
    assert len(rows) == len(given) > 2
    assert {row["capture_type"] for row in rows} == {"lead_ad"}
    assert sum(row["email_hash"] is not None for row in rows) == sum(bool(each.email) for each in given)
    clusters = {row["record_key"]: row["person_key"] for row in shop.warehouse.rows(select(identity_cluster))}
    by_hubspot = {person for key, person in clusters.items() if key.startswith("hubspot:contact:")}
    assert all(clusters[row["record_key"]] in by_hubspot for row in rows if row["email_hash"])
    campaigns = {row["campaign_id"] for row in shop.warehouse.rows(
        select(touchpoint.c.campaign_id).where(touchpoint.c.source == vendor))}  # fmt: skip
    assert campaigns == {each.campaign for each in given}


def test_who_came_by_an_ad_s_form_came_by_paid_social(shop: Pipeline) -> None:
    known = select(person.c.channel).join(identity_cluster, identity_cluster.c.person_key == person.c.person_key)
    theirs = known.where(identity_cluster.c.record_key.like("linkedin_ads:lead:%"))
    assert {row["channel"] for row in shop.warehouse.rows(theirs)} <= {"paid_social", "email"}  # earlier, for some


def test_nobody_s_answers_or_address_are_in_landing(installed: Installation) -> None:
    with inside(installed) as pipeline:
        streams = ("hubspot", "form_submission"), ("linkedin_ads", "lead"), ("meta_ads", "lead")
        items = [item for stream in streams for item in pipeline.landing.slices(*stream)]
        records = [record for item in items for record in pipeline.landing.records(item)]
    assert records
    assert {record["email"] is None or record["email"].startswith("h1:") for record in records} == {True}
    assert not [word for word in ("Call me", "Ada", "office@", "?", "bald", "as soon") if word in json.dumps(records)]
