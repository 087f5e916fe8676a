"""Salesforce: leads, contacts, accounts, opportunities and campaigns of one org, their history, and what was deleted.

SOQL over REST (`queryAll`, so deleted and merged records come too), over Bulk API 2.0 where a window holds many rows.
Objects are read by `SystemModstamp`, history by `CreatedDate`. Formula and roll-up fields, and fields of a parent such
as `Campaign.Type`, change without moving that stamp: a correction there shows with the record's next change.
History of fields is told for 24 months (release notes of Spring '19, read 2026-12-01): days before them are in doubt.
Objects and fields: https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from b2b_pipeline.configuration.config import dimension_fields
from b2b_pipeline.configuration.settings import base_url, credential_store, secret
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Mapping_,
    Page,
    Source,
    Stream,
    Window,
    WindowPolicy,
)
from b2b_pipeline.connectors.columns import present
from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.salesforce import rows
from b2b_pipeline.connectors.salesforce.client import BULK_THRESHOLD, VERSION, Client, SObject, classify, json_object
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, PipelineError

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import Config

HISTORY_KEPT = timedelta(days=730)  # of fields; orgs of before June 2011 may have more: it is asked for all the same
HISTORY_DROPPED = "Salesforce keeps the history of fields for 24 months, and does not say whether there was more"
SESSION = 7200.0  # seconds; Salesforce does not say how long a token lives, this is the default of an org
_PERSON = "Id IsDeleted MasterRecordId Email CreatedDate SystemModstamp"
_RECORD = "Id IsDeleted CreatedDate SystemModstamp"

LEAD = SObject(
    "Lead",
    f"{_PERSON} Status IsConverted ConvertedDate ConvertedAccountId ConvertedContactId ConvertedOpportunityId",
    "Company Country LeadSource OwnerId",
    columns=rows.CUSTOM["lead"],
)
LEAD_HISTORY = SObject(
    "LeadHistory",
    "Id IsDeleted LeadId Field OldValue NewValue CreatedDate Lead.CreatedDate",
    cursor="CreatedDate",
    only="Field = 'Status'",  # other fields are not needed, and their old and new values may be personal
)
CONTACT = SObject("Contact", _PERSON, "AccountId")
ACCOUNT = SObject(
    "Account", f"{_RECORD} Name", "MasterRecordId Type Industry Website BillingCountry", columns=rows.CUSTOM["account"]
)
OPPORTUNITY = SObject(
    "Opportunity",
    f"{_RECORD} AccountId Name StageName Type Amount CloseDate IsClosed IsWon",
    "OwnerId CampaignId CurrencyIsoCode",
    columns=rows.CUSTOM["opportunity"],
)
OPPORTUNITY_HISTORY = SObject(
    "OpportunityHistory",
    "Id IsDeleted OpportunityId StageName CreatedDate",
    "Amount CloseDate CurrencyIsoCode",
    cursor="CreatedDate",
)
CONTACT_ROLE = SObject("OpportunityContactRole", f"{_RECORD} OpportunityId ContactId IsPrimary", "Role")
CAMPAIGN = SObject("Campaign", f"{_RECORD} Name Type", "Status")
CAMPAIGN_MEMBER = SObject(
    "CampaignMember",
    f"{_RECORD} CampaignId LeadId ContactId Status HasResponded FirstRespondedDate Campaign.Type Campaign.Name",
)
# Stream -> what is swept with it, and as what. Its rows of history are not: Salesforce drops them after two years, and
# what they told stays true. Where it deletes other things with a record, these are gone as well, each by its own list.
SWEPT = {
    "lead": (LEAD, "lead"),
    "contact": (CONTACT, "contact"),
    "account": (ACCOUNT, "account"),
    "opportunity": (OPPORTUNITY, "opportunity"),
    "opportunity_contact_role": (CONTACT_ROLE, "opp_contact_role"),
    "campaign_member": (CAMPAIGN_MEMBER, "campaign_member"),  # never in the recycle bin: each removed one is purged
}
OBJECTS = (LEAD, LEAD_HISTORY, CONTACT, ACCOUNT, OPPORTUNITY, OPPORTUNITY_HISTORY, CONTACT_ROLE, CAMPAIGN,
           CAMPAIGN_MEMBER)  # fmt: skip

# Only `Email` is asked for; the others are here for an org that maps one of them to a column.
PERSONAL = (
    "Email", "FirstName", "LastName", "Name", "Phone", "MobilePhone", "HomePhone", "Fax", "Street", "MailingStreet",
)  # fmt: skip


def connect(config: Config) -> Client:
    """The client of the org, with its first token. Raises AuthError when credentials are missing or refused."""
    options = config.sources["salesforce"].options
    version, threshold = SOURCE.version(config), options.get("bulk_threshold", str(BULK_THRESHOLD))
    if not threshold.isdecimal():
        raise ConfigError(f"sources.salesforce.options.bulk_threshold: {threshold!r} is not a number of rows")
    base = base_url("salesforce", "")
    if not base:
        raise AuthError(
            "SALESFORCE_BASE_URL is not set: put your My Domain URL, https://yourcompany.my.salesforce.com, into the "
            "environment or into .env"
        )
    form = {
        "client_id": secret("SALESFORCE_CLIENT_ID"),
        "client_secret": secret("SALESFORCE_CLIENT_SECRET"),
        "grant_type": "client_credentials",
    }
    if os.environ.get("SALESFORCE_REFRESH_TOKEN"):
        form |= {"grant_type": "refresh_token", "refresh_token": secret("SALESFORCE_REFRESH_TOKEN")}
    auth = OAuthToken(
        f"{base}/services/oauth2/token",
        form,
        store=credential_store("salesforce"),
        lifetime=SESSION,
        on_token=lambda token: client.use(token),
    )
    session = Session(base, classify=classify, auth=auth)
    custom = {sobject.name: _own_fields(sobject, config).values() for sobject in OBJECTS}
    client = Client(session, version, custom, int(threshold))
    client.swept = [SWEPT[stream.name] for stream in SOURCE.switched_on(config) if stream.name in SWEPT]
    auth.refresh()  # the answer says which instance and which org
    return client


def authorization() -> Authorization:
    """The web-server flow of an external client app; with the client-credentials flow none is needed.

    https://help.salesforce.com/s/articleView?id=xcloud.remoteaccess_oauth_web_server_flow.htm
    """
    base = base_url("salesforce", "https://login.salesforce.com")
    return Authorization(
        f"{base}/services/oauth2/authorize",
        f"{base}/services/oauth2/token",
        ("api", "refresh_token"),
        ("SALESFORCE_CLIENT_ID", "SALESFORCE_CLIENT_SECRET", "SALESFORCE_REFRESH_TOKEN"),
        {"prompt": "login consent"},
    )


def _own_fields(sobject: SObject, config: Config) -> dict[str, str]:
    """Our column or dimension -> the field of the org that the configuration takes it from."""
    fields = config.sources["salesforce"].fields
    columns = {name: path for name, path in fields.items() if name in sobject.columns}
    return columns | dimension_fields(config, "salesforce", sobject.name.lower())


def accounts(client: Client, config: Config) -> Accounts:
    """The org that the credentials belong to. Raises ConfigError when the configuration names another one."""
    settings = config.sources["salesforce"]
    if settings.accounts and client.organization[:15] not in {account[:15] for account in settings.accounts}:
        raise ConfigError(
            f"sources.salesforce.accounts: the credentials belong to {client.organization}, "
            f"not to {', '.join(settings.accounts)}"
        )
    name, currency = urlsplit(client.session.base_url).netloc, settings.options.get("currency")
    return Accounts([Account(client.organization, name, currency)])


# -- doctor


def probe(client: Client, config: Config) -> list[Finding]:
    """Calls left, version, objects and fields, custom fields, currency, stages, history tracking."""
    findings: list[Finding] = []
    for check in (_calls_left, _version_served, _objects, _custom_fields, _currency, _stages, _tracking):
        try:
            findings += check(client, config)
        except PipelineError as error:
            fix = "check the SALESFORCE_ variables and the permissions of the integration user (API Enabled)"
            fix = error.fix or fix
            findings.append(Finding(False, f"Salesforce: {error}", fix))
    return findings


def _calls_left(client: Client, config: Config) -> list[Finding]:
    daily = json_object(client.get("limits"), "DailyApiRequests")["DailyApiRequests"]
    what = f"Salesforce org {client.organization}: {daily['Remaining']} of {daily['Max']} API calls left today"
    return [
        Finding(daily["Remaining"] > daily["Max"] // 10, what, "wait, or see in Setup > System Overview who uses them")
    ]


def _version_served(client: Client, config: Config) -> list[Finding]:
    served = [version["version"] for version in client.session.get("services/data").json()]
    what = f"Salesforce API {client.version}; the org serves {served[0]} to {served[-1]}"
    fix = f"set sources.salesforce.options.api_version to {VERSION if VERSION in served else served[-1]}"
    return [Finding(client.version in served, what, fix)]


def _objects(client: Client, config: Config) -> list[Finding]:
    findings = []
    for sobject in OBJECTS:
        try:
            fields = client.selection(sobject)
            client.query(f"SELECT {', '.join(fields)} FROM {sobject.name} LIMIT 1")  # noqa: S608  # SOQL, of checked parts
            findings.append(Finding(True, f"Salesforce {sobject.name}: {len(fields)} fields"))
        except PermanentError as error:
            fix = f"give the integration user read access to {sobject.name} and these fields (View All Records)"
            findings.append(Finding(False, str(error), fix))
    return findings


def _custom_fields(client: Client, config: Config) -> list[Finding]:
    known = sorted({name for sobject in OBJECTS for name in sobject.columns})
    findings = [
        Finding(
            True, f"Salesforce {sobject.name} has no field {path}: the dimension {name} stays empty there", fix, True
        )
        for sobject in OBJECTS
        for name, path in dimension_fields(config, "salesforce", sobject.name.lower()).items()
        if not client.has(sobject.name, path)
        for fix in [f"name the field in sources.salesforce.fields.{name}, or let the integration user see it"]
    ]
    for name, path in config.sources["salesforce"].fields.items():
        what = f"sources.salesforce.fields.{name}: {path}"
        asked = [sobject.name for sobject in OBJECTS if name in _own_fields(sobject, config)]
        found = [object_ for object_ in asked if client.has(object_, path)]
        if not asked:
            findings.append(Finding(False, f"{what}: no column of that name", f"use one of {', '.join(known)}"))
        elif not found:
            fix = f"correct the API name of the field, or let the integration user see it ({' or '.join(asked)})"
            findings.append(Finding(False, f"{what}: no such field", fix))
        else:
            findings.append(Finding(True, f"{what} of {' and '.join(found)}"))
    return findings


def _currency(client: Client, config: Config) -> list[Finding]:
    if client.has("Opportunity", "CurrencyIsoCode"):
        return [Finding(True, "Salesforce: every opportunity says its currency")]
    currency = config.sources["salesforce"].options.get("currency")
    what = f"Salesforce: a single-currency org, amounts are in {currency or 'an unknown currency'}"
    return [Finding(bool(currency), what, "set sources.salesforce.options.currency to the org's corporate currency")]


def _stages(client: Client, config: Config) -> list[Finding]:
    picklist = client.describe("Lead").get("Status", {}).get("picklistValues", [])
    values = [value["value"] for value in picklist if value.get("active", True)]
    unmapped = ", ".join(value for value in values if value not in config.stages.of("salesforce"))
    findings = [Finding(True, f"Salesforce: of Lead.Status, these are no stage: {unmapped}")] if unmapped else []
    return findings + [
        Finding(False, f"stages.salesforce: Lead.Status has no value {status!r}", f"use one of {', '.join(values)}")
        for status in config.stages.of("salesforce")
        if values and status not in values
    ]


def _tracking(client: Client, config: Config) -> list[Finding]:
    found = client.query("SELECT Id FROM LeadHistory WHERE Field = 'Status' LIMIT 1")
    what = f"Salesforce: changes of a lead's status are {'recorded' if found else 'not recorded'}"
    fix = "Setup > Object Manager > Lead > Fields & Relationships > Set History Tracking: Lead Status"
    return [Finding(found > 0, what, fix)]


# -- streams


def read_present(client: Client, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all records of what is read, recycled ones too: what is missing was purged."""
    yield from sweep([(object_, partial(client.ids, sobject.name)) for sobject, object_ in client.swept])


