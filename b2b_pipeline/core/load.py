"""From landing into a core table: map, type, convert, and replace or merge, with an audit row in the same transaction.

What is in a table is a function of landing alone: any order of slices and any repetition give the same rows.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timezone
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import Connection, Table, delete, select, update

from b2b_pipeline.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.core.contract import Enforced, enforce
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.fx import Rates
from b2b_pipeline.errors import ContractError
from b2b_pipeline.landing import Landing, Slice
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema, arrow_type
from b2b_pipeline.warehouse.write import append, merge_newest, replace_slices, serialise

FILES = "files"
BATCH_RECORDS = 50_000  # raw records that are mapped and written in one transaction
# Table -> amount, its reporting twin: what is converted at the fixing of the row's day.
CONVERTED = {
    "spend": ("spend", "spend_reporting"), "opportunity": ("amount", "amount_reporting"),
    "cost_ledger": ("amount", "amount_reporting"),
}  # fmt: skip


@dataclass
class LoadReport:
    """What one load did: rows in = loaded + quarantined + deduplicated. `failures`: slice id -> why it failed as a whole."""

    slices: int = 0
    rows_in: int = 0
    loaded: int = 0
    quarantined: int = 0
    deduplicated: int = 0
    failures: dict[str, str] = field(default_factory=dict)


_Pending = tuple[Feed, Slice, list[date] | None]  # a slice to load, and of a report the days it still speaks for


@dataclass(frozen=True)
class _Mapped:
    """One slice, ready to be written. `days` limits a report slice to the days it still speaks for."""

    item: Slice
    feed: Feed
    enforced: Enforced
    rows_in: int
    days: list[date] | None
    raw: dict[int, str]  # the rejected records, as landed


def load_table(
    warehouse: Warehouse, landing: Landing, config: Config, table: Table, run_id: str, *, replay: bool = False
) -> LoadReport:
    """Load every slice that the table does not hold yet; with `replay`, empty it and load all of them again.

    A slice that breaks its contract as a whole leaves the table as it was and is named in the report; others go on.
    """
    report = LoadReport()
    active = {feed: feed.version(config) for feed in feeds(table.name, config)}
    with warehouse.read() as connection:
        rates = _rates(connection, config) if table.name in CONVERTED else None
        done = _loaded(connection, table)
    stale = replay or any(
        version != loaded_with
        for (source, stream, account), loaded_with in done.values()
        for feed, version in active.items()
        if (feed.source, feed.stream) == (source, stream) and feed.accepts(account)
    )
    pending = _all_pending(landing, active, set() if stale else set(done))
    if stale:
        # One transaction: readers see the old table until the new one is whole.
        with warehouse.write() as connection:
            serialise(connection, table.name)
            connection.execute(delete(table))
            connection.execute(delete(tables.load_audit).where(tables.load_audit.c.target_table == table.name))
            connection.execute(delete(tables.quarantine).where(tables.quarantine.c.target_table == table.name))
            for batch in _batches(landing, config, table, pending, report):
                _write(connection, table, batch, active, rates, run_id, report)
    else:
        for batch in _batches(landing, config, table, pending, report):
            with warehouse.write() as connection:
                serialise(connection, table.name)
                _write(connection, table, batch, active, rates, run_id, report)
    if rates is not None:
        with warehouse.write() as connection:
            serialise(connection, table.name)
            _convert_late(connection, table, rates)
    _record_failures(warehouse, table, pending, report, run_id)
    return report


def _loaded(connection: Connection, table: Table) -> dict[str, tuple[tuple[str, str, str], str]]:
    """Slice id -> ((source, stream, account), mapping version) of what the table holds."""
    audit = tables.load_audit
    query = select(audit).where(audit.c.target_table == table.name, audit.c.error.is_(None))
    return {
        row.slice_id: ((row.source, row.stream, row.source_account), row.mapping_version) for row in connection.execute(query)
    }


def _all_pending(landing: Landing, active: Iterable[Feed], done: set[str]) -> list[_Pending]:
    """What is to be loaded. Files may repeat each other's rows, so a new one has all of them loaded together, last."""
    vendors = [item for feed in active if feed.source != FILES for item in _pending(landing, feed, done)]
    files = [item for feed in active if feed.source == FILES for item in _pending(landing, feed, set())]
    return vendors + (files if any(item.slice_id not in done for _, item, _ in files) else [])


def _pending(landing: Landing, feed: Feed, done: set[str]) -> Iterator[_Pending]:
    """Slices to load, oldest first; of a report the days that each still speaks for, of a snapshot only the newest."""
    by_account: dict[str, list[Slice]] = {}
    for item in landing.slices(feed.source, feed.stream):
        if feed.accepts(item.account["id"]) and item.complete:
            by_account.setdefault(item.account["id"], []).append(item)
    for account, items in by_account.items():
        winners = landing.winners(feed.source, feed.stream, account) if feed.kind == "report" else {}
        if feed.kind == "snapshot":
            newest = items[-1]
            items = [item for item in items if item.slice_id == newest.same_as.get("*", newest.slice_id)]
        for item in items:
            if item.slice_id not in done:
                days = [date.fromisoformat(day) for day, winner in winners.items() if winner.slice_id == item.slice_id]
                yield feed, item, days if feed.kind == "report" else None


