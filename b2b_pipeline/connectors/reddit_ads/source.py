"""Reddit Ads: what each campaign cost and brought per day of its account, as Reddit knows it today.

Money is in millionths of the account's currency. A report's bounds are full hours of UTC. Whether it ends at the later
one or a day after it no document says, and public connectors say both; nor is every midnight a full hour of UTC. So it
is asked for with a day more on either side, and only days of the window are kept: they are whole whatever is meant. A
report names campaigns by id; their names are those of the list. Not known is whether that has deleted ones, which day a
conversion counts for, and what key conversions are worth: their value is left unknown.
Facts from Reddit's OpenAPI document (https://ads-api.reddit.com/docs/v3), its pages on authentication and attribution,
and what public connectors (PyPI adloop 0.35.1, PostHog) found, read 2026-12-01.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import reduce
from typing import Any
from urllib.parse import quote
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import OAuthToken, basic
from b2b_pipeline.connectors.authorize import Authorization
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
    Outcome,
    Session,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.reddit_ads import rows
from b2b_pipeline.connectors.rest import probe_accounts
from b2b_pipeline.errors import PermanentError, TransientError

API, LOGIN = "https://ads-api.reddit.com", "https://www.reddit.com"
VERSION = "v3"
SIZE = 700  # records of a page, the most of all lists
RATES = (Rate(60, 60, paths="/reports$"), Rate(400, 60))
RESTATE_DAYS = 30  # a click counts for 28 days, at most and by default; late ones come with the daily refresh
KEPT = timedelta(days=730)  # 24 months
METRICS = ("CURRENCY", "IMPRESSIONS", "CLICKS", "SPEND", "KEY_CONVERSION_TOTAL_COUNT")
OF_ACCOUNT, OF_CAMPAIGN = ("DATE",), ("CAMPAIGN_ID", "DATE")
CAMPAIGN = ("id", "name", "objective", "effective_status", "modified_at")


@dataclass(frozen=True)
class Reddit:
    """`names`: account -> its campaigns' names by id, listed once."""

    session: Session
    names: dict[str, dict[str, str]] = field(default_factory=dict)

    def pages(self, path: str, *members: str, body: Record | None = None) -> Iterator[Page]:
        """Every page, by the address of the next one, which the document wants followed as it is. The records are at
        `members`. With a `body`, which goes with every page, it is posted."""

        def ask(link: str | None) -> Answer:
            at = link or f"api/{VERSION}/{path}?page.size={SIZE}"
            return self.session.get(at) if body is None else self.session.post(at, body)

        for answer in follow(ask, lambda each: _next(each, members)):
            yield Page(_at(answer, members, list), answer.request)

    def listed(self, path: str) -> list[Record]:
        return [record for page in self.pages(path, "data") for record in page.records]


def _at(answer: Answer, members: tuple[str, ...], kind: type) -> Any:
    found: Any = reduce(lambda node, name: node.get(name) if isinstance(node, dict) else None, members, answer.json())
    if not isinstance(found, kind):
        raise TransientError(f"{place(answer.response)}: an answer without {'.'.join(members)!r}")
    return found


def _next(answer: Answer, members: tuple[str, ...]) -> str | None:
    """No address is the end. A full page without `pagination` says nothing."""
    told = answer.json().get("pagination")
    if not isinstance(told, dict):
        if len(_at(answer, members, list)) >= SIZE:
            raise TransientError(f"{place(answer.response)}: a full page without 'pagination'")
        return None
    return told.get("next_url") or None


def classify(response: requests.Response) -> Outcome:
    """Throttling is told by `RateLimit`, the state of each policy: seconds `t` until one with nothing left is reset."""
    body = json_or_none(response)
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    fields = error.get("fields")
    listed = fields if isinstance(fields, list) else []
    names = [str(each["field"]) for each in listed if isinstance(each, dict) and "field" in each]
    # Their messages are left out: each may list all that might have stood there.
    told = f"{error.get('message') or 'refused'}{' ' if names else ''}{', '.join(names)}"[:200]
    if response.status_code == 429:
        used_up = re.findall(r"r=0\s*;\s*t=(\d+)", response.headers.get("RateLimit", ""))
        return wait_or_stop(max(map(float, used_up), default=retry_after(response, 60.0)))
    return by_status(response, told)


# -- reading


def _report(breakdowns: tuple[str, ...]) -> Callable[[Reddit, Account, Window], Iterator[Page]]:
    def fetch(client: Reddit, account: Account, window: Window) -> Iterator[Page]:
        now = datetime.now(UTC)
        names = _names(client, account) if "CAMPAIGN_ID" in breakdowns else None
        # Not beyond the hour that it is, in UTC or where the account is: of which of both bounds are no document says.
        here = now.astimezone(ZoneInfo(account.time_zone or "UTC")).replace(tzinfo=UTC)
        until = min(_midnight(window.end) + timedelta(days=1), max(now, here).replace(minute=0) + timedelta(hours=1))
        asked = {
            "breakdowns": list(breakdowns), "fields": [*breakdowns, *METRICS], "time_zone_id": account.time_zone,
            "starts_at": _hour(_midnight(window.start) - timedelta(days=1)), "ends_at": _hour(until),
        }  # fmt: skip
        for page in client.pages(f"ad_accounts/{account.id}/reports", "data", "metrics", body={"data": asked}):
            kept = [record for record in page.records if _is_of(record, window)]
            yield Page(kept if names is None else [_named(record, names) for record in kept], page.request)

    return fetch


