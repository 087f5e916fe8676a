"""Who a lead is and how it came: name, company, channel, and what HubSpot notes about its visits."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import date
from typing import Any

from b2b_sandbox.generate_ads import running
from b2b_sandbox.generate_base import DAY, Plan, day_of, hubspot_time
from b2b_sandbox.generate_names import COUNTRIES, FIRST, HOSTILE, INDUSTRIES, LAST, ascii_slug, company

OWN_DOMAIN = "ourcompany.example"
# How people come: channel, weight.
CHANNELS = {
    "google_ads": 24,
    "organic_search": 19,
    "direct": 13,
    "referral": 7,
    "ai_referral": 4,
    "organic_social": 6,
    "linkedin_ads": 9,
    "facebook_ads": 2,
    "display": 2,
    "email": 3,
    "partner": 2,
    "events": 4,
    "offline": 4,
    "unknown": 1,
}
LATER_SOURCES = ["DIRECT_TRAFFIC", "ORGANIC_SEARCH", "EMAIL_MARKETING", "REFERRALS", "SOCIAL_MEDIA", "PAID_SOCIAL"]
LEAD_SOURCE = {
    "partner": "Partner Referral",
    "offline": "Purchased List",
    "events": "Trade Show",
    "referral": "Word of mouth",
}


@dataclass(frozen=True)
class Company:
    number: int
    name: str
    domain: str
    industry: str
    country: str
    region: str
    currency: str
    dial: str


@dataclass(frozen=True)
class Person:
    number: int
    company: Company
    first: str
    last: str
    email: str
    phone: str
    channel: str
    created: int
    is_internal: bool  # a test lead or somebody of our own
    visit: dict[str, str | None]  # HubSpot's source properties


def draw_company(rng: random.Random, number: int) -> Company:
    name, domain = company(rng, number)
    country, region, currency, dial, _ = rng.choices(COUNTRIES, [c[4] for c in COUNTRIES])[0]
    return Company(number, name, domain, rng.choice(INDUSTRIES), country, region, currency, dial)


def draw_person(plan: Plan, rng: random.Random, firm: Company, number: int, created: int) -> Person:
    first, last = rng.choice(FIRST), rng.choice(LAST)
    email = f"{ascii_slug(first)}.{ascii_slug(last)}{number % 10 or ''}@{firm.domain}"
    chance = rng.random()
    if chance < 0.008:
        email = f"qa+test{number}@{firm.domain}"
    elif chance < 0.014:
        email = f"{ascii_slug(first)}.{ascii_slug(last)}.{number}@{OWN_DOMAIN}"
    if rng.random() < 0.004:
        first = rng.choice(HOSTILE)
    channel = rng.choices(list(CHANNELS), list(CHANNELS.values()))[0]
    phone = f"{firm.dial} 555 {rng.randrange(10**6):06d}"
    visit = source_properties(plan, rng, channel, created)
    return Person(number, firm, first, last, email, phone, channel, created, chance < 0.014, visit)


def google_campaign(plan: Plan, rng: random.Random, day: date) -> str:
    """What the ads put into `utm_campaign`: the campaign's id, in the rough world its name."""
    campaigns = running(plan, day)
    campaign = rng.choices(campaigns, [c.share for c in campaigns])[0]
    return campaign.name if plan.rough else campaign.id


def quarter_of(at: int) -> str:
    return f"{day_of(at).year}q{(day_of(at).month + 2) // 3}"


