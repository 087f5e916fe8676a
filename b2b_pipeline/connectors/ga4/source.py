"""Google Analytics 4: visits to each web property by day, in total, by source and campaign, and by landing page.

Days are those of the property's time zone. Google takes up to 48 hours to process one, and what devices send up to 72
hours later: so long a day is not called whole, and for 12 days it is read again, for credit may still change. Nor is a
day whole of which the answer says that it was sampled, that small rows were withheld (thresholding), that rows were
rolled up into "(other)", that a metric is withheld from this user, or that something was cut off; where it says so of
several days together, each is asked for alone. Of days before the property was made nothing is known. Google estimates
sessions and users (HyperLogLog++), so that those of all sources are not those of the property to the last one; page
views are counted, and are held against each other. Roll-up properties and subproperties hold the visits of others, and
are read only where `accounts` names them. Visits one by one are in the export to BigQuery, which `ga4_export` reads.
Facts from the discovery documents of the Data API v1beta (revision 20261006) and the Admin API v1beta (20261102),
https://developers.google.com/analytics/devguides/reporting/data/v1, https://support.google.com/analytics/answer/11198161
and https://developers.google.com/analytics/blog/2022/hll, read 2026-12-01; how quotas are worded from public connectors
(Airbyte). For how long credit may change no document that we could read says: 12 days are a guess on the safe side.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from itertools import chain
from typing import Any
from zoneinfo import ZoneInfo

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
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
from b2b_pipeline.connectors.ga4 import rows
from b2b_pipeline.connectors.http import Answer, Session, place
from b2b_pipeline.connectors.rest import Listing, probe_accounts
from b2b_pipeline.errors import PipelineError, TransientError

API, ADMIN = "https://analyticsdata.googleapis.com", "https://analyticsadmin.googleapis.com"
VERSION = "v1beta"
SCOPE = "https://www.googleapis.com/auth/analytics.readonly"
SIZE = 10_000  # rows of a page, as many as Google gives unasked: parsed, 80,000 took 360 MB; 250,000 at most
RESTATE_DAYS = 12
PROCESSED = timedelta(hours=72)
SUMMARIES = Listing(rows="accountSummaries", cursor="nextPageToken", parameter="pageToken", asked={"pageSize": 200})
ORDINARY = ("PROPERTY_TYPE_ORDINARY", "PROPERTY_TYPE_UNSPECIFIED", None)
COUNTS = ("sessions", "engagedSessions", "newUsers", "screenPageViews", "keyEvents", "userEngagementDuration")
OF_PROPERTY, WITH_USERS = ("date",), (*COUNTS, "totalUsers")
OF_SOURCE = ("date", "sessionSource", "sessionMedium", "sessionCampaignName")
OF_PAGE = ("date", "landingPage")


@dataclass(frozen=True)
class Client:
    """Reports, and what tells of properties: two APIs on hosts of their own, for the same credentials.

    made: property -> when it was made.
    """

    data: Session
    admin: Session
    made: dict[str, datetime] = field(default_factory=dict)

    def report(self, account: str, first: date, last: date, fields: tuple[tuple[str, ...], tuple[str, ...]],
               **more: Any) -> Iterator[tuple[list[Record], Answer]]:  # fmt: skip
        """Every page of the days from `first` to `last`: its rows, and the answer. Raises TransientError when they are
        not as many as announced."""
        dimensions, metrics = fields
        path, found = f"{VERSION}/properties/{account}:runReport", 0
        asked = {
            "dateRanges": [{"startDate": str(first), "endDate": str(last)}],
            "dimensions": [{"name": name} for name in dimensions], "metrics": [{"name": name} for name in metrics],
            "orderBys": [{"dimension": {"dimensionName": name}} for name in dimensions], "limit": str(SIZE), **more,
        }  # fmt: skip
        while True:
            answer = self.data.post(path, {**asked, "offset": str(found)})
            page = [*_rows(answer, fields)]
            found, total = found + len(page), int(answer.json().get("rowCount", 0))
            yield page, answer
            if not page or found >= total:
                break
        if found != total:
            raise TransientError(f"{place(answer.response)}: {total} rows announced, {found} received")


def _rows(answer: Answer, fields: tuple[tuple[str, ...], tuple[str, ...]]) -> Iterator[Record]:
    """The rows of an answer by name. Raises TransientError for columns that were not asked for."""
    body = answer.json()
    told = tuple(tuple(column.get("name") for column in body.get(f"{kind}Headers", [])) for kind in _KINDS)
    if told != fields:
        raise TransientError(f"{place(answer.response)}: an answer with the columns {told}")
    for row in body.get("rows", []):
        cells = [[cell.get("value", "") for cell in row.get(f"{kind}Values", [])] for kind in _KINDS]
        record = {
            name: cell for names, of in zip(fields, cells, strict=True) for name, cell in zip(names, of, strict=True)
        }
        yield {**record, "date": _iso(record["date"])}


_KINDS = ("dimension", "metric")


def _iso(day: str) -> str:
    """`20261130` as a day; what is none, such as "(other)", stays to be seen."""
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" if len(day) == 8 and day.isdecimal() else day


# -- reading


def _report(
    dimensions: tuple[str, ...], metrics: tuple[str, ...]
) -> Callable[[Client, Account, Window], Iterator[Page]]:
    fields = dimensions, metrics

    def fetch(client: Client, account: Account, window: Window) -> Iterator[Page]:
        last, days = window.end - timedelta(days=1), window.days()
        pages = client.report(account.id, window.start, last, fields)
        records, answer = next(pages)
        if len(days) > 1 and _doubts(answer, days):
            asked = [([day], client.report(account.id, day, day, fields)) for day in days]
        else:
            asked = [(days, chain([(records, answer)], pages))]
        for of, found in asked:
            for records, answer in found:
                doubts = _by_time(client, account, of) | _by_rows(records, dimensions) | _doubts(answer, of)
                yield Page(records, answer.request, doubts)

    return fetch


def _by_time(client: Client, account: Account, days: Iterable[date]) -> dict[str, str]:
    """The days that were not over 72 hours ago, where the property is, and those on which it was not there yet."""
    zone, now, found = ZoneInfo(account.time_zone or "UTC"), datetime.now(UTC), {}
    for day in days:
        begins, ends = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(days=1)))
        if ends + PROCESSED > now:
            found[day.isoformat()] = "Google may still be processing it: it takes up to 72 hours"
        elif account.id in client.made and begins < client.made[account.id]:
            found[day.isoformat()] = f"the property was made on {client.made[account.id].astimezone(zone).date()}"
    return found


def _by_rows(records: Iterable[Record], dimensions: Iterable[str]) -> dict[str, str]:
    """The days with a row of others, whether the answer says so or not."""
    return {record["date"]: _OTHER for record in records if "(other)" in [record[name] for name in dimensions]}


_OTHER = 'Google rolled rows of it up into "(other)"'


def _doubts(answer: Answer, days: Iterable[date]) -> dict[str, str]:
    """Day -> what Google says that its figures lack."""
    about = answer.json().get("metadata", {})
    whole = [
        f"Google sampled it: {each.get('samplesReadCount')} of {each.get('samplingSpaceSize')} events were read"
        for each in about.get("samplingMetadatas", [])
    ]
    whole += ["Google may have withheld small rows of it (thresholding)"] if about.get("subjectToThresholding") else []
    whole += [_OTHER] if about.get("dataLossFromOtherRow") else []
    whole += [f"Google says that it is empty: {about['emptyReason']}"] if about.get("emptyReason") else []
    withheld = about.get("schemaRestrictionResponse", {}).get("activeMetricRestrictions", [])
    whole += [f"Google withholds {each.get('metricName')} from this user" for each in withheld]
    found = {}
    for day in days:
        cut = [
            f"Google cut it off: {each.get('dataTruncationType')}"
            for each in about.get("dataTruncationReasons", [])
            if _is_cut(each, day.isoformat())
        ]
        if told := [*whole, *cut]:
            found[day.isoformat()] = "; ".join(told)
    return found


def _is_cut(reason: Mapping[str, Any], day: str) -> bool:
    """Days before a date are, or those of ranges; of a reason that tells neither, all."""
    spans = reason.get("dataTruncationDateRanges", [])
    before = reason.get("dataTruncationDate")
    in_span = any(span.get("startDate", "") <= day <= span.get("endDate", "9") for span in spans)
    return in_span or (day < before if before else not spans)


# -- who we are


def connect(config: Config) -> Client:
    base = settings.base_url("ga4", API)
    auth = google.user_or_service_account("ga4", API, [SCOPE])
    hosts = (base, ADMIN if base == API else base)
    data, admin = (Session(host, classify=classify, auth=auth) for host in hosts)
    return Client(data, admin)


def authorization() -> Authorization:
    return google.authorization("ga4", API, SCOPE)


classify = google.classify


def accounts(client: Client, config: Config) -> Accounts:
    """The properties that the credentials reach, or those that are configured. Of a property that holds the visits of
    others only the latter."""
    chosen = config.sources["ga4"]
    found: list[Account | Skipped] = []
    for summary in SUMMARIES.records(client.admin, f"{VERSION}/accountSummaries"):
        for item in summary.get("propertySummaries", []):
            name = item["property"].removeprefix("properties/")
            if name in chosen.accounts or (not chosen.accounts and item.get("propertyType") in ORDINARY):
                told = client.admin.get(f"{VERSION}/{item['property']}").json()
                if told.get("createTime"):
                    client.made[name] = datetime.fromisoformat(told["createTime"])
                found.append(_account(name, told))
    return choose(found, chosen.accounts, "sources.ga4.accounts", set(chosen.ended))


def _account(name: str, told: Record) -> Account | Skipped:
    if told.get("deleteTime"):
        return Skipped(name, "the property is in the bin", closed=True)
    if not told.get("timeZone"):
        return Skipped(name, "the property has no time zone")
    return Account(name, told.get("displayName", ""), told.get("currencyCode"), told["timeZone"])


def probe(client: Client, config: Config) -> list[Finding]:
    """Which properties can be read, and what is left of their quotas."""
    fix = "give the user, or the service account's address, the role Viewer in the property (Admin > Access management)"
    found = probe_accounts(SOURCE, client, config, fix)
    if all(finding.ok for finding in found):
        for account in accounts(client, config).read:
            found.append(_quota(client, account, fix))
    return found


def _quota(client: Client, account: Account, fix: str) -> Finding:
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    fields = (("date",), ("sessions",))
    try:
        _, answer = next(client.report(account.id, yesterday, yesterday, fields, returnPropertyQuota=True))
    except PipelineError as error:
        return Finding(False, f"Google Analytics, property {account.id}: {error}", error.fix or fix)
    left = {name: of.get("remaining", 0) for name, of in answer.json().get("propertyQuota", {}).items()}
    day, hour = (f"{left.get(name, 0):,}" for name in ("tokensPerDay", "tokensPerProjectPerHour"))
    return Finding(
        True, f"Google Analytics, property {account.id}: {day} tokens are left of the day, {hour} of the hour"
    )


def _asked(dimensions: tuple[str, ...], metrics: tuple[str, ...]) -> Callable[[Config], tuple[str, ...]]:
    return lambda config: (*dimensions, *metrics)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=31)

SOURCE = Source(
    name="ga4",
    title="Google Analytics",
    kind="web",
    api_version=VERSION,
    streams=(
        Stream(
            "property_daily", "report", "One row per day of the property: its visits and visitors.",
            _report(OF_PROPERTY, WITH_USERS), day="date", policy=_DAILY, page_size=SIZE, level="property",
            feeds={"web_traffic_daily": rows.of_property}, asks=_asked(OF_PROPERTY, WITH_USERS),
        ),
        Stream(
            "source_daily", "report", "One row per source, medium, campaign and day of the property.",
            _report(OF_SOURCE, COUNTS), day="date", policy=_DAILY, page_size=SIZE, level="source",
            feeds={"web_traffic_daily": rows.of_source}, asks=_asked(OF_SOURCE, COUNTS),
        ),
        Stream(
            "landing_page_daily", "report", "One row per page that visits began on, and day of the property.",
            _report(OF_PAGE, COUNTS), day="date", policy=_DAILY, page_size=SIZE, level="landing_page",
            feeds={"web_traffic_daily": rows.of_landing_page}, asks=_asked(OF_PAGE, COUNTS),
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    control=Control("source_daily", "property_daily", ("screenPageViews",)),
    environment=google.environment(
        "GA4", "Google Analytics Data API and the Google Analytics Admin API", SCOPE,
        "to each property (Admin > Property access management, role Viewer)",
    ),
    optional=frozenset({"GA4_CLIENT_ID", "GA4_CLIENT_SECRET", "GA4_REFRESH_TOKEN", "GA4_SERVICE_ACCOUNT"}),
    authorization=authorization,
    parallel=2,
)  # fmt: skip
