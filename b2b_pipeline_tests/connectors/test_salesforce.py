"""The Salesforce connector against answers as Salesforce words them, and against the sandbox."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses
import time_machine
from pandas.testing import assert_frame_equal

from b2b_pipeline.configuration.config import Config, Dimensions, Exclude, SourceConfig, Stages
from b2b_pipeline.connectors.base import Account, MappingContext, Stream, Window
from b2b_pipeline.connectors.columns import start_of_day
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Split, Stop, Wait
from b2b_pipeline.connectors.salesforce import source as salesforce
from b2b_pipeline.connectors.salesforce.client import BULK_DEADLINE, Client, classify
from b2b_pipeline.connectors.salesforce.source import SOURCE
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, SplitError, TransientError
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import enforce
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running

FIXTURES = Path(__file__).parents[1] / "fixtures" / "salesforce"
DOMAIN = "https://brightwater.my.salesforce.com"
DATA = f"{DOMAIN}/services/data/v67.0"
ACCOUNT = Account("00DWx0000000001MAA", "brightwater.my.salesforce.com")
WINDOW = Window.of_days(date(2026, 10, 1), date(2026, 10, 11), ZoneInfo("Europe/Berlin"))
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
ADA, KOFI, TWIN, TESTER = (f"00QWx000000000{n}MAA" for n in (1, 2, 3, 4))
FILES = {
    "Lead": "lead_1", "LeadHistory": "lead_history", "Contact": "contact", "Account": "account",
    "Opportunity": "opportunity", "OpportunityHistory": "opportunity_history",
    "OpportunityContactRole": "opportunity_contact_role", "Campaign": "campaign", "CampaignMember": "campaign_member",
}  # fmt: skip


def text(name: str) -> str:
    return (FIXTURES / name).read_text(encoding="utf-8")


def fixture(name: str) -> Any:
    return json.loads(text(f"{name}.json"))


def make_config(zone: str = "Europe/Berlin", stages: Stages | None = None, **source: Any) -> Config:
    return Config.model_construct(
        start_date=date(2026, 10, 1),
        system_of_record="salesforce",
        timezone=zone,
        sources={"salesforce": SourceConfig(**source)},
        stages=stages or Stages(),
        exclude=Exclude(email_domains=["example.org"], email_patterns=["*+test*"]),
    )


def query_all(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
    """`queryAll` over the fixture files: the first page of the object that the query names, or how many rows it has."""
    soql = parse_qs(urlsplit(str(request.url)).query)["q"][0]
    object_ = re.findall(r"FROM (\w+)", soql)[0]
    page = text(f"{FILES[object_]}.json")
    if "COUNT()" in soql:
        page = json.dumps({"totalSize": json.loads(page)["totalSize"], "done": True, "records": []})
    return 200, {"Content-Type": "application/json;charset=UTF-8"}, page


def serve(mock: responses.RequestsMock) -> None:
    """The org of the fixtures."""
    mock.post(f"{DOMAIN}/services/oauth2/token", json=fixture("token"))
    mock.add_callback(responses.GET, f"{DATA}/queryAll", query_all)
    mock.get(f"{DATA}/queryAll/01gWx0000000001AAA-2", json=fixture("lead_2"))
    for name in FILES:
        mock.get(f"{DATA}/sobjects/{name}/describe", json=fixture(f"describe_{name}"))
    mock.get(f"{DATA}/limits", json=fixture("limits"))
    mock.get(f"{DOMAIN}/services/data", json=fixture("versions"))
    mock.post(f"{DATA}/jobs/query", json=fixture("bulk_job_created"))


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.setenv("SALESFORCE_BASE_URL", DOMAIN)
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", "fixture-client")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "fixture-secret")
    monkeypatch.delenv("SALESFORCE_REFRESH_TOKEN", raising=False)
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        serve(mock)
        yield mock


@pytest.fixture
def pseudonyms(tmp_path: Path) -> Pseudonyms:
    return Pseudonyms(b"fixture", tmp_path / "forgotten.json", ["*+test*"])


def connected(config: Config | None = None) -> Client:
    client = salesforce.connect(config or make_config())
    client._sleep = lambda seconds: None
    return client


def fetch(stream: str, client: Client | None = None, window: Window = WINDOW) -> list[dict[str, Any]]:
    pages = SOURCE.stream(stream).fetch(client or connected(), ACCOUNT, window)
    return [dict(record) for page in pages for record in page.records]


def mapped(stream: str, table: str, records: list[dict[str, Any]], config: Config | None = None) -> pd.DataFrame:
    frame = flattened(records)
    context = MappingContext(config or make_config(), "salesforce", stream, ACCOUNT)
    return SOURCE.stream(stream).feeds[table](frame, context)


def queries(vendor: responses.RequestsMock) -> list[str]:
    asked = [parse_qs(urlsplit(str(call.request.url)).query) for call in vendor.calls]
    return [query["q"][0] for query in asked if "q" in query]


def assert_rows(frame: pd.DataFrame, columns: str, expected: Sequence[Any]) -> None:
    """The frame's `columns` are `expected`, timestamps as text."""
    names = columns.split()
    shown = frame[names].reset_index(drop=True)
    for name in names:
        if name.endswith("_at"):
            stamps = pd.to_datetime(shown[name], utc=True).dt.strftime("%Y-%m-%d %H:%M:%S")
            shown[name] = stamps.astype(object).where(stamps.notna(), None)
    assert_frame_equal(shown, pd.DataFrame(expected, columns=names, dtype=object), check_dtype=False)


# -- leads, stages, identity


