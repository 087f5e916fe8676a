"""Google Ads: what each campaign cost and brought per day of its account, as far as Google knows today.

GAQL over the REST interface of the Google Ads API. Days are those of the account's own time zone and cannot be
converted; money is in micros of the account's currency; conversions are fractions and land on the day of the click, so
a day changes for as long as the account's conversion actions look back. Google keeps days for 37 months, since
2026-06-01 (https://developers.google.com/google-ads/api/docs/deprecations, read 2026-12-01).
Reference: https://developers.google.com/google-ads/api/rest/common/search
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from b2b_pipeline.configuration.settings import base_url
from b2b_pipeline.connectors import google
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
from b2b_pipeline.connectors.google_ads.rows import campaign, spend
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Wait,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.errors import AuthError, ConfigError, PipelineError, SkippedError, SplitError, TransientError
from b2b_pipeline.privacy import keep_secret

if TYPE_CHECKING:
    import requests

    from b2b_pipeline.configuration.config import Config

API = "https://googleads.googleapis.com"
VERSION = "v26"
CLOSED = {"CANCELED", "CLOSED", "SUSPENDED"}  # no ad of such an account is served
# Operations in 24 hours on production accounts by the Cloud project's level; a query is one whatever its pages.
# https://developers.google.com/google-ads/api/docs/api-policy/access-levels, read 2026-11-25
ACCESS = {"explorer": 2_880, "basic": 15_000, "standard": None}
LONGEST_LOOK_BACK = 90  # days that a conversion action may look back from a click
KEPT = timedelta(days=1124)  # 37 months, at the least
RESTATE_DAYS = 30  # recent cost and conversions are provisional even where conversion actions look back less

CAMPAIGN_DAILY = """
SELECT customer.id, customer.currency_code, customer.time_zone,
  campaign.id, campaign.name, campaign.status, campaign.advertising_channel_type, segments.date,
  metrics.cost_micros, metrics.impressions, metrics.clicks, metrics.interactions, metrics.engagements,
  metrics.video_trueview_views, metrics.conversions, metrics.conversions_value, metrics.all_conversions,
  metrics.view_through_conversions
FROM campaign WHERE {days}"""

ACCOUNT_DAILY = """
SELECT customer.id, customer.currency_code, customer.time_zone, segments.date,
  metrics.cost_micros, metrics.impressions, metrics.clicks
FROM customer WHERE {days}"""

CAMPAIGN = """
SELECT customer.id, campaign.id, campaign.name, campaign.status, campaign.advertising_channel_type
FROM campaign"""

CONVERSION_ACTION = """
SELECT customer.id, conversion_action.id, conversion_action.name, conversion_action.status, conversion_action.type,
  conversion_action.click_through_lookback_window_days, conversion_action.view_through_lookback_window_days
FROM conversion_action"""

CONVERSION_CUSTOMER = """
SELECT customer.id, customer.conversion_tracking_setting.google_ads_conversion_customer
FROM customer"""

CUSTOMER_CLIENT = """
SELECT customer_client.id, customer_client.descriptive_name, customer_client.manager, customer_client.status,
  customer_client.currency_code, customer_client.time_zone
