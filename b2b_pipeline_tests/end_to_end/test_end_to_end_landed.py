"""The demo's company whose sources Fivetran landed in a warehouse: every number is that of the vendors' own APIs."""

from __future__ import annotations

from datetime import timedelta

import pytest

from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import (
    ENGINES,
    FIRST_UNTIL,
    LEADS,
    START,
    Workshop,
    assert_true,
    build,
    clock,
    inside,
    installation,
    new_warehouses,
    pull,
)
from b2b_pipeline_tests.support.installation import Installation
from b2b_pipeline_tests.support.loaders import Loader
from b2b_sandbox.generate import advance, make_world

UNTIL = FIRST_UNTIL + timedelta(days=7)
SOURCES = ("google_ads", "hubspot", "salesforce")


def landed_by(found: Installation, loader: str, sources: tuple[str, ...]) -> Installation:
    """The same installation, whose sources are read from where a loader landed them."""
    path = found.folder / "pipeline.yaml"
    text = path.read_text(encoding="utf-8").replace("google_ads: {}", "google_ads:")
    for source in sources:
        given = f"  {source}:\n    warehouse: {{loader: {loader}, schema: {source}}}"
        text = text.replace(f"  {source}:", given, 1)
    path.write_text(text, encoding="utf-8")
    return found


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, Workshop]:
    """Read over all days, and again a week later, after Fivetran has run once more."""
    folder = tmp_path_factory.mktemp("landed")
    days = (FIRST_UNTIL - START).days + 1
    world = make_world(folder / "world", until=FIRST_UNTIL, days=days, leads=LEADS)
    found = landed_by(installation(folder, world), "fivetran", SOURCES)
    theirs = new_warehouses(request)()
    runs = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WAREHOUSE_SOURCE_URL", theirs)
        for start, until in ((START, FIRST_UNTIL), (FIRST_UNTIL, UNTIL)):
            if until > FIRST_UNTIL:
                advance(world, (until - FIRST_UNTIL).days)
            runs.append(clock(world))
            for source in SOURCES:
                Loader("fivetran", theirs, source, runs).land(source, world)
            with inside(found) as pipeline:
                assert not pull(found, pipeline, start, until, f"until {until}")
    return found, build(found, new_warehouses(request)())[0]


@pytest.mark.parametrize("by", [("day", "channel"), ("month",), ("channel",), ()])
def test_every_metric_is_that_of_the_world(shop: tuple[Installation, Pipeline], by: tuple[str, ...]) -> None:
    assert_true(*shop, UNTIL, by)
