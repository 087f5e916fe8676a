"""Our own sources against what every source is held to, over the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.testing.conformance import Conformance
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.generate import make_world

UNTIL = date(2026, 6, 15)


@pytest.fixture(scope="module", autouse=True)
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    world = make_world(tmp_path_factory.mktemp("world") / "world", until=UNTIL, days=30, leads=120)
    with served(world):
        yield


class OverTheSandbox(Conformance):
    window = (UNTIL - timedelta(days=14), UNTIL)


class TestGoogleAds(OverTheSandbox):
    source = SOURCES["google_ads"]


class TestHubSpot(OverTheSandbox):
    source = SOURCES["hubspot"]


class TestSalesforce(OverTheSandbox):
    source = SOURCES["salesforce"]


class TestPipedrive(OverTheSandbox):
    source = SOURCES["pipedrive"]


class TestEcb(OverTheSandbox):
    source = SOURCES["ecb"]


def test_every_source_of_ours_is_held_to_it() -> None:
    held = {case.source.name for case in OverTheSandbox.__subclasses__()}
    assert held == {name for name, source in SOURCES.items() if source.connect.__module__.startswith("b2b_pipeline.")}
