"""What the view `kpi_daily` computes from: the registry as tables, and what of each metric is unknown or incomplete."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.fingerprint import digest
from b2b_pipeline.derived.made_of import EVERY, KPI_DAILY, Loads
from b2b_pipeline.metrics.base import Metric
from b2b_pipeline.metrics.known import LOCATED, Known
from b2b_pipeline.metrics.query import why_incomplete
from b2b_pipeline.metrics.registry import COMPONENTS, FAMILIES, METRICS
from b2b_pipeline.metrics.store import definition
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import kpi_component_daily, metric_day_gap, metric_def, metric_gap, metric_term
from b2b_pipeline.warehouse.write import serialise, synchronise


def publish_definitions(warehouse: Warehouse, config: Config) -> None:
    """Write the registry into `metric_def` and `metric_term`, from which the view `kpi_daily` computes, and what is
    unknown or not complete of each metric.

    It comes after the families and coverage: a metric that needs costs is unavailable as long as there are none.
    """
    with warehouse.write() as connection:
        known = Known(connection, config)
        definitions, terms = _definitions(known, config)
        written = {
            metric_def: definitions, metric_term: terms, metric_gap: _gaps(connection, known),
            metric_day_gap: list(_day_gaps(connection, config, known)),
        }  # fmt: skip
        Loads(connection, config).note(connection, KPI_DAILY, EVERY)
        for table, rows in written.items():
            serialise(connection, table.name)
            with stage(connection, table, pa.Table.from_pylist(rows, schema=arrow_schema(table))) as incoming:
                synchronise(connection, table, select(incoming))


def _gaps(connection: Connection, known: Known) -> list[dict[str, Any]]:
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
        for metric in METRICS.values()
        if metric.denominator
        for unfed in [known.unfed(metric)]
        for channel, campaign in set.union(*(places[name] for name in metric.components))
        if (missing := known.missing_at(metric, channel, campaign, LOCATED))
    ]  # fmt: skip


def _day_gaps(connection: Connection, config: Config, known: Known) -> Iterator[dict[str, Any]]:
    """Rows of `metric_day_gap`: of each metric the days with a component that are not complete."""
    stored = kpi_component_daily.c
    days: dict[str, set[date]] = defaultdict(set)
    query = select(stored.component, stored.date_day).where(stored.date_day.is_not(None)).distinct()
    for component, day in connection.execute(query):
        days[component].add(day)
    asked = {
        metric.name: sorted(set().union(*(days[name] for name in metric.components))) for metric in METRICS.values()
    }
    for name, day, reasons in why_incomplete(connection, config, known, asked):
        yield {"metric": name, "date_day": day, "because": "; ".join(reasons)}


def _version(metric: Metric, config: Config) -> str:
    """A digest of all that a metric is computed by; coefficients stand in `metric_term`."""
    parts = [f"{name} {definition(COMPONENTS[name], config)}" for name in sorted(metric.components)]
    parts += [str(metric.median_of.rows(config, ()))] if metric.median_of else []
    return digest(metric.formula, *parts)


def _definitions(known: Known, config: Config) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Rows of `metric_def` and of `metric_term`."""
    definitions, terms = [], []
    for family in FAMILIES.values():
        for metric in family.metrics:
            definitions.append(
                {
                    "metric": metric.name, "family": family.name, "formula": metric.formula, "unit": metric.unit,
                    "additivity": metric.additivity, "stage": metric.stage, "owner": metric.owner, "tier": metric.tier,
                    "version": _version(metric, config),
                    "unavailable_because": next(iter(known.lacking(metric, dated=True).values()), None),
                }
            )  # fmt: skip
            for side, parts in (("numerator", metric.numerator), ("denominator", metric.denominator)):
                for component, coefficient in parts.items():
                    number = coefficient(config) if callable(coefficient) else Decimal(coefficient)
                    terms.append({"metric": metric.name, "side": side, "component": component, "coefficient": number})
    return definitions, terms
