"""The code version of each asset: what Dagster compares to show what changed in code, before a night makes it anew.

    raw/<source>/<stream>   the API version that is asked, and the code that asks
    core tables             that of the mappings that feed them, as it decides which slices are loaded again
    derived tables          their queries
    kpi/<family>            the definitions of its metrics and measures

To tell them takes up to a second, and every process of a step imports the definitions. So `b2b ui`, pulls and loads
keep them in B2B_HOME, with a digest of the files that they were told from; an import only reads them there.
"""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy.dialects import postgresql

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.core.fingerprint import OURS, code, digest
from b2b_pipeline.derived.registry import DERIVED
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.metrics import definitions, store
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.privacy import write_private
from b2b_pipeline.warehouse import tables

Versions = dict[str, str]  # asset, as people write its key -> version
_telling: dict[str, Versions] = {}  # by configuration


def code_versions(config: Config) -> Versions:
    """Those that were kept, where they hold still; else told anew. Writes nothing."""
    kept = _kept(config)
    return _told(config) if kept is None else kept


def keep_versions(config: Config) -> None:
    """Keep them for the processes to come, where those that are kept do not hold."""
    if _kept(config) is None:
        files, versions = loaded_files(), _told(config)
        text = json.dumps({"files": files, "state": _state(files, config), "versions": versions})
        with suppress(OSError):  # without them every process tells its own
            write_private(_path(), text)


def _told(config: Config) -> Versions:
    """Told once in a process."""
    if (which := config.model_dump_json()) not in _telling:
        _telling[which] = dict(told_versions(config))
    return _telling[which]


def told_versions(config: Config) -> Iterator[tuple[str, str]]:
    for name in config.sources:
        for stream in SOURCES[name].switched_on(config):
            yield f"raw/{name}/{stream.name}", f"{SOURCES[name].api_version} {code(asking(stream))}"
    for table in tables.CORE:
        fed = sorted(f"{feed.source} {feed.stream} {feed.version(table)}" for feed in feeds(table.name, config))
        if fed:
            yield table.name, digest(*fed)
    for stream_name in {feed.stream for table in tables.CORE for feed in feeds(table.name, config) if feed.files}:
        yield f"raw/files/{stream_name}", code(land_file)
    for name, derived in DERIVED.items():
        queries = [*derived.queries(config), *derived.beside(config)]
        yield name, digest(*(_sql(query) for query in queries), code(derived.rows))
    metrics, measures = definitions.versions(config), store.definitions(config)
    for family in FAMILIES.values():
        parts = [f"{metric.name} {metrics[metric.name]}" for metric in family.metrics]
        parts += [f"{measure.name} {measures[measure.name]}" for measure in family.components]
        yield f"kpi/{family.name}", digest(*parts)


def asking(stream: Stream) -> Callable[..., Any]:
    """The function that asks for a stream, were it given with some of its arguments."""
    return getattr(stream.fetch, "func", stream.fetch)


def loaded_files() -> list[str]:
    """The files of the modules of ours, and of one's own, that this process has imported."""
    ours = (module for name, module in sorted(sys.modules.items()) if name.partition(".")[0] in OURS)
    return [file for module in ours if (file := getattr(module, "__file__", None))]


def _kept(config: Config) -> Versions | None:
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
        versions: Versions = kept["versions"]
        return versions if kept["state"] == _state(kept["files"], config) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _state(files: Sequence[str], config: Config) -> str:
    """A digest of all that versions are told from: a file whose bytes are the same says the same."""
    names = [sqlalchemy.__version__, config.model_dump_json(), *SOURCES, *FAMILIES]
    return digest(*names, *files, *(Path(file).read_bytes() for file in files))


def _path() -> Path:
    return settings.home() / "code_versions.json"


def _sql(query: Any) -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return str(query.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
