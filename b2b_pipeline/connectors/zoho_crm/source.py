"""Zoho CRM: leads, contacts, accounts, and deals with the history of their stages, of one organization, by API v8.

Modules are read in the order of `Modified_Time`, each page from where the one before ended (`_walk`). Of
merges nobody is told, and of what was deleted there is only a list of ids: once a week all ids are listed, which tells
both. The history of a deal's stages costs a call each. So does the timeline of a lead, which tells the status that it
had: where it is refused, or begins after the lead was made, the days until then are in doubt. For how long Zoho keeps
timelines, and whether it shows those of converted leads, is documented nowhere. Whether a 429 is for too many calls at
once or for those of the day is only told by the credits that are left, and these only once half of them are spent.
Facts from Zoho's OpenAPI files (GitHub zoho/crm-oas, v8.0), its SDK (PyPI zohocrmsdk8-0 7.0.0),
https://www.zoho.com/crm/developer/docs/api/v8 and what public clients recorded of tokens, stages, timelines and
errors, read 2026-12-01.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.authorize import Authorization
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
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Stop,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rest import absent_fields, readable, wrong_stages
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.connectors.zoho_crm import rows
from b2b_pipeline.errors import ConfigError, PermanentError, PipelineError, TransientError

API = "crm/v8"
CENTRES = {  # data centre -> where its users log in, and where its API is
    "com": ("zoho.com", "zohoapis.com"), "eu": ("zoho.eu", "zohoapis.eu"), "in": ("zoho.in", "zohoapis.in"),
    "com.au": ("zoho.com.au", "zohoapis.com.au"), "jp": ("zoho.jp", "zohoapis.jp"),
    "ca": ("zohocloud.ca", "zohoapis.ca"), "sa": ("zoho.sa", "zohoapis.sa"),
    "com.cn": ("zoho.com.cn", "zohoapis.com.cn"),
}  # fmt: skip
LISTED = 200  # the most that one call gives
EMPTY = (204, 304)  # nothing there, nothing modified
SCOPES = (
    "ZohoCRM.modules.leads.READ", "ZohoCRM.modules.contacts.READ", "ZohoCRM.modules.accounts.READ",
    "ZohoCRM.modules.deals.READ", "ZohoCRM.settings.fields.READ", "ZohoCRM.org.READ", "ZohoCRM.users.READ",
)  # fmt: skip
STATUS = "Lead_Status"
FIRST, LAST = datetime(2000, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)  # no record is older, or younger
SECOND = timedelta(seconds=1)  # whether the header's own second counts is not documented
AT_ONCE = timedelta(minutes=1)  # after its creation a lead's timeline begins
CREDITS = "X-API-CREDITS-REMAINING"
DENIED = {"OAUTH_SCOPE_MISMATCH", "NO_PERMISSION", "AUTHENTICATION_FAILURE"}


@dataclass(frozen=True)
class Module:
    """A module: the fields that every organization has of it (`.id`: a lookup), and those that may be missing or are
    configured."""

    name: str
    object: str
    fields: str
    custom: Mapping[str, str] = field(default_factory=dict)

    def asks(self, config: Config) -> list[str]:
        own = own_fields(config, "zoho_crm", self.object, self.custom) if self.custom else ()
        return [*dict.fromkeys(["id", *self.fields.split(), "Created_Time", "Modified_Time", *own])]


LEADS = Module(
    "Leads", "lead",
    "Email Secondary_Email Lead_Status Lead_Source Converted__s Converted_Date_Time Converted_Contact.id"
    " Converted_Account.id Converted_Deal.id", rows.OF_LEAD,
)  # fmt: skip
HISTORY = Module("Leads", "lead", STATUS)
CONTACTS = Module("Contacts", "contact", "Email Secondary_Email")
ACCOUNTS = Module("Accounts", "account", "Account_Name Website", rows.OF_ACCOUNT)
DEALS = Module(
    "Deals", "opportunity", "Deal_Name Stage Amount Closing_Date Account_Name.id Contact_Name.id",
    {**rows.OF_DEAL, "currency": "Currency"},
)  # fmt: skip
MODULES = (LEADS, CONTACTS, ACCOUNTS, DEALS)


@dataclass(frozen=True)
class Zoho:
    """One organization. `known`: the fields of a module, by name, listed once; `scopes`: what the token may do."""

    session: Session
    config: Config
    known: dict[str, dict[str, Record]] = field(default_factory=dict)
    scopes: list[str] = field(default_factory=list)

    def fields(self, module: Module) -> dict[str, Record]:
        if module.name not in self.known:
            listed = self.session.get(f"{API}/settings/fields", {"module": module.name}).rows("fields")
            self.known[module.name] = {row["api_name"]: row for row in listed}
        return self.known[module.name]

    def asked(self, module: Module) -> str:
        """What is asked for: what may be missing in an organization, only where it is there."""
        known = {"id", "Created_Time", "Modified_Time", *module.fields.split(), *self.fields(module)}
        found = (path for path in module.asks(self.config) if path in known or path.removesuffix(".id") in known)
        return ",".join(path.removesuffix(".id") for path in found)

    def answers(self, path: str, since: datetime | None = None, **query: Any) -> Iterator[Answer]:
        """Every page. Raises TransientError for one that does not say whether another one follows, or which."""
        headers = {"If-Modified-Since": f"{since.astimezone(UTC):%Y-%m-%dT%H:%M:%S+00:00}"} if since else {}

        def ask(token: str | None) -> Answer:
            return self.session.get(f"{API}/{path}", {"per_page": LISTED, **query, "page_token": token}, **headers)

        return follow(ask, _next)

    def records(self, path: str, member: str = "data", **query: Any) -> Iterator[Record]:
        for answer in self.answers(path, **query):
            yield from _rows(answer, member)


def _rows(answer: Answer, member: str = "data") -> list[Record]:
    return [] if answer.response.status_code in EMPTY else answer.rows(member)


def _next(answer: Answer) -> str | None:
    if answer.response.status_code in EMPTY:
        return None
    info = answer.json().get("info")
    more = info.get("more_records") if isinstance(info, dict) else None
    if not isinstance(more, bool) or (more and not info.get("next_page_token")):
        raise TransientError(f"{place(answer.response)}: a page that does not say what follows")
    return str(info["next_page_token"]) if more else None


def classify(response: requests.Response) -> Outcome:
    """https://www.zoho.com/crm/developer/docs/api/v8/status-codes.html, and …/api-limits.html"""
    body = json_or_none(response)
    body = body if isinstance(body, dict) else {}
    code = str(body.get("code") or "refused")
    told = f"{code}: {str(body.get('message') or 'without a reason')[:200]}"
    if response.status_code in EMPTY:
        return Ok()
    if response.status_code == 429 or code == "TOO_MANY_REQUESTS":
        if response.headers.get(CREDITS) == "0" or code == "LIMIT_EXCEEDED":  # they come back as they were spent
            return Stop(datetime.now(UTC) + timedelta(hours=1), "the API credits of the last 24 hours")
        return wait_or_stop(retry_after(response, 30.0), told)
    if code in DENIED:
        return Fatal(
            told, auth=True, fix="run `b2b connect zoho_crm` as an administrator, and agree to all it asks for"
        )
    if code == "API_NOT_SUPPORTED":
        return Fatal(told, fix="update b2b_pipeline: Zoho no longer answers this version of its API")
    if code == "INVALID_TOKEN":
        return Reauth(told)
    return by_status(response, told)


