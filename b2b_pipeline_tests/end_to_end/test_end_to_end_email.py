"""A company that sends by several tools at once: e-mail counts of all of them, and nothing else changes."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import email_summary, lead, touchpoint
from b2b_pipeline_tests.support.end_to_end import EVERY, FIRST_UNTIL, assert_true, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world

START, UNTIL = FIRST_UNTIL - timedelta(days=27), FIRST_UNTIL + timedelta(days=7)
TOOLS = ("mailchimp", "klaviyo")
EMAIL = tuple(name for name in EVERY if name.startswith("email_"))
SETTINGS = f"""\
start_date: {START}
system_of_record: files
sources:
  hubspot:
    streams: [contact, marketing_email, email_event]
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again a week later, when more has been opened, and some e-mails have bounced."""
    folder = tmp_path_factory.mktemp("email")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=28, leads=110)
    on = "".join(f"  {name}: {{}}\n" for name in TOOLS)
    (folder / "pipeline.yaml").write_text(SETTINGS + on, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day", "channel"), ("month",), ()])
def test_e_mail_is_that_of_all_tools_together(installed: Installation, shop: Pipeline, by: tuple[str, ...]) -> None:
    assert_true(installed, shop, UNTIL, by, names=EMAIL, platforms=TOOLS)


def test_each_tool_has_its_part_of_the_sends(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["email_sends", "email_open_rate"], START, UNTIL, ["source"])
    sends = {each.keys["source"]: each.value for each in answers if each.metric.name == "email_sends"}
    assert sends.keys() == {"hubspot", *TOOLS}
    assert all(sends.values())


def test_who_only_gets_a_newsletter_is_no_lead(shop: Pipeline) -> None:
    sources = {row["source"] for row in shop.warehouse.rows(select(lead.c.source).distinct())}
    assert not sources & {*TOOLS}
    touches = select(touchpoint.c.source, func.count().label("n")).group_by(touchpoint.c.source)
    assert {row["source"] for row in shop.warehouse.rows(touches)} >= {"hubspot"}


def test_what_the_tool_itself_counts_is_what_its_recipients_add_up_to(installed: Installation, shop: Pipeline) -> None:
    counted = select(*(func.sum(email_summary.c[name]).label(name) for name in ("sends", "deliveries", "bounces")))
    [row] = shop.warehouse.rows(counted.where(email_summary.c.source == "mailchimp", email_summary.c.date_day >= START))
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["email_sends", "email_deliveries"], START, UNTIL, ["source"])
    found = {each.metric.name: each.value for each in answers if each.keys["source"] == "mailchimp"}
    assert found == {"email_sends": row["sends"], "email_deliveries": row["deliveries"]}
    assert row["sends"] - row["deliveries"] == row["bounces"] > 0