def _batches(
    landing: Landing, config: Config, table: Table, pending: list[_Pending], report: LoadReport
) -> Iterator[list[_Mapped]]:
    batch: list[_Mapped] = []
    size = 0
    for feed, item, days in pending:
        try:
            mapped = _map(landing, config, table, feed, item, days)
        except ContractError as error:
            report.failures[item.slice_id] = str(error)
            continue
        batch.append(mapped)
        size += item.records
        if size >= BATCH_RECORDS and feed.source != FILES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _map(landing: Landing, config: Config, table: Table, feed: Feed, item: Slice, days: list[date] | None) -> _Mapped:
    """One slice mapped and checked. Raises ContractError when the slice fails as a whole."""
    records = list(landing.records(item))
    context = MappingContext(config, feed.source, feed.stream, Account(**item.account))
    if records:
        try:
            frame = feed.mapping(pd.json_normalize(records).astype(object), context)
        except KeyError as error:
            raise ContractError(f"{feed.source}/{feed.stream}: column {error} is missing in the records") from None
    else:
        frame = pd.DataFrame()
    enforced = enforce(table, frame)
    # By record: one record may become many rows (a cost and its days).
    bad = enforced.rejects["record_number"].nunique()
    share = bad / frame.index.nunique() if len(frame) else 0.0
    if share > config.limits.max_quarantined and bad > 1:
        worst = enforced.rejects.groupby(["column_name", "reason"], dropna=False).size().idxmax()
        raise ContractError(
            f"{feed.source}/{feed.stream}: {bad} of {frame.index.nunique()} records fail the contract of {table.name} "
            f"(most: {worst[0]} {worst[1]}); allowed are {config.limits.max_quarantined:.0%}"
        )
    if days is not None:
        kept = enforced.rows[enforced.rows["date_day"].isin(days)].reset_index(drop=True)
        enforced = Enforced(kept, enforced.rejects, enforced.duplicates)
    raw = {number: json.dumps(records[number], ensure_ascii=False) for number in enforced.rejects["record_number"]}
    return _Mapped(item, feed, enforced, len(frame), days, raw)


def _write(
    connection: Connection, table: Table, batch: list[_Mapped], versions: dict[Feed, str], rates: Rates | None, run_id: str, report: LoadReport
) -> None:
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    merged: list[pa.Table] = []
    dropped: list[pa.Table] = []
    for mapped in batch:
        rows = mapped.enforced.rows.assign(slice_id=mapped.item.slice_id, run_id=run_id, loaded_at=now)
        if rates is not None:
            rows = _converted(table, rows, rates)
        arrow = pa.Table.from_pandas(rows, schema=arrow_schema(table), preserve_index=False)
        if mapped.feed.kind == "changes":
            merged.append(arrow)
        elif mapped.feed.source == FILES:
            dropped.append(arrow)
        else:
            replace_slices(connection, table, arrow, _same_stream(connection, table, mapped.item), mapped.days)
        _book(connection, table, mapped, arrow, versions[mapped.feed], run_id, now)
        report.slices += 1
        report.rows_in += mapped.rows_in
        report.loaded += arrow.num_rows
        report.quarantined += len(mapped.enforced.rejects)
        report.deduplicated += mapped.rows_in - arrow.num_rows - len(mapped.enforced.rejects)
    if merged:
        merge_newest(connection, table, _newest(table, pa.concat_tables(merged)))
    if dropped:
        connection.execute(delete(table).where(table.c.source == FILES))
        append(connection, table, _newest(table, pa.concat_tables(dropped)))


def _newest(table: Table, rows: pa.Table) -> pa.Table:
    """One row per key across the slices of a batch."""
    key = list(table.info["key"])
    order = [name for name in (table.info["version"], "slice_id") if name]
    if len(rows) == 0:
        return rows
    frame = rows.select(list(dict.fromkeys([*key, *order]))).to_pandas().sort_values(order, kind="stable")
    return rows.take(pa.array(sorted(frame.drop_duplicates(key, keep="last").index), pa.int64()))


def _same_stream(connection: Connection, table: Table, item: Slice) -> list[str]:
    """Ids of the slices of this stream and account that the table was loaded from."""
    audit = tables.load_audit.c
    query = select(audit.slice_id).where(
        audit.target_table == table.name, audit.source == item.source, audit.stream == item.stream,
        audit.source_account == item.account["id"],
    )  # fmt: skip
    return [*connection.execute(query).scalars(), item.slice_id]


