"""The HubSpot connector against answers as HubSpot words them, and against the sandbox."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
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

from b2b_pipeline.configuration.config import Config, Dimensions, Exclude, SourceConfig
from b2b_pipeline.connectors.base import Account, MappingContext, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Split, Stop, Wait
from b2b_pipeline.connectors.hubspot import source as hubspot
from b2b_pipeline.connectors.hubspot.source import SOURCE, classify
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, SkippedError, TransientError
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import metadata
from b2b_sandbox import hubspot_forms
from b2b_sandbox.faults import add_fault
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import SCHEMA, World

FIXTURES = Path(__file__).parents[1] / "fixtures" / "hubspot"
API = "https://api.hubapi.com"
CONTACTS, DEALS, COMPANIES = (f"{API}/crm/objects/2026-03/{name}" for name in ("contacts", "deals", "companies"))
ROLES = f"{API}/crm/associations/2026-03/deals/contacts/batch/read"
EMAILS, EVENTS = f"{API}/marketing/emails/2026-03", f"{API}/email/public/v1/events"
FORMS, CAMPAIGNS = f"{API}/marketing/v3/forms", f"{API}/marketing/campaigns/2026-03"
SUBMISSIONS = f"{API}/form-integrations/v1/submissions/forms"
ACCOUNT = Account("2519445", "app-eu1.hubspot.com", "EUR")
BERLIN = ZoneInfo("Europe/Berlin")
WINDOW = Window.of_days(date(2026, 10, 2), date(2026, 10, 3), BERLIN)
SINCE, UNTIL = 1_790_892_000_000, 1_790_978_400_000  # the same day in milliseconds
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)


def fixture(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((FIXTURES / f"{name}.json").read_text(encoding="utf-8"))
    return body


def make_config(**source: Any) -> Config:
    return Config.model_construct(
        start_date=date(2026, 10, 1),
        system_of_record="hubspot",
        timezone="Europe/Berlin",
        sources={"hubspot": SourceConfig(**source)},
    )


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name in ("BASE_URL", "CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.delenv(f"HUBSPOT_{name}", raising=False)
    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", "fixture-private-app-token")
    with responses.RequestsMock() as mock:
        yield mock


def serve_contacts(vendor: responses.RequestsMock) -> None:
    for page in ("1", "2"):
        vendor.post(f"{CONTACTS}/search", json=fixture(f"contacts_search_{page}"))
        vendor.get(CONTACTS, json=fixture(f"contacts_archived_{page}"))
    vendor.post(f"{CONTACTS}/batch/read", json=fixture("contacts_read_1"))
    vendor.post(f"{CONTACTS}/batch/read", json=fixture("contacts_read_2"), status=207)


def serve_deals(vendor: responses.RequestsMock) -> None:
    vendor.post(f"{DEALS}/search", json=fixture("deals_search"))
    vendor.post(f"{DEALS}/batch/read", json=fixture("deals_read"))
    vendor.post(ROLES, json=fixture("deals_contacts_1"), status=207)
    vendor.post(ROLES, json=fixture("deals_contacts_2"))
    vendor.get(DEALS, json=fixture("deals_archived"))


def serve_emails(vendor: responses.RequestsMock) -> None:
    for name in ("emails_with_stats", "emails_all", "no_emails", "no_emails"):
        vendor.get(EMAILS, json=fixture(name))


def serve_events(vendor: responses.RequestsMock) -> None:
    for page in ("1", "2"):
        vendor.get(EVENTS, json=fixture(f"events_{page}"))


def serve_submissions(vendor: responses.RequestsMock) -> None:
    for archived, body in (("false", fixture("forms")), ("true", {"results": []})):
        asked = responses.matchers.query_param_matcher({"archived": archived}, strict_match=False)
        vendor.get(FORMS, json=body, match=[asked])
    for page in ("1", "2"):
        vendor.get(f"{SUBMISSIONS}/f0a1", json=fixture(f"submissions_{page}"))


def serve_campaigns(vendor: responses.RequestsMock) -> None:
    vendor.get(CAMPAIGNS, json=fixture("campaigns"))


SERVE = {
    "contact": serve_contacts, "deal": serve_deals, "marketing_email": serve_emails, "email_event": serve_events,
    "form_submission": serve_submissions, "marketing_campaign": serve_campaigns,
}  # fmt: skip


def fetch(stream: str, config: Config | None = None) -> list[dict[str, Any]]:
    client = hubspot.connect(config or make_config())
    return [dict(record) for page in SOURCE.stream(stream).fetch(client, ACCOUNT, WINDOW) for record in page.records]


def landed(stream: str, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    pseudonyms = Pseudonyms(b"test", Path("nowhere"), ["gone*"])
    return [pseudonyms.apply(record, SOURCE.stream(stream).personal) for record in records]


def mapped(
    stream: str, table: str, records: list[dict[str, Any]], config: Config | None = None, account: Account = ACCOUNT
) -> pd.DataFrame:
    """The rows that the table's contract accepts or refuses, as the mapping gives them."""
    context = MappingContext(config or make_config(), "hubspot", stream, account)
    frame = SOURCE.stream(stream).feeds[table](flattened(landed(stream, records)), context)
    columns = {column.name for column in metadata.tables[table].columns}
    later = {"slice_id", "run_id", "loaded_at", "amount_reporting", "fx_date"}
    assert set(frame.columns) == columns - later
    assert set(frame["source"]) <= {"hubspot"}
    assert set(frame["source_account"]) <= {account.id}
    return frame


def assert_rows(frame: pd.DataFrame, **columns: list[Any]) -> None:
    """The columns named, in this order of rows; the index (the raw record) is given as `record`."""
    records = columns.pop("record")
    expected = pd.DataFrame(columns, dtype=object)
    actual = frame.loc[:, list(columns)].astype(object).reset_index(drop=True)
    assert_frame_equal(actual.where(actual.notna(), None), expected.where(expected.notna(), None))
    assert list(frame.index) == records


def at(text: str) -> pd.Timestamp:
    return pd.Timestamp(f"2026-{text}Z")


def bodies(vendor: responses.RequestsMock, end: str) -> list[dict[str, Any]]:
    return [json.loads(call.request.body or b"") for call in vendor.calls if str(call.request.url).endswith(end)]


def queries(vendor: responses.RequestsMock, base: str) -> list[dict[str, str]]:
    """The query strings of the GETs of one address, in order."""
    urls = [str(call.request.url) for call in vendor.calls if call.request.method == "GET"]
    return [{k: v[0] for k, v in parse_qs(urlsplit(url).query).items()} for url in urls if url.split("?")[0] == base]


# -- reading


