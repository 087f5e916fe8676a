"""Klaviyo: what became of every e-mail at every recipient, campaigns and flows, and profiles.

Revision 2026-07-15, which is retired two years after its day; the next one, 2026-10-15, has campaigns in another shape.
Events are those of Klaviyo's own metrics of e-mail, each asked for by itself, and landed without their texts and links.
What they have is documented nowhere: taken from public records of accounts (2019, 2023, 2026-09): `$message` is the
campaign, or the message of a `$flow`; `machine_open`, `Apple Privacy Open` and `Bot Click` tell of machines. Klaviyo
cannot tell an open of Apple's privacy from a person's: it counts as a machine's. Not known is how late an event may
come: a day is read twice. Profiles are found by `updated`, which is strict on both sides; one that was deleted for
privacy, or merged away, is in no list any more. Campaigns' own totals, of which 225 may be asked for a day, are not.
Facts from the official SDK (PyPI klaviyo-api 24.0.0) and Klaviyo's OpenAPI document, both of it,
https://developers.klaviyo.com/en/docs (rate_limits_and_error_handling, api_versioning_and_deprecation_policy,
set_up_oauth) and https://help.klaviyo.com/hc/en-us/articles/4416791883163, read 2026-12-01.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property, partial
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
from b2b_pipeline.connectors.columns import of_one_channel, present
from b2b_pipeline.connectors.emails import leads_wanted, states_leads
from b2b_pipeline.connectors.http import (
    Answer,
    Auth,
    Fatal,
    Outcome,
    Session,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.klaviyo import rows
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import PermanentError, TransientError

API, LOGIN = "https://a.klaviyo.com", "https://www.klaviyo.com"
REVISION = "2026-07-15"
SCOPES = ("accounts:read", "campaigns:read", "events:read", "flows:read", "metrics:read", "profiles:read")
# By endpoint: what it gives out in a second, and in a minute, to all keys of an account.
RATES = tuple(
    Rate(most, seconds, paths=rf"/{path}/?$")
    for path, burst, steady in (
        ("accounts", 1, 15), ("flows", 3, 60), ("campaigns", 10, 150), ("metrics", 10, 150), ("profiles", 75, 700),
        ("events", 350, 3500),
    )
    for most, seconds in ((burst, 1), (steady, 60))
)  # fmt: skip
SECOND = timedelta(seconds=1)
KEPT = (
    "$message", "$flow", "$variation", "$_cohort$message_send_cohort", "Campaign Name", "Recipient Email Address",
    "Bounce Type", *rows.MACHINES,
)  # fmt: skip
KEPT_INSIDE = ("Transmission ID", "Handoff Time")  # of `$internal`
CAMPAIGN = (
    "name", "status", "archived", "created_at", "updated_at", "scheduled_at", "send_time",
    "tracking_options.is_tracking_opens", "tracking_options.is_tracking_clicks",
)  # fmt: skip
FLOW = ("name", "status", "archived", "trigger_type", "created", "updated")
PROFILE = (
    "email", "created", "updated", "organization", "location.country", "location.region",
    "subscriptions.email.marketing.consent",
)  # fmt: skip
PROPERTIES = "attributes.properties."  # of a profile: what a company has made up itself


@dataclass(frozen=True)
class Klaviyo:
    """One account. `metrics`: Klaviyo's own metrics of e-mail, name -> id, listed once."""

    session: Session
    config: Config

    @cached_property
    def metrics(self) -> dict[str, str]:
        listed = [metric for page in self.pages("metrics") for metric in page.records]
        own = [metric for metric in listed if _integration(metric) == "Klaviyo"]
        found = {str(metric["attributes"]["name"]): str(metric["id"]) for metric in own}
        known = {name: number for name, number in found.items() if name in rows.KINDS}
        if known and "Received Email" not in known:
            raise PermanentError("Klaviyo has no metric Received Email any more, by which we know whom e-mails reach")
        return known

    def pages(self, path: str, **query: Any) -> Iterator[Page]:
        """Every page, by the address of the next one, which is followed as it is. What a record is related to, and came
        with the page, is put into it. Raises TransientError for a page that does not say whether another one follows.
        """

        def ask(link: str | None) -> Answer:
            return self.session.get(link) if link else self.session.get(path, query)

        for answer in follow(ask, _next):
            given = answer.json().get("included") or ()
            included = {(each["type"], each["id"]): each for each in given}
            yield Page([_joined(record, included) for record in answer.rows("data")], answer.request)


