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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, StaticToken
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.base import Account, Accounts, Finding, Page, Record, Source, Stream, Window, WindowPolicy
from b2b_pipeline.connectors.columns import of_one_channel, present
from b2b_pipeline.connectors.http import (
    Answer,
    Auth,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Stop,
    Wait,
    follow,
    json_or_none,
    next_utc_midnight,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.hubspot import rows
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.connectors.visits import visit
from b2b_pipeline.errors import ConfigError, PermanentError, SkippedError, TransientError

VERSION = "2026-03"
BASE_URL = "https://api.hubapi.com"
AUTHORIZE_URL = "https://app.hubspot.com/oauth/authorize"
SEARCHED, READ, LISTED, EVENTS = 200, 50, 100, 1000  # the most that one call gives; 50 is with property history
SUBMITTED = 50  # likewise, of submissions
FORMS = "/marketing/v3/forms"
NOT_SUBMITTED = "blog_comment"  # a type of form of which HubSpot lists no submissions, and answers 400
CAMPAIGN = ("hs_name", "hs_campaign_status", "hs_start_date", "hs_end_date", "hs_utm")
# Of any account's search, and of a private app at Professional and Enterprise; other apps and plans are told to wait.
# https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
RATES = (Rate(5, 1, paths="/search$"), Rate(190, 10))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class HubSpot:
    """An authenticated account and the configuration that says which properties to ask for.

    `archived`: object -> when its recycle bin was listed, and what it held. The list knows no window, so a backfill of
    many windows has it once.
    """

    session: Session
    config: Config
    archived: dict[str, tuple[datetime, list[Page]]] = field(default_factory=dict)


@dataclass(frozen=True)
class ObjectType:
    """A CRM object: its property of modification, the one whose history is read, and all that are asked for."""

    name: str
    modified: str
    history: str
    fixed: tuple[str, ...]
    fields: Callable[[Config], Mapping[str, str]]

    def path(self, end: str = "") -> str:
        return f"/crm/objects/{VERSION}/{self.name}{end}"

    def properties(self, config: Config) -> list[str]:
        return sorted({self.modified, self.history, *self.fixed, *self.fields(config).values()})

    def paths(self, config: Config) -> list[str]:
        """Where the properties stand in a record."""
        return [f"properties.{name}" for name in self.properties(config)]


CONTACTS = ObjectType(
    "contacts", "lastmodifieddate", "lifecyclestage",
    ("createdate", "email", "hs_additional_emails", "hs_analytics_source", "hs_analytics_source_data_1",
     "hs_analytics_source_data_2", "hs_analytics_first_timestamp", "hs_latest_source", "hs_latest_source_data_1",
     "hs_latest_source_data_2", "hs_latest_source_timestamp", "hs_merged_object_ids", "hs_calculated_merged_vids"),
    rows.contact_fields,
)  # fmt: skip
DEALS = ObjectType(
    "deals", "hs_lastmodifieddate", "dealstage",
    ("createdate", "dealname", "closedate", "amount", "deal_currency_code", "hs_is_closed", "hs_is_closed_won"),
    rows.deal_fields,
)  # fmt: skip
COMPANIES = f"/crm/objects/{VERSION}/companies"
# The stream that it is swept with, where it is listed, what it is to us. Companies are not read otherwise.
SWEPT = (
    ("contact", CONTACTS.path(), "lead"),
    ("deal", DEALS.path(), "opportunity"),
    ("deal", COMPANIES, "account"),
)


def classify(response: requests.Response) -> Outcome:
    """https://developers.hubspot.com/docs/api-reference/error-handling; throttling names its policy in the body."""
    status = response.status_code
    if status in (200, 207):
        is_page = "text/html" in response.headers.get("Content-Type", "")
        return Wait(5.0, "an HTML page instead of an answer") if is_page else Ok()
    body = json_or_none(response)
    error = body if isinstance(body, dict) else {}
    category = str(error.get("category") or error.get("errorType") or "no reason given")
    if status == 429:
        return _throttled(response, error)
    if status == 401:
        return Reauth(category)
    if status == 403:
        scopes = ", ".join(_scopes(error))
        return Skip(f"missing scopes: {scopes}") if scopes else Fatal(f"not allowed ({category})", auth=True)
    if status == 530:
        return Fatal("the access token is malformed", auth=True)
    if status == 414:
        return Split("the address is too long")
    if status == 423:
        return wait_or_stop(retry_after(response, 2.0), "locked")
    if status == 477:
        return wait_or_stop(retry_after(response, 3600.0), "the account is being moved to another data centre")
    if status >= 500:
        return wait_or_stop(retry_after(response, 5.0), category)
    if status == 400 and place(response).endswith("/search"):
        return Fatal("search refused: a filter on a property that does not exist, or a page beyond its 10,000 results")
    return Fatal(category)


def _throttled(response: requests.Response, error: Mapping[str, Any]) -> Outcome:
    """The search names no policy, but says it in its message: "You have reached your secondly limit."."""
    policy = f"{error.get('policyName', '')} {error.get('message', '')}".upper()
    if "DAILY" in policy or response.headers.get("X-HubSpot-RateLimit-Daily-Remaining") == "0":
        # It returns at midnight in the account's time zone, which the answer does not tell.
        return Stop(next_utc_midnight(), "daily limit of API calls")
    is_secondly = "SECONDLY" in policy and "TEN_SECONDLY" not in policy
    return wait_or_stop(retry_after(response, 1.0 if is_secondly else 10.0))


def _scopes(error: Mapping[str, Any]) -> list[str]:
    contexts = [error.get("context"), *(item.get("context") for item in error.get("errors") or [])]
    named = [
        scope
        for context in contexts
        if isinstance(context, dict)
        for key in ("missingScopes", "requiredGranularScopes", "requiredScopes")
        for scope in context.get(key) or []
    ]
    return list(dict.fromkeys(named))


# -- reading


def read_contacts(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """Contacts modified or archived in the window, with the history of `lifecyclestage`."""
    for pages in (_changed(client, CONTACTS, window), _archived(client, CONTACTS, window)):
        for page in pages:
            yield Page([_with_addresses(contact) for contact in page.records], page.request)


def _with_addresses(contact: Record) -> Record:
    """A contact whose secondary addresses, "a@x;b@y", are a list."""
    further = contact["properties"].get("hs_additional_emails")
    if not isinstance(further, str):
        return contact
    addresses = [address.strip() for address in further.split(";") if address.strip()]
    return {**contact, "properties": {**contact["properties"], "hs_additional_emails": addresses}}


def read_deals(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """Deals modified or archived in the window, with the history of `dealstage` and, unless archived, contact ids."""
    for page in _changed(client, DEALS, window):
        contacts = _contacts_of(client, [deal["id"] for deal in page.records])
        deals = [{**deal, "associations": {"contacts": contacts.get(deal["id"], [])}} for deal in page.records]
        yield Page(deals, page.request)
    yield from _archived(client, DEALS, window)


def read_marketing_emails(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """Every marketing e-mail. With statistics HubSpot lists only those that were sent: the rest is asked for after."""
    for archived in ("false", "true"):
        seen: set[str] = set()
        for with_stats in ("true", "false"):
            query = {"archived": archived, "includeStats": with_stats, "limit": LISTED}
            for answer in _listing(client, f"/marketing/emails/{VERSION}", query):
                emails = [email for email in _results(answer) if email["id"] not in seen]
                seen.update(email["id"] for email in emails)
                yield Page(emails, answer.request)


def read_email_events(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """E-mail events created in the window, newest first."""
    query = {"startTimestamp": _ms(window.since), "endTimestamp": _ms(window.until) - 1, "limit": EVENTS}  # inclusive

    def next_offset(answer: Answer) -> str | None:
        body = answer.json()
        return body["offset"] if body.get("hasMore") else None

    for answer in follow(
        lambda at: client.session.get("/email/public/v1/events", {**query, "offset": at}), next_offset
    ):
        yield Page(_results(answer, "events"), answer.request)


def read_form_submissions(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """What was submitted in the window, form by form. Of the answers only the address stays, of the page no query."""
    since, until = _ms(window.since), _ms(window.until)
    click_ids = [*client.config.channels.click_ids]
    for form in _forms(client):
        path, is_begun = f"/form-integrations/v1/submissions/forms/{form['id']}", False
        try:
            for answer in _listing(client, path, {"limit": SUBMITTED}):
                found, is_begun = _results(answer), True
                mine = [record for record in found if since <= record["submittedAt"] < until]
                yield Page([_submission(record, form, click_ids) for record in mine], answer.request)
                if found and max(record["submittedAt"] for record in found) < since:
                    break  # a whole page of what is older
        except PermanentError as error:
            if not form["archived"] or error.status != 404 or is_begun:
                raise  # what was submitted to an archived form may be lost with it, at HubSpot: it is not found


def _forms(client: HubSpot) -> Iterator[Record]:
    for archived in ("false", "true"):
        for answer in _listing(client, FORMS, {"archived": archived, "formTypes": "all", "limit": LISTED}):
            for form in _results(answer):
                if form["formType"] != NOT_SUBMITTED:
                    yield {name: form[name] for name in ("id", "name", "formType", "archived")}


def _submission(record: Record, form: Record, click_ids: list[str]) -> Record:
    """Answers are dropped here: they are people's own words. `objectTypeId` 0-1, or none, is the contact."""
    addresses = [
        value["value"]
        for value in record.get("values") or []
        if value.get("name") == "email" and value.get("objectTypeId") in (None, "", "0-1")
    ]
    return {
        "conversionId": record.get("conversionId") or f"{form['id']}:{record['submittedAt']}",
        "submittedAt": record["submittedAt"],
        "email": next(filter(None, addresses), None), "form": form, **visit(record.get("pageUrl"), click_ids),
    }  # fmt: skip


def read_campaigns(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """Every marketing campaign, as many as HubSpot says there are."""
    query = {"limit": LISTED, "sort": "createdAt", "properties": ",".join(CAMPAIGN)}
    received, total = 0, 0
    for answer in _listing(client, f"/marketing/campaigns/{VERSION}", query):
        campaigns = _results(answer)
        received, total = received + len(campaigns), answer.json()["total"]
        yield Page(campaigns, answer.request)
    if received != total:
        raise TransientError(f"HubSpot campaigns: {received} came, {total} were announced")


def _changed(client: HubSpot, kind: ObjectType, window: Window) -> Iterator[Page]:
    for ids in _changed_ids(client, kind, window):
        for start in range(0, len(ids), READ):
            yield _read(client, kind, ids[start : start + READ])


def _changed_ids(client: HubSpot, kind: ObjectType, window: Window) -> Iterator[list[str]]:
    """The ids of live records modified in the window, ascending.

    Every page is a search of its own above the last id. So no search comes near its cap of 10,000 results, however
    many records share a millisecond, and no record slips between two pages when another one leaves the window.
    """

    def search(last: str | None) -> Answer:
        conditions = [
            (kind.modified, "GTE", str(_ms(window.since))),
            (kind.modified, "LT", str(_ms(window.until))),
            ("hs_object_id", "GT", last or "0"),
        ]
        filters = [{"propertyName": name, "operator": op, "value": value} for name, op, value in conditions]
        body = {
            "filterGroups": [{"filters": filters}],
            "sorts": [{"propertyName": "hs_object_id", "direction": "ASCENDING"}],
            "properties": [kind.modified],
            "limit": SEARCHED,
            "after": "0",
        }
        return client.session.post(kind.path("/search"), body)

    def last_id(answer: Answer) -> str | None:
        found = _results(answer)
        return found[-1]["id"] if found and _next_after(answer) else None

    last = 0
    for answer in follow(search, last_id):
        ids = [int(record["id"]) for record in _results(answer)]
        if ids != sorted(ids) or (ids and ids[0] <= last):
            raise TransientError(f"{place(answer.response)}: the search is not in the order of ids")
        if not _next_after(answer) and answer.json().get("total", 0) > len(ids):
            raise TransientError(f"{place(answer.response)}: the last page holds fewer records than its total")
        last = max(ids, default=last)
        yield [str(identifier) for identifier in ids]


def _read(client: HubSpot, kind: ObjectType, ids: list[str]) -> Page:
    """Live records by id; one that was archived or merged away since the search is left to its next version."""
    body = {
        "inputs": [{"id": identifier} for identifier in ids],
        "properties": kind.properties(client.config),
        "propertiesWithHistory": [kind.history],
    }
    answer = client.session.post(kind.path("/batch/read"), body)
    records = _results(answer)
    unknown = {identifier for error in _errors(answer) for identifier in error.get("context", {}).get("ids", [])}
    merged = {
        identifier
        for record in records
        for identifier in (record["properties"].get("hs_merged_object_ids") or "").split(";")
    }
    if left := set(ids) - {record["id"] for record in records} - unknown - merged:
        raise TransientError(f"{place(answer.response)}: {len(left)} of {len(ids)} records are missing from the answer")
    return Page(records, answer.request)


def _archived(client: HubSpot, kind: ObjectType, window: Window) -> Iterator[Page]:
    """Records archived in the window. The list knows no filter by time, and gives archived records no history."""
    listed, pages = client.archived.get(kind.name, (EPOCH, []))
    if listed < window.until:
        query = {"archived": "true", "limit": LISTED, "properties": ",".join(kind.properties(client.config))}
        listed = datetime.now(UTC)
        pages = [Page(_results(answer), answer.request) for answer in _listing(client, kind.path(), query)]
        client.archived[kind.name] = listed, pages
    for page in pages:
        gone = [
            record
            for record in page.records
            if window.since <= datetime.fromisoformat(record.get("archivedAt") or record["updatedAt"]) < window.until
        ]
        yield Page(gone, page.request)


def read_present(client: HubSpot, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all contacts, deals and companies of deals, archived ones too: what is missing was deleted for good.

    The list goes by ids and leaves nothing out while others change; a listing that breaks off lands nothing.
    """
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    yield from sweep([(object_, partial(_ids, client, path)) for stream, path, object_ in SWEPT if stream in on])


def _ids(client: HubSpot, path: str) -> Iterator[list[str]]:
    for archived in ("false", "true"):
        query = {"archived": archived, "limit": LISTED, "properties": "hs_object_id"}
        for answer in _listing(client, path, query):
            yield [record["id"] for record in _results(answer)]


def _contacts_of(client: HubSpot, deals: list[str]) -> dict[str, list[str]]:
    """Deal id -> ids of its contacts, in HubSpot's order. A deal with very many goes on in a further call."""
    found: dict[str, list[str]] = {}
    asked: set[tuple[str, ...]] = set()
    inputs = [{"id": deal} for deal in deals]
    while inputs:
        asked.update(tuple(item.values()) for item in inputs)
        answer = client.session.post(f"/crm/associations/{VERSION}/deals/contacts/batch/read", {"inputs": inputs})
        _errors(answer)
        inputs = []
        for result in _results(answer):
            deal = str(result["from"]["id"])
            found.setdefault(deal, []).extend(str(contact["toObjectId"]) for contact in result["to"])
            if after := result.get("paging", {}).get("next", {}).get("after"):
                inputs.append({"id": deal, "after": after})
        if any(tuple(item.values()) in asked for item in inputs):
            raise TransientError(f"{place(answer.response)}: the page cursor repeats")
    return found


def _listing(client: HubSpot, path: str, query: Mapping[str, Any]) -> Iterator[Answer]:
    return follow(lambda after: client.session.get(path, {**query, "after": after}), _next_after)


def _next_after(answer: Answer) -> str | None:
    after = answer.json().get("paging", {}).get("next", {}).get("after")
    return None if after is None else str(after)


def _results(answer: Answer, name: str = "results") -> list[Record]:
    return answer.rows(name)


def _errors(answer: Answer) -> list[Record]:
    """The errors of a batch answer (status 207): records that are not there, associations that do not exist.

    Raises TransientError for any other, because a part of the answer is missing then.
    """
    errors: list[Record] = answer.json().get("errors") or []
    for error in errors:
        if error.get("category") != "OBJECT_NOT_FOUND":
            raise TransientError(f"{place(answer.response)}: batch answer with {error.get('category')}")
    return errors


def _ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


# -- the source


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
        kind: {item["name"] for item in _results(client.session.get(f"/crm/properties/{VERSION}/{kind}"))}
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
