"""Attribution: which channel and campaign a won opportunity's amount is credited to."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.base import Component, Condition, Family, Leg, Metric
from b2b_pipeline.warehouse.tables import deal

_NEEDS = (
    *(Need("opportunity", (fact,)) for fact in ("won", "amount", "close_date", "person")),
    Need("touchpoint", ("channel",)),
)


def _credited(touch: str, where: Condition | None = None) -> tuple[Leg, ...]:
    """The whole amount to the first or last touch within 365 days before the close."""
    dimensions = {
        "channel": deal.c[f"{touch}_touch_channel"], "campaign": deal.c[f"{touch}_touch_campaign_id"],
        "currency": deal.c.currency, "owner": deal.c.owner, "product": deal.c.product, "region": deal.c.region,
    }  # fmt: skip
    return (
        Leg(
            deal,
            deal.c.close_date,
            deal.c.amount_reporting,
            dimensions,
            (lambda config: deal.c.is_won & where(config)) if where else (lambda config: deal.c.is_won),
            needs=_NEEDS,
        ),
    )


_LAST = deal.c.last_touch_channel

FAMILY = Family(
    name="attribution",
    title="Attribution",
    description="Won amounts by the channel of the first and of the last touch, look-back 365 days before the close.",
    headline="revenue_first_touch",
    trailing=(28, 90),
    components=(
        Component(
            "revenue_first_touch",
            "amount of won opportunities by their first touch",
            _credited("first"),
            "money",
            of="won deals",
        ),
        Component(
            "revenue_last_touch",
            "amount of won opportunities by their last touch",
            _credited("last"),
            "money",
            of="won deals",
        ),
        Component(
            "paid_revenue",
            "last-touch revenue of paid channels",
            _credited("last", lambda config: _LAST.in_(config.channels.paid)),
            "money",
            of="won deals of a paid channel",
            left_out=lambda channels, name: "" if name in channels.paid else "add it to channels.paid",
        ),
        Component(
            "marketing_revenue",
            "last-touch revenue of marketing channels",
            _credited("last", lambda config: _LAST.is_not(None) & _LAST.not_in(config.channels.not_marketing)),
            "money",
            of="won deals of a marketing channel",
            left_out=lambda channels, name: (
                "take it out of channels.not_marketing" if name in channels.not_marketing else ""
            ),
        ),
    ),
    metrics=(
        Metric(
            "revenue_first_touch",
            "bookings by the channel of the first touch",
            "money",
            {"revenue_first_touch": 1},
            stage="revenue",
        ),
        Metric(
            "revenue_last_touch",
            "bookings by the channel of the last touch",
            "money",
            {"revenue_last_touch": 1},
            stage="revenue",
        ),
    ),
)
