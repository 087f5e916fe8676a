"""`b2b report`: one page for those who never open Dagster."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline.cli.common import day, pipeline
from b2b_pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command()(report)


def report(
    out: Annotated[
        Path | None,
        typer.Option(dir_okay=False, help="Where to write it; default report.html in B2B_HOME.", show_default=False),
    ] = None,
    to: Annotated[
        date | None,
        typer.Option(
            "--to", parser=day, metavar="DAY", help="Last day; default the last complete one.", show_default=False
        ),
    ] = None,
    days: Annotated[int, typer.Option(min=1, max=366, help="So many days, against as many before.")] = 30,
) -> None:
    """Write one self-contained HTML page: funnel, spend, cost per lead, CAC, win rate, channels, e-mail, freshness."""
    from b2b_pipeline.report.facts import gather
    from b2b_pipeline.report.page import render

    found = pipeline()
    facts = gather(found.warehouse, found.config, to, days)
    path = out or found.home / "report.html"
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(render(facts, found.config), encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror}; --out names another place") from None
    typer.echo(path)
