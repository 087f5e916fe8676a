"""Acquisition: what a customer costs, and what the money brings back."""

from __future__ import annotations

from decimal import Decimal

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.base import Family, Metric


def margin(config: Config) -> Decimal | None:
    return config.gross_margin


_RETURN = {"marketing_revenue": margin}

FAMILY = Family(
    name="acquisition",
    title="Acquisition cost and return",
    description="What customers cost, and what spend returns by last touch. Missing costs or margin give no number.",
    headline="cac",
    trailing=(28, 90),
    components=(),
    metrics=(
        Metric(
            "cpa",
            "marketing cost / new customers",
            "money",
            {"marketing_cost": 1},
            {"new_customers": 1},
            "ratio",
            "revenue",
            example=({"marketing_cost": "9000", "new_customers": "3"}, "3000"),
        ),
        Metric(
            "cac",
            "(marketing + sales cost) / new customers",
            "money",
            {"marketing_cost": 1, "sales_cost": 1},
            {"new_customers": 1},
            "ratio",
            "revenue",
            "revenue operations",
            example=({"marketing_cost": "9000", "sales_cost": "6000", "new_customers": "3"}, "5000"),
        ),
        Metric(
            "roas",
            "last-touch revenue of paid channels / ad spend",
            "multiple",
            {"paid_revenue": 1},
            {"spend": 1},
            "ratio",
            "revenue",
            example=({"paid_revenue": "5000", "spend": "1000"}, "5"),
        ),
        Metric(
            "mer",
            "bookings / marketing cost",
            "multiple",
            {"bookings": 1},
            {"marketing_cost": 1},
            "ratio",
            "revenue",
            example=({"bookings": "50000", "marketing_cost": "10000"}, "5"),
        ),
        Metric(
            "romi_multiple",
            "last-touch revenue of marketing channels / marketing cost",
            "multiple",
            {"marketing_revenue": 1},
            {"marketing_cost": 1},
            "ratio",
            "revenue",
            example=({"marketing_revenue": "30000", "marketing_cost": "10000"}, "3"),
        ),
        Metric(
            "romi",
            "(marketing revenue x gross margin - marketing cost) / marketing cost",
            "rate",
            {**_RETURN, "marketing_cost": -1},
            {"marketing_cost": 1},
            "ratio",
            "revenue",
            example=({"marketing_revenue": "30000", "marketing_cost": "10000", "gross_margin": "0.8"}, "1.4"),
        ),
        Metric(
            "roi",
            "(marketing revenue x gross margin - marketing and sales cost) / marketing and sales cost",
            "rate",
            {**_RETURN, "marketing_cost": -1, "sales_cost": -1},
            {"marketing_cost": 1, "sales_cost": 1},
            "ratio",
            "revenue",
            "revenue operations",
            example=(
                {"marketing_revenue": "30000", "marketing_cost": "10000", "sales_cost": "2000", "gross_margin": "0.8"},
                "1",
            ),
        ),
    ),
)
