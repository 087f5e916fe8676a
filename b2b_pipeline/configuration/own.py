"""Sources and metrics of one's own, so that an upgrade is no merge.

Of the folders beside `pipeline.yaml`: each `sources/<name>/source.py` has a `SOURCE`, each `metrics/<name>.py` a
`FAMILY`. Of installed packages: entry points of the groups `b2b_pipeline.sources` and `b2b_pipeline.metrics`, whose
objects these are. Both are found when the registries are first asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from b2b_pipeline.configuration.settings import config_path
from b2b_pipeline.errors import ConfigError

OWN = "b2b_own"  # the package that the folders beside pipeline.yaml make up
Kind = Literal["sources", "metrics"]
OBJECT = {"sources": "SOURCE", "metrics": "FAMILY"}


def found(kind: Kind) -> Iterator[Any]:
    """Each object of one's own. Raises ConfigError, with the file, for one that cannot be imported."""
    for module, where in _modules(kind).items():
        with _told(str(where)):
            item = getattr(import_module(module), OBJECT[kind])
        yield item
    for entry in _entries(kind):
        with _told(f"entry point {entry.name} ({entry.value})"):
            item = entry.load()
        yield item


@contextmanager
def _told(where: str) -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except Exception as error:
        raise ConfigError(f"{where}: {type(error).__name__}: {error}") from error


def packages() -> set[str]:
    """The top-level packages that they are in, this one's too."""
    return {"b2b_pipeline", OWN, *(entry.module.partition(".")[0] for kind in OBJECT for entry in _entries(kind))}


def folders() -> list[Path]:
    """Where the sources of one's own lie, each with its words.yaml."""
    specs = (find_spec(entry.module) for entry in _entries("sources"))
    installed = [Path(spec.origin).parent for spec in specs if spec and spec.origin]
    return [*(path.parent for path in _files("sources")), *installed]


def _modules(kind: Kind) -> dict[str, Path]:
    """Module -> its file."""
    files = _files(kind)
    if files and OWN not in sys.modules:
        package = ModuleType(OWN)
        package.__path__ = [str(config_path().parent)]
        sys.modules[OWN] = package
    if kind == "sources":
        return {f"{OWN}.sources.{path.parent.name}.source": path for path in files}
    return {f"{OWN}.metrics.{path.stem}": path for path in files}


def _files(kind: Kind) -> list[Path]:
    if not config_path().is_file():  # then this is no installation, and whatever lies here is not ours to run
        return []
    folder = config_path().parent / kind
    if kind == "sources":
        return sorted(folder.glob("*/source.py"))
    return sorted(path for path in folder.glob("*.py") if not path.name.startswith(("_", "test_")))


def _entries(kind: str) -> list[EntryPoint]:
    return sorted(entry_points(group=f"b2b_pipeline.{kind}"), key=lambda entry: entry.name)