FROM customer_client"""


# -- asking


@dataclass(frozen=True)
class Client:
    """The API as one user sees it: all below the account `login_customer_id`, else below each that the user reaches.

    `logins`: customer id -> the account by which it is reached, where that is not itself.
    """

    session: Session
    version: str
    login_customer_id: str
    logins: dict[str, str] = field(default_factory=dict)

    def roots(self) -> list[str]:
        """The accounts to start from."""
        if self.login_customer_id:
            return [self.login_customer_id]
        names = self.session.get(f"{self.version}/customers:listAccessibleCustomers").json().get("resourceNames", [])
        return sorted(name.removeprefix("customers/") for name in names)

    def search(self, customer_id: str, query: str) -> Iterator[Page]:
        """Every page of a query, at most 10,000 rows each, as it comes.

        Raises SplitError when a page token expires, TransientError when the rows are not as many as announced.
        """
        path = f"{self.version}/customers/{customer_id}/googleAds:search"
        question = {"query": " ".join(query.split()), "searchSettings": {"returnTotalResultsCount": True}}

        login = {"login-customer-id": self.logins.get(customer_id, self.login_customer_id or customer_id)}

        def ask(token: str | None) -> Answer:
            return self.session.post(path, question | ({"pageToken": token} if token else {}), **login)

        found, announced = 0, None
        for answer in follow(ask, lambda answer: answer.json().get("nextPageToken")):
            body = answer.json()
            if not body.keys() & {"results", "fieldMask"}:
                raise TransientError(f"{place(answer.response)}: neither rows nor a field mask in the answer")
            announced = body.get("totalResultsCount", announced)
            page = Page(body.get("results", []), answer.request)
            found += len(page.records)
            yield page
        if announced is not None and int(announced) != found:
            raise TransientError(f"{path}: {announced} rows announced, {found} received")

    def listed(self, customer_id: str, query: str) -> Iterator[Page]:
        """The same of a query without a window, of which there are no halves: it may be read again."""
        try:
            yield from self.search(customer_id, query)
        except SplitError as error:
            raise TransientError(f"{error}: it has to be read again") from None

    def rows(self, customer_id: str, query: str) -> Sequence[Record]:
        return [row for page in self.listed(customer_id, query) for row in page.records]


def connect(config: Config) -> Client:
    """The authenticated client. Raises AuthError when a credential is missing, ConfigError for a malformed setting."""
    access = config.sources["google_ads"].options.get("access", "explorer")
    if access not in ACCESS:
        raise ConfigError(f"sources.google_ads.options.access: {access!r} is none of {', '.join(ACCESS)}")
    login = os.environ.get("GOOGLE_ADS_LOGIN_CUSTOMER_ID", "").strip()
    headers = {}
    # Google has ignored developer tokens since 2026-09-09: the Cloud project of the client id says what may be called.
    if developer_token := os.environ.get("GOOGLE_ADS_DEVELOPER_TOKEN", "").strip():
        keep_secret(developer_token)
        headers["developer-token"] = developer_token
    base = base_url("google_ads", API)
    session = Session(base, classify=classify, auth=google.user("google_ads", API), headers=headers)
    return Client(session, SOURCE.version(config), _digits(login) if login else "")


def authorization() -> Authorization:
    return google.authorization("google_ads", API, "https://www.googleapis.com/auth/adwords")


def accounts(client: Client, config: Config) -> Accounts:
    """The client accounts that the user reaches, at whatever level, or those of them that the configuration lists.

    One that is closed, or half set up, is left out. Raises ConfigError for a listed account that is not there.
    """
    settings = config.sources["google_ads"]
    found: dict[str, Account | Skipped] = {}
    for root in client.roots():
        try:
            rows = client.rows(root, CUSTOMER_CLIENT)
        except SkippedError as error:
            if root == client.login_customer_id:
                raise AuthError(f"{error}: set GOOGLE_ADS_LOGIN_CUSTOMER_ID to an account that is in use") from None
            found.setdefault(root, Skipped(root, str(error), error.closed))
            continue
        for item in (row["customerClient"] for row in rows):
            client.logins.setdefault(item["id"], root)
            if not item.get("manager"):
                found.setdefault(item["id"], _account(item))
    wanted = [_digits(account) for account in settings.accounts]
    ended = {_digits(account) for account in settings.ended}
    return choose(list(found.values()), wanted, "sources.google_ads.accounts", ended)


def _account(item: Mapping[str, Any]) -> Account | Skipped:
    """A `customerClient`: one that is listed twice, below two managers, is the same."""
    status = item.get("status", "UNKNOWN")
    if status != "ENABLED":
        return Skipped(item["id"], f"the account is {status}", closed=status in CLOSED)
    if not item.get("currencyCode") or not item.get("timeZone"):
        return Skipped(item["id"], "the account is not set up: it has no currency or time zone", closed=True)
    return Account(item["id"], item.get("descriptiveName", ""), item["currencyCode"], item["timeZone"])


def restate_days(client: Client, account: Account) -> int:
    """How many trailing days may still change: the longest look-back of the enabled conversion actions, in days, at
    least 30. Actions may belong to a manager; of one that cannot be read the longest that Google allows is taken.
    """
    setting = client.rows(account.id, CONVERSION_CUSTOMER)[0]["customer"].get("conversionTrackingSetting", {})
    owner = str(setting.get("googleAdsConversionCustomer", "")).removeprefix("customers/")
    longest = max(RESTATE_DAYS, _look_back(client, account.id))
    if owner in ("", account.id):
        return longest
    try:
        return max(longest, _look_back(client, owner))
    except (AuthError, SkippedError):
        return LONGEST_LOOK_BACK


def _look_back(client: Client, customer: str) -> int:
    """The longest look-back of a customer's own enabled conversion actions, in days."""
    actions = [row["conversionAction"] for row in client.rows(customer, CONVERSION_ACTION)]
    enabled = [action for action in actions if action.get("status") == "ENABLED"]
    windows = [action.get(f"{kind}ThroughLookbackWindowDays", 0) for action in enabled for kind in ("click", "view")]
    return max(map(int, windows), default=0)


