"""`b2b backup` and `b2b restore`: a whole installation in one folder, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline.cli.common import say


def register(app: typer.Typer) -> None:
    app.command()(backup)
    app.command()(restore)


Folder = Annotated[Path, typer.Argument(show_default=False, help="A folder of its own, readable by you alone.")]


def backup(folder: Folder) -> None:
    """Copy this installation into a folder: warehouse, landing, hash key, credentials, Dagster's history.

    It holds keys and people's data: keep it as you keep the installation. Who is forgotten later is still in it.
    """
    from b2b_pipeline.operations.backup import LEFT_OUT
    from b2b_pipeline.operations.backup import backup as copy
    from b2b_pipeline.pipeline import Pipeline

    files = copy(Pipeline.from_environment(), folder.absolute())
    typer.echo(f"{files} files in {folder}")
    say(LEFT_OUT)


def restore(
    folder: Folder,
    aside: Annotated[bool, typer.Option("--aside", help="Put what is there aside, under another name.")] = False,
) -> None:
    """Put a backup in place, where B2B_HOME and B2B_CONFIG say. It is compared with its checksums first."""
    from b2b_pipeline.operations.backup import restore as put

    for line in put(folder.absolute(), aside=aside):
        typer.echo(line)
    say("put secrets back into the environment or .env, then: b2b doctor")