def _book(
    connection: Connection, table: Table, mapped: _Mapped, rows: pa.Table, version: str, run_id: str, now: datetime
) -> None:
    """The audit row of a slice, and its rejects in quarantine, in the transaction that loads it."""
    item, rejects = mapped.item, mapped.enforced.rejects
    audit, quarantine = tables.load_audit, tables.quarantine
    for book in (audit, quarantine):
        connection.execute(delete(book).where(book.c.target_table == table.name, book.c.slice_id == item.slice_id))
    stamps = ("slice_id", "run_id", "loaded_at")
    content = rows.drop_columns([c for c in stamps if c in rows.column_names]).to_pandas()
    checksum = hashlib.sha256(pd.util.hash_pandas_object(content.astype(str), index=False).to_numpy().tobytes()).hexdigest()[:16]
    entry = {
        "target_table": table.name, "source": item.source, "source_account": item.account["id"], "stream": item.stream,
        "slice_id": item.slice_id, "mapping_version": version, "run_id": run_id, "rows_in": mapped.rows_in,
        "rows_loaded": rows.num_rows, "rows_quarantined": len(rejects),
        "rows_deduplicated": mapped.rows_in - rows.num_rows - len(rejects), "checksum": checksum, "error": None, "loaded_at": now,
    }  # fmt: skip
    append(connection, audit, pa.Table.from_pylist([entry], schema=arrow_schema(audit)))
    if len(rejects):
        bad = [
            {
                "source": item.source, "source_account": item.account["id"], "stream": item.stream, "target_table": table.name,
                "slice_id": item.slice_id, "record": mapped.raw[row.record_number], "record_number": int(row.record_number), "reason": row.reason,
                "column_name": row.column_name, "date_day": date.fromisoformat(item.end), "run_id": run_id, "quarantined_at": now,
            }
            for row in rejects.itertuples()
        ]  # fmt: skip
        append(connection, quarantine, pa.Table.from_pylist(bad, schema=arrow_schema(quarantine)))


def _rates(connection: Connection, config: Config) -> Rates:
    fx = tables.fx_rate.c
    return Rates(connection.execute(select(fx.date_day, fx.currency, fx.per_eur)).all(), config.currency)  # type: ignore[arg-type]


def _converted(table: Table, rows: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    amount, reporting = CONVERTED[table.name]
    day = rows["date_day"]
    if "close_date" in rows.columns:  # an opportunity is converted on its close date once it is closed
        day = day.where(~rows["is_closed"].fillna(False).astype(bool), rows["close_date"])
    money = rates.convert(rows[amount], rows["currency"], day)
    kinds = {reporting: pd.ArrowDtype(arrow_type(table.c[reporting])), "fx_date": pd.ArrowDtype(pa.date32())}
    return rows.assign(**{reporting: money["amount_reporting"].astype(kinds[reporting]), "fx_date": money["fx_date"].astype(kinds["fx_date"])})


def _convert_late(connection: Connection, table: Table, rates: Rates) -> None:
    """Convert rows again whose fixing was not there yet when they were loaded."""
    amount, reporting = CONVERTED[table.name]
    day = table.c.date_day
    waiting = select(table).where(
        table.c[amount].is_not(None), table.c.currency != rates.reporting, table.c.fx_date.is_(None) | (table.c.fx_date < day)
    )
    rows = connection.execute(waiting).mappings().all()
    if not rows:
        return
    frame = pd.DataFrame([dict(row) for row in rows], dtype=object)
    fresh = _converted(table, frame, rates)
    for row, new in zip(rows, fresh[[reporting, "fx_date"]].astype(object).itertuples(index=False), strict=True):
        value, fixed = (None if pd.isna(part) else part for part in new)
        if (value, fixed) != (row[reporting], row["fx_date"]):
            same = [table.c[name] == row[name] for name in table.info["key"]]
            connection.execute(update(table).where(*same).values({reporting: value, "fx_date": fixed}))


def _record_failures(
    warehouse: Warehouse, table: Table, pending: list[_Pending], report: LoadReport, run_id: str
) -> None:
    """Audit rows with the error of slices that failed as a whole, so that checks and coverage can tell."""
    audit = tables.load_audit
    now = datetime.now(timezone.utc).replace(tzinfo=None)
    failed = [
        {
            "target_table": table.name, "source": item.source, "source_account": item.account["id"], "stream": item.stream,
            "slice_id": item.slice_id, "mapping_version": "", "run_id": run_id, "rows_in": item.records, "rows_loaded": 0,
            "rows_quarantined": 0, "rows_deduplicated": 0, "checksum": None, "error": report.failures[item.slice_id], "loaded_at": now,
        }
        for _, item, _ in pending
        if item.slice_id in report.failures
    ]  # fmt: skip
    with warehouse.write() as connection:
        connection.execute(delete(audit).where(audit.c.target_table == table.name, audit.c.error.is_not(None)))
        if failed:
            append(connection, audit, pa.Table.from_pylist(failed, schema=arrow_schema(audit)))


