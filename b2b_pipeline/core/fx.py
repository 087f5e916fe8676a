"""Currency conversion: exact, row by row, at the ECB fixing of the row's own day (see docs/semantics.md, Money)."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import NamedTuple

import pandas as pd

MAX_AGE_DAYS = 7
_RATE, _MONEY = Decimal("1e-10"), Decimal("1e-6")


class Rate(NamedTuple):
    """Units of the reporting currency for one unit of a currency, and the day of the fixing."""

    rate: Decimal
    fixed_on: date


class Rates:
    """ECB fixings: `(day, currency, units per euro)`, towards one reporting currency."""

    def __init__(self, fixings: Iterable[tuple[date, str, Decimal]], reporting: str) -> None:
        self.reporting = reporting
        per_day: dict[date, dict[str, Decimal]] = defaultdict(lambda: {"EUR": Decimal(1)})
        for day, currency, per_eur in fixings:
            per_day[day][currency] = Decimal(per_eur)
        self._days: dict[str, list[date]] = defaultdict(list)
        self._rates: dict[tuple[str, date], Decimal] = {}
        with localcontext(prec=60):
            for day, units in sorted(per_day.items()):
                for currency, per_eur in units.items():
                    if reporting in units:
                        self._days[currency].append(day)
                        self._rates[currency, day] = (units[reporting] / per_eur).quantize(_RATE, ROUND_HALF_EVEN)

    def on(self, currency: str, day: date) -> Rate | None:
        """The newest fixing on or before `day`, None when there is none younger than 8 days."""
        if currency == self.reporting:
            return Rate(Decimal(1), day)
        days = self._days.get(currency, [])
        position = bisect_right(days, day)
        if position == 0 or (day - days[position - 1]).days > MAX_AGE_DAYS:
            return None
        return Rate(self._rates[currency, days[position - 1]], days[position - 1])

    def convert(self, amount: pd.Series, currency: pd.Series, day: pd.Series) -> pd.DataFrame:
        """Columns `amount_reporting` and `fx_date`; both null where the amount, its day or a fixing is missing."""
        converted: list[Decimal | None] = []
        fixed: list[date | None] = []
        with localcontext(prec=60):
            for value, code, when in zip(amount, currency, day, strict=True):
                rate = None
                if not (pd.isna(value) or pd.isna(code)):
                    if code == self.reporting:
                        rate = Rate(Decimal(1), when)
                    elif not pd.isna(when):
                        rate = self.on(code, when)
                converted.append((value * rate.rate).quantize(_MONEY, ROUND_HALF_EVEN) if rate else None)
                fixed.append(None if rate is None or pd.isna(rate.fixed_on) else rate.fixed_on)
        return pd.DataFrame({"amount_reporting": converted, "fx_date": fixed}, index=amount.index, dtype=object)
