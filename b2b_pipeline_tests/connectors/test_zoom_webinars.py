"""Zoom Webinars over the sandbox, and by the answers that its document and its forum show."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import responses
import time_machine
from sqlalchemy import select

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Split, Stop, Wait
from b2b_pipeline.connectors.zoom_webinars.source import NO_ADD_ON, NO_REGISTRATION, SOURCE, classify, connect, probe
from b2b_pipeline.errors import AuthError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import (
    campaign,
    identity_cluster,
    identity_link,
    lead,
    person,
    quarantine,
    touchpoint,
)
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.end_to_end import ENGINES, Workshop, build, clock, inside, new_warehouses, read_twice
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served
from b2b_sandbox import zoom_webinars as twin
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running

START, FIRST_UNTIL = date(2026, 5, 15), date(2026, 6, 8)
UNTIL = FIRST_UNTIL + timedelta(days=4)
ACCOUNT = Account("aCc0unt", "Zoom")
API = "https://api.zoom.us/v2"
NOW = datetime(2026, 7, 3, 9, tzinfo=UTC)
WINDOW = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("UTC"))
SETTINGS = f"""\
start_date: {START}
system_of_record: files
sources:
  zoom_webinars: {{options: {{leads: all}}}}
exclude: {{email_domains: [ourcompany.example]}}
"""


# -- over the sandbox


ASKED = Asked(SOURCE, ACCOUNT, WINDOW, start_date="2026-05-15")
config, fetch, mapped = ASKED.config, ASKED.fetch, ASKED.mapped


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Read over all days, and again four days later, when some were denied, and some came."""
    folder = tmp_path_factory.mktemp("zoom")
    world = make_world(folder / "world", until=FIRST_UNTIL, days=(FIRST_UNTIL - START).days + 1, leads=90)
    (folder / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    return read_twice(Installation(folder, world), START, FIRST_UNTIL, UNTIL)


@pytest.fixture(scope="module")
def book(installed: Installation) -> twin.Book:
    with installed.world.connect() as connection:
        return twin.book_at(connection, installed.world.now())


@pytest.fixture(scope="module", params=ENGINES)
def shop(request: pytest.FixtureRequest, installed: Installation) -> Workshop:
    return build(installed, new_warehouses(request)())[0]


def came(book: twin.Book, now: int) -> list[tuple[twin.Held, str]]:
    """Who attended which instance, once each, those who only waited left out.

    Of the last three hours none is read yet, and of three days before the first some are, which overlap.
    """
    first = (datetime(START.year, START.month, START.day, tzinfo=UTC) - timedelta(days=3)).timestamp() * 1000
    return [
        (held, who)
        for held in book.held
        for who in {join.person or join.number for join in held.joins if not join.waited}
        if first <= held.start < now - 3 * 3_600_000
    ]


def test_every_registration_and_attendance_of_the_world_is_a_touch_and_no_other(
    installed: Installation, shop: Pipeline, book: twin.Book
) -> None:
    joined = came(book, installed.world.now())
    rows = shop.warehouse.rows(select(touchpoint))
    registered = {row["touch_id"]: row for row in rows if row["touch_type"] == "webinar_registration"}
    attended = {row["touch_id"]: row for row in rows if row["touch_type"] == "webinar"}
    given = {f"zoom_webinars:registration:{each.webinar}:{each.id}": each for each in book.registrants}
    assert registered.keys() == given.keys()
    assert {row["touch_id"] for row in registered.values() if row["is_deleted"]} == {
        key for key, each in given.items() if each.status == "denied"
    }, "one that was denied after it was read, too"
    assert attended.keys() == {f"zoom_webinars:attendance:{held.uuid}:{who}" for held, who in joined}
    assert len(rows) == len(registered) + len(attended)
    assert len(given) > 15
    assert len(attended) > 10
    assert {row["channel"] for row in rows} == {"events"}
    starts = {held.uuid: held for held, _ in joined}
    for key, row in attended.items():
        held = starts[key.removeprefix("zoom_webinars:attendance:").partition(":")[0]]
        who = key.rpartition(":")[2]
        joins = [each.at for each in held.joins if who in (each.person, each.number)]
        assert row["touched_at"].replace(tzinfo=UTC).timestamp() * 1000 == min(joins)
        assert (row["campaign_id"], row["asset"]) == (str(held.webinar.id), held.webinar.topic)


def test_the_world_has_what_is_odd_in_accounts(book: twin.Book) -> None:
    """Else the test before would say little."""
    joins = [join for held in book.held for join in held.joins]
    assert any(held.uuid.startswith("//") for held in book.held), "is encoded twice"
    assert any(join.registrant and not join.email for join in joins), "a guest's address is not told"
    assert any(not join.person for join in joins), "by telephone"
    assert any(join.waited for join in joins)
    assert max(Counter((join.registrant, join.at // 86_400_000) for join in joins if join.registrant).values()) > 1
    assert any(held.webinar.host == twin.LEFT for held in book.held), "who is no user any more"
    assert {each.status for each in book.registrants} == {"approved", "pending", "denied"}
    first_read = datetime(FIRST_UNTIL.year, FIRST_UNTIL.month, FIRST_UNTIL.day, tzinfo=UTC).timestamp() * 1000
    at = [each.at for each in book.registrants if each.status == "denied"]
    assert any(first_read - 86_400_000 <= each < first_read for each in at), "who was approved when first read"


def test_who_attends_without_an_address_is_whom_their_registration_names(shop: Pipeline, book: twin.Book) -> None:
    guests = {
        f"zoom_webinars:attendance:{held.uuid}:{join.registrant}": join.registrant
        for held in book.held
        for join in held.joins
        if join.registrant and not join.email
    }
    clusters = {row["record_key"]: row["person_key"] for row in shop.warehouse.rows(select(identity_cluster))}
    rows = shop.warehouse.rows(select(touchpoint).where(touchpoint.c.touch_type == "webinar"))
    theirs = [row for row in rows if row["touch_id"] in guests]
    assert len(theirs) > 2
    registered = {row["source_id"].partition(":")[2]: row["record_key"] for row in shop.warehouse.rows(
        select(touchpoint).where(touchpoint.c.touch_type == "webinar_registration"))}  # fmt: skip
    assert {key.partition(":")[0] for key in registered.values()} == {"email"}
    assert all(row["record_key"].startswith("zoom_webinars:contact:") for row in theirs)
    persons = {row["touch_id"]: clusters[row["record_key"]] for row in theirs}
    assert persons == {key: clusters[registered[guests[key]]] for key in persons}


def test_who_is_known_by_nothing_is_a_record_of_their_own_and_counts_nowhere(
    installed: Installation, shop: Pipeline
) -> None:
    rows = shop.warehouse.rows(select(touchpoint).where(touchpoint.c.record_key.like("zoom_webinars:participant:%")))
    assert rows, "they can be looked at"
    people = {row["person_key"] for row in shop.warehouse.rows(select(person))}
    assert not people & {row["record_key"] for row in rows}
    with inside(installed):
        (leads,) = ask(shop.warehouse, shop.config, ["leads"], START, UNTIL - timedelta(days=1))
    assert leads.value == len({row["email_hash"] for row in shop.warehouse.rows(
        select(lead.c.email_hash).where(~lead.c.is_deleted, lead.c.date_day < UNTIL))})  # fmt: skip


def test_leads_came_by_events_and_are_captured_by_webinars(installed: Installation, shop: Pipeline) -> None:
    with inside(installed):
        answers = ask(shop.warehouse, shop.config, ["leads"], START, UNTIL - timedelta(days=2), ["channel"])
        captured = ask(shop.warehouse, shop.config, ["leads"], START, UNTIL - timedelta(days=2), ["capture_type"])
    assert {answer.keys["channel"]: answer.complete for answer in answers} == {"events": True}
    assert {answer.keys["capture_type"] for answer in captured} == {"webinar"}


def test_webinars_are_campaigns_a_series_is_one(shop: Pipeline, book: twin.Book) -> None:
    rows = shop.warehouse.rows(select(campaign))
    held = {each.webinar for each in book.held}
    listed = {each for each in book.webinars.values() if each.host == twin.HOST}
    assert {(row["campaign_id"], row["name"]) for row in rows} == {(str(each.id), each.topic) for each in held | listed}


def test_nothing_that_was_typed_and_nobody_s_name_is_kept(installed: Installation) -> None:
    with inside(installed) as pipeline:
        records = [
            record
            for stream in SOURCE.streams
            for item in pipeline.landing.slices("zoom_webinars", stream.name)
            for record in pipeline.landing.records(item)
        ]
    text = json.dumps(records)
    assert len(records) > 50
    assert not [word for word in ("Call me", "boss", "Ada", "Main St", "+49", "4930", "agenda", "tk=") if word in text]
    assert {record.get("email", "h1:")[:3] for record in records} == {"h1:"}


@pytest.fixture
def sandbox(installed: Installation, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(installed.world), time_machine.travel(clock(installed.world)):
        yield installed
    clear_faults(installed.world)


def test_an_account_without_troubles_has_no_finding_that_fails(sandbox: Installation) -> None:
    found = probe(connect(config()), config())
    assert [each.what for each in found if not each.ok] == []
    (warned,) = [each.what for each in found if each.warning]
    assert re.fullmatch(r"Zoom: [1-9] of \d\d who joined the last webinars are known by nothing, and .*", warned)
    assert {each.what for each in found} >= {f"Zoom {name} is readable" for name in ("registrant", "attendance")}


def test_a_scope_that_is_missing_is_named_by_doctor(sandbox: Installation) -> None:
    add_fault(sandbox.world, "zoom_webinars", "missing_scope", scope="report:read:list_webinar_participants:admin",
              path_contains="participants")  # fmt: skip
    (bad,) = [each for each in probe(connect(config()), config()) if not each.ok]
    assert "attendance" in bad.what
    assert bad.fix.endswith("scopes: report:read:list_webinar_participants:admin")


def test_a_wrong_account_or_secret_is_told_and_no_passing_trouble(
    sandbox: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOM_WEBINARS_ACCOUNT_ID", "another")
    (bad,) = probe(connect(config()), config())
    assert "invalid_request" in bad.what
    monkeypatch.setenv("ZOOM_WEBINARS_CLIENT_SECRET", "wrong")
    (bad,) = probe(connect(config()), config())
    assert "invalid_client" in bad.what
    assert "Server-to-Server OAuth" in bad.fix


def test_pages_of_two_hold_what_one_page_does(
    sandbox: Installation, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    window = Window.of_days(START, UNTIL, ZoneInfo("UTC"))
    streams = [stream.name for stream in SOURCE.streams if stream.kind != "sweep"]  # which tells when it was made
    whole = {name: fetch(name, window) for name in streams}
    swept = [each["id"] for each in fetch("present", window)]
    with running(sandbox.world, zoom_webinars={"page_size": 2}) as url:
        monkeypatch.setenv("ZOOM_WEBINARS_BASE_URL", f"{url}/zoom_webinars")
        monkeypatch.setenv("B2B_HOME", str(tmp_path / "other"))
        assert {name: fetch(name, window) for name in streams} == whole
        assert [each["id"] for each in fetch("present", window)] == swept
    assert all(len(records) > 5 for records in whole.values())


def test_a_token_that_a_newer_one_has_ended_is_got_anew(
    installed: Installation, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with running(installed.world, zoom_webinars={"single": True, "page_size": 2}) as url:
        monkeypatch.setenv("ZOOM_WEBINARS_BASE_URL", f"{url}/zoom_webinars")
        clients = []
        for name in ("one", "other"):
            monkeypatch.setenv("B2B_HOME", str(tmp_path / name))
            clients.append(connect(config()))
            assert clients[-1].session.get("users").rows("users")
        assert clients[0].session.get("users").rows("users"), "whose token the other's has ended"


# -- what answers mean


def means(status: int, code: int | None = None, message: str = "", **headers: str) -> Outcome:
    body = {"users": []} if code is None else {"code": code, "message": message}
    return classify(answer(f"{API}/users", status, body, **headers))


def test_a_limit_by_the_second_is_waited_for_and_one_by_the_day_until_it_ends() -> None:
    heavy = {"X-RateLimit-Category": "Heavy"}
    told = "You have reached the maximum per-second rate limit for this API. Try again later."
    assert means(429, 429, told, **heavy, **{"X-RateLimit-Type": "QPS"}) == Wait(
        2.0, "too many Heavy calls in a second"
    )
    midnight = datetime(2026, 7, 4, tzinfo=UTC)
    used_up = Stop(midnight, "Heavy calls of the day are used up")
    daily = {**heavy, "X-RateLimit-Type": "Daily-limit"}
    with time_machine.travel(NOW, tick=False):
        assert means(429, 429, "Reached.", **daily, **{"Retry-After": "2026-07-04T00:00:00Z"}) == used_up
        assert means(429, 429, "Reached.", **daily) == used_up
        said = "You have exceeded the daily rate limit (100). You may resume these requests at GMT 00:00:00."
        assert means(429, 429, said) == Stop(midnight, "calls of the day are used up"), "without headers, as was seen"


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ((200,), Ok()),
        ((401, 124, "Invalid access token."), Reauth("error 124, the token is not good any more")),
        ((400, 124, "Invalid access token."), Reauth("error 124, the token is not good any more")),
        ((400, 200, "Webinar plan is missing. You must subscribe to the webinar plan."), Skip(NO_ADD_ON)),
        ((200, 200, "Webinar plan subscription is missing. Enable webinar for this user."), Skip(NO_ADD_ON)),
        ((400, 3000, "Registration has not been enabled for this webinar: 91."), Skip(NO_REGISTRATION)),
        ((404, 3001, "Webinar does not exist: 91."), Skip("error 3001, there is no such webinar any more")),
        ((400, 300, "The next page token is invalid or expired."), Split("the page token has expired")),
        ((400, 300, "Invalid webinar ID."), Fatal("error 300")),
        ((404, 1001, "User does not exist: ada@one.example."), Skip("error 1001, there is no such user")),
    ],
)
def test_an_error_is_told_by_its_code_and_nobody_is_named(answer: tuple[Any, ...], outcome: Outcome) -> None:
    assert means(*answer) == outcome


def test_no_permission_and_a_missing_scope_say_what_to_do() -> None:
    refused = means(400, 200, "No permission.")
    assert isinstance(refused, Fatal)
    assert refused.auth
    lacking = means(400, 4711, "Invalid access token, does not contain scopes:[user:read:list_users:admin].")
    assert isinstance(lacking, Fatal)
    assert lacking.auth
    assert lacking.fix.endswith("user:read:list_users:admin")


# -- recorded answers


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("ZOOM_WEBINARS_BASE_URL", raising=False)
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name in ("ACCOUNT_ID", "CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"ZOOM_WEBINARS_{name}", "aCc0unt")
    with responses.RequestsMock() as mock, time_machine.travel(NOW):
        mock.post("https://zoom.us/oauth/token", json={"access_token": "eyJ", "expires_in": 3599, "scope": ""})
        yield mock


def history(mock: responses.RequestsMock, **changes: Any) -> None:
    held = {
        "meeting_uuid": "/aB//cd==", "meeting_id": 93201235621, "type": "Webinar", "topic": "Live",
        "start_time": "2026-07-01T14:00:03Z", "end_time": "2026-07-01T15:00:00Z", "create_time": "2026-06-01T10:00:00Z",
    } | changes  # fmt: skip
    mock.get(f"{API}/report/history_meetings",
             json={"next_page_token": "", "page_size": 300, "history_meetings": [held]})  # fmt: skip


REPORT = f"{API}/report/webinars/%252FaB%252F%252Fcd%253D%253D/participants"


def joined(**given: Any) -> Record:
    return {"id": "", "user_id": "16778240", "name": "x", "user_email": "", "registrant_id": "", "status": "in_meeting",
            "join_time": "2026-07-01T14:02:00Z", "leave_time": "2026-07-01T14:50:00Z", **given}  # fmt: skip


def test_an_instance_whose_id_has_slashes_is_asked_for_as_zoom_wants_it(vendor: responses.RequestsMock) -> None:
    history(vendor)
    vendor.get(REPORT, json={"next_page_token": "", "total_records": 1, "participants": [joined()]})
    stored = mapped(touchpoint, "attendance", fetch("attendance"))
    (row,) = stored.rows.to_dict("records")
    assert row["record_key"] == "zoom_webinars:participant:/aB//cd==:16778240"
    asked = [call.request for call in vendor.calls if "token" in (call.request.url or "")]
    assert asked[0].body == "grant_type=account_credentials&account_id=aCc0unt", "in no address"


def test_a_report_that_zoom_does_not_give_is_no_webinar_without_anybody(vendor: responses.RequestsMock) -> None:
    history(vendor)
    vendor.get(REPORT, status=404, json={"code": 3001, "message": "Webinar not found or has expired"})
    stored = mapped(touchpoint, "attendance", fetch("attendance"))
    assert stored.rows.empty
    (reject,) = stored.rejects.to_dict("records")
    assert reject["reason"] == "Zoom does not tell who it was: there is no such webinar any more"
    assert reject["fact_days"] == "2026-07-01", "of which the numbers are not complete"


def test_fewer_participants_than_announced_and_a_page_that_expired_are_read_again(
    vendor: responses.RequestsMock,
) -> None:
    history(vendor)
    vendor.get(REPORT, json={"next_page_token": "", "total_records": 2, "participants": [joined()]})
    with pytest.raises(TransientError, match="1 records came, 2 were announced"):
        fetch("attendance")
    vendor.replace("GET", REPORT, json={"next_page_token": "aX", "total_records": 2, "participants": [joined()]})
    expired = {"code": 300, "message": "The next page token is invalid or expired."}
    following = responses.matchers.query_param_matcher({"next_page_token": "aX"}, strict_match=False)
    vendor.get(REPORT, status=400, json=expired, match=[following])
    with pytest.raises(TransientError, match="the page token has expired"):
        fetch("attendance")


def test_registrants_of_a_webinar_that_is_gone_are_missed_and_of_one_without_registration_not(
    vendor: responses.RequestsMock,
) -> None:
    history(vendor)
    vendor.get(f"{API}/users", json={"next_page_token": "", "total_records": 1, "users": [{"id": "u1"}]})
    listed = {"id": 5, "topic": "No form", "start_time": "2026-07-02T10:00:00Z", "created_at": "2026-06-01T10:00:00Z"}
    vendor.get(f"{API}/users/u1/webinars", json={"next_page_token": "", "total_records": 1, "webinars": [listed]})
    vendor.get(f"{API}/webinars/93201235621/registrants", status=404, json={"code": 3001, "message": "expired"})
    none = {"code": 3000, "message": "Registration has not been enabled for this webinar: 5."}
    vendor.get(f"{API}/webinars/5/registrants", status=400, json=none)
    stored = mapped(touchpoint, "registrant", records := fetch("registrant"))
    assert stored.rows.empty
    assert len(stored.rejects) == 1
    assert mapped(lead, "registrant", records, options={"leads": "all"}).rejects.empty
    assert mapped(identity_link, "registrant", records).rejects.empty


def test_who_registered_is_a_lead_only_where_options_say_so(vendor: responses.RequestsMock) -> None:
    vendor.assert_all_requests_are_fired = False
    record = {
        "id": "r1", "email": "h1:00ff@one.example", "status": "approved", "create_time": "2026-07-01T10:00:00Z",
        "org": "One", "country": "DE", "webinar": {"id": 5, "topic": "Live"},
    }  # fmt: skip
    assert mapped(lead, "registrant", [record]).rows.empty
    (row,) = mapped(lead, "registrant", [record], options={"leads": "all"}).rows.to_dict("records")
    assert (row["lead_id"], row["company"], row["capture_type"]) == ("5:r1", "One", "webinar")


def test_who_is_registered_is_listed_with_the_webinars_that_tell_it(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has no registrant at all may be one of which nothing is told any more."""
    vendor.assert_all_requests_are_fired = False
    listed = [{"id": n, "topic": "Live", "start_time": "2026-07-01T10:00:00Z", "type": 5} for n in (5, 6, 7)]
    monkeypatch.setattr("b2b_pipeline.connectors.zoom_webinars.source._held", lambda *_: iter(()))
    monkeypatch.setattr("b2b_pipeline.connectors.zoom_webinars.source._listed_webinars", lambda _: iter(listed))
    nobody: dict[str, Any] = {"registrants": [], "total_records": 0, "next_page_token": ""}
    for webinar in (5, 6, 7):
        url = f"{API}/webinars/{webinar}/registrants"
        for status in ("approved", "pending", "denied"):
            matched = [responses.matchers.query_param_matcher({"status": status}, strict_match=False)]
            if webinar == 7:
                gone = {"code": 3001, "message": "Webinar does not exist."}
                vendor.get(url, json=gone, status=404, match=matched)
            elif (webinar, status) in ((5, "approved"), (5, "denied")):
                one = {"registrants": [{"id": status}], "total_records": 1, "next_page_token": ""}
                vendor.get(url, json=one, match=matched)
            else:
                vendor.get(url, json=nobody, match=matched)
    (page,) = SOURCE.stream("present").fetch(connect(config()), ACCOUNT, None)  # type: ignore[arg-type]
    assert [record["id"] for record in page.records] == ["*", "5:*", "5:approved", "5:denied"]
    assert {record["object"] for record in page.records} == {"registrant"}


def test_without_its_account_nothing_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLIENT_ID", "CLIENT_SECRET"):
        monkeypatch.setenv(f"ZOOM_WEBINARS_{name}", "x")
    monkeypatch.delenv("ZOOM_WEBINARS_ACCOUNT_ID", raising=False)
    with pytest.raises(AuthError, match="ZOOM_WEBINARS_ACCOUNT_ID"):
        connect(config())


def test_nothing_of_the_sandbox_is_refused(shop: Pipeline) -> None:
    assert shop.warehouse.rows(select(quarantine)) == []
