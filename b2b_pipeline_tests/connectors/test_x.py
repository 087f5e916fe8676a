"""X over the sandbox, night by night, and by the answers that its documents show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
import time_machine

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.x.source import SOURCE, accounts, classify, connect, probe
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import ConfigError, PermanentError, TransientError
from b2b_pipeline.metrics.query import Answer, QuestionError, ask
from b2b_pipeline.operations.explain import explain
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import community_daily, content_daily
from b2b_pipeline_tests.support.end_to_end import ENGINES, Workshop, clock, inside, new_warehouses
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import x
from b2b_sandbox.faults import add_fault
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.generate_base import DAY
from b2b_sandbox.server import running
from b2b_sandbox.truth import truth
from b2b_sandbox.world import World

BASE = "https://api.x.com/2"
OURS = Account(x.USER, "ourcompany")
NIGHT = datetime(2026, 6, 15, 2, 5, tzinfo=UTC)
UNTIL = date(2026, 6, 14)
COUNTS = ("content_impressions", "content_clicks", "content_interactions", "content_engagement_rate")
# As https://docs.x.com/x-api/fundamentals/metrics and …/users/lookup/quickstart show them.
POST: Record = {
    "id": "1234567890", "text": "Hello @somebody!", "edit_history_tweet_ids": ["1234567890"],
    "created_at": "2026-06-14T08:00:00.000Z",
    "public_metrics": {"retweet_count": 60, "reply_count": 12, "like_count": 250, "quote_count": 5,
                       "bookmark_count": 8, "impression_count": 9432},
    "organic_metrics": {"impression_count": 5432, "like_count": 234, "reply_count": 12, "retweet_count": 50,
                        "url_link_clicks": 89, "user_profile_clicks": 156},
}  # fmt: skip
POSTS = {"data": [POST], "meta": {"result_count": 1, "newest_id": "1234567890", "oldest_id": "1234567890"}}
ME = {"data": {
    "id": x.USER, "name": "X Developers", "username": "XDevelopers", "protected": False,
    "public_metrics": {"followers_count": 583423, "following_count": 2048, "tweet_count": 14052, "listed_count": 1672},
}}  # fmt: skip


def config(zone: str = "UTC", **settings: Any) -> Config:
    given = {"start_date": "2026-06-01", "system_of_record": "files", "timezone": zone}
    return Config.model_validate({**given, "sources": {"x": settings}})


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("X_BASE_URL", raising=False)
    for name in ("API_KEY", "API_SECRET", "ACCESS_TOKEN", "ACCESS_TOKEN_SECRET"):
        monkeypatch.setenv(f"X_{name}", f"{name}-of-ours")
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world.sqlite", until=UNTIL, days=4, leads=20)


def read(
    stream: str, start: date = UNTIL, end: date = date(2026, 6, 15), at: datetime = NIGHT, zone: str = "UTC"
) -> tuple[list[Record], dict[str, str]]:
    """The records, and the days that nobody can know any more."""
    with time_machine.travel(at, tick=False):
        window = Window.of_days(start, end, config(zone).zone)
        pages: list[Page] = [*SOURCE.stream(stream).fetch(connect(config(zone)), OURS, window)]
    return [record for page in pages for record in page.records], dict(pages[0].doubts)


def mapped(table: Any, stream: str, records: list[Record]) -> list[dict[str, Any]]:
    context = MappingContext(config(), "x", stream, OURS)
    found = enforce(table, SOURCE.stream(stream).feeds[table.name](flattened(records), context))
    assert found.rejects.empty, found.rejects
    return found.rows.astype(object).where(found.rows.notna(), None).to_dict("records")


# -- what is told, and of which day


def test_an_account_becomes_its_followers_of_the_day_that_has_just_ended(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/users/me", json=ME)
    records, doubts = read("account_daily")
    assert not doubts
    (row,) = mapped(community_daily, "account_daily", records)
    told = {name: row[name] for name in ("date_day", "community_id", "community_name", "network", "is_public")}
    assert told == {"date_day": UNTIL, "community_id": x.USER, "community_name": "XDevelopers", "network": "x",
                    "is_public": True}  # fmt: skip
    assert (row["members"], row["new_members"], row["posts"], row["likes"]) == (583423, None, None, None)
    assert "X Developers" not in json.dumps(records), "who the account is of is not kept"


def test_a_post_is_counted_to_date_without_what_ads_brought_it_and_without_its_text(
    vendor: responses.RequestsMock,
) -> None:
    vendor.get(f"{BASE}/users/{x.USER}/tweets", json=POSTS)
    records, _ = read("post_daily")
    assert "somebody" not in json.dumps(records)
    (row,) = mapped(content_daily, "post_daily", records)
    names = ("impressions", "clicks", "likes", "comments", "shares", "video_views", "reach")
    assert [row[name] for name in names] == [5432, 89, 234, 12, 55, None, None]
    assert (row["counted"], row["date_day"], row["url"]) == ("to_date", UNTIL, "https://x.com/i/status/1234567890")
    asked = parse_qs(urlsplit(vendor.calls[0].request.url or "").query)
    assert asked == {
        "max_results": ["100"], "exclude": ["retweets"], "start_time": ["2026-05-17T02:05:00Z"],
        "tweet.fields": ["created_at,organic_metrics,public_metrics"],
    }  # fmt: skip
    assert str(vendor.calls[0].request.headers["Authorization"]).find("OAuth ") >= 0


@pytest.mark.parametrize("stream", ["account_daily", "post_daily"])
def test_only_in_the_six_hours_after_a_day_where_we_report_is_anything_asked(
    vendor: responses.RequestsMock, stream: str
) -> None:
    """Without an answer of the vendor's any request fails."""
    month = date(2026, 5, 15), date(2026, 6, 15)
    for start, end, at in (
        (UNTIL, date(2026, 6, 15), NIGHT.replace(hour=6, minute=1)),
        (date(2026, 5, 15), UNTIL, NIGHT),
        (*month, NIGHT.replace(hour=12)),
    ):
        records, doubts = read(stream, start, end, at)
        assert not records
        assert len(doubts) == (end - start).days
        assert "nobody asked when the day had just ended" in doubts[str(start)]
    records, doubts = read(stream, *month, datetime(2026, 6, 15, 2, tzinfo=UTC), zone="America/New_York")
    assert (records, str(UNTIL) in doubts) == ([], True), "there the day has not ended yet"


