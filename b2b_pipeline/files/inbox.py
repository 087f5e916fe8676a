"""The inbox: which files lie in it, which of them are to be landed, and what is wrong with the others."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.file_mapping import FILES, FileMapping, file_stream, mapping_for
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.landing import settled, signature
from b2b_pipeline.files.refusals import Refusal, Refusals
from b2b_pipeline.landing.store import Landing

FRESH = 2.0  # seconds since a file was last changed, below which it may still be written to
FIT_IT = "correct a `match`, add a mapping (`b2b files check FILE` proposes one), or remove the file"
Files = Mapping[str, FileMapping]


def list_inbox(folder: Path) -> dict[str, str]:
    """File name -> signature. Hidden and half-written files (`.part`, `.tmp`) are left out. Raises OSError."""
    stats = {
        path.name: path.stat()
        for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and path.suffix not in (".part", ".tmp")
        if path != settings.config_path()  # which may lie beside what it maps
    }
    return {name: signature(stat) for name, stat in stats.items()}


def standing(folder: Path) -> tuple[dict[str, str], list[str]]:
    """The inbox as `list_inbox` tells it, without the files that somebody is writing; and the names of those.

    Waits for a moment when a file was changed just now. Raises OSError.
    """
    listing = list_inbox(folder)
    if all(abs(time.time() - int(told.partition(":")[0]) / 1e9) > FRESH for told in listing.values()):
        return listing, []
    time.sleep(FRESH / 2)
    now = list_inbox(folder)
    moving = sorted(name for name, told in now.items() if listing.get(name) != told)
    return {name: told for name, told in now.items() if name not in moving}, moving


def decide_files(listing: Mapping[str, str], held: Mapping[str, str], files: Files) -> tuple[dict[str, str], list[str]]:
    """The files to land (name -> the stream that they land in), and what is wrong with those that fit nowhere.

    `held`: name -> signature of what landing has, or has refused.
    """
    wanted, complaints = {}, []
    for name in sorted(name for name, found in listing.items() if held.get(name) != found):
        try:
            mapping = mapping_for(name, files)
        except ContractError as error:
            complaints.append(str(error))
            continue
        if mapping is None:
            complaints.append(f"{name} matches no mapping under `files:` in pipeline.yaml")
        else:
            wanted[name] = file_stream(files[mapping])
    return wanted, complaints


def held(listing: Mapping[str, str], folder: Path, files: Files, landing: Landing) -> dict[str, str]:
    """The files of the inbox that landing holds in this very version, or has refused or taken back: name -> signature.

    One that goes meanwhile is not among them.
    """
    wanted, _ = decide_files(listing, {}, files)
    found = {}
    for name, stream in wanted.items():
        with suppress(FileNotFoundError):
            if settled(folder / name, files[mapping_for(name, files) or ""], stream, landing):
                found[name] = listing[name]
    return found


def note_ambiguous(listing: Mapping[str, str], files: Files, landing: Landing) -> None:
    """A file that several mappings could mean is refused, so that the numbers of each of them say so."""
    refusals = Refusals(landing.root)
    for name, found in listing.items():
        try:
            mapping_for(name, files)
        except ContractError as error:
            refusals.note(Refusal(name, found, "refused", str(error).removeprefix(f"{name} ")))


@dataclass(frozen=True)
class Trouble:
    """A file that is not landed, or a mapping that no file fits. `stream` is None where no one mapping is meant."""

    kind: Literal["unfit", "refused", "missing"]
    what: str
    fix: str
    stream: str | None = None
    file: str | None = None


def troubles(inbox: Path, files: Files, landing: Landing) -> Iterator[Trouble]:
    """All that keeps files from the tables before they are loaded. A mapping with landed files needs none in the inbox.

    Raises OSError when the inbox cannot be read; where there is none, it is taken for empty.
    """
    listing = list_inbox(inbox) if inbox.is_dir() else {}
    _, complaints = decide_files(listing, {}, files)
    for complaint in complaints:
        yield Trouble("unfit", complaint, FIT_IT)
    noted = [refusal for refusal in Refusals(landing.root).all() if refusal.state != "withdrawn"]
    for refusal in noted:
        again = f"correct it and drop it again, or: b2b files forget {refusal.name}"
        meant = {file_stream(mapping): None for mapping in files.values() if mapping.matches(refusal.name)}
        streams: list[str | None] = [*meant]
        for each in streams or [None]:
            yield Trouble("refused", refusal.text(), again, each, refusal.name)
    for name, mapping in files.items():
        stream = file_stream(mapping)
        landed = {item.account["id"] for item in landing.slices(FILES, stream)}
        if mapping.cadence != "irregular" and not any(map(mapping.matches, {*listing, *landed})):
            what = f"no file in the inbox fits mapping {name} ({', '.join(mapping.match)}): the inbox is {inbox}"
            yield Trouble("missing", what, "drop one there, or correct `match:` or `inbox:` in pipeline.yaml", stream)


@dataclass(frozen=True)
class Forgotten:
    """What `forget_file` took back: landed versions, and a refusal. `remains`: the file still lies in the inbox."""

    versions: int
    refusal: Refusal | None
    remains: bool


def forget_file(name: str, inbox: Path, landing: Landing) -> Forgotten:
    """Take a dropped file back: its landed versions and its refusal. The version in the inbox is not read again."""
    refusals = Refusals(landing.root)
    refusal = refusals.of(name)
    versions = sum(landing.withdraw(*pair, name) for pair in landing.streams() if pair[0] == FILES)
    found = list_inbox(inbox).get(name) if inbox.is_dir() else None
    if found is not None and (versions or refusal):
        refusals.note(Refusal(name, found, "withdrawn", "it was withdrawn"))
    else:
        refusals.clear(name)
    return Forgotten(versions, refusal, found is not None)
