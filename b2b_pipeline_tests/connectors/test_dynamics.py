"""Dynamics 365 Sales over the sandbox, and by the answers that Dataverse's documents and public clients show."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses
import time_machine
from azure.core.credentials import AccessToken
from PowerPlatform.Dataverse.client import DataverseClient

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.dynamics import rows
from b2b_pipeline.connectors.dynamics.source import (
    API,
    LABEL,
    LOGIN,
    SOURCE,
    Dynamics,
    classify,
    connect,
    read_present,
)
from b2b_pipeline.connectors.http import Fatal, Reauth, Session, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, SkippedError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import opportunity, stage_event
from b2b_pipeline_tests.support.installation import CREDENTIALS
from b2b_sandbox import tokens
from b2b_sandbox.dynamics import guid
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
BASE = "https://ourorg.crm4.dynamics.com"
ORG = Account(guid("organization"), "Our Company", "EUR")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL + timedelta(days=1), ZoneInfo("UTC"))
STAMP = "2026-01-01T10:00:00Z"


def config(stages: Any = None, **settings: Any) -> Config:
    given = {"start_date": "2026-01-01", "system_of_record": "dynamics", "sources": {"dynamics": settings}}
    return Config.model_validate({**given, "stages": stages or {}})


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120, rough=True)


@pytest.fixture(autouse=True)
def credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        if name.startswith("DYNAMICS"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("DYNAMICS_BASE_URL", raising=False)


@pytest.fixture
def sandbox(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with running(world) as url:
        monkeypatch.setenv("DYNAMICS_BASE_URL", f"{url}/dynamics")
        yield world
    clear_faults(world)


def read(client: Dynamics, stream: str) -> list[Record]:
    return [record for page in SOURCE.stream(stream).fetch(client, ORG, WINDOW) for record in page.records]


def offline(**settings: Any) -> Dynamics:
    return Dynamics(Session(BASE, classify=classify), config(**settings))


# -- what answers mean


def answer(status: int, body: Any = None, headers: Mapping[str, str] = {}) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/{API}/leads"
    made._content = b"" if body is None else json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


def error(code: str, message: str = "words") -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds."),
        ("0x80072321", "Combined execution time of incoming requests exceeded limit of 1,200,000  milliseconds"),
        ("0x80072326", "Number of concurrent requests exceeded the limit of 52."),
    ],
)
def test_each_of_the_service_protection_limits_is_waited_out_as_long_as_it_says(code: str, message: str) -> None:
    assert classify(answer(429, error(code, message), {"Retry-After": "17"})) == Wait(17.0, f"{code}: {message}")
    stopped = classify(answer(429, error(code, message), {"Retry-After": "3600"}))
    assert isinstance(stopped, Stop)
    assert stopped.until - datetime.now(UTC) > timedelta(minutes=50)


def test_a_user_without_privilege_is_told_from_an_app_that_is_no_user() -> None:
    denied = classify(answer(403, error("0x80040220", "SecLib::CheckPrivilege failed. PrivilegeName: prvReadLead")))
    stranger = classify(answer(403, error("0x80072560", "The user is not a member of the organization.")))
    assert isinstance(denied, Fatal)
    assert isinstance(stranger, Fatal)
    assert denied.auth
    assert stranger.auth
    assert "security role" in denied.fix
    assert "application user" in stranger.fix


def test_an_expired_token_comes_without_a_body() -> None:
    assert isinstance(classify(answer(401)), Reauth)


def test_a_column_that_is_not_there_is_named() -> None:
    words = "Could not find a property named 'new_x' on type 'Microsoft.Dynamics.CRM.lead'."
    assert classify(answer(400, error("0x80060888", words))) == Fatal(f"0x80060888: {words}")


# -- what is asked


@responses.activate
def test_a_window_is_asked_half_open_in_order_and_of_what_the_environment_has() -> None:
    """`_campaignid_value` is only there with the solution for campaigns; what is named is only asked where it is."""
    columns = [{"LogicalName": name} for name in ("leadid", "companyname", "ownerid", "new_medium")]
    responses.get(f"{BASE}/{API}/EntityDefinitions(LogicalName='lead')/Attributes", json={"value": columns})
    responses.get(f"{BASE}/{API}/leads", json={"value": []})
    client = offline(fields={"utm_medium": "new_medium", "region": "new_region"})
    assert read(client, "lead") == []
    asked = responses.calls[-1].request
    query = dict(asked.params)  # type: ignore[attr-defined]
    assert query["$filter"] == "modifiedon ge 2026-05-16T00:00:00Z and modifiedon lt 2026-06-16T00:00:00Z"
    assert query["$orderby"] == "modifiedon,leadid"
    selected = query["$select"].split(",")
    assert {"companyname", "_ownerid_value", "new_medium", "_masterid_value"} <= {*selected}
    assert not {"new_region", "address1_country"} & {*selected}
    assert not {"fullname", "firstname", "telephone1", "description"} & {*selected}
    assert "parentcontactid($select=createdon,_originatingleadid_value)" in query["$expand"]
    assert asked.headers["Prefer"] == f'odata.maxpagesize=1000,odata.include-annotations="{LABEL[1:]}"'


@responses.activate
def test_of_a_lead_that_only_an_opportunity_was_made_of_that_is_asked_for() -> None:
    """Who was a contact already stays that contact, and the lead need not name its opportunity."""
    of_it, of_another = ({"createdon": STAMP, "_originatingleadid_value": name} for name in ("l1", "l0"))
    given = [
        lead(1, statecode=1, parentcontactid=of_another), lead(2), lead(3, statecode=1, parentaccountid=of_it),
        lead(4, statecode=1, parentcontactid={"createdon": STAMP, "_originatingleadid_value": "l4"}),
    ]  # fmt: skip
    responses.get(f"{BASE}/{API}/EntityDefinitions(LogicalName='lead')/Attributes", json={"value": []})
    responses.get(f"{BASE}/{API}/leads", json={"value": given})
    made = [{"opportunityid": "o1", **of_it}, {"opportunityid": "o2", **of_it, "createdon": "2026-03-01T00:00:00Z"}]
    responses.get(f"{BASE}/{API}/opportunities", json={"value": made})
    found = {record["leadid"]: record["opportunity_originating_lead"] for record in read(offline(), "lead")}
    assert found == {"l1": made[0], "l2": None, "l3": None, "l4": None}
    asked = dict(responses.calls[-1].request.params)  # type: ignore[attr-defined]
    assert asked["$filter"] == "_originatingleadid_value eq l1 or _originatingleadid_value eq l3"
    stages = rows.lead_stages(flattened(read(offline(), "lead")), context())
    told = dict(zip(stages["object_id"], stages["entered_at"], strict=True))
    assert told.keys() == {"l1", "l3", "l4"}
    assert isinstance(told["l3"], str)  # refused: nobody knows


@responses.activate
def test_a_next_page_on_another_host_is_not_followed() -> None:
    elsewhere = {"value": [{"leadid": "1"}], "@odata.nextLink": "https://elsewhere.example/api/data/v9.2/leads?page=2"}
    responses.get(f"{BASE}/{API}/leads", json=elsewhere)
    with pytest.raises(PermanentError, match="another host"):
        list(offline().pages("leads"))


def test_pages_of_any_size_hold_the_same_leads(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    found = []
    for options in ({}, {"page_size": 7}):
        with running(world, dynamics=options) as url:
            monkeypatch.setenv("DYNAMICS_BASE_URL", f"{url}/dynamics")
            found.append(sorted(lead["leadid"] for lead in read(connect(config()), "lead")))
    assert found[0] == found[1]
    assert len(set(found[0])) == len(found[0]) > 7


def test_a_page_that_leads_back_to_itself_ends_the_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world, dynamics={"page_size": 7}) as url:
        monkeypatch.setenv("DYNAMICS_BASE_URL", f"{url}/dynamics")
        add_fault(world, "dynamics", "repeat_cursor")
        with pytest.raises(TransientError, match="cursor repeats"):
            read(connect(config()), "lead")
    clear_faults(world)


def test_a_token_that_expires_in_the_middle_is_renewed_and_nothing_is_lost(sandbox: World) -> None:
    whole = read(connect(config()), "opportunity")
    client = connect(config())
    client.session.get(f"{API}/WhoAmI")
    add_fault(sandbox, "dynamics", "expire_token")
    assert read(client, "opportunity") == whole != []


@pytest.mark.parametrize(
    ("body", "caught"),
    [
        ({"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}, AuthError),
        ({"error": "temporarily_unavailable", "error_description": "AADSTS90033: try again"}, TransientError),
    ],
)
@responses.activate
def test_microsoft_s_own_troubles_at_the_login_are_no_wrong_credentials(
    body: dict[str, str], caught: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DYNAMICS_BASE_URL", BASE)
    tenant = CREDENTIALS["DYNAMICS_TENANT_ID"]
    responses.post(f"{LOGIN}/{tenant}/oauth2/v2.0/token", json=body, status=401 if caught is AuthError else 400)
    client = connect(config())
    with pytest.raises(caught) as told:
        client.get("WhoAmI")
    assert tokens.CLIENT_SECRET not in str(told.value)


def test_another_organization_than_the_configured_one_is_refused(sandbox: World) -> None:
    settings = config(accounts=["1"])
    with pytest.raises(ConfigError, match=r"sources\.dynamics\.accounts: 1 not among"):
        SOURCE.accounts(connect(settings), settings)
    assert SOURCE.accounts(connect(config()), config()).read == [ORG]


def test_doctor_tells_what_is_readable_and_which_column_is_not_there(sandbox: World) -> None:
    settings = config({"dynamics": {"Contacted": "mql"}}, fields={"opp_type": "new_type", "gclid": "new_clickid"})
    findings = SOURCE.probe(connect(settings), settings)
    told = [finding.what for finding in findings if finding.ok]
    assert "calls left of these five minutes" in told[0]
    assert {"Dynamics leads is readable", "Dynamics opportunities is readable"} <= {*told}
    [wrong] = [finding for finding in findings if not finding.ok]
    assert "sources.dynamics.fields.gclid" in wrong.what
    assert not any(finding.warning for finding in findings)


@responses.activate
def test_doctor_warns_of_a_role_that_sees_a_part_and_of_one_that_may_write() -> None:
    responses.get(f"{BASE}/{API}/WhoAmI", json={"UserId": "u1", "OrganizationId": "o1"})
    responses.get(f"{BASE}/{API}/organizations", json={"value": [{"organizationid": "o1", "name": "Ours"}]})
    held = [
        {"PrivilegeName": f"prv{what}{table}", "Depth": "Local" if table == "Lead" else "Global"}
        for what, table in (
            ("Read", "Lead"), ("Read", "Contact"), ("Read", "Account"), ("Read", "Opportunity"),
            ("Write", "Opportunity"),
        )
    ]  # fmt: skip
    url = f"{BASE}/{API}/systemusers(u1)/Microsoft.Dynamics.CRM.RetrieveUserPrivileges"
    responses.get(url, json={"RolePrivileges": held})
    for name in ("leads", "contacts", "accounts", "opportunities", "opportunitysalesprocesses",
                 "leadtoopportunitysalesprocesses"):  # fmt: skip
        responses.get(f"{BASE}/{API}/{name}", json={"value": []})
    for name in ("lead", "account", "opportunity"):
        responses.get(f"{BASE}/{API}/EntityDefinitions(LogicalName='{name}')/Attributes", json={"value": []})
    client = offline(streams=["lead", "contact", "account", "opportunity", "opportunity_process"])
    warnings = [finding.what for finding in SOURCE.probe(client, client.config) if finding.warning]
    assert len(warnings) == 2
    assert "every lead may be read" in warnings[0]
    assert "may write opportunity" in warnings[1]


# -- the audit log

WAS_OFF = "the audit log does not know the leads of then: auditing was off, or it is no longer kept"


def doubts(client: Dynamics) -> dict[str, str]:
    pages = SOURCE.stream("lead_history").fetch(client, ORG, WINDOW)
    return {day: why for page in pages for day, why in page.doubts.items()}


@pytest.fixture
def audited(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Dynamics]]:
    """A client of an environment with such an audit log."""
    with ExitStack() as servers:

        def served(**options: Any) -> Dynamics:
            url = servers.enter_context(running(world, dynamics=options))
            monkeypatch.setenv("DYNAMICS_BASE_URL", f"{url}/dynamics")
            return connect(config(stages={"dynamics": {"Contacted": "mql"}}))

        yield served
    clear_faults(world)


def test_of_the_audit_log_only_the_status_of_leads_is_kept_in_words(audited: Callable[..., Dynamics]) -> None:
    found = read(audited(page_size=7), "lead_history")
    assert {record["new"] for record in found} >= {"New", "Contacted", "Qualified"}
    made = [record for record in found if record["operation"] == rows.CREATED]
    assert {record["old"] for record in made} == {None}
    assert {None, "New"} <= {record["new"] for record in made}  # the log does not say of all with what they were made
    assert {name for record in found for name in record} == {"auditid", "createdon", "operation", "lead", "old", "new"}
    assert len({record["auditid"] for record in found}) == len(found)
    assert found == read(audited(), "lead_history")


def test_no_day_is_in_doubt_while_all_leads_are_in_the_audit_log(audited: Callable[..., Dynamics]) -> None:
    assert doubts(audited()) == {}


def test_days_before_auditing_was_on_are_in_doubt(audited: Callable[..., Dynamics]) -> None:
    """The day in the middle of which it was switched on, too."""
    days = [str(day) for day in WINDOW.days()]
    assert doubts(audited(audited_since="2026-06-01T12:00:00.000Z")) == dict.fromkeys(
        (day for day in days if day <= "2026-06-01"), WAS_OFF
    )
    assert doubts(audited(audited_since="2027-01-01T00:00:00.000Z")) == dict.fromkeys(days, WAS_OFF)


@responses.activate
def test_days_from_the_last_lead_on_that_the_log_knows_are_in_doubt_when_auditing_is_off() -> None:
    served(audits=[audit(1)], leads=[{"leadid": "l1", "createdon": "2026-06-10T12:00:00Z"}], is_on=False)
    assert [*doubts(offline())] == ["2026-06-10", "2026-06-11", "2026-06-12", "2026-06-13", "2026-06-14", "2026-06-15"]


def audit(number: int, changed: Any = (("statuscode", None, "1"),), **more: Any) -> Record:
    """One of a creation."""
    columns = [dict(zip(("logicalName", "oldValue", "newValue"), each, strict=True)) for each in changed]
    given = {
        "auditid": f"a{number}", "createdon": "2026-06-10T12:00:00.250Z", "operation": 1, "action": 1,
        "_objectid_value": "l1", "changedata": json.dumps({"changedAttributes": columns}),
    }  # fmt: skip
    return {**given, **more}


def served(audits: list[Record], leads: list[Record], is_on: bool = True, days: int = -1) -> None:
    """An environment whose audit log is that. Of the settings of auditing, one is a flag and two are objects."""
    switch, path = {"IsAuditEnabled": {"Value": is_on, "CanBeChanged": True}}, "EntityDefinitions(LogicalName='lead')"
    options = [{"Value": 1, "Label": {"UserLocalizedLabel": {"Label": "Neu", "LanguageCode": 1031}}}]
    status = f"{path}/Attributes(LogicalName='statuscode')/Microsoft.Dynamics.CRM.StatusAttributeMetadata"
    organization = {"organizationid": "o1", "isauditenabled": True, "auditretentionperiodv2": days}
    responses.get(f"{BASE}/{API}/organizations", json={"value": [organization]})
    responses.get(f"{BASE}/{API}/{path}", json=switch)
    responses.get(f"{BASE}/{API}/{status}", json={**switch, "OptionSet": {"Options": options}})
    responses.get(f"{BASE}/{API}/audits", json={"value": audits})
    responses.get(f"{BASE}/{API}/leads", json={"value": leads})


@responses.activate
def test_the_log_is_asked_by_day_and_a_choice_that_is_gone_keeps_its_number() -> None:
    made = {"leadid": "l1", "createdon": "2026-06-10T12:00:00Z"}
    change = (("telephone1", "1", "2"), ("statuscode", "1", "100000007"))
    served(
        [audit(1), audit(2, change, operation=2, action=2), audit(3, _objectid_value="l2"),
         audit(4, operation=2, action=14, changedata="systemuser,u1;ReadAccess"),
         audit(5, operation=2, action=105, changedata=None, _objectid_value="00000000-0000-0000-0000-000000000000")],
        [made],
    )  # fmt: skip
    found = read(offline(), "lead_history")
    assert [(record["auditid"], record["old"], record["new"]) for record in found] == [
        ("a1", None, "Neu"),
        ("a2", "Neu", "100000007"),
    ]
    assert found[0]["lead"] == made
    asked = next(dict(call.request.params) for call in responses.calls if call.request.url.count("/audits"))  # type: ignore[attr-defined,union-attr]
    assert asked["$filter"] == (
        "createdon ge 2026-05-16T00:00:00Z and createdon lt 2026-06-16T00:00:00Z and objecttypecode eq 'lead'"
    )
    assert asked["$orderby"] == "createdon"


@pytest.mark.parametrize("changed", [None, "systemuser,u1", '{"changedAttributes":[{"logicalName":"descr…'])
@responses.activate
def test_a_day_with_an_update_that_does_not_say_what_changed_is_in_doubt(changed: str | None) -> None:
    made = {"leadid": "l1", "createdon": "2026-06-10T12:00:00Z"}
    served([audit(1), audit(2, operation=2, action=2, changedata=changed, createdon="2026-06-12T08:00:00.5Z")], [made])
    assert doubts(offline()) == {"2026-06-12": "the audit log does not say what has changed of a lead"}


@responses.activate
def test_days_for_which_the_log_is_kept_no_more_are_in_doubt_also_where_it_knows_every_lead_since() -> None:
    served([audit(1)], [{"leadid": "l1", "createdon": "2026-06-10T12:00:00Z"}], days=30)
    with time_machine.travel(datetime(2026, 6, 20, 8, tzinfo=UTC)):
        found = doubts(offline())
    assert found == {f"2026-05-{day}": "the audit log is kept for 30 days" for day in range(16, 22)}


@responses.activate
def test_a_column_that_was_not_audited_when_a_lead_was_made_puts_its_day_in_doubt() -> None:
    made = [{"leadid": f"l{n}", "createdon": f"2026-06-1{n}T12:00:00Z"} for n in (1, 2)]
    served([audit(1, (("telephone1", None, "1"),)), audit(2, _objectid_value="l2")], made)
    assert max(doubts(offline())) == "2026-06-12"  # on its morning, too


def test_who_may_not_read_the_audit_log_leaves_it_out_and_doctor_says_what_to_do(
    audited: Callable[..., Dynamics], world: World
) -> None:
    client = audited()
    add_fault(world, "dynamics", "missing_scope", path_contains="audits", count=2)
    with pytest.raises(SkippedError, match="prvReadAuditSummary"):
        read(client, "lead_history")
    [warned] = [finding for finding in SOURCE.probe(client, client.config) if finding.warning]
    assert "who became MQL is unknown" in warned.what
    assert "prvReadAuditSummary" in warned.fix


def test_doctor_tells_that_auditing_is_off_and_which_status_no_lead_can_have(audited: Callable[..., Dynamics]) -> None:
    client = audited(is_audited=False)
    settings = config(stages={"dynamics": {"Contactd": "mql"}})
    found = SOURCE.probe(Dynamics(client.session, settings), settings)
    [warned] = [finding for finding in found if finding.warning]
    assert warned.what == "Dynamics: auditing is off for the environment: who became MQL is unknown from now on"
    [wrong] = [finding for finding in found if not finding.ok]
    assert "'Contactd'" in wrong.what
    assert "Contacted" in wrong.fix


def change(number: int, at: str, old: str | None, new: str | None, now: str = "Lost") -> Record:
    lead_ = {"leadid": f"l{number}", "createdon": STAMP, "statuscode": 9, "labels": {"statuscode": now}}
    operation = rows.CREATED if old is None else 2
    return {"auditid": f"a{at}", "createdon": at, "operation": operation, "lead": lead_, "old": old, "new": new}


def test_a_lead_was_made_with_the_status_that_the_log_says_or_that_its_first_change_left_or_that_it_has() -> None:
    made, later, last = "2026-01-01T10:00:00.25Z", "2026-02-01T09:00:00.5Z", "2026-03-01T09:00:00.5Z"
    changes = [
        change(1, made, None, "Contacted"), change(1, later, "Contacted", "Lost"), change(1, last, "Lost", "Contacted"),
        change(2, later, "Contacted", "Lost"), change(3, later, "New", "Contacted"),
        change(4, made, None, "New"), change(4, later, "New", "Contacted"), change(4, last, "Contacted", "Lost"),
        change(5, made, None, None, "Contacted"), change(6, made, None, None),
        change(7, made, None, None, "Contacted"), change(7, later, "New", "Contacted"),
    ]  # fmt: skip
    told = context("lead_history", stages={"dynamics": {"Contacted": "mql"}})
    kept = enforce(stage_event, rows.history(flattened(changes), told).reset_index(drop=True)).rows
    newest = kept.sort_values("updated_at", na_position="first")
    newest = newest.drop_duplicates(["object_id", "entered_at"], keep="last")
    entered = sorted((row.object_id, f"{row.entered_at:%m}") for row in newest[~newest["is_deleted"]].itertuples())
    assert entered == [("l1", "01"), ("l1", "03"), ("l2", "01"), ("l3", "02"), ("l4", "02"), ("l5", "01"), ("l7", "02")]


def test_a_sweep_has_what_was_merged_away_and_not_what_was_deleted(sandbox: World) -> None:
    pages = [page.records for page in read_present(connect(config()), ORG, WINDOW)]
    assert [page[0]["object"] for page in pages] == ["lead", "contact", "account", "opportunity"]
    assert all(page[0]["id"] == "*" and len(page) > 1 for page in pages)


# -- what becomes of it


def context(stream: str = "lead", **settings: Any) -> MappingContext:
    return MappingContext(config(**settings), "dynamics", stream, ORG)


def lead(number: int, **more: Any) -> Record:
    given = {
        "leadid": f"l{number}", "emailaddress1": None, "emailaddress2": None, "emailaddress3": None, "statecode": 0,
        "statuscode": 1, "merged": False, "_masterid_value": None, "_qualifyingopportunityid_value": None,
        "_parentcontactid_value": None, "_parentaccountid_value": None, "createdon": STAMP, "modifiedon": STAMP,
        "opportunity_originating_lead": None, "parentcontactid": None, "parentaccountid": None,
    }  # fmt: skip
    return {**given, **more}


def deal(number: int, **more: Any) -> Record:
    given = {
        "opportunityid": f"o{number}", "name": "Topic", "statecode": 0, "statuscode": 1, "stepname": "2-Develop",
        "estimatedvalue": 5000.0, "actualvalue": None, "estimatedclosedate": "2026-03-31", "actualclosedate": None,
        "_parentaccountid_value": "a1", "_parentcontactid_value": "c1", "_originatingleadid_value": None,
        "createdon": STAMP, "modifiedon": STAMP, "transactioncurrencyid": {"isocurrencycode": "USD"},
    }  # fmt: skip
    return {**given, **more}


def plain(cells: pd.Series) -> list[Any]:
    return [None if pd.isna(cell) else cell for cell in cells]


def test_a_deal_is_worth_what_it_brought_if_it_was_won_and_else_what_is_expected() -> None:
    """Who closes a deal as lost leaves an actual revenue of 0 there."""
    given = [
        deal(1),
        deal(2, statecode=1, actualvalue=1.0e7, actualclosedate="2026-02-14"),
        deal(3, statecode=2, actualvalue=0.0, actualclosedate="2026-02-01", _parentcontactid_value=None),
        deal(4, statecode=1, actualclosedate="2026-02-02", transactioncurrencyid=None),
    ]
    found = rows.opportunities(flattened(given), context("opportunity"))
    assert plain(found["amount"]) == ["5000.0", "10000000.0", "5000.0", "5000.0"]
    assert found["close_date"].tolist() == ["2026-03-31", "2026-02-14", "2026-02-01", "2026-02-02"]
    assert found["is_won"].tolist() == [False, True, False, True]
    assert found["is_closed"].tolist() == [False, True, True, True]
    assert plain(found["currency"]) == ["USD", "USD", "USD", None]
    assert rows.contact_roles(flattened(given), context("opportunity"))["role_id"].tolist() == [
        "o1:c1",
        "o2:c1",
        "o4:c1",
    ]


def test_a_state_that_nobody_knows_sends_the_deal_to_quarantine() -> None:
    given = [deal(1, statecode=7), deal(2, statecode=None), deal(3)]
    found = enforce(opportunity, rows.opportunities(flattened(given), context("opportunity")))
    assert found.rows["opp_id"].tolist() == ["o3"]
    assert len(found.rejects) == 2
    with pytest.raises(KeyError, match="statecode"):
        rows.opportunities(flattened([{"opportunityid": "o1"}]), context("opportunity"))


def test_a_lead_was_qualified_when_the_first_record_was_made_of_it() -> None:
    """Not when one was created that it was only tied to; and of one of which nothing was made nobody knows when."""
    first, later, before = "2026-02-01T09:00:00Z", "2026-02-01T09:00:02Z", "2025-11-11T09:00:00Z"
    given = [
        lead(
            1, statecode=1, parentcontactid={"createdon": later, "_originatingleadid_value": "l1"},
            parentaccountid={"createdon": before, "_originatingleadid_value": None},
            opportunity_originating_lead={"createdon": first, "_originatingleadid_value": "l1"},
        ),
        lead(2),
        lead(3, statecode=1, parentcontactid={"createdon": before, "_originatingleadid_value": "l0"}),
    ]  # fmt: skip
    found = enforce(stage_event, rows.lead_stages(flattened(given), context()))
    assert found.rows["object_id"].tolist() == ["l1"]
    assert str(found.rows["entered_at"].iloc[0]).startswith("2026-02-01 09:00:00")
    assert found.rejects["column_name"].tolist() == ["entered_at"]
    assert rows.leads(flattened(given), context())["is_converted"].tolist() == [True, False, True]


def test_a_lead_that_was_merged_is_linked_to_the_one_that_stays_and_a_qualified_one_to_its_contact() -> None:
    address = "h1:" + "a" * 32 + "@x.example"
    given = [
        lead(1, merged=True, statecode=2, _masterid_value="l2", emailaddress2=address),
        lead(2, statecode=1, _parentcontactid_value="c9"),
        lead(3, _parentcontactid_value="c8"),  # somebody thinks that it is an existing contact
    ]
    links = rows.lead_links(flattened(given), context())
    assert sorted(zip(links["rule"], links["from_key"], links["to_key"], strict=True)) == [
        ("conversion", "dynamics:lead:l2", "dynamics:contact:c9"),
        ("email", "dynamics:lead:l1", "email:" + "a" * 32),
        ("merge", "dynamics:lead:l1", "dynamics:lead:l2"),
    ]
    assert plain(rows.leads(flattened(given), context())["merged_into"]) == ["dynamics:lead:l2", None, None]


def test_choices_are_words_and_names_of_people_that_come_as_labels_stay_out(sandbox: World) -> None:
    client = connect(config(fields={"opp_type": "new_type"}))
    deals = read(client, "opportunity")
    assert {record["labels"]["new_type"] for record in deals} >= {"New Business"}
    found = rows.opportunities(flattened(deals), context("opportunity", fields={"opp_type": "new_type"}))
    assert set(found["opp_type"]) >= {"New Business"}
    labels = {name for stream in ("lead", "opportunity", "contact") for each in read(client, stream)
              for name in each.get("labels", {})}  # fmt: skip
    assert labels <= {"statecode", "statuscode", "leadsourcecode", "new_type"}


# -- the vendor's own client


class Credential:
    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        return AccessToken(tokens.issue("dynamics", 3600.0), 2_000_000_000)


def test_microsoft_s_own_client_reads_the_twin_page_by_page(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(world) as url, DataverseClient(BASE, Credential()) as theirs:
        monkeypatch.setattr(theirs, "_base_url", f"{url}/dynamics")  # it takes no address without TLS
        pages = theirs.records.list_pages(
            "lead", select=["leadid", "statecode", "_masterid_value"], filter="statecode eq 0", orderby=["leadid"],
            page_size=5, include_annotations="*",
        )  # fmt: skip
        sizes, found = [], []
        for page in pages:
            sizes.append(len(page))
            found += [dict(record) for record in page]
    assert len(sizes) > 1
    assert {record["statecode"] for record in found} == {0}
    assert len({record["leadid"] for record in found}) == len(found)
