"""A first mapping for a file that nobody has mapped: YAML to be read, corrected, pasted. Every line is a guess.

Columns are told by their names (English, some German) and by what they hold. Where two readings fit, none is chosen:
the proposal then has a `?` that the configuration refuses, with the readings beside it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import PurePath

from b2b_pipeline.errors import ContractError
from b2b_pipeline.files import cells
from b2b_pipeline.files.formats import HEADER_WITHIN, Row, decode, split
from b2b_pipeline.files.mapping import DELIMITERS, Read
from b2b_pipeline.files.reading import ADDRESS

SAMPLE = 100_000  # rows that are looked at
LAST = 3  # rows at the end that may be totals
NULLS = frozenset(Read().nulls)
DATES = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%d.%m.%y", "%d/%m/%y", "%m/%d/%y",
         "%Y/%m/%d", "%Y%m%d", "%d %b %Y", "%b %d, %Y", "%d %B %Y", "%B %d, %Y")  # fmt: skip
TIMES = ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M:%S %p")
ZONED = ("%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.%f%z", "%Y-%m-%d %H:%M:%S%z")
TIMESTAMPS = (*ZONED, "%Y-%m-%dT%H:%M:%S", *(f"{day} {time}" for day in DATES for time in TIMES))
MONTHS = ("%Y-%m", "%b %Y", "%B %Y", "%m/%Y", "%m.%Y")

# Table -> our column -> (what it holds, whether it is needed, words that its header is made of).
DATE, TIME, MONTH, MONEY, NUMBER, EMAIL, TEXT = "date", "timestamp", "month", "money", "number", "email", "text"
LOOKED_FOR: dict[str, dict[str, tuple[str, bool, str]]] = {
    "email_event": {
        "send_id": (TEXT, True, "send|campaign|newsletter|mailing|kampagne"),
        "email": (EMAIL, True, "e?mail(address)?|recipient|empfaenger|empfänger"),
        "event_type": (TEXT, True, "event(type)?|action|ereignis|aktion"),
        "event_at": (TIME, True, "(event)?(time|timestamp|date)|zeit(punkt)?|datum"),
    },
    "spend": {
        "date_day": (DATE, True, "day|date|tag|datum"),
        "account_id": (TEXT, True, "account(id|name)?|platform|plattform|konto|network"),
        "campaign_id": (TEXT, True, "campaign(id|name)?|kampagne"),
        "impressions": (NUMBER, False, "impr(essions)?|impressionen"),
        "clicks": (NUMBER, False, "clicks|klicks"),
        "spend": (MONEY, True, "(amount)?spe(nd|nt)|cost|kosten|ausgaben"),
    },
    "cost_ledger": {
        "cost_id": (TEXT, False, "invoice(no|number|id)?|document|cost(id)|beleg(nr)?|rechnung(snr)?"),
        "date_day": (DATE, False, "date|day|datum|tag|invoicedate|rechnungsdatum"),
        "first_day": (DATE, False, "from|start(date)?|von|beginn"),
        "last_day": (DATE, False, "to|until|end(date)?|bis|ende"),
        "month": (MONTH, False, "month|monat"),
        "category": (TEXT, True, "category|(cost)?type|kategorie|kostenart"),
        "description": (TEXT, False, "supplier|vendor|description|lieferant|text"),
        "amount": (MONEY, True, "(net)?amount|cost|total|betrag|kosten"),
    },
    "opportunity": {
        "opp_id": (TEXT, False, "(opportunity|opp|deal)(id|no|number)?|id"),
        "lead_id": (TEXT, False, "lead(id|no|number)?"),
        "created_at": (DATE, False, "(created?|open(ed)?|engage)(date|at|on)?|angelegt|erstellt(am)?"),
        "close_date": (DATE, False, "close(d)?(date|at|on)?|abschluss(datum)?"),
        "account_id": (TEXT, False, "account(id|name)?|company|customer|firma|kunde"),
        "owner": (TEXT, False, "(deal|opportunity)?owner|sales(agent|rep)|betreuer|verantwortlich(er)?"),
        "product": (TEXT, False, "product|produkt|plan"),
        "stage": (TEXT, True, "(deal|opportunity)?(stage|status)|phase"),
        "amount": (MONEY, False, "amount|(deal|close|contract)?value|betrag|wert"),
    },
    "lead": {
        "lead_id": (TEXT, False, "(lead|contact|record|badge)(id|no|number)?|id"),
        "email": (EMAIL, False, "e?mail(address)?|emailadresse"),
        "created_at": (DATE, True, "(created?|date|lead)(date|at|on)?|angelegt|erstellt(am)?|datum|scanned"),
        "company": (TEXT, False, "company|account|organi[sz]ation|firma|unternehmen"),
        "country": (TEXT, False, "country|land"),
        "region": (TEXT, False, "region|state|bundesland"),
        "owner": (TEXT, False, "(lead|contact)?owner|betreuer"),
        "source_original": (TEXT, False, "(lead|original)?source|quelle|herkunft"),
    },
}  # fmt: skip
STAGES = {"mql": "mql", "sal": "sal", "sql": "sql", "opportunity": "opp(ortunity)?", "customer": "customer|won"}
WON, LOST, SUM = (
    re.compile(r"won|gewonnen", re.I),
    re.compile(r"lost|verloren", re.I),
    re.compile(r"((sub|grand)\s?)?total\b|summe\b|gesamt\w*|sum\b", re.I),
)
NAMES = re.compile(
    r"(first|last|full|contact|vor|nach)?name|phone(number)?|mobile|telefon(nummer)?|handy|contact(person)?|ansprechpartner"
)
COUNTS = re.compile(r"(unique)?(opens?|opened|clicks?|delivered|sent|bounces?|unsubscribe[sd]?|oeffnungen|öffnungen)")


@dataclass(frozen=True)
class Seen:
    """A column of the file: its name, and what its sampled cells that are not empty hold."""

    header: str
    values: list[str]

    @property
    def word(self) -> str:
        return re.sub(r"[\W_]", "", self.header.lower())

    def all(self, fits: Callable[[str], object]) -> bool:
        return bool(self.values) and all(fits(value) for value in self.values)

    def formats(self, among: Iterable[str]) -> list[str]:
        return [item for item in among if self.all(lambda value, item=item: _fits(value, item))]  # type: ignore[misc]

    def holds(self, kind: str) -> bool:
        match kind:
            case "email":
                return sum(ADDRESS.fullmatch(value) is not None for value in self.values) * 2 > len(self.values)
            case "money" | "number":
                return sum(re.search("[0-9]", value) is not None for value in self.values) * 2 > len(self.values)
            case "date" | "timestamp":
                return not self.values or self._mostly((*DATES, *TIMESTAMPS))
            case "month":
                return not self.values or self._mostly(MONTHS)
        return True

    def _mostly(self, formats: tuple[str, ...]) -> bool:
        return sum(any(_fits(value, item) for item in formats) for value in self.values[:50]) * 2 > len(
            self.values[:50]
        )


@dataclass(frozen=True)
class Export:
    """A file as it looks: how it is written, and its columns without the rows that seem to be totals."""

    encoding: str | None
    delimiter: str
    header_row: int
    header: list[str]
    columns: list[Seen]
    totals: list[list[str]]


def propose(name: str, content: bytes) -> str:
    """A mapping for the file, as YAML. Raises ContractError when it cannot be read as a table at all."""
    export = _look(content)
    counts = [column.header for column in export.columns if COUNTS.fullmatch(column.word)]
    matches = {table: _match(columns, export.columns) for table, columns in LOOKED_FOR.items()}
    table = max(matches, key=lambda item: _score(item, matches[item]))
    found = matches[table]
    if len(counts) > 1 and "spend" not in found and not any(map(_has_addresses, export.columns)):
        return (
            f"# This looks like counts per e-mail campaign ({_listed(counts)}). Such a file cannot be loaded:\n"
            "# unique opens and clicks cannot be told from sums. Export the events per recipient instead.\n"
        )
    if _score(table, found)[0] < 0.5:
        titles = _listed(column.header for column in export.columns)
        return f"# No core table is recognised in the columns {titles}.\n# There are {', '.join(LOOKED_FOR)}.\n"
    out = ["# Guessed from names and contents: check every line. A ? must be filled in.", f"{_slug(name)}:"]
    out.append(f"  match: {_quoted(_pattern(name))}")
    if read := _read(export, table, found):
        out.extend(["  read:", *(f"    {item}" for item in read)])
    mapped = found["email"].header if "email" in found else None
    personal = [
        c.header for c in export.columns if NAMES.fullmatch(c.word) or (_has_addresses(c) and c.header != mapped)
    ]
    if personal:
        out.append(f"  personal: [{_listed(personal)}]  # hashed before anything is stored")
    out.extend(["  tables:", f"    {table}:", "      columns:", *_columns_yaml(table, found, export.columns)])
    out.extend(_extras(table, found, export.columns))
    written = "\n".join([*out, ""])
    left = [
        c.header for c in export.columns if not re.search(rf"[:,[] ?{re.escape(_quoted(c.header))}[],}}\n]", written)
    ]
    if left:
        out.append(f"# not used: {_listed(left)}")
    return "\n".join(out) + "\n"


def _look(content: bytes) -> Export:
    encoding, text = _decoded(content)
    delimiter = max(DELIMITERS, key=lambda item: _width(head(text, item)))
    rows = head(text, delimiter)
    width = _width(rows)
    if width < 2:
        raise ContractError("no table found: with comma, semicolon, tab and bar the rows have one column")
    line, header, *_ = next((row for row in rows if _is_header(row.cells, width)), rows[0])
    body = [row.cells for row in islice(split(text, delimiter), SAMPLE) if row.line > line and row.problem is None]
    totals = [cells_ for cells_ in body[-LAST:] if any(SUM.match(cell.strip()) for cell in cells_[: len(header)])]
    rest = [cells_ for cells_ in body if cells_ not in totals]
    columns = [_seen(rest, number, title) for number, title in enumerate(header) if title.strip()]
    return Export(encoding, delimiter, line, header, columns, totals)


def head(text: str, delimiter: str) -> list[Row]:
    return [row for row in islice(split(text, delimiter), HEADER_WITHIN) if row.problem is None]


def _columns_yaml(table: str, found: dict[str, Seen], columns: list[Seen]) -> list[str]:
    out = []
    for ours, (kind, needed, _) in LOOKED_FOR[table].items():
        if ours in found:
            out.append(f"        {ours}: {_cell_yaml(found[ours], kind)}")
        elif needed:
            out.append(f'        {ours}: "?"  # no column looks like it: name one, or {{value: …}} for all rows')
        if kind == MONEY and ours in found:
            out.append(f"        currency: {_currency(found[ours], columns)}")
    return out


def _has_addresses(column: Seen) -> bool:
    return bool(column.values) and column.holds(EMAIL)


def _listed(headers: Iterable[str]) -> str:
    return ", ".join(map(_quoted, headers))


def _decoded(content: bytes) -> tuple[str | None, str]:
    try:
        return None, decode(content, None)
    except ContractError:
        if not content.strip(b"\0 \t\r\n"):
            raise
        return "cp1252", content.decode("cp1252", errors="replace")


def _width(rows: list[Row]) -> int:
    """How many columns most rows have."""
    widths = Counter(len(row.cells) for row in rows)
    return max(widths, key=lambda width: (widths[width], width), default=0)


def _is_header(cells_: list[str], width: int) -> bool:
    filled = [cell.strip() for cell in cells_ if cell.strip()]
    return len(filled) * 2 > width and len(set(filled)) == len(filled)


def _cell(cells_: list[str], number: int) -> str | None:
    text = cells_[number].strip() if number < len(cells_) else ""
    return None if text.lower() in NULLS else text


def _seen(body: list[list[str]], number: int, title: str) -> Seen:
    """A column with each of its texts once."""
    values = dict.fromkeys(_cell(cells_, number) for cells_ in body)
    return Seen(title.strip(), [value for value in values if value is not None])


def _fits(text: str, format_: str) -> bool:
    try:
        return datetime.strptime(text, format_).year in cells.YEARS  # noqa: DTZ007
    except ValueError:
        return False


def _match(columns: dict[str, tuple[str, bool, str]], seen: list[Seen]) -> dict[str, Seen]:
    """Our column -> the file's, each used once."""
    free, found = list(seen), {}
    for ours, (kind, _, words) in columns.items():
        column = next((c for c in free if re.fullmatch(words, c.word) and c.holds(kind)), None)
        if column is None and kind == EMAIL:
            column = next((c for c in free if c.values and c.holds(EMAIL)), None)
        if column is not None:
            found[ours] = column
            free.remove(column)
    return found