def test_each_page_of_a_search_begins_above_the_last_id_and_is_read_with_its_history(
    vendor: responses.RequestsMock,
) -> None:
    serve_contacts(vendor)
    records = fetch("contact")
    assert [record["id"] for record in records] == ["101", "102", "204", "56"]
    first, second = bodies(vendor, "/search")
    window = [
        {"propertyName": "lastmodifieddate", "operator": "GTE", "value": str(SINCE)},
        {"propertyName": "lastmodifieddate", "operator": "LT", "value": str(UNTIL)},
    ]
    above = [{"propertyName": "hs_object_id", "operator": "GT", "value": "0"}]
    assert first["filterGroups"] == [{"filters": window + above}]
    assert second["filterGroups"] == [{"filters": [*window, above[0] | {"value": "102"}]}]
    assert {(body["limit"], body["after"], *body["sorts"][0].values()) for body in (first, second)} == {
        (200, "0", "hs_object_id", "ASCENDING")
    }
    reads = bodies(vendor, "/batch/read")
    assert [[item["id"] for item in body["inputs"]] for body in reads] == [["101", "102"], ["204", "205"]]
    assert reads[0]["propertiesWithHistory"] == ["lifecyclestage"]
    assert {"email", "hs_google_click_id", "utm_campaign", "state"} <= set(reads[0]["properties"])


def test_no_read_asks_for_more_than_fifty_records(vendor: responses.RequestsMock) -> None:
    found = [{"id": str(number), "properties": {}} for number in range(1, 121)]
    vendor.post(f"{CONTACTS}/search", json={"total": 120, "results": found})
    vendor.add_callback(responses.POST, f"{CONTACTS}/batch/read", echo)
    vendor.get(CONTACTS, json=fixture("no_objects"))
    assert len(fetch("contact")) == 120
    assert [len(body["inputs"]) for body in bodies(vendor, "/batch/read")] == [50, 50, 20]


def echo(request: Any) -> tuple[int, dict[str, str], str]:
    """A batch read that finds every id."""
    inputs = json.loads(request.body)["inputs"]
    return 200, {}, json.dumps({"status": "COMPLETE", "results": [{**item, "properties": {}} for item in inputs]})


def test_a_deal_comes_with_its_contacts_and_a_long_list_of_them_is_read_on(vendor: responses.RequestsMock) -> None:
    serve_deals(vendor)
    records = fetch("deal")
    contacts = {record["id"]: record.get("associations") for record in records}
    assert contacts == {"900": {"contacts": ["204", "101", "102"]}, "901": {"contacts": []}, "880": None}
    asked = [body["inputs"] for body in bodies(vendor, "deals/contacts/batch/read")]
    assert asked == [[{"id": "900"}, {"id": "901"}], [{"id": "900", "after": "MTAx"}]]
    assert bodies(vendor, "/deals/batch/read")[0]["propertiesWithHistory"] == ["dealstage"]


def test_marketing_emails_are_listed_with_statistics_and_those_without_any_after(
    vendor: responses.RequestsMock,
) -> None:
    serve_emails(vendor)
    records = fetch("marketing_email")
    assert [(record["id"], "stats" in record) for record in records] == [
        ("5001", True),
        ("5002", False),
        ("5003", False),
    ]
    asked = [(query["archived"], query["includeStats"]) for query in queries(vendor, EMAILS)]
    assert asked == [("false", "true"), ("false", "false"), ("true", "true"), ("true", "false")]


def test_email_events_are_asked_for_up_to_the_last_millisecond_before_the_end(vendor: responses.RequestsMock) -> None:
    serve_events(vendor)
    assert len(fetch("email_event")) == 11
    window = {"startTimestamp": str(SINCE), "endTimestamp": str(UNTIL - 1), "limit": "1000"}
    assert queries(vendor, EVENTS) == [window, window | {"offset": "AAEAAQ"}]


def search_answers(vendor: responses.RequestsMock, *ids: str, total: int, further: bool = False) -> None:
    paging = {"paging": {"next": {"after": "2"}}} if further else {}
    results = [{"id": identifier, "properties": {}} for identifier in ids]
    vendor.post(f"{CONTACTS}/search", json={"total": total, "results": results} | paging)


def twice(vendor: responses.RequestsMock) -> None:
    for _ in range(2):
        search_answers(vendor, "1", "2", total=4, further=True)
    vendor.add_callback(responses.POST, f"{CONTACTS}/batch/read", echo)


def unsorted(vendor: responses.RequestsMock) -> None:
    search_answers(vendor, "10", "9", total=2)


def short(vendor: responses.RequestsMock) -> None:
    search_answers(vendor, "1", total=2)


def missing(vendor: responses.RequestsMock) -> None:
    search_answers(vendor, "1", total=1)
    vendor.post(f"{CONTACTS}/batch/read", json={"status": "COMPLETE", "results": []})


def partial(vendor: responses.RequestsMock) -> None:
    search_answers(vendor, "1", total=1)
    error = {"status": "error", "category": "INTERNAL_ERROR", "message": "internal error", "context": {"ids": ["1"]}}
    body = {"status": "COMPLETE", "results": [], "numErrors": 1, "errors": [error]}
    vendor.post(f"{CONTACTS}/batch/read", json=body, status=207)


def error_in_200(vendor: responses.RequestsMock) -> None:
    vendor.post(f"{CONTACTS}/search", json={"status": "error", "message": "internal error", "correlationId": "1"})


def cut_off(vendor: responses.RequestsMock) -> None:
    vendor.post(f"{CONTACTS}/search", body='{"total": 1, "results": [{"id": "1", "prop')


@pytest.mark.parametrize(
    ("answers", "message"),
    [
        (twice, "not in the order of ids"),
        (unsorted, "not in the order of ids"),
        (short, "fewer records than its total"),
        (missing, "1 of 1 records are missing"),
        (partial, "INTERNAL_ERROR"),
        (error_in_200, "status 200 without 'results'"),
        (cut_off, "is not JSON"),
    ],
)
def test_an_answer_that_is_not_whole_is_not_taken_for_one(
    vendor: responses.RequestsMock, answers: Callable[[responses.RequestsMock], None], message: str
) -> None:
    answers(vendor)
    with pytest.raises(TransientError, match=message):
        fetch("contact")


def test_an_offset_that_repeats_ends_the_reading_of_events(vendor: responses.RequestsMock) -> None:
    for _ in range(2):
        vendor.get(EVENTS, json=fixture("events_1"))
    with pytest.raises(TransientError, match="cursor repeats"):
        fetch("email_event")


def test_a_contact_list_that_never_ends_is_left(vendor: responses.RequestsMock) -> None:
    vendor.post(f"{DEALS}/search", json=fixture("deals_search"))
    vendor.post(f"{DEALS}/batch/read", json=fixture("deals_read"))
    for _ in range(2):
        vendor.post(ROLES, json=fixture("deals_contacts_1"), status=207)
    with pytest.raises(TransientError, match="cursor repeats"):
        fetch("deal")


