"""The registry as a table, the view `kpi_daily`, and what of each metric is unknown or incomplete there."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Connection, Table, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.settings import config_path
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.core.fingerprint import digest
from b2b_pipeline.derived.made_of import EVERY, KPI_DAILY, Loads
from b2b_pipeline.derived.registry import ANY
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.metrics.gaps import FoundGaps
from b2b_pipeline.metrics.kinds import Cohort, Quantile
from b2b_pipeline.metrics.known import LOCATED, Known
from b2b_pipeline.metrics.model import Metric
from b2b_pipeline.metrics.query import why_incomplete
from b2b_pipeline.metrics.registry import ADDITIVITY, COMPONENTS, FAMILIES, METRICS
from b2b_pipeline.metrics.store import definitions
from b2b_pipeline.metrics.view import refresh_view
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_table
from b2b_pipeline.warehouse.tables import component_day_gap, kpi_component_daily, metric_day_gap, metric_def, metric_gap
from b2b_pipeline.warehouse.write import serialise, synchronise

Days = dict[str, set[date]]


def publish_definitions(warehouse: Warehouse, config: Config) -> None:
    """Write the registry into `metric_def`, what is unknown or not complete of each metric beside it, and the view
    `kpi_daily` anew where a metric is another.

    It comes after the families and coverage: a metric that needs costs is unavailable as long as there are none.
    """
    with warehouse.write() as connection:
        known = Known(connection, config)
        days, gaps = _days(connection, config), FoundGaps(connection, config)
        defined = _definitions(known, gaps, config)
        written: dict[Table, Iterable[dict[str, Any]]] = {
            metric_def: defined, metric_gap: _gaps(connection, config, known),
            metric_day_gap: _day_gaps(connection, config, known, gaps, days),
            component_day_gap: _component_gaps(config, gaps, days),
        }  # fmt: skip
        frames = {table: arrow_table(table, rows) for table, rows in written.items()}
        Loads(connection, config).note(connection, KPI_DAILY, EVERY)
        refresh_view(connection, config, _versions(config))
        for table, frame in frames.items():
            serialise(connection, table.name)
            with stage(connection, table, frame) as incoming:
                synchronise(connection, table, select(incoming))


def _metrics(config: Config) -> list[Metric]:
    """Of the families that something feeds."""
    return [metric for family in families_of(config).values() for metric in family.metrics]


def _gaps(connection: Connection, config: Config, known: Known) -> list[dict[str, Any]]:
    """Rows of `metric_gap`: the channels and campaigns of each metric in which what was bought for it is unknown."""
    stored = kpi_component_daily.c
    query = select(stored.component, stored.channel, stored.campaign_id).distinct()
    places: dict[str, set[tuple[str | None, str | None]]] = defaultdict(set)
    for component, channel, campaign in connection.execute(query):
        places[component].add((channel, campaign))
    return [
        {
            "metric": metric.name, "channel": channel, "campaign_id": campaign,
            "because": next(iter(missing.values())), "is_left_out": channel in unfed,
        }
        for metric in _metrics(config)
        if metric.denominator
        for unfed in [known.unfed(metric)]
        for channel, campaign in set.union(*(places[name] for name in metric.components))
        if (missing := known.missing_at(metric, channel, campaign, LOCATED))
    ]  # fmt: skip


def make_view(warehouse: Warehouse) -> None:
    """The view as the first derive will fill it, so that a BI tool can be tied to it before."""
    config = load_config() if config_path().is_file() else ANY
    with warehouse.write() as connection:
        refresh_view(connection, config, _versions(config))


def _days(connection: Connection, config: Config) -> dict[str, set[date]]:
    """Component -> the days on which it has rows."""
    stored = kpi_component_daily.c
    days: dict[str, set[date]] = defaultdict(set)
    query = select(stored.component, stored.date_day).where(stored.date_day.is_not(None)).distinct()
    for component, day in connection.execute(query):
        days[component].add(day)
    for name in {name for metric in _metrics(config) for name in metric.components}:
        if not (measure := COMPONENTS[name]).is_stored:
            day = measure.rows(config, ()).c.date_day
            days[name] |= {*connection.execute(select(day).where(day.is_not(None)).distinct()).scalars()}
    return days


def _day_gaps(
    connection: Connection, config: Config, known: Known, gaps: FoundGaps, days: Days
) -> Iterator[dict[str, Any]]:
    """Rows of `metric_day_gap`: of each metric the days with a component that are not complete."""
    asked = {
        metric.name: sorted(set().union(*(days[name] for name in metric.components))) for metric in _metrics(config)
    }
    for name, day, reasons in why_incomplete(connection, config, known, gaps, asked):
        yield {"metric": name, "date_day": day, "because": "; ".join(reasons)}


def _component_gaps(config: Config, gaps: FoundGaps, days: Days) -> Iterator[dict[str, Any]]:
    """Rows of `component_day_gap`."""
    every = sorted(set().union(*days.values()))
    for name in sorted({name for metric in _metrics(config) for name in metric.components}):
        of = gaps.of([name])
        yield from ({"component": name, "date_day": day} for day in every if of.nothing_whole(day, day))


def versions(config: Config) -> dict[str, str]:
    """Metric -> a digest of all that it is computed by."""
    digests = definitions(config)
    return {name: _version(metric, config, digests) for name, metric in METRICS.items()}


def _versions(config: Config) -> dict[str, str]:
    """Those of metrics that something feeds."""
    found = versions(config)
    return {metric.name: found[metric.name] for metric in _metrics(config)}


def _version(metric: Metric, config: Config, digests: Mapping[str, str]) -> str:
    """A digest of all that a metric is computed by."""
    sides = (
        f"{term} x {factor(config) if callable(factor) else factor}"
        for side in (metric.numerator, metric.denominator)
        for term, factor in (*side.items(), ("/", 1))
    )
    kind = metric.kind
    detail = kind.share if isinstance(kind, Quantile) else kind.least if isinstance(kind, Cohort) else None
    return digest(
        metric.formula,
        type(metric.kind).__name__,
        str(detail or ""),
        *sides,
        *(digests[name] for name in sorted(metric.components)),
    )


def _definitions(known: Known, gaps: FoundGaps, config: Config) -> list[dict[str, Any]]:
    """Rows of `metric_def`."""
    digests = versions(config)
    return [
        {
            "metric": metric.name, "family": family.name, "formula": metric.formula, "unit": metric.unit,
            "additivity": ADDITIVITY[metric.name], "stage": metric.stage, "owner": metric.owner, "tier": metric.tier,
            "version": digests[metric.name],
            "unavailable_because": next(iter(known.lacking(metric, dated=True).values()), None),
            "known_until": gaps.of([*metric.components]).known_until,
        }
        for family in FAMILIES.values()
        for metric in family.metrics
    ]  # fmt: skip
