"""`b2b forget`: a person who asks for it is gone."""

from __future__ import annotations

from typing import Annotated

import typer

from b2b_pipeline.cli.common import pipeline, run_id


def register(app: typer.Typer) -> None:
    app.command()(forget)


def forget(
    email: Annotated[str, typer.Argument(show_default=False)],
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Forget a person, by e-mail address: gone from landing, tables, quarantine and exports, and from later pulls.

    Totals stay as they are. It cannot be undone.
    """
    from b2b_pipeline.operations.forget import forget as forget_person

    found = pipeline()
    if not yes:
        typer.confirm("Forget this person? It cannot be undone.", abort=True)
    gone = forget_person(found, email, run_id("forget"))
    rows = ", ".join(f"{count} rows of {table}" for table, count in sorted(gone.rows.items()))
    typer.echo(f"forgotten: {gone.records} landed records" + (f", {rows}" if rows else ", no rows"))
    for name in gone.inbox:
        typer.echo(f"the file {name} in the inbox still has the address: remove it there, it is yours")
    for line in gone.left:
        typer.echo(line)
