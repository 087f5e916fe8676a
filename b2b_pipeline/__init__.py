"""A B2B marketing pipeline on Dagster: ad, e-mail and CRM sources to KPIs that explain themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from b2b_pipeline.orchestration.component import B2BPipelineComponent as B2BPipelineComponent


def __getattr__(name: str) -> Any:
    """The Dagster component, for which Dagster is imported only when somebody asks."""
    if name == "B2BPipelineComponent":
        from b2b_pipeline.orchestration.component import B2BPipelineComponent

        return B2BPipelineComponent
    raise AttributeError(name)


def __dir__() -> list[str]:
    return [*globals(), "B2BPipelineComponent"]
