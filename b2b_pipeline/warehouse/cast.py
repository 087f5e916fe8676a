"""Cells of any kind as values of a column's type: what a text, a number or a date of a vendor means, and what does not.

A column whose cells are all alike, as nearly all are, is cast at once; the rest cell by cell, which decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Numeric

from b2b_pipeline.warehouse.schema import arrow_type

Cells = npt.NDArray[Any]  # Python objects, None where there is nothing
Mask = npt.NDArray[np.bool_]

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}
_PLAIN_DAY, _PLAIN_WHOLE = r"^[1-9]\d{3}-\d\d-\d\d$", r"^-?\d{1,18}$"


def objects(values: pd.Series) -> Cells:
    cells: Cells = values.astype(object).to_numpy(copy=True)
    cells[pd.isna(cells)] = None
    return cells


def as_mask(values: pa.Array) -> Mask:
    mask: Mask = values.to_numpy(zero_copy_only=False)
    return mask


def cast(column: Column[Any], cells: Cells) -> tuple[pa.Array, Mask]:
    """The values of a column, null where a cell is empty or does not fit, and which cells do not."""
    if (values := _at_once(column, cells)) is not None:
        return values, np.zeros(len(cells), dtype=bool)
    if isinstance(column.type, DateTime):
        values = pa.array(_timestamps(cells), arrow_type(column))
    else:
        parse = _parser(column)
        with localcontext(prec=60):
            values = pa.array([None if cell is None else parse(cell) for cell in cells], arrow_type(column))
    return values, as_mask(values.is_null()) & (cells != None)  # noqa: E711 - cell by cell


def _at_once(column: Column[Any], cells: Cells) -> pa.Array | None:
    """The values of a column in which every cell fits and is of one plain form; else None: its cells are looked at."""
    kind = arrow_type(column)
    forms = set(map(type, cells)) - {type(None)}
    if not forms:
        return pa.nulls(len(cells), kind)
    if (forms == {bool} and isinstance(column.type, Boolean)) or (forms == {date} and isinstance(column.type, Date)):
        return pa.array(cells, kind)
    try:
        texts = pa.array(cells if forms == {str} else _number_texts(forms, cells), pa.string())
        match column.type:
            case Numeric(precision=int(precision), scale=int(scale)):
                plain = rf"^-?\d{{1,{precision - scale}}}(\.\d{{1,{scale}}})?$"
            case BigInteger():
                plain = _PLAIN_WHOLE
            case Date():
                plain = _PLAIN_DAY
            case Boolean() | DateTime():
                return None
            case _:
                return None if pc.any(pc.match_substring(texts, "\x00")).as_py() else texts
        fits = pc.all(pc.match_substring_regex(texts, plain)).as_py()
        return texts.cast(kind) if fits else None
    except (pa.ArrowInvalid, UnicodeEncodeError):  # no such day; half of a surrogate pair
        return None


def _number_texts(forms: set[type], cells: Cells) -> list[str | None]:
    """Numbers as they are written; raises ArrowInvalid for anything else."""
    if not forms <= {int, float, Decimal}:
        raise pa.ArrowInvalid("not numbers alone")
    return [None if cell is None else str(cell) for cell in cells]


def article(column: Column[Any]) -> str:
    match column.type:
        case Numeric():
            return "an amount"
        case BigInteger():
            return "a whole number"
        case Boolean():
            return "true or false"
        case DateTime():
            return "a timestamp"
        case Date():
            return "a date"
    return "text"


def _parser(column: Column[Any]) -> Callable[[Any], Any]:
    match column.type:
        case Numeric(scale=int(scale)):
            return _decimal(Decimal(1).scaleb(-scale), 10 ** (column.type.precision or 20) // 10**scale)
        case BigInteger():
            return _whole
        case Boolean():
            return _boolean
        case Date():
            return _date
    return _text


def _timestamps(cells: Cells) -> pd.Series:
    """UTC without zone, whole seconds, of a year from 1 to 9999. A bare number is no timestamp: nobody says of what."""
    given = pd.Series([cell if isinstance(cell, str | date) else None for cell in cells], dtype=object)
    stamps = pd.to_datetime(given, utc=True, errors="coerce", format="ISO8601")
    stamps = stamps.where(stamps.dt.year.between(1, 9999))
    return stamps.dt.floor("s").dt.tz_localize(None).astype("datetime64[us]")


def _decimal(quantum: Decimal, limit: int) -> Callable[[Any], Decimal | None]:
    def parse(value: Any) -> Decimal | None:
        text = str(value).strip()
        if not _NUMBER.fullmatch(text) or len(text) > 60:
            return None
        amount = Decimal(text)
        if abs(amount) >= limit:
            return None
        rounded = amount.quantize(quantum, ROUND_HALF_EVEN)
        return rounded if abs(rounded) < limit else None

    return parse


def _whole(value: Any) -> int | None:
    text = str(value).strip()
    if not _NUMBER.fullmatch(text) or len(text) > 30:
        return None
    number = Decimal(text)
    return int(number) if number == number.to_integral_value() and abs(number) < 2**63 else None


def _boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _date(value: Any) -> date | None:
    if isinstance(value, date):
        return value.date() if isinstance(value, datetime) else value
    try:
        return date.fromisoformat(str(value).strip())
    except ValueError:
        return None


def _text(value: Any) -> str:
    text = str(value)
    if text.isascii() and "\x00" not in text:
        return text
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()
