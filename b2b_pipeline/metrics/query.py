"""Asking for a metric at a grain: `b2b kpi`, the report and every acceptance test go through here.

Components are summed at the grain asked for and only then divided; what must not be summed is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cached_property
from itertools import product
from types import MappingProxyType
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    cast,
    func,
    literal,
    select,
    true,
    union_all,
)

from b2b_pipeline.configuration.config import Config, Dimensions
from b2b_pipeline.core.blanks import BLANK
from b2b_pipeline.core.file_coverage import FILES
from b2b_pipeline.derived.coverage import FX, amounts_behind, streams_behind
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.metrics.base import STANDARD, Coefficient, Leg, Metric
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.names import nearest, resolve
from b2b_pipeline.metrics.registry import COMPONENTS, DIMENSIONS, METRICS
from b2b_pipeline.metrics.store import component_rows
from b2b_pipeline.warehouse.dialects import median, truncate_day
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import SUM, coverage, kpi_component_daily

GRAINS = ("day", "week", "month", "quarter", "year")
TAKEN = {*GRAINS, *DIMENSIONS, "metric", "date", "value", "numerator", "denominator", "complete"}  # as a split or key
_NEVER = "no row has {}: `b2b doctor` tells a field that is missing, `b2b backfill --again` reads one that is new"


class Counts(NamedTuple):
    """Of a component: its rows, and those of them that have a value."""

    rows: int
    values: int

    def lacking(self, of: str) -> str:
        """`2 of 5 won deals have no amount …`; empty where all have one."""
        n = self.rows - self.values
        what = "has" if n == 1 else "have"
        return f"{n} of {self.rows} {of} {what} no amount in the reporting currency" if n else ""


_Sums = dict[tuple[Any, ...], dict[str, tuple[Fraction | None, Counts]]]  # key -> component -> sum, of what


class QuestionError(PipelineError):
    """The question cannot be answered as asked; the message says what can."""


@dataclass(frozen=True)
class _Question:
    """What is asked of each metric, and where."""

    connection: Connection
    config: Config
    start: date | None
    end: date | None
    grain: str | None
    dimensions: tuple[str, ...]
    known: Known
    gaps: dict[tuple[str, ...] | _Behind, _Gaps] = field(default_factory=dict)  # of what was asked before
    behind: dict[str, tuple[set[tuple[str, str, str]], set[tuple[str, str]]]] = field(default_factory=dict)
    left_out: dict[tuple[str, ...], list[str]] = field(default_factory=dict)

    @cached_property
    def lacking(self) -> Sequence[Any]:
        """What coverage says of days that are not complete, in the order of the days."""
        c = coverage.c
        told = select(c.source, c.stream, c.source_account, c.target_table, c.date_day, c.reason, c.is_complete)
        query = told.where(c.is_complete.is_(None) | ~c.is_complete).order_by(c.date_day, c.reason)
        return self.connection.execute(query).all()

    @cached_property
    def spans(self) -> dict[tuple[str, str, str], tuple[date, date]]:
        """Source, stream and table -> the first and the last day that coverage tells of."""
        c = coverage.c
        keys = c.source, c.stream, c.target_table
        query = select(*keys, func.min(c.date_day), func.max(c.date_day)).where(c.date_day.is_not(None)).group_by(*keys)
        return {(source, stream, table): (a, b) for source, stream, table, a, b in self.connection.execute(query)}


@dataclass(frozen=True)
class Answer:
    """One row: the keys asked for, and the exact numerator and denominator. `reasons` say why it is not complete.

    Raises nothing: an undefined value is None, and `why_null` tells the reason where there is a better one than 0.
    """

    metric: Metric
    keys: dict[str, Any]
    numerator: Fraction | None
    denominator: Fraction | None
    reasons: tuple[str, ...] = ()
    why_null: str = ""
    leaves_out: tuple[str, ...] = ()
    parts: Mapping[str, Fraction | None] = field(
        default_factory=dict, repr=False
    )  # component -> sum, of those with rows
    missing: Mapping[str, str] = field(default_factory=dict, repr=False)  # component -> why it is unknown
    counts: Mapping[str, Counts] = field(default_factory=dict, repr=False)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the number covers, where that is less than its name says."""
        named = {name: of for name in self.counts if (of := COMPONENTS[name].of) and name not in self.missing}
        lacking = [text for name, of in named.items() if (text := self.counts[name].lacking(of))]
        return tuple(dict.fromkeys([*self.leaves_out, *lacking]))

    @property
    def complete(self) -> bool:
        return not self.reasons

    @property
    def value(self) -> Fraction | None:
        if self.why_null or self.numerator is None:
            return None
        if not self.metric.denominator:
            return self.numerator
        return self.numerator / self.denominator if self.denominator else None  # unknown, or 0

    def as_json(self) -> dict[str, Any]:
        """Money as decimal strings, in cents for the value; counts as integers; everything else as numbers."""
        return {
            "metric": self.metric.name,
            **{name: key.isoformat() if isinstance(key, date) else key for name, key in self.keys.items()},
            "value": self._shown(self.value),
            "numerator": _part(self.metric.numerator, self.numerator),
            "denominator": _part(self.metric.denominator, self.denominator),
            "complete": self.complete,
        }

    @property
    def places(self) -> int:
        """Decimals of an amount: a price below 1, as of an impression, has more than a sum."""
        return 4 if self.metric.denominator and self.value and abs(self.value) < 1 else 2

    def _shown(self, value: Fraction | None) -> Any:
        if value is None:
            return None
        match self.metric.unit:
            case "money":
                return decimal_text(value, self.places)
            case "count":
                return whole_or_float(value)
            case _:
                return float(value)