def test_leads_of_all_pages_become_rows_with_their_conversion_merge_and_exclusion(
    vendor: responses.RequestsMock, pseudonyms: Pseudonyms
) -> None:
    config = make_config(fields={"region": "Region__c"})
    records = [pseudonyms.apply(r, SOURCE.stream("lead").personal) for r in fetch("lead", connected(config))]
    assert "brightwater.example" in records[0]["Email"]
    assert "Ada" not in json.dumps(records)
    frame = mapped("lead", "lead", records, config)
    columns = (
        "lead_id record_key date_day created_at company country region status lifecycle_stage is_converted is_deleted "
        "converted_opp_id converted_at merged_into excluded_by"
    )
    ada, twin, tester, kofi = (f"salesforce:lead:{id_}" for id_ in (ADA, TWIN, TESTER, KOFI))
    working, new, lead = "Working - Contacted", "Open - Not Contacted", "Brightwater GmbH"
    expected = [
        # 22:30 in London is the next day in Berlin
        [ADA, ada, "2026-10-02", "2026-10-01 22:30:00", lead, "Germany", "EMEA", working, "mql", False, False, None,
         None, None, None],
        [TWIN, twin, "2026-10-01", "2026-10-01 09:00:00", lead, None, "EMEA", new, None, False, True, None,
         None, ada, None],
        [TESTER, tester, "2026-10-02", "2026-10-02 08:00:00", "N/A", "Germany", None, working, "mql", False, False,
         None, None, None, "*+test*"],
        [KOFI, kofi, "2026-10-02", "2026-10-02 07:00:00", 'Harbour & Sons "Ltd"', "Germany", "EMEA",
         "Closed - Converted", "sql", True, False, "006Wx0000000001MAA", "2026-10-04 22:00:00", None, "example.org"],
    ]  # fmt: skip
    assert_rows(frame, columns, expected)


def test_a_half_open_window_of_days_is_asked_for_in_utc_with_deleted_rows_and_in_order(
    vendor: responses.RequestsMock,
) -> None:
    fetch("lead_history")
    count, rows = queries(vendor)
    window = "CreatedDate >= 2026-09-30T22:00:00Z AND CreatedDate < 2026-10-10T22:00:00Z AND Field = 'Status'"
    assert count.removeprefix("SELECT COUNT() FROM ") == f"LeadHistory WHERE {window}"
    assert rows.startswith("SELECT Id, IsDeleted, LeadId,")
    assert rows.endswith(f"Lead.CreatedDate FROM LeadHistory WHERE {window} ORDER BY CreatedDate, Id")


def test_days_of_which_salesforce_may_have_dropped_the_history_are_not_called_whole(
    vendor: responses.RequestsMock,
) -> None:
    today = datetime.now(UTC).date()
    window = Window.of_days(today - timedelta(days=732), today - timedelta(days=728), ZoneInfo("Europe/Berlin"))
    pages = SOURCE.stream("lead_history").fetch(connected(), ACCOUNT, window)
    doubted = {day for page in pages for day in page.doubts}
    assert doubted == {f"{today - timedelta(days=n)}" for n in (732, 731, 730)}


def stage_entries(*frames: pd.DataFrame) -> list[tuple[str, str, str]]:
    """What stands when the newest version of each key wins: lead, entered at, stage."""
    key, version = list(tables.stage_event.info["key"]), tables.stage_event.info["version"]
    rows = pd.concat(frames).sort_values(version, kind="stable", na_position="first").drop_duplicates(key, keep="last")
    rows = rows[~rows["is_deleted"].astype(bool)]
    stamps = pd.to_datetime(rows["entered_at"], utc=True).dt.strftime("%m-%d %H:%M")
    return sorted(zip(rows["object_id"], stamps, rows["to_stage"], strict=True))


def test_a_lead_entered_a_stage_at_its_creation_unless_history_says_it_came_to_it_later(
    vendor: responses.RequestsMock,
) -> None:
    created = mapped("lead", "stage_event", fetch("lead"))
    changed = mapped("lead_history", "stage_event", fetch("lead_history"))
    expected = [
        (ADA, "10-01 22:30", "mql"),  # still has the status that she was created with
        (KOFI, "10-03 09:15", "mql"),
        (KOFI, "10-04 22:00", "sql"),  # the start of the 5th in Berlin
        (TESTER, "10-04 12:00", "mql"),  # has it now, but came to it later
    ]
    assert stage_entries(created, changed) == stage_entries(changed, created) == expected
    assert (TESTER, "10-02 08:00", "mql") in stage_entries(created)  # all that is known without the history


def change(day: int, old: str | None, new: str | None, created: str = "2026-10-01T09:00:00.000+0000") -> dict[str, Any]:
    return {
        "Id": f"h{day}", "LeadId": ADA, "Field": "Status", "OldValue": old, "NewValue": new,
        "CreatedDate": f"2026-10-{day:02}T09:00:00.000+0000", "Lead": {"CreatedDate": created},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        # created with it and left it: only the change away tells
        ([change(3, "Working - Contacted", "Closed - Not Converted")], ["10-01 09:00"]),
        # came to it and left it: the change away does not bring the creation back, in whichever order they are read
        ([change(4, "Working - Contacted", "New"), change(3, "New", "Working - Contacted")], ["10-03 09:00"]),
        # created with it, left it and came back: the first change is the one that tells
        ([change(5, "New", "Working - Contacted"), change(3, "Working - Contacted", "New")],
         ["10-01 09:00", "10-05 09:00"]),
        # came to it and left it within a second: one slice, and what disproves is read last
        ([change(3, "New", "Working - Contacted"), change(3, "Working - Contacted", "New")], ["10-03 09:00"]),
        # from one word for the stage to another is no entry, and disproves nothing
        ([change(3, "Working - Contacted", "Nurturing")], ["10-01 09:00"]),
        # in the second of the creation: that is the creation
        ([change(1, "New", "Working - Contacted")], ["10-01 09:00"]),
        ([change(1, "Working - Contacted", "New")], ["10-01 09:00"]),
        ([change(3, None, "Working - Contacted", created="")], ["10-03 09:00"]),
        ([change(3, "New", "Closed - Not Converted")], []),
    ],
)  # fmt: skip
def test_history_alone_tells_the_stage_at_creation(changes: list[dict[str, Any]], expected: list[str]) -> None:
    config = make_config(stages=Stages(salesforce={"Working - Contacted": "mql", "Nurturing": "mql"}))
    entries = stage_entries(mapped("lead_history", "stage_event", changes, config))
    assert entries == [(ADA, at, "mql") for at in expected]


