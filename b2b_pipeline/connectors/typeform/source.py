"""Typeform: responses to surveys, and to forms by which leads come.

Responses are asked for by `since` and `until`, both inclusive, in whole seconds, and where they are more than a page
the time is halved: a page by `before` bears no window beside it (PostHog #52412). What is not read at an account's own
data centre is empty and no error, so each form says where its responses are. Free text, files, dates, telephone
numbers, addresses and what a browser tells are dropped before anything is kept; an e-mail address stays as a pseudonym.
Typeform tells nobody that a response was deleted, which a sweep finds out, nor on which scale an answer was given
before its question was changed. Facts from https://www.typeform.com/developers (create, responses, get-started), the
official SDKs (npm @typeform/api-client 2.10.4, PyPI typeform 1.1.0), and what public connectors (Airbyte,
singer-io/tap-typeform, PostHog) recorded, read 2026-12-01. By which of their times partial responses are listed no
document says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, StaticToken
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
from b2b_pipeline.connectors.columns import present
from b2b_pipeline.connectors.http import Auth, Outcome, Session, Wait, by_status, json_or_none, place
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Numbered, readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.connectors.typeform import rows
from b2b_pipeline.errors import ConfigError, PermanentError, PipelineError, TransientError

HOSTS = {"us": "https://api.typeform.com", "eu": "https://api.eu.typeform.com"}
EU = ("api.eu.typeform.com", "api.typeform.eu")
RATES = (Rate(2, 1),)  # of one account
SIZE = 1000  # responses of a page, the most
FORMS = Numbered("items", "total_items", "id", 200)
SECOND = timedelta(seconds=1)
FIRST = datetime(2012, 1, 1, tzinfo=UTC)  # before there was Typeform
# An answer's member that holds no free text, by the answer's type.
KEPT = ("number", "boolean", "choice", "choices")


@dataclass(frozen=True)
class Typeform:
    """One account. `forms`: id -> what each asks, listed once."""

    session: Session
    config: Config
    forms: dict[str, Record] = field(default_factory=dict)


def classify(response: requests.Response) -> Outcome:
    """https://www.typeform.com/developers/get-started: errors are `{"code": ..., "description": ...}`."""
    body = json_or_none(response)
    told = str((body if isinstance(body, dict) else {}).get("code") or "refused")[:80]
    if response.status_code == 499:  # Typeform waited too long for itself: seen by Airbyte
        return Wait(5.0, told)
    return by_status(response, told)


# -- reading


def read_responses(client: Typeform, account: Account, window: Window) -> Iterator[Page]:
    """Responses submitted in the window, form by form; partial ones too where they are asked for."""
    since = window.since.replace(microsecond=0)
    until = (window.until - timedelta(microseconds=1)).replace(microsecond=0)  # the last second that is in the window
    kinds = ("completed", "partial") if _wants_partial(client.config) else ("completed",)
    for form in _forms(client).values():
        for kind in kinds:
            for page in _between(client, form["id"], kind, since, until):
                yield Page([_kept(client.config, form, each, kind) for each in page.records], page.request)


def _wants_partial(config: Config) -> bool:
    given = config.sources["typeform"].options.get("partial", "no")
    if given not in ("yes", "no"):
        raise ConfigError(f"sources.typeform.options.partial: {given!r} is neither yes nor no")
    return given == "yes"


def _between(client: Typeform, form: str, kind: str, since: datetime, until: datetime) -> Iterator[Page]:
    """All of a kind between two seconds, both included. Raises TransientError for a second with more than a page."""
    if since > until:
        return
    asked = {"page_size": SIZE, "since": f"{since:%Y-%m-%dT%H:%M:%S}", "until": f"{until:%Y-%m-%dT%H:%M:%S}"}
    asked |= {} if kind == "completed" else {"response_type": kind}
    answer = client.session.get(f"forms/{form}/responses", asked)
    found, told = answer.rows("items"), answer.json()
    if len(found) < SIZE and told.get("total_items", 0) <= len(found) and told.get("page_count", 1) <= 1:
        yield Page(found, answer.request)
    elif since == until:
        raise TransientError(f"{place(answer.response)}: not all responses of one second came, but {len(found)}")
    else:
        middle = (since + (until - since) / 2).replace(microsecond=0)
        yield from _between(client, form, kind, since, middle)
        yield from _between(client, form, kind, middle + SECOND, until)