def source_properties(plan: Plan, rng: random.Random, channel: str, created: int) -> dict[str, str | None]:
    """What HubSpot notes about the first visit: its source, click ids and UTM parameters."""
    seen = max(created - int(rng.expovariate(1 / 4.0) * DAY), 0)
    found: dict[str, str | None] = {
        "hs_google_click_id": None,
        "hs_facebook_click_id": None,
        "hs_linkedin_click_id": None,
        "utm_source": None,
        "utm_medium": None,
        "utm_campaign": None,
    }

    def utm(source: str, medium: str, campaign: str | None) -> None:
        found.update(utm_source=source, utm_medium=medium, utm_campaign=campaign)

    quarter = quarter_of(seen)
    source: str | None = "OFFLINE"
    if channel == "google_ads":
        source = "PAID_SEARCH"
        if rng.random() < 0.92:  # without consent there is no click id
            found["hs_google_click_id"] = f"Cj0K{rng.getrandbits(160):040x}"
        if rng.random() < 0.95:
            utm("google", "cpc", google_campaign(plan, rng, max(day_of(seen), plan.start)))
    elif channel == "linkedin_ads":
        source = "PAID_SOCIAL"
        utm("linkedin", rng.choice(["paid_social", "Paid_Social", "paidsocial"]), f"li-{quarter}-abm")
        if rng.random() < 0.7:
            found["hs_linkedin_click_id"] = f"{rng.getrandbits(128):032x}"
    elif channel == "facebook_ads":
        source = "PAID_SOCIAL"
        found["hs_facebook_click_id"] = f"IwAR{rng.getrandbits(160):040x}"
    elif channel == "display":
        source = "OTHER_CAMPAIGNS"
        utm("industry-portal", rng.choice(["display", "banner", "cpm"]), f"portal-{quarter}")
    elif channel == "email":
        source = "EMAIL_MARKETING"
        if rng.random() < 0.5:
            utm("newsletter", "email", f"newsletter-{quarter}")
    elif channel == "partner":
        source = "REFERRALS"
        utm("partner-portal", "partner", f"partner-{quarter}")
    elif channel == "events":
        if rng.random() < 0.6:
            utm("webinar-tool", rng.choice(["webinar", "event"]), f"webinar-{quarter}")
    elif channel == "referral" and rng.random() < 0.2:
        source = "OTHER_CAMPAIGNS"  # neither a UTM medium nor a source of ours says more
    elif channel == "unknown":
        source = None
    else:
        source = {
            "organic_search": "ORGANIC_SEARCH",
            "direct": "DIRECT_TRAFFIC",
            "referral": "REFERRALS",
            "ai_referral": "AI_REFERRALS",
            "organic_social": "SOCIAL_MEDIA",
            "offline": "OFFLINE",
        }[channel]
    is_web = source not in (None, "OFFLINE")
    first_seen = hubspot_time(seen) if is_web else None
    details = drill_downs(source, found["utm_campaign"], "Facebook" if channel == "facebook_ads" else "LinkedIn")
    if plan.rough:  # nobody made these properties
        found = {name: value for name, value in found.items() if not name.startswith("utm_")}
    return found | {
        "hs_analytics_source": source,
        **{f"hs_analytics_source_data_{number}": text for number, text in enumerate(details, 1)},
        "hs_analytics_first_timestamp": first_seen,
        "hs_latest_source": source,
        **{f"hs_latest_source_data_{number}": text for number, text in enumerate(details, 1)},
        "hs_latest_source_timestamp": first_seen,
    }


def drill_downs(source: str | None, campaign: str | None, network: str) -> tuple[str | None, str | None]:
    """HubSpot's two details of a traffic source. Names of campaigns come in lower case.

    https://knowledge.hubspot.com/properties/understand-source-properties
    """
    name = campaign.lower() if campaign else None
    match source:
        case "PAID_SEARCH":
            return name or "Auto-tagged PPC", "Unknown keywords (SSL)"
        case "PAID_SOCIAL" | "SOCIAL_MEDIA":
            return network, name
        case "EMAIL_MARKETING" | "OTHER_CAMPAIGNS":
            return name, None
        case "ORGANIC_SEARCH":
            return "Unknown keywords (SSL)", "GOOGLE"
        case "REFERRALS" | "AI_REFERRALS":
            return "www.portal.example", "www.portal.example/reviews"
        case "DIRECT_TRAFFIC":
            return "www.ourcompany.example/", None
        case "OFFLINE":
            return "IMPORT", "1"
    return None, None


def contact_properties(person: Person, owner: str) -> dict[str, Any]:
    """A new HubSpot contact; empty properties are null."""
    return {
        "email": person.email,
        "hs_additional_emails": None,
        "firstname": person.first,
        "lastname": person.last,
        "phone": person.phone,
        "company": person.company.name,
        "country": person.company.country,
        "region": person.company.region,
        "industry": person.company.industry,
        "createdate": hubspot_time(person.created),
        "hubspot_owner_id": owner,
        "hs_lead_status": "NEW",
        "hs_merged_object_ids": None,
        **person.visit,
    }
