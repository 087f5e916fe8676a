"""LinkedIn pages: what became of all that an organization posts, unpaid, per day of UTC; followers, night by night.

LinkedIn tells days of an organization's posts together, and of each post only all to date: which day that happened it
does not say, so it is not read. Sponsored activity is in none of it. It goes back twelve months. Whether a day without
anything is told is not documented: a day that is not told is unknown, and not 0. Followers are those of now: a read
within six hours of the end of a day, where we report, stands for it, and of others nothing is known. Who came on a day
LinkedIn tells only days later: it is not read.
Facts from https://learn.microsoft.com/linkedin/marketing/community-management/organizations/share-statistics (version
2026-03), …/organization-access-control-by-role, github.com/linkedin-developers/linkedin-api-python-client#23 (how an
interval is written), github.com/airbytehq/airbyte#80199 (whole days) and, of followers, …/community-management/
organizations/organization-network-size (version 2023-05; how the edge is spelt since by public connectors, one of which
tried both on 2026-07-25), read 2026-12-01.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import linkedin
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
from b2b_pipeline.connectors.http import Answer, Session, follow, place
from b2b_pipeline.connectors.linkedin_pages import rows
from b2b_pipeline.connectors.of_now import just_ended
from b2b_pipeline.connectors.rest import probe_accounts, readable
from b2b_pipeline.errors import PipelineError, TransientError

DAY = 86_400_000  # ms
RESTATE_DAYS = 14  # days: when one is final no document says
KEPT = timedelta(days=365)  # a rolling window of twelve months
SCOPES = ("rw_organization_admin",)  # the documents name no narrower one for statistics
COUNTS = ("impressionCount", "uniqueImpressionsCount", "clickCount", "likeCount", "commentCount", "shareCount")

classify = partial(linkedin.classify, "linkedin_pages")


# -- reading


def read_days(client: Session, account: Account, window: Window) -> Iterator[Page]:
    """A record per day that is over; one that LinkedIn does not tell has none of its counts."""
    today = datetime.now(UTC).date()
    end = min(window.end, today)
    if end <= window.start:
        return
    span = f"(timeRange:(start:{_midnight(window.start)},end:{_midnight(end)}),timeGranularityType:DAY)"
    # Written out: its parentheses, colons and commas must arrive as they are, those of a URN must not.
    asked = f"organizationalEntityShareStatistics?q=organizationalEntity&organizationalEntity={_urn(account)}"
    told: dict[date, Record] = {}
    for answer in _pages(client, f"rest/{asked}&timeIntervals={span}"):
        for record in answer.rows("elements"):
            day = _day(answer, record.get("timeRange"))
            if day in told:
                raise TransientError(f"{place(answer.response)}: {day} is told twice")
            told[day] = record
    days = (window.start + timedelta(days=n) for n in range((end - window.start).days))
    yield Page([{"day": day.isoformat(), **told.get(day, {})} for day in days], answer.request)


def read_followers(client: Session, account: Account, window: Window) -> Iterator[Page]:
    """How many follow the page at the end of the day that has just ended."""
    day, doubts = just_ended(window, "LinkedIn")
    yield Page([{"day": day, "firstDegreeSize": _followers(client, account)}] if day else [], doubts=doubts)


def _followers(client: Session, account: Account) -> int:
    answer = client.get(f"rest/networkSizes/{_urn(account)}?edgeType=COMPANY_FOLLOWED_BY_MEMBER")
    body = answer.json()
    size = body.get("firstDegreeSize") if isinstance(body, dict) else None
    if not isinstance(size, int):
        raise TransientError(f"{place(answer.response)}: no number of followers")
    return size


def _day(answer: Answer, span: Any) -> date:
    """Raises TransientError for what is not of one whole day of UTC."""
    start, end = (span.get(side) for side in ("start", "end")) if isinstance(span, dict) else (None, None)
    if not isinstance(start, int) or start % DAY or end != start + DAY:
        raise TransientError(f"{place(answer.response)}: statistics that are not of one day")
    return datetime.fromtimestamp(start / 1000, UTC).date()


def _pages(client: Session, path: str) -> Iterator[Answer]:
    return follow(lambda link: client.get(link or path), _next)


def _next(answer: Answer) -> str | None:
    paging = answer.json().get("paging")
    links = paging.get("links") if isinstance(paging, dict) else None
    return next((str(link["href"]) for link in links or () if link.get("rel") == "next"), None)


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time(), UTC).timestamp() * 1000)


def _urn(account: Account) -> str:
    return quote(account.id, safe="")


# -- who we are


def connect(config: Config) -> Session:
    return linkedin.session("linkedin_pages", SOURCE.version(config))


def authorization() -> Authorization:
    return linkedin.authorization("linkedin_pages", SCOPES)


def accounts(client: Session, config: Config) -> Accounts:
    """The pages that the member of the token administers, by their URN. Days are UTC's."""
    path = "rest/organizationAcls?q=roleAssignee&role=ADMINISTRATOR&state=APPROVED&count=100"
    roles = [record for answer in _pages(client, path) for record in answer.rows("elements")]
    # Older versions call it a target.
    urns = dict.fromkeys(str(role.get("organization") or role.get("organizationTarget")) for role in roles)
    found = [Account(urn, time_zone="UTC") for urn in urns]
    chosen = config.sources["linkedin_pages"]
    return choose(found, chosen.accounts, "sources.linkedin_pages.accounts", set(chosen.ended))


