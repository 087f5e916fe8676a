"""Reports of Google Analytics as rows of the core table `web_traffic_daily`, each at a level of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from b2b_pipeline.connectors.columns import NOT_AT_THIS_LEVEL, channel_of, column, core_rows

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext

EMPTY = "(empty)"  # in the place of no text: a key is never empty, and Google's "(not set)" is another row


def of_property(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day of the property. Users of several days are more than there are: they are never summed."""
    return _traffic(records, context, "property", users=column(records, "totalUsers"))


def of_source(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per source, medium and campaign (its name, as `utm_campaign` had it) and day of the property."""
    medium = column(records, "sessionMedium")
    channel = channel_of(
        context.config.channels, click_ids={}, utm_medium=medium, vendor_source=medium,
        vendor_rules=context.channels("ga4_medium"), index=records.index,
    )  # fmt: skip
    campaign = column(records, "sessionCampaignName")
    return _traffic(
        records, context, "source", channel=channel, utm_source=column(records, "sessionSource").fillna(EMPTY),
        utm_medium=medium.fillna(EMPTY), campaign_id=campaign.fillna(EMPTY), campaign_name=campaign,
    )  # fmt: skip


def of_landing_page(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per landing page, without its query, and day of the property."""
    return _traffic(records, context, "landing_page", landing_page=column(records, "landingPage").fillna(EMPTY))


def _traffic(records: pd.DataFrame, context: MappingContext, level: str, **columns: Any) -> pd.DataFrame:
    at = dict.fromkeys(("utm_source", "utm_medium", "campaign_id", "landing_page"), NOT_AT_THIS_LEVEL)
    rows = core_rows(
        records, context, column(records, "date"), date_day=column(records, "date"), property_id=context.account.id,
        level=level, account_tz=context.account.time_zone,
        sessions=column(records, "sessions"), engaged_sessions=column(records, "engagedSessions"),
        new_users=column(records, "newUsers"), pageviews=column(records, "screenPageViews"),
        key_events=column(records, "keyEvents"), engagement_seconds=column(records, "userEngagementDuration"),
        **{**at, "channel": None, "campaign_name": None, "users": None, **columns},
    )  # fmt: skip
    return rows.astype(object)
