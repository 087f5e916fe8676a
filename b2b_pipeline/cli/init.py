"""`b2b init` and `b2b new`: an installation of one's own, and what to put into it."""

from __future__ import annotations

import keyword
import os
import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from b2b_pipeline import templates
from b2b_pipeline.cli.common import say
from b2b_pipeline.cli.setup import DEMO_DAYS, prepare
from b2b_pipeline.configuration.settings import config_path, load_environment
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.privacy import write_private

new = typer.Typer(no_args_is_help=True, help="Write a source or a metric of your own, with its test.")


def register(app: typer.Typer) -> None:
    app.command()(init)
    app.add_typer(new, name="new")


class Kind(StrEnum):
    AD = "ad"
    CRM = "crm"


# What the templates of a source take, by its kind.
KINDS = {
    Kind.AD: {
        "what": "what each campaign cost per day.", "mappings": "spend", "account": '"EUR", "UTC"',
        "path": "campaign_days",
        "since": "window.start.isoformat()", "until": "window.end.isoformat()", "stream": "campaign_daily",
        "stream_kind": "report", "day": "date", "policy": "restate_days=7", "feeds": '"spend": spend', "personal": "",
        "records": '{"campaign_id": "c1", "campaign_name": "One", "date": "2026-01-05", "impressions": 90, '
        '"clicks": 3, "cost": "12.50"},\n    {"campaign_id": "c2", "campaign_name": "Two", "date": "2026-01-06", '
        '"impressions": 10, "clicks": 0, "cost": "0.40"},',
        "fields": "campaign_id: string, campaign_name: string, date: date, impressions: integer, clicks: integer, "
        "cost: number text",
    },
    Kind.CRM: {
        "what": "leads, as they are now.", "mappings": "lead", "account": "None", "path": "leads",
        "since": "window.since.isoformat()", "until": "window.until.isoformat()", "stream": "lead",
        "stream_kind": "changes", "day": "updated_at", "policy": "overlap=timedelta(minutes=10)",
        "feeds": '"lead": lead', "personal": '\n            personal=("email", "name"),',
        "records": '{"id": "1", "email": "who@a.example", "created_at": "2026-01-05T10:00:00Z", '
        '"updated_at": "2026-01-06T10:00:00Z", "country": "DE"},',
        "fields": "id: string, email: string, created_at: datetime, updated_at: datetime, country: string",
    },
}  # fmt: skip


def init(
    folder: Annotated[Path, typer.Argument(help="Where it is to be; made if it is not there.")],
) -> None:
    """Make an installation outside any checkout: pipeline.yaml, .env, workspace.yaml, and folders for what is yours."""
    from b2b_pipeline.connectors.registry import SOURCES

    folder = folder.absolute()
    if (folder / "pipeline.yaml").exists():
        raise ConfigError(f"{folder} has a pipeline.yaml: it is an installation already")
    for name in ("inbox", "sources", "metrics"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    home = folder / ".b2b"
    lines = [f"DAGSTER_HOME={home / 'dagster'}", f"B2B_HOME={home}", f"B2B_CONFIG={folder / 'pipeline.yaml'}"]
    for source in SOURCES.values():
        lines += ["", f"# {source.title}"] if source.environment else []
        lines += [line for name, what in source.environment.items() for line in (f"# {what}", f"# {name}=")]
    write_private(folder / ".env", "\n".join(lines) + "\n")
    start = datetime.now(UTC).date() - timedelta(days=DEMO_DAYS)
    named = "\n".join(f"#  {source.name}:  # {source.title}" for source in SOURCES.values())
    written = {
        "pipeline.yaml": templates.filled(
            "pipeline.yaml", schema=templates.path("pipeline.schema.json"), start=start, sources=named
        ),
        "workspace.yaml": templates.path("workspace.yaml").read_text(encoding="utf-8"),
        "README.md": templates.filled("README.md", name=folder.name),
        ".gitignore": ".env\n.b2b/\n",
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("B2B_HOME", "B2B_CONFIG", "DAGSTER_HOME"):
        os.environ.pop(name, None)  # those of where we are
    load_environment(folder / ".env")
    os.chdir(folder)
    prepare()
    say(f"next: cd {folder}; b2b doctor")


@new.command()
def source(
    name: Annotated[str, typer.Argument(help="Such as tiktok_ads.")],
    kind: Annotated[Kind, typer.Option(help="What it gives: ad spend, or leads.")],
) -> None:
    """Write sources/NAME: source, rows, words, contract, a test that passes. Change them to what the vendor says."""
    words = {**KINDS[kind], **_named(name), "kind": kind.value, "today": datetime.now(UTC).date().isoformat()}
    words["fields"] = "\n".join(f"      {field}" for field in words["fields"].split(", "))
    folder = config_path().parent / "sources" / name
    files = {
        "source.py": templates.filled("source.py.txt", **words),
        "rows.py": templates.filled(f"rows_{kind.value}.py.txt", **words),
        "words.yaml": templates.filled("words.yaml", **words),
        "contract.yaml": templates.filled("contract.yaml", **words),
        f"test_{name}.py": templates.filled("test_source.py.txt", **words),
    }
    if kind is Kind.CRM:
        text = files["source.py"].replace("from typing import", "from datetime import timedelta\nfrom typing import", 1)
        files["source.py"] = text
    _write(folder, files)
    say(f"next: pytest {folder}; then switch it on under `sources` in pipeline.yaml, with {name.upper()}_TOKEN in .env")


@new.command()
def metric(name: Annotated[str, typer.Argument(help="Such as won_per_lead.")]) -> None:
    """Write metrics/NAME.py, a family with one metric, and a test that passes. Change it to what yours is made of."""
    words, folder = _named(name), config_path().parent / "metrics"
    _write(folder, {
        f"{name}.py": templates.filled("metric.py.txt", **words),
        f"test_{name}.py": templates.filled("test_metric.py.txt", **words),
    })  # fmt: skip
    say(f"next: pytest {folder}; b2b kpi {name}")


def _named(name: str) -> dict[str, str]:
    if not config_path().is_file():
        raise ConfigError(f"{config_path()} is not there: `b2b init FOLDER` makes an installation")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        raise ConfigError(f"{name!r} is no name such as tiktok_ads: small letters, digits and _")
    return {"name": name, "NAME": name.upper(), "title": name.replace("_", " ").title()}


def _write(folder: Path, files: dict[str, str]) -> None:
    for name in files:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already")
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
        say(f"wrote {folder / name}")
