"""Intercom's conversations as rows of the core table `support_ticket`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, email_key, local_day, require, text, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

RESOLVED = {"open": False, "snoozed": False, "closed": True}
SCALE = 5


def tickets(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per conversation in which a contact wrote, from then on: what was sent to many and not answered is no
    request. Intercom goes on telling when a conversation was closed that is open again: it has no solution here.

    One without statistics is refused, else it would pass for not answered.
    """
    require(records, "id", "state", "first_contact_reply.created_at", "statistics.count_reopens")
    asked, state = column(records, "first_contact_reply.created_at"), column(records, "state")
    is_resolved = state.map(RESOLVED).astype(object)
    answered = column(records, "statistics.first_admin_reply_at")
    closed = column(records, "statistics.last_close_at").where(is_resolved.eq(True), None)
    reopens = column(records, "statistics.count_reopens")
    rating = column(records, "conversation_rating.rating").map(_rating, na_action="ignore")
    created = _at(asked)
    rows = core_rows(
        records, context, text(records["id"]),
        ticket_id=text(records["id"]), record_key=email_key(column(records, "email")),
        account_id=text(column(records, "company.id")), created_at=created,
        updated_at=_at(column(records, "updated_at")), date_day=local_day(created, context.config.zone),
        first_response_at=_at(answered), resolved_at=_at(closed),
        first_response_minutes=_minutes(answered, asked), resolution_minutes=_minutes(closed, asked),
        first_response_business_minutes=_minutes(column(records, "statistics.time_to_admin_reply")),
        resolution_business_minutes=_minutes(column(records, "statistics.time_to_last_close")).where(
            closed.notna(), None
        ),
        replies=None, reopens=reopens.where(reopens.notna(), "no statistics"),
        status=state, priority=column(records, "priority"), channel=column(records, "source.type"),
        csat=rating, csat_scale=rating.map(lambda _: SCALE, na_action="ignore"),
        is_resolved=is_resolved.where(is_resolved.notna(), state.fillna("no state")), is_deleted=False,
    )  # fmt: skip
    return rows[asked.notna()]


def _at(seconds: pd.Series) -> pd.Series:
    """Epoch seconds -> UTC timestamps; what is none stays as it is."""
    stamps = pd.to_datetime(pd.to_numeric(seconds, errors="coerce"), unit="s", utc=True, errors="coerce").astype(object)
    return utc(stamps).where(stamps.notna(), seconds)


def _minutes(until: pd.Series, since: pd.Series | int = 0) -> pd.Series:
    """Whole minutes of seconds; null where there are none."""
    numbers = pd.to_numeric(until, errors="coerce") - (since if isinstance(since, int) else pd.to_numeric(since))
    return numbers.map(lambda seconds: int(seconds // 60), na_action="ignore").astype(object)


def _rating(value: Any) -> Any:
    """One that the scale does not have stays text, which no number is."""
    return int(value) if value in range(1, SCALE + 1) else f"{value} of 1 to {SCALE}"
