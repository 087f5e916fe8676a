"""A copy of an embedded installation, and back: warehouse, landing with what lies beside it, key, Dagster's history.

In it: the DuckDB file, landing, events that were collected, credentials that rotated, the hash key, Dagster's home but
for compute logs, `pipeline.yaml`, and one's own `sources` and `metrics` beside it. Not in it: `.env` and secrets of the
environment, dropped files (they are their owner's), exports (they are made again). `manifest.json` has size and
checksum of every file; it is written last.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text

from b2b_pipeline.configuration import settings
from b2b_pipeline.errors import ConfigError, PermanentError
from b2b_pipeline.landing.journal import locked
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import migrate
from b2b_pipeline.warehouse.engine import Warehouse

MANIFEST = "manifest.json"
SERVER = (
    "the warehouse is a PostgreSQL server: back it up with `pg_dump --format=custom`, and the folders {landing} and "
    "{home} with your own tools"
)
LEFT_OUT = "not in it: .env and secrets of the environment, files in the inbox, exports, compute logs"
OWN = ("pipeline.yaml", "sources", "metrics")  # what a person wrote: never put in the place of what is there
_TEMPORARY = (".lock", ".part", ".tmp", "-wal", "-shm", "-journal", ".new")


@dataclass(frozen=True)
class Places:
    """Where the parts of an installation are: name in the backup -> place here."""

    warehouse: Path
    landing: Path
    credentials: Path
    collected: Path
    key: Path
    dagster: Path
    config: Path

    @classmethod
    def here(cls) -> Places:
        """Raises ConfigError when the warehouse is no file."""
        warehouse, home = Warehouse(), settings.home()
        if warehouse.dialect != "duckdb":
            raise ConfigError(SERVER.format(landing=settings.landing_root(), home=home))
        return cls(
            Path(warehouse.url.database or ""), settings.landing_root(), settings.shared() / "credentials",
            settings.collected(), home / "hash.key", Path(os.environ.get("DAGSTER_HOME") or home / "dagster"),
            Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml").absolute(),
        )  # fmt: skip

    def named(self) -> Iterator[tuple[str, Path]]:
        yield "warehouse.duckdb", self.warehouse
        yield "landing", self.landing
        yield "credentials", self.credentials
        yield "collected", self.collected
        yield "hash.key", self.key
        yield "dagster", self.dagster
        yield "pipeline.yaml", self.config
        yield from ((name, self.config.parent / name) for name in OWN[1:])

    def in_use(self) -> list[Path]:
        """What is there of an installation; what a person wrote may be."""
        data = [place for name, place in self.named() if name not in OWN]
        return [place for place in data if (any(place.iterdir()) if place.is_dir() else place.exists())]


def backup(pipeline: Pipeline, folder: Path) -> int:
    """Copy the installation into `folder`, which must be new or empty. Returns how many files.

    Pulls wait with their commits, and whoever uses the warehouse waits, while their part is copied. Raises ConfigError,
    and PermanentError when it cannot be written: then nothing is left.
    """
    places = Places.here()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"{folder} is not empty: name a new folder")
    staged = folder.with_name(f".{folder.name}.part")
    with _written(folder):
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir(parents=True, mode=0o700)
        try:
            # The warehouse first: what lands in between is loaded from the landing of the copy.
            _copy_warehouse(pipeline.warehouse, staged / "warehouse.duckdb")
            with locked(places.landing / "landing.lock"), locked(places.landing / "ledger.lock"):
                _copy_tree(places.landing, staged / "landing", skip=("exports", "credentials", "collected"))
            if places.collected.is_dir():
                with locked(places.collected / "spool.lock"):
                    _copy_tree(places.collected, staged / "collected")
            _copy_tree(places.credentials, staged / "credentials")
            _copy_tree(places.dagster, staged / "dagster", skip=("compute_logs",))
            for name in OWN[1:]:
                _copy_tree(places.config.parent / name, staged / name, skip=("__pycache__",))
            for name, place in (("hash.key", places.key), ("pipeline.yaml", places.config)):
                if place.is_file():
                    _copy_file(place, staged / name)
            files = _checksums(staged)
            _write_manifest(staged, files)
            if folder.exists():
                folder.rmdir()
            os.replace(staged, folder)
        finally:
            shutil.rmtree(staged, ignore_errors=True)
    return len(files)


def restore(folder: Path, *, aside: bool = False) -> list[str]:
    """Put a backup in place of nothing, or with `aside` of what is there, which is kept beside it under another name.

    Every file is compared with its checksum first. Returns what was done, a line each. Raises ConfigError, and
    PermanentError when the backup is damaged.
    """
    places = Places.here()
    _verify(folder)
    used = places.in_use()
    if used and not aside:
        there = ", ".join(map(str, used))
        raise ConfigError(f"there is an installation already: {there}; set B2B_HOME to an empty folder, or say --aside")
    told = []
    stamp = f"{datetime.now(UTC):%Y%m%d%H%M%S}"
    with _written(settings.home()):
        for place in used:
            kept = place.with_name(f"{place.name}.before-{stamp}")
            os.replace(place, kept)
            told.append(f"kept what was there: {kept}")
        for name, place in places.named():
            told += _put(folder / name, place, name)
    return told


def _put(part: Path, place: Path, name: str) -> list[str]:
    if not part.exists():
        return []
    if name in OWN and (any(place.iterdir()) if place.is_dir() else place.exists()):
        if place.is_file() and place.read_bytes() == part.read_bytes():
            return []
        return [f"{place} is left as it is: that of the backup is {part}"]
    place.parent.mkdir(parents=True, exist_ok=True)
    staged = place.with_name(f".{place.name}.restored")
    if part.is_dir():
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(part, staged)
        if place.is_dir():
            place.rmdir()
    else:
        _copy_file(part, staged)
    os.replace(staged, place)
    return [f"restored {place}"]


def _copy_warehouse(warehouse: Warehouse, target: Path) -> None:
    """Nobody reads or writes meanwhile; what is only in the log goes into the file before."""
    path = Path(warehouse.url.database or "")
    if not path.is_file():
        return
    with warehouse.alone():
        with warehouse.engine.connect() as connection:
            connection.execute(text("checkpoint"))
        _copy_file(path, target)


def _copy_tree(source: Path, target: Path, skip: tuple[str, ...] = ()) -> None:
    for path in sorted(source.rglob("*")):
        parts = path.relative_to(source).parts
        if not path.is_file() or path.name.endswith(_TEMPORARY) or set(parts) & set(skip):
            continue
        copy = target.joinpath(*parts)
        copy.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _is_sqlite(path):
            with (
                closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as old,
                closing(sqlite3.connect(copy)) as new,
            ):
                old.backup(new)
        else:
            _copy_file(path, copy)


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(16) == b"SQLite format 3\0"


def _copy_file(source: Path, target: Path) -> None:
    """With its times and its mode; a key stays readable by its owner alone."""
    shutil.copy2(source, target)


def _checksums(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _checksum(path) for path in paths}


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_manifest(folder: Path, files: dict[str, str]) -> None:
    manifest = {"made_at": datetime.now(UTC).isoformat(timespec="seconds"), "schema": migrate.HEAD, "files": files}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "sha256": _digest(manifest)}, indent=1))


def _digest(manifest: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def _verify(folder: Path) -> None:
    try:
        wanted = json.loads((folder / MANIFEST).read_text())
        if wanted.pop("sha256") != _digest(wanted):
            raise ValueError(MANIFEST)
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise ConfigError(f"{folder} is no whole backup: its {MANIFEST} is missing or damaged") from None
    if wanted["schema"] > migrate.HEAD:
        raise ConfigError(
            f"the backup has schema {wanted['schema']}, this version knows {migrate.HEAD}: install the newer version"
        )
    found = {name: checksum for name, checksum in _checksums(folder).items() if name != MANIFEST}
    bad = sorted(name for name in found | wanted["files"] if found.get(name) != wanted["files"].get(name))
    if bad:
        more = f" and {len(bad) - 5} more" if len(bad) > 5 else ""
        raise PermanentError(
            f"the backup is damaged, nothing was restored: {', '.join(bad[:5])}{more}; take another backup"
        )


@contextmanager
def _written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(f"{error.filename or folder}: {error.strerror}") from None
    except sqlite3.Error as error:
        raise PermanentError(f"Dagster's history cannot be copied: {error}") from None
