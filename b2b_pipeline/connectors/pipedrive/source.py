"""Pipedrive: deals with the history of their stages, persons and organizations, by API v2.

API v1 is asked only for what v2 has not: the log of a deal's changes, and who we are. Reads of v1 that have a twin in
v2 are out of support since 2026-08-01. Facts from the official SDK (npm pipedrive 33.7.0) and
https://developers.pipedrive.com/docs/api/v1, read 2026-11-30.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from itertools import product
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
from b2b_pipeline.connectors.columns import present, tells_channel
from b2b_pipeline.connectors.http import (
    Fatal,
    Outcome,
    Session,
    Stop,
    Wait,
    by_status,
    json_or_none,
    next_utc_midnight,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.pipedrive import rows
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Listing, readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import PermanentError

BURST = Rate(20, 2)  # of one token, by the smallest plan
LISTED = 500  # the most that one call gives
LISTS = Listing("data", "additional_data.next_cursor", LISTED, asked={"limit": LISTED})
DEALS = ("deals", "deals/archived")  # two lists, each with a bin of its own, from which deals are gone after 30 days
KEPT = ("stage_id", "status")  # of a deal's log; the rest may be about people


@dataclass(frozen=True)
class Pipedrive:
    """One company. `names`: pipelines and stages, by id, listed once."""

    session: Session
    config: Config
    names: dict[str, dict[int, Record]] = field(default_factory=dict)


def classify(response: requests.Response) -> Outcome:
    """https://pipedrive.readme.io/docs/core-api-concepts-rate-limiting, and …-http-status-codes"""
    body = json_or_none(response)
    error = str(body.get("error") or "refused") if isinstance(body, dict) else "an answer that is not JSON"
    if response.status_code == 429:
        if response.headers.get("x-daily-ratelimit-token-remaining") == "0":
            return Stop(next_utc_midnight(), "the company's tokens of the day")
        seconds = response.headers.get("x-ratelimit-reset", "")
        return wait_or_stop(retry_after(response, float(seconds) if seconds.isdecimal() else 2.0))
    if response.status_code == 403 and not isinstance(body, dict):
        return Fatal("blocked for having asked too often", fix="leave Pipedrive alone for an hour")
    if response.status_code == 200 and isinstance(body, dict) and body.get("success") is False:
        return Wait(5.0, error)
    return by_status(response, error)


def _changed(client: Pipedrive, path: str, window: Window, **query: Any) -> Iterator[Page]:
    """What was updated in the window; in its order, so that what changes meanwhile moves behind, out of the window."""
    asked = {"updated_since": _seconds(window.since), "updated_until": _seconds(window.until), "sort_by": "update_time"}
    return LISTS.pages(client.session, f"api/v2/{path}", **asked, **query)


