"""What a backfill is said to take, against what the vendors are then asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Page, Window
from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.landing.forecast import SECONDS_PER_CALL, forecast
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline_tests.support.installation import DEMO, START, UNTIL, Installation, served, settle
from b2b_sandbox.generate import make_world

JANUARY = date(2025, 1, 1)
RUNS = [(JANUARY + timedelta(days=n), JANUARY + timedelta(days=n + 119)) for n in (0, 120, 240)]  # 360 days
ZONE = ZoneInfo("UTC")


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing", Pseudonyms(b"key", tmp_path / "none"))


def config(source: str, accounts: Sequence[str] = (), **settings: Any) -> Config:
    sources = {source: {"accounts": list(accounts), **settings}}
    return Config.model_validate({"start_date": JANUARY, "system_of_record": "files", "sources": sources})


def land_nightly(landing: Landing, source: str, stream: str, rows: int) -> None:
    """Ten nights, each a slice of `rows` records."""
    for n in range(10):
        start, end = JANUARY + timedelta(days=n), JANUARY + timedelta(days=n + 1)
        landing.write(
            source, SOURCES[source].stream(stream), Account("1"), Window.of_days(start, end, ZONE),
            [Page([{"id": f"{n}-{row}"} for row in range(rows)])],
            zone=ZONE, api_version="1", run_id="night", now=datetime.combine(end, time(3), UTC),
        )  # fmt: skip


# -- without history


@pytest.mark.parametrize(
    ("source", "accounts", "calls"),
    [
        # streams x runs x (to log in, to ask): of campaigns 31 days at once
        ("google_ads", ["1"], 3 * 3 * (2 + 1) + 1 * 3 * (2 + 4)),
        ("google_ads", ["1", "2"], 3 * 3 * (2 + 2) + 1 * 3 * (2 + 4 * 2)),
        ("google_ads", [], 3 * 3 * (2 + 1) + 1 * 3 * (2 + 4)),
        ("hubspot", [], 6 * 3 * (2 + 1) + 1 * 3 * (2 + 4)),  # e-mail events: 30 days at once
    ],
)
def test_without_history_it_is_the_least_that_must_be_asked(
    source: str, accounts: list[str], calls: int, landing: Landing
) -> None:
    told = forecast(source, RUNS, landing, config(source, accounts))
    assert (told.days, told.calls, told.is_minimum) == (360, calls, True)
    assert told.seconds == pytest.approx(calls * SECONDS_PER_CALL)
    assert told.quota == {"google_ads": 2_880, "hubspot": 650_000}[source]


@pytest.mark.parametrize(("access", "quota"), [("explorer", 2_880), ("basic", 15_000), ("standard", None)])
def test_google_s_quota_is_that_of_the_project_s_level_of_access(
    access: str, quota: int | None, landing: Landing
) -> None:
    assert forecast("google_ads", RUNS, landing, config("google_ads", options={"access": access})).quota == quota


def test_nothing_to_read_takes_nothing(landing: Landing) -> None:
    told = forecast("google_ads", [], landing, config("google_ads", ["1", "2"]))
    assert (told.days, told.calls, told.seconds) == (0, 0, 0)


# -- with history


def test_what_changes_every_day_takes_more_pages_the_longer_the_time(landing: Landing) -> None:
    land_nightly(landing, "salesforce", "lead", 100)
    told = forecast("salesforce", RUNS, landing, config("salesforce"))
    assert told.calls == 9 * 3 * (2 + 1) + 3 * (2 + 1 + 100 * 120 // 2000)
    assert not told.is_minimum


def test_a_list_takes_as_many_pages_for_a_year_as_for_a_night(landing: Landing) -> None:
    land_nightly(landing, "google_ads", "campaign", 2500)
    assert forecast("google_ads", RUNS, landing, config("google_ads")).calls == (
        2 * 3 * (2 + 1) + 3 * (2 + 4) + 3 * (2 + 1 + 2500 // 1000)
    )


def test_accounts_that_have_landed_count_rather_than_those_configured(landing: Landing) -> None:
    land_nightly(landing, "google_ads", "campaign_daily", 1)
    assert forecast("google_ads", RUNS[:1], landing, config("google_ads", ["1", "2", "3"])).calls == 3 * (2 + 1) + (
        2 + 4
    )


def test_streams_that_are_switched_off_are_not_asked_for(landing: Landing) -> None:
    only = config("google_ads", streams=["campaign_daily", "campaign"])
    assert forecast("google_ads", RUNS, landing, only).calls == 3 * (2 + 1) + 3 * (2 + 4)


# -- against what is really asked


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder = tmp_path_factory.mktemp("forecast")
    world = make_world(folder / "world.sqlite", until=UNTIL, days=(UNTIL - START).days + 1, leads=60)
    (folder / "pipeline.yaml").write_text(DEMO.read_text(encoding="utf-8").replace("2026-01-01", str(START)))
    with pytest.MonkeyPatch.context() as patch:
        settle(Installation(folder, world), patch)
        yield Installation(folder, world)


def test_the_calls_told_are_near_those_that_are_made(installed: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    made: Counter[str] = Counter()
    pipeline, send = installed.pipeline(), Session._send

    def counted(session: Session, method: str, path: str, *arguments: object, **content: object) -> object:
        made[source] += 1
        return send(session, method, path, *arguments, **content)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "_send", counted)
    first = {
        name: forecast(name, [(START, UNTIL)], pipeline.landing, pipeline.config) for name in pipeline.config.sources
    }
    with served(installed.world):
        for source in pipeline.config.sources:
            for stream in SOURCES[source].streams:
                assert not pipeline.ingest(source, stream.name, START, UNTIL + timedelta(days=1), "test").failed
    assert set(made) == set(first)
    for source, calls in made.items():
        told = forecast(source, [(START, UNTIL)], pipeline.landing, pipeline.config)
        assert (first[source].is_minimum, told.is_minimum) == (True, False)
        assert first[source].calls <= told.calls
        assert calls / 2 <= told.calls <= 2 * calls + 2, f"{source}: told {told.calls}, made {calls}"
