"""The rows of a report against the vendor's own totals: what is compared, and what is left out."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from b2b_pipeline.connectors.base import Account, Page, Window
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.control import Reconciliation, reconcile
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms

GOOGLE = SOURCES["google_ads"]
ROWS, TOTALS = "campaign_daily", "account_daily"
ZONE = ZoneInfo("Europe/Berlin")


class Reports:
    """Reports of one account, whose days of May are over later than ours."""

    def __init__(self, folder: Path) -> None:
        self.landing = Landing(folder, Pseudonyms(b"key", folder / "forgotten.json"))
        self._now = datetime(2026, 5, 7, 2, tzinfo=UTC)

    def land(
        self, stream: str, clicks: dict[int, int], *, provisional: tuple[int, ...] = (), doubted: tuple[int, ...] = ()
    ) -> None:
        """A slice with the clicks of each day of May."""
        self._now += timedelta(minutes=1)
        window = Window.of_days(date(2026, 5, min(clicks)), date(2026, 5, max(clicks) + 1), ZONE)
        records = [
            {"segments": {"date": f"2026-05-0{day}"}, "metrics": {"clicks": str(number)}}
            for day, number in clicks.items()
            if number
        ]
        page = Page(records, doubts={f"2026-05-0{day}": "sampled" for day in doubted})
        self.landing.write(
            "google_ads", GOOGLE.stream(stream), Account("1", time_zone="America/New_York"), window, [page],
            zone=ZONE, api_version="v1", run_id="run", now=self._now,
            provisional_days=[f"2026-05-0{day}" for day in provisional],
        )  # fmt: skip

    def reconciled(self) -> Reconciliation:
        assert GOOGLE.control is not None
        return reconcile(self.landing, GOOGLE, GOOGLE.control)


@pytest.fixture
def reports(tmp_path: Path) -> Reports:
    return Reports(tmp_path)


def off(day: int, ours: int, theirs: int) -> str:
    return f"google_ads 1 2026-05-0{day}: metrics.clicks of the rows {ours}, of the account {theirs}"


def test_every_day_of_which_both_were_read_is_compared(reports: Reports) -> None:
    reports.land(ROWS, {1: 7, 2: 0, 3: 4})
    reports.land(TOTALS, {1: 7, 2: 0, 3: 5})
    assert reports.reconciled() == Reconciliation(3, [off(3, 4, 5)])


@pytest.mark.parametrize("mid_day", [ROWS, TOTALS])
def test_a_day_that_either_was_read_in_the_middle_of_is_left_out(reports: Reports, mid_day: str) -> None:
    for stream, clicks in ((ROWS, 4), (TOTALS, 6)):
        reports.land(stream, {1: 7, 2: clicks}, provisional=(2,) if stream == mid_day else ())
    assert reports.reconciled() == Reconciliation(1)


@pytest.mark.parametrize("doubtful", [ROWS, TOTALS])
def test_a_day_that_the_vendor_doubts_is_not_compared(reports: Reports, doubtful: str) -> None:
    for stream, clicks in ((ROWS, 4), (TOTALS, 6)):
        reports.land(stream, {1: 7, 2: clicks}, doubted=(2,) if stream == doubtful else ())
    assert reports.reconciled() == Reconciliation(1)


def test_a_day_read_in_the_middle_is_compared_once_it_is_over_though_nothing_came_in_since(reports: Reports) -> None:
    for stream, clicks in ((ROWS, 4), (TOTALS, 6)):
        reports.land(stream, {1: 7, 2: clicks}, provisional=(2,))
    assert reports.reconciled() == Reconciliation(1)
    for stream, clicks in ((ROWS, 4), (TOTALS, 6)):
        reports.land(stream, {1: 7, 2: clicks})
    assert reports.reconciled() == Reconciliation(2, [off(2, 4, 6)])


def test_rows_of_a_day_without_totals_are_named_unless_there_are_none(reports: Reports) -> None:
    reports.land(ROWS, {1: 7, 2: 0, 3: 4, 4: 4}, provisional=(4,))
    assert reports.reconciled() == Reconciliation(0, [], ["google_ads 1 2026-05-01", "google_ads 1 2026-05-03"])
    reports.land(TOTALS, {1: 7})
    assert reports.reconciled() == Reconciliation(1, [], ["google_ads 1 2026-05-03"])
