"""Puts the world's file drops into a folder, as the people who export them would."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b2b_sandbox.world import World


def drop_files(world: World, folder: Path) -> list[Path]:
    """Write the newest visible version of every file; those that are there already as they are stay untouched."""
    folder.mkdir(parents=True, exist_ok=True)
    with world.connect() as connection:
        newest = connection.execute(
            "select name, content, max(visible_at) from file_drop where visible_at <= ? group by name order by name",
            (world.now(),),
        ).fetchall()
    written = []
    for row in newest:
        path = folder / Path(row["name"]).name
        if not path.is_file() or path.read_bytes() != row["content"]:
            temporary = path.with_name(f".{path.name}.part")
            temporary.write_bytes(row["content"])
            os.replace(temporary, path)
            written.append(path)
    return written


def remember_folder(world: World, folder: Path) -> None:
    """From now on `b2b sandbox advance` drops new files there too."""
    with world.connect() as connection:
        connection.execute("insert or replace into setting values ('drops', ?)", (str(folder.absolute()),))


def remembered_folder(world: World) -> Path | None:
    try:
        return Path(world.setting("drops"))
    except KeyError:
        return None
