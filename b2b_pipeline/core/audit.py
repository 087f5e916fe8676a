"""The books of a load, kept in its own transactions: `load_audit`, a row per slice, and `quarantine`, a row per reject.

Of each slice rows in = loaded + quarantined + deduplicated; what failed whole is there with its error.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv
from sqlalchemy import Connection, Table, delete, exists, select, tuple_

from b2b_pipeline.core.mapped import Mapped
from b2b_pipeline.landing.slices import Slice
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.write import append

_REJECT = ["record_number", "reason", "column_name", "about", "date_day", "record", "source_id", "fact_days"]


def enter(
    connection: Connection,
    books: Sequence[Table],
    mapped: Mapped,
    rows: pa.Table,
    version: str,
    run_id: str,
    now: datetime,
) -> None:
    """The audit row of a slice of which `rows` are loaded, and its rejects."""
    audit, quarantine = books
    strike(connection, books, mapped.table, [mapped.item.slice_id])
    of = _of_slice(mapped.item, mapped.table, run_id)
    entry = {
        **of, "mapping_version": version, "seen": json.dumps(mapped.seen, sort_keys=True), "rows_in": mapped.rows_in,
        "rows_loaded": rows.num_rows, "rows_quarantined": len(mapped.rejects),
        "rows_deduplicated": mapped.deduplicated, "checksum": _checksum(rows), "loaded_at": now,
        "notes": "\n".join(mapped.notes) or None, "first_day": mapped.span[0], "last_day": mapped.span[1],
    }  # fmt: skip
    _append(connection, audit, [entry])
    refused = mapped.rejects[_REJECT].astype(object).to_numpy().tolist()
    shared = {**of, "quarantined_at": now}
    _append(connection, quarantine, [shared | dict(zip(_REJECT, reject, strict=True)) for reject in refused])


def strike(connection: Connection, books: Sequence[Table], target: Table, slices: Collection[str]) -> None:
    """Take out of the books what they say of slices."""
    for book in books:
        connection.execute(delete(book).where(book.c.target_table == target.name, book.c.slice_id.in_(slices)))


def enter_failures(
    connection: Connection, target: Table, items: Iterable[Slice], why: Mapping[str, str], run_id: str, now: datetime
) -> None:
    """Audit rows with the error of slices that failed as a whole, so that checks and coverage can tell."""
    audit = tables.load_audit
    mine = audit.c.target_table == target.name
    connection.execute(delete(audit).where(mine, audit.c.error.is_not(None)))
    failed = [
        {
            **_of_slice(item, target, run_id), "mapping_version": "", "rows_in": item.records, "rows_loaded": 0,
            "rows_quarantined": 0, "rows_deduplicated": 0, "error": why[item.slice_id], "loaded_at": now,
        }
        for item in items
    ]  # fmt: skip
    _append(connection, audit, failed)


def release(connection: Connection, target: Table, streams: Collection[tuple[str, str]]) -> None:
    """Take out of quarantine what a newer slice of `streams`, whose slices are merged, says anew of the same record,
    well or not: the newest word counts.

    Reports and files are replaced whole. A record that was right before and is not any more stays in quarantine.
    """
    bad, audit, newer = tables.quarantine.c, tables.load_audit.c, tables.quarantine.alias("newer")
    mine = (bad.target_table == target.name) & tuple_(bad.source, bad.stream).in_(streams)
    if connection.execute(select(bad.source_id).where(mine).limit(1)).first() is None:
        return
    # Another stream's records may have the same ids: the audit knows which stream a slice is of.
    later = select(audit.slice_id).where(
        audit.target_table == bad.target_table, audit.source == bad.source, audit.stream == bad.stream,
        audit.source_account == bad.source_account, audit.slice_id > bad.slice_id,
    )  # fmt: skip
    for other in (target, newer):
        same = (other.c.source_id == bad.source_id) & other.c.slice_id.in_(later.correlate(tables.quarantine))
        if other is newer:
            same &= other.c.target_table == bad.target_table
        said = exists(select(1).select_from(other).where(same).correlate(tables.quarantine))
        connection.execute(delete(tables.quarantine).where(mine, said))


def _of_slice(item: Slice, target: Table, run_id: str) -> dict[str, Any]:
    return {
        "target_table": target.name, "source": item.source, "source_account": item.account["id"],
        "stream": item.stream, "slice_id": item.slice_id, "run_id": run_id,
    }  # fmt: skip


def _append(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        append(connection, table, pa.Table.from_pylist(rows, schema=arrow_schema(table)))


def _checksum(rows: pa.Table) -> str:
    """A digest of what was loaded, stamps left out."""
    content = rows.drop_columns([name for name in ("slice_id", "run_id", "loaded_at") if name in rows.column_names])
    digest = _Digest()
    pyarrow.csv.write_csv(content, pa.PythonFile(digest, "w"))
    return digest.told.hexdigest()[:16]


class _Digest(io.RawIOBase):
    """A file that keeps nothing but its digest."""

    def __init__(self) -> None:
        self.told = hashlib.sha256()

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.told.update(content)
        return len(content)
