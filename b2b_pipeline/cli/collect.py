"""`b2b collect`: receives the events of a site, and gives them to whoever reads."""

from __future__ import annotations

import os
import socket
from typing import Annotated

import typer

from b2b_pipeline.cli.common import say
from b2b_pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    app.command()(collect)


def collect(
    host: Annotated[str, typer.Option(help="Where it answers; a proxy with TLS belongs before it.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8780,
) -> None:
    """Receive events of the site until interrupted: docs/collector.md. Several may run on one shared folder."""
    from b2b_pipeline.collect.server import Collector, doors, server
    from b2b_pipeline.configuration import settings
    from b2b_pipeline.landing.spool import Spool
    from b2b_pipeline.pipeline import Pipeline
    from b2b_pipeline.privacy import keep_secret

    found = Pipeline.from_environment()
    allowed = doors(os.environ, tuple(found.config.channels.click_ids))
    for secret in (allowed.reader, allowed.server):
        keep_secret(secret)
    pseudonyms = found.landing.pseudonyms
    say(f"events are made nameless by the key with the fingerprint {pseudonyms.fingerprint[:8]}")
    spool = Spool(settings.collected(), pseudonyms)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"{host}:{port} cannot be used: {error.strerror}; --port names another") from None
    with listener:
        say(f"receiving events at {host}:{listener.getsockname()[1]}, kept in {spool.folder}; Ctrl-C ends it")
        server(Collector(spool, allowed).app).run(sockets=[listener])
