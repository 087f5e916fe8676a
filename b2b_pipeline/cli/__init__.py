"""The command `b2b`, one module per command. What a command needs is imported when it runs: each starts fast."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import typer

from b2b_pipeline.cli import (
    backfill,
    backup,
    collect,
    connect,
    demo,
    doctor,
    explain,
    files,
    forget,
    init,
    kpi,
    landing,
    migrate,
    replay,
    report,
    sandbox,
    setup,
    ui,
)
from b2b_pipeline.cli.common import Commands
from b2b_pipeline.configuration.settings import load_environment, moved_from
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.privacy import mask_logs

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="From ad click to KPI: operate the pipeline, and ask it for numbers.",
)


@app.callback()
def environment(context: typer.Context) -> None:
    """Settings come from the environment; a file .env in the working directory fills in what is not set there."""
    load_environment(Path(".env"))
    if context.invoked_subcommand not in ("setup", "init") and (old := moved_from(Path(".env"))):
        raise ConfigError(f"this checkout was moved from {old}, of which .env speaks: run `make setup`")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show is replaced, and nothing fails for it
            stream.reconfigure(errors="replace")
    mask_logs()


for module in (
    setup,
    init,
    connect,
    demo,
    ui,
    collect,
    backfill,
    kpi,
    explain,
    report,
    doctor,
    files,
    replay,
    forget,
    backup,
    migrate,
):
    module.register(app)
app.add_typer(landing.app, name="landing")
app.add_typer(sandbox.app, name="sandbox")
