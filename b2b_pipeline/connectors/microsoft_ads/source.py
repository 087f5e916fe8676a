"""Microsoft Advertising: what each campaign cost and brought per day of its account, as Microsoft knows it today.

API v13 over REST. A report is a job: ordered, looked at until it is made, and downloaded as a zipped CSV file from an
address that is good for minutes. Facts from the official SDK (PyPI msads 13.0.30.1),
https://learn.microsoft.com/advertising/guides and answers that Airbyte's source-bing-ads recorded, read 2026-12-01.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import cache, partial
from importlib.resources import files
from itertools import count
from urllib.parse import urlsplit

import requests
import yaml

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import jobs
from b2b_pipeline.connectors.auth import OAuthToken
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
    Fatal,
    Outcome,
    Reauth,
    Session,
    Skip,
    Wait,
    by_status,
    json_or_none,
)
from b2b_pipeline.connectors.microsoft_ads import rows
from b2b_pipeline.connectors.rest import probe_accounts
from b2b_pipeline.errors import TransientError

LOGIN = "https://login.microsoftonline.com"
HOSTS = {
    "CustomerManagement": "https://clientcenter.api.bingads.microsoft.com",
    "CampaignManagement": "https://campaign.api.bingads.microsoft.com",
    "Reporting": "https://reporting.api.bingads.microsoft.com",
}
SCOPE = "https://ads.microsoft.com/msads.manage offline_access"
KEPT = timedelta(days=1095)  # 36 months, at the least (report-data-retention-time-periods)
RESTATE_DAYS = 30  # a conversion counts for the day of its click, by default for so long
CLOSED = ("Inactive",)  # the account was deleted
OF_ACCOUNT = ("TimePeriod", "AccountId", "CurrencyCode", "Impressions", "Clicks", "Spend")
OF_CAMPAIGN = (*OF_ACCOUNT, "CampaignId", "CampaignName", "CampaignType", "CampaignStatus", "ConversionsQualified",
               "Revenue")  # fmt: skip
TYPES = "Search,Shopping,DynamicSearchAds,Audience,Hotel,PerformanceMax,App"  # else only those of search are listed
CAMPAIGN = ("Id", "Name", "Status", "CampaignType")
LISTED = 1000  # accounts that one call gives
# https://learn.microsoft.com/advertising/guides/operation-error-codes
PASSING, THROTTLED, EXPIRED, NOT_ALLOWED = {0}, {117, 207}, {105, 109}, {106, 113, 116, 120, 1030}


@dataclass(frozen=True)
class Microsoft:
    """`customers`, `zones`: account -> the customer that it belongs to, and its time zone in Microsoft's words."""

    sessions: Mapping[str, Session]
    customers: dict[str, str] = field(default_factory=dict)
    zones: dict[str, str] = field(default_factory=dict)

    def ask(self, service: str, path: str, body: Record, account: str = "") -> Answer:
        about = {"CustomerAccountId": account, "CustomerId": self.customers[account]} if account else {}
        return self.sessions[service].post(f"{service}/v13/{path}", body, **about)


def classify(response: requests.Response) -> Outcome:
    """By the code of the first error in the body: throttling comes with status 400."""
    body = json_or_none(response)
    fault = body if isinstance(body, dict) else {}
    listed = [error for name in ("Errors", "OperationErrors", "BatchErrors") for error in fault.get(name) or ()]
    if not listed:
        return by_status(response)
    code = listed[0].get("Code")
    told = f"error {code} ({listed[0].get('ErrorCode') or 'unnamed'})"
    if code in THROTTLED:
        return Wait(60.0, told)
    if code in PASSING:
        return Wait(10.0, told)
    if code in EXPIRED:
        return Reauth(told)
    return Fatal(told, auth=code in NOT_ALLOWED)


def of_file(response: requests.Response) -> Outcome:
    """A report's address is good for minutes."""
    if response.status_code in (403, 404):
        return Skip("the address of the report is no longer good")
    return by_status(response)


# -- reading


