"""One key on several rows of a file: a true repeat, several rows of one lead, or a conflict.

Rows that say the same are repeats, and counted as such. Rows that differ while nothing says which is newer are a
conflict: none of them is better, all go to quarantine. Of several rows of one lead, who is the same person beyond doubt
(the same address, or nothing that speaks against it), the earliest one counts, and it is told what the others say
differently.
"""

from __future__ import annotations

import pandas as pd
from sqlalchemy import Table

from b2b_pipeline.configuration.file_cells import Cell
from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.files import cells
from b2b_pipeline.warehouse.contract import CONFLICT, REJECT, REJECT_ABOUT, REJECT_COLUMN

NOTES = "notes"  # in a frame's `attrs`: what was done that loses no row but should be known
ID = {
    "lead": "lead_id", "opportunity": "opp_id", "touchpoint": "touch_id", "cost_ledger": "cost_id",
    "email_event": "event_id", "identity_link": "lead_id",
    "pr_mention": "mention_id",
}  # fmt: skip
_PREFIX = {"touchpoint": "files:touchpoint:", "identity_link": "files:lead:"}
_NO_CONTENT = {"source_id", "vendor_stage"}  # where a row stands, and the file's own word for what our column says


def settled(frame: pd.DataFrame, table: Table, mapping: FileMapping) -> pd.DataFrame:
    """`frame` with conflicts rejected, and with all rows of one lead saying what its earliest says."""
    # A lead may have had several addresses, but not in one list: there they are several people with one id.
    key = ["source", "from_key", "rule"] if table.name == "identity_link" else list(table.info["key"])
    version = table.info["version"]
    same = [*key, version] if version in frame.columns else key
    index, frame = frame.index, frame.reset_index(drop=True)
    good = frame[frame[REJECT].isna()]
    said = good[same].astype(object).where(good[same].notna(), "")
    again = good[said.duplicated(keep=False)]
    if again.empty:
        return frame.set_axis(index)
    group = said.loc[again.index].groupby(same, sort=False).ngroup()
    content = [c.name for c in table.columns if c.name in frame.columns and c.name not in {*same, *_NO_CONTENT}]
    differs = again[content].fillna("").astype(str).groupby(group).nunique() > 1
    differing = differs.any(axis=1)
    collapses = differing & _one_person(again, group) if table.name == "lead" else differing & False
    conflict = group.isin(differing.index[differing & ~collapses])
    frame = _rejected(frame, again.index[conflict], table.name, mapping)
    if collapses.any():
        merged = again[group.isin(collapses.index[collapses])]
        frame = _earliest(frame, merged, group.loc[merged.index])
        others = len(merged) - int(collapses.sum())
        names = ", ".join(name for name in content if differs.loc[collapses, name].any())
        note = f"{others} x a lead that stands on another row too: the earliest row counts (they differ in {names})"
        frame.attrs[NOTES] = [*frame.attrs.get(NOTES, []), note]
    attrs = frame.attrs
    frame = frame.set_axis(index)
    frame.attrs = attrs
    return frame


def _one_person(rows: pd.DataFrame, group: pd.Series) -> pd.Series:
    """Of each group whether its rows are one person: all have one address, or neither address nor company speak
    against it."""
    by_group = rows.groupby(group)
    addresses, companies = by_group["email_hash"].nunique(), by_group["company"].nunique()
    everywhere = by_group["email_hash"].count() == by_group.size()
    return (addresses <= 1) & ((everywhere & (addresses == 1)) | (companies <= 1))


def _earliest(frame: pd.DataFrame, rows: pd.DataFrame, group: pd.Series) -> pd.DataFrame:
    first = rows.sort_values("created_at", kind="stable").groupby(group).head(1)
    first = first.set_axis(group.loc[first.index])
    frame = frame.copy()
    frame.loc[rows.index] = first.loc[group].to_numpy()
    return frame


def _rejected(frame: pd.DataFrame, rows: pd.Index, table: str, mapping: FileMapping) -> pd.DataFrame:
    """`frame` with a reason on the rows that nothing decides between; they name the id where the file has one."""
    if not len(rows):
        return frame
    frame = frame.copy()
    declared = mapping.tables.given()
    given = declared.get(table) or next(iter(declared.values()))
    cell: Cell | None = getattr(given.columns, ID.get(table, ""), None)
    ids = frame.loc[rows, "from_key" if table == "identity_link" else ID.get(table, REJECT)]
    frame.loc[rows, REJECT] = CONFLICT if cell else f"the row {CONFLICT}"
    frame.loc[rows, REJECT_COLUMN] = cell.title if cell else None
    if cell:
        frame.loc[rows, REJECT_ABOUT] = ids.map(
            lambda text: cells.cited(str(text).removeprefix(_PREFIX.get(table, "")))
        )
    return frame