def test_of_a_long_window_one_day_is_told_and_of_the_others_why_not(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/users/me", json=ME)
    records, doubts = read("account_daily", date(2026, 6, 1), date(2026, 6, 15))
    assert [record["day"] for record in records] == ["2026-06-14"]
    assert sorted(doubts) == [f"2026-06-{day:02}" for day in range(1, 14)]


@pytest.mark.parametrize(
    ("stream", "path", "body", "why"),
    [
        ("account_daily", "users/me", {"data": {"id": x.USER, "username": "ours"}}, "no account with its followers"),
        ("account_daily", "users/me", {"errors": [{"title": "Forbidden"}]}, "no account with its followers"),
        ("post_daily", f"users/{x.USER}/tweets", {"meta": {"result_count": 3}}, "3 posts are told, not given"),
        ("post_daily", f"users/{x.USER}/tweets", {**POSTS, "meta": {"result_count": 2}}, "2 posts are told, not given"),
        ("post_daily", f"users/{x.USER}/tweets", {
            "data": [{name: POST[name] for name in ("id", "created_at", "public_metrics")}],
            "meta": {"result_count": 1}, "errors": [x.UNTOLD],
        }, "without its organic_metrics: Field Authorization Error"),
        ("post_daily", f"users/{x.USER}/tweets", {
            "data": [{**POST, "organic_metrics": {**POST["organic_metrics"], "like_count": None}}],
            "meta": {"result_count": 1},
        }, "without its organic_metrics: nothing says why"),
    ],
)  # fmt: skip
def test_an_answer_without_a_count_is_no_answer(
    vendor: responses.RequestsMock, stream: str, path: str, body: Record, why: str
) -> None:
    vendor.get(f"{BASE}/{path}", json=body)
    with pytest.raises(TransientError, match=why):
        read(stream)


def test_an_account_without_posts_has_none(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/users/{x.USER}/tweets", json={"meta": {"result_count": 0}})
    assert read("post_daily") == ([], {})


# -- what answers mean


def means(status: int, headers: dict[str, str] | None = None, **body: Any) -> Outcome:
    made = requests.Response()
    made.status_code, made.url, made._content = status, f"{BASE}/users/me", json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **(headers or {})})
    return classify(made)


def test_what_answers_mean() -> None:
    with time_machine.travel(NIGHT, tick=False):
        at = int(NIGHT.timestamp())
        assert means(429, {"x-rate-limit-reset": str(at + 40)}, title="Too Many Requests") == Wait(
            41.0, "Too Many Requests"
        )
        assert isinstance(means(429, {"x-rate-limit-reset": str(at + 890)}), Stop)
    no_credits = means(402, title="CreditsDepleted", type="https://api.twitter.com/2/problems/credits")
    assert no_credits == Fatal("CreditsDepleted", fix="buy credits, or raise the spending limit, at console.x.com")
    capped = means(429, title="UsageCapExceeded", type="https://api.twitter.com/2/problems/usage-capped")
    assert isinstance(capped, Fatal), "waiting would not help"
    assert means(401, title="Unauthorized", type="about:blank") == Reauth("Unauthorized")
    assert means(403, title="Client Forbidden") == Fatal("Client Forbidden", auth=True)
    assert isinstance(means(503, title="Service Unavailable"), Wait)


