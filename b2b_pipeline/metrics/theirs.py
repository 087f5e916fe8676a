"""Our numbers beside those of another tool or an old model, one by one: who moves sees where they differ.

The other's numbers are a CSV file: a column for each thing that is split by (`date` is the first day of the period),
and one for each metric by its name here.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.periods import GRAINS
from b2b_pipeline.metrics.query import QuestionError, ask, named
from b2b_pipeline.warehouse.engine import Warehouse

Key = tuple[Any, ...]
NO_ROW = "nothing of it is here"


@dataclass(frozen=True)
class Beside:
    """One metric at one key, and what the other says of it: None where it says nothing, or has no number."""

    now: Answer
    theirs: Fraction | None

    @property
    def difference(self) -> Fraction | None:
        """How much more it is here; None unless both say a number."""
        return None if self.now.value is None or self.theirs is None else self.now.value - self.theirs

    @property
    def both(self) -> tuple[Answer]:
        return (self.now,)

    def as_json(self) -> dict[str, Any]:
        """The answer's, `theirs` and `difference`."""
        return self.now.as_json() | {
            "theirs": self.now.shown(self.theirs), "difference": self.now.shown(self.difference),
        }  # fmt: skip


def beside(
    warehouse: Warehouse,
    config: Config,
    names: Sequence[str],
    start: date | None,
    end: date | None,
    by: Sequence[str],
    path: Path,
) -> list[Beside]:
    """Each answer of `ask` with the other's number, and each of theirs that we have no row for.

    Raises QuestionError for a file that cannot be read so.
    """
    answers = ask(warehouse, config, names, start, end, by)
    theirs = dict(_read(path, names, by))
    ours = [Beside(answer, theirs.pop((answer.metric.name, *_key(answer.keys)), None)) for answer in answers]
    columns = _columns(by)
    only_theirs = [
        Beside(Answer(named(name), dict(zip(columns, key, strict=True)), None, None, (NO_ROW,), NO_ROW), value)
        for (name, *key), value in theirs.items()
        if _is_asked(key, by, start, end) and value is not None
    ]
    return [*ours, *only_theirs]


def _columns(by: Sequence[str]) -> list[str]:
    """The columns of keys, as an answer has them: a period is `date`, and comes first."""
    return [*(["date"] if any(part in GRAINS for part in by) else []), *(part for part in by if part not in GRAINS)]


def _key(keys: dict[str, Any]) -> Key:
    return tuple(keys.values())


def _is_asked(key: Sequence[Any], by: Sequence[str], start: date | None, end: date | None) -> bool:
    if not key or not isinstance(key[0], date):
        return True
    return (start or date.min) <= key[0] <= (end or date.max)


def _read(path: Path, names: Sequence[str], by: Sequence[str]) -> Iterator[tuple[Key, Fraction | None]]:
    """(metric, keys) -> number, of every line of the file."""
    columns, metrics = _columns(by), {name: named(name).name for name in names}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            lines = csv.DictReader(file)
            given = {name: metric for name, metric in metrics.items() if name in (lines.fieldnames or ())}
            missing = [*({*columns} - {*(lines.fieldnames or ())}), *(metrics.keys() - given.keys())]
            if missing:
                raise QuestionError(f"{path.name} has no column {', '.join(sorted(missing))}")
            for number, line in enumerate(lines, 2):
                key = [_cell(line[column], column, f"{path.name}, line {number}") for column in columns]
                for name, metric in given.items():
                    yield (metric, *key), _number(line[name], name, f"{path.name}, line {number}")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise QuestionError(f"{path.name} cannot be read as CSV: {type(error).__name__}") from None


def _cell(text: str | None, column: str, where: str) -> Any:
    if column != "date":
        return text or None
    try:
        return date.fromisoformat((text or "")[:10])
    except ValueError:
        raise QuestionError(f"{where}: date is no day such as 2026-01-31") from None


def _number(text: str | None, name: str, where: str) -> Fraction | None:
    try:
        return Fraction(text) if text else None
    except ValueError:
        raise QuestionError(f"{where}: {name} is no number such as 1234.56") from None