def _walk(client: Zoho, module: Module, fields: str, start: datetime, until: datetime) -> Iterator[Page]:
    """What was modified from a time on, in this order, up to the first that was later than asked for. Where a
    `page_token` goes on when records change meanwhile, and leave their places, nobody says, and after 100,000 records
    it is refused: so each page is asked for by the time at which the one before ended. The token is only followed where
    a page is not enough for that time alone, and all of it read again until nothing new comes. Raises TransientError
    for pages that are not in this order."""
    asked = {"fields": fields, "sort_by": "Modified_Time", "sort_order": "asc", "approved": "both"}
    asked |= {"converted": "both"} if module.name == "Leads" else {}
    seen: set[tuple[str, datetime]] = set()
    while True:
        last, fresh, pages, more = start, False, 0, False
        for answer in client.answers(module.name, start, **asked):
            new = []
            for record in _rows(answer):
                at = _modified(module, record)
                if at < last:
                    raise TransientError(f"{module.name}: pages are not in the order of Modified_Time")
                last = at
                if (record["id"], at) not in seen:
                    new.append(record)
                    seen.add((record["id"], at))
            fresh, pages, more = fresh or bool(new), pages + 1, _next(answer) is not None
            yield Page(new, answer.request)
            if last - SECOND > start:
                break
        if pages == 1 or not fresh:
            if not more or last >= until:
                return
            start = last - SECOND
            seen = {each for each in seen if each[1] >= start}


