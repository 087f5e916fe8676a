"""Every source, by name: those of the folders here that have a `source.py`, and one's own (configuration/own.py)."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from b2b_pipeline.configuration import own
from b2b_pipeline.connectors.base import Source
from b2b_pipeline.errors import ConfigError


def _sources() -> Iterator[Source]:
    for path in sorted(Path(__file__).parent.glob("*/source.py")):
        source: Source = import_module(f"{__package__}.{path.parent.name}.source").SOURCE
        yield source
    yield from own.found("sources")


SOURCES: dict[str, Source] = {}
for _source in _sources():
    if _source.name in SOURCES:
        raise ConfigError(f"a source of your own is called {_source.name}, as one that there is: take another name")
    SOURCES[_source.name] = _source
