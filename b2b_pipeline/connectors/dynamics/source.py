"""Dynamics 365 Sales: leads, contacts, accounts and opportunities of one environment, by the Dataverse Web API v9.2.

Tables are read by `modifiedon`, and all their ids once a week, which tells what was deleted: a delta link would tell it
too, but is good for seven days. When a lead was qualified is kept nowhere: it is when the records were created that
were made of it. Of the stages of an opportunity only the present one is kept, and since when it lasts.
What status a lead had before is in the audit log alone, if auditing is on for environment, table and column, and for as
many days as the environment keeps it (30, unless set otherwise). Days on which leads were created that the log does not
know are in doubt, and so are those after the last that it knows, when auditing is off. Its column `changedata` is text,
`{"changedAttributes":[{"logicalName":"statuscode","oldValue":"1","newValue":"2"}]}`: readable by the reference of the
table (GitHub MicrosoftDocs/powerapps-docs, reference/entities/audit.md), and in this form by public clients' tests; the
developers' guide of 2023 advises RetrieveAuditDetails instead, which would be a call for each change of each lead.
Facts from https://learn.microsoft.com/power-apps/developer/data-platform/webapi, the table reference of Dynamics 365
Sales (GitHub MicrosoftDocs/dynamics-365-customer-engagement) and answers that public clients recorded, read 2026-12-01.
Clouds of governments and of China have other login pages, and are left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Mapping_,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.columns import own_fields, present, tells_channel
from b2b_pipeline.connectors.dynamics import rows
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Outcome,
    Session,
    Skip,
    by_status,
    follow,
    json_or_none,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import absent_fields, readable, wrong_stages
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import AuthError, PipelineError

LOGIN = "https://login.microsoftonline.com"
API = "api/data/v9.2"
BURST = Rate(6000, 300)  # of one user, at each of an environment's servers
LISTED = 1000  # records of a page; the most are 5,000
TOGETHER = 20  # leads that are asked for at once
LABEL = "@OData.Community.Display.V1.FormattedValue"
PREFER = f'odata.maxpagesize={LISTED},odata.include-annotations="{LABEL[1:]}"'
# https://learn.microsoft.com/power-apps/developer/data-platform/reference/web-service-error-codes
NO_MEMBER, NO_PRIVILEGE = "0x80072560", "0x80040220"
FIX = {
    NO_MEMBER: "make an application user of the app: Power Platform admin center > Environments > Settings > Users",
    NO_PRIVILEGE: "give the application user a security role that may read this table in the whole organization",
}
ADMIN = "Power Platform admin center > Environments > Settings > Users + permissions > Security roles"


@dataclass(frozen=True)
class Table:
    """A table, by its names. `fields`, `expands`: what is asked for; `custom`: what else, and may be configured."""

    name: str
    plural: str
    key: str
    fields: str
    expands: Mapping[str, str] = field(default_factory=dict)
    custom: Mapping[str, str] = field(default_factory=dict)
    only: str = ""

    def asks(self, config: Config) -> list[str]:
        """What is asked for by name. What `custom` and the configuration name, only where the table has it."""
        own = own_fields(config, "dynamics", self.name, self.custom)
        paths = [f"{name}.{each}" for name, asked in self.expands.items() for each in asked.split(",")]
        return [*dict.fromkeys([self.key, *self.fields.split(), "createdon", "modifiedon", *own]), *paths]


_MADE = "createdon,_originatingleadid_value"
LEAD = Table(
    "lead", "leads", "leadid",
    "emailaddress1 emailaddress2 emailaddress3 statecode statuscode leadsourcecode merged _masterid_value"
    " _qualifyingopportunityid_value _parentcontactid_value _parentaccountid_value",
    {"parentcontactid": _MADE, "parentaccountid": _MADE}, rows.OF_LEAD,
)  # fmt: skip
CONTACT = Table("contact", "contacts", "contactid", "emailaddress1 emailaddress2 emailaddress3 merged _masterid_value")
ACCOUNT = Table("account", "accounts", "accountid", "name websiteurl", custom=rows.OF_ACCOUNT)
OPPORTUNITY = Table(
    "opportunity", "opportunities", "opportunityid",
    "name statecode statuscode stepname estimatedvalue actualvalue estimatedclosedate actualclosedate"
    " _parentaccountid_value _parentcontactid_value _originatingleadid_value",
    {"transactioncurrencyid": "isocurrencycode"}, rows.OF_DEAL,
)  # fmt: skip
RECORDS = (LEAD, CONTACT, ACCOUNT, OPPORTUNITY)
PROCESSES = [
    Table(
        name, f"{name}es", "businessprocessflowinstanceid",
        "_opportunityid_value _activestageid_value activestagestartedon", only="_opportunityid_value ne null",
    )
    for name in ("opportunitysalesprocess", "leadtoopportunitysalesprocess")
]  # fmt: skip


UPDATED = 2  # action of the audit log
STATUS = "statuscode"
KEPT = 30  # days, unless the environment says otherwise
LATE = timedelta(minutes=5)  # a lead is in the log a moment after it is there
AUDITING = "Power Platform admin center > Environments > Settings > Audit and logs > Audit settings"


@dataclass(frozen=True)
class Dynamics:
    """`columns`: those of a table, listed once."""

    session: Session
    config: Config
    columns: dict[str, set[str]] = field(default_factory=dict)

    def get(self, path: str, **query: Any) -> Answer:
        return self.session.get(f"{API}/{path}", query, Prefer=PREFER)

    def pages(self, path: str, **query: Any) -> Iterator[Page]:
        """Every page; the address of a next one is the vendor's own."""

        def ask(link: str | None) -> Answer:
            return self.session.get(link, Prefer=PREFER) if link else self.get(path, **query)

        for answer in follow(ask, lambda answer: answer.json().get("@odata.nextLink")):
            yield Page([_plain(record) for record in answer.rows("value")], answer.request)

    def records(self, path: str, **query: Any) -> Iterator[Record]:
        for page in self.pages(path, **query):
            yield from page.records

    def of_leads(self, path: str, name: str, leads: Iterable[str], **query: Any) -> Iterator[Record]:
        """The records in which a column names one of the leads."""
        ids = [*dict.fromkeys(leads)]
        for n in range(0, len(ids), TOGETHER):
            which = " or ".join(f"{name} eq {lead}" for lead in ids[n : n + TOGETHER])
            yield from self.records(path, **{"$filter": which}, **query)

    def asked(self, table: Table) -> dict[str, str]:
        """What is asked for of a table: what may be missing in an environment, only where it is there."""
        must = {table.key, "createdon", "modifiedon", *table.fields.split()}
        paths = (name for name in table.asks(self.config) if "." not in name)
        fields = ",".join(name for name in paths if name in must or self.has(table, name))
        expands = ",".join(f"{name}($select={each})" for name, each in table.expands.items())
        return {"$select": fields} | ({"$expand": expands} if expands else {})

    def has(self, table: Table, field: str) -> bool:
        if table.name not in self.columns:
            path = f"EntityDefinitions(LogicalName='{table.name}')/Attributes"
            listed = self.get(path, **{"$select": "LogicalName"}).rows("value")
            self.columns[table.name] = {row["LogicalName"] for row in listed}
        return field.removeprefix("_").removesuffix("_value") in self.columns[table.name]


