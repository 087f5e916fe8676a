"""What machines share that work on one landing or one warehouse: what may not change any more, and who is forgotten.

Both are written beside landing (`installation.json`, `forgotten.json`) and in the warehouse (`installation`,
`forgotten`), so that it is enough to share one of the two. Nothing is fixed before the first slice has landed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, inspect, select

from b2b_pipeline.configuration import settings
from b2b_pipeline.errors import ConfigError, DamagedError
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.landing.store import Landing, as_line, of_line
from b2b_pipeline.privacy import PREFIX, Pseudonyms, names_somebody, write_private
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.write import serialise

_PERSON = re.compile(rf'{PREFIX}[0-9a-f]{{32}}(?:@[^\s"\\]+)?')
OTHER_KEY = (
    "the hash key is not the one that this pipeline was set up with: nobody who landed before would be known again. "
    "Put the old key back (B2B_HASH_KEY, or {home}/hash.key without that variable), or start anew with another "
    "B2B_HOME."
)
OTHER = (
    "{name} was {old} when this pipeline was set up and cannot become {new}: days and amounts are stored by it. Put "
    "{name} back, or start anew with another B2B_HOME."
)


def refuse_changes(fixed: Mapping[str, str], now: Mapping[str, str], home: Path) -> None:
    """Raises ConfigError when something is not what it was when the first slice landed."""
    for name, value in fixed.items():
        if name in now and now[name] != value:
            text = OTHER_KEY if name == "hash_key" else OTHER
            raise ConfigError(text.format(home=home, name=name, old=value, new=now[name]))


# -- beside landing


def fixed_by(root: Path, home: Path) -> dict[str, str]:
    """What landing was begun with, or nothing as long as nothing has landed. Versions before kept it in the home."""
    for path in (root / "installation.json", home / "fixed.json"):
        if path.is_file() and has_landed(root):
            return _read(path)
    return {}


def begun_with(root: Path) -> dict[str, str]:
    """What the first slice was about to land with; it may not have."""
    path = root / "installation.json"
    return _read(path) if path.is_file() else {}


def _read(path: Path) -> dict[str, str]:
    try:
        return dict(json.loads(path.read_text()))
    except (ValueError, TypeError):
        raise ConfigError(f"{path} is damaged: restore it from a backup") from None


def has_landed(root: Path) -> bool:
    return any(True for pattern in ("raw/*/*/*/*.json", "journal/*/*.jsonl") for _ in root.glob(pattern))


def fix(root: Path, now: Mapping[str, str]) -> None:
    if begun_with(root) != now:
        root.mkdir(parents=True, exist_ok=True)
        write_private(root / "installation.json", json.dumps(now))


# -- in the warehouse


def told_by(warehouse: Warehouse) -> tuple[dict[str, str], dict[str, dict[str, Any]]] | None:
    """What the warehouse was begun with, and who is forgotten: token -> its row. None while there is no schema."""
    if warehouse.dialect == "duckdb" and not Path(warehouse.url.database or "").is_file():
        return None
    with warehouse.read() as connection:
        if not inspect(connection).has_table(tables.forgotten.name):
            return None
        fixed = connection.execute(select(tables.installation)).all()
        people = connection.execute(select(tables.forgotten)).mappings().all()
    return {row.name: row.value for row in fixed}, {row["token"]: dict(row) for row in people}


def fix_in(warehouse: Warehouse, now: Mapping[str, str]) -> None:
    table = tables.installation
    with warehouse.write() as connection:
        serialise(connection, table.name)
        if {row.name: row.value for row in connection.execute(select(table))} == now:
            return
        connection.execute(delete(table))
        connection.execute(insert(table), [{"name": name, "value": value} for name, value in now.items()])


def tell_forgotten(warehouse: Warehouse, people: Mapping[str, Mapping[str, Any]]) -> None:
    """Enter those whom the warehouse does not know yet."""
    table = tables.forgotten
    with warehouse.write() as connection:
        serialise(connection, table.name)
        known = set(connection.execute(select(table.c.token)).scalars())
        rows = [
            {"token": token, "excluded_by": person["excluded_by"], "was": person["was"]}
            for token, person in people.items()
            if token not in known
        ]
        if rows:
            connection.execute(insert(table), rows)


def learn_forgotten(landing: Landing, people: Mapping[str, Mapping[str, Any]]) -> None:
    """People whom another machine has forgotten are forgotten here too: in later pulls, and in what has landed."""
    pseudonyms = landing.pseudonyms
    pseudonyms.learn(people)
    if not (waiting := pseudonyms.not_searched):
        return
    change = _change(pseudonyms, {person["was"]: token for token, person in waiting.items() if person["was"]})
    for item in (item for stream in landing.streams() for item in landing.slices(*stream)):
        try:
            landing.rewrite(item, change)
        except DamagedError:
            continue  # it is read by nobody, and told
    Spool(settings.collected()).rewrite(change)
    pseudonyms.learn({token: {**person, "searched": True} for token, person in waiting.items()})


def _change(pseudonyms: Pseudonyms, tokens: Mapping[str, str]) -> Callable[[str], str]:
    """What becomes of a landed line: as in `forget`, for people of whom only the mark is known that they leave."""

    def change(line: str) -> str:
        for name in set(_PERSON.findall(line)):
            if token := tokens.get(pseudonyms.mark(name)):
                line = forgotten_line(pseudonyms, line, name, token)
        return line

    return change


def forgotten_line(pseudonyms: Pseudonyms, line: str, pseudonym: str, token: str) -> str:
    """A line without the person: a record of theirs is cleaned, one that only names them loses the name."""
    bare = pseudonym.partition("@")[0]  # without the domain, where a connector cut it off
    if names_somebody(line):  # landed before addresses in text were replaced
        line = as_line(pseudonyms.scrub(of_line(line)))
    if f'"{pseudonym}"' in line or f'"{bare}"' in line:
        return as_line(pseudonyms.clean(of_line(line), {pseudonym: token, bare: token}))
    return line.replace(pseudonym, token).replace(bare, token)
