"""Paid media: what the ad platforms say we spent, and what it bought."""

from __future__ import annotations

from typing import Any, Literal

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import ADS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric
from b2b_pipeline.warehouse.tables import spend


def _sum(name: str, description: str, column: str, needs: str, unit: Literal["money", "count"] = "count") -> Measure:
    leg = Leg(ADS, spend.c.date_day, spend.c[column], needs=(Need("spend", (needs,)),))
    return Measure(name, description, (leg,), unit, bought=True)


def _metric(name: str, formula: str, unit: Any, kind: Linear, **more: Any) -> Metric:
    return Metric(name, formula, unit, kind, "awareness", **more)


SPEND = _sum("spend", "ad spend in the reporting currency, converted row by row", "spend_reporting", "spend", "money")

FAMILY = Family(
    name="paid_media",
    title="Paid media",
    description="Spend, reach and unit prices of advertising, on the ad account's own day.",
    headline="spend",
    components=(
        SPEND,
        _sum("impressions", "times an ad was shown", "impressions", "impressions"),
        _sum("clicks", "clicks on ads", "clicks", "clicks"),
        _sum(
            "platform_conversions",
            "conversions that the ad platform claims, by the day of the click or view",
            "conversions_platform",
            "conversions_platform",
        ),
        _sum(
            "platform_conversion_value",
            "what the platform says its conversions are worth, in the reporting currency",
            "conv_value_reporting",
            "conv_value_platform",
            "money",
        ),
    ),
    metrics=(
        _metric("spend", "sum of ad spend", "money", Linear({"spend": 1})),
        _metric("impressions", "sum of impressions", "count", Linear({"impressions": 1})),
        _metric("clicks", "sum of clicks", "count", Linear({"clicks": 1}), tier="diagnostic"),
        _metric(
            "ctr",
            "clicks / impressions",
            "rate",
            Linear({"clicks": 1}, over={"impressions": 1}),
            tier="diagnostic",
            example=({"clicks": "12", "impressions": "480"}, "0.025"),
        ),
        _metric(
            "cpc",
            "spend / clicks",
            "money",
            Linear({"spend": 1}, over={"clicks": 1}),
            example=({"spend": "30.60", "clicks": "12"}, "2.55"),
        ),
        _metric(
            "cpm",
            "1000 x spend / impressions",
            "money",
            Linear({"spend": 1000}, over={"impressions": 1}),
            example=({"spend": "30.60", "impressions": "4800"}, "6.375"),
        ),
        _metric(
            "platform_conversions",
            "the platform's own claim: conversions",
            "count",
            Linear({"platform_conversions": 1}),
            tier="diagnostic",
        ),
        _metric(
            "platform_conversion_value",
            "the platform's own claim: value of its conversions",
            "money",
            Linear({"platform_conversion_value": 1}),
            tier="diagnostic",
        ),
        _metric(
            "platform_roas",
            "the platform's own claim: value of its conversions / spend",
            "multiple",
            Linear({"platform_conversion_value": 1}, over={"spend": 1}),
            tier="diagnostic",
            example=({"platform_conversion_value": "91.80", "spend": "30.60"}, "3"),
        ),
        _metric(
            "platform_cost_per_conversion",
            "the platform's own claim: spend / its conversions",
            "money",
            Linear({"spend": 1}, over={"platform_conversions": 1}),
            tier="diagnostic",
            example=({"spend": "30.60", "platform_conversions": "4"}, "7.65"),
        ),
    ),
)
