"""Meta Ads (Facebook, Instagram): what each campaign cost and brought per day of its account, as Meta knows it today.

Days are those of the account's time zone, money is in its currency. A day changes for 28 days after it, and is kept for
37 months; a lead is kept for 90 days. The token goes in a header, never into a URL. Facts from the official SDK (PyPI
facebook-business 26.0.3), https://developers.facebook.com/docs/marketing-api/insights and
…/marketing-apis/rate-limiting, and what public connectors recorded, read 2026-12-01. Leads of forms in ads:
…/marketing-api/guides/lead-ads/retrieving.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import lead_ads
from b2b_pipeline.connectors.auth import StaticToken
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
    Fatal,
    Outcome,
    Reauth,
    Session,
    Split,
    Wait,
    by_status,
    json_or_none,
    wait_or_stop,
)
from b2b_pipeline.connectors.meta_ads import rows
from b2b_pipeline.connectors.rest import Listing, probe_accounts
from b2b_pipeline.errors import ConfigError, SplitError, TransientError

API = "https://graph.facebook.com"
VERSION = "v26.0"
KEPT = timedelta(days=1124)  # 37 months, at the least
RESTATE_DAYS = 28  # the longest that an action counts for an ad
# The token of the next page is there on the last one, too: what says that there is a next page is its address.
PAGED = Listing("data", "paging.cursors.after", more="paging.next", parameter="after", asked={"limit": 500})
STATUSES = ("ACTIVE", "ARCHIVED", "DELETED", "IN_PROCESS", "PAUSED", "WITH_ISSUES")  # else Meta leaves some out
METRICS = ("account_id", "account_currency", "spend", "impressions", "clicks", "inline_link_clicks", "actions",
           "action_values")  # fmt: skip
OF_CAMPAIGN = ("campaign_id", "campaign_name")
CAMPAIGN = ("id", "name", "status", "effective_status", "objective", "created_time", "updated_time")
# Of ads; of which ad a lead is, its own fields say only to who may advertise for the page.
AD_STATUSES = (
    "ACTIVE", "ADSET_PAUSED", "ARCHIVED", "CAMPAIGN_PAUSED", "DELETED", "DISAPPROVED", "IN_PROCESS", "PAUSED",
    "PENDING_BILLING_INFO", "PENDING_REVIEW", "PREAPPROVED", "WITH_ISSUES",
)  # fmt: skip
LEAD, LEADS_KEPT = ("id", "created_time", "form_id", "field_data"), timedelta(days=90)
ANSWERS = {"email": ("email", "work_email"), "company": ("company_name",)}  # what we keep -> names of questions
ACCOUNT = ("account_id", "name", "currency", "timezone_name")
# https://developers.facebook.com/docs/marketing-api/error-reference
THROTTLED = {4, 17, 32, 613, *range(80000, 80015)}
PASSING = {1, 2, 99, 104, 960}
TOO_MUCH = {1487534, 1504018, 1504038}  # data per call; the time of a report, which smaller days need less of
LOCKED = 2446079  # the account's calls are used up, for up to an hour


@dataclass(frozen=True)
class Meta:
    """`proof`: what every call is asked with where the app requires it of its tokens. `ads`: account -> its ads and
    their campaigns, listed once."""

    session: Session
    version: str
    proof: Mapping[str, str] = field(default_factory=dict)
    ads: dict[str, dict[str, str]] = field(default_factory=dict)

    def pages(self, path: str, **query: Any) -> Iterator[Page]:
        return PAGED.pages(self.session, f"{self.version}/{path}", **query, **self.proof)

    def listed(self, path: str, **query: Any) -> Iterator[Page]:
        """The same of what has no days, of which there are no halves: its pages are smaller, and it is read again."""
        try:
            yield from self.pages(path, limit=100, **query)
        except SplitError as error:
            raise TransientError(f"{error}: it has to be read again") from None


def classify(response: requests.Response) -> Outcome:
    """By the error inside the body, whatever the status: throttling comes with 400 or 403, passing trouble with 400."""
    body = json_or_none(response)
    error = body.get("error") if isinstance(body, dict) else None
    if not isinstance(error, dict):
        return by_status(response) if body is not None or response.status_code != 200 else Wait(5.0, "no answer")
    code, subcode = error.get("code"), error.get("error_subcode")
    told = f"error {code}" + (f", {subcode}" if subcode else "")
    if code in THROTTLED:
        return wait_or_stop(_regained(response) or (3600.0 if subcode == LOCKED else 300.0), told)
    if subcode in TOO_MUCH or "reduce the amount of data" in str(error.get("message")):
        return Split(f"{told}: too much at once")
    if code in PASSING or error.get("is_transient") or response.status_code >= 500:
        return Wait(10.0, told)
    if code in (102, 190):
        return Reauth(f"{told}: the access token is no longer good")
    if code == 2635:
        fix = "set sources.meta_ads.options.api_version to one that is served, or upgrade b2b-pipeline"
        return Fatal(f"{told}: this version of the API is not served any more", fix=fix)
    if code == 3018:
        return Fatal(f"{told}: Meta keeps 37 months", fix="read from a later day on: `b2b backfill --from DAY`")
    return Fatal(told, auth=code in (3, 10) or (isinstance(code, int) and 200 <= code < 300))


def _regained(response: requests.Response) -> float:
    """Seconds until calls are let through again, by the usage that comes with every answer; 0 where it is silent."""
    text = response.headers.get("x-business-use-case-usage", "")
    return max((60.0 * int(minutes) for minutes in re.findall(r'"estimated_time_to_regain_access":\s*(\d+)', text)),
               default=0.0)  # fmt: skip


# -- reading


def _report(level: str, *of: str) -> Callable[[Meta, Account, Window], Iterator[Page]]:
    def fetch(client: Meta, account: Account, window: Window) -> Iterator[Page]:
        last = window.end - timedelta(days=1)  # which is included
        return client.pages(
            f"act_{account.id}/insights", level=level, time_increment=1, fields=",".join([*of, *METRICS]),
            time_range=json.dumps({"since": str(window.start), "until": str(last)}),
            use_unified_attribution_setting="true",
            **({"filtering": _statuses("campaign.effective_status")} if of else {}),
        )  # fmt: skip

    return fetch


def read_campaigns(client: Meta, account: Account, window: Window | None) -> Iterator[Page]:
    return client.listed(
        f"act_{account.id}/campaigns", fields=",".join(CAMPAIGN), filtering=_statuses("effective_status")
    )


def _statuses(name: str, statuses: tuple[str, ...] = STATUSES) -> str:
    return json.dumps([{"field": name, "operator": "IN", "value": statuses}])


def read_leads(client: Meta, account: Account, window: Window) -> Iterator[Page]:
    """What people left in the forms of ads, ad by ad: a call for each ad that there ever was. All answers but two are
    dropped."""
    if account.id not in client.ads:
        statuses = _statuses("effective_status", AD_STATUSES)
        listed = client.listed(f"act_{account.id}/ads", fields="id,campaign_id", filtering=statuses)
        client.ads[account.id] = {ad["id"]: ad["campaign_id"] for page in listed for ad in page.records}
    begun = {"field": "time_created", "operator": "GREATER_THAN", "value": int(window.since.timestamp()) - 1}
    for ad, campaign in client.ads[account.id].items():
        for page in client.pages(f"{ad}/leads", fields=",".join(LEAD), filtering=json.dumps([begun])):
            found = [_lead(record, ad, campaign) for record in page.records]
            yield Page([each for each in found if _in(window, each["submitted_at"])], page.request)


def _in(window: Window, at: str) -> bool:
    return window.since <= datetime.fromisoformat(at) < window.until


def _lead(record: Record, ad: str, campaign: str) -> Record:
    given = {answer.get("name"): next(iter(answer.get("values") or ()), None) for answer in record["field_data"]}
    return {
        "id": record["id"], "submitted_at": record["created_time"], "form_id": record.get("form_id"),
        "form_name": None, "campaign_id": campaign, "ad_id": ad,
        **{name: next((given[word] for word in words if given.get(word)), None) for name, words in ANSWERS.items()},
    }  # fmt: skip


# -- who we are


def connect(config: Config) -> Meta:
    if "" in rows.conversions(config.sources["meta_ads"]):
        raise ConfigError("sources.meta_ads.options.conversions: name types of actions, such as lead")
    token = settings.secret("META_ADS_ACCESS_TOKEN")
    session = Session(settings.base_url("meta_ads", API), classify=classify, auth=StaticToken(token))
    proof = {}
    if os.environ.get("META_ADS_APP_SECRET"):
        digest = hmac.new(settings.secret("META_ADS_APP_SECRET").encode(), token.encode(), hashlib.sha256)
        proof = {"appsecret_proof": digest.hexdigest()}
    return Meta(session, SOURCE.version(config), proof)


def accounts(client: Meta, config: Config) -> Accounts:
    """The ad accounts that the user of the token has a role in, or those of them that are configured. A disabled or
    closed one still tells what it was."""
    listed = [record for page in client.listed("me/adaccounts", fields=",".join(ACCOUNT)) for record in page.records]
    chosen = config.sources["meta_ads"]
    wanted, ended = ([name.removeprefix("act_") for name in names] for names in (chosen.accounts, chosen.ended))
    return choose([_account(record) for record in listed], wanted, "sources.meta_ads.accounts", ended)


def _account(record: Record) -> Account | Skipped:
    identifier = record["account_id"]
    if not record.get("currency") or not record.get("timezone_name"):
        return Skipped(identifier, "the account is not set up: it has no currency or time zone", closed=True)
    return Account(identifier, record.get("name", ""), record["currency"], record["timezone_name"])


def probe(client: Meta, config: Config) -> list[Finding]:
    fix = (
        "give the system user of the token the ad accounts, and the token the permission ads_read; of the stream lead "
        "the pages too, with leads_retrieval, pages_read_engagement, pages_show_list, pages_manage_ads, ads_management"
    )
    found = probe_accounts(SOURCE, client, config, fix)
    if (asked := rows.conversions(config.sources["meta_ads"]) - rows.KNOWN) and all(finding.ok for finding in found):
        found += _never_named(client, config, asked)
    return found


def _never_named(client: Meta, config: Config, asked: set[str]) -> Iterator[Finding]:
    """Types of actions that are to be counted and that no account has had in all the time that Meta keeps."""
    seen: set[str] = set()
    for account in accounts(client, config).read:
        for page in client.pages(
            f"act_{account.id}/insights", level="account", date_preset="maximum", fields="actions"
        ):
            seen |= rows.named(record.get("actions") for record in page.records)
    for name in sorted(asked - seen):
        what = f"Meta Ads: no account ever had an action of the type {name}: conversions stay unknown"
        like = ", ".join(sorted(kind for kind in seen if "conversion" in kind or "lead" in kind)[:12]) or "none like it"
        fix = f"in sources.meta_ads.options.conversions name one that there is: {like}"
        yield Finding(False, what, fix)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=31, kept=KEPT)

SOURCE = Source(
    name="meta_ads",
    title="Meta Ads",
    kind="ad",
    api_version=VERSION,
    versions=r"v\d+\.0",
    streams=(
        Stream(
            "campaign_daily", "report",
            "One row per campaign and day of the account: cost, impressions, clicks and actions.",
            _report("campaign", *OF_CAMPAIGN), day="date_start", policy=_DAILY, page_size=500,
            feeds={"spend": rows.spend},
        ),
        Stream(
            "account_daily", "report", "One row per day of the account, which the campaigns must add up to.",
            _report("account"), day="date_start", policy=_DAILY, page_size=500,
        ),
        Stream(
            "campaign", "snapshot", "One row per campaign, archived and deleted ones too, as it is now.",
            read_campaigns, day="", feeds={"campaign": rows.campaign}, asks=lambda config: CAMPAIGN,
        ),
        Stream(
            "lead", "changes", "What people left in the forms of ads: when, in which, and a keyed hash of the address. "
            "Only where `streams` names it: it takes the permission leads_retrieval.",
            read_leads, day="submitted_at", page_size=500, personal=("email",), feeds=lead_ads.FEEDS,
            states=lead_ads.STATES, by_name=True,
            policy=WindowPolicy(overlap=timedelta(hours=1), settle=timedelta(minutes=5), kept=LEADS_KEPT),
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    control=Control("campaign_daily", "account_daily", ("spend", "clicks", "impressions"), {"spend": Decimal("0.005")}),
    environment={
        "META_ADS_ACCESS_TOKEN": "of a system user (Business settings > Users > System users > Generate token) with "
        "the permission ads_read, to whom the ad accounts are assigned: it does not end",
        "META_ADS_APP_SECRET": "the app's secret, where the app requires proof of it (App settings > Advanced)",
    },
    optional=frozenset({"META_ADS_APP_SECRET"}),
    parallel=2,
)  # fmt: skip
