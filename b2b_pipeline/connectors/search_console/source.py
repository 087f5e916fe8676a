"""Google Search Console: how often each site was shown and clicked on Google's results, by day, query and page.

Days are Pacific time's, whatever the site. The newest ones are still being counted: Google says from which day on
(`firstIncompleteDate`), and those are not called whole; where it does not say, the last three are not, nor one of the
last five days of which nothing is told yet. Google keeps 16 months: of days before them nothing is known. Queries that
few people asked are told of nobody, so that those that are told add up to less than the site, and of a day there are at
most 50,000 rows; totals are asked for apart. Only results of the web search are read. A property that lies within
another one would count twice: it is read only where `accounts` names it.
Facts from the discovery document of the API v1 (revision 20260805), https://developers.google.com/webmaster-tools/v1
(searchanalytics, how-tos/all-your-data) and https://developers.google.com/webmaster-tools/limits, read 2026-12-01. That
16 months are kept is what Google's help says of the reports.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import quote, urlsplit

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import google
from b2b_pipeline.connectors.authorize import Authorization
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
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
from b2b_pipeline.connectors.http import Answer, Session, place
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import probe_accounts
from b2b_pipeline.connectors.search_console import rows
from b2b_pipeline.errors import TransientError

API = "https://searchconsole.googleapis.com"
PATH, VERSION = "webmasters/v3", "v3"
SCOPE = "https://www.googleapis.com/auth/webmasters.readonly"
ZONE = "America/Los_Angeles"
SIZE = 25_000  # rows of a page, the most
OF_A_DAY = 50_000  # rows of a day, the most that are told
RATES = (Rate(1200, 60),)
SETTLING = 3  # days, today among them, that are still being counted where Google does not say
RESTATE_DAYS = 4
KEPT_MONTHS = 16
COUNTS = ("clicks", "impressions", "position")


# -- reading


def _report(*by: str) -> Callable[[Session, Account, Window], Iterator[Page]]:
    """By day, and what else. Of queries and pages each day is asked for alone: so Google tells the most of them."""
    names = ("date", *by)

    def fetch(session: Session, account: Account, window: Window) -> Iterator[Page]:
        days = window.days()
        for of in [[day] for day in days] if by else [days]:
            told, found, since = set[str](), 0, ""
            for page, answer in _pages(session, account, of, names):
                told |= {record["date"] for record in page}
                found += len(page)
                since = since or _first_incomplete(answer.json().get("metadata", {}))
                yield Page(page, answer.request)
            doubts = _doubts(since, of, told)
            if by and found >= OF_A_DAY:
                doubts |= dict.fromkeys(map(str, of), f"Google tells no more than {OF_A_DAY:,} rows of a day")
            yield Page([], "", doubts)

    return fetch


def _pages(
    session: Session, account: Account, days: list[date], names: tuple[str, ...]
) -> Iterator[tuple[list[Record], Answer]]:
    """Until a page without rows, as Google says. Raises TransientError for one that is the one before once more."""
    asked = {
        "startDate": str(days[0]), "endDate": str(days[-1]), "dimensions": [*names],
        "type": "web", "dataState": "all", "rowLimit": SIZE,
    }  # fmt: skip
    start, before = 0, None
    while True:
        path = f"{PATH}/sites/{quote(account.id, safe='')}/searchAnalytics/query"
        answer = session.post(path, {**asked, "startRow": start})
        page = [_record(answer, row, names) for row in answer.json().get("rows", [])]
        if page and page == before:
            raise TransientError(f"{place(answer.response)}: the page from {start} on is the one before it")
        yield page, answer
        start, before = start + len(page), page
        if not page:
            return


def _record(answer: Answer, row: Record, names: tuple[str, ...]) -> Record:
    keys = row.get("keys", [])
    if len(keys) != len(names):
        raise TransientError(f"{place(answer.response)}: a row with {len(keys)} keys, {len(names)} were asked for")
    return {**dict(zip(names, keys, strict=True)), **{name: row.get(name) for name in COUNTS}}


def _first_incomplete(about: Record) -> str:
    """The document and recorded answers spell it in one way, the page of the reference in another."""
    return str(about.get("firstIncompleteDate") or about.get("first_incomplete_date") or "")


def _doubts(since: str, days: Iterable[date], told: set[str]) -> dict[str, str]:
    """Day -> why it is not whole. `since`: what Google says of it; `told`: the days of which there are rows."""
    today = datetime.now(UTC).astimezone(google.PACIFIC).date()
    month = today.year * 12 + today.month - 1 - KEPT_MONTHS
    kept = date(month // 12, month % 12 + 1, min(today.day, 28))
    found = {}
    for day in days:
        text, age = day.isoformat(), (today - day).days
        if (since and text >= since) or (not since and age < SETTLING):
            found[text] = "Google is still counting it"
        elif text not in told and age <= RESTATE_DAYS:
            found[text] = "Google tells nothing of it yet"
        elif day < kept:
            found[text] = f"Google keeps no more than {KEPT_MONTHS} months"
    return found


# -- who we are


def connect(config: Config) -> Session:
    base = settings.base_url("search_console", API)
    auth = google.user_or_service_account("search_console", API, [SCOPE])
    return Session(base, classify=classify, auth=auth, rates=RATES if base == API else ())


def authorization() -> Authorization:
    return google.authorization("search_console", API, SCOPE)


classify = google.classify


_UNVERIFIED = ("siteUnverifiedUser", "SITE_UNVERIFIED_USER")  # as answers have it, and as the document does


def accounts(session: Session, config: Config) -> Accounts:
    """The properties of which the user is a verified one, or those that are configured: one within another one, and one
    that the user is not verified for, only there."""
    chosen = config.sources["search_console"]
    listed = {item["siteUrl"]: item.get("permissionLevel") for item in session.get(f"{PATH}/sites").rows("siteEntry")}
    read = {site for site, level in listed.items() if level not in _UNVERIFIED}
    wanted = chosen.accounts or [site for site in read if not any(_lies_within(site, other) for other in read)]
    found = [
        Account(site, site, None, ZONE) if site in read else Skipped(site, "the user is not verified for this site")
        for site in listed
        if site in wanted
    ]
    return choose(found, chosen.accounts, "sources.search_console.accounts", set(chosen.ended))


def _lies_within(site: str, other: str) -> bool:
    """Whether all of a property is in another one: of a domain its subdomains are, of an address those below it."""
    if site == other:
        return False
    if (domain := other.removeprefix("sc-domain:")) != other:
        host = site.removeprefix("sc-domain:") if site.startswith("sc-domain:") else urlsplit(site).hostname or ""
        return host == domain or host.endswith(f".{domain}")
    return site.startswith(other)


def probe(session: Session, config: Config) -> list[Finding]:
    fix = "add the user, or the service account's address, to the property (Settings > Users and permissions)"
    return probe_accounts(SOURCE, session, config, fix)


def _asked(*by: str) -> Callable[[Config], tuple[str, ...]]:
    return lambda config: ("date", *by, *COUNTS)


def _stream(name: str, description: str, mapping: Any, *by: str) -> Stream:
    return Stream(
        f"{name}_daily", "report", description, _report(*by), day="date", page_size=SIZE, level=name,
        policy=WindowPolicy(restate_days=RESTATE_DAYS, max_days=31), feeds={"search_console_daily": mapping},
        asks=_asked(*by),
    )  # fmt: skip


SOURCE = Source(
    name="search_console",
    title="Google Search Console",
    kind="web",
    api_version=VERSION,
    streams=(
        _stream("site", "One row per day of the site: how often it was shown and clicked.", rows.of_site),
        _stream("query", "One row per query and day, rare ones left out.", rows.of_query, "query"),
        _stream("page", "One row per page and day.", rows.of_page, "page"),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment=google.environment(
        "SEARCH_CONSOLE", "Google Search Console API", SCOPE, "to each property (Settings > Users and permissions)"
    ),
    optional=frozenset(
        f"SEARCH_CONSOLE_{name}" for name in ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN", "SERVICE_ACCOUNT")
    ),
    authorization=authorization,
    parallel=2,
)
