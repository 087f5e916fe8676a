"""Files as a source like any other: their streams, which follow from the mappings in `pipeline.yaml`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pandas as pd

from b2b_pipeline.configuration.file_mapping import FileMapping, file_stream, personal_paths
from b2b_pipeline.connectors.base import MappingContext, Stream
from b2b_pipeline.files.rows import rows


def stream_of(mapping: FileMapping) -> Stream:
    """What a mapping's files are landed in, each as an account. People bring them: there is nothing to fetch."""
    feeds = {table: partial(_rows, mapping=mapping, table=table) for table in mapping.feeds()}
    return Stream(
        file_stream(mapping), "collection", "Files dropped into the inbox.", lambda *_: iter(()), "",
        personal=personal_paths(mapping), feeds=feeds,
    )  # fmt: skip


def _rows(records: pd.DataFrame, context: MappingContext, *, mapping: FileMapping, table: str) -> pd.DataFrame:
    return rows(records, mapping, table, context)


def file_streams(files: Mapping[str, FileMapping]) -> dict[str, list[FileMapping]]:
    """`raw/files/<table>` -> the mappings whose files land there: those of which it is the first table."""
    found: dict[str, list[FileMapping]] = {}
    for mapping in files.values():
        found.setdefault(file_stream(mapping), []).append(mapping)
    return found
