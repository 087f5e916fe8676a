"""Klaviyo's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Klaviyo has no event of sending: who got an e-mail, or from whom it bounced, was sent it. When that was, an event tells
in one of three ways: by the cohort of its message (`<seconds>:<message>`), by its handoff, or by the id of its
transmission, which is a ULID and begins with its time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, email_links, local_day, require, utc
from b2b_pipeline.connectors.emails import click_touches, event_rows, lead_rows, leads_wanted, person_key

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

# The names of Klaviyo's own metrics.
KINDS = {
    "Received Email": "delivered", "Bounced Email": "bounce", "Opened Email": "open", "Clicked Email": "click",
    "Unsubscribed from Email Marketing": "unsubscribe", "Marked Email as Spam": "spam", "Dropped Email": "dropped",
}  # fmt: skip
SENT = ("delivered", "bounce")  # of what was sent
AT_ONCE = ("delivered", "dropped")  # what happens when an e-mail is sent dates it, where nothing else does
MACHINES = ("machine_open", "Apple Privacy Open", "Bot Click")
YES = ("true", "1", "1.0")
STANDARD = {
    "company": "attributes.organization", "country": "attributes.location.country",
    "region": "attributes.location.region", "status": "attributes.subscriptions.email.marketing.consent",
}  # fmt: skip
_CROCKFORD = {letter: number for number, letter in enumerate("0123456789ABCDEFGHJKMNPQRSTVWXYZ")}


def events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per event that names a message, and one more for what was sent; of others nobody knows the send."""
    require(records, "metric.name")
    rows = records[_property(records, "$message").notna()]
    kind = rows["metric.name"].map(KINDS).astype(object)
    kind = kind.where(kind.notna(), "other")
    sent = rows[kind.isin(SENT)]
    ids = sent["id"].astype("string") + ":sent"
    return pd.concat([
        _events(rows, context, rows["id"], kind), _events(sent, context, ids, pd.Series("sent", index=sent.index)),
    ])  # fmt: skip


def _events(records: pd.DataFrame, context: MappingContext, ids: pd.Series, kind: pd.Series) -> pd.DataFrame:
    at, message = utc(column(records, "attributes.datetime")), _property(records, "$message")
    own = at.where(kind.isin((*AT_ONCE, "sent")), None)
    return event_rows(
        records, context, ids,
        send_id=message, campaign_id=_property(records, "$flow").fillna(message), recipient_hash=_recipient(records),
        event_type=kind, event_at=at, sent_at=_sent_at(records).fillna(own), is_machine=_by_machine(records),
    )  # fmt: skip


def _sent_at(records: pd.DataFrame) -> pd.Series:
    """When the e-mail was sent, where the event tells."""
    cohort = _property(records, "$_cohort$message_send_cohort").astype("string").str.extract(r"^(\d{9,11}):")[0]
    seconds = pd.to_numeric(cohort, errors="coerce")
    seconds = seconds.fillna(pd.to_numeric(_property(records, "$internal.Handoff Time"), errors="coerce"))
    ulid = _property(records, "$internal.Transmission ID").map(_ulid_seconds, na_action="ignore")
    seconds = seconds.fillna(pd.to_numeric(ulid, errors="coerce"))
    stamps = pd.to_datetime(seconds.astype("float64"), unit="s", utc=True, errors="coerce")
    return stamps.astype(object).where(stamps.notna(), None)


def _ulid_seconds(text: object) -> int | None:
    """The time in a ULID: 48 bits of milliseconds, in its first ten letters."""
    letters = str(text)[:10].upper()
    if len(str(text)) != 26 or not set(letters) <= _CROCKFORD.keys():
        return None
    number = 0
    for letter in letters:
        number = number * 32 + _CROCKFORD[letter]
    return number // 1000


def _by_machine(records: pd.DataFrame) -> pd.Series:
    """Whether Klaviyo says that it was a machine, or may have been (a mail app that fetches all images)."""
    found = pd.Series(False, index=records.index)
    for name in MACHINES:
        found |= _property(records, name).astype("string").str.lower().isin(YES)
    return found


def _recipient(records: pd.DataFrame) -> pd.Series:
    """The address that it went to; else that of the profile, or the profile."""
    known = _property(records, "Recipient Email Address").fillna(column(records, "profile.email"))
    profile = column(records, "profile.id").astype("string")
    return known.fillna(("klaviyo:profile:" + profile).astype(object).where(profile.notna(), None))


