"""One key in several files: the newer file's row counts, and what it says otherwise is told.

Where rows carry `updated_at`, that decides which is newer. A lead that two files have was first seen on the earlier of
their days: a list of today does not make somebody new who was known in spring.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from sqlalchemy import Table

_STAMPS = {"source_account", "source_id", "slice_id", "run_id", "loaded_at", "vendor_stage", "fx_date"}


def overlapped(table: Table, files: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], dict[str, str]]:
    """The rows of each file (by slice id, the newest is the greatest), and what a newer file changed, by its slice."""
    frames = dict(files)
    if len(frames) < 2:
        return frames, {}
    key, version = list(table.info["key"]), table.info["version"]
    every = pd.concat([rows.assign(slice_id=item) for item, rows in sorted(frames.items())], ignore_index=True)
    keys = every[key].astype(object)
    again = every[keys.duplicated(keep=False)].astype(object)
    if again.empty:
        return frames, {}
    order = [version, "slice_id"] if version else ["slice_id"]
    again = again.sort_values(order, kind="stable").assign(group=lambda rows: rows.groupby(key, sort=False).ngroup())
    winner = again.drop_duplicates("group", keep="last").set_index("group")
    if table.name == "lead":
        frames = _first_seen(frames, again, key)
    content = [c.name for c in table.columns if c.name in again and c.name not in {*key, *_STAMPS}]
    against = winner.loc[again["group"]].set_index(again.index)
    differs = again[content].fillna("").astype(str) != against[content].fillna("").astype(str)
    if version:
        differs &= (again[version] == against[version]).to_numpy()[:, None]
    changed = differs.any(axis=1)
    notes = {}
    for item, lost in again[changed].groupby(against.loc[changed, "slice_id"]):
        names = ", ".join(name for name in content if differs.loc[lost.index, name].any())
        count = lost["group"].nunique()
        notes[str(item)] = (
            f"{count} x a row that an older file has otherwise: the newer counts (they differ in {names})"
        )
    return frames, notes


def _first_seen(frames: dict[str, pd.DataFrame], again: pd.DataFrame, key: list[str]) -> dict[str, pd.DataFrame]:
    unversioned = again.groupby("group")["updated_at"].transform("nunique") == 1
    first = again[unversioned].sort_values("created_at", kind="stable").drop_duplicates("group").set_index(key)
    days = ["created_at", "date_day"]
    found = {}
    for item, rows in frames.items():
        mine = pd.MultiIndex.from_frame(rows[key].astype(object))
        known = mine.isin(first.index)
        rows = rows.copy()
        for name in days:
            earlier = first[name].reindex(mine[known]).to_numpy()
            rows[name] = (
                rows[name]
                .astype(object)
                .mask(known, pd.Series(index=rows.index[known], data=earlier))
                .astype(rows[name].dtype)
            )
        found[item] = rows
    return found