def decimal_text(value: Fraction, places: int) -> str:
    """Decimal notation, rounded half-even once: Python's `round` of a Fraction does that."""
    return f"{Decimal(round(value * 10**places)).scaleb(-places):f}"


def _part(terms: Any, value: Fraction | None) -> Any:
    if value is None:
        return None
    if any(COMPONENTS[name].unit == "money" for name in terms):
        return decimal_text(value, 6)
    return whole_or_float(value)


def whole_or_float(value: Fraction) -> int | float:
    """A count; ad platforms share one conversion out among campaigns."""
    return int(value) if value.denominator == 1 else float(value)


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
) -> list[Answer]:
    """Rows of the metrics `names` from `start` to `end` (both included), by at most one of GRAINS and any dimensions.

    The key `date` is the first day of the period. Every period asked for appears, whether anything happened or not.
    Raises QuestionError for an unknown metric or a split that does not exist.
    """
    grains = [part for part in by if part in GRAINS]
    dimensions = tuple(part for part in by if part not in GRAINS)
    if len(grains) > 1:
        raise QuestionError(f"only one of {', '.join(GRAINS)} at a time, got {', '.join(grains)}")
    if start and end and start > end:
        raise QuestionError(f"--from {start} is after --to {end}")
    metrics = [named(name) for name in names]
    for metric in metrics:
        _refuse_unknown(metric, config, dimensions)
    with warehouse.read() as connection:
        grain, known = grains[0] if grains else None, Known(connection, config)
        question = _Question(connection, config, start, end, grain, dimensions, known)
        return [answer for metric in metrics for answer in _answers(question, metric)]


