"""How a file that nobody has mapped looks: encoding, delimiter, header, total rows, and what its columns hold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, cached_property
from itertools import islice, takewhile

import charset_normalizer

from b2b_pipeline.configuration.currencies import KNOWN
from b2b_pipeline.configuration.file_mapping import Read
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files import cells
from b2b_pipeline.files.formats import Grid, Row, grids, unpacked
from b2b_pipeline.files.reading import ADDRESS, other_part
from b2b_pipeline.files.sheet import NO, YES
from b2b_pipeline.files.vocabulary import Holds, plain

SAMPLE = 100_000  # rows that are looked at
FEW = 50  # values that are enough to see what a column holds
NULLS = frozenset(Read().nulls)
DAYS = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
        "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d %b %Y", "%d %b, %Y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%d %B, %Y",
        "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%d/%b/%Y", "%d-%m-%y", "%m-%d-%y", "%a, %b %d, %Y", "%A, %B %d, %Y",
        "%a %d %b %Y")  # fmt: skip
TIMES = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p")
ZONED = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%dT%H:%M%z", "%Y-%m-%d %H:%M:%S%z",
         "%Y-%m-%d %H:%M:%S %z", "%Y-%m-%d %H:%M:%S.%f%z")  # fmt: skip
STAMPS = (
    *ZONED,
    *(f"{day}T{time}" for day in DAYS[:1] for time in TIMES[:3]),
    *(f"{day} {time}" for day in DAYS for time in TIMES),
    *(f"{day}, {time}" for day in DAYS for time in TIMES),
    *(f"{day} {time} UTC" for day in DAYS[:1] for time in TIMES[:3]),
)
MONTHS = ("%Y-%m", "%b %Y", "%B %Y", "%m/%Y", "%m.%Y", "%b-%y", "%b-%Y", "%Y/%m", "%b %y", "%Y%m")
_TOTAL = (
    r"(grand|sub|net)?[\s-]*(total|totals|summe|gesamt\w*|sum|ergebnis|somme|suma|totale|totaal|insgesamt|合計|総計)"
)
SURE_TOTAL = re.compile(rf"{_TOTAL}\s*([:\uff1a(\u2013-].*)?", re.I)
LIKE_TOTAL = re.compile(rf"{_TOTAL}\b.*", re.I)
WESTERN = frozenset(
    [*range(0xA0, 0x100), *map(ord, "\u20ac\u0152\u0153\u0178\u2018\u2019\u201c\u201d\u201e\u2013\u2014\u2026\u2122")]
)
_CODE = re.compile("(%[A-Za-z])")
_COUNT = re.compile(r"[0-9]+|[1-9][0-9]{0,2}([.,'\u2019 \u00a0\u202f])[0-9]{3}(\1[0-9]{3})*")
_PARENTHESES = re.compile(r"[(\[\uff08](.*?)[)\]\uff09]")
PARTS = (
    "attendee details",  # of Zoom's report of a webinar, after host and panelists: who registered, and who came
    "2. participants",  # of Teams' report of a meeting: a row each, before what each did
)


@dataclass(frozen=True)
class Seen:
    """A column of the file: its name, the texts of its cells (each once), and how many cells are not empty."""

    header: str
    values: list[str]
    filled: int = 0

    @cached_property
    def unit(self) -> str | None:
        """The currency that the header names: `Cost (USD)`, `cost_usd`, `Amount in EUR`."""
        inside = [word for part in _PARENTHESES.findall(self.header) for word in re.split(r"[\s,/]+", part)]
        words = [*inside, *self._tokens[-1:]]
        return next((word.upper() for word in words if word.upper() in KNOWN and len(word) == 3), None)

    @cached_property
    def _tokens(self) -> list[str]:
        bare = _PARENTHESES.sub(" ", self.header)
        return re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", bare))

    def spellings(self, objects: frozenset[str] = frozenset()) -> list[str]:
        """What the header may be meant to say, as written first: without parentheses, currency, object."""
        if objects not in self._spelt:
            self._spelt[objects] = self._spellings(objects)
        return self._spelt[objects]

    @cached_property
    def _spelt(self) -> dict[frozenset[str], list[str]]:
        """Found once: every word of every kind of file is looked for in them."""
        return {}

    def _spellings(self, objects: frozenset[str]) -> list[str]:
        tokens = self._tokens
        found = [plain(self.header), plain(" ".join(tokens))]
        if self.unit and tokens and tokens[-1].upper() == self.unit:
            tokens = tokens[:-2] if len(tokens) > 2 and tokens[-2].lower() == "in" else tokens[:-1]
            found.append(plain(" ".join(tokens)))
        last = plain(re.split(r"\s[-\u2013]\s|:\s", _PARENTHESES.sub(" ", self.header))[-1])
        if len(tokens) > 1 and tokens[0].lower() in objects:
            found += [plain(" ".join(tokens[1:])), last]
        return [word for word in dict.fromkeys(found) if word]

    def is_one_of(self, words: Iterable[str], objects: frozenset[str] = frozenset()) -> bool:
        return not set(self.spellings(objects)).isdisjoint(words)

    def formats(self, among: Iterable[str]) -> list[str]:
        """The formats that fit every value."""
        possible = [item for item in among if self.values and fits(self.values[0], item)]
        return [item for item in possible if all(fits(value, item) for value in self.values)]

    def holds(self, kind: Holds) -> bool:
        match kind:
            case "email":
                return self._mostly(lambda value: ADDRESS.fullmatch(value) is not None)
            case "money" | "number":
                return not self.values or self._mostly(lambda value: cells.is_amount(value))
            case "date":
                return not self.values or self.is_dated
            case "month":
                return not self.values or self._mostly(lambda value: any_fits(value, MONTHS))
            case "count":
                return bool(self.values) and all(map(_COUNT.fullmatch, self.values))
            case "flag":
                return bool(self.values) and all(value.lower() in YES | NO for value in self.values)
            case "event":
                return not self.values or self.is_dated or self._counts
            case "text":
                return True

    @cached_property
    def is_dated(self) -> bool:
        return bool(self.values) and self._mostly(lambda value: any_fits(value, (*DAYS, *STAMPS, *MONTHS)))

    @property
    def _counts(self) -> bool:
        """Whether each cell is a yes, a no or a small count."""
        return all(value.lower() in YES | NO or (value.isdecimal() and len(value) < 4) for value in self.values)

    def _mostly(self, true: Callable[[str], bool]) -> bool:
        few = self.values[:FEW]
        return sum(map(true, few)) * 2 > len(few)

    @property
    def is_unique(self) -> bool:
        return self.filled > 0 and self.filled == len(self.values)

    @property
    def has_addresses(self) -> bool:
        return any(ADDRESS.fullmatch(value) for value in self.values)


@dataclass(frozen=True)
class Export:
    """A file as it looks: how it is written, its columns without the rows that seem to be totals, and those rows.

    said: what stands above the header as a word, plain, and what it is.
    """

    encoding: str | None
    delimiter: str | None
    sheet: str | None
    header_row: int
    header: list[str]
    columns: list[Seen]
    rows: list[list[str]]
    totals: list[list[str]]
    said: dict[str, str]

    def column_of(self, column: Seen) -> list[str | None]:
        """The cells of one column, row by row."""
        number = next(n for n, title in enumerate(self.header) if title.strip() == column.header)
        return [_cell(row, number) for row in self.rows]


def look(content: bytes) -> Export:
    """Raises ContractError when the file cannot be read as a table at all."""
    encoding, seen = _grids(content)
    grid = max(seen, key=lambda item: _width(_part(item.head())))
    rows = _part(grid.head())
    width = _width(rows)
    if width < 2:
        raise ContractError("no table found: with comma, semicolon, tab and bar the rows have one column")
    first = next((row for row in rows if _is_header(row.cells, width)), rows[0])
    header = first.cells
    above = ([cell.strip() for cell in row.cells if cell.strip()] for row in rows if row.line < first.line)
    said = {plain(cells[0]): cells[1] for cells in above if len(cells) == 2}
    below = [row for row in islice(grid.rows(len(header)), SAMPLE) if row.line > first.line]
    part = (row for row in below[: other_part(below, header)] if row.problem is None)
    body = [row.cells for row in part if sum(map(bool, row.cells)) > 1]  # a footer has one cell
    while body and _is_remark(body[-1], len(header)):
        body.pop()
    totals = _totals(body, len(header))
    rest = [row for row in body if row not in totals]
    columns = [_seen(rest, number, title) for number, title in enumerate(header) if title.strip()]
    sheet = grid.sheet if sum(_width(item.head()) > 1 for item in seen) > 1 else None
    return Export(encoding, grid.delimiter, sheet, first.line, header, columns, rest, totals, said)


def total_cell(row: list[str], pattern: re.Pattern[str] = LIKE_TOTAL) -> int | None:
    """Which cell of a row says that it is a sum of others."""
    return next((number for number, cell in enumerate(row) if pattern.fullmatch(cell.strip())), None)


def fits(text: str, format_: str) -> bool:
    if not _shape(format_).fullmatch(text):  # `strptime` alone takes a thousand times as long to say no
        return False
    try:
        return datetime.strptime(text, format_).year in cells.YEARS  # noqa: DTZ007
    except ValueError:
        return False


@cache
def _shape(format_: str) -> re.Pattern[str]:
    codes = {"Y": "[0-9]{4}", "b": "[A-Za-z]{3,4}", "B": "[A-Za-z]{3,9}", "a": "[A-Za-z]{3}", "A": "[A-Za-z]{6,9}",
             "p": "[AaPp][Mm]", "f": "[0-9]{1,6}", "z": r"(?:[Zz]|[+-][0-9:.]{4,})"}  # fmt: skip
    parts = [
        codes.get(part[1], "[0-9]{1,2}") if part.startswith("%") else re.escape(part) for part in _CODE.split(format_)
    ]
    return re.compile("".join(parts))


def any_fits(text: str, among: Iterable[str]) -> bool:
    return any(fits(text, item) for item in among)


def _totals(body: list[list[str]], width: int) -> list[list[str]]:
    """Rows that say Total and nothing else, and those at the end that begin with it."""
    last = list(takewhile(lambda row: total_cell(row[:width]) is not None, reversed(body)))
    last += [row for row in body[-1:] if _is_unnamed(row) and not any(map(_is_unnamed, body[:-1]))]
    return [row for row in body if row in last or total_cell(row[:width], SURE_TOTAL) is not None]


def _is_unnamed(row: list[str]) -> bool:
    """Whether a row begins with an empty cell and has nothing but numbers: a sum that is not called one."""
    return not row[0].strip() and all(cells.is_amount(cell) for cell in row if cell.strip())


def _is_remark(row: list[str], width: int) -> bool:
    """Whether a row is no row but says something of the report: `Report Time:` and when that was."""
    filled = [cell for cell in row if cell.strip()]
    return width > len(filled) + 1 and len(filled) == 2 and filled[0].strip().endswith((":", "\uff1a"))


def _grids(content: bytes) -> tuple[str | None, list[Grid]]:
    """The encoding to declare, None where there is no need to, and the ways to see the file as rows."""
    try:
        return None, grids(content, Read())
    except ContractError as error:
        if "declare `read: {encoding" not in str(error):
            raise
    content = unpacked(content)
    with suppress(UnicodeError):  # what Excel in western Europe writes, where it makes sense as that
        if all(char.isascii() or ord(char) in WESTERN for char in content.decode("cp1252")):
            return "cp1252", grids(content, Read(encoding="cp1252"))
    best = charset_normalizer.from_bytes(content[:200_000]).best()
    name = best.encoding if best else "cp1252"
    return name, grids(content, Read(encoding=name))


def _width(rows: list[Row]) -> int:
    """How many columns most rows have."""
    widths = Counter(len(row.cells) for row in rows)
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _part(rows: list[Row]) -> list[Row]:
    """Of a report in parts that each have their title the rows below that of the one that is meant; else all."""
    titles = [[cell.strip().lower() for cell in row.cells if cell.strip()] for row in rows[:-1]]
    return next((rows[titles.index([part]) + 1 :] for part in PARTS if [part] in titles), rows)


def _is_header(row: list[str], width: int) -> bool:
    """Whether a row names columns: most are named, each once, and few of the names are data."""
    filled = [cell.strip() for cell in row if cell.strip()]
    data = [cell for cell in filled if cells.is_amount(cell) or ADDRESS.fullmatch(cell) or any_fits(cell, DAYS)]
    return len(filled) * 2 > width and len(set(filled)) == len(filled) and len(data) * 2 < len(filled)


def _cell(row: list[str], number: int) -> str | None:
    text = row[number].strip() if number < len(row) else ""
    return None if text.lower() in NULLS else text


def _seen(body: list[list[str]], number: int, title: str) -> Seen:
    filled = [value for row in body if (value := _cell(row, number)) is not None]
    return Seen(title.strip(), list(dict.fromkeys(filled)), len(filled))
