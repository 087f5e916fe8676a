"""Texts of a proposal: what a file is called, and scalars and lists that YAML reads as they are meant."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import PurePath


def listed(headers: Iterable[str]) -> str:
    return ", ".join(map(quoted, headers))


def pattern(name: str) -> str:
    """The file's name with dates and numbers left open."""
    path = PurePath(name)
    return re.sub(r"[\d][\d_\-. ]*$", "*", path.stem) + path.suffix


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", re.sub(r"[\d]+", "", PurePath(name).stem.lower())).strip("_") or "export"


def quoted(text: str) -> str:
    """A YAML scalar that is this text whatever is in it."""
    safe = re.fullmatch(r"[A-Za-z][A-Za-z0-9 _-]*[A-Za-z0-9]|[A-Za-z]", text)
    plain_ = safe and text.lower() not in {"yes", "no", "on", "off", "true", "false", "null", "y", "n"}
    return text if plain_ else json.dumps(text, ensure_ascii=not text.isprintable())