def test_the_account_is_the_token_s_own(world: World) -> None:
    with served(world):
        assert [*accounts(connect(config()), config()).read] == [OURS]
        other = config(accounts=["17"])
        with pytest.raises(ConfigError, match=r"sources\.x\.accounts: 17 not among"):
            accounts(connect(other), other)


def test_doctor_asks_what_a_night_asks_at_any_time_and_says_what_a_missed_one_costs(world: World) -> None:
    noon = clock(world) + timedelta(hours=9)
    with served(world), time_machine.travel(noon):
        found = probe(connect(config()), config())
        assert all(finding.ok for finding in found)
        assert [finding.fix for finding in found if finding.warning] == ["let the schedule run every night"]
        add_fault(world, "x", "missing_scope", path_contains="tweets", scope="posts")
        refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert len(refused) == 1
    assert "b2b connect x" in refused[0].fix


@contextmanager
def x_of(world: World, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Iterator[None]:
    with running(world, x=options) as url:
        monkeypatch.setenv("X_BASE_URL", f"{url}/x")
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        yield


def test_pages_follow_each_other_and_one_that_repeats_ends_the_read(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    _set_clock(world, NIGHT)
    with x_of(world, monkeypatch, page_size=5):
        records, _ = read("post_daily")
        assert len(records) == len([at for at in x.posted(world.now()) if at > world.now() - 29 * DAY]) > 10
        add_fault(world, "x", "repeat_cursor", path_contains="tweets")
        with pytest.raises(TransientError, match="cursor repeats"):
            read("post_daily")


def test_a_token_that_is_no_longer_good_is_told_and_said_nowhere(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with x_of(world, monkeypatch):
        monkeypatch.setenv("X_ACCESS_TOKEN", "another-token")
        with pytest.raises(PermanentError, match="the signature was refused") as caught:
            read("account_daily")
    assert "another-token" not in str(caught.value)


# -- night by night


NIGHTS, MISSED = 7, 3


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Seven nights, of which one was missed; after the last one all of it is read again at once, and at noon."""
    folder = tmp_path_factory.mktemp("nights")
    world = make_world(folder / "world.sqlite", until=UNTIL, days=8, leads=40)
    found = Installation(folder / "it", world)
    (found.folder / "home").mkdir(parents=True)
    settings = "start_date: 2026-06-10\nsystem_of_record: files\ntimezone: Europe/Berlin\n"
    settings += "sources: {x: {}, discourse: {}}\n"
    (found.folder / "pipeline.yaml").write_text(settings, encoding="utf-8")
    last = UNTIL
    for night in range(NIGHTS):
        if night:
            advance(world, 1)
            last += timedelta(days=1)
        _set_clock(world, datetime.combine(last + timedelta(days=1), time(1, 30), UTC))
        if night != MISSED:
            _pull(found, last if night else UNTIL, last, f"night {night}")
        _pull(found, last, last, f"night {night} of the forum", "discourse")
    _pull(found, UNTIL, last, "again")
    with inside(found), time_machine.travel(clock(world) + timedelta(hours=9)):
        _ingest(found, date(2026, 6, 10), last, "backfill")
    return found


def _set_clock(world: World, now: datetime) -> None:
    with world.connect() as connection:
        connection.execute("update setting set value = ? where name = 'now'", (f"{now.timestamp() * 1000:.0f}",))


def _pull(found: Installation, first: date, last: date, run_id: str, source: str = "x") -> None:
    with inside(found):
        _ingest(found, first, last, run_id, source)


def _ingest(found: Installation, first: date, last: date, run_id: str, source: str = "x") -> None:
    pipeline = found.pipeline()
    with served(found.world):
        for stream in SOURCES[source].streams:
            report = pipeline.ingest(source, stream.name, first, last + timedelta(days=1), run_id)
            assert not report.failed, report.failed


@pytest.fixture(scope="module", params=ENGINES)
def asked(request: pytest.FixtureRequest, nights: Installation) -> Iterator[Callable[..., Answer]]:
    """The answer to a question about a metric, from one day to another."""
    with inside(nights) as pipeline:
        warehouse = Warehouse(new_warehouses(request)())
        shop = Workshop.of(pipeline, warehouse)
        migrated(warehouse)
        rebuild(shop, "build", replay=False)

        def answer(metric: str, first: date, last: date, by: tuple[str, ...] = ()) -> Answer:
            (found,) = ask(warehouse, pipeline.config, [metric], first, last, by)
            return found

        yield answer


def _day(night: int) -> date:
    return UNTIL + timedelta(days=night)


def _truth(nights: Installation, metric: str, first: date, last: date) -> float | None:
    (row,) = truth(nights.world, metrics=[metric], start=first, end=last, timezone="Europe/Berlin", with_files=False,
                   platforms=("x",))  # fmt: skip
    return None if row["value"] is None else round(float(row["value"]), 9)


@pytest.mark.parametrize("metric", [*COUNTS, "social_followers"])
@pytest.mark.parametrize("night", range(1, NIGHTS))
def test_a_day_is_what_was_added_since_the_night_before_and_unknown_where_a_night_was_missed(
    nights: Installation, asked: Callable[..., Answer], night: int, metric: str
) -> None:
    """The backfill at noon, and the reads of the last night, take nothing from the nights before."""
    is_level = metric == "social_followers"
    lacks = {MISSED} if is_level else {MISSED, MISSED + 1}
    if is_level and night in lacks:
        return  # there is no network of which anything is known
    found = asked(metric, _day(night), _day(night), ("network",) if is_level else ())
    assert found.complete is (night not in lacks), found.reasons
    if night not in lacks:
        assert round(float(found.value or 0), 9) == _truth(nights, metric, _day(night), _day(night))
    elif night == MISSED:
        assert found.value is None or not found.value
        assert any("nobody asked when the day had just ended" in reason for reason in found.reasons)
    else:
        assert found.reasons == ("x/post_daily counts to date, and the day before is not whole",)


def test_of_the_first_night_followers_are_known_and_of_posts_what_new_ones_have(asked: Callable[..., Answer]) -> None:
    assert asked("social_followers", _day(0), _day(0), ("network",)).complete
    first, now = asked("content_impressions", _day(0), _day(0)), int(NIGHT.timestamp() * 1000)
    assert not first.complete
    new = [at for at in x.posted(now) if at > now - 2 * DAY]
    assert first.value == sum(x.counts(at, now)["impression_count"] for at in new), "of the month's posts those alone"


def test_what_was_added_in_some_days_is_the_sum_of_them(nights: Installation, asked: Callable[..., Answer]) -> None:
    for metric in COUNTS:
        found = asked(metric, _day(MISSED + 2), _day(NIGHTS - 1))
        assert found.complete, found.reasons
        assert round(float(found.value or 0), 9) == _truth(nights, metric, _day(MISSED + 2), _day(NIGHTS - 1))
    assert not asked("content_impressions", _day(1), _day(NIGHTS - 1)).complete


def test_followers_are_those_of_the_last_day_and_do_not_add_up_over_networks(
    nights: Installation, asked: Callable[..., Answer]
) -> None:
    found = asked("social_followers", _day(1), _day(NIGHTS - 1), ("network",))
    assert (found.keys["network"], found.complete) == ("x", True)
    assert found.value == _truth(nights, "social_followers", _day(NIGHTS - 1), _day(NIGHTS - 1))
    with pytest.raises(QuestionError, match=r"social_followers is told once per network.* ask for it by network$"):
        asked("social_followers", _day(1), _day(NIGHTS - 1))


@pytest.mark.parametrize("metric", ["community_members", "community_topics", "community_active_share"])
def test_what_is_not_known_of_followers_costs_the_forum_nothing(asked: Callable[..., Answer], metric: str) -> None:
    for night in (0, MISSED, NIGHTS - 1):
        found = asked(metric, _day(night), _day(night))
        assert found.complete, found.reasons
        assert found.value is not None


def test_without_x_nobody_knows_followers_and_with_x_alone_nobody_knows_members(nights: Installation) -> None:
    with inside(nights) as pipeline:
        migrated(pipeline.warehouse)
        rebuild(pipeline, "build", replay=False)
        for source, metric, by, hint in (
            ("discourse", "social_followers", ["network"], "switch linkedin_pages or x on"),
            ("x", "community_members", [], "switch discourse on"),
        ):
            alone = pipeline.config.model_copy(update={"sources": {source: pipeline.config.sources[source]}})
            found = ask(pipeline.warehouse, alone, [metric], _day(1), _day(1), by)
            assert [(answer.value, hint in answer.why_null) for answer in found] == [(None, True)]


def test_a_day_is_taken_apart_into_the_posts_and_what_x_said_of_them(nights: Installation) -> None:
    with inside(nights) as pipeline:
        migrated(pipeline.warehouse)
        rebuild(pipeline, "build", replay=False)
        found = explain(pipeline.warehouse, pipeline.landing, pipeline.config, "content_impressions", _day(2))
    (posts,) = (each for each in found.evidence if each.total)
    assert posts.table == "content_daily"
    assert {row["date_day"] for row in posts.rows} == {_day(2)}
    assert found.payloads
    assert "content_before" in found.sql or any("content_before" in part.sql for part in found.parts)
