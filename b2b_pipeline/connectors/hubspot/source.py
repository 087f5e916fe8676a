"""HubSpot: contacts, deals, marketing e-mails, e-mail events, forms and campaigns, by the date-based API 2026-03.

Records are found by the CRM search and then read in batches: the search only has an index that trails the records,
the batch read has the record itself, with its property history. Archived records come by a list of their own.
E-mail events are still only in the legacy API, whose support ends in the same month as that of 2026-03.
Forms have no version 2026-03: they are listed by v3, what was submitted by v1, newest first and without a filter.
Reference: https://developers.hubspot.com/docs/api-reference/2026-03/overview; of forms …/legacy/marketing/forms, read
2026-12-01, as HubSpot's specifications of forms and campaigns.
Credentials, checked 2026-11-25: no new private apps since 2026-10-26, service keys take their place
(https://developers.hubspot.com/changelog/legacy-private-app-creation-sunset); both are sent as a bearer token.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from functools import partial

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, StaticToken
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.base import Account, Accounts, Finding, Page, Record, Source, Stream, Window, WindowPolicy
from b2b_pipeline.connectors.columns import of_one_channel, present
from b2b_pipeline.connectors.http import Auth, Session
from b2b_pipeline.connectors.hubspot import rows
from b2b_pipeline.connectors.hubspot.client import (
    BASE_URL,
    CAMPAIGN,
    COMPANIES,
    CONTACTS,
    DEALS,
    FORMS,
    LISTED,
    RATES,
    SUBMITTED,
    VERSION,
    HubSpot,
    classify,
    ids_of,
    read_campaigns,
    read_contacts,
    read_deals,
    read_email_events,
    read_form_submissions,
    read_marketing_emails,
)
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import ConfigError, PermanentError, SkippedError, TransientError

AUTHORIZE_URL = "https://app.hubspot.com/oauth/authorize"
# The stream that it is swept with, where it is listed, what it is to us. Companies are not read otherwise.
SWEPT = (
    ("contact", CONTACTS.path(), "lead"),
    ("deal", DEALS.path(), "opportunity"),
    ("deal", COMPANIES, "account"),
)


def connect(config: Config) -> HubSpot:
    """A service key, or another token that does not expire, where one is given; else OAuth."""
    base = settings.base_url("hubspot", BASE_URL)
    auth: Auth
    if os.environ.get("HUBSPOT_CLIENT_ID") and not os.environ.get("HUBSPOT_ACCESS_TOKEN"):
        form = {
            "grant_type": "refresh_token",
            "client_id": settings.secret("HUBSPOT_CLIENT_ID"),
            "client_secret": settings.secret("HUBSPOT_CLIENT_SECRET"),
            "refresh_token": settings.secret("HUBSPOT_REFRESH_TOKEN"),
        }
        auth = OAuthToken(f"{base}/oauth/{VERSION}/token", form, store=settings.credential_store("hubspot"))
    else:
        auth = StaticToken(settings.secret("HUBSPOT_ACCESS_TOKEN"))
    rates = RATES if base == BASE_URL else ()  # they are those of HubSpot's own host
    return HubSpot(Session(base, classify=classify, auth=auth, rates=rates), config)


def authorization() -> Authorization:
    """For apps; who has a service key needs none.

    https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/oauth/working-with-oauth
    """
    base = settings.base_url("hubspot", BASE_URL)
    return Authorization(
        AUTHORIZE_URL if base == BASE_URL else f"{base}/oauth/authorize",
        f"{base}/oauth/{VERSION}/token",
        tuple(
            sorted(
                {scope for _, scopes in PROBES.values() for scope in scopes.replace(" and ", ", ").split(", ")}
                - OPTIONAL_SCOPES
            )
        ),
        ("HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET", "HUBSPOT_REFRESH_TOKEN"),
        {"optional_scope": " ".join(sorted(OPTIONAL_SCOPES))},
    )


def accounts(client: HubSpot, config: Config) -> Accounts:
    """The one account that the credentials belong to. Raises ConfigError when `accounts` names another."""
    details = _details(client)
    account = Account(
        str(details["portalId"]), name=details.get("uiDomain", ""), currency=details.get("companyCurrency")
    )
    configured = config.sources["hubspot"].accounts
    if configured and account.id not in configured:
        raise ConfigError(
            f"the HubSpot credentials belong to account {account.id}, but sources.hubspot.accounts in pipeline.yaml "
            f"names {', '.join(configured)}: put {account.id} there, or use that account's credentials"
        )
    return Accounts([account])


def _details(client: HubSpot) -> Record:
    details = client.session.get(f"/account-info/{VERSION}/details").json()
    if "portalId" not in details:
        raise TransientError("account details without a portalId")
    return details  # type: ignore[no-any-return]


def probe(client: HubSpot, config: Config) -> list[Finding]:
    """The account, a small call per stream (scopes), and which of the properties asked for do not exist."""
    try:
        details = _details(client)
    except PermanentError as error:
        fix = "put a service key into HUBSPOT_ACCESS_TOKEN, or a new HUBSPOT_REFRESH_TOKEN"
        return [Finding(False, f"HubSpot: {error}", fix)]
    account = f"{details['portalId']}, {details['timeZone']}, {details['companyCurrency']}"
    findings = [Finding(True, f"HubSpot account {account}")]
    on = {stream.name for stream in SOURCE.switched_on(config)}
    for stream, (path, scopes) in ((name, probe) for name, probe in PROBES.items() if name in on):
        try:
            client.session.get(path, {"limit": 1})
        except (PermanentError, SkippedError) as error:
            fix = f"give the key the scopes {scopes}, or list the other streams under sources.hubspot.streams"
            findings.append(Finding(False, f"HubSpot {stream}: {error}", fix))
        else:
            findings.append(Finding(True, f"HubSpot {stream} is readable"))
    if {"deal", "present"} <= on:
        findings += _companies_finding(client)
    return [*findings, *_field_findings(client, config)]


def _companies_finding(client: HubSpot) -> Iterator[Finding]:
    try:
        client.session.get(COMPANIES, {"limit": 1})
    except (PermanentError, SkippedError) as error:
        what = f"HubSpot companies: {error}: one that is deleted for good stays a customer"
        yield Finding(True, what, "give the key the scope crm.objects.companies.read", warning=True)


def _field_findings(client: HubSpot, config: Config) -> Iterator[Finding]:
    """Whether each configured field is a column of ours, and a property of an object that has this column.

    HubSpot leaves out what it does not have without a word, so what else is asked for and not there is told too.
    """
    fields = config.sources["hubspot"].fields
    columns = {
        "contacts": {*rows.CONTACT_FIELDS, *config.channels.click_ids, *config.dimensions.lead},
        "deals": {*rows.DEAL_FIELDS, *config.dimensions.opportunity},
    }
    properties = {
        kind: {item["name"] for item in client.session.get(f"/crm/properties/{VERSION}/{kind}").rows("results")}
        for kind in columns
    }
    yield from _absent(config, properties)
    for column, name in fields.items():
        kinds = [kind for kind in columns if column in columns[kind]]
        what, where = f"HubSpot property {name!r} for {column!r}", f"sources.hubspot.fields.{column} in pipeline.yaml"
        if not kinds:
            fix = f"remove {where}, or use one of {', '.join(sorted(set().union(*columns.values())))}"
            yield Finding(False, f"{what}: we have no such column", fix)
        elif not any(name in properties[kind] for kind in kinds):
            fix = f"in {where} give the internal name of an existing property"
            yield Finding(False, f"{what} does not exist for {' or '.join(kinds)}", fix)
        else:
            yield Finding(True, f"{what} exists")


def _absent(config: Config, properties: Mapping[str, set[str]]) -> Iterator[Finding]:
    """What is asked for without being configured, and is not there."""
    for kind in (CONTACTS, DEALS):
        asked = set(kind.properties(config)) - set(config.sources["hubspot"].fields.values())
        if missing := sorted(asked - properties[kind.name]):
            what = f"HubSpot {kind.name} have no property {', '.join(missing)}: these columns stay empty"
            fix = "name yours under sources.hubspot.fields in pipeline.yaml, where you have them"
            if {*missing} <= {*rows.CUSTOM}:
                what = (
                    f"HubSpot {kind.name} have no property {', '.join(missing)}: campaigns come from HubSpot's own "
                    "source drill-downs and are joined by name"
                )
                fix = (
                    "for the exact join put utm_campaign={campaignid} into the tracking template of Google Ads, and "
                    "have your forms fill a contact property utm_campaign"
                )
            yield Finding(True, what, fix, warning=True)


def read_present(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all contacts, deals and companies of deals, archived ones too: what is missing was deleted for good.

    The list goes by ids and leaves nothing out while others change; a listing that breaks off lands nothing.
    """
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    yield from sweep([(object_, partial(ids_of, client, path)) for stream, path, object_ in SWEPT if stream in on])


