"""`b2b ui`: the Dagster UI on this machine, behind a guard against other web pages."""

from __future__ import annotations

from typing import Annotated

import typer

from b2b_pipeline.cli.backfill import open_instance
from b2b_pipeline.cli.common import pipeline, say
from b2b_pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command()(ui)


def ui(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where it answers; 0 is any free one.")] = 3000,
) -> None:
    """Serve the Dagster UI, and run schedules and sensors, until interrupted. Answers on this machine only.

    Requests of other web pages are refused: Dagster itself would take them. On a server use docker/.
    """
    found = pipeline()
    instance = open_instance()
    from b2b_pipeline.orchestration.alive import DAEMON, TWO_DAEMONS, is_held

    if is_held(DAEMON):
        raise ConfigError(TWO_DAEMONS)
    from b2b_pipeline.orchestration.ui import serve
    from b2b_pipeline.orchestration.versions import keep_versions

    keep_versions(found.config)
    with instance:
        serve(instance, port, ready=lambda url: say(f"the Dagster UI: {url}; Ctrl-C ends it"))
