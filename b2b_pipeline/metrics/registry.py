"""Every metric, by name. To add a family: write `metrics/<family>.py` with a `FAMILY`, and list it here."""

from __future__ import annotations

from b2b_pipeline.metrics import (
    acquisition,
    attribution,
    email_engagement,
    funnel_conversion,
    lead_generation,
    paid_media,
    pipeline,
)
from b2b_pipeline.metrics.base import Component, Family, Metric

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (paid_media, lead_generation, funnel_conversion, pipeline, acquisition, attribution, email_engagement)
}
COMPONENTS: dict[str, Component] = {c.name: c for family in FAMILIES.values() for c in family.components}
METRICS: dict[str, Metric] = {m.name: m for family in FAMILIES.values() for m in family.metrics}
HOME: dict[str, str] = {c.name: family.name for family in FAMILIES.values() for c in family.components}

DIMENSIONS: set[str] = {
    name
    for leg in (
        *(leg for component in COMPONENTS.values() for leg in component.legs),
        *(metric.median_of for metric in METRICS.values() if metric.median_of),
    )
    for name in leg.dimensions
}  # that every installation has


def borrowed_families(family: Family) -> set[str]:
    """Families that store the components which this one's metrics need beside its own."""
    return {HOME[name] for metric in family.metrics for name in metric.components} - {family.name}
