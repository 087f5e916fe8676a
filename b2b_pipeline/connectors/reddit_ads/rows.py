"""Reddit's reports and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, units, utc

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account. Conversions are key conversions, by click and by view, as the
    account attributes them. What they are worth no field says: it has values by kind of event only.
    """
    return spend_rows(
        records, context, column(records, "campaign_id"), column(records, "date"),
        channel=CHANNEL, campaign_name=column(records, "campaign_name"),
        impressions=column(records, "impressions"), clicks=column(records, "clicks"),
        conversions_platform=column(records, "key_conversion_total_count"), conv_value_platform=None,
        spend=units(column(records, "spend")), currency=column(records, "currency"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign that Reddit lists, as it is now."""
    status = column(records, "effective_status")
    return campaign_rows(
        records, context, column(records, "id"), name=column(records, "name"), status=status,
        campaign_type=column(records, "objective"), channel=CHANNEL, is_deleted=status == "DELETED",
        updated_at=utc(column(records, "modified_at")),
    )  # fmt: skip
