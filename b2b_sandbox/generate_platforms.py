"""Ad platforms beside Google: their accounts, their campaigns, and days that are restated.

A platform is data. Its campaigns of a quarter have the names that its ads put into `utm_campaign` (generate_people).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from b2b_sandbox.generate_ads import RESTATED_AFTER, conversion_lag, known_after, total
from b2b_sandbox.generate_base import HOUR, Plan, Rows, midnight, poisson


@dataclass(frozen=True)
class Account:
    id: str
    name: str
    currency: str | None
    time_zone: str
    status: str = "ACTIVE"


@dataclass(frozen=True)
class Campaign:
    """`share` is that of the platform's budget. A day of the world is its number since the start."""

    account: str
    id: str
    name: str
    type: str
    share: float
    first: date
    last: date | None = None


@dataclass(frozen=True)
class Platform:
    """Money per click and what becomes of impressions and clicks; `looks_back`: days from a click to a conversion.

    always: (account, id, name, type, share, first day, last day or None). quarterly: (account, id, name, type, share),
    where `{quarter}` is 2026q1, and the id gets the quarter behind it.
    """

    vendor: str
    accounts: tuple[Account, ...]
    rough_accounts: tuple[Account, ...]
    always: tuple[tuple[str, str, str, str, float, int, int | None], ...]
    quarterly: tuple[tuple[str, str, str, str, float], ...]
    budget: float  # a day, for each lead that a day brings
    cost_per_click: float = 6.8
    click_rate: float = 0.006
    conversion_rate: float = 0.03
    looks_back: int = 90
    worth: Decimal = Decimal(60)


