"""From the bytes of a dropped file to rows of text. What a file is, is told by its first bytes, not by its name.

Text with a delimiter (CSV), the same compressed by gzip, or a workbook (.xlsx, .xlsm, .xlsb, .xls, .ods). One row that
cannot be read costs that row: it is given with its problem, and reading goes on with the next line.
"""

from __future__ import annotations

import codecs
import csv
import io
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time
from decimal import Decimal
from functools import partial
from itertools import islice
from typing import NamedTuple

import charset_normalizer
from python_calamine import CalamineError, CalamineSheet, CalamineWorkbook, PasswordError

from b2b_pipeline.configuration.file_cells import DELIMITERS
from b2b_pipeline.configuration.file_mapping import Read
from b2b_pipeline.errors import ContractError

HEADER_WITHIN = 50
LONGEST_ROW = 1000  # lines that one row may take; a quote that is open for longer was never closed
EXACT = 10**15  # a spreadsheet keeps 15 digits: of a larger whole number the rest is lost
MEGABYTE = 1_000_000
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip
_GZIP, _ZIP, _OLE = b"\x1f\x8b", b"PK", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


class Row(NamedTuple):
    """A row that is not blank: the line it starts on, its cells, and why it cannot be read, if so."""

    line: int
    cells: list[str]
    problem: str | None = None
    after_blank: bool = False


@dataclass(frozen=True)
class Grid:
    """One way to see a file as rows: by a delimiter, or a sheet of a workbook.

    `rows` may be told how many columns there are, so that a quote that was never closed swallows no rows.
    """

    rows: Callable[[int | None], Iterator[Row]]
    delimiter: str | None = None
    sheet: str | None = None

    def head(self) -> list[Row]:
        """The first rows that can be read, for finding the header."""
        return [row for row in islice(self.rows(None), HEADER_WITHIN) if row.problem is None]


def grids(content: bytes, read: Read, max_bytes: int | None = None) -> list[Grid]:
    """Every way to see the file that `read` leaves open. Raises ContractError when there is none."""
    content = unpacked(content, max_bytes)
    if not content.strip(b"\0 \t\r\n"):
        raise ContractError("the file is empty")
    if content.startswith((_ZIP, _OLE)):
        return _sheets(content, read, max_bytes)
    if read.sheet is not None:
        raise ContractError(f"`read.sheet` is {read.sheet!r}, but the file is no workbook: it is text")
    text = decode(content, read.encoding)
    return [
        Grid(partial(_split_to, text, item), delimiter=item)
        for item in ([read.delimiter] if read.delimiter else DELIMITERS)
    ]


def unpacked(content: bytes, max_bytes: int | None = None) -> bytes:
    """Of a gzip what is in it, else the content itself. Raises ContractError when it is broken or too large."""
    for _ in range(3):
        if not content.startswith(_GZIP):
            return content
        content = _gunzipped(content, max_bytes)
    raise ContractError("a gzip within a gzip within a gzip: unpack it first")


def _gunzipped(content: bytes, max_bytes: int | None) -> bytes:
    out, rest = b"", content
    try:
        while rest.startswith(_GZIP):  # members follow each other
            member = zlib.decompressobj(wbits=31)
            out += member.decompress(rest, 0 if max_bytes is None else max_bytes + 1)
            if max_bytes is not None and len(out) > max_bytes:
                raise ContractError(f"a gzip that unpacks to more than {max_bytes // MEGABYTE} MB: {LIMIT_HINT}")
            if not member.eof:
                raise ContractError("a gzip that is cut off: copy the file again")
            rest = member.unused_data
    except zlib.error:
        raise ContractError("a gzip that is damaged: copy the file again") from None
    return out


LIMIT_HINT = "split the file, or raise `limits: {max_file_mb: …}` in pipeline.yaml"


# -- text


