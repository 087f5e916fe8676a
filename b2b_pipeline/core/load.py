"""From landing into a core table: map, type, convert, and replace or merge, with an audit row in the same transaction.

What is in a table is a function of landing alone: any order of slices and any repetition give the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Column, Connection, DateTime, MetaData, Table, delete, exists, insert, select, tuple_
from sqlalchemy.schema import CreateTable, DropTable

from b2b_pipeline.config import Config
from b2b_pipeline.connectors.base import MERGED, Account, MappingContext, Record
from b2b_pipeline.core.contract import enforce, fails_whole, kinds
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.fingerprint import is_as_seen, look_at, watched
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.fx import CONVERTED, convert_again, converted, load_rates
from b2b_pipeline.core.overlap import overlapped
from b2b_pipeline.errors import ContractError, DamagedError
from b2b_pipeline.files.repeats import NOTES
from b2b_pipeline.landing import Landing, Slice, day_of
from b2b_pipeline.slices import outdated, refusal
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import MANY, analyse, append, merge_newest, replace_slices, serialise

FILES = "files"
BATCH_RECORDS = 20_000  # raw records that are mapped and written in one transaction
EVERYTHING = "*"  # the one "day" of a snapshot


@dataclass
class LoadReport:
    """What one load did: rows in = loaded + quarantined + deduplicated. `failures`: slice id -> why it failed whole."""

    slices: int = 0
    rows_in: int = 0
    loaded: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    failures: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Mapped:
    """One slice, ready to be written. `days` limits a report slice to the days that it still speaks for.

    `deduplicated`: rows that lost to another of the slice with the same key, or whose day a newer slice speaks for;
    counted where they are dropped, so that a row that is lost otherwise makes the contract check fail.
    """

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


def load_table(
    warehouse: Warehouse, landing: Landing, config: Config, table: Table, run_id: str, *, replay: bool = False
) -> LoadReport:
    """Load every slice that the table does not hold yet; with `replay`, empty it and load all of them again.

    It is also loaded anew when mapping or configuration have changed since. A slice that breaks its contract as a whole
    leaves the table as it was and is named in the report, and so does one that is damaged; others go on. Two loads of
    one table take turns.
    """
    landing.in_step()
    with warehouse.turn(table.name):
        return _Load(warehouse, landing, config, table, run_id).run(replay)


class _Place(NamedTuple):
    """Where a load writes: a table, and its two books."""

    table: Table
    audit: Table
    quarantine: Table

    def beside(self) -> _Place:
        """The same, empty and of other names, in which a table grows that is loaded again."""
        return _Place(*(
            Table(f"reload_{self.table.name}_{each.name}", MetaData(), *(Column(c.name, c.type) for c in each.columns),
                  info=each.info)
            for each in self
        ))  # fmt: skip


def drop_reload(connection: Connection, table: Table) -> None:
    """Remove what a load of the table left that was killed while it loaded all again."""
    for each in _place(table).beside():
        connection.execute(DropTable(each, if_exists=True))


def _place(table: Table) -> _Place:
    return _Place(table, tables.load_audit, tables.quarantine)


class _Load:
    """One load of one table."""

    def __init__(self, warehouse: Warehouse, landing: Landing, config: Config, table: Table, run_id: str) -> None:
        self.warehouse, self.landing, self.config, self.table, self.run_id = warehouse, landing, config, table, run_id
        self.versions = {feed: feed.version(table) for feed in feeds(table.name, config)}
        self.items = {feed: self._landed(feed) for feed in self.versions}
        self.into = _place(table)
        self.failed: list[Slice] = []
        self.report = LoadReport()
        self.files_anew = False  # whether the next batch is all files, in the place of those that are there
        self.now = datetime.now(UTC).replace(tzinfo=None)  # before the rates are read: newer ones are noticed later

    def run(self, replay: bool) -> LoadReport:
        with self.warehouse.read() as connection:
            self.rates = (
                load_rates(connection, self.config.currency, self.config.currencies)
                if self.table.name in CONVERTED
                else None
            )
            done = self._done(connection)
        if replay or None in done.values():
            self._anew()
        else:
            for batch in self._batches(done):
                with self.warehouse.write() as connection:
                    self._write(connection, batch)
        if self.rates is not None or self.failed or self.had_failures or self.report.slices:
            with self.warehouse.write() as connection:
                if self.rates is not None:
                    convert_again(connection, self.table, self.rates, self.now, self.run_id)
                self._book_failures(connection)
                self._release(connection)
                if self.report.loaded >= MANY:
                    analyse(connection, self.table)
        return self.report

    def _anew(self) -> None:
        """Load all into a side table, batch by batch, and then put its rows in the place of those that are there.

        Readers see the old table until the new one is whole, and a load that is killed leaves the old one.
        """
        there, self.into = self.into, self.into.beside()
        with self.warehouse.write() as connection:
            drop_reload(connection, self.table)
            for each in self.into:
                connection.execute(CreateTable(each))
        for batch in self._batches({}):
            with self.warehouse.write() as connection:
                self._write(connection, batch)
        with self.warehouse.write() as connection:
            serialise(connection, self.table.name)
            connection.execute(delete(there.table))
            for book in (there.audit, there.quarantine):
                connection.execute(delete(book).where(book.c.target_table == self.table.name))
            for old, new in zip(there, self.into, strict=True):
                connection.execute(insert(old).from_select(new.c.keys(), select(new)))
                connection.execute(DropTable(new))
        self.into = there

    # -- what to load

    def _done(self, connection: Connection) -> dict[str, Feed | None]:
        """Slice id -> feed of what the table holds; None where it came by another mapping than today's, or too soon."""
        audit = tables.load_audit
        rows = connection.execute(select(audit).where(audit.c.target_table == self.table.name)).all()
        self.had_failures = any(row.error is not None for row in rows)

        def current(row: Any) -> Feed | None:
            return next(
                (
                    feed
                    for feed, version in self.versions.items()
                    if (feed.source, feed.stream, version) == (row.source, row.stream, row.mapping_version)
                    and feed.accepts(row.source_account)
                    and is_as_seen(self.config, json.loads(row.seen or "{}"))
                ),
                None,
            )

        ahead = {item.slice_id for items in self.items.values() for item in items if item.is_ahead}
        return {row.slice_id: None if row.slice_id in ahead else current(row) for row in rows if row.error is None}

    def _batches(self, done: Mapping[str, Feed | None]) -> Iterator[list[_Mapped]]:
        """Slices to load. Files may repeat each other's rows: when one came or was withdrawn, all are loaded, last."""
        groups = [(feed, items) for feed in self.versions for items in _by_account(self.items[feed])]
        vendors = [group for group in groups if group[0].source != FILES]
        files = [group for group in groups if group[0].source == FILES]
        batch: list[_Mapped] = []
        size = 0
        for feed, items in vendors:
            take = self._merged if feed.kind in MERGED else self._newest
            for mapped in take(feed, items, set(done)):
                batch.append(mapped)
                size += mapped.item.records
                if size >= BATCH_RECORDS:
                    yield batch
                    batch, size = [], 0
        if batch:
            yield batch
        there = {item.slice_id for _, items in files for item in items}
        withdrawn = {slice_id for slice_id, feed in done.items() if feed and feed.source == FILES} - there
        if withdrawn or any(items[-1].same_as.get(EVERYTHING, items[-1].slice_id) not in done for _, items in files):
            self.files_anew = True
            yield [mapped for feed, items in files for mapped in self._newest(feed, items, set())]

    def _landed(self, feed: Feed) -> list[Slice]:
        """The slices of a stream, oldest first."""
        items = self.landing.slices(feed.source, feed.stream)
        return [item for item in items if feed.accepts(item.account["id"])]

    def _merged(self, feed: Feed, items: list[Slice], done: set[str]) -> Iterator[_Mapped]:
        for item in items:
            if item.slice_id not in done and (mapped := self._attempt(feed, item, None)):
                yield mapped
        there = {item.slice_id for item in items}
        self._miss({item.holder: item for item in items if item.holder not in there})
        past = outdated(items, self.report.failures)
        self.failed = [item for item in self.failed if item.slice_id not in past]
        for slice_id in past:
            del self.report.failures[slice_id]

    def _newest(self, feed: Feed, items: list[Slice], done: set[str]) -> Iterator[_Mapped]:
        """Of a report or snapshot, newest first: each slice for the days that no newer one speaks for.

        A slice that fails leaves its days to the next older one. A day that came out as before (`same_as`) is spoken
        for by the slice that holds its records.
        """
        taken: set[str] = set()
        held: dict[str, set[str]] = {}  # slice id -> days for which a newer slice says: as there
        for item in reversed(items):
            says = {EVERYTHING} if feed.kind == "snapshot" else set(item.covered())
            mine = held.pop(item.slice_id, set())
            for day in says - taken:
                holder = item.slice_id if item.flaw else item.same_as.get(day, item.slice_id)
                mine.add(day) if holder == item.slice_id else held.setdefault(holder, set()).add(day)
            taken |= says
            if mine and item.slice_id not in done:
                days = None if feed.kind == "snapshot" else [date.fromisoformat(day) for day in sorted(mine)]
                if mapped := self._attempt(feed, item, days):
                    yield mapped
                else:
                    taken -= mine
        self._miss(dict.fromkeys(held, items[-1]))

    def _miss(self, missing: Mapping[str, Slice]) -> None:
        """Slices that are gone, each with one that says: as there. What they held is not known."""
        for slice_id, pointing in missing.items():
            gone = replace(pointing, slice_id=slice_id, flaw="it is gone, and a newer one points to it")
            self.failed.append(gone)
            self.report.failures[slice_id] = refusal(gone)

    # -- mapping

    def _attempt(self, feed: Feed, item: Slice, days: list[date] | None) -> _Mapped | None:
        try:
            return self._map(feed, item, days)
        except (ContractError, DamagedError) as error:
            self.failed.append(item)
            self.report.failures[item.slice_id] = str(error)
            return None

    def _map(self, feed: Feed, item: Slice, days: list[date] | None) -> _Mapped:
        """One slice mapped and checked. Raises ContractError when the slice fails as a whole."""
        records = list(self.landing.records(item))
        seen: dict[str, str] = {}
        if self.rates is not None:
            look_at(self.config, "currencies", seen)
        context = MappingContext(watched(self.config, seen), feed.source, feed.stream, Account(**item.account))
        frame = pd.DataFrame()
        if records:
            try:
                frame = feed.mapping(flattened(records), context)
            except KeyError as error:
                raise ContractError(f"{_named(feed, item)}: column {error} is missing in the records") from None
            except RecursionError:
                raise ContractError(f"{_named(feed, item)}: a record is nested too deep to be read") from None
        enforced = enforce(self.table, frame)
        rows, rejects = enforced.rows, enforced.rejects
        # By record: one record may become many rows (a cost and its days).
        bad, every = rejects["record_number"].nunique(), frame.index.nunique()
        if fails_whole(rejects, every, self.config.limits.max_quarantined):
            raise ContractError(
                f"{_named(feed, item)}: {bad} of {every} records fail the contract of {self.table.name} "
                f"(most: {kinds(rejects)[0]}); allowed are {self.config.limits.max_quarantined:.0%}"
            )
        numbers = rejects["record_number"].tolist()
        rejects = rejects.assign(
            date_day=[self._landed_day(feed, item, records[number]) for number in numbers],
            record=[json.dumps(records[number], ensure_ascii=False) for number in numbers],
        )
        deduplicated = enforced.duplicates
        if days is not None:
            stale_rows, stale_rejects = (~side["date_day"].isin(days) for side in (rows, rejects))
            rows, rejects = rows[~stale_rows].reset_index(drop=True), rejects[~stale_rejects]
            deduplicated += int(stale_rows.sum() + stale_rejects.sum())
        notes = frame.attrs.get(NOTES, [])
        span = self._span(rows, item) if feed.files else (None, None)
        return _Mapped(item, feed, rows, rejects, len(frame), deduplicated, days, notes, seen, span)

    def _span(self, rows: pd.DataFrame, item: Slice) -> tuple[date | None, date | None]:
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
        written = date.fromisoformat(item.start)
        return min(known), last if self.table is tables.cost_ledger else min(last, written - timedelta(days=1))

    def _landed_day(self, feed: Feed, item: Slice, record: Record) -> date:
        """The day that a record belongs to in landing; the last one of its slice when it tells none of a report's."""
        day = day_of(record, feed.day, self.config.zone)
        if not day or (feed.kind == "report" and not item.covers(day)):
            return date.fromisoformat(item.end) - timedelta(days=1)
        return date.fromisoformat(day)

    # -- writing

    def _write(self, connection: Connection, batch: list[_Mapped]) -> None:
        serialise(connection, self.table.name)
        merged: list[pa.Table] = []
        dropped: list[pa.Table] = []
        table, audit, quarantine = self.into
        if self.files_anew:
            connection.execute(delete(table).where(table.c.source == FILES))
            for book in (audit, quarantine):
                mine = (book.c.target_table == self.table.name) & (book.c.source == FILES)
                connection.execute(delete(book).where(mine))
        for mapped in self._overlapping(batch):
            rows = mapped.rows.assign(slice_id=mapped.item.slice_id, run_id=self.run_id, loaded_at=self.now)
            if self.rates is not None:
                rows = converted(self.table, rows, self.rates)
            arrow = pa.Table.from_pandas(rows, schema=arrow_schema(self.table), preserve_index=False)
            if mapped.feed.kind in MERGED:
                merged.append(arrow)
            elif mapped.feed.source == FILES:
                dropped.append(arrow)
            else:
                self._replace(connection, mapped, arrow)
            self._book(connection, mapped, arrow)
        if merged:
            merge_newest(connection, table, _newest_rows(table, pa.concat_tables(merged)))
        if dropped:
            append(connection, table, _newest_rows(table, pa.concat_tables(dropped)))

    def _overlapping(self, batch: list[_Mapped]) -> list[_Mapped]:
        """The batch, with what its files make of each other."""
        files = {mapped.item.slice_id: mapped.rows for mapped in batch if mapped.feed.source == FILES}
        rows, notes = overlapped(self.table, files)
        return [
            replace(
                mapped,
                rows=rows.get(mapped.item.slice_id, mapped.rows),
                notes=[*mapped.notes, *([note] if (note := notes.get(mapped.item.slice_id)) else [])],
            )
            for mapped in batch
        ]

    def _replace(self, connection: Connection, mapped: _Mapped, rows: pa.Table) -> None:
        """Put a slice in the place of the older ones of its stream and account, and of what was refused of them."""
        audit, bad = self.into.audit.c, self.into.quarantine.c
        query = select(audit.slice_id).where(
            audit.target_table == self.table.name,
            audit.source == mapped.item.source,
            audit.stream == mapped.item.stream,
            audit.source_account == mapped.item.account["id"],
        )
        older = [*connection.execute(query).scalars(), mapped.item.slice_id]
        refused = (bad.target_table == self.table.name) & bad.slice_id.in_(older)
        if mapped.days is not None:
            refused &= bad.date_day.in_(mapped.days)
        connection.execute(delete(self.into.quarantine).where(refused))
        replace_slices(connection, self.into.table, rows, older, mapped.days)

    def _book(self, connection: Connection, mapped: _Mapped, rows: pa.Table) -> None:
        """The audit row of a slice, and its rejects in quarantine, in the transaction that loads it."""
        item, rejects, report = mapped.item, mapped.rejects, self.report
        for book in (self.into.audit, self.into.quarantine):
            same = (book.c.target_table == self.table.name) & (book.c.slice_id == item.slice_id)
            connection.execute(delete(book).where(same))
        entry = {
            **self._of_slice(item), "mapping_version": self.versions[mapped.feed],
            "seen": json.dumps(mapped.seen, sort_keys=True), "rows_in": mapped.rows_in,
            "rows_loaded": rows.num_rows, "rows_quarantined": len(rejects),
            "rows_deduplicated": mapped.deduplicated, "checksum": _checksum(rows), "loaded_at": self.now,
            "notes": "\n".join(mapped.notes) or None,
            "first_day": mapped.span[0], "last_day": mapped.span[1],
        }  # fmt: skip
        _append_rows(connection, self.into.audit, [entry])
        names = ["record_number", "reason", "column_name", "about", "date_day", "record", "source_id", "fact_days"]
        shared = {**self._of_slice(item), "quarantined_at": self.now}
        refused = rejects[names].astype(object).to_numpy().tolist()
        refusals = [shared | dict(zip(names, reject, strict=True)) for reject in refused]
        _append_rows(connection, self.into.quarantine, refusals)
        report.slices += 1
        report.rows_in += mapped.rows_in
        report.loaded += rows.num_rows
        report.quarantined += len(rejects)
        report.deduplicated += mapped.deduplicated

    def _book_failures(self, connection: Connection) -> None:
        """Audit rows with the error of slices that failed as a whole, so that checks and coverage can tell."""
        audit = tables.load_audit
        mine = audit.c.target_table == self.table.name
        connection.execute(delete(audit).where(mine, audit.c.error.is_not(None)))
        failed = [
            {
                **self._of_slice(item), "mapping_version": "", "rows_in": item.records, "rows_loaded": 0,
                "rows_quarantined": 0, "rows_deduplicated": 0, "error": self.report.failures[item.slice_id],
                "loaded_at": self.now,
            }
            for item in self.failed
        ]  # fmt: skip
        _append_rows(connection, audit, failed)

    def _release(self, connection: Connection) -> None:
        """Take out of quarantine what a newer slice says anew of the same record, well or not: the newest word counts.

        Reports and files are replaced whole. A record that was right before and is not any more stays in quarantine.
        """
        bad, audit, newer = tables.quarantine.c, tables.load_audit.c, tables.quarantine.alias("newer")
        streams = [(feed.source, feed.stream) for feed in self.versions if feed.kind in MERGED]
        mine = (bad.target_table == self.table.name) & tuple_(bad.source, bad.stream).in_(streams)
        if connection.execute(select(bad.source_id).where(mine).limit(1)).first() is None:
            return
        # Another stream's records may have the same ids: the audit knows which stream a slice is of.
        later = select(audit.slice_id).where(
            audit.target_table == bad.target_table, audit.source == bad.source, audit.stream == bad.stream,
            audit.source_account == bad.source_account, audit.slice_id > bad.slice_id,
        )  # fmt: skip
        for other in (self.table, newer):
            same = (other.c.source_id == bad.source_id) & other.c.slice_id.in_(later.correlate(tables.quarantine))
            if other is newer:
                same &= other.c.target_table == bad.target_table
            said = exists(select(1).select_from(other).where(same).correlate(tables.quarantine))
            connection.execute(delete(tables.quarantine).where(mine, said))

    def _of_slice(self, item: Slice) -> dict[str, Any]:
        return {
            "target_table": self.table.name, "source": item.source, "source_account": item.account["id"],
            "stream": item.stream, "slice_id": item.slice_id, "run_id": self.run_id,
        }  # fmt: skip


