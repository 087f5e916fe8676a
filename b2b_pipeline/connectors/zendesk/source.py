"""Zendesk Support: tickets with how long they took and how they were rated, and what people said in CSAT surveys.

Tickets come by the incremental export with cursors.

The export is in the order of `generated_timestamp`, which also moves where nobody touched a ticket (closed by itself,
rated), so that decides which version is newer, not `updated_at`. A ticket may come on two pages. Deleted ones come
with the status `deleted`. Subjects, descriptions, comments, custom fields, names and addresses in `via` are dropped
before anything is kept; the requester's address stays as a pseudonym. Times are Zendesk's own, in calendar minutes and
in those of the schedule. Ratings of tickets are good and bad; of the newer CSAT Zendesk makes them of its scales. These
are read by themselves: a list tells answers, and of each version of a survey one response is shown to see which scale
it has. The list is filtered by when somebody was asked, so that who answers later than 90 days after is missed. When a
response is deleted is documented nowhere.
Facts from https://developer.zendesk.com (incremental exports, ticket metrics, OAuth) and its help center, and what
public connectors (singer-io/tap-zendesk, Estuary, Airbyte) and zenpy 2.0.57 do, read 2026-12-01.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, StaticToken, basic
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
from b2b_pipeline.connectors.http import (
    Answer,
    Auth,
    Fatal,
    Outcome,
    Session,
    Skip,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.zendesk import rows
from b2b_pipeline.errors import PipelineError, SkippedError, TransientError

EXPORT = "api/v2/incremental/tickets/cursor.json"
SURVEYS, LOCALE = "api/v2/guide/survey_responses", "en-us"
ASKED = timedelta(days=90)  # before the answer, at the most; until when one may be given its `expires_at` says alone
RATES = (Rate(10, 60, paths="/incremental/"), Rate(200, 60))  # of all plans; others of the smallest one
SIZE = 500  # of 1000 at most, with which Zendesk may time out (Estuary)
TOKENS_END = date(2027, 4, 30)  # developer.zendesk.com/documentation/api-basics/authentication/oauth-migration
TICKET = ("id", "status", "priority", "created_at", "updated_at", "organization_id")
METRICS = (
    "replies", "reopens", "solved_at", "reply_time_in_minutes", "first_resolution_time_in_minutes",
    "full_resolution_time_in_minutes",
)  # fmt: skip
SCOPE = "read"


@dataclass(frozen=True)
class Zendesk:
    """One help desk. `scales`: the ratings that a question of a version of a survey may be answered with."""

    session: Session
    subdomain: str
    scales: dict[tuple[str, int, str], list[int]] = field(default_factory=dict)


def classify(response: requests.Response) -> Outcome:
    """`error` is a word, or an object with a title; its description may quote what was sent, and is left out. Of the
    help center it is the first of `errors`."""
    body = json_or_none(response)
    told = body.get("error") or next(iter(body.get("errors") or ()), None) if isinstance(body, dict) else None
    told = told.get("title") if isinstance(told, dict) else told
    reason = str(told or "refused")[:120]
    if response.status_code == 429:
        return wait_or_stop(retry_after(response, 60.0), reason)
    if response.status_code == 404 and "No help desk" in reason:
        return Fatal("there is no such help desk", auth=True, fix="put its subdomain into ZENDESK_SUBDOMAIN")
    if response.status_code in (403, 404) and "/guide/" in response.url:
        return Skip(f"{reason}: the plan has no such surveys, or the user may not see them")
    return by_status(response, reason)


# -- reading


def read_tickets(client: Zendesk, account: Account, window: Window) -> Iterator[Page]:
    """Tickets that changed in the window, deleted ones too, as they are now."""
    since, until = (int(at.timestamp()) for at in (window.since, window.until))
    if since >= until:
        return
    asked = {"include": "metric_sets,users", "per_page": SIZE}

    def ask(cursor: str | None) -> Answer:
        return client.session.get(EXPORT, asked | ({"cursor": cursor} if cursor else {"start_time": since}))

    for answer in follow(ask, lambda each: _next(each, until)):
        body, found = answer.json(), answer.rows("tickets")
        people = {user["id"]: user.get("email") for user in body.get("users") or ()}
        inside = [ticket for ticket in found if since <= ticket["generated_timestamp"] < until]
        yield Page([_kept(ticket, people) for ticket in inside], answer.request)


def _next(answer: Answer, until: int) -> str | None:
    """The end is told. What changed after the window belongs to the next one."""
    body, found = answer.json(), answer.rows("tickets")
    if body.get("end_of_stream") is True or (found and min(each["generated_timestamp"] for each in found) >= until):
        return None
    if body.get("end_of_stream") is not False or not body.get("after_cursor"):
        raise TransientError(f"{place(answer.response)}: the export neither ends nor says where it goes on")
    return str(body["after_cursor"])


def _kept(ticket: Record, people: Mapping[Any, str | None]) -> Record:
    rating, metrics = ticket.get("satisfaction_rating"), ticket.get("metric_set") or {}
    return {
        **{name: ticket.get(name) for name in TICKET},
        "generated_at": datetime.fromtimestamp(ticket["generated_timestamp"], UTC).isoformat(),
        "via": {"channel": (ticket.get("via") or {}).get("channel")},
        "satisfaction_rating": {"score": rating.get("score") if isinstance(rating, dict) else rating},
        "metric_set": {name: metrics.get(name) for name in METRICS},
        "requester": {"email": people.get(ticket.get("requester_id"))},
    }  # fmt: skip


def read_surveys(client: Zendesk, account: Account, window: Window) -> Iterator[Page]:
    """Responses of which an answer was given, or changed, in the window; no text."""
    asked = {
        "filter[created_at_start]": _milliseconds(window.since - ASKED),
        "filter[created_at_end]": _milliseconds(window.until), "page[size]": 100, "sort": "id",
    }  # fmt: skip

    def ask(cursor: str | None) -> Answer:
        return client.session.get(SURVEYS, asked | ({"page[after]": cursor} if cursor else {}))

    for answer in follow(ask, _next_page):
        said = [found for each in answer.rows("survey_responses") if (found := _said(client, each))]
        inside = [each for each in said if window.since <= datetime.fromisoformat(each["answered_at"]) < window.until]
        yield Page(inside, answer.request)


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)


def _next_page(answer: Answer) -> str | None:
    meta = answer.json().get("meta")
    if not isinstance(meta, dict) or not isinstance(meta.get("has_more"), bool):
        raise TransientError(f"{place(answer.response)}: a page that does not say whether another one follows")
    if meta["has_more"] and not meta.get("after_cursor"):
        raise TransientError(f"{place(answer.response)}: there is a next page, but no cursor")
    return str(meta["after_cursor"]) if meta["has_more"] else None


def _said(client: Zendesk, response: Record) -> Record | None:
    """None of one who was asked and has not answered."""
    given = [answer for answer in response.get("answers") or () if answer["type"] != "skipped"]
    if not given:
        return None
    rated = next((answer for answer in given if answer["question"].get("sub_type") == "customer_satisfaction"), None)
    return {
        "id": response["id"], "survey": {name: response["survey"][name] for name in ("id", "version")},
        "submitted_at": min(answer["created_at"] for answer in given),
        "answered_at": max(answer["updated_at"] for answer in given),
        "rating": rated["rating"] if rated else None, "scale": _scale(client, response, rated) if rated else [],
    }  # fmt: skip


def _scale(client: Zendesk, response: Record, rated: Record) -> list[int]:
    """The ratings that there were to choose from, which only a response by itself shows; none of one that is gone."""
    key = response["survey"]["id"], response["survey"]["version"], rated["question"]["id"]
    if key not in client.scales:
        try:
            answer = client.session.get(f"api/v2/guide/{LOCALE}/survey_responses/{response['id']}")
        except SkippedError:
            return []
        asked = (each["question"] for each in answer.json()["survey_response"]["answers"])
        options: list[Record] = next((each["options"] for each in asked if each["id"] == key[2]), [])
        client.scales[key] = sorted(option["rating"] for option in options)
    return client.scales[key]


# -- who we are


def connect(config: Config) -> Zendesk:
    """With an API token and its user where they are given, which end; else by OAuth: for a refresh token, that rotates,
    where there is one, else for the client itself."""
    subdomain = settings.secret("ZENDESK_SUBDOMAIN")
    base = settings.base_url("zendesk", f"https://{subdomain}.zendesk.com")
    auth: Auth
    if _has_api_token():
        user = f"{settings.secret('ZENDESK_EMAIL')}/token"
        auth = StaticToken(basic(user, settings.secret("ZENDESK_API_TOKEN")), "Authorization")
    else:
        form = {name: settings.secret(f"ZENDESK_{name.upper()}") for name in ("client_id", "client_secret")}
        form |= {"grant_type": "client_credentials", "scope": SCOPE}
        if os.environ.get("ZENDESK_REFRESH_TOKEN"):
            form |= {"grant_type": "refresh_token", "refresh_token": settings.secret("ZENDESK_REFRESH_TOKEN")}
        auth = OAuthToken(f"{base}/oauth/tokens", form, store=settings.credential_store("zendesk"))
    rates = RATES if base.endswith(".zendesk.com") else ()  # the sandbox says itself when it has had enough
    return Zendesk(Session(base, classify=classify, auth=auth, rates=rates), subdomain)


def _has_api_token() -> bool:
    return bool(os.environ.get("ZENDESK_API_TOKEN"))


def authorization() -> Authorization:
    """https://developer.zendesk.com/api-reference/ticketing/oauth/grant_type_tokens"""
    base = settings.base_url("zendesk", f"https://{os.environ.get('ZENDESK_SUBDOMAIN') or 'subdomain'}.zendesk.com")
    variables = ("ZENDESK_CLIENT_ID", "ZENDESK_CLIENT_SECRET", "ZENDESK_REFRESH_TOKEN")
    return Authorization(f"{base}/oauth/authorizations/new", f"{base}/oauth/tokens", (SCOPE,), variables)