def _next(answer: Answer) -> str | None:
    links = answer.json().get("links")
    if not isinstance(links, dict) or "next" not in links:
        raise TransientError(f"{place(answer.response)}: a page without 'links.next'")
    return links["next"] or None


def _joined(record: Record, included: Mapping[tuple[Any, Any], Record]) -> Record:
    """JSON:API: a record names what it is related to, which stands beside the records."""
    found: Record = {}
    for name, relation in (record.get("relationships") or {}).items():
        of = relation.get("data") if isinstance(relation, dict) else None
        if isinstance(of, dict) and (given := included.get((of.get("type"), of.get("id")))):
            found[name] = {"id": given["id"], **(given.get("attributes") or {})}
    return {**record, **found}


def _integration(metric: Record) -> str:
    given = metric["attributes"].get("integration")
    return str(given.get("name", "")) if isinstance(given, dict) else ""


def classify(response: requests.Response) -> Outcome:
    """https://developers.klaviyo.com/en/docs/rate_limits_and_error_handling; a `Retry-After` may be of hours."""
    body = json_or_none(response)
    errors = body.get("errors") if isinstance(body, dict) else None
    error = errors[0] if isinstance(errors, list) and errors and isinstance(errors[0], dict) else {}
    told = " ".join(str(error[name]) for name in ("code", "title") if error.get(name))[:200] or "refused"
    if response.status_code == 429:
        return wait_or_stop(retry_after(response, 60.0))
    if response.status_code == 410:
        fix = "name a newer one under sources.klaviyo.options.api_version, such as the newest of Klaviyo's changelog"
        return Fatal("the revision of the API is retired", fix=fix)
    return by_status(response, told)


# -- reading


def read_events(client: Klaviyo, account: Account, window: Window) -> Iterator[Page]:
    """Events of e-mail in the window, metric by metric, with the address of the profile."""
    for name, metric in sorted(client.metrics.items()):
        between = f"greater-or-equal(datetime,{_iso(window.since)}),less-than(datetime,{_iso(window.until)})"
        asked = {
            "filter": f'equals(metric_id,"{metric}"),{between}', "sort": "datetime", "include": "profile",
            "fields[event]": "datetime,event_properties", "fields[profile]": "email", "page[size]": 1000,
        }  # fmt: skip
        for page in client.pages("events", **asked):
            found = [_event(each, {"id": metric, "name": name}) for each in page.records if _is_in(each, window)]
            yield Page(found, page.request)


def _event(record: Record, metric: Record) -> Record:
    """Without what it says of links, texts and machines: that may be personal, and is not needed."""
    attributes = record["attributes"]
    given = attributes.get("event_properties") or {}
    kept = {name: given[name] for name in KEPT if name in given}
    inside = given.get("$internal")
    if isinstance(inside, dict):
        kept["$internal"] = {name: inside[name] for name in KEPT_INSIDE if name in inside}
    profile = record.get("profile") or {"id": (_related(record, "profile") or {}).get("id")}
    return {
        "id": record["id"], "attributes": {"datetime": attributes["datetime"], "event_properties": kept},
        "metric": metric, "profile": profile,
    }  # fmt: skip


def _related(record: Record, name: str) -> Record | None:
    relation = (record.get("relationships") or {}).get(name)
    return relation.get("data") if isinstance(relation, dict) else None


def _is_in(event: Record, window: Window) -> bool:
    """Bounds are asked for in whole seconds."""
    return window.since <= datetime.fromisoformat(event["attributes"]["datetime"]) < window.until


def _iso(at: datetime) -> str:
    """The whole second, or the next where it has begun: none before is lost, as a window begins with a full one."""
    return f"{at.astimezone(UTC) + (SECOND if at.microsecond else timedelta(0)):%Y-%m-%dT%H:%M:%SZ}"


