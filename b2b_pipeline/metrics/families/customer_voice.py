"""The customer's voice: what people say in surveys and of support, and how long support takes."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import ColumnElement, cast

from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import SURVEYS, TICKETS
from b2b_pipeline.metrics.kinds import Linear, Quantile
from b2b_pipeline.metrics.model import Aggregate, Dataset, Family, Leg, Measure, Metric, Unit, one
from b2b_pipeline.warehouse.tables import SUM, support_ticket, survey_response

_SURVEY, _TICKET = survey_response.c, support_ticket.c


def _measure(
    dataset: Dataset,
    name: str,
    description: str,
    fact: str = "",
    where: ColumnElement[bool] | None = None,
    value: ColumnElement[Any] | None = None,
    unit: Literal["count", "minutes"] = "count",
    aggregate: Aggregate = Aggregate.SUM,
) -> Measure:
    """`fact`: the column without which it is unknown, and where it is empty a row does not count."""
    table = dataset.table
    needs = (Need(table.name), *([Need(table.name, (fact,))] if fact else []))
    given = table.c[fact].is_not(None) if fact else None
    both = given if where is None else where if given is None else given & where
    leg = Leg(dataset, table.c.date_day, one() if value is None else value, both, needs)
    return Measure(name, description, (leg,), unit, aggregate)


def _scale(table: Any) -> ColumnElement[Any]:
    """A satisfaction as a share of its scale: 0 is its lowest step, 1 its highest. Rounded row by row, half to even is
    never asked for: scales have eleven steps at most."""
    return cast((table.csat - 1) / (table.csat_scale - 1), SUM)


def _share(name: str, numerator: str, denominator: str, words: str) -> Metric:
    kind = Linear({numerator: 1}, over={denominator: 1})
    return _metric(name, words, "rate", kind, example=({numerator: "3", denominator: "4"}, "0.75"))


def _metric(name: str, formula: str, unit: Unit, kind: Any, **more: Any) -> Metric:
    return Metric(name, formula, unit, kind, "revenue", **more)


_TIMES = {"median": Decimal("0.5"), "p90": Decimal("0.9")}

FAMILY = Family(
    name="customer_voice",
    title="Customer voice",
    description="Surveys count on the day they were answered, requests for support on the day they were made. Times "
    "are of those that are answered or solved by now: shares tell how many are not yet.",
    headline="nps",
    trailing=(28, 90),
    components=(
        _measure(SURVEYS, "survey_responses", "responses to surveys, those left in the middle not counted"),
        _measure(SURVEYS, "nps_responses", "responses with a likelihood to recommend", "nps"),
        _measure(SURVEYS, "nps_promoters", "responses with a likelihood of 9 or 10", "nps", _SURVEY.nps >= 9),
        _measure(SURVEYS, "nps_detractors", "responses with a likelihood of 6 or less", "nps", _SURVEY.nps <= 6),
        _measure(SURVEYS, "csat_responses", "responses with a satisfaction", "csat"),
        _measure(
            SURVEYS, "csat_sum", "satisfaction in responses, each as a share of its scale", "csat", None,
            _scale(_SURVEY),
        ),
        _measure(TICKETS, "tickets", "requests for support"),
        _measure(TICKETS, "tickets_answered", "requests that are answered by now", "first_response_minutes"),
        _measure(TICKETS, "tickets_resolved", "requests that are solved now", "resolution_minutes"),
        _measure(TICKETS, "tickets_reopened", "requests that were solved and opened again", "reopens",
                 _TICKET.reopens > 0),
        _measure(TICKETS, "ticket_csat_responses", "requests whose support was rated", "csat"),
        _measure(
            TICKETS, "ticket_csat_sum", "ratings of support, each as a share of its scale", "csat", None,
            _scale(_TICKET),
        ),
        _measure(
            TICKETS, "first_response_times", "requests by their minutes until the first answer",
            "first_response_minutes", None, _TICKET.first_response_minutes, "minutes", Aggregate.QUANTILE,
        ),
        _measure(
            TICKETS, "resolution_times", "requests by their minutes until they were solved", "resolution_minutes",
            None, _TICKET.resolution_minutes, "minutes", Aggregate.QUANTILE,
        ),
    ),
    metrics=(
        _metric("survey_responses", "responses to surveys", "count", Linear({"survey_responses": 1}),
                tier="diagnostic"),
        _metric(
            "nps", "100 x (promoters - detractors) / responses with a likelihood to recommend", "score",
            Linear({"nps_promoters": 100, "nps_detractors": -100}, over={"nps_responses": 1}),
            example=({"nps_promoters": "6", "nps_detractors": "1", "nps_responses": "10"}, "50"),
        ),
        _share("csat", "csat_sum", "csat_responses", "mean satisfaction in surveys, as a share of its scale"),
        _metric("tickets", "requests for support", "count", Linear({"tickets": 1})),
        _share("ticket_answered_rate", "tickets_answered", "tickets", "requests answered by now / requests"),
        _share("ticket_resolved_rate", "tickets_resolved", "tickets", "requests solved now / requests"),
        _share("ticket_reopened_rate", "tickets_reopened", "tickets", "requests opened again / requests"),
        _share(
            "ticket_csat", "ticket_csat_sum", "ticket_csat_responses", "mean rating of support, as a share of its scale"
        ),
        *(
            _metric(
                f"{name}_{which}",
                f"{words} ({'half' if which == 'median' else '9 of 10'} of those that are {done} took no longer)",
                "minutes", Quantile(of, share), tier="primary" if which == "median" else "diagnostic",
            )
            for name, of, words, done in (
                ("first_response_time", "first_response_times", "minutes until the first answer", "answered"),
                ("resolution_time", "resolution_times", "minutes until a request was solved", "solved"),
            )
            for which, share in _TIMES.items()
        ),
    ),
)  # fmt: skip
