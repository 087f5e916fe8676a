"""`b2b files`: what would become of a file, and taking one back."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline.cli.common import pipeline, printable, run_id, say


def register(app: typer.Typer) -> None:
    group = typer.Typer(no_args_is_help=True, help="Exports that people drop into the inbox.")
    group.command()(check)
    group.command()(forget)
    group.callback()(_group)
    app.add_typer(group, name="files")


def _group() -> None: ...


def check(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, show_default=False)],
    config: Annotated[Path | None, typer.Option(exists=True, dir_okay=False, help="Instead of B2B_CONFIG.")] = None,
    put: Annotated[bool, typer.Option("--add", help="Put the proposal into pipeline.yaml, under `files:`.")] = False,
    answers: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=ANSWER", help="Answer a ? of the proposal: zone=UTC")
    ] = None,
) -> None:
    """Say what of a file would load, and what would be quarantined and why; propose a mapping for an unknown one.

    Reads only, but with --add. Ends with 1 unless every row would load.
    """
    from b2b_pipeline.connectors.configured import load_config
    from b2b_pipeline.files.check import check as examine

    report = examine(file, load_config(config))
    if report.proposal is not None and (put or answers):
        from b2b_pipeline.files.add import add, answered

        wrong = [answer for answer in answers or [] if "=" not in answer]
        if wrong:
            raise typer.BadParameter(f"--set {wrong[0]}: write it as zone=Europe/Berlin")
        given = dict(answer.split("=", 1) for answer in answers or [])
        report = replace(report, proposal=answered(report.proposal, given))
        if put and report.proposal is not None:
            path = config or Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml")
            say(f"added to {path}: {add(report.proposal, path)}")
            report = examine(file, load_config(path))
    typer.echo(printable(report.text()))
    if not report.ok:
        raise typer.Exit(1)


def forget(
    name: Annotated[str, typer.Argument(show_default=False, help="The name of a file that was dropped.")],
) -> None:
    """Take a dropped file back: its rows leave the tables, and that it was refused holds nothing up any more.

    What lies in the inbox under that name is not read again, unless it changes.
    """
    from b2b_pipeline.errors import ConfigError
    from b2b_pipeline.files.inbox import forget_file
    from b2b_pipeline.operations.replay import rebuild

    found = pipeline()
    gone = forget_file(name, found.inbox, found.landing)
    if not gone.versions and not gone.refusal:
        raise ConfigError(f"{name} was neither landed nor refused: `b2b doctor` names the files that were refused")
    if gone.versions:
        typer.echo(printable(f"forgotten: {gone.versions} landed versions of {name}"))
    if gone.refusal:
        typer.echo(printable(f"forgotten: {gone.refusal.text()}"))
    if gone.remains:
        typer.echo(printable(f"{name} still lies in {found.inbox}: it is not read again unless it changes"))
    rebuild(found, run_id("forget"), replay=False)
    typer.echo("tables and numbers are derived again")
