"""A first mapping for a file that nobody has mapped: YAML to be read, corrected, pasted. Every line is a guess.

What the file is, is told by `recognise.py`. Where two readings of a cell fit, none is chosen: the proposal then has a
`?` that the configuration refuses, with the readings beside it.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations

from b2b_pipeline.configuration.currencies import KNOWN
from b2b_pipeline.configuration.file_cells import CATEGORIES, EVENT_TYPES
from b2b_pipeline.files import cells, sends, vocabulary
from b2b_pipeline.files.look import DAYS, MONTHS, STAMPS, Export, Seen, look, total_cell
from b2b_pipeline.files.readings import (
    WORDS,
    category,
    currency_of,
    is_day_first,
    one_or_list,
    outcomes,
    proven,
    reads_two_ways,
    says,
    several_formats,
    words_of,
)
from b2b_pipeline.files.recognise import COUNTS, SUMS, Match, recognise
from b2b_pipeline.files.sheet import NO
from b2b_pipeline.files.vocabulary import plain
from b2b_pipeline.files.yaml_text import listed, pattern, quoted, slug

GRANULARITY, DAILY = "timegranularity", "daily"  # what Apple says above the header of how long a row's span is
LEVELS = 12  # columns of which two may tell rows apart together
NOT_SENT = '{value: "?", date: "%Y-%m-%d"}  # no column or event has it: the day of the send, if all rows are of one'
NO_SEND = (
    '{value: "?", date: "%Y-%m-%d"}  # no column says when it was sent: the day of the send, if all rows are of one'
)
NO_CHANNEL = '{value: "?"}  # which of your channels is it? that of the leads that come by it'
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
        titles = listed(column.header for column in export.columns[:WORDS])
        return Proposal(None, f"# None of the tables: {why}.\n# The columns are {titles}.\n" + _way_out(why))
    return Proposal(match.kind.table, "\n".join(_Writer(name, export, match).lines()) + "\n")


def _way_out(why: str) -> str:
    if COUNTS in why:
        return "# Export a row per e-mail, with the day of its send and unique counts; or the events per recipient.\n"
    tables = dict.fromkeys(str(kind.table) for kind in vocabulary.tables().values())
    return f"# There are {', '.join(tables)}; docs/files.md says what each needs.\n"


class _Writer:
    """Writes the mapping of one file, line by line."""

    def __init__(self, name: str, export: Export, match: Match) -> None:
        self.name, self.export, self.match = name, export, match
        self.table, self.found, self.columns = str(match.kind.table), dict(match.found), export.columns
        for ours in self._spare():
            self.found.pop(ours, None)

    def lines(self) -> Iterator[str]:
        yield "# Guessed from names and contents: check every line. A ? must be filled in."
        yield f"{slug(self.name)}:"
        if preset := self.match.preset:
            by = listed(column.header for column in self.columns if column.is_one_of(preset.headers))
            yield f"  # {preset.name}, by {by}"
        yield f"  match: {quoted(pattern(self.name))}"
        columns, extras = list(self._columns()), list(self._extras())
        if read := list(self._read()):
            yield from ("  read:", *(f"    {item}" for item in read))
        if personal := self._personal():
            yield f"  personal: [{listed(personal)}]  # hashed before anything is stored"
        yield from ("  tables:", f"    {self.table}:", "      columns:", *columns, *extras)
        if preset and preset.remark:
            yield f"      # {preset.remark}"
        written = "\n".join([*columns, *extras])
        told = {*personal, *(self.found[ours].header for ours in self.match.asked if ours in self.found)}
        left = [c.header for c in self.columns if c.header not in told and not _stands_in(c.header, written)]
        if left:
            yield f"# not used: {listed(left)}"

    def _spare(self) -> Iterator[str]:
        """What the file has, and another column of it says better: a table takes one of them."""
        found = self.found
        match self.match.kind.name:
            case "opportunity":
                flagged = "is_won" in found and "is_closed" in found
                told = "stage" in found and says("lost", found["stage"]) and says("won", found["stage"])
                if "is_won" not in found or (told and not flagged):
                    yield from ("is_won", "is_closed")
                if "stage" in found or "is_won" in found:
                    yield from ("won_date", "lost_date")
                else:
                    yield "close_date"
            case "email_event" | "email_recipients" if "email" in found:
                yield "recipient_id"
            case "email_summary":
                yield from self._every_time()
            case "spend" if self._levels():
                yield "ad_id"

    # -- how the file is written

    def _read(self) -> Iterator[str]:
        export = self.export
        if export.encoding:
            yield f"encoding: {export.encoding}  # a guess, it is not UTF-8: do accents and € come out right?"
        if export.sheet is not None:
            yield f"sheet: {quoted(export.sheet)}"
        if export.delimiter not in (None, ","):
            yield f"delimiter: {json.dumps(export.delimiter)}"
        if export.header_row > 1:
            yield f"header_row: {export.header_row}"
        if rule := _totals(export):
            yield f"skip_totals: {rule}"
        if self.table == SUMS:
            yield from self._grouped()
            return
        kinds = self.match.kind.columns
        numbers = [c for ours, c in self.found.items() if ours in kinds and kinds[ours].holds in ("money", "number")]
        if unclear := [column.header for column in numbers if reads_two_ways(column)]:
            shown = {sign for column in numbers if (sign := proven(column)) is not None}
            decimal = f'"{shown.pop()}"' if len(shown) == 1 else '"?"'
            yield f'decimal: {decimal}  # "." or ",": {", ".join(map(cells.cited, unclear))} can be read both ways'

    def _grouped(self) -> Iterator[str]:
        """The decimal sign by the marks in counts, which group digits: a count has no decimals."""
        counts = [c for ours, c in self.found.items() if self._holds(ours) == "count"] + sends.bounces(self.columns)
        marked = {mark: value for column in counts for value in column.values for mark in ".," if mark in value}
        if len(marked) == 1:
            [(mark, value)] = marked.items()
            yield f'decimal: "{"," if mark == "." else "."}"  # {cells.cited(value)} is a count, without decimals'
        elif marked:
            yield f'decimal: "?"  # "." or ",": {" and ".join(map(cells.cited, marked.values()))} are counts'

    def _personal(self) -> list[str]:
        email = self.found["email"].header if "email" in self.found else None
        used, words = list(self.found.values()), vocabulary.listed("people") | vocabulary.listed("personal")
        named = self.table not in ("spend", "cost_ledger", SUMS)
        return [
            c.header for c in self.columns
            if c.header != email
            and (c.has_addresses or (named and c not in used and c.is_one_of(words)))
        ]  # fmt: skip

    # -- columns

    def _columns(self) -> Iterator[str]:
        constants = dict(self._constants())
        known = [*self.match.kind.columns, *(ours for ours in constants if ours not in self.match.kind.columns)]
        for ours in known:
            column, holds = self.found.get(ours), self._holds(ours)
            if ours in constants:
                yield f"        {ours}: {constants[ours]}"
            elif column is not None and holds != "event":
                yield f"        {ours}: {self._cell(ours, column)}"
            if column is not None and holds == "money":
                yield f"        currency: {self._currency(column)}"

    def _holds(self, ours: str) -> str | None:
        wanted = self.match.kind.columns.get(ours)
        return wanted.holds if wanted else None

    def _constants(self) -> Iterator[tuple[str, str]]:
        """What no column of the file says, or no column alone."""
        preset = self.match.preset
        match self.table:
            case "spend":
                day = self.found.get("date_day")
                if day is None:
                    yield "date_day", NO_DAY + self._days()
                elif period := self._period(day):
                    yield "date_day", f'{{value: "?"}}  # the rows are sums of a period ({period}): export with days'
                if "account_id" not in self.found:
                    unknown = '{value: "?"}  # which platform or account is it? it tells them apart'
                    yield "account_id", f"{{value: {preset.account}}}" if preset else unknown
                if "campaign_id" not in self.found:
                    finest = next((self.found[ours] for ours in ("ad_group_id", "ad_id") if ours in self.found), None)
                    named = quoted((finest or self.found["channel"]).header)
                    yield "campaign_id", f"{named}  # no column names the campaign: this is the nearest"
                column, channel = self.found.get("channel"), preset.channel if preset else None
                if channel and (column is None or "?" in words_of("channels", column).values()):
                    yield "channel", f"{{value: {channel}}}" if channel != "?" else NO_CHANNEL
            case "lead":
                if preset and preset.captured:
                    yield "capture_type", f"{{value: {preset.captured}}}"
                if "created_at" not in self.found:
                    unknown = '{value: "?", date: "%Y-%m-%d"}  # no column has it: the day that all of them came'
                    yield "created_at", unknown + self._days()
            case "touchpoint" if "channel" not in self.found and not {"utm_medium", "gclid"} & set(self.found):
                yield "channel", '{value: "?"}  # no column has it: the channel that all rows are of'
            case "opportunity" if "is_won" in self.found and "is_closed" not in self.found:
                yield "is_closed", '{value: "?"}  # those not won: true if they are all lost, false if still open'
            case "cost_ledger" if "category" not in self.found:
                yield "category", f'{{value: "?"}}  # one of {", ".join(CATEGORIES)}'
            case "email_event":
                if "send_id" not in self.found:
                    yield "send_id", '{value: "?"}  # no column names the e-mail: write the one that all rows are of'
                if not self._dates_sends():
                    yield "sent_at", NOT_SENT
            case "email_summary":
                if "sent_at" not in self.found:
                    yield "sent_at", NO_SEND + self._days()
                if "bounces" not in self.found and (kinds := sends.bounces(self.columns)):
                    named = listed(column.header for column in kinds)
                    alone = f'"?"  # is it {cells.cited(kinds[0].header)}? Only if there are no others'
                    yield "bounces", f"{{add: [{named}]}}" if len(kinds) > 1 else alone

    def _days(self) -> str:
        """The columns with days that nothing of ours is filled from, as a hint."""
        days = [c.header for c in self.columns if c.is_dated and c not in self.found.values()]
        return f"; or is it {' or '.join(map(cells.cited, days))}?" if days else ""

    def _dates_sends(self) -> bool:
        """Whether the file says when an e-mail was sent: by a column, or by events that are the send."""
        found = self.found
        sends = [word for word, ours in vocabulary.meanings("events").items() if ours == "sent"]
        return (
            "sent_at" in found
            or ("sent" in found and found["sent"].is_dated)
            or ("event_type" in found and any(plain(value) in sends for value in found["event_type"].values))
        )

    def _cell(self, ours: str, column: Seen) -> str:
        holds = self._holds(ours)
        if ours in self.match.asked:
            other = " It can mean something else"
            if ours == "per_eur":
                other = " If it is euros for one unit, write in_eur"
            elif self.table == SUMS:
                other = " Only if it counts each recipient once; else leave this line out"
            return f'"?"  # is it {cells.cited(column.header)}?{other}'
        if holds in ("date", "month"):
            return self._when(ours, column)
        if ours == "send_id" and self.table == SUMS and (test := sends.variants(self.columns)):
            asked = f"is it {cells.cited(column.header)}? Not if a row sums the variants of a test"
            return f'"?"  # {asked} ({cells.cited(test.header)})'
        if holds == "money" and plain(column.header).endswith("micros"):
            return f"{{from: {quoted(column.header)}, scale: 0.000001}}"
        aliases: dict[str, str] = {}
        match ours:
            case "channel":
                aliases = words_of("touches" if self.table == "touchpoint" else "channels", column)
            case "category":
                aliases = {v: category(v) for v in column.values[:WORDS] if v.lower() not in CATEGORIES}
            case "event_type":
                aliases = {v: w for v, w in words_of("events", column).items() if v.lower() not in EVENT_TYPES}
        if not aliases:
            return quoted(column.header)
        pairs = ", ".join(f"{quoted(word)}: {quoted(meant)}" for word, meant in aliases.items())
        allowed = {"category": CATEGORIES, "event_type": EVENT_TYPES}.get(ours, ())
        hint = f"  # one of {', '.join(allowed)}" if "?" in aliases.values() and allowed else ""
        return f"{{from: {quoted(column.header)}, aliases: {{{pairs}}}}}{hint}"

    def _when(self, ours: str, column: Seen) -> str:
        """A day, month or point in time. A day takes a time in its stride: it is the day as written."""
        source = f"from: {quoted(column.header)}"
        if not column.values:
            return f'{{{source}, date: "?"}}  # every cell is empty: how is it written?'
        found = column.formats(STAMPS) or column.formats(DAYS) or column.formats(MONTHS) or several_formats(column)
        found, remark = self._settled(column, found)
        is_moment = ours in ("created_at", "updated_at", "entered_at", "event_at", "sent_at", "touched_at")
        stamped = all("%H" in item or "%I" in item for item in found) and bool(found)
        span = ours == "date_day" and found and ("month" if found[0] in MONTHS else _span(column))
        if span:
            written = '"?"'
            remark = f"  # sums of a {span}, and all of one counts on its first day: export with days"
            remark += f"; or is it {' or '.join(found)}?"
        elif len(found) == 1:
            written = one_or_list(found[0])
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
            if len(proven) == 1 and (same := [item for item in found if is_day_first(item) == is_day_first(proven[0])]):
                return same[:1], f"  # day and month as in {cells.cited(other.header)}"
        return found, ""

    def _period(self, day: Seen) -> str:
        """The columns between which the rows are sums, when they are sums of more than a day."""
        for first, last in map(vocabulary.phrases, vocabulary.parts()["periods"]):
            until = next((c for c in self.columns if day.is_one_of([first]) and c.is_one_of([last])), None)
            if until is not None and self.export.column_of(day) != self.export.column_of(until):
                return f"{cells.cited(day.header)} to {cells.cited(until.header)}"
        span = self.export.said.get(GRANULARITY, DAILY)
        return "" if plain(span) == DAILY else span

    def _currency(self, money: Seen) -> str:
        words = [plain(f"{money.header} currency"), plain(f"currency of {money.header}")]
        words += vocabulary.listed("currency")
        objects = self.match.kind.objects
        column = next((c for c in self.columns if c.is_one_of(words, objects) and not c.holds("number")), None)
        if column is not None:
            return quoted(column.header)
        if money.unit:
            return f"{{value: {money.unit}}}"
        signs = sorted({sign for value in money.values if (sign := cells.currency_sign(value))})
        signs = signs or [sign for sign in cells.SIGNS if sign in money.header][:1]
        above = (self.export.said.get(word, "") for word in vocabulary.listed("currency"))
        if said := next((value for value in above if value in KNOWN), ""):
            return f"{{value: {said}}}  # as it says above the header"
        if not signs:
            return '{value: "?"}  # no currency in the file: which one is it?'
        meant = {sign: currency_of(sign) for sign in signs}
        if len(signs) == 1 and not all(cells.currency_sign(value) for value in money.values):
            return f"{{value: {quoted(meant[signs[0]])}}}"
        return "{symbols: {" + ", ".join(f"{quoted(sign)}: {quoted(code)}" for sign, code in meant.items()) + "}}"

    # -- what follows the columns

    def _extras(self) -> Iterator[str]:
        match self.table:
            case "opportunity":
                if "stage" in self.found and "is_won" not in self.found:
                    yield from outcomes(self.found["stage"])
                yield from self._stages(self._entered())
                yield from self._deleted()
            case "lead":
                yield from self._stages(
                    (stage, column)
                    for stage, words in vocabulary.parts()["stages"].items()
                    for column in self.columns
                    if column.is_one_of(vocabulary.phrases(words)) and column.is_dated
                )
                yield from self._deleted()
            case "email_event":
                if events := {ours: column for ours, column in self.found.items() if self._holds(ours) == "event"}:
                    yield "      events:"
                    yield from self._events(events)
            case "email_summary":
                yield from self._sent_once()
            case "spend":
                if broken := self._broken_down():
                    [one, *more] = (quoted(column.header) for column in broken)
                    named = f"{{join: [{', '.join([one, *more])}]}}" if more else one
                    yield f"        ad_id: {named}  # tells the rows of one campaign and day apart"
        yield from self._wanted()

    def _wanted(self) -> Iterator[str]:
        """Leaves out what a known export has beside its rows, sums and footers, and rows that are not wanted."""
        preset = self.match.preset
        column = next((c for c in self.columns if preset and preset.rows in c.spellings()), None)
        if preset is None or column is None:
            return
        wanted = [value for value in column.values if plain(value) in map(plain, preset.wanted)]
        if not preset.wanted:
            yield f"      when: {quoted(column.header)}  # what has none is no row, but a sum or the end of the report"
        elif wanted:
            yield f"      when: {{column: {quoted(column.header)}, values: [{listed(wanted)}]}}"

    def _every_time(self) -> Iterator[str]:
        """Unique counts that are none: in some row more than there were recipients."""
        found = self.match.found
        reached = next((found[ours] for ours in ("deliveries", "sends") if ours in found), None)
        for ours in sends.UNIQUE:
            column = found.get(ours)
            if column and reached and sends.exceeds(self.export.column_of(column), self.export.column_of(reached)):
                yield ours

    def _sent_once(self) -> Iterator[str]:
        """Leaves out the rows that are no sends of one day: of other sorts, else those that were not sent."""
        dated = self.found.get("sent_at")
        if sort := sends.sort_of(self.columns):
            kept = sort.once if sort.column.filled == len(self.export.rows) and not sort.asked else ["?"]
            named, words = quoted(sort.column.header), '"?"' if kept == ["?"] else listed(kept)
            left = f"# those of one send; not {', '.join(map(cells.cited, sort.never))}"
            yield f"      when: {{column: {named}, values: [{words}]}}  {left}"
        elif dated is not None and 0 < dated.filled < len(self.export.rows):
            yield f"      when: {quoted(dated.header)}  # without it the e-mail was not sent"
        left_out = [(ours, self.match.found[ours]) for ours in self._every_time()]
        for ours, column in dict([*sends.every_time(self.columns), *left_out]).items():
            if ours not in self.found:
                unique = f"export unique {ours} to have them"
                yield f"      # {cells.cited(column.header)} counts every time, not each recipient once: {unique}"

    def _events(self, events: dict[str, Seen]) -> Iterator[str]:
        """When or whether each event was. Those that nobody had yet are written as the others, if they are times."""
        times = next((column.values for column in events.values() if column.is_dated), [])
        for ours, column in events.items():
            if column.is_dated or (times and not column.values):
                yield f"        {ours}: {self._when('event_at', replace(column, values=column.values or times))}"
            elif column.values:
                yield f"        {ours}: {{from: {quoted(column.header)}, flag: true}}"

    def _stages(self, dated: Iterable[tuple[str, Seen]]) -> Iterator[str]:
        """A stage that two columns have the day of, as one of each of two pipelines, is left out."""
        found = list(dated)
        often = Counter(stage for stage, _ in found)
        lines = [
            f"        {quoted(stage)}: {self._when('entered_at', column)}"
            for stage, column in found
            if often[stage] == 1
        ]
        if lines:
            yield from ("      stages:", *lines)

    def _entered(self) -> Iterator[tuple[str, Seen]]:
        """The columns with the day on which a deal entered a stage, by the words of the stages."""
        beside = vocabulary.listed("entered")
        words = {plain(word): word for word in (self.found["stage"].values if "stage" in self.found else ())}
        for column in self.columns:
            if column in self.found.values() or not column.is_dated:
                continue
            [*_, last] = column.spellings(self.match.kind.objects)
            quoted = re.search(r'"\s*([^"(]+?)\s*(\(.*\))?\s*"', column.header)
            named = {plain(quoted[1]): quoted[1]} if quoted else words
            for word in filter(None, named):
                before, said, after = last.partition(word)
                if said and before + after in beside:
                    yield named[word], column
                    break

    def _deleted(self) -> Iterator[str]:
        """Leaves out the rows that the file itself says are deleted."""
        for column in self.columns:
            if column.is_one_of(vocabulary.listed("deleted")) and column.holds("flag"):
                kept = [value for value in column.values if value.lower() in NO]
                if kept and column.filled == len(self.export.rows):
                    yield f"      when: {{column: {quoted(column.header)}, values: [{listed(kept)}]}}"
                elif column.filled > len(kept):
                    yield f"      # {cells.cited(column.header)} says which rows are no more: export without them"
                return

    def _levels(self) -> list[Seen]:
        """Below its ads, the columns by which a known export is broken down."""
        apart = self.match.preset.apart if self.match.preset else ()
        return [column for column in self.columns if column.values and column.is_one_of(apart)]

    def _broken_down(self) -> tuple[Seen, ...]:
        """The columns that tell rows of one campaign and day apart, when what is mapped does not.

        Those of a known export; else one or two that do it here.
        """
        if levels := self._levels():
            return tuple([self.match.found["ad_id"], *levels] if "ad_id" in self.match.found else levels)
        if "ad_id" in self.found or "date_day" not in self.found:
            return ()
        key = ("date_day", "account_id", "campaign_id", "ad_group_id")
        rows = [self.export.column_of(self.found[ours]) for ours in key if ours in self.found]
        texts = [c for c in self.columns if c not in self.found.values() and not c.holds("number") and not c.is_dated]
        for columns in ((), *combinations(texts, 1), *combinations(texts[:LEVELS], 2)):
            apart = [*rows, *map(self.export.column_of, columns)]
            if len(set(zip(*apart, strict=True))) == len(self.export.rows):
                return columns
        return ()


def _span(day: Seen) -> str:
    """Of what the rows are sums, where the days of a column are the first ones of longer spans."""
    spans = vocabulary.parts()["spans"].items()
    return next((span for span, words in spans if day.is_one_of(vocabulary.phrases(words))), "")


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
    value = quoted(words[0]) if len(words) == 1 else f"[{listed(words)}]"
    return f"{{column: {quoted(export.header[number].strip())}, value: {value}}}"


def _stands_in(header: str, written: str) -> bool:
    asked = f'"?"  # is it {cells.cited(header)}?' in written
    return asked or re.search(rf"[:,[] ?{re.escape(quoted(header))}[],}}\n ]", written + "\n") is not None