def test_people_are_linked_by_email_conversion_and_merge_and_a_lost_email_takes_its_link_back(
    vendor: responses.RequestsMock, pseudonyms: Pseudonyms
) -> None:
    leads = [pseudonyms.apply(r, ("Email",)) for r in fetch("lead")]
    contacts = [pseudonyms.apply(r, ("Email",)) for r in fetch("contact")]
    email = {str(r["Id"]): "email:" + str(r["Email"])[3:].partition("@")[0] for r in leads}
    frame = pd.concat([mapped("lead", "identity_link", leads), mapped("contact", "identity_link", contacts)])
    lead, contact = "salesforce:lead:", "salesforce:contact:"
    one, two = f"{contact}003Wx0000000001MAA", f"{contact}003Wx0000000002MAA"
    expected = [
        [f"{lead}{ADA}", email[ADA], "email", False],
        [f"{lead}{TWIN}", email[TWIN], "email", False],
        [f"{lead}{TESTER}", email[TESTER], "email", False],
        [f"{lead}{KOFI}", email[KOFI], "email", False],
        [f"{lead}{TWIN}", f"{lead}{ADA}", "merge", False],
        [f"{lead}{KOFI}", one, "conversion", False],
        [one, email[KOFI], "email", False],
        [two, one, "merge", False],
    ]
    assert_rows(frame, "from_key to_key rule is_deleted", expected)


# -- everything else


def test_opportunities_keep_exact_amounts_and_their_own_currency(vendor: responses.RequestsMock) -> None:
    frame = mapped("opportunity", "opportunity", fetch("opportunity"))
    columns = "opp_id date_day close_date opp_type stage amount currency is_won is_closed is_deleted campaign_id"
    one, two, three = (f"006Wx000000000{n}MAA" for n in (1, 2, 3))
    expected = [
        [one, "2026-10-05", "2026-10-09", "New Business", "Closed Won", "22700.55", "GBP", True, True, False,
         "701Wx0000000001MAA"],
        [two, "2026-10-07", "2026-12-31", "Renewal", "Prospecting", "10000000.0", "EUR", False, False, False, None],
        [three, "2026-10-07", "2026-12-31", "New Business", "Prospecting", None, "GBP", False, False, True, None],
    ]  # fmt: skip
    assert_rows(frame, columns, expected)


def test_an_org_with_one_currency_is_not_asked_for_it_and_has_the_configured_one_or_none(
    vendor: responses.RequestsMock,
) -> None:
    described = fixture("describe_Opportunity")
    described["fields"] = [field for field in described["fields"] if field["name"] != "CurrencyIsoCode"]
    vendor.replace(responses.GET, f"{DATA}/sobjects/Opportunity/describe", json=described)
    client = connected()
    fetch("opportunity", client)
    assert "CurrencyIsoCode" not in queries(vendor)[-1]
    record = {"Id": "006", "Amount": 5, "IsDeleted": False, "IsClosed": False, "IsWon": False}
    configured = make_config(options={"currency": "CHF"})
    assert mapped("opportunity", "opportunity", [record], configured)["currency"].tolist() == ["CHF"]
    assert mapped("opportunity", "opportunity", [record])["currency"].tolist() == [None]
    findings = {finding.what: finding for finding in salesforce.probe(client, make_config())}
    finding = findings["Salesforce: a single-currency org, amounts are in an unknown currency"]
    assert finding.fix.startswith("set sources.salesforce.options.currency")


@pytest.mark.parametrize("missing", ["IsClosed", "IsWon"])
def test_opportunities_of_which_none_says_whether_it_is_won_are_no_open_ones(missing: str) -> None:
    flags = {name: True for name in ("IsClosed", "IsWon") if name != missing}
    with pytest.raises(KeyError, match=missing):
        mapped("opportunity", "opportunity", [{"Id": "006", "Amount": 5, "IsDeleted": False, **flags}])


