"""Marketo over the sandbox, and by the answers that Adobe's documents show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Accounts, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Stop, Wait
from b2b_pipeline.connectors.marketo.source import SOURCE, classify, connect, probe
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, TransientError
from b2b_pipeline.landing.ingest import ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import metadata
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.marketo import book_at
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account("123-ABC-456")
WINDOW = Window.of_days(UNTIL - timedelta(days=20), UNTIL, ZoneInfo("UTC"))
BASE = "https://123-ABC-456.mktorest.com"
LOG = f"{BASE}/rest/v1/activities"
NOW = datetime(2026, 6, 15, 6, tzinfo=UTC)
LATER = count()  # minutes: tokens that one test revokes are older than those of the next


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"marketo": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=90)


@pytest.fixture
def sandbox(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world), time_machine.travel(NOW + timedelta(minutes=next(LATER))):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("MARKETO_BASE_URL", raising=False)
    for name, value in (("MUNCHKIN_ID", OURS.id), ("CLIENT_ID", "a-service"), ("CLIENT_SECRET", "hush-hush")):
        monkeypatch.setenv(f"MARKETO_{name}", value)
    with responses.RequestsMock() as mock, time_machine.travel(NOW, tick=False):
        token = {"access_token": "cdf01657:int", "token_type": "bearer", "expires_in": 3599, "scope": "a@b.example"}
        mock.post(f"{BASE}/identity/oauth/token", json=token)
        yield mock


def fetch(stream: str, window: Window = WINDOW, **settings: Any) -> list[Record]:
    pages = SOURCE.stream(stream).fetch(connect(config(**settings)), OURS, window)
    return [dict(record) for page in pages for record in page.records]


def mapped(stream: str, table: str, records: list[Record], **settings: Any) -> list[dict[str, Any]]:
    context = MappingContext(config(**settings), "marketo", stream, OURS)
    stored = enforce(metadata.tables[table], SOURCE.stream(stream).feeds[table](flattened(records), context))
    assert stored.rejects.empty, stored.rejects
    found: list[dict[str, Any]] = stored.rows.astype(object).to_dict("records")
    return found


def said(**content: Any) -> dict[str, Any]:
    return {"requestId": "24fd#15188a88d7f", "success": True, **content}


def refused(code: str, message: str = "x") -> dict[str, Any]:
    return {"requestId": "e42b#14272d07d78", "success": False, "errors": [{"code": code, "message": message}]}


# -- what answers mean


def means(body: Any, status: int = 200, kind: str = "application/json") -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/rest/v1/activities.json"
    made._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    made.headers["Content-Type"] = kind
    return classify(made)


def test_an_error_comes_with_status_200_and_is_one() -> None:
    assert means(said(result=[])) == Ok()
    for code in ("601", "602"):
        assert isinstance(means(refused(code)), Reauth)
    assert means(refused("606", "Max rate limit '100' exceeded with in '20' secs")) == Wait(20.0, "error 606")
    assert means(refused("615")) == Wait(2.0, "error 615")
    for code in ("604", "608", "611", "713", "502"):
        assert isinstance(means(refused(code)), Wait), code
    assert means(refused("603")) == Fatal("error 603", auth=True)
    assert isinstance(means(refused("610")), Fatal)
    assert isinstance(means(refused("1035", "Unsupported filter type")), Skip)
    assert isinstance(means({"success": False, "errors": []}), Fatal)


def test_the_quotas_of_a_day_end_at_midnight_in_chicago_and_a_full_queue_sooner() -> None:
    with time_machine.travel(datetime(2026, 6, 15, 6, tzinfo=UTC), tick=False):
        for error in (refused("607"), refused("1029", "Export daily quota exceeded")):
            found = means(error)
            assert isinstance(found, Stop)
            assert found.until == datetime(2026, 6, 16, 5, tzinfo=UTC)
    assert means(refused("1029", "Too many jobs in queue")) == Wait(60.0, "error 1029")
    assert means(refused("1029", "Job already queued")) == Ok(), "by ourselves"


def test_a_file_is_an_answer_and_half_of_an_answer_is_none() -> None:
    assert means("id,email\n1,null\n", kind="text/csv") == Ok()
    assert isinstance(means('{"success": true, "resu'), Wait)


# -- activities


def activity(number: int, kind: int = 6, at: str = "2026-06-01T10:00:00Z", **more: Any) -> dict[str, Any]:
    base = {"id": number, "marketoGUID": str(number), "leadId": 7, "activityDate": at, "activityTypeId": kind}
    return {**base, "primaryAttributeValueId": 71, "primaryAttributeValue": "News.One", "attributes": [], **more}


def serve_log(vendor: responses.RequestsMock, *pages: dict[str, Any], path: str = "") -> None:
    vendor.get(f"{LOG}/pagingtoken.json", json=said(nextPageToken="T0"))
    for page in pages:
        vendor.get(f"{LOG}{path}.json", json=said(**page))


def test_a_page_without_any_activity_is_not_the_last(vendor: responses.RequestsMock) -> None:
    """Of the 300 that a call looks at, none may be of the types that are asked for."""
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": True},
              {"nextPageToken": "T2", "moreResult": False, "result": [activity(1)]})  # fmt: skip
    assert [record["id"] for record in fetch("activity")] == ["1"]
    asked = [dict(call.request.params) for call in vendor.calls if "/activities" in str(call.request.url)]  # type: ignore[attr-defined]
    assert asked[0] == {"sinceDatetime": "2026-05-25T23:59:59Z"}, "what comes is after it"
    assert [each["nextPageToken"] for each in asked[1:]] == ["T0", "T1"]
    assert len(asked[1]["activityTypeIds"].split(",")) <= 10


def test_an_answer_that_does_not_say_whether_there_is_more_is_no_end(vendor: responses.RequestsMock) -> None:
    serve_log(vendor, {"result": [activity(1)]})
    with pytest.raises(TransientError, match="whether there is more"):
        fetch("activity")


def test_reading_stops_after_the_window_and_a_token_that_repeats_is_an_error(vendor: responses.RequestsMock) -> None:
    late = activity(2, at="2026-06-15T00:00:00Z")
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": True, "result": [late]})
    assert fetch("activity") == []
    vendor.replace(responses.GET, f"{LOG}.json", json=said(nextPageToken="T1", moreResult=True, result=[activity(1)]))
    with pytest.raises(TransientError, match="repeats"):
        fetch("activity")


def test_nothing_of_a_person_is_kept_of_what_was_filled_out(vendor: responses.RequestsMock) -> None:
    told = {
        "Client IP Address": "192.0.2.7", "Form Fields": 'a:1:{s:5:"Email";s:15:"ada@example.com";}',
        "Query Parameters": "utm_medium=cpc&utm_campaign=42&gclid=Cj0KEQ&email=ada%40example.com",
        "User Agent": "Mozilla", "Referrer URL": "https://x.example/?e=ada@example.com",
    }  # fmt: skip
    form = activity(3, 2, attributes=[{"name": name, "value": value} for name, value in told.items()])
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False, "result": [form]})
    records = fetch("activity")
    assert not [word for word in ("ada", "192.0", "Mozilla", "Cj0K") if word in json.dumps(records)]
    (row,) = mapped("activity", "form_event", records)
    assert (row["channel"], row["campaign_id"], row["record_key"]) == ("paid_search", "42", "marketo:lead:7")


def test_an_event_of_an_e_mail_is_dated_by_itself_and_machines_are_told() -> None:
    bot = {"isBot": True}
    records = [
        {"id": "1", "leadId": 7, "activityDate": "2026-06-01T23:30:00Z", "activityTypeId": 6, "about": 71},
        {"id": "2", "leadId": 7, "activityDate": "2026-06-02T08:00:00Z", "activityTypeId": 10, "about": 71, **bot},
        {"id": "3", "leadId": 8, "activityDate": "2026-06-02T09:00:00Z", "activityTypeId": 10, "about": 71},
        {"id": "4", "leadId": 8, "activityDate": "2026-06-02T09:00:00Z", "activityTypeId": 27, "about": 71},
    ]
    rows = mapped("activity", "email_event", records)
    assert [(str(row["date_day"])[:10], row["event_type"], bool(row["is_machine"])) for row in rows] == [
        ("2026-06-01", "sent", False), ("2026-06-02", "open", True), ("2026-06-02", "open", False),
        ("2026-06-02", "bounce", False),
    ]  # fmt: skip


def test_merges_are_read_however_their_list_is_written() -> None:
    def losers(given: Any) -> list[str]:
        record = {"id": "1", "leadId": 7, "activityDate": "2026-06-01T10:00:00Z", "activityTypeId": 32}
        return [row["from_key"] for row in mapped("merged", "identity_link", [{**record, "mergeIds": given}])]

    for given in ("[8, 9]", "8,9", [8, 9], "[7,8,9]"):
        assert losers(given) == ["marketo:lead:8", "marketo:lead:9"], given
    assert losers("8") == ["marketo:lead:8"]


PROGRAMS = [{"id": 1670, "name": "Webinar", "channel": "Webinar", "createdAt": "2026-05-01T00:00:00Z+0000"}]


def progressed(**told: Any) -> dict[str, Any]:
    """As Adobe's page on bulk extracts of activities shows one."""
    given = {"Program Member ID": 3240305, "Acquired By": False, "Old Status": "Not in Program", "New Status ID": 6,
             "New Status": "Attended", "Old Status ID": 1, **told}  # fmt: skip
    attributes = [{"name": name, "value": value} for name, value in given.items()]
    return activity(5, 104, primaryAttributeValueId=1670, primaryAttributeValue="Webinar", attributes=attributes)


