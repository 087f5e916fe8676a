"""Cells become values of a type: a whole column at once exactly as cell by cell, which says what is right."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any
from unittest.mock import patch

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Numeric, Text

from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.warehouse import cast as casting
from b2b_pipeline.warehouse.cast import cast, objects

COLUMNS = [
    Column("value", kind)
    for kind in (Text(), BigInteger(), Numeric(20, 6), Numeric(20, 10), Boolean(), Date(), DateTime())
]

TEXTS = st.one_of(
    st.text(max_size=6), st.text("0123456789-+.eE_ ٣", max_size=22), st.integers().map(str),
    st.decimals(allow_nan=False, allow_infinity=False, places=6).map(str), st.dates().map(str),
    st.sampled_from(["0x1F", "00012", "2026-02-30", "0000-01-01", "true", "1", "NaN", "1e3", "h\x00i", "\ud800"]),
    st.sampled_from(["00000101", "9999-12-31T23:00:00-05:00"]),  # years that there are none
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
)  # fmt: skip
FORMS: list[st.SearchStrategy[Any]] = [
    TEXTS, st.from_regex(r"-?[0-9]{1,14}(\.[0-9]{1,6})?", fullmatch=True), st.integers(),
    st.floats(), st.booleans(), st.dates(), st.decimals(allow_nan=False),
    st.one_of(TEXTS, st.integers(), st.booleans(), st.floats()),
]  # fmt: skip


@pytest.mark.parametrize("column", COLUMNS, ids=lambda column: str(column.type))
@given(cells=st.one_of(*(st.lists(st.none() | form, max_size=4) for form in FORMS)))
def test_a_column_at_once_is_what_its_cells_are_one_by_one(column: Column[Any], cells: list[Any]) -> None:
    given_cells = objects(pd.Series(cells, dtype=object))
    values, bad = cast(column, given_cells)
    with patch.object(casting, "_at_once", return_value=None):
        one_by_one, bad_ones = cast(column, given_cells)
    assert (values.to_pylist(), bad.tolist()) == (one_by_one.to_pylist(), bad_ones.tolist())
    assert values.null_count == sum(cell is None for cell in given_cells) + bad.sum()


PLAIN: list[tuple[Any, list[Any]]] = [
    (Text(), ["a", "ä", None]), (BigInteger(), ["1", "-2", None]), (BigInteger(), [1, None]), (Boolean(), [True, None]),
    (Numeric(20, 6), ["1.5", "-0.000001", "12345678901234"]), (Numeric(20, 6), [1.5, 2, Decimal("0.5")]),
    (Date(), ["2026-05-01", None]), (Date(), [date(2026, 5, 1)]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "cells"), PLAIN, ids=str)
def test_what_vendors_send_as_a_rule_is_cast_at_once(kind: Any, cells: list[Any]) -> None:
    with patch.object(casting, "_parser", side_effect=AssertionError("cell by cell")):
        assert not cast(Column("value", kind), objects(pd.Series(cells, dtype=object)))[1].any()


LEAVES = (
    st.none() | st.booleans() | st.integers(-9999, 9999) | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
)
NAMES = st.sampled_from("abc")
RECORDS = st.lists(
    st.dictionaries(NAMES, st.recursive(LEAVES, lambda inner: st.dictionaries(NAMES, inner, min_size=1, max_size=2))),
    max_size=4,
)


@given(records=RECORDS)
def test_records_are_flattened_as_pandas_does_it(records: list[dict[str, Any]]) -> None:
    found, expected = flattened(records), pd.json_normalize(records).astype(object)
    assert len(found) == len(records)
    assert said(found) == said(expected)


def said(frame: pd.DataFrame) -> dict[str, list[Any]]:
    """Column -> cells; a column without any says nothing."""
    cells = frame.where(frame.notna(), None).to_dict("list")
    return {str(name): values for name, values in cells.items() if any(value is not None for value in values)}


def test_a_whole_number_stays_whole_beside_a_record_that_lacks_it() -> None:
    cells = flattened([{"id": 9007199254740993}, {}])["id"].tolist()
    assert cells == [9007199254740993, None]
    assert type(cells[0]) is int  # pandas makes floats of them
