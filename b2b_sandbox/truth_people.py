"""Who is who, how they came and how far they got, by docs/semantics.md, from what was visible at a time."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from b2b_sandbox.truth_files import EventLead

STAGES = ["lead", "mql", "sal", "sql", "opportunity", "customer"]
LIFECYCLE = {
    "subscriber": "lead",
    "lead": "lead",
    "marketingqualifiedlead": "mql",
    "salesqualifiedlead": "sql",
    "opportunity": "opportunity",
    "customer": "customer",
}
WORKING = "Working - Contacted"
CLICK_IDS = {
    "hs_google_click_id": "paid_search",
    "hs_facebook_click_id": "paid_social",
    "hs_bing_click_id": "paid_search",
    "hs_linkedin_click_id": "paid_social",
    "hs_tiktok_click_id": "paid_social",
}
UTM_MEDIUM = {
    **dict.fromkeys(["cpc", "ppc", "paidsearch"], "paid_search"),
    **dict.fromkeys(["paid_social", "paidsocial", "social_paid"], "paid_social"),
    **dict.fromkeys(["display", "banner", "cpm"], "display"),
    **dict.fromkeys(["email", "newsletter"], "email"),
    **dict.fromkeys(["affiliate", "partner"], "partner"),
    **dict.fromkeys(["event", "webinar"], "events"),
    "organic": "organic_search",
    "social": "organic_social",
    "referral": "referral",
}
HUBSPOT_SOURCE = {
    "ORGANIC_SEARCH": "organic_search",
    "PAID_SEARCH": "paid_search",
    "PAID_SOCIAL": "paid_social",
    "SOCIAL_MEDIA": "organic_social",
    "EMAIL_MARKETING": "email",
    "REFERRALS": "referral",
    "AI_REFERRALS": "referral",
    "DIRECT_TRAFFIC": "direct",
    "OFFLINE": "offline",
    "OTHER_CAMPAIGNS": "other",
}
CAMPAIGN_TYPE = {
    "Email": "email",
    "Webinar": "events",
    "Conference": "events",
    "Trade Show": "events",
    "Advertisement": "display",
    "Partners": "partner",
    "Referral Program": "referral",
}


class Touch(NamedTuple):
    """In the order that decides which is first: by second, then by id."""

    at: int
    id: str
    channel: str
    day: date
    campaign: str | None  # its id, or what stands for it


@dataclass
class Person:
    lead_since: int | None = None  # the earliest counting lead record, in seconds
    is_excluded: bool = False
    entries: dict[str, date] = field(default_factory=dict)  # stage -> day of the first entry
    touches: list[Touch] = field(default_factory=list)

    @property
    def is_lead(self) -> bool:
        return self.lead_since is not None and not self.is_excluded

    @property
    def campaign(self) -> str | None:
        return min(self.touches).campaign if self.touches else None

    @property
    def channel(self) -> str | None:
        return min(self.touches).channel if self.touches else None

    def enter(self, stage: str, day: date) -> None:
        self.entries[stage] = min(day, self.entries.get(stage, day))

    def since(self, stage: str) -> date:
        """The first day on which it was in a stage or beyond it."""
        return min(day for entered, day in self.entries.items() if STAGES.index(entered) >= STAGES.index(stage))

    def reached(self, stage: str) -> bool:
        return any(STAGES.index(entered) >= STAGES.index(stage) for entered in self.entries)


class Record(NamedTuple):
    id: str
    is_deleted: bool
    data: dict[str, Any]


def current(connection: sqlite3.Connection, vendor: str, name: str, as_of: int) -> list[Record]:
    """Every record as its newest version visible at the time; those that no list shows any more are left out."""
    rows = connection.execute(
        "select id, is_deleted, is_gone, payload, max(version) from record_version"
        " where vendor = ? and object = ? and visible_at <= ? group by id",
        (vendor, name, as_of),
    )
    return [Record(r[0], bool(r[1]), json.loads(r[3], parse_float=Decimal)) for r in rows if not r[2]]


def standing_contacts(connection: sqlite3.Connection, as_of: int) -> list[Record]:
    """HubSpot's contacts, archived ones too. What was merged into another one lives on in that one alone."""
    contacts = current(connection, "hubspot", "contacts", as_of)
    merged = {loser for c in contacts for loser in (c.data.get("hs_merged_object_ids") or "").split(";")}
    return [contact for contact in contacts if contact.id not in merged]


def seconds(text: str) -> int:
    """A vendor's timestamp in whole seconds since the epoch."""
    moment = datetime.fromisoformat(text)
    assert moment.tzinfo, "a date is a day, not a time"
    return int(moment.timestamp())


