"""Intercom: conversations with how long they took and how they were rated, by search.

A search is by seconds, and whether its bounds are included its table of operators leaves open ("greater (or equal)"):
it is asked a second wider, and what is outside is left out. The announced number is held against what comes. Titles,
bodies, remarks, attributes and the names of people are dropped before anything is kept; the address of who asked stays
as a pseudonym. Times of the calendar are made of Intercom's own moments; its durations leave out what is not office
hours. An answer is one by a teammate: what Fin, the AI agent, says is none. Intercom tells nobody that a conversation
was deleted, which a sweep finds out, and shows those that are tickets only to who may read tickets. Facts from
Intercom's OpenAPI description (github.com/intercom/Intercom-OpenAPI, 2.14 and 2.15 of 2026-08-21), python-intercom
5.0.1, and its page on rate limits, read 2026-12-01. No end of a version of the API is announced.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken
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
from b2b_pipeline.connectors.columns import present
from b2b_pipeline.connectors.http import (
    Answer,
    Outcome,
    Session,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.intercom import rows
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import ConfigError, PipelineError, TransientError

HOSTS = {
    "us": "https://api.intercom.io", "eu": "https://api.eu.intercom.io", "au": "https://api.au.intercom.io",
}  # fmt: skip
VERSION = "2.14"
RATES = (Rate(160, 10),)  # a tenth of what all private apps of a workspace share: 1,000 a minute, in windows of 10 s
SIZE = 150  # conversations of a page, the most
KEPT = ("id", "created_at", "updated_at", "state", "priority")
STATISTICS = (
    "first_admin_reply_at", "last_close_at", "time_to_admin_reply", "time_to_last_close", "count_reopens",
)  # fmt: skip
PEOPLE = ("user", "lead", "contact")  # authors that are not ours


@dataclass(frozen=True)
class Intercom:
    session: Session


def classify(response: requests.Response) -> Outcome:
    """Errors are a list; their codes are told, their messages may quote what was sent."""
    body = json_or_none(response)
    errors = body.get("errors") if isinstance(body, dict) else None
    listed = [each.get("code") for each in errors if isinstance(each, dict)] if isinstance(errors, list) else []
    reason = ", ".join(str(code)[:60] for code in listed if code) or "refused"
    if response.status_code == 429:
        reset = response.headers.get("X-RateLimit-Reset", "")  # epoch seconds
        seconds = float(reset) - datetime.now(UTC).timestamp() if reset.isdecimal() else 10.0
        return wait_or_stop(retry_after(response, max(1.0, seconds)), reason)
    return by_status(response, reason)


# -- reading


def read_conversations(client: Intercom, account: Account, window: Window) -> Iterator[Page]:
    """Conversations that were updated in the window, as they are now."""
    since, until = (int(at.timestamp()) for at in (window.since, window.until))
    if since >= until:
        return
    for answer in _search(client, since - 1, until):
        found = [each for each in answer.rows("conversations") if since <= each["updated_at"] < until]
        yield Page([_kept(each) for each in found], answer.request)


def read_present(client: Intercom, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all conversations that there are: what is missing was deleted."""
    return sweep([("support_ticket", lambda: _ids(client))])


def _ids(client: Intercom) -> Iterator[list[str]]:
    """What is updated meanwhile may be passed over, of which a sweep proves nothing."""
    for answer in _search(client, 0, int((datetime.now(UTC) + timedelta(days=1)).timestamp())):
        yield [str(each["id"]) for each in answer.rows("conversations")]


def _search(client: Intercom, since: int, until: int) -> Iterator[Answer]:
    """Every page. Raises TransientError where fewer come than are announced in the end."""
    bounds = [
        {"field": "updated_at", "operator": operator, "value": value}
        for operator, value in ((">", since), ("<", until))
    ]

    def ask(cursor: str | None) -> Answer:
        pages: dict[str, Any] = {"per_page": SIZE} | ({"starting_after": cursor} if cursor else {})
        asked = {"query": {"operator": "AND", "value": bounds}, "pagination": pages}
        return client.session.post("conversations/search", asked)

    received = 0
    for answer in follow(ask, _next):
        received += len(answer.rows("conversations"))
        yield answer
    if received < (total := answer.json().get("total_count", 0)):  # of what was updated meanwhile there are fewer
        raise TransientError(f"{place(answer.response)}: {received} conversations came, {total} were announced")


