"""LinkedIn Ads: what each campaign cost and brought per day in UTC, as far as LinkedIn knows today.

Reports have no pages: an answer holds at most 15,000 rows, and what is more is left out without a word, so a window
with so many is halved. Who may not read an account gets an empty report, no error: only accounts that LinkedIn lists
for the member of the token are asked for. Facts from
https://learn.microsoft.com/linkedin/marketing/integrations/ads-reporting/ads-reporting (version 2026-03), the official
client (PyPI linkedin-api-client 0.3.0) and answers that public connectors recorded, read 2026-12-01. Leads of forms
in ads: …/marketing/lead-sync/leadsync (2026-05) and LinkedIn's public collection of requests for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from urllib.parse import quote

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import lead_ads, linkedin
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
from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.linkedin_ads import rows
from b2b_pipeline.connectors.rest import Listing, Offsets, probe_accounts
from b2b_pipeline.errors import PipelineError, SplitError, TransientError

MOST = 15_000  # rows of a report
LISTED = Listing("elements", "metadata.nextPageToken", parameter="pageToken", asked={"q": "search", "pageSize": 1000})
CONVERSIONS = Offsets("elements", 100, start="start", count="count")
METRICS = (
    "impressions", "clicks", "costInLocalCurrency", "externalWebsiteConversions", "conversionValueInLocalCurrency",
)  # fmt: skip
CAMPAIGN = (
    "id", "name", "campaignGroup", "status", "type", "objectiveType", "costType", "runSchedule.start",
    "changeAuditStamps.lastModified.time",
)  # fmt: skip
LEADS, LEADS_KEPT = 100, timedelta(days=365)  # of a page; for how long
LEAD = (
    "id,submittedAt,testLead,leadMetadata,associatedEntity,versionedLeadGenFormUrn,formResponse,form:(id,name,content)"
)
ANSWERS = {"email": ("WORK_EMAIL", "EMAIL"), "company": ("COMPANY_NAME",)}  # what we keep -> predefined questions
RESTATE_DAYS, LONGEST_LOOK_BACK = 30, 365  # days; the latter is the longest that LinkedIn lets a conversion look back


@dataclass(frozen=True)
class LinkedIn:
    """`names`: account -> its campaigns' names by id, listed once."""

    session: Session
    names: dict[str, dict[str, str]] = field(default_factory=dict)


classify = partial(linkedin.classify, "linkedin_ads")


# -- reading


def _report(pivot: str) -> Callable[[LinkedIn, Account, Window], Iterator[Page]]:
    def fetch(client: LinkedIn, account: Account, window: Window) -> Iterator[Page]:
        names = _names(client, account) if pivot == "CAMPAIGN" else {}
        days = f"(start:{_day(window.start)},end:{_day(window.end - timedelta(days=1))})"
        # Written out: its parentheses, colons and commas must arrive as they are, those of a URN must not.
        answer = client.session.get(
            f"rest/adAnalytics?q=analytics&pivot={pivot}&timeGranularity=DAILY&dateRange={days}"
            f"&accounts=List({quote(_urn(account), safe='')})&fields=dateRange,pivotValues,{','.join(METRICS)}"
        )
        found = answer.rows("elements")
        if len(found) >= MOST:
            raise SplitError(f"LinkedIn account {account.id}: {window.start} to {window.end} are {MOST} rows or more")
        yield Page([_dated(record, names) for record in found], answer.request)

    return fetch


def _dated(record: Record, names: Mapping[str, str]) -> Record:
    """With its day as a date, and of a campaign's row whose it is."""
    start = record["dateRange"]["start"]
    ids = [urn.rpartition(":")[2] for urn in record["pivotValues"] if ":sponsoredCampaign:" in urn]
    of = {"campaign": ids[0], "campaignName": names.get(ids[0])} if ids else {}
    return {**record, **of, "day": date(start["year"], start["month"], start["day"]).isoformat()}


