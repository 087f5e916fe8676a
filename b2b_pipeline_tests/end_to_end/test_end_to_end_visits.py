"""A company whose site sends its events: every metric of visits is that of the world, read in two pulls."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import func, select

from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import form_event, product_event, web_session
from b2b_pipeline_tests.support.end_to_end import (
    START,
    assert_true,
    inside,
    installation,
    pull,
)
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.truth_web import METRICS

FIRST = START + timedelta(days=8)
UNTIL = FIRST + timedelta(days=4)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("web")
    found = installation(folder, make_world(folder / "world", until=FIRST, days=9, leads=120))
    path = folder / "pipeline.yaml"
    text = path.read_text(encoding="utf-8").replace("system_of_record: salesforce", "system_of_record: files")
    before, _, after = text.partition("sources:\n")
    rest = after[after.index("\ndimensions:") :]
    path.write_text(f"{before}sources:\n  collector: {{}}\n{rest}", encoding="utf-8")
    for start, until in ((START, FIRST), (FIRST, UNTIL)):
        if until > FIRST:
            advance(found.world, (until - FIRST).days)
        with inside(found) as pipeline:
            # Today's first hours too: visits go on beyond midnight.
            assert not pull(found, pipeline, start, until + timedelta(days=1), f"until {until}")
    return found


@pytest.mark.parametrize("by", [("day", "channel"), ("day",), ("channel",), ()])
def test_every_metric_of_visits_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=[*METRICS], platforms=("collector",))


def test_bots_and_forms_without_consent_are_there_and_left_out(shop: Pipeline) -> None:
    def count(*where: object) -> int:
        query = select(func.count().label("n")).where(*where)  # type: ignore[arg-type]
        return int(shop.warehouse.rows(query)[0]["n"])

    assert count(web_session.c.is_bot) > 0
    assert count(form_event.c.session_id.is_(None)) > 0
    assert count(product_event.c.event_name == "activated") > 0
    assert count(web_session.c.is_deleted) > 0, "what came late has joined visits that were told before"
