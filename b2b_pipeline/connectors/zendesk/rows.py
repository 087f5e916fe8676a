"""Zendesk's tickets and responses to surveys as rows of the core tables: frame in, frame out, by docs/semantics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, email_key, local_day, require, text, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

RESOLVED = {
    "new": False, "open": False, "pending": False, "hold": False, "solved": True, "closed": True, "deleted": False,
}  # fmt: skip
SCORES = {"bad": 1, "badwithcomment": 1, "good": 2, "goodwithcomment": 2}  # offered and unoffered are none
SCALE = 2


def tickets(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per ticket. Zendesk goes on telling the last solution of a ticket that is open again: it has none here.

    Zendesk measures every ticket that is not deleted: one without is refused, else it would pass for not answered.
    """
    require(records, "id", "status", "created_at", "metric_set.replies", "metric_set.reply_time_in_minutes.calendar")
    status, created = column(records, "status"), utc(column(records, "created_at"))
    is_resolved = status.map(RESOLVED).astype(object)
    replies = column(records, "metric_set.replies")
    unmeasured = replies.isna() & status.ne("deleted")
    first, last = (_minutes(records, name) for name in ("reply", "full_resolution"))
    score = column(records, "satisfaction_rating.score").map(_score, na_action="ignore")
    return core_rows(
        records, context, text(records["id"]),
        ticket_id=text(records["id"]), record_key=email_key(column(records, "requester.email")),
        account_id=text(column(records, "organization_id")), created_at=created,
        updated_at=utc(column(records, "generated_at")), date_day=local_day(created, context.config.zone),
        first_response_at=_after(created, first["calendar"]),
        resolved_at=utc(column(records, "metric_set.solved_at")).where(is_resolved.eq(True), None),
        first_response_minutes=first["calendar"], first_response_business_minutes=first["business"],
        resolution_minutes=last["calendar"].where(is_resolved.eq(True), None),
        resolution_business_minutes=last["business"].where(is_resolved.eq(True), None),
        replies=replies.where(~unmeasured, "no metric set"), reopens=column(records, "metric_set.reopens"),
        status=status, priority=column(records, "priority"), channel=column(records, "via.channel"),
        csat=score, csat_scale=score.map(lambda _: SCALE, na_action="ignore"),
        is_resolved=is_resolved.where(is_resolved.notna(), status.fillna("no status")),
        is_deleted=status.eq("deleted"),
    )  # fmt: skip


def surveys(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per response. Satisfaction is the place of its rating among those that there were to choose from."""
    require(records, "id", "submitted_at", "answered_at", "rating", "scale")
    submitted = utc(records["submitted_at"])
    places = [_place(*cells) for cells in zip(records["rating"], records["scale"], strict=True)]
    csat, scale = (pd.Series([each[n] for each in places], index=records.index, dtype=object) for n in (0, 1))
    return core_rows(
        records, context, text(records["id"]),
        response_id=text(records["id"]), survey_id=text(column(records, "survey.id")), survey_name="Zendesk CSAT",
        record_key=None, account_id=None, submitted_at=submitted, updated_at=utc(records["answered_at"]),
        date_day=local_day(submitted, context.config.zone), nps=None, csat=csat, csat_scale=scale, codes=None,
        is_partial=False, is_deleted=False,
    )  # fmt: skip


def _place(rating: Any, scale: list[int]) -> tuple[Any, int | None]:
    """A rating on a scale that nobody shows, or that does not have it, stays text, which no number is."""
    if pd.isna(rating):
        return None, None
    if rating not in scale or len(scale) < 2:
        return f"{rating:g} on a scale of {scale}", None
    return scale.index(rating) + 1, len(scale)


def _minutes(records: pd.DataFrame, what: str) -> dict[str, pd.Series]:
    return {kind: column(records, f"metric_set.{what}_time_in_minutes.{kind}") for kind in ("calendar", "business")}


def _after(moments: pd.Series, minutes: pd.Series) -> pd.Series:
    """So many minutes after each moment, where both are what they should be."""
    numbers = pd.to_timedelta(pd.to_numeric(minutes, errors="coerce"), unit="min")
    later = pd.to_datetime(moments, utc=True, errors="coerce") + numbers
    return later.astype(object).where(later.notna(), None)


def _score(word: Any) -> Any:
    """One that nobody knows stays text, which no number is."""
    known = str(word).replace(" ", "").replace("_", "")
    return None if known in ("offered", "unoffered") else SCORES.get(known, word)