def _plain(record: Record) -> Record:
    """A record with its words for choices under `labels`. Those of lookups are names of records, of people too: left
    out, but for that of a stage."""
    found = {name: _plain(value) if isinstance(value, dict) else value for name, value in record.items()}
    labels = {name.removesuffix(LABEL): value for name, value in found.items() if name.endswith(LABEL)}
    kept = {name: value for name, value in labels.items() if name == rows.STAGE or not name.startswith("_")}
    plain = {name: value for name, value in found.items() if "@" not in name}
    return {**plain, "labels": kept} if kept else plain


def classify(response: requests.Response) -> Outcome:
    """https://learn.microsoft.com/power-apps/developer/data-platform/webapi/compose-http-requests-handle-errors"""
    body = json_or_none(response)
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    code = str(error.get("code") or "")
    told = f"{code or 'refused'}: {str(error.get('message') or 'without a reason')[:200]}"
    if response.status_code == 429:
        return wait_or_stop(retry_after(response, 60.0), told)
    if response.status_code == 403 and urlsplit(response.url).path.endswith("/audits"):
        return Skip(f"{told}; the security role lacks prvReadAuditSummary")
    if response.status_code == 403:
        return Fatal(told, auth=True, fix=FIX.get(code, FIX[NO_PRIVILEGE]))
    return by_status(response, told)


