"""A company whose visits come from Google Analytics' export: every metric of them is that of the world."""

from __future__ import annotations

from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import func, select

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import form_event, web_session
from b2b_pipeline_tests.support.end_to_end import (
    ENGINES,
    START,
    Workshop,
    assert_true,
    build,
    inside,
    new_warehouses,
    pull,
)
from b2b_pipeline_tests.support.ga4_export import export
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.truth_web import METRICS

FIRST = START + timedelta(days=8)
UNTIL = FIRST + timedelta(days=6)
SETTLED = UNTIL - timedelta(days=5)  # the last day of which no table changes any more
PROPERTY = ZoneInfo("America/Los_Angeles")  # whose days are others than ours
SETTINGS = f"""
start_date: {START}
timezone: Europe/Berlin
system_of_record: files
sources:
  ga4_export:
    streams: [visit, form]
    options: {{copied_at: copied_at}}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read when eight days were over, and again six days later, when what came late is in their tables."""
    folder = tmp_path_factory.mktemp("export")
    found = Installation(folder, make_world(folder / "world", until=FIRST, days=9, leads=120))
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    for start, until in ((START, FIRST), (FIRST, UNTIL)):
        if until > FIRST:
            advance(found.world, (until - FIRST).days)
        export(found.world, folder / "copy.duckdb", START - timedelta(days=2), PROPERTY)
        with inside(found) as pipeline, pytest.MonkeyPatch.context() as patch:
            patch.setenv("GA4_EXPORT_URL", f"duckdb:///{folder / 'copy.duckdb'}")
            assert not pull(found, pipeline, start, until, f"until {until}")
    return found


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, installed: Installation) -> Workshop:
    return build(installed, new_warehouses(request)())[0]


@pytest.mark.parametrize("by", [("day", "channel"), ("day",), ("channel",), ()])
def test_every_metric_of_visits_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, SETTLED, by, names=[*METRICS], platforms=("collector",))


def test_days_whose_tables_may_still_grow_are_there_and_not_whole(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["visits"], SETTLED + timedelta(days=1), UNTIL, ["day"])
    assert all(answer.value for answer in answers if answer.keys["date"] < UNTIL)
    assert not [answer for answer in answers if answer.complete]


def test_who_did_not_consent_is_in_no_visit_and_their_forms_are_there(shop: Pipeline) -> None:
    def count(*where: object) -> int:
        query = select(func.count().label("n")).where(*where)  # type: ignore[arg-type]
        return int(shop.warehouse.rows(query)[0]["n"])

    assert count(form_event.c.session_id.is_(None)) > 0
    assert count(web_session.c.anonymous_id.is_(None)) == 0 < count(web_session.c.click_id == "gclid")
    assert count(web_session.c.click_id == "gclid", web_session.c.campaign_id.is_(None)) == 0
