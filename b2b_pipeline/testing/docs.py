"""A page for each source, from what it says of itself: `python -m b2b_pipeline.testing.docs docs/sources`."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

from b2b_pipeline.connectors.base import Source, Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse import read
from b2b_pipeline.connectors.warehouse.presets import presets
from b2b_pipeline.testing.contract import contract_of

KINDS = {
    "report": "a report by day", "changes": "what changed", "snapshot": "a list, as it is now",
    "sweep": "a list of what there is, to see what is gone or has changed",
}  # fmt: skip


def page(source: Source) -> str:
    module = inspect.getmodule(source.connect)
    about = inspect.getdoc(module) or ""
    lines = [f"# {source.title} (`{source.name}`)", "", *about.splitlines(), "", "## Access", ""]
    lines += ["| variable | what it is, and where from |", "|---|---|"]
    lines += [
        f"| `{name}`{' (or without)' if name in source.optional else ''} | {where} |"
        for name, where in source.environment.items()
    ] or ["| none | |"]
    if source.authorization:
        app = source.authorization()
        asks = f"asks for {', '.join(f'`{scope}`' for scope in app.scopes)} and " if app.scopes else ""
        token = app.gives.replace("_", " ")
        lines += ["", f"`b2b connect {source.name}` {asks}puts the {token} into `.env`."]
    lines += ["", "## What is pulled", ""]
    lines += ["| stream | what | kind | tables | read again |", "|---|---|---|---|---|"]
    lines += [_row(source, stream) for stream in source.streams]
    lines += ["", *_limits(source)]
    contract = contract_of(source)
    lines += ["", "## Where its fields are from", "", f"{' '.join(contract.source.split())} Read {contract.read}."]
    return "\n".join(lines) + "\n"


def _row(source: Source, stream: Stream) -> str:
    tables = ", ".join(f"`{table}`" for table in sorted(stream.feeds)) or "none"
    again = _again(source, stream)
    if limit := stream.policy.kept or stream.policy.told:
        again += f"; days of more than {limit.days} days ago are told no more"
    return f"| `{stream.name}` | {stream.description} | {KINDS[stream.kind]} | {tables} | {again} |"


def _again(source: Source, stream: Stream) -> str:
    policy = stream.policy
    if stream.kind == "report":
        days = f"the last {policy.restate_days + 1} days every night" if policy.restate_days else "once its day is over"
        own = ", longer where the account's own settings say so" if source.restate_days else ""
        return days + own
    if stream.kind == "changes":
        return f"{_time(policy.overlap.total_seconds())} before the last read"
    return f"every {policy.every.days} days" if policy.every.days else "every night"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:g} hours" if seconds >= 3600 else f"{seconds / 60:g} minutes"


def _limits(source: Source) -> Iterator[str]:
    yield "## Versions and limits"
    yield ""
    until = f", which ends on {source.sunset}" if source.sunset else ", whose end is not announced"
    other = "; `options.api_version` of the source asks another one" if source.versions else ""
    yield f"- Version {source.api_version}{until}{other}. A check warns 90 days before, and fails 30."
    if isinstance(source.daily_calls, int):
        yield f"- {source.daily_calls:,} calls a day."
    elif source.daily_calls:
        levels = (f"{n:,} (`{level}`)" if n else f"unlimited (`{level}`)" for level, n in source.daily_calls.items())
        yield f"- Calls a day by `options.access` of the source: {', '.join(levels)}."
    if source.parallel > 1:
        yield f"- {source.parallel} accounts are read at once."
    if source.control:
        fields = ", ".join(f"`{name}`" for name in source.control.fields)
        held, totals = source.control.stream, source.control.totals
        yield f"- The check `reconciliation` holds {fields} of `{held}` against `{totals}`."
    if personal := sorted({name for stream in source.streams for name in stream.personal}):
        yield f"- Kept as pseudonyms only: {', '.join(f'`{name}`' for name in personal)}."


def warehouse_page() -> str:
    """The page of what is read from where a loader landed it."""
    lines = [
        "# What a loader has landed already (`warehouse`)", "", *(inspect.getdoc(read) or "").splitlines(), "",
        "A source is read so where `pipeline.yaml` says it:", "",
        "```yaml", "sources:", "  salesforce:", "    warehouse: {loader: fivetran, schema: salesforce}", "```", "",
        "| variable | what it is |", "|---|---|",
        "| `WAREHOUSE_SOURCE_URL` | SQLAlchemy URL of the warehouse, of a user that may only read; `warehouse: {url: "
        "NAME}` names another variable |", "",
        "PostgreSQL and DuckDB need nothing more, and are tested; BigQuery needs `pip install sqlalchemy-bigquery`, "
        "Snowflake `pip install snowflake-sqlalchemy`, and neither could be tried here.",
    ]  # fmt: skip
    for (source, loader), preset in sorted(presets().items()):
        lines += [
            "",
            f"## {SOURCES[source].title} by {loader}",
            "",
            f"{preset.facts[0].upper()}{preset.facts[1:]}.",
            "",
        ]
        lines += ["| stream | table |", "|---|---|"]
        lines += [f"| `{name}` | `{layout.table}` |" for name, layout in preset.streams.items()]
        lines += ["", *(f"- {limit[0].upper()}{limit[1:]}." for limit in preset.limits)]
        if missing := [each.name for each in SOURCES[source].streams if each.name not in preset.provided]:
            lines.append(f"- Not there: {', '.join(f'`{name}`' for name in missing)}.")
    return "\n".join(lines) + "\n"


def pages() -> dict[str, str]:
    """File name -> text, of our own sources, and of those that a loader has landed."""
    return {f"{name}.md": page(SOURCES[name]) for name in sorted(SOURCES)} | {"warehouse.md": warehouse_page()}


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text, encoding="utf-8")
