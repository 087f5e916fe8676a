"""Attribution: which channel and campaign a won opportunity's amount is credited to."""

from __future__ import annotations

from typing import Any

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import CREDITS, MARKETING_CREDITS, PAID_CREDITS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Dataset, Family, Leg, Measure, Metric, Term
from b2b_pipeline.warehouse.tables import credit

_NEEDS = (
    *(Need("opportunity", (fact,)) for fact in ("won", "amount", "close_date", "person")),
    Need("touchpoint", ("channel",)),
)


def _revenue(name: str, description: str, dataset: Dataset, of: str, **more: Any) -> Measure:
    leg = Leg(dataset, credit.c.date_day, credit.c.amount_reporting, needs=_NEEDS)
    return Measure(name, description, (leg,), "money", of=of, **more)


FAMILY = Family(
    name="attribution",
    title="Attribution",
    description="Won amounts by the touches that they are credited to, look-back 365 days before the close.",
    headline="revenue_first_touch",
    trailing=(28, 90),
    components=(
        _revenue(
            "attributed_revenue",
            "amount of won opportunities by the touches they are credited to",
            CREDITS,
            "won deals",
        ),
        _revenue(
            "paid_revenue",
            "of that, the revenue of paid channels",
            PAID_CREDITS,
            "won deals of a paid channel",
            left_out=lambda channels, name: "" if name in channels.paid else "add it to channels.paid",
        ),
        _revenue(
            "marketing_revenue",
            "of that, the revenue of marketing channels",
            MARKETING_CREDITS,
            "won deals of a marketing channel",
            left_out=lambda channels, name: (
                "take it out of channels.not_marketing" if name in channels.not_marketing else ""
            ),
        ),
    ),
    metrics=(
        Metric(
            "attributed_revenue",
            "bookings by the channels that an attribution model credits",
            "money",
            Linear({"attributed_revenue": 1}),
            stage="revenue",
            tier="diagnostic",
        ),
        Metric(
            "revenue_first_touch",
            "bookings by the channel of the first touch",
            "money",
            Linear({Term("attributed_revenue", axis="first"): 1}),
            stage="revenue",
        ),
        Metric(
            "revenue_last_touch",
            "bookings by the channel of the last touch",
            "money",
            Linear({Term("attributed_revenue", axis="last"): 1}),
            stage="revenue",
        ),
    ),
)
