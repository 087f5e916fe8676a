"""Clarity over the sandbox, night by night, and by answers as they were recorded."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import time_machine
from sqlalchemy import select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.clarity.source import HOST, PATH, SOURCE, accounts, classify, connect, probe
from b2b_pipeline.connectors.http import Fatal, Reauth, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import ConfigError, QuotaError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import coverage, web_behaviour_daily
from b2b_pipeline_tests.support.end_to_end import clock, inside
from b2b_pipeline_tests.support.installation import Installation, served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.server import running
from b2b_sandbox.truth import truth
from b2b_sandbox.truth_behaviour import METRICS
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 14)
NIGHT = datetime(2026, 6, 15, 2, 5, tzinfo=UTC)
PROJECT = Account("project")
SETTINGS = "start_date: 2026-06-08\nsystem_of_record: files\nsources: {clarity: {}}\n"
SIGNAL = {"sessionsCount": "239", "sessionsWithMetricPercentage": 15.48, "sessionsWithoutMetricPercentage": 84.52,
          "pagesViews": "42"}  # fmt: skip
RECORDED: list[dict[str, Any]] = [
    {"metricName": "DeadClickCount", "information": [{**SIGNAL, "subTotal": "95"}]},
    {"metricName": "Rage Click Count", "information": [{**SIGNAL, "subTotal": 1}]},
    {"metricName": "ScrollDepth", "information": [{"averageScrollDepth": 55.53}]},
    {"metricName": "Traffic", "information": [{"totalSessionCount": "239", "totalBotSessionCount": "14",
                                               "distinctUserCount": "195", "pagesPerSessionPercentage": 1.88416}]},
    {"metricName": "EngagementTime", "information": [{"totalTime": "247", "activeTime": "120"}]},
    {"metricName": "QuickbackClick", "information": []},
    {"metricName": "PageTitle", "information": [{"name": "Ida's secret page", "sessionsCount": "33"}]},
    {"metricName": "ReferrerUrl", "information": [{"name": None, "sessionsCount": "43"}]},
]  # fmt: skip


def config(zone: str = "UTC", **settings: Any) -> Config:
    given = {"start_date": "2026-06-01", "system_of_record": "files", "timezone": zone}
    return Config.model_validate({**given, "sources": {"clarity": settings}})


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("CLARITY_BASE_URL", raising=False)
    monkeypatch.setenv("CLARITY_API_TOKEN", "eyJ.a-token.of-ours")
    with responses.RequestsMock() as mock:
        yield mock


def read(stream: str, start: date, end: date, at: datetime = NIGHT, zone: str = "UTC") -> Page:
    with time_machine.travel(at, tick=False):
        client = connect(config(zone))
        (page,) = SOURCE.stream(stream).fetch(client, PROJECT, Window.of_days(start, end, config(zone).zone))
    return page


def mapped(stream: str, records: list[Record]) -> list[dict[str, Any]]:
    context = MappingContext(config(), "clarity", stream, PROJECT)
    found = enforce(
        web_behaviour_daily, SOURCE.stream(stream).feeds["web_behaviour_daily"](flattened(records), context)
    )
    assert found.rejects.empty, found.rejects
    return found.rows.astype(object).where(found.rows.notna(), None).to_dict("records")


# -- what is told, and of which day


def test_a_recorded_answer_becomes_a_row_and_what_it_does_not_say_is_unknown(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{HOST}/{PATH}", json=RECORDED)
    page = read("site_daily", UNTIL, UNTIL + timedelta(days=1))
    (row,) = mapped("site_daily", list(page.records))
    names = ("sessions", "bot_sessions", "users", "dead_clicks", "rage_clicks", "quickbacks", "script_errors",
             "pageviews", "active_seconds", "engagement_seconds")  # fmt: skip
    assert [row[name] for name in names] == [239, 14, 195, 95, 1, None, None, None, None, None]
    assert str(row["scroll_depth_sum"]) == "13271.670000"
    assert page.doubts == {"2026-06-14": "these are the 24 hours until 2026-06-15 02:05 UTC, not the day"}
    assert "secret" not in json.dumps(page.records)
    assert vendor.calls[0].request.params == {"numOfDays": "1"}  # type: ignore[attr-defined]


def test_the_documented_spelling_of_users_is_known_too(vendor: responses.RequestsMock) -> None:
    traffic = {"totalSessionCount": "9", "totalBotSessionCount": "0", "distantUserCount": "7"}
    vendor.get(f"{HOST}/{PATH}", json=[{"metricName": "Traffic", "information": [traffic]}])
    (row,) = mapped("site_daily", list(read("site_daily", UNTIL, UNTIL + timedelta(days=1)).records))
    assert (row["users"], row["scroll_depth_sum"]) == (7, None)


@pytest.mark.parametrize(
    ("at", "zone", "is_asked"),
    [
        (NIGHT, "UTC", True), (NIGHT + timedelta(hours=3, minutes=54), "UTC", True),
        (NIGHT + timedelta(hours=4), "UTC", False), (NIGHT + timedelta(days=1), "UTC", False),
        (NIGHT, "Asia/Tokyo", False), (datetime(2026, 6, 14, 17, tzinfo=UTC), "Asia/Tokyo", True),
        (datetime(2026, 6, 15, 6, tzinfo=UTC), "America/New_York", True),
    ],
)  # fmt: skip
def test_a_day_is_asked_for_in_the_six_hours_after_it_where_we_report_and_never_again(
    vendor: responses.RequestsMock, at: datetime, zone: str, is_asked: bool
) -> None:
    if is_asked:
        vendor.get(f"{HOST}/{PATH}", json=RECORDED)
    page = read("site_daily", UNTIL, UNTIL + timedelta(days=1), at, zone)
    assert [record["day"] for record in page.records] == (["2026-06-14"] if is_asked else [])
    assert ("nobody asked" in page.doubts["2026-06-14"]) is not is_asked


def test_pages_are_told_without_what_stands_behind_their_address(vendor: responses.RequestsMock) -> None:
    def rows(name: str, *found: dict[str, Any]) -> dict[str, Any]:
        return {"metricName": name, "information": list(found)}

    one, same, other = "https://a.example/x?mail=ida@b.example", "https://a.example/x#top", "https://a.example/y"
    vendor.get(f"{HOST}/{PATH}", json=[
        rows("Traffic", {"totalSessionCount": "5", "distinctUserCount": "4", "URL": one},
             {"totalSessionCount": "3", "distinctUserCount": "3", "URL": same},
             {"totalSessionCount": "2", "distinctUserCount": "2", "URL": other}),
        rows("ScrollDepth", {"averageScrollDepth": 50, "Url": other}),
        rows("DeadClickCount", {"subTotal": "2", "url": one}, {"subTotal": "1", "url": same}),
    ])  # fmt: skip
    page = read("page_daily", UNTIL, UNTIL + timedelta(days=1))
    assert "ida" not in json.dumps(page.records)
    found = {row["url"]: row for row in mapped("page_daily", list(page.records))}
    assert found.keys() == {"a.example/x", "a.example/y"}
    x, y = found["a.example/x"], found["a.example/y"]
    assert (x["sessions"], x["users"], x["dead_clicks"]) == (None, None, 3), "who came twice is in both"
    assert (y["sessions"], y["users"], y["dead_clicks"], str(y["scroll_depth_sum"])) == (2, 2, None, "100.000000")


def test_an_answer_that_is_cut_off_says_so(vendor: responses.RequestsMock) -> None:
    rows = [{"totalSessionCount": "1", "URL": f"https://a.example/{n}"} for n in range(1000)]
    vendor.get(f"{HOST}/{PATH}", json=[{"metricName": "Traffic", "information": rows}])
    page = read("page_daily", UNTIL, UNTIL + timedelta(days=1))
    assert page.doubts["2026-06-14"].endswith("not the day; Clarity cut them off after 1000 rows")


@pytest.mark.parametrize(
    "body",
    [{}, [], [{"metricName": "ScrollDepth", "information": []}],
     [{"metricName": "Traffic", "information": [{"totalSessionCount": "1"}, {"totalSessionCount": "2"}]}]],
)  # fmt: skip
def test_an_answer_that_is_none_is_not_taken_for_nothing(vendor: responses.RequestsMock, body: Any) -> None:
    vendor.get(f"{HOST}/{PATH}", json=body)
    with pytest.raises(TransientError):
        read("site_daily", UNTIL, UNTIL + timedelta(days=1))


def test_what_answers_mean() -> None:
    def means(status: int, body: bytes = b"{}", kind: str = "application/json") -> Any:
        made = requests.Response()
        made.status_code, made._content, made.url = status, body, f"{HOST}/{PATH}"
        made.headers["Content-Type"] = kind
        return classify(made)

    with time_machine.travel(NIGHT):
        assert means(429) == Stop(datetime(2026, 6, 16, tzinfo=UTC), "the ten requests of the day")
    assert means(503).seconds == means(200, b"<html>", "text/html").seconds == 240, "of ten calls few are spent on it"
    assert isinstance(means(500), Wait)
    assert isinstance(means(401), Reauth)
    assert isinstance(means(403), Fatal)


def test_a_token_is_of_one_project_and_doctor_says_what_is_lost(
    vendor: responses.RequestsMock,
) -> None:
    assert [account.id for account in accounts(connect(config()), config(accounts=["shop"])).read] == ["shop"]
    with pytest.raises(ConfigError, match="one name"):
        accounts(connect(config()), config(accounts=["a", "b"]))
    vendor.get(f"{HOST}/{PATH}", json=RECORDED)
    readable, lost = probe(connect(config()), config())
    assert (readable.ok, lost.warning, "unknown for good" in lost.what) == (True, True, True)
    vendor.replace(responses.GET, f"{HOST}/{PATH}", status=401, json={})
    refused, _ = probe(connect(config()), config())
    assert not refused.ok


# -- into the warehouse, night by night


def test_each_night_tells_of_its_day_which_no_later_read_takes_back(tmp_path: Path) -> None:
    """Three nights, one of which nobody read; then a backfill over all of it."""
    world = make_world(tmp_path / "world", until=UNTIL, days=8, leads=300)
    found = Installation(tmp_path / "it", world)
    (found.folder / "home").mkdir(parents=True)
    (found.folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    expected: dict[date, dict[str, Any]] = {}
    for night in range(3):
        if night:
            advance(world, 1)
        day = UNTIL + timedelta(days=night)
        _set_clock(world, datetime.combine(day + timedelta(days=1), time(2, 5), UTC))
        with inside(found) as pipeline:
            migrated(pipeline.warehouse)
            if night != 1:
                expected[day] = _truth(found, day)
                _pull(found, pipeline, UNTIL if night else day, day, f"night {night}")
    with inside(found) as pipeline:
        with time_machine.travel(clock(world) + timedelta(hours=9)):
            _pull(found, pipeline, UNTIL - timedelta(days=3), UNTIL + timedelta(days=2), "backfill")
        rebuild(pipeline, "build", replay=False)
        for day, values in expected.items():
            answers = {
                answer.metric.name: answer for answer in ask(pipeline.warehouse, pipeline.config, [*METRICS], day, day)
            }
            assert {name: _number(answer.value) for name, answer in answers.items()} == values, day
            assert not any(answer.complete for answer in answers.values())
        told = pipeline.warehouse.rows(
            select(coverage.c.date_day, coverage.c.is_complete, coverage.c.reason)
            .where(coverage.c.stream == "site_daily").order_by(coverage.c.date_day)
        )  # fmt: skip
        pages = pipeline.warehouse.rows(select(web_behaviour_daily.c.url).where(web_behaviour_daily.c.level == "page"))
    reasons = {row["date_day"]: row["reason"] for row in told}
    assert {row["is_complete"] for row in told} == {False}
    assert "nobody asked when the day had just ended" in reasons[UNTIL + timedelta(days=1)]
    assert all("the 24 hours until" in reasons[day] for day in expected)
    assert {row["url"] for row in pages} >= {"www.ourcompany.example/", "www.ourcompany.example/pricing"}


def _set_clock(world: World, now: datetime) -> None:
    """To the hour at which the nightly schedule reads."""
    with world.connect() as connection:
        connection.execute("update setting set value = ? where name = 'now'", (f"{now.timestamp() * 1000:.0f}",))


def _pull(found: Installation, pipeline: Any, first: date, last: date, run_id: str) -> None:
    with served(found.world):
        for stream in SOURCE.streams:
            report = pipeline.ingest("clarity", stream.name, first, last + timedelta(days=1), run_id)
            assert not report.failed, report.failed


def _truth(found: Installation, day: date) -> dict[str, Any]:
    rows = truth(found.world, as_of=clock(found.world), metrics=[*METRICS], start=day, end=day,
                 with_files=False, platforms=("clarity",))  # fmt: skip
    return {row["metric"]: _number(row["value"]) for row in rows}


def _number(value: Any) -> float | None:
    return None if value is None else round(float(value), 9)


def test_the_quota_of_the_day_ends_the_read_until_it_is_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = make_world(tmp_path / "world", until=UNTIL, days=2, leads=20)
    monkeypatch.setenv("CLARITY_API_TOKEN", "sandbox-token")
    with running(world, clarity={"daily": 1}) as url:
        monkeypatch.setenv("CLARITY_BASE_URL", f"{url}/clarity")
        assert read("site_daily", UNTIL, UNTIL + timedelta(days=1)).records
        with pytest.raises(QuotaError) as it:
            read("page_daily", UNTIL, UNTIL + timedelta(days=1))
    assert it.value.until == datetime(2026, 6, 16, tzinfo=UTC)
