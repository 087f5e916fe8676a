"""Which of all metrics an installation has: those of families that something feeds."""

from __future__ import annotations

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.core.feeds import fed
from b2b_pipeline.derived.registry import inputs
from b2b_pipeline.metrics.model import Family
from b2b_pipeline.metrics.registry import FAMILIES, tables_of


def families_of(config: Config) -> dict[str, Family]:
    """The families that something feeds: of the others there is nothing to see, day by day. All, where nothing does."""
    given = fed(config)
    found = {
        name: family
        for name, family in FAMILIES.items()
        if not given.isdisjoint(part for table in tables_of(family) for part in inputs(table))
    }
    return found or dict(FAMILIES)