def test_the_recycle_bin_is_listed_once_for_all_windows_of_a_backfill(vendor: responses.RequestsMock) -> None:
    vendor.post(f"{CONTACTS}/search", json={"total": 0, "results": []})
    listing = [vendor.get(CONTACTS, json=fixture(f"contacts_archived_{page}")) for page in ("1", "2")]
    client = hubspot.connect(make_config())
    days = [WINDOW, Window.of_days(date(2026, 10, 3), date(2026, 10, 4), BERLIN)]
    found = [[r["id"] for page in hubspot.read_contacts(client, ACCOUNT, day) for r in page.records] for day in days]
    assert found == [["56"], []]
    assert [answer.call_count for answer in listing] == [1, 1]


def test_a_sweep_has_the_ids_of_everything_that_is_there_and_archived(vendor: responses.RequestsMock) -> None:
    for base in (CONTACTS, DEALS, COMPANIES):
        for name in ("1", "2"):
            vendor.get(base, json={"results": [{"id": name, "properties": {"firstname": "Ida"}}]})
    records = fetch("present")
    assert [(record["object"], record["id"]) for record in records] == [
        (name, found) for name in ("lead", "opportunity", "account") for found in ("*", "1", "2")
    ]  # fmt: skip
    assert {query["archived"] for query in queries(vendor, CONTACTS)} == {"true", "false"}
    assert enforce(metadata.tables["record_present"], mapped("present", "record_present", records)).rejects.empty


def test_a_listing_that_is_refused_half_way_sweeps_nothing(vendor: responses.RequestsMock) -> None:
    one = {"results": [{"id": "1", "properties": {}}]}
    for base in (CONTACTS, DEALS):
        vendor.get(base, json=one)
    vendor.get(COMPANIES, json=one | {"paging": {"next": {"after": "1"}}})
    vendor.get(COMPANIES, json=MISSING_SCOPES, status=403)
    with pytest.raises(SkippedError, match="missing scopes"):
        fetch("present")


def test_what_was_listed_and_is_refused_in_the_end_makes_no_sweep(vendor: responses.RequestsMock) -> None:
    one = {"results": [{"id": "1", "properties": {}}]}
    for base in (CONTACTS, DEALS):
        vendor.get(base, json=one)
    vendor.get(DEALS, json=one)  # what is archived
    vendor.get(COMPANIES, json=MISSING_SCOPES, status=403)
    vendor.get(DEALS, json=MISSING_SCOPES, status=403)  # the key was taken back meanwhile
    with pytest.raises(SkippedError, match="missing scopes"):
        fetch("present")


def test_a_sweep_of_which_everything_is_refused_is_none(vendor: responses.RequestsMock) -> None:
    for base in (CONTACTS, DEALS, COMPANIES):
        vendor.get(base, json=MISSING_SCOPES, status=403)
    with pytest.raises(SkippedError, match="missing scopes"):
        fetch("present")


def test_a_key_without_the_scope_of_companies_sweeps_the_rest_and_doctor_says_so(
    vendor: responses.RequestsMock,
) -> None:
    for base in (CONTACTS, DEALS):
        vendor.get(base, json={"results": [{"id": "1", "properties": {}}]})
    vendor.get(COMPANIES, json=MISSING_SCOPES, status=403)
    assert {record["object"] for record in fetch("present")} == {"lead", "opportunity"}
    serve_probe(vendor, (EMAILS, EVENTS, FORMS, CAMPAIGNS))
    vendor.get(f"{API}/crm/properties/2026-03/contacts", json={"results": []})
    vendor.get(f"{API}/crm/properties/2026-03/deals", json={"results": []})
    findings = [
        item for item in SOURCE.probe(hubspot.connect(make_config()), make_config()) if "companies" in item.what
    ]
    assert [(item.ok, item.warning, item.fix) for item in findings] == [
        (True, True, "give the key the scope crm.objects.companies.read")
    ]


# -- mapping


def test_a_contact_becomes_a_lead(vendor: responses.RequestsMock) -> None:
    serve_contacts(vendor)
    frame = mapped("contact", "lead", fetch("contact"))
    hashed = Pseudonyms(b"test", Path("nowhere")).email
    assert_rows(
        frame,
        record=[0, 1, 2, 3],
        lead_id=["101", "102", "204", "56"],
        record_key=[f"hubspot:contact:{number}" for number in (101, 102, 204, 56)],
        date_day=["2026-10-01", "2026-10-02", "2026-09-30", "2026-09-15"],  # in Berlin
        created_at=[at("10-01T21:59:59.999"), at("10-01T22:00"), at("09-30T10:00"), at("09-15T10:00")],
        updated_at=[at("10-02T08:15:00.120"), at("10-02T09:00"), at("10-02T09:30"), at("10-02T11:00")],
        email_hash=[
            hashed("ada.lovelace@example.com"), None, hashed("grace@example.org"), hashed("gone@example.com")
        ],
        email_domain=["example.com", None, "example.org", "example.com"],
        company=["Analytical <Engines>", None, None, None],
        region=["Bavaria", None, None, None],
        owner=["51", None, None, None],
        status=["OPEN", None, None, None],
        lifecycle_stage=["marketingqualifiedlead", "subscriber", "evangelist", None],
        source_original=["PAID_SEARCH", "OFFLINE", "SOMETHING_NEW", "REFERRALS"],
        source_latest=["EMAIL_MARKETING", None, "SOMETHING_NEW", None],
        is_deleted=[False, False, False, True],
        excluded_by=[None, None, None, "gone*"],
    )  # fmt: skip


def test_every_value_of_the_lifecycle_stage_is_a_stage_entry_and_a_foreign_word_is_reported(
    vendor: responses.RequestsMock,
) -> None:
    serve_contacts(vendor)
    frame = mapped("contact", "stage_event", fetch("contact")).sort_values(["object_id", "entered_at"])
    assert_rows(
        frame,
        record=[0, 0, 1, 2, 2],
        object=["lead"] * 5,
        object_id=["101", "101", "102", "204", "204"],
        entered_at=[
            at("10-01T21:59:59.999"), at("10-02T08:15:00.120"), at("10-01T22:00"), at("09-30T10:00"), at("10-02T09:30")
        ],
        date_day=["2026-10-01", "2026-10-02", "2026-10-02", "2026-09-30", "2026-10-02"],
        from_stage=[None, "lead", None, None, "sql"],
        to_stage=["lead", "mql", "lead", "sql", "unmapped"],
        vendor_stage=["lead", "marketingqualifiedlead", "subscriber", "salesqualifiedlead", "evangelist"],
    )  # fmt: skip


