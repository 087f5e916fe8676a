"""Currency conversion: exact, at the right fixing, and made good when a fixing comes late."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, localcontext

import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from sqlalchemy import Table

from b2b_pipeline.core.fx import Rates, convert_again, converted, load_rates
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import fx_rate, opportunity, spend
from b2b_pipeline.warehouse.write import append, replace_rows
from b2b_pipeline_tests.support.end_to_end import ENGINES, new_warehouses

FRIDAY = date(2026, 5, 8)
FIXINGS = [
    (FRIDAY - timedelta(days=1), "USD", Decimal("1.0800")), (FRIDAY, "USD", Decimal("1.1000")),
    (FRIDAY, "GBP", Decimal("0.8500")),
]  # fmt: skip


def convert(reporting: str, *rows: tuple[str | None, str | None, date | None]) -> list[tuple[str | None, date | None]]:
    amounts, currencies, days = (pd.Series(list(column), dtype=object) for column in zip(*rows, strict=True))
    amounts = amounts.map(Decimal, na_action="ignore")
    found = Rates(FIXINGS, reporting).convert(amounts, currencies, days)
    known = found.astype(object).where(found.notna(), None)
    return [(None if m is None else str(m), day) for m, day in known.itertuples(index=False)]


def test_an_amount_is_converted_at_the_newest_fixing_on_or_before_its_day() -> None:
    assert convert("EUR", ("110", "USD", FRIDAY), ("110", "USD", FRIDAY - timedelta(days=1))) == [
        ("100.000000", FRIDAY), ("101.851852", FRIDAY - timedelta(days=1)),
    ]  # fmt: skip


def test_a_weekend_takes_the_fixing_before_and_one_older_than_seven_days_is_none() -> None:
    sunday, week, more = FRIDAY + timedelta(days=2), FRIDAY + timedelta(days=7), FRIDAY + timedelta(days=8)
    assert convert("EUR", ("1.1", "USD", sunday), ("1.1", "USD", week), ("1.1", "USD", more)) == [
        ("1.000000", FRIDAY), ("1.000000", FRIDAY), (None, None),
    ]  # fmt: skip


def test_both_sides_of_a_cross_rate_are_of_one_day() -> None:
    # On Thursday there is no pound, so the dollar of Thursday is of no use.
    assert convert("GBP", ("110", "USD", FRIDAY), ("110", "USD", FRIDAY - timedelta(days=1)), ("1", "EUR", FRIDAY)) == [
        ("85.000000", FRIDAY), (None, None), ("0.850000", FRIDAY),
    ]  # fmt: skip


def test_what_cannot_be_converted_is_null_and_the_reporting_currency_needs_neither_fixing_nor_day() -> None:
    rows = [
        ("1", "XXX", FRIDAY), ("1", None, FRIDAY), (None, "USD", FRIDAY), ("1", "USD", None), ("1", "EUR", None),
        ("1", "EUR", date(1990, 1, 1)), ("1", "USD", FRIDAY - timedelta(days=9)), ("99999999999999", "GBP", FRIDAY),
    ]  # fmt: skip
    assert convert("EUR", *rows) == [
        (None, None), (None, None), (None, None), (None, None), ("1.000000", None), ("1.000000", date(1990, 1, 1)),
        (None, None), (None, None),
    ]  # fmt: skip


MONEY = st.decimals(min_value=-(10**9), max_value=10**9, places=6)
PER_EUR = st.decimals(min_value=Decimal("0.0001"), max_value=20_000, places=4)


@given(
    amounts=st.lists(MONEY, min_size=1, max_size=5), base=PER_EUR, other=PER_EUR,
    reporting=st.sampled_from(["EUR", "USD", "GBP"]), currency=st.sampled_from(["EUR", "USD", "GBP"]),
)  # fmt: skip
def test_conversion_is_plain_decimal_arithmetic(
    amounts: list[Decimal], base: Decimal, other: Decimal, reporting: str, currency: str
) -> None:
    units = {"EUR": Decimal(1), "USD": base, "GBP": other}
    rates = Rates([(FRIDAY, name, value) for name, value in units.items() if name != "EUR"], reporting)
    series = pd.Series(amounts, dtype=object)
    found = rates.convert(series, pd.Series([currency] * len(series)), pd.Series([FRIDAY] * len(series), dtype=object))
    with localcontext(prec=80):
        rate = (units[reporting] / units[currency]).quantize(Decimal("1e-10"), ROUND_HALF_EVEN)
        expected = [(amount * rate).quantize(Decimal("1e-6"), ROUND_HALF_EVEN) for amount in amounts]
    expected_frame = pd.DataFrame({"amount_reporting": expected, "fx_date": [FRIDAY] * len(amounts)}, dtype=object)
    fits = [abs(value) < 10**14 for value in expected]
    assert_frame_equal(found[fits].astype(object), expected_frame[fits])
    assert found[[not fit for fit in fits]].isna().all(axis=None)


# -- in the warehouse

AT = datetime.fromisoformat("2026-05-09 03:00")


@pytest.fixture(params=ENGINES)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    return Warehouse(new_warehouses(request)())


def fix(warehouse: Warehouse, day: date, per_eur: str, at: datetime) -> None:
    row = {"source": "ecb", "date_day": day, "currency": "USD", "per_eur": Decimal(per_eur), "loaded_at": at}
    with warehouse.write() as connection:
        replace_rows(connection, fx_rate, pa.Table.from_pylist([row], schema=arrow_schema(fx_rate)))


def put(warehouse: Warehouse, table: Table, *rows: dict[str, object]) -> None:
    """Rows converted by the fixings of now."""
    with warehouse.write() as connection:
        whole = [{column.name: (row | {"loaded_at": AT}).get(column.name) for column in table.columns} for row in rows]
        frame = converted(table, pd.DataFrame(whole, dtype=object), load_rates(connection, "EUR"))
        append(connection, table, pa.Table.from_pandas(frame, schema=arrow_schema(table), preserve_index=False))


def again(warehouse: Warehouse, table: Table, at: datetime, run_id: str = "again") -> int:
    with warehouse.write() as connection:
        return convert_again(connection, table, load_rates(connection, "EUR"), at, run_id)


def test_spend_is_converted_again_when_its_fixing_comes_or_is_corrected(warehouse: Warehouse) -> None:
    fix(warehouse, FRIDAY - timedelta(days=1), "1.25", AT - timedelta(hours=1))
    day = {"source": "google_ads", "account_id": "1", "campaign_id": "7", "ad_group_id": "-", "ad_id": "-"}
    put(
        warehouse, spend,
        {**day, "date_day": FRIDAY, "spend": Decimal(100), "currency": "USD"},
        {**day, "date_day": FRIDAY + timedelta(days=20), "spend": Decimal(100), "currency": "USD"},
        {**day, "ad_id": "e", "date_day": FRIDAY, "spend": Decimal(100), "currency": "EUR"},
    )  # fmt: skip

    def values() -> list[tuple[object, ...]]:
        query = spend.select().order_by(spend.c.currency, spend.c.date_day)
        return [(row["spend_reporting"], row["fx_date"]) for row in warehouse.rows(query)]

    thursday, own = FRIDAY - timedelta(days=1), (Decimal(100), FRIDAY)
    assert values() == [own, (Decimal(80), thursday), (None, None)]
    assert again(warehouse, spend, AT) == 0
    fix(warehouse, FRIDAY, "2.00", AT + timedelta(hours=1))
    assert again(warehouse, spend, AT + timedelta(hours=2)) == 1
    assert values() == [own, (Decimal(50), FRIDAY), (None, None)]
    fix(warehouse, FRIDAY, "4.00", AT + timedelta(hours=3))
    assert again(warehouse, spend, AT + timedelta(hours=4)) == 1
    assert values() == [own, (Decimal(25), FRIDAY), (None, None)]
    assert again(warehouse, spend, AT + timedelta(hours=5)) == 0


def test_a_closed_opportunity_waits_for_the_fixing_of_its_close_date_not_of_its_opening(warehouse: Warehouse) -> None:
    opened, closed = FRIDAY - timedelta(days=30), FRIDAY
    fix(warehouse, opened, "1.00", AT - timedelta(hours=1))
    fix(warehouse, FRIDAY - timedelta(days=1), "1.25", AT - timedelta(hours=1))
    deal = {"source": "salesforce", "date_day": opened, "close_date": closed, "amount": Decimal(100), "currency": "USD"}
    put(
        warehouse, opportunity,
        {**deal, "opp_id": "won", "is_closed": True}, {**deal, "opp_id": "open", "is_closed": False},
    )  # fmt: skip

    def values() -> dict[str, Decimal]:
        return {row["opp_id"]: row["amount_reporting"] for row in warehouse.rows(opportunity.select())}

    assert values() == {"won": Decimal(80), "open": Decimal(100)}
    fix(warehouse, FRIDAY, "2.00", AT + timedelta(hours=1))
    assert again(warehouse, opportunity, AT + timedelta(hours=2)) == 1
    assert values() == {"won": Decimal(50), "open": Decimal(100)}


def test_a_row_whose_amount_became_another_one_is_of_the_run_that_converted_it(warehouse: Warehouse) -> None:
    thursday, late = FRIDAY - timedelta(days=1), AT + timedelta(hours=1)
    row = {"source": "google_ads", "account_id": "1", "campaign_id": "7", "ad_group_id": "-", "ad_id": "-"}
    row |= {"spend": Decimal(100), "currency": "USD", "run_id": "first"}
    fix(warehouse, thursday, "1.25", AT - timedelta(hours=1))
    put(warehouse, spend, {**row, "date_day": thursday}, {**row, "date_day": FRIDAY})

    def runs() -> list[str]:
        return [found["run_id"] for found in warehouse.rows(spend.select().order_by(spend.c.date_day))]

    fix(warehouse, thursday, "1.25", late)  # the same once more
    again(warehouse, spend, late, "same")
    assert runs() == ["first", "first"]
    assert again(warehouse, spend, late) == 0
    fix(warehouse, FRIDAY, "2.00", late)
    again(warehouse, spend, late + timedelta(hours=1), "second")
    assert runs() == ["first", "second"]


def test_an_amount_is_null_again_when_its_fixing_is_withdrawn_and_no_other_is_near(warehouse: Warehouse) -> None:
    day = {"source": "google_ads", "account_id": "1", "campaign_id": "7", "ad_group_id": "-", "ad_id": "-"}
    fix(warehouse, FRIDAY, "2.00", AT - timedelta(hours=1))
    put(warehouse, spend, {**day, "date_day": FRIDAY, "spend": Decimal(100), "currency": "USD", "run_id": "first"})
    with warehouse.write() as connection:
        connection.execute(fx_rate.delete())
    assert again(warehouse, spend, AT + timedelta(hours=1), "second") == 1
    (row,) = warehouse.rows(spend.select())
    assert (row["spend_reporting"], row["fx_date"], row["run_id"]) == (None, None, "second")
    assert again(warehouse, spend, AT + timedelta(hours=2)) == 0