def read_campaigns(client: Klaviyo, account: Account, window: Window) -> Iterator[Page]:
    """E-mail campaigns, archived ones too: they are listed by themselves."""
    for archived in ("false", "true"):
        asked = f"equals(messages.channel,'email'),equals(archived,{archived})"
        fields = ",".join(CAMPAIGN)
        for page in client.pages("campaigns", filter=asked, sort="id", **{"fields[campaign]": fields}):
            yield Page([_bare(record) for record in page.records], page.request)


def read_flows(client: Klaviyo, account: Account, window: Window) -> Iterator[Page]:
    """Flows, archived ones too."""
    for archived in ("false", "true"):
        asked = {"filter": f"equals(archived,{archived})", "sort": "id", "fields[flow]": ",".join(FLOW)}
        for page in client.pages("flows", **asked):
            yield Page([_bare(record) for record in page.records], page.request)


def read_profiles(client: Klaviyo, account: Account, window: Window) -> Iterator[Page]:
    """Profiles that were updated in the window; of what a company has made up itself only what `fields` names."""
    paths = client.config.sources["klaviyo"].fields.values()
    named = {path.removeprefix(PROPERTIES) for path in paths if path.startswith(PROPERTIES)}
    since, until = _iso(window.since - SECOND), _iso(window.until + SECOND)
    asked = {
        "filter": f"greater-than(updated,{since}),less-than(updated,{until})",
        "sort": "updated", "page[size]": 100, "additional-fields[profile]": "subscriptions",
        "fields[profile]": ",".join((*PROFILE, *(("properties",) if named else ()))),
    }  # fmt: skip
    for page in client.pages("profiles", **asked):
        found = [_bare(record) for record in page.records if _is_updated_in(record, window)]
        for record in found:
            given = record["attributes"].pop("properties", None) or {}
            record["attributes"] |= {"properties": {name: given.get(name) for name in named}} if named else {}
        yield Page(found, page.request)


def _is_updated_in(record: Record, window: Window) -> bool:
    return window.since <= datetime.fromisoformat(record["attributes"]["updated"]) < window.until


def _bare(record: Record) -> Record:
    return {"id": record["id"], "attributes": dict(record["attributes"])}