def _changed(table: Table, client: Dynamics, account: Account, window: Window) -> Iterator[Page]:
    """What was modified in the window; in its order, so that what changes meanwhile moves behind, out of the window."""
    when = _within("modifiedon", window.since, window.until, table.only)
    return client.pages(table.plural, **client.asked(table), **when, **{"$orderby": f"modifiedon,{table.key}"})


def _within(name: str, since: datetime, until: datetime, also: str = "") -> dict[str, str]:
    when = f"{name} ge {since:%Y-%m-%dT%H:%M:%SZ} and {name} lt {until:%Y-%m-%dT%H:%M:%SZ}"
    return {"$filter": f"{when} and {also}" if also else when}


def read_leads(client: Dynamics, account: Account, window: Window) -> Iterator[Page]:
    """Leads with the contact and the account that they were qualified to. Of one that neither was made of, the
    opportunity that was: it names the lead, the lead need not name it."""
    for page in _changed(LEAD, client, account, window):
        undated = [lead["leadid"] for lead in page.records if rows.is_undated(lead)]
        asked = {"$select": _MADE, "$orderby": "createdon,opportunityid"}
        made: dict[str, Record] = {}
        for found in client.of_leads("opportunities", "_originatingleadid_value", undated, **asked):
            made.setdefault(found["_originatingleadid_value"], found)
        yield Page([{**lead, rows.MADE: made.get(lead["leadid"])} for lead in page.records], page.request)


def read_history(client: Dynamics, account: Account, window: Window) -> Iterator[Page]:
    """Which status leads were given, by the audit log; which were made, where it does not say with which. What else has
    changed of them is not kept: it may be about people. What changed of leads that are gone is left out."""
    auditing = Auditing.of(client)
    when = _within("createdon", window.since, window.until, "objecttypecode eq 'lead'")
    columns = "auditid,createdon,operation,action,_objectid_value,changedata"
    known: dict[str, bool] = {}
    doubts: dict[str, str] = {}
    for page in client.pages("audits", **when, **{"$select": columns, "$orderby": "createdon"}):
        changes = []
        for audit in page.records:
            try:
                status = _status_of(audit)
            except ValueError:
                doubts[_day(client, audit)] = "the audit log does not say what has changed of a lead"
                continue
            made = audit["operation"] == rows.CREATED
            if made:
                known[audit["_objectid_value"]] = bool(status) or not audit["changedata"]
            if status or (made and not audit["changedata"]):
                changes.append((audit, status or {}))
        ids = [audit["_objectid_value"] for audit, _ in changes]
        asked = {"$select": "createdon,statuscode"}
        leads = {lead["leadid"]: lead for lead in client.of_leads("leads", "leadid", ids, **asked)}
        found = [
            {
                "auditid": audit["auditid"], "createdon": audit["createdon"], "operation": audit["operation"],
                "lead": leads[audit["_objectid_value"]], "old": auditing.word(status.get("oldValue")),
                "new": auditing.word(status.get("newValue")),
            }
            for audit, status in changes if audit["_objectid_value"] in leads
        ]  # fmt: skip
        yield Page(found, page.request)
    trimmed = [day for day in map(str, window.days()) if auditing.days >= 0 and day <= _days_ago(client, auditing.days)]
    lost = dict.fromkeys(trimmed, f"the audit log is kept for {auditing.days} days")
    yield Page([], doubts=lost | dict(_unknown(client, window, known, not auditing.off)) | doubts)


