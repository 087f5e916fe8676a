"""Leads that people left in a form inside an ad, of whatever platform: a record as below, as rows of the core tables.

    {"id", "submitted_at": ISO text or ms, "email", "company", "form_id", "form_name", "campaign_id", "ad_id"}

Who they are is known by the address alone; no other answer is kept. The platforms tell of no change of one, and of no
end: after some time they forget it, which is no reason to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from b2b_pipeline.connectors.columns import (
    column,
    core_rows,
    email_domain,
    email_links,
    excluded_by,
    local_day,
    of_one_channel,
    text,
    utc,
    utc_from_ms,
)

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext

CHANNEL, CAPTURED = "paid_social", "lead_ad"
FIELDS = ("id", "submitted_at", "email", "company", "form_id", "form_name", "campaign_id", "ad_id")


def leads(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per lead, with the company that was given."""
    email, at = column(records, "email"), _at(records)
    domain = email_domain(email)
    own = domain.where(domain.isin(context.config.exclude.email_domains), None)
    nothing = dict.fromkeys((
        "country", "region", "owner", "status", "lifecycle_stage", "source_latest", "converted_contact_id",
        "converted_account_id", "converted_opp_id", "converted_at", "merged_into", "dimensions",
    ))  # fmt: skip
    return core_rows(
        records, context, text(records["id"]), lead_id=text(records["id"]), record_key=_key(records, context),
        date_day=local_day(at, context.config.zone), created_at=at, updated_at=at, email_hash=email,
        email_domain=domain, company=column(records, "company"), source_original=context.source,
        capture_type=CAPTURED, is_converted=False, is_deleted=False, excluded_by=excluded_by(records).fillna(own),
        **nothing,
    )  # fmt: skip


def identity_links(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    return email_links(
        records, context, text(records["id"]), _key(records, context), column(records, "email"), _at(records)
    )


def form_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    return _rows(
        records, context, event_id=text(records["id"]), submitted_at=_at(records),
        form_id=text(column(records, "form_id")), form_name=column(records, "form_name"), page=None,
        capture_type=CAPTURED, session_id=None,
    )  # fmt: skip


def touchpoints(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    key = _key(records, context)
    return _rows(
        records, context, touch_id=key, touched_at=_at(records), touch_type=CAPTURED, evidence=CAPTURED,
        account_id=None, account_domain=email_domain(column(records, "email")), asset=column(records, "form_name"),
    )  # fmt: skip


FEEDS = {"lead": leads, "identity_link": identity_links, "form_event": form_events, "touchpoint": touchpoints}
STATES = {"touchpoint": of_one_channel}


def _rows(records: pd.DataFrame, context: MappingContext, **columns: Any) -> pd.DataFrame:
    at = _at(records)
    return core_rows(
        records, context, text(records["id"]), record_key=_key(records, context), channel=CHANNEL,
        campaign_id=text(column(records, "campaign_id")), is_deleted=False, updated_at=at,
        date_day=local_day(at, context.config.zone), **columns,
    )  # fmt: skip


def _key(records: pd.DataFrame, context: MappingContext) -> pd.Series:
    return f"{context.source}:lead:" + text(records["id"]).astype("string").astype(object)


def _at(records: pd.DataFrame) -> pd.Series:
    """LinkedIn's are milliseconds, Meta's ISO text."""
    return utc(utc_from_ms(column(records, "submitted_at")))
