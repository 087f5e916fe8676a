"""From the bytes of a CSV export to raw records: text as received, one per row, and nothing guessed."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from difflib import get_close_matches
from itertools import islice

from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.mapping import DELIMITERS, FileMapping, field_name, personal_paths
from b2b_pipeline.privacy import PREFIX

ROW, PROBLEM = (
    "_row",
    "_problem",
)  # added to each record: its line in the file, and what is wrong with the row as a whole
NOT_AN_ADDRESS = PREFIX + "invalid"  # stands for text in an e-mail column that is no address, and is not stored
HEADER_WITHIN = 50
ADDRESS = re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+\.[^@\s,;<>\"']+")
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"),
)  # fmt: skip

Row = tuple[int, list[str]]


def read_records(content: bytes, mapping: FileMapping) -> list[dict[str, str | None]]:
    """One record per row that is not blank: field name -> text as received, with `_row`, its line in the file.

    Text in e-mail columns that is no address does not get through; addresses anywhere else are hashed by landing.
    Raises ContractError when the file as a whole cannot be read: empty, another encoding, no header, a missing or
    doubled column, an open quote.
    """
    text = decode(content, mapping.read.encoding)
    delimiter, header_line, header = _layout(text, mapping)
    names = [field_name(cell) or f"column_{number}" for number, cell in enumerate(header, 1)]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    if doubled:
        raise ContractError(f"line {header_line}: column names appear twice: {', '.join(doubled)}")
    records = [_record(names, line, cells) for line, cells in split(text, delimiter) if line > header_line]
    if not records:
        raise ContractError(f"the file has a header (line {header_line}) and no rows")
    _keep_private(records, names, mapping)
    return records


def decode(content: bytes, encoding: str | None) -> str:
    """The text of a file in the declared encoding, else by its byte-order mark, else UTF-8. Raises ContractError."""
    if not content.strip(b"\0 \t\r\n"):
        raise ContractError("the file is empty")
    marked = next((name for mark, name in _MARKS if content.startswith(mark)), None)
    used = marked or encoding or "utf-8"
    try:
        text = content.decode("utf-8-sig" if used == "utf-8" else used)
    except UnicodeError as error:
        position = getattr(error, "start", 0)
        line = content[:position].count(b"\n") + 1
        raise ContractError(
            f"line {line}: byte 0x{content[position : position + 1].hex()} is not {used}: declare "
            "`read: {encoding: …}` (cp1252 is what Excel in western Europe writes)"
        ) from None
    if encoding not in (None, "utf-8") and not marked and not content.isascii() and _is_utf8(content):
        raise ContractError(f"the file is UTF-8, not {encoding} as `read.encoding` says")
    if not text.strip():
        raise ContractError("the file is empty")
    return text


def split(text: str, delimiter: str) -> Iterator[Row]:
    """The rows that are not blank, each with the line it starts on. Raises ContractError on a quote that never ends."""
    csv.field_size_limit(2**31 - 1)  # a cell of a megabyte is odd, not an error
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield line, cells
            line = reader.line_num + 1
    except csv.Error as error:
        raise ContractError(
            f"line {line}: the row cannot be read: {error} (is a quote not closed, or the file cut off?)"
        ) from None


def head(text: str, delimiter: str, count: int = HEADER_WITHIN) -> list[Row]:
    """The first rows, for finding the header. An open quote further down is no concern here."""
    rows: list[Row] = []
    with suppress(ContractError):
        rows.extend(islice(split(text, delimiter), count))
    return rows


def _layout(text: str, mapping: FileMapping) -> tuple[str, int, list[str]]:
    """Delimiter, line of the header, its cells."""
    wanted = {field_name(header): header for header in mapping.headers()}
    best: tuple[int, str, int, list[str]] = (-1, "", 0, [])
    for delimiter in [mapping.read.delimiter] if mapping.read.delimiter else DELIMITERS:
        for line, cells in head(text, delimiter):
            if mapping.read.header_row not in (None, line):
                continue
            found = len(wanted.keys() & {field_name(cell) for cell in cells})
            if found == len(wanted):
                return delimiter, line, cells
            best = max(best, (found, delimiter, line, cells), key=lambda item: item[0])
    found, _, line, cells = best
    where = f"line {mapping.read.header_row}" if mapping.read.header_row else f"the first {HEADER_WITHIN} rows"
    if found <= 0:
        raise ContractError(f"no header in {where}: expected the columns {_listed(list(wanted.values()))}")
    present = [cell.strip() for cell in cells]
    missing = [header for name, header in wanted.items() if name not in {field_name(cell) for cell in cells}]
    raise ContractError(
        f"line {line}: {'; '.join(_missing(name, present) for name in missing)}. The file has {_listed(present)}"
    )


def _missing(name: str, present: Sequence[str]) -> str:
    by_lower = {item.lower(): item for item in present}
    close = get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"column {name!r} is missing" + (f" (did you mean {by_lower[close[0]]!r}?)" if close else "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:40])
    return shown + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def _record(names: list[str], line: int, cells: list[str]) -> dict[str, str | None]:
    while len(cells) > len(names) and not cells[-1].strip():
        cells = cells[:-1]
    record: dict[str, str | None] = dict(zip(names, cells, strict=False))
    if len(cells) != len(names):
        record = dict.fromkeys(names, None) | record
        record[PROBLEM] = f"the row has {len(cells)} cells, the header {len(names)}"
    record[ROW] = str(line)
    return record


def _keep_private(records: list[dict[str, str | None]], names: list[str], mapping: FileMapping) -> None:
    """See to it that hashing the declared fields is enough, and that no null or nonsense becomes an identity."""
    personal, emails = set(personal_paths(mapping)), mapping.emails()
    nulls = {word.lower() for word in mapping.read.nulls} | {""}
    for record in records:
        for name in personal.intersection(names):
            value = record[name]
            if value is None:
                continue
            plain = value.strip()
            if plain.lower() in nulls:
                record[name] = None
            elif name in emails and not ADDRESS.fullmatch(plain):
                record[name] = NOT_AN_ADDRESS


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeError:
        return False
    return True
