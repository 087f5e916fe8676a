"""Visits to the site, and forms sent in them, as rows of the core tables, whoever told of them: by docs/semantics.md.

A record of a visit tells of the page it began on (`page`, `referrer`, `utm_…`, `click_id`); that of a form has the same
of its visit under `visit`. A source that counts otherwise says itself whether a visit was engaged (`is_engaged`), and
that knows the campaign of an ad without any parameter its `campaign_id`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import channel_of, column, core_rows, email_key, local_day, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

TOLD = ("referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "click_id")


def sessions(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per visit. One that is none any more keeps its name alone."""
    engaged = pd.to_numeric(column(records, "engaged_ms"), errors="coerce") / 1000
    views, keys = (pd.to_numeric(column(records, name), errors="coerce") for name in ("pageviews", "key_events"))
    told, counted = column(records, "is_engaged"), (engaged >= 10) | (views >= 2) | (keys >= 1)
    return dated(
        records, context, "session_id", "started_at",
        session_id=records["session_id"], anonymous_id=column(records, "visitor"),
        record_key=email_key(column(records, "email")),
        pageviews=column(records, "pageviews"), key_events=column(records, "key_events"),
        engaged_seconds=column(records, "engaged_ms").map(_seconds, na_action="ignore"),
        landing_page=column(records, "page"), **{name: column(records, name) for name in TOLD},
        channel=_channel(records, context, ""), campaign_id=_campaign(records, ""),
        country=column(records, "country"), device=column(records, "device"),
        is_engaged=counted.where(told.isna(), told.eq(True)), is_bot=column(records, "is_bot").eq(True),
        is_deleted=column(records, "is_deleted").eq(True),
    )  # fmt: skip


def forms(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per form that was sent. One that a bot sent does not stand."""
    return dated(
        records, context, "id", "submitted_at",
        event_id=records["id"], record_key=email_key(column(records, "email")),
        **{name: column(records, name) for name in ("form_id", "form_name", "page", "capture_type")},
        channel=_channel(records, context, "visit."), campaign_id=_campaign(records, "visit."),
        session_id=column(records, "visit.session_id"), is_deleted=column(records, "visit.is_bot").eq(True),
    )  # fmt: skip


def dated(records: pd.DataFrame, context: MappingContext, key: str, at: str, **columns: Any) -> pd.DataFrame:
    """Rows that happened `at`, on that day where we report."""
    happened, updated = utc(column(records, at)), utc(column(records, "updated_at"))
    day = local_day(happened, context.config.zone)
    return core_rows(records, context, records[key], **{at: happened}, date_day=day, updated_at=updated, **columns)


def _campaign(records: pd.DataFrame, of: str) -> pd.Series:
    campaign = column(records, f"{of}utm_campaign")
    return campaign.where(campaign.notna(), column(records, f"{of}campaign_id"))


def same_site(one: str, other: str) -> bool:
    """www.example.com, example.com and shop.example.com."""
    one, other = one.removeprefix("www."), other.removeprefix("www.")
    return one == other or one.endswith(f".{other}") or other.endswith(f".{one}")


def _channel(records: pd.DataFrame, context: MappingContext, of: str) -> pd.Series:
    """By click id, then medium; where an address says nothing of that, by the site that led there."""
    click = column(records, f"{of}click_id")
    medium, source = column(records, f"{of}utm_medium"), column(records, f"{of}utm_source")
    rules, words = context.config.channels, context.channels("collector_referrer")
    referrer = column(records, f"{of}referrer")
    word = referrer.map(lambda host: _word(str(host), words), na_action="ignore").astype(object)
    word = word.where(word.notna(), "direct")
    is_tagged = medium.notna() | source.notna() | column(records, f"{of}utm_campaign").notna()
    # A form without its visit came from nowhere that is known.
    if of:
        is_tagged |= column(records, f"{of}session_id").isna()
    return channel_of(
        rules,
        click_ids={name: click.where(click.eq(name), None) for name in rules.click_ids}, utm_medium=medium,
        vendor_source=word.mask(is_tagged, None), vendor_rules=words, index=records.index,
    )  # fmt: skip


def _seconds(milliseconds: Any) -> Any:
    """As exact decimal text; what is no number stays, which the contract refuses."""
    try:
        return format(Decimal(str(milliseconds)).scaleb(-3), "f")
    except InvalidOperation:
        return milliseconds


def _word(host: str, words: Mapping[str, str]) -> str:
    """The longest domain that is told of, then a part of the name."""
    parts = host.split(".")
    domains = (".".join(parts[n:]) for n in range(len(parts)))
    return next((word for word in (*domains, *parts[:-1]) if word in words), "referral")
