"""LinkedIn pages over the sandbox, and by the answers that LinkedIn's documentation shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine

from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.linkedin_pages.source import SOURCE, accounts, connect, probe
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.warehouse.contract import Enforced, enforce
from b2b_pipeline.warehouse.tables import community_daily, content_daily
from b2b_pipeline_tests.support.asked import Asked
from b2b_pipeline_tests.support.end_to_end import inside
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import linkedin_pages
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
URN = "urn:li:organization:2414183"
PAGE = Account(URN, time_zone="UTC")
HOST = "https://api.linkedin.com"
STATISTICS = f"{HOST}/rest/organizationalEntityShareStatistics"
JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 4), ZoneInfo("UTC"))
DAY = 86_400_000


ASKED = Asked(SOURCE, PAGE, JULY)
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=10, leads=20)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("LINKEDIN_PAGES_BASE_URL", raising=False)
    monkeypatch.setenv("LINKEDIN_PAGES_ACCESS_TOKEN", "T-1")
    with responses.RequestsMock() as mock, time_machine.travel(datetime(2026, 7, 9, 3, tzinfo=UTC)):
        yield mock


def fetch(window: Window = JULY, account: Account = PAGE) -> list[Record]:
    return ASKED.fetch("share_daily", window, account=account)


def mapped(records: list[Record]) -> Enforced:
    return ASKED.mapped(content_daily, "share_daily", records)


def told(day: date, **more: Any) -> Record:
    start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
    total = {
        "uniqueImpressionsCount": 927, "clickCount": 109, "engagement": 0.0075, "likeCount": 6, "commentCount": 2,
        "shareCount": 1, "impressionCount": 1209,
    }  # fmt: skip
    span = {"start": start, "end": start + DAY}
    return {"organizationalEntity": URN, "timeRange": span, "totalShareStatistics": total, **more}


def answered(*found: Record, **more: Any) -> dict[str, Any]:
    return {"paging": {"start": 0, "count": 10, "links": []}, "elements": [*found], **more}


def test_a_day_of_a_page_is_a_row_of_all_its_posts(vendor: responses.RequestsMock) -> None:
    vendor.get(STATISTICS, json=answered(*(told(date(2026, 7, day)) for day in (1, 2, 3))))
    stored = mapped(fetch())
    assert stored.rejects.empty
    assert len(stored.rows) == 3
    row = stored.rows.astype(object).to_dict("records")[0]
    assert (str(row["date_day"]), row["post_id"], row["counted"], row["network"]) == (
        "2026-07-01", URN, "day", "linkedin",
    )  # fmt: skip
    names = ("impressions", "reach", "clicks", "likes", "comments", "shares")
    assert [row[name] for name in names] == [1209, 927, 109, 6, 2, 1]
    assert [str(row[name]) for name in ("video_views", "other_interactions")] == ["None", "None"], "not told"
    request = vendor.calls[0].request
    query = (request.url or "").partition("?")[2]
    assert query == (
        "q=organizationalEntity&organizationalEntity=urn%3Ali%3Aorganization%3A2414183&timeIntervals="
        "(timeRange:(start:1782864000000,end:1783123200000),timeGranularityType:DAY)"
    )
    assert request.headers["LinkedIn-Version"] == "202607"


def test_a_day_that_is_not_told_is_unknown_and_not_zero(vendor: responses.RequestsMock) -> None:
    vendor.get(STATISTICS, json=answered(told(date(2026, 7, 1))))
    rows = mapped(fetch()).rows
    assert [str(day) for day in rows["date_day"]] == ["2026-07-01", "2026-07-02", "2026-07-03"]
    assert rows["impressions"].isna().tolist() == [False, True, True]


def test_today_is_not_asked_for(vendor: responses.RequestsMock) -> None:
    today = Window.of_days(date(2026, 7, 9), date(2026, 7, 10), ZoneInfo("UTC"))
    assert fetch(today) == []
    assert len(vendor.calls) == 0


@pytest.mark.parametrize(
    ("elements", "why"),
    [
        ([told(date(2026, 7, 1)), told(date(2026, 7, 1))], "2026-07-01 is told twice"),
        ([told(date(2026, 7, 1), timeRange={"start": 1782864000000, "end": 1783123200000})], "not of one day"),
        ([told(date(2026, 7, 1), timeRange={"start": 1782864000001, "end": 1782950400001})], "not of one day"),
        ([{"totalShareStatistics": {"impressionCount": 5}}], "not of one day"),
    ],
)
def test_statistics_that_are_not_of_one_day_each_are_no_answer(
    vendor: responses.RequestsMock, elements: list[Record], why: str
) -> None:
    vendor.get(STATISTICS, json=answered(*elements))
    with pytest.raises(TransientError, match=why):
        fetch()


def test_all_that_the_sandbox_has_is_read_in_pages_too(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    window = Window.of_days(UNTIL - timedelta(days=6), UNTIL, ZoneInfo("UTC"))
    now = datetime.fromtimestamp(world.now() / 1000, UTC)
    with running(world, linkedin_pages={"page_size": 1, "lag": 2}) as url, time_machine.travel(now):
        monkeypatch.setenv("LINKEDIN_PAGES_BASE_URL", f"{url}/linkedin_pages")
        found = accounts(connect(config()), config()).read
        records = fetch(window)
        with pytest.raises(AuthError, match="ACCESS_DENIED"):
            fetch(window, Account("urn:li:organization:1"))
    assert [account.id for account in found] == sorted(linkedin_pages.OURS)
    whole = [record for record in records if "totalShareStatistics" in record]
    assert len(records) == 6
    assert 4 <= len(whole) < 6, "the newest days come later"
    for record in whole:
        expected = linkedin_pages.counts(URN, date.fromisoformat(record["day"]), world.now())
        assert record["totalShareStatistics"].items() >= expected.items()


def test_doctor_warns_of_what_the_scope_could_do(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world):
        findings = probe(connect(config()), config())
        assert all(finding.ok for finding in findings)
        assert ["rw_organization_admin" in finding.what for finding in findings if finding.warning] == [True]
        add_fault(world, "linkedin_pages", "missing_scope", scope="rw_organization_admin", path_contains="Statistics")
        refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
        clear_faults(world)
    assert refused
    assert all("b2b connect linkedin_pages" in finding.fix for finding in refused)


# -- followers


def followers(at: datetime, zone: str = "Europe/Berlin", day: date = date(2026, 7, 8)) -> tuple[list[Record], Any]:
    """What is told of a day at a moment, and why not of it."""
    with time_machine.travel(at, tick=False):
        window = Window.of_days(day, day + timedelta(days=1), ZoneInfo(zone))
        (page,) = SOURCE.stream("follower_daily").fetch(connect(config()), PAGE, window)
    return [*page.records], page.doubts


def test_followers_are_those_of_the_day_that_has_just_ended_where_we_report(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{HOST}/rest/networkSizes/urn%3Ali%3Aorganization%3A2414183", json={"firstDegreeSize": 219145})
    records, doubts = followers(datetime(2026, 7, 9, 0, 5, tzinfo=UTC))
    assert (records, doubts) == ([{"day": "2026-07-08", "firstDegreeSize": 219145}], {})
    assert vendor.calls[0].request.url == (
        f"{HOST}/rest/networkSizes/urn%3Ali%3Aorganization%3A2414183?edgeType=COMPANY_FOLLOWED_BY_MEMBER"
    )
    context = MappingContext(config(), "linkedin_pages", "follower_daily", PAGE)
    mapping = SOURCE.stream("follower_daily").feeds["community_daily"]
    (row,) = enforce(community_daily, mapping(flattened(records), context)).rows.astype(object).to_dict("records")
    assert (row["community_id"], row["network"], row["members"]) == (URN, "linkedin", 219145)
    for at in (datetime(2026, 7, 9, 5, tzinfo=UTC), datetime(2026, 7, 8, 21, tzinfo=UTC)):
        records, doubts = followers(at)
        assert not records
        assert "nobody asked when the day had just ended" in doubts["2026-07-08"]
    assert len(vendor.calls) == 1


def test_an_answer_without_a_number_of_followers_is_none(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{HOST}/rest/networkSizes/urn%3Ali%3Aorganization%3A2414183", json={"firstDegreeSize": None})
    with pytest.raises(TransientError, match="no number of followers"):
        followers(datetime(2026, 7, 9, 0, 5, tzinfo=UTC))


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Tokyo", "America/Los_Angeles"])
def test_followers_of_a_night_are_whole_wherever_we_report_and_those_of_a_missed_one_unknown(
    tmp_path: Path, zone: str
) -> None:
    """The page's own days are UTC's, which in Tokyo at two in the morning has still the day before."""
    world = make_world(tmp_path / "world.sqlite", until=UNTIL, days=8, leads=20)
    found = Installation(tmp_path / "it", world)
    (found.folder / "home").mkdir(parents=True)
    (found.folder / "pipeline.yaml").write_text(
        f"start_date: 2026-06-10\nsystem_of_record: files\ntimezone: {zone}\nsources: {{linkedin_pages: {{}}}}\n"
    )
    for night in (1, 2, 4):
        now = datetime.combine(UNTIL + timedelta(days=night), time(2), ZoneInfo(zone))
        with world.connect() as connection:
            connection.execute("update setting set value = ? where name = 'now'", (f"{now.timestamp() * 1000:.0f}",))
        with inside(found) as pipeline, served(world):
            last = now.date() - timedelta(days=1)
            assert not pipeline.ingest("linkedin_pages", "follower_daily", last, now.date(), f"night {night}").failed
    with inside(found) as pipeline:
        migrated(pipeline.warehouse)
        rebuild(pipeline, "build", replay=False)
        for night, is_known in ((1, True), (2, True), (3, False), (4, True)):
            day = UNTIL + timedelta(days=night - 1)
            answers = ask(pipeline.warehouse, pipeline.config, ["social_followers"], day, day, ["network"])
            told = [(answer.keys["network"], answer.value, answer.complete) for answer in answers]
            end = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))
            of_both = sum(linkedin_pages.followers(page, int(end.timestamp() * 1000)) for page in linkedin_pages.OURS)
            assert told == ([("linkedin", of_both, True)] if is_known else [])


def test_doctor_asks_for_followers_at_any_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        assert all(finding.ok for finding in probe(connect(config()), config()))
        add_fault(world, "linkedin_pages", "missing_scope", path_contains="networkSizes", scope="rw_organization_admin")
        refused = [finding.what for finding in probe(connect(config()), config()) if not finding.ok]
        clear_faults(world)
    assert len(refused) == 1
    assert refused[0].startswith("LinkedIn pages followers")
