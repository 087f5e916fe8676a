"""Organic search: how often the site was shown and clicked on a search engine's results, on the engine's own day.

Of the site as a whole: rare queries are told of nobody, so that those that are told add up to less.
"""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import SEARCHES
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric
from b2b_pipeline.warehouse.tables import search_console_daily

_OF = search_console_daily.c


def _measure(name: str, description: str, column: str) -> Measure:
    needs = (Need("search_console_daily", ("site",)), Need("search_console_daily", (column,)))
    leg = Leg(SEARCHES, _OF.date_day, _OF[column], _OF.level == "site", needs, level="site")
    return Measure(name, description, (leg,))


FAMILY = Family(
    name="organic_search",
    title="Organic search",
    description="Unpaid results of search engines, on the engine's day.",
    headline="search_clicks",
    components=(
        _measure("search_impressions", "times the site was among the results", "impressions"),
        _measure("search_clicks", "clicks on its results", "clicks"),
        _measure("search_positions", "its position, summed over the times it was shown", "position_sum"),
    ),
    metrics=(
        Metric("search_impressions", "sum of impressions", "count", Linear({"search_impressions": 1}), "awareness"),
        Metric("search_clicks", "sum of clicks", "count", Linear({"search_clicks": 1}), "awareness"),
        Metric(
            "search_ctr", "clicks / impressions", "rate",
            Linear({"search_clicks": 1}, over={"search_impressions": 1}), "awareness",
            example=({"search_clicks": "12", "search_impressions": "480"}, "0.025"),
        ),
        Metric(
            "search_average_position", "sum of position x impressions / impressions", "count",
            Linear({"search_positions": 1}, over={"search_impressions": 1}), "awareness", tier="diagnostic",
            example=({"search_positions": "1680", "search_impressions": "480"}, "3.5"),
        ),
    ),
)  # fmt: skip
