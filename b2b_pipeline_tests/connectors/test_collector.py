"""What becomes of events that a real collector received: visits, forms and product events, into a real warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import time_machine
from sqlalchemy import select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import site_visits
from b2b_pipeline.connectors.base import Account, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.collector import rows
from b2b_pipeline.connectors.collector.source import SOURCE, classify, connect, probe
from b2b_pipeline.connectors.http import Fatal, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.load import load_table
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.errors import PermanentError, TransientError
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.operations.backup import backup, restore
from b2b_pipeline.operations.forget import forget
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import coverage, form_event, product_event, web_session
from b2b_pipeline_tests.support.collecting import CHROME, ORIGIN, READER, SERVER, Site, collecting
from b2b_pipeline_tests.support.installation import Installation, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.world import World

SETTINGS = "start_date: 2026-06-10\nsystem_of_record: files\nsources: {collector: {}}\n"
NIGHT = datetime(2026, 6, 14, 23, 50, tzinfo=UTC)
NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)
SITE = Account("site")
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def config(**options: str) -> Config:
    given = {"start_date": "2026-06-10", "system_of_record": "files", "sources": {"collector": {"options": options}}}
    return Config.model_validate(given)


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    found = Installation(tmp_path, World.__new__(World))
    settle(found, monkeypatch)
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    monkeypatch.setenv("COLLECTOR_TOKEN", READER)
    monkeypatch.setenv("B2B_HASH_KEY", "a key of this test, and of no other")
    return found.pipeline()


@pytest.fixture
def site(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    with collecting(pipeline.home / "collected", pipeline.landing.pseudonyms, NOON) as found:
        monkeypatch.setenv("COLLECTOR_BASE_URL", found.url)
        yield found


def pages(site: Site, stream: str, since: datetime, until: datetime, **options: str) -> list[Page]:
    site.now = max(site.now, until)
    window = Window(since.date(), (until - timedelta(microseconds=1)).date() + timedelta(days=1), since, until)
    return list(SOURCE.stream(stream).fetch(connect(config(**options)), SITE, window))


def told(site: Site, stream: str, since: datetime, until: datetime, **options: str) -> list[Record]:
    return [record for page in pages(site, stream, since, until, **options) for record in page.records]


def visits(site: Site, since: datetime = NOON - HOUR * 12, until: datetime = NOON + HOUR * 12, **options: str) -> Any:
    """What stands of visits in the end, oldest first: the greatest version of each, as a row; none that is deleted."""
    return standing(told(site, "visit", since, until, **options))


def standing(records: list[Record]) -> list[dict[str, Any]]:
    newest: dict[str, Record] = {}
    for record in records:
        before = newest.get(record["session_id"])
        if before is None or record["updated_at"] >= before["updated_at"]:
            newest[record["session_id"]] = record
    kept = [record for record in newest.values() if not record["is_deleted"]]
    context = MappingContext(config(), "collector", "visit", SITE)
    found = enforce(web_session, site_visits.sessions(flattened(kept), context)) if kept else None
    assert found is None or found.rejects.empty
    listed = found.rows.astype(object).to_dict("records") if found else []
    return sorted(listed, key=lambda row: (row["started_at"], row["session_id"]))


# -- what a visit is


def test_a_visit_is_all_that_a_visitor_does_without_half_an_hour_of_silence_beyond_midnight_too(site: Site) -> None:
    for minutes in (0, 5, 30, 61):  # the last is 31 minutes after the one before
        site.send(NIGHT + minutes * MINUTE, page=f"{ORIGIN}/page-{minutes}")
    site.send(NIGHT + 3 * MINUTE, "ping", engaged_ms=4500)
    site.send(NIGHT + 4 * MINUTE, "ping", engaged_ms=7250)
    site.send(NIGHT, visitor="ben")
    found = visits(site, NIGHT - HOUR, NIGHT + 3 * HOUR)
    assert sorted(row["pageviews"] for row in found) == [1, 1, 3]
    assert len({row["anonymous_id"] for row in found}) == 2
    long = next(row for row in found if row["pageviews"] == 3)
    assert (str(long["date_day"])[:10], str(long["engaged_seconds"])) == ("2026-06-14", "11.750000")
    assert (long["landing_page"], long["is_engaged"]) == ("www.ourcompany.example/page-0", True)


def test_who_comes_again_from_somewhere_else_begins_another_visit_and_who_goes_on_does_not(site: Site) -> None:
    steps = [
        {"page": f"{ORIGIN}/?utm_source=news&utm_medium=newsletter&utm_campaign=june"},
        {"page": f"{ORIGIN}/pricing", "referrer": f"{ORIGIN}/"},
        {"page": f"{ORIGIN}/blog", "referrer": "https://blog.ourcompany.example/a"},
        {"page": f"{ORIGIN}/?utm_source=news&utm_medium=newsletter&utm_campaign=june"},  # a reload
        {"page": f"{ORIGIN}/demo?gclid=Cj0&utm_source=google&utm_medium=cpc"},
        {"page": f"{ORIGIN}/demo", "referrer": "https://www.google.de/"},
        {"page": f"{ORIGIN}/", "referrer": "https://pay.partner.example/done"},
    ]
    for number, said in enumerate(steps):
        site.send(NOON + number * MINUTE, **said)
    found = visits(site)
    assert [(row["pageviews"], row["channel"], row["campaign_id"], row["referrer"]) for row in found] == [
        (4, "email", "june", None), (1, "paid_search", None, None), (1, "organic_search", None, "www.google.de"),
        (1, "referral", None, "pay.partner.example"),
    ]  # fmt: skip
    assert found[1]["click_id"] == "gclid"


@pytest.mark.parametrize(
    ("page", "referrer", "channel"),
    [
        ("/", None, "direct"),
        ("/", "https://www.linkedin.com/feed", "organic_social"),
        ("/", "https://duckduckgo.com/", "organic_search"),
        ("/", "https://mail.google.com/", "email"),
        ("/", "https://www.shop.ourcompany.example/", "direct"),
        ("/", "https://other.example/", "referral"),
        ("/?utm_medium=CPC&utm_source=x", "https://www.google.com/", "paid_search"),
        ("/?utm_source=whatever", "https://www.google.com/", "unknown"),
        ("/?li_fat_id=1&utm_medium=email", None, "paid_social"),
        ("/?fbclid=", "https://facebook.com/", "organic_social"),
    ],
)
def test_the_channel_is_that_of_the_rules(site: Site, page: str, referrer: str | None, channel: str) -> None:
    site.send(NOON, page=ORIGIN + page, referrer=referrer)
    (row,) = visits(site)
    assert row["channel"] == channel


def test_another_host_of_ours_is_no_source_where_it_is_named(site: Site) -> None:
    site.send(NOON, referrer="https://www.our-docs.example/start")
    assert [row["channel"] for row in visits(site)] == ["referral"]
    assert [row["channel"] for row in visits(site, own_hosts="our-docs.example")] == ["direct"]


def test_bots_are_told_and_so_is_who_never_ends(site: Site) -> None:
    site.now = NOON
    assert site.post(site.event(visitor="crawler"), {"User-Agent": "Googlebot/2.1"}).status_code == 204
    for quarter in range(4 * 26):
        site.send(NIGHT - HOUR * 30 + quarter * 15 * MINUTE, visitor="monitor")
    found = visits(site, NIGHT - HOUR * 31)
    assert len(found) == 3, "that which never ends is cut at midnight"
    assert all(row["is_bot"] for row in found)


# -- late, twice, and by wrong clocks


def test_an_event_that_is_sent_again_counts_once_whenever_that_is(site: Site) -> None:
    event = site.send(NOON)
    for hours in (0, 3, 30):
        site.now = NOON + hours * HOUR
        assert site.post(event).status_code == 204
    (row,) = visits(site, until=NOON + 40 * HOUR)
    assert row["pageviews"] == 1


def test_the_clock_of_a_client_is_believed_within_a_day_and_not_beyond(site: Site) -> None:
    def at(shift: timedelta) -> str:
        return (NOON + shift).isoformat()

    for visitor, shift in (("late", -20 * HOUR), ("wrong", -25 * HOUR), ("ahead", HOUR), ("little", 4 * MINUTE)):
        site.send(NOON, visitor=visitor, at=at(shift))
    started = [row["started_at"] for row in visits(site)]
    assert [str(each)[:16] for each in started] == [
        "2026-06-14 16:00", "2026-06-15 12:00", "2026-06-15 12:00", "2026-06-15 12:04"
    ]  # fmt: skip


def test_a_visit_that_goes_on_is_told_again_by_the_same_name_with_a_later_version(site: Site) -> None:
    site.send(NOON)
    before = told(site, "visit", NOON - HOUR, NOON + 5 * MINUTE)
    site.send(NOON + 10 * MINUTE)
    after = told(site, "visit", NOON + 5 * MINUTE, NOON + HOUR)
    assert [record["pageviews"] for record in (*before, *after)] == [1, 2]
    assert before[0]["session_id"] == after[0]["session_id"]
    assert before[0]["updated_at"] < after[0]["updated_at"]


def test_what_comes_late_joins_and_begins_visits_and_what_was_told_before_is_taken_back(site: Site) -> None:
    """Read after every event or all at once, in the end there is the same."""
    steps = [(0, 0), (50, 50), (60, 25), (70, -20), (200, 190), (201, 165), (1300, 30)]  # received, happened
    read, since = list[Record](), NOON - HOUR
    for received, happened in steps:
        site.send(NOON + received * MINUTE, at=(NOON + happened * MINUTE).isoformat())
        read += told(site, "visit", since, NOON + received * MINUTE + timedelta(seconds=1))
        since = NOON + received * MINUTE + timedelta(seconds=1)
    at_once = told(site, "visit", NOON - HOUR, since)
    assert standing(read) == standing(at_once)
    assert [(str(row["started_at"])[11:16], row["pageviews"]) for row in standing(read)] == [("11:40", 5), ("14:45", 2)]


def test_a_window_that_is_read_again_does_not_take_back_what_came_later(site: Site) -> None:
    site.send(NOON)
    first = told(site, "visit", NOON - HOUR, NOON + 5 * MINUTE)
    site.send(NOON + 10 * MINUTE)
    second = told(site, "visit", NOON + 5 * MINUTE, NOON + HOUR)
    again = told(site, "visit", NOON - HOUR, NOON + 5 * MINUTE)
    assert again == first
    assert standing([*first, *second, *again]) == standing(second)


def test_an_event_of_the_millisecond_in_which_a_read_ended_is_in_the_next_one(site: Site) -> None:
    """Reads end by the microsecond, events are stamped by the millisecond."""
    end = NOON + timedelta(milliseconds=123, microseconds=456)
    site.send(NOON + timedelta(milliseconds=123))
    told_by = [told(site, stream, *window) for stream in ("visit",)
               for window in ((NOON - HOUR, end), (end, NOON + HOUR))]  # fmt: skip
    assert [len(records) for records in told_by] == [0, 1]


# -- people, forms, the product


def test_a_form_has_its_visit_and_its_person_and_the_visit_has_them_too(site: Site, pipeline: Pipeline) -> None:
    key = "email:" + pipeline.landing.pseudonyms.email("ida@client.example").removeprefix("h1:").partition("@")[0]
    site.send(NOON, page=f"{ORIGIN}/?utm_source=news&utm_medium=email&utm_campaign=june")
    site.send(NOON + MINUTE, "form_submit", email="Ida@client.example", form_name="Demo", capture_type="demo_request")
    site.send(NOON, "form_submit", consent="denied", visitor="nobody")
    found = forms(site)
    (visit,) = visits(site)
    assert (visit["record_key"], visit["key_events"], visit["is_engaged"]) == (key, 1, True)
    assert {(row["record_key"], row["channel"], row["campaign_id"], row["session_id"]) for row in found} == {
        (key, "email", "june", visit["session_id"]), (None, "unknown", None, None)
    }  # fmt: skip
    assert {row["capture_type"] for row in found} == {"demo_request", None}


def forms(site: Site) -> list[dict[str, Any]]:
    records = told(site, "form", NOON - HOUR, NOON + HOUR)
    found = enforce(
        form_event, site_visits.forms(flattened(records), MappingContext(config(), "collector", "form", SITE))
    )
    assert found.rejects.empty
    return found.rows.astype(object).where(found.rows.notna(), None).to_dict("records")


def test_of_two_people_who_share_a_browser_nobody_is_taken_for_the_other(site: Site) -> None:
    for minute, email in enumerate(("ida@client.example", "ben@client.example")):
        site.send(NOON + minute * MINUTE, "form_submit", email=email)
    assert [row["record_key"] for row in visits(site)] == [None]
    assert len({row["record_key"] for row in forms(site)}) == 2


def test_a_form_that_a_bot_sent_does_not_stand(site: Site) -> None:
    site.now = NOON
    assert site.post(site.event("form_submit"), {"User-Agent": "python-requests/2"}).status_code == 204
    assert [row["is_deleted"] for row in forms(site)] == [True]


def test_product_events_are_those_of_the_server_however_late_it_tells_them(site: Site) -> None:
    site.now = NOON
    event = site.event("product_event", name="activated", user="u-17", account="acme", domain="Client.Example",
                       at=(NOON - timedelta(days=9)).isoformat())  # fmt: skip
    headers = {"Authorization": f"Bearer {SERVER}"}
    assert requests.post(f"{site.url}/collect", json=[event, event], headers=headers, timeout=30).status_code == 204
    records = told(site, "product", NOON - HOUR, NOON + HOUR)
    context = MappingContext(config(), "collector", "product", SITE)
    found = enforce(product_event, rows.product_events(flattened(records), context))
    (row,) = found.rows.astype(object).to_dict("records")
    assert (row["event_name"], str(row["date_day"])[:10], row["account_domain"]) == (
        "activated", "2026-06-06", "client.example"
    )  # fmt: skip
    assert row["user_key"].startswith("h1:")


# -- into the warehouse


def land(pipeline: Pipeline, now: datetime, run_id: str, first: date = date(2026, 6, 14)) -> None:
    with time_machine.travel(now):
        for stream in SOURCE.streams:
            report = pipeline.ingest("collector", stream.name, first, now.date() + timedelta(days=1), run_id)
            assert not report.failed, report.failed
        for table in (web_session, form_event, product_event):
            load_table(pipeline.warehouse, pipeline.landing, pipeline.config, table, run_id)
        update_coverage(pipeline.warehouse, pipeline.landing, pipeline.config, now.date())


def test_what_is_read_night_by_night_stands_once_and_days_without_a_collector_are_not_whole(
    site: Site, pipeline: Pipeline
) -> None:
    migrated(pipeline.warehouse)
    site.send(NIGHT)
    for minute in range(0, 25 * 60, 4):  # a sign of life every few minutes, but for an hour
        if not 14 * 60 < minute < 15 * 60:
            site.now = NIGHT + minute * MINUTE
            site.spool.write([{"type": "beat"}], lambda: site.now)
    land(pipeline, NIGHT + 5 * MINUTE, "first")
    site.send(NIGHT + 15 * MINUTE)
    site.now = NIGHT + 25 * HOUR
    land(pipeline, NIGHT + 24 * HOUR + 20 * MINUTE, "second", date(2026, 6, 15))
    (row,) = pipeline.warehouse.rows(select(web_session))
    assert (row["pageviews"], str(row["date_day"])) == (2, "2026-06-14")
    days = pipeline.warehouse.rows(
        select(coverage.c.date_day, coverage.c.is_complete, coverage.c.reason)
        .where(coverage.c.target_table == "web_session").order_by(coverage.c.date_day)
    )  # fmt: skip
    by_day = {str(day["date_day"]): (day["is_complete"], day["reason"]) for day in days}
    assert by_day["2026-06-14"][0] is False, "the collector was not there before the evening"
    assert by_day["2026-06-15"][0] is False
    assert "the collector was not there from 2026-06-15 13:50 to 2026-06-15 14:50 UTC" in by_day["2026-06-15"][1]


def test_a_day_on_which_the_collector_was_always_there_is_whole(site: Site, pipeline: Pipeline) -> None:
    migrated(pipeline.warehouse)
    start = datetime(2026, 6, 14, tzinfo=UTC) - 4 * MINUTE
    for minute in range(0, 30 * 60, 4):
        site.spool.write([{"type": "beat"}], lambda at=start + minute * MINUTE: at)  # type: ignore[misc]
    site.now = datetime(2026, 6, 15, 1, tzinfo=UTC)
    land(pipeline, site.now, "first")
    query = select(coverage.c.is_complete).where(
        coverage.c.target_table == "web_session", coverage.c.date_day == date(2026, 6, 14)
    )
    assert [row["is_complete"] for row in pipeline.warehouse.rows(query)] == [True]


def test_a_person_who_is_forgotten_is_gone_from_the_spool_and_from_what_is_sent_later_and_totals_stay(
    site: Site, pipeline: Pipeline
) -> None:
    migrated(pipeline.warehouse)
    digest = pipeline.landing.pseudonyms.email("ida@client.example")[3:35]
    site.send(NOON)
    site.send(NOON + MINUTE, "form_submit", email="ida@client.example")
    site.send(NOON, "form_submit", email="ben@client.example", visitor="ben")
    site.now = NOON + HOUR
    land(pipeline, NOON + HOUR, "first")
    before = [(row["pageviews"], row["key_events"]) for row in visits(site)]
    assert digest in site.on_disk()
    with time_machine.travel(NOON + HOUR):
        gone = forget(pipeline, "ida@client.example", "forget")
    assert gone.records == 3, "an event, a visit and a form"
    site.send(NOON + 2 * MINUTE, "identify", email="IDA@client.example")
    assert digest not in site.on_disk()
    assert "ben" not in site.on_disk()
    assert sum("client.example" in line for line in site.on_disk().splitlines()) == 1, "Ben's"
    assert [(row["pageviews"], row["key_events"]) for row in visits(site)] == before
    stored = str(pipeline.warehouse.rows(select(web_session)) + pipeline.warehouse.rows(select(form_event)))
    assert digest not in stored
    assert not gone.left[:-1]


def test_a_backup_has_what_was_collected_and_brings_it_back(
    site: Site, pipeline: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrated(pipeline.warehouse)
    event = site.send(NOON)
    backup(pipeline, tmp_path / "backup")
    monkeypatch.setenv("B2B_HOME", str(tmp_path / "elsewhere"))
    assert any("collected" in line for line in restore(tmp_path / "backup"))
    found = Spool(tmp_path / "elsewhere" / "collected").read(NOON - HOUR, NOON + HOUR)
    assert [each["id"] for each in found if each["type"] != "beat"] == [event["id"]]


# -- what may go wrong on the way


def test_what_the_collector_says_is_understood() -> None:
    def means(status: int, body: str = '{"error": "why"}') -> Any:
        made = requests.Response()
        made.status_code, made.url, made._content = status, "http://c.example/events", body.encode()
        return classify(made)

    assert means(425) == Wait(5.0, "why")
    assert means(409) == Fatal("why")
    assert isinstance(means(503), Wait)


@pytest.mark.parametrize(
    "wrong", [{"until": "2026-06-15T12:00:00.000Z"}, {"events": None},
     {"next": {"since": "2026-06-15T12:00:00.000Z", "from": 0}},
     {"next": {"since": "2026-06-15T11:00:00.000Z", "from": 9}}]
)  # fmt: skip
def test_a_page_that_is_not_the_one_that_was_asked_for_is_not_taken(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, Any]
) -> None:
    monkeypatch.setenv("COLLECTOR_BASE_URL", "http://collector.example")
    whole = {"events": [], "next": None, "until": "2026-06-15T13:00:00.000Z", "silent": []}
    window = Window(NOON.date(), NOON.date() + timedelta(days=1), NOON, NOON + HOUR)
    with responses.RequestsMock() as mock:
        mock.get("http://collector.example/events", json={**whole, **wrong})
        with pytest.raises(TransientError):
            list(SOURCE.stream("visit").fetch(connect(config()), SITE, window))


def test_damage_of_the_spool_stops_what_is_read_with_what_to_do(site: Site) -> None:
    site.send(NOON)
    (path,) = site.spool.folder.glob("*.jsonl")
    path.write_text(path.read_text().replace("page_view", "page_veiw"))
    with pytest.raises(PermanentError, match="409"):
        told(site, "visit", NOON - HOUR, NOON + HOUR)


def test_doctor_says_whether_it_can_be_read_and_whether_anything_comes(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.now = datetime.now(UTC)
    quiet = probe(connect(config()), config())
    assert [(finding.ok, finding.warning) for finding in quiet] == [(True, False), (True, True)]
    site.send(datetime.now(UTC) - MINUTE)
    site.now = datetime.now(UTC)
    assert [finding.warning for finding in probe(connect(config()), config())] == [False]
    monkeypatch.setenv("COLLECTOR_TOKEN", "another one that is wrong")
    (refused,) = probe(connect(config()), config())
    assert (refused.ok, "COLLECTOR_TOKEN" in refused.fix or "environment" in refused.fix) == (False, True)


def test_the_tag_that_is_documented_sends_what_the_collector_takes(site: Site) -> None:
    """The fields that docs/collector.md has the tag send, with the values that a browser would give."""
    text = (Path(__file__).parents[2] / "docs" / "collector.md").read_text(encoding="utf-8")
    for name in ("type", "id", "at", "consent", "visitor", "page", "referrer", "engaged_ms"):
        assert f"{name}:" in text or f'"{name}"' in text, name
    event = site.event(at=1_781_524_800_000, referrer="")
    site.now = NOON
    assert site.post(event, {"User-Agent": CHROME}).status_code == 204