def _report(kind: str, columns: tuple[str, ...]) -> Callable[[Microsoft, Account, Window], Iterator[Page]]:
    def fetch(client: Microsoft, account: Account, window: Window) -> Iterator[Page]:
        request = {
            "Type": f"{kind}ReportRequest", "ReportName": kind, "Format": "Csv", "FormatVersion": "2.0",
            "Aggregation": "Daily", "ReturnOnlyCompleteData": False, "ExcludeReportHeader": True,
            "ExcludeReportFooter": True, "ExcludeColumnHeaders": False, "Columns": list(columns),
            "Scope": {"AccountIds": [account.id]},
            "Time": {
                "CustomDateRangeStart": _day(window.start), "CustomDateRangeEnd": _day(window.end - timedelta(days=1)),
                "ReportTimeZone": client.zones[account.id],
            },
        }  # fmt: skip
        submit, poll = partial(_submit, client, account, request), partial(_poll, client, account)
        job = jobs.Job(f"Microsoft Advertising {kind}", submit, poll, _download)
        return jobs.read(job, jobs.Kept.of("microsoft_ads", [account.id, request], window.until))

    return fetch


def _submit(client: Microsoft, account: Account, request: Record) -> str:
    answer = client.ask("Reporting", "GenerateReport/Submit", {"ReportRequest": request}, account.id)
    return str(answer.json()["ReportRequestId"])


def _poll(client: Microsoft, account: Account, identifier: str) -> jobs.State:
    answer = client.ask("Reporting", "GenerateReport/Poll", {"ReportRequestId": identifier}, account.id)
    status = answer.json()["ReportRequestStatus"]
    match status["Status"]:
        case "Success":
            return jobs.Done(url=status.get("ReportDownloadUrl") or "")
        case "Error":
            return jobs.Failed(TransientError(f"Microsoft Advertising could not make report {identifier}"))
    return jobs.Running()


def _download(identifier: str, done: jobs.Done) -> Iterator[Page]:
    """Without an address the report has no rows."""
    if not done.url:
        yield Page(())
        return
    parts = urlsplit(done.url)
    answer = Session(f"{parts.scheme}://{parts.netloc}", classify=of_file).get(f"{parts.path}?{parts.query}")
    try:
        with (
            zipfile.ZipFile(io.BytesIO(answer.response.content)) as archive,
            archive.open(archive.namelist()[0]) as file,
        ):
            found = list(csv.DictReader(io.TextIOWrapper(file, "utf-8-sig", newline=""), strict=True))
    except (zipfile.BadZipFile, IndexError, UnicodeDecodeError, csv.Error) as error:
        raise TransientError(f"Microsoft Advertising report {identifier} is damaged: {type(error).__name__}") from None
    yield Page(found, answer.request)


def _day(day: date) -> dict[str, int]:
    return {"Day": day.day, "Month": day.month, "Year": day.year}


def read_campaigns(client: Microsoft, account: Account, window: Window | None) -> Iterator[Page]:
    asked = {"AccountId": account.id, "CampaignType": TYPES}
    answer = client.ask("CampaignManagement", "Campaigns/QueryByAccountId", asked, account.id)
    yield Page([{name: row.get(name) for name in CAMPAIGN} for row in answer.rows("Campaigns")], answer.request)


# -- who we are


def connect(config: Config) -> Microsoft:
    base = settings.base_url("microsoft_ads", "")
    form = {"grant_type": "refresh_token", "scope": SCOPE} | {
        name: settings.secret(f"MICROSOFT_ADS_{name.upper()}")
        for name in ("client_id", "client_secret", "refresh_token")
    }
    auth = OAuthToken(_login("token"), form, store=settings.credential_store("microsoft_ads"), lifetime=3600)
    headers = {"DeveloperToken": settings.secret("MICROSOFT_ADS_DEVELOPER_TOKEN")}
    sessions = {
        service: Session(base or host, classify=classify, auth=auth, headers=headers) for service, host in HOSTS.items()
    }
    return Microsoft(sessions)


def _login(page: str) -> str:
    return f"{settings.base_url('microsoft_ads', LOGIN)}/common/oauth2/v2.0/{page}"


