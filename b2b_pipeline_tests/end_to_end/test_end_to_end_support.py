"""A company that asks its customers and has help desks: every number of the family is that of the world."""

from __future__ import annotations

from datetime import date

import pytest
from sqlalchemy import func, select

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import support_ticket, survey_response
from b2b_pipeline_tests.support.end_to_end import assert_true, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import make_world

START, FIRST_UNTIL, UNTIL = date(2026, 5, 18), date(2026, 6, 9), date(2026, 6, 16)
PLATFORMS = ("typeform", "zendesk", "intercom")
SETTINGS = f"""\
currency: EUR
start_date: {START}
system_of_record: files
sources:
  typeform:
    options: {{lead_forms: demo, partial: "yes"}}
  zendesk: {{}}
  intercom: {{}}
"""
NAMES = [metric.name for metric in FAMILIES["customer_voice"].metrics]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read once over all days, and again a week later, when tickets have been solved, opened again and deleted."""
    folder = tmp_path_factory.mktemp("support")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=(FIRST_UNTIL - START).days + 1, leads=110)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day",), ("month",), ()])
def test_every_number_of_surveys_and_support_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=NAMES, platforms=PLATFORMS)


def test_what_was_deleted_stays_loaded_and_counts_no_more(installed: Installation, shop: Pipeline) -> None:
    """Zendesk tells it; of Typeform's responses and Intercom's conversations the sweep of the second read does."""
    loaded = {
        "survey_response": select(func.count()).where(~survey_response.c.is_partial),
        "support_ticket": select(func.count()).select_from(support_ticket),
    }
    with inside(installed):
        counted = {
            answer.metric.name: answer.value
            for answer in ask(shop.warehouse, shop.config, ["survey_responses", "tickets"], START, UNTIL)
        }
    (responses,), (tickets,) = ([*row.values()] for name in loaded for row in shop.warehouse.rows(loaded[name]))
    assert 0 < int(counted["survey_responses"] or 0) < responses
    told = select(support_ticket.c.source, func.count().label("n")).where(support_ticket.c.is_deleted)
    (flagged,) = shop.warehouse.rows(told.group_by(support_ticket.c.source))
    assert flagged["source"] == "zendesk"
    assert 0 < int(counted["tickets"] or 0) < tickets - flagged["n"], "and conversations that are gone"


def test_numbers_are_split_by_survey_and_help_desk_and_a_median_is_not_summed(
    installed: Installation, shop: Pipeline
) -> None:
    with inside(installed):
        by_survey = ask(shop.warehouse, shop.config, ["nps", "csat"], START, UNTIL, ["survey"])
        by_desk = ask(shop.warehouse, shop.config, ["tickets", "resolution_time_median"], START, UNTIL, ["source"])
    told = {(answer.metric.name, answer.keys["survey"]) for answer in by_survey if answer.value is not None}
    assert told == {
        ("nps", "Wie zufrieden sind Sie? \u2b50"), ("csat", "Onboarding"), ("csat", "Effort <score>"),
        ("csat", "Zendesk CSAT"),
    }  # fmt: skip
    assert {answer.keys["source"] for answer in by_desk} == {"zendesk", "intercom"}
    assert len({answer.value for answer in by_desk if answer.metric.name == "resolution_time_median"}) == 2


def test_without_a_help_desk_nobody_says_that_nobody_asked(installed: Installation, shop: Pipeline) -> None:
    partly = shop.config.model_copy(deep=True)
    for name in ("zendesk", "intercom"):
        del partly.sources[name]
    with inside(installed):
        answers = ask(shop.warehouse, partly, ["tickets", "ticket_answered_rate", "nps"], START, UNTIL)
    assert {answer.metric.name for answer in answers if answer.value is None} == {"tickets", "ticket_answered_rate"}
