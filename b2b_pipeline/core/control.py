"""Reconciliation: the rows of a report against the totals that the vendor gives of the account as a whole."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

from b2b_pipeline.connectors.base import Control, Source
from b2b_pipeline.landing import Landing


def control_differences(landing: Landing, source: Source, control: Control) -> list[str]:
    """One line per account, day and field where the landed rows do not add up to the landed total."""
    found: list[str] = []
    accounts = {item.account["id"] for item in landing.slices(source.name, control.stream)}
    for account in sorted(accounts):
        rows = _sums(landing, source, control.stream, account, control.fields)
        totals = _sums(landing, source, control.totals, account, control.fields)
        totals_days = landing.winners(source.name, control.totals, account)
        for day in sorted(landing.winners(source.name, control.stream, account)):
            if day not in totals_days:
                continue
            for name in control.fields:
                ours, theirs = rows[day][name], totals[day][name]
                if ours != theirs:
                    found.append(f"{source.name} {account} {day}: {name} of the rows {ours}, of the account {theirs}")
    return found


def _sums(
    landing: Landing, source: Source, stream: str, account: str, fields: tuple[str, ...]
) -> dict[str, dict[str, Decimal]]:
    """Day -> field -> sum over the records that count."""
    path = source.stream(stream).day
    winners = landing.winners(source.name, stream, account)
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for item in {winner.slice_id: winner for winner in winners.values()}.values():
        for record in landing.records(item):
            day = str(_at(record, path))
            if day in winners and winners[day].slice_id == item.slice_id:
                for name in fields:
                    sums[day][name] += Decimal(str(_at(record, name) or 0))
    return sums


def _at(record: dict[str, Any], path: str) -> Any:
    value: Any = record
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value
