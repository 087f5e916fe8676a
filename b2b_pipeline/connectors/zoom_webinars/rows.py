"""Zoom's webinars, registrants and attendances as rows of the core tables: frame in, frame out.

A registrant's id is that of one webinar: elsewhere the same person may have the same or another one. Who joins again,
or by a second device, attended once. Who registered and did not come has the one touch and not the other: the list of
absentees says nothing else, and is not asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import (
    NO_ACCOUNT,
    column,
    core_rows,
    email_key,
    email_links,
    local_day,
    require,
    text,
    utc,
)
from b2b_pipeline.connectors.emails import lead_rows, leads_wanted, person_key
from b2b_pipeline.warehouse.contract import REJECT, REJECT_COLUMN

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

CHANNEL, CAPTURED = "events", "webinar"
DENIED = "denied"  # by the host, or cancelled: it is no registration any more
WAITED = "in_waiting_room"  # who never got in
STANDARD = {"company": "org", "country": "country", "region": "state", "status": "status", "capture_type": "captured"}


def campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per webinar that Zoom lists still, or that was held in the last months; a series is one."""
    ids, created = text(records["id"]), column(records, "created_at")
    return core_rows(
        records, context, ids,
        campaign_id=ids, account_id=context.account.id, name=column(records, "topic"), status=None,
        campaign_type="webinar", channel=CHANNEL, is_deleted=False, updated_at=utc(created),
        date_day=local_day(created, context.config.zone),
    )  # fmt: skip


def registrations(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per registration for a webinar, when it was made; nothing says when its status changed."""
    require(records, "webinar.id", "create_time")
    ids, at = _registrant(records, column(records, "id")), column(records, "create_time")
    return _touches(
        records, context, ids, f"{context.source}:registration:" + ids,
        record_key=email_key(column(records, "email")).fillna(_contact(context, ids)), at=at, updated_at=utc(at),
        touch_type="webinar_registration", evidence=column(records, "status"),
        is_deleted=column(records, "status").eq(DENIED),
    )  # fmt: skip


def attendances(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per person and webinar that was held, when they first joined.

    A guest's address is not told, unless it was given on registration: they are known by their registration, else by
    nothing that others have. Who came by telephone, or without registering, is then a record of their own, which is no
    lead: it can be looked at, and counts nowhere.
    """
    require(records, "webinar.uuid", "webinar.start_time")
    began = column(records, "webinar.start_time")
    rows = records[column(records, "status").ne(WAITED)].copy()
    person = text(column(rows, "registrant_id").fillna(column(rows, "id")).fillna(column(rows, "user_id")))
    rows["_who"] = text(rows["webinar.uuid"]) + ":" + person.astype("string").fillna("-")
    rows["_join"] = column(rows, "join_time")
    rows["_email"] = column(rows, "user_email").groupby(rows["_who"]).transform("first") if len(rows) else None
    rows = rows.sort_values("_join", kind="stable", na_position="first").drop_duplicates("_who")
    who = rows["_who"].astype(object)
    registered = column(rows, "registrant_id")
    known = _contact(context, _registrant(rows, registered)).where(registered.notna(), None)
    return _touches(
        rows, context, who, f"{context.source}:attendance:" + who,
        record_key=email_key(column(rows, "_email")).fillna(known).fillna(f"{context.source}:participant:" + who),
        at=column(rows, "_join"), updated_at=utc(began[rows.index]), touch_type="webinar", evidence="attended",
        is_deleted=False,
    )  # fmt: skip


def _touches(
    records: pd.DataFrame, context: MappingContext, ids: pd.Series, touch_id: pd.Series, *, at: pd.Series,
    **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    """What Zoom did not tell of a webinar is refused, so that its day is known not to be whole."""
    refused, began = column(records, "refused"), column(records, "webinar.start_time")
    rows = core_rows(
        records, context, ids, touch_id=touch_id, touched_at=utc(at), channel=CHANNEL,
        date_day=local_day(at.fillna(began), context.config.zone), campaign_id=text(column(records, "webinar.id")),
        **{**NO_ACCOUNT, "asset": column(records, "webinar.topic")}, **columns,
    )  # fmt: skip
    return rows.assign(**{REJECT: refused, REJECT_COLUMN: refused.notna().map({True: "touched_at", False: None})})


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per registration, where `options` says that who registers is a lead."""
    rows = _told(records) if leads_wanted(context.config, context.source) == "all" else records.iloc[:0]
    rows, at = rows.assign(captured=CAPTURED), column(rows, "create_time")
    return lead_rows(
        rows, context, _registrant(rows, column(rows, "id")), STANDARD, email=column(rows, "email"), created=at,
        updated=at, is_deleted=column(rows, "status").eq(DENIED),
    )  # fmt: skip


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per registration and its address, by which those who attend without one are known."""
    rows = _told(records)
    ids = _registrant(rows, column(rows, "id"))
    return email_links(
        rows, context, ids, _contact(context, ids), column(rows, "email"), column(rows, "create_time")
    )  # fmt: skip


def _told(records: pd.DataFrame) -> pd.DataFrame:
    return records[column(records, "refused").isna() & column(records, "id").notna()]


def _registrant(records: pd.DataFrame, registrant: pd.Series) -> pd.Series:
    """A registrant of a webinar; `-` of one of which Zoom does not tell who they are."""
    return (
        text(column(records, "webinar.id")).astype("string") + ":" + registrant.astype("string").fillna("-")
    ).astype(object)


def _contact(context: MappingContext, ids: pd.Series) -> pd.Series:
    return person_key(context, ids).astype(object)
