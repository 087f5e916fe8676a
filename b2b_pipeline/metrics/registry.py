"""Every metric, by name. To add a family: write `metrics/families/<family>.py` with a `FAMILY`, and list it here."""

from __future__ import annotations

from b2b_pipeline.metrics.families import (
    acquisition,
    attribution,
    email_engagement,
    funnel_conversion,
    lead_generation,
    paid_media,
    pipeline,
)
from b2b_pipeline.metrics.model import Additivity, Family, Measure, Metric

FAMILIES: dict[str, Family] = {
    module.FAMILY.name: module.FAMILY
    for module in (paid_media, lead_generation, funnel_conversion, pipeline, acquisition, attribution, email_engagement)
}
COMPONENTS: dict[str, Measure] = {c.name: c for family in FAMILIES.values() for c in family.components}
METRICS: dict[str, Metric] = {m.name: m for family in FAMILIES.values() for m in family.metrics}
HOME: dict[str, str] = {c.name: family.name for family in FAMILIES.values() for c in family.components}
# Raises ModelError at once where a metric sums what cannot be.
ADDITIVITY: dict[str, Additivity] = {name: metric.kind.additivity(COMPONENTS) for name, metric in METRICS.items()}

DIMENSIONS: set[str] = {
    name
    for component in COMPONENTS.values()
    for leg in component.legs
    for name in (*leg.dataset.dimensions, *([leg.dataset.axis.name] if leg.dataset.axis else []))
}  # that every installation has


def borrowed_families(family: Family) -> set[str]:
    """Families that store the components which this one's metrics need beside its own."""
    return {HOME[name] for metric in family.metrics for name in metric.components} - {family.name}