# Stream -> a small call, and the scopes that it and the rest of the stream need.
PROBES = {
    "contact": (CONTACTS.path(), "crm.objects.contacts.read"),
    "deal": (DEALS.path(), "crm.objects.deals.read and crm.objects.contacts.read"),
    "marketing_email": (f"/marketing/emails/{VERSION}", "content"),
    "email_event": ("/email/public/v1/events", "content"),
    "form_submission": (FORMS, "forms"),
    "marketing_campaign": (f"/marketing/campaigns/{VERSION}", "marketing.campaigns.read"),
    "present": (CONTACTS.path(), "crm.objects.contacts.read and crm.objects.deals.read"),
}
# Not granted where the portal's plan, or the app, has them not; the rest is read all the same.
OPTIONAL_SCOPES = {"forms", "marketing.campaigns.read"}

# Not all of these are asked for, but a property that pipeline.yaml names lands too.
_PERSONAL_PROPERTIES = (
    "email", "hs_additional_emails", "work_email", "firstname", "lastname", "phone", "mobilephone", "fax",
    "hs_calculated_phone_number", "address", "zip", "date_of_birth", "ip_city", "ip_zipcode", "hs_ip_timezone",
    "hs_linkedin_url", "twitterhandle",
)  # fmt: skip
PERSONAL_CONTACT = (
    *(f"properties.{name}" for name in _PERSONAL_PROPERTIES),
    *(f"propertiesWithHistory.{name}.value" for name in _PERSONAL_PROPERTIES),
)
PERSONAL_EVENT = (
    "recipient", "from", "replyTo", "cc", "bcc", "requestedBy", "ipAddress", "userAgent", "location",
    "url", "referer", "response", "dropMessage",  # these may quote the address
)  # fmt: skip
PERSONAL_EMAIL = (
    "from.fromName", "from.replyTo", "from.customReplyTo", "publishedByName", "publishedByEmail", "authorName",
    "authorEmail",
)  # fmt: skip

