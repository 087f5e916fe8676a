"""Which landed streams feed a core table, and with which mapping."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_mapping import FILES, FileMapping
from b2b_pipeline.connectors.base import Kind, Mapping_
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.fingerprint import code, digest
from b2b_pipeline.core.fx import Rates, converted
from b2b_pipeline.core.overlap import overlapped
from b2b_pipeline.files.rows import rows as file_rows
from b2b_pipeline.files.source import stream_of
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import enforce


@dataclass(frozen=True, eq=False)
class Feed:
    """One landed stream that feeds a table; of file drops only the files that `files` matches."""

    source: str
    stream: str
    kind: Kind
    mapping: Mapping_
    day: str  # the field that dates a record, see Stream
    files: FileMapping | None = None

    def version(self, table: Table) -> str:
        """Changes with the code of the mapping and of the contract, the table's columns, and a file mapping's words.

        What was loaded under another one is loaded again.
        """
        if self.files is None:
            return digest(code(self.mapping, enforce, converted, Rates), self.kind, _declared(table))
        words = self.files.model_dump_json(exclude={"match", "cadence"})
        others = (tables.metadata.tables[name] for name in self.files.tables.given())  # whose rejects link nobody
        told = (_declared(each) for each in (table, *others))
        return digest(code(file_rows, FileMapping, enforce, converted, Rates, overlapped), words, *told)

    def accepts(self, account: str) -> bool:
        return self.files is None or self.files.matches(account)


def _declared(table: Table) -> str:
    return f"{[(column.name, repr(column.type)) for column in table.columns]} {table.info}"


def feeds(table: str, config: Config) -> list[Feed]:
    """The streams of switched-on sources, and the file mappings, that feed `table`."""
    vendors = ((name, stream, None) for name in config.sources for stream in SOURCES[name].switched_on(config))
    drops = ((FILES, stream_of(mapping), mapping) for mapping in config.files.values() if table in mapping.feeds())
    return [
        Feed(source, stream.name, stream.kind, stream.feeds[table], stream.day, files)
        for source, stream, files in (*vendors, *drops)
        if table in stream.feeds
    ]


def fed(config: Config) -> set[str]:
    """The core tables that something feeds."""
    streams = [stream for name in config.sources for stream in SOURCES[name].switched_on(config)]
    given = {table for mapping in config.files.values() for table in mapping.feeds()}
    return given.union(*(stream.feeds for stream in streams))