def begins(day: str, created: str, zone: ZoneInfo) -> int:
    """When a day that Salesforce names begins for us, but not before the record was created."""
    return max(local_midnight(date.fromisoformat(day), zone), seconds(created))


def addresses(contact: Record) -> list[str]:
    """All of a HubSpot contact's e-mail addresses."""
    return [contact.data.get("email") or "", *(contact.data.get("hs_additional_emails") or "").split(";")]


def normal(email: str | None) -> str:
    return (email or "").strip().lower()


def visit_channel(contact: dict[str, Any]) -> str:
    """The channel of a HubSpot contact's original source: click id, UTM medium, HubSpot's own source."""
    for name, channel in CLICK_IDS.items():
        if contact.get(name):
            return channel
    medium = (contact.get("utm_medium") or "").strip().lower()
    return UTM_MEDIUM.get(medium) or HUBSPOT_SOURCE.get(contact.get("hs_analytics_source") or "", "unknown")


def visit_campaign(contact: dict[str, Any]) -> str | None:
    """What a HubSpot contact's first visit says of its campaign: a portal's own UTM property, else HubSpot's detail."""
    return contact.get("utm_campaign") or drill_down(contact, "hs_analytics_source")


def drill_down(contact: dict[str, Any], source: str) -> str | None:
    number = {
        "PAID_SEARCH": 1, "EMAIL_MARKETING": 1, "OTHER_CAMPAIGNS": 1, "PAID_SOCIAL": 2, "SOCIAL_MEDIA": 2
    }.get(contact.get(source) or "")  # fmt: skip
    found: str | None = contact.get(f"{source}_data_{number}") if number else None
    return None if found == "Auto-tagged PPC" else found or None