def probe(client: Client, config: Config) -> list[Finding]:
    """Which accounts can be read, by asking for yesterday's control totals of each."""
    findings = [
        Finding(False, f"sources.google_ads.fields.{name}: Google Ads has no custom fields", f"remove {name}")
        for name in config.sources["google_ads"].fields
    ]
    try:
        reachable = accounts(client, config)
    except PipelineError as error:
        fix = error.fix or "check the GOOGLE_ADS_ variables and the account list"
        return [*findings, Finding(False, f"Google Ads: {error}", fix)]
    if not reachable.read:
        what = f"Google Ads: no client account in use below {client.login_customer_id or 'any that the user reaches'}"
        return [*findings, Finding(False, what, "set GOOGLE_ADS_LOGIN_CUSTOMER_ID to the manager of your accounts")]
    for account in reachable.read:
        label = f"Google Ads {client.version}, account {account.id} ({account.currency}, {account.time_zone})"
        try:
            days = restate_days(client, account)
            client.rows(account.id, ACCOUNT_DAILY.format(days="segments.date DURING YESTERDAY"))
            findings.append(Finding(True, f"{label}: re-reads {days} days"))
        except SkippedError as error:
            fix = f"list the others under sources.google_ads.accounts, or give {account.id}'s last day under `ended`"
            findings.append(Finding(True, f"{label} is left out: {error}", fix, warning=True))
        except PipelineError as error:
            fix = error.fix or f"give the Google user of the refresh token read access to {account.id}"
            findings.append(Finding(False, f"{label}: {error}", fix))
    return findings


def _report(query: str) -> Callable[[Client, Account, Window], Iterator[Page]]:
    def fetch(client: Client, account: Account, window: Window) -> Iterator[Page]:
        return client.search(account.id, query.format(days=_between(window)))

    return fetch


def _snapshot(query: str) -> Callable[[Client, Account, Window], Iterator[Page]]:
    def fetch(client: Client, account: Account, window: Window) -> Iterator[Page]:
        return client.listed(account.id, query)

    return fetch


def _selected(query: str, config: Config) -> list[str]:
    """The fields that a query selects, as its answer spells them: `metrics.costMicros`."""
    names = query.partition("SELECT")[2].partition("FROM")[0].split(",")
    return [re.sub("_([a-z])", lambda found: found[1].upper(), name.strip()) for name in names]


