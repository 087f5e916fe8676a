"""`b2b landing`: what was landed, compared with what is stored."""

from __future__ import annotations

import typer

from b2b_pipeline.cli.common import Commands, say

app = typer.Typer(cls=Commands, no_args_is_help=True, help="What was landed, and whether it still says the same.")


@app.callback()
def landing() -> None:
    """What was landed, and whether it still says the same."""


@app.command()
def verify() -> None:
    """Read all of landing and compare it with what was landed; each damaged slice is told with its fix.

    Ends with 1 when something is damaged that has not been read again since.
    """
    from b2b_pipeline.configuration import settings
    from b2b_pipeline.landing.slices import refusal
    from b2b_pipeline.landing.store import UNREADABLE, Landing

    found = Landing(settings.landing_root(), None)
    bad = again = 0
    for item, is_read_again in found.verify():
        if is_read_again:
            again += 1
            typer.echo(f"read again since: slice {item.slice_id} of {item.source}/{item.stream}: {item.flaw}")
        else:
            bad += 1
            say(refusal(item))
    for line in found.unreadable():
        bad += 1
        say(f"{line} cannot be read: {UNREADABLE}")
    slices = [item for stream in found.streams() for item in found.slices(*stream)]
    unsealed = sum(item.body is None for item in slices)
    told = [f"{bad} damaged", f"{again} damaged and read again since" if again else ""]
    told.append(f"{unsealed} of earlier versions without a checksum, compared by their counts" if unsealed else "")
    typer.echo(f"{len(slices)} slices: {', '.join(filter(None, told))}")
    if bad:
        raise typer.Exit(1)