def serve_programs(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/rest/asset/v1/programs.json", json=said(result=PROGRAMS))
    vendor.get(f"{BASE}/rest/asset/v1/programs.json", json=said(warnings=["No assets found for the given criteria."]))


def test_a_success_in_a_program_is_told_by_the_attributes_that_adobe_shows(vendor: responses.RequestsMock) -> None:
    serve_programs(vendor)
    both = [progressed(Success=True), {**progressed(Success=False), "marketoGUID": "6"}]
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False, "result": both})
    (touch,) = mapped("activity", "touchpoint", fetch("activity"))
    assert (touch["campaign_id"], touch["evidence"], touch["touch_type"]) == ("1670", "Attended", "campaign_response")


@pytest.mark.parametrize("names", [("New Status", "Success"), ("New Status", "Erfolg")])
def test_where_no_activity_could_say_that_it_was_a_success_none_is_taken_for_none(
    vendor: responses.RequestsMock, names: tuple[str, ...]
) -> None:
    """What is null is left out of an activity; what the instance does not have at all is in none."""
    described = {"id": 104, "name": "Change Status in Progression", "primaryAttribute": {"name": "Program"},
                 "attributes": [{"name": name, "dataType": "string"} for name in names]}  # fmt: skip
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False, "result": [progressed()]})
    vendor.get(f"{LOG}/types.json", json=said(result=[described]))
    if "Success" in names:
        serve_programs(vendor)
        assert mapped("activity", "touchpoint", fetch("activity")) == []
    else:
        with pytest.raises(PermanentError, match="type 104 have no attribute Success"):
            fetch("activity")