def decode(content: bytes, encoding: str | None) -> str:
    """The text of a file in the declared encoding, else by its byte-order mark, else UTF-8; its letters composed (NFC).

    Raises ContractError, with the encoding that the bytes look like.
    """
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None) or _wide(content)
    used = marked or encoding or "utf-8"
    try:
        text = content.decode(used).lstrip("\ufeff")
    except UnicodeError as error:
        position = getattr(error, "start", 0)
        line = content[:position].count(b"\n") + 1
        raise ContractError(
            f"line {line}: byte 0x{content[position : position + 1].hex()} is not {used}: {_likely(content)}"
        ) from None
    if encoding not in (None, "utf-8") and not marked and not content.isascii() and _is_utf8(content):
        raise ContractError(f"the file is UTF-8, not {encoding} as `read.encoding` says")
    if not text.strip():
        raise ContractError("the file is empty")
    return unicodedata.normalize("NFC", text)


def _wide(content: bytes) -> str | None:
    """UTF-16 without a mark: every other byte of its beginning is NUL."""
    start = content[:64]
    if len(start) < 8 or b"\0" not in start:
        return None
    for name, zeros, letters in (("utf-16-le", start[1::2], start[::2]), ("utf-16-be", start[::2], start[1::2])):
        if not zeros.strip(b"\0") and b"\0" not in letters:
            return name
    return None


def _likely(content: bytes) -> str:
    """The encoding to declare, as a proposal: nobody can know it."""
    best = charset_normalizer.from_bytes(content[:200_000]).best()
    if best is None or b"\0" in content[:1000]:
        return "it seems to be no text file: export it as CSV or as an Excel workbook"
    name = codecs.lookup(best.encoding).name
    return f"declare `read: {{encoding: {name}}}` (it looks like that; cp1252 is what Excel in western Europe writes)"


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeError:
        return False
    return True


def _split_to(text: str, delimiter: str, width: int | None) -> Iterator[Row]:
    return split(text, delimiter, width)


def split(text: str, delimiter: str, width: int | None = None) -> Iterator[Row]:
    """The rows that are not blank. One that cannot be read has no cells but a problem; the next line is a row again.

    Of `width` columns: a cell over several lines whose inner lines are all rows themselves is a quote never closed.
    """
    csv.field_size_limit(2**31 - 1)  # a cell of a megabyte is odd, not an error
    lines = list(io.StringIO(text, newline=""))
    at, blank = 0, False
    while at < len(lines):
        begin = at
        try:
            for begin, end, cells in _parsed(lines, delimiter, at):
                if width is not None and end - begin > 2 and _rows_within(lines[begin + 1 : end - 1], delimiter, width):
                    raise csv.Error("a quote is not closed")
                if any(cell.strip() for cell in cells):
                    yield Row(begin + 1, cells, None, blank)
                    blank = False
                else:
                    blank = True
                at = begin = end
        except csv.Error as error:
            yield Row(begin + 1, [], f"the row cannot be read: {_quoting(str(error))}", blank)
            at, blank = begin + 1, False


def _parsed(lines: list[str], delimiter: str, start: int) -> Iterator[tuple[int, int, list[str]]]:
    """Rows from a line on: their first line, the line after them, their cells. Raises csv.Error."""
    begin = start

    def pull() -> Iterator[str]:
        for index in range(start, len(lines)):
            if index - begin >= LONGEST_ROW:
                raise csv.Error("a quote is not closed")
            yield lines[index]

    reader = csv.reader(pull(), delimiter=delimiter, strict=True)
    for cells in reader:
        end = start + reader.line_num
        yield begin, end, cells
        begin = end


def _rows_within(lines: list[str], delimiter: str, width: int) -> bool:
    if width < 3:
        return False
    with suppress(csv.Error):
        return all(len(cells) == width for cells in csv.reader(lines, delimiter=delimiter)) and bool(lines)
    return False


def _quoting(error: str) -> str:
    if "unexpected end of data" in error or "not closed" in error:
        return "a quote is not closed (is the file cut off?)"
    return 'a quote within a quoted cell (write it twice: "")' if "expected after" in error else error


