"""Asking for a metric at a grain: `b2b kpi`, the report and every acceptance test go through here.

Components are summed at the grain asked for and only then divided; what must not be summed is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import Connection, Date, func, literal, select

from b2b_pipeline.configuration.config import Config, Dimensions
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.metrics.answer import Answer, Counts
from b2b_pipeline.metrics.gaps import FoundGaps, Gaps
from b2b_pipeline.metrics.kinds import Cohort, Fitted
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.model import STANDARD, Axis, Metric, Term
from b2b_pipeline.metrics.names import nearest, resolve
from b2b_pipeline.metrics.periods import GRAINS, periods, span
from b2b_pipeline.metrics.plan import Asked, Bounds, in_range, plan
from b2b_pipeline.metrics.registry import ADDITIVITY, COMPONENTS, METRICS
from b2b_pipeline.metrics.when import PERIOD, Last, Span
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import kpi_component_daily

_NEVER = "no row has {}: `b2b doctor` tells a field that is missing, `b2b backfill --again` reads one that is new"


Moved = Callable[[date, date, str | None], Span]  # of a period and its grain, the days in its place


class QuestionError(PipelineError):
    """The question cannot be answered as asked; the message says what can."""


class _Found(NamedTuple):
    """What the plan found at one key. parts, counts: of the terms that have rows."""

    numerator: Fraction | None
    denominator: Fraction | None
    n_entered: int | None
    n_mature: int | None
    parts: dict[str, Fraction | None]
    counts: dict[str, Counts]


@dataclass(frozen=True)
class _Question:
    """What is asked of each metric, and where.

    over: of each day, so many days up to it. moved: of other days than those of the period that they are told of.
    splits: of each metric, what is answered for even where there is nothing.
    """

    connection: Connection
    config: Config
    start: date | None
    end: date | None
    grain: str | None
    dimensions: tuple[str, ...]
    over: int | None
    moved: Moved | None
    splits: Mapping[str, set[tuple[Any, ...]]]
    known: Known
    gaps: FoundGaps
    left_out: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @property
    def yesterday(self) -> date:
        return datetime.now(self.config.zone).date() - timedelta(days=1)

    def gaps_of(self, names: Sequence[str]) -> Gaps:
        """What is not whole of these components, as they are asked for: split, or in total."""
        return self.gaps.of(names, bool(self.dimensions))

    def bounds(self, metric: Metric, period: date | None = None) -> Span:
        """The first and the last day of a period; of none, of the range.

        A metric that is of other days than the period's needs both: what is open ends yesterday.
        """
        first, last = self.start, self.end
        if self.grain and period:
            first, last = span(period, self.grain, self.start, self.end)
        if metric.whens != (PERIOD,):
            first, last = first or self.config.start_date, last or self.yesterday
            if self.end is None and any(isinstance(when, Last) for when in metric.whens):
                last = min(last, self.yesterday)
        if self.over and first:
            first -= timedelta(days=self.over - 1)
        return self.moved(first, last, self.grain) if self.moved and first and last else (first, last)


def named(name: str) -> Metric:
    """The metric of this name, or of what people call it: `CPL`, `cost per lead`. Raises QuestionError."""
    found = resolve(name, METRICS)
    if found is None:
        near = nearest(name, METRICS)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise QuestionError(f"unknown metric {name!r}: {hint}`b2b kpi --list` names them all")
    return METRICS[found]


def ask(
    warehouse: Warehouse,
    config: Config,
    names: Sequence[str],
    start: date | None = None,
    end: date | None = None,
    by: Sequence[str] = (),
    *,
    over: int | None = None,
    moved: Moved | None = None,
    splits: Mapping[str, set[tuple[Any, ...]]] = MappingProxyType({}),
) -> list[Answer]:
    """Rows of the metrics `names` from `start` to `end` (both included), by at most one of GRAINS and any dimensions.

    The key `date` is the first day of the period. Every period asked for appears, whether anything happened or not.
    `over`: by day, each over so many days up to it. `moved` and `splits`: see metrics/compare.py.
    Raises QuestionError for an unknown metric, a split that does not exist, and a sum that would count rows twice.
    """
    grains = [part for part in by if part in GRAINS]
    dimensions = tuple(part for part in by if part not in GRAINS)
    if len(grains) > 1:
        raise QuestionError(f"only one of {', '.join(GRAINS)} at a time, got {', '.join(grains)}")
    if start and end and start > end:
        raise QuestionError(f"--from {start} is after --to {end}")
    if over and (grains != ["day"] or not start or not end):
        raise QuestionError("days up to a day are asked for by day, and in a range")
    metrics = [named(name) for name in names]
    for metric in metrics:
        _refuse(metric, config, dimensions)
    with warehouse.read() as connection:
        question = _Question(
            connection, config, start, end, grains[0] if grains else None, dimensions, over, moved, splits,
            Known(connection, config), FoundGaps(connection, config),
        )  # fmt: skip
        return [answer for metric in metrics for answer in _answers(question, metric)]


def dimensions_of(metric: Metric, further: Dimensions) -> set[str]:
    """What a metric can be split by, beside the grains."""
    shared = set.intersection(*(COMPONENTS[name].splits(further) for name in metric.components))
    return shared | {axis.name for axis in free_axes(metric)}


def free_axes(metric: Metric) -> list[Axis]:
    """The axes that a question must split by: over their values a sum would count the same rows again."""
    axes = [axis for term in metric.terms if not term.axis and (axis := COMPONENTS[term.measure].axis)]
    return list(dict.fromkeys(axes))


def _refuse(metric: Metric, config: Config, asked: tuple[str, ...]) -> None:
    shared = dimensions_of(metric, config.dimensions)
    for dimension in asked:
        if dimension not in shared:
            raise QuestionError(
                f"{metric.name} cannot be split by {dimension!r}; it can by {', '.join([*GRAINS, *sorted(shared)])}"
            )
    for axis in free_axes(metric):
        if axis.name not in asked:
            fixed = [each.name for each in METRICS.values() if each.components == metric.components and each != metric]
            raise QuestionError(
                f"{metric.name} is told once per {axis.name}, which do not add up: ask for it by {axis.name}"
                + (f", or for {' or '.join(fixed)}" if fixed else "")
            )


# -- answers


def _answers(question: _Question, metric: Metric) -> list[Answer]:
    grain, dimensions, known = question.grain, question.dimensions, question.known
    found = _found(question, metric)
    dated = bool(question.start or question.end or grain)
    lacking, partly = known.lacking(metric, dated=dated), known.partly(metric)
    lacking_undated = known.lacking(metric, dated=False) if grain else {}
    without = _left_out(question, metric)
    splits = {key[1:] if grain else key for key in found} | question.splits.get(metric.name, set())
    notes = (
        [f"without {', '.join(without)}: nothing feeds its spend"] if without and "channel" not in dimensions else []
    )
    notes += [_NEVER.format(name) for name in _never_given(dimensions, splits)]
    if dimensions == ("channel",):
        splits |= {(channel,) for channel in without}
    splits = splits or (set() if dimensions else {()})
    rows: list[Answer] = []
    for period, split in product(_periods_of(question, found), sorted(splits, key=_in_order)):
        keys = ({"date": period} if grain else {}) | dict(zip(dimensions, split, strict=True))
        at = found.get((period, *split) if grain else split) or _nothing(metric, question.config)
        undated = bool(grain and period is None)
        bounds = question.bounds(metric, period)
        missing = _first_reasons(
            lacking_undated if undated else lacking,
            known.missing_at(metric, keys.get("channel"), keys.get("campaign"), dimensions),
            {} if undated else _unknown(question, metric, at.parts, bounds),
            {term.label: without_value(term, at.counts[term.label])
             for term in metric.terms if at.parts.get(term.label, 0) is None},
        )  # fmt: skip
        early = _immature(metric, at)
        reasons = (*(() if undated else _reasons(question, metric, bounds)), *partly)
        why = next(iter((*missing.values(), *early)), "")
        above, below = (
            None if any(term.label in missing for term in side) else value
            for side, value in ((metric.numerator, at.numerator), (metric.denominator, at.denominator))
        )
        told = (*notes, *_open(metric, at))
        rows.append(Answer(metric, keys, above, below, reasons, why, told, at.parts, missing, at.counts))
    return rows


def _found(question: _Question, metric: Metric) -> dict[tuple[Any, ...], _Found]:
    unfed, found = question.known.unfed(metric), dict[tuple[Any, ...], _Found]()
    asked = _asked(question, metric, unfed)
    n_keys = len(asked.dimensions) + bool(asked.grain)
    if asked.periods is not None and not asked.periods:
        return {}
    for row in question.connection.execute(plan(metric, question.config, asked)):
        key, (numerator, denominator, n_entered, n_mature, *sums) = tuple(row[:n_keys]), row[n_keys:]
        parts, counts = {}, {}
        for number, term in enumerate(metric.terms):
            value, n_rows, n_values = sums[3 * number : 3 * number + 3]
            if n_rows:
                parts[term.label] = _fraction(value)
                counts[term.label] = Counts(int(n_rows), int(n_values or 0))
        if parts or n_keys:
            found[key] = _Found(_fraction(numerator), _fraction(denominator), n_entered, n_mature, parts, counts)
    if unfed and "campaign" in question.dimensions:  # a campaign of which all is left out is shown as unknown
        for row in question.connection.execute(plan(metric, question.config, _asked(question, metric, ()))):
            found.setdefault(tuple(row[:n_keys]), _nothing(metric, question.config))
    return found


def _asked(question: _Question, metric: Metric, unfed: Sequence[str]) -> Asked:
    asked = Asked(
        question.start, question.end, question.grain, question.dimensions, unfed,
        literal(question.gaps.of([*metric.components]).known_until, Date),
    )  # fmt: skip
    if not question.over and not question.moved and metric.whens == (PERIOD,):
        return asked
    every: list[date | None] = [None]
    if question.grain:
        stored = kpi_component_daily.c
        earliest = select(func.min(stored.date_day)).where(stored.component.in_(metric.components))
        first = question.start or question.connection.scalar(earliest) or question.config.start_date
        every = [*periods(first, question.end or question.yesterday, question.grain)]
    return replace(
        asked, start=None, end=None, periods=[Bounds(period, *question.bounds(metric, period)) for period in every]
    )


def _fraction(value: Any) -> Fraction | None:
    return None if value is None else Fraction(value)


def _nothing(metric: Metric, config: Config) -> _Found:
    """Of a key without a row: a sum of nothing is 0, of a quantile there is none."""
    factors = [factor(config) for factor in metric.numerator.values() if callable(factor)]
    is_number = ADDITIVITY[metric.name] != "quantile" and None not in factors
    return _Found(Fraction(0) if is_number else None, Fraction(0) if metric.denominator else None, None, None, {}, {})


def _first_reasons(*found: Mapping[str, str]) -> dict[str, str]:
    """Term -> why it is unknown: what was never given before what only this period lacks."""
    first: dict[str, str] = {}
    for reasons in found:
        first |= {name: why for name, why in reasons.items() if name not in first}
    return first


def without_value(term: Term, counts: Counts) -> str:
    if of := COMPONENTS[term.measure].of:
        return f"none of {counts.rows} {of} has an amount in the reporting currency"
    if term.within is not None:
        return f"{counts.rows - counts.values} of {term.measure} have no day, so nobody knows after how many days"
    return f"none of the rows of {term.measure} has a value"


def _immature(metric: Metric, found: _Found) -> tuple[str, ...]:
    """Why a cohort has no number yet."""
    if not isinstance(metric.kind, Cohort) or not (early := _early(found)):
        return ()
    kind, entered, mature = metric.kind, found.n_entered, found.n_mature or 0
    if kind.least is not None:
        lack = "an outcome" if kind.within is None else f"had {kind.within} days"
        few = f"none of {entered} {kind.entered} has {lack} yet"
        if mature:
            few = f"{mature} of {entered} {kind.entered} have {lack}: an estimate takes {kind.least}"
        return (few,) if mature < kind.least else ()
    return (f"{early} of {entered} {kind.entered} have not had {kind.within} days yet",)


def _open(metric: Metric, found: _Found) -> tuple[str, ...]:
    """Those who entered and do not count yet, where the others make a number without them."""
    if not isinstance(metric.kind, Cohort) or not found.n_mature or found.n_mature < (metric.kind.least or math.inf):
        return ()
    kind, early = metric.kind, _early(found)
    if isinstance(kind, Fitted):
        part = f"{early} of {found.n_entered} {kind.entered} were watched for less than {kind.within} days"
        return (f"estimated: {part}",) if early else ()
    lack = "no outcome" if kind.within is None else f"not had {kind.within} days"
    return (f"without {early} of {found.n_entered} {kind.entered} that have {lack} yet",) if early else ()


def _early(found: _Found) -> int:
    return (found.n_entered or 0) - (found.n_mature or 0)


def _never_given(dimensions: tuple[str, ...], splits: Iterable[tuple[Any, ...]]) -> list[str]:
    """Of those that are no standard ones, the dimensions that not one row has."""
    given = {name for split in splits for name, key in zip(dimensions, split, strict=True) if key is not None}
    return [name for name in dimensions if splits and name not in {*given, *STANDARD}]


def _in_order(key: tuple[Any, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is None, str(part)) for part in key)


def _periods_of(question: _Question, found: Mapping[tuple[Any, ...], _Found]) -> list[date | None]:
    """Every period of the range, whether anything happened or not, and None for what has no day."""
    if not question.grain:
        return [None]
    days = [key[0] for key in found if key[0] is not None]
    # Without a range: one mistyped year must not give a million periods.
    near = [day for day in days if abs(day.year - question.yesterday.year) < 100]
    first, last = question.start or min(near, default=None), question.end or max(near, default=None)
    every: Iterable[date] = periods(first, last, question.grain) if first and last else ()
    return [*sorted({*every, *days}), *([None] if any(key[0] is None for key in found) else [])]


# -- what is not known, and what is not whole


def _unknown(
    question: _Question, metric: Metric, parts: Mapping[str, Fraction | None], bounds: Span
) -> dict[str, str]:  # fmt: skip
    """Terms that have no row in a period of which nothing was read whole: that is not the same as none."""
    found = {}
    for term in metric.terms:
        if term.label not in parts:
            gaps, days = question.gaps_of([term.measure]), term.when.span(*bounds)
            if gaps.nothing_whole(*days):
                found[term.label] = next(iter(gaps.reasons(*days)), "nothing was read of these days")
    return found


def _reasons(question: _Question, metric: Metric, bounds: Span) -> tuple[str, ...]:
    """Why the days that a metric is of are not whole; those in which its cohort had its time are among them."""
    found: dict[str, None] = {}
    for when in metric.whens:
        gaps = question.gaps_of([term.measure for term in metric.terms if term.when == when])
        first, last = when.span(*bounds)
        found |= dict.fromkeys(gaps.reasons(first, last))
        if isinstance(metric.kind, Cohort) and metric.kind.within:
            known = question.gaps.of([*metric.components]).known_until
            until = min(last + timedelta(days=metric.kind.within), known) if last else known
            if metric.kind.is_resolved and first and known < first + timedelta(days=metric.kind.within):
                continue  # of these days nobody counts yet
            found |= dict.fromkeys(gaps.reasons(first, until) if not last or until > last else ())
    return tuple(found)


def why_incomplete(
    connection: Connection, config: Config, known: Known, gaps: FoundGaps, days: Mapping[str, Sequence[date]],
    split: tuple[str, ...] = STANDARD,
) -> Iterator[tuple[str, date, tuple[str, ...]]]:  # fmt: skip
    """Metric, day and why, of the `days` of each metric on which it is not complete, `split` so."""
    question = _Question(connection, config, None, None, "day", split, None, None, {}, known, gaps)
    for name, asked in days.items():
        partly = known.partly(METRICS[name])
        for day in asked:
            if reasons := (*_reasons(question, METRICS[name], (day, day)), *partly):
                yield name, day, reasons


def _left_out(question: _Question, metric: Metric) -> list[str]:
    """The paid channels without known spend in which something happened in the range."""
    unfed = question.known.unfed(metric)
    if unfed and unfed not in question.left_out:
        stored = kpi_component_daily.c
        query = select(stored.channel).where(stored.channel.in_(unfed)).distinct().order_by(stored.channel)
        happened = query.where(in_range(stored.date_day, *question.bounds(metric)))
        question.left_out[unfed] = list(question.connection.execute(happened).scalars())
    return question.left_out.get(unfed, [])
