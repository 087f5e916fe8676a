"""Currency conversion: exact, row by row, at the ECB fixing of the row's own day (see docs/semantics.md, Money).

`Rates` knows the fixings; the rest keeps the amounts of the core tables converted by them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import ColumnElement, Connection, Table, case, func, or_, select

from b2b_pipeline.configuration.currencies import FIXED_FOR_GOOD, Given
from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import fx_rate
from b2b_pipeline.warehouse.write import replace_rows

MAX_AGE_DAYS = 7
FILE_DAYS = 40  # a rate of a month, whose file is some days late
_FOR_GOOD = {code: Given(rates={day: rate}) for code, (day, rate) in FIXED_FOR_GOOD.items()}
_RATE, _TOO_MUCH = Decimal("1e-10"), Decimal("1e14")
_STORED, _EXACT = pa.decimal128(20, 6), pa.decimal256(50, 10)  # of an amount; of a rate, however large
# Table -> its amounts, each with its reporting twin: what is converted at the fixing of the row's day.
CONVERTED = {
    "spend": {"spend": "spend_reporting", "conv_value_platform": "conv_value_reporting"},
    "opportunity": {"amount": "amount_reporting"}, "cost_ledger": {"amount": "amount_reporting"},
    "subscription": {"mrr": "mrr_reporting"}, "invoice": {"amount": "amount_reporting"},
    "invoice_line": {"amount": "amount_reporting"},
}  # fmt: skip


class _Leg(NamedTuple):
    """`units` of a currency are one `base`; so it is said since a day."""

    base: str
    units: Decimal
    since: date


class Rate(NamedTuple):
    """Units of the reporting currency for one unit of a currency, and the day of the fixing."""

    rate: Decimal
    fixed_on: date | None


class Rates:
    """Exchange rates towards one reporting currency.

    fixings: `(day, currency, units per euro)` of the ECB. given: what a user adds, which comes before the ECB's, as do
    the rates at which a currency went over into the euro.
    """

    def __init__(
        self,
        fixings: Iterable[tuple[date, str, Decimal]],
        reporting: str,
        given: Mapping[str, Given] = {},
    ) -> None:
        self.reporting = reporting
        self._given = _FOR_GOOD | dict(given)
        self._units: dict[str, dict[date, Decimal]] = defaultdict(dict)
        for day, currency, per_eur in fixings:
            self._units[currency][day] = Decimal(per_eur)
        self._days: dict[frozenset[str], list[date]] = {}

    def on(self, currency: str, day: date) -> Rate | None:
        """The rate of `day`: what a user gave for it, and of fixings the newest one not older than 7 days.

        Both fixings of a cross rate are of one day. None where one of them is missing.
        """
        if currency == self.reporting:
            return Rate(Decimal(1), day)
        theirs, ours = (self._leg(code, day) for code in (currency, self.reporting))
        bases = {theirs.base, ours.base}
        floating = frozenset(bases - {"EUR"} if len(bases) > 1 else ())
        fixed_on = self._fixing(floating, day) if floating else min(theirs.since, ours.since)
        if fixed_on is None:
            return None
        with localcontext(prec=60):
            one, other = (
                leg.units * (self._units[leg.base][fixed_on] if leg.base in floating else 1) for leg in (theirs, ours)
            )
            return Rate((other / one).quantize(_RATE, ROUND_HALF_EVEN), fixed_on)

    def _leg(self, currency: str, day: date) -> _Leg:
        """Units of a currency for one of the currency that it hangs on: itself, the euro, or what it is pegged to."""
        given = self._given.get(currency)
        found = given.on(day) if given else None
        return _Leg(given.per, *found) if given and found else _Leg(currency, Decimal(1), day)

    def _fixing(self, floating: frozenset[str], day: date) -> date | None:
        if floating not in self._days:
            self._days[floating] = sorted(set.intersection(*(set(self._units[code]) for code in floating)))
        days = self._days[floating]
        position = bisect_right(days, day)
        if position == 0 or (day - days[position - 1]).days > MAX_AGE_DAYS:
            return None
        return days[position - 1]

    def convert(self, amount: pd.Series, currency: pd.Series, day: pd.Series) -> pd.DataFrame:
        """Columns `amount_reporting` and `fx_date`; both null where the amount or a fixing is missing.

        An amount in the reporting currency needs no day. One too large to be stored counts as not convertible.
        """
        pairs = pd.DataFrame({"currency": currency, "day": day})
        position = pa.array(pairs.groupby(["currency", "day"], sort=False, dropna=False).ngroup())
        distinct = pairs.drop_duplicates().astype(object)
        rates = [self._of(*pair) for pair in distinct.where(distinct.notna(), None).itertuples(index=False)]
        factor = pa.array([rate and rate.rate for rate in rates], _EXACT).take(position)
        fixed_on = pa.array([rate and rate.fixed_on for rate in rates], pa.date32()).take(position)
        given = pa.array(amount, _STORED, from_pandas=True).cast(pa.decimal256(20, 6))
        money = pc.round(pc.multiply(given, factor), ndigits=6, round_mode="half_to_even")
        fits = pc.less(pc.abs(money), _TOO_MUCH)
        found = {
            "amount_reporting": pc.if_else(fits, money, None).cast(_STORED),
            "fx_date": pc.if_else(fits, fixed_on, None),
        }
        frame: pd.DataFrame = pa.table(found).to_pandas(types_mapper=pd.ArrowDtype)
        return frame.set_axis(amount.index)

    def _of(self, currency: str | None, day: date | None) -> Rate | None:
        if currency == self.reporting:
            return Rate(Decimal(1), day)
        return self.on(currency, day) if currency and day else None


def load_rates(connection: Connection, reporting: str, given: Mapping[str, Given] = {}) -> Rates:
    """The fixings that are loaded, with what a user gives: in pipeline.yaml, else in files."""
    fx = fx_rate.c
    fixings: list[tuple[date, str, Decimal]] = []
    in_files: dict[str, dict[date, Decimal]] = defaultdict(dict)
    for source, day, currency, per_eur in connection.execute(select(fx.source, fx.date_day, fx.currency, fx.per_eur)):
        if source == FILES:
            in_files[currency][day] = per_eur
        else:
            fixings.append((day, currency, per_eur))
    by_file = {currency: Given(rates=rates, days=FILE_DAYS) for currency, rates in in_files.items()}
    return Rates(fixings, reporting, by_file | dict(given))


def converted(table: Table, rows: pd.DataFrame, rates: Rates) -> pd.DataFrame:
    """Rows of one of the tables CONVERTED with amounts and day of the fixing filled in."""
    day = rows["date_day"]
    if "close_date" in rows.columns:  # an opportunity is converted on its close date once it is closed
        day = day.where(~rows["is_closed"].eq(True).fillna(False).astype(bool), rows["close_date"])
    fixed, money = None, {}
    for amount, reporting in CONVERTED[table.name].items():
        found = rates.convert(rows[amount], rows["currency"], day)
        money[reporting] = found["amount_reporting"]
        fixed = found["fx_date"] if fixed is None else fixed.fillna(found["fx_date"])
    return rows.assign(**money, fx_date=fixed)


def conversion_day(table: Table) -> ColumnElement[Any]:
    """The day whose fixing counts for a row."""
    if "close_date" not in table.c:
        return table.c.date_day
    return case((func.coalesce(table.c.is_closed, False), table.c.close_date), else_=table.c.date_day)


def convert_again(connection: Connection, table: Table, rates: Rates, now: datetime, run_id: str) -> int:
    """Convert rows again whose fixing came, said something else or was withdrawn since they were loaded: how many.

    Rows whose amount became another one are stamped with `run_id`, so that their days are told as restated.
    """
    amounts = CONVERTED[table.name]
    day, fx = conversion_day(table), fx_rate.c
    given = or_(*(table.c[amount].is_not(None) for amount in amounts))
    foreign = given & (table.c.currency != rates.reporting) & day.is_not(None)
    news = select(fx.date_day, func.max(fx.loaded_at).label("at")).group_by(fx.date_day)
    renewed: dict[date | None, datetime] = {row.date_day: row.at for row in connection.execute(news)}
    used = select(table.c.currency, day.label("day"), table.c.fx_date, func.min(table.c.loaded_at).label("loaded_at"))
    in_files = select(fx.currency, func.max(fx.loaded_at).label("at")).where(fx.source == FILES).group_by(fx.currency)
    by_file = {row.currency: row.at for row in connection.execute(in_files)}
    stale = set()
    for row in connection.execute(used.where(foreign).group_by(table.c.currency, day, table.c.fx_date)):
        rate = rates.on(row.currency, row.day)
        fixed_on = rate.fixed_on if rate else None
        told = (renewed.get(fixed_on), by_file.get(row.currency), by_file.get(rates.reporting))
        if fixed_on != row.fx_date or (fixed_on and any(at > row.loaded_at for at in told if at)):
            stale.add((row.currency, row.day))
    if not stale:
        return 0
    currencies, days = ({pair[side] for pair in stale} for side in (0, 1))
    query = select(table, day.label("day")).where(foreign, table.c.currency.in_(currencies), day.in_(days))
    found = [row._asdict() for row in connection.execute(query)]
    rows = [row for row in found if (row["currency"], row.pop("day")) in stale]
    before = pd.DataFrame(rows, dtype=object)
    frame = converted(table, before, rates)
    money = [*amounts.values(), "fx_date"]
    old, new = (side[money].astype(object).where(side[money].notna(), "") for side in (before, frame))
    frame = frame.assign(loaded_at=now, run_id=before["run_id"].where(old.eq(new).all(axis=1), run_id))
    replace_rows(connection, table, pa.Table.from_pandas(frame, schema=arrow_schema(table), preserve_index=False))
    return len(rows)