def test_a_contact_has_a_touch_of_its_first_source_and_of_its_latest_when_that_is_another_visit(
    vendor: responses.RequestsMock,
) -> None:
    serve_contacts(vendor)
    assert_rows(
        mapped("contact", "touchpoint", fetch("contact")),
        record=[0, 1, 2, 3, 0],
        touch_id=[
            *(f"hubspot:contact:{number}:original" for number in (101, 102, 204, 56)), "hubspot:contact:101:latest"
        ],
        record_key=[f"hubspot:contact:{number}" for number in (101, 102, 204, 56, 101)],
        touched_at=[
            at("10-01T20:00"), at("10-01T22:00"), at("09-30T09:00"), at("09-15T10:00"), at("10-02T08:00")
        ],
        date_day=["2026-10-01", "2026-10-02", "2026-09-30", "2026-09-15", "2026-10-02"],
        channel=["paid_search", "paid_search", "unknown", "referral", "email"],
        campaign_id=["9001", None, None, None, None],
        evidence=[
            "gclid", "utm_medium= CPC ", "hs_analytics_source=SOMETHING_NEW", "hs_analytics_source=REFERRALS",
            "hs_latest_source=EMAIL_MARKETING",
        ],
        is_deleted=[False] * 5,
    )  # fmt: skip


def test_contacts_are_linked_by_email_and_to_those_merged_into_them(vendor: responses.RequestsMock) -> None:
    serve_contacts(vendor)
    records = fetch("contact")
    frame = mapped("contact", "identity_link", records)
    emails = [record["properties"]["email"] for record in records]
    assert_rows(
        frame,
        record=[0, 2, 3, 2, 2, 2],
        rule=["email"] * 3 + ["merge"] * 3,
        from_key=[f"hubspot:contact:{number}" for number in (101, 204, 56, 201, 202, 203)],
        to_key=[*(f"email:{emails[number][3:35]}" for number in (0, 2, 3)), *["hubspot:contact:204"] * 3],
        is_deleted=[False] * 6,
    )


def contact(number: int, **properties: Any) -> dict[str, Any]:
    when = "2026-10-01T10:00:00Z"
    given = {"createdate": when, "email": None, **properties}
    return {"id": str(number), "createdAt": when, "updatedAt": when, "archived": False, "properties": given}


def test_every_address_of_a_contact_is_linked_and_hashed_on_its_own(vendor: responses.RequestsMock) -> None:
    search_answers(vendor, "7", total=1)
    known = "ida@example.com;Ida@Example.org ; i.berg@ourcompany.example"
    vendor.post(f"{CONTACTS}/batch/read", json={"status": "COMPLETE", "results": [
        contact(7, email="ida@example.com", hs_additional_emails=known)
    ]})  # fmt: skip
    vendor.get(CONTACTS, json=fixture("no_objects"))
    records = fetch("contact")
    hashed = [Pseudonyms(b"test", Path("nowhere")).email(address) for address in known.split(";")]
    (record,) = landed("contact", records)
    assert record["properties"]["hs_additional_emails"] == hashed
    frame = mapped("contact", "identity_link", records)
    assert frame["from_key"].tolist() == ["hubspot:contact:7"] * 3
    assert frame["to_key"].tolist() == [f"email:{one[3:35]}" for one in hashed]
    config = make_config().model_copy(update={"exclude": Exclude(email_domains=["ourcompany.example"])})
    assert mapped("contact", "lead", records, config)["excluded_by"].tolist() == ["ourcompany.example"]
    assert mapped("contact", "lead", records)["excluded_by"].tolist() == [None]


