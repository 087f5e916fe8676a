"""`b2b connect`: get a vendor's token that lasts by logging in there."""

from __future__ import annotations

import os
import webbrowser
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline.cli.common import say

PORT = 8766


def register(app: typer.Typer) -> None:
    app.command()(connect)


def connect(
    source: Annotated[str, typer.Argument(help="Such as google_ads.")],
    port: Annotated[
        int, typer.Option(min=1, max=65535, help="Where the vendor sends you back to, on localhost.")
    ] = PORT,
    scope: Annotated[
        list[str] | None, typer.Option(help="One to ask for beside the usual, of a stream that you name. Repeat it.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open the vendor's page; else only its address is shown.")] = True,
) -> None:
    """Log in at a vendor, agree that we may read, and keep the token that lasts in .env (mode 0600).

    The id and secret of your app stand in .env already; where the vendor wants the address to which it sends you back,
    register http://localhost:8766/callback there, or what docs/sources says of the source.
    """
    from b2b_pipeline.configuration.settings import keep_setting, secret
    from b2b_pipeline.configuration.words import nearest
    from b2b_pipeline.connectors.authorize import Authorization
    from b2b_pipeline.connectors.registry import SOURCES
    from b2b_pipeline.errors import ConfigError

    able = {name: each.authorization for name, each in SOURCES.items() if each.authorization}
    if source not in able:
        what = "needs no login: its credentials are in README.md" if source in SOURCES else nearest(source, able)
        raise ConfigError(f"{source}: {what}")
    app = able[source]()
    if scope:
        if not isinstance(app, Authorization):
            raise ConfigError(f"{source}: knows no scopes")
        app = replace(app, scopes=(*app.scopes, *scope))
    identifier, client_secret, *variables = app.variables

    def show(url: str) -> None:
        say(f"log in and agree here: {url}")
        if browser:
            webbrowser.open(url)

    found = app.agree(secret(identifier), secret(client_secret), port, show)
    environment = Path(".env")
    for variable, token in zip(variables, found, strict=True):
        keep_setting(environment, variable, token)
        say(f"{variable} is in {environment.absolute()}: `b2b doctor` tries it")
        if os.environ.get(variable, token) != token:
            say(f"{variable} stands in the environment, too, which wins: take it out there")