def accounts(client: Zendesk, config: Config) -> Accounts:
    """The one help desk."""
    return choose([Account(client.subdomain)], config.sources["zendesk"].accounts, "sources.zendesk.accounts")


def probe(client: Zendesk, config: Config) -> list[Finding]:
    """Who we are: only administrators may export; whether we may write; how long an API token lasts; the export."""
    fix = "take an OAuth client of an administrator, with the scope read"
    try:
        me = client.session.get("api/v2/users/me.json").json()["user"]
    except PipelineError as error:
        return [Finding(False, f"Zendesk: {error}", error.fix or fix)]
    if not me.get("id"):  # who is not known is answered all the same
        return [Finding(False, "Zendesk takes us for an anonymous visitor: the credentials are no good", fix)]
    role = me.get("role")
    found = [Finding(role == "admin", f"Zendesk {client.subdomain}, as {role}", "" if role == "admin" else fix)]
    if _has_api_token():
        what = f"Zendesk's API tokens end on {TOKENS_END}, and after 30 days without use"
        found.append(Finding(True, what, "make an OAuth client (Admin Center > APIs > OAuth clients)", warning=True))
    else:
        found += _scopes(client)
    start = int((datetime.now(UTC) - timedelta(days=1)).timestamp())
    calls = {
        "ticket": partial(client.session.get, EXPORT, {"start_time": start, "per_page": 1}),
        "survey": partial(client.session.get, SURVEYS, {"page[size]": 1}),
    }  # fmt: skip
    on = {stream.name for stream in SOURCE.switched_on(config)}
    return [*found, *readable("Zendesk", {name: call for name, call in calls.items() if name in on}, fix)]


