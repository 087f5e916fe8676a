"""A metric against another number of its own: of the period before, of a year before, or what it is to be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction
from typing import Any

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.periods import GRAINS
from b2b_pipeline.metrics.query import QuestionError, ask, named
from b2b_pipeline.metrics.targets import Targets, period_of
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

    @property
    def both(self) -> tuple[Answer, Answer]:
        return self.now, self.before

    def as_json(self) -> dict[str, Any]:
        """The answer's, and `before`, `before_complete`, `change` and `change_rate` (a fraction)."""
        rate = self.change_rate
        return self.now.as_json() | {
            "before": self.now.shown(self.before.value), "before_complete": self.before.complete,
            "change": self.now.shown(self.change), "change_rate": None if rate is None else float(rate),
        }  # fmt: skip


@dataclass(frozen=True)
class Aimed:
    """One metric at one key, and what it is to be there: of a target that is not given, why.

    A period that is not over, or not complete, has come as far as is known: its answer says that it is not complete.
    """

    now: Answer
    target: Answer

    @property
    def difference(self) -> Fraction | None:
        """How much more it is than it is to be, in its own unit."""
        now, target = self.now.value, self.target.value
        return None if now is None or target is None else now - target

    @property
    def attainment(self) -> Fraction | None:
        """Which share of the target it is; None of 0."""
        now, target = self.now.value, self.target.value
        return now / target if now is not None and target else None

    @property
    def because(self) -> str:
        """Why there is no target, or no share of it."""
        return "; ".join(filter(None, (self.target.why_null, *self.target.notes)))

    @property
    def both(self) -> tuple[Answer, Answer]:
        return self.now, self.target

    def as_json(self) -> dict[str, Any]:
        """The answer's, and `target`, `difference`, `attainment` (a fraction) and `because` (why they are null)."""
        share = self.attainment
        return self.now.as_json() | {
            "target": self.target.shown(self.target.value), "difference": self.now.shown(self.difference),
            "attainment": None if share is None else float(share), "because": self.because or None,
        }  # fmt: skip


def hold(
    warehouse: Warehouse,
    config: Config,
    names: Sequence[str],
    start: date | None,
    end: date | None,
    by: Sequence[str],
    against: str,
) -> Sequence[Compared | Aimed]:
    """Each answer of `ask` against its target, or by `compare`."""
    if against == TARGET:
        return aim(warehouse, config, names, start, end, by)
    return compare(warehouse, config, names, start, end, by, against)


def aim(
    warehouse: Warehouse,
    config: Config,
    names: Sequence[str],
    start: date | None,
    end: date | None,
    by: Sequence[str] = (),
) -> list[Aimed]:
    """Each answer of `ask` with its target, of a whole month, quarter or year. Raises QuestionError for other days."""
    targets, grain = Targets(config), next((part for part in by if part in GRAINS), None)
    period_of(grain, start or date.min, (start, end))  # before anything is asked: whether this has targets at all
    dimensions = [part for part in by if part not in GRAINS]
    splits = {metric.name: targets.splits(metric, dimensions) for metric in map(named, names)}
    return [
        Aimed(answer, _target(targets, answer, grain, (start, end)))
        for answer in ask(warehouse, config, names, start, end, by, splits=splits)
    ]


def _target(targets: Targets, answer: Answer, grain: str | None, asked: Span) -> Answer:
    """As an answer of the same metric."""
    where = {name: key for name, key in answer.keys.items() if name != "date"}
    first = answer.keys.get("date") if grain else asked[0]
    if first is None:
        return Answer(answer.metric, answer.keys, None, None, why_null="what has no day has no target")
    period, part = period_of(grain, first, asked)
    value, because = (None, part) if part else targets.of(answer.metric, where, period)
    notes = ("a target of 0 has no attainment",) if value == 0 else ()
    return Answer(answer.metric, answer.keys, value, Fraction(1), why_null=because, leaves_out=notes)


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
        raise QuestionError(f"a metric is held against {TARGET}, {' or '.join(AGAINST)}, not {against!r}")
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
TARGET = "target"


def _splits(answers: Iterable[Answer]) -> dict[str, set[tuple[Any, ...]]]:
    """Metric -> the splits that it has somewhere: in the other days they are none, and not missing."""
    found: dict[str, set[tuple[Any, ...]]] = {}
    for answer in answers:
        split = tuple(key for name, key in answer.keys.items() if name != "date")
        found.setdefault(answer.metric.name, set()).add(split)
    return found


def _key(answer: Answer) -> tuple[Any, ...]:
    return answer.metric.name, *answer.keys.values()
