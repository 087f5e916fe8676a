"""Meta's insights and campaigns as rows of the core tables `spend` and `campaign`."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.ads import campaign_rows, spend_rows
from b2b_pipeline.connectors.columns import column, utc

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import SourceConfig
    from b2b_pipeline.connectors.base import MappingContext

CHANNEL = "paid_social"
CONVERSIONS = "lead"  # all leads, of forms at Meta and of the website: the sum that Meta makes of its kinds of them
# Types of actions that Meta has: of these, what is left out is 0. Custom conversions have types of their own.
# https://developers.facebook.com/docs/marketing-api/reference/ads-action-stats, and what public connectors recorded.
KNOWN = {
    CONVERSIONS, "onsite_conversion.lead_grouped", "leadgen_grouped", "offsite_conversion.fb_pixel_lead",
    "complete_registration", "omni_complete_registration", "offsite_conversion.fb_pixel_complete_registration",
    "purchase", "omni_purchase", "offsite_conversion.fb_pixel_purchase", "contact_total", "schedule_total",
    "submit_application_total", "start_trial_total", "subscribe_total", "link_click",
}  # fmt: skip


def spend(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per campaign and day of the account. Clicks are all clicks, as Ads Manager's "Clicks (all)".

    Conversions are actions of the type that `options.conversions` names, each as the attribution of its ad set has it.
    """
    types = conversions(context.settings)
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


def conversions(settings: SourceConfig) -> set[str]:
    """The types of actions that count as conversions."""
    return {word.strip() for word in settings.options.get("conversions", CONVERSIONS).split(",")}


def _total(records: pd.DataFrame, name: str, types: set[str]) -> pd.Series:
    """What the actions of these types come to. Meta leaves out lists, and types, that have nothing in them: of a type
    that we know that is 0. One that no record has may be misspelt: then neither it nor a sum with it is known.
    """
    lists = column(records, name)
    if types - KNOWN - named(lists):
        return pd.Series(None, index=records.index, dtype=object)
    return lists.map(lambda listed: _sum(listed if isinstance(listed, list) else [], types)).astype(object)


def named(lists: Iterable[Any]) -> set[str]:
    """The types of actions in lists of them."""
    return {each.get("action_type") for listed in lists if isinstance(listed, list) for each in listed}


def _sum(listed: list[Any], types: set[str]) -> str:
    """As text; what is no number stays to be seen."""
    values = [each.get("value") for each in listed if each.get("action_type") in types]
    try:
        return str(sum(map(Decimal, values), Decimal(0)))
    except (InvalidOperation, TypeError):
        return str(values)