def _answers(question: _Question, metric: Metric) -> list[Answer]:
    grain, dimensions, known = question.grain, question.dimensions, question.known
    sums = _sums(question, metric) if metric.median_of is None else _medians(question, metric.median_of)
    gaps = _gaps(question, [metric.name] if metric.median_of else sorted(metric.components))
    dated = bool(question.start or question.end or grain)
    lacking, partly = known.lacking(metric, dated=dated), known.partly(metric)
    lacking_undated = known.lacking(metric, dated=False) if grain else {}
    without = _left_out(question, metric)
    splits = {key[1:] if grain else key for key in sums}
    notes = (
        [f"without {', '.join(without)}: nothing feeds its spend"] if without and "channel" not in dimensions else []
    )
    notes += [_NEVER.format(name) for name in _never_given(dimensions, splits)]
    if dimensions == ("channel",):
        splits |= {(channel,) for channel in without}
    splits = splits or (set() if dimensions else {()})
    rows: list[Answer] = []
    for period, split in product(_periods_of(question, sums, gaps.today), sorted(splits, key=_in_order)):
        keys = ({"date": period} if grain else {}) | dict(zip(dimensions, split, strict=True))
        found = sums.get((period, *split) if grain else split, {})
        parts = {name: part for name, (part, _) in found.items()}
        counts = {name: count for name, (_, count) in found.items() if name in COMPONENTS}
        span = (
            _span(period, grain, question.start, question.end) if grain and period else (question.start, question.end)
        )
        undated = grain and period is None
        missing = _first_reasons(
            lacking_undated if undated else lacking,
            known.missing_at(metric, keys.get("channel"), keys.get("campaign"), dimensions),
            {} if undated else _unknown(question, metric, parts, span),
            {name: without_value(name, counts[name]) for name in counts if parts[name] is None},
        )
        numerator, denominator = combine(metric, question.config, parts, missing)
        reasons = (*(() if undated else gaps.reasons(*span)), *partly)
        why = next(iter(missing.values()), "")
        rows.append(Answer(metric, keys, numerator, denominator, reasons, why, tuple(notes), parts, missing, counts))
    return rows


def _first_reasons(*found: Mapping[str, str]) -> dict[str, str]:
    """Component -> why it is unknown: what was never given before what only this period lacks."""
    first: dict[str, str] = {}
    for reasons in found:
        first |= {name: why for name, why in reasons.items() if name not in first}
    return first


def without_value(component: str, counts: Counts) -> str:
    if of := COMPONENTS[component].of:
        return f"none of {counts.rows} {of} has an amount in the reporting currency"
    return f"none of the rows of {component} has a value"


def _never_given(dimensions: tuple[str, ...], splits: Iterable[tuple[Any, ...]]) -> list[str]:
    """Of those that are no standard ones, the dimensions that not one row has."""
    given = {name for split in splits for name, key in zip(dimensions, split, strict=True) if key is not None}
    return [name for name in dimensions if splits and name not in {*given, *STANDARD}]


def _in_order(key: tuple[Any, ...]) -> tuple[tuple[bool, str], ...]:
    return tuple((part is None, str(part)) for part in key)


def _periods_of(question: _Question, sums: _Sums, today: date) -> list[date | None]:
    """Every period of the range, whether anything happened or not, and None for what has no day."""
    if not question.grain:
        return [None]
    days = [key[0] for key in sums if key[0] is not None]
    # Without a range: one mistyped year must not give a million periods.
    near = [day for day in days if abs(day.year - today.year) < 100]
    first, last = question.start or min(near, default=None), question.end or max(near, default=None)
    every: Iterable[date] = _periods(first, last, question.grain) if first and last else ()
    return [*sorted({*every, *days}), *([None] if any(key[0] is None for key in sums) else [])]


def _unknown(
    question: _Question, metric: Metric, parts: Mapping[str, Fraction | None], span: tuple[date | None, date | None]
) -> dict[str, str]:
    """Components that have no row in a period of which nothing was read whole: that is not the same as none."""
    found = {}
    for name in sorted(metric.components - parts.keys()):
        gaps = _gaps(question, [name])
        if gaps.nothing_whole(*span):
            found[name] = next(iter(gaps.reasons(*span)), "nothing was read of these days")
    return found