def _modified(module: Module, record: Record) -> datetime:
    try:
        return datetime.fromisoformat(record["Modified_Time"])
    except (KeyError, TypeError, ValueError):
        raise TransientError(f"{module.name}: a record without Modified_Time") from None


def _changed(module: Module, client: Zoho, account: Account, window: Window) -> Iterator[Page]:
    """What was modified in the window. There is no upper bound to ask for: the read ends with the first after it."""
    for page in _walk(client, module, client.asked(module), window.since - SECOND, window.until):
        within = [record for record in page.records if window.since <= _modified(module, record) < window.until]
        yield Page([_plain(record) for record in within], page.request)


def _plain(record: Record) -> Record:
    """A record whose lookups are ids: their names, and the addresses of owners, are of people."""
    found = {name: {"id": each.get("id")} if isinstance(each, dict) else each for name, each in record.items()}
    return {name: each for name, each in found.items() if not name.startswith("$")}


def read_deals(client: Zoho, account: Account, window: Window) -> Iterator[Page]:
    """Deals with what their stages mean, and the stages that each has been in."""
    stages = client.fields(DEALS).get("Stage", {}).get("pick_list_values") or []
    kinds = {
        stage.get(name): stage.get("forecast_type") for name in ("actual_value", "display_value") for stage in stages
    }
    for page in _changed(DEALS, client, account, window):
        deals = [{**deal, "kind": kinds.get(deal["Stage"]), "stages": _history(client, deal)} for deal in page.records]
        yield Page(deals, page.request)


def _history(client: Zoho, deal: Record) -> list[Record]:
    path = f"Deals/{deal['id']}/Stage_History"
    entries = client.records(path, fields="Stage,Modified_Time")
    return [{name: entry.get(name) for name in ("id", "Stage", "Modified_Time")} for entry in entries]


def read_history(client: Zoho, account: Account, window: Window) -> Iterator[Page]:
    """Leads with the changes of their status. What else their timelines tell is not kept: it is about people."""
    for page in _changed(HISTORY, client, account, window):
        leads, doubts = [], dict[str, str]()
        for lead in page.records:
            entries = _timeline(client, lead)
            missing = _missing(client, lead, entries)
            doubts |= dict.fromkeys(missing, "what became of a lead that was there then is in no timeline")
            leads.append({**lead, "whole": not missing, "changes": [*_statuses(entries)]})
        yield Page(leads, page.request, doubts)


def _timeline(client: Zoho, lead: Record) -> list[Record]:
    """What happened to a lead; nothing where that is refused. How long pages are may be asked of the first alone."""
    path = f"Leads/{lead['id']}/__timeline"
    asked: dict[str, Any] = {"sort_by": "audited_time", "sort_order": "asc", "per_page": None}
    try:
        return [*client.records(path, "__timeline", **asked)]
    except PermanentError as error:
        if error.status != 400:
            raise
        return []


def _statuses(entries: list[Record]) -> Iterator[Record]:
    for entry in entries:
        for change in entry.get("field_history") or ():
            if change["api_name"] == STATUS:
                values = {name: change["_value"][name] for name in ("old", "new")}
                yield {"id": entry["id"], "audited_time": entry["audited_time"], **values}


def _missing(client: Zoho, lead: Record, entries: list[Record]) -> list[str]:
    """The days of a lead that its timeline does not tell: those before it begins, all of a lead without one."""
    told = [entry["audited_time"] for entry in entries] or [lead["Modified_Time"]]
    created, until = datetime.fromisoformat(lead["Created_Time"]), min(map(datetime.fromisoformat, told))
    if entries and until - created < AT_ONCE:
        return []
    first, last = (at.astimezone(client.config.zone).date() for at in (created, until))
    return [str(first + timedelta(days=n)) for n in range((last - first).days + 1)]


