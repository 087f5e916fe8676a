"""`email_recipient`: what each recipient of a send did."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

from sqlalchemy import Select, and_, false, func, or_, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, Row, Trace, text_order
from b2b_pipeline.warehouse.tables import email_event, email_recipient


def recipients() -> Select[Any]:
    """Rows of `email_recipient`; opens and clicks of machines are left out.

    An event that is dated by itself, because its source does not say when it was sent, counts on the day of the first
    sending to the recipient, if there is one.
    """
    event = email_event.c
    keys = (event.source, event.send_id, event.recipient_hash, event.event_type)
    by_machine = func.coalesce(event.is_machine, false()) & event.event_type.in_(("open", "click"))
    sending = email_event.alias("sending").c
    sent = (
        select(sending.source, sending.send_id, sending.recipient_hash, func.min(sending.date_day).label("day"))
        .where(sending.event_type == "sent")
        .group_by(sending.source, sending.send_id, sending.recipient_hash)
        .subquery("sent")
    )
    by_itself = and_(
        event.event_type != "sent", event.sent_at == event.event_at, sent.c.source == event.source,
        sent.c.send_id == event.send_id, sent.c.recipient_hash == event.recipient_hash, sent.c.day < event.date_day,
    )  # fmt: skip
    return (
        select(*keys, func.min(text_order(event.campaign_id)), func.min(func.coalesce(sent.c.day, event.date_day)))
        .select_from(email_event)
        .outerjoin(sent, by_itself)
        .where(~by_machine)
        .group_by(*keys)
    )


def _trace(config: Config, rows: list[Row]) -> Trace:
    """A recipient of a send: what happened there."""
    event = email_event.c
    keys = ("source", "send_id", "recipient_hash")
    yield email_event, or_(*(and_(*(event[name] == row[name] for name in keys)) for row in rows))


EMAIL_RECIPIENT = Derived(
    email_recipient, lambda connection, config: nullcontext(recipients()), lambda config: [recipients()], trace=_trace
)
