"""What counts by sources of marketing e-mail beyond the demo's: each recipient once per e-mail and type of event."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox import mailchimp
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.world import World

ACTIONS = {"open": "opens", "click": "email_clicks"}


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
