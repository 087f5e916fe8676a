"""Visits to the site, one by one as events tell them: bots and those without consent are left out."""

from __future__ import annotations

from sqlalchemy import ColumnElement

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import VISIT_FORMS, VISITS
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Aggregate, Family, Leg, Measure, Metric, Unit, one
from b2b_pipeline.warehouse.tables import form_event, web_session

_NEEDS = (Need("web_session"),)


def _of_visits(name: str, description: str, value: ColumnElement[object], where: ColumnElement[bool] | None = None,
               aggregate: Aggregate = Aggregate.SUM) -> Measure:  # fmt: skip
    leg = Leg(VISITS, web_session.c.date_day, value, where, _NEEDS)
    return Measure(name, description, (leg,), aggregate=aggregate)


def _sum(name: str, formula: str, of: str, tier: str = "primary") -> Metric:
    return Metric(name, formula, "count", Linear({of: 1}), "awareness", tier=tier)  # type: ignore[arg-type]


def _per_visit(name: str, formula: str, unit: Unit, of: str, example: str, value: str) -> Metric:
    kind = Linear({of: 1}, over={"visits": 1})
    return Metric(name, formula, unit, kind, "awareness", example=({of: example, "visits": "20"}, value))


FAMILY = Family(
    name="web_visits",
    title="Web visits",
    description="Visits to the site on the day they began, told by its events. Bots are left out, and so are visitors "
    "who did not consent: nobody knows which of their events belong together.",
    headline="visits",
    components=(
        _of_visits("visits", "visits to the site", one()),
        _of_visits(
            "engaged_visits", "visits of ten seconds of attention, two pages or a key event", one(),
            web_session.c.is_engaged.is_(True),
        ),
        _of_visits(
            "visitors", "browsers that came", web_session.c.anonymous_id, web_session.c.anonymous_id.is_not(None),
            Aggregate.DISTINCT,
        ),
        _of_visits("visit_pageviews", "pages that were seen in visits", web_session.c.pageviews),
        _of_visits("visit_seconds", "seconds of attention in visits", web_session.c.engaged_seconds),
        Measure(
            "visit_form_submissions", "forms that were sent in visits",
            (Leg(VISIT_FORMS, form_event.c.date_day, one(), needs=(*_NEEDS, Need("form_event", ("session_id",)))),),
        ),
    ),
    metrics=(
        _sum("visits", "sum of visits", "visits"),
        _sum("engaged_visits", "sum of engaged visits", "engaged_visits", "diagnostic"),
        _per_visit("visit_engagement_rate", "engaged visits / visits", "rate", "engaged_visits", "12", "0.6"),
        _sum("visitors", "distinct browsers that came", "visitors"),
        _sum("visit_pageviews", "sum of pages seen in visits", "visit_pageviews", "diagnostic"),
        _per_visit("time_per_visit", "seconds of attention / visits", "seconds", "visit_seconds", "1506", "75.3"),
        _sum("visit_form_submissions", "sum of forms sent in visits", "visit_form_submissions"),
        _per_visit(
            "form_conversion_rate", "forms sent in visits / visits", "rate", "visit_form_submissions", "3", "0.15"
        ),
    ),
)  # fmt: skip