def _is_read(stream: str, config: Config) -> bool:
    return stream in {found.name for found in SOURCE.switched_on(config)}


def _statuses(config: Config) -> Iterable[str]:
    """The stages that statuses stand for. Without its history nobody knows when a lead entered the one it has."""
    return config.stages.of("salesforce").values() if _is_read("lead_history", config) else ()


def _of_deals(config: Config) -> Iterable[str]:
    """What is stated of opportunities. Conversions alone tie only some of them to a lead."""
    person = ("person",) if _is_read("opportunity_contact_role", config) and _is_read("lead", config) else ()
    return ("won", "lost", "created_at", "close_date", "amount", "account_id", *person)


def _stream(
    name: str,
    sobject: SObject,
    description: str,
    feeds: Mapping[str, Mapping_],
    personal: tuple[str, ...] = (),
    states: Mapping[str, Callable[[Config], Iterable[str]]] | None = None,
) -> Stream:
    def fetch(client: Client, account: Account, window: Window) -> Iterator[Page]:
        yield from client.changes(sobject, window)
        if sobject is LEAD_HISTORY:
            kept = datetime.now(UTC).date() - HISTORY_KEPT
            yield Page([], doubts={f"{day}": HISTORY_DROPPED for day in window.days() if day <= kept})

    def asks(config: Config) -> list[str]:
        return [*sobject.fields.split(), *sobject.optional.split(), *_own_fields(sobject, config).values()]

    # A record may commit minutes after its stamp: look back, and do not ask for the last minutes yet.
    policy = WindowPolicy(overlap=timedelta(minutes=10), settle=timedelta(minutes=5))
    return Stream(
        name, "changes", description, fetch, sobject.cursor, policy, personal, feeds, 2000, states or {}, asks
    )


