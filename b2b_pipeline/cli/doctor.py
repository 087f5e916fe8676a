"""`b2b doctor`: what is wrong, and how to mend it."""

from __future__ import annotations

from datetime import UTC, datetime

import typer

from b2b_pipeline.cli.common import printable


def register(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor() -> None:
    """Look at configuration, credentials, a test call per source, warehouse and versions; tell how to mend it."""
    from b2b_pipeline.operations.doctor import examine
    from b2b_pipeline.privacy import mask

    failed, warned, section = 0, 0, ""
    for name, finding in examine(datetime.now(UTC).date()):
        if name != section:
            section = name
            typer.secho(name, bold=True)
        mark = typer.style("ok  ", fg="green") if finding.ok else typer.style("FAIL", fg="red", bold=True)
        mark = typer.style("warn", fg="yellow") if finding.warning else mark
        typer.echo(f"  {mark} {printable(mask(finding.what))}")
        failed, warned = failed + (not finding.ok), warned + finding.warning
        if not finding.ok or finding.warning:
            typer.echo(f"       -> {printable(mask(finding.fix))}")
    well = f"nothing failed, {warned} warned of" if warned else "all is well"
    typer.echo(f"{failed} failed" if failed else well)
    if failed:
        raise typer.Exit(1)