def _seconds(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"  # a fraction is refused


def read_deals(client: Pipedrive, account: Account, window: Window) -> Iterator[Page]:
    """Deals that were updated in the window, archived and deleted ones too, with stage, pipeline, and their changes."""
    for path, status in product(DEALS, (None, "deleted")):
        for page in _changed(client, path, window, status=status):
            yield Page([_with_history(client, deal) for deal in page.records], page.request)


def _with_history(client: Pipedrive, deal: Record) -> Record:
    """The log costs 20 tokens a deal: one that never moved has nothing in it that we do not know."""
    path = f"api/v1/deals/{deal['id']}/changelog"
    log = LISTS.records(client.session, path) if deal["stage_change_time"] else ()
    changes = [change for change in log if change["field_key"] in KEPT]
    named = {kind: _named(client, kind).get(deal[f"{kind}_id"]) for kind in ("pipeline", "stage")}
    return {**deal, **named, "changes": changes}


def _named(client: Pipedrive, kind: str) -> dict[int, Record]:
    if kind not in client.names:
        listed = LISTS.records(client.session, f"api/v2/{kind}s")
        client.names[kind] = {row["id"]: {"id": row["id"], "name": row["name"]} for row in listed}
    return client.names[kind]


def read_persons(client: Pipedrive, account: Account, window: Window) -> Iterator[Page]:
    return _changed(client, "persons", window)


def read_organizations(client: Pipedrive, account: Account, window: Window) -> Iterator[Page]:
    return _changed(client, "organizations", window)


def read_present(client: Pipedrive, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all that is not deleted: of persons and organizations no list says what was, or was merged away."""
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    swept = (("person", ("persons",), "lead"), ("deal", DEALS, "opportunity"),
             ("organization", ("organizations",), "account"))  # fmt: skip
    return sweep([(object_, partial(_ids, client, paths)) for stream, paths, object_ in swept if stream in on])


def _ids(client: Pipedrive, paths: tuple[str, ...]) -> Iterator[list[str]]:
    for path in paths:
        for page in LISTS.pages(client.session, f"api/v2/{path}"):
            yield [str(row["id"]) for row in page.records]


def connect(config: Config) -> Pipedrive:
    base = settings.base_url("pipedrive", "")
    base = base or f"https://{settings.secret('PIPEDRIVE_COMPANY_DOMAIN')}.pipedrive.com"
    auth = StaticToken(settings.secret("PIPEDRIVE_API_TOKEN"), "x-api-token")
    rates = (BURST,) if base.endswith(".pipedrive.com") else ()  # the sandbox says itself when it has had enough
    return Pipedrive(Session(base, classify=classify, auth=auth, rates=rates), config)


def accounts(client: Pipedrive, config: Config) -> Accounts:
    """The one company that the token belongs to."""
    me = client.session.get("api/v1/users/me").json()["data"]
    company = Account(str(me["company_id"]), me["company_name"], me["default_currency"])
    return choose([company], config.sources["pipedrive"].accounts, "sources.pipedrive.accounts")


def probe(client: Pipedrive, config: Config) -> list[Finding]:
    """The company and the user, a small call per stream, the tokens left of today, the fields that are named."""
    try:
        answer = client.session.get("api/v1/users/me")
    except PermanentError as error:
        return [Finding(False, f"Pipedrive: {error}", error.fix or "put a user's API token into PIPEDRIVE_API_TOKEN")]
    me, left = answer.json()["data"], answer.response.headers.get("x-daily-ratelimit-token-remaining", "unknown")
    found = [Finding(True, f"Pipedrive company {me['company_domain']}, {left} tokens left of today")]
    if not any(access.get("admin") for access in me.get("access") or ()):
        what = "Pipedrive: the user of the token is no admin: deals and persons that they may not see are missing"
        found.append(Finding(True, what, "take the token of one who sees all", warning=True))
    on = [stream.name for stream in SOURCE.switched_on(config) if stream.name != "present"]
    calls = {name: partial(client.session.get, f"api/v2/{name}s", {"limit": 1}) for name in on}
    return [*found, *readable("Pipedrive", calls, "let the user see deals and contacts"), *_absent(client, config)]


def _absent(client: Pipedrive, config: Config) -> Iterator[Finding]:
    """Custom fields that are named and not there."""
    keys = {name: key for name, key in config.sources["pipedrive"].fields.items() if rows.path_of(key) != key}
    paths = ("api/v2/personFields", "api/v2/dealFields") if keys else ()
    known = {row["field_code"] for path in paths for row in LISTS.records(client.session, path)}
    for name in (name for name, key in keys.items() if key not in known):
        fix = "copy the key in Company settings > Data fields"
        yield Finding(False, f"Pipedrive has no field of the key in sources.pipedrive.fields.{name}", fix)


_UPDATED = WindowPolicy(overlap=timedelta(minutes=15), settle=timedelta(minutes=2))
PERSONAL = (
    "name", "first_name", "last_name", "emails.value", "phones.value", "im.value", "birthday", "notes", "job_title",
    "postal_address.*",
)  # fmt: skip

SOURCE = Source(
    name="pipedrive",
    title="Pipedrive",
    kind="crm",
    api_version="v2",
    streams=(
        Stream(
            "deal", "changes", "Deals, archived and deleted ones too, with the history of their stages.", read_deals,
            day="update_time", policy=_UPDATED, page_size=20,  # a call for the log of each deal that has moved
            feeds={
                "opportunity": rows.opportunities, "opp_contact_role": rows.contact_roles,
                "stage_event": rows.deal_stages,
            },
            states={"stage_event": lambda config: ()},  # stages of deals, not of leads
        ),
        Stream(
            "person", "changes", "Persons, with all their addresses.", read_persons, day="update_time",
            policy=_UPDATED, page_size=LISTED, personal=PERSONAL,
            feeds={"lead": rows.leads, "identity_link": rows.identity_links, "touchpoint": rows.touchpoints},
            states={"touchpoint": tells_channel("pipedrive")},
        ),
        Stream(
            "organization", "changes", "Organizations: the companies that deals are with.", read_organizations,
            day="update_time", policy=_UPDATED, page_size=LISTED, feeds={"account": rows.accounts},
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all that there is: what is missing was deleted or merged.",
            read_present, day="swept_at", policy=SWEEP, page_size=LISTED, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "PIPEDRIVE_API_TOKEN": "Personal preferences > API, of a user who sees all deals and contacts",
        "PIPEDRIVE_COMPANY_DOMAIN": "the first part of your address, ourcompany of ourcompany.pipedrive.com",
    },
    optional=frozenset({"PIPEDRIVE_COMPANY_DOMAIN"}),  # the sandbox has none
)  # fmt: skip