def read_present(client: Zoho, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all that there is: what is missing was deleted, or merged away."""
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    return sweep([(module.object, partial(_ids, client, module)) for module in MODULES if _stream_of(module) in on])


def _ids(client: Zoho, module: Module) -> Iterator[list[str]]:
    for page in _walk(client, module, "Modified_Time", FIRST, LAST):
        yield [str(record["id"]) for record in page.records]


def _stream_of(module: Module) -> str:
    return module.name.lower().removesuffix("s")


def _centre() -> tuple[str, str]:
    """Where users log in, and where the API is. Raises ConfigError for a data centre that is not there."""
    if base := settings.base_url("zoho_crm", ""):
        return base, base
    name = os.environ.get("ZOHO_CRM_DATA_CENTER", "").strip() or "com"
    if name not in CENTRES:
        raise ConfigError(f"ZOHO_CRM_DATA_CENTER: {name!r} is none of {', '.join(CENTRES)}")
    accounts, apis = CENTRES[name]
    return f"https://accounts.{accounts}", f"https://www.{apis}"


def connect(config: Config) -> Zoho:
    login, base = _centre()
    form = {"grant_type": "refresh_token"}
    form |= {
        name: settings.secret(f"ZOHO_CRM_{name.upper()}") for name in ("client_id", "client_secret", "refresh_token")
    }
    scopes: list[str] = []

    def granted(token: Mapping[str, Any]) -> None:
        scopes[:] = str(token.get("scope") or "").replace(",", " ").split()

    auth = OAuthToken(
        f"{login}/oauth/v2/token", form, store=settings.credential_store("zoho_crm"), lifetime=3600.0,
        on_token=granted, scheme="Zoho-oauthtoken",
    )  # fmt: skip
    return Zoho(Session(base, classify=classify, auth=auth), config, scopes=scopes)


def authorization() -> Authorization:
    """https://www.zoho.com/crm/developer/docs/api/v8/auth-request.html: scopes stand between commas."""
    login, _ = _centre()
    return Authorization(
        f"{login}/oauth/v2/auth", f"{login}/oauth/v2/token", (",".join(SCOPES),),
        ("ZOHO_CRM_CLIENT_ID", "ZOHO_CRM_CLIENT_SECRET", "ZOHO_CRM_REFRESH_TOKEN"),
        {"access_type": "offline", "prompt": "consent"}, proves=False,
    )  # fmt: skip


def accounts(client: Zoho, config: Config) -> Accounts:
    """The one organization that the token belongs to."""
    [org] = client.session.get(f"{API}/org").rows("org")
    found = Account(str(org["id"]), org["company_name"], org["iso_code"])
    return choose([found], config.sources["zoho_crm"].accounts, "sources.zoho_crm.accounts")


def probe(client: Zoho, config: Config) -> list[Finding]:
    """The organization, the credits left where they are told, the user, a small call per stream, named fields."""
    try:
        answer = client.session.get(f"{API}/org")
        [user] = client.session.get(f"{API}/users", {"type": "CurrentUser"}).rows("users")
    except PipelineError as error:
        fix = "run `b2b connect zoho_crm`; ZOHO_CRM_DATA_CENTER must be that of your account"
        return [Finding(False, f"Zoho CRM: {error}", error.fix or fix)]
    [org], left = answer.rows("org"), answer.response.headers.get(CREDITS)
    credits_ = f"{left} credits left of these 24 hours" if left else "more than half of the credits of 24 hours left"
    found = [Finding(True, f"Zoho CRM organization {org['company_name']} ({org['iso_code']}), {credits_}")]
    if (profile := (user.get("profile") or {}).get("name")) != "Administrator":
        what = f"Zoho CRM: the user's profile is {profile or 'unknown'}: records that they may not see are missing"
        found.append(Finding(True, what, "run `b2b connect zoho_crm` as an administrator", warning=True))
    if writes := [scope for scope in client.scopes if not scope.upper().endswith(".READ")]:
        what = f"Zoho CRM: the token may do more than read: {', '.join(writes)}"
        found.append(Finding(True, what, "run `b2b connect zoho_crm`, which asks for reading alone", warning=True))
    on = [stream.name for stream in SOURCE.switched_on(config)]
    read = [module for module in MODULES if _stream_of(module) in on]
    calls = {_stream_of(module): partial(_look, client, module) for module in read}
    found += readable("Zoho CRM", calls, "let the user's profile see the module, and run `b2b connect zoho_crm`")
    fix = "copy the API name: Setup > Developer Hub > APIs and SDKs > API names"
    found += absent_fields(SOURCE, config, lambda name: any(name in client.fields(each) for each in read), fix)
    return [*found, *(_stages(client) if "lead_history" in on else ())]


def _look(client: Zoho, module: Module) -> None:
    client.session.get(f"{API}/{module.name}", {"fields": client.asked(module), "per_page": 1})


def _stages(client: Zoho) -> Iterator[Finding]:
    with suppress(PipelineError):  # it is told already
        values = client.fields(LEADS).get(STATUS, {}).get("pick_list_values") or []
        yield from wrong_stages("Zoho CRM", client.config, "zoho_crm", [value["display_value"] for value in values])


_MODIFIED = WindowPolicy(overlap=timedelta(minutes=15), settle=timedelta(minutes=5))
PERSONAL = (
    "Email", "Secondary_Email", "Full_Name", "First_Name", "Last_Name", "Phone", "Mobile", "Designation", "Street",
    "Mailing_Street",
)  # fmt: skip


def _stream(module: Module, what: str, feeds: Mapping[str, Mapping_], **more: Any) -> Stream:
    fetch = more.pop("fetch", partial(_changed, module))
    return Stream(
        _stream_of(module), "changes", what, fetch, "Modified_Time", _MODIFIED, feeds=feeds, asks=module.asks,
        **{"page_size": LISTED, **more},
    )  # fmt: skip


SOURCE = Source(
    name="zoho_crm",
    title="Zoho CRM",
    kind="crm",
    api_version="v8",
    streams=(
        _stream(
            LEADS, "Leads, converted ones too, with what they were converted to.",
            {
                "lead": rows.leads, "stage_event": rows.lead_stages, "identity_link": rows.lead_links,
                "touchpoint": rows.touchpoints,
            },
            personal=PERSONAL,
            states={"stage_event": lambda config: ("sql",), "touchpoint": tells_channel("zoho_crm")},
        ),
        Stream(
            "lead_history", "changes", "The changes of the status of leads, by their timelines.", read_history,
            day="Modified_Time", policy=_MODIFIED, page_size=1,  # a call for the timeline of each
            feeds={"stage_event": rows.lead_history}, asks=HISTORY.asks,
            states={"stage_event": lambda config: config.stages.of("zoho_crm").values()},
        ),
        _stream(CONTACTS, "Contacts: who is who, by e-mail.", {"identity_link": rows.contact_links}, personal=PERSONAL),
        _stream(ACCOUNTS, "Accounts: the companies that deals are with.", {"account": rows.accounts}),
        _stream(
            DEALS, "Deals, with the history of their stages.",
            {
                "opportunity": rows.opportunities, "opp_contact_role": rows.contact_roles,
                "stage_event": rows.deal_stages,
            },
            fetch=read_deals, page_size=1,  # a call for the history of each
            states={"stage_event": lambda config: ()},  # stages of deals, not of leads
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all that there is: what is missing was deleted or merged.",
            read_present, day="swept_at", policy=SWEEP, page_size=LISTED, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    authorization=authorization,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "ZOHO_CRM_CLIENT_ID": "client ID of a server-based application (api-console.zoho.com, of your data centre)",
        "ZOHO_CRM_CLIENT_SECRET": "its client secret",
        "ZOHO_CRM_REFRESH_TOKEN": "from `b2b connect zoho_crm`; it does not end",
        "ZOHO_CRM_DATA_CENTER": f"the end of the address where you log in: {', '.join(CENTRES)}; com without it",
    },
    optional=frozenset({"ZOHO_CRM_DATA_CENTER"}),
    daily_calls={"standard": 50_000, "free": 5_000},  # credits of 24 hours, without those that users add
)  # fmt: skip
