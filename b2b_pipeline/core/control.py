"""Reconciliation: the rows of a report against the totals that the vendor gives of the account as a whole."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from b2b_pipeline.connectors.base import Control, Source
from b2b_pipeline.errors import DamagedError
from b2b_pipeline.landing.store import Landing


@dataclass
class Reconciliation:
    """What came of it, a line for each account and day (of `differences`: and field), oldest first.

    `damaged`: accounts that could not be compared, because a slice is not what was landed.
    """

    days_compared: int = 0
    differences: list[str] = field(default_factory=list)
    without_totals: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)


def reconcile(landing: Landing, source: Source, control: Control) -> Reconciliation:
    """Compare every day that was over, where the account is, when both its rows and its totals were read, and of which
    the vendor did not say that it is not whole."""
    found = Reconciliation()
    accounts = {item.account["id"] for item in landing.slices(source.name, control.stream)}
    for account in sorted(accounts):
        try:
            rows = _sums(landing, source, control.stream, account, control.fields)
            totals = _sums(landing, source, control.totals, account, control.fields)
        except DamagedError as error:
            found.damaged.append(str(error))
            continue
        is_over = _days_read(landing, source, control.stream, account)
        has_totals = _days_read(landing, source, control.totals, account)
        for day in sorted(day for day in is_over if is_over[day] and has_totals.get(day, True)):
            if day in has_totals:
                found.days_compared += 1
            elif day in rows:
                found.without_totals.append(f"{source.name} {account} {day}")
                continue
            for name in control.fields:
                ours, theirs = rows[day][name], totals[day][name]
                if abs(ours - theirs) > control.rounded.get(name, 0) * (rows[day][""] + 1):
                    found.differences.append(
                        f"{source.name} {account} {day}: {name} of the rows {ours}, of the account {theirs}"
                    )
    return found


def _days_read(landing: Landing, source: Source, stream: str, account: str) -> dict[str, bool]:
    """Day -> whether it was over when it was last read, and whole by what the vendor said.

    Not asked of the slice that holds the records: a day that came out the same once it was over still points to the
    one read while it was not.
    """
    return {
        day: day not in item.provisional_days and day not in item.doubts
        for item in landing.slices(source.name, stream, account)
        if not item.flaw
        for day in item.covered()
    }


def _sums(
    landing: Landing, source: Source, stream: str, account: str, fields: tuple[str, ...]
) -> dict[str, dict[str, Decimal]]:
    """Day -> field -> sum over the records that count, and "" -> how many they are."""
    path = source.stream(stream).day
    winners = landing.winners(source.name, stream, account)
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for item in {winner.slice_id: winner for winner in winners.values()}.values():
        for record in landing.records(item):
            day = str(_at(record, path))
            if day in winners and winners[day].slice_id == item.slice_id:
                sums[day][""] += 1
                for name in fields:
                    sums[day][name] += Decimal(str(_at(record, name) or 0))
    return sums


def _at(record: dict[str, Any], path: str) -> Any:
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
