"""Zoho CRM over the sandbox, and by the answers that its OpenAPI files and public clients show."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses
from zohocrmsdk.src.com.zoho.api.authenticator.oauth_token import OAuthToken  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.api.authenticator.store import FileStore  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.crm.api import HeaderMap, ParameterMap  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.crm.api.dc.data_center import DataCenter  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.crm.api.initializer import Initializer  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.crm.api.record import GetRecordsParam, RecordOperations  # type: ignore[import-untyped]
from zohocrmsdk.src.com.zoho.crm.api.sdk_config import SDKConfig  # type: ignore[import-untyped]

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Answer, Fatal, Ok, Reauth, Session, Stop, Wait
from b2b_pipeline.connectors.zoho_crm import rows
from b2b_pipeline.connectors.zoho_crm.source import (
    SOURCE,
    Zoho,
    authorization,
    classify,
    connect,
    read_present,
)
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, QuotaError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import opportunity, stage_event
from b2b_pipeline_tests.support.installation import CREDENTIALS
from b2b_sandbox import tokens
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World
from b2b_sandbox.zoho_crm import ORG, number

UNTIL = date(2026, 6, 15)
BASE = "https://www.zohoapis.eu"
TOKENS = "https://accounts.zoho.eu/oauth/v2/token"
OURS = Account(str(ORG["id"]), "Our Company", "EUR")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL + timedelta(days=1), ZoneInfo("UTC"))
STAMP = "2026-06-01T10:00:00+02:00"
MQL = {"zoho_crm": {"Working - Contacted": "mql"}}


def config(stages: Any = None, **settings: Any) -> Config:
    given = {"start_date": "2026-01-01", "system_of_record": "zoho_crm", "sources": {"zoho_crm": settings}}
    return Config.model_validate({**given, "stages": stages or {}})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120, rough=True)


@pytest.fixture(autouse=True)
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        if name.startswith("ZOHO_CRM"):
            monkeypatch.setenv(name, value)
    for name in ("ZOHO_CRM_BASE_URL", "ZOHO_CRM_DATA_CENTER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def sandbox(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with running(world) as url:
        monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
        yield world
    clear_faults(world)


def read(client: Zoho, stream: str) -> list[Record]:
    return [record for page in SOURCE.stream(stream).fetch(client, OURS, WINDOW) for record in page.records]


def offline(**settings: Any) -> Zoho:
    known: dict[str, dict[str, Record]] = {name: {} for name in ("Leads", "Contacts", "Accounts", "Deals")}
    return Zoho(Session(BASE, classify=classify), config(**settings), known)


# -- what answers mean


def answer(status: int, code: str = "", headers: Mapping[str, str] = {}, message: str = "words") -> requests.Response:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/crm/v8/Leads"
    body = {"code": code, "details": {}, "message": message, "status": "error"}
    made._content = json.dumps(body).encode() if code else b""
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


def test_too_many_calls_at_once_are_told_from_spent_credits_by_those_that_are_left() -> None:
    """Both are status 429 with the same words."""
    told = "TOO_MANY_REQUESTS: words"
    assert classify(answer(429, "TOO_MANY_REQUESTS")) == Wait(30.0, told)
    assert classify(answer(429, "TOO_MANY_REQUESTS", {"X-API-CREDITS-REMAINING": "12000"})) == Wait(30.0, told)
    assert classify(answer(429, "TOO_MANY_REQUESTS", {"Retry-After": "3"})) == Wait(3.0, told)
    spent = classify(answer(429, "TOO_MANY_REQUESTS", {"X-API-CREDITS-REMAINING": "0"}))
    assert isinstance(spent, Stop)
    assert timedelta(minutes=50) < spent.until - datetime.now(UTC) < timedelta(hours=2)


def test_what_a_status_means_is_in_its_code() -> None:
    assert isinstance(classify(answer(204)), Ok)
    assert isinstance(classify(answer(304)), Ok)
    assert classify(answer(401, "INVALID_TOKEN")) == Reauth("INVALID_TOKEN: words")
    denied = classify(answer(401, "OAUTH_SCOPE_MISMATCH"))
    assert isinstance(denied, Fatal)
    assert denied.auth
    assert "b2b connect zoho_crm" in denied.fix
    gone = classify(answer(400, "API_NOT_SUPPORTED"))
    assert isinstance(gone, Fatal)
    assert not gone.auth
    assert isinstance(classify(answer(500, "INTERNAL_ERROR")), Wait)


@pytest.mark.parametrize(
    ("status", "body", "caught"),
    [
        (200, {"error": "invalid_code"}, AuthError),  # refusals come with status 200
        (200, {"error": "invalid_client"}, AuthError),
        (
            400,
            {"error": "Access Denied", "error_description": "You have made too many requests continuously. Please try"},
            TransientError,
        ),
    ],
)
@responses.activate
def test_tokens_asked_for_too_often_are_no_wrong_credentials(
    status: int, body: dict[str, str], caught: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOHO_CRM_DATA_CENTER", "eu")
    responses.post(TOKENS, json=body, status=status)
    with pytest.raises(caught) as told:
        connect(config()).session.get("crm/v8/org")
    assert tokens.REFRESH_TOKEN not in str(told.value)


@responses.activate
def test_each_data_centre_has_its_hosts_and_the_token_its_own_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOHO_CRM_DATA_CENTER", "com.au")
    granted = {"access_token": "1000.abc", "expires_in": 3600, "api_domain": "https://www.zohoapis.com.au"}
    responses.post("https://accounts.zoho.com.au/oauth/v2/token", json=granted)
    responses.get("https://www.zohoapis.com.au/crm/v8/org", json={"org": [ORG]})
    assert SOURCE.accounts(connect(config()), config()).read == [OURS]
    assert responses.calls[-1].request.headers["Authorization"] == "Zoho-oauthtoken 1000.abc"
    assert authorization().page == "https://accounts.zoho.com.au/oauth/v2/auth"
    monkeypatch.setenv("ZOHO_CRM_DATA_CENTER", "de")
    with pytest.raises(ConfigError, match="ZOHO_CRM_DATA_CENTER: 'de' is none of com, eu"):
        connect(config())


# -- what is asked


def page(stamps: list[str], **info: Any) -> dict[str, Any]:
    data = [{"id": str(n), "Modified_Time": stamp, "Stage": "Open"} for n, stamp in enumerate(stamps)]
    return {"data": data, "info": {"per_page": 200, "more_records": False, "next_page_token": None, **info}}


@responses.activate
def test_a_window_is_read_in_order_from_its_start_until_a_record_after_its_end() -> None:
    """Zoho has no upper bound: the page after is not asked for, and converted leads are."""
    stamps = ["2026-05-15T23:59:59+00:00", "2026-05-16T02:00:00+02:00", "2026-06-16T01:59:59+02:00",
              "2026-06-16T02:00:00+02:00"]  # fmt: skip
    responses.get(f"{BASE}/crm/v8/Leads", json=page(stamps, more_records=True, next_page_token="t2"))
    found = read(offline(), "lead")
    assert [record["id"] for record in found] == ["1", "2"]
    assert len(responses.calls) == 1
    request = responses.calls[0].request
    query = dict(request.params)  # type: ignore[attr-defined]
    assert request.headers["If-Modified-Since"] == "2026-05-15T23:59:59+00:00"
    assert (query["sort_by"], query["sort_order"], query["converted"]) == ("Modified_Time", "asc", "both")
    assert {"Email", "Converted__s", "Converted_Deal", "Modified_Time"} <= {*query["fields"].split(",")}
    assert not {"Owner", "Company", "Full_Name", "Phone", "Description"} & {*query["fields"].split(",")}


@responses.activate
def test_pages_that_are_not_in_order_or_do_not_say_what_follows_are_refused() -> None:
    ordered, late = ["2026-06-01T10:00:00+02:00"], ["2026-05-31T10:00:00+02:00"]
    responses.get(f"{BASE}/crm/v8/Accounts", json=page(ordered, more_records=True, next_page_token="t2"))
    responses.get(f"{BASE}/crm/v8/Accounts", json=page(late))
    with pytest.raises(TransientError, match="not in the order of Modified_Time"):
        read(offline(), "account")
    for info in ({"more_records": True}, {"more_records": None}):
        responses.reset()
        responses.get(f"{BASE}/crm/v8/Accounts", json=page(ordered, **info))
        with pytest.raises(TransientError, match="does not say what follows"):
            read(offline(), "account")


@pytest.mark.parametrize("status", [204, 304])
@responses.activate
def test_nothing_there_and_nothing_modified_are_no_records_and_no_error(status: int) -> None:
    responses.get(f"{BASE}/crm/v8/Contacts", status=status)
    assert read(offline(), "contact") == []


@responses.activate
def test_what_is_kept_of_a_lookup_is_its_id_and_of_a_stage_what_it_means() -> None:
    owner = {"name": "Ada Sales", "id": "7", "email": "ada@ourcompany.example"}
    given = page([STAMP])
    given["data"][0] |= {"Stage": "Signed", "Owner": owner, "Account_Name": None, "$currency_symbol": "EUR"}
    responses.get(f"{BASE}/crm/v8/Deals", json=given)
    line = {"id": "9", "Stage": "Signed", "Modified_Time": STAMP, "Modified_By": owner, "Amount": 5.0}
    responses.get(f"{BASE}/crm/v8/Deals/0/Stage_History", json={"data": [line], "info": {"more_records": False}})
    client = offline()
    stages = [{"actual_value": "won_1", "display_value": "Signed", "forecast_type": "Closed Won"}]
    client.known["Deals"] = {"Stage": {"api_name": "Stage", "pick_list_values": stages}}
    assert read(client, "deal") == [
        {
            "id": "0", "Modified_Time": STAMP, "Stage": "Signed", "Owner": {"id": "7"}, "Account_Name": None,
            "kind": "Closed Won", "stages": [{"id": "9", "Stage": "Signed", "Modified_Time": STAMP}],
        }
    ]  # fmt: skip


def entry(number: int, at: str, *changes: tuple[str, str | None, str | None]) -> Record:
    history = [{"api_name": name, "_value": {"old": old, "new": new}} for name, old, new in changes]
    return {"id": f"{number}", "audited_time": at, "action": "updated", "done_by": {"name": "Ada Sales", "id": "7"},
            "field_history": history or None}  # fmt: skip


def served_lead(*entries: Record, created: str = STAMP, modified: str = "2026-06-04T10:00:00+02:00") -> str:
    """A lead with such a timeline, whose address comes back."""
    given = {"id": "1", "Created_Time": created, "Modified_Time": modified, "Lead_Status": "Lost Lead"}
    info = {"more_records": False, "next_page_token": None}
    url = f"{BASE}/crm/v8/Leads/1/__timeline"
    responses.get(f"{BASE}/crm/v8/Leads", json={"data": [given], "info": info})
    if entries:
        responses.get(url, json={"__timeline": [*entries], "info": info})
    return url


def doubts(client: Zoho) -> list[str]:
    return [day for page in SOURCE.stream("lead_history").fetch(client, OURS, WINDOW) for day in page.doubts]


@responses.activate
def test_of_a_timeline_only_the_status_is_kept_and_a_next_page_is_asked_for_without_its_size() -> None:
    """Zoho refuses a token together with a size: AMBIGUITY_DURING_PROCESSING."""
    url = served_lead()
    info = {"more_records": True, "next_page_token": "t2"}
    responses.get(url, json={"__timeline": [entry(1, STAMP)], "info": info})
    changed = entry(2, "2026-06-03T10:00:00+02:00", ("Phone", None, "1"), ("Lead_Status", "blank", "Lost Lead"))
    responses.get(url, json={"__timeline": [changed], "info": {"more_records": False}})
    [lead_] = read(offline(), "lead_history")
    assert lead_["whole"]
    assert lead_["changes"] == [
        {"id": "2", "audited_time": "2026-06-03T10:00:00+02:00", "old": "blank", "new": "Lost Lead"}
    ]
    first, second = (dict(call.request.params) for call in [*responses.calls][1:])  # type: ignore[attr-defined]
    assert first == {"sort_by": "audited_time", "sort_order": "asc"}
    assert second == {**first, "page_token": "t2"}


@responses.activate
def test_the_days_of_a_lead_before_its_timeline_begins_are_in_doubt() -> None:
    served_lead(entry(2, "2026-06-03T23:00:00+00:00"), entry(1, "2026-06-02T23:30:00+00:00"))
    assert doubts(offline()) == ["2026-06-01", "2026-06-02"]
    [lead_] = read(offline(), "lead_history")
    assert not lead_["whole"]


@pytest.mark.parametrize("status", [204, 400])
@responses.activate
def test_the_days_of_a_lead_without_a_timeline_are_in_doubt(status: int) -> None:
    body = {"code": "INVALID_DATA", "message": "the id given seems to be invalid"} if status == 400 else None
    responses.get(served_lead(), status=status, json=body)
    assert doubts(offline()) == ["2026-06-01", "2026-06-02", "2026-06-03", "2026-06-04"]


@responses.activate
def test_timelines_that_nobody_may_read_fail_the_stream() -> None:
    responses.get(served_lead(), status=403, json={"code": "NO_PERMISSION", "message": "permission denied"})
    with pytest.raises(AuthError):
        read(offline(), "lead_history")


def test_timelines_in_pages_of_any_size_tell_the_same(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for options in ({}, {"page_size": 1}):
        with running(world, zoho_crm=options) as url:
            monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
            found.append(sorted(read(connect(config()), "lead_history"), key=lambda record: record["id"]))
    assert found[0] == found[1]
    assert any(record["changes"] for record in found[0])
    assert all(record["whole"] for record in found[0])


def test_pages_of_any_size_hold_the_same_leads_converted_ones_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for options in ({}, {"page_size": 7}):
        with running(world, zoho_crm=options) as url:
            monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
            found.append(sorted((lead["id"], lead["Converted__s"]) for lead in read(connect(config()), "lead")))
    assert found[0] == found[1]
    assert {converted for _, converted in found[0]} == {True, False}


@pytest.fixture
def moving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """A world of small pages, whose tokens are places in a list, and that a test may change."""
    made = make_world(tmp_path / "moving.sqlite", until=UNTIL, days=30, leads=40, seed=3)
    with running(made, zoho_crm={"page_size": 7}) as url:
        monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
        yield made


def touch(world: World, identifiers: set[str], *, is_deleted: bool) -> None:
    """Leads are changed now, or deleted, and so leave their places."""
    with world.connect() as connection:
        for row in connection.execute("select * from record_version where object = 'Lead'").fetchall():
            if number(row["id"]) in identifiers:
                again = {**row, "version": row["version"] + 100, "modified_at": world.now(), "is_deleted": is_deleted}
                holes = ", ".join("?" * len(again))
                connection.execute(f"insert into record_version values ({holes})", [*again.values()])  # noqa: S608


@pytest.mark.parametrize("is_deleted", [False, True])
@pytest.mark.parametrize("at_once", [False, True])  # whether all have been modified in one second, as by an import
@pytest.mark.parametrize("stream", ["lead", "present"])
def test_records_that_change_or_go_between_two_pages_cost_no_other_one(
    moving: World, stream: str, at_once: bool, is_deleted: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if at_once:
        with moving.connect() as connection:
            connection.execute("update record_version set modified_at = ?", [moving.now() - 86_400_000])
    client = connect(config(streams=["lead", "present"]))
    before = {record["id"] for record in read(client, stream)}
    touched, asked = set[str](), client.session.get

    def get(path: str, *query: Any, **headers: str) -> Answer:
        answer = asked(path, *query, **headers)
        if path.endswith("/Leads") and not touched and (query[0]["page_token"] or not at_once):
            touched.update(lead["id"] for lead in answer.rows("data")[:4])
            touch(moving, touched, is_deleted=is_deleted)
        return answer

    monkeypatch.setattr(client.session, "get", get)
    found = {record["id"] for record in read(client, stream)}
    assert touched
    assert before - touched <= found


def test_a_page_that_leads_back_to_itself_ends_the_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world, zoho_crm={"page_size": 1}) as url:
        monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
        add_fault(world, "zoho_crm", "repeat_cursor")
        with pytest.raises(TransientError, match="cursor repeats"):
            read(connect(config()), "lead_history")
    clear_faults(world)


def test_a_token_that_expires_in_the_middle_is_renewed_and_nothing_is_lost(sandbox: World) -> None:
    whole = read(connect(config()), "deal")
    client = connect(config())
    client.session.get("crm/v8/org")
    add_fault(sandbox, "zoho_crm", "expire_token")
    assert read(client, "deal") == whole != []


def test_credits_that_are_spent_end_the_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world, zoho_crm={"credits_": 3}) as url:
        monkeypatch.setenv("ZOHO_CRM_BASE_URL", f"{url}/zoho_crm")
        with pytest.raises(QuotaError, match="API credits"):
            read(connect(config()), "deal")


def test_another_organization_than_the_configured_one_is_refused(sandbox: World) -> None:
    settings = config(accounts=["1"])
    with pytest.raises(ConfigError, match=r"sources\.zoho_crm\.accounts: 1 not among"):
        SOURCE.accounts(connect(settings), settings)


def test_doctor_tells_what_is_readable_and_which_field_is_not_there(sandbox: World) -> None:
    settings = config(MQL, fields={"utm_medium": "Our_UTM_Medium", "gclid": "Our_Click"})
    findings = SOURCE.probe(connect(settings), settings)
    told = [finding.what for finding in findings if finding.ok]
    assert told[0] == "Zoho CRM organization Our Company (EUR), more than half of the credits of 24 hours left"
    assert {"Zoho CRM lead is readable", "Zoho CRM deal is readable"} <= {*told}
    [wrong] = [finding for finding in findings if not finding.ok]
    assert "sources.zoho_crm.fields.gclid" in wrong.what
    assert not any(finding.warning for finding in findings)


def test_doctor_says_which_statuses_could_be_stages_and_which_no_lead_can_have(sandbox: World) -> None:
    [warned] = [finding for finding in SOURCE.probe(connect(config()), config()) if finding.warning]
    assert warned.what == "Zoho CRM: no status of a lead is a stage: who became MQL is unknown"
    assert "Working - Contacted" in warned.fix
    settings = config({"zoho_crm": {"Working": "mql"}})
    [wrong] = [finding for finding in SOURCE.probe(connect(settings), settings) if not finding.ok]
    assert "'Working'" in wrong.what


@responses.activate
def test_doctor_warns_of_a_user_who_may_not_see_everything_and_of_a_token_that_may_write() -> None:
    responses.get(f"{BASE}/crm/v8/org", json={"org": [ORG]}, headers={"X-API-CREDITS-REMAINING": "900"})
    responses.get(f"{BASE}/crm/v8/users", json={"users": [{"profile": {"name": "Standard"}}]})
    for name in ("Leads", "Contacts", "Accounts", "Deals"):
        responses.get(f"{BASE}/crm/v8/{name}", status=204)
    client = offline(streams=["lead", "contact", "account", "deal"])
    client.scopes.extend(["ZohoCRM.modules.ALL", "ZohoCRM.org.READ"])
    findings = SOURCE.probe(client, client.config)
    assert "900 credits left" in findings[0].what
    warnings = [finding.what for finding in findings if finding.warning]
    assert len(warnings) == 2
    assert "profile is Standard" in warnings[0]
    assert warnings[1].endswith("ZohoCRM.modules.ALL")


def test_a_sweep_has_converted_leads_too_and_every_module(sandbox: World) -> None:
    pages = [page.records for page in read_present(connect(config()), OURS, WINDOW)]
    assert [page[0]["object"] for page in pages] == ["lead", "contact", "account", "opportunity"]
    leads = {record["id"] for record in pages[0]}
    assert {lead["id"] for lead in read(connect(config()), "lead") if lead["Converted__s"]} <= leads


# -- what becomes of it


def context(stream: str = "lead", **settings: Any) -> MappingContext:
    return MappingContext(config(**settings), "zoho_crm", stream, OURS)


def lead(number: int, **more: Any) -> Record:
    given = {"id": f"{number}", "Email": None, "Converted__s": False, "Created_Time": STAMP, "Modified_Time": STAMP}
    return {**given, **more}


def deal(number: int, **more: Any) -> Record:
    given = {
        "id": f"{number}", "Deal_Name": "Deal", "Stage": "Qualification", "kind": "Open", "Amount": 5000.0,
        "Closing_Date": "2026-06-30", "Account_Name": {"id": "a1"}, "Contact_Name": {"id": "c1"}, "Type": "Renewal",
        "Created_Time": STAMP, "Modified_Time": STAMP, "stages": [],
    }  # fmt: skip
    return {**given, **more}


def plain(cells: pd.Series) -> list[Any]:
    return [None if pd.isna(cell) else cell for cell in cells]


def test_a_deal_is_won_or_lost_by_what_its_stage_means_and_one_of_no_known_kind_is_refused() -> None:
    given = [deal(1), deal(2, kind="Closed Won"), deal(3, kind="Closed Lost", Amount=None), deal(4, kind=None),
             deal(5, kind="Omitted")]  # fmt: skip
    found = enforce(opportunity, rows.opportunities(flattened(given), context("deal")))
    assert found.rows["opp_id"].tolist() == ["1", "2", "3"]
    assert found.rows["is_won"].tolist() == [False, True, False]
    assert found.rows["is_closed"].tolist() == [False, True, True]
    assert len(found.rejects) == 2
    assert plain(found.rows["opp_type"]) == ["Renewal"] * 3
    with pytest.raises(KeyError, match="kind"):
        rows.opportunities(flattened([{"id": "1"}]), context("deal"))


def test_an_organization_of_one_currency_sells_in_it_and_else_each_deal_says_its_own() -> None:
    one = rows.opportunities(flattened([deal(1)]), context("deal"))
    several = rows.opportunities(flattened([deal(1, Currency="USD"), deal(2, Currency=None)]), context("deal"))
    assert plain(one["currency"]) == ["EUR"]
    assert plain(several["currency"]) == ["USD", None]


def test_a_lead_became_sql_when_it_was_converted_and_nobody_guesses_when() -> None:
    given = [
        lead(1, Converted__s=True, Converted_Date_Time="2026-06-02T00:30:00+02:00", Converted_Contact={"id": "c1"},
             Converted_Deal={"id": "d1"}),
        lead(2), lead(3, Converted__s=True, Converted_Date_Time=None),
    ]  # fmt: skip
    found = enforce(stage_event, rows.lead_stages(flattened(given), context()))
    assert found.rows["object_id"].tolist() == ["1"]
    assert [str(day)[:10] for day in found.rows["date_day"]] == ["2026-06-01"]
    assert len(found.rejects) == 1
    leads = rows.leads(flattened(given), context())
    assert plain(leads["converted_opp_id"]) == ["d1", None, None]
    links = rows.lead_links(flattened(given), context())
    assert links[["rule", "from_key", "to_key"]].to_numpy().tolist() == [
        ["conversion", "zoho_crm:lead:1", "zoho_crm:contact:c1"]
    ]


def test_a_lead_was_made_with_the_status_that_its_first_change_left_or_that_it_has_if_its_timeline_is_whole() -> None:
    later, last = "2026-06-10T09:00:00+02:00", "2026-06-20T09:00:00+02:00"

    def told(number: int, status: str, *changes: tuple[str, str, str], whole: bool = True) -> Record:
        lines = [{"id": f"{n}", "audited_time": at, "old": old, "new": new} for n, (at, old, new) in enumerate(changes)]
        return lead(number, Lead_Status=status, whole=whole, changes=lines)

    mql, lost, new = "Working - Contacted", "Lost Lead", "Not Contacted"
    given = [
        told(1, mql), told(2, lost, (later, mql, lost)), told(3, mql, (later, new, mql)),
        told(4, mql, (last, lost, mql), (later, mql, lost)),  # newest first
        told(5, mql, whole=False), told(6, lost, (later, mql, lost), whole=False),
        told(7, mql, (later, lost, mql), whole=False), told(8, new),
    ]  # fmt: skip
    found = rows.lead_history(flattened(given), MappingContext(config(MQL), "zoho_crm", "lead_history", OURS))
    kept = enforce(stage_event, found.reset_index(drop=True))
    assert kept.rejects.empty
    newest = kept.rows.sort_values("updated_at", na_position="first")
    newest = newest.drop_duplicates(["object_id", "entered_at"], keep="last")
    entered = sorted((row.object_id, f"{row.entered_at:%d}") for row in newest[~newest["is_deleted"]].itertuples())
    assert entered == [("1", "01"), ("2", "01"), ("3", "10"), ("4", "01"), ("4", "20"), ("7", "10")]


def test_stages_are_those_of_the_history_each_from_when_it_was_entered() -> None:
    lines = [
        {"id": "1", "Stage": "Closed Won", "Modified_Time": "2026-06-10T09:00:00+02:00"},
        {"id": "2", "Stage": "Qualification", "Modified_Time": STAMP},
    ]
    found = rows.deal_stages(flattened([deal(1, stages=lines), deal(2)]), context("deal"))
    assert found["object_id"].tolist() == ["1", "1"]
    assert found["to_stage"].tolist() == ["Closed Won", "Qualification"]
    assert [f"{at:%m-%d %H:%M}" for at in found["entered_at"]] == ["06-10 07:00", "06-01 08:00"]


# -- the vendor's own client


def test_zoho_s_own_client_logs_in_at_the_twin_and_reads_its_leads_page_by_page(world: World, tmp_path: Path) -> None:
    with running(world) as url:
        base = f"{url}/zoho_crm"
        token = OAuthToken(
            client_id=tokens.CLIENT_ID, client_secret=tokens.CLIENT_SECRET, refresh_token=tokens.REFRESH_TOKEN,
            find_user=False,
        )  # fmt: skip
        Initializer.initialize(
            environment=DataCenter.Environment(base, f"{base}/oauth/v2/token", url), token=token,
            store=FileStore(str(tmp_path / "tokens")), resource_path=str(tmp_path),
            sdk_config=SDKConfig(pick_list_validation=False, update_api_domain=False),
        )  # fmt: skip
        found, following, pages = [], None, 0
        while following or not pages:
            asked = ParameterMap()
            asked.add(GetRecordsParam.fields, "Company,Converted__s,Modified_Time,Owner")
            asked.add(GetRecordsParam.converted, "both")
            asked.add(GetRecordsParam.per_page, 20)
            if following:
                asked.add(GetRecordsParam.page_token, following)
            page = RecordOperations("Leads").get_records(asked, HeaderMap()).get_object()
            found += [record.get_key_values() for record in page.get_data()]
            following, pages = page.get_info().get_next_page_token(), pages + 1
    assert pages > 1
    assert len({record["id"] for record in found}) == len(found)
    assert {record["Converted__s"] for record in found} == {True, False}
    assert all(isinstance(record["Modified_Time"], datetime) for record in found)