def _is_of(record: Record, window: Window) -> bool:
    """Whether it is of a day of the window; one that says no day stays to be seen."""
    day = str(record.get("date"))
    return not re.fullmatch(r"\d{4}-\d\d-\d\d", day) or str(window.start) <= day < str(window.end)


def _named(record: Record, names: Mapping[str, str]) -> Record:
    return {**record, "campaign_name": names.get(str(record.get("campaign_id")))}


def _names(client: Reddit, account: Account) -> dict[str, str]:
    if account.id not in client.names:
        listed = [record for page in read_campaigns(client, account, None) for record in page.records]
        client.names[account.id] = {str(record.get("id")): record.get("name", "") for record in listed}
    return client.names[account.id]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}:00:00Z"


def read_campaigns(client: Reddit, account: Account, window: Window | None) -> Iterator[Page]:
    return client.pages(f"ad_accounts/{account.id}/campaigns", "data")


# -- who we are


def connect(config: Config) -> Reddit:
    base = settings.base_url("reddit_ads", API)
    client_id, client_secret, token = (
        settings.secret(f"REDDIT_ADS_{name}") for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")
    )
    auth = OAuthToken(
        _login("access_token"), {"grant_type": "refresh_token", "refresh_token": token},
        store=settings.credential_store("reddit_ads"), lifetime=3600, headers=_client(client_id, client_secret),
    )  # fmt: skip
    rates = RATES if base == API else ()  # they are those of Reddit's own host
    return Reddit(Session(base, classify=classify, auth=auth, headers=_agent(client_id), rates=rates))


def _agent(client_id: str) -> dict[str, str]:
    """Reddit holds back agents that call themselves as many do."""
    return {"User-Agent": f"python:b2b-pipeline.{client_id}:v1"}


def _client(client_id: str, client_secret: str) -> dict[str, str]:
    return {"Authorization": basic(client_id, client_secret), **_agent(client_id)}


def _login(page: str) -> str:
    base = settings.base_url("reddit_ads", API)
    return f"{LOGIN if base == API else base}/api/v1/{page}"


def authorization() -> Authorization:
    """https://ads-api.reddit.com/docs/v3/authenticate-your-developer-application, which speaks of no proof key."""
    variables = ("REDDIT_ADS_CLIENT_ID", "REDDIT_ADS_CLIENT_SECRET", "REDDIT_ADS_REFRESH_TOKEN")
    asked = {"duration": "permanent"}  # else there is no refresh token
    pages = _login("authorize"), _login("access_token")
    return Authorization(*pages, ("adsread",), variables, asked, proves=False, headers=_client)


def accounts(client: Reddit, config: Config) -> Accounts:
    """The ad accounts of the user's businesses, or those that are configured. One that another business has shared is
    in no list: it is asked for where it is configured."""
    businesses = [quote(str(record["id"]), safe="") for record in client.listed("me/businesses")]
    found = {record["id"]: record for each in businesses for record in client.listed(f"businesses/{each}/ad_accounts")}
    chosen = config.sources["reddit_ads"]
    for name in (name for name in chosen.accounts if name not in found):
        with suppress(PermanentError):  # `choose` tells it
            answer = client.session.get(f"api/{VERSION}/ad_accounts/{quote(name, safe='')}")
            found[name] = _at(answer, ("data",), dict)
    listed = [_account(record) for record in found.values()]
    return choose(listed, chosen.accounts, "sources.reddit_ads.accounts", set(chosen.ended))


def _account(record: Record) -> Account | Skipped:
    """One that is suspended or banned still tells what it was."""
    if not record.get("currency") or not record.get("time_zone_id"):
        return Skipped(record["id"], "the account is not set up: it has no currency or time zone", closed=True)
    return Account(record["id"], record.get("name", ""), record["currency"], record["time_zone_id"])


def probe(client: Reddit, config: Config) -> list[Finding]:
    fix = "agree anew with `b2b connect reddit_ads`, as a member of the business with a role in the ad accounts"
    return probe_accounts(SOURCE, client, config, fix)


def _answered(breakdowns: tuple[str, ...]) -> Callable[[Config], tuple[str, ...]]:
    return lambda config: tuple(name.lower() for name in (*breakdowns, *METRICS))


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=31, kept=KEPT)

SOURCE = Source(
    name="reddit_ads",
    title="Reddit Ads",
    kind="ad",
    api_version=VERSION,
    streams=(
        Stream(
            "campaign_daily", "report",
            "One row per campaign and day of the account: cost, impressions, clicks and key conversions.",
            _report(OF_CAMPAIGN), day="date", policy=_DAILY, page_size=SIZE, feeds={"spend": rows.spend},
            asks=_answered(OF_CAMPAIGN),
        ),
        Stream(
            "account_daily", "report", "One row per day of the account, which the campaigns must add up to.",
            _report(OF_ACCOUNT), day="date", policy=_DAILY, page_size=SIZE, asks=_answered(OF_ACCOUNT),
        ),
        Stream(
            "campaign", "snapshot", "One row per campaign as it is now.", read_campaigns, day="",
            feeds={"campaign": rows.campaign}, asks=lambda config: CAMPAIGN,
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    control=Control("campaign_daily", "account_daily", ("spend", "clicks", "impressions"), {"spend": Decimal("0.5")}),
    environment={
        "REDDIT_ADS_CLIENT_ID": "app id of a developer application (ads.reddit.com > Business settings > Developer "
        "Applications), by an admin of the business, with the redirect http://localhost:8766/callback",
        "REDDIT_ADS_CLIENT_SECRET": "its secret",
        "REDDIT_ADS_REFRESH_TOKEN": "by `b2b connect reddit_ads`",
    },
    authorization=authorization,
    parallel=2,
)  # fmt: skip
