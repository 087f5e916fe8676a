"""Zoom Webinars: who registered for the webinars of an account, and who attended them.

Webinars of users are listed until they expire, which nothing tells the same way twice: those that were held since, also
of users who have left, come from the account's history of meetings. Registrants are listed by webinar and status, all
of them each time; one that was deleted is in no list any more, which a weekly sweep of the webinars that are to come,
or were held in the last four weeks, finds out. Who attended is a report by instance, kept for six months. Answers to
questions of the registration, comments, names, addresses and telephone numbers are dropped before anything is kept; an
e-mail address stays as a pseudonym. Who registered and did not come is told by both lists; that of absentees is not
asked for.
Facts from Zoom's OpenAPI document of the Meeting API, https://developers.zoom.us/docs (api: rate limits, pagination;
rooms/s2s-oauth, internal-apps/create: the token), https://devsupport.zoom.us (13343538313101: whose address is shown),
support.zoom.us (201362373: webinars are deleted after 90 days), answers that devforum.zoom.us and public clients
recorded (429 by day and by second, 4711, 3001), read 2026-12-01. Not established: of which time zone the days of the
history are, and whether its last day is within (a day more is asked for at each side), and how long after a webinar its
report is whole: three days are read again. Of a webinar that nobody began, and that is not listed any more, registrants
are not known.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any
from urllib.parse import quote

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, basic
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
from b2b_pipeline.connectors.emails import states_leads
from b2b_pipeline.connectors.http import (
    Fatal,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Stop,
    Wait,
    by_status,
    json_or_none,
    next_utc_midnight,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Listing, picked, readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import SWEPT, sweep
from b2b_pipeline.connectors.zoom_webinars import rows
from b2b_pipeline.errors import PipelineError, SkippedError, SplitError, TransientError

API, LOGIN = "https://api.zoom.us", "https://zoom.us"
SCOPES = (
    "user:read:list_users:admin", "webinar:read:list_webinars:admin", "webinar:read:list_registrants:admin",
    "report:read:list_history_meetings:admin", "report:read:list_webinar_participants:admin",
)  # fmt: skip
RATES = (Rate(10, 1, paths="/report/"), Rate(20, 1))  # heavy and medium calls of a Pro account; larger ones have more
WEBINARS_KEPT, REPORTS_KEPT = timedelta(days=90), timedelta(days=180)  # after a webinar
LOOKED_AT = 5  # webinars, by doctor
MONTH = 28  # days that the history is asked for at a time
# In the order in which they follow each other: who is approved meanwhile is listed twice, and not never.
STATUSES = ("pending", "approved", "denied")
REGISTRANT = (
    "id email status create_time org country state industry no_of_employees purchasing_time_frame "
    "role_in_purchase_process"
)
PARTICIPANT = "id user_id registrant_id user_email join_time leave_time duration status"
NO_ADD_ON, NO_REGISTRATION = "this user has no Webinar add-on", "this webinar has no registration"
GONE = {1001: "there is no such user", 3001: "there is no such webinar any more", 12702: "it is more than a year ago"}
EXPIRED = {124, 201}  # access tokens
_NEXT: dict[str, Any] = {"cursor": "next_page_token", "parameter": "next_page_token", "total": "total_records"}
USERS = Listing("users", asked={"page_size": 300, "status": "active"}, **_NEXT)
WEBINARS = Listing("webinars", asked={"page_size": 300, "type": "scheduled"}, **_NEXT)
REGISTRANTS = Listing("registrants", asked={"page_size": 300}, **_NEXT)
PARTICIPANTS = Listing("participants", asked={"page_size": 300, "include_fields": "registrant_id"}, **_NEXT)
HISTORY = Listing(
    "history_meetings", asked={"page_size": 300, "meeting_type": "webinar", "date_type": "start_time"}, size=30, **_NEXT
)  # it announces no total: a page of 30, the least that Zoom cuts at, must say whether another one follows
FIX = f"give the Server-to-Server OAuth app the scopes {', '.join(SCOPES)}, and its owner a role that may see them"


@dataclass(frozen=True)
class Zoom:
    """One account. `granted`: the scopes that came with the token."""

    session: Session
    account: str
    granted: set[str] = field(default_factory=set)


def classify(response: requests.Response) -> Outcome:
    """An error is `{"code": ..., "message": ...}`, some with status 200. A message may name people: it is not told."""
    body = json_or_none(response)
    error = body if isinstance(body, dict) else {}
    code, said = error.get("code"), str(error.get("message") or "").lower()
    if response.status_code == 429:
        return _throttled(response, said)
    if not isinstance(code, int) or response.status_code >= 500:
        return by_status(response)
    if scopes := re.search(r"does not contain scopes:\s*\[([a-z0-9_:, ]*)\]", said):
        fix = f"give the Server-to-Server OAuth app one of these scopes: {scopes[1]}"
        return Fatal(f"error {code}, the token lacks a scope", auth=True, fix=fix)
    if response.status_code == 401 or code in EXPIRED:
        return Reauth(f"error {code}, the token is not good any more")
    if code == 300 and "next page token" in said:
        return Split("the page token has expired")
    if code == 200 and "webinar" in said and re.search(r"plan|subscri", said):
        return Skip(NO_ADD_ON)
    if code in (404, 3000) and "regist" in said:
        return Skip(NO_REGISTRATION)
    if code in GONE:
        return Skip(f"error {code}, {GONE[code]}")
    if code == 200:
        return Fatal("error 200, no permission, or not for this plan", auth=True, fix=FIX)
    return Fatal(f"error {code}", auth=response.status_code == 403)


def _throttled(response: requests.Response, said: str) -> Wait | Stop:
    """By the second, without a time to wait; or by the day, until an ISO time, or 0 o'clock GMT where it says so."""
    category = response.headers.get("X-RateLimit-Category", "")
    what = f"{category} calls" if re.fullmatch(r"[A-Za-z-]{1,30}", category) else "calls"
    until = None
    with suppress(ValueError):
        until = datetime.fromisoformat(response.headers.get("Retry-After", ""))
    if until is not None and until.tzinfo is not None:
        wait = max((until - datetime.now(UTC)).total_seconds(), 0.0)
        return wait_or_stop(wait, f"{what} of the day are used up")
    if response.headers.get("X-RateLimit-Type") == "Daily-limit" or "daily" in said:
        return Stop(next_utc_midnight(), f"{what} of the day are used up")
    return wait_or_stop(retry_after(response, 2.0), f"too many {what} in a second")


