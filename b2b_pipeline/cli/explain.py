"""`b2b explain`: take one number apart."""

from __future__ import annotations

import json
from datetime import date
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from b2b_pipeline.cli.common import day, pipeline, printable, show, table_cell

if TYPE_CHECKING:
    from b2b_pipeline.operations.explain import Explanation, Payload

CELL = 60  # characters of a cell that are shown
ROWS = 5  # of each table, on the page


def register(app: typer.Typer) -> None:
    app.command()(explain)


def explain(
    metric: Annotated[str, typer.Argument(show_default=False)],
    on: Annotated[date, typer.Option("--on", parser=day, metavar="DAY", show_default=False)],
    channel: Annotated[str, typer.Option(help="One channel; '' is what has none.")] = "*",
    rows: Annotated[int | None, typer.Option(min=1, help="At most so many rows of each table.")] = None,
    sql: Annotated[bool, typer.Option("--sql", help="Also the queries.")] = False,
    payload: Annotated[bool, typer.Option("--payload", help="Also the vendors' records.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="All of it, as JSON has it.")] = False,
    form: Annotated[Literal["text", "json"], typer.Option("--format")] = "text",
) -> None:
    """Take one number apart: formula, components, five rows of each table, what changed since; the rest on request."""
    from b2b_pipeline.operations import explain as explaining

    found = pipeline()
    limit = rows or (ROWS if form == "text" and not everything else explaining.ROWS)
    explanation = explaining.explain(
        found.warehouse, found.landing, found.config, metric, on, channel or None, limit
    )  # fmt: skip
    if form == "json":
        typer.echo(json.dumps(explanation.as_json(), ensure_ascii=False, indent=2))
        return
    _number(explanation, found.config.currency)
    if sql or everything:
        _queries(explanation)
    _rows(explanation)
    if payload or everything:
        for item in explanation.payloads:
            _payload(item)
    _changes(explanation, None if everything else ROWS)
    if not everything:
        typer.echo("\nThe queries: --sql; the vendors' records: --payload; all of it: --all")


def _number(told: Explanation, currency: str) -> None:
    from b2b_pipeline.metrics.shown import shown

    answer = told.answer.as_json()
    where = "" if told.channel == "*" else f" in channel {told.channel or '(none)'}"
    _title(f"{told.metric.name} on {told.day}{where}: {shown(told.answer, currency)}")
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
        parts = [{name: getattr(part, name) for name in columns} for part in told.parts]
        show([part | ({"unit": currency} if part["unit"] == "money" else {}) for part in parts], "table")


def _queries(told: Explanation) -> None:
    _title("SQL")
    typer.echo(told.sql)
    for part in told.parts:
        _title(f"SQL of {part.component}")
        typer.echo(part.sql)


def _rows(told: Explanation) -> None:
    for item in told.evidence:
        _title(f"{item.table}: {len(item.rows)} of {item.total} rows ({item.because})")
        filled = [name for name in (item.rows[0] if item.rows else {}) if any(r[name] is not None for r in item.rows)]
        show([{name: table_cell(row[name])[:CELL] for name in filled} for row in item.rows], "table")


def _changes(told: Explanation, limit: int | None) -> None:
    _title("What changed since it was first published")
    if not told.changes:
        typer.echo("nothing")
        return
    show(told.changes[:limit], "table")
    if limit is not None and len(told.changes) > limit:
        typer.echo(f"and {len(told.changes) - limit} more")


def _payload(item: Payload) -> None:
    key = ", ".join(f"{name}={value}" for name, value in item.key.items())
    _title(printable(f"Landed record of {item.table} ({key})"))
    typer.echo(", ".join(f"{name} {value}" for name, value in item.envelope.items() if name != "account"))
    typer.echo(json.dumps(item.record, ensure_ascii=False, indent=2) if item.record else "landing no longer has it")


def _title(text: str) -> None:
    typer.secho(f"\n{printable(text)}", bold=True)
