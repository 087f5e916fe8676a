"""The records that one table is built from: what the mapping's cells say of them, and what is wrong with them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pandas as pd

from b2b_pipeline.configuration.file_cells import (
    Cell,
    Channel,
    Choice,
    Day,
    Id,
    Moment,
    Money,
    Number,
    Text,
    field_name,
)
from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.configuration.file_tables import LeadTable, OpportunityTable, Table
from b2b_pipeline.connectors.columns import email_key
from b2b_pipeline.files import cells
from b2b_pipeline.files.reading import NOT_AN_ADDRESS, PROBLEM, ROW
from b2b_pipeline.warehouse.contract import REJECT, REJECT_ABOUT, REJECT_COLUMN

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

SOURCE = "files"
AHEAD = ("close_date", "last_day")  # days that may lie in the future
YES, NO = frozenset({"true", "yes", "y", "1", "x"}), frozenset({"false", "no", "n", "0"})


class Sheet:
    """The records that belong to one table, and what has been found wrong with each so far; the first reason stays."""

    def __init__(self, records: pd.DataFrame, mapping: FileMapping, table: Table, context: MappingContext) -> None:
        self.mapping, self.table, self.context = mapping, table, context
        self.records = records
        if table.when is not None:
            text = self._text(table.when.column)
            self.records = records[among(text, table.when.values) if table.when.values else text.notna()]
        self.reason, self.where, self.about = self.empty(), self.empty(), self.empty()
        if PROBLEM in self.records.columns:
            self._reject(self.records[PROBLEM], None)

    def part(self, mask: pd.Series) -> Sheet:
        """The rows under `mask`, with what is known to be wrong with them."""
        part = Sheet(self.records[mask], self.mapping, self.table, self.context)
        part.reason, part.where, part.about = self.reason[mask], self.where[mask], self.about[mask]
        return part

    # -- what the mapping's cells say

    def __getitem__(self, name: str) -> pd.Series:
        """Our column `name` in canonical text; None where the file has nothing, or nothing that fits."""
        cell = getattr(self.table.columns, name)
        values = self.empty() if cell is None else self.cell(cell, ahead=name in AHEAD)
        if type(self.table.columns).model_fields[name].is_required():
            self.require(values, cell)
        return values

    def cell(self, cell: Cell, *, ahead: bool = False) -> pd.Series:
        """What a cell says in canonical text. `ahead`: a day of it may lie in the future."""
        text = self.raw(cell)
        zone = self.context.config.zone
        match cell:
            case Moment(timestamp=[]):
                return self._parse(text, partial(_midnight, formats=self._one(text, cell.date), zone=zone), cell)
            case Moment():
                formats = self._one(text, cell.timestamp)
                return self._parse(text, partial(cells.parse_timestamp, formats=formats, zone=cell.zone), cell)
            case Day():
                formats = self._one(text, cell.date, ahead=ahead)
                times = partial(cells.parse_timestamp, formats=cell.timestamp, zone=cell.zone)
                return self._parse(text, partial(_day_of, formats=formats, times=times, cell=cell, zone=zone), cell)
            case Number():
                return self._number(cell)
            case Channel():
                known = self.context.config.channels.known
                return self._parse(aliased(text, cell), partial(channel_name, known=known), cell)
            case Choice():
                return self._parse(aliased(text, cell), partial(choice, allowed=cell.allowed), cell)
            case Id():
                return self._parse(aliased(text, cell), cells.parse_id, cell)
            case Text():
                return aliased(text, cell)
        self.fail(text == NOT_AN_ADDRESS, "not an e-mail address", cell)
        return text.where(text != NOT_AN_ADDRESS, None)

    def flags(self, cell: Cell) -> pd.Series:
        """Where a cell says yes, or does not say what a flag can say."""
        text = self.raw(cell)
        values = self._parse(text, flag, cell)
        return (values == "true") | (text.notna() & values.isna())

    def _number(self, cell: Number) -> pd.Series:
        """An amount or number: that of one column, or the sum or product of several, to scale."""
        parse = cells.parse_money if isinstance(cell, Money) else cells.parse_number
        texts = [self._text(header) for header in cell.sources] or [self.raw(cell)]
        factors = [self._parse(text, partial(parse, decimal=self._decimal(text)), cell) for text in texts]
        if len(factors) == 1 and cell.scale == 1:
            return factors[0]
        combined = [
            self._combined(cell, row) if all(isinstance(factor, str) for factor in row) else None
            for row in zip(*factors, strict=True)
        ]
        return pd.Series(combined, index=self.records.index, dtype=object)

    @staticmethod
    def _combined(cell: Number, row: tuple[str, ...]) -> str:
        return cells.product([cells.total(row) if cell.add else cells.product(row), str(cell.scale)])

    def _one(self, text: pd.Series, formats: list[str], *, ahead: bool = False) -> list[str]:
        tomorrow = datetime.now(self.context.config.zone).date() + timedelta(days=1)
        return cells.settled_formats(text, formats, None if ahead else tomorrow)

    def raw(self, cell: Cell) -> pd.Series:
        """The file's own text."""
        if isinstance(cell, Text) and cell.join:
            return self._joined(cell)
        if not cell.sources:
            return pd.Series(cell.value, index=self.records.index, dtype=object)
        return self._text(cell.sources[0])

    def _joined(self, cell: Text) -> pd.Series:
        rows = zip(*(self._text(header) for header in cell.join), strict=True)
        joined = [cell.between.join(part for part in row if isinstance(part, str)) or None for row in rows]
        return pd.Series(joined, index=self.records.index, dtype=object)

    def _text(self, header: str) -> pd.Series:
        return cells.clean(field_of(self.records, header), self.mapping.read.nulls)

    def _decimal(self, text: pd.Series) -> cells.DecimalSign | None:
        return self.mapping.read.decimal or cells.decimal_sign(text)

    def _parse(self, text: pd.Series, parse: Callable[[str], str], cell: Cell) -> pd.Series:
        values, reasons = cells.parsed(text, parse)
        self._reject(reasons, cell, text)
        return values

    def empty(self) -> pd.Series:
        return pd.Series(None, index=self.records.index, dtype=object)

    # -- what is wrong

    def fail(self, mask: pd.Series, reason: str, cell: Cell | None, about: pd.Series | None = None) -> None:
        """The rows under `mask` do not fit for a reason that they share; `about` has the text that each is about."""
        self._reject(self.empty().mask(mask.astype(bool), reason), cell, about)

    def require(self, values: pd.Series, cell: Cell | None) -> None:
        self.fail(values.isna() & self.reason.isna(), "the cell is empty", cell)

    def problems(self) -> dict[str, pd.Series]:
        return {REJECT: self.reason, REJECT_COLUMN: self.where, REJECT_ABOUT: self.about}

    def _reject(self, reasons: pd.Series, cell: Cell | None, about: pd.Series | None = None) -> None:
        new = reasons.notna() & self.reason.isna()
        self.reason = self.reason.where(~new, reasons)
        self.where = self.where.where(~new, None if cell is None else cell.title)
        if about is not None and new.any():
            self.about[new] = about[new].map(lambda text: cells.cited(str(text)))

    # -- rows

    def frame(self, columns: dict[str, object], *plain: str) -> pd.DataFrame:
        """Finished rows: `columns`, the mapping's cells of the names `plain`, keys of the source, and what is wrong."""
        cells_ = {name: self[name] for name in plain}
        keys = {"source": SOURCE, "source_account": self.context.account.id, "source_id": self.records[ROW]}
        return pd.DataFrame(keys | columns | cells_ | self.problems(), index=self.records.index, dtype=object)

    def own_id(self, name: str) -> pd.Series:
        """The id that the mapping names, else one made of the row."""
        cell = getattr(self.table.columns, name)
        if cell is None:
            return self._row_ids()
        values = self[name]
        self.require(values, cell)
        return values

    def lead_ids(self) -> pd.Series:
        """The id of the lead each row is about: by its column, else its e-mail, else, in a file of leads, its row."""
        columns, lead = self.table.columns, self.mapping.tables.lead
        if columns.lead_id is not None:
            values = self["lead_id"]
            if not isinstance(self.table, OpportunityTable):  # a deal need not come from a lead
                self.require(values, columns.lead_id)
            return values
        if columns.email is not None:
            key = email_key(self["email"])
            return key.fillna(self._row_ids()) if isinstance(self.table, LeadTable) else key
        if isinstance(self.table, LeadTable):
            return self._row_ids()
        everybody = lead and lead.model_copy(update={"when": None})
        return Sheet(self.records, self.mapping, everybody, self.context).lead_ids() if everybody else self.empty()

    def said(self, headers: list[str]) -> pd.Series:
        """A digest of what each row says in these columns."""
        said = pd.DataFrame({h: self._text(h).fillna("") for h in sorted(headers)}, self.records.index)
        digests = [hashlib.sha256(repr(line).encode()).hexdigest()[:16] for line in said.itertuples(False, None)]
        return pd.Series(digests, index=self.records.index, dtype=object)

    def _row_ids(self) -> pd.Series:
        """An id for each row from what its mapped cells say, numbered when the file says the same again."""
        ids = self.said(self.mapping.headers())
        again = ids.groupby(ids.to_numpy()).cumcount() + 1
        return ids.where(again == 1, ids + "-" + again.astype(str))


