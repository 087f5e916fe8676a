"""The contract of a core table: types, required columns, allowed values, keys. Frame in, typed rows and rejects out."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pandas as pd
import pyarrow as pa
from sqlalchemy import BigInteger, Boolean, Column, Date, DateTime, Numeric, Table

from b2b_pipeline.warehouse.schema import arrow_schema, arrow_type

# A mapping that knows better why a row is bad says so here: the reason, the column, and the text that it is about.
REJECT, REJECT_COLUMN, REJECT_ABOUT = "_reject", "_reject_column", "_reject_about"
CONFLICT = "stands on several rows that differ"  # how the reason of a row ends that was read well, and contradicted
EPOCH = pd.Timestamp("1970-01-01", tz="UTC")
EXAMPLES = 5  # texts that are shown of each reason
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?|[+-]?\.\d+")
_TRUE, _FALSE = {"true", "1", "yes"}, {"false", "0", "no"}


@dataclass(frozen=True)
class Enforced:
    """What became of the rows of one slice: `rows + rejects + duplicates` is what came in.

    rows: one per key, typed as the table. rejects: columns record_number, reason, column_name; about, the text that
    does not fit where the mapping tells it; source_id; fact_days, the days that the row would count on. duplicates: how
    many rows lost to a newer one of the same key.
    """

    rows: pd.DataFrame
    rejects: pd.DataFrame
    duplicates: int

    def arrow(self, table: Table) -> pa.Table:
        return pa.Table.from_pandas(self.rows, schema=arrow_schema(table), preserve_index=False)


def enforce(table: Table, frame: pd.DataFrame) -> Enforced:
    """Type, check and deduplicate the rows of one slice. The frame's index names the raw record of each row."""
    frame = frame.reset_index(names="record_number") if "record_number" not in frame.columns else frame
    reason = pd.Series(None, index=frame.index, dtype=object)
    where = pd.Series(None, index=frame.index, dtype=object)
    about = frame[REJECT_ABOUT] if REJECT_ABOUT in frame.columns else where.copy()
    if REJECT in frame.columns:
        reason = frame[REJECT].astype(object).where(frame[REJECT].notna(), None)
        where = frame[REJECT_COLUMN].astype(object)

    def reject(mask: pd.Series, name: str, text: str) -> None:
        if mask.any():
            first = mask & reason.isna()
            reason[first], where[first] = text, name

    nothing = pd.Series(None, index=frame.index, dtype=object)
    typed: dict[str, pd.Series] = {}
    for column in table.columns:
        name = column.name
        values, bad = _typed(column, frame[name]) if name in frame.columns else (nothing, None)
        if bad is not None:
            reject(bad, name, f"not {_article(column)}")
        if name in table.info["required"]:
            reject(values.isna() if bad is None else values.isna() & ~bad, name, "empty")
        if name in table.info["allowed"]:
            reject(values.notna() & ~values.isin(table.info["allowed"][name]), name, "value not allowed")
        typed[name] = values
    version = table.info["version"]
    if version:
        typed[version] = typed[version].where(typed[version].notna(), EPOCH.tz_localize(None))
    rows = pd.DataFrame(typed, index=frame.index)
    rejected = reason.notna()
    about = about.astype(object).where(about.notna(), None)
    rejects = pd.DataFrame({
        "record_number": frame["record_number"], "reason": reason, "column_name": where, "about": about,
        "source_id": typed.get("source_id", nothing), "fact_days": _fact_days(rows, rejected),
    })[rejected]  # fmt: skip
    good = rows[~rejected]
    key = list(table.info["key"])
    newest = good.sort_values(version, kind="stable") if version else good
    unique = newest.drop_duplicates(key, keep="last").sort_index()
    # Only now: comparing Arrow-backed keys one by one would be slow.
    unique = unique.astype({c.name: pd.ArrowDtype(arrow_type(c)) for c in table.columns})
    return Enforced(unique.reset_index(drop=True), rejects.reset_index(drop=True), len(good) - len(unique))