def _next(answer: Answer) -> str | None:
    pages = answer.json().get("pages")
    if not isinstance(pages, dict):
        raise TransientError(f"{place(answer.response)}: an answer without 'pages'")
    after = pages.get("next")
    return (after.get("starting_after") if isinstance(after, dict) else None) or None


def _kept(conversation: Record) -> Record:
    """Without what was said, and who of ours said it."""

    def part(name: str) -> Record:
        return conversation.get(name) or {}

    author = part("source").get("author") or {}
    return {
        **{name: conversation.get(name) for name in KEPT},
        "changed_at": datetime.fromtimestamp(conversation["updated_at"], UTC).isoformat(),
        "source": {"type": part("source").get("type"), "delivered_as": part("source").get("delivered_as")},
        "first_contact_reply": {"created_at": part("first_contact_reply").get("created_at")},
        "statistics": {name: part("statistics").get(name) for name in STATISTICS},
        "conversation_rating": {"rating": part("conversation_rating").get("rating")},
        "company": {"id": part("company").get("id")},
        "email": author.get("email") if author.get("type") in PEOPLE else None,
    }  # fmt: skip


# -- who we are


def connect(config: Config) -> Intercom:
    region = config.sources["intercom"].options.get("region", "us")
    if region not in HOSTS:
        raise ConfigError(f"sources.intercom.options.region: {region!r} is none of {', '.join(HOSTS)}")
    base = settings.base_url("intercom", HOSTS[region])
    auth = StaticToken(settings.secret("INTERCOM_ACCESS_TOKEN"))
    rates = RATES if base in HOSTS.values() else ()  # the sandbox says itself when it has had enough
    headers = {"Intercom-Version": SOURCE.version(config)}
    return Intercom(Session(base, classify=classify, auth=auth, headers=headers, rates=rates))


def accounts(client: Intercom, config: Config) -> Accounts:
    """The workspace of the token."""
    app = client.session.get("me").json()["app"]
    account = Account(app["id_code"], app.get("name") or "")
    return choose([account], config.sources["intercom"].accounts, "sources.intercom.accounts")


def probe(client: Intercom, config: Config) -> list[Finding]:
    """The workspace, where it is, and a small search."""
    fix = "make an app for the workspace (Developer Hub) with the permissions Read conversations and Read tickets"
    try:
        app = client.session.get("me").json()["app"]
    except PipelineError as error:
        return [Finding(False, f"Intercom: {error}", error.fix or fix)]
    found = [Finding(True, f"Intercom {SOURCE.version(config)}, workspace {app['id_code']}")]
    region, ours = str(app.get("region") or "").lower(), config.sources["intercom"].options.get("region", "us")
    if region in HOSTS and region != ours:
        what = f"the workspace is hosted in the region {region}, and asked for in {ours}"
        found.append(Finding(False, f"Intercom: {what}", f"sources.intercom.options: {{region: {region}}}"))
    now = int(datetime.now(UTC).timestamp())
    return [*found, *readable("Intercom", {"conversation": lambda: next(_search(client, now - 3600, now))}, fix)]


SOURCE = Source(
    name="intercom",
    title="Intercom",
    kind="support",
    api_version=VERSION,
    versions=r"2\.\d+",
    streams=(
        Stream(
            "conversation", "changes", "Conversations as they are now, with their times and ratings; no text.",
            read_conversations, day="changed_at",
            # Its index lags: of some that had been closed public clients saw an older version (Airbyte #66292).
            policy=WindowPolicy(overlap=timedelta(hours=6), settle=timedelta(minutes=5)), page_size=SIZE,
            personal=("email",), feeds={"support_ticket": rows.tickets},
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all conversations there are: what is missing was deleted.",
            read_present, day="swept_at", policy=SWEEP, page_size=SIZE, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "INTERCOM_ACCESS_TOKEN": "of an app for your own workspace (app.intercom.com > Developer Hub > Configure > "
        "Authentication), with the permissions Read conversations and Read tickets; it does not end",
    },
)  # fmt: skip