def probe(client: Session, config: Config) -> list[Finding]:
    fix = (
        "agree anew with `b2b connect linkedin_pages`, as an administrator of the page: rw_organization_admin is needed"
    )
    found = probe_accounts(SOURCE, client, config, fix)
    with suppress(PipelineError):  # which is told already
        pages = accounts(client, config).read
        found += readable("LinkedIn pages", {"followers": lambda: [_followers(client, page) for page in pages]}, fix)
    what = "LinkedIn pages: the scope rw_organization_admin could change pages, too; nothing here does"
    return [*found, Finding(True, what, "LinkedIn's documents name none that only reads statistics", warning=True)]


SOURCE = Source(
    name="linkedin_pages",
    title="LinkedIn pages",
    kind="community",
    api_version=linkedin.VERSION,
    sunset=linkedin.SUNSET,
    versions=linkedin.VERSIONS,
    streams=(
        Stream(
            "share_daily", "report", "One row per day of a page: impressions, clicks, likes, comments and shares of "
            "all its posts, unpaid.",
            read_days, day="day", policy=WindowPolicy(restate_days=RESTATE_DAYS, max_days=90, kept=KEPT), page_size=90,
            feeds={"content_daily": rows.content},
            states={"content_daily": lambda config: ("impressions", "clicks", "likes", "comments", "shares")},
            asks=lambda config: [f"totalShareStatistics.{n}" for n in COUNTS],
        ),
        Stream(
            "follower_daily", "report", "One row per night: how many followed the page then.", read_followers,
            day="day", policy=WindowPolicy(max_days=36_500), page_size=1, feeds={"community_daily": rows.community},
            states={"community_daily": lambda config: ("followers",)}, level="account", of_now=True,
            asks=lambda config: ("firstDegreeSize",),
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "LINKEDIN_PAGES_CLIENT_ID": "your app's (linkedin.com/developers/apps) with the product Community Management "
        "API, which LinkedIn gives after a review",
        "LINKEDIN_PAGES_CLIENT_SECRET": "its secret",
        "LINKEDIN_PAGES_REFRESH_TOKEN": "by `b2b connect linkedin_pages`, if LinkedIn lets the app have refresh "
        "tokens; it ends after a year",
        "LINKEDIN_PAGES_ACCESS_TOKEN": "in place of these three: a token with rw_organization_admin from "
        "linkedin.com/developers/tools/oauth; it ends after 60 days",
    },
    optional=frozenset({
        "LINKEDIN_PAGES_CLIENT_ID", "LINKEDIN_PAGES_CLIENT_SECRET", "LINKEDIN_PAGES_REFRESH_TOKEN",
        "LINKEDIN_PAGES_ACCESS_TOKEN",
    }),
    authorization=authorization,
)  # fmt: skip
