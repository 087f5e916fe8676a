"""E-mail engagement: unique per send and recipient, on the day of the send; machines do not count."""

from __future__ import annotations

from sqlalchemy import exists

from b2b_pipeline.configuration.file_cells import SUMMED
from b2b_pipeline.core.given import Need
from b2b_pipeline.metrics.datasets import RECIPIENTS, SUMMARIES
from b2b_pipeline.metrics.kinds import Linear
from b2b_pipeline.metrics.model import Family, Leg, Measure, Metric, one
from b2b_pipeline.warehouse.tables import email_recipient, email_summary


def _unique(name: str, description: str, summed: str) -> Measure:
    """Recipients with an event; of a send of which no recipient with one is given, what its tool counts."""
    event_type, send = SUMMED[summed], email_recipient.c
    told = exists().where(
        send.source == email_summary.c.source,
        send.send_id == email_summary.c.send_id,
        send.event_type == event_type,
    )
    each = Leg(
        RECIPIENTS, send.date_day, one(), send.event_type == event_type, needs=(Need("email_event", (event_type,)),)
    )
    counted = Leg(
        SUMMARIES, email_summary.c.date_day, email_summary.c[summed], ~told, needs=(Need("email_summary", (summed,)),)
    )
    return Measure(name, description, (each, counted))


def _rate(name: str, numerator: str, denominator: str, words: str) -> Metric:
    kind = Linear({numerator: 1}, over={denominator: 1})
    return Metric(name, words, "rate", kind, example=({numerator: "5", denominator: "20"}, "0.25"))


FAMILY = Family(
    name="email_engagement",
    title="E-mail engagement",
    description="A recipient counts once per send and event, on the day of the send, however late the event arrives.",
    headline="email_open_rate",
    components=(
        _unique("email_sends", "recipients that were sent an e-mail", "sends"),
        _unique("email_deliveries", "recipients that got it", "deliveries"),
        _unique("email_opens", "recipients who opened it, machines left out", "opens"),
        _unique("email_clicks", "recipients who clicked in it, machines left out", "clicks"),
        _unique("email_bounces", "recipients from whom it bounced", "bounces"),
        _unique("email_unsubscribes", "recipients who unsubscribed from it", "unsubscribes"),
    ),
    metrics=(
        Metric("email_sends", "unique recipients sent to", "count", Linear({"email_sends": 1}), tier="diagnostic"),
        Metric(
            "email_deliveries",
            "unique recipients delivered to",
            "count",
            Linear({"email_deliveries": 1}),
            tier="diagnostic",
        ),
        _rate("email_open_rate", "email_opens", "email_deliveries", "unique opens / unique deliveries"),
        _rate("email_click_rate", "email_clicks", "email_deliveries", "unique clicks / unique deliveries"),
        _rate("email_bounce_rate", "email_bounces", "email_sends", "unique bounces / unique sends"),
        _rate(
            "email_unsubscribe_rate",
            "email_unsubscribes",
            "email_deliveries",
            "unique unsubscribes / unique deliveries",
        ),
    ),
)