def why_incomplete(
    connection: Connection, config: Config, known: Known, days: Mapping[str, Sequence[date]]
) -> Iterator[tuple[str, date, tuple[str, ...]]]:
    """Metric, day and why, of the `days` of each metric on which it is not complete."""
    question = _Question(connection, config, None, None, "day", (), known)
    for name, asked in days.items():
        metric = METRICS[name]
        gaps = _gaps(question, [name] if metric.median_of else sorted(metric.components))
        partly = known.partly(metric)
        for day in asked:
            if reasons := (*gaps.reasons(day, day), *partly):
                yield name, day, reasons


def _left_out(question: _Question, metric: Metric) -> list[str]:
    """The paid channels without known spend in which something happened in the range."""
    unfed = question.known.unfed(metric)
    if unfed and unfed not in question.left_out:
        stored = kpi_component_daily.c
        query = select(stored.channel).where(stored.channel.in_(unfed)).distinct().order_by(stored.channel)
        in_range = query.where(_in_range(stored.date_day, question.start, question.end))
        question.left_out[unfed] = list(question.connection.execute(in_range).scalars())
    return question.left_out.get(unfed, [])


def dimensions_of(metric: Metric, further: Dimensions) -> set[str]:
    """What a metric can be split by, beside the grains."""
    legs = (
        [metric.median_of] if metric.median_of else [leg for name in metric.components for leg in COMPONENTS[name].legs]
    )
    return set.intersection(*({*leg.splits(further), "channel", "campaign"} for leg in legs))


def _refuse_unknown(metric: Metric, config: Config, asked: tuple[str, ...]) -> None:
    shared = dimensions_of(metric, config.dimensions)
    for dimension in asked:
        if dimension not in shared:
            raise QuestionError(
                f"{metric.name} cannot be split by {dimension!r}; it can by {', '.join([*GRAINS, *sorted(shared)])}"
            )


def combine(
    metric: Metric,
    config: Config,
    parts: Mapping[str, Fraction | None],
    missing: Mapping[str, str] = MappingProxyType({}),
) -> tuple[Fraction | None, Fraction | None]:
    """Numerator and denominator; None where a component is `missing`, or has rows of which none has a value."""
    if metric.median_of is not None:
        return None if missing else parts.get("median"), None

    def side(terms: Mapping[str, Coefficient]) -> Fraction | None:
        total = Fraction(0)
        for component, coefficient in terms.items():
            factor = coefficient(config) if callable(coefficient) else coefficient
            part = parts.get(component, Fraction(0))
            if factor is None or part is None or component in missing:
                return None
            total += Fraction(factor) * part
        return total

    return side(metric.numerator), side(metric.denominator) if metric.denominator else None


def _sums(question: _Question, metric: Metric) -> _Sums:
    """From the stored components where they have the dimensions, else live."""
    asked = question.start, question.end, question.grain, question.dimensions
    unfed, found = question.known.unfed(metric), _Sums()
    query = component_sums(question.config, metric, *asked, unfed)
    for *key, component, value, rows, values in question.connection.execute(query):
        part = None if value is None else Fraction(value)
        found.setdefault(tuple(key), {})[component] = part, Counts(int(rows or 0), int(values or 0))
    if unfed and "campaign" in question.dimensions:  # a campaign of which all is left out is shown as unknown
        for *key, _, _, _, _ in question.connection.execute(component_sums(question.config, metric, *asked)):
            found.setdefault(tuple(key), {})
    return found