def read_present(client: Klaviyo, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all profiles, if they are leads."""
    return sweep([("lead", partial(_ids, client))] if leads_wanted(client.config, "klaviyo") else [])


def _ids(client: Klaviyo) -> Iterator[list[str]]:
    for page in client.pages("profiles", sort="id", **{"fields[profile]": "updated", "page[size]": 100}):
        yield [str(record["id"]) for record in page.records]


# -- who we are


def connect(config: Config) -> Klaviyo:
    """A private key where one is given; else OAuth."""
    base = settings.base_url("klaviyo", API)
    auth: Auth
    if os.environ.get("KLAVIYO_CLIENT_ID") and not os.environ.get("KLAVIYO_API_KEY"):
        client, secret, token = (
            settings.secret(f"KLAVIYO_{name}") for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")
        )
        auth = OAuthToken(
            f"{base}/oauth/token", {"grant_type": "refresh_token", "refresh_token": token},
            store=settings.credential_store("klaviyo"), lifetime=3600, headers=_client(client, secret),
        )  # fmt: skip
    else:
        auth = StaticToken(f"Klaviyo-API-Key {settings.secret('KLAVIYO_API_KEY')}", "Authorization")
    headers = {"revision": SOURCE.version(config), "Accept": "application/vnd.api+json"}
    rates = RATES if base == API else ()  # they are those of Klaviyo's own host
    return Klaviyo(Session(f"{base}/api", classify=classify, auth=auth, headers=headers, rates=rates), config)


def _client(identifier: str, secret: str) -> dict[str, str]:
    return {"Authorization": basic(identifier, secret)}


def authorization() -> Authorization:
    """For apps; who has a private key needs none. https://developers.klaviyo.com/en/docs/set_up_oauth"""
    base = settings.base_url("klaviyo", API)
    variables = ("KLAVIYO_CLIENT_ID", "KLAVIYO_CLIENT_SECRET", "KLAVIYO_REFRESH_TOKEN")
    pages = f"{LOGIN if base == API else base}/oauth/authorize", f"{base}/oauth/token"
    return Authorization(*pages, SCOPES, variables, headers=_client)


def accounts(client: Klaviyo, config: Config) -> Accounts:
    """The one account that the credentials belong to."""
    [told] = client.session.get("accounts").rows("data")
    name = (told["attributes"].get("contact_information") or {}).get("organization_name")
    found = [Account(str(told["id"]), name or "")]
    return choose(found, config.sources["klaviyo"].accounts, "sources.klaviyo.accounts")


def probe(client: Klaviyo, config: Config) -> list[Finding]:
    """The account, a small call per stream (scopes), and whether there are metrics of e-mail."""
    fix = f"make a private key (Settings > API keys) with the scopes {', '.join(SCOPES)}"
    try:
        [account] = accounts(client, config).read
        metrics = client.metrics
    except PermanentError as error:
        return [Finding(False, f"Klaviyo: {error}", error.fix or fix)]
    found = [Finding(True, f"Klaviyo account {account.id}, {account.name}")]
    if not metrics:
        what = "Klaviyo has no metrics of e-mail: nothing was ever sent"
        found.append(Finding(True, what, "if something was, ask Klaviyo", warning=True))
    paths = {"event": "events", "campaign": "campaigns", "flow": "flows", "profile": "profiles", "present": "profiles"}
    query = {"campaign": {"filter": "equals(messages.channel,'email')"}}
    calls = {
        stream.name: partial(client.session.get, paths[stream.name], {**query.get(stream.name, {}), "page[size]": 1})
        for stream in SOURCE.switched_on(config)
    }
    return [*found, *readable("Klaviyo", calls, fix)]


SOURCE = Source(
    name="klaviyo",
    title="Klaviyo",
    kind="email",
    api_version=REVISION,
    streams=(
        Stream(
            "event", "changes", "What became of e-mails at every recipient.", read_events,
            day="attributes.datetime", page_size=1000,
            policy=WindowPolicy(overlap=timedelta(days=1), settle=timedelta(minutes=5), max_days=30),
            personal=("attributes.event_properties.Recipient Email Address", "profile.email"),
            feeds={"email_event": rows.events, "touchpoint": rows.clicks, "email_send": rows.flow_messages},
            states={"touchpoint": of_one_channel},
        ),
        Stream(
            "campaign", "snapshot", "E-mail campaigns, archived ones too.", read_campaigns, day="", page_size=100,
            feeds={"campaign": rows.campaigns, "email_send": rows.email_sends, "email_summary": rows.untracked},
            states={"email_summary": lambda config: ()},  # what is unknown, and no counts
            asks=lambda config: [f"attributes.{name}" for name in CAMPAIGN],
        ),
        Stream(
            "flow", "snapshot", "Flows, archived ones too.", read_flows, day="", page_size=50,
            feeds={"campaign": rows.flows}, asks=lambda config: [f"attributes.{name}" for name in FLOW],
        ),
        Stream(
            "profile", "changes", "Profiles; leads where `options: {leads: all}` says so.", read_profiles,
            day="attributes.updated", page_size=100, personal=("attributes.email", "attributes.properties.*"),
            policy=WindowPolicy(overlap=timedelta(hours=1), settle=timedelta(minutes=5)),
            feeds={"lead": rows.leads, "identity_link": rows.identity_links}, states={"lead": states_leads("klaviyo")},
            asks=lambda config: [f"attributes.{name}" for name in PROFILE],
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all profiles, if they are leads: who is missing is gone.",
            read_present, day="swept_at", policy=SWEEP, page_size=100, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "KLAVIYO_API_KEY": "a private key (Settings > API keys) that may read accounts, campaigns, events, flows, "
        "metrics and profiles; or the three below",
        "KLAVIYO_CLIENT_ID": "an app (klaviyo.com/manage-apps), with the redirect http://localhost:8766/callback",
        "KLAVIYO_CLIENT_SECRET": "its secret",
        "KLAVIYO_REFRESH_TOKEN": "by `b2b connect klaviyo`",
    },
    optional=frozenset({"KLAVIYO_API_KEY", "KLAVIYO_CLIENT_ID", "KLAVIYO_CLIENT_SECRET", "KLAVIYO_REFRESH_TOKEN"}),
    authorization=authorization,
    versions=r"\d{4}-\d{2}-\d{2}",
    sunset=date(2028, 7, 15),
)  # fmt: skip
