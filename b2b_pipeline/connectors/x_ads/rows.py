"""X's statistics and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, units, utc

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import SourceConfig
    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"
# https://docs.x.com/x-ads-api/analytics#metrics-and-segmentation, group WEB_CONVERSION
KINDS = {
    "purchases", "sign_ups", "site_visits", "downloads", "custom", "add_to_carts", "checkouts_initiated",
    "content_views", "payment_info_additions", "add_to_wishlists", "searches", "landing_page_views", "subscriptions",
}  # fmt: skip
CONVERSIONS = "sign_ups"  # X's word for leads


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account, over all placements. Money is in the campaign's own currency.

    Clicks are those on links. Conversions are of the kinds that `options.conversions` names. What they are worth is
    not known: X documents no unit of `sale_amount`.
    """
    kinds = [column(records, f"conversion_{kind}") for kind in conversions(context.settings)]
    return spend_rows(
        records, context, column(records, "campaign"), column(records, "day"),
        channel=CHANNEL, campaign_name=column(records, "campaignName"),
        impressions=column(records, "impressions"), clicks=column(records, "url_clicks"),
        conversions_platform=pd.concat(kinds, axis=1).astype("Int64").sum(axis=1, skipna=False),
        conv_value_platform=None, spend=units(column(records, "billed_charge_local_micro")),
        currency=column(records, "currency"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign, deleted ones too, as it is now. What it is for is told by its ad groups, not by itself."""
    return campaign_rows(
        records, context, column(records, "id"), name=column(records, "name"), status=column(records, "entity_status"),
        campaign_type=None, channel=CHANNEL, is_deleted=column(records, "deleted"),
        updated_at=utc(column(records, "updated_at")),
    )  # fmt: skip


def conversions(settings: SourceConfig) -> list[str]:
    """The kinds of web conversions that count."""
    return [word.strip() for word in settings.options.get("conversions", CONVERSIONS).split(",")]
