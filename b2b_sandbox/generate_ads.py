"""Google Ads: two accounts under a manager, their campaigns, and ad days that are restated for 90 days.

The rough world has more accounts, of which some cannot be read.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox.generate_base import HOUR, MINUTE, Plan, Rows, midnight, poisson

VENDOR = "google_ads"
MANAGER = "4100000000"
ACCOUNTS = [  # id, name, currency, time zone
    ("4100000001", "Europe", "EUR", "Europe/Berlin"),
    ("4100000002", "North America", "USD", "America/New_York"),
]
# What the rough world has beside: a manager below the manager with a client in use, and clients that nobody can read.
NESTED_MANAGER = "4100000010"
ROUGH_ACCOUNTS: list[tuple[str, str, str | None, str | None, str, str]] = [
    (NESTED_MANAGER, "Agency", "USD", "America/Chicago", MANAGER, "ENABLED"),
    ("4100000011", "Agency | US", "USD", "America/Chicago", NESTED_MANAGER, "ENABLED"),
    ("4100000012", "Half set up", None, None, NESTED_MANAGER, "ENABLED"),
    ("4100000013", "Cancelled", "EUR", "Europe/Berlin", MANAGER, "CANCELED"),
]
# How a channel type behaves: clicks per impression, cost per click, conversions per click.
BEHAVIOUR = {
    "SEARCH": (0.045, 3.6, 0.050),
    "PERFORMANCE_MAX": (0.020, 2.4, 0.040),
    "DISPLAY": (0.005, 0.9, 0.008),
    "DEMAND_GEN": (0.008, 1.1, 0.012),
    "VIDEO": (0.003, 1.6, 0.004),
}
# After how many days a restatement is published.
RESTATED_AFTER = (1, 2, 3, 5, 7, 10, 14, 21, 30, 45, 60, 75, 90)


@dataclass(frozen=True)
class Campaign:
    account: str
    id: str
    name: str
    type: str
    status: str
    first_day: int  # of the world
    last_day: int | None
    share: float  # of the daily budget
    weekdays_only: bool = False

    def ad_groups(self) -> list[str]:
        return [f"{self.id[:-1]}{k}" for k in (1, 2)]

    def runs_on(self, index: int, day: date) -> bool:
        return (
            self.first_day <= index
            and (self.last_day is None or index <= self.last_day)
            and not (self.weekdays_only and day.weekday() >= 5)
        )


CAMPAIGNS = [
    Campaign("4100000001", "21000000100", "Brand | Search | EU", "SEARCH", "ENABLED", 0, None, 0.16),
    Campaign("4100000001", "21000000110", "Non-brand | Search | DACH", "SEARCH", "ENABLED", 0, None, 0.22, True),
    Campaign("4100000001", "21000000120", "PMax | <b>Demo</b> & Trial", "PERFORMANCE_MAX", "ENABLED", 14, None, 0.10),
    Campaign("4100000001", "21000000130", "Retargeting | Display", "DISPLAY", "PAUSED", 0, 59, 0.05),
    Campaign("4100000001", "21000000140", "Product film | Vidéo 🎬", "VIDEO", "ENABLED", 7, None, 0.05),
    Campaign("4100000001", "21000000150", "Old | Search | Competitors", "SEARCH", "REMOVED", 0, 20, 0.06),
    Campaign("4100000002", "22000000100", "Brand | Search | US", "SEARCH", "ENABLED", 0, None, 0.14),
    Campaign("4100000002", "22000000110", "Non-brand | Search | US", "SEARCH", "ENABLED", 0, None, 0.18),
    Campaign("4100000002", "22000000120", 'PMax | US\'s "Best"', "PERFORMANCE_MAX", "PAUSED", 0, 100, 0.08),
    Campaign("4100000002", "22000000130", "=1+1 | Display | US", "DISPLAY", "ENABLED", 30, None, 0.05, True),
    Campaign("4100000002", "22000000140", "Demand Gen | US", "DEMAND_GEN", "ENABLED", 45, None, 0.05),
]
ROUGH_CAMPAIGNS = [  # the first has the name of another one, in other letters
    Campaign("4100000011", "23000000100", "brand | search | us", "SEARCH", "ENABLED", 0, None, 0.10),
    Campaign("4100000011", "23000000110", "Always on  |  Agency", "SEARCH", "ENABLED", 0, None, 0.12),
]
# id, name, category, click lookback days, view lookback days, counts as conversion, share of conversions, value
CONVERSION_ACTIONS = [
    ("701", "Contact form", "SUBMIT_LEAD_FORM", 30, 1, True, 0.6, Decimal(40)),
    ("702", "Demo request", "REQUEST_QUOTE", 90, 1, True, 0.3, Decimal(150)),
    ("703", "Newsletter sign-up", "SIGNUP", 30, 1, False, 0.4, Decimal(5)),
]


def running(plan: Plan, day: date) -> list[Campaign]:
    """The campaigns that serve ads on a day."""
    return [c for c in campaigns(plan) if c.runs_on(plan.index(day), day)]


def campaigns(plan: Plan) -> list[Campaign]:
    return CAMPAIGNS + (ROUGH_CAMPAIGNS if plan.rough else [])


def accounts(plan: Plan) -> Iterator[tuple[str, str, str | None, str | None, str, str]]:
    """The accounts below the manager: id, name, currency, time zone, manager, status."""
    for account, name, currency, zone in ACCOUNTS:
        yield account, name, currency, zone, MANAGER, "ENABLED"
    yield from ROUGH_ACCOUNTS if plan.rough else []


def write_accounts(plan: Plan, rows: Rows) -> None:
    known = midnight(plan.start)
    rows["ad_account"].append((VENDOR, MANAGER, "Manager", "EUR", "Europe/Berlin", None, "ENABLED"))
    for account, *about in accounts(plan):
        rows["ad_account"].append((VENDOR, account, *about))
        for number, action, category, click_days, view_days, counts, _, _ in CONVERSION_ACTIONS:
            payload = {
                "resourceName": f"customers/{account}/conversionActions/{number}",
                "id": number,
                "name": action,
                "status": "ENABLED",
                "type": "WEBPAGE",
                "category": category,
                "primaryForGoal": counts,
                "includeInConversionsMetric": counts,
                "countingType": "ONE_PER_CLICK",
                "clickThroughLookbackWindowDays": str(click_days),
                "viewThroughLookbackWindowDays": str(view_days),
            }
            rows["ad_entity"].append((VENDOR, account, "conversion_action", number, None, json.dumps(payload), known))
    for c in campaigns(plan):
        first = plan.start + timedelta(days=c.first_day)
        last = None if c.last_day is None else plan.start + timedelta(days=c.last_day)
        visible = midnight(first) - HOUR
        resource = f"customers/{c.account}/campaigns/{c.id}"
        campaign = {
            "resourceName": resource,
            "id": c.id,
            "name": c.name,
            "status": c.status,
            "advertisingChannelType": c.type,
            "startDateTime": f"{first} 00:00:00",
            "endDateTime": f"{last if c.status == 'REMOVED' else '2037-12-30'} 23:59:59",
        }
        rows["ad_entity"].append((VENDOR, c.account, "campaign", c.id, None, json.dumps(campaign), visible))
        for group, name in zip(c.ad_groups(), ("Core", "Long tail"), strict=True):
            ad_group = {
                "resourceName": f"customers/{c.account}/adGroups/{group}",
                "id": group,
                "name": f"{name} | {c.name}",
                "status": "REMOVED" if c.status == "REMOVED" else "ENABLED",
                "campaign": resource,
            }
            rows["ad_entity"].append((VENDOR, c.account, "ad_group", group, c.id, json.dumps(ad_group), visible))


def known_after(zone: str, day: date, days: int) -> int:
    """When the platform says it: when the day is over in its zone; restatements in the early morning UTC."""
    if days == 0:
        over = datetime.combine(day + timedelta(days=1), time(), ZoneInfo(zone))
        return int(over.astimezone(UTC).timestamp() * 1000)
    return midnight(day + timedelta(days=1 + days)) + 5 * HOUR + 30 * MINUTE


def conversion_lag(rng: random.Random, window: int) -> int:
    """Days from the click to the conversion: most within days, some as late as the window allows."""
    return min(int(rng.expovariate(1 / 4.0)) if rng.random() < 0.85 else rng.randrange(window), window)


def total(amounts: Iterable[Decimal]) -> str:
    return str(sum(amounts, Decimal(0)))


def write_day(plan: Plan, day: date, rows: Rows) -> None:
    """All ad groups' rows of a day: what is known when it is over, and each restatement that changes something."""
    rng = plan.rng(day, "ads")
    zones = {account: zone or "UTC" for account, _, _, zone, _, _ in accounts(plan)}
    budget = plan.leads_per_day * 42 * (0.65 if day.weekday() >= 5 else 1.14)
    for campaign in running(plan, day):
        click_rate, cost_per_click, conversion_rate = BEHAVIOUR[campaign.type]
        for group, weight in zip(campaign.ad_groups(), (0.7, 0.3), strict=True):
            clicks = poisson(rng, budget * campaign.share * weight / cost_per_click)
            impressions = clicks + poisson(rng, clicks * (1 / click_rate - 1) + 2 * weight)
            if not impressions:
                continue
            cost = round(clicks * cost_per_click * rng.uniform(0.85, 1.15), 2)
            landed: list[tuple[str, int, Decimal, Decimal]] = []  # action, lag, conversions, value
            for action, _, _, window, _, _, share, value in CONVERSION_ACTIONS:
                for _ in range(poisson(rng, clicks * conversion_rate * share)):
                    part = Decimal("0.5") if rng.random() < 0.2 else Decimal(1)  # data-driven attribution
                    landed.append((action, conversion_lag(rng, window), part, part * value))
            views = poisson(rng, impressions * 0.0004)
            # Invalid clicks are taken out and the bill settles within three days.
            drift = [rng.uniform(-0.02, 0.02), rng.uniform(-0.008, 0.008), rng.uniform(-0.003, 0.003), 0.0]
            invalid = int(clicks > 3 and rng.random() < 0.25)
            key = (VENDOR, campaign.account, campaign.id, group)
            before: dict[str, object] = {}
            for days in (0, *RESTATED_AFTER):
                known = known_after(zones[campaign.account], day, days)
                done = [conversion for conversion in landed if conversion[1] <= days]
                primary = [c for c in done if c[0] != "703"]
                valid = clicks + (invalid if days < 2 else 0)
                micros = round(cost * (1 + drift[min(days, 3)]) * 100) * 10_000
                sums = (total(c[2] for c in primary), total(c[3] for c in primary), total(c[2] for c in done))
                figures = (impressions, valid, micros, valid, *sums, views)
                if before.get("all") != figures:
                    rows["ad_day"].append((*key, day.isoformat(), known, *figures))
                    before["all"] = figures
                for action in sorted({c[0] for c in done}):
                    mine = [c for c in done if c[0] == action]
                    amounts = (total(c[2] for c in mine), total(c[3] for c in mine))
                    if before.get(action) != amounts:
                        rows["ad_conversion_day"].append((*key, action, day.isoformat(), known, *amounts))
                        before[action] = amounts
