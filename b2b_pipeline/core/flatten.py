"""Landed records as the frame that mappings read: nested keys joined by dots, lists as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import pandas as pd

_NOTHING: Mapping[str, Any] = {}


def flattened(records: Sequence[Mapping[str, Any]], first: int = 0) -> pd.DataFrame:
    """One row per record, numbered from `first`; a cell is None where a record has no such key, or an empty object.

    As `pandas.json_normalize` does it, but column by column, which is several times as fast. Raises RecursionError.
    """
    return pd.DataFrame(dict(_columns(records, "")), index=pd.RangeIndex(first, first + len(records)), dtype=object)


def _columns(objects: Sequence[Mapping[str, Any]], prefix: str) -> Iterator[tuple[str, list[Any]]]:
    for key in dict.fromkeys(chain.from_iterable(objects)):
        try:
            cells = [*map(itemgetter(key), objects)]
        except KeyError:  # not all have it
            cells = [each.get(key) for each in objects]
        kinds = set(map(type, cells))
        if dict not in kinds:
            yield f"{prefix}{key}", cells
            continue
        if kinds - {dict, type(None)}:
            yield f"{prefix}{key}", [None if type(cell) is dict else cell for cell in cells]
        yield from _columns([cell if type(cell) is dict else _NOTHING for cell in cells], f"{prefix}{key}.")
