"""Forms: what was submitted, on the site and in ads."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import FORM_EVENTS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric, one
from b2b_pipeline.warehouse.tables import form_event

FAMILY = Family(
    name="forms",
    title="Forms",
    description="Every submission counts on its day, a second one by the same person too; who became a lead is told by "
    "lead generation.",
    headline="form_submissions",
    components=(
        Measure(
            "form_submissions",
            "submissions of forms",
            (Leg(FORM_EVENTS, form_event.c.date_day, one(), needs=(Need("form_event"),)),),
        ),
    ),
    metrics=(
        Metric(
            "form_submissions", "submissions of forms, on the site and in ads", "count", Linear({"form_submissions": 1})
        ),
    ),
)