def test_who_asked_to_be_forgotten_by_a_secondary_address_is(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms(b"test", tmp_path / "landing" / "forgotten.json")
    pseudonyms.forget("ida@example.org")
    record = contact(7, email="ida@example.com", hs_additional_emails=["ida@example.org"], firstname="Ida")
    properties = pseudonyms.apply(record, SOURCE.stream("contact").personal)["properties"]
    assert properties["hs_additional_emails"] == [pseudonyms.forget_token("ida@example.org")]
    assert properties["firstname"] is None


def test_click_ids_and_campaigns_come_from_the_properties_that_a_portal_has_by_default() -> None:
    first = {"hs_analytics_first_timestamp": "2026-10-01T09:00:00Z"}
    contacts = [
        contact(1, **first, hs_analytics_source="PAID_SEARCH", hs_analytics_source_data_1="Brand DE",
                hs_analytics_source_data_2="crm software", hs_google_click_id="EAIaIQ"),
        contact(2, **first, hs_analytics_source="PAID_SOCIAL", hs_analytics_source_data_1="Facebook",
                hs_analytics_source_data_2="spring 26", hs_tiktok_click_id="t"),
        contact(3, **first, hs_analytics_source="OTHER_CAMPAIGNS", hs_analytics_source_data_1="launch",
                hs_linkedin_click_id="li1"),
        contact(4, **first, hs_analytics_source="PAID_SEARCH", hs_analytics_source_data_1="Auto-tagged PPC",
                hs_bing_click_id="b"),
        contact(5, **first, hs_analytics_source="REFERRALS", hs_analytics_source_data_1="partner.example"),
        contact(6, **first, hs_analytics_source="EMAIL_MARKETING", hs_analytics_source_data_1="news",
                utm_campaign="21000000100", hs_latest_source="SOCIAL_MEDIA", hs_latest_source_data_1="LinkedIn",
                hs_latest_source_data_2="launch", hs_latest_source_timestamp="2026-10-03T09:00:00Z"),
    ]  # fmt: skip
    assert_rows(
        mapped("contact", "touchpoint", contacts),
        record=[0, 1, 2, 3, 4, 5, 5],
        channel=[
            "paid_search", "paid_social", "paid_social", "paid_search", "referral", "email", "organic_social"
        ],
        campaign_id=["Brand DE", "spring 26", "launch", None, None, "21000000100", "launch"],
        evidence=[
            "gclid", "ttclid", "li_fat_id", "msclkid", "hs_analytics_source=REFERRALS",
            "hs_analytics_source=EMAIL_MARKETING", "hs_latest_source=SOCIAL_MEDIA",
        ],
    )  # fmt: skip


def test_only_utm_properties_are_asked_for_beyond_those_of_every_portal() -> None:
    asked = set(hubspot.CONTACTS.properties(make_config()))
    default = {f"hs_{name}_click_id" for name in ("google", "bing", "facebook", "linkedin", "tiktok")}
    assert default < asked
    assert not asked & {"gclid", "msclkid", "fbclid", "li_fat_id", "ttclid"}


def test_a_deal_becomes_an_opportunity_in_its_own_currency(vendor: responses.RequestsMock) -> None:
    serve_deals(vendor)
    assert_rows(
        mapped("deal", "opportunity", fetch("deal")),
        record=[0, 1, 2],
        opp_id=["900", "901", "880"],
        date_day=["2026-10-01", "2026-10-02", "2026-09-01"],
        updated_at=[at("10-02T10:00"), at("10-02T06:00"), at("10-02T05:00")],
        close_date=["2026-10-03", None, None],  # midnight in Berlin
        account_id=["7001", None, None],
        name=["Example - New Business", "Example - Pilot", "Example - Lost"],
        opp_type=["newbusiness", None, None],
        stage=["closedwon", "appointmentscheduled", "contractsent"],
        amount=["12000.50", None, "100"],
        currency=["USD", "EUR", "EUR"],
        is_won=[True, False, False],
        is_closed=[True, False, False],
        is_deleted=[False, False, True],
    )


def test_a_close_date_without_a_time_is_that_day_west_of_utc_too() -> None:
    config = make_config().model_copy(update={"timezone": "America/New_York"})
    days = ("2026-10-05T00:00:00.000Z", "2026-10-05T00:00:00Z", "2026-10-05", "2026-10-05T03:59:00Z", "soon")
    deals = [
        {"id": str(number), "createdAt": "2026-10-01T10:00:00Z", "updatedAt": "2026-10-01T10:00:00Z",
         "archived": False, "properties": {"closedate": day, "hs_is_closed": "false", "hs_is_closed_won": "false"}}
        for number, day in enumerate(days)
    ]  # fmt: skip
    frame = mapped("deal", "opportunity", deals, config)
    assert frame["close_date"].tolist() == ["2026-10-05", "2026-10-05", "2026-10-05", "2026-10-04", "soon"]


@pytest.mark.parametrize("missing", ["hs_is_closed", "hs_is_closed_won"])
def test_deals_of_which_none_says_whether_it_is_won_are_no_open_deals(missing: str) -> None:
    properties = {name: "true" for name in ("hs_is_closed", "hs_is_closed_won") if name != missing}
    record = {"id": "1", "createdAt": "2026-10-01T10:00:00Z", "updatedAt": "2026-10-01T10:00:00Z", "archived": False}
    with pytest.raises(KeyError, match=missing):
        mapped("deal", "opportunity", [{**record, "properties": properties}])


def test_a_deal_has_a_role_per_contact_and_a_stage_event_per_stage(vendor: responses.RequestsMock) -> None:
    serve_deals(vendor)
    records = fetch("deal")
    assert_rows(
        mapped("deal", "opp_contact_role", records),
        record=[0, 0, 0],
        role_id=["900:204", "900:101", "900:102"],
        opp_id=["900"] * 3,
        contact_id=["204", "101", "102"],
        is_primary=[True, False, False],
    )
    assert_rows(
        mapped("deal", "stage_event", records).sort_values(["object_id", "entered_at"]),
        record=[0, 0, 1],
        object=["opportunity"] * 3,
        object_id=["900", "900", "901"],
        from_stage=[None, "contractsent", None],
        to_stage=["contractsent", "closedwon", "appointmentscheduled"],
        vendor_stage=["contractsent", "closedwon", "appointmentscheduled"],
    )


def test_a_marketing_email_is_a_send_and_a_campaign_per_id_that_its_events_carry(
    vendor: responses.RequestsMock,
) -> None:
    serve_emails(vendor)
    config = make_config(options={"email_purpose": "subcategory"})
    records = fetch("marketing_email", config)
    assert_rows(
        mapped("marketing_email", "email_send", records, config),
        record=[0, 0, 2],
        send_id=["31001", "31002", "31009"],
        name=["October news", "October news", "One sending"],
        purpose=["batch"] * 3,
        audience=[None] * 3,
        sent_at=[at("10-01T22:00"), at("10-01T22:00"), at("11-01T08:00")],
        date_day=["2026-10-02", "2026-10-02", "2026-11-01"],
    )
    assert_rows(
        mapped("marketing_email", "campaign", records, config),
        record=[0, 0, 2],
        campaign_id=["31001", "31002", "31009"],
        account_id=["2519445"] * 3,
        status=["PUBLISHED", "PUBLISHED", "SCHEDULED"],
        campaign_type=["email"] * 3,
        channel=["email"] * 3,
        date_day=["2026-09-29"] * 3,
    )


def test_email_events_are_dated_by_their_send(vendor: responses.RequestsMock) -> None:
    serve_events(vendor)
    frame = mapped("email_event", "email_event", fetch("email_event"))
    assert_rows(
        frame,
        record=list(range(10)),  # all but UNBOUNCE, which names no sending
        event_id=[
            "ev-leave", "ev-page", "ev-topic", "ev-click", "ev-scan", "ev-open", "ev-lost", "ev-delivered", "ev-sent",
            "ev-dropped",
        ],
        event_type=[
            "unsubscribe", "other", "unsubscribe", "click", "click", "open", "open", "delivered", "sent", "dropped"
        ],
        send_id=["31001"] * 9 + ["31002"],
        is_machine=[False] * 4 + [True] + [False] * 5,
        sent_at=[
            at("10-01T22:00"), at("10-02T00:21:40"), *[at("10-01T22:00")] * 4, None, *[at("10-01T22:00")] * 2,
            at("10-01T21:59:59"),
        ],
        date_day=["2026-10-02"] * 6 + [None] + ["2026-10-02"] * 2 + ["2026-10-01"],
    )  # fmt: skip
    refused = enforce(metadata.tables["email_event"], frame).rejects
    names = ["record_number", "reason", "column_name"]
    assert refused[names].to_numpy().tolist() == [[6, "empty", "sent_at"]]


def test_a_click_by_a_person_is_a_touch_of_the_email_channel(vendor: responses.RequestsMock) -> None:
    serve_events(vendor)
    records = fetch("email_event")
    assert_rows(
        mapped("email_event", "touchpoint", records),
        record=[3],
        touch_id=["hubspot:email_event:ev-click"],
        record_key=["email:" + records[3]["recipient"][3:35]],
        touched_at=[at("10-02T00:00")],
        date_day=["2026-10-02"],
        channel=["email"],
        campaign_id=["31001"],
    )


@pytest.mark.parametrize("stream", list(SERVE))
def test_nobody_can_be_read_in_what_is_landed(vendor: responses.RequestsMock, stream: str) -> None:
    SERVE[stream](vendor)
    text = json.dumps(landed(stream, fetch(stream))).lower()
    private = ("lovelace", "grace@", "mary@", "somerville", "192.0.2.7", "mozilla", "munich")
    assert not [word for word in private if word in text]


# -- forms and campaigns


def test_what_was_submitted_is_a_row_with_who_when_and_by_which_visit(vendor: responses.RequestsMock) -> None:
    serve_submissions(vendor)
    records = fetch("form_submission")
    assert [record["conversionId"] for record in records] == ["c-3", "c-2"]
    assert_rows(
        mapped("form_submission", "form_event", records), record=[0, 1],
        event_id=["c-3", "c-2"], submitted_at=[at("10-02 08:00:00"), at("10-02 07:00:00")],
        form_name=["Contact us", "Contact us"], page=["https://www.ourcompany.example/contact", None],
        channel=["paid_search", None], campaign_id=["21000000100", None], capture_type=["form", "form"],
    )  # fmt: skip
    keys = mapped("form_submission", "form_event", records)["record_key"]
    assert keys[0].startswith("email:")
    assert keys[0] == mapped("form_submission", "form_event", records[:1])["record_key"][0]
    assert keys[1] is None
    asked = queries(vendor, f"{SUBMISSIONS}/f0a1")
    assert [query["limit"] for query in asked] == ["50", "50"]


def test_no_answer_and_no_query_of_a_page_is_kept_of_a_submission(vendor: responses.RequestsMock) -> None:
    serve_submissions(vendor)
    text = json.dumps(fetch("form_submission"))
    assert not [word for word in ("Call me", "Cj0KEQ", "utm_content", "office@", "0-2") if word in text]


def test_reading_stops_at_the_first_page_that_is_older_than_the_window(vendor: responses.RequestsMock) -> None:
    """Newest first, and as many pages as there ever were submissions."""
    serve_submissions(vendor)
    fetch("form_submission")
    assert len([call for call in vendor.calls if "/submissions/" in str(call.request.url)]) == 2
    assert fixture("submissions_2")["paging"]["next"]["after"], "there would be another page"


def test_a_form_whose_submissions_are_refused_fails_and_an_archived_one_does_not(
    vendor: responses.RequestsMock,
) -> None:
    one = fixture("forms")["results"][0]
    vendor.get(FORMS, json={"results": []})
    vendor.get(FORMS, json={"results": [{**one, "archived": True}]})
    vendor.get(f"{SUBMISSIONS}/f0a1", json=refusal("resource not found", "OBJECT_NOT_FOUND"), status=404)
    assert fetch("form_submission") == []
    vendor.replace(responses.GET, FORMS, json={"results": [one]})
    with pytest.raises(PermanentError, match="OBJECT_NOT_FOUND"):
        fetch("form_submission")


def test_of_an_archived_form_only_that_it_is_gone_is_no_error(vendor: responses.RequestsMock) -> None:
    """Half of a list is none, and another refusal says nothing of what there is."""
    gone = refusal("resource not found", "OBJECT_NOT_FOUND")
    vendor.get(FORMS, json={"results": []})
    vendor.get(FORMS, json={"results": [{**fixture("forms")["results"][0], "archived": True}]})
    vendor.get(f"{SUBMISSIONS}/f0a1", json=refusal("Invalid input", "VALIDATION_ERROR"), status=400)
    with pytest.raises(PermanentError, match="VALIDATION_ERROR"):
        fetch("form_submission")
    vendor.replace(responses.GET, f"{SUBMISSIONS}/f0a1", json=fixture("submissions_1"))
    vendor.get(f"{SUBMISSIONS}/f0a1", json=gone, status=404)
    vendor.replace(responses.GET, FORMS, json={"results": [{**fixture("forms")["results"][0], "archived": True}]})
    with pytest.raises(PermanentError, match="OBJECT_NOT_FOUND"):
        fetch("form_submission")


def test_campaigns_are_as_many_as_announced(vendor: responses.RequestsMock) -> None:
    serve_campaigns(vendor)
    assert_rows(
        mapped("marketing_campaign", "campaign", fetch("marketing_campaign")), record=[0, 1],
        campaign_id=["edb9b6c3-d2e2-4ca8-8396-832262aed0d4", "0d1f5a6e-0000-4ca8-8396-832262aed0d4"],
        name=["Inbound", "No status"], status=["in_progress", None], channel=[None, None],
        campaign_type=["marketing_campaign"] * 2,
    )  # fmt: skip
    vendor.replace(responses.GET, CAMPAIGNS, json=fixture("campaigns") | {"total": 3})
    with pytest.raises(TransientError, match="2 came, 3 were announced"):
        fetch("marketing_campaign")


# -- configuration, credentials, doctor


def test_a_custom_field_is_asked_for_and_fills_its_column(vendor: responses.RequestsMock) -> None:
    serve_contacts(vendor)
    config = make_config(fields={"region": "sales_region", "utm_campaign": "first_campaign"})
    records = fetch("contact", config)
    asked = bodies(vendor, "/batch/read")[0]["properties"]
    assert {"sales_region", "first_campaign"} <= set(asked)
    assert not {"state", "utm_campaign"} & set(asked)
    assert "sales_region" in queries(vendor, CONTACTS)[0]["properties"].split(",")
    for record in records:
        record["properties"] |= {"sales_region": "DACH", "first_campaign": "launch"}
    assert set(mapped("contact", "lead", records, config)["region"]) == {"DACH"}
    touches = mapped("contact", "touchpoint", records, config)
    assert touches.groupby("touch_type")["campaign_id"].first().to_dict() == {"latest": None, "original": "launch"}


EVERY_LIST = (CONTACTS, COMPANIES, EMAILS, EVENTS, FORMS, CAMPAIGNS)


def serve_probe(vendor: responses.RequestsMock, urls: Sequence[str] = EVERY_LIST) -> None:
    vendor.get(f"{API}/account-info/2026-03/details", json=fixture("account"))
    for url in urls:
        vendor.get(url, json={"results": []})


def test_the_doctor_names_unknown_fields_and_missing_scopes(vendor: responses.RequestsMock) -> None:
    serve_probe(vendor)
    vendor.get(DEALS, json=MISSING_SCOPES, status=403)
    for kind in ("contacts", "deals"):
        vendor.get(f"{API}/crm/properties/2026-03/{kind}", json=fixture(f"properties_{kind}"))
    fields = {"region": "sales_region", "product": "product_line", "owner": "salesman", "shoe_size": "shoe_size"}
    config = make_config(fields=fields)
    bad = [finding for finding in SOURCE.probe(hubspot.connect(config), config) if not finding.ok]
    assert [finding.what for finding in bad] == [
        "HubSpot deal: GET api.hubapi.com/crm/objects/2026-03/deals: status 403, "
        "missing scopes: crm.objects.deals.read, crm.schemas.deals.read",
        "HubSpot property 'salesman' for 'owner' does not exist for contacts or deals",
        "HubSpot property 'shoe_size' for 'shoe_size': we have no such column",
    ]
    assert "sources.hubspot.fields.owner in pipeline.yaml" in bad[1].fix


def test_the_doctor_lists_what_is_asked_for_and_a_portal_does_not_have(vendor: responses.RequestsMock) -> None:
    serve_probe(vendor)
    vendor.get(DEALS, json=fixture("no_objects"))
    asked = {
        "contacts": set(hubspot.CONTACTS.properties(make_config())) - {"utm_medium", "utm_campaign"},
        "deals": set(hubspot.DEALS.properties(make_config())) - {"dealtype"},
    }
    for kind, names in asked.items():
        listed = {"results": [{"name": name} for name in sorted(names)]}
        vendor.get(f"{API}/crm/properties/2026-03/{kind}", json=listed)
    findings = SOURCE.probe(hubspot.connect(make_config()), make_config())
    utm, deals = [finding for finding in findings if finding.warning]
    assert all(finding.ok for finding in findings)
    assert utm.what.startswith("HubSpot contacts have no property utm_campaign, utm_medium: campaigns come from")
    assert "utm_campaign={campaignid}" in utm.fix
    assert deals.what == "HubSpot deals have no property dealtype: these columns stay empty"


def test_a_dimension_is_asked_for_and_one_that_a_portal_does_not_have_is_a_warning(
    vendor: responses.RequestsMock,
) -> None:
    own = Dimensions(lead=["industry", "size"], opportunity=["segment"])
    config = make_config(fields={"size": "numemployees"}).model_copy(update={"dimensions": own})
    assert {"industry", "numemployees"} <= set(hubspot.CONTACTS.properties(config))
    assert "segment" in hubspot.DEALS.properties(config)
    serve_probe(vendor)
    vendor.get(DEALS, json=fixture("no_objects"))
    for kind in (hubspot.CONTACTS, hubspot.DEALS):
        listed = {"results": [{"name": name} for name in kind.properties(config) if name != "segment"]}
        vendor.get(f"{API}/crm/properties/2026-03/{kind.name}", json=listed)
    findings = SOURCE.probe(hubspot.connect(config), config)
    assert all(finding.ok for finding in findings)
    assert "HubSpot property 'numemployees' for 'size' exists" in [finding.what for finding in findings]
    (warning,) = [finding.what for finding in findings if finding.warning]
    assert warning == "HubSpot deals have no property segment: these columns stay empty"


def test_the_account_is_that_of_the_credentials_and_no_other(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{API}/account-info/2026-03/details", json=fixture("account"))
    config = make_config(accounts=["1234"])
    client = hubspot.connect(config)
    assert SOURCE.accounts(client, make_config()).read == [ACCOUNT]
    with pytest.raises(ConfigError, match=r"belong to account 2519445, .* names 1234"):
        SOURCE.accounts(client, config)


def use_oauth(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUBSPOT_ACCESS_TOKEN")
    for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN"):
        monkeypatch.setenv(f"HUBSPOT_{name}", f"fixture-{name.lower()}")


def test_an_expired_access_token_is_renewed_once_and_the_question_repeated(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_oauth(monkeypatch)
    token = vendor.post(f"{API}/oauth/2026-03/token", json=fixture("token"))
    vendor.get(EVENTS, json=EXPIRED, status=401)
    vendor.get(EVENTS, json=fixture("events_2"))
    assert len(fetch("email_event")) == 6
    assert token.call_count == 2
    form = parse_qs(str(vendor.calls[0].request.body))
    assert form["grant_type"] == ["refresh_token"]
    assert form["client_secret"] == ["fixture-client_secret"]


def test_no_secret_is_in_a_refusal(vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.get(EVENTS, json=EXPIRED, status=401)
    with pytest.raises(AuthError) as private_app:
        fetch("email_event")
    use_oauth(monkeypatch)
    refusal = {"status": "BAD_REFRESH_TOKEN", "message": "fixture-refresh_token", "error": "invalid_grant"}
    vendor.post(f"{API}/oauth/2026-03/token", json=refusal, status=400)
    with pytest.raises(AuthError) as oauth:
        fetch("email_event")
    assert "fixture-" not in f"{private_app.value!r} {oauth.value!r}"


def test_without_credentials_the_variable_is_named(
    vendor: responses.RequestsMock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HUBSPOT_ACCESS_TOKEN")
    with pytest.raises(AuthError, match="HUBSPOT_ACCESS_TOKEN is not set"):
        hubspot.connect(make_config())


# -- HubSpot's dialect


def refusal(message: str, category: str | None = None, **more: Any) -> dict[str, Any]:
    body = {"status": "error", "message": message, "correlationId": "d5683f9c-1f0e-4e0b-b2fd-0c7a3e1e0d11"}
    return body | ({"category": category} if category else {}) | more


def throttled(policy: str) -> dict[str, Any]:
    message = f"You have reached your {policy.lower()} limit."
    return refusal(message, errorType="RATE_LIMIT", policyName=policy)


EXPIRED = refusal("The OAuth token used to make this call expired 5 second(s) ago.", "EXPIRED_AUTHENTICATION")
SCOPES = ["crm.objects.deals.read", "crm.schemas.deals.read"]
MISSING_SCOPES = refusal(
    "This app hasn't been granted all required scopes to make this call.",
    "MISSING_SCOPES",
    errors=[
        {"message": "One or more of the following scopes are required.", "context": {"requiredGranularScopes": SCOPES}}
    ],
)
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
PAGE = "<!DOCTYPE html><html><body>Service Unavailable</body></html>"
DIALECT: list[tuple[int, dict[str, str], Any, Outcome]] = [
    (200, {}, {"results": []}, Ok()),
    (207, {}, {"results": [], "errors": []}, Ok()),
    (200, {"Content-Type": "text/html; charset=utf-8"}, PAGE, Wait(5, "an HTML page instead of an answer")),
    (429, {}, throttled("TEN_SECONDLY_ROLLING"), Wait(10)),
    (429, {"Retry-After": "3"}, throttled("TEN_SECONDLY_ROLLING"), Wait(3)),
    (429, {}, throttled("SECONDLY"), Wait(1)),
    (429, {}, refusal("You have reached your secondly limit.", "RATE_LIMITS"), Wait(1)),  # the search
    (429, {}, throttled("DAILY"), Stop(MIDNIGHT, "daily limit of API calls")),
    (429, {"Retry-After": "20"}, throttled("DAILY"), Stop(MIDNIGHT, "daily limit of API calls")),
    (429, {"X-HubSpot-RateLimit-Daily-Remaining": "0"}, {}, Stop(MIDNIGHT, "daily limit of API calls")),
    (429, {"Content-Type": "text/html"}, PAGE, Wait(10)),
    (401, {}, EXPIRED, Reauth("EXPIRED_AUTHENTICATION")),
    (401, {}, refusal("No credentials found.", "INVALID_AUTHENTICATION"), Reauth("INVALID_AUTHENTICATION")),
    (403, {}, MISSING_SCOPES, Skip(f"missing scopes: {', '.join(SCOPES)}")),
    (403, {"Content-Type": "text/html"}, PAGE, Fatal("not allowed (no reason given)", auth=True)),
    (530, {}, PAGE, Fatal("the access token is malformed", auth=True)),
    (414, {}, PAGE, Split("the address is too long")),
    (423, {}, refusal("Locked"), Wait(2, "locked")),
    (477, {"Retry-After": "86400"}, {},
     Stop(NOW + timedelta(days=1), "the account is being moved to another data centre")),
    (429, {"Retry-After": "900"}, {}, Stop(NOW + timedelta(minutes=15), "throttled")),
    (500, {}, refusal("internal error", "INTERNAL_ERROR"), Wait(5, "INTERNAL_ERROR")),
    (503, {"Content-Type": "text/html", "Retry-After": "7"}, PAGE, Wait(7, "no reason given")),
    (521, {}, PAGE, Wait(5, "no reason given")),
    (400, {}, refusal("Invalid input", "VALIDATION_ERROR"), Fatal("VALIDATION_ERROR")),
    (404, {}, refusal("resource not found", "OBJECT_NOT_FOUND"), Fatal("OBJECT_NOT_FOUND")),
    (400, {}, ["not", "an", "object"], Fatal("no reason given")),
]  # fmt: skip


@pytest.mark.parametrize(("status", "headers", "body", "outcome"), DIALECT)
def test_an_answer_is_read_in_the_dialect_of_hubspot(
    status: int, headers: dict[str, str], body: Any, outcome: Outcome
) -> None:
    with time_machine.travel(NOW, tick=False):
        assert classify(response(status, headers, body)) == outcome


def response(status: int, headers: dict[str, str], body: Any, url: str = EVENTS) -> requests.Response:
    answer = requests.Response()
    answer.status_code, answer.url = status, url
    answer.headers.update(headers)
    answer._content = (body if isinstance(body, str) else json.dumps(body)).encode()
    return answer


def test_a_refused_search_says_what_searches_are_refused_for() -> None:
    outcome = classify(response(400, {}, refusal("There was a problem with the request."), f"{CONTACTS}/search"))
    assert isinstance(outcome, Fatal)
    assert "10,000 results" in outcome.reason


# -- against the sandbox


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Points the connector at a sandbox's URL, with the credentials of its OAuth app."""
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("HUBSPOT_ACCESS_TOKEN", raising=False)
    for name in ("client", "secret", "refresh"):
        variable = {"client": "CLIENT_ID", "secret": "CLIENT_SECRET", "refresh": "REFRESH_TOKEN"}[name]
        monkeypatch.setenv(f"HUBSPOT_{variable}", f"sandbox-{name}")
    return lambda url: monkeypatch.setenv("HUBSPOT_BASE_URL", f"{url}/hubspot")


def test_everything_that_the_sandbox_has_is_read_and_none_of_it_is_refused(
    sandbox: Callable[[str], None], tmp_path: Path
) -> None:
    world = make_world(tmp_path / "world.db", until=date(2026, 10, 31), days=30, leads=240)
    window = Window.of_days(date(2026, 10, 1), date(2026, 11, 2), BERLIN)
    config = make_config(fields={"region": "region"})
    with running(world) as url:
        sandbox(url)
        client = hubspot.connect(config)
        add_fault(world, "hubspot", "expire_token", path_contains="/search")
        add_fault(world, "hubspot", "throttle", path_contains="/batch/read", retry_after=0)
        [account] = SOURCE.accounts(client, config).read
        read: dict[str, list[dict[str, Any]]] = {}
        for stream in SOURCE.streams:
            pages = stream.fetch(client, account, window)
            read[stream.name] = [dict(record) for page in pages for record in page.records]
            for table in stream.feeds:
                rows = enforce(metadata.tables[table], mapped(stream.name, table, read[stream.name], config, account))
                assert rows.rejects.empty
                assert len(rows.rows)
        assert all(finding.ok for finding in SOURCE.probe(client, config))
        add_fault(world, "hubspot", "throttle", path_contains="/events", daily=True)
        with pytest.raises(QuotaError, match="daily limit"):
            list(SOURCE.stream("email_event").fetch(client, account, window))
    assert {name: len(records) for name, records in read.items()} == held(world)


def held(world: World) -> dict[str, int]:
    """How many records the sandbox's clock shows, archived ones included, straight from its database."""
    listed = """
        select count(*) from record_version v where object = ? and is_gone = 0 and version = (
            select max(version) from record_version n where (n.vendor, n.object, n.id) = (v.vendor, v.object, v.id)
            and n.visible_at <= ?)"""
    now = world.now()
    objects = {"contact": "contacts", "deal": "deals", "marketing_email": "marketing_email", "companies": "companies"}
    with world.connect() as connection:
        counts = {name: connection.execute(listed, (kind, now)).fetchone()[0] for name, kind in objects.items()}
        seen = connection.execute("select count(*) from email_event where visible_at <= ?", (now,)).fetchone()[0]
        forms = len(hubspot_forms.submissions(connection, now))
    companies = counts.pop("companies")
    present = counts["contact"] + counts["deal"] + companies + 3
    return counts | {"email_event": seen, "present": present, "form_submission": forms, "marketing_campaign": 3}


def test_more_than_ten_thousand_contacts_of_one_millisecond_are_all_read(
    sandbox: Callable[[str], None], tmp_path: Path
) -> None:
    moment, ids = SINCE + 1000, range(1, 10_052)
    stamp = "2026-10-01T22:00:01.000Z"
    payload = json.dumps({"createdate": stamp, "lastmodifieddate": stamp})
    path = tmp_path / "world.db"
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
        connection.execute("insert into setting values ('now', ?)", (str(UNTIL),))
        connection.executemany(
            "insert into record_version values ('hubspot', 'contacts', ?, 1, ?, ?, 0, 0, ?)",
            [(str(number), moment, moment, payload) for number in ids],
        )
    connection.close()
    with running(World(path)) as url:
        sandbox(url)
        client = hubspot.connect(make_config())
        pages = SOURCE.stream("contact").fetch(client, ACCOUNT, WINDOW)
        assert [int(record["id"]) for page in pages for record in page.records] == list(ids)


def test_the_windows_of_changes_overlap_and_keep_away_from_now() -> None:
    for name, overlap in (("contact", timedelta(minutes=15)), ("email_event", timedelta(days=1))):
        policy = SOURCE.stream(name).policy
        assert (policy.overlap, policy.settle) == (overlap, timedelta(minutes=5))


def test_a_refused_listing_is_permanent(vendor: responses.RequestsMock) -> None:
    vendor.get(EMAILS, json=refusal("Invalid input", "VALIDATION_ERROR"), status=400)
    with pytest.raises(PermanentError, match="status 400, VALIDATION_ERROR"):
        fetch("marketing_email")