def _score(table: str, found: dict[str, Seen]) -> tuple[float, int]:
    needed = [ours for ours, (_, is_needed, _) in LOOKED_FOR[table].items() if is_needed]
    return sum(ours in found for ours in needed) / len(needed), len(found)


def _read(export: Export, table: str, found: dict[str, Seen]) -> list[str]:
    read = []
    if export.encoding:
        read.append(f"encoding: {export.encoding}  # a guess, it is not UTF-8: do accents and € come out right?")
    if export.delimiter != ",":
        read.append(f"delimiter: {json.dumps(export.delimiter)}")
    if export.header_row > 1:
        read.append(f"header_row: {export.header_row}")
    for total in export.totals[-1:]:
        number = next(n for n, cell in enumerate(total) if SUM.match(cell.strip()))
        word = total[number].split()[0].rstrip(":")
        read.append(f"skip_totals: {{column: {_quoted(export.header[number].strip())}, value: {_quoted(word + '*')}}}")
    numbers = [c for ours, c in found.items() if LOOKED_FOR[table][ours][0] in (MONEY, NUMBER)]
    unclear = [column.header for column in numbers if _unclear(column)]
    if unclear:
        read.append(f'decimal: "?"  # "." or ",": {", ".join(unclear)} can be read both ways')
    return read


