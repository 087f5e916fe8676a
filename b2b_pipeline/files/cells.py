"""What the text of a cell says: days, times, amounts, numbers. A cell says one thing beyond doubt, or why it does not.

Each `parse_*` returns the canonical text (ISO dates and UTC timestamps, plain decimals) or raises `Unfit` with the
reason in words that name the cell's text; `parsed` applies one to a column.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import ROUND_HALF_EVEN, Decimal
from math import prod
from typing import Literal
from zoneinfo import ZoneInfo

import pandas as pd

from b2b_pipeline.configuration.file_cells import EPOCHS
from b2b_pipeline.privacy import identifying

DecimalSign = Literal[".", ","]
YEARS = range(1970, 2101)  # a year outside is a typing error or a spreadsheet's zero
EPOCHS_FROM = datetime(2000, 1, 1, tzinfo=UTC)  # seconds that are taken for milliseconds all fall into 1970
PLACES = Decimal("0.000001")
LONGEST = 60  # characters that an amount may take
DIGITS = 14  # before the decimal sign, as the warehouse keeps them

# What a currency sign can stand for. It says which one only where the mapping does.
SIGNS: dict[str, frozenset[str]] = {
    "€": frozenset({"EUR"}), "£": frozenset({"GBP"}), "zł": frozenset({"PLN"}), "Kč": frozenset({"CZK"}),
    "Ft": frozenset({"HUF"}), "₹": frozenset({"INR"}), "₺": frozenset({"TRY"}), "₪": frozenset({"ILS"}),
    "₩": frozenset({"KRW"}), "฿": frozenset({"THB"}), "₱": frozenset({"PHP"}), "R$": frozenset({"BRL"}),
    "US$": frozenset({"USD"}), "C$": frozenset({"CAD"}), "A$": frozenset({"AUD"}), "NZ$": frozenset({"NZD"}),
    "HK$": frozenset({"HKD"}), "S$": frozenset({"SGD"}), "¥": frozenset({"JPY", "CNY"}),
    "$": frozenset({"USD", "CAD", "AUD", "NZD", "HKD", "SGD", "MXN"}), "kr": frozenset({"SEK", "NOK", "DKK", "ISK"}),
    "Fr": frozenset({"CHF"}),
}  # fmt: skip
_SIGN = r"(?:[A-Z]{3}|" + "|".join(re.escape(sign) for sign in sorted(SIGNS, key=len, reverse=True)) + r")\.?"
_MINUS = "-\u2212"  # hyphen and minus sign
_GROUP = ".,'\u2019"
_AMOUNT = re.compile(
    rf"(?P<open>\()?(?P<minus1>[{_MINUS}+])?\s*(?P<before>{_SIGN})?\s*(?P<minus2>[{_MINUS}+])?\s*"
    rf"(?P<number>[0-9{_GROUP}\s]*[0-9])(?:[.,]-+)?\s*(?:(?P<unit>[kKM]|[Mm]io|[Mm]rd|[Tt]sd|bn)\.?)?\s*(?P<minus3>[{_MINUS}])?\s*(?P<after>{_SIGN}|%)?\s*(?P<close>\))?"
)


_WORKBOOK_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")  # how a workbook's days and times are landed
_UNITS = {"K": 1000, "TSD": 1000, "M": 10**6, "MIO": 10**6, "MRD": 10**9, "BN": 10**9}
_EPOCH = re.compile(r"[0-9]{1,16}(\.[0-9]{1,9})?")
_SCIENTIFIC = re.compile(r"[+-]?\d([.,]\d+)?E\+\d+", re.IGNORECASE)


class Unfit(ValueError):
    """The cell does not say what it should. `reason` is why, in words that every cell of the same fault shares."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(f"{shown(text)} {reason}")
        self.reason = reason


def cited(text: str) -> str:
    """A cell's text as an example: short, one line, and no address in it."""
    flat = "".join(c if c.isprintable() else " " for c in text[:41])
    return "a text with @" if "@" in text else flat[:40] + "…" if len(text) > 40 else flat


def shown(text: str) -> str:
    """A cell's text within a sentence."""
    return cited(text) if "@" in text else repr(cited(text))


def clean(values: pd.Series, nulls: Sequence[str]) -> pd.Series:
    """Text without surrounding blanks and NUL, its letters composed; None where it is empty or a null marker."""
    markers = {marker.lower() for marker in nulls} | {""}

    def tidy(value: object) -> str | None:
        text = str(value).replace("\0", "").strip()
        if text.isascii():
            return None if text.lower() in markers else text
        return None if identifying(text).lower() in markers else unicodedata.normalize("NFC", text)

    tidied = values.astype(object).map(tidy, na_action="ignore")
    return tidied.astype(object).where(tidied.notna(), None)


