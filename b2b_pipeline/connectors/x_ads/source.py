"""X Ads: what each campaign cost and brought per day of its account, over all placements, as X knows it today.

What is billed changes for up to 14 days. A conversion counts for up to 30 days after the ad; whether on the ad's day
is documented nowhere, so 30 days are read again. Which campaigns had anything, and in which placements, X tells; what
each had is asked for by 20 of them and one placement at a time. An account has no totals of what is billed: they are
those of its funding instruments. Days are asked for as dates,
which X takes as midnight in the account's time zone. Days before an account's `timezone_switch_at` were those of Los
Angeles. Facts from https://docs.x.com/x-ads-api (analytics, campaign-management, fundamentals), the official SDK (PyPI
twitter-ads 11.0.0) and what public connectors recorded, read 2026-12-01.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import x_api
from b2b_pipeline.connectors.authorize import Login
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Control,
    Finding,
    Page,
    Record,
    Skipped,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Outcome,
    Session,
    Split,
    Wait,
    by_status,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Listing, probe_accounts
from b2b_pipeline.connectors.x_ads import rows
from b2b_pipeline.errors import ConfigError, TransientError

API = "https://ads-api.x.com"
VERSION = "12"  # whose end no one has named yet
LISTED = Listing("data", "next_cursor", asked={"count": 1000, "with_deleted": "true"})
PLACEMENTS = ("ALL_ON_TWITTER", "SPOTLIGHT", "TREND")
CAMPAIGN = "CAMPAIGN"
LATE = timedelta(days=60)  # after which nothing of a day changes any more
LONGEST, ENTITIES = 7, 20  # days and entities that a call may ask about
METRICS = ("impressions", "engagements", "clicks", "url_clicks", "billed_charge_local_micro", "billed_engagements")
CONVERSION = "conversion_"
RATES = (Rate(250, 900, r"/stats/"),)  # https://docs.x.com/x-ads-api/fundamentals/rate-limiting


@dataclass(frozen=True)
class X:
    """`lists`: (account, what) -> its campaigns, or what pays for them, by id, deleted ones too, listed once."""

    session: Session
    version: str
    lists: dict[tuple[str, str], dict[str, Record]] = field(default_factory=dict)

    def stats(self, account: Account, window: Window, what: str = "", **query: Any) -> Answer:
        days = {"start_time": window.start.isoformat(), "end_time": window.end.isoformat()}  # the end is not included
        return self.session.get(f"{self.version}/stats/accounts/{account.id}{what}", {**days, **query})

    def listed(self, account: Account, what: str) -> dict[str, Record]:
        key = (account.id, what)
        if key not in self.lists:
            found = LISTED.records(self.session, f"{self.version}/accounts/{account.id}/{what}")
            self.lists[key] = {record["id"]: record for record in found}
        return self.lists[key]


def classify(response: requests.Response) -> Outcome:
    """https://docs.x.com/x-ads-api/fundamentals/error-codes-and-responses, …/rate-limiting"""
    body = json_or_none(response)
    errors = body.get("errors") if isinstance(body, dict) else None
    code = str(errors[0].get("code") or "refused") if isinstance(errors, list) and errors else "refused"
    if response.status_code == 429:
        # By the limit of the ad account where there is one, else by that of the user.
        return wait_or_stop(x_api.until_reset(response, "x-account-rate-limit-reset", "x-rate-limit-reset"), code)
    if response.status_code in (408, 423):  # CANCELLED_REQUEST, LOCK_ACQUISITION_TIMEOUT
        return Wait(10.0, code)
    if response.status_code == 503:
        return wait_or_stop(retry_after(response, 30.0), code)
    if code == "REQUEST_TOO_COMPLEX":
        return Split(code)
    if code == "ROUTE_NOT_FOUND":
        fix = "set sources.x_ads.options.api_version to a version that is served, or upgrade b2b-pipeline"
        return Fatal(f"{code}: this version of the API is not served", fix=fix)
    return by_status(response, code)


# -- reading