def test_opens_and_forms_are_read_where_sends_are_kept_no_more(vendor: responses.RequestsMock) -> None:
    spring = Window.of_days(date(2026, 2, 1), date(2026, 3, 1), ZoneInfo("UTC"))
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False,
                       "result": [activity(1, 10, "2026-02-03T10:00:00Z")]})  # fmt: skip
    assert [record["id"] for record in fetch("activity", spring)] == ["1"]
    asked = dict(vendor.calls[-1].request.params)["activityTypeIds"]  # type: ignore[attr-defined]
    assert {"6", "7"}.isdisjoint(asked.split(","))


def test_deletions_that_an_outage_has_lost_stay_a_gap(vendor: responses.RequestsMock, tmp_path: Path) -> None:
    """Who was deleted in it still counts: no earlier day is whole. What was before the first pull concerns nobody."""
    landing, stream = Landing(tmp_path, Pseudonyms(b"key", tmp_path / "gone.json")), SOURCE.stream("removed")
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False}, path="/deletedleads")
    client = connect(config())

    def spans(run: str, start: date, end: date) -> list[tuple[str, str]]:
        with time_machine.travel(now, tick=False):
            report = ingest(
                SOURCE, stream, client, Accounts([OURS]), start, end, config=config(), landing=landing, run_id=run
            )
        assert not report.failed
        return [(item.since[:16], item.until[:16]) for item in report.slices]

    now = datetime(2026, 6, 15, 6, tzinfo=UTC)
    first = spans("1", date(2026, 1, 1), date(2026, 6, 15))
    assert (first[0][0], first[-1][1]) == ("2025-12-31T22:00", "2026-06-15T05:50"), "a new installation asks for all"
    now = datetime(2026, 7, 20, 6, tzinfo=UTC)
    before, after = ("2026-06-15T03:50", "2026-06-15T06:00"), ("2026-07-07T06:00", "2026-07-20T05:50")
    assert spans("2", date(2026, 7, 19), date(2026, 7, 20)) == [before, after]
    assert spans("3", date(2026, 6, 20), date(2026, 7, 1)) == [], "a backfill does not close the gap"
    assert spans("4", date(2025, 12, 1), date(2026, 1, 1)) == [("2025-11-30T22:00", "2026-01-01T00:00")]
    assert spans("5", date(2026, 6, 15), date(2026, 7, 20)) == [("2026-06-14T22:00", before[1]), after]


