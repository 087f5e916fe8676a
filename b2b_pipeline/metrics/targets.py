"""What metrics are to be, by `targets` of pipeline.yaml: for a period as a whole, of everything or of one split."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, Literal, NamedTuple

from b2b_pipeline.configuration.config import Complaint, Config
from b2b_pipeline.configuration.reading import read
from b2b_pipeline.configuration.targets import Period
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.metrics.model import Metric
from b2b_pipeline.metrics.names import nearest, resolve
from b2b_pipeline.metrics.periods import next_period, period_start, periods
from b2b_pipeline.metrics.query import QuestionError, dimensions_of, free_axes
from b2b_pipeline.metrics.registry import ADDITIVITY, METRICS
from b2b_pipeline.metrics.when import Span

GRAINS: tuple[Literal["month", "quarter", "year"], ...] = ("month", "quarter", "year")
_PARTS: dict[str, Literal["month", "quarter"]] = {"quarter": "month", "year": "quarter"}
Where = frozenset[tuple[str, Any]]  # dimension and key


class Found(NamedTuple):
    """A target, or why there is none."""

    value: Fraction | None
    because: str = ""


def check(config: Config) -> None:
    """Raises ConfigError, with file and line, for targets of what is not there. Nothing but targets needs it."""
    if config.targets:
        read(None, complaints)


def complaints(config: Config) -> Iterator[Complaint]:
    """What targets say of metrics and dimensions that are not there, and what they say twice."""
    seen: set[tuple[str, Where, Period]] = set()
    for number, target in enumerate(config.targets):
        at = ("targets", number)
        if (name := resolve(target.metric, METRICS)) is None:
            near = nearest(target.metric, METRICS)
            hint = f"did you mean {' or '.join(near)}?" if near else "`b2b kpi --list` names them all"
            yield (*at, "metric"), f"unknown metric {target.metric!r}: {hint}"
            continue
        yield from (((*at, *place), why) for place, why in _of_splits(METRICS[name], target.where, config))
        for written in target.values:
            period = Period.of(written)
            if period and (key := (name, frozenset(target.where.items()), period)) in seen:
                yield (*at, "values", written), f"{name} has a target of {period} already: leave one of them out"
            elif period:
                seen.add(key)
            if ADDITIVITY[name] in ("cohort", "fitted") and not 0 <= target.values[written] <= 1:
                yield (*at, "values", written), f"{name} is a share, from 0 to 1: 25 % is 0.25"


def _of_splits(metric: Metric, where: Mapping[str, str], config: Config) -> Iterator[Complaint]:
    known = dimensions_of(metric, config.dimensions)
    for dimension in where:
        if dimension not in known:
            yield ("where", dimension), f"{metric.name} cannot be split by it; it can by {', '.join(sorted(known))}"
    for axis in free_axes(metric):
        if axis.name not in where:
            yield ("metric",), f"{metric.name} is told once per {axis.name}: say under `where` of which"


class Targets:
    """The targets of a configuration. Raises ConfigError for one of what is not there."""

    def __init__(self, config: Config) -> None:
        if wrong := [why for _, why in complaints(config)]:
            raise ConfigError("\n".join(wrong))
        self._given: dict[tuple[str, Where], dict[Period, Decimal]] = {}
        for target in config.targets:
            key = str(resolve(target.metric, METRICS)), frozenset(target.where.items())
            self._given.setdefault(key, {}).update(target.periods)

    def splits(self, metric: Metric, dimensions: Sequence[str]) -> set[tuple[Any, ...]]:
        """The keys of these dimensions of which there is a target."""
        scopes = (dict(where) for name, where in self._given if name == metric.name)
        return {tuple(scope[name] for name in dimensions) for scope in scopes if {*scope} == {*dimensions}}

    def of(self, metric: Metric, where: Mapping[str, Any], period: Period) -> Found:
        """Of a period as a whole; of a quarter or year without one, what its parts add up to where each has one."""
        given = self._given.get((metric.name, frozenset(where.items())), {})
        adds_up = ADDITIVITY[metric.name] == "additive"
        value = _value(given, period, adds_up=adds_up)
        if value is not None:
            return Found(Fraction(value))
        scope = "".join(f", {name} {'(none)' if key is None else key}" for name, key in where.items())
        none = f"no target of {metric.name}{scope} for {period}"
        wider = GRAINS[GRAINS.index(period.grain) + 1 :]
        beyond = [each for grain in wider if (each := Period(grain, period_start(period.first, grain))) in given]
        if beyond:
            return Found(None, f"{none}: it is given for {beyond[0]} as a whole")
        lacking = _lacking(given, period)
        if adds_up and given and lacking:
            return Found(None, f"{none}: none is given for {', '.join(map(str, lacking))} either")
        return Found(None, none if given else f"no target of {metric.name}{scope} is given")


def _value(given: Mapping[Period, Decimal], period: Period, *, adds_up: bool) -> Decimal | None:
    if period in given or not adds_up or period.grain not in _PARTS:
        return given.get(period)
    total = Decimal(0)
    for part in _parts(period):
        if (value := _value(given, part, adds_up=True)) is None:
            return None
        total += value
    return total


def _lacking(given: Mapping[Period, Decimal], period: Period) -> list[Period]:
    """The parts for which there is none; nothing where it is none of them."""
    parts = _parts(period) if period.grain in _PARTS else []
    lacking = [part for part in parts if _value(given, part, adds_up=True) is None]
    return lacking if len(lacking) < len(parts) else []


def _parts(period: Period) -> list[Period]:
    grain = _PARTS[period.grain]
    return [Period(grain, day) for day in periods(period.first, last_day(period), grain)]


def last_day(period: Period) -> date:
    return next_period(period.first, period.grain) - timedelta(days=1)


def period_of(grain: str | None, first: date, asked: Span) -> tuple[Period, str]:
    """The period that starts on a day (without a grain: that is the range), and why the range has not all of it.

    Raises QuestionError where no period can be meant.
    """
    start, end = asked
    for name in GRAINS:
        period = Period(name, first)
        if grain == name:
            is_whole = (not start or start <= first) and (not end or end >= last_day(period))
            return period, "" if is_whole else f"the target of {period} is of all of it, not of the days asked for"
        if grain is None and (start, end) == (period_start(first, name), last_day(period)):
            return period, ""
    raise QuestionError("targets are of a month, a quarter or a year: ask for all of one, or by one of these")
