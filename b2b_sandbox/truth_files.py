"""Reads the sandbox's own file drops: the newest version of each file, see `generate_files` for their columns."""

from __future__ import annotations

import csv
import io
import sqlite3
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple


class Cost(NamedTuple):
    category: str
    channel: str | None
    first: date
    last: date
    euros: Decimal


class EventLead(NamedTuple):
    badge: str
    day: date
    email: str
    event: str


def newest(connection: sqlite3.Connection, pattern: str, as_of: int) -> list[bytes]:
    rows = connection.execute(
        "select content, max(visible_at) from file_drop where name glob ? and visible_at <= ? group by name",
        (pattern, as_of),
    )
    return [content for content, _ in rows]


def costs(connection: sqlite3.Connection, as_of: int) -> list[Cost]:
    return [
        Cost(row["Category"], row["Channel"] or None, day(row["From"]), day(row["To"]), euros(row["Amount"]))
        for content in newest(connection, "costs_*.csv", as_of)
        for row in csv.DictReader(io.StringIO(content.decode("windows-1252"), newline=""), delimiter=";")
        if row["Document"] != "Total"
    ]


def event_leads(connection: sqlite3.Connection, as_of: int) -> list[EventLead]:
    return [
        EventLead(row["Badge"], american_day(row["Date"]), row["E-mail"], row["Event"])
        for content in newest(connection, "event_leads_*.csv", as_of)
        for row in csv.DictReader(io.StringIO(content.decode(), newline=""))
    ]


def american_day(text: str) -> date:
    return datetime.strptime(text, "%m/%d/%Y").date()  # noqa: DTZ007


def day(text: str) -> date:
    return datetime.strptime(text, "%d.%m.%Y").date()  # noqa: DTZ007


def euros(text: str) -> Decimal:
    return Decimal(text.removesuffix(" €").replace(".", "").replace(",", "."))
