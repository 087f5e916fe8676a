"""From landing into the core tables: map, type, convert, and replace or merge, with audit rows in the same transaction.

A slice is read once for all the tables that it feeds. What is in a table is a function of landing alone: any order of
slices and any repetition give the same rows.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Table, delete, insert, select
from sqlalchemy.schema import CreateTable, DropTable

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import MERGED, Record
from b2b_pipeline.core import audit
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.fingerprint import is_as_seen
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.fx import CONVERTED, convert_again, converted, load_rates
from b2b_pipeline.core.mapped import Mapped, SliceMapping
from b2b_pipeline.core.overlap import overlapped
from b2b_pipeline.core.plan import by_account, due, is_changed
from b2b_pipeline.core.writing import WRITERS, Place
from b2b_pipeline.errors import ContractError, DamagedError
from b2b_pipeline.landing.collecting import seldom_collected
from b2b_pipeline.landing.slices import Slice, outdated, refusal
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import MANY, analyse, load_much, serialise

READ_RECORDS = 10_000  # that are mapped at once
BATCH_RECORDS = 20_000  # that are written in one transaction, by whole slices


@dataclass
class LoadReport:
    """What one load did: rows in = loaded + quarantined + deduplicated. `failures`: slice id -> why it failed whole.

    `broken`: what ended the load of the table before its end, if anything; what it had written by then stays.
    """

    slices: int = 0
    rows_in: int = 0
    loaded: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    failures: dict[str, str] = field(default_factory=dict)
    broken: Exception | None = None


def load_table(
    warehouse: Warehouse, landing: Landing, config: Config, table: Table, run_id: str, *, replay: bool = False
) -> LoadReport:
    """`load_tables` of one table. Raises what broke it."""
    report = load_tables(warehouse, landing, config, [table], run_id, replay=replay)[table.name]
    if report.broken:
        raise report.broken
    return report


def load_tables(
    warehouse: Warehouse, landing: Landing, config: Config, wanted: Sequence[Table], run_id: str, *,
    replay: bool = False,
) -> dict[str, LoadReport]:  # fmt: skip
    """Load every slice that the tables do not hold yet; with `replay`, empty them and load all of them again.

    A table is also loaded anew when mapping or configuration have changed since. A slice that breaks its contract as a
    whole leaves a table as it was and is named in its report, and so does one that is damaged; others go on, and so do
    the other tables when one breaks. Two loads of one table take turns.
    """
    landing.in_step()
    reports: dict[str, LoadReport] = {}
    with warehouse.turn(*(table.name for table in wanted)):
        for first in (True, False):  # amounts are converted as they are loaded
            some = [table for table in wanted if (table is tables.fx_rate) is first]
            loads = [_Load(warehouse, config, table, run_id) for table in some]
            _load(warehouse, landing, loads, replay)
            reports |= {load.table.name: load.report for load in loads}
    return reports


def _load(warehouse: Warehouse, landing: Landing, loads: Sequence[_Load], replay: bool) -> None:
    takers: dict[tuple[str, str], list[tuple[_Load, Feed]]] = {}
    for load in loads:
        for feed in load.versions:
            takers.setdefault((feed.source, feed.stream), []).append((load, feed))
    landed = {stream: landing.slices(*stream) for stream in takers}
    with warehouse.kept_open():
        for load in loads:
            load.unless_broken(partial(load.begin, landed, replay))
    for stream in sorted(takers, key=lambda stream: takers[stream][0][1].kind == "collection"):  # they are kept: last
        for items in by_account(landed[stream]):
            _read(landing, [_Take(load, feed, items) for load, feed in takers[stream] if load.takes(feed, items)])
    with warehouse.kept_open():
        for load in loads:
            load.unless_broken(load.end)


def _read(landing: Landing, takes: Sequence[_Take]) -> None:
    """Read what the tables lack of one stream and account, each slice once."""
    while waiting := [take for take in takes if take.waiting and not take.load.report.broken]:
        kind = waiting[0].feed.kind
        first = min if kind in MERGED else max
        item = first((take.waiting[0].item for take in waiting), key=lambda item: item.slice_id)
        taking = [take for take in waiting if take.waiting[0].item == item]
        for take in taking:
            take.begin()
        try:
            number = 0
            with seldom_collected():
                for records in _parts(landing.records(item), None if kind == "collection" else READ_RECORDS):
                    frame = flattened(records, number)
                    number += len(records)
                    for take in taking:
                        take.add(records, frame)
        except (DamagedError, RecursionError) as error:
            for take in taking:
                take.fail("" if isinstance(error, RecursionError) else str(error))
        for take in taking:
            take.end()
    for take in takes:
        take.finish()


def _parts(records: Iterator[Record], size: int | None) -> Iterator[list[Record]]:
    while part := list(islice(records, size)):
        yield part


class _Take:
    """What one table takes of the slices of one stream and account, oldest first."""

    def __init__(self, load: _Load, feed: Feed, items: Sequence[Slice]) -> None:
        self.load, self.feed, self.items = load, feed, items
        self.done = set[str]() if feed.kind == "collection" else set(load.done)
        self.bad: dict[str, str] = {}
        self.mapping: SliceMapping | None = None
        self._plan()

    def _plan(self) -> None:
        wanted, self.gone = due(self.feed.kind, self.items, self.done, self.bad)
        self.waiting = deque(wanted)

    def begin(self) -> None:
        item, days = self.waiting.popleft()
        self.mapping = SliceMapping(self.load.table, self.feed, item, days, self.load.config)

    def add(self, records: Sequence[Record], frame: pd.DataFrame) -> None:
        if self.mapping:
            self._try(partial(self.mapping.add, records, frame))

    def end(self) -> None:
        if mapping := self.mapping:
            self._try(lambda: self.load.put(mapping.ended(self.load.config.limits.max_quarantined)))
        if self.mapping:
            self.done.add(self.mapping.item.slice_id)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            self.load.unless_broken(step)
        except ContractError as error:
            self.fail(str(error))

    def fail(self, reason: str) -> None:
        """The slice that is read fails as a whole: an older one may speak for its days."""
        if self.mapping:
            self.bad[self.mapping.item.slice_id] = reason or f"{self.mapping}: a record is nested too deep to be read"
            self.mapping = None
            self._plan()

    def finish(self) -> None:
        """Tell which slices failed whole, or are gone though a newer one says "as there": what they held is unknown."""
        gone = [
            replace(pointing, slice_id=slice_id, flaw="it is gone, and a newer one points to it")
            for slice_id, pointing in self.gone.items()
        ]
        bad = self.bad | {item.slice_id: refusal(item) for item in gone}
        past = outdated(self.items, bad) if self.feed.kind in MERGED else ()
        failed = [item for item in (*self.items, *gone) if item.slice_id in bad and item.slice_id not in past]
        self.load.failed += failed
        self.load.report.failures |= {item.slice_id: bad[item.slice_id] for item in failed}


def drop_reload(connection: Connection, table: Table) -> None:
    """Remove what a load of the table left that was killed while it loaded all again."""
    for each in Place.of(table).beside():
        connection.execute(DropTable(each, if_exists=True))


class _Load:
    """One load of one table."""

    def __init__(self, warehouse: Warehouse, config: Config, table: Table, run_id: str) -> None:
        self.warehouse, self.config, self.table, self.run_id = warehouse, config, table, run_id
        self.versions = {feed: feed.version(table) for feed in feeds(table.name, config)}
        self.there = self.into = Place.of(table)
        self.done: dict[str, Feed | None] = {}
        self.batch: list[Mapped] = []
        self.together: list[Mapped] = []  # of collections: written at once, in the place of the slices `held`,
        self.held: set[str] = set()
        self.together_anew = False  # when one came or was withdrawn
        self.failed: list[Slice] = []
        self.report = LoadReport()
        self.now = datetime.now(UTC).replace(tzinfo=None)  # before the rates are read: newer ones are noticed later

    def unless_broken(self, step: Callable[[], None]) -> None:
        """What breaks one table ends its load, and no other's. Raises ContractError, which is about one slice."""
        if self.report.broken:
            return
        try:
            step()
        except ContractError:
            raise
        except Exception as error:  # noqa: BLE001 - it is raised in the end
            self.report.broken = error

    def begin(self, landed: Mapping[tuple[str, str], Sequence[Slice]], replay: bool) -> None:
        with self.warehouse.read() as connection:
            self.rates = (
                load_rates(connection, self.config.currency, self.config.currencies)
                if self.table.name in CONVERTED
                else None
            )
            done = self._done(connection, landed)
        if replay or None in done.values():
            self._begin_anew()
            done = {}
        self.done = done
        accounts = [
            items
            for feed in self.versions
            if feed.kind == "collection"
            for items in by_account(landed[feed.source, feed.stream])
            if feed.accepts(items[0].account["id"])
        ]
        self.held = {slice_id for slice_id, feed in done.items() if feed and feed.kind == "collection"}
        self.together_anew = is_changed(accounts, self.held)

    def _done(
        self, connection: Connection, landed: Mapping[tuple[str, str], Sequence[Slice]]
    ) -> dict[str, Feed | None]:
        """Slice id -> feed of what the table holds; None where it came by another mapping than today's, or too soon."""
        book = tables.load_audit
        rows = connection.execute(select(book).where(book.c.target_table == self.table.name)).all()
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

        ahead = {item.slice_id for items in landed.values() for item in items if item.is_ahead}
        return {row.slice_id: None if row.slice_id in ahead else current(row) for row in rows if row.error is None}

    def _begin_anew(self) -> None:
        """Load all into a side table, batch by batch, and then put its rows in the place of those that are there.

        Readers see the old table until the new one is whole, and a load that is killed leaves the old one.
        """
        self.into = self.there.beside()
        with self.warehouse.write() as connection:
            drop_reload(connection, self.table)
            for each in self.into:
                connection.execute(CreateTable(each))

    def _end_anew(self) -> None:
        with self.warehouse.write() as connection:
            serialise(connection, self.table.name)
            connection.execute(delete(self.there.table))
            for book in self.there[1:]:
                connection.execute(delete(book).where(book.c.target_table == self.table.name))
            for old, new in zip(self.there, self.into, strict=True):
                connection.execute(insert(old).from_select(new.c.keys(), select(new)))
                connection.execute(DropTable(new))
        self.into = self.there

    def takes(self, feed: Feed, items: Sequence[Slice]) -> bool:
        """Whether an account's slices may be news. Of a collection all are taken when one came or was withdrawn."""
        return feed.accepts(items[0].account["id"]) and (self.together_anew or feed.kind != "collection")

    def put(self, mapped: Mapped) -> None:
        """Write it, soon; what is written together when all else is."""
        is_together = mapped.feed.kind == "collection"
        (self.together if is_together else self.batch).append(mapped)
        if is_together or sum(each.item.records for each in self.batch) >= BATCH_RECORDS:
            self._flush()

    def end(self) -> None:
        self._flush()
        if self.together_anew:
            self._write_together()
        if self.into is not self.there:
            self._end_anew()
        if self.rates is not None or self.failed or self.had_failures or self.report.slices:
            with self.warehouse.write() as connection:
                if self.rates is not None:
                    convert_again(connection, self.table, self.rates, self.now, self.run_id)
                why = self.report.failures
                audit.enter_failures(connection, self.table, self.failed, why, self.run_id, self.now)
                merged = [(feed.source, feed.stream) for feed in self.versions if feed.kind in MERGED]
                audit.release(connection, self.table, merged)
                if self.report.loaded >= MANY:
                    analyse(connection, self.table)

    # -- writing

    def _flush(self) -> None:
        batch, self.batch = self.batch, []
        if batch:
            self._write_batch(batch)

    def _write_batch(self, batch: Sequence[Mapped]) -> None:
        pa.default_memory_pool().release_unused()  # the engine needs its own now
        with self.warehouse.write() as connection:
            if sum(each.item.records for each in batch) >= BATCH_RECORDS:
                load_much(connection)
            self._write(connection, batch)

    def _write_together(self) -> None:
        """All of the collections that there is now, in the place of all that there was."""
        table, *books = self.into
        with self.warehouse.write() as connection:
            serialise(connection, self.table.name)
            connection.execute(delete(table).where(table.c.slice_id.in_(self.held)))
            audit.strike(connection, books, self.table, self.held)
            self._write(connection, self._overlapping(self.together))

    def _write(self, connection: Connection, batch: Sequence[Mapped]) -> None:
        """Slices into the table, those of each kind in its way, and into the books."""
        serialise(connection, self.table.name)
        slices = [(mapped, self._stored(mapped)) for mapped in batch]
        for write in dict.fromkeys(WRITERS.values()):
            if mine := [each for each in slices if WRITERS[each[0].feed.kind] is write]:
                write(connection, self.into, mine)
        for mapped, rows in slices:
            audit.enter(connection, self.into[1:], mapped, rows, self.versions[mapped.feed], self.run_id, self.now)
            self.report.slices += 1
            self.report.rows_in += mapped.rows_in
            self.report.loaded += rows.num_rows
            self.report.quarantined += len(mapped.rejects)
            self.report.deduplicated += mapped.deduplicated

    def _stored(self, mapped: Mapped) -> pa.Table:
        rows = mapped.rows.assign(slice_id=mapped.item.slice_id, run_id=self.run_id, loaded_at=self.now)
        if self.rates is not None:
            rows = converted(self.table, rows, self.rates)
        return pa.Table.from_pandas(rows, schema=arrow_schema(self.table), preserve_index=False)

    def _overlapping(self, batch: Sequence[Mapped]) -> list[Mapped]:
        """The slices of a collection, with what they make of each other."""
        rows, notes = overlapped(self.table, {mapped.item.slice_id: mapped.rows for mapped in batch})
        return [
            replace(
                mapped,
                rows=rows[mapped.item.slice_id],
                notes=[*mapped.notes, *([note] if (note := notes.get(mapped.item.slice_id)) else [])],
            )
            for mapped in batch
        ]