def _between(window: Window) -> str:
    """The half-open window in GAQL, whose BETWEEN includes both days."""
    return f"segments.date BETWEEN '{window.start}' AND '{window.end - timedelta(days=1)}'"


def _digits(customer_id: str) -> str:
    """`123-456-7890`, as the Google Ads pages show it, as the API wants it. Raises ConfigError for anything else."""
    plain = customer_id.replace("-", "").strip()
    if not re.fullmatch(r"\d{1,19}", plain):
        raise ConfigError(f"Google Ads customer id {customer_id!r}: expected digits, such as 123-456-7890")
    return plain


# -- what an answer means

_TRY_A_NEW_TOKEN = {"", "AUTHENTICATION_ERROR", "OAUTH_TOKEN_EXPIRED", "OAUTH_TOKEN_INVALID"}
_TRANSIENT = {"INTERNAL_ERROR", "TRANSIENT_ERROR", "DEADLINE_EXCEEDED", "CONCURRENT_MODIFICATION"}
_QUOTA_WAIT = {  # seconds, where Google does not say
    "RESOURCE_EXHAUSTED": 60.0,
    "RESOURCE_TEMPORARILY_EXHAUSTED": 30.0,
    "EXCESSIVE_SHORT_TERM_QUERY_RESOURCE_CONSUMPTION": 300.0,
    "EXCESSIVE_LONG_TERM_QUERY_RESOURCE_CONSUMPTION": 1800.0,
}
_NOT_SERVED = "this version of the API is not served: set sources.google_ads.options.api_version"
_OTHER_VERSION = "set sources.google_ads.options.api_version to one that {}, or upgrade b2b-pipeline"


def classify(response: requests.Response) -> Outcome:
    """What Google says, by the error inside the body where there is one: it may come with status 200.

    Errors: https://developers.google.com/google-ads/api/docs/common-errors
    """
    body = json_or_none(response)
    failure = body.get("error") if isinstance(body, dict) else None
    if response.status_code == 200 and failure is None:
        return Ok() if isinstance(body, dict) else Wait(3, "not an answer of the API")
    failure = failure if isinstance(failure, dict) else {}
    status = int(failure.get("code") or response.status_code)
    error, code = _first_error(failure)
    asked = _retry_delay(failure, error)
    if code in _QUOTA_WAIT or status == 429:
        return wait_or_stop(asked or retry_after(response, _QUOTA_WAIT.get(code, 60.0)), code or "too many requests")
    if code == "CUSTOMER_NOT_ENABLED":
        return Skip("CUSTOMER_NOT_ENABLED: not yet enabled, or deactivated", closed=True)
    if code == "EXPIRED_PAGE_TOKEN":
        return Split(code)
    if code in _TRANSIENT or status >= 500:
        return wait_or_stop(asked or retry_after(response, 3), code or "server error")
    if status == 401 and code in _TRY_A_NEW_TOKEN:
        return Reauth(code or "UNAUTHENTICATED")
    if code == "UNSUPPORTED_VERSION" or (status == 404 and not failure):
        return Fatal(_NOT_SERVED, fix=_OTHER_VERSION.format("Google serves"))
    if code == "UNRECOGNIZED_FIELD":
        field = _unrecognized(error)
        why = f"{code}: {_version(response)} of the API has no {field or 'such field'}, no longer or not yet"
        return Fatal(why, fix=_OTHER_VERSION.format(f"has {field or 'it'}"))
    return Fatal(
        code or str(failure.get("status") or "refused"), auth=status in (401, 403) or code.startswith("DEVELOPER_TOKEN")
    )


