"""What commands share: how errors end them, how dates are read, how rows are printed."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import uuid4

import typer
from typer import Abort, Exit
from typer.core import TyperGroup
from typer.exceptions import TyperException

from b2b_pipeline.errors import PermanentError, PipelineError, QuotaError, TransientError

if TYPE_CHECKING:
    from b2b_pipeline.pipeline import Pipeline

_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


class Commands(TyperGroup):
    """Ends with 1 when something failed, with 2 when what was asked for is wrong; one line on standard error says why.

    With B2B_DEBUG in the environment, what was not foreseen is shown with its trace.
    """

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except PipelineError as error:
            raise self._end(error) from None
        except (TyperException, Exit, Abort):
            raise
        except Exception as error:
            if os.environ.get("B2B_DEBUG") or (isinstance(error, OSError) and error.errno == errno.EPIPE):
                raise
            from b2b_pipeline.failures import explained

            raise self._end(explained(error)) from None

    @staticmethod
    def _end(error: PipelineError) -> typer.Exit:
        from b2b_pipeline.privacy import mask

        say(f"error: {mask(str(error))}")
        return typer.Exit(1 if isinstance(error, TransientError | QuotaError | PermanentError) else 2)


def say(message: str) -> None:
    """A line on standard error: standard output is for the answer."""
    typer.echo(printable(message), err=True)


def printable(text: str) -> str:
    """Text from elsewhere, harmless to a terminal."""
    return "\n".join(_CONTROL.sub("\ufffd", line) for line in text.split("\n"))


def day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a day; write it as 2026-01-31") from None


def instant(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time; write it as 2026-01-31T12:00:00+00:00") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


From = Annotated[date | None, typer.Option("--from", parser=day, metavar="DAY", help="First day.")]
To = Annotated[date | None, typer.Option("--to", parser=day, metavar="DAY", help="Last day, included.")]
By = Annotated[str, typer.Option(help="day, week, month, quarter or year, and dimensions: month,channel")]
Format = Annotated[Literal["table", "csv", "json"], typer.Option("--format", help="How to print it.")]


def words(text: str) -> list[str]:
    """`"month, channel"` -> its words."""
    return [word.strip() for word in text.split(",") if word.strip()]


def pipeline() -> Pipeline:
    """The installation. Raises ConfigError, with what to do, for a missing or old schema or a wrong target."""
    from b2b_pipeline.pipeline import Pipeline
    from b2b_pipeline.warehouse.migrate import require

    found = Pipeline.from_environment()
    if found.config.targets:
        from b2b_pipeline.metrics.targets import check

        check(found.config)
    require(found.warehouse)
    found.hold_together()
    return found


def run_id(command: str) -> str:
    """What a command signs its rows with."""
    return f"{command}-{uuid4().hex[:12]}"


def show(rows: Sequence[Mapping[str, Any]], form: str) -> None:
    """Print rows: JSON as they are, CSV for a spreadsheet, a table for people (plain text unless on a terminal)."""
    if form == "json":
        typer.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if form == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows([csv_cell(row.get(name)) for name in columns] for row in rows)
        return
    cells = [[printable(table_cell(row.get(name))) for name in columns] for row in rows]
    if sys.stdout.isatty():
        _rich(columns, cells)
    else:
        _plain([columns, *cells])


def csv_cell(value: Any) -> str:
    """Text that a spreadsheet would take for a formula gets an apostrophe before it."""
    if value is None:
        return ""
    text = json.dumps(value) if isinstance(value, bool | float) else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) and not _NUMBER.fullmatch(text) else text


def table_cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value).replace("\n", " ")


def _plain(lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _rich(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns)
    for line in cells:
        table.add_row(*map(Text, line))
    Console().print(table)