@dataclass(frozen=True)
class Kind:
    """Rows that were rejected for one reason. `records`: their record numbers; `examples`: the first texts of them."""

    column: str | None
    reason: str
    count: int
    examples: list[str]
    records: list[int]

    def __str__(self) -> str:
        more = len(self.examples) > EXAMPLES
        return f"{self.count} x {reason_text(self.column, self.reason, self.examples[:EXAMPLES], more)}"


def kinds(rejects: pd.DataFrame) -> list[Kind]:
    """Rejects by column and reason, the most frequent first: what is about many texts is still one fault."""
    found = [
        Kind(str(column) or None, str(reason), len(group), group["about"].dropna().unique().tolist(),
             sorted(group["record_number"].unique().tolist()))
        for (column, reason), group in rejects.fillna({"column_name": ""}).groupby(["column_name", "reason"])
    ]  # fmt: skip
    return sorted(found, key=lambda kind: (-kind.count, kind.reason))


def fails_whole(rejects: pd.DataFrame, records: int, limit: float) -> bool:
    """Whether so many records are bad that what they came in, or its mapping, must be wrong; one alone never is.

    Rows that contradict one another were read well: they take the others with them only when there are none.
    """
    bad = rejects["record_number"].nunique()
    contradicted = rejects["reason"].astype(str).str.endswith(CONFLICT)
    misread = rejects.loc[~contradicted, "record_number"].nunique()
    return misread > max(1, limit * records) or bad == records > 1


def reason_text(column: str | None, reason: str, examples: list[str], more: bool) -> str:
    """`Day: fits several of the declared date formats (01/02/2026, 01/03/2026, …)`."""
    shown = f" ({', '.join(examples)}{', …' if more else ''})" if examples else ""
    return f"{column + ': ' if column else ''}{reason}{shown}"


def _fact_days(rows: pd.DataFrame, rejected: pd.Series) -> pd.Series:
    """The ISO days that each rejected row would count on, with a comma between; None where that cannot be told.

    An opportunity that may be closed counts on its close date too.
    """
    bad = rows[rejected]
    closes = zip(bad["is_closed"], bad["close_date"], strict=True) if "is_closed" in bad else [(False, None)] * len(bad)
    told = [
        (day,) if is_closed is False else (day, closed)
        for day, (is_closed, closed) in zip(bad["date_day"], closes, strict=True)
    ]
    known = [",".join(sorted({str(day) for day in days})) if all(days) else None for days in told]
    return pd.Series(known, index=bad.index, dtype=object)


def _article(column: Column[Any]) -> str:
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


def _typed(column: Column[Any], given: pd.Series) -> tuple[pd.Series, pd.Series]:
    """The typed values (None where empty or bad), and which cells are bad."""
    empty = given.isna()
    cells = given.astype(object).where(~empty, None)
    match column.type:
        case DateTime():
            values = _timestamps(cells)
            return values, values.isna() & ~empty
        case Numeric(scale=int(scale)):
            parse = _decimal(Decimal(1).scaleb(-scale), 10 ** (column.type.precision or 20) // 10**scale)
        case BigInteger():
            parse = _whole
        case Boolean():
            parse = _boolean
        case Date():
            parse = _date
        case _:
            parse = _text
    with localcontext(prec=60):
        parsed = [None if cell is None else parse(cell) for cell in cells]
    values = pd.Series(parsed, index=given.index, dtype=object)
    return values, values.isna() & ~empty


def _timestamps(cells: pd.Series) -> pd.Series:
    """UTC without zone, whole seconds. A bare number is no timestamp: nobody says of what."""
    texts = cells.where(cells.map(lambda cell: isinstance(cell, str | date)), None)
    stamps = pd.to_datetime(texts, utc=True, errors="coerce", format="ISO8601")
    return stamps.dt.floor("s").dt.tz_localize(None).astype("datetime64[us]")


def _decimal(quantum: Decimal, limit: int) -> Any:
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
