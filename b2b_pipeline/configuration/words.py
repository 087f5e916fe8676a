"""Words: what those of a source mean unless `pipeline.yaml` says otherwise, and which was meant by one that is unknown.

The former are data, `connectors/<source>/words.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import TypeAdapter, ValidationError

from b2b_pipeline.configuration import own
from b2b_pipeline.errors import ConfigError

SECTIONS = ("stages", "channels")
_SHAPE = TypeAdapter(dict[Literal["stages", "channels"], dict[str, dict[str, str]]])
FOLDER = Path(__file__).parents[1] / "connectors"  # of our own sources


def words_of_sources(section: str) -> dict[str, Any]:
    """A section of `pipeline.yaml`: name of a table of words -> its type and default, as pydantic takes fields.

    Raises ConfigError, with the file, for one that is no such table, and for a name that another source has.
    """
    found: dict[str, Any] = {}
    folders = [*sorted(path.parent for path in FOLDER.glob("*/words.yaml")), *own.folders()]
    for path in (folder / "words.yaml" for folder in folders):
        for name, words in _tables(path).get(section, {}).items():
            if name in found:
                raise ConfigError(f"{path}: {section}.{name} belongs to another source: name a table after yours")
            found[name] = (dict[str, str], words)
    return found


def _tables(path: Path) -> Mapping[str, dict[str, dict[str, str]]]:
    """Section -> name -> word -> ours."""
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        tables: dict[Any, dict[str, dict[str, str]]] = _SHAPE.validate_python(given or {})
        return tables
    except (yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
        why = str(error).splitlines()[0]
        raise ConfigError(f"{path}: {why}: expected sections {' or '.join(SECTIONS)}, of tables word: ours") from None


def nearest(word: str, known: Iterable[str], example: str = "") -> str:
    """What was probably meant; else an example, or all that is known."""
    by_lower = {name.lower(): name for name in sorted(known)}
    near = get_close_matches(word.lower(), by_lower, 1)
    if near:
        return f"did you mean {by_lower[near[0]]}?"
    return f"use one such as {example}" if example else f"known are {', '.join(by_lower.values())}"
