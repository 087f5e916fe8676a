"""`b2b files check`: what would become of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline.cli.common import printable


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Exports that people drop into the inbox.")
    group.command()(check)
    group.callback()(_group)
    app.add_typer(group, name="files")


def _group() -> None: ...


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)],
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Instead of B2B_CONFIG.")] = None,
) -> None:
    """Say what of a file would load, and what would be quarantined and why; propose a mapping for an unknown one.

    Reads only. Ends with 1 unless every row would load.
    """
    from b2b_pipeline.config import load_config
    from b2b_pipeline.files.check import check as examine

    report = examine(file, load_config(config))
    typer.echo(printable(report.text()))
    if not report.ok:
        raise typer.Exit(1)
