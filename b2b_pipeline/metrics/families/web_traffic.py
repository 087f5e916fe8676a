"""Web traffic: visits to the site, as web analytics counts them, on the property's own day.

In total they are those of the property as a whole; in a split those of each source, medium and campaign, and what the
property counts beside them, or less than they do, has no channel: so that a split adds up to the total.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, exists

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import PAGES_VISITED, SITES_VISITED, VISITED
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric
from b2b_pipeline.warehouse.tables import web_traffic_daily

_OF = web_traffic_daily.c


def _measure(name: str, description: str, column: str) -> Measure:
    needs = (Need("web_traffic_daily", ("property",)), Need("web_traffic_daily", (column,)))
    whole = web_traffic_daily.alias("whole").c
    is_counted = exists().where(
        whole.level == "property",
        whole.source == _OF.source,
        whole.property_id == _OF.property_id,
        whole.date_day == _OF.date_day,
    )
    legs = (
        Leg(SITES_VISITED, _OF.date_day, _OF[column], _at("property"), needs, level="property"),
        Leg(VISITED, _OF.date_day, _OF[column], _at("source"), needs, level="source", located=True),
        Leg(SITES_VISITED, _OF.date_day, _OF[column], _at("source") & is_counted, needs, sign=-1, level="source",
            located=True),
    )  # fmt: skip
    return Measure(name, description, legs)


def _at(level: str) -> ColumnElement[bool]:
    return _OF.level == level


def _metric(name: str, formula: str, of: str, **more: str) -> Metric:
    return Metric(name, formula, "count", Linear({of: 1}), "awareness", **more)  # type: ignore[arg-type]


FAMILY = Family(
    name="web_traffic",
    title="Web traffic",
    description="Visits to the site, on the day of the web property. What has no channel is what no source tells.",
    headline="sessions",
    components=(
        _measure("sessions", "visits to the site", "sessions"),
        _measure("engaged_sessions", "visits of some length, of two pages, or with a key event", "engaged_sessions"),
        _measure("new_users", "visitors who had not been there before", "new_users"),
        _measure("pageviews", "pages that were seen", "pageviews"),
        _measure("key_events", "key events of the property", "key_events"),
        _measure("engagement_seconds", "seconds that the site was in front of somebody", "engagement_seconds"),
        Measure(
            "landing_page_sessions", "visits that began on a page of the site",
            (Leg(PAGES_VISITED, _OF.date_day, _OF.sessions, _at("landing_page"),
                 (Need("web_traffic_daily", ("landing_page",)),), level="landing_page"),),
        ),
    ),
    metrics=(
        _metric("sessions", "sum of visits", "sessions"),
        _metric("engaged_sessions", "sum of engaged visits", "engaged_sessions", tier="diagnostic"),
        Metric(
            "site_engagement_rate", "engaged visits / visits", "rate",
            Linear({"engaged_sessions": 1}, over={"sessions": 1}), "awareness",
            example=({"engaged_sessions": "12", "sessions": "20"}, "0.6"),
        ),
        _metric("pageviews", "sum of pages seen", "pageviews"),
        _metric("key_events", "sum of key events", "key_events"),
        Metric(
            "time_on_site", "seconds of engagement / visits", "seconds",
            Linear({"engagement_seconds": 1}, over={"sessions": 1}), "awareness", tier="diagnostic",
            example=({"engagement_seconds": "1506", "sessions": "20"}, "75.3"),
        ),
        _metric("new_users", "sum of visitors seen for the first time", "new_users"),
        _metric("landing_page_sessions", "sum of visits by the page they began on", "landing_page_sessions",
                tier="diagnostic"),
    ),
)  # fmt: skip