def _names(client: LinkedIn, account: Account) -> dict[str, str]:
    if account.id not in client.names:
        listed = [record for page in read_campaigns(client, account, None) for record in page.records]
        client.names[account.id] = {str(record["id"]): record["name"] for record in listed}
    return client.names[account.id]


def read_campaigns(client: LinkedIn, account: Account, window: Window | None) -> Iterator[Page]:
    fields = ",".join(path.partition(".")[0] for path in CAMPAIGN)  # its commas must arrive as they are
    return LISTED.pages(client.session, f"rest/adAccounts/{account.id}/adCampaigns?fields={fields}")


def read_leads(client: LinkedIn, account: Account, window: Window) -> Iterator[Page]:
    """What people left in the forms of ads, newest first; test leads are left out, and all answers but two."""
    owner = f"(sponsoredAccount:{quote(_urn(account), safe='')})"
    span = f"(start:{int(window.since.timestamp() * 1000)},end:{int(window.until.timestamp() * 1000)})"
    path = (
        f"rest/leadFormResponses?q=owner&owner={owner}&leadType=(leadType:SPONSORED)&limitedToTestLeads=false"
        f"&submittedAtTimeRange={span}&fields={LEAD}"
    )
    start, total = 0, None
    while total is None or start < total:
        answer = client.session.get(f"{path}&count={LEADS}&start={start}")
        found, total = answer.rows("elements"), answer.json().get("paging", {}).get("total")
        if total is None or (not found and start < total):
            raise TransientError(f"LinkedIn leads of account {account.id}: {start} of {total} came")
        start += len(found)
        yield Page([_lead(record) for record in found if not record.get("testLead")], answer.request)


def _lead(record: Record) -> Record:
    form = record.get("form") or {}
    questions = (form.get("content") or {}).get("questions") or ()
    asked = {each["questionId"]: each.get("predefinedField") for each in questions}
    given: dict[str | None, str | None] = {}
    for answer in (record.get("formResponse") or {}).get("answers") or ():
        details = (answer.get("answerDetails") or {}).get("textQuestionAnswer") or {}
        given[asked.get(answer["questionId"])] = details.get("answer")
    sponsored = (record.get("leadMetadata") or {}).get("sponsoredLeadMetadata") or {}
    creative = (record.get("associatedEntity") or {}).get("associatedCreative")
    return {
        "id": record["id"], "submitted_at": record["submittedAt"], "form_id": form.get("id"),
        "form_name": form.get("name"), "campaign_id": _number(sponsored.get("campaign")), "ad_id": _number(creative),
        **{name: next((given[word] for word in words if given.get(word)), None) for name, words in ANSWERS.items()},
    }  # fmt: skip


def _number(urn: str | None) -> str | None:
    return urn.rpartition(":")[2] if urn else None


def _urn(account: Account) -> str:
    return f"urn:li:sponsoredAccount:{account.id}"


def _day(day: date) -> str:
    return f"(year:{day.year},month:{day.month},day:{day.day})"


def restate_days(client: LinkedIn, account: Account) -> int:
    """How many trailing days may still change: as long as the account's enabled conversions look back, at least 30.

    Where that cannot be read, which is no reason to go without the report, as long as LinkedIn allows.
    """
    rules = CONVERSIONS.records(client.session, "rest/conversions", q="account", account=_urn(account))
    sizes = ("postClickAttributionWindowSize", "viewThroughAttributionWindowSize")
    try:
        enabled = [rule for rule in rules if rule.get("enabled")]
    except PipelineError:
        return LONGEST_LOOK_BACK
    return max([RESTATE_DAYS, *(int(rule.get(size, LONGEST_LOOK_BACK)) for rule in enabled for size in sizes)])


# -- who we are


def connect(config: Config) -> LinkedIn:
    return LinkedIn(linkedin.session("linkedin_ads", SOURCE.version(config)))


def authorization() -> Authorization:
    return linkedin.authorization("linkedin_ads", ("r_ads", "r_ads_reporting"))