LINKEDIN = Platform(
    vendor="linkedin_ads",
    accounts=(
        Account("508720451", "Europe", "EUR", "UTC"),
        Account("508774356", "North America", "USD", "UTC"),
    ),
    rough_accounts=(
        Account("508777244", "Tried out", "EUR", "UTC", "TEST"),
        Account("508777245", "Not yet billed", None, "UTC", "DRAFT"),
        Account("508777246", "Agency until 2025", "EUR", "UTC", "REMOVED"),
    ),
    always=(
        ("508720451", "252074216", "Brand | Sponsored content", "SPONSORED_UPDATES", 0.3, 0, None),
        ("508720451", "252074217", "Demo | <b>Message</b> & Film", "SPONSORED_INMAILS", 0.2, 10, 70),
        ("508774356", "253100311", "ABM | Tier 1 | US", "SPONSORED_UPDATES", 0.25, 0, None),
        ("508774356", "253100312", '=Retarget "US"', "TEXT_AD", 0.1, 20, None),
    ),
    quarterly=(("508720451", "2540", "li-{quarter}-abm", "SPONSORED_UPDATES", 0.35),),
    budget=18.0,
)
META = Platform(
    vendor="meta_ads",
    accounts=(
        Account("1201500000000001", "Europe", "EUR", "Europe/Berlin"),
        Account("1201500000000002", "North America", "USD", "America/New_York"),
    ),
    rough_accounts=(
        Account("1201500000000003", "Paid late", "EUR", "Europe/Berlin", "DISABLED"),
        Account("1201500000000004", "Not set up", None, "Europe/Berlin", "CLOSED"),
    ),
    always=(
        ("1201500000000001", "120210000000010001", "Lookalike | Leads", "OUTCOME_LEADS", 0.5, 0, None),
        ("1201500000000001", "120210000000010002", "Retargeting \U0001f3ac Film", "OUTCOME_TRAFFIC", 0.2, 3, 12),
        ("1201500000000002", "120210000000020001", "Prospecting | US", "OUTCOME_LEADS", 0.3, 0, None),
    ),
    quarterly=(),
    budget=5.0, cost_per_click=1.9, click_rate=0.011, conversion_rate=0.02, looks_back=28,
)  # fmt: skip
MICROSOFT = Platform(
    vendor="microsoft_ads",
    accounts=(
        Account("180535609", "Europe", "EUR", "Europe/Berlin", "Active"),
        Account("180519267", "North America", "USD", "America/New_York", "Pause"),
    ),
    rough_accounts=(
        Account("180278106", "Until 2025", "EUR", "Europe/Berlin", "Inactive"),
        Account("180767304", "Begun", None, "America/New_York", "Draft"),
    ),
    always=(
        ("180535609", "531016227", "Bing | Brand | DE", "Search", 0.5, 0, None),
        ("180535609", "531016228", 'Bing | "Zielgruppe" & Mehr', "Audience", 0.15, 2, None),
        ("180535609", "531016229", "Bing | Old, deleted", "Search", 0.1, 0, 9),
        ("180519267", "531017001", "Bing | PMax | US", "PerformanceMax", 0.25, 5, None),
    ),
    quarterly=(),
    budget=6.0, cost_per_click=2.6, click_rate=0.03, conversion_rate=0.04, looks_back=30,
)  # fmt: skip
X = Platform(
    vendor="x_ads",
    accounts=(
        Account("18ce54d4x5t", "Europe", "EUR", "Europe/Berlin"),
        Account("18ce55gze09", "North America", "USD", "America/New_York"),
    ),
    rough_accounts=(Account("18ce53uo3nm", "Until 2025", "EUR", "Europe/Berlin", "DELETED"),),
    always=(
        ("18ce54d4x5t", "8wku2", "X | Analysten | DE", "WEBSITE_CLICKS", 0.5, 0, None),
        ("18ce54d4x5t", "8wku3", "X | Messe \u2728 2026", "ENGAGEMENTS", 0.2, 4, 9),
        ("18ce55gze09", "9xlv4", "X | Founders, US", "WEBSITE_CLICKS", 0.3, 0, None),
    ),
    quarterly=(),
    budget=2.0, cost_per_click=1.4, click_rate=0.008, conversion_rate=0.02, looks_back=30,
    worth=Decimal(0),  # what they are worth X tells without a unit
)  # fmt: skip
TIKTOK = Platform(
    vendor="tiktok_ads",
    accounts=(
        Account("7001035076276387841", "Europe", "EUR", "Etc/GMT-1", "STATUS_ENABLE"),
        Account("7001040009704833026", "North America", "USD", "Etc/GMT+5", "STATUS_ENABLE"),
    ),
    rough_accounts=(
        Account("7002238017842757633", "Suspended", "EUR", "Etc/GMT-1", "STATUS_LIMIT"),
        Account("7002238017842757634", "Booked ahead", "EUR", "Etc/GMT-1", "RESERVATION"),
    ),
    always=(
        ("7001035076276387841", "1728545382536225", "TikTok | Lead form", "LEAD_GENERATION", 0.5, 0, None),
        ("7001035076276387841", "1714125042508817", "TikTok 🎵 <Spark> & Film", "TRAFFIC", 0.2, 2, 11),
        ("7001040009704833026", "1714124576938033", "TikTok | Sign-ups | US", "WEB_CONVERSIONS", 0.3, 0, None),
    ),
    quarterly=(),
    budget=3.0, cost_per_click=1.1, click_rate=0.009, conversion_rate=0.015, looks_back=28,
)  # fmt: skip
REDDIT = Platform(
    vendor="reddit_ads",
    accounts=(
        Account("a2_gq7w1x0c5rd2", "Europe", "EUR", "Europe/Berlin", "VALID"),
        Account("a2_h08n4k2v9tb6", "North America", "USD", "America/New_York", "TRUSTED"),
    ),
    rough_accounts=(Account("a2_j3m5z8p1ye47", "Begun", None, "Europe/Berlin", "PENDING"),),
    always=(
        ("a2_gq7w1x0c5rd2", "1684291704682361243", "r/selbstst\u00e4ndig | Leads", "LEAD_GENERATION", 0.5, 0, None),
        ("a2_gq7w1x0c5rd2", "1684291704682361244", "AMA | \U0001f4a1 & <Film>", "IMPRESSIONS", 0.2, 4, 11),
        ("a2_h08n4k2v9tb6", "1712005550018840007", "r/sysadmin | US", "CONVERSIONS", 0.3, 0, None),
    ),
    quarterly=(),
    budget=4.0, cost_per_click=1.2, click_rate=0.008, conversion_rate=0.015, looks_back=28,
    worth=Decimal(0),  # what key conversions are worth Reddit does not tell
)  # fmt: skip
PLATFORMS = (LINKEDIN, META, MICROSOFT, REDDIT, TIKTOK, X)


