"""Which landed streams feed a core table, and with which mapping."""

from __future__ import annotations

import hashlib
import inspect
import sys
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import pandas as pd

from b2b_pipeline.config import Config
from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Mapping_, MappingContext
from b2b_pipeline.files.mapping import FileMapping
from b2b_pipeline.files.rows import rows as file_rows


@dataclass(frozen=True, eq=False)
class Feed:
    """One landed stream that feeds a table; of file drops only the files that `files` matches."""

    source: str
    stream: str
    kind: str
    mapping: Mapping_
    day: str  # the field that dates a record, see Stream
    files: FileMapping | None = None

    def version(self, config: Config) -> str:
        """Changes with the mapping's code and the configuration; what was loaded under another one is loaded again."""
        code = _code("b2b_pipeline.files" if self.files else self.mapping.__module__)
        what_is_read = {"__all__": {"accounts", "streams", "ended"}}
        meaning = config.model_dump_json(
            exclude={"limits": True, "alerts": True, "inbox": True, "gross_margin": True, "sources": what_is_read}
        )
        return hashlib.sha256((code + meaning).encode()).hexdigest()[:16]

    def accepts(self, account: str) -> bool:
        return self.files is None or self.files.matches(account)


@cache
def _code(module: str) -> str:
    """The source of a module, or of every module of a package, and of what all mappings go through."""
    texts = []
    for name in (module, "b2b_pipeline.core.mapping", "b2b_pipeline.core.contract"):
        path = Path(inspect.getfile(sys.modules[name]))
        paths = sorted(path.parent.glob("*.py")) if path.name == "__init__.py" else [path]
        texts += [path.read_text(encoding="utf-8") for path in paths]
    return "".join(texts)


def file_stream(mapping: FileMapping) -> str:
    """A file is landed once, as `raw/files/<the first table it feeds>`."""
    return mapping.feeds()[0]


def feeds(table: str, config: Config) -> list[Feed]:
    """The streams of switched-on sources, and the file mappings, that feed `table`."""
    vendors = [
        Feed(name, stream.name, stream.kind, stream.feeds[table], stream.day)
        for name in config.sources
        for stream in SOURCES[name].switched_on(config)
        if table in stream.feeds
    ]
    drops = [
        Feed("files", file_stream(mapping), "snapshot", partial(_file_rows, mapping=mapping, table=table), "", mapping)
        for mapping in config.files.values()
        if table in mapping.feeds()
    ]
    return vendors + drops


def _file_rows(records: pd.DataFrame, context: MappingContext, *, mapping: FileMapping, table: str) -> pd.DataFrame:
    return file_rows(records, mapping, table, context)
