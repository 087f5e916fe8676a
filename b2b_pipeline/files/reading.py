"""From the rows of an export to raw records: text as received, one per row, and nothing guessed."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from itertools import pairwise

from b2b_pipeline.configuration.file_cells import field_name
from b2b_pipeline.configuration.file_mapping import FileMapping, personal_paths
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.formats import HEADER_WITHIN, Grid, Row, grids
from b2b_pipeline.privacy import PREFIX, normalise_email

# Added to each record: its line in the file, what is wrong with the row as a whole, and that it is no row of the table.
ROW, PROBLEM, LEFT_OUT = "_row", "_problem", "_left_out"
REST = "_rest"  # of a record without the columns that nobody mapped: a hash by which rows that differ there differ
FOOTER = "footer line"
NOT_AN_ADDRESS = PREFIX + "invalid"  # stands for text in an e-mail column that is no address, and is not stored
ADDRESS = re.compile(r"[^@\s,;<>\"']+@[^@\s,;<>\"']+\.[^@\s,;<>\"']+")
# The one cell of a line that a report ends with.
_FOOTER_TEXT = re.compile(
    r"(grand |sub-?)?totals?\b|summe\b|gesamt|confidential|vertraulich|copyright\b|\(c\)|©|generated (by|on|at|with)\b"
    r"|report (generated|run|created)|exported (by|on|at|from)\b|filtered by\b|as of\b|data as of\b|powered by\b"
    r"|end of (report|file|data)|\(?\d[\d.,]* (records?|rows?)\b|all rights reserved",
    re.IGNORECASE,
)

Record = dict[str, str | None]


def read_records(content: bytes, mapping: FileMapping, max_bytes: int | None = None) -> list[Record]:
    """One record per row that is not blank: field name -> text as received, with `_row`, its line in the file.

    A row that cannot be read, or is cut, has `_problem`; a line of the footer has `_left_out` and nothing else.
    Text in e-mail columns that is no address does not get through; addresses anywhere else are hashed by landing.
    Raises ContractError when the file as a whole cannot be read: empty, another encoding, no header, a missing or
    doubled column, or larger than `max_bytes` once it is unpacked.
    """
    grid, header_line, header = _layout(grids(content, mapping.read, max_bytes), mapping)
    names = _names(header, header_line, mapping)
    rows = [row for row in grid.rows(len(names)) if row.line > header_line]
    footer = _footer(rows, len(names), mapping.read.skip_footer, padded=grid.sheet is not None)
    footer |= set(range(other_part(rows, header, mapping.headers()), len(rows)))
    if not rows:
        raise ContractError(f"the file has a header (line {header_line}) and no rows")
    needed = max(number for number, cell in enumerate(header, 1) if cell.strip())
    records = [
        dict.fromkeys(names, None) | {ROW: str(row.line), LEFT_OUT: FOOTER} if number in footer
        else _record(names, needed, row)
        for number, row in enumerate(rows)
    ]  # fmt: skip
    _keep_private(records, names, mapping)
    return records


def mapped_columns(records: Sequence[Record], mapping: FileMapping, digest: Callable[[str], str]) -> list[Record]:
    """The records with what the mapping names, which is all that is stored; what else they say is told by a digest."""
    ours = {*map(field_name, mapping.headers()), ROW, PROBLEM, LEFT_OUT}
    found = []
    for record in records:
        rest = {name: value for name, value in record.items() if name not in ours and value}
        stored: Record = {name: value for name, value in record.items() if name in ours}
        found.append(stored | {REST: digest(json.dumps(rest, sort_keys=True))} if rest else stored)
    return found


def _names(header: Sequence[str], line: int, mapping: FileMapping) -> list[str]:
    """The name under which each column is landed. Raises ContractError when one that is mapped stands twice."""
    names = [field_name(cell) or f"column_{number}" for number, cell in enumerate(header, 1)]
    doubled = [name for name, count in Counter(names).items() if count > 1]
    mapped = {field_name(header) for header in mapping.headers()}
    if unclear := [name for name in doubled if name in mapped]:
        raise ContractError(f"line {line}: column names appear twice: {', '.join(unclear)}")
    seen: Counter[str] = Counter()
    for number, name in enumerate(names):
        seen[name] += 1
        while seen[name] > 1 and (names[number] in names[:number]):
            names[number] = f"{name}_{seen[name]}"
            seen[name] += 1
    return names


def _footer(rows: Sequence[Row], width: int, declared: int, *, padded: bool) -> set[int]:
    """Which rows are the report's footer: as many as declared; those of one cell at the end, after a blank line; and
    any other with one filled cell that says what only a footer says. `padded`: every row has all cells."""
    found = set(range(max(0, len(rows) - declared), len(rows))) if declared else set()
    if width < 2:
        return found
    alone = {number: text for number, row in enumerate(rows) if (text := _only_cell(row)) is not None}
    found |= {number for number, text in alone.items() if _FOOTER_TEXT.match(text)}
    end = len(rows)
    while end - 1 in alone or end - 1 in found:
        end -= 1
    starts = (
        number
        for number in range(end, len(rows))
        if number in found or (number and rows[number].after_blank and (padded or len(rows[number].cells) == 1))
    )
    return found | set(range(next(starts, len(rows)), len(rows)))


def other_part(rows: Sequence[Row], header: Sequence[str], mapped: Iterable[str] = ()) -> int:
    """Where another part of the report begins: a title, above a header with columns of ours, but not all `mapped`."""
    names = {field_name(cell) for cell in header if cell.strip()}
    wanted = {*map(field_name, mapped)} or names
    for number, (title, below) in enumerate(pairwise(rows)):
        if _only_cell(title) is not None:
            found = names.intersection(field_name(cell) for cell in below.cells if cell.strip())
            if len(found) > 1 and not wanted <= found:
                return number
    return len(rows)


def _only_cell(row: Row) -> str | None:
    """The text of a row with one filled cell."""
    filled = [cell.strip() for cell in row.cells if cell.strip()]
    return filled[0] if len(filled) == 1 and row.problem is None else None


def _layout(seen: Sequence[Grid], mapping: FileMapping) -> tuple[Grid, int, list[str]]:
    """How to read the file so that the mapping's columns are there, the line of the header, its cells."""
    if mapping.read.header is not None:
        return _without_header(seen, mapping.read.header, mapping.read.header_row or 0)
    wanted = {field_name(header): header for header in mapping.headers()}
    best: tuple[int, Grid, int, list[str]] = (-1, seen[0], 0, [])
    for grid in seen:
        for line, cells, *_ in grid.head():
            if mapping.read.header_row not in (None, line):
                continue
            found = len(wanted.keys() & {field_name(cell) for cell in cells})
            if found == len(wanted):
                return grid, line, cells
            best = max(best, (found, grid, line, cells), key=lambda item: item[0])
    found, grid, line, cells = best
    where = f"line {mapping.read.header_row}" if mapping.read.header_row else f"the first {HEADER_WITHIN} rows"
    if grid.sheet is not None and len(seen) > 1:
        where += f" of the sheets {', '.join(repr(item.sheet) for item in seen)}"
    if found <= 0:
        raise ContractError(f"no header in {where}: expected the columns {_listed(list(wanted.values()))}")
    present = [cell.strip() for cell in cells]
    missing = [header for name, header in wanted.items() if name not in {field_name(cell) for cell in cells}]
    raise ContractError(
        f"line {line}: {'; '.join(_missing(name, present) for name in missing)}. The file has {_listed(present)}"
    )


