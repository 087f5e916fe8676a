"""How visitors fared on the site, as a tool that records it counts: signs of trouble, and how far they scroll."""

from __future__ import annotations

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import SITE_BEHAVIOUR
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric
from b2b_pipeline.warehouse.tables import web_behaviour_daily

SIGNS = {
    "dead_clicks": "clicks on what does nothing",
    "rage_clicks": "series of quick clicks on one spot",
    "excessive_scrolls": "scrolls up and down in search of something",
    "quickbacks": "returns as soon as a page was there",
    "script_errors": "errors of scripts in pages",
    "error_clicks": "clicks that an error of a script followed",
}


def _of(name: str, description: str, column: str) -> Measure:
    leg = Leg(SITE_BEHAVIOUR, web_behaviour_daily.c.date_day, web_behaviour_daily.c[column],
              needs=(Need("web_behaviour_daily", (column,)),), level="property")  # fmt: skip
    return Measure(name, description, (leg,))


def _per_session(name: str, formula: str, of: str, factor: int, example: tuple[str, str, str]) -> Metric:
    above, below, value = example
    kind = Linear({of: 1}, over={"recorded_sessions": factor})
    worked = ({of: above, "recorded_sessions": below}, value)
    return Metric(name, formula, "rate", kind, "awareness", tier="diagnostic", example=worked)


FAMILY = Family(
    name="web_behaviour",
    title="Web behaviour",
    description="What a recorder of sessions counts on the site as a whole. Its sessions are no visits.",
    headline="dead_clicks",
    components=(
        *(_of(name, description, name) for name, description in SIGNS.items()),
        _of("recorded_sessions", "sessions that were recorded", "sessions"),
        _of("scroll_depth_sum", "per cent of the page that each session scrolled, summed", "scroll_depth_sum"),
    ),
    metrics=(
        *(Metric(name, f"sum of {description}", "count", Linear({name: 1}), "awareness", tier="diagnostic")
          for name, description in SIGNS.items()),
        Metric("recorded_sessions", "sum of sessions recorded", "count", Linear({"recorded_sessions": 1}), "awareness",
               tier="diagnostic"),
        _per_session("average_scroll_depth", "depths of sessions / sessions", "scroll_depth_sum", 100,
                     ("11000", "200", "0.55")),
        _per_session("dead_clicks_per_session", "dead clicks / sessions recorded", "dead_clicks", 1,
                     ("30", "200", "0.15")),
        _per_session("rage_clicks_per_session", "rage clicks / sessions recorded", "rage_clicks", 1,
                     ("5", "200", "0.025")),
    ),
)  # fmt: skip