def test_deletions_that_are_read_for_the_first_time_long_after_the_leads_leave_a_gap(
    vendor: responses.RequestsMock, tmp_path: Path
) -> None:
    """As when the role of the API user did not let them be read at first: leads of then may be gone since."""
    landing = Landing(tmp_path, Pseudonyms(b"key", tmp_path / "gone.json"))
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False}, path="/deletedleads")
    march = Window.of_days(date(2026, 3, 1), date(2026, 3, 2), ZoneInfo("UTC"))
    landing.write(
        "marketo", SOURCE.stream("lead"), OURS, march, [], zone=ZoneInfo("UTC"), api_version="v1", run_id="0",
        now=datetime(2026, 3, 2, tzinfo=UTC),
    )  # fmt: skip
    given = {"config": config(), "landing": landing, "run_id": "1"}
    days = date(2026, 3, 1), date(2026, 6, 15)
    report = ingest(SOURCE, SOURCE.stream("removed"), connect(config()), Accounts([OURS]), *days, **given)  # type: ignore[arg-type]
    assert [(item.since[:16], item.until[:16]) for item in report.slices] == [
        ("2026-02-28T22:00", "2026-03-02T00:00"), ("2026-06-02T06:00", "2026-06-15T05:50"),
    ]  # fmt: skip


# -- leads and programs


