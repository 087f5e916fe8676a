"""Which slices a table has to load, by their envelopes alone; nothing is read here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from typing import NamedTuple

from b2b_pipeline.connectors.base import MERGED, Kind
from b2b_pipeline.landing.slices import Slice

EVERYTHING = "*"  # the one "day" of a list


class Due(NamedTuple):
    """A slice that is to be loaded; of a report for `days` only, those that no newer one speaks for."""

    item: Slice
    days: list[date] | None


def due(
    kind: Kind, items: Sequence[Slice], done: Collection[str], bad: Collection[str]
) -> tuple[list[Due], Mapping[str, Slice]]:
    """Of one stream and account, oldest first: what a table lacks beside `done`, in the order in which it is loaded.

    `bad` slices say nothing: their days are left to the next older one. The second is what is gone: slice id -> one
    that says "as there"; what it held is not known.
    """
    return _merged(items, done, bad) if kind in MERGED else _newest(kind, items, done, bad)


def by_account(items: Iterable[Slice]) -> list[list[Slice]]:
    found: dict[str, list[Slice]] = {}
    for item in items:
        found.setdefault(item.account["id"], []).append(item)
    return list(found.values())


def is_changed(accounts: Sequence[Sequence[Slice]], held: Collection[str]) -> bool:
    """Whether of a collection, each account oldest first, one came or was withdrawn since a table took those `held`."""
    there = {item.slice_id for items in accounts for item in items}
    return not there.issuperset(held) or any(items[-1].holder not in held for items in accounts)


def _merged(
    items: Sequence[Slice], done: Collection[str], bad: Collection[str]
) -> tuple[list[Due], Mapping[str, Slice]]:
    there = {item.slice_id for item in items}
    wanted = [Due(item, None) for item in items if item.slice_id not in done and item.slice_id not in bad]
    return wanted, {item.holder: item for item in items if item.holder not in there}


def _newest(
    kind: Kind, items: Sequence[Slice], done: Collection[str], bad: Collection[str]
) -> tuple[list[Due], Mapping[str, Slice]]:
    """Newest first. A day that came out as before (`same_as`) is spoken for by the slice that holds its records."""
    wanted: list[Due] = []
    taken: set[str] = set()
    held: dict[str, set[str]] = {}  # slice id -> days for which a newer slice says: as there
    for item in reversed(items):
        says = set(item.covered()) if kind == "report" else {EVERYTHING}
        mine = held.pop(item.slice_id, set())
        for day in says - taken:
            holder = item.slice_id if item.flaw else item.same_as.get(day, item.slice_id)
            mine.add(day) if holder == item.slice_id else held.setdefault(holder, set()).add(day)
        taken |= says
        if item.slice_id in bad:
            taken -= mine
        elif mine and item.slice_id not in done:
            days = [date.fromisoformat(day) for day in sorted(mine)] if kind == "report" else None
            wanted.append(Due(item, days))
    return wanted, dict.fromkeys(held, items[-1])
