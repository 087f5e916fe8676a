"""Which window is really read, in which pieces, and what one failing account does to the others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Accounts, Page, Skipped, Source, Stream, Window, WindowPolicy
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import SkippedError, SplitError, TransientError
from b2b_pipeline.landing.absences import absences
from b2b_pipeline.landing.ingest import IngestReport, chunks, ingest, provisional, widen
from b2b_pipeline.landing.store import Landing
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
    landing: Landing,
    what: Stream,
    *accounts: Account,
    start: date = YESTERDAY,
    now: datetime = NOW,
    run_id: str = "r",
    config: Config = CONFIG,
    skipped: Sequence[Skipped] = (),
    early: bool = False,
    end: date = TODAY,
) -> IngestReport:
    return ingest(
        source(), what, None, Accounts(accounts or [ONE], skipped), start, end,
        config=config, landing=landing, run_id=run_id, early=early, now=now,
    )  # fmt: skip


def test_a_report_reads_its_restated_days_again_by_the_account_s_own_settings(landing: Landing) -> None:
    what = stream("report", restate_days=10)
    # It is still the evening of the 20th in New York.
    assert window_of(landing, what, YESTERDAY, TODAY).start == date(2026, 5, 9), "on the 19th the 9th could change"
    assert window_of(landing, what, YESTERDAY, TODAY, restate_days=lambda *_: 90).start == date(2026, 2, 18)
    assert window_of(landing, what, YESTERDAY, TODAY, restate_days=lambda *_: 400).start == CONFIG.start_date


def test_days_that_could_still_change_when_they_were_last_read_are_read_again_after_an_outage(landing: Landing) -> None:
    """Else what changed of them meanwhile would never be seen, and they would pass for complete."""
    what = stream("report", restate_days=10)

    def read(start: date, end: date, now: datetime) -> None:
        accounts, given = Accounts([ONE]), {"config": CONFIG, "landing": landing, "run_id": str(end), "now": now}
        with time_machine.travel(now):
            assert not ingest(source(), what, None, accounts, start, end, **given).failed  # type: ignore[arg-type]

    read(date(2026, 4, 1), date(2026, 5, 1), datetime(2026, 5, 1, 6, tzinfo=UTC))
    assert window_of(landing, what, YESTERDAY, TODAY).start == date(2026, 4, 21)
    longer = window_of(landing, what, YESTERDAY, TODAY, restate_days=lambda *_: 15)
    assert longer.start == date(2026, 4, 16), "by the account's own settings"
    with time_machine.travel(NOW):
        read(date(2026, 2, 1), date(2026, 2, 3), NOW)
    assert window_of(landing, what, YESTERDAY, TODAY).start == date(2026, 4, 21), "a backfill tells nothing of them"
    assert window_of(landing, what, date(2026, 3, 1), date(2026, 3, 3)).start == date(2026, 3, 1), "long past, as asked"
    read(YESTERDAY, TODAY, NOW)
    assert window_of(landing, what, YESTERDAY, TODAY).start == date(2026, 5, 9)


def test_a_report_of_a_monday_reads_back_to_the_fixing_before_the_weekend(landing: Landing) -> None:
    what = stream("report", overlap=timedelta(days=10))
    window = window_of(landing, what, date(2026, 2, 2), date(2026, 2, 3))
    assert (window.start, window.since) == (date(2026, 1, 23), datetime(2026, 1, 23, tzinfo=UTC))
    # The first day needs a rate of before it.
    assert window_of(landing, what, CONFIG.start_date, date(2026, 1, 2)).start == date(2025, 12, 22)
    fixings = SOURCES["ecb"].stream("exchange_rate")
    assert window_of(landing, fixings, YESTERDAY, TODAY).start == date(2026, 5, 10)


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
    assert (late.since, late.until) == (datetime(2026, 5, 19, 23, 50, tzinfo=UTC), NOW - timedelta(minutes=5))
    soon = window_of(landing, what, YESTERDAY, TODAY, datetime(2026, 5, 21, 0, 2, tzinfo=UTC))
    assert soon.until == datetime(2026, 5, 20, 23, 57, tzinfo=UTC)


def test_what_was_changed_again_since_midnight_is_read_with_the_day_before(landing: Landing) -> None:
    """An invoice of yesterday that was paid tonight is found by tonight's change alone."""
    read = window_of(landing, stream("changes"), YESTERDAY, TODAY)
    assert (read.start, read.end, read.until) == (YESTERDAY, TODAY, NOW)
    past = window_of(landing, stream("changes"), YESTERDAY, TODAY, NOW + timedelta(days=1))
    assert past.until == datetime(2026, 5, 21, tzinfo=UTC), "the days after it have a read of their own"


def test_a_gap_that_an_outage_or_an_early_start_left_is_read_with_the_next_window(landing: Landing) -> None:
    what = stream("changes", overlap=timedelta(minutes=10), settle=timedelta(minutes=5))
    run(landing, what, start=date(2026, 5, 17), now=datetime(2026, 5, 18, 6, tzinfo=UTC))
    window = window_of(landing, what, YESTERDAY, TODAY)
    assert window.since == datetime(2026, 5, 18, 5, 45, tzinfo=UTC)
    assert window.start == date(2026, 5, 18)


