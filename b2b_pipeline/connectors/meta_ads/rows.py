"""Meta's insights and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, utc

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"
CONVERSIONS = "lead"  # all leads, of forms at Meta and of the website: the sum that Meta makes of its kinds of them


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account. Clicks are all clicks, as Ads Manager's "Clicks (all)".

    Conversions are actions of the type that `options.conversions` names, each as the attribution of its ad set has it.
    """
    types = {word.strip() for word in context.settings.options.get("conversions", CONVERSIONS).split(",")}
    return spend_rows(
        records, context, column(records, "campaign_id"), column(records, "date_start"),
        channel=CHANNEL, campaign_name=column(records, "campaign_name"),
        impressions=column(records, "impressions"), clicks=column(records, "clicks"),
        conversions_platform=_total(records, "actions", types),
        conv_value_platform=_total(records, "action_values", types),
        spend=column(records, "spend"), currency=column(records, "account_currency"),
    )  # fmt: skip


def campaign(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign, archived and deleted ones too, as it is now."""
    status = column(records, "effective_status")
    return campaign_rows(
        records, context, column(records, "id"), name=column(records, "name"), status=status,
        campaign_type=column(records, "objective"), channel=CHANNEL, is_deleted=status == "DELETED",
        updated_at=utc(column(records, "updated_time")),
    )  # fmt: skip


def _total(records: pd.DataFrame, name: str, types: set[str]) -> pd.Series:
    """What the actions of these types come to. Meta leaves out the lists, and the types, that have nothing in them."""

    def total(actions: Any) -> str:
        listed = actions if isinstance(actions, list) else []
        return str(sum((Decimal(each["value"]) for each in listed if each["action_type"] in types), Decimal(0)))

    return column(records, name).map(total).astype(object)
