"""Mailchimp over the sandbox, and by the answers that its document and recorded accounts show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import mailchimp_marketing
import pandas as pd
import pytest
import requests
import responses
import time_machine

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Stop, Wait
from b2b_pipeline.connectors.mailchimp.source import SOURCE, Mailchimp, classify, connect
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import email_event, email_summary, lead, touchpoint
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.mailchimp import account_at
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
ACCOUNT = Account("8d3a3db4d97663a9074efcc16", "Example")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL + timedelta(days=1), ZoneInfo("UTC"))
BASE = "https://us21.api.mailchimp.com/3.0"
KEY = "0123456789abcdef0123456789abcdef-us21"


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"mailchimp": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=60)


@pytest.fixture
def sandbox(world: World) -> Iterator[World]:
    with served(world):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("MAILCHIMP_BASE_URL", raising=False)
    monkeypatch.delenv("MAILCHIMP_ACCESS_TOKEN", raising=False)
    monkeypatch.setenv("MAILCHIMP_API_KEY", KEY)
    with responses.RequestsMock() as mock:
        yield mock


def fetch(stream: str, window: Window = WINDOW, **settings: Any) -> list[Record]:
    pages = SOURCE.stream(stream).fetch(connect(config(**settings)), ACCOUNT, window)
    return [record for page in pages for record in page.records]


def mapped(table: Any, stream: str, records: list[Record], **settings: Any) -> Any:
    context = MappingContext(config(**settings), "mailchimp", stream, ACCOUNT)
    return enforce(table, SOURCE.stream(stream).feeds[table.name](flattened(records), context))


# -- what answers mean


def means(status: int, body: Any = None, kind: str = "application/problem+json", **headers: str) -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/reports"
    made._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.headers.update({"Content-Type": kind, **headers})
    return classify(made)


def test_more_calls_than_ten_at_a_time_are_waited_for_however_it_is_said() -> None:
    busy = {"title": "Too Many Requests", "status": 429, "detail": "You have exceeded the limit of 10 connections."}
    assert means(429, busy, **{"Retry-After": "5"}) == Wait(5.0)
    assert means(429, busy) == Wait(10.0)
    assert isinstance(means(429, busy, **{"Retry-After": "86400"}), Stop)
    for page, kind in ((b"", ""), (b"<html>Access Denied</html>", "text/html")):
        assert isinstance(means(403, page, kind), Wait), "it comes without a word"


def test_a_refusal_is_told_from_that_and_names_its_cure() -> None:
    assert means(403, {"title": "Forbidden", "status": 403}) == Fatal("Forbidden", auth=True)
    wrong = means(403, {"title": "Wrong Datacenter", "status": 403})
    assert isinstance(wrong, Fatal)
    assert (wrong.auth, "-us21" in wrong.fix) == (True, True)
    assert means(401, {"title": "API Key Invalid"}) == Reauth("API Key Invalid")
    closed = means(503, {"title": "Compliance Related"})
    assert isinstance(closed, Fatal), "waiting does not open a closed account"
    assert isinstance(means(503, {"title": "Service Unavailable"}), Wait)


# -- where it is asked


ROOT = {"account_id": "8d3a", "account_name": "Example", "role": "owner"}


def test_the_data_centre_is_the_end_of_the_key(vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.get(f"{BASE}/", json=ROOT)
    assert [each.id for each in SOURCE.accounts(connect(config()), config()).read] == ["8d3a"]
    assert str(vendor.calls[0].request.headers["Authorization"]).startswith("Basic ")
    monkeypatch.setenv("MAILCHIMP_API_KEY", "0123456789abcdef0123456789abcdef")
    with pytest.raises(AuthError, match="does not end with its data centre"):
        SOURCE.accounts(connect(config()), config())
    monkeypatch.setenv("MAILCHIMP_API_KEY", KEY)
    with pytest.raises(ConfigError, match=r"sources\.mailchimp\.accounts: 1 not among"):
        SOURCE.accounts(connect(config(accounts=["1"])), config(accounts=["1"]))


def test_with_an_access_token_the_data_centre_is_asked_for_once(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILCHIMP_ACCESS_TOKEN", "Lasting-T0ken")
    metadata = "https://login.mailchimp.com/oauth2/metadata"
    asked = vendor.get(metadata, json={"dc": "us21", "api_endpoint": BASE[:-4], "login": {"email": "a@x.example"}})
    vendor.get(f"{BASE}/", json=ROOT)
    client = connect(config())
    for _ in range(2):
        SOURCE.accounts(client, config())
    assert asked.call_count == 1
    assert [call.request.headers["Authorization"] for call in vendor.calls][:2] == [
        "OAuth Lasting-T0ken", "Bearer Lasting-T0ken",
    ]  # fmt: skip
    vendor.replace(responses.GET, metadata, json={"error": "invalid_token"})  # with status 200, as it is
    with pytest.raises(AuthError, match="agree anew"):
        _ = connect(config()).session
    vendor.replace(responses.GET, metadata, json={"dc": "x", "api_endpoint": "https://evil.example"})
    with pytest.raises(PermanentError, match="names no data centre"):
        _ = connect(config()).session


def test_a_token_by_b2b_connect_finds_its_way(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCHIMP_ACCESS_TOKEN", tokens.issue("mailchimp", 60))
    assert [each.id for each in SOURCE.accounts(connect(config()), config()).read] == [ACCOUNT.id]
    monkeypatch.setenv("MAILCHIMP_ACCESS_TOKEN", "never-issued")
    with pytest.raises(AuthError) as caught:
        SOURCE.accounts(connect(config()), config())
    assert "never-issued" not in str(caught.value)


# -- what is read


def test_small_pages_hold_the_same_and_lists_without_an_order_are_not_taken_for_whole(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAILCHIMP_API_KEY", f"{tokens.PRIVATE_APP_TOKEN}-us19")
    found: list[Any] = []
    for options in ({}, {"page_size": 7}):
        with running(world, mailchimp=options) as url:
            monkeypatch.setenv("MAILCHIMP_BASE_URL", f"{url}/mailchimp")
            streams = [stream.name for stream in SOURCE.streams if stream.kind == "changes"]
            found.append({name: sorted(map(json.dumps, fetch(name))) for name in streams})
    assert found[0] == found[1]
    assert all(found[0].values())
    with running(world, mailchimp={"page_size": 7, "shuffled": True}) as url:
        monkeypatch.setenv("MAILCHIMP_BASE_URL", f"{url}/mailchimp")
        with pytest.raises(TransientError, match=r"sent-to: \d+ records came, \d+ were announced"):
            fetch("sent_to")


def test_every_recipient_of_the_account_has_one_outcome(sandbox: World) -> None:
    with sandbox.connect() as connection:
        account = account_at(connection, sandbox.now())
    stored = mapped(email_event, "sent_to", fetch("sent_to"))
    assert stored.rejects.empty
    found = stored.rows.groupby("event_type").size().to_dict()
    statuses = [row["status"] for mine in account.sent_to.values() for row in mine]
    assert found["sent"] == len(statuses)
    assert found["delivered"] == statuses.count("sent")
    assert found["bounce"] == len(statuses) - statuses.count("sent") > 0


def test_a_busy_moment_is_waited_out(sandbox: World) -> None:
    add_fault(sandbox, "mailchimp", "throttle", path_contains="/lists", retry_after=0)
    assert fetch("member")


def test_the_official_client_reads_the_twin_and_finds_what_we_do(sandbox: World) -> None:
    with running(sandbox) as url:
        client = mailchimp_marketing.Client({"api_key": f"{tokens.PRIVATE_APP_TOKEN}-us19", "server": "us19"})
        client.api_client.host = f"{url}/mailchimp/3.0"
        assert client.ping.get()["health_status"] == "Everything's Chimpy!"
        reports = client.reports.get_all_campaign_reports(count=1000)["reports"]
        theirs, opened = 0, 0
        for report in reports:
            theirs += client.reports.get_campaign_recipients(report["id"], count=1)["total_items"]
            told = client.reports.get_email_activity_for_campaign(report["id"], count=1000)["emails"]
            opened += sum(each["action"] == "open" for row in told for each in row["activity"])
        [audience] = client.lists.get_all_lists()["lists"]
        members = client.lists.get_list_members_info(audience["id"], count=1000, status="archived")["members"]
    assert theirs == len(fetch("sent_to")) > 0
    ours = [row for row in fetch("email_activity") if row["action"] == "open"]
    assert opened == len(ours)
    assert {row["contact_id"] for row in members} <= {row["contact_id"] for row in fetch("member")}


def test_nothing_of_people_is_asked_for_but_their_address(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/lists", json={"lists": [{"id": "a1"}], "total_items": 1})
    vendor.get(f"{BASE}/lists/a1/members", json={"members": [], "total_items": 0})
    fetch("member", fields={"company": "merge_fields.COMPANY"})
    asked = [dict(call.request.params) for call in vendor.calls[1:]]  # type: ignore[attr-defined]
    assert [query.get("status") for query in asked] == [None, "archived"]
    fields = asked[0]["fields"].split(",")
    assert "members.merge_fields.COMPANY" in fields
    assert not [name for name in fields if any(word in name for word in ("name", "ip_", "note", "PHONE", "reason"))]
    assert asked[0]["since_last_changed"] == "2026-05-15T23:59:59+00:00", "it leaves out its own second"


def test_who_leaves_a_list_while_it_is_read_takes_nobody_along(vendor: responses.RequestsMock) -> None:
    """What was read moves out of the window, so that what follows moves forward, past the offset."""
    person = [{"id": f"m{n}", "contact_id": f"c{n}", "last_changed": "2026-06-01T00:00:00+00:00"} for n in range(5)]
    pages = {"0": (person[:2], 5), "2": (person[3:5], 4), "1": (person[2:4], 4), "3": (person[4:], 4)}  # m0 left
    vendor.get(f"{BASE}/lists", json={"lists": [{"id": "a1"}], "total_items": 1})

    def page(request: Any) -> tuple[int, dict[str, str], str]:
        members, total = pages[request.params["offset"]] if "status" not in request.params else ([], 0)
        return 200, {}, json.dumps({"members": members, "total_items": total})

    vendor.add_callback(responses.GET, f"{BASE}/lists/a1/members", page)
    assert {row["id"] for row in fetch("member")} == {"m0", "m1", "m2", "m3", "m4"}


REPORT = {
    "id": "5dfc22e163", "type": "regular", "campaign_title": "June", "subject_line": "News", "emails_sent": 2,
    "send_time": "2026-06-08T17:56:07+00:00", "unsubscribed": 0, "bounces": {"hard_bounces": 1, "soft_bounces": 0},
    "opens": {"unique_opens": 1, "last_open": "2026-06-08T18:01:27+00:00"},
    "clicks": {"unique_subscriber_clicks": 1, "last_click": "2026-06-08T18:01:29+00:00"},
}  # fmt: skip
RECORDED = {  # as Estuary recorded it, with invented addresses
    "emails": [
        {"campaign_id": "5dfc22e163", "list_id": "f3", "email_id": "4c17", "email_address": "a@x.example",
         "activity": []},
        {"campaign_id": "5dfc22e163", "list_id": "f3", "email_id": "6409", "email_address": "b@x.example", "activity": [
            {"action": "open", "timestamp": "2026-06-08T18:01:27+00:00", "ip": "66.249.88.43"},
            {"action": "open", "timestamp": "2026-06-08T18:01:27+00:00", "ip": "66.249.88.44"},
            {"action": "click", "timestamp": "2026-06-08T18:01:29+00:00", "url": "https://x.example/?e=b@x.example"},
            {"action": "bounce", "type": "hard", "timestamp": "2026-06-08T18:01:31+00:00"},
        ]},
    ],
    "campaign_id": "5dfc22e163", "total_items": 2,
}  # fmt: skip


def recorded(vendor: responses.RequestsMock, report: Record) -> list[Record]:
    vendor.get(f"{BASE}/reports", json={"reports": [report], "total_items": 1})
    vendor.get(f"{BASE}/reports/5dfc22e163/email-activity", json=RECORDED)
    return fetch("email_activity")


def test_what_happens_has_an_id_of_its_own_and_is_asked_for_with_its_second(vendor: responses.RequestsMock) -> None:
    found = recorded(vendor, REPORT)
    assert all(row.keys() & {"ip", "activity"} == set() for row in found)
    asked = [dict(call.request.params) for call in vendor.calls]  # type: ignore[attr-defined]
    assert asked[1]["since"] == "2026-05-15T23:59:59+00:00"
    stored = mapped(email_event, "email_activity", found)
    assert stored.rejects.empty
    kinds = stored.rows.drop_duplicates("event_id")["event_type"].tolist()
    assert sorted(kinds) == ["click", "open"], "two opens in one second are one; whether it bounced sent-to says"
    assert set(stored.rows["date_day"].astype(str)) == {"2026-06-08"}, "the day of the send"


def test_a_campaign_that_nobody_touched_since_is_not_read(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/reports", json={"reports": [REPORT], "total_items": 1})
    late = Window.of_days(date(2026, 6, 9), date(2026, 6, 10), ZoneInfo("UTC"))
    assert fetch("email_activity", late) == []
    assert len(vendor.calls) == 1


def test_what_is_done_with_mails_of_automations_has_no_day_and_is_set_aside(vendor: responses.RequestsMock) -> None:
    """Each recipient is sent them on a day of their own: that of the report would be a guess."""
    stored = mapped(email_event, "email_activity", recorded(vendor, {**REPORT, "type": "automation"}))
    assert stored.rows.empty
    assert set(stored.rejects["column_name"]) <= {"sent_at", "date_day"}
    assert len(stored.rejects) >= 3


def test_the_weekly_list_leaves_mails_of_automations_to_the_nights(vendor: responses.RequestsMock) -> None:
    """A row of a list that is set aside puts every day in doubt, and not only those that it might be of."""
    vendor.get(f"{BASE}/reports", json={"reports": [{**REPORT, "type": "automation"}, {**REPORT, "id": "other"}],
                                        "total_items": 2})  # fmt: skip
    for report in (REPORT["id"], "other"):
        vendor.get(f"{BASE}/reports/{report}/email-activity", json=RECORDED)
    with time_machine.travel(datetime(2026, 6, 20, tzinfo=UTC)):
        records = fetch("late", streams=["email_activity", "late"])
    assert {record["campaign_type"] for record in records} == {"regular"}
    assert mapped(email_event, "late", records).rejects.empty


def test_an_outcome_that_changes_takes_the_place_of_the_first() -> None:
    """A soft bounce is told when Mailchimp has given up: until then the e-mail counted as delivered."""
    sent = {"campaign_id": "c", "email_id": "h1:" + "a" * 32, "email_address": "h1:" + "b" * 32 + "@x.example",
            "send_time": "2026-06-08T17:56:07+00:00", "campaign_type": "regular"}  # fmt: skip
    first, then = (mapped(email_event, "sent_to", [{**sent, "status": status}]).rows for status in ("sent", "soft"))
    assert first["event_id"].tolist() == then["event_id"].tolist()
    assert first["event_type"].tolist() == ["sent", "delivered"]
    assert then["event_type"].tolist() == ["sent", "bounce"]
    odd = mapped(email_event, "sent_to", [{**sent, "status": "queued"}, {**sent, "status": None}])
    assert len(odd.rejects) == 2, "what nobody knows is no delivery"
    with pytest.raises(KeyError, match="status"):
        mapped(email_event, "sent_to", [sent])


def test_a_bounce_and_an_open_that_are_told_weeks_later_are_found_by_the_weekly_list(tmp_path: Path) -> None:
    """The nights look back five days for outcomes, and one for what recipients do."""
    world = make_world(tmp_path / "world.sqlite", until=UNTIL, days=30, leads=60)
    night = Window.of_days(UNTIL, UNTIL + timedelta(days=1), ZoneInfo("UTC"))

    def events(stream: str, window: Window) -> dict[str, str]:
        with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
            found = fetch(stream, window)
        rows = mapped(email_event, stream, found).rows if found else pd.DataFrame(columns=["event_id", "event_type"])
        return dict(zip(rows["event_id"], rows["event_type"], strict=True))

    before = {**events("sent_to", WINDOW), **events("email_activity", WINDOW)}
    with world.connect() as connection:
        weeks_ago = world.now() - 14 * 86_400_000
        ours = {int(each["web_id"]) for each in account_at(connection, world.now()).campaigns}
        query = "select * from email_event where type = ? and created < ? order by created desc"
        of = {kind: connection.execute(query, (kind, weeks_ago)).fetchall() for kind in ("DELIVERED", "OPEN")}
        late = [dict(next(row for row in of[kind] if row["email_campaign_id"] in ours)) for kind in of]
        late[0] |= {"type": "BOUNCE", "payload": json.dumps({"category": "MAILBOX_FULL", "response": "452"})}
        for row in late:
            row |= {"id": f"{row['id']}-late", "created": row["created"] + 60_000, "visible_at": world.now()}
            names = ", ".join(row)
            places = ", ".join(f":{name}" for name in row)
            connection.execute(f"insert into email_event ({names}) values ({places})", row)  # noqa: S608
        connection.commit()
    nightly = {}
    for stream in ("sent_to", "email_activity"):
        nightly |= events(stream, replace(night, since=night.since - SOURCE.stream(stream).policy.overlap))
    weekly = events("late", night)
    news = sorted({kind for each, kind in weekly.items() if before.get(each) != kind and kind != "unsubscribe"})
    assert news == ["bounce", "open"]
    assert all(before.get(each) == kind for each, kind in nightly.items())
    assert {*weekly.values()} == {"sent", "delivered", "bounce", "open", "click", "unsubscribe"}
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        hashed = [{**each, "email_address": f"h1:{'b' * 32}@x.example"} for each in fetch("late")]
    touches = mapped(touchpoint, "late", hashed)
    assert touches.rejects.empty
    assert len(touches.rows) == sum(kind == "click" for kind in weekly.values())


def test_what_a_campaign_does_not_track_is_unknown_and_not_zero() -> None:
    def summary(**tracking: bool) -> list[Any]:
        record = {"id": "c", "type": "regular", "send_time": REPORT["send_time"], "report": REPORT}
        rows = mapped(email_summary, "campaign", [{**record, "tracking": tracking}]).rows
        cells = rows[["sends", "deliveries", "bounces", "opens", "clicks"]].astype(object).iloc[0]
        return [None if pd.isna(cell) else int(cell) for cell in cells]

    assert summary(opens=True, html_clicks=True, text_clicks=False) == [2, 1, 1, 1, 1]
    assert summary(opens=False, html_clicks=True) == [2, 1, 1, None, 1]
    assert summary(opens=True, html_clicks=False, text_clicks=False) == [2, 1, 1, 1, None]
    automated = {"id": "c", "type": "automation", "send_time": REPORT["send_time"], "report": REPORT}
    assert mapped(email_summary, "campaign", [automated]).rows.empty


# -- who is a lead


def test_nobody_is_a_lead_by_a_newsletter_alone_unless_it_is_said_who(sandbox: World) -> None:
    members = fetch("member")
    assert {row["status"] for row in members} >= {"subscribed", "archived"}
    assert mapped(lead, "member", members).rows.empty
    everybody = mapped(lead, "member", members, options={"leads": "all"}).rows
    assert set(everybody["lead_id"]) == {row["contact_id"] for row in members}
    gone = everybody[everybody["is_deleted"].astype(bool)]["lead_id"]
    assert set(gone) == {row["contact_id"] for row in members if row["status"] == "archived"}
    tagged = mapped(lead, "member", members, options={"leads": "Demo request"}).rows
    assert 0 < (~tagged["is_deleted"].astype(bool)).sum() < len(everybody) - len(gone)
    present = SOURCE.stream("present").fetch
    [page] = present(connect(config(options={"leads": "all"})), ACCOUNT, WINDOW)
    assert {row["id"] for row in page.records} >= {row["contact_id"] for row in members}, "the archive too"
    assert [*present(connect(config()), ACCOUNT, WINDOW)] == [], "nobody is missed who is no lead"


def test_who_loses_the_tag_or_has_to_confirm_anew_is_a_lead_no_more() -> None:
    """What changed is merged by its key: a row that is left out would leave the lead as it was."""
    tagged = {
        "contact_id": "c1", "email_address": "ada@customer.example", "status": "subscribed",
        "last_changed": "2026-06-01T10:00:00+00:00", "tags": [{"id": 1, "name": "Demo request"}],
    }  # fmt: skip
    changes: list[dict[str, Any]] = [{}, {"tags": []}, {"tags": None}, {"status": "pending"}, {"status": "archived"}]

    def is_deleted(wanted: str) -> list[bool]:
        stored = [mapped(lead, "member", [{**tagged, **each}], options={"leads": wanted}) for each in changes]
        return [bool(deleted) for each in stored for deleted in each.rows["is_deleted"]]

    assert is_deleted("Demo request") == [False, True, True, True, True]
    assert is_deleted("all") == [False, False, False, True, True]
    assert mapped(lead, "member", [tagged]).rows.empty, "nobody said who is one"


def test_leads_are_unknown_where_nobody_is_said_to_be_one(tmp_path: Path) -> None:
    """Not 0: who reads Mailchimp alone, and says of nobody that they are a lead, has told nothing of leads."""
    need = Need("lead")
    with Warehouse(f"duckdb:///{tmp_path / 'warehouse.duckdb'}").write() as connection:
        assert Facts(connection, config()).why_not(need) == "nothing that is switched on gives rows of lead"
        assert Facts(connection, config(options={"leads": "all"})).why_not(need) == ""


def test_doctor_tells_whose_account_it_is_and_what_it_cannot_tell(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/", json=ROOT)
    for path in ("reports", "campaigns", "lists"):
        vendor.get(f"{BASE}/{path}", json={path: [], "total_items": 3})
    findings = SOURCE.probe(Mailchimp(config()), config())
    assert all(finding.ok for finding in findings)
    assert "as owner" in findings[0].what
    [warned] = [finding for finding in findings if finding.warning]
    assert "classic automations" in warned.what


def test_doctor_says_what_to_do_with_a_key_that_is_no_good(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAILCHIMP_API_KEY", "my-own-wrong-key-us19")
    [finding] = SOURCE.probe(connect(config()), config())
    assert not finding.ok
    assert "API key" in finding.fix
    assert "wrong-key" not in finding.what
