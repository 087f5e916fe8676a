"""What counts by sources of marketing e-mail beyond the demo's: each recipient once per e-mail and type of event."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox import mailchimp
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_people import day_in, normal
from b2b_sandbox.world import World

ACTIONS = {"open": "opens", "click": "email_clicks"}
KLAVIYO = {
    "DELIVERED": ("sends", "deliveries"), "BOUNCE": ("sends", "bounces"), "OPEN": ("opens",),
    "CLICK": ("email_clicks",), "STATUSCHANGE": ("unsubscribes",),
}  # fmt: skip


def mailchimp_facts(
    world: World, connection: sqlite3.Connection, as_of: int, zone: ZoneInfo, money: Money
) -> Iterator[Fact]:
    """On the day on which the campaign was sent. Who bounced got nothing; machines are not told from people."""
    account = mailchimp.account_at(connection, as_of)
    for campaign in account.campaigns:
        if campaign["status"] != "sent":
            continue
        day = datetime.fromisoformat(campaign["send_time"]).astimezone(zone).date()
        for recipient in account.sent_to[campaign["id"]]:
            yield Fact("sends", day, "email", Decimal(1))
            came = recipient["status"] == "sent"
            yield Fact("deliveries" if came else "bounces", day, "email", Decimal(1))
        for recipient in account.activity[campaign["id"]]:
            did = {ACTIONS.get(each["action"]) for each in recipient["activity"]}
            yield from (Fact(component, day, "email", Decimal(1)) for component in ACTIONS.values() if component in did)
        left = {each["email_id"] for each in account.unsubscribed[campaign["id"]]}
        yield from (Fact("unsubscribes", day, "email", Decimal(1)) for _ in left)


def klaviyo_facts(
    world: World, connection: sqlite3.Connection, as_of: int, zone: ZoneInfo, money: Money
) -> Iterator[Fact]:
    """On the first day on which a recipient was sent what the event is of. Who got it, or from whom it bounced, was
    sent it; machines are left out, and who left by no e-mail."""
    first: dict[tuple[str, int, str], int] = {}
    events = (
        "select type, email_campaign_id, recipient, sent_by_created, payload from email_event where visible_at <= ?"
    )
    for kind, campaign, recipient, sent, payload in connection.execute(events, (as_of,)):
        if sent is None or kind not in KLAVIYO or json.loads(payload).get("filteredEvent"):
            continue
        for component in KLAVIYO[kind]:
            key = (component, campaign, normal(recipient))
            first[key] = min(sent, first.get(key, sent))
    for (component, _, _), at in first.items():
        yield Fact(component, day_in(zone, at // 1000), "email", Decimal(1))
