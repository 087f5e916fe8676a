"""Which window is really read, in which pieces, and what one failing account does to the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from b2b_pipeline.config import Config
from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Account, Page, Source, Stream, Window, WindowPolicy
from b2b_pipeline.errors import SplitError, TransientError
from b2b_pipeline.ingest import IngestReport, chunks, ingest, provisional, widen
from b2b_pipeline.landing import Landing
from b2b_pipeline.privacy import Pseudonyms

UTC_ZONE = ZoneInfo("UTC")
CONFIG = Config(start_date=date(2026, 1, 1), system_of_record="files")
NOW = datetime(2026, 5, 21, 3, tzinfo=UTC)
TODAY, YESTERDAY = date(2026, 5, 21), date(2026, 5, 20)
ONE = Account("1", time_zone="America/New_York")


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path, Pseudonyms(b"key", tmp_path / "forgotten.json"))


def stream(kind: Any, fetch: Any = lambda *_: iter([Page([{"day": "2026-05-20"}])]), **policy: Any) -> Stream:
    return Stream("thing", kind, "", fetch, "day", WindowPolicy(**policy))


def source(**changes: Any) -> Source:
    return replace(SOURCES["ecb"], **{"restate_days": None} | changes)


def window_of(landing: Landing, what: Stream, start: date, end: date, now: datetime = NOW, **of_source: Any) -> Window:
    return widen(source(**of_source), what, None, ONE, start, end, config=CONFIG, landing=landing, now=now)


def run(
    landing: Landing, what: Stream, *accounts: Account, start: date = YESTERDAY, now: datetime = NOW
) -> IngestReport:
    return ingest(
        source(), what, None, list(accounts or [ONE]), start, TODAY, config=CONFIG, landing=landing, run_id="r", now=now
    )


def test_a_report_reads_its_restated_days_again_by_the_account_s_own_settings(landing: Landing) -> None:
    what = stream("report", restate_days=10)
    # It is still the evening of the 20th in New York.
    assert window_of(landing, what, YESTERDAY, TODAY).start == date(2026, 5, 10)
    assert window_of(landing, what, YESTERDAY, TODAY, restate_days=lambda *_: 90).start == date(2026, 2, 19)
    assert window_of(landing, what, YESTERDAY, TODAY, restate_days=lambda *_: 400).start == CONFIG.start_date


def test_a_report_of_days_long_past_is_read_as_asked(landing: Landing) -> None:
    window = window_of(landing, stream("report", restate_days=10), date(2026, 2, 1), date(2026, 2, 3))
    assert (window.start, window.end) == (date(2026, 2, 1), date(2026, 2, 3))


def test_days_that_are_not_over_where_the_account_is_are_provisional() -> None:
    window = Window.of_days(date(2026, 5, 19), TODAY, UTC_ZONE)
    assert provisional(stream("report"), ONE, window, NOW) == ["2026-05-20"]
    assert provisional(stream("report"), Account("2", time_zone="Europe/Berlin"), window, NOW) == []
    assert provisional(stream("changes"), ONE, window, NOW) == []


def test_changes_look_back_by_the_overlap_and_keep_away_from_now(landing: Landing) -> None:
    what = stream("changes", overlap=timedelta(minutes=10), settle=timedelta(minutes=5))
    late = window_of(landing, what, YESTERDAY, TODAY)
    assert (late.since, late.until) == (datetime(2026, 5, 19, 23, 50, tzinfo=UTC), datetime(2026, 5, 21, tzinfo=UTC))
    soon = window_of(landing, what, YESTERDAY, TODAY, datetime(2026, 5, 21, 0, 2, tzinfo=UTC))
    assert soon.until == datetime(2026, 5, 20, 23, 57, tzinfo=UTC)


def test_a_gap_that_an_outage_or_an_early_start_left_is_read_with_the_next_window(landing: Landing) -> None:
    what = stream("changes", overlap=timedelta(minutes=10), settle=timedelta(minutes=5))
    run(landing, what, start=date(2026, 5, 17), now=datetime(2026, 5, 18, 6, tzinfo=UTC))
    window = window_of(landing, what, YESTERDAY, TODAY)
    assert window.since == datetime(2026, 5, 18, 5, 45, tzinfo=UTC)
    assert window.start == date(2026, 5, 18)


@pytest.mark.parametrize("zone", ["UTC", "America/Los_Angeles", "Asia/Bangkok", "Europe/London"])
def test_chunks_fit_together_without_a_gap_over_the_change_of_clocks(zone: str) -> None:
    whole = Window.of_days(date(2026, 2, 20), date(2026, 4, 10), ZoneInfo(zone))
    wide = replace(whole, since=whole.since - timedelta(minutes=10), until=whole.until - timedelta(minutes=5))
    parts = list(chunks(wide, 7, ZoneInfo(zone)))
    assert [part.since for part in parts] == [wide.since, *(part.until for part in parts[:-1])]
    assert parts[-1].until == wide.until
    assert [day for part in parts for day in part.days()] == whole.days()
    assert max(len(part.days()) for part in parts) == 7


def test_a_question_that_is_too_large_is_halved_until_it_fits(landing: Landing) -> None:
    asked: list[int] = []

    def fetch(client: None, account: Account, window: Window) -> Iterator[Page]:
        asked.append(len(window.days()))
        if len(window.days()) > 3:
            raise SplitError("too large")
        yield Page([{"day": day.isoformat()} for day in window.days()])

    report = run(landing, stream("changes", fetch), start=date(2026, 5, 10))
    assert not report.failed
    assert asked == [11, 5, 2, 2, 1, 5, 2, 2, 1, 1]
    assert list(report.rows) == [day.isoformat() for day in Window.of_days(date(2026, 5, 10), TODAY, UTC_ZONE).days()]


def test_one_day_that_is_too_large_fails_the_account_and_not_the_others(landing: Landing) -> None:
    def fetch(client: None, account: Account, window: Window) -> Iterator[Page]:
        if account.id == "1":
            raise SplitError("too large")
        if account.id == "2":
            raise TransientError("away")
        yield Page([{"day": "2026-05-20"}])

    report = run(landing, stream("report", fetch), ONE, Account("2"), Account("3"))
    assert {account: str(error) for account, error in report.failed.items()} == {"1": "too large", "2": "away"}
    assert [item.account["id"] for item in landing.slices("ecb", "thing")] == ["3"]
