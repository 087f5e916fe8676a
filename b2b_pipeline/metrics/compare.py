"""A metric against another number of its own: of the period before, or of the same period a year before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.query import QuestionError, ask
from b2b_pipeline.metrics.when import Shifted, Span
from b2b_pipeline.warehouse.engine import Warehouse

MONTHS = {"month": 1, "quarter": 3, "year": 12}
DAYS = {"day": 1, "week": 7}
YEAR_OF_WEEKS = 364  # days: the same days of the week


@dataclass(frozen=True)
class Compared:
    """One metric at one key, and what it is held against: an answer of the same metric."""

    now: Answer
    before: Answer

    @property
    def change(self) -> Fraction | None:
        """How much more it is, in its own unit; None unless both are known and whole."""
        now, before = self.now.value, self.before.value
        if now is None or before is None or not (self.now.complete and self.before.complete):
            return None
        return now - before

    @property
    def change_rate(self) -> Fraction | None:
        """The change as a share of what it was; None of 0."""
        change, before = self.change, self.before.value
        return change / abs(before) if change is not None and before else None

    def as_json(self) -> dict[str, Any]:
        """The answer's, and `before`, `before_complete`, `change` and `change_rate` (a fraction)."""
        rate = self.change_rate
        return self.now.as_json() | {
            "before": self.now.shown(self.before.value), "before_complete": self.before.complete,
            "change": self.now.shown(self.change), "change_rate": None if rate is None else float(rate),
        }  # fmt: skip


def compare(
    warehouse: Warehouse,
    config: Config,
    names: Sequence[str],
    start: date | None,
    end: date | None,
    by: Sequence[str] = (),
    against: str = "previous",
) -> list[Compared]:
    """Each answer of `ask` with what it is held against, one of AGAINST. Raises QuestionError, also without a range."""
    if against not in AGAINST:
        raise QuestionError(f"a metric is held against {' or '.join(AGAINST)}, not {against!r}")
    if not start or not end:
        raise QuestionError("what is held against other days is asked for in a range: give --from and --to")
    with warehouse.read():  # one state of the warehouse for both
        before = ask(warehouse, config, names, start, end, by, moved=AGAINST[against])
        now = ask(warehouse, config, names, start, end, by, splits=_splits(before))
        before = ask(warehouse, config, names, start, end, by, moved=AGAINST[against], splits=_splits(now))
    held = {_key(answer): answer for answer in before}
    return [Compared(answer, held[_key(answer)]) for answer in now if _key(answer) in held]


def previous(first: date, last: date, grain: str | None) -> Span:
    """The period before; of a range as many days, of a part of a month the same part of the one before."""
    if grain in MONTHS:
        return Shifted(MONTHS[grain]).span(first, last)
    days = timedelta(days=DAYS[grain] if grain else (last - first).days + 1)
    return first - days, last - days


def last_year(first: date, last: date, grain: str | None) -> Span:
    """The same period a year before; of days and weeks the same days of the week."""
    if grain in DAYS:
        return first - timedelta(days=YEAR_OF_WEEKS), last - timedelta(days=YEAR_OF_WEEKS)
    return Shifted(12).span(first, last)


AGAINST = {"previous": previous, "last_year": last_year}


def _splits(answers: Iterable[Answer]) -> dict[str, set[tuple[Any, ...]]]:
    """Metric -> the splits that it has somewhere: in the other days they are none, and not missing."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for answer in answers:
        split = tuple(key for name, key in answer.keys.items() if name != "date")
        found.setdefault(answer.metric.name, set()).add(split)
    return found


def _key(answer: Answer) -> tuple[Any, ...]:
    return answer.metric.name, *answer.keys.values()