def component_sums(
    config: Config,
    metric: Metric,
    start: date | None,
    end: date | None,
    grain: str | None,
    dimensions: tuple[str, ...],
    unfed: Sequence[str] = (),
) -> Select[Any]:
    """The query behind a metric: period and dimensions, component, value, n_rows, n_values.

    A ratio that is not split by channel leaves the channels `unfed` out on both sides.
    """
    leaves_out = bool(unfed and metric.denominator and "channel" not in dimensions)
    wanted = (*dimensions, "channel") if leaves_out else dimensions
    if set(wanted) <= set(STANDARD):
        stored = kpi_component_daily.c
        columns: dict[str, Any] = {
            "channel": stored.channel,
            "campaign": stored.campaign_id,
            "currency": stored.currency,
        }
        rows: Any = select(
            stored.date_day,
            *(columns[name].label(name) for name in wanted),
            stored.component,
            stored.value,
            stored.n_rows,
            func.coalesce(stored.n_values, stored.n_rows).label("n_values"),  # NULL until the next derive
        )
        rows = rows.where(stored.component.in_(sorted(metric.components))).subquery()
    else:
        parts = []
        for name in sorted(metric.components):
            part = component_rows(COMPONENTS[name], config, wanted).subquery()
            parts.append(
                select(
                    part.c.date_day,
                    *(part.c[d] for d in wanted),
                    cast(literal(name), Text).label("component"),
                    part.c.value,
                    part.c.n_rows,
                    part.c.n_values,
                )
            )
        rows = union_all(*parts).subquery()
    keys: list[ColumnElement[Any]] = [rows.c[name] for name in dimensions]
    if grain:
        keys.insert(0, truncate_day(literal(grain), rows.c.date_day).label("period"))
    counts = (cast(func.sum(rows.c[name]), BigInteger) for name in ("n_rows", "n_values"))
    query = select(*keys, rows.c.component, cast(func.sum(rows.c.value), SUM), *counts)
    if leaves_out:
        query = query.where(func.coalesce(rows.c.channel, "").not_in(unfed))
    return query.where(_in_range(rows.c.date_day, start, end)).group_by(*keys, rows.c.component)


def _medians(question: _Question, leg: Leg) -> _Sums:
    grain, dimensions = question.grain, question.dimensions
    rows = leg.rows(question.config, dimensions).subquery()
    keys: list[ColumnElement[Any]] = [rows.c[name] for name in dimensions]
    if grain:
        keys.insert(0, truncate_day(literal(grain), rows.c.date_day).label("period"))
    query = select(*keys, median(rows.c.value)).where(_in_range(rows.c.date_day, question.start, question.end))
    found = question.connection.execute(query.group_by(*keys) if keys else query)
    return {tuple(key): {"median": (None if value is None else Fraction(value), Counts(0, 0))} for *key, value in found}


def _in_range(day: Any, start: date | None, end: date | None) -> Any:
    conditions = [day >= start if start else None, day <= end if end else None]
    return and_(true(), *(c for c in conditions if c is not None))


@dataclass(frozen=True)
class _Behind:
    """What components, or a median, are made of: streams of a table, amounts converted, columns that may be empty."""

    streams: tuple[tuple[str, str, str], ...]
    amounts: tuple[tuple[str, str], ...]
    columns: tuple[str, ...]


def _behind(question: _Question, names: Sequence[str]) -> _Behind:
    medians = {name: leg for name in names if name in METRICS and (leg := METRICS[name].median_of)}
    streams, amounts = set(), set()
    for name in names:
        money = name not in medians and COMPONENTS[name].unit == "money"
        for table in {medians[name].table.name} if name in medians else COMPONENTS[name].tables:
            if table not in question.behind:
                config = question.config
                question.behind[table] = streams_behind(table, config), amounts_behind(table, config)
            streams |= question.behind[table][0]
            amounts |= question.behind[table][1] if money else set()
    return _Behind(tuple(sorted(streams)), tuple(sorted(amounts)), tuple(_columns(names)))


def _gaps(question: _Question, names: Sequence[str]) -> _Gaps:
    """Of components, or of one median. Asked once for all that are made of the same."""
    known, key = question.gaps, tuple(names)
    if key not in known:
        behind = _behind(question, names)
        if behind not in known:
            known[behind] = _find_gaps(question, behind)
        known[key] = known[behind]
    return known[key]