# The search's index trails by minutes; it never sees what was changed in the last moments.
_MODIFIED = WindowPolicy(overlap=timedelta(minutes=15), settle=timedelta(minutes=5))

SOURCE = Source(
    name="hubspot",
    title="HubSpot",
    kind="crm",
    api_version=VERSION,
    streams=(
        Stream(
            name="contact",
            kind="changes",
            description="Contacts, archived ones too, with the history of their lifecycle stage.",
            fetch=read_contacts,
            day="updatedAt",
            policy=_MODIFIED,
            page_size=40,  # 200 ids a search, 50 records a read
            personal=PERSONAL_CONTACT,
            feeds={
                "lead": rows.leads,
                "stage_event": rows.lead_stages,
                "touchpoint": rows.touchpoints,
                "identity_link": rows.identity_links,
            },
            states={"stage_event": lambda config: config.stages.of("hubspot").values()},
            asks=CONTACTS.paths,
        ),
        Stream(
            name="deal",
            kind="changes",
            description="Deals, archived ones too, with the history of their stage and their contacts.",
            fetch=read_deals,
            day="updatedAt",
            policy=_MODIFIED,
            page_size=40,  # 200 ids a search, 50 records a read
            feeds={
                "opportunity": rows.opportunities,
                "opp_contact_role": rows.contact_roles,
                "stage_event": rows.opportunity_stages,
            },
            states={"stage_event": lambda config: ()},  # stages of deals, not of leads
            asks=DEALS.paths,
        ),
        Stream(
            name="marketing_email",
            kind="snapshot",
            description="Marketing e-mails, archived ones too, with HubSpot's own statistics.",
            fetch=read_marketing_emails,
            day="updatedAt",
            personal=PERSONAL_EMAIL,
            feeds={"email_send": rows.email_sends, "campaign": rows.email_campaigns},
        ),
        Stream(
            name="email_event",
            kind="changes",
            description="What became of every marketing e-mail at every recipient.",
            fetch=read_email_events,
            day="created",
            policy=WindowPolicy(overlap=timedelta(days=1), settle=timedelta(minutes=5), max_days=30),
            personal=PERSONAL_EVENT,
            feeds={"email_event": rows.email_events, "touchpoint": rows.click_touchpoints},
            states={"touchpoint": of_one_channel},
        ),
        Stream(
            name="form_submission",
            kind="changes",
            description="What was submitted to every form: when, on which page, by whom, and no other answer.",
            fetch=read_form_submissions,
            day="submittedAt",
            # Every form is read from its newest submission on, however old the window: so all of it is one.
            policy=WindowPolicy(overlap=timedelta(days=1), settle=timedelta(minutes=5), max_days=3_660),
            page_size=SUBMITTED,
            personal=("email",),
            feeds={"form_event": rows.form_events},
        ),
        Stream(
            name="marketing_campaign",
            kind="snapshot",
            description="Marketing campaigns, as they are now.",
            fetch=read_campaigns,
            day="updatedAt",
            page_size=LISTED,
            feeds={"campaign": rows.marketing_campaigns},
            asks=lambda config: [f"properties.{name}" for name in CAMPAIGN],
        ),
        Stream(
            name="present",
            kind="sweep",
            description="Once a week, the ids of contacts, deals and companies: what is no longer among them is gone.",
            fetch=read_present,
            day="swept_at",
            policy=SWEEP,
            page_size=LISTED,
            feeds={"record_present": present},
        ),
    ),
    connect=connect,
    authorization=authorization,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "HUBSPOT_ACCESS_TOKEN": "a service key (Development > Keys > Service keys, by a super admin), or the token of "
        "a private app made before 2026-10-26; or the three below",
        "HUBSPOT_CLIENT_ID": "OAuth app of a developer project: client id",
        "HUBSPOT_CLIENT_SECRET": "OAuth app: client secret",
        "HUBSPOT_REFRESH_TOKEN": "OAuth app: refresh token of the account",
    },
    optional=frozenset({"HUBSPOT_ACCESS_TOKEN", "HUBSPOT_CLIENT_ID", "HUBSPOT_CLIENT_SECRET", "HUBSPOT_REFRESH_TOKEN"}),
    sunset=date(2027, 9, 30),  # 18 months after its release
    daily_calls=650_000,  # of one account, Professional
)