def _without_header(seen: Sequence[Grid], header: list[str], line: int) -> tuple[Grid, int, list[str]]:
    """The declared header, over the way to read the file that gives its first rows that many cells."""
    fitting = {id(grid): sum(len(row.cells) == len(header) for row in grid.head()) for grid in seen}
    grid = max(seen, key=lambda item: fitting[id(item)])
    if not fitting[id(grid)]:
        raise ContractError(f"no row has the {len(header)} cells that `read.header` names")
    return grid, line, header


def _missing(name: str, present: Sequence[str]) -> str:
    by_lower = {item.lower(): item for item in present}
    close = get_close_matches(name.lower(), by_lower, 1, 0.6)
    return f"column {name!r} is missing" + (f" (did you mean {by_lower[close[0]]!r}?)" if close else "")


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:60]) for name in names[:40])
    return shown + (f" and {len(names) - 40} more" if len(names) > 40 else "")


def _record(names: list[str], needed: int, row: Row) -> Record:
    """`needed`: as many cells as have a name; columns without one may be missing at the end of a row."""
    cells, problem = row.cells, row.problem
    while len(cells) > len(names) and not cells[-1].strip():
        cells = cells[:-1]
    record: Record = dict.fromkeys(names, None) | dict(zip(names, cells, strict=False))
    if problem is None and not needed <= len(cells) <= len(names):
        problem = f"the row has {len(cells)} cells, the header {len(names)}"
    if problem is not None:
        record[PROBLEM] = problem
    record[ROW] = str(row.line)
    return record


def _keep_private(records: list[Record], names: list[str], mapping: FileMapping) -> None:
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
            elif name in emails and not ADDRESS.fullmatch(normalise_email(plain)):
                record[name] = NOT_AN_ADDRESS
