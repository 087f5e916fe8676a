"""Where the code of an asset lies that somebody would edit: its page leads to the mapping, not to our factory."""

import sys
from collections.abc import Callable, Iterable
from typing import Any

import dagster as dg
from dagster import CodeReferencesMetadataValue, LocalFileCodeReference

from b2b_pipeline.configuration.settings import config_path
from b2b_pipeline.core.feeds import Feed
from b2b_pipeline.core.fingerprint import OURS
from b2b_pipeline.metrics.model import Family

Place = LocalFileCodeReference


def code_references(places: Iterable[Place | None]) -> dict[str, dg.MetadataValue[Any]]:
    """As metadata of an asset; nothing where no place is known."""
    found: list[Any] = list({(place.file_path, place.line_number): place for place in places if place}.values())
    return {"dagster/code_references": CodeReferencesMetadataValue(code_references=found)} if found else {}


def place_of(function: Callable[..., Any], label: str) -> Place | None:
    """The file and line of a function of Python. Dagster shows "Open <label> in editor"."""
    code = getattr(getattr(function, "func", function), "__code__", None)
    return Place(file_path=code.co_filename, line_number=code.co_firstlineno, label=label) if code else None


def place_of_feed(feed: Feed) -> Place | None:
    """That of its mapping to rows; of files `pipeline.yaml`, which maps them."""
    if feed.files:
        return Place(file_path=str(config_path()), label="pipeline.yaml")
    return place_of(feed.mapping, f"{feed.source} {feed.stream}")


def place_of_family(family: Family) -> Place | None:
    """The file that declares it as its `FAMILY`."""
    for name, module in sys.modules.items():
        if name.partition(".")[0] in OURS and vars(module).get("FAMILY") is family:
            return Place(file_path=str(module.__file__), label=family.name)
    return None