def _report(entity: str, what: str) -> Callable[[X, Account, Window], Iterator[Page]]:
    def fetch(client: X, account: Account, window: Window) -> Iterator[Page]:
        listed = client.listed(account, what)
        for days in _cut(window):
            placements = _placements(client, account, days, entity, listed)
            ids = sorted(placements)
            for at in range(0, len(ids), ENTITIES):
                batch = {each: placements[each] for each in ids[at : at + ENTITIES]}
                yield _read(client, account, days, entity, batch, listed)

    return fetch


def _placements(
    client: X, account: Account, days: Window, entity: str, listed: Mapping[str, Record]
) -> dict[str, set[str]]:
    """The entities that may have had anything on these days, and where.

    X says which have changed in given hours, not of which days: what it recorded late is asked for, too. How long it
    keeps that is documented nowhere: of days long past, and of the few that pay, all that there were are asked for.
    """
    today = datetime.now(ZoneInfo(account.time_zone or "UTC")).date()
    until = max(min(days.end + LATE, today + timedelta(days=1)), days.end)
    hours = replace(days, end=until)
    active = client.stats(account, hours, "/active_entities", entity=entity).rows("data")
    found = {record["entity_id"]: {*(record.get("placements") or PLACEMENTS)} for record in active}
    if entity != CAMPAIGN or until < today:
        there = (each for each, record in listed.items() if record["created_at"] < days.end.isoformat())
        found |= {each: {*PLACEMENTS, *found.get(each, ())} for each in there}
    return found


def _cut(window: Window) -> Iterator[Window]:
    days = window.days()
    for at in range(0, len(days), LONGEST):
        last = days[at : at + LONGEST][-1]
        yield replace(window, start=days[at], end=last + timedelta(days=1))


def _read(
    client: X, account: Account, window: Window, entity: str, placements: Mapping[str, set[str]],
    listed: Mapping[str, Record],
) -> Page:  # fmt: skip
    """A page of these entities' days: what they had in each placement, and in all of them together."""
    groups = "ENGAGEMENT,BILLING" + (",WEB_CONVERSION" if entity == CAMPAIGN else "")
    found: dict[tuple[str, str], dict[str, Record]] = defaultdict(dict)
    asked = ""
    for placement in sorted({name for names in placements.values() for name in names}):
        ids = [each for each, names in placements.items() if placement in names]
        answer = client.stats(
            account, window, entity=entity, entity_ids=",".join(ids), granularity="DAY", placement=placement,
            metric_groups=groups,
        )  # fmt: skip
        asked = asked or answer.request
        for identifier, day, metrics in _days(answer, ids, window):
            found[identifier, day][placement] = metrics
    return Page([_row(entity, *key, of_placements, listed) for key, of_placements in sorted(found.items())], asked)


def _days(answer: Answer, ids: Sequence[str], window: Window) -> Iterator[tuple[str, str, Record]]:
    """Each entity's metrics on the days on which there were any. A metric is an array with a number per day, or null,
    which is as good as zeros. Raises TransientError for an answer without some of the entities or of their days.
    """
    days, where = window.days(), f"{place(answer.response)}, {window.start} to {window.end}"
    given = {record["id"]: record["id_data"] for record in answer.rows("data")}
    if {*given} != {*ids} or any(len(segments) != 1 for segments in given.values()):
        raise TransientError(f"{where}: of {len(ids)} asked for, {len(given)} are answered")
    for identifier, [segment] in given.items():
        if unknown := {"billed_charge_local_micro", "impressions"} - segment["metrics"].keys():
            raise TransientError(f"{where}: nothing is said of {', '.join(sorted(unknown))}")
        series = {name: values or [0] * len(days) for name, values in _series(segment["metrics"])}
        if any(len(values) != len(days) for values in series.values()):
            raise TransientError(f"{where}: not every metric has {len(days)} days")
        for number, day in enumerate(days):
            metrics = {name: values[number] or 0 for name, values in series.items()}
            if any(metrics.values()):
                yield identifier, day.isoformat(), metrics


