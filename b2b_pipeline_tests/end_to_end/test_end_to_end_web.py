"""A company whose site is watched: every metric of its traffic and its searches is that of the world."""

from __future__ import annotations

from datetime import timedelta

import pytest

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import FIRST_UNTIL, assert_true, inside, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox import truth_organic_search, truth_web_traffic
from b2b_sandbox.generate import make_world

START = FIRST_UNTIL - timedelta(days=9)
UNTIL = FIRST_UNTIL + timedelta(days=3)  # the world's last day
SETTLED = UNTIL - timedelta(days=3)  # the last day of which nothing changes any more
NAMES = (*truth_web_traffic.METRICS, *truth_organic_search.METRICS)
SOURCES = ("ga4", "search_console")
SETTINGS = f"start_date: {START}\ntimezone: Europe/Berlin\nsystem_of_record: files\nsources:\n"
SETTINGS += "".join(f"  {name}: {{}}\n" for name in SOURCES)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again three days later, when the last ones are processed."""
    folder = tmp_path_factory.mktemp("web")
    days = (FIRST_UNTIL - START).days + 1
    found = Installation(folder, make_world(folder / "world.sqlite", until=FIRST_UNTIL, days=days, leads=60))
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(found, START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day", "channel"), ("day",), ("channel",), ()])
def test_every_metric_of_the_site_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, SETTLED, by, names=NAMES, platforms=SOURCES)


def test_days_that_may_still_change_are_there_and_not_whole(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, NAMES, SETTLED + timedelta(days=1), UNTIL, ["day"])
    assert all(answer.value for answer in answers if answer.keys["date"] < UNTIL)
    assert not [answer for answer in answers if answer.complete]
