"""Paid media: what the ad platforms say we spent, and what it bought."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.base import Component, Family, Leg, Metric
from b2b_pipeline.warehouse.tables import spend

_DIMENSIONS = {
    "channel": spend.c.channel, "campaign": spend.c.campaign_id, "currency": spend.c.currency,
    "platform": spend.c.source, "ad_account": spend.c.account_id, "campaign_name": spend.c.campaign_name,
}  # fmt: skip


def _sum(column: str, needs: str) -> tuple[Leg, ...]:
    return (Leg(spend, spend.c.date_day, spend.c[column], _DIMENSIONS, needs=(Need("spend", (needs,)),)),)


AD_SPEND = _sum("spend_reporting", "spend")[0]

FAMILY = Family(
    name="paid_media",
    title="Paid media",
    description="Spend, reach and unit prices of advertising, on the ad account's own day.",
    headline="spend",
    components=(
        Component(
            "spend", "ad spend in the reporting currency, converted row by row", (AD_SPEND,), "money", bought=True
        ),
        Component("impressions", "times an ad was shown", _sum("impressions", "impressions"), bought=True),
        Component("clicks", "clicks on ads", _sum("clicks", "clicks"), bought=True),
        Component(
            "platform_conversions",
            "conversions that the ad platform claims, by the day of the click or view",
            _sum("conversions_platform", "conversions_platform"),
            bought=True,
        ),
        Component(
            "platform_conversion_value",
            "what the platform says its conversions are worth, in the reporting currency",
            _sum("conv_value_reporting", "conv_value_platform"),
            "money",
            bought=True,
        ),
    ),
    metrics=(
        Metric("spend", "sum of ad spend", "money", {"spend": 1}, stage="awareness"),
        Metric("impressions", "sum of impressions", "count", {"impressions": 1}, stage="awareness"),
        Metric("clicks", "sum of clicks", "count", {"clicks": 1}, stage="awareness", tier="diagnostic"),
        Metric(
            "ctr",
            "clicks / impressions",
            "rate",
            {"clicks": 1},
            {"impressions": 1},
            "ratio",
            "awareness",
            tier="diagnostic",
            example=({"clicks": "12", "impressions": "480"}, "0.025"),
        ),
        Metric(
            "cpc",
            "spend / clicks",
            "money",
            {"spend": 1},
            {"clicks": 1},
            "ratio",
            "awareness",
            example=({"spend": "30.60", "clicks": "12"}, "2.55"),
        ),
        Metric(
            "cpm",
            "1000 x spend / impressions",
            "money",
            {"spend": 1000},
            {"impressions": 1},
            "ratio",
            "awareness",
            example=({"spend": "30.60", "impressions": "4800"}, "6.375"),
        ),
        Metric(
            "platform_conversions",
            "the platform's own claim: conversions",
            "count",
            {"platform_conversions": 1},
            stage="awareness",
            tier="diagnostic",
        ),
        Metric(
            "platform_conversion_value",
            "the platform's own claim: value of its conversions",
            "money",
            {"platform_conversion_value": 1},
            stage="awareness",
            tier="diagnostic",
        ),
        Metric(
            "platform_roas",
            "the platform's own claim: value of its conversions / spend",
            "multiple",
            {"platform_conversion_value": 1},
            {"spend": 1},
            "ratio",
            "awareness",
            tier="diagnostic",
            example=({"platform_conversion_value": "91.80", "spend": "30.60"}, "3"),
        ),
        Metric(
            "platform_cost_per_conversion",
            "the platform's own claim: spend / its conversions",
            "money",
            {"spend": 1},
            {"platform_conversions": 1},
            "ratio",
            "awareness",
            tier="diagnostic",
            example=({"spend": "30.60", "platform_conversions": "4"}, "7.65"),
        ),
    ),
)
