"""`b2b sandbox`: the vendors' APIs over an invented company, with its own truth, and faults on request."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2b_pipeline.cli.common import By, Format, From, To, day, instant, say, show, words
from b2b_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from b2b_sandbox.world import World

app = typer.Typer(no_args_is_help=True, help="The vendors' APIs over an invented company.")
WorldFile = Annotated[
    Path | None, typer.Option("--world", dir_okay=False, help="Default: sandbox/world.sqlite in B2B_HOME.")
]


@app.callback()
def installed() -> None:
    if find_spec("b2b_sandbox") is None:
        raise ConfigError("the sandbox is not installed here, as in the image: run it from a checkout or the wheel")


def _path(given: Path | None) -> Path:
    from b2b_pipeline.configuration.settings import home

    return given or home() / "sandbox" / "world.sqlite"


def _open(given: Path | None) -> World:
    from b2b_sandbox.world import World

    try:
        return World(_path(given))
    except FileNotFoundError as error:
        raise ConfigError(str(error)) from None


@app.command()
def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = 8765,
    days: Annotated[int, typer.Option(min=1, help="Days of history.")] = 180,
    leads: Annotated[int, typer.Option(min=0, help="People who turn up in them.")] = 3000,
    until: Annotated[
        date | None, typer.Option(parser=day, metavar="DAY", help="Last day; default yesterday.", show_default=False)
    ] = None,
    seed: int = 7,
    world: WorldFile = None,
    drops: Annotated[Path | None, typer.Option(file_okay=False, help="Folder for the files that people drop.")] = None,
    rough: Annotated[bool, typer.Option("--rough", help="Accounts as real ones are, not as they should be.")] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Make a new world in the place of the old one.")] = False,
) -> None:
    """Serve the vendors' APIs until interrupted. The world is made once; `--fresh` makes another."""
    from b2b_sandbox.drops import drop_files, remember_folder
    from b2b_sandbox.generate import make_world
    from b2b_sandbox.server import serve as run
    from b2b_sandbox.vendors import VENDORS

    path = _path(world)
    if fresh:
        for suffix in ("", "-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    if path.is_file():
        found = _open(world)
        say(f"the world in {path}, until {found.setting('until')}; --fresh makes a new one")
    else:
        say(f"making a {'rough ' if rough else ''}world of {days} days and {leads} leads in {path}")
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        found = make_world(path, until=until or yesterday, days=days, leads=leads, seed=seed, rough=rough)
    if drops:
        remember_folder(found, drops)
        say(f"{len(drop_files(found, drops))} files dropped into {drops}")

    def ready(url: str) -> None:
        typer.echo(f"serving on {url}")
        for name in VENDORS:
            typer.echo(f"{name.upper()}_BASE_URL={url}/{name}")

    try:
        run(found, port=port, ready=ready)
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error.strerror}; --port names another") from None


@app.command()
def advance(days: Annotated[int, typer.Option(min=1)] = 1, world: WorldFile = None) -> None:
    """Move the world's clock on; a running server shows it at once."""
    from b2b_sandbox.drops import drop_files, remembered_folder
    from b2b_sandbox.generate import advance as move

    found = _open(world)
    move(found, days)
    typer.echo(f"the world is until {found.setting('until')} now")
    if folder := remembered_folder(found):
        for path in drop_files(found, folder):
            typer.echo(f"dropped {path}")


@app.command()
def truth(
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", parser=instant, metavar="TIME", help="Default: the world's clock.", show_default=False),
    ] = None,
    start: From = None,
    end: To = None,
    by: By = "",
    metric: Annotated[list[str] | None, typer.Option(help="Several are allowed; default all.")] = None,
    form: Format = "table",
    world: WorldFile = None,
) -> None:
    """What a perfect reader of the vendors could know, computed from the world by code of its own.

    Time zone, currency, gross margin and what is excluded are those of pipeline.yaml, where there is one.
    """
    from b2b_sandbox.truth import truth as compute

    try:
        rows = compute(
            _open(world), as_of=as_of, metrics=metric, start=start, end=end, by=words(by), **_configured()
        )  # fmt: skip
    except ValueError as error:
        raise ConfigError(str(error)) from None
    keys = ("metric", "date", "channel", "value", "numerator", "denominator")
    show([{name: row[name] for name in keys if name in row} | {"complete": True} for row in rows], form)


def _configured() -> dict[str, Any]:
    """What a reader chooses; nothing without a configuration."""
    import os

    from b2b_pipeline.connectors.configured import load_config

    if not Path(os.environ.get("B2B_CONFIG", "pipeline.yaml")).is_file():
        return {}
    config = load_config()
    return {
        "timezone": config.timezone, "currency": config.currency, "gross_margin": config.gross_margin,
        "own_domains": config.exclude.email_domains, "test_patterns": config.exclude.email_patterns,
        "excluded_types": config.exclude.opportunity_types, "with_files": bool(config.files),
    }  # fmt: skip


@app.command()
def fault(
    kind: Annotated[str | None, typer.Argument(help="What goes wrong.", show_default=False)] = None,
    vendor: Annotated[str | None, typer.Option(help="At which vendor.")] = None,
    count: Annotated[int, typer.Option(min=1, help="For so many requests.")] = 1,
    path_contains: Annotated[str, typer.Option(help="Only requests whose path, query or body holds this.")] = "",
    option: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the kind: status=503")] = None,
    all_: Annotated[bool, typer.Option("--list", help="The kinds, and the faults that wait.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Take back the faults that wait.")] = False,
    world: WorldFile = None,
) -> None:
    """Let something go wrong at a vendor: b2b sandbox fault throttle --vendor hubspot --count 3"""
    from b2b_sandbox.faults import KINDS, add_fault, clear_faults, list_faults

    found = _open(world)
    if clear:
        clear_faults(found)
        typer.echo("no fault waits")
    if all_:
        kinds = [(name, " ".join(its), " ".join(takes)) for name, (its, takes) in KINDS.items()]
        show([dict(zip(("kind", "vendors", "options"), kind, strict=True)) for kind in kinds], "table")
        for waiting in list_faults(found):
            times = "until cleared" if waiting.remaining < 0 else f"{waiting.remaining} times"
            typer.echo(f"waiting: {waiting.kind} at {waiting.vendor}, {times}, {dict(waiting.options)}")
    if kind is None:
        if not (all_ or clear):
            raise typer.BadParameter("name a kind of fault, or --list them")
        return
    if vendor is None:
        raise typer.BadParameter("--vendor says where it goes wrong")
    try:
        add_fault(found, vendor, kind, path_contains=path_contains, count=count, **_options(option or []))
    except ValueError as error:
        raise ConfigError(str(error)) from None
    typer.echo(f"{vendor} shows {kind} to the next requests that fit")


def _options(given: list[str]) -> dict[str, Any]:
    """`status=503` -> {"status": 503}: a value is read as JSON where it is some."""
    options: dict[str, Any] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter(f"{text!r}: write an option as name=value")
        try:
            options[name] = json.loads(value)
        except json.JSONDecodeError:
            options[name] = value
    return options
