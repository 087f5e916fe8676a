"""`b2b replay`: everything from landing again."""

from __future__ import annotations

from typing import Annotated

import typer

from b2b_pipeline.cli.common import pipeline, run_id, say


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    table: Annotated[str | None, typer.Option(help="Only this core table, and what is derived from it.")] = None,
) -> None:
    """Load the core tables from landing again and derive everything; tell what came out differently. No network."""
    from b2b_pipeline.operations import replay as replaying
    from b2b_pipeline.warehouse import tables

    known = {core.name: core for core in tables.CORE}
    if table is not None and table not in known:
        raise typer.BadParameter(f"{table!r} is no core table; these are: {', '.join(sorted(known))}")
    only = tables.CORE if table is None else (known[table],)
    rebuilt, differences = replaying.replay(pipeline(), run_id("replay"), only)
    for name, load in rebuilt.loads.items():
        typer.echo(
            f"{name}: {load.rows_in} rows in = {load.loaded} loaded + {load.quarantined} quarantined "
            f"+ {load.deduplicated} deduplicated, from {load.slices} slices"
        )
        for slice_id, reason in load.failures.items():
            say(f"{name}: slice {slice_id} was left out: {reason}")
    for item in differences:
        typer.echo(f"changed: {item.table}: {item.gone} rows gone, {item.came} came")
    for name, days in rebuilt.families.items():
        if days:
            typer.echo(f"changed: kpi/{name}: {len(days)} days")
    if not differences:
        typer.echo("nothing changed")
    if any(load.failures for load in rebuilt.loads.values()):
        raise typer.Exit(1)