def authorization() -> Authorization:
    """https://learn.microsoft.com/advertising/guides/authentication-oauth: an app registration of type Web."""
    variables = ("MICROSOFT_ADS_CLIENT_ID", "MICROSOFT_ADS_CLIENT_SECRET", "MICROSOFT_ADS_REFRESH_TOKEN")
    return Authorization(_login("authorize"), _login("token"), tuple(SCOPE.split()), variables)


def accounts(client: Microsoft, config: Config) -> Accounts:
    """The accounts that the user of the token has a role in, below whatever customer, or those that are configured."""
    user = client.ask("CustomerManagement", "User/Query", {"UserId": None}).json()["User"]["Id"]
    of_user = {"Field": "UserId", "Operator": "Equals", "Value": user}
    found = []
    for index in count():
        asked = {"Predicates": [of_user], "PageInfo": {"Index": index, "Size": LISTED}}
        listed = client.ask("CustomerManagement", "Accounts/Search", asked).rows("Accounts")
        found += [_account(client, record) for record in listed]
        if len(listed) < LISTED:
            break
    chosen = config.sources["microsoft_ads"]
    return choose(found, chosen.accounts, "sources.microsoft_ads.accounts", set(chosen.ended))


def _account(client: Microsoft, record: Record) -> Account | Skipped:
    identifier, status = record["Id"], record.get("AccountLifeCycleStatus")
    if status in CLOSED:
        return Skipped(identifier, f"the account is {status}", closed=True)
    if not record.get("CurrencyCode") or not record.get("TimeZone"):
        return Skipped(identifier, f"the account is {status} and has no currency or time zone", closed=True)
    client.customers[identifier] = record["ParentCustomerId"]
    client.zones[identifier] = record["TimeZone"]
    return Account(identifier, record.get("Name", ""), record["CurrencyCode"], _zones().get(record["TimeZone"]))


@cache
def _zones() -> Mapping[str, str]:
    text = files(__package__).joinpath("zones.yaml").read_text(encoding="utf-8")
    found: dict[str, str] = yaml.safe_load(text)
    return found


def probe(client: Microsoft, config: Config) -> list[Finding]:
    fix = "agree anew with `b2b connect microsoft_ads`, as a user with a role in the accounts"
    return probe_accounts(SOURCE, client, config, fix)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=92, kept=KEPT)

SOURCE = Source(
    name="microsoft_ads",
    title="Microsoft Advertising",
    kind="ad",
    api_version="v13",
    streams=(
        Stream(
            "campaign_daily", "report",
            "One row per campaign and day of the account: cost, impressions, clicks and conversions.",
            _report("CampaignPerformance", OF_CAMPAIGN), day="TimePeriod", policy=_DAILY, page_size=1_000_000,
            feeds={"spend": rows.spend}, asks=lambda config: OF_CAMPAIGN,
        ),
        Stream(
            "account_daily", "report", "One row per day of the account, which the campaigns must add up to.",
            _report("AccountPerformance", OF_ACCOUNT), day="TimePeriod", policy=_DAILY, page_size=1_000_000,
            asks=lambda config: OF_ACCOUNT,
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
    control=Control("campaign_daily", "account_daily", ("Spend", "Clicks", "Impressions"), {"Spend": Decimal("0.005")}),
    environment={
        "MICROSOFT_ADS_CLIENT_ID": "application id of an app registration (portal.azure.com), for accounts of any "
        "organization and personal ones, with the redirect http://localhost:8766/callback of type Web",
        "MICROSOFT_ADS_CLIENT_SECRET": "its client secret; it ends after two years at most",
        "MICROSOFT_ADS_DEVELOPER_TOKEN": "developer token (developers.ads.microsoft.com/Account), by a super admin",
        "MICROSOFT_ADS_REFRESH_TOKEN": "by `b2b connect microsoft_ads`; it ends when nobody reads for 90 days",
    },
    authorization=authorization,
    parallel=2,
    click_id="msclkid",
)  # fmt: skip