def read_present(client: Typeform, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all responses that there are: what is missing was deleted, or its form was."""
    return sweep([("survey_response", lambda: _ids(client))])


def _ids(client: Typeform) -> Iterator[list[str]]:
    now = datetime.now(UTC).replace(microsecond=0)
    for form in _forms(client):
        for page in _between(client, form, "completed", FIRST, now):
            yield [rows.identifier(form, str(each["response_id"])) for each in page.records]


def _kept(config: Config, form: Record, response: Record, kind: str) -> Record:
    """A response without free text, with the questions of its form that have a scale. Of hidden fields and variables
    only those are kept that `rows.HIDDEN` or the configuration names."""
    answers = response.get("answers") or []
    hidden = response.get("hidden") or {}
    named = {ours: hidden.get(theirs) for ours, theirs in rows.hidden_fields(config).items()}
    address = [named.pop("email"), *(answer.get("email") for answer in answers)]
    referer = urlsplit((response.get("metadata") or {}).get("referer") or "")
    return {
        **{name: response.get(name) for name in ("response_id", "landed_at", "submitted_at")},
        "answered_at": response.get("submitted_at") or response.get("staged_at") or response["landed_at"],
        "is_partial": kind == "partial", "form": {name: form[name] for name in ("id", "title", "scales")},
        "answers": [kept for answer in answers if (kept := _answer(answer))], "hidden": named,
        "email": next((each for each in address if isinstance(each, str) and "@" in each), None),
        "page": f"{referer.netloc}{referer.path}" or None,  # its query may name people
    }  # fmt: skip


def _answer(answer: Record) -> Record | None:
    """Numbers and choices, without what was written under `other`."""
    kind = answer.get("type")
    if kind not in KEPT:
        return None
    question = answer.get("field") or {}
    said = answer.get(kind)
    if isinstance(said, dict):
        said = {name: said[name] for name in ("label", "labels") if name in said} | (
            {"other": True} if said.get("other") else {}
        )
    return {"field": {name: question.get(name) for name in ("id", "type", "ref")}, "type": kind, kind: said}


def _forms(client: Typeform) -> dict[str, Record]:
    """Every form that there is, with its questions that have a scale, in their order."""
    if not client.forms:
        for page in FORMS.pages(client.session, "forms"):
            for listed in page.records:
                form = client.session.get(f"forms/{listed['id']}").json()
                _is_here(client, form)
                scales = [_scale(question) for question in _questions(form.get("fields") or []) if _has_scale(question)]
                client.forms[form["id"]] = {"id": form["id"], "title": form.get("title"), "scales": scales}
    return client.forms


def _is_here(client: Typeform, form: Record) -> None:
    """Raises PermanentError where its responses are at another data centre: here its list would be empty."""
    host = urlsplit((form.get("_links") or {}).get("responses") or "").hostname
    here = urlsplit(client.session.base_url).hostname
    if host and (host in EU) != (here in EU):
        error = PermanentError(f"Typeform keeps the responses of form {form['id']} at {host}, where nobody looks")
        error.fix = f"sources.typeform.options: {{region: {'eu' if host in EU else 'us'}}}"
        raise error


def _questions(fields: list[Record]) -> Iterator[Record]:
    """Those of groups, too."""
    for question in fields:
        yield question
        yield from _questions((question.get("properties") or {}).get("fields") or [])


def _has_scale(question: Record) -> bool:
    return question.get("type") in ("nps", *rows.SATISFACTION)


def _scale(question: Record) -> Record:
    more = question.get("properties") or {}
    return {name: question.get(name) for name in ("id", "type", "ref")} | {
        name: more.get(name) for name in ("steps", "start_at_one")
    }


# -- who we are


def connect(config: Config) -> Typeform:
    """With a personal access token, which does not end, where one is given; else with a refresh token that rotates."""
    region = config.sources["typeform"].options.get("region", "us")
    if region not in HOSTS:
        raise ConfigError(f"sources.typeform.options.region: {region!r} is neither {' nor '.join(HOSTS)}")
    base = settings.base_url("typeform", HOSTS[region])
    auth: Auth
    if os.environ.get("TYPEFORM_ACCESS_TOKEN"):
        auth = StaticToken(settings.secret("TYPEFORM_ACCESS_TOKEN"))
    else:
        names = ("client_id", "client_secret", "refresh_token")
        form = {name: settings.secret(f"TYPEFORM_{name.upper()}") for name in names}
        form |= {"grant_type": "refresh_token", "scope": " ".join(SCOPES)}
        auth = OAuthToken(f"{base}/oauth/token", form, store=settings.credential_store("typeform"), lifetime=3600)
    rates = RATES if base in HOSTS.values() else ()  # the sandbox says itself when it has had enough
    return Typeform(Session(base, classify=classify, auth=auth, rates=rates), config)


SCOPES = ("offline", "accounts:read", "forms:read", "responses:read")


def authorization() -> Authorization:
    """https://www.typeform.com/developers/get-started/applications, which speaks of no proof key."""
    base = settings.base_url("typeform", HOSTS["us"])
    variables = ("TYPEFORM_CLIENT_ID", "TYPEFORM_CLIENT_SECRET", "TYPEFORM_REFRESH_TOKEN")
    return Authorization(f"{base}/oauth/authorize", f"{base}/oauth/token", SCOPES, variables, proves=False)


def accounts(client: Typeform, config: Config) -> Accounts:
    """The one account of the token; its name and address are a person's, and left where they are."""
    me = client.session.get("me").json()
    account = Account(str(me["user_id"]), "Typeform")
    return choose([account], config.sources["typeform"].accounts, "sources.typeform.accounts")


def probe(client: Typeform, config: Config) -> list[Finding]:
    """The account, its forms and where their responses are, a small call for them, the forms that are named."""
    fix = f"make a token with the scopes {', '.join(SCOPES[1:])}"
    try:
        account = accounts(client, config).read[0]
        forms = _forms(client)
    except PipelineError as error:
        return [Finding(False, f"Typeform: {error}", error.fix or fix)]
    found = [Finding(True, f"Typeform account {account.id}, {len(forms)} forms")]
    for name in sorted(rows.lead_forms(config) - forms.keys()):
        what = f"sources.typeform.options.lead_forms: there is no form {name}"
        found.append(Finding(False, what, "take the id from the form's address, /to/<id>"))
    for question in _without_start(forms):
        found.append(Finding(True, f"Typeform does not say whether {question} begins with 0 or 1", "", warning=True))
    small = {"page_size": 1}
    calls = {
        f"form {name}": lambda at=name: client.session.get(f"forms/{at}/responses", small) for name in [*forms][:1]
    }
    return [*found, *readable("Typeform", calls, fix)]


def _without_start(forms: dict[str, Record]) -> list[str]:
    return [
        f"question {scale['id']} of form {form['id']}"
        for form in forms.values()
        for scale in form["scales"]
        if scale["type"] == "opinion_scale" and scale["start_at_one"] is None
    ]


SOURCE = Source(
    name="typeform",
    title="Typeform",
    kind="support",
    api_version="unversioned",
    streams=(
        Stream(
            "response", "changes",
            "Responses to forms: the likelihood to recommend, satisfaction, choices; no free text.", read_responses,
            day="answered_at",
            # What is younger than half an hour may be missing (create > responses); late ones come with the overlap.
            policy=WindowPolicy(overlap=timedelta(hours=6), settle=timedelta(minutes=30)), page_size=SIZE,
            personal=("email",),
            feeds={"survey_response": rows.surveys, "form_event": rows.submissions},
            states={"form_event": rows.tells_submissions},
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all responses that there are: what is missing was deleted.",
            read_present, day="swept_at", policy=SWEEP, page_size=SIZE, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "TYPEFORM_ACCESS_TOKEN": "Your account > Personal tokens, of the owner of the forms, with the scopes "
        "accounts:read, forms:read and responses:read; it does not end",
        "TYPEFORM_CLIENT_ID": "in place of it: an app of yours (admin.typeform.com > Developer apps) with the redirect "
        "http://localhost:8766/callback",
        "TYPEFORM_CLIENT_SECRET": "its secret",
        "TYPEFORM_REFRESH_TOKEN": "by `b2b connect typeform`",
    },
    optional=frozenset({
        "TYPEFORM_ACCESS_TOKEN", "TYPEFORM_CLIENT_ID", "TYPEFORM_CLIENT_SECRET", "TYPEFORM_REFRESH_TOKEN",
    }),
    authorization=authorization,
)  # fmt: skip
