"""LinkedIn pages over the sandbox, and by the answers that LinkedIn's documentation shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.linkedin_pages.source import SOURCE, accounts, connect, probe
from b2b_pipeline.errors import AuthError, PermanentError, TransientError
from b2b_pipeline.warehouse.contract import Enforced
from b2b_pipeline.warehouse.tables import content_daily
from b2b_pipeline_tests.support.asked import Asked
from b2b_pipeline_tests.support.installation import CREDENTIALS, served
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


def test_today_is_not_asked_for_and_what_is_too_old_is_told(vendor: responses.RequestsMock) -> None:
    today = Window.of_days(date(2026, 7, 9), date(2026, 7, 10), ZoneInfo("UTC"))
    assert fetch(today) == []
    old = Window.of_days(date(2025, 7, 1), date(2025, 7, 4), ZoneInfo("UTC"))
    with pytest.raises(PermanentError, match="keeps 12 months, 2025-07-01 is before them"):
        fetch(old)
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
