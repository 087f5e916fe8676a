"""HubSpot's marketing e-mails and what becomes of each at each recipient: the legacy e-mail events.

Vendor doc: https://legacydocs.hubspot.com/docs/methods/email/email_events_overview
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from b2b_sandbox.generate_base import (
    DAY,
    HOUR,
    MINUTE,
    SECOND,
    Plan,
    Record,
    Rows,
    after,
    awake,
    day_of,
    hubspot_time,
    midnight,
)

APP_ID = 113  # HubSpot's own marketing e-mail
NURTURE = [  # days after a contact's creation, name, subject
    (2, "Nurture 1 | Welcome", "Glad you are here"),
    (9, "Nurture 2 | Case study", "How a harbour operator cut onboarding in half"),
    (20, "Nurture 3 | <i>Demo</i> offer", "20 minutes, your data, no slides"),
]
NURTURE_IDS = [310_000_001, 310_000_002, 310_000_003]
SUBSCRIBED_DAYS = 90
BROWSERS = ["Chrome", "Firefox", "Safari", "Microsoft Outlook", "Apple Mail"]


@dataclass(frozen=True)
class Sender:
    """One contact's mailbox in the making: the events of everything that is sent to it."""

    rng: random.Random
    rows: Rows
    recipient: str

    def event(self, kind: str, at: int, campaign: int, sent: tuple[str, int] | None, **payload: Any) -> str:
        number = f"{self.rng.getrandbits(128):032x}"
        event = f"{number[:8]}-{number[8:12]}-{number[12:16]}-{number[16:20]}-{number[20:]}"
        visible = at + int(self.rng.random() ** 2 * 5 * MINUTE)
        text = json.dumps(payload, ensure_ascii=False, separators=(",", ":"))
        self.rows["email_event"].append(
            (event, at, visible, kind, self.recipient, campaign, APP_ID, *(sent or (None, None)), text)
        )
        return event

    def send(self, at: int, campaign: int, subject: str) -> bool:
        """Sends one e-mail; False if nothing may follow it: a hard bounce, an unsubscription, a complaint."""
        rng, chance = self.rng, self.rng.random()
        head = {"from": "Mara <mara@ourcompany.example>", "subject": subject}
        if chance < 0.004:
            self.event("DROPPED", at, campaign, None, dropReason="PREVIOUSLY_BOUNCED", **head)
            return False
        sent = (self.event("SENT", at, campaign, None, **head), at)
        if chance < 0.02:
            category = "UNKNOWN_USER" if chance < 0.015 else "MAILBOX_FULL"
            response = "550 5.1.1 user unknown" if category == "UNKNOWN_USER" else "452 4.2.2 mailbox full"
            when = awake(at + rng.randrange(2, 600) * SECOND)
            self.event("BOUNCE", when, campaign, sent, category=category, response=response, status=response[4:9])
            return category != "UNKNOWN_USER"
        delivered = awake(at + rng.randrange(1, 30) * SECOND)
        if chance < 0.04:
            self.event("DEFERRED", delivered, campaign, sent, attempt=1, response="421 try again later")
            delivered = awake(delivered + rng.randrange(5, 240) * MINUTE)
        self.event("DELIVERED", delivered, campaign, sent, response="250 2.0.0 OK", smtpId=None)
        self.react(delivered, campaign, sent)
        if rng.random() < 0.004:
            when = after(rng, delivered, 0.6)
            # Leaving by the preferences page is not tied to one e-mail: no `sentBy`.
            by = (sent, "SOURCE_UNSUBSCRIBE_LINK") if rng.random() < 0.8 else (None, "SOURCE_LIST_UNSUBSCRIBE")
            self.event("STATUSCHANGE", when, campaign, by[0], source=by[1], portalSubscriptionStatus="UNSUBSCRIBED",
                       requestedBy=self.recipient, bounced=False)  # fmt: skip
            return False
        if rng.random() < 0.0006:
            self.event("SPAMREPORT", after(rng, delivered, 0.3), campaign, sent, browser={"name": "unknown"})
            return False
        return True

    def react(self, at: int, campaign: int, sent: tuple[str, int]) -> None:
        """Opens and clicks by machines (mail privacy proxies, link scanners) and by people, some after days."""
        rng = self.rng
        browser = {"name": rng.choice(BROWSERS), "family": "Browser", "type": "Browser"}
        url = f"https://www.ourcompany.example/resources/{campaign % 97}?utm_medium=email"
        if rng.random() < 0.14:
            self.event("OPEN", awake(at + rng.randrange(1, 90) * SECOND), campaign, sent,
                       filteredEvent=True, duration=0, deviceType="COMPUTER", browser=browser)  # fmt: skip
        if rng.random() < 0.012:
            self.event("CLICK", awake(at + rng.randrange(1, 20) * SECOND), campaign, sent,
                       filteredEvent=True, url=url, linkId=0, deviceType="COMPUTER", browser=browser)  # fmt: skip
        if rng.random() > 0.29:
            return
        opened = after(rng, at, 0.35 if rng.random() < 0.85 else 6)
        device = rng.choice(["COMPUTER", "MOBILE"])
        for _ in range(1 + (rng.random() < 0.25)):
            duration = rng.randrange(500, 60_000)
            self.event("OPEN", opened, campaign, sent,
                       filteredEvent=False, duration=duration, deviceType=device, browser=browser)  # fmt: skip
            if rng.random() < 0.12:
                clicked, link = awake(opened + rng.randrange(3, 200) * SECOND), rng.randrange(4)
                self.event("CLICK", clicked, campaign, sent,
                           filteredEvent=False, url=url, linkId=link, deviceType=device, browser=browser)  # fmt: skip
            opened = after(rng, opened, 1.5)


