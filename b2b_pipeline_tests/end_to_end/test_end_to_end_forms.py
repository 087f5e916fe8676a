"""What was submitted to forms, in a company with HubSpot and nothing else."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import ENGINES, Workshop, assert_true, build, inside, new_warehouses
from b2b_pipeline_tests.support.installation import Installation, served
from b2b_sandbox.generate import advance, make_world

START, FIRST_UNTIL = date(2026, 5, 15), date(2026, 6, 8)
UNTIL = FIRST_UNTIL + timedelta(days=4)
SETTINGS = f"""\
start_date: {START}
system_of_record: hubspot
sources:
  hubspot: {{streams: [contact, deal, form_submission]}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("forms")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=(FIRST_UNTIL - START).days + 1, leads=90)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    found = Installation(folder, world)
    for start, until in ((START, FIRST_UNTIL), (FIRST_UNTIL, UNTIL)):
        if until > FIRST_UNTIL:
            advance(world, (until - FIRST_UNTIL).days)
        with inside(found) as pipeline, served(world):
            for source in pipeline.config.sources:
                for stream in SOURCES[source].switched_on(pipeline.config):
                    assert not pipeline.ingest(source, stream.name, start, until + timedelta(days=1), str(until)).failed
    return found


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, installed: Installation) -> Workshop:
    return build(installed, new_warehouses(request)())[0]


@pytest.mark.parametrize("by", [("day", "channel"), ()])
def test_submissions_are_those_of_the_world(installed: Installation, shop: Pipeline, by: tuple[str, ...]) -> None:
    assert_true(installed, shop, UNTIL, by, names=["form_submissions"], platforms=["hubspot"])


def test_submissions_can_be_told_by_form_and_none_is_of_a_comment(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["form_submissions"], START, UNTIL, ["form"])
    assert {answer.keys["form"] for answer in answers} == {
        "Contact us", "Demo \U0001f3af, \u201ctailored\u201d", "Newsletter pop-up", "#signup-old .embedded",
        "Old whitepaper",
    }  # fmt: skip


def test_nobody_s_answers_or_address_are_in_landing(installed: Installation) -> None:
    with inside(installed) as pipeline:
        items = pipeline.landing.slices("hubspot", "form_submission")
        records = [record for item in items for record in pipeline.landing.records(item)]
    assert records
    assert {record["email"] is None or record["email"].startswith("h1:") for record in records} == {True}
    assert not [word for word in ("Call me", "Ada", "office@", "?") if word in json.dumps(records)]