class People:
    """Records joined to persons: `People(...).of("salesforce:lead:00Q...")`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        as_of: int,
        zone: ZoneInfo,
        event_leads: Sequence[EventLead],
        own_domains: Sequence[str],
        test_patterns: Sequence[str],
        *,
        with_email: bool = True,
    ) -> None:
        self._with_email = with_email
        self._above: dict[str, str] = {}
        self._persons: dict[str, Person] = defaultdict(Person)
        contacts = standing_contacts(connection, as_of)
        leads = current(connection, "salesforce", "Lead", as_of)
        self.salesforce_leads = leads
        for contact in contacts:
            for address in addresses(contact):
                self._join_email(f"hubspot:contact:{contact.id}", address)
        for name, records in (("lead", leads), ("contact", current(connection, "salesforce", "Contact", as_of))):
            for record in records:
                node = f"salesforce:{name}:{record.id}"
                self._join_email(node, record.data.get("Email"))
                if record.data.get("MasterRecordId"):
                    self._join(node, f"salesforce:{name}:{record.data['MasterRecordId']}")
                if record.data.get("ConvertedContactId"):
                    self._join(node, f"salesforce:contact:{record.data['ConvertedContactId']}")
        for row in event_leads:
            self._join_email(f"files:lead:{row.badge}", row.email)
        # From here on nobody is joined any more.
        excluded = Excluded(own_domains, test_patterns)
        for contact in contacts:
            if not contact.is_deleted:
                is_excluded = any(excluded(email) for email in addresses(contact))
                self._count(f"hubspot:contact:{contact.id}", seconds(contact.data["createdate"]), is_excluded)
        for lead in leads:
            if not lead.is_deleted:
                created, email = seconds(lead.data["CreatedDate"]), lead.data.get("Email")
                self._count(f"salesforce:lead:{lead.id}", created, excluded(email))
        for row in event_leads:
            self._count(f"files:lead:{row.badge}", local_midnight(row.day, zone), excluded(row.email))
        for node, touch in self._touches(connection, as_of, zone, contacts, event_leads):
            self.of(node).touches.append(touch)
        for node, stage, day in self._entries(connection, as_of, zone, contacts, leads):
            self.of(node).enter(stage, day)

    def of(self, node: str) -> Person:
        return self._persons[self._top(node)]

    def leads(self) -> list[Person]:
        return [person for person in self._persons.values() if person.is_lead]

    def _top(self, node: str) -> str:
        while (above := self._above.get(node, node)) != node:
            node = above
        return node

    def _join(self, one: str, other: str) -> None:
        one, other = sorted((self._top(one), self._top(other)))
        self._above[other] = one

    def _join_email(self, node: str, email: str | None) -> None:
        if normal(email):
            self._join(node, f"email:{normal(email)}")

    def _count(self, node: str, created: int, is_excluded: bool) -> None:
        person = self.of(node)
        person.lead_since = created if person.lead_since is None else min(created, person.lead_since)
        person.is_excluded |= is_excluded

    def _touches(
        self,
        connection: sqlite3.Connection,
        as_of: int,
        zone: ZoneInfo,
        contacts: list[Record],
        event_leads: Sequence[EventLead],
    ) -> Iterator[tuple[str, Touch]]:
        for contact in contacts:
            node, data = f"hubspot:contact:{contact.id}", contact.data
            first = seconds(data.get("hs_analytics_first_timestamp") or data["createdate"])
            yield node, Touch(first, f"{node}:original", visit_channel(data), day_in(zone, first), visit_campaign(data))
            latest = data.get("hs_latest_source_timestamp")
            if latest and seconds(latest) != first:
                channel = HUBSPOT_SOURCE.get(data.get("hs_latest_source") or "", "unknown")
                again = seconds(latest)
                campaign = drill_down(data, "hs_latest_source")
                yield node, Touch(again, f"{node}:latest", channel, day_in(zone, again), campaign)
        clicks = connection.execute(
            "select id, created, recipient, payload, email_campaign_id from email_event"
            " where type = 'CLICK' and visible_at <= ?",
            (as_of,),
        )
        for event, created, recipient, payload, campaign_id in clicks if self._with_email else []:
            if not json.loads(payload).get("filteredEvent"):
                at = created // 1000
                touch = Touch(at, f"hubspot:email_event:{event}", "email", day_in(zone, at), str(campaign_id))
                yield f"email:{normal(recipient)}", touch
        campaigns = {c.id: c.data["Type"] for c in current(connection, "salesforce", "Campaign", as_of)}
        for member in current(connection, "salesforce", "CampaignMember", as_of):
            data = member.data
            if data["HasResponded"] and not member.is_deleted:
                who = f"lead:{data['LeadId']}" if data.get("LeadId") else f"contact:{data['ContactId']}"
                at, answered = seconds(data["CreatedDate"]), data.get("FirstRespondedDate")
                day = date.fromisoformat(answered) if answered else day_in(zone, at)
                at = begins(answered, data["CreatedDate"], zone) if answered else at
                channel = CAMPAIGN_TYPE.get(campaigns.get(data["CampaignId"], ""), "unknown")
                name = f"salesforce:campaign_member:{member.id}"
                yield f"salesforce:{who}", Touch(at, name, channel, day, data["CampaignId"])
        for row in event_leads:
            node = f"files:lead:{row.badge}"
            at, name = local_midnight(row.day, zone), f"files:touchpoint:{row.badge}"
            yield node, Touch(at, name, "events", row.day, row.event)

    def _entries(
        self, connection: sqlite3.Connection, as_of: int, zone: ZoneInfo, contacts: list[Record], leads: list[Record]
    ) -> Iterator[tuple[str, str, date]]:
        standing = {contact.id for contact in contacts if not contact.is_deleted}
        history = connection.execute(
            "select id, value, at from property_history where vendor = 'hubspot' and object = 'contacts'"
            " and property = 'lifecyclestage' and visible_at <= ?",
            (as_of,),
        )
        for contact, value, at in history:
            if contact in standing and value in LIFECYCLE:
                yield f"hubspot:contact:{contact}", LIFECYCLE[value], day_in(zone, at // 1000)
        changes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for change in current(connection, "salesforce", "LeadHistory", as_of):
            if change.data["Field"] == "Status" and not change.is_deleted:
                changes[change.data["LeadId"]].append(change.data)
        for lead in leads:
            if lead.is_deleted:
                continue
            node = f"salesforce:lead:{lead.id}"
            rows = sorted(changes[lead.id], key=lambda row: (row["CreatedDate"], row["Id"]))
            if (rows[0]["OldValue"] if rows else lead.data["Status"]) == WORKING:
                yield node, "mql", day_in(zone, seconds(lead.data["CreatedDate"]))
            for row in rows:
                if row["NewValue"] == WORKING:
                    yield node, "mql", day_in(zone, seconds(row["CreatedDate"]))
            if lead.data["IsConverted"]:
                yield node, "sql", date.fromisoformat(lead.data["ConvertedDate"])


class Excluded:
    """Whether an e-mail address is one of our own or of a test."""

    def __init__(self, own_domains: Sequence[str], test_patterns: Sequence[str]) -> None:
        self._own = {domain.lower() for domain in own_domains}
        self._tests = [pattern.lower() for pattern in test_patterns]

    def __call__(self, email: str | None) -> bool:
        address = normal(email)
        return address.rpartition("@")[2] in self._own or any(fnmatchcase(address, test) for test in self._tests)


def local_midnight(day: date, zone: ZoneInfo) -> int:
    return int(datetime.combine(day, time(), zone).timestamp())


def day_in(zone: ZoneInfo, at: int) -> date:
    return datetime.fromtimestamp(at, zone).date()
