"""Every metric, by name: those of metrics/families/, listed here, and one's own (configuration/own.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from b2b_pipeline.configuration import own
from b2b_pipeline.metrics.families import (
    acquisition,
    attribution,
    community,
    content,
    customer_voice,
    email_engagement,
    forms,
    funnel_conversion,
    lead_generation,
    organic_search,
    paid_media,
    pipeline,
    recurring_revenue,
    web_behaviour,
    web_traffic,
    web_visits,
)
from b2b_pipeline.metrics.model import Additivity, Family, Measure, Metric, ModelError

T = TypeVar("T")

_OURS = (
    paid_media, lead_generation, funnel_conversion, pipeline, acquisition, attribution, email_engagement,
    recurring_revenue, community, content, web_traffic, organic_search,
    customer_voice, forms, web_visits, web_behaviour,
)  # fmt: skip


def _by_name(items: Iterable[tuple[str, T]], what: str) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, item in items:
        if name in found:
            raise ModelError(f"there are two {what} called {name}: give yours another name")
        found[name] = item
    return found


_FAMILIES = [*(module.FAMILY for module in _OURS), *own.found("metrics")]
FAMILIES: dict[str, Family] = _by_name(((family.name, family) for family in _FAMILIES), "families")
COMPONENTS: dict[str, Measure] = _by_name(((c.name, c) for f in _FAMILIES for c in f.components), "measures")
METRICS: dict[str, Metric] = _by_name(((m.name, m) for f in _FAMILIES for m in f.metrics), "metrics")
HOME: dict[str, str] = {c.name: family.name for family in FAMILIES.values() for c in family.components}
for _metric in METRICS.values():
    if _unknown := sorted(_metric.components - COMPONENTS.keys()):
        raise ModelError(f"{_metric.name}: no measure is called {', '.join(_unknown)}")
# Raises ModelError at once where a metric sums what cannot be.
ADDITIVITY: dict[str, Additivity] = {name: metric.kind.additivity(COMPONENTS) for name, metric in METRICS.items()}

DIMENSIONS: set[str] = {
    name
    for component in COMPONENTS.values()
    for leg in component.legs
    for name in (*leg.dataset.dimensions, *([leg.dataset.axis.name] if leg.dataset.axis else []))
}  # that every installation has


def tables_of(family: Family) -> set[str]:
    """The tables that its metrics are made of, those of measures that it borrows too."""
    return family.tables.union(*(COMPONENTS[name].tables for metric in family.metrics for name in metric.components))


def borrowed_families(family: Family) -> set[str]:
    """Families that store the components which this one's metrics need beside its own."""
    return {HOME[name] for metric in family.metrics for name in metric.components} - {family.name}
