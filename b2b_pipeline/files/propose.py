"""A first mapping for a file that nobody has mapped: YAML to be read, corrected, pasted. Every line is a guess.

What the file is, is told by `recognise.py`. Where two readings of a cell fit, none is chosen: the proposal then has a
`?` that the configuration refuses, with the readings beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePath

import pandas as pd

from b2b_pipeline.files import cells, vocabulary
from b2b_pipeline.files.look import DAYS, MONTHS, STAMPS, Export, Seen, any_fits, fits, look, total_cell
from b2b_pipeline.files.mapping import CATEGORIES, EVENT_TYPES
from b2b_pipeline.files.recognise import Match, recognise
from b2b_pipeline.files.vocabulary import plain

WORDS = 30  # of a column that are listed
NO_DAY = '{value: "?"}  # no column has the day: write the one that all rows count on, or export with days'


@dataclass(frozen=True)
class Proposal:
    """`table`: which one the file feeds, None when it is none; then `text` is a comment that says why."""

    table: str | None
    text: str

    @property
    def questions(self) -> list[str]:
        """The lines that wait for an answer."""
        return [line.strip() for line in self.text.splitlines() if '"?"' in line and not line.startswith("#")]


def propose(name: str, content: bytes) -> Proposal:
    """A mapping for the file, as YAML. Raises ContractError when it cannot be read as a table at all."""
    export = look(content)
    match, why = recognise(export)
    if match is None:
        titles = _listed(column.header for column in export.columns[:WORDS])
        return Proposal(None, f"# None of the tables: {why}.\n# The columns are {titles}.\n" + _way_out(why))
    return Proposal(match.kind.name, "\n".join(_Writer(name, export, match).lines()) + "\n")


def _way_out(why: str) -> str:
    if "counts per e-mail campaign" in why:
        return "# Unique opens and clicks cannot be told from sums. Export the events per recipient instead.\n"
    return f"# There are {', '.join(vocabulary.tables())}; docs/files.md says what each needs.\n"


class _Writer:
    """Writes the mapping of one file, line by line."""

    def __init__(self, name: str, export: Export, match: Match) -> None:
        self.name, self.export, self.match = name, export, match
        self.table, self.found, self.columns = match.kind.name, dict(match.found), export.columns

    def lines(self) -> Iterator[str]:
        yield "# Guessed from names and contents: check every line. A ? must be filled in."
        yield f"{_slug(self.name)}:"
        yield f"  match: {_quoted(_pattern(self.name))}"
        columns, extras = list(self._columns()), list(self._extras())
        if read := list(self._read()):
            yield from ("  read:", *(f"    {item}" for item in read))
        if personal := self._personal():
            yield f"  personal: [{_listed(personal)}]  # hashed before anything is stored"
        yield from ("  tables:", f"    {self.table}:", "      columns:", *columns, *extras)
        written = "\n".join([*columns, *extras])
        left = [c.header for c in self.columns if c.header not in personal and not _stands_in(c.header, written)]
        if left:
            yield f"# not used: {_listed(left)}"

    # -- how the file is written

    def _read(self) -> Iterator[str]:
        export = self.export
        if export.encoding:
            yield f"encoding: {export.encoding}  # a guess, it is not UTF-8: do accents and € come out right?"
        if export.sheet is not None:
            yield f"sheet: {_quoted(export.sheet)}"
        if export.delimiter not in (None, ","):
            yield f"delimiter: {json.dumps(export.delimiter)}"
        if export.header_row > 1:
            yield f"header_row: {export.header_row}"
        if rule := _totals(export):
            yield f"skip_totals: {rule}"
        kinds = self.match.kind.columns
        numbers = [c for ours, c in self.found.items() if ours in kinds and kinds[ours].holds in ("money", "number")]
        if unclear := [column.header for column in numbers if _two_ways(column)]:
            shown = {sign for column in numbers if (sign := _proven(column)) is not None}
            decimal = f'"{shown.pop()}"' if len(shown) == 1 else '"?"'
            yield f'decimal: {decimal}  # "." or ",": {", ".join(map(cells.cited, unclear))} can be read both ways'

    def _personal(self) -> list[str]:
        email = self.found["email"].header if "email" in self.found else None
        used, words = list(self.found.values()), vocabulary.listed("personal")
        named = self.table in ("lead", "opportunity", "stage_event", "email_event")
        return [
            c.header for c in self.columns
            if c.header != email
            and (c.has_addresses or (named and c not in used and c.is_one_of(words)))
        ]  # fmt: skip

    # -- columns

    def _columns(self) -> Iterator[str]:
        constants = dict(self._constants())
        for ours, wanted in self.match.kind.columns.items():
            column = self.found.get(ours)
            if ours in constants:
                yield f"        {ours}: {constants[ours]}"
            elif column is not None:
                yield f"        {ours}: {self._cell(ours, column)}"
            if column is not None and wanted.holds == "money":
                yield f"        currency: {self._currency(column)}"

    def _constants(self) -> Iterator[tuple[str, str]]:
        """What no column of the file says, or no column alone."""
        match self.table:
            case "spend":
                day = self.found.get("date_day")
                if day is None:
                    yield "date_day", NO_DAY
                elif period := self._period(day):
                    yield "date_day", f'{{value: "?"}}  # the rows are sums of a period ({period}): export with days'
                platform, channel = self._platform()
                if "account_id" not in self.found:
                    unknown = '{value: "?"}  # which platform or account is it? it tells them apart'
                    yield "account_id", f"{{value: {platform}}}" if platform else unknown
                if "channel" not in self.found and channel:
                    yield "channel", f"{{value: {channel}}}"
                if "spend" not in self.found:
                    yield "spend", '"?"'
            case "lead" if "created_at" not in self.found:
                yield "created_at", '{value: "?", date: "%Y-%m-%d"}  # no column has it: the day that all of them came'
            case "cost_ledger" if "category" not in self.found:
                yield "category", f'{{value: "?"}}  # one of {", ".join(CATEGORIES)}'
            case "email_event" if "send_id" not in self.found:
                yield "send_id", '{value: "?"}  # no column names the e-mail: write the one that all rows are of'

    def _cell(self, ours: str, column: Seen) -> str:
        holds = self.match.kind.columns[ours].holds
        if holds in ("date", "month"):
            return self._when(ours, column)
        aliases: dict[str, str] = {}
        match ours:
            case "channel":
                aliases = {v: _meaning("channels", v) for v in column.values[:WORDS]}
            case "category":
                aliases = {v: _category(v) for v in column.values[:WORDS] if v.lower() not in CATEGORIES}
            case "event_type":
                aliases = {v: _meaning("events", v) for v in column.values[:WORDS] if v.lower() not in EVENT_TYPES}
        if not aliases:
            return _quoted(column.header)
        pairs = ", ".join(f"{_quoted(word)}: {_quoted(meant)}" for word, meant in aliases.items())
        allowed = {"category": CATEGORIES, "event_type": EVENT_TYPES}.get(ours, ())
        hint = f"  # one of {', '.join(allowed)}" if "?" in aliases.values() and allowed else ""
        return f"{{from: {_quoted(column.header)}, aliases: {{{pairs}}}}}{hint}"

    def _when(self, ours: str, column: Seen) -> str:
        """A day, month or point in time. A day takes a time in its stride: it is the day as written."""
        source = f"from: {_quoted(column.header)}"
        if not column.values:
            return f'{{{source}, date: "?"}}  # every cell is empty: how is it written?'
        found = column.formats(STAMPS) or column.formats(DAYS) or column.formats(MONTHS) or _two_formats(column)
        found, remark = self._settled(column, found)
        is_moment = ours in ("created_at", "updated_at", "entered_at", "event_at")
        stamped = all("%H" in item or "%I" in item for item in found) and bool(found)
        if len(found) == 1:
            written = _list_of(found[0])
        else:
            written = '"?"'
            remark = remark or f"  # ambiguous: fits {' and '.join(found)}; look at the export's settings"
        if not found:
            remark = "  # no one format fits every cell: list several, as [a, b]"
        if not (is_moment and stamped):
            return f"{{{source}, date: {written}}}{remark}"
        utc = "UTC" in column.header.upper() or found[0].endswith("UTC")
        zone = "" if "%z" in found[0] else ", zone: UTC" if utc else ', zone: "?"'
        return f"{{{source}, timestamp: {written}{zone}}}{remark}"

    def _settled(self, column: Seen, found: list[str]) -> tuple[list[str], str]:
        """Of several formats the one whose order of day and month another column of the file proves."""
        if len(found) < 2:
            return found, ""
        for other in self.columns:
            if other is column or not other.values or not any(char.isdigit() for char in other.values[0]):
                continue
            proven = other.formats([*STAMPS, *DAYS])
            if len(proven) == 1 and (same := [item for item in found if _order(item) == _order(proven[0])]):
                return same[:1], f"  # day and month as in {cells.cited(other.header)}"
        return found, ""

    def _period(self, day: Seen) -> str:
        """The columns between which the rows are sums, when they are sums of more than a day."""
        for first, last in map(vocabulary.phrases, vocabulary.parts()["periods"]):
            until = next((c for c in self.columns if day.is_one_of([first]) and c.is_one_of([last])), None)
            if until is not None and self.export.column_of(day) != self.export.column_of(until):
                return f"{cells.cited(day.header)} to {cells.cited(until.header)}"
        return ""

    def _platform(self) -> tuple[str | None, str | None]:
        for platform in vocabulary.parts()["platforms"]:
            headers = vocabulary.phrases(platform["headers"])
            if any(column.is_one_of(headers) for column in self.columns):
                return platform["account"], platform.get("channel")
        return None, None

    def _currency(self, money: Seen) -> str:
        words = [plain(f"{money.header} currency"), plain(f"currency of {money.header}")]
        words += vocabulary.listed("currency")
        objects = self.match.kind.objects
        column = next((c for c in self.columns if c.is_one_of(words, objects) and not c.holds("number")), None)
        if column is not None:
            return _quoted(column.header)
        if money.unit:
            return f"{{value: {money.unit}}}"
        signs = sorted({sign for value in money.values if (sign := cells.currency_sign(value))})
        signs = signs or [sign for sign in cells.SIGNS if sign in money.header][:1]
        if not signs:
            return '{value: "?"}  # no currency in the file: which one is it?'
        meant = {sign: _meant(sign) for sign in signs}
        if len(signs) == 1 and not all(cells.currency_sign(value) for value in money.values):
            return f"{{value: {_quoted(meant[signs[0]])}}}"
        return "{symbols: {" + ", ".join(f"{_quoted(sign)}: {_quoted(code)}" for sign, code in meant.items()) + "}}"

    # -- what follows the columns

    def _extras(self) -> Iterator[str]:
        match self.table:
            case "opportunity":
                yield from _outcomes(self.found["stage"])
            case "lead":
                dated = [
                    (stage, column)
                    for stage, words in vocabulary.parts()["stages"].items()
                    for column in self.columns
                    if column.is_one_of(vocabulary.phrases(words)) and column.values and column.holds("date")
                ]
                if dated:
                    yield "      stages:"
                    yield from (f"        {stage}: {self._when('entered_at', column)}" for stage, column in dated)
            case "spend":
                if broken := self._broken_down():
                    yield f"        ad_id: {_quoted(broken.header)}  # tells the rows of one campaign and day apart"

    def _broken_down(self) -> Seen | None:
        """The column that tells rows of one campaign and day apart, when what is mapped does not."""
        if "ad_id" in self.found:
            return None
        key = [
            self.found[ours] for ours in ("date_day", "account_id", "campaign_id", "ad_group_id") if ours in self.found
        ]
        rows = list(zip(*(self.export.column_of(column) for column in key), strict=True))
        if len(set(rows)) == len(rows):
            return None
        for column in self.columns:
            if column in self.found.values() or column.holds("number") or column.holds("date"):
                continue
            if len(set(zip(rows, self.export.column_of(column), strict=True))) == len(rows):
                return column
        return None


def _totals(export: Export) -> str:
    """Rule that leaves the total rows out, and none of the others."""
    where = [number for row in export.totals if (number := total_cell(row)) is not None]
    if not where:
        return ""
    number = max(set(where), key=where.count)
    texts = list(dict.fromkeys(row[number].strip() for row in export.totals if total_cell(row) == number))
    others = [row[number].strip().casefold() for row in export.rows if number < len(row)]
    patterns = list(dict.fromkeys(re.split(r"(?<=[:\uff1a])|\s", text)[0] + "*" for text in texts))
    clear = [p for p in patterns if not any(other.startswith(p[:-1].casefold()) for other in others)]
    words = clear if len(clear) == len(patterns) else [re.sub(r"[\[*?]", "?", text) for text in texts]
    value = _quoted(words[0]) if len(words) == 1 else f"[{_listed(words)}]"
    return f"{{column: {_quoted(export.header[number].strip())}, value: {value}}}"


def _outcomes(stage: Seen) -> Iterator[str]:
    """The words that mean won, lost and open; those that could be two of them are asked for."""
    words = stage.values[:WORDS]
    won = [word for word in words if vocabulary.says("won", word)]
    lost = [word for word in words if word not in won and vocabulary.says("lost", word)]
    going = [
        w for w in words if w not in (*won, *lost) and vocabulary.says("open", w) and not vocabulary.says("ended", w)
    ]
    asked = [word for word in words if word not in (*won, *lost, *going)]
    if not won:
        yield '      won: ["?"]  # which words of the stage mean that the deal is won?'
    else:
        yield f"      won: [{_listed(won)}]"
    if lost:
        yield f"      lost: [{_listed(lost)}]"
    if going:
        yield f"      open: [{_listed(going)}]"
    if asked:
        yield f"      # won, lost or open? put each into its list: {_listed(asked)}"


def _meaning(name: str, word: str) -> str:
    return vocabulary.meanings(name).get(plain(word), "?")


def _category(word: str) -> str:
    return next((meant for part, meant in vocabulary.meanings("categories").items() if part in plain(word)), "?")


def _meant(sign: str) -> str:
    codes = cells.SIGNS.get(sign, frozenset())
    return sign if len(sign) == 3 and sign.isalpha() else next(iter(codes)) if len(codes) == 1 else "?"


def _two_formats(column: Seen) -> list[str]:
    """Two formats that fit every cell between them, each cell one of them, as one answer."""
    for among in (STAMPS, DAYS):
        if not any_fits(column.values[0], among):
            continue
        first = [item for item in among if fits(column.values[0], item)]
        rest = [value for value in column.values if not any(fits(value, item) for item in first)]
        second = [item for item in among if rest and all(fits(value, item) for value in rest)]
        if len(first) == len(second) == 1 and not any(fits(v, first[0]) and fits(v, second[0]) for v in column.values):
            return [f"{first[0]}|{second[0]}"]
    return []


def _list_of(format_: str) -> str:
    both = [json.dumps(item) for item in format_.split("|")]
    return both[0] if len(both) == 1 else f"[{', '.join(both)}]"


def _order(format_: str) -> bool:
    """Whether the day comes before the month."""
    month = next((format_.index(code) for code in ("%m", "%b", "%B") if code in format_), 0)
    return format_.index("%d") < month if "%d" in format_ else False


def _two_ways(column: Seen) -> bool:
    return _proven(column) is None and any(_unclear(value) for value in column.values)


def _unclear(value: str) -> bool:
    try:
        cells.parse_number(value, None)
    except cells.Unfit as unfit:
        return "two ways" in unfit.reason
    return False


def _proven(column: Seen) -> str | None:
    return cells.decimal_sign(pd.Series(column.values, dtype=object))


def _stands_in(header: str, written: str) -> bool:
    return re.search(rf"[:,[] ?{re.escape(_quoted(header))}[],}}\n ]", written + "\n") is not None


def _listed(headers: Iterable[str]) -> str:
    return ", ".join(map(_quoted, headers))


def _pattern(name: str) -> str:
    """The file's name with dates and numbers left open."""
    path = PurePath(name)
    return re.sub(r"[\d][\d_\-. ]*$", "*", path.stem) + path.suffix


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"[\d]+", "", PurePath(name).stem.lower())).strip("_") or "export"


def _quoted(text: str) -> str:
    """A YAML scalar that is this text whatever is in it."""
    safe = re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]*[A-Za-z0-9]|[A-Za-z]", text)
    plain_ = safe and text.lower() not in {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    return text if plain_ else json.dumps(text, ensure_ascii=not text.isprintable())
