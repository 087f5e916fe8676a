"""Microsoft's reports and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account. Conversions may be fractions, so they are the qualified ones."""
    return spend_rows(
        records, context, column(records, "CampaignId"), column(records, "TimePeriod"),
        channel=_channel(records, context), campaign_name=column(records, "CampaignName"),
        impressions=column(records, "Impressions"), clicks=column(records, "Clicks"),
        conversions_platform=column(records, "ConversionsQualified"), conv_value_platform=column(records, "Revenue"),
        spend=column(records, "Spend"), currency=column(records, "CurrencyCode"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign as it is now; those that were deleted are in no list."""
    return campaign_rows(
        records, context, column(records, "Id"), name=column(records, "Name"), status=column(records, "Status"),
        campaign_type=column(records, "CampaignType"), channel=_channel(records, context), is_deleted=False,
    )  # fmt: skip


def _channel(records: pd.DataFrame, context: MappingContext) -> pd.Series:
    rules = context.channels("microsoft_ads_type")
    words = column(records, "CampaignType").map(_plain, na_action="ignore")
    return words.map({_plain(word): channel for word, channel in rules.items()}).astype(object).fillna("other")


def _plain(word: str) -> str:
    return re.sub(r"[^a-z]", "", word.lower())
