"""One slice on its way into one table: mapped in parts as it is read, then checked as a whole."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, timedelta

import pandas as pd
from sqlalchemy import DateTime, Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record
from b2b_pipeline.core.feeds import Feed
from b2b_pipeline.core.fingerprint import look_at, watched
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.repeats import NOTES
from b2b_pipeline.landing.slices import Slice
from b2b_pipeline.landing.store import day_of
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import Enforced, enforce, fails_whole, joined, kinds


@dataclass(frozen=True)
class Mapped:
    """One slice, ready to be written to `table`. `days` limits a report slice to the days that it still speaks for.

    `deduplicated`: rows that lost to another of the slice with the same key, or whose day a newer slice speaks for;
    counted where they are dropped, so that a row that is lost otherwise makes the contract check fail.
    """

    table: Table
    item: Slice
    feed: Feed
    rows: pd.DataFrame
    rejects: pd.DataFrame  # record_number, reason, column_name, source_id, fact_days, date_day, record as landed
    rows_in: int
    deduplicated: int
    days: list[date] | None
    notes: list[str]  # what the mapping did that loses no row but should be known
    seen: dict[str, str]  # of the configuration, by the mapping
    span: tuple[date | None, date | None] = (None, None)  # of a file: the days that its rows speak of


@dataclass
class SliceMapping:
    """The mapping of one slice for one table. Its methods raise ContractError when the slice fails as a whole."""

    table: Table
    feed: Feed
    item: Slice
    days: list[date] | None
    config: Config
    seen: dict[str, str] = field(default_factory=dict)
    parts: list[Enforced] = field(default_factory=list)
    rows_in: int = 0
    records: int = 0  # of which rows came
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.table.name in CONVERTED:
            look_at(self.config, "currencies", self.seen)
        watching = watched(self.config, self.seen)
        self.context = MappingContext(watching, self.feed.source, self.feed.stream, Account(**self.item.account))

    def add(self, records: Sequence[Record], frame: pd.DataFrame) -> None:
        """Map some of the slice's records, of which `frame` has a row each; its index are their numbers."""
        try:
            rows = self.feed.mapping(frame, self.context)
        except KeyError as error:
            raise ContractError(f"{self}: column {error} is missing in the records") from None
        self._check(rows, records, frame.index[0])

    def _check(self, rows: pd.DataFrame, records: Sequence[Record], first: int) -> None:
        found = enforce(self.table, rows)
        refused = [records[number - first] for number in found.rejects["record_number"]]
        rejects = found.rejects.assign(
            date_day=[self._landed_day(record) for record in refused],
            record=[json.dumps(record, ensure_ascii=False) for record in refused],
        )
        self.parts.append(Enforced(found.rows, rejects, found.duplicates))
        self.rows_in += len(rows)
        self.records += rows.index.nunique()
        self.notes += rows.attrs.get(NOTES, [])

    def ended(self, limit: float) -> Mapped:
        """The slice, all of which was read. Bad may be `limit` of its records, or one."""
        if not self.parts:
            self._check(pd.DataFrame(), [], 0)
        whole = joined(self.table, self.parts)
        self.parts.clear()
        rows, rejects, deduplicated = whole.rows, whole.rejects, whole.duplicates
        if fails_whole(rejects, self.records, limit):
            raise ContractError(
                f"{self}: {rejects['record_number'].nunique()} of {self.records} records fail the contract of "
                f"{self.table.name} (most: {kinds(rejects)[0]}); allowed are {limit:.0%}"
            )
        if self.days is not None:
            stale_rows, stale_rejects = (~side["date_day"].isin(self.days) for side in (rows, rejects))
            rows, rejects = rows[~stale_rows].reset_index(drop=True), rejects[~stale_rejects]
            deduplicated += int(stale_rows.sum() + stale_rejects.sum())
        span = self._span(rows) if self.feed.kind == "collection" else (None, None)
        return Mapped(
            self.table, self.item, self.feed, rows, rejects, self.rows_in, deduplicated, self.days, self.notes,
            self.seen, span,
        )  # fmt: skip

    def __str__(self) -> str:
        """How an error begins that refuses a slice whole."""
        if self.feed.kind == "collection":
            return f"{self.item.account['id']} was refused"
        return f"{self.feed.source}/{self.feed.stream}"

    def _span(self, rows: pd.DataFrame) -> tuple[date | None, date | None]:
        """The first day that a file's rows count on, and the newest that they tell of, in any of their dates.

        The day on which the file was written was not over, so it ends the day before. Costs may be booked in advance.
        An open deal's close date is a hope.
        """
        closed = (
            rows["close_date"][rows["is_closed"].eq(True).fillna(False)] if "close_date" in rows else rows["date_day"]
        )
        days = [day for column in (rows["date_day"], closed) for day in column.dropna().agg(["min", "max"])]
        known = [day for day in days if not pd.isna(day)]
        if not known:
            return None, None
        moments = [rows[column.name].max() for column in self.table.columns if isinstance(column.type, DateTime)]
        told = [
            moment.replace(tzinfo=UTC).astimezone(self.config.zone).date() for moment in moments if pd.notna(moment)
        ]
        last = max([*known, *told])
        written = date.fromisoformat(self.item.start)
        return min(known), last if self.table is tables.cost_ledger else min(last, written - timedelta(days=1))

    def _landed_day(self, record: Record) -> date:
        """The day that a record belongs to in landing; the last one of its slice when it tells none of a report's."""
        day = day_of(record, self.feed.day, self.config.zone)
        if not day or (self.feed.kind == "report" and not self.item.covers(day)):
            return date.fromisoformat(self.item.end) - timedelta(days=1)
        return date.fromisoformat(day)