@pytest.mark.parametrize(
    ("stream", "table", "columns", "expected"),
    [
        (
            "account",
            "account",
            "account_id name domain industry country segment is_deleted date_day",
            [["001Wx0000000001MAA", 'Harbour & Sons "Ltd"', "harbour.example", "Shipping", "United Kingdom", "Prospect",
              False, "2026-10-05"]],
        ),
        (
            "opportunity_history",
            "stage_event",
            "object object_id entered_at to_stage vendor_stage date_day is_deleted",
            [
                ["opportunity", "006Wx0000000001MAA", "2026-10-05 15:20:10", "Prospecting", "Prospecting",
                 "2026-10-05", False],
                ["opportunity", "006Wx0000000001MAA", "2026-10-09 10:00:00", "Closed Won", "Closed Won",
                 "2026-10-09", False],
            ],
        ),
        (
            "opportunity_contact_role",
            "opp_contact_role",
            "role_id opp_id contact_id role is_primary is_deleted created_at",
            [["00KWx0000000001MAA", "006Wx0000000001MAA", "003Wx0000000001MAA", "Decision Maker", True, False,
              "2026-10-05 15:20:10"]],
        ),
        (
            "campaign",
            "campaign",
            "campaign_id account_id name status campaign_type channel is_deleted",
            [
                ["701Wx0000000001MAA", ACCOUNT.id, "Webinar: <b>ports</b>", "In Progress", "Webinar", "events", False],
                ["701Wx0000000002MAA", ACCOUNT.id, "Skywriting", "Planned", "Other", "unknown", False],
            ],
        ),
    ],
)  # fmt: skip
def test_records_become_rows(
    vendor: responses.RequestsMock, stream: str, table: str, columns: str, expected: list[list[Any]]
) -> None:
    assert_rows(mapped(stream, table, fetch(stream)), columns, expected)


TOUCHES = [
    ["1", f"salesforce:lead:{ADA}", "2026-10-03 22:00:00", "2026-10-04", "events", False],
    ["2", "salesforce:contact:003Wx0000000001MAA", "2026-10-03 22:00:00", "2026-10-04", "events", False],
    ["3", "salesforce:contact:003Wx0000000001MAA", "2026-10-02 10:00:00", "2026-10-02", "unknown", False],
    ["5", f"salesforce:lead:{TESTER}", "2026-10-03 22:00:00", "2026-10-04", "events", True],  # no longer responded
    ["6", f"salesforce:lead:{KOFI}", "2026-10-03 22:00:00", "2026-10-04", "unknown", True],
]


def assert_touches(records: list[dict[str, Any]]) -> None:
    expected = [[f"salesforce:campaign_member:00vWx000000000{n}MAA", *rest] for n, *rest in TOUCHES]
    frame = mapped("campaign_member", "touchpoint", records)
    assert_rows(frame, "touch_id record_key touched_at date_day channel is_deleted", expected)


def test_only_campaign_members_who_responded_are_touches(vendor: responses.RequestsMock) -> None:
    assert_touches(fetch("campaign_member"))


@pytest.mark.parametrize(
    ("zone", "starts"),
    [
        ("America/New_York", ["2026-10-05 14:30:00", "2026-10-01 04:00:00"]),
        ("Asia/Tokyo", ["2026-10-05 14:30:00", "2026-09-30 15:00:00"]),
    ],
)
def test_a_day_of_the_org_is_that_day_in_every_time_zone_and_nothing_happens_before_its_record_exists(
    zone: str, starts: list[str]
) -> None:
    lead = {
        "Id": ADA, "IsDeleted": False, "MasterRecordId": None, "Email": None, "Status": "Closed - Converted",
        "CreatedDate": "2026-10-05T14:30:00.000+0000", "SystemModstamp": "2026-10-05T18:00:00.000+0000",
        "IsConverted": True, "ConvertedDate": "2026-10-05", "ConvertedContactId": "003",
    }  # fmt: skip
    member = {
        "Id": "00v1", "IsDeleted": False, "CampaignId": "701", "LeadId": ADA, "ContactId": None,
        "CreatedDate": "2026-09-20T10:00:00.000+0000", "SystemModstamp": "2026-10-01T10:00:00.000+0000",
        "HasResponded": True, "FirstRespondedDate": "2026-10-01", "Campaign": {"Type": "Webinar", "Name": "w"},
    }  # fmt: skip
    config = make_config(zone)
    stages = mapped("lead", "stage_event", [lead], config)
    touches = mapped("campaign_member", "touchpoint", [member], config)
    assert stages["date_day"].tolist() == ["2026-10-05"]
    assert touches["date_day"].tolist() == ["2026-10-01"]
    found = [*stages["entered_at"], *touches["touched_at"], *mapped("lead", "lead", [lead], config)["converted_at"]]
    assert [f"{stamp:%Y-%m-%d %H:%M:%S}" for stamp in found] == [*starts, starts[0]]


def test_the_day_on_which_clocks_go_forward_at_midnight_begins_an_hour_later() -> None:
    days = pd.Series(["2026-09-06", "someday", None], dtype=object)  # Chile, where this midnight does not exist
    created = pd.Series(["2026-01-01T00:00:00Z"] * 3, dtype=object)
    found = start_of_day(days, ZoneInfo("America/Santiago"), created)
    assert found.tolist() == [pd.Timestamp("2026-09-06T04:00Z"), "someday", None]


# -- bulk


def serve_job(vendor: responses.RequestsMock, rows: int = 2, **complete: Any) -> None:
    path = f"{DATA}/jobs/query/750Wx0000000001AAA"
    vendor.get(path, json=fixture("bulk_job_running"))
    vendor.get(path, json=fixture("bulk_job_complete") | complete)
    for number, (locator, count) in enumerate((("MjAwMDAw", "4"), ("null", str(rows))), 1):
        headers = {"Sforce-Locator": locator, "Sforce-NumberOfRecords": count}
        body = text(f"bulk_campaign_member_{number}.csv")
        vendor.get(f"{path}/results", body, content_type="text/csv; charset=UTF-8", headers=headers)


