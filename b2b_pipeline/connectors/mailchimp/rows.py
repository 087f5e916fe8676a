"""Mailchimp's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Mailchimp says of each recipient of a campaign whether the e-mail came or bounced, and has no ids of events: what
happens to one recipient in one second by one link is one event.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, email_links, local_day, require, utc
from b2b_pipeline.connectors.emails import click_touches, digest, event_rows, lead_rows, leads_wanted, person_key

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

AUTOMATED = ("automation", "auto")  # each recipient is sent them on a day of their own, which nothing tells
OUTCOMES = {"sent": "delivered", "hard": "bounce", "soft": "bounce"}
ACTIONS = {"open": "open", "click": "click"}  # bounces are the outcomes of sent-to
EMAIL_OPTIONS = {"purpose": "email_purpose", "audience": "email_audience"}
STANDARD = {"status": "status", "country": "location.country_code", "source_original": "source"}


def campaigns(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign, drafts too; `updated_at` is when it was sent, for nothing says when it was changed."""
    created = column(records, "create_time").fillna(column(records, "send_time"))
    return core_rows(
        records, context, records["id"],
        campaign_id=records["id"], account_id=context.account.id, name=column(records, "settings.title"),
        status=column(records, "status"), campaign_type="email", channel="email", is_deleted=False,
        updated_at=utc(column(records, "send_time").fillna(created)),
        date_day=local_day(created, context.config.zone),
    )  # fmt: skip


def email_sends(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign that was sent, or is to be."""
    options, sent = context.settings.options, column(records, "send_time")
    return core_rows(
        records, context, records["id"],
        send_id=records["id"], name=column(records, "settings.title"),
        subject_hash=digest(column(records, "settings.subject_line")),
        **{name: column(records, options.get(option, "")) for name, option in EMAIL_OPTIONS.items()},
        sent_at=utc(sent), date_day=local_day(sent, context.config.zone), is_deleted=False,
        updated_at=utc(sent.fillna(column(records, "create_time"))),
    )  # fmt: skip


def summaries(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign with a report: what Mailchimp counts. What is not tracked is unknown, and not 0.

    Machines are among the opens. Who bounced is not delivered to, as Mailchimp has it.
    """
    rows = records[column(records, "report.emails_sent").notna() & column(records, "send_time").notna()]
    rows = rows[~column(rows, "type").isin(AUTOMATED)]
    counts = {
        name: pd.to_numeric(column(rows, f"report.{path}"), errors="coerce").astype("Int64")
        for name, path in COUNTS.items()
    }
    bounces = counts.pop("hard") + counts.pop("soft")
    no_opens = column(rows, "tracking.opens").eq(False)
    no_clicks = column(rows, "tracking.html_clicks").eq(False) & column(rows, "tracking.text_clicks").ne(True)
    sent = column(rows, "send_time")
    counts["opens"], counts["clicks"] = counts["opens"].mask(no_opens), counts["clicks"].mask(no_clicks)
    return core_rows(
        rows, context, rows["id"],
        send_id=rows["id"], campaign_id=rows["id"], sent_at=utc(sent), updated_at=utc(sent),
        date_day=local_day(sent, context.config.zone), bounces=bounces, deliveries=counts["sends"] - bounces, **counts,
    )  # fmt: skip


COUNTS = {
    "sends": "emails_sent", "opens": "opens.unique_opens", "clicks": "clicks.unique_subscriber_clicks",
    "unsubscribes": "unsubscribed", "hard": "bounces.hard_bounces", "soft": "bounces.soft_bounces",
}  # fmt: skip


def outcomes(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """Two rows per recipient: that it was sent, and whether it came; the latter changes with what Mailchimp says."""
    require(records, "status")
    status = records["status"].fillna("no status")
    kind = status.map(OUTCOMES).fillna(status)
    each = (("sent", pd.Series("sent", index=records.index)), ("outcome", kind))
    return pd.concat([_events(records, context, name, what, column(records, "send_time")) for name, what in each])


def activities(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per open and click. Whether a machine did it is not told."""
    rows = records[column(records, "action").isin(ACTIONS)]
    return _events(rows, context, _action_id(rows), rows["action"].map(ACTIONS), column(rows, "timestamp"))


def clicks(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    rows = records[column(records, "action").eq("click")]
    return click_touches(
        rows, context, _event_id(rows, _action_id(rows)), recipient=column(rows, "email_address"),
        at=column(rows, "timestamp"), campaign_id=column(rows, "campaign_id"),
    )  # fmt: skip


def unsubscriptions(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per recipient who left by a campaign."""
    kind = pd.Series("unsubscribe", index=records.index)
    return _events(records, context, kind, kind, column(records, "timestamp"))


def late(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """The rows of all three, by the stream (`of`) that reads each in the nights."""
    mappings = {"sent_to": outcomes, "email_activity": activities, "unsubscribed": unsubscriptions}
    parts = {name: records[records["of"] == name] for name in mappings}
    return pd.concat([mappings[name](part, context) for name, part in parts.items() if len(part)] or [records[:0]])


def _events(
    records: pd.DataFrame, context: MappingContext, name: pd.Series | str, kind: pd.Series, at: pd.Series
) -> pd.DataFrame:
    sent, campaign = column(records, "send_time"), records["campaign_id"]
    return event_rows(
        records, context, _event_id(records, name),
        send_id=campaign, campaign_id=campaign, recipient_hash=column(records, "email_address"), event_type=kind,
        sent_at=sent.mask(column(records, "campaign_type").isin(AUTOMATED), None), event_at=at, is_machine=None,
    )  # fmt: skip


def _event_id(records: pd.DataFrame, name: pd.Series | str) -> pd.Series:
    recipient = records["campaign_id"].astype("string") + ":" + records["email_id"].astype("string")
    return (recipient + ":" + name).astype(object)


def _action_id(records: pd.DataFrame) -> pd.Series:
    link = column(records, "url").astype("string").fillna("")
    return column(records, "action").astype("string") + ":" + column(records, "timestamp").astype("string") + ":" + link


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per member of an audience, where `options` says who counts as a lead: all, or those with a tag.

    Who does not, or not any more, is deleted: in the archive, without the tag, or not confirmed (yet).
    """
    wanted = leads_wanted(context.config, context.source)
    rows = records if wanted else records[:0]
    status, tags = column(rows, "status"), column(rows, "tags").map(_names, na_action="ignore")
    chosen = tags.map(lambda names: isinstance(names, list) and wanted in names) | (wanted == "all")
    opted = column(rows, "timestamp_signup").fillna(column(rows, "timestamp_opt"))
    return lead_rows(
        rows, context, rows["contact_id"], STANDARD, email=column(rows, "email_address"),
        created=opted.fillna(column(rows, "last_changed")), updated=column(rows, "last_changed"),
        is_deleted=~chosen.astype(bool) | status.isin(["archived", "pending"]),
    )  # fmt: skip


def _names(tags: object) -> list[str]:
    return [str(tag.get("name")) for tag in tags if isinstance(tag, dict)] if isinstance(tags, list) else []


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per member and address: who has changed theirs is known by both."""
    ids = records["contact_id"]
    return email_links(
        records, context, ids, person_key(context, ids), column(records, "email_address"),
        column(records, "last_changed"),
    )  # fmt: skip
