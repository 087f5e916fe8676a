"""`b2b setup`: what a fresh checkout needs: .env, pipeline.yaml, Dagster's home, the schema. Never overwrites."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline import templates
from b2b_pipeline.cli.common import say
from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.settings import load_environment, moved_from
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.privacy import write_private

DEMO_DAYS = 180
DAGSTER_YAML = Path(__file__).parents[1] / "orchestration" / "dagster.yaml"
SCHEMA = "# yaml-language-server: $schema="  # editors complete and check the file by it


def register(app: typer.Typer) -> None:
    app.command()(setup)


def setup(
    days: Annotated[int, typer.Option(min=1, help="Days of history in a new pipeline.yaml.")] = DEMO_DAYS,
) -> None:
    """Write .env and pipeline.yaml where they are missing, make Dagster's home, bring the schema up to date."""
    environment = Path.cwd() / ".env"
    if not environment.exists():
        write_private(environment, _fresh_environment())
        say(f"wrote {environment}: the demo's, with the sandbox's credentials")
    elif old := moved_from(environment):
        text = environment.read_text(encoding="utf-8")
        write_private(environment, text.replace(f"={old}/", f"={Path.cwd()}/"))
        say(f"{environment} spoke of {old}: the checkout was moved, and it says so now")
        for name in ("B2B_HOME", "B2B_CONFIG", "DAGSTER_HOME"):
            if os.environ.get(name, "").startswith(f"{old}/"):
                del os.environ[name]
    load_environment(environment)
    configuration = Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml")
    if not configuration.exists():
        start = datetime.now(UTC).date() - timedelta(days=days)
        text = templates.path("demo.yaml").read_text(encoding="utf-8")
        lines = [f"start_date: {start}" if line.startswith("start_date:") else line for line in text.splitlines()]
        lines = [f"{SCHEMA}{templates.path('pipeline.schema.json')}", *lines]
        configuration.parent.mkdir(parents=True, exist_ok=True)
        configuration.write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(f"wrote {configuration}: the demo's, {days} days from {start}")
    prepare()


def _fresh_environment() -> str:
    """The example with this folder's paths, or those that the environment names: one home, Dagster's within it."""
    home = settings.home()
    places = {
        "/path/to/checkout/.b2b/dagster": os.environ.get("DAGSTER_HOME") or str(home / "dagster"),
        "/path/to/checkout/.b2b": str(home),
        "/path/to/checkout/pipeline.yaml": str(Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml").absolute()),
    }
    text = templates.path("demo.env").read_text(encoding="utf-8")
    for example, place in places.items():
        text = text.replace(f"={example}\n", f"={place}\n")
    return text


def prepare() -> None:
    """Dagster's home with its settings, the inbox, and the schema at its newest revision."""
    from b2b_pipeline.metrics.definitions import make_view
    from b2b_pipeline.pipeline import Pipeline
    from b2b_pipeline.warehouse.migrate import upgrade

    found = Pipeline.from_environment()
    if not os.environ.get("DAGSTER_HOME"):
        raise ConfigError("DAGSTER_HOME is not set: put its line of .env.example into .env")
    found.home.mkdir(parents=True, exist_ok=True)
    found.home.chmod(0o700)  # what is in it concerns nobody else on this machine
    settings = Path(os.environ["DAGSTER_HOME"]) / "dagster.yaml"
    if not settings.exists():
        settings.parent.mkdir(parents=True, exist_ok=True)
        text = DAGSTER_YAML.read_text(encoding="utf-8")
        settings.write_text(text, encoding="utf-8")
    found.inbox.mkdir(parents=True, exist_ok=True)
    upgrade(found.warehouse)
    make_view(found.warehouse)
    say(f"ready: home {found.home}, warehouse {found.warehouse.url.render_as_string(hide_password=True)}")