def test_many_rows_come_by_a_bulk_job_and_mean_the_same(vendor: responses.RequestsMock) -> None:
    serve_job(vendor)
    records = fetch("campaign_member", connected(make_config(options={"bulk_threshold": "5"})))
    assert_touches(records)
    assert records[2]["Status"] == "N/A"
    created, *_, last = [call.request for call in vendor.calls if "/jobs/query" in str(call.request.url)]
    job = json.loads(created.body or b"")
    assert job["operation"] == "queryAll"
    assert "ORDER BY" not in job["query"]
    assert parse_qs(urlsplit(str(last.url)).query)["locator"] == ["MjAwMDAw"]
    assert last.headers["Accept"] == "text/csv"


@pytest.mark.parametrize(
    ("rows", "complete", "error", "message"),
    [
        (3, {}, TransientError, "3 rows announced, 2 received"),
        (2, {"numberRecordsProcessed": 7}, TransientError, "processed 7 rows, 6 received"),
        (2, {"state": "Failed", "errorMessage": "QUERY_TIMEOUT"}, SplitError, "the job failed"),
        (2, {"state": "Failed", "errorMessage": "InternalServerError : Retried more than 15 times"}, SplitError, "15"),
        (2, {"state": "Failed"}, SplitError, "no reason given"),
        (
            2,
            {"state": "Failed", "errorMessage": "InvalidBatch : Field name not found"},
            PermanentError,
            "the job failed: InvalidBatch : Field name not found",
        ),
        (2, {"state": "Failed", "errorMessage": "REQUEST_LIMIT_EXCEEDED: TotalRequests"}, QuotaError, "wait until"),
        (2, {"state": "Aborted"}, TransientError, "aborted"),
        (2, {"state": "InProgress"}, TransientError, "not complete after 3600 s"),
    ],
)
def test_a_bulk_job_that_does_not_give_all_its_rows_is_an_error(
    vendor: responses.RequestsMock, rows: int, complete: dict[str, Any], error: type[Exception], message: str
) -> None:
    serve_job(vendor, rows, **complete)
    client = connected(make_config(options={"bulk_threshold": "5"}))
    slept: list[float] = []
    client._sleep = slept.append
    with pytest.raises(error, match=message):
        fetch("campaign_member", client)
    assert sum(slept) < BULK_DEADLINE + 31


# -- what goes wrong


def test_rows_that_do_not_add_up_and_cursors_that_repeat_are_errors(vendor: responses.RequestsMock) -> None:
    second = f"{DATA}/queryAll/01gWx0000000001AAA-2"
    vendor.replace(responses.GET, second, json=fixture("lead_2") | {"records": fixture("lead_2")["records"][:1]})
    with pytest.raises(TransientError, match="4 rows announced, 3 received"):
        fetch("lead")
    vendor.replace(responses.GET, second, json=fixture("lead_1"))
    with pytest.raises(TransientError, match="cursor repeats"):
        fetch("lead")
    vendor.replace(responses.GET, second, json={"unexpected": True})
    with pytest.raises(TransientError, match="no totalSize and records in the answer"):
        fetch("lead")


def test_an_object_without_changes_is_not_described_nor_read(vendor: responses.RequestsMock) -> None:
    vendor.replace(responses.GET, f"{DATA}/queryAll", json={"totalSize": 0, "done": True, "records": []})
    assert fetch("lead") == []
    assert len(vendor.calls) == 2


def test_a_field_that_matters_and_is_hidden_is_named(vendor: responses.RequestsMock) -> None:
    described = fixture("describe_Lead")
    described["fields"] = [f for f in described["fields"] if f["name"] not in ("Email", "Country")]
    vendor.replace(responses.GET, f"{DATA}/sobjects/Lead/describe", json=described)
    with pytest.raises(AuthError, match="Lead: Email not visible"):
        fetch("lead")


def error(status: int, code: str = "", message: str = "", **headers: str) -> tuple[int, dict[str, str], bytes]:
    body = json.dumps([{"message": message, "errorCode": code}]) if code else message
    return status, headers, body.encode()