def _unclear(column: Seen) -> bool:
    for value in column.values:
        try:
            cells.parse_number(value, None)
        except cells.Unfit as unfit:
            if "two ways" in str(unfit):
                return True
    return False


def _cell_yaml(column: Seen, kind: str) -> str:
    if kind not in (DATE, TIME, MONTH):
        return _quoted(column.header)
    source = f"from: {_quoted(column.header)}"
    if kind == MONTH:
        entry, comment = _format("date", column.formats(MONTHS))
        return f"{{{source}, {entry}}}{comment}"
    if stamps := column.formats(TIMESTAMPS):
        entry, comment = _format("timestamp", stamps)
        zone = "" if "%z" in entry else ', zone: "?"'
        return f"{{{source}, {entry}{zone}}}{comment}"
    entry, comment = _format("date", column.formats(DATES))
    return f"{{{source}, {entry}}}{comment}"


def _format(key: str, formats: list[str]) -> tuple[str, str]:
    if len(formats) == 1:
        return f'{key}: "{formats[0]}"', ""
    if not formats:
        return f'{key}: "?"', "  # no one format fits every cell: list several, as [a, b]"
    return f'{key}: "?"', f"  # ambiguous: fits {' and '.join(formats)}; look at the export's settings"


def _currency(money: Seen, seen: list[Seen]) -> str:
    column = next((c for c in seen if re.fullmatch("currency(code)?|währung|waehrung", c.word)), None)
    if column is not None:
        return _quoted(column.header)
    signs = sorted({sign for value in money.values if (sign := cells.currency_sign(value))})
    if not signs:
        return '{value: "?"}  # no currency in the file: which one is it?'
    meant = {
        sign: next(iter(cells.SIGNS[sign])) if len(cells.SIGNS.get(sign, ())) == 1 else "?"
        for sign in signs
        if len(sign) < 3
    }
    if not meant:
        return "{symbols: {" + ", ".join(f"{_quoted(sign)}: {sign}" for sign in signs) + "}}"
    return "{symbols: {" + ", ".join(f"{_quoted(sign)}: {_quoted(code)}" for sign, code in meant.items()) + "}}"