def _status_of(audit: Record) -> Record | None:
    """How the status changed, if it did. Raises ValueError where that cannot be read: of what is no change of a record,
    but that it was shared, the column is no JSON."""
    told = audit["changedata"] or ""
    if not told.startswith("{"):
        if audit["action"] == UPDATED:
            raise ValueError("an update of nothing")
        return None
    changed = json.loads(told).get("changedAttributes") or ()
    return next((each for each in changed if each["logicalName"] == STATUS), None)


def _unknown(client: Dynamics, window: Window, known: Mapping[str, bool], is_on: bool) -> Iterator[tuple[str, str]]:
    """The days of which the audit log may not have everything: those between two leads of which it lacks one. A lead
    that was brought along from elsewhere says of another day that it was created."""
    when = _within("createdon", window.since, window.until - LATE, "overriddencreatedon eq null")
    leads = client.records("leads", **when, **{"$select": "createdon", "$orderby": "createdon,leadid"})
    told = [(_day(client, lead), known.get(lead["leadid"], False)) for lead in leads]
    days = [str(day) for day in window.days()]
    ends = (days[0], told[0][1] if told else is_on), (days[-1], is_on)
    for (since, before), (until, after) in pairwise([ends[0], *told, ends[1]]):
        why = "the audit log does not know the leads of then: auditing was off, or it is no longer kept"
        yield from ((day, why) for day in days if since <= day <= until and not (before and after))


def _days_ago(client: Dynamics, days: int) -> str:
    return str(datetime.now(client.config.zone).date() - timedelta(days=days))


def _day(client: Dynamics, record: Record) -> str:
    return str(datetime.fromisoformat(record["createdon"]).astimezone(client.config.zone).date())


@dataclass(frozen=True)
class Auditing:
    """`words`: of a lead's status; `off`: what is not audited, so that its changes are not kept; `days`: for which the
    audit log is kept, -1 for good."""

    words: Mapping[int, str]
    off: list[str]
    days: int

    @classmethod
    def of(cls, client: Dynamics) -> Auditing:
        lead = "EntityDefinitions(LogicalName='lead')"
        metadata = f"{lead}/Attributes(LogicalName='{STATUS}')/Microsoft.Dynamics.CRM.StatusAttributeMetadata"
        [found] = client.get("organizations", **{"$select": "isauditenabled,auditretentionperiodv2"}).rows("value")
        table = client.get(lead, **{"$select": "IsAuditEnabled"}).json()
        asked = {"$select": "IsAuditEnabled", "$expand": "OptionSet($select=Options)"}
        column = client.get(metadata, **asked).json()
        audited = {
            "the environment": found["isauditenabled"], "the table lead": table["IsAuditEnabled"]["Value"],
            f"its column {STATUS}": column["IsAuditEnabled"]["Value"],
        }  # fmt: skip
        options = column["OptionSet"]["Options"]
        labels = {option["Value"]: option["Label"]["UserLocalizedLabel"] for option in options}
        words = {value: label["Label"] if label else str(value) for value, label in labels.items()}
        days = found["auditretentionperiodv2"] or KEPT
        return cls(words, [name for name, is_on in audited.items() if not is_on], days)

    def word(self, value: str | None) -> str | None:
        """The log has the number of a choice as text."""
        return None if value is None else self.words.get(int(value), value)


def read_processes(client: Dynamics, account: Account, window: Window) -> Iterator[Page]:
    for table in PROCESSES:
        yield from _changed(table, client, account, window)