def test_leads_are_exported_by_when_they_were_updated(sandbox: World) -> None:
    with sandbox.connect() as connection:
        leads = book_at(connection, sandbox.now()).leads
    expected = {str(number) for number, each in leads.items() if each["updatedAt"] < "2026-06-15"}
    found = fetch("lead", Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC")))
    assert {record["id"] for record in found} == expected
    assert {"firstName", "lastName"}.isdisjoint(found[0])
    assert None in {record["country"] for record in found} | {record["state"] for record in found}, "null is nothing"


def test_without_a_filter_by_update_leads_are_found_by_their_changes(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC"))
    with running(sandbox, marketo={"with_updates": False}) as url:
        monkeypatch.setenv("MARKETO_BASE_URL", f"{url}/marketo")
        found = {record["id"]: record for record in fetch("lead", whole)}
    with sandbox.connect() as connection:
        book = book_at(connection, sandbox.now())
    until = whole.until.timestamp() * 1000
    changed = {str(each.lead) for each in book.activities if each.kind in (12, 13) and each.at < until}
    assert found.keys() == {str(number) for number in book.leads} & changed
    assert all(isinstance(record["id"], str) for record in found.values())


def test_a_file_that_is_cut_is_read_again(vendor: responses.RequestsMock) -> None:
    job = {"exportId": "ce45a7a1", "status": "Created"}
    path = f"{BASE}/bulk/v1/leads/export"
    vendor.post(f"{path}/create.json", json=said(result=[job]))
    vendor.post(f"{path}/ce45a7a1/enqueue.json", json=said(result=[{**job, "status": "Queued"}]))
    done = {**job, "status": "Completed", "numberOfRecords": 2}
    vendor.get(f"{path}/ce45a7a1/status.json", json=said(result=[done]))
    vendor.get(f"{path}/ce45a7a1/file.json", body="id,email\n1,null\n", content_type="text/csv")
    vendor.get(f"{path}/ce45a7a1/file.json", body="id,email\n1,a@b.example\n2", content_type="text/csv")
    for told in ("processed 2 rows, 1 received", "not as many cells"):
        with pytest.raises(TransientError, match=told):
            fetch("lead")


def test_programs_end_with_a_warning_and_have_times_that_only_marketo_writes(vendor: responses.RequestsMock) -> None:
    one = {
        "id": 1107, "name": "P", "description": "by Ada", "createdAt": "2015-05-21T22:45:13Z+0000", "type": "Default",
        "updatedAt": "2015-05-21T22:45:13Z+0000", "channel": "Online Advertising", "status": "", "workspace": "Default",
    }  # fmt: skip
    vendor.get(f"{BASE}/rest/asset/v1/programs.json", json=said(result=[one]))
    vendor.get(f"{BASE}/rest/asset/v1/programs.json", json=said(warnings=["No assets found for the given criteria."]))
    costs = [{"startDate": "2015-02-01", "cost": 100, "note": "Google Adwords, by Ada"}]
    vendor.get(f"{BASE}/rest/asset/v1/program/1107.json", json=said(result=[{**one, "costs": costs}]))
    records = fetch("program", options={"currency": "USD"})
    assert "Ada" not in json.dumps(records)
    (row,) = mapped("program", "campaign", records)
    assert (str(row["updated_at"])[:19], row["channel"]) == ("2015-05-21 22:45:13", "display")
    rows = mapped("program", "cost_ledger", records, options={"currency": "USD", "paid_costs": "all"})
    assert len(rows) == 28
    assert sum(row["amount"] for row in rows) == 100
    assert {(row["category"], row["currency"]) for row in rows} == {("ads", "USD")}
    assert mapped("program", "cost_ledger", records) == [], "nobody said of which currency they are"


def test_costs_of_paid_channels_are_left_to_the_ad_platforms_unless_it_is_said_that_none_has_them() -> None:
    """Else an ad would be paid twice: marketing cost is ad spend and the ledger."""
    costs = [{"startDate": "2026-05-01", "cost": 310}]
    programs = [{"id": n, "name": "P", "createdAt": "2026-05-01T00:00:00Z+0000", "channel": channel, "costs": costs}
                for n, channel in enumerate(("Online Advertising", "Webinar", "Content"))]  # fmt: skip

    def categories(**options: str) -> tuple[set[str], list[str]]:
        given = {"currency": "USD", **options}
        stated = [*SOURCE.stream("program").states["cost_ledger"](config(options=given))]
        return {row["category"] for row in mapped("program", "cost_ledger", programs, options=given)}, stated

    assert categories() == categories(paid_costs="none") == ({"event", "content"}, ["event", "content"])
    assert categories(paid_costs="all") == ({"ads", "event", "content"}, ["ads", "event", "content"])
    with pytest.raises(ConfigError, match="paid_costs: 'yes' is neither all nor none"):
        categories(paid_costs="yes")


# -- who we are


def test_the_secret_is_in_no_address(vendor: responses.RequestsMock) -> None:
    serve_log(vendor, {"nextPageToken": "T1", "moreResult": False})
    fetch("activity")
    assert all("hush" not in str(call.request.url) for call in vendor.calls)
    assert vendor.calls[1].request.headers["Authorization"] == "Bearer cdf01657:int"


def test_a_token_that_expired_is_replaced_and_wrong_credentials_are_told(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fault(sandbox, "marketo", "expire_token", path_contains="programs")
    assert len(fetch("program")) == 4
    monkeypatch.setenv("MARKETO_CLIENT_SECRET", "another-secret")
    with pytest.raises(AuthError, match="status 401, unauthorized") as caught:
        fetch("program")
    assert "another-secret" not in str(caught.value)


def test_a_quota_that_is_used_up_is_left_to_the_orchestrator(sandbox: World) -> None:
    add_fault(sandbox, "marketo", "throttle", path_contains="activities", daily=True)
    with pytest.raises(QuotaError, match="607"):
        fetch("activity")


def test_doctor_names_fields_that_are_not_there_and_what_is_not_mapped(sandbox: World) -> None:
    found = probe(connect(config()), config())
    assert not [finding for finding in found if not finding.ok]
    assert [finding.what for finding in found if finding.warning] == [
        "Marketo: no value of leadStatus is a stage: who became MQL or SQL is unknown",
        "Marketo: costs of programs have no currency: they are not read",
    ]
    own = config(fields={"status": "lifecycleStage__c"})
    (bad,) = (finding for finding in probe(connect(own), own) if not finding.ok)
    assert "lifecycleStage__c" in bad.what
    add_fault(sandbox, "marketo", "missing_scope", path_contains="activities", scope="Read-Only Activity")
    refusals = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert {finding.what.split()[1].rstrip(":") for finding in refusals} == {
        "sending", "activity", "status", "removed", "merged",
    }  # fmt: skip
    assert all("Read-Only Activity" in finding.fix for finding in refusals)
