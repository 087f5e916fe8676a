"""Discourse over the sandbox, and by the answers that its source shows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine
from sqlalchemy import select

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.discourse.source import REPORTS, SOURCE, Discourse, accounts, classify, connect, probe
from b2b_pipeline.connectors.http import Fatal, Outcome, Stop, Wait
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.metrics.query import QuestionError, ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.contract import Enforced
from b2b_pipeline.warehouse.tables import community_daily
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.discourse import forum_at
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
WINDOW = Window.of_days(UNTIL - timedelta(days=20), UNTIL, ZoneInfo("UTC"))
HOST = "https://forum.example.com"
BULK, ABOUT = f"{HOST}/admin/reports/bulk.json", f"{HOST}/site/basic-info.json"
OURS = Account("forum.example.com", "Forum", time_zone="UTC")
SETTINGS = "start_date: 2026-05-20\nsystem_of_record: files\nsources: {discourse: {}}\n"


ASKED = Asked(SOURCE, OURS, WINDOW)
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=25, leads=60, rough=True)


@pytest.fixture
def forum(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("DISCOURSE_BASE_URL", HOST)
    monkeypatch.setenv("DISCOURSE_API_KEY", "k3y-of-ours")
    monkeypatch.setenv("DISCOURSE_API_USERNAME", "reporting")
    with responses.RequestsMock() as mock, time_machine.travel(datetime(2026, 7, 3, 9, tzinfo=UTC)):
        mock.get(ABOUT, json={"title": "Forum", "login_required": True})
        yield mock


def fetch(window: Window = WINDOW, by: Discourse | None = None) -> list[Record]:
    return ASKED.fetch("forum_daily", window, by=by)


def mapped(records: list[Record]) -> Enforced:
    return ASKED.mapped(community_daily, "forum_daily", records)


# -- what answers mean


def means(status: int, body: Any = None, **headers: str) -> Outcome:
    return classify(answer(BULK, status, body or {"reports": []}, **headers))


def test_a_limit_is_waited_for_as_long_as_the_forum_says_in_its_body_or_in_a_header() -> None:
    told = {"errors": ["You've performed this action too many times"], "error_type": "rate_limit"}
    assert means(429, told | {"extras": {"wait_seconds": 23}}) == Wait(23.0, "throttled")
    headers = {"Retry-After": "7"}
    assert means(429, told, **headers) == Wait(7.0, "throttled"), "nginx has no extras"
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        until = datetime(2026, 6, 16, 7, tzinfo=UTC)
        assert means(429, told | {"extras": {"wait_seconds": 3600}}) == Stop(until, "throttled")


def test_who_may_not_read_reports_is_told_what_kind_of_key_it_takes() -> None:
    refused = means(403, {"errors": ["no"], "error_type": "invalid_access"})
    assert isinstance(refused, Fatal)
    assert (refused.reason, refused.auth) == ("invalid_access", True)
    assert "Read-only" in refused.fix
    hidden = means(404, {"errors": ["no"], "error_type": "not_found"})
    assert isinstance(hidden, Fatal)
    assert "administrator" in hidden.fix, "to who is no staff there is no such page"
    moved = means(302)
    assert isinstance(moved, Fatal)
    assert "DISCOURSE_BASE_URL" in moved.fix


# -- reports


def report(name: str, first: str, last: str, points: dict[str, int], **more: Any) -> Record:
    shown = {"type": name, "start_date": f"{first}T00:00:00Z", "end_date": f"{last}T23:59:59Z"}
    return {**shown, "data": [{"x": day, "y": n} for day, n in points.items()], "total": 0, **more}


def answered(**more: Record) -> dict[str, list[Record]]:
    points = {
        "signups": {"2026-07-02": 2, "2026-07-03": 1}, "daily_engaged_users": {"2026-07-01": 4},
        "topics": {"2026-07-01": 1}, "posts": {"2026-07-01": 9, "2026-07-02": 3}, "likes": {},
    }  # fmt: skip
    found = {name: report(name, "2026-07-01", "2026-07-04", at, total=120) for name, at in points.items()} | more
    return {"reports": [*found.values()]}


JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("UTC"))


def test_members_at_the_end_of_a_day_are_those_of_now_less_who_signed_up_since(forum: responses.RequestsMock) -> None:
    forum.get(BULK, json=answered())
    stored = mapped(fetch(JULY))
    assert stored.rejects.empty
    columns = ["date_day", "members", "new_members", "active_members", "topics", "posts", "likes", "pageviews"]
    found = [[str(row[name]) for name in columns] for row in stored.rows.astype(object).to_dict("records")]
    assert found == [
        ["2026-07-01", "117", "0", "4", "1", "9", "0", "None"],
        ["2026-07-02", "119", "2", "0", "0", "3", "0", "None"],
    ]
    assert not stored.rows["is_public"].any(), "one has to log in"
    asked = parse_qs(urlsplit(forum.calls[0].request.url or "").query)
    assert asked["reports[signups][start_date]"] == ["2026-07-01"]
    assert asked["reports[signups][end_date]"] == ["2026-07-04"], "midnight may pass meanwhile"
    assert not [name for name in asked if "cache" in name], "what was kept for others is older"
    assert forum.calls[0].request.headers["Api-Key"] == "k3y-of-ours"


def test_a_report_that_the_forum_does_not_have_is_unknown_and_not_zero(forum: responses.RequestsMock) -> None:
    gone = report("likes", "2026-07-01", "2026-07-04", {}, data=None, error="not_found")
    without = answered(likes=gone)
    without["reports"] = [each for each in without["reports"] if each["type"] != "topics"]
    forum.get(BULK, json=without)
    stored = mapped(fetch(JULY))
    assert stored.rows[["likes", "topics"]].isna().all(axis=None)
    assert stored.rows["posts"].tolist() == [9, 3]


def test_without_sign_ups_nobody_knows_how_many_members_there_were(forum: responses.RequestsMock) -> None:
    forum.get(BULK, json=answered(signups=report("signups", "2026-07-01", "2026-07-04", {}, error="not_found")))
    assert mapped(fetch(JULY)).rows[["members", "new_members"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"error": "timeout"}, "report posts: timeout"),
        ({"error": "exception"}, "report posts: exception"),
        ({"start_date": "2026-06-01T00:00:00Z"}, "report posts is of 2026-06-01"),
        ({"data": None}, "or has no data"),
        ({"data": [{"x": "2026-07-01"}]}, "no day and count"),
        ({"data": [{"x": "Alice", "y": 3}]}, "no day and count"),
    ],
)
def test_a_report_that_was_not_made_whole_is_asked_for_again(
    forum: responses.RequestsMock, changes: Record, why: str
) -> None:
    forum.get(BULK, json=answered(posts=report("posts", "2026-07-01", "2026-07-04", {}) | changes))
    forum.assert_all_requests_are_fired = False  # nobody asks any more what the forum is called
    with pytest.raises(TransientError, match=why):
        fetch(JULY)


def test_a_forum_without_an_address_or_a_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISCOURSE_BASE_URL", raising=False)
    with pytest.raises(AuthError, match="DISCOURSE_BASE_URL is not set"):
        connect(config())


# -- over the sandbox


def test_the_forum_of_the_sandbox_is_read_whole_and_asked_about_with_an_end_and_without_days(world: World) -> None:
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        client = connect(config())
        (account,) = accounts(client, config()).read
        records = fetch(by=client)
        findings = probe(client, config())
    with world.connect() as connection:
        posts = forum_at(connection, world.now()).posts
    days = [datetime.fromtimestamp(at / 1000, UTC).date() for _, at in posts]
    assert (account.name, account.time_zone) == ("Our Forum", "UTC")
    assert sum(record["posts"] for record in records) == sum(WINDOW.start <= day < WINDOW.end for day in days) > 10
    assert [record["date"] for record in records] == [day.isoformat() for day in WINDOW.days()]
    assert [finding.what for finding in findings if not finding.ok or finding.warning] == []


def test_an_old_forum_that_lacks_a_report_is_told_by_doctor(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running(world, discourse={"reports": REPORTS[:-1]}) as url:
        monkeypatch.setenv("DISCOURSE_BASE_URL", f"{url}/discourse")
        warned = [finding for finding in probe(connect(config()), config()) if finding.warning]
        monkeypatch.setenv("DISCOURSE_API_USERNAME", "somebody")
        refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert [finding.what for finding in warned] == ["Discourse report likes"]
    assert refused
    assert "administrator" in refused[0].fix


def test_members_are_those_of_the_last_day_and_are_never_added_up_over_days(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    settle(Installation(tmp_path, world), monkeypatch)
    start, end = date(2026, 5, 25), date(2026, 6, 14)
    with time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        pipeline = Pipeline.from_environment()
        migrated(pipeline.warehouse)
        with served(world):
            report = pipeline.ingest("discourse", "forum_daily", date(2026, 5, 20), UNTIL + timedelta(days=1), "first")
        assert not report.failed
        rebuild(pipeline, "first", replay=False)
        rows = pipeline.warehouse.rows(select(community_daily).order_by(community_daily.c.date_day))
        by_day = {row["date_day"]: row["members"] for row in rows}
        (all_,) = ask(pipeline.warehouse, pipeline.config, ["community_members"], start, end)
        weeks = ask(pipeline.warehouse, pipeline.config, ["community_members"], start, end, ["week"])
        (before,) = ask(pipeline.warehouse, pipeline.config, ["community_members"], date(2026, 5, 1), date(2026, 5, 2))
        *_, june = ask(pipeline.warehouse, pipeline.config, ["community_members"], start, by=["month"])
        (share,) = ask(pipeline.warehouse, pipeline.config, ["community_active_share"], start, end)
        with pytest.raises(QuestionError, match="cannot be split by 'country'"):
            ask(pipeline.warehouse, pipeline.config, ["community_members"], start, end, ["country"])
    assert (all_.value, all_.complete) == (by_day[end], True)
    assert [answer.value for answer in weeks] == [by_day[date(2026, 5, 31) + timedelta(weeks=n)] for n in range(3)]
    assert (june.value, june.complete) == (by_day[UNTIL], True), "a month that is not over ends yesterday"
    assert (before.value, before.complete) == (None, False), "days that nobody has read"
    active = sum(row["active_members"] for row in rows if start <= row["date_day"] <= end)
    assert share.value == Fraction(active, sum(n for day, n in by_day.items() if start <= day <= end))