SOURCE = Source(
    name="salesforce",
    title="Salesforce",
    kind="crm",
    api_version=VERSION,
    versions=r"\d+\.0",
    streams=(
        _stream(
            "lead",
            LEAD,
            "One row per lead and change.",
            {"lead": rows.lead, "stage_event": rows.lead_stages, "identity_link": rows.lead_identity},
            PERSONAL,
            states={"stage_event": lambda config: ("sql", *_statuses(config))},  # sql: its conversion
        ),
        _stream(
            "lead_history",
            LEAD_HISTORY,
            "One row per change of a lead's status.",
            {"stage_event": rows.lead_history_stages},
            states={"stage_event": _statuses},
        ),
        _stream(
            "contact",
            CONTACT,
            "One row per contact and change: who is who, by e-mail and merge.",
            {"identity_link": rows.contact_identity},
            PERSONAL,
        ),
        _stream("account", ACCOUNT, "One row per account and change.", {"account": rows.account}),
        _stream(
            "opportunity",
            OPPORTUNITY,
            "One row per opportunity and change.",
            {"opportunity": rows.opportunity},
            states={"opportunity": _of_deals},
        ),
        _stream(
            "opportunity_history",
            OPPORTUNITY_HISTORY,
            "One row per change of an opportunity's stage, amount or close date.",
            {"stage_event": rows.opportunity_stages},
            states={"stage_event": lambda config: ()},  # of opportunities, not of leads
        ),
        _stream(
            "opportunity_contact_role",
            CONTACT_ROLE,
            "One row per contact on an opportunity and change.",
            {"opp_contact_role": rows.opp_contact_role},
        ),
        _stream("campaign", CAMPAIGN, "One row per campaign and change.", {"campaign": rows.campaign}),
        _stream(
            "campaign_member",
            CAMPAIGN_MEMBER,
            "One row per lead or contact in a campaign and change: who responded.",
            {"touchpoint": rows.touchpoint},
        ),
        Stream(
            name="present",
            kind="sweep",
            description="Once a week, the ids of what is read, object by object: what is no longer among them is gone.",
            fetch=read_present,
            day="swept_at",
            policy=SWEEP,
            page_size=2000,
            feeds={"record_present": present},
        ),
    ),
    connect=connect,
    authorization=authorization,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "SALESFORCE_BASE_URL": "My Domain URL, https://yourcompany.my.salesforce.com (Setup > My Domain)",
        "SALESFORCE_CLIENT_ID": "consumer key of an external client app with the scope api, and a run-as user for the "
        "client credentials flow (Setup > External Client App Manager)",
        "SALESFORCE_CLIENT_SECRET": "its consumer secret",
        "SALESFORCE_REFRESH_TOKEN": "refresh token of a user, scopes api and refresh_token, instead of the run-as user",
    },
    optional=frozenset({"SALESFORCE_REFRESH_TOKEN"}),
    daily_calls=100_000,  # Enterprise; `b2b doctor` asks the org for its own
)