def test_what_a_vendor_keeps_no_more_stays_a_gap_and_the_rest_is_read_after_an_outage(landing: Landing) -> None:
    asked: list[Window] = []

    def fetch(client: Any, account: Account, window: Window) -> Iterator[Page]:
        asked.append(window)
        yield Page([])

    what = stream("changes", fetch, overlap=timedelta(days=14), kept=timedelta(days=90))
    run(landing, what)
    back = NOW + timedelta(days=120)
    run(landing, what, start=date(2026, 9, 17), end=date(2026, 9, 18), now=back, run_id="back")
    assert asked[-1].since == back - timedelta(days=89), "a day less: at which hour the last one goes nobody says"
    assert asked[-1].start == date(2026, 6, 21)
    next_night = back + timedelta(days=1)
    run(landing, what, start=date(2026, 9, 18), end=date(2026, 9, 19), now=next_night, run_id="next")
    assert asked[-1].since == datetime(2026, 9, 4, tzinfo=UTC), "the overlap alone"
    lost = run(landing, what, start=date(2026, 5, 25), end=date(2026, 5, 30), now=next_night, run_id="lost")
    assert (len(asked), lost.slices) == (3, [])
    assert "keeps thing for 90 days: none of 2026-05-25 is there any more" in str(lost.failed["1"])
    assert lost.failed["1"].fix == "read from a later day on: `b2b backfill --from 2026-06-23`"


def test_of_a_report_only_the_days_are_asked_for_that_the_vendor_keeps(landing: Landing) -> None:
    asked: list[Window] = []

    def fetch(client: Any, account: Account, window: Window) -> Iterator[Page]:
        asked.append(window)
        yield Page([])

    report = run(landing, stream("report", fetch, kept=timedelta(days=30)), start=date(2026, 3, 1))
    assert (asked[0].start, asked[-1].end) == (date(2026, 4, 22), TODAY)
    assert report.slices[0].start == "2026-04-22"
    refused = run(landing, stream("report", fetch, kept=timedelta(days=30)), start=date(2026, 3, 1),
                  end=date(2026, 4, 1), run_id="old")  # fmt: skip
    assert "for 30 days" in str(refused.failed["1"])


# By their documents, as the sources' docstrings have it.
KEPT = {
    ("google_ads", "campaign_daily"): 1124, ("linkedin_ads", "lead"): 365, ("linkedin_pages", "share_daily"): 365,
    ("marketo", "activity"): 760, ("marketo", "merged"): 760, ("marketo", "sending"): 90, ("marketo", "status"): 90,
    ("meta_ads", "campaign_daily"): 1124, ("meta_ads", "lead"): 90, ("microsoft_ads", "campaign_daily"): 1095,
    ("reddit_ads", "campaign_daily"): 730, ("zoom_webinars", "attendance"): 180, ("zoom_webinars", "registrant"): 90,
}  # fmt: skip


@pytest.mark.parametrize(("name", "days"), KEPT.items())
def test_of_days_that_a_source_does_not_keep_nothing_is_asked(
    landing: Landing, name: tuple[str, str], days: int
) -> None:
    def fetch(*asked: Any) -> Iterator[Page]:
        raise AssertionError("it would be answered with nothing")

    vendor = replace(SOURCES[name[0]], restate_days=None)
    of = replace(vendor.stream(name[1]), fetch=fetch)
    old = TODAY - timedelta(days=days)
    report = ingest(
        vendor, of, None, Accounts([ONE]), old - timedelta(days=9), old,
        config=CONFIG.model_copy(update={"start_date": date(2020, 1, 1)}), landing=landing, run_id="r", now=NOW,
    )  # fmt: skip
    assert f"keeps {of.name} for {days} days" in str(report.failed["1"])


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


def reading(*ids: str) -> tuple[list[str], Any]:
    """A fetch that notes which accounts it was asked for, and cannot read those in `ids`."""
    asked: list[str] = []

    def fetch(client: None, account: Account, window: Window) -> Iterator[Page]:
        asked.append(account.id)
        if account.id in ids:
            raise SkippedError("CUSTOMER_NOT_ENABLED", closed=True)
        yield Page([{"day": day.isoformat()} for day in window.days()])

    return asked, fetch


def test_an_account_that_cannot_be_read_is_told_and_fails_nothing(landing: Landing) -> None:
    _, fetch = reading("2")
    half = Skipped("3", "the account is not set up", closed=True)
    report = run(landing, stream("report", fetch), ONE, Account("2"), skipped=[half])
    assert not report.failed
    assert report.skipped == [half, Skipped("2", "CUSTOMER_NOT_ENABLED", closed=True)]
    assert [item.account["id"] for item in report.slices] == ["1"]
    assert {item.account: item.reason for item in absences(landing.root, "ecb", "thing")} == {
        "3": "the account is not set up", "2": "CUSTOMER_NOT_ENABLED",
    }  # fmt: skip