def parsed(values: pd.Series, parse: Callable[[str], str]) -> tuple[pd.Series, pd.Series]:
    """`parse` of every cell that is not empty, and why those do not fit that do not. Each text is parsed once."""
    good: dict[str, str] = {}
    bad: dict[str, str] = {}
    for text in values.dropna().unique():
        try:
            good[text] = parse(identifying(text))
        except Unfit as unfit:
            bad[text] = unfit.reason
    return _looked_up(values, good), _looked_up(values, bad)


def folded(text: str) -> str:
    """What makes two words the same word: what is seen of them, upper and lower case apart."""
    return identifying(text).casefold()


def parse_id(text: str) -> str:
    if _SCIENTIFIC.fullmatch(text):
        raise Unfit(text, "is an id that a spreadsheet has turned into a number: export the column as text")
    return text


def _looked_up(values: pd.Series, table: Mapping[str, str]) -> pd.Series:
    found = values.map(table)
    return found.astype(object).where(found.notna(), None)


# -- days and times


def parse_day(text: str, formats: Sequence[str]) -> str:
    """-> `2026-01-31`."""
    return _moment(text, formats, "date").date().isoformat()


def parse_timestamp(text: str, formats: Sequence[str], zone: str | None) -> str:
    """-> `2026-01-31T08:00:00+00:00`. A local time that the end of summer time shows twice is taken as the first."""
    moment = _moment(text, formats, "timestamp")
    if moment.tzinfo is None and zone is None:
        raise Unfit(text, "has no time zone: add `zone` to the mapping")
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=ZoneInfo(zone or "UTC"))
    return _utc(moment)


def midnight(day: str, zone: ZoneInfo) -> str:
    """The instant at which an ISO day begins in `zone`."""
    return _utc(datetime.combine(date.fromisoformat(day), time(), zone))