def newsletter_id(at: int) -> int:
    return 320_000_000 + at // DAY


def mailings(rng: random.Random, created: int) -> Iterator[tuple[int, int, str]]:
    """What a contact is sent, in the order of time: (when, e-mail campaign id, subject)."""
    plan = [
        (awake(created + days * DAY + rng.randrange(4 * HOUR)), campaign, subject)
        for campaign, (days, _, subject) in zip(NURTURE_IDS, NURTURE, strict=True)
    ]
    if rng.random() < 0.01:  # enrolled again: the same e-mail, sent a second time
        plan.append((awake(plan[0][0] + rng.randrange(5, 30) * DAY), *plan[0][1:]))
    first = day_of(created) + timedelta(days=1)
    tuesday = first + timedelta(days=(1 - first.weekday()) % 7)
    for week in range(SUBSCRIBED_DAYS // 7):
        if rng.random() < 0.55:
            at = midnight(tuesday + timedelta(weeks=week)) + 9 * HOUR + rng.randrange(20 * 60) * SECOND
            plan.append((at, newsletter_id(at), "News from the team"))
    yield from sorted(plan)


def write_mailbox(rng: random.Random, rows: Rows, recipient: str, created: int, until: int) -> None:
    """Everything that a contact is sent, up to `until`, and what it does with it."""
    sender = Sender(rng, rows, recipient)
    for at, campaign, subject in mailings(rng, created):
        if at >= until or not sender.send(at, campaign, subject):
            return


def write_email(rows: Rows, rng: random.Random, campaign: int, name: str, subject: str, at: int, kind: str) -> None:
    """One marketing e-mail as `/marketing/emails` shows it, published at `at`."""
    email = Record("hubspot", "marketing_email", str(campaign + 600_000_000))
    draft = at - 2 * HOUR
    email.set(
        draft,
        id=email.id,
        name=name,
        subject=subject,
        type=kind,
        state="AUTOMATED_DRAFT" if kind.startswith("AUTOMATED") else "DRAFT",
        isPublished=False,
        archived=False,
        language="en",
        campaign=None,
        primaryEmailCampaignId=str(campaign),
        allEmailCampaignIds=[str(campaign)],
        createdAt=hubspot_time(draft),
        publishDate=None,
        publishedAt=None,
    )
    state = "AUTOMATED" if kind.startswith("AUTOMATED") else "PUBLISHED"
    email.set(at, state=state, isPublished=True, publishDate=hubspot_time(at), publishedAt=hubspot_time(at))
    email.write(rows, rng)


def write_start(plan: Plan, rows: Rows) -> None:
    """The nurture e-mails are there from the first day."""
    rng = plan.rng(plan.start, "nurture")
    for campaign, (_, name, subject) in zip(NURTURE_IDS, NURTURE, strict=True):
        write_email(rows, rng, campaign, name, subject, midnight(plan.start) + 9 * HOUR, "AUTOMATED_EMAIL")


def write_day(plan: Plan, day: date, rows: Rows) -> None:
    """A newsletter goes out every Tuesday."""
    if day.weekday() == 1:
        name = f"Newsletter {day.isocalendar().year}-W{day.isocalendar().week:02d}"
        write_email(rows, plan.rng(day, "newsletter"), newsletter_id(midnight(day)), name, "News from the team",
                    midnight(day) + 9 * HOUR, "BATCH_EMAIL")  # fmt: skip
