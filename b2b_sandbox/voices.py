"""What people in the world said in surveys, and what they asked support for: plain, as no vendor words it.

Derived from the contacts that HubSpot shows first, by hashes of their ids: nothing is generated for it, and it stays as
it was when the clock moves, but for what is deleted. Everything happens between 8 and 18 o'clock UTC.
"""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from b2b_sandbox.generate_base import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

FIRST = """
select id, payload, min(version) from record_version
where vendor = 'hubspot' and object = 'contacts' and visible_at <= ? group by id order by id
"""
CHOICES = ("Price", "Support, fast & friendly", "Funktionsumfang")
FORMS = ("relation", "onboarding", "effort", "demo", "unused")
CHANNELS = ("email", "web", "chat")
TELLS = {"zendesk"}  # help desks that tell what was deleted; of others it is gone
PRIORITIES = ("urgent", "high", "normal", "low", None)


class Contact(NamedTuple):
    id: int
    email: str
    company: int
    given: dict[str, Any]
    created: int  # ms


class Answers(NamedTuple):
    """One response to one form. `score`: 0 to 10; `rating`: as it was given, on the form's own scale."""

    id: str
    form: str
    contact: Contact
    landed: int
    submitted: int | None  # None: it was left in the middle
    score: int | None
    rating: int | None
    old_rating: int | None  # to a question that the form does not have any more
    choices: tuple[str, ...]
    is_hidden: bool  # whether the address came in a hidden field


class Ticket(NamedTuple):
    """One request for support, as it is at a moment. Times are in ms; `solved`: the last time, if it is solved now."""

    number: int
    contact: Contact
    channel: str
    priority: str | None
    created: int
    changed: int  # by anything
    touched: int  # by somebody: closing it and rating it is none of that
    replied: int | None
    solved: int | None
    last_solved: int | None  # the last time it was solved, also where it is open again
    reopens: int
    replies: int
    rated: int | None
    is_good: bool | None  # how it was rated, and with how many of five stars
    stars: int | None
    is_deleted: bool
    is_closed: bool

    @property
    def survey(self) -> int:
        """The version of the survey that asks how it was; 0 where none does."""
        return 1 + drawn("survey", self.contact.id) % 2 if self.number % 3 else 0


def drawn(*what: object) -> int:
    """A number by which the world is as it is."""
    return int(hashlib.sha256(" ".join(map(str, what)).encode()).hexdigest()[:12], 16)


def contacts(connection: sqlite3.Connection, now: int) -> Iterator[Contact]:
    for identifier, payload, _ in connection.execute(FIRST, (now,)):
        given = json.loads(payload)
        if email := given.get("email"):
            number = int(identifier)
            day = _day(given["createdate"])
            yield Contact(number, email, 300_000_000 + number % 100_000_000 // 10, given, day)


def _day(text: str) -> int:
    at = datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(UTC)
    return int(at.replace(hour=0, minute=0, second=0, microsecond=0).timestamp() * 1000)


def daytime(contact: Contact, days: int, *what: object) -> int:
    """A moment of the day so many days after a contact came, in whole seconds."""
    return contact.created + days * DAY + 8 * HOUR + drawn("time", contact.id, *what) % (10 * 3600) * 1000


def answers(connection: sqlite3.Connection, now: int) -> list[Answers]:
    """All that had come by now."""
    found = []
    for contact in contacts(connection, now):
        for form, every in (("relation", 2), ("onboarding", 3), ("effort", 4), ("demo", 3)):
            dice = drawn(form, contact.id)
            if dice % every:
                continue
            landed = daytime(contact, 1 + (dice // 7) % 5, form)
            submitted = None if (dice // 11) % 9 == 0 else landed + 45_000
            deleted = daytime(contact, 12, form, "deleted") if dice // 13 % 8 == 0 else None
            if (submitted or landed + 20_000) > now or (deleted is not None and deleted <= now):
                continue
            found.append(_answers(form, contact, dice // 101, landed, submitted))
    return sorted(found, key=lambda each: (each.submitted or each.landed, each.id))


def _answers(form: str, contact: Contact, dice: int, landed: int, submitted: int | None) -> Answers:
    identifier = hashlib.md5(f"{form} {contact.id}".encode(), usedforsecurity=False).hexdigest()
    score = (10, 9, 9, 8, 7, 10, 6, 3, 0, 9, None)[dice % 11] if form == "relation" else None
    rating = None
    if form == "onboarding":
        rating = (5, 4, 4, 1, 2, 5, 3, None)[dice % 8]  # 1 to 5
    if form == "effort":
        rating = (0, 5, 3, 4, 1, 2, 5)[dice % 7]  # 0 to 5
    chosen = tuple(choice for n, choice in enumerate(CHOICES) if (dice >> n) % 3 == 0) if form == "relation" else ()
    old = 3 + dice % 5 if form == "effort" and dice % 6 == 0 else None
    return Answers(identifier, form, contact, landed, submitted, score, rating, old, chosen, dice % 2 == 0)


def tickets(connection: sqlite3.Connection, now: int, desk: str) -> list[Ticket]:
    """All that had been asked at a help desk by now, as they are by now, by number."""
    found = [
        ticket
        for contact in contacts(connection, now)
        for n in range(2)
        if drawn(desk, contact.id, n) % 3 == 0 and (ticket := _ticket(contact, n, now, desk)) is not None
    ]
    return sorted(found, key=lambda each: each.number)


def _ticket(contact: Contact, n: int, now: int, desk: str) -> Ticket | None:
    """It is answered within hours or never, solved days later, and may be opened again and solved once more."""
    dice = drawn(desk, "ticket", contact.id, n)
    created = daytime(contact, 1 + 6 * n, desk, n)
    moments = [created]
    replied = created + (5 + dice % 200) * MINUTE if dice % 10 else None
    solved = daytime(contact, 3 + 6 * n + dice // 10 % 4, desk, n, "solved") if replied and dice // 3 % 5 else None
    again = daytime(contact, 8 + 6 * n, desk, n, "again") if solved and dice // 5 % 4 == 0 else None
    resolved = daytime(contact, 9 + 6 * n, desk, n, "resolved") if again and dice // 7 % 3 else None
    rated = daytime(contact, 10 + 6 * n, desk, n, "rated") if solved and dice // 13 % 2 else None
    deleted = daytime(contact, 12 + 6 * n, desk, n, "deleted") if dice // 17 % 12 == 0 else None
    closed = daytime(contact, 14 + 6 * n, desk, n, "closed") if (resolved or (solved and not again)) else None
    replied, solved, again, resolved, rated, deleted, closed = (
        at if at is not None and at <= now else None
        for at in (replied, solved, again, resolved, rated, deleted, closed)
    )
    if created > now or (deleted and desk not in TELLS):
        return None
    moments += [at for at in (replied, solved, again, resolved, rated, deleted, closed) if at is not None]
    touched = max(at for at in (created, replied, solved, again, resolved, deleted) if at is not None)
    now_solved = resolved or (None if again else solved)
    stars = dice // 29 % 5 + 1
    return Ticket(
        contact.id * 2 + n, contact, CHANNELS[dice // 19 % 3], PRIORITIES[dice // 23 % 5],
        created, max(moments), touched, replied, now_solved, resolved or solved, int(again is not None),
        (1 if replied else 0) + (1 if solved else 0) + (1 if resolved else 0),
        rated, None if rated is None else stars > 2, None if rated is None else stars,
        deleted is not None, closed is not None,
    )  # fmt: skip