def _series(metrics: Record) -> Iterator[tuple[str, list[int | None] | None]]:
    """What we keep. Of conversions of a kind, their number."""
    for name, values in metrics.items():
        if name in METRICS:
            yield name, values
        elif name.startswith(CONVERSION):
            yield name, (values or {}).get("metric")


def _row(entity: str, identifier: str, day: str, placements: Record, listed: Mapping[str, Record]) -> Record:
    first, *others = placements.values()  # what one of them does not tell is not known of all
    names = {*first}.intersection(*others)
    sums = {name: sum(metrics[name] for metrics in placements.values()) for name in sorted(names)}
    record = listed.get(identifier, {})
    of = {"campaign": identifier, "campaignName": record.get("name")} if entity == CAMPAIGN else {"funding": identifier}
    return {"day": day, **of, "currency": record.get("currency"), **sums, "placements": placements}


def read_campaigns(client: X, account: Account, window: Window | None) -> Iterator[Page]:
    return LISTED.pages(client.session, f"{client.version}/accounts/{account.id}/campaigns")


# -- who we are


def connect(config: Config) -> X:
    if unknown := sorted({*rows.conversions(config.sources["x_ads"])} - rows.KINDS):
        known = ", ".join(sorted(rows.KINDS))
        raise ConfigError(f"sources.x_ads.options.conversions: {', '.join(unknown)} not among {known}")
    base = settings.base_url("x_ads", API)
    rates = RATES if base == API else ()  # they are those of X's own host
    return X(Session(base, classify=classify, auth=x_api.signing("x_ads"), rates=rates), SOURCE.version(config))


def authorization() -> Login:
    return x_api.login("x_ads", API)


def accounts(client: X, config: Config) -> Accounts:
    """The ad accounts that the user of the token has access to, or those of them that are configured."""
    found = [_account(record) for record in LISTED.records(client.session, f"{client.version}/accounts")]
    chosen = config.sources["x_ads"]
    return choose(found, chosen.accounts, "sources.x_ads.accounts", set(chosen.ended))


def _account(record: Record) -> Account | Skipped:
    if record["deleted"]:
        return Skipped(record["id"], "the account is deleted", closed=True)
    if not record.get("timezone"):
        return Skipped(record["id"], "the account is not set up: it has no time zone", closed=True)
    return Account(record["id"], record.get("name") or "", None, record["timezone"])


def probe(client: X, config: Config) -> list[Finding]:
    fix = (
        "give the user of the access token a role in the ad accounts (Ads Manager > Account access), and have X allow "
        "the app the Ads API"
    )
    return probe_accounts(SOURCE, client, config, fix)


_DAILY = WindowPolicy(restate_days=30, max_days=28)

SOURCE = Source(
    name="x_ads",
    title="X Ads",
    kind="ad",
    api_version=VERSION,
    versions=r"\d+",
    streams=(
        Stream(
            "campaign_daily", "report", "One row per campaign and day of the account: cost, impressions, clicks.",
            _report(CAMPAIGN, "campaigns"), day="day", policy=_DAILY, page_size=ENTITIES, feeds={"spend": rows.spend},
        ),
        Stream(
            "funding_daily", "report",
            "One row per funding instrument and day of the account: what the campaigns must add up to.",
            _report("FUNDING_INSTRUMENT", "funding_instruments"), day="day", policy=_DAILY, page_size=ENTITIES,
        ),
        Stream(
            "campaign", "snapshot", "One row per campaign, deleted ones too, as it is now.", read_campaigns, day="",
            feeds={"campaign": rows.campaign},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    control=Control(
        "campaign_daily", "funding_daily", ("billed_charge_local_micro", "impressions", "engagements"),
    ),
    environment={
        "X_ADS_API_KEY": "your app's (console.x.com), which X has allowed the Ads API, with the callback URL "
        "http://127.0.0.1:8766/callback",
        "X_ADS_API_SECRET": "its secret",
        "X_ADS_ACCESS_TOKEN": "by `b2b connect x_ads`, as a user with a role in the ad accounts: it does not end",
        "X_ADS_ACCESS_TOKEN_SECRET": "its secret",
    },
    authorization=authorization,
    parallel=2,
    click_id="twclid",
)  # fmt: skip