def _utc(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds")


def _moment(text: str, formats: Sequence[str], kind: str) -> datetime:
    if _WORKBOOK_TIME.fullmatch(text):
        return datetime.fromisoformat(text)
    found = {moment for item in formats if (moment := _read(text, item)) is not None}
    if not found:
        raise Unfit(text, f"fits none of the declared {kind} formats {', '.join(formats)}")
    if len(found) > 1:
        raise Unfit(text, f"fits several of the declared {kind} formats")
    moment = found.pop()
    if moment.year not in YEARS:
        raise Unfit(text, f"is no likely {kind}: the year is not within {YEARS[0]} to {YEARS[-1]}")
    return moment


def _read(text: str, written: str) -> datetime | None:
    if written in EPOCHS:
        return _since_1970(text, EPOCHS[written])
    try:
        return datetime.strptime(text, written)  # noqa: DTZ007
    except ValueError:
        return None


def _since_1970(text: str, in_a_second: int) -> datetime | None:
    if not _EPOCH.fullmatch(text):
        return None
    try:
        moment = datetime.fromtimestamp(float(text) / in_a_second, UTC)
    except (OverflowError, OSError, ValueError):
        return None
    return moment if moment >= EPOCHS_FROM else None


def settled_formats(values: pd.Series, formats: Sequence[str], latest: date | None) -> list[str]:
    """Of several formats the one that reads all of a column that any reads, with no day after `latest`; else all."""
    if len(formats) < 2:
        return list(formats)
    texts = [identifying(text) for text in values.dropna().unique()]
    read = {item: [_read(text, item) for text in texts] for item in formats}
    readable = [number for number in range(len(texts)) if any(found[number] for found in read.values())]

    def fits(moment: datetime | None) -> bool:
        return moment is not None and (latest is None or moment.date() <= latest)

    whole = [item for item in formats if all(fits(read[item][number]) for number in readable)]
    return whole if len(whole) == 1 else list(formats)


# -- numbers and money


def decimal_sign(values: pd.Series) -> DecimalSign | None:
    """The decimal sign that the column shows beyond doubt, None when it does not or shows both."""
    signs = set()
    for text in values.dropna().unique():
        try:
            _amount(text, None, "amount")
        except Unfit:
            continue
        signs.add(_shown_sign(text))
    signs.discard(None)
    return signs.pop() if len(signs) == 1 else None


def parse_number(text: str, decimal: DecimalSign | None) -> str:
    """A number; `12.5 %` is 0.125."""
    number, sign = _amount(text, decimal, "number")
    if sign == "%":
        return _plain(number / 100)
    if sign:
        raise Unfit(text, "is not a number")
    return _plain(number)


def parse_money(text: str, decimal: DecimalSign | None) -> str:
    """An amount, without its currency."""
    number, sign = _amount(text, decimal, "amount")
    if sign == "%":
        raise Unfit(text, "is a percentage, not an amount")
    return _plain(number)


def product(factors: Sequence[str]) -> str:
    """Plain numbers multiplied, to 6 places."""
    return _plain(prod(map(Decimal, factors), start=Decimal(1)))


def total(parts: Sequence[str]) -> str:
    """Plain numbers added."""
    return _plain(Decimal(sum(map(Decimal, parts))))


def currency_sign(text: str) -> str | None:
    """The currency sign or code that stands beside an amount."""
    match = _match(text)
    sign = (match["before"] or match["after"] or "").rstrip(".") if match else ""
    return sign if sign not in ("", "%") else None


def is_amount(text: str) -> bool:
    """Whether the text looks like an amount or a number, in whatever style."""
    return _match(text) is not None


def sign_allows(sign: str, currency: str) -> bool:
    return currency in SIGNS.get(sign, {sign})


def _match(text: str) -> re.Match[str] | None:
    return _AMOUNT.fullmatch(text) if len(text) <= LONGEST else None


def _amount(text: str, decimal: DecimalSign | None, kind: str) -> tuple[Decimal, str]:
    match = _match(text)
    if match is None or bool(match["open"]) != bool(match["close"]) or (match["before"] and match["after"]):
        raise Unfit(text, f"is not {'an' if kind == 'amount' else 'a'} {kind}")
    minus = sum(
        part is not None and part in _MINUS for part in (match["minus1"], match["minus2"], match["minus3"])
    ) + bool(match["open"])
    if minus > 1:
        raise Unfit(text, f"is not {'an' if kind == 'amount' else 'a'} {kind}")
    digits = match["number"]
    sign = decimal or _shown_sign(text)
    if sign is None and len(re.findall(r"[.,]", digits)) == 1:
        raise Unfit(text, 'can be read in two ways: declare `read: {decimal: "."}` or `","`')
    whole, _, fraction = digits.partition(sign) if sign else (digits, "", "")
    if not _grouped(whole) or (fraction and not re.fullmatch("[0-9]+", fraction)):
        article = "an" if kind == "amount" else "a"
        raise Unfit(text, f"is not {article} {kind}" + (f" with decimal {sign!r}" if sign else ""))
    plain = re.sub("[^0-9]", "", whole) or "0"
    if len(plain.lstrip("0")) > DIGITS:
        raise Unfit(text, "is too large")
    factor = _UNITS[match["unit"].upper()] if match["unit"] else 1
    number = (Decimal(f"{plain}.{fraction[:40] or 0}") * factor).quantize(PLACES, ROUND_HALF_EVEN)
    if number >= 10**DIGITS:
        raise Unfit(text, "is too large")
    return (-number if minus else number), (match["before"] or match["after"] or "").rstrip(".")


def _grouped(whole: str) -> bool:
    """Digits, or digits in groups of three (or as in India: 12,34,567) with one kind of separator."""
    return bool(
        re.fullmatch(r"[0-9]*", whole)
        or re.fullmatch(rf"[0-9]{{1,3}}([{_GROUP}\s])[0-9]{{3}}(?:\1[0-9]{{3}})*", whole)
        or re.fullmatch(r"[0-9]{1,2}(?:,[0-9]{2})+,[0-9]{3}", whole)
    )


def _shown_sign(text: str) -> DecimalSign | None:
    """The decimal sign that this text proves, if it does."""
    match = _match(text)
    if match is None:
        return None
    digits = match["number"]
    dots, commas = digits.count("."), digits.count(",")
    if dots and commas:
        return "." if digits.rindex(".") > digits.rindex(",") else ","
    if dots + commas == 0:
        return None
    own: DecimalSign = "." if dots else ","
    other: DecimalSign = "," if dots else "."
    if dots + commas > 1:
        return other
    whole, _, fraction = digits.partition(own)
    proof = len(fraction) != 3 or len(re.sub("[^0-9]", "", whole)) > 3 or whole in ("", "0") or not whole.isdigit()
    return own if proof else None


def _plain(number: Decimal) -> str:
    return format(number.quantize(PLACES, ROUND_HALF_EVEN).normalize() + 0, "f")
