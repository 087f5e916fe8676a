"""The contract of a core table: types, required columns, allowed values, keys. Frame in, typed rows and rejects out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Table

from b2b_pipeline.warehouse.cast import article, as_mask, cast, objects
from b2b_pipeline.warehouse.schema import arrow_schema

# A mapping that knows better why a row is bad says so here: the reason, the column, and the text that it is about.
REJECT, REJECT_COLUMN, REJECT_ABOUT = "_reject", "_reject_column", "_reject_about"
CONFLICT = "stands on several rows that differ"  # how the reason of a row ends that was read well, and contradicted
EPOCH = pd.Timestamp("1970-01-01")
EXAMPLES = 5  # texts that are shown of each reason


@dataclass(frozen=True)
class Enforced:
    """What became of the rows of one slice: `rows + rejects + duplicates` is what came in.

    rows: one per key, typed as the table. rejects: columns record_number, reason, column_name; about, the text that
    does not fit where the mapping tells it; source_id; fact_days, the days that the row would count on. duplicates: how
    many rows lost to a newer one of the same key.
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame
    duplicates: int

    def arrow(self, table: Table) -> pa.Table:
        return pa.Table.from_pandas(self.rows, schema=arrow_schema(table), preserve_index=False)


def enforce(table: Table, frame: pd.DataFrame) -> Enforced:
    """Type, check and deduplicate the rows of one slice. The frame's index names the raw record of each row."""
    frame = frame.reset_index(names="record_number") if "record_number" not in frame.columns else frame
    given = {name: objects(frame[name]) for name in frame.columns}
    nothing = np.full(len(frame), None, dtype=object)
    reason, where = (given.get(name, nothing).copy() for name in (REJECT, REJECT_COLUMN))

    def reject(mask: np.ndarray, name: str, text: str) -> None:
        first = mask & (reason == None)  # noqa: E711 - cell by cell
        reason[first], where[first] = text, name

    typed: dict[str, pa.Array] = {}
    for column in table.columns:
        name = column.name
        values, bad = cast(column, given.get(name, nothing))
        if bad.any():
            reject(bad, name, f"not {article(column)}")
        if name in table.info["required"] and values.null_count:
            reject(as_mask(values.is_null()) & ~bad, name, "empty")
        if name in table.info["allowed"]:
            allowed = pa.array([*table.info["allowed"][name], None], values.type)
            reject(~as_mask(pc.is_in(values, allowed)), name, "value not allowed")
        typed[name] = values
    version = table.info["version"]
    if version:
        typed[version] = typed[version].fill_null(EPOCH)
    rows, rejected = pa.table(typed), reason != None  # noqa: E711
    refused, good = rows.filter(rejected), rows.filter(~rejected)
    rejects = pd.DataFrame({
        "record_number": frame["record_number"][rejected], "reason": reason[rejected], "column_name": where[rejected],
        "about": given.get(REJECT_ABOUT, nothing)[rejected],
        "source_id": refused["source_id"].to_pylist(), "fact_days": _fact_days(refused),
    }, dtype=object)  # fmt: skip
    unique = _newest(good, list(table.info["key"]), version)
    return Enforced(
        unique.to_pandas(types_mapper=pd.ArrowDtype), rejects.reset_index(drop=True), good.num_rows - unique.num_rows
    )


def joined(table: Table, parts: Sequence[Enforced]) -> Enforced:
    """The rows of one slice that came in parts, one at least, in order."""
    if len(parts) < 2:
        return parts[0]
    rows = pa.concat_tables([part.arrow(table) for part in parts])
    unique = _newest(rows, list(table.info["key"]), table.info["version"])
    rejects = pd.concat([part.rejects for part in parts], ignore_index=True)
    lost = rows.num_rows - unique.num_rows
    return Enforced(
        unique.to_pandas(types_mapper=pd.ArrowDtype), rejects, lost + sum(part.duplicates for part in parts)
    )


def _newest(rows: pa.Table, key: list[str], version: str | None) -> pa.Table:
    """One row per key, in their order: that of the greatest version, and of these the last."""
    order = pc.sort_indices(rows[version]) if version else pa.array(np.arange(rows.num_rows))  # stable
    ranked = rows.select(key).take(order).append_column("row", order)
    kept = ranked.group_by(key, use_threads=False).aggregate([("row", "last")])["row_last"]
    return rows if len(kept) == rows.num_rows else rows.take(kept.take(pc.sort_indices(kept)))


@dataclass(frozen=True)
class Kind:
    """Rows that were rejected for one reason. `records`: their record numbers; `examples`: the first texts of them."""

    column: str | None
    reason: str
    count: int
    examples: list[str]
    records: list[int]

    def __str__(self) -> str:
        more = len(self.examples) > EXAMPLES
        return f"{self.count} x {reason_text(self.column, self.reason, self.examples[:EXAMPLES], more)}"


def kinds(rejects: pd.DataFrame) -> list[Kind]:
    """Rejects by column and reason, the most frequent first: what is about many texts is still one fault."""
    found = [
        Kind(str(column) or None, str(reason), len(group), group["about"].dropna().unique().tolist(),
             sorted(group["record_number"].unique().tolist()))
        for (column, reason), group in rejects.fillna({"column_name": ""}).groupby(["column_name", "reason"])
    ]  # fmt: skip
    return sorted(found, key=lambda kind: (-kind.count, kind.reason))


def fails_whole(rejects: pd.DataFrame, records: int, limit: float) -> bool:
    """Whether so many records are bad that what they came in, or its mapping, must be wrong; one alone never is.

    Rows that contradict one another were read well: they take the others with them only when there are none.
    """
    bad = rejects["record_number"].nunique()
    contradicted = rejects["reason"].astype(str).str.endswith(CONFLICT)
    misread = rejects.loc[~contradicted, "record_number"].nunique()
    return misread > max(1, limit * records) or bad == records > 1


def reason_text(column: str | None, reason: str, examples: list[str], more: bool) -> str:
    """`Day: fits several of the declared date formats (01/02/2026, 01/03/2026, …)`."""
    shown = f" ({', '.join(examples)}{', …' if more else ''})" if examples else ""
    return f"{column + ': ' if column else ''}{reason}{shown}"


def _fact_days(rows: pa.Table) -> list[str | None]:
    """The ISO days that each row would count on, with a comma between; None where that cannot be told.

    An opportunity that may be closed counts on its close date too.
    """
    days = rows["date_day"].to_pylist()
    if "close_date" in rows.column_names:
        closes = zip(days, rows["is_closed"].to_pylist(), rows["close_date"].to_pylist(), strict=True)
        told = [(day,) if is_closed is False else (day, closed) for day, is_closed, closed in closes]
    else:
        told = [(day,) for day in days]
    return [",".join(sorted({str(day) for day in each})) if all(each) else None for each in told]
