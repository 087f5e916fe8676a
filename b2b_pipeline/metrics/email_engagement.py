"""E-mail engagement: unique per send and recipient, on the day of the send; machines do not count."""

from __future__ import annotations

from sqlalchemy import exists, literal

from b2b_pipeline.core.given import Need
from b2b_pipeline.files.mapping import SUMMED
from b2b_pipeline.metrics.base import Component, Family, Leg, Metric, one
from b2b_pipeline.warehouse.tables import email_recipient, email_summary

_DIMENSIONS = {
    "channel": literal("email"),
    "campaign": email_recipient.c.campaign_id,
    "source": email_recipient.c.source,
}


_SUMMARY = {
    "channel": literal("email"), "campaign": email_summary.c.campaign_id, "source": email_summary.c.source,
}  # fmt: skip


def _unique(summed: str) -> tuple[Leg, ...]:
    """Recipients with an event; of a send of which no recipient with one is given, what its tool counts."""
    event_type, send = SUMMED[summed], email_recipient.c
    told = exists().where(
        send.source == email_summary.c.source,
        send.send_id == email_summary.c.send_id,
        send.event_type == event_type,
    )
    return (
        Leg(
            email_recipient,
            email_recipient.c.date_day,
            one(),
            _DIMENSIONS,
            lambda config: email_recipient.c.event_type == event_type,
            needs=(Need("email_event", (event_type,)),),
        ),
        Leg(
            email_summary,
            email_summary.c.date_day,
            email_summary.c[summed],
            _SUMMARY,
            lambda config: ~told,
            needs=(Need("email_summary", (summed,)),),
        ),
    )


def _rate(name: str, numerator: str, denominator: str, words: str) -> Metric:
    return Metric(
        name,
        words,
        "rate",
        {numerator: 1},
        {denominator: 1},
        "ratio",
        "leads",
        example=({numerator: "5", denominator: "20"}, "0.25"),
    )


FAMILY = Family(
    name="email_engagement",
    title="E-mail engagement",
    description="A recipient counts once per send and event, on the day of the send, however late the event arrives.",
    headline="email_open_rate",
    components=(
        Component("email_sends", "recipients that were sent an e-mail", _unique("sends")),
        Component("email_deliveries", "recipients that got it", _unique("deliveries")),
        Component("email_opens", "recipients who opened it, machines left out", _unique("opens")),
        Component("email_clicks", "recipients who clicked in it, machines left out", _unique("clicks")),
        Component("email_bounces", "recipients from whom it bounced", _unique("bounces")),
        Component("email_unsubscribes", "recipients who unsubscribed from it", _unique("unsubscribes")),
    ),
    metrics=(
        Metric("email_sends", "unique recipients sent to", "count", {"email_sends": 1}, tier="diagnostic"),
        Metric(
            "email_deliveries", "unique recipients delivered to", "count", {"email_deliveries": 1}, tier="diagnostic"
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
