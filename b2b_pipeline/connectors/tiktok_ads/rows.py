"""TikTok's reports and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, utc

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import SourceConfig
    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"
CONVERSIONS = "conversion"  # what each ad group is optimized for, whatever that is; nothing tells what they are worth
VALUES = {"complete_payment": "total_complete_payment_rate"}  # whose name misleads: "total value of website purchases"


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account. Clicks are those that lead to the ad's destination.

    Conversions are what `options.conversions` names, on the day of the ad that brought them.
    """
    conversions = counted(context.settings)
    value = VALUES.get(conversions)
    return spend_rows(
        records, context, column(records, "dimensions.campaign_id"), column(records, "day"),
        channel=CHANNEL, campaign_name=column(records, "metrics.campaign_name"),
        impressions=column(records, "metrics.impressions"), clicks=column(records, "metrics.clicks"),
        conversions_platform=column(records, f"metrics.{conversions}"),
        conv_value_platform=column(records, f"metrics.{value}") if value else None,
        spend=column(records, "metrics.spend"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign, deleted ones too, as it is now. Times are UTC's."""
    status = column(records, "secondary_status")
    return campaign_rows(
        records, context, column(records, "campaign_id"), name=column(records, "campaign_name"), status=status,
        campaign_type=column(records, "objective_type"), channel=CHANNEL, is_deleted=status == "CAMPAIGN_STATUS_DELETE",
        updated_at=utc(column(records, "modify_time")),
    )  # fmt: skip


def counted(settings: SourceConfig) -> str:
    """The metric that counts as conversions."""
    return settings.options.get("conversions", CONVERSIONS).strip()
