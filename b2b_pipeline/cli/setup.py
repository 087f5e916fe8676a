"""`b2b setup`: what a fresh checkout needs: .env, pipeline.yaml, Dagster's home, the schema. Never overwrites."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from dotenv import load_dotenv

from b2b_pipeline.cli.common import say

CHECKOUT = Path(__file__).parents[2]
DEMO_DAYS = 180


def register(app: typer.Typer) -> None:
    app.command()(setup)


def setup(
    days: Annotated[int, typer.Option(min=1, help="Days of history in a new pipeline.yaml.")] = DEMO_DAYS,
) -> None:
    """Write .env and pipeline.yaml where they are missing, make Dagster's home, bring the schema up to date."""
    here = Path.cwd()
    environment, configuration = here / ".env", here / "pipeline.yaml"
    if not environment.exists():
        text = (CHECKOUT / ".env.example").read_text(encoding="utf-8")
        environment.write_text(text.replace("/path/to/checkout", str(here)), encoding="utf-8")
        environment.chmod(0o600)
        say(f"wrote {environment.name}: the demo's, with the sandbox's credentials")
    load_dotenv(environment, override=False)
    if not Path(os.environ.get("B2B_CONFIG", configuration)).exists():
        start = datetime.now(UTC).date() - timedelta(days=days)
        text = (CHECKOUT / "examples" / "demo" / "pipeline.yaml").read_text(encoding="utf-8")
        lines = [f"start_date: {start}" if line.startswith("start_date:") else line for line in text.splitlines()]
        Path(os.environ.get("B2B_CONFIG", configuration)).write_text("\n".join(lines) + "\n", encoding="utf-8")
        say(f"wrote {configuration.name}: the demo's, {days} days from {start}")
    prepare()


def prepare() -> None:
    """Dagster's home with its settings, the inbox, and the schema at its newest revision."""
    from b2b_pipeline.pipeline import Pipeline
    from b2b_pipeline.warehouse.migrate import upgrade

    dagster_home = Path(os.environ["DAGSTER_HOME"])
    dagster_home.mkdir(parents=True, exist_ok=True)
    settings = dagster_home / "dagster.yaml"
    if not settings.exists():
        settings.write_text(
            (CHECKOUT / "b2b_pipeline" / "orchestration" / "dagster.yaml").read_text(encoding="utf-8"), encoding="utf-8"
        )
    found = Pipeline.from_environment()
    found.inbox.mkdir(parents=True, exist_ok=True)
    upgrade(found.warehouse)
    say(f"ready: home {found.home}, warehouse {found.warehouse.url.render_as_string(hide_password=True)}")
