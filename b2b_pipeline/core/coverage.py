"""Which days are whole, told by the landing manifest: an outage shows as its days, with the name of what is missing."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

import pyarrow as pa
from sqlalchemy import select

from b2b_pipeline.config import Config
from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Stream
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.load import CONVERTED
from b2b_pipeline.landing import Landing, Slice
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import serialise, synchronise

# Derived table -> what it is made of.
INPUTS = {
    "person": ("lead", "stage_event", "touchpoint", "identity_link", "opportunity", "opp_contact_role"),
    "deal": ("opportunity", "opp_contact_role", "lead", "touchpoint", "identity_link"),
    "email_recipient": ("email_event",),
}
FX = "exchange rates"  # the stream name under which rows without a rate are reported


def streams_behind(table: str, config: Config) -> set[tuple[str, str]]:
    """(source, stream) of everything that a table, core or derived, is made of; snapshots have no days and stay out."""
    found = {(feed.source, feed.stream) for part in INPUTS.get(table, (table,)) for feed in feeds(part, config) if feed.kind != "snapshot"}
    money = CONVERTED.keys() & set(INPUTS.get(table, (table,)))
    return found | {(source, FX) for source in (*config.sources, "files") if money}


def update_coverage(warehouse: Warehouse, landing: Landing, config: Config, today: date) -> None:
    """Bring the table `coverage` up to date: every switched-on stream, every day from the start to yesterday."""
    days = [config.start_date + timedelta(days=n) for n in range((today - config.start_date).days)]
    rows = [row for name in config.sources for stream in SOURCES[name].streams for row in _of_stream(landing, config, name, stream, days)]
    with warehouse.write() as connection:
        serialise(connection, tables.coverage.name)
        failed = select(tables.load_audit.c.slice_id, tables.load_audit.c.error).where(tables.load_audit.c.error.is_not(None))
        errors = {row.slice_id: row.error for row in connection.execute(failed)}
        for name in config.sources:
            for stream in SOURCES[name].streams:
                rows += _of_failures(landing, name, stream, errors)
        rows += _of_rates(connection)
        unique = {(r["source"], r["stream"], r["source_account"], r["date_day"]): r for r in rows}
        frame = pa.Table.from_pylist(list(unique.values()), schema=arrow_schema(tables.coverage))
        with stage(connection, tables.coverage, frame) as incoming:
            synchronise(connection, tables.coverage, select(incoming))


def _of_stream(landing: Landing, config: Config, source: str, stream: Stream, days: list[date]) -> Iterator[dict[str, Any]]:
    if stream.kind == "snapshot" or not stream.feeds:
        return
    by_account: dict[str, list[Slice]] = {}
    for item in landing.slices(source, stream.name):
        by_account.setdefault(item.account["id"], []).append(item)
    for account in config.sources[source].accounts or by_account or [""]:
        slices = by_account.get(account, [])
        reasons = _report_days(slices) if stream.kind == "report" else _changes_days(slices, config)
        for day in days:
            reason = reasons.get(day.isoformat(), f"{source}/{stream.name} was not read for this day")
            yield {
                "source": source, "stream": stream.name, "source_account": account, "date_day": day,
                "is_complete": not reason, "reason": reason or None,
            }  # fmt: skip


def _report_days(slices: list[Slice]) -> dict[str, str]:
    """Day -> why it is not complete, empty when it is; days never read are missing. The newest slice decides."""
    found: dict[str, str] = {}
    for item in slices:
        for ordinal in range(date.fromisoformat(item.start).toordinal(), date.fromisoformat(item.end).toordinal()):
            day = date.fromordinal(ordinal).isoformat()
            provisional = day in item.provisional_days
            found[day] = f"{item.source}: the day was not over in {item.account.get('time_zone')}" if provisional else ""
    return found


def _changes_days(slices: list[Slice], config: Config) -> dict[str, str]:
    """A day of objects is whole when it and every day after it, up to the newest read, were read without a gap.

    What changed later is only known from later reads: a gap makes all earlier days doubtful.
    """
    if not slices:
        return {}
    spans = sorted((datetime.fromisoformat(s.since), datetime.fromisoformat(s.until)) for s in slices if s.complete)
    merged: list[list[datetime]] = []
    for since, until in spans:
        if merged and since <= merged[-1][1]:
            merged[-1][1] = max(merged[-1][1], until)
        else:
            merged.append([since, until])
    found: dict[str, str] = {}
    name = f"{slices[0].source}/{slices[0].stream}"
    last_since, last_until = merged[-1]
    for since, until in merged:
        day = since.astimezone(config.zone).date()
        while (midnight := datetime.combine(day, time(), config.zone).astimezone(timezone.utc)) < until:
            following = datetime.combine(day + timedelta(days=1), time(), config.zone).astimezone(timezone.utc)
            if midnight >= since and following <= until:
                whole = since == last_since and until == last_until
                found[day.isoformat()] = "" if whole else f"{name} was not read between {until:%Y-%m-%d} and {last_since:%Y-%m-%d}"
            day += timedelta(days=1)
    return found


def _of_failures(landing: Landing, source: str, stream: Stream, errors: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The days of slices that failed as a whole."""
    if stream.kind == "snapshot":
        return
    for item in landing.slices(source, stream.name):
        if item.slice_id in errors:
            for day in item.days:
                if day:
                    yield {
                        "source": source, "stream": stream.name, "source_account": item.account["id"],
                        "date_day": date.fromisoformat(day), "is_complete": False, "reason": errors[item.slice_id],
                    }  # fmt: skip


def _of_rates(connection: Any) -> Iterator[dict[str, Any]]:
    """The days with an amount that could not be converted."""
    for name, (amount, reporting) in CONVERTED.items():
        table = tables.metadata.tables[name]
        query = (
            select(table.c.source, table.c.date_day, table.c.currency)
            .where(table.c[amount].is_not(None), table.c[reporting].is_(None), table.c.date_day.is_not(None))
            .distinct()
        )
        for row in connection.execute(query):
            yield {
                "source": row.source, "stream": FX, "source_account": name, "date_day": row.date_day, "is_complete": False,
                "reason": f"{name} in {row.currency} without an exchange rate not older than 7 days",
            }  # fmt: skip
