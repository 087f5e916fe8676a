"""A company that asks its customers and has help desks: every number of the family is that of the world."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import ENGINES, Workshop, assert_true, build, inside, new_warehouses
from b2b_pipeline_tests.support.installation import Installation, served
from b2b_sandbox.generate import advance, make_world

START, FIRST_UNTIL, UNTIL = date(2026, 5, 18), date(2026, 6, 10), date(2026, 6, 16)
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
    found = Installation(folder, world)
    for start, until in ((START, FIRST_UNTIL), (FIRST_UNTIL, UNTIL)):
        if until > FIRST_UNTIL:
            advance(world, (until - FIRST_UNTIL).days)
        with inside(found) as pipeline, served(world):
            for source in pipeline.config.sources:
                for stream in SOURCES[source].streams:
                    assert not pipeline.ingest(source, stream.name, start, until + timedelta(days=1), str(until)).failed
    return found


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, installed: Installation) -> Workshop:
    return build(installed, new_warehouses(request)())[0]


@pytest.mark.parametrize("by", [("day",), ("month",), ()])
def test_every_number_of_surveys_and_support_is_that_of_the_world(
    installed: Installation, shop: Pipeline, by: tuple[str, ...]
) -> None:
    assert_true(installed, shop, UNTIL, by, names=NAMES, platforms=PLATFORMS)
