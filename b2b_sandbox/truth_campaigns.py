"""How many leads each campaign brought: the world's own answer, with campaigns known by their ids or their names."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from b2b_sandbox import truth_files
from b2b_sandbox.truth import OWN_DOMAINS, TEST_PATTERNS
from b2b_sandbox.truth_people import People, current
from b2b_sandbox.world import World


def leads_by_campaign(
    world: World, as_of: datetime, timezone: str, platforms: Collection[str] = ("google_ads",)
) -> Counter[str | None]:
    """Campaign id (a name, where none or several campaigns have it; None without any) -> leads of all days."""
    now, with_email = int(as_of.timestamp() * 1000), not world.is_rough
    with world.connect() as connection:
        events = truth_files.event_leads(connection, now)
        zone = ZoneInfo(timezone)
        people = People(connection, now, zone, events, OWN_DOMAINS, TEST_PATTERNS, with_email=with_email)
        ids = campaigns(connection, now, with_email, platforms)
    by_name: dict[str, set[str]] = defaultdict(set)
    for identifier, name in ids.items():
        by_name[plain(name)].add(identifier)

    def known(campaign: str | None) -> str | None:
        same = by_name.get(plain(campaign), set()) if campaign and campaign not in ids else set()
        return next(iter(same)) if len(same) == 1 else campaign

    return Counter(known(person.campaign) for person in people.leads())


def campaigns(connection: sqlite3.Connection, now: int, with_email: bool, platforms: Collection[str]) -> dict[str, str]:
    """Campaign id -> name, of these ad platforms and all other vendors."""
    entities = "select vendor, id, payload from ad_entity where level = 'campaign' and visible_at <= ?"
    ads = [row[1:] for row in connection.execute(entities, (now,)) if row[0] in platforms]
    found = {identifier: str(json.loads(payload)["name"]) for identifier, payload in ads}
    found |= {record.id: record.data["Name"] for record in current(connection, "salesforce", "Campaign", now)}
    emails: list[Any] = current(connection, "hubspot", "marketing_email", now) if with_email else []
    return found | {sent: email.data["name"] for email in emails for sent in email.data["allEmailCampaignIds"]}


def plain(name: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKC", name or "").casefold().split())