def accounts(plan: Plan, platform: Platform) -> tuple[Account, ...]:
    return platform.accounts + (platform.rough_accounts if plan.rough else ())


def campaigns(plan: Plan, platform: Platform, day: date) -> Iterator[Campaign]:
    """Those that run on a day."""
    for account, identifier, name, kind, share, first, last in platform.always:
        if first <= plan.index(day) and (last is None or plan.index(day) <= last):
            end = None if last is None else plan.start + timedelta(days=last)
            yield Campaign(account, identifier, name, kind, share, plan.start + timedelta(days=first), end)
    number = (day.month + 2) // 3
    begins = date(day.year, number * 3 - 2, 1)
    ends = date(day.year + number // 4, number % 4 * 3 + 1, 1) - timedelta(days=1)
    for account, identifier, name, kind, share in platform.quarterly:
        called = name.format(quarter=f"{day.year}q{number}")
        yield Campaign(account, f"{identifier}{day.year % 100}{number}", called, kind, share, begins, ends)


def write_accounts(plan: Plan, rows: Rows) -> None:
    for platform in PLATFORMS:
        for found in accounts(plan, platform):
            about = (found.name, found.currency, found.time_zone, None, found.status)
            rows["ad_account"].append((platform.vendor, found.id, *about))


def write_day(plan: Plan, day: date, rows: Rows) -> None:
    """Campaigns that begin, and the rows of a day: what is known when it is over, and what changes it afterwards."""
    for platform in PLATFORMS:
        rng = plan.rng(day, platform.vendor)
        zones = {found.id: found.time_zone for found in platform.accounts}
        budget = plan.leads_per_day * platform.budget * (0.4 if day.weekday() >= 5 else 1.2)
        for campaign in campaigns(plan, platform, day):
            if day in (campaign.first, plan.start):
                _write_campaign(platform, campaign, rows, midnight(day) - HOUR)
            clicks = poisson(rng, budget * campaign.share / platform.cost_per_click)
            impressions = clicks + poisson(rng, clicks * (1 / platform.click_rate - 1) + 20)
            cost = round(clicks * platform.cost_per_click * rng.uniform(0.8, 1.2), 2)
            converted = poisson(rng, clicks * platform.conversion_rate)
            lags = [conversion_lag(rng, platform.looks_back) for _ in range(converted)]
            settled = round(cost * (1 + rng.uniform(-0.01, 0.01)), 2)  # invalid clicks are paid back
            before = None
            for days in (0, *RESTATED_AFTER):
                done = sum(lag <= days for lag in lags)
                micros = round((settled if days >= 2 else cost) * 100) * 10_000
                sums = str(done), total([platform.worth] * done), str(done)
                figures = (impressions, clicks, micros, clicks, *sums, 0)
                if figures != before:
                    known = known_after(zones[campaign.account], day, days)
                    key = (platform.vendor, campaign.account, campaign.id, "-", day.isoformat())
                    rows["ad_day"].append((*key, known, *figures))
                    before = figures


def _write_campaign(platform: Platform, campaign: Campaign, rows: Rows, visible: int) -> None:
    dates = {"first": campaign.first.isoformat(), "last": campaign.last and campaign.last.isoformat()}
    payload = json.dumps({"name": campaign.name, "type": campaign.type, **dates}, ensure_ascii=False)
    key = (platform.vendor, campaign.account, "campaign", campaign.id, None)
    rows["ad_entity"].append((*key, payload, visible))