def read_present(client: Dynamics, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all that there is. What was merged away is still there."""
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    return sweep([(table.name, partial(_ids, client, table)) for table in RECORDS if table.name in on])


def _ids(client: Dynamics, table: Table) -> Iterator[list[str]]:
    for page in client.pages(table.plural, **{"$select": table.key, "$orderby": table.key}):
        yield [str(record[table.key]) for record in page.records]


def connect(config: Config) -> Dynamics:
    base = settings.base_url("dynamics", "")
    if not base:
        raise AuthError("DYNAMICS_BASE_URL is not set: put the environment's URL, https://yourorg.crm4.dynamics.com")
    here = urlsplit(base).hostname in ("localhost", "127.0.0.1")  # the sandbox is its own login page
    form = {
        "grant_type": "client_credentials", "client_id": settings.secret("DYNAMICS_CLIENT_ID"),
        "client_secret": settings.secret("DYNAMICS_CLIENT_SECRET"), "scope": f"{base}/.default",
    }  # fmt: skip
    url = f"{base if here else LOGIN}/{settings.secret('DYNAMICS_TENANT_ID')}/oauth2/v2.0/token"
    auth = OAuthToken(url, form, store=settings.credential_store("dynamics"), lifetime=3599.0)
    odata = {"OData-MaxVersion": "4.0", "OData-Version": "4.0"}
    return Dynamics(Session(base, classify=classify, auth=auth, headers=odata, rates=() if here else (BURST,)), config)


def accounts(client: Dynamics, config: Config) -> Accounts:
    """The one organization of the environment."""
    asked = {"$select": "name", "$expand": "basecurrencyid($select=isocurrencycode)"}
    [found] = client.get("organizations", **asked).rows("value")
    currency = (found.get("basecurrencyid") or {}).get("isocurrencycode")
    organization = Account(found["organizationid"], found["name"], currency)
    return choose([organization], config.sources["dynamics"].accounts, "sources.dynamics.accounts")


def probe(client: Dynamics, config: Config) -> list[Finding]:
    """The organization and the user, what they may read and write, a small call per stream."""
    try:
        answer = client.get("WhoAmI")
        [organization] = accounts(client, config).read
        user = answer.json()["UserId"]
        held = client.get(f"systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges").rows("RolePrivileges")
    except PipelineError as error:
        fix = "check the DYNAMICS_ variables, and that the application user is enabled"
        return [Finding(False, f"Dynamics: {error}", error.fix or fix)]
    left = answer.response.headers.get("x-ms-ratelimit-burst-remaining-xrm-requests", "unknown")
    found = [Finding(True, f"Dynamics organization {organization.name}, {left} calls left of these five minutes")]
    on = [stream.name for stream in SOURCE.switched_on(config)]
    read = [table for table in RECORDS if table.name in on]
    tables = [*read, *(PROCESSES if "opportunity_process" in on else ())]
    calls = {table.plural: partial(_look, client, table) for table in tables}
    found += readable("Dynamics", calls, "see that Dynamics 365 Sales is installed in the environment")
    found += _audited(client, config) if "lead_history" in on else []
    fix = "copy the logical name of the column; that of a lookup is _name_value"
    found += absent_fields(SOURCE, config, lambda name: any(client.has(table, name) for table in read), fix)
    return [*found, *_privileges(held, [table.name for table in read])]


def _audited(client: Dynamics, config: Config) -> Iterator[Finding]:
    """Whether the status that a lead had is known, since when, and which of them are stages."""
    lost = "who became MQL is unknown"
    try:
        auditing = Auditing.of(client)
        client.get("audits", **{"$select": "auditid", "$filter": "objecttypecode eq 'lead'", "$top": 1})
    except PipelineError as error:
        fix = f"{ADMIN}: View Audit Summary (prvReadAuditSummary); else name the other `streams`"
        yield Finding(True, f"Dynamics lead_history: {error}: {lost}", error.fix or fix, warning=True)
        return
    if auditing.off:
        what = f"Dynamics: auditing is off for {' and '.join(auditing.off)}: {lost} from now on"
        yield Finding(True, what, f"{AUDITING}; Audit changes to its data, of the table; Enable auditing", warning=True)
    else:
        kept = "for good" if auditing.days == -1 else f"for {auditing.days} days: of what was before nothing is known"
        yield Finding(True, f"Dynamics: changes of a lead's status are audited, and kept {kept}")
    yield from wrong_stages("Dynamics", config, "dynamics", auditing.words.values())


def _look(client: Dynamics, table: Table) -> None:
    client.get(table.plural, **client.asked(table), **{"$top": 1})


def _privileges(held: list[Record], read: list[str]) -> Iterator[Finding]:
    """Privileges of teams are told as the user's own records alone, so what is missing is a warning."""
    depth = {privilege.get("PrivilegeName", "").lower(): privilege.get("Depth") for privilege in held}
    part = [name for name in read if depth.get(f"prvread{name}") != "Global"]
    if part:
        what = f"Dynamics: the role does not say that every {' and '.join(part)} may be read: others would be missing"
        yield Finding(True, what, f"{ADMIN}: Read, Organization", warning=True)
    if writes := [name for name in read if f"prvwrite{name}" in depth]:
        yield Finding(
            True, f"Dynamics: the user may write {' and '.join(writes)}", f"{ADMIN}: Read alone", warning=True
        )


_MODIFIED = WindowPolicy(overlap=timedelta(minutes=15), settle=timedelta(minutes=5))
PERSONAL = (
    "emailaddress1", "emailaddress2", "emailaddress3", "fullname", "firstname", "lastname", "telephone1", "mobilephone",
    "jobtitle", "address1_line1", "address1_composite",
)  # fmt: skip


def _stream(name: str, table: Table, what: str, feeds: Mapping[str, Mapping_], **more: Any) -> Stream:
    fetch = more.pop("fetch", partial(_changed, table))
    return Stream(
        name, "changes", what, fetch, "modifiedon", _MODIFIED, page_size=LISTED, feeds=feeds,
        asks=table.asks, **more,
    )  # fmt: skip


SOURCE = Source(
    name="dynamics",
    title="Dynamics 365 Sales",
    kind="crm",
    api_version="v9.2",
    streams=(
        _stream(
            "lead", LEAD, "Leads, with what was made of them when they were qualified.",
            {
                "lead": rows.leads, "stage_event": rows.lead_stages, "identity_link": rows.lead_links,
                "touchpoint": rows.touchpoints,
            },
            personal=PERSONAL, fetch=read_leads,
            states={"stage_event": lambda config: ("sql",), "touchpoint": tells_channel("dynamics")},
        ),
        Stream(
            "lead_history", "changes",
            "Changes of the status of leads, by the audit log. Days on which it does not know the leads are in doubt.",
            read_history, "createdon", WindowPolicy(overlap=timedelta(days=1), settle=timedelta(minutes=15)),
            page_size=LISTED, feeds={"stage_event": rows.history},
            states={"stage_event": lambda config: config.stages.of("dynamics").values()},
        ),
        _stream("contact", CONTACT, "Contacts: who is who, by e-mail and merge.",
                {"identity_link": rows.contact_links}, personal=PERSONAL),
        _stream("account", ACCOUNT, "Accounts: the companies that opportunities are with.", {"account": rows.accounts}),
        _stream(
            "opportunity", OPPORTUNITY, "Opportunities, with their currency.",
            {"opportunity": rows.opportunities, "opp_contact_role": rows.contact_roles},
        ),
        Stream(
            "opportunity_process", "changes",
            "Since when opportunities have been in the stage that they are in, by the two business process flows of "
            "Dynamics 365 Sales. Stages that came and went between two reads are not told.",
            read_processes, "modifiedon", _MODIFIED, page_size=LISTED, feeds={"stage_event": rows.deal_stages},
            asks=PROCESSES[0].asks, states={"stage_event": lambda config: ()},  # of opportunities, not of leads
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all that there is: what is missing was deleted.",
            read_present, day="swept_at", policy=SWEEP, page_size=LISTED, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "DYNAMICS_BASE_URL": "URL of the environment, https://yourorg.crm4.dynamics.com",
        "DYNAMICS_TENANT_ID": "directory (tenant) ID of the app: entra.microsoft.com > App registrations",
        "DYNAMICS_CLIENT_ID": "application (client) ID of the app, which is an application user of the environment "
        "with a security role that may read leads, contacts, accounts, opportunities, their processes, currencies, "
        "customizations and the audit log (prvReadAuditSummary)",
        "DYNAMICS_CLIENT_SECRET": "a client secret of the app (Certificates & secrets)",
    },
)  # fmt: skip
