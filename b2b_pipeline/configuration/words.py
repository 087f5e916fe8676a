"""Words: what those of a source mean unless `pipeline.yaml` says otherwise, and which was meant by one that is unknown.

The former are data, `connectors/<source>/words.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from b2b_pipeline.configuration import own

FOLDER = Path(__file__).parents[1] / "connectors"  # of our own sources


def words_of_sources(section: str) -> dict[str, Any]:
    """A section of `pipeline.yaml`: name of a table of words -> its type and default, as pydantic takes fields."""
    found: dict[str, Any] = {}
    folders = [*sorted(path.parent for path in FOLDER.glob("*/words.yaml")), *own.folders()]
    for path in (folder / "words.yaml" for folder in folders):
        words = yaml.safe_load(path.read_text(encoding="utf-8")) if path.is_file() else None
        tables = (words or {}).get(section, {})
        found |= {name: (dict[str, str], words) for name, words in tables.items()}
    return found


def nearest(word: str, known: Iterable[str], example: str = "") -> str:
    """What was probably meant; else an example, or all that is known."""
    by_lower = {name.lower(): name for name in sorted(known)}
    near = get_close_matches(word.lower(), by_lower, 1)
    if near:
        return f"did you mean {by_lower[near[0]]}?"
    return f"use one such as {example}" if example else f"known are {', '.join(by_lower.values())}"
