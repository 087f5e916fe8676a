"""How a person's CSV export becomes rows of core tables: the `files:` section of `pipeline.yaml`.

    files:
      deals:
        match: "deals*.csv"                 # file names, glob; upper and lower case are the same
        cadence: monthly                    # a month without a file is incomplete; or daily, once, irregular
        read: {decimal: ",", skip_totals: {column: Deal, value: "Total*"}}
        personal: [Contact name]            # further columns that must not be stored in clear
        tables:                             # one file may feed several tables
          opportunity:
            columns:
              opp_id: Deal                  # a column of the file
              created_at: {from: Opened, date: ["%d.%m.%Y", "%Y-%m-%d"]}
              amount: Value
              currency: {value: EUR}        # the same for all rows
              stage: {from: Stage, aliases: {Gewonnen: Won}}
            won: [Won]
            lost: [Lost]
            open: [Offer, Talks]

What is not declared is not guessed: a cell that does not fit sends its row to quarantine, with the reason.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, field_validator

from b2b_pipeline.configuration.file_cells import Email, Header, Str, Words, _list, _Section, field_name
from b2b_pipeline.configuration.file_tables import EmailEventTable, LeadTable, Table, Tables
from b2b_pipeline.errors import ContractError

FILES = "files"  # what files are called as a source: in tables, in landing, in asset keys


class Totals(_Section):
    """Rows that are sums of others, told by `value` in `column` (glob: `Total*`); they are left out."""

    column: Header
    value: Words


class Read(_Section):
    """How the file is written.

    encoding: default UTF-8, or what the byte-order mark says. Never guessed: a file of another one is refused.
    sheet: of a workbook; default the first that has all the columns.
    delimiter: default the one of comma, semicolon, tab, bar that makes the columns appear.
    header_row: line of the column names, from 1; default the first that has all of them.
    header: the column names of a file that has none; with `header_row` in the place of those in that line.
    skip_footer: so many rows at the end are no rows. Rows of one cell after a blank line, and such as say
        `Grand Totals (3 records)`, `Confidential …` or `Copyright …`, are left out by themselves, and counted.
    skip_totals: rows that are sums of others, one rule or several. `Total` in a row without a day is one by itself.
    nulls: what stands for an empty cell.
    decimal: decimal sign of numbers. Default: as each column shows beyond doubt (`1.234,56`); a cell that could be read
        both ways (`1,234`) is then quarantined.
    """

    encoding: str | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = None
    header_row: Annotated[int, Field(ge=1)] | None = None
    header: Annotated[list[Header], Field(min_length=1)] | None = None
    sheet: Header | None = None
    skip_footer: Annotated[int, Field(ge=0)] = 0
    skip_totals: Annotated[list[Totals], BeforeValidator(_list)] = []
    nulls: list[Str] = ["", "-", "--", "n/a", "#n/a", "null"]
    decimal: Literal[".", ","] | None = None

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        try:
            return None if value is None else codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"unknown encoding {value!r}: use utf-8, cp1252, iso8859-15, utf-16 or the like") from None


class FileMapping(_Section):
    """One kind of export: which files it is, how they are written, which tables they feed, and how often they come.

    cadence: which days are missing when no file has them. `monthly`: every month needs a file; `daily`: every day is in
        one; `once`: a history, and what is landed of it is all there is; `irregular`: as `once`, and no file at all
        means that there was nothing. Default: as two files or more show it; a single file speaks for the days from its
        first row to its last, and what is asked beyond is incomplete.
    """

    match: Words
    cadence: Literal["daily", "monthly", "once", "irregular"] | None = None
    read: Read = Read()
    personal: list[Header] = []
    tables: Tables

    def matches(self, name: str) -> bool:
        return any(fnmatchcase(name.lower(), pattern.lower()) for pattern in self.match)

    def feeds(self) -> tuple[str, ...]:
        """The core tables that the file gives rows of: the declared ones first, then what follows from them.

        Stage columns of leads give `stage_event`, e-mail clicks give `touchpoint`, addresses give `identity_link`.
        """
        given = self.tables.given()
        follows = {
            "stage_event": any(getattr(table, "stages", None) for table in given.values()),
            "touchpoint": self.tables.email_event is not None,
            "identity_link": any(self.links(table) for table in given.values()),
        }
        return tuple(dict.fromkeys([*given, *(name for name, yes in follows.items() if yes)]))

    def links(self, table: Table) -> bool:
        """Whether rows of `table` join a lead to an e-mail address."""
        return getattr(table.columns, "email", None) is not None and not isinstance(table, EmailEventTable)

    def headers(self) -> list[str]:
        """The columns that the file must have, each once, as the mapping writes them."""
        totals = [rule.column for rule in self.read.skip_totals]
        tables = self.tables.given().values()
        return list(dict.fromkeys([
            *(source for table in tables for cell in table.cells() for source in cell.sources),
            *(table.when.column for table in tables if table.when), *self.personal, *totals,
        ]))  # fmt: skip

    def emails(self) -> frozenset[str]:
        """The fields that hold e-mail addresses."""
        cells = (cell for table in self.tables.given().values() for cell in table.cells())
        return frozenset(cell.field for cell in cells if isinstance(cell, Email) and cell.field)

    def unknown_names(self, stages: Iterable[str], currencies: Iterable[str]) -> Iterator[str]:
        """Complaints about names that only the rest of the configuration can judge."""
        stages, currencies = list(stages), set(currencies)
        for name, table in self.tables.given().items():
            for stage in table.stages if isinstance(table, LeadTable) else ():
                if stage not in stages:
                    yield f"tables.{name}.stages: {stage!r} is not in stages.order: {', '.join(stages)}"
            cell = getattr(table.columns, "currency", None)
            words = [*cell.aliases.values(), *cell.symbols.values(), cell.value] if cell else []
            for word in words:
                if word is not None and word not in currencies:
                    yield f"tables.{name}.columns.currency: unknown currency {word!r}: use an ISO 4217 code such as EUR"


def personal_paths(mapping: FileMapping) -> tuple[str, ...]:
    """The fields that are hashed before they reach the disk: the declared ones and every e-mail address."""
    return tuple(sorted({*(field_name(name) for name in mapping.personal), *mapping.emails()}))


def mapping_for(name: str, files: Mapping[str, FileMapping]) -> str | None:
    """The name of the mapping whose `match` fits a file name, or None. Raises ContractError when two do."""
    found = [key for key, mapping in files.items() if mapping.matches(name)]
    if len(found) > 1:
        raise ContractError(f"{name} matches several mappings: {', '.join(found)}: make their `match` narrower")
    return found[0] if found else None


def file_stream(mapping: FileMapping) -> str:
    """A file is landed once, as `raw/files/<the first table it feeds>`."""
    return mapping.feeds()[0]
