"""Acquisition: what a customer costs, and what the money brings back."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Metric, Term


def margin(config: Config) -> Decimal | None:
    return config.gross_margin


_PAID, _MARKETING = Term("paid_revenue", axis="last"), Term("marketing_revenue", axis="last")


def _metric(name: str, formula: str, unit: Any, kind: Linear, **more: Any) -> Metric:
    return Metric(name, formula, unit, kind, "revenue", **more)


FAMILY = Family(
    name="acquisition",
    title="Acquisition cost and return",
    description="What customers cost, and what spend returns by last touch. Missing costs or margin give no number.",
    headline="cac",
    trailing=(28, 90),
    components=(),
    metrics=(
        _metric(
            "cpa",
            "marketing cost / new customers",
            "money",
            Linear({"marketing_cost": 1}, over={"new_customers": 1}),
            example=({"marketing_cost": "9000", "new_customers": "3"}, "3000"),
        ),
        _metric(
            "cac",
            "(marketing + sales cost) / new customers",
            "money",
            Linear({"marketing_cost": 1, "sales_cost": 1}, over={"new_customers": 1}),
            owner="revenue operations",
            example=({"marketing_cost": "9000", "sales_cost": "6000", "new_customers": "3"}, "5000"),
        ),
        _metric(
            "roas",
            "last-touch revenue of paid channels / ad spend",
            "multiple",
            Linear({_PAID: 1}, over={"spend": 1}),
            example=({_PAID.label: "5000", "spend": "1000"}, "5"),
        ),
        _metric(
            "mer",
            "bookings / marketing cost",
            "multiple",
            Linear({"bookings": 1}, over={"marketing_cost": 1}),
            example=({"bookings": "50000", "marketing_cost": "10000"}, "5"),
        ),
        _metric(
            "romi_multiple",
            "last-touch revenue of marketing channels / marketing cost",
            "multiple",
            Linear({_MARKETING: 1}, over={"marketing_cost": 1}),
            example=({_MARKETING.label: "30000", "marketing_cost": "10000"}, "3"),
        ),
        _metric(
            "romi",
            "(marketing revenue x gross margin - marketing cost) / marketing cost",
            "rate",
            Linear({_MARKETING: margin, "marketing_cost": -1}, over={"marketing_cost": 1}),
            example=({_MARKETING.label: "30000", "marketing_cost": "10000", "gross_margin": "0.8"}, "1.4"),
        ),
        _metric(
            "roi",
            "(marketing revenue x gross margin - marketing and sales cost) / marketing and sales cost",
            "rate",
            Linear(
                {_MARKETING: margin, "marketing_cost": -1, "sales_cost": -1},
                over={"marketing_cost": 1, "sales_cost": 1},
            ),
            owner="revenue operations",
            example=(
                {_MARKETING.label: "30000", "marketing_cost": "10000", "sales_cost": "2000", "gross_margin": "0.8"},
                "1",
            ),
        ),
    ),
)