# -- reading


def read_webinars(client: Zoom, account: Account, window: Window) -> Iterator[Page]:
    """Webinars that users have, and those that were held as long ago as reports go back: of a series one."""
    now = datetime.now(UTC)
    found = _webinars(client, now - REPORTS_KEPT, now)
    yield Page([picked(each, "id topic type start_time created_at") for each in found.values()])


def _webinars(client: Zoom, since: datetime, until: datetime) -> dict[int, Record]:
    """By id: those that users have, and those that began in a time. What a list says is newer than the history."""
    held = {
        each["meeting_id"]: {
            "id": each["meeting_id"], "topic": each.get("topic"), "start_time": each["start_time"],
            "created_at": each.get("create_time"),
        }
        for each in _held(client, since, until)
    }  # fmt: skip
    return held | {each["id"]: each for each in _listed_webinars(client)}


def _listed_webinars(client: Zoom) -> Iterator[Record]:
    for user in _records(client, USERS, "users"):
        with suppress(SkippedError):  # without the add-on nobody has any; who has just left is in the history
            yield from _records(client, WEBINARS, f"users/{quote(str(user['id']), safe='')}/webinars")


def _held(client: Zoom, since: datetime, until: datetime) -> Iterator[Record]:
    """Webinars of the account that began in a time, and are over, once each."""
    day, last = since.astimezone(UTC).date() - timedelta(days=1), until.astimezone(UTC).date() + timedelta(days=1)
    seen: set[str] = set()
    while day < last:
        end = min(day + timedelta(days=MONTH), last)
        for each in _records(client, HISTORY, "report/history_meetings", **{"from": f"{day}", "to": f"{end}"}):
            inside = since <= datetime.fromisoformat(each["start_time"]) < until
            if inside and each.get("type", "Webinar") == "Webinar" and each["meeting_uuid"] not in seen:
                seen.add(each["meeting_uuid"])
                yield each
        day = end  # the day is asked for twice: whether `to` is within is not known


