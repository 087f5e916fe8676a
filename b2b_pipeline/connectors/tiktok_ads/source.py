"""TikTok Ads: what each campaign cost and brought per day of its account, as TikTok knows it today.

Days are those of the account's time zone, which knows no daylight saving time; money is in its currency. A day changes
for 28 days after it, the longest that a click counts. Every answer has status 200: a code in it says what it is. A
report leaves out, and only a header tells, what an account has beyond 20,000 ads: then the account is not read.
Left out: TopView, GMV Max and Promote campaigns, which have reports or lists of their own. Whether the account's totals
hold them is not established; the check `reconciliation` would tell. Nor is whether a report of campaigns leaves out
what ads cost that were deleted in campaigns that are there. The app's secret goes in a URL where its accounts are asked
for, as TikTok wants it.
Facts from https://business-api.tiktok.com/portal/docs (API v1.3: 1740302848100353 reports, 1738864850353154 their FAQ,
1739315828649986 campaigns), https://ads.tiktok.com/help/article/time-zone, the official SDK (PyPI
tiktok-business-api-sdk-official 1.1.3: names of codes) and what public connectors recorded, read 2026-12-01.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken, asked_for_token
from b2b_pipeline.connectors.authorize import WAIT, Waiting, agreed
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
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Wait,
    by_status,
    json_or_none,
    place,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Numbered, probe_accounts
from b2b_pipeline.connectors.tiktok_ads import rows
from b2b_pipeline.errors import AuthError, ConfigError, SplitError, TransientError
from b2b_pipeline.privacy import keep_secret

API, VERSION = "https://business-api.tiktok.com", "v1.3"
RESTATE_DAYS = 28
# Of an app at the lowest level: https://business-api.tiktok.com/portal/docs/rate-limits/v1.3. Who asks more in a minute
# has to wait five; no header tells. Codes of a second's calls alone are others.
RATES, SUSPENDED = (Rate(10, 1), Rate(600, 60)), 300.0
THROTTLED, THROTTLED_SHORTLY = {40016, 40100, 61000}, {40132, 40133}
INFO_AT_ONCE = 100  # accounts: no limit is documented, all other lists of ids end there
REPORT = Numbered("data.list", "data.page_info.total_number", "dimensions", 1000)
LISTED = Numbered("data.list", "data.page_info.total_number", "campaign_id", 1000)
METRICS = ("spend", "impressions", "clicks")
CAMPAIGN = ("campaign_id", "campaign_name", "objective_type", "operation_status", "secondary_status", "create_time",
            "modify_time")  # fmt: skip
# Else campaigns that were deleted are left out, in a report with what they cost.
ALL_IN_REPORT = [{"field_name": "campaign_status", "filter_type": "IN", "filter_value": '["STATUS_ALL"]'}]
ALL_LISTED = {"primary_status": "STATUS_ALL", "buying_types": ["AUCTION", "RESERVATION_RF"]}
REFUSED = {40102, 40104, 40105}  # the token: ended, missing, wrong
FORBIDDEN = {40001, 40003, *range(40101, 40132)}  # permissions, the app, its owner
GONE = {40300, 40301}


@dataclass(frozen=True)
class TikTok:
    """`app`: how the app proves itself where its accounts are asked for. `counted`: metrics of conversions."""

    session: Session
    app: Mapping[str, str] = field(repr=False)
    counted: tuple[str, ...]

    def listed(self, path: str, **query: Any) -> list[Record]:
        """A list that has no pages."""
        data = self.session.get(f"open_api/{VERSION}/{path}/", query).json().get("data")
        found = data.get("list") if isinstance(data, dict) else None
        if not isinstance(found, list):
            raise TransientError(f"TikTok {path}: an answer without a list")
        return found


def classify(response: requests.Response) -> Outcome:
    """By the code inside the body, whatever the status; names of codes are in the SDK (tiktok_code.py)."""
    body = json_or_none(response)
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(code, int):
        return Wait(5.0, "no answer") if response.status_code == 200 else by_status(response)
    told = f"code {code}"
    if code == 0:
        if response.status_code == 200 and response.headers.get("X-Tt-Ads-Throttle"):
            return Skip("the account has 20,000 ads or more, and TikTok reports only the newest: land files of them")
        return by_status(response)
    if code in THROTTLED | THROTTLED_SHORTLY:
        return Wait(SUSPENDED if code in THROTTLED else 5.0, f"{told}: too many calls")
    if code == 40067:
        return Split(f"{told}: too much at once")
    if 50000 <= code < 61000 or response.status_code >= 500:
        return Wait(30.0, told)
    if code in REFUSED:
        return Reauth(f"{told}: the access token is no longer good")
    if code in GONE:
        return Skip(f"{told}: the account is not there any more")
    if code == 40002:
        fix = "see that sources.tiktok_ads.options.conversions names a metric of basic reports, or upgrade b2b-pipeline"
        return Fatal(f"{told}: a parameter is refused", fix=fix)
    return Fatal(told, auth=code in FORBIDDEN)


# -- reading


def _report(level: str, identifier: str) -> Callable[[TikTok, Account, Window], Iterator[Page]]:
    of_campaign = level == "CAMPAIGN"

    def fetch(client: TikTok, account: Account, window: Window) -> Iterator[Page]:
        last = window.end - timedelta(days=1)  # which is included
        metrics = [*METRICS, "campaign_name", *client.counted] if of_campaign else METRICS
        asked = {
            "advertiser_id": account.id, "report_type": "BASIC", "service_type": "AUCTION",
            "data_level": f"AUCTION_{level}", "dimensions": json.dumps([identifier, "stat_time_day"]),
            "metrics": json.dumps(metrics), "start_date": str(window.start), "end_date": str(last),
        } | ({"filtering": json.dumps(ALL_IN_REPORT)} if of_campaign else {})  # fmt: skip
        for page in REPORT.pages(client.session, f"open_api/{VERSION}/report/integrated/get/", **asked):
            yield Page([_dated(record) for record in page.records], page.request)

    return fetch


def _dated(record: Record) -> Record:
    """With its day as a date; a metric that TikTok has nothing of, which it writes as a dash, is not known."""
    day = (record.get("dimensions") or {}).get("stat_time_day")
    metrics = {name: None if value == "-" else value for name, value in (record.get("metrics") or {}).items()}
    return {**record, "metrics": metrics, "day": str(day or "")[:10]}


def read_campaigns(client: TikTok, account: Account, window: Window | None) -> Iterator[Page]:
    asked = {"advertiser_id": account.id, "fields": json.dumps(CAMPAIGN), "filtering": json.dumps(ALL_LISTED)}
    try:
        yield from LISTED.pages(client.session, f"open_api/{VERSION}/campaign/get/", **asked)
    except SplitError as error:  # it has no days, of which there were halves
        raise TransientError(f"{error}: it has to be read again") from None


# -- who we are


def connect(config: Config) -> TikTok:
    """With a token that has no end, unless the advertiser revokes it."""
    counted = rows.counted(config.sources["tiktok_ads"])
    if not re.fullmatch(r"[a-z0-9_]+", counted):
        raise ConfigError("sources.tiktok_ads.options.conversions: name one metric, such as complete_payment")
    auth = StaticToken(settings.secret("TIKTOK_ADS_ACCESS_TOKEN"), "Access-Token")
    app = {"app_id": settings.secret("TIKTOK_ADS_APP_ID"), "secret": settings.secret("TIKTOK_ADS_APP_SECRET")}
    base = settings.base_url("tiktok_ads", API)
    rates = RATES if base == API else ()  # they are those of TikTok's own host
    session = Session(base, classify=classify, auth=auth, rates=rates)
    return TikTok(session, app, tuple(filter(None, (counted, rows.VALUES.get(counted)))))


@dataclass(frozen=True)
class Login:
    """https://business-api.tiktok.com/portal/docs?id=1738373141733378: near to OAuth 2.0, in words of TikTok's own.

    The permissions are those of the app. Its redirect URLs may be on localhost, as public connectors register them."""

    base: str
    variables: tuple[str, ...] = ("TIKTOK_ADS_APP_ID", "TIKTOK_ADS_APP_SECRET", "TIKTOK_ADS_ACCESS_TOKEN")
    scopes: tuple[str, ...] = ()
    gives: str = "access_token"

    def agree(
        self, client_id: str, client_secret: str, port: int, show: Callable[[str], object], wait: float = WAIT
    ) -> tuple[str, ...]:
        keep_secret(client_secret)
        state = secrets.token_urlsafe(32)
        with Waiting(port) as server:
            asked = {"app_id": client_id, "state": state, "redirect_uri": server.address}
            show(f"{self.base}/portal/auth?{urlencode(asked)}")
            code = agreed(server.answer(state, wait), "auth_code")
        form = {"app_id": client_id, "secret": client_secret, "auth_code": code}
        response = asked_for_token(f"{self.base}/open_api/{VERSION}/oauth2/access_token/", json=form)
        outcome, body = classify(response), json_or_none(response)
        if isinstance(outcome, Wait):
            raise TransientError(f"{place(response)}: {outcome.reason}")
        data = body.get("data") if isinstance(outcome, Ok) and isinstance(body, dict) else None
        token = str(data.get("access_token") or "") if isinstance(data, dict) else ""
        if not token:
            told = getattr(outcome, "reason", "no access token in the answer")
            raise AuthError(f"{place(response)}: {told}: see the app's id and secret, and log in again")
        keep_secret(token)
        return (token,)


def authorization() -> Login:
    return Login(settings.base_url("tiktok_ads", API))


def accounts(client: TikTok, config: Config) -> Accounts:
    """The ad accounts that let the app in, or those of them that are configured. A suspended one still tells what it
    was."""
    ids = [str(record["advertiser_id"]) for record in client.listed("oauth2/advertiser/get", **client.app)]
    batches = [ids[at : at + INFO_AT_ONCE] for at in range(0, len(ids), INFO_AT_ONCE)]
    about = [info for some in batches for info in client.listed("advertiser/info", advertiser_ids=json.dumps(some))]
    by_id = {str(info["advertiser_id"]): _account(info) for info in about}
    found = [by_id.get(name) or Skipped(name, "TikTok tells nothing of the account") for name in ids]
    chosen = config.sources["tiktok_ads"]
    return choose(found, chosen.accounts, "sources.tiktok_ads.accounts", set(chosen.ended))


def _account(info: Record) -> Account | Skipped:
    """`timezone` is what days are of: `Etc/GMT+8` all year, where `display_timezone` is America/Los_Angeles."""
    identifier, zone = str(info["advertiser_id"]), str(info.get("timezone") or "")
    if info.get("advertiser_account_type") == "RESERVATION":
        return Skipped(identifier, "a reservation account: its reports come empty, whatever it spends")
    if not info.get("currency"):
        return Skipped(identifier, f"the account is {info.get('status')} and has no currency")
    try:
        ZoneInfo(zone)
    except (ValueError, OSError, KeyError):
        return Skipped(identifier, f"the account's time zone, {zone!r}, is none that is known")
    return Account(identifier, info.get("name") or "", info["currency"], zone)


def probe(client: TikTok, config: Config) -> list[Finding]:
    fix = (
        "give the app the permissions Ad Account Management, Ads Management and Reporting, and agree anew with "
        "`b2b connect tiktok_ads`, as the owner of the ad accounts"
    )
    return probe_accounts(SOURCE, client, config, fix)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=30)

SOURCE = Source(
    name="tiktok_ads",
    title="TikTok Ads",
    kind="ad",
    api_version=VERSION,
    streams=(
        Stream(
            "campaign_daily", "report",
            "One row per campaign and day of the account: cost, impressions, clicks and conversions.",
            _report("CAMPAIGN", "campaign_id"), day="day", policy=_DAILY, page_size=REPORT.size,
            feeds={"spend": rows.spend},
            asks=lambda config: [f"metrics.{name}" for name in (*METRICS, "campaign_name")],
        ),
        Stream(
            "account_daily", "report", "One row per day of the account, which the campaigns must add up to.",
            _report("ADVERTISER", "advertiser_id"), day="day", policy=_DAILY, page_size=REPORT.size,
            asks=lambda config: [f"metrics.{name}" for name in METRICS],
        ),
        Stream(
            "campaign", "snapshot", "One row per campaign, deleted ones too, as it is now.", read_campaigns, day="",
            feeds={"campaign": rows.campaign}, asks=lambda config: CAMPAIGN,
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    control=Control(
        "campaign_daily", "account_daily", tuple(f"metrics.{name}" for name in METRICS),
        {"metrics.spend": Decimal("0.005")},
    ),
    environment={
        "TIKTOK_ADS_APP_ID": "of your app (business-api.tiktok.com/portal > My Apps) with the permissions Ad Account "
        "Management, Ads Management and Reporting, and the advertiser redirect URL http://localhost:8766/callback",
        "TIKTOK_ADS_APP_SECRET": "its secret",
        "TIKTOK_ADS_ACCESS_TOKEN": "by `b2b connect tiktok_ads`, as the owner of the ad accounts: it does not end",
    },
    authorization=authorization,
    daily_calls=864_000,
    parallel=2,
    click_id="ttclid",
)  # fmt: skip