def _midnight(text: str, formats: list[str], zone: ZoneInfo) -> str:
    return cells.midnight(cells.parse_day(text, formats), zone)


def _day_of(text: str, formats: list[str], times: Callable[[str], str], cell: Day, zone: ZoneInfo) -> str:
    try:
        return cells.parse_day(text, formats)
    except cells.Unfit:
        if not cell.timestamp:
            raise
        return datetime.fromisoformat(times(text)).astimezone(zone).date().isoformat()


def field_of(records: pd.DataFrame, header: str) -> pd.Series:
    name = field_name(header)
    return records[name] if name in records.columns else pd.Series(None, index=records.index, dtype=object)


# -- words


def channel_name(text: str, known: frozenset[str]) -> str:
    name = "_".join(text.lower().replace("-", " ").replace("_", " ").split())
    if name not in known:
        raise cells.Unfit(text, f"is no known channel: add an alias for one of {', '.join(sorted(known))}")
    return name


def flag(text: str) -> str:
    """A yes or no, or a count."""
    if text.isdecimal():
        return "true" if int(text) else "false"
    return choice(text, ("true", "false"))


def choice(text: str, allowed: tuple[str, ...]) -> str:
    word = text.lower()
    if allowed == ("true", "false"):
        word = "true" if word in YES else "false" if word in NO else word
    if word not in allowed:
        raise cells.Unfit(text, f"is none of {', '.join(allowed)}: add an alias")
    return word


def aliased(text: pd.Series, cell: Text) -> pd.Series:
    if not cell.aliases:
        return text
    table = {cells.folded(spelling): word for spelling, word in cell.aliases.items()}
    return (
        text.map(lambda value: table.get(cells.folded(value), value), na_action="ignore")
        .astype(object)
        .where(text.notna(), None)
    )


def among(text: pd.Series, words: list[str]) -> pd.Series:
    folded = {cells.folded(word) for word in words}
    return text.map(lambda value: isinstance(value, str) and cells.folded(value) in folded).astype(bool)
