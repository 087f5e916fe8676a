"""Currency conversion: exact, row by row, at the ECB fixing of the row's own day (see docs/semantics.md, Money).

`Rates` knows the fixings; the rest keeps the amounts of the core tables converted by them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
from sqlalchemy import ColumnElement, Connection, Table, case, func, select

from b2b_pipeline.warehouse.schema import arrow_schema, arrow_type
from b2b_pipeline.warehouse.tables import fx_rate
from b2b_pipeline.warehouse.write import replace_rows

MAX_AGE_DAYS = 7
_RATE, _MONEY, _TOO_MUCH = Decimal("1e-10"), Decimal("1e-6"), Decimal("1e14")
# Table -> amount, its reporting twin: what is converted at the fixing of the row's day.
CONVERTED = {
    "spend": ("spend", "spend_reporting"), "opportunity": ("amount", "amount_reporting"),
    "cost_ledger": ("amount", "amount_reporting"),
}  # fmt: skip


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
        """Columns `amount_reporting` and `fx_date`; both null where the amount or a fixing is missing.

        An amount in the reporting currency needs no day. One too large to be stored counts as not convertible.
        """
        known: dict[tuple[str, date | None], Rate | None] = {}
        converted: list[Decimal | None] = []
        fixed: list[date | None] = []
        cells = (column.astype(object).where(column.notna(), None) for column in (amount, currency, day))
        with localcontext(prec=60):
            for value, code, when in zip(*cells, strict=True):
                if (code, when) not in known:
                    is_own = code == self.reporting
                    known[code, when] = Rate(Decimal(1), when) if is_own else self.on(code, when) if when else None
                rate = known[code, when] if value is not None else None
                money = (value * rate.rate).quantize(_MONEY, ROUND_HALF_EVEN) if rate else None
                fits = money is not None and abs(money) < _TOO_MUCH
                converted.append(money if fits else None)
                fixed.append(rate.fixed_on if rate and fits else None)
        return pd.DataFrame({"amount_reporting": converted, "fx_date": fixed}, index=amount.index, dtype=object)


def load_rates(connection: Connection, reporting: str) -> Rates:
    fx = fx_rate.c
    fixings = connection.execute(select(fx.date_day, fx.currency, fx.per_eur))
    return Rates((tuple(fixing) for fixing in fixings), reporting)


def converted(table: Table, rows: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """Rows of one of the tables CONVERTED with amount and day of the fixing filled in."""
    amount, reporting = CONVERTED[table.name]
    day = rows["date_day"]
    if "close_date" in rows.columns:  # an opportunity is converted on its close date once it is closed
        day = day.where(~rows["is_closed"].eq(True).fillna(False).astype(bool), rows["close_date"])
    money = rates.convert(rows[amount], rows["currency"], day)
    reporting_type, day_type = pd.ArrowDtype(arrow_type(table.c[reporting])), pd.ArrowDtype(pa.date32())
    return rows.assign(
        **{reporting: money["amount_reporting"].astype(reporting_type), "fx_date": money["fx_date"].astype(day_type)}
    )


def conversion_day(table: Table) -> ColumnElement[Any]:
    """The day whose fixing counts for a row."""
    if "close_date" not in table.c:
        return table.c.date_day
    return case((func.coalesce(table.c.is_closed, False), table.c.close_date), else_=table.c.date_day)


def convert_again(connection: Connection, table: Table, rates: Rates, now: datetime, run_id: str) -> int:
    """Convert rows again whose fixing came, said something else or was withdrawn since they were loaded: how many.

    Rows whose amount became another one are stamped with `run_id`, so that their days are told as restated.
    """
    amount, reporting = CONVERTED[table.name]
    day, fx = conversion_day(table), fx_rate.c
    foreign = table.c[amount].is_not(None) & (table.c.currency != rates.reporting) & day.is_not(None)
    news = select(fx.date_day, func.max(fx.loaded_at).label("at")).group_by(fx.date_day)
    renewed = {row.date_day: row.at for row in connection.execute(news)}
    used = select(table.c.currency, day.label("day"), table.c.fx_date, func.min(table.c.loaded_at).label("loaded_at"))
    stale = set()
    for row in connection.execute(used.where(foreign).group_by(table.c.currency, day, table.c.fx_date)):
        rate = rates.on(row.currency, row.day)
        fixed_on = rate.fixed_on if rate else None
        if fixed_on != row.fx_date or (fixed_on and renewed[fixed_on] > row.loaded_at):
            stale.add((row.currency, row.day))
    if not stale:
        return 0
    currencies, days = ({pair[side] for pair in stale} for side in (0, 1))
    query = select(table, day.label("day")).where(foreign, table.c.currency.in_(currencies), day.in_(days))
    found = [row._asdict() for row in connection.execute(query)]
    rows = [row for row in found if (row["currency"], row.pop("day")) in stale]
    before = pd.DataFrame(rows, dtype=object)
    frame = converted(table, before, rates)
    money = [reporting, "fx_date"]
    old, new = (side[money].astype(object).where(side[money].notna(), "") for side in (before, frame))
    frame = frame.assign(loaded_at=now, run_id=before["run_id"].where(old.eq(new).all(axis=1), run_id))
    replace_rows(connection, table, pa.Table.from_pandas(frame, schema=arrow_schema(table), preserve_index=False))
    return len(rows)
