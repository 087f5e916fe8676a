"""A company with a forum and pages at LinkedIn: every metric of them is that of the world."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
import yaml

from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import assert_true, installation, read_twice
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox import truth_community
from b2b_sandbox.generate import make_world

START, FIRST_UNTIL = date(2026, 5, 15), date(2026, 6, 6)
UNTIL = FIRST_UNTIL + timedelta(days=3)
SOURCES = ("discourse", "linkedin_pages")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again three days later, when some of what was there is deleted."""
    folder = tmp_path_factory.mktemp("community")
    days = (FIRST_UNTIL - START).days + 1
    found = installation(folder, make_world(folder / "world", until=FIRST_UNTIL, days=days, leads=90))
    path = folder / "pipeline.yaml"
    given = yaml.safe_load(path.read_text(encoding="utf-8"))
    given |= {"sources": {name: {} for name in SOURCES}, "system_of_record": "files"}
    path.write_text(yaml.safe_dump(given), encoding="utf-8")
    return read_twice(found, START, FIRST_UNTIL, UNTIL)


@pytest.mark.parametrize("by", [("day",), ("month",), ("day", "channel"), ()])
def test_every_metric_of_communities_and_content_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=(*truth_community.FORUM, *truth_community.CONTENT), platforms=SOURCES)
