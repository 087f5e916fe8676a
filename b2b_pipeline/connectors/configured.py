"""`pipeline.yaml`, read and held against the sources that there are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from b2b_pipeline.configuration.config import Complaint, Config
from b2b_pipeline.configuration.reading import read
from b2b_pipeline.configuration.words import nearest
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse.presets import presets, provided


def load_config(path: Path | None = None) -> Config:
    """Read and validate `pipeline.yaml` (default: `B2B_CONFIG`, else ./pipeline.yaml), or a component's `defs.yaml`.

    Raises ConfigError with file, line, what is wrong and what would be right, a line for each mistake.
    """
    return read(path, complaints)


def complaints(config: Config) -> Iterator[Complaint]:
    """What it says of sources and streams that are not there."""
    for name in config.sources:
        if name not in SOURCES:
            yield ("sources", name), f"unknown source: {nearest(name, SOURCES)}"
            continue
        streams = [stream.name for stream in SOURCES[name].streams]
        if landed := config.sources[name].warehouse:
            there = provided(name, landed.loader)
            if not there:
                known = sorted(f"{source} by {loader}" for source, loader in presets())
                yield (
                    ("sources", name, "warehouse", "loader"),
                    f"no tables of it are known: known are {', '.join(known)}",
                )
            streams = [stream for stream in streams if stream in there or not there]
        for number, stream in enumerate(config.sources[name].streams):
            if stream not in streams:
                yield ("sources", name, "streams", number), f"unknown stream: {nearest(stream, streams)}"
    record = config.system_of_record
    if record in SOURCES and record in config.sources:
        on, every = SOURCES[record].switched_on(config), SOURCES[record].streams
        if len(on) < len(every) and not any("opportunity" in stream.feeds for stream in on):
            yield ("system_of_record",), f"no stream of {record} under `streams` gives opportunities"
    yield from _told_twice(config)


def _told_twice(config: Config) -> Iterator[Complaint]:
    """Sources of the same visits: each of one site would count twice."""
    known = [name for name in config.sources if name in SOURCES]
    of_visits = [
        name for name in known if any("web_session" in stream.feeds for stream in SOURCES[name].switched_on(config))
    ]
    if len(of_visits) > 1 and not any(config.sources[name].options.get("other_sites") == "yes" for name in of_visits):
        why = (
            f"{' and '.join(of_visits)} tell of visits, and those to one site would count twice: leave one of them out"
        )
        yield ("sources", of_visits[-1]), f'{why}, or say `options: {{other_sites: "yes"}}` where their sites differ'