def accounts(client: LinkedIn, config: Config) -> Accounts:
    """The accounts that the member of the token has a role in, or those of them that are configured."""
    found = [_account(record) for record in LISTED.records(client.session, "rest/adAccounts")]
    chosen = config.sources["linkedin_ads"]
    return choose(found, chosen.accounts, "sources.linkedin_ads.accounts", set(chosen.ended))


def _account(record: Record) -> Account | Skipped:
    identifier, status = str(record["id"]), record.get("status", "UNKNOWN")
    if record.get("test"):
        return Skipped(identifier, "a test account: no ad of it is served", closed=True)
    if status in rows.DELETED:
        return Skipped(identifier, f"the account is {status}", closed=True)
    if not record.get("currency"):
        return Skipped(identifier, f"the account is {status} and has no currency", closed=True)
    return Account(identifier, record.get("name", ""), record["currency"], "UTC")


def probe(client: LinkedIn, config: Config) -> list[Finding]:
    fix = (
        "agree anew with `b2b connect linkedin_ads`, as a member with a role in the ad accounts: the scopes r_ads and "
        "r_ads_reporting are needed; of the stream lead with `--scope r_marketing_leadgen_automation`"
    )
    return probe_accounts(SOURCE, client, config, fix)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=31)

SOURCE = Source(
    name="linkedin_ads",
    title="LinkedIn Ads",
    kind="ad",
    api_version=linkedin.VERSION,
    sunset=linkedin.SUNSET,
    versions=linkedin.VERSIONS,
    streams=(
        Stream(
            "campaign_daily", "report", "One row per campaign and day: cost, impressions, clicks and conversions.",
            _report("CAMPAIGN"), day="day", policy=_DAILY, page_size=MOST, feeds={"spend": rows.spend},
            asks=lambda config: METRICS,
        ),
        Stream(
            "account_daily", "report", "One row per day of the account, which the campaigns must add up to.",
            _report("ACCOUNT"), day="day", policy=_DAILY, page_size=MOST, asks=lambda config: METRICS,
        ),
        Stream(
            "campaign", "snapshot", "One row per campaign as it is now.", read_campaigns, day="",
            feeds={"campaign": rows.campaign}, asks=lambda config: CAMPAIGN,
        ),
        Stream(
            "lead", "changes", "What people left in the forms of ads: when, in which, and a keyed hash of the address. "
            "Only where `streams` names it: it takes LinkedIn's product Lead Sync API.",
            read_leads, day="submitted_at", page_size=LEADS, personal=("email",), feeds=lead_ads.FEEDS,
            states=lead_ads.STATES, by_name=True,
            policy=WindowPolicy(
                overlap=timedelta(hours=1), settle=timedelta(minutes=5), max_days=90, kept=LEADS_KEPT
            ),
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    restate_days=restate_days,
    control=Control(
        "campaign_daily", "account_daily", ("costInLocalCurrency", "clicks", "impressions"),
        {"costInLocalCurrency": Decimal("1e-6")},
    ),
    environment={
        "LINKEDIN_ADS_CLIENT_ID": "your app's (linkedin.com/developers/apps) with the product Advertising API",
        "LINKEDIN_ADS_CLIENT_SECRET": "its secret",
        "LINKEDIN_ADS_REFRESH_TOKEN": "by `b2b connect linkedin_ads`, if LinkedIn lets the app have refresh tokens; it "
        "ends after a year",
        "LINKEDIN_ADS_ACCESS_TOKEN": "in place of these three: a token with r_ads and r_ads_reporting from "
        "linkedin.com/developers/tools/oauth (for leads with r_marketing_leadgen_automation); it ends after 60 days",
    },
    optional=frozenset({
        "LINKEDIN_ADS_CLIENT_ID", "LINKEDIN_ADS_CLIENT_SECRET", "LINKEDIN_ADS_REFRESH_TOKEN",
        "LINKEDIN_ADS_ACCESS_TOKEN",
    }),
    authorization=authorization,
    parallel=2,
    click_id="li_fat_id",
)  # fmt: skip
