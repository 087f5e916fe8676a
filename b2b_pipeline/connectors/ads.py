"""What rows of ad platforms have in common: spend by campaign and day of the account, and campaigns as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from b2b_pipeline.connectors.columns import NOT_AT_THIS_LEVEL, core_rows

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext


def spend_rows(
    records: pd.DataFrame, context: MappingContext, campaign_id: pd.Series, date_day: pd.Series, **columns: Any
) -> pd.DataFrame:
    """`spend`: one row per campaign and day. Money is in the account's currency and days are of its time zone, unless
    the records say so themselves.

    `columns`: channel, campaign_name, impressions, clicks, conversions_platform, conv_value_platform, spend.
    """
    about = {"currency": context.account.currency, "account_tz": context.account.time_zone, **columns}
    rows = core_rows(
        records, context, campaign_id, date_day=date_day, account_id=context.account.id, campaign_id=campaign_id,
        ad_group_id=NOT_AT_THIS_LEVEL, ad_id=NOT_AT_THIS_LEVEL, level="campaign", **about,
    )  # fmt: skip
    return rows.astype(object)


def campaign_rows(
    records: pd.DataFrame, context: MappingContext, campaign_id: pd.Series, **columns: Any
) -> pd.DataFrame:
    """`campaign`: one row per campaign as it is now. Without `updated_at` among the columns the newer pull wins.

    `columns`: name, status, campaign_type, channel, is_deleted.
    """
    about = {"updated_at": None, "date_day": None, **columns}
    rows = core_rows(records, context, campaign_id, campaign_id=campaign_id, account_id=context.account.id, **about)
    return rows.astype(object)