JSON = {"Content-Type": "application/json"}
IN_AN_HOUR = NOW + timedelta(hours=1)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((200, JSON, b'{"totalSize":0}'), Ok()),
        ((200, JSON, b'[{"version":"67.0"}]'), Ok()),
        ((204, {}, b""), Ok()),
        ((200, {"Content-Type": "text/csv; charset=UTF-8"}, b'"Id"\n'), Ok()),
        ((200, JSON, b'{"totalSize":2,"records":[{"Id"'), Wait(5, "not an answer of the API, or cut off")),
        ((200, {"Content-Type": "text/html"}, b"<html>Down for maintenance"),
         Wait(5, "not an answer of the API, or cut off")),
        (error(200, "UNKNOWN_EXCEPTION", "An unexpected error occurred."), Wait(5, "UNKNOWN_EXCEPTION")),
        (error(401, "INVALID_SESSION_ID", "Session expired or invalid"), Reauth("INVALID_SESSION_ID")),
        (error(401, message="<html>"), Reauth("INVALID_SESSION_ID")),
        (error(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
         Stop(IN_AN_HOUR, "REQUEST_LIMIT_EXCEEDED")),
        (error(403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."),
         Wait(30, "too many long requests at once")),
        (error(400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs has been reached"),
         Stop(IN_AN_HOUR, "LIMIT_EXCEEDED")),
        (error(403, "INSUFFICIENT_ACCESS", "insufficient access rights"), Fatal("INSUFFICIENT_ACCESS", auth=True)),
        (error(403, "API_DISABLED_FOR_ORG", "API is not enabled for this Organization or Partner"),
         Fatal("API_DISABLED_FOR_ORG", auth=True)),
        (error(503, "SERVER_UNAVAILABLE", "busy", **{"Retry-After": "12"}), Wait(12, "SERVER_UNAVAILABLE")),
        (error(500, message="<html>"), Wait(5, "server error")),
        (error(420, message="no routing information"), Wait(5, "server error")),
        (error(406, message=""), Wait(5, "server error")),
        (error(429, message="", **{"Retry-After": "40"}), Wait(40, "server error")),
        (error(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access"), Wait(5, "UNABLE_TO_LOCK_ROW")),
        (error(400, "QUERY_TIMEOUT", "Your query request was running for too long."), Split("QUERY_TIMEOUT")),
        (error(400, "OPERATION_TOO_LARGE", "exceeded 100000 distinct ids"), Split("OPERATION_TOO_LARGE")),
        (error(400, "INVALID_QUERY_LOCATOR", "invalid query locator"), Split("INVALID_QUERY_LOCATOR")),
        (error(414, message="<h1>Bad Message 414</h1>"), Fatal("the query is too long: map fewer custom fields")),
        (error(431, message="<h1>Bad Message 431</h1>"), Fatal("the query is too long: map fewer custom fields")),
        (error(400, "INVALID_FIELD", "\nId, Regoin__c FROM Lead\n    ^\nERROR at Row:1:Column:12\nNo such column "
               "'Regoin__c' on entity 'Lead'. If you are attempting to use a custom field, be sure"),
         Fatal("INVALID_FIELD: No such column 'Regoin__c' on entity 'Lead'")),
        (error(400, "INVALID_TYPE", "\nsObject type 'Leed' is not supported."),
         Fatal("INVALID_TYPE: sObject type 'Leed'")),
        (error(400, "MALFORMED_QUERY", "\nSELECT Id Name FROM\n ^\nunexpected token: 'FROM'"),
         Fatal("MALFORMED_QUERY: unexpected token: 'FROM'")),
        (error(404, "NOT_FOUND", "The requested resource does not exist"), Fatal("NOT_FOUND")),
        (error(410, "GONE", "retired"),
         Fatal("this API version is retired: set sources.salesforce.options.api_version")),
        (error(302, message=""), Fatal("redirected: set SALESFORCE_BASE_URL to your My Domain URL")),
    ],
)  # fmt: skip
@time_machine.travel(NOW, tick=False)
def test_every_answer_is_classified(answer: tuple[int, dict[str, str], bytes], expected: Outcome) -> None:
    response = requests.Response()
    response.status_code, headers, response._content = answer
    response.headers.update(headers)
    assert classify(response) == expected


# -- login, accounts, doctor


def test_the_refresh_token_is_used_where_there_is_one(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    connected()
    monkeypatch.setenv("SALESFORCE_REFRESH_TOKEN", "fixture-refresh")
    client = connected()
    first, second = (parse_qs(str(call.request.body)) for call in vendor.calls)
    assert first["grant_type"] == ["client_credentials"]
    assert (second["grant_type"], second["refresh_token"]) == (["refresh_token"], ["fixture-refresh"])
    assert salesforce.accounts(client, make_config(accounts=["00DWx0000000001"])).read[0].id == "00DWx0000000001MAA"


def test_the_org_of_the_credentials_must_be_the_configured_one(vendor: responses.RequestsMock) -> None:
    with pytest.raises(ConfigError, match="belong to 00DWx0000000001MAA, not to 00DWx0000000009"):
        salesforce.accounts(connected(), make_config(accounts=["00DWx0000000009"]))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"api_version": "v67"}, "'v67' is not a version"), ({"bulk_threshold": "many"}, "'many' is not a number")],
)
def test_a_malformed_option_is_named(vendor: responses.RequestsMock, options: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connected(make_config(options=options))


def test_a_refused_or_missing_login_says_so_without_its_secrets(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"{DOMAIN}/services/oauth2/token"
    vendor.replace(responses.POST, token, json={"error": "invalid_client"}, status=400)
    with pytest.raises(AuthError, match="invalid_client") as refused:
        connected()
    assert "fixture-secret" not in str(refused.value)
    downgraded = fixture("token") | {"instance_url": DOMAIN.replace("https", "http")}
    vendor.replace(responses.POST, token, json=downgraded)
    with pytest.raises(PermanentError, match="refused to go on"):
        connected()
    monkeypatch.delenv("SALESFORCE_BASE_URL")
    with pytest.raises(AuthError, match="SALESFORCE_BASE_URL is not set"):
        connected()


@pytest.mark.parametrize(
    ("host", "is_theirs"),
    [
        ("brightwater.my.salesforce.com", True),
        ("na139.salesforce.com", True),
        ("brightwater--uat.sandbox.my.salesforce.com", True),
        ("agency.my.salesforce.mil", True),
        ("brightwater.my.sfcrmproducts.cn", True),
        ("evilsalesforce.com", False),
        ("brightwater.my.salesforce.com.evil.example", False),
        ("me@evil.example", False),
        ("brightwater.my.salesforce.com@evil.example", False),
        ("brightwater.my.salesforce.com:8443", False),
        ("127.0.0.1", False),
        ("", False),
    ],
)
def test_only_a_host_of_salesforce_gets_the_token(host: str, is_theirs: bool, vendor: responses.RequestsMock) -> None:
    answer = fixture("token") | {"instance_url": f"https://{host}"}
    vendor.replace(responses.POST, f"{DOMAIN}/services/oauth2/token", json=answer)
    if is_theirs:
        assert connected().session.base_url == f"https://{host}"
    else:
        with pytest.raises(PermanentError, match="refused to go on"):
            connected()
    assert [call.request.url for call in vendor.calls] == [f"{DOMAIN}/services/oauth2/token"]


def test_doctor_finds_nothing_wrong_with_the_org_of_the_fixtures(vendor: responses.RequestsMock) -> None:
    config = make_config(fields={"region": "Region__c", "owner": "Owner.Name"})
    findings = salesforce.probe(connected(config), config)
    assert [finding for finding in findings if not finding.ok] == []
    assert "Salesforce org 00DWx0000000001MAA: 114201 of 115000 API calls left today" in findings[0].what


def test_a_dimension_is_asked_for_and_one_that_the_org_does_not_have_is_a_warning(
    vendor: responses.RequestsMock,
) -> None:
    own = Dimensions(lead=["territory", "size"], opportunity=["territory", "tier"])
    config = make_config(fields={"territory": "region__C"}).model_copy(update={"dimensions": own})
    client = connected(config)
    assert "Region__c" in client.selection(salesforce.LEAD)  # as the org spells it, which is how its answers do
    findings = salesforce.probe(client, config)
    assert all(finding.ok for finding in findings)
    assert [finding.what for finding in findings if finding.warning] == [
        "Salesforce Lead has no field size: the dimension size stays empty there",
        "Salesforce Opportunity has no field tier: the dimension tier stays empty there",
    ]


def test_doctor_names_each_thing_that_is_wrong_and_goes_on(vendor: responses.RequestsMock) -> None:
    config = make_config(fields={"region": "Regoin__c", "nickname": "Name"}, options={"api_version": "68.0"})
    client = connected(config)
    client.version = "67.0"  # what the fixtures serve
    limits = {"DailyApiRequests": {"Max": 15000, "Remaining": 40}}
    vendor.replace(responses.GET, f"{DATA}/limits", json=limits)
    vendor.replace(responses.GET, f"{DOMAIN}/services/data", json=fixture("versions")[:1])
    described = fixture("describe_Lead")
    status = next(field for field in described["fields"] if field["name"] == "Status")
    status["picklistValues"] = status["picklistValues"][:1]
    vendor.replace(responses.GET, f"{DATA}/sobjects/Lead/describe", json=described)
    refused = [{"errorCode": "INSUFFICIENT_ACCESS", "message": "insufficient access rights"}]
    vendor.replace(responses.GET, f"{DATA}/sobjects/Campaign/describe", json=refused, status=403)
    bad = {finding.what: finding.fix for finding in salesforce.probe(client, config) if not finding.ok}
    assert len(bad) == 6
    for what, fix in {
        "40 of 15000 API calls left": "wait",
        "the org serves 66.0 to 66.0": "api_version",
        "sobjects/Campaign/describe: status 403, INSUFFICIENT_ACCESS": "read access to Campaign",
        "fields.region: Regoin__c: no such field": "Lead or Opportunity",
        "fields.nickname: Name: no column": "use one of",
        "Lead.Status has no value 'Working - Contacted'": "Open - Not Contacted",
    }.items():
        assert [line for name, line in bad.items() if what in name and fix in line], (what, bad)


REFUSED = {
    "not allowed": (403, "INSUFFICIENT_ACCESS", "insufficient access rights"),
    "not there for this user": (400, "INVALID_TYPE", "sObject type 'CampaignMember' is not supported."),
}


def refuse(vendor: responses.RequestsMock, answer: tuple[int, str, str], *objects: str) -> None:
    """Queries of `objects` are refused, and their descriptions; the rest is as before."""
    status, code, message = answer
    refused = json.dumps([{"errorCode": code, "message": message}])

    def some(request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        soql = parse_qs(urlsplit(str(request.url)).query)["q"][0]
        is_refused = re.findall(r"FROM (\w+)", soql)[0] in objects
        return (status, {"Content-Type": "application/json"}, refused) if is_refused else query_all(request)

    vendor.remove(responses.GET, f"{DATA}/queryAll")
    vendor.add_callback(responses.GET, f"{DATA}/queryAll", some)
    for name in objects:
        vendor.replace(responses.GET, f"{DATA}/sobjects/{name}/describe", body=refused, status=status)


@pytest.mark.parametrize("answer", REFUSED.values(), ids=REFUSED)
def test_an_object_that_may_not_be_listed_is_not_swept_stops_no_other_and_doctor_says_so(
    answer: tuple[int, str, str], vendor: responses.RequestsMock
) -> None:
    swept = {object_ for _, object_ in salesforce.SWEPT.values()}
    assert {record["object"] for record in fetch("present")} == swept
    refuse(vendor, answer, "CampaignMember")
    assert {record["object"] for record in fetch("present")} == swept - {"campaign_member"}
    bad = {finding.what: finding.fix for finding in salesforce.probe(connected(), make_config()) if not finding.ok}
    ((what, fix),) = bad.items()
    assert f"status {answer[0]}, {answer[1]}" in what
    assert "read access to CampaignMember" in fix


def test_a_sweep_of_which_every_object_is_refused_fails(vendor: responses.RequestsMock) -> None:
    refuse(vendor, REFUSED["not allowed"], *(sobject.name for sobject, _ in salesforce.SWEPT.values()))
    with pytest.raises(AuthError, match="INSUFFICIENT_ACCESS"):
        fetch("present")


def test_a_list_of_ids_that_breaks_off_sweeps_nothing(vendor: responses.RequestsMock) -> None:
    cut = fixture("lead_2") | {"records": [], "done": True}
    vendor.replace(responses.GET, f"{DATA}/queryAll/01gWx0000000001AAA-2", json=cut)
    with pytest.raises(TransientError, match="rows announced"):
        fetch("present")


# -- the sandbox

UNTIL = date(2026, 10, 31)


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    world = make_world(tmp_path_factory.mktemp("world") / "world.sqlite", until=UNTIL, days=60, leads=400)
    with running(world) as url:
        yield world, url


@pytest.fixture
def org(sandbox: tuple[Any, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.setenv("SALESFORCE_BASE_URL", f"{sandbox[1]}/salesforce")
    monkeypatch.setenv("SALESFORCE_CLIENT_ID", "sandbox-client")
    monkeypatch.setenv("SALESFORCE_CLIENT_SECRET", "sandbox-secret")
    monkeypatch.setenv("SALESFORCE_REFRESH_TOKEN", "sandbox-refresh")
    return sandbox[0]


MONTHS = Window.of_days(date(2026, 8, 1), date(2026, 11, 1), ZoneInfo("UTC"))


def frames(stream: Stream, client: Client, config: Config, pseudonyms: Pseudonyms) -> dict[str, pd.DataFrame]:
    records = [pseudonyms.apply(r, stream.personal) for r in fetch(stream.name, client, MONTHS)]
    assert records
    return {table: mapped(stream.name, table, records, config) for table in stream.feeds}


def test_the_sandbox_s_org_gives_rows_that_keep_every_contract_and_the_same_ones_by_rest_and_by_bulk(
    org: Any, pseudonyms: Pseudonyms
) -> None:
    fields = {"region": "Region__c"}
    configs = [make_config(fields=fields), make_config(fields=fields, options={"bulk_threshold": "0"})]
    clients = [connected(config) for config in configs]
    for stream in SOURCE.streams:
        rest, bulk = (
            frames(stream, client, config, pseudonyms) for client, config in zip(clients, configs, strict=True)
        )
        for name in stream.feeds:
            table = tables.metadata.tables[name]
            by_rest, by_bulk = enforce(table, rest[name]), enforce(table, bulk[name])
            assert by_rest.rejects.empty, (stream.name, name, by_rest.rejects)
            key = list(table.info["key"])
            one, other = (
                found.rows.sort_values(key, ignore_index=True).drop(columns="swept_at", errors="ignore")  # its own time
                for found in (by_rest, by_bulk)
            )
            assert_frame_equal(one, other)
    assert [finding for finding in salesforce.probe(clients[0], configs[0]) if not finding.ok] == []


READ_LEADS = """
from b2b_pipeline_tests.connectors.test_salesforce import MONTHS, connected, fetch, make_config
fetch("lead", connected(make_config(options={"bulk_threshold": "0"})), MONTHS)
"""


def orders(client: Client) -> dict[str, str]:
    """The sandbox's query jobs, by id: how each is."""
    return {job["id"]: job["state"] for job in client.get("jobs/query").json()["records"]}


def test_a_read_that_is_killed_while_its_bulk_job_runs_leaves_the_job_to_the_next_one(org: Any, tmp_path: Path) -> None:
    client = connected(make_config(options={"bulk_threshold": "0"}))
    before = orders(client)
    add_fault(org, "salesforce", "withhold", path_contains="/jobs/query/750")
    with subprocess.Popen([sys.executable, "-c", READ_LEADS]) as child:
        try:
            while not list(tmp_path.glob("jobs/salesforce/*.json")):
                assert child.poll() is None
                time.sleep(0.05)
        finally:
            child.kill()
    clear_faults(org)
    [job] = orders(client).keys() - before.keys()
    by_bulk = fetch("lead", client, MONTHS)
    assert {**orders(client), **before} == {**before, job: "JobComplete"}
    assert not list(tmp_path.glob("jobs/salesforce/*.json"))
    assert sorted(record["Id"] for record in by_bulk) == sorted(record["Id"] for record in fetch("lead", None, MONTHS))


def test_a_bulk_job_that_the_org_has_deleted_is_ordered_anew(org: Any, tmp_path: Path) -> None:
    client = connected(make_config(options={"bulk_threshold": "0"}))

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    before, client._sleep = orders(client), interrupted
    with pytest.raises(KeyboardInterrupt):
        fetch("account", client, MONTHS)
    client._sleep = lambda seconds: None
    [first] = orders(client).keys() - before.keys()
    aborted = requests.patch(  # one that runs cannot be deleted
        f"{client.session.base_url}/services/data/v{client.version}/jobs/query/{first}",
        json={"state": "Aborted"}, headers=dict(client.session._auth.headers()), timeout=30,
    )  # fmt: skip
    assert aborted.ok
    client.session.delete(f"services/data/v{client.version}/jobs/query/{first}")
    assert len(fetch("account", client, MONTHS)) == len(fetch("account", None, MONTHS))
    [second] = orders(client).keys() - before.keys()
    assert second != first


def test_a_sweep_never_takes_up_a_list_from_before_it_began(org: Any, tmp_path: Path) -> None:
    client = connected(make_config(options={"bulk_threshold": "0"}))

    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    client._sleep = interrupted
    with pytest.raises(KeyboardInterrupt):
        fetch("present", client, MONTHS)
    assert not list(tmp_path.glob("jobs/salesforce/*.json"))


def test_an_expired_session_is_renewed_and_a_used_up_quota_stops(org: Any) -> None:
    client = connected()
    client.session._sleep = lambda seconds: None
    whole = fetch("campaign", client, MONTHS)
    for kind in ("expire_token", "error_in_200", "html_page", "cut_body"):
        add_fault(org, "salesforce", kind)
        assert fetch("campaign", client, MONTHS) == whole
    add_fault(org, "salesforce", "throttle", daily=True)
    with pytest.raises(QuotaError, match="REQUEST_LIMIT_EXCEEDED"):
        fetch("campaign", client, MONTHS)
