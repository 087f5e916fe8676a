"""What became of dropped files that are not landed: beside landing, one small file each, until a good version comes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.privacy import write_private

State = Literal["refused", "unread", "withdrawn"]


@dataclass(frozen=True)
class Refusal:
    """One version of a file, known by its `signature`, that is not in landing, and why.

    state: `refused` for what it says; `unread` when its reading has not come to an end, and is tried again; `withdrawn`
    by `b2b files forget`, and not asked for again. `meaning`: of the mapping that refused it.
    """

    name: str
    signature: str
    state: State
    reason: str
    meaning: str = ""
    at: str = ""

    def text(self) -> str:
        """The reason, beginning with the file's name."""
        if self.state == "refused":
            return f"{self.name} was refused: {self.reason}"
        return f"{self.name} is not landed: {self.reason}"

    def settles(self, signature: str, mapping: FileMapping) -> bool:
        """Whether this very version needs not be read again, unless the mapping changes."""
        if self.signature != signature or self.state == "unread":
            return False
        return self.state == "withdrawn" or self.meaning == meaning_of(mapping)


class Refusals:
    """The refusals of one landing zone."""

    def __init__(self, landing: Path) -> None:
        self._folder = landing / "refused"

    def note(self, refusal: Refusal) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        write_private(self._path(refusal.name), json.dumps(asdict(refusal) | {"at": now}, ensure_ascii=False))

    def clear(self, name: str) -> None:
        self._path(name).unlink(missing_ok=True)

    def of(self, name: str) -> Refusal | None:
        return _read(self._path(name))

    def all(self) -> list[Refusal]:
        """By file name, what was withdrawn among them."""
        found = (_read(path) for path in self._folder.glob("*.json"))
        return sorted((refusal for refusal in found if refusal), key=lambda refusal: refusal.name)

    def _path(self, name: str) -> Path:
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.json"


def meaning_of(mapping: FileMapping) -> str:
    return hashlib.sha256(mapping.model_dump_json().encode()).hexdigest()[:16]


def _read(path: Path) -> Refusal | None:
    try:
        return Refusal(**json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
