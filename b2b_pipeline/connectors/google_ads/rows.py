"""Google Ads rows: what Google reports, as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, units

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account."""
    return spend_rows(
        records, context, column(records, "campaign.id"), column(records, "segments.date"),
        channel=_channel(records, context), campaign_name=column(records, "campaign.name"),
        impressions=column(records, "metrics.impressions"), clicks=column(records, "metrics.clicks"),
        conversions_platform=column(records, "metrics.conversions"),
        conv_value_platform=column(records, "metrics.conversionsValue"),
        spend=units(column(records, "metrics.costMicros")), currency=column(records, "customer.currencyCode"),
        account_tz=column(records, "customer.timeZone"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign as it is now. Google dates no change of it."""
    status = column(records, "campaign.status")
    return campaign_rows(
        records, context, column(records, "campaign.id"), name=column(records, "campaign.name"), status=status,
        campaign_type=column(records, "campaign.advertisingChannelType"), channel=_channel(records, context),
        is_deleted=status == "REMOVED",
    )  # fmt: skip


def _channel(records: pd.DataFrame, context: MappingContext) -> pd.Series:
    rules = context.channels("google_ads_type")
    return column(records, "campaign.advertisingChannelType").map(rules).astype(object).fillna("other")