def _first_error(failure: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The first error of a `google.rpc.Status`, and its code: of the Google Ads API, else of the platform before it."""
    details = [detail for detail in failure.get("details", []) if isinstance(detail, dict)]
    for detail in details:
        for error in detail.get("errors", []):
            return error, next(iter(error.get("errorCode", {}).values()), "")
    # ErrorInfo: an expired token is told by its status, everything else (a disabled API, a missing scope) by its reason
    reasons = [str(detail["reason"]) for detail in details if "reason" in detail and failure.get("code") != 401]
    return {}, next(iter(reasons), "")


def _unrecognized(error: Mapping[str, Any]) -> str:
    """The field of ours that Google does not know, of whose words nothing else is repeated."""
    named = re.search(r"'([a-z_]+(?:\.[a-z_]+)+)'", str(error.get("message", "")))
    return f"field {named[1]}" if named else ""


def _version(response: requests.Response) -> str:
    """The version that was asked, by the path of the question."""
    asked = re.search(r"/(v\d+)/", response.url or "")
    return asked[1] if asked else "this version"


def _retry_delay(failure: Mapping[str, Any], error: Mapping[str, Any]) -> float:
    """Seconds, 0 where nothing tells: the API tells them of a quota, the platform before it in a `RetryInfo`."""
    return google.retry_delay([error.get("details", {}).get("quotaErrorDetails", {}), *failure.get("details", [])])


SOURCE = Source(
    name="google_ads",
    title="Google Ads",
    kind="ad",
    api_version=VERSION,
    streams=(
        Stream(
            "campaign_daily",
            "report",
            "One row per campaign and day of the account: cost, impressions, clicks and conversions.",
            _report(CAMPAIGN_DAILY),
            day="segments.date",
            policy=WindowPolicy(restate_days=RESTATE_DAYS, max_days=31, kept=KEPT),  # a slice of it fits in memory
            page_size=10_000,
            feeds={"spend": spend},
            asks=partial(_selected, CAMPAIGN_DAILY),
        ),
        Stream(
            "account_daily",
            "report",
            "One row per day of the account: Google's own totals, which the campaigns must add up to.",
            _report(ACCOUNT_DAILY),
            day="segments.date",
            policy=WindowPolicy(restate_days=RESTATE_DAYS, kept=KEPT),
            page_size=10_000,
            asks=partial(_selected, ACCOUNT_DAILY),
        ),
        Stream(
            "campaign",
            "snapshot",
            "One row per campaign, removed ones too, as it is now.",
            _snapshot(CAMPAIGN),
            day="",
            feeds={"campaign": campaign},
            asks=partial(_selected, CAMPAIGN),
        ),
        Stream(
            "conversion_action",
            "snapshot",
            "One row per conversion action: how long after a click or a view it still counts a conversion.",
            _snapshot(CONVERSION_ACTION),
            day="",
            asks=partial(_selected, CONVERSION_ACTION),
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    restate_days=restate_days,
    control=Control("campaign_daily", "account_daily", ("metrics.costMicros", "metrics.clicks", "metrics.impressions")),
    environment={
        "GOOGLE_ADS_CLIENT_ID": "OAuth client (desktop app) of your Google Cloud project (APIs, Credentials) "
        "with the Google Ads API enabled and Explorer access or more (console.cloud.google.com/google/ads-apis)",
        "GOOGLE_ADS_CLIENT_SECRET": "its secret",
        "GOOGLE_ADS_REFRESH_TOKEN": "refresh token of a user who can read the accounts, scope "
        "https://www.googleapis.com/auth/adwords; with a consent screen in testing it ends after 7 days: publish it",
        "GOOGLE_ADS_LOGIN_CUSTOMER_ID": "customer id of your manager account; without it, all accounts that the user "
        "was invited to, and those below them",
        "GOOGLE_ADS_DEVELOPER_TOKEN": "developer token, where you still have one: Google ignores it since 2026-09-09",
    },
    optional=frozenset({"GOOGLE_ADS_LOGIN_CUSTOMER_ID", "GOOGLE_ADS_DEVELOPER_TOKEN"}),
    daily_calls=ACCESS,
    authorization=authorization,
    parallel=4,
    click_id="gclid",
    versions=r"v\d+",
)