def test_an_account_was_closed_on_the_days_between_two_sights_of_it_and_not_before(landing: Landing) -> None:
    closed = [Skipped("2", "the account is CANCELED", closed=True)]
    for night in range(3):
        run(landing, stream("report"), ONE, skipped=closed, now=NOW + timedelta(days=night), run_id=str(night))
    (noted,) = absences(landing.root, "ecb", "thing")
    days = [date(2026, 5, day) for day in range(19, 26)]
    assert [day.day for day in days if noted.explains(day)] == [22], "the 21st, its last day, may have had clicks"
    run(landing, stream("report"), ONE, Account("2"), now=NOW + timedelta(days=6), run_id="open again")
    run(landing, stream("report"), ONE, skipped=closed, now=NOW + timedelta(days=9), run_id="closed again")
    first, second = absences(landing.root, "ecb", "thing")
    assert (first.seen, first.over, second.since, second.over) == ("2026-05-23", True, "2026-05-30", False)


def test_an_account_that_the_credentials_no_longer_reach_is_told_unless_others_are_listed(landing: Landing) -> None:
    run(landing, stream("report"), ONE, Account("2"))
    told = run(landing, stream("report"), ONE, run_id="later").skipped
    assert told == [Skipped("2", "not among the accounts any more")]
    listed = Config.model_validate(CONFIG.model_dump() | {"sources": {"ecb": {"accounts": ["1"]}}})
    assert run(landing, stream("report"), ONE, run_id="listed", config=listed).skipped == []


def test_an_account_is_read_up_to_its_configured_end(landing: Landing) -> None:
    asked, fetch = reading()
    ended = Config.model_validate(CONFIG.model_dump() | {"sources": {"ecb": {"ended": {"1": "2026-05-19"}}}})
    gone = Skipped("1", "the account is CANCELED", closed=True)
    run(landing, stream("report", fetch), ONE, start=date(2026, 5, 18), config=ended)
    assert [(item.start, item.end) for item in landing.slices("ecb", "thing")] == [("2026-05-18", "2026-05-20")]
    report = run(landing, stream("report", fetch), ONE, config=ended, run_id="later", skipped=[gone])
    assert (asked, report.slices, report.skipped) == (["1"], [], []), "nothing is asked, and nothing is told"


def test_the_last_days_of_an_account_that_ended_are_read_again_as_long_as_they_may_change(landing: Landing) -> None:
    ended = Config.model_validate(CONFIG.model_dump() | {"sources": {"ecb": {"ended": {"1": "2026-05-19"}}}})
    what, last = stream("report", reading()[1], restate_days=3), date(2026, 5, 19)
    for number in range(1, 7):
        night = datetime.combine(last + timedelta(days=number), time(9), UTC)
        start = last + timedelta(days=number - 1)
        run(landing, what, ONE, start=start, config=ended, now=night, run_id=f"night {number}", end=night.date())
    read = [(item.run_id[-1], item.start, item.end) for item in landing.slices("ecb", "thing")]
    assert [night for night, *_ in read] == ["1", "2", "3", "4"], "a day is settled when it is read 3 + 1 days after it"
    assert {end for *_, end in read} == {"2026-05-20"}
    assert read[-1][1] <= "2026-05-19"


def test_what_a_run_has_landed_is_not_read_again_when_the_run_is_tried_again(landing: Landing) -> None:
    asked: list[str] = []

    def fetch(client: None, account: Account, window: Window) -> Iterator[Page]:
        asked.append(f"{account.id} {window.start:%d}")
        if account.id == "2" and window.start.day == 15 and asked.count("2 15") == 1:
            raise TransientError("away")
        yield Page([{"day": day.isoformat()} for day in window.days()])

    what = stream("report", fetch, max_days=5)
    first = run(landing, what, ONE, Account("2"), start=date(2026, 5, 10))
    again = run(landing, what, ONE, Account("2"), start=date(2026, 5, 10), now=NOW + timedelta(minutes=1))
    assert (list(first.failed), again.failed) == (["2"], {})
    assert asked == ["1 10", "1 15", "1 20", "2 10", "2 15", "2 15", "2 20"]
    assert sum(again.rows.values()) == 22, "the days of both accounts are there"
    run(landing, what, ONE, start=date(2026, 5, 10), run_id="another")
    assert asked[-3:] == ["1 10", "1 15", "1 20"]


def test_a_list_that_is_read_once_a_week_is_not_read_again_before_that(landing: Landing) -> None:
    what, read = stream("snapshot", every=timedelta(days=7), max_days=36_500), []
    for days in (0, 1, 6, 7, 8):
        now = NOW + timedelta(days=days)
        with time_machine.travel(now, tick=False):
            read.append(len(run(landing, what, now=now, start=CONFIG.start_date, run_id=str(days)).slices))
    assert read == [1, 0, 0, 1, 0]
    now = NOW + timedelta(days=9)
    assert run(landing, what, now=now, start=CONFIG.start_date, run_id="by hand", early=True).slices


def test_a_window_without_a_day_is_none() -> None:
    with pytest.raises(ValueError, match="start < end"):
        Window.of_days(date(2026, 5, 4), date(2026, 5, 4), ZoneInfo("UTC"))
