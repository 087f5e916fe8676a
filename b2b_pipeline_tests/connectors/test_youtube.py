"""YouTube over the sandbox, and by the answers that its documentation shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.youtube.source import SOURCE, TOKENS, accounts, classify, connect, probe
from b2b_pipeline.errors import TransientError
from b2b_pipeline.warehouse.contract import Enforced
from b2b_pipeline.warehouse.tables import content_daily
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.installation import CREDENTIALS, served
from b2b_sandbox import youtube
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
CHANNEL = Account(youtube.CHANNEL, "Our Channel", time_zone="America/Los_Angeles")
REPORTS = "https://youtubeanalytics.googleapis.com/v2/reports"
JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 4), ZoneInfo("America/Los_Angeles"))
HEADERS = [{"name": name, "columnType": "METRIC"} for name in ("day", "views", "likes", "comments", "shares")]


ASKED = Asked(SOURCE, CHANNEL, JULY)
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=10, leads=20)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("YOUTUBE_BASE_URL", raising=False)
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.setenv(f"YOUTUBE_{name}", f"{name}-of-ours")
    with responses.RequestsMock() as mock, time_machine.travel(datetime(2026, 7, 9, 3, tzinfo=UTC)):
        mock.post(TOKENS, json={"access_token": "A-1", "expires_in": 3599, "token_type": "Bearer"})
        yield mock


def fetch(window: Window = JULY) -> list[Record]:
    return ASKED.fetch("channel_daily", window)


def mapped(records: list[Record]) -> Enforced:
    return ASKED.mapped(content_daily, "channel_daily", records)


def means(status: int, reason: str = "") -> Outcome:
    return classify(answer(REPORTS, status, {"error": {"code": status, "errors": [{"reason": reason}]}}))


def test_a_quota_is_that_of_a_day_in_pacific_time_and_a_rate_is_waited_for() -> None:
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        assert means(403, "quotaExceeded") == Stop(datetime(2026, 6, 16, 7, tzinfo=UTC), "quotaExceeded")
    assert means(403, "rateLimitExceeded") == Wait(30.0, "rateLimitExceeded")
    refused = means(403, "insufficientPermissions")
    assert isinstance(refused, Fatal)
    assert (refused.auth, "b2b connect youtube" in refused.fix) == (True, True)
    assert isinstance(means(401, "authError"), Reauth)
    assert isinstance(means(500, "backendError"), Wait)


def test_a_day_that_is_not_told_is_unknown_and_so_are_impressions(vendor: responses.RequestsMock) -> None:
    told = [["2026-07-01", 120, 9, 2, 1], ["2026-07-03", 80, 4, 0, 0]]
    vendor.get(REPORTS, json={"kind": "youtubeAnalytics#resultTable", "columnHeaders": HEADERS, "rows": told})
    stored = mapped(fetch())
    assert stored.rejects.empty
    names = ("video_views", "likes", "comments", "shares", "impressions")
    found = [[str(row[name]) for name in names] for row in stored.rows.astype(object).to_dict("records")]
    assert found == [
        ["120", "9", "2", "1", "None"], ["None", "None", "None", "None", "None"], ["80", "4", "0", "0", "None"],
    ]  # fmt: skip
    asked = parse_qs(urlsplit(vendor.calls[-1].request.url or "").query)
    assert asked == {
        "ids": [f"channel=={youtube.CHANNEL}"], "startDate": ["2026-07-01"], "endDate": ["2026-07-03"],
        "metrics": ["views,likes,comments,shares"], "dimensions": ["day"], "sort": ["day"],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"columnHeaders": HEADERS[:3], "rows": []}, "without the columns"),
        ({"columnHeaders": HEADERS, "rows": [["2026-07-01", 5]]}, "without the columns"),
        ({"kind": "youtubeAnalytics#resultTable"}, "without the columns"),
        ({"columnHeaders": HEADERS, "rows": [["2026-06-30", 5, 1, 0, 0]]}, "a row of 2026-06-30"),
    ],
)
def test_a_table_that_is_not_what_was_asked_for_is_no_answer(
    vendor: responses.RequestsMock, body: dict[str, Any], why: str
) -> None:
    vendor.get(REPORTS, json=body)
    with pytest.raises(TransientError, match=why):
        fetch()


def test_all_that_the_sandbox_tells_is_read(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    window = Window.of_days(UNTIL - timedelta(days=40), UNTIL, ZoneInfo("America/Los_Angeles"))
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        client = connect(config())
        (account,) = accounts(client, config()).read
        records = fetch(window)
        assert all(finding.ok for finding in probe(client, config()))
    assert (account.id, account.time_zone) == (youtube.CHANNEL, "America/Los_Angeles")
    assert len(records) == 40
    whole = {record["day"]: record for record in records if "views" in record}
    assert 30 < len(whole) < 40, "the newest days and empty ones are not told"
    for day, record in whole.items():
        assert record.items() >= youtube.counts(date.fromisoformat(day)).items()


def test_a_user_without_a_channel_is_told(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running(world, youtube={"has_channel": False}) as url:
        monkeypatch.setenv("YOUTUBE_BASE_URL", f"{url}/youtube")
        findings = probe(connect(config()), config())
    assert [(finding.ok, finding.what) for finding in findings] == [(False, "YouTube: no account is reached")]