def _scopes(client: Zendesk) -> Iterator[Finding]:
    with suppress(PipelineError):
        token = client.session.get("api/v2/oauth/tokens/current.json").json().get("token") or {}
        if more := [scope for scope in token.get("scopes") or () if scope != SCOPE and not scope.endswith(":read")]:
            what = f"Zendesk: the token may do more than it needs: {', '.join(more)}"
            yield Finding(True, what, f"allow the OAuth client the scope {SCOPE} alone", warning=True)


SOURCE = Source(
    name="zendesk",
    title="Zendesk",
    kind="support",
    api_version="v2",
    streams=(
        Stream(
            "ticket", "changes", "Tickets as they are now, with their times and ratings; no text.", read_tickets,
            day="generated_at",
            # What changed in the last minute is not exported yet; a start within it is refused.
            policy=WindowPolicy(overlap=timedelta(minutes=10), settle=timedelta(minutes=2)), page_size=SIZE,
            personal=("requester.email",), feeds={"support_ticket": rows.tickets},
        ),
        Stream(
            "survey", "changes", "Responses to CSAT surveys: the rating, on which scale, and when; no text.",
            read_surveys, day="answered_at", page_size=100,
            policy=WindowPolicy(overlap=timedelta(hours=1), settle=timedelta(minutes=2)),
            feeds={"survey_response": rows.surveys}, states={"survey_response": lambda config: ("csat",)},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "ZENDESK_SUBDOMAIN": "the first part of your address, ourcompany of ourcompany.zendesk.com",
        "ZENDESK_CLIENT_ID": "unique identifier of a confidential OAuth client (Admin Center > Apps and integrations > "
        "APIs > OAuth clients), made by an administrator, with the scope read",
        "ZENDESK_CLIENT_SECRET": "its secret, shown once",
        "ZENDESK_REFRESH_TOKEN": "to read as somebody else than who made the client: by `b2b connect zendesk`, with "
        "the redirect http://localhost:8766/callback",
        "ZENDESK_EMAIL": f"in place of these three, as long as API tokens last ({TOKENS_END}): of an administrator",
        "ZENDESK_API_TOKEN": "theirs",
    },
    optional=frozenset({
        "ZENDESK_CLIENT_ID", "ZENDESK_CLIENT_SECRET", "ZENDESK_REFRESH_TOKEN", "ZENDESK_EMAIL", "ZENDESK_API_TOKEN",
    }),
    authorization=authorization,
)  # fmt: skip
