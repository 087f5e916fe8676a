"""How long the version of an API that is asked lives, whichever that is."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest

from b2b_pipeline.configuration.config import Config, SourceConfig
from b2b_pipeline.connectors.base import Account, Accounts, Finding, Page, Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.landing.ingest import ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.operations.doctor import sunset
from b2b_pipeline.privacy import Pseudonyms

END = date(2027, 3, 1)


def config(source: str, **options: str) -> Config:
    return Config.model_construct(
        start_date=date(2026, 1, 1), system_of_record="files", sources={source: SourceConfig(options=options)}
    )


def told(source: str, left: int, **options: str) -> list[Finding]:
    dying = replace(SOURCES[source], sunset=END)
    return list(sunset(dying, config(source, **options), END - timedelta(days=left)))


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_doctor_warns_90_days_before_a_version_ends_and_fails_30_days_before(source: str) -> None:
    found = [told(source, left)[0] for left in (91, 90, 31, 30, -1)]
    assert [finding.ok for finding in found] == [True, True, True, False, False]
    assert [finding.warning for finding in found] == [False, True, True, False, False]
    assert found[1].what.endswith(f"{SOURCES[source].api_version} works until {END}, 90 days from now")
    assert found[4].what.endswith(f"ended on {END}")
    has_option = "options.api_version" in found[3].fix
    assert has_option == bool(SOURCES[source].versions)


def test_of_another_version_than_ours_no_end_is_known_and_it_is_the_one_that_is_asked() -> None:
    source = SOURCES["google_ads"]
    assert told("google_ads", 1, api_version="v27") == []
    assert source.version(config("google_ads", api_version="v27")) == "v27"
    assert source.version(config("google_ads")) == source.api_version


def test_a_version_that_is_spelt_wrong_is_refused_by_its_place() -> None:
    with pytest.raises(
        ConfigError, match=r"sources.salesforce.options.api_version: '67' is not a version such as 67.0"
    ):
        SOURCES["salesforce"].version(config("salesforce", api_version="67"))


def test_these_have_announced_an_end() -> None:
    assert {name: source.sunset for name, source in SOURCES.items() if source.sunset} == {
        "hubspot": date(2027, 9, 30), "linkedin_ads": date(2027, 7, 15),
        "klaviyo": date(2028, 7, 15), "linkedin_pages": date(2027, 7, 15),
    }  # fmt: skip


def test_what_lands_is_told_with_the_version_that_was_asked(tmp_path: Path) -> None:
    landing = Landing(tmp_path, Pseudonyms(b"key", tmp_path / "forgotten.json"))
    source = replace(SOURCES["google_ads"], restate_days=None)
    stream = Stream("thing", "changes", "", lambda *_: iter([Page([{"day": "2026-05-20"}])]), "day")
    report = ingest(
        source, stream, None, Accounts([Account("1")]), date(2026, 5, 20), date(2026, 5, 21),
        config=config("google_ads", api_version="v27"), landing=landing, run_id="run",
    )  # fmt: skip
    assert [item.api_version for item in report.slices] == ["v27"]