def _by_account(items: Iterable[Slice]) -> list[list[Slice]]:
    by_account: dict[str, list[Slice]] = {}
    for item in items:
        by_account.setdefault(item.account["id"], []).append(item)
    return list(by_account.values())


def _named(feed: Feed, item: Slice) -> str:
    """How an error begins that refuses a slice whole."""
    return f"{item.account['id']} was refused" if feed.files else f"{feed.source}/{feed.stream}"


def _append_rows(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        append(connection, table, pa.Table.from_pylist(rows, schema=arrow_schema(table)))


def _newest_rows(table: Table, rows: pa.Table) -> pa.Table:
    """One row per key across the slices of a batch; what is spread over days comes from one slice as a whole."""
    key, whole = list(table.info["key"]), list(table.info["whole"])
    order = [name for name in (table.info["version"], "slice_id") if name]
    frame = rows.select(list(dict.fromkeys([*key, *order]))).to_pandas().sort_values(order, kind="stable")
    kept = frame.drop_duplicates(key, keep="last")
    if whole != key:
        kept = kept[kept["slice_id"] == kept.groupby(whole)["slice_id"].transform("last")]
    return rows.take(pa.array(sorted(kept.index), pa.int64()))


def _checksum(rows: pa.Table) -> str:
    """A digest of what was loaded, stamps left out."""
    content = rows.drop_columns([name for name in ("slice_id", "run_id", "loaded_at") if name in rows.column_names])
    out = pa.BufferOutputStream()
    pa.csv.write_csv(content, out)
    return hashlib.sha256(out.getvalue()).hexdigest()[:16]
