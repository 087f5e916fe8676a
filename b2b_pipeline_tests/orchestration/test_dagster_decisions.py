"""What schedules and sensors decide, as pure functions."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.files.inbox import decide_files, list_inbox
from b2b_pipeline.orchestration.again import Asked, decide_again
from b2b_pipeline.orchestration.freshness import (
    READY_HOUR,
    expected_day,
    freshness_policy,
    missing_days,
    stale_days,
)
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START, nightly_range
from b2b_pipeline.orchestration.sensors import AskedFile, Run, decide_derive, decide_drops, decide_news
from b2b_pipeline_tests.support.installation import DEMO

FIRST, TODAY = date(2026, 1, 1), date(2026, 3, 20)
YESTERDAY = date(2026, 3, 19)
NIGHT = datetime(2026, 3, 20, 2, tzinfo=UTC)
ALL = {(FIRST + timedelta(days=n)).isoformat() for n in range(78)}
LAST = (YESTERDAY, YESTERDAY)


def at(minutes: float) -> datetime:
    return NIGHT + timedelta(minutes=minutes)


def ingest(end: float | None, days: tuple[date, date] | None = LAST) -> Run:
    return Run(days, NIGHT, None if end is None else at(end))


def derive(start: float | None, days: tuple[date, date] = LAST) -> Run:
    return Run(days, None if start is None else at(start), None)


@pytest.mark.parametrize(
    ("done", "start"),
    [
        (ALL, YESTERDAY),
        (ALL - {"2026-03-19"}, YESTERDAY),
        (ALL - {"2026-03-19", "2026-03-18"}, date(2026, 3, 18)),
        (ALL - {"2026-03-10"}, date(2026, 3, 10)),  # a gap between: an outage that nobody noticed
        (ALL - {"2026-02-01"}, YESTERDAY),  # too old: a backfill's business
        (set(), date(2026, 3, 6)),
    ],
)
def test_a_night_starts_at_the_earliest_missing_day_of_the_last_two_weeks(done: set[str], start: date) -> None:
    assert nightly_range(TODAY, FIRST, done) == (start, YESTERDAY)


def test_a_night_never_starts_before_the_start_date() -> None:
    assert nightly_range(date(2026, 1, 3), FIRST, set()) == (FIRST, date(2026, 1, 2))


@pytest.mark.parametrize(("hour", "day"), [(0, 18), (7, 18), (8, 19), (23, 19)])
def test_yesterday_is_expected_from_eight_in_the_morning(hour: int, day: int) -> None:
    assert expected_day(datetime(2026, 3, 20, hour, 59, tzinfo=UTC)) == date(2026, 3, day)


@pytest.mark.parametrize(
    ("there", "missing"),
    [
        (set(), ["2026-03-19"]),
        ({"2026-03-19"}, []),
        ({"2026-03-17", "2026-03-18", "2026-03-19"}, []),
        ({"2026-03-17", "2026-03-19"}, ["2026-03-18"]),
        ({"2026-03-16"}, ["2026-03-17", "2026-03-18", "2026-03-19"]),
        ({"2026-03-20"}, []),  # ahead of what is expected
    ],
)
def test_missing_days_are_those_from_the_first_one_there_to_the_expected_one(
    there: set[str], missing: list[str]
) -> None:
    assert missing_days(there, YESTERDAY) == missing


def test_no_day_is_expected_before_the_history_begins() -> None:
    config = Config.model_validate({"start_date": "2026-03-20", "system_of_record": "files"})
    assert stale_days(set(), config, datetime(2026, 3, 20, 9, tzinfo=UTC)) == []
    assert stale_days(set(), config, datetime(2026, 3, 21, 9, tzinfo=UTC)) == ["2026-03-20"]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"])
def test_what_the_policy_calls_stale_the_check_calls_stale_on_every_day_of_a_year(zone: str) -> None:
    """A day is computed when it is over at the earliest, and the policy asks for nothing later."""
    config = Config.model_validate({"start_date": "2026-01-01", "system_of_record": "files", "timezone": zone})
    policy: Any = freshness_policy(config)
    assert (policy.deadline_cron, policy.timezone) == (f"0 {READY_HOUR} * * *", zone)
    for number in range(365):
        midnight = datetime(2026, 1, 1, tzinfo=config.zone) + timedelta(days=number)
        deadline = midnight.replace(hour=READY_HOUR)
        assert expected_day(deadline) == midnight.date() - timedelta(days=1)
        assert deadline.timestamp() - policy.lower_bound_delta.total_seconds() <= midnight.timestamp(), midnight


def asked(run_id: str, minutes: float, streams: str = "a b", until: float | None = None, days: Any = LAST) -> Asked:
    end = None if until is None else at(until)
    return Asked(run_id, "google_ads", frozenset(streams.split()), days, at(minutes), end)


def test_a_vendor_is_asked_again_once_its_time_has_come_and_only_for_what_failed() -> None:
    stopped = asked("1", 0, "b", until=660)
    waiting = decide_again([stopped], at(659))
    assert isinstance(waiting, dg.SkipReason)
    assert waiting.skip_message == "google_ads is asked again at 2026-03-20 13:00 UTC"
    assert decide_again([stopped], at(660)) == [stopped]


@pytest.mark.parametrize(
    ("later", "again"),
    [
        (asked("2", 5, "a b"), False),  # somebody read all of it meanwhile
        (asked("2", 661, "b"), False),  # it was asked again already
        (asked("2", 5, "a"), True),  # of another stream
        (asked("2", 5, "a b", days=(YESTERDAY + timedelta(days=1),) * 2), True),  # of another day
        (asked("0", -5, "a b"), True),  # before it
        (replace(asked("2", 5), source="hubspot"), True),
    ],
)
def test_what_another_run_has_asked_for_since_is_not_asked_again(later: Asked, again: bool) -> None:
    stopped = asked("1", 0, "b", until=660)
    assert (decide_again([stopped, later], at(700)) == [stopped]) is again


def test_a_vendor_that_stopped_the_second_try_too_is_asked_a_third_time() -> None:
    first, second = asked("1", 0, "b", until=60), asked("2", 61, "b", until=120)
    assert isinstance(decide_again([first, second], at(100)), dg.SkipReason)
    assert decide_again([first, second], at(120)) == [second]


@pytest.mark.parametrize(
    ("ingests", "derives", "minutes", "skipped"),
    [
        ([], [], 5, "no ingest has ended since the last derive"),
        ([ingest(None)], [], 5, "no ingest has ended since the last derive"),
        ([ingest(1), ingest(None)], [], 5, "1 ingests have not ended"),
        ([ingest(1), ingest(None), ingest(None)], [], 120, "2 ingests have not ended"),
        ([ingest(1), ingest(110), ingest(None)], [], 120, "1 ingests have not ended"),
        ([ingest(1)], [derive(2)], 5, "no ingest has ended since the last derive"),
        ([ingest(1)], [derive(None)], 5, "no ingest has ended since the last derive"),  # queued: it will see it
        ([ingest(1), ingest(None)], [derive(2)], 500, "no ingest has ended since the last derive"),
        ([ingest(1, None)], [derive(2)], 5, "no ingest has ended since the last derive"),
    ],
)
def test_derive_waits(ingests: list[Run], derives: list[Run], minutes: float, skipped: str) -> None:
    decision = decide_derive(ingests, derives, at(minutes), YESTERDAY)
    assert isinstance(decision, dg.SkipReason)
    assert decision.skip_message == skipped


@pytest.mark.parametrize(
    ("ingests", "derives", "minutes", "first", "last", "key"),
    [
        ([ingest(1)], [], 5, YESTERDAY, YESTERDAY, 1),
        ([ingest(1), ingest(3)], [], 5, YESTERDAY, YESTERDAY, 3),
        ([ingest(1), ingest(None)], [], 122, YESTERDAY, YESTERDAY, 1),  # the deadline: an outage holds nobody up
        ([ingest(1), ingest(110), ingest(None)], [], 122, YESTERDAY, YESTERDAY, 110),  # it counts from the first news
        ([ingest(1), ingest(200)], [derive(122)], 201, YESTERDAY, YESTERDAY, 200),  # the late one, once it has ended
        ([ingest(1), ingest(3)], [derive(2)], 5, YESTERDAY, YESTERDAY, 3),  # ended while derive was running
        ([ingest(1, None)], [], 5, YESTERDAY, YESTERDAY, 1),  # a file drop has no days
        ([ingest(1), ingest(2, (FIRST, date(2026, 2, 1)))], [], 5, FIRST, YESTERDAY, 2),  # a backfill beside the night
        ([ingest(2, (FIRST, FIRST))], [derive(3)], 5, FIRST, FIRST, 2),  # derived since, but not those days
    ],
)
def test_derive_takes_the_days_of_every_ingest_that_no_derive_covers(
    ingests: list[Run], derives: list[Run], minutes: float, first: date, last: date, key: float
) -> None:
    decision = decide_derive(ingests, derives, at(minutes), YESTERDAY)
    assert isinstance(decision, dg.RunRequest)
    assert decision.tags == {RANGE_START: first.isoformat(), RANGE_END: last.isoformat()}
    assert decision.run_key == f"derive:{at(key).isoformat()}"


def test_files_are_taken_when_new_or_replaced_and_named_when_they_fit_nowhere() -> None:
    files = load_config(DEMO).files
    listing = {"costs_2026-06.csv": "1:1", "costs_2026-05.csv": "2:2", "event_leads.csv": "1:9", "notes.txt": "1:1"}
    wanted, complaints = decide_files(listing, {"costs_2026-06.csv": "1:1", "costs_2026-05.csv": "1:1"}, files)
    assert wanted == {"costs_2026-05.csv": "cost_ledger", "event_leads.csv": "lead"}
    assert complaints == ["notes.txt matches no mapping under `files:` in pipeline.yaml"]


def test_a_file_that_fits_two_mappings_is_not_guessed() -> None:
    files = load_config(DEMO).files
    wanted, complaints = decide_files({"costs_1.csv": "1:1"}, {}, {**files, "again": files["costs"]})
    assert wanted == {}
    assert complaints == ["costs_1.csv matches several mappings: costs, again: make their `match` narrower"]


def test_half_written_and_hidden_files_are_left_alone(tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv.part", "c.tmp", ".d.csv"):
        (tmp_path / name).write_text("x")
    (tmp_path / "folder").mkdir()
    assert list(list_inbox(tmp_path)) == ["a.csv"]


def test_a_file_whose_run_died_is_asked_for_again_and_again_less_often() -> None:
    asked: dict[str, AskedFile] = {}
    keys = []
    for minute in range(0, 40, 5):
        new, asked = decide_drops({"a.csv": "1:1"}, asked, set(), minute * 60.0)
        keys += [(minute, key) for key in new.values()]
    assert keys == [(0, "a.csv:1:1"), (5, "a.csv:1:1:2"), (15, "a.csv:1:1:3"), (35, "a.csv:1:1:4")]
    assert decide_drops({"a.csv": "1:1"}, asked, {"a.csv"}, 1e9)[0] == {}, "its run goes on"
    assert decide_drops({"a.csv": "2:1"}, asked, set(), 2100.0)[0] == {"a.csv": "a.csv:2:1"}, "another version"
    assert decide_drops({}, asked, set(), 2100.0) == ({}, {})


@pytest.mark.parametrize(
    ("before", "now", "news"),
    [
        ({}, {}, []),
        ({}, {"run of derive": "failed"}, ["run of derive: failed"]),
        ({"run of derive": "failed"}, {"run of derive": "failed"}, []),
        ({"run of derive": "failed"}, {}, ["run of derive: ok again"]),
        ({"asset kpi/roi": "stale, a"}, {"asset kpi/roi": "stale, b"}, ["asset kpi/roi: stale, b"]),
        ({"b": "failed"}, {"a": "failed"}, ["a: failed", "b: ok again"]),
    ],
)
def test_a_change_of_state_is_news_and_nothing_else_is(
    before: dict[str, str], now: dict[str, str], news: list[str]
) -> None:
    assert decide_news(before, now) == news
