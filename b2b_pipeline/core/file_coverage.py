"""Which days the dropped files of each mapping have, table by table, and what is missing of them by name."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from sqlalchemy import Connection, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_mapping import FILES, file_stream
from b2b_pipeline.core.cadence import Span, Told, told_days
from b2b_pipeline.core.feeds import Feed
from b2b_pipeline.files.refusals import Refusals
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse

OLDEST = timedelta(days=36_525)  # before today: a day of a file that is older is a typing error
Stream = tuple[str, str, str, str]  # source, stream, account, core table
Days = tuple[date, ...]


@dataclass(frozen=True)
class Books:
    """What the warehouse's books say of slices.

    errors: core table -> slice id -> why it was refused whole. quarantined: of each stream and table, for each row its
    slice and the days that it would count on, none where nobody can tell. spans: file -> slice id -> first and last day
    of its rows, over all tables. loaded: core table -> the slices that it holds.
    """

    errors: dict[str, dict[str, str]]
    refused: dict[tuple[str, str], str]  # file, core table -> why its newest version is not in the table
    quarantined: dict[Stream, list[tuple[str, Days]]]
    spans: dict[str, dict[str, tuple[date, date]]]
    loaded: dict[str, set[str]]

    @classmethod
    def of(cls, warehouse: Warehouse) -> Books:
        found = cls(defaultdict(dict), {}, defaultdict(list), defaultdict(dict), defaultdict(set))
        audit, bad = tables.load_audit.c, tables.quarantine.c
        dated = select(
            audit.target_table, audit.source, audit.source_account, audit.slice_id, audit.error,
            audit.first_day, audit.last_day,
        ).where(audit.error.is_not(None) | audit.first_day.is_not(None))  # fmt: skip
        for row in warehouse.rows(dated.order_by(audit.slice_id)):
            if row["error"] is not None:
                found.errors[row["target_table"]][row["slice_id"]] = row["error"]
                if row["source"] == FILES:
                    found.refused[row["source_account"], row["target_table"]] = row["error"]
            else:
                spans = found.spans[row["source_account"]]
                first, last = spans.get(row["slice_id"], (row["first_day"], row["last_day"]))
                spans[row["slice_id"]] = min(first, row["first_day"]), max(last, row["last_day"])
        held = select(audit.target_table, audit.slice_id).where(audit.error.is_(None))
        with warehouse.read() as connection:
            for table, slice_id in connection.execute(held):
                found.loaded[table].add(slice_id)
        rows = select(
            bad.source, bad.stream, bad.source_account, bad.target_table, bad.slice_id, bad.record_number, bad.fact_days
        )
        for row in warehouse.rows(rows.distinct().order_by(bad.slice_id, bad.record_number)):
            key = (row["source"], row["stream"], row["source_account"], row["target_table"])
            days = tuple(date.fromisoformat(day) for day in (row["fact_days"] or "").split(",") if day)
            found.quarantined[key].append((row["slice_id"], days))
        return found


def in_quarantine(table: str, whose: str, rows: int) -> str:
    row, be = ("row", "is") if rows == 1 else ("rows", "are")
    return f"{rows} {row} of {table} from {whose} {be} in quarantine"


def of_files(landing: Landing, config: Config, books: Books, today: date) -> Iterator[dict[str, Any]]:
    """Rows of `coverage`: of each file mapping, of each table that it feeds, every day to yesterday.

    From the start of the history, or from the first row of a file that tells more.
    """
    noted = Refusals(landing.root).all()
    for name, mapping in config.files.items():
        stream = file_stream(mapping)
        newest = {
            item.account["id"]: item for item in landing.slices(FILES, stream) if mapping.matches(item.account["id"])
        }
        spans = _spans(newest, books)
        since = min([config.start_date, *(span.first for span in spans.values() if span.first > today - OLDEST)])
        days = [since + timedelta(days=n) for n in range((today - since).days)]
        missing = [each.text() for each in noted if each.state != "withdrawn" and mapping.matches(each.name)]
        if not newest and not missing and mapping.cadence != "irregular":
            missing = [f"no file has been dropped for the mapping {name}"]
        told = dict(zip(days, told_days(name, mapping.cadence, list(spans.values()), days), strict=True))
        for table in mapping.feeds():
            refused = [why for (file, of), why in books.refused.items() if of == table and file in newest]
            found = _with_quarantine(books, newest, spans, stream, table, told)
            for day, (is_complete, reason) in found.items():
                gap = "; ".join([*missing, *refused])
                yield {
                    "source": FILES, "stream": stream, "source_account": name, "target_table": table, "date_day": day,
                    "is_complete": False if gap else is_complete, "reason": gap or reason or None,
                }  # fmt: skip


def _spans(newest: dict[str, Slice], books: Books) -> dict[str, Span]:
    """Of each file the days of its rows, of the newest version that could be loaded, and when the file was written."""
    found = {}
    for file, item in newest.items():
        if loaded := books.spans.get(file):
            first, last = loaded[max(loaded)]
            found[file] = Span(first, last, date.fromisoformat(item.start))
    return found


def _with_quarantine(
    books: Books, newest: dict[str, Slice], spans: dict[str, Span], stream: str, table: str, told: dict[date, Told]
) -> dict[date, Told]:
    """The days that lack rows of a table, because they are in quarantine, are not complete.

    A row counts on its own days; one that does not tell them on any that its file has.
    """
    found = dict(told)
    for file in newest:
        rows = books.quarantined.get((FILES, stream, file, table), [])
        for _, own in set(rows):
            span = spans.get(file)
            anywhere = [day for day in told if span is None or span.first <= day <= span.last]
            for day in own or anywhere or told:
                if told and day <= max(told):
                    found[day] = False, in_quarantine(table, file, len(rows))
    return found


def why_nothing(connection: Connection, table: str, fed: Sequence[Feed]) -> str:
    """Why a core table has nothing of dropped files that alone feed it; empty when it has, or another source does."""
    if not fed or not all(feed.kind == "collection" for feed in fed):
        return ""
    audit, days = tables.load_audit.c, tables.coverage.c
    mine = (audit.target_table == table) & (audit.source == FILES) & audit.error.is_(None)
    loaded = connection.execute(select(audit.source_account).where(mine)).scalars().all()
    if any(feed.accepts(file) for feed in fed for file in loaded):
        return ""
    gaps = select(days.reason).where(days.source == FILES, days.target_table == table, ~days.is_complete)
    return "; ".join(connection.execute(gaps.distinct().order_by(days.reason)).scalars())
