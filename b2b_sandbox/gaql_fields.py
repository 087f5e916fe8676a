"""The Google Ads fields that the sandbox serves, as in the v26 protos, and which of them go together."""

from __future__ import annotations

_CAMPAIGN_STATUS = "enum ENABLED PAUSED REMOVED"
_CHANNEL_TYPE = (
    "enum SEARCH DISPLAY SHOPPING HOTEL VIDEO MULTI_CHANNEL LOCAL SMART PERFORMANCE_MAX LOCAL_SERVICES TRAVEL "
    "DEMAND_GEN"
)
_CUSTOMER_STATUS = "enum ENABLED CANCELED SUSPENDED CLOSED"

# Every field that the sandbox serves -> its type: int64, int32, double, string, bool, date, or an enum with its
# constants (an enum without any takes every constant).
FIELDS: dict[str, str] = {
    "customer.resource_name": "string",
    "customer.id": "int64",
    "customer.descriptive_name": "string",
    "customer.currency_code": "string",
    "customer.time_zone": "string",
    "customer.manager": "bool",
    "customer.test_account": "bool",
    "customer.status": _CUSTOMER_STATUS,
    "customer.conversion_tracking_setting.google_ads_conversion_customer": "string",
    "customer_client.resource_name": "string",
    "customer_client.client_customer": "string",
    "customer_client.hidden": "bool",
    "customer_client.level": "int64",
    "customer_client.time_zone": "string",
    "customer_client.test_account": "bool",
    "customer_client.manager": "bool",
    "customer_client.descriptive_name": "string",
    "customer_client.currency_code": "string",
    "customer_client.id": "int64",
    "customer_client.status": _CUSTOMER_STATUS,
    "campaign.resource_name": "string",
    "campaign.id": "int64",
    "campaign.name": "string",
    "campaign.status": _CAMPAIGN_STATUS,
    "campaign.advertising_channel_type": _CHANNEL_TYPE,
    "campaign.start_date_time": "string",
    "campaign.end_date_time": "string",
    "ad_group.resource_name": "string",
    "ad_group.id": "int64",
    "ad_group.name": "string",
    "ad_group.status": _CAMPAIGN_STATUS,
    "ad_group.type": "enum",
    "ad_group.campaign": "string",
    "conversion_action.resource_name": "string",
    "conversion_action.id": "int64",
    "conversion_action.name": "string",
    "conversion_action.status": "enum ENABLED REMOVED HIDDEN",
    "conversion_action.type": "enum",
    "conversion_action.category": "enum",
    "conversion_action.origin": "enum",
    "conversion_action.counting_type": "enum ONE_PER_CLICK MANY_PER_CLICK",
    "conversion_action.primary_for_goal": "bool",
    "conversion_action.include_in_conversions_metric": "bool",
    "conversion_action.click_through_lookback_window_days": "int64",
    "conversion_action.view_through_lookback_window_days": "int64",
    "segments.date": "date",
    "segments.week": "date",
    "segments.month": "date",
    "segments.quarter": "date",
    "segments.year": "int32",
    "segments.conversion_action": "string",
    "segments.conversion_action_name": "string",
    "segments.conversion_action_category": "enum",
    "metrics.impressions": "int64",
    "metrics.clicks": "int64",
    "metrics.cost_micros": "int64",
    "metrics.interactions": "int64",
    "metrics.engagements": "int64",
    "metrics.video_trueview_views": "int64",
    "metrics.conversions": "double",
    "metrics.conversions_value": "double",
    "metrics.all_conversions": "double",
    "metrics.view_through_conversions": "int64",
}

# FROM -> the resources whose fields may stand beside it.
RESOURCES: dict[str, tuple[str, ...]] = {
    "campaign": ("customer", "campaign", "segments", "metrics"),
    "ad_group": ("customer", "campaign", "ad_group", "segments", "metrics"),
    "customer": ("customer", "segments", "metrics"),
    "customer_client": ("customer", "customer_client"),
    "conversion_action": ("customer", "conversion_action"),
}

# Messages, which can only be selected by their members.
MESSAGES = ("campaign.network_settings", "customer.conversion_tracking_setting", "conversion_action.value_settings")
CORE_DATES = ("segments.date", "segments.week", "segments.month", "segments.quarter", "segments.year")
# The only metrics here that Google attributes to single conversion actions.
BY_CONVERSION_ACTION = ("metrics.conversions", "metrics.conversions_value", "metrics.all_conversions")


def camel(name: str) -> str:
    """A field's name in JSON: "cost_micros" -> "costMicros"."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)