def read_registrants(client: Zoom, account: Account, window: Window) -> Iterator[Page]:
    """Who registered in the window, for whichever webinar; those that were denied, too, who may have been approved."""
    for webinar in _webinars(client, window.since - timedelta(days=MONTH), datetime.now(UTC)).values():
        about = {"webinar": picked(webinar, "id topic")}
        try:
            for status in STATUSES:
                for page in _pages(client, REGISTRANTS, f"webinars/{webinar['id']}/registrants", status=status):
                    found = [each for each in page.records if _is_in(each["create_time"], window)]
                    yield Page([{**picked(each, REGISTRANT), **about} for each in found], page.request)
        except SkippedError as error:
            began = webinar.get("start_time")
            if NO_REGISTRATION not in str(error) and began and _is_in(began, window):
                yield Page([{"create_time": began, **about, "refused": _why(error)}])


def read_present(client: Zoom, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all who are registered, and of their webinars: only of these does it prove who is gone."""
    return sweep([("registrant", partial(_ids, client))])


def _ids(client: Zoom) -> Iterator[list[str]]:
    """Without webinars that have no registrant at all: of one that has expired nothing may be told any more."""
    now = datetime.now(UTC)
    for webinar in _webinars(client, now - timedelta(days=MONTH), now):
        with suppress(SkippedError):
            path = f"webinars/{webinar}/registrants"
            found = [each for status in STATUSES for each in _records(client, REGISTRANTS, path, status=status)]
            if found:
                yield [f"{webinar}:{SWEPT}", *(f"{webinar}:{each['id']}" for each in found)]


def read_attendance(client: Zoom, account: Account, window: Window) -> Iterator[Page]:
    """Who joined webinars that began in the window, as often as they did."""
    for held in _held(client, window.since, window.until):
        names = {"id": "meeting_id", "uuid": "meeting_uuid", "topic": "topic", "start_time": "start_time"}
        about = {"webinar": {ours: held.get(theirs) for ours, theirs in names.items()}}
        try:
            for page in _pages(client, PARTICIPANTS, f"report/webinars/{_encoded(held['meeting_uuid'])}/participants"):
                yield Page([{**picked(each, PARTICIPANT), **about} for each in page.records], page.request)
        except SkippedError as error:
            yield Page([{**about, "refused": _why(error)}])


def _is_in(text: str, window: Window) -> bool:
    return window.since <= datetime.fromisoformat(text) < window.until


def _why(error: SkippedError) -> str:
    return f"Zoom does not tell who it was: {str(error).rpartition(', ')[2]}"


def _encoded(uuid: str) -> str:
    """As Zoom wants it in a path: twice where it begins with a slash or has two of them."""
    once = quote(uuid, safe="")
    return quote(once, safe="") if uuid.startswith("/") or "//" in uuid else once


def _pages(client: Zoom, what: Listing, path: str, **query: Any) -> Iterator[Page]:
    try:
        yield from what.pages(client.session, path, **query)
    except SplitError as error:  # after 15 minutes: no smaller question would have a longer one
        raise TransientError(str(error)) from None


def _records(client: Zoom, what: Listing, path: str, **query: Any) -> Iterator[Record]:
    for page in _pages(client, what, path, **query):
        yield from page.records


# -- who we are


def connect(config: Config) -> Zoom:
    base = settings.base_url("zoom_webinars", API)
    client, secret = (settings.secret(f"ZOOM_WEBINARS_CLIENT_{name}") for name in ("ID", "SECRET"))
    account = os.environ.get("ZOOM_WEBINARS_ACCOUNT_ID", "").strip() or settings.secret("ZOOM_WEBINARS_ACCOUNT_ID")
    granted: set[str] = set()
    auth = OAuthToken(
        f"{LOGIN if base == API else base}/oauth/token", {"grant_type": "account_credentials", "account_id": account},
        store=settings.credential_store("zoom_webinars"), lifetime=3600,
        headers={"Authorization": basic(client, secret)},
        on_token=lambda token: granted.update(str(token.get("scope") or "").split()),
    )  # fmt: skip
    rates = RATES if base == API else ()  # they are those of Zoom's own host
    return Zoom(Session(f"{base}/v2", classify=classify, auth=auth, rates=rates), account, granted)


def accounts(client: Zoom, config: Config) -> Accounts:
    """The one account that the app is of."""
    return choose([Account(client.account, "Zoom")], config.sources["zoom_webinars"].accounts,
                  "sources.zoom_webinars.accounts")  # fmt: skip


def probe(client: Zoom, config: Config) -> list[Finding]:
    """The token and its scopes, the users, the webinars of the last month, and a small call per stream."""
    now = datetime.now(UTC)
    try:
        held = [*_held(client, now - timedelta(days=MONTH), now)]
        answer = client.session.get("users", {"page_size": 1, "status": "active"})
        listed = [*islice(_listed_webinars(client), 1)]
    except PipelineError as error:
        return [Finding(False, f"Zoom: {error}", error.fix or FIX)]
    users, months = answer.json().get("total_records"), f"{len(held)} webinars in {MONTH} days"
    found = [Finding(True, f"Zoom account {client.account}, {users} users, {months}")]
    left, most = (answer.response.headers.get(f"X-RateLimit-{name}") for name in ("Remaining", "Limit"))
    if left and most and answer.response.headers.get("X-RateLimit-Type") == "Daily-limit":
        found.append(Finding(True, f"Zoom: {left} of {most} calls are left today"))
    if writes := sorted(scope for scope in client.granted if re.search(r":(write|update|delete|master)\b", scope)):
        fix = "take them from the app: nothing is ever written"
        found.append(Finding(True, f"Zoom: the app may write: {', '.join(writes[:5])}", fix, warning=True))
    if not held and not listed:
        what = "Zoom: there is no webinar by which the scopes of registrants and reports could be tried"
        return [*found, Finding(True, what, FIX, warning=True)]
    calls = {"webinar": lambda: None}
    if webinar := next(iter([each["id"] for each in listed] or [each["meeting_id"] for each in held])):
        calls["registrant"] = partial(_small, client, f"webinars/{webinar}/registrants")
    joins: list[Record] = []
    if held:
        calls["attendance"] = partial(_look, client, held, joins)
    found += readable("Zoom", calls, FIX)
    if nobodys := sum(not each.get("user_email") and not each.get("registrant_id") for each in joins):
        what = f"Zoom: {nobodys} of {len(joins)} who joined the last webinars are known by nothing, and count nowhere"
        found.append(Finding(True, what, "ask for registration, without which Zoom tells no address", warning=True))
    return found


def _look(client: Zoom, held: list[Record], joins: list[Record]) -> None:
    """Who joined the last few webinars."""
    for each in sorted(held, key=lambda one: str(one["start_time"]))[-LOOKED_AT:]:
        with suppress(SkippedError):
            joins += _records(client, PARTICIPANTS, f"report/webinars/{_encoded(each['meeting_uuid'])}/participants")


def _small(client: Zoom, path: str) -> None:
    with suppress(SkippedError):  # of a webinar that is gone, or has no registration: it may be asked for
        client.session.get(path, {"page_size": 1})


SOURCE = Source(
    name="zoom_webinars",
    title="Zoom Webinars",
    kind="event",
    api_version="v2",
    streams=(
        Stream(
            "webinar", "snapshot", "Webinars that users have, and those that were held in the last six months.",
            read_webinars, day="", page_size=300, feeds={"campaign": rows.campaigns},
        ),
        Stream(
            "registrant", "changes",
            "Who registered for webinars; leads where `options: {leads: all}` says so. No answers to questions.",
            read_registrants, day="create_time", page_size=300, personal=("email",),
            # Nothing says when a registration was denied: those of two weeks are read again.
            policy=WindowPolicy(overlap=timedelta(days=14), settle=timedelta(minutes=5), kept=WEBINARS_KEPT),
            feeds={"touchpoint": rows.registrations, "lead": rows.leads, "identity_link": rows.identity_links},
            states={"touchpoint": of_one_channel, "lead": states_leads("zoom_webinars")},
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of who is registered for webinars of late and to come: who is "
            "missing among those of their webinar was deleted.",
            read_present, day="swept_at", policy=SWEEP, page_size=300, feeds={"record_present": present},
        ),
        Stream(
            "attendance", "changes", "Who joined webinars, by instance and as often as they did.", read_attendance,
            day="webinar.start_time", page_size=300, personal=("user_email",),
            # What began and is not over is in no report yet.
            policy=WindowPolicy(
                overlap=timedelta(days=3), settle=timedelta(hours=3), max_days=MONTH, kept=REPORTS_KEPT
            ),
            feeds={"touchpoint": rows.attendances}, states={"touchpoint": of_one_channel},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "ZOOM_WEBINARS_ACCOUNT_ID": "a Server-to-Server OAuth app (marketplace.zoom.us > Develop > Build App), "
        "activated, App Credentials: its account id",
        "ZOOM_WEBINARS_CLIENT_ID": "its client id",
        "ZOOM_WEBINARS_CLIENT_SECRET": f"its client secret; the app has the scopes {', '.join(SCOPES)}",
    },
)  # fmt: skip
