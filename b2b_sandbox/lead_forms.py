"""Who left an address in the form of an ad: contacts who came by that platform, minutes before the CRM has them."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, NamedTuple

from b2b_sandbox.generate_base import DAY
from b2b_sandbox.hubspot_call import milliseconds

if TYPE_CHECKING:
    import sqlite3

CLICKED = {"linkedin_ads": "hs_linkedin_click_id", "meta_ads": "hs_facebook_click_id"}
KEPT = {"linkedin_ads": 365 * DAY, "meta_ads": 90 * DAY}  # ms
BEFORE = 180_000  # ms until the CRM has them


class Lead(NamedTuple):
    """`number` is any, and its own. One without an address has not given any."""

    at: int
    number: int
    account: str
    campaign: str
    email: str
    company: str
    is_test: bool


def leads(connection: sqlite3.Connection, now: int, vendor: str) -> list[Lead]:
    """All that the platform still has, newest first, test leads too."""
    entities = "select account_id, id from ad_entity where vendor = ? and level = 'campaign' order by id"
    campaigns = connection.execute(entities, (vendor,)).fetchall()
    first = "select id, payload, min(version) from record_version where vendor = 'hubspot' and object = 'contacts'"
    found = []
    for identifier, payload, _ in connection.execute(f"{first} and visible_at <= ? group by id", (now,)):
        given, number = json.loads(payload), int(hashlib.sha256(f"{vendor} {identifier}".encode()).hexdigest()[:12], 16)
        if given.get(CLICKED[vendor]):
            account, campaign = campaigns[number % len(campaigns)]
            email = "" if number % 17 == 0 else given["email"]
            at = milliseconds(given["createdate"]) // 1000 * 1000 - BEFORE
            found.append(Lead(at, number, account, campaign, email, given.get("company") or "", number % 9 == 0))
    return sorted((each for each in found if now - KEPT[vendor] <= each.at <= now), reverse=True)
