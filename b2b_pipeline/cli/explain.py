"""`b2b explain`: take one number apart."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from b2b_pipeline.cli.common import day, pipeline, printable, show, table_cell

if TYPE_CHECKING:
    from b2b_pipeline.explain import Explanation, Payload

CELL = 60  # characters of a cell that are shown


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    metric: Annotated[str, typer.Argument(show_default=False)],
    on: Annotated[date, typer.Option("--on", parser=day, metavar="DAY", show_default=False)],
    channel: Annotated[str, typer.Option(help="One channel; '' is what has none.")] = "*",
    rows: Annotated[int, typer.Option(min=1, help="At most so many rows of each table.")] = 20,
    form: Annotated[Literal["text", "json"], typer.Option("--format")] = "text",
) -> None:
    """Take one number apart: formula, components, SQL, rows, what the vendor said, and what changed since."""
    from b2b_pipeline import explain as explaining

    found = pipeline()
    explanation = explaining.explain(
        found.warehouse, found.landing, found.config, metric, on, channel or None, rows
    )  # fmt: skip
    if form == "json":
        typer.echo(json.dumps(explanation.as_json(), ensure_ascii=False, indent=2))
    else:
        _tell(explanation)


def _tell(told: Explanation) -> None:
    answer = told.answer.as_json()
    where = "" if told.channel == "*" else f" in channel {told.channel or '(none)'}"
    _title(f"{told.metric.name} on {told.day}{where}: {table_cell(answer['value'])}")
    typer.echo(told.metric.formula)
    typer.echo(f"numerator {table_cell(answer['numerator'])}, denominator {table_cell(answer['denominator'])}")
    typer.echo("complete" if told.answer.complete else "not complete: " + "; ".join(told.answer.reasons))
    if told.answer.why_null:
        typer.echo(f"null: {told.answer.why_null}")
    for note in told.answer.notes:
        typer.echo(note)
    if told.parts:
        _title("Components")
        columns = ("side", "coefficient", "component", "value", "unit", "description")
        show([{name: getattr(part, name) for name in columns} for part in told.parts], "table")
    _title("SQL")
    typer.echo(told.sql)
    for part in told.parts:
        _title(f"SQL of {part.component}")
        typer.echo(part.sql)
    for item in told.evidence:
        _title(f"{item.table}: {len(item.rows)} of {item.total} rows ({item.because})")
        filled = [name for name in (item.rows[0] if item.rows else {}) if any(r[name] is not None for r in item.rows)]
        show([{name: table_cell(row[name])[:CELL] for name in filled} for row in item.rows], "table")
    for payload in told.payloads:
        _payload(payload)
    _title("What changed since it was first published")
    if told.changes:
        show(told.changes, "table")
    else:
        typer.echo("nothing")


def _payload(item: Payload) -> None:
    key = ", ".join(f"{name}={value}" for name, value in item.key.items())
    _title(printable(f"Landed record of {item.table} ({key})"))
    typer.echo(", ".join(f"{name} {value}" for name, value in item.envelope.items() if name != "account"))
    typer.echo(json.dumps(item.record, ensure_ascii=False, indent=2) if item.record else "landing no longer has it")


def _title(text: str) -> None:
    typer.secho(f"\n{printable(text)}", bold=True)