# -- workbooks


def _sheets(content: bytes, read: Read, max_bytes: int | None) -> list[Grid]:
    what = "an Excel workbook" if content.startswith(_OLE) else _archive(content, max_bytes)
    broken = f"{what} that cannot be read: open it and save it again, or export it as CSV"
    try:
        book = CalamineWorkbook.from_filelike(io.BytesIO(content))
        names = book.sheet_names
    except PasswordError:
        raise ContractError(f"{what} with a password: save it without one") from None
    except (CalamineError, OSError, ValueError):
        raise ContractError(broken) from None
    if read.sheet is not None and read.sheet not in names:
        raise ContractError(f"there is no sheet {read.sheet!r}: the workbook has {', '.join(map(repr, names))}")
    if not names:
        raise ContractError(broken)
    return [
        Grid(partial(_sheet_rows, book, name, read, broken), sheet=name)
        for name in ([read.sheet] if read.sheet is not None else names)
    ]


def _archive(content: bytes, max_bytes: int | None) -> str:
    """What a zip archive is. Raises ContractError when it is no workbook, or unpacks to more than is allowed."""
    try:
        entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError, EOFError, UnicodeError):
        raise ContractError("a zip archive or Excel workbook that is damaged or cut off: copy the file again") from None
    if max_bytes is not None and sum(entry.file_size for entry in entries) > max_bytes:
        raise ContractError(f"an archive that unpacks to more than {max_bytes // MEGABYTE} MB: {LIMIT_HINT}")
    names = {entry.filename for entry in entries}
    if any(name.startswith("xl/") for name in names):
        return "an Excel workbook"
    if "content.xml" in names:
        return "an OpenDocument spreadsheet"
    raise ContractError("a zip archive: unpack it and drop the files in it")


def _sheet_rows(book: CalamineWorkbook, name: str, read: Read, broken: str, width: int | None) -> Iterator[Row]:
    try:
        sheet = book.get_sheet_by_name(name)
        first, rows = (sheet.start or (0, 0))[0], _cells(sheet)
    except (CalamineError, OSError, ValueError):
        raise ContractError(broken) from None
    blank = False
    for number, cells in enumerate(rows, first + 1):
        texts = [cell_text(cell, read.decimal) for cell in cells]
        if any(text.strip() for text in texts):
            yield Row(number, texts, None, blank)
        blank = not any(text.strip() for text in texts)


def _cells(sheet: CalamineSheet) -> list[list[object]]:
    return [list(row) for row in sheet.to_python(skip_empty_area=True)]


def cell_text(value: object, decimal: str | None = None) -> str:
    """A workbook's cell as text that can be read in one way only.

    Days are `2026-01-31T00:00:00`, whole numbers have no point, others as many decimals as the spreadsheet keeps (15
    digits) but never three, which could be thousands. A number too large to be kept exactly stays in scientific
    notation: as an id it is refused.
    """
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float() if abs(value) >= EXACT or value != value:
            return f"{value:.2E}"
        case int() | float():
            plain = format(Decimal(f"{value:.15g}"), "f")
            whole, _, fraction = plain.partition(".")
            fraction = fraction.rstrip("0")
            if not fraction:
                return whole
            return f"{whole}{decimal or '.'}{fraction + '0' if len(fraction) == 3 and decimal is None else fraction}"
        case datetime():
            return value.replace(microsecond=0).isoformat()
        case date():
            return datetime.combine(value, time()).isoformat()
    return unicodedata.normalize("NFC", str(value))


# -- for people


def searchable(content: bytes) -> str:
    """All the text of a file, for finding something in it, whatever kind of file it is; never raises."""
    with suppress(ContractError):
        content = unpacked(content)
        if not content.startswith((_ZIP, _OLE)):
            return decode(content, None)
        return "\n".join("\t".join(row.cells) for grid in grids(content, Read()) for row in grid.rows(None))
    return content.decode("utf-8", "replace")