def _find_gaps(question: _Question, behind: _Behind) -> _Gaps:
    config, streams, columns = question.config, {*behind.streams}, {*behind.columns}
    # A count stays whole when an amount has no exchange rate, and so does a sum of another table's money.
    amounts = {*behind.amounts}
    incomplete = [
        (row.date_day, row.reason, row.is_complete is None)
        for row in question.lacking
        if (row.source, row.stream, row.target_table) in streams
        or (row.stream == FX and (row.source, row.source_account) in amounts)
        or (row.stream == BLANK and row.source_account in columns)
    ]
    spans = [question.spans[stream] for stream in streams if stream in question.spans]
    first, last = min((a for a, _ in spans), default=None), max((b for _, b in spans), default=None)
    if any(source != FILES for source, _, _ in streams):  # a file may tell of days before the first that is read
        first = config.start_date
    return _Gaps(
        incomplete,
        (first or config.start_date) if streams else None,
        (last or date.min) if streams else None,
        datetime.now(config.zone).date(),
        first in (None, config.start_date),
    )


def _columns(names: Sequence[str]) -> list[str]:
    """The `table.column` that components need and that a row may lack."""
    legs = [leg for name in names if name in COMPONENTS for leg in COMPONENTS[name].legs]
    return sorted({f"{need.table}.{fact}" for leg in legs for need in leg.needs for fact in need.facts})


@dataclass(frozen=True)
class _Gaps:
    """Incomplete days of one metric, and the first and last day of what can be known; None where nothing is read.

    days: day, why, and whether it lies beyond what the only file tells: that counts when a range is asked for.
    """

    days: list[tuple[date, str, bool]]
    first: date | None
    last: date | None
    today: date
    from_start: bool  # whether `first` is the start of the history, and not the first row of a file

    @cached_property
    def _of_day(self) -> dict[date, list[tuple[date, str, bool]]]:
        found: dict[date, list[tuple[date, str, bool]]] = {}
        for item in self.days:
            found.setdefault(item[0], []).append(item)
        return found

    def reasons(self, start: date | None, end: date | None) -> tuple[str, ...]:
        days = self._of_day.get(start, []) if start and start == end else self.days
        found = [
            reason
            for day, reason, beyond in days
            if (not start or day >= start) and (not end or day <= end) and (start or end or not beyond)
        ]
        if end and end >= self.today:
            found.append(f"{end} is not over yet")
        elif end and self.last and end > self.last:
            found.append(f"nothing was derived for {end} yet")
        if self.first and start and start < self.first:
            found.append(f"nothing is read before {'start_date ' if self.from_start else ''}{self.first}")
        return tuple(dict.fromkeys(found))

    def nothing_whole(self, start: date | None, end: date | None) -> bool:
        """Whether no day of the range was read whole; an open end is that of what was read."""
        if self.first is None or self.last is None:
            return False
        first, last = max(start or self.first, self.first), min(end or self.last, self.last)
        last = min(last, self.today - timedelta(days=1))
        gaps = {day for day, *_ in self.days}
        return all(first + timedelta(days=n) in gaps for n in range((last - first).days + 1))


def _periods(first: date, last: date, grain: str) -> Iterable[date]:
    day = period_start(first, grain)
    while day <= last:
        yield day
        if (day := next_period(day, grain)) == date.max:
            return


def period_start(day: date, grain: str) -> date:
    match grain:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=3 * ((day.month - 1) // 3) + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def next_period(day: date, grain: str) -> date:
    steps = {"day": 1, "week": 7, "month": 32, "quarter": 95, "year": 370}
    try:
        return period_start(day + timedelta(days=steps[grain]), grain)
    except OverflowError:
        return date.max


def _span(period: date, grain: str, start: date | None, end: date | None) -> tuple[date, date]:
    last = next_period(period, grain) - timedelta(days=1)
    return max(period, start or period), min(last, end or last)