def _extras(table: str, found: dict[str, Seen], seen: list[Seen]) -> list[str]:
    if table == "opportunity" and "stage" in found:
        words = found["stage"].values[:30]
        won = [word for word in words if WON.search(word)]
        lost = [word for word in words if LOST.search(word) and word not in won]
        other = [word for word in words if word not in (*won, *lost)]
        lists = {"won": won or ["?"], "lost": lost, "open": other}
        return [f"      {key}: [{', '.join(map(_quoted, items))}]" for key, items in lists.items() if items]
    if table == "lead":
        dated = [
            (stage, column)
            for stage, words in STAGES.items()
            for column in seen
            if re.fullmatch(f"({words})(date|datum|at|on)?", column.word) and column.values and column.holds(DATE)
        ]
        if dated:
            return [
                "      stages:",
                *(f"        {stage}: {_cell_yaml(column, DATE)}" for stage, column in dated),
            ]
    return []


def _pattern(name: str) -> str:
    """The file's name with dates and numbers left open."""
    path = PurePath(name)
    return re.sub(r"[\d][\d_\-. ]*$", "*", path.stem) + path.suffix


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"[\d]+", "", PurePath(name).stem.lower())).strip("_") or "export"


def _quoted(text: str) -> str:
    """A YAML scalar that is this text whatever is in it."""
    safe = re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]*[A-Za-z0-9]|[A-Za-z]", text)
    plain = safe and text.lower() not in {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    return text if plain else json.dumps(text, ensure_ascii=False)
