"""Asking for a metric at a grain: `b2b kpi`, the report and every acceptance test go through here.

Components are summed at the grain asked for and only then divided; what must not be summed is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from itertools import product
from typing import Any

from sqlalchemy import Numeric, Select, Text, and_, cast, func, literal, or_, select, true, union_all

from b2b_pipeline.config import Config
from b2b_pipeline.core.coverage import streams_behind
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.metrics.base import STANDARD, Metric
from b2b_pipeline.metrics.registry import COMPONENTS, METRICS
from b2b_pipeline.metrics.store import component_rows, lacking
from b2b_pipeline.warehouse.dialects import median, truncate_day
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import coverage, kpi_component_daily

GRAINS = ("day", "week", "month", "quarter", "year")
CENT = Decimal("0.01")


class QuestionError(PipelineError):
    """The question cannot be answered as asked; the message says what can."""


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

    @property
    def complete(self) -> bool:
        return not self.reasons

    @property
    def value(self) -> Fraction | None:
        if self.why_null or self.numerator is None:
            return None
        if self.denominator is None:
            return self.numerator
        return self.numerator / self.denominator if self.denominator else None

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

    def _shown(self, value: Fraction | None) -> Any:
        if value is None:
            return None
        match self.metric.unit:
            case "money":
                return str(decimal(value).quantize(CENT, ROUND_HALF_EVEN))
            case "count":
                return int(value)
            case _:
                return float(value)


def decimal(value: Fraction) -> Decimal:
    return Decimal(value.numerator) / Decimal(value.denominator)


def _part(terms: Any, value: Fraction | None) -> Any:
    if value is None:
        return None
    if any(COMPONENTS[name].unit == "money" for name in terms):
        return str(decimal(value).quantize(Decimal("1e-6"), ROUND_HALF_EVEN))
    return int(value) if value.denominator == 1 else float(value)


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
    grain = grains[0] if grains else None
    answers: list[Answer] = []
    for name in names:
        metric = METRICS.get(name)
        if metric is None:
            raise QuestionError(f"unknown metric {name!r}: `b2b kpi --list` names them all")
        answers += _answers(warehouse, config, metric, start, end, grain, dimensions)
    return answers


def _answers(
    warehouse: Warehouse,
    config: Config,
    metric: Metric,
    start: date | None,
    end: date | None,
    grain: str | None,
    dimensions: tuple[str, ...],
) -> list[Answer]:
    _refuse_unknown(metric, dimensions)
    if metric.median_of is not None:
        sums = _medians(warehouse, config, metric, start, end, grain, dimensions)
    else:
        sums = _sums(warehouse, config, metric, start, end, grain, dimensions)
    why_null = lacking(warehouse, config, metric)
    incomplete = _incomplete_days(warehouse, config, metric)
    gaps = _Gaps(incomplete, config.start_date, _expects_api(config, metric))
    found_keys = sorted(sums, key=lambda key: tuple((part is None, str(part)) for part in key))
    periods: list[date | None] = []
    if grain:
        days = [key[0] for key in found_keys if key[0] is not None]
        first = start or (min(days) if days else None)
        last = end or (max(days) if days else None)
        periods = list(_periods(first, last, grain)) if first and last else []
        if any(key[0] is None for key in found_keys):
            periods.append(None)
    splits = sorted(
        {key[1:] if grain else key for key in found_keys}, key=lambda key: tuple((p is None, str(p)) for p in key)
    )
    splits = splits or ([()] if not dimensions else [])
    rows: list[Answer] = []
    for period, split in product(periods if grain else [None], splits):
        key = (period, *split) if grain else split
        parts = sums.get(key, {})
        numerator, denominator = combine(metric, config, parts)
        span = _span(period, grain, start, end) if grain and period else (start, end)
        reasons = () if grain and period is None else gaps.reasons(*span)
        keys = ({"date": period} if grain else {}) | dict(zip(dimensions, split, strict=True))
        rows.append(Answer(metric, keys, numerator, denominator, reasons, why_null))
    return rows


def dimensions_of(metric: Metric) -> set[str]:
    """What a metric can be split by, beside the grains."""
    legs = (
        [metric.median_of] if metric.median_of else [leg for name in metric.components for leg in COMPONENTS[name].legs]
    )
    return set.intersection(*({*leg.dimensions, *STANDARD} for leg in legs))


def _refuse_unknown(metric: Metric, asked: tuple[str, ...]) -> None:
    shared = dimensions_of(metric)
    for dimension in asked:
        if dimension not in shared:
            raise QuestionError(
                f"{metric.name} cannot be split by {dimension!r}; it can by {', '.join([*GRAINS, *sorted(shared)])}"
            )


def combine(
    metric: Metric, config: Config, parts: dict[str, Fraction | None]
) -> tuple[Fraction | None, Fraction | None]:
    if metric.median_of is not None:
        return parts.get("median"), None

    def side(terms: Any) -> Fraction | None:
        total = Fraction(0)
        for component, coefficient in terms.items():
            factor = coefficient(config) if callable(coefficient) else coefficient
            if factor is None:
                return None
            total += Fraction(factor) * (parts.get(component) or 0)
        return total

    return side(metric.numerator), side(metric.denominator) if metric.denominator else None


def _sums(
    warehouse: Warehouse,
    config: Config,
    metric: Metric,
    start: date | None,
    end: date | None,
    grain: str | None,
    dimensions: tuple[str, ...],
) -> dict[tuple[Any, ...], dict[str, Fraction | None]]:
    """Key -> component -> sum. From the stored components where they have the dimensions, else live."""
    query = component_sums(config, metric, start, end, grain, dimensions)
    found: dict[tuple[Any, ...], dict[str, Fraction | None]] = {}
    with warehouse.read() as connection:
        for *key, component, value in connection.execute(query):
            found.setdefault(tuple(key), {})[component] = None if value is None else Fraction(value)
    return found


def component_sums(
    config: Config, metric: Metric, start: date | None, end: date | None, grain: str | None, dimensions: tuple[str, ...]
) -> Select[Any]:
    """The query behind a metric: period and dimensions, component, value."""
    if set(dimensions) <= set(STANDARD):
        stored = kpi_component_daily.c
        columns: dict[str, Any] = {
            "channel": stored.channel,
            "campaign": stored.campaign_id,
            "currency": stored.currency,
        }
        rows: Any = select(
            stored.date_day, *(columns[name].label(name) for name in dimensions), stored.component, stored.value
        )
        rows = rows.where(stored.component.in_(sorted(metric.components))).subquery()
    else:
        parts = []
        for name in sorted(metric.components):
            part = component_rows(COMPONENTS[name], config, dimensions).subquery()
            parts.append(
                select(
                    part.c.date_day,
                    *(part.c[d] for d in dimensions),
                    cast(literal(name), Text).label("component"),
                    part.c.value,
                )
            )
        rows = union_all(*parts).subquery()
    keys = [truncate_day(literal(grain), rows.c.date_day).label("period")] if grain else []
    keys += [rows.c[name] for name in dimensions]
    query = select(*keys, rows.c.component, cast(func.sum(rows.c.value), Numeric(38, 6)))
    return query.where(_in_range(rows.c.date_day, start, end)).group_by(*keys, rows.c.component)


def _medians(
    warehouse: Warehouse,
    config: Config,
    metric: Metric,
    start: date | None,
    end: date | None,
    grain: str | None,
    dimensions: tuple[str, ...],
) -> dict[tuple[Any, ...], dict[str, Fraction | None]]:
    assert metric.median_of is not None
    rows = metric.median_of.rows(config, dimensions).subquery()
    keys = [truncate_day(literal(grain), rows.c.date_day).label("period")] if grain else []
    keys += [rows.c[name] for name in dimensions]
    query = select(*keys, median(rows.c.value)).where(_in_range(rows.c.date_day, start, end))
    query = query.group_by(*keys) if keys else query
    with warehouse.read() as connection:
        return {
            tuple(key): {"median": None if value is None else Fraction(value)}
            for *key, value in connection.execute(query)
        }


def _in_range(day: Any, start: date | None, end: date | None) -> Any:
    conditions = [day >= start if start else None, day <= end if end else None]
    return and_(true(), *(c for c in conditions if c is not None))


def _incomplete_days(warehouse: Warehouse, config: Config, metric: Metric) -> list[tuple[date, str]]:
    streams = _streams(config, metric)
    if not streams:
        return []
    wanted = or_(
        *(and_(coverage.c.source == source, coverage.c.stream == stream) for source, stream in sorted(streams))
    )
    query = (
        select(coverage.c.date_day, coverage.c.reason)
        .where(wanted, ~coverage.c.is_complete)
        .order_by(coverage.c.date_day)
    )
    return [(row["date_day"], row["reason"]) for row in warehouse.rows(query)]


def _streams(config: Config, metric: Metric) -> set[tuple[str, str]]:
    legs = (
        [metric.median_of] if metric.median_of else [leg for name in metric.components for leg in COMPONENTS[name].legs]
    )
    return {stream for leg in legs for stream in streams_behind(leg.table.name, config)}


def _expects_api(config: Config, metric: Metric) -> bool:
    return any(source in config.sources and stream != "exchange rates" for source, stream in _streams(config, metric))


class _Gaps:
    """Incomplete days of one metric, and the ends of what can be known."""

    def __init__(self, days: list[tuple[date, str]], begin: date, dated: bool) -> None:
        self._days, self._begin, self._dated = days, begin, dated
        self._today = date.today()  # noqa: DTZ011 - the last day that can be over anywhere

    def reasons(self, start: date | None, end: date | None) -> tuple[str, ...]:
        found = [reason for day, reason in self._days if (not start or day >= start) and (not end or day <= end)]
        if end and end >= self._today:
            found.append(f"{end} is not over yet")
        if self._dated and start and start < self._begin:
            found.append(f"nothing is read before start_date {self._begin}")
        return tuple(dict.fromkeys(found))


def _periods(first: date, last: date, grain: str) -> Iterable[date]:
    day = period_start(first, grain)
    while day <= last:
        yield day
        day = period_start(next_period(day, grain), grain)


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
    return period_start(day + timedelta(days=steps[grain]), grain)


def _span(period: date, grain: str, start: date | None, end: date | None) -> tuple[date, date]:
    last = next_period(period, grain) - timedelta(days=1)
    return max(period, start or period), min(last, end or last)