def _property(records: pd.DataFrame, name: str) -> pd.Series:
    return column(records, f"attributes.event_properties.{name}")


def clicks(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per click of a person."""
    is_click = column(records, "metric.name").eq("Clicked Email") & _property(records, "$message").notna()
    rows = records[is_click & ~_by_machine(records)]
    return click_touches(
        rows, context, column(rows, "id"), recipient=_recipient(rows), at=column(rows, "attributes.datetime"),
        campaign_id=_property(rows, "$flow").fillna(_property(rows, "$message")),
    )  # fmt: skip


def flow_messages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail of a flow, as the events name it: no list has them all. Each goes out again and again."""
    rows = records[_property(records, "$flow").notna() & _property(records, "$message").notna()]
    rows = rows.sort_values("attributes.datetime", kind="stable") if len(rows) else rows
    rows = rows[~_property(rows, "$message").duplicated(keep="last")]
    at, message = utc(column(rows, "attributes.datetime")), _property(rows, "$message")
    return core_rows(
        rows, context, message,
        send_id=message, name=_property(rows, "Campaign Name"), subject_hash=None, purpose=None, audience=None,
        sent_at=None, updated_at=at, date_day=local_day(at, context.config.zone), is_deleted=False,
    )  # fmt: skip


def email_sends(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail campaign; its events name it as their message."""
    sent = column(records, "attributes.send_time")
    return core_rows(
        records, context, records["id"],
        send_id=records["id"], name=column(records, "attributes.name"), subject_hash=None, purpose=None, audience=None,
        sent_at=utc(sent), date_day=local_day(sent, context.config.zone), is_deleted=False,
        updated_at=utc(column(records, "attributes.updated_at")),
    )  # fmt: skip


def untracked(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign whose opens or clicks are not tracked: they are unknown, which recipients cannot tell.

    What is counted of its recipients adds nothing to it: hence 0.
    """
    opens, clicks = (column(records, f"attributes.tracking_options.is_tracking_{name}") for name in ("opens", "clicks"))
    sent = column(records, "attributes.send_time")
    rows = records[(opens.eq(False) | clicks.eq(False)) & sent.notna()]
    none = pd.Series(0, index=rows.index, dtype="Int64")
    return core_rows(
        rows, context, rows["id"],
        send_id=rows["id"], campaign_id=rows["id"], sent_at=utc(sent[rows.index]),
        updated_at=utc(column(rows, "attributes.updated_at")),
        date_day=local_day(sent[rows.index], context.config.zone),
        sends=none, deliveries=none, bounces=none, unsubscribes=none,
        opens=none.mask(opens[rows.index].eq(False)), clicks=none.mask(clicks[rows.index].eq(False)),
    )  # fmt: skip


def campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per e-mail campaign, archived ones too: that hides them, and takes nothing back."""
    return _campaigns(records, context, "email", "created_at", "updated_at")


def flows(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per flow, archived ones too."""
    return _campaigns(records, context, "flow", "created", "updated")


def _campaigns(records: pd.DataFrame, context: MappingContext, kind: str, created: str, updated: str) -> pd.DataFrame:
    return core_rows(
        records, context, records["id"],
        campaign_id=records["id"], account_id=context.account.id, name=column(records, "attributes.name"),
        status=column(records, "attributes.status"), campaign_type=kind, channel="email", is_deleted=False,
        updated_at=utc(column(records, f"attributes.{updated}")),
        date_day=local_day(column(records, f"attributes.{created}"), context.config.zone),
    )  # fmt: skip


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per profile, where `options` says that they are leads."""
    rows = records if leads_wanted(context.config, context.source) == "all" else records.iloc[:0]
    return lead_rows(
        rows, context, rows["id"], STANDARD, email=column(rows, "attributes.email"),
        created=column(rows, "attributes.created"), updated=column(rows, "attributes.updated"), is_deleted=False,
    )  # fmt: skip


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per profile and address: who has changed theirs is known by both."""
    ids = records["id"]
    return email_links(
        records, context, ids, person_key(context, ids), column(records, "attributes.email"),
        column(records, "attributes.updated"),
    )  # fmt: skip
