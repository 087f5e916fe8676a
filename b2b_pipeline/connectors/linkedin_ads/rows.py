"""LinkedIn's reports and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, text, utc_from_ms

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"
DELETED = ("REMOVED", "PENDING_DELETION")


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day in UTC. Conversions are those of the website; what forms bring are leads.

    LinkedIn sums money in floating point ("99.99999999999996", "-2E-18"): the table's six decimals put that right.
    """
    return spend_rows(
        records, context, column(records, "campaign"), column(records, "day"),
        channel=CHANNEL, campaign_name=column(records, "campaignName"),
        impressions=column(records, "impressions"), clicks=column(records, "clicks"),
        conversions_platform=column(records, "externalWebsiteConversions"),
        conv_value_platform=column(records, "conversionValueInLocalCurrency"),
        spend=column(records, "costInLocalCurrency"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign as it is now."""
    status = column(records, "status")
    return campaign_rows(
        records, context, text(column(records, "id")), name=column(records, "name"), status=status,
        campaign_type=column(records, "type"), channel=CHANNEL, is_deleted=status.isin(DELETED),
        updated_at=utc_from_ms(column(records, "changeAuditStamps.lastModified.time")),
    )  # fmt: skip
