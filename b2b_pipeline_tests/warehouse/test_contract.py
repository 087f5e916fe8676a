"""The contract of a core table: what is typed, what is refused and why, and which of two rows stays."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, MetaData, Numeric, Table, Text

from b2b_pipeline.warehouse.contract import REJECT, REJECT_ABOUT, REJECT_COLUMN, enforce
from b2b_pipeline.warehouse.schema import arrow_schema

TABLE = Table(
    "thing", MetaData(),
    Column("source_id", Text), Column("id", Text),
    Column("amount", Numeric(20, 6)), Column("count", BigInteger), Column("flag", Boolean),
    Column("at", DateTime), Column("date_day", Date), Column("kind", Text), Column("updated_at", DateTime),
    info={"key": ("id",), "version": "updated_at", "required": ("id",), "allowed": {"kind": ("red", "blue")}},
)  # fmt: skip


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def frame(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), dtype=object)


def cell(column: str, value: Any) -> Any:
    """What becomes of one cell: the value in the table, or why its row is refused."""
    enforced = enforce(TABLE, frame({"id": "a", column: value}))
    if len(enforced.rejects):
        return enforced.rejects.loc[0, "reason"]
    return enforced.arrow(TABLE).to_pylist()[0][column]


def test_rows_are_typed_as_the_table_is() -> None:
    given = frame(
        {"id": "a", "amount": "12.5", "count": "7", "flag": "true", "at": "2026-05-01T10:00:00.999Z",
         "date_day": "2026-05-01", "kind": "red", "updated_at": "2026-05-02T00:00:00+02:00"},
        {"id": "b"},
    )  # fmt: skip
    schema = arrow_schema(TABLE)
    expected = pd.DataFrame(
        {
            "source_id": None, "id": ["a", "b"],
            "amount": [Decimal("12.500000"), None], "count": [7, None], "flag": [True, None],
            "at": [at("2026-05-01 10:00"), None], "date_day": [date(2026, 5, 1), None], "kind": ["red", None],
            "updated_at": [at("2026-05-01 22:00"), at("1970-01-01")],
        }
    )  # fmt: skip
    enforced = enforce(TABLE, given)
    assert_frame_equal(enforced.rows, expected.astype({f.name: pd.ArrowDtype(f.type) for f in schema}))
    assert enforced.rejects.empty
    assert enforced.duplicates == 0


@pytest.mark.parametrize(
    ("column", "value", "becomes"),
    [
        ("amount", "1e3", Decimal("1000.000000")), ("amount", -0.1, Decimal("-0.100000")),
        ("amount", " 5 ", Decimal(5)),
        ("amount", "0.0000005", Decimal("0.000000")), ("amount", "0.0000015", Decimal("0.000002")),  # half-even
        ("amount", "99999999999999.999999", Decimal("99999999999999.999999")),
        ("amount", "99999999999999.9999999", "not an amount"), ("amount", "1e99", "not an amount"),
        ("amount", "9" * 5000, "not an amount"), ("amount", "12,50", "not an amount"),
        ("amount", "nan", "not an amount"),
        ("amount", "inf", "not an amount"), ("amount", True, "not an amount"), ("amount", "n/a", "not an amount"),
        ("count", "7.0", 7), ("count", 2**63 - 1, 2**63 - 1), ("count", 2**63, "not a whole number"),
        ("count", "7.5", "not a whole number"), ("count", "1e999", "not a whole number"),
        ("flag", True, True), ("flag", "FALSE", False), ("flag", 1, True), ("flag", "no", False),
        ("flag", "perhaps", "not true or false"),
        ("at", "2026-05-01", at("2026-05-01")), ("at", "2026-05-01T02:00:00-07:00", at("2026-05-01 09:00")),
        ("at", pd.Timestamp("2026-05-01T10:00:00Z"), at("2026-05-01 10:00")),
        ("at", 1714550400000, "not a timestamp"), ("at", "01/05/2026", "not a timestamp"),
        ("at", "2026-02-30T00:00:00Z", "not a timestamp"),
        ("date_day", date(2026, 5, 1), date(2026, 5, 1)), ("date_day", at("2026-05-01 23:00"), date(2026, 5, 1)),
        ("date_day", "2026-02-30", "not a date"), ("date_day", "1.5.2026", "not a date"),
        ("kind", "green", "value not allowed"), ("kind", None, None), ("kind", float("nan"), None),
        ("id", "nul\x00led", "nul\ufffdled"), ("id", "lone \ud800 half", "lone ? half"), ("id", 7, "7"),
        ("id", "=cmd()'); drop table thing; --<script>", "=cmd()'); drop table thing; --<script>"),
        ("id", "x" * 2**20, "x" * 2**20), ("id", None, "empty"),
    ],
    ids=lambda value: repr(value)[:40],
)  # fmt: skip
def test_a_cell_becomes_its_type_or_its_row_is_refused(column: str, value: Any, becomes: Any) -> None:
    assert cell(column, value) == becomes


def test_a_refused_row_names_its_record_and_the_first_thing_that_is_wrong() -> None:
    given = frame(
        {"id": "a", "amount": "12.5"}, {"id": "b", "amount": "x", "count": "y", "date_day": "2026-05-03"},
        {"id": None, "kind": "green"},
        {"id": "d", REJECT: "fits no format", REJECT_COLUMN: "date_day", REJECT_ABOUT: "31.31.2026", "count": "z"},
    )  # fmt: skip
    given.index = pd.Index([10, 11, 11, 12])  # records: one may become several rows
    expected = pd.DataFrame(
        {
            "record_number": [11, 11, 12], "reason": ["not an amount", "empty", "fits no format"],
            "column_name": ["amount", "id", "date_day"], "about": pd.Series([None, None, "31.31.2026"], dtype=object),
            "source_id": None, "fact_days": pd.Series(["2026-05-03", None, None], dtype=object),
        }
    )  # fmt: skip
    enforced = enforce(TABLE, given)
    assert_frame_equal(enforced.rejects, expected, check_dtype=False)
    assert enforced.rows["id"].tolist() == ["a"]
    assert len(enforced.rows) + len(enforced.rejects) + enforced.duplicates == len(given)


def test_of_two_rows_with_one_key_the_newer_version_stays_and_of_two_versions_alike_the_later_row() -> None:
    given = frame(
        {"id": "a", "count": 1, "updated_at": "2026-05-02"}, {"id": "a", "count": 2, "updated_at": "2026-05-01"},
        {"id": "b", "count": 3, "updated_at": "2026-05-01"}, {"id": "b", "count": 4, "updated_at": "2026-05-01"},
        {"id": "c", "count": 5, "updated_at": None}, {"id": "c", "count": 6, "updated_at": "2026-05-01"},
    )  # fmt: skip
    enforced = enforce(TABLE, given)
    assert dict(zip(enforced.rows["id"], enforced.rows["count"], strict=True)) == {"a": 1, "b": 4, "c": 6}
    assert enforced.duplicates == 3


def test_nothing_comes_to_nothing() -> None:
    enforced = enforce(TABLE, pd.DataFrame())
    assert (len(enforced.rows), len(enforced.rejects), enforced.duplicates) == (0, 0, 0)
    assert enforced.arrow(TABLE).schema == arrow_schema(TABLE)
