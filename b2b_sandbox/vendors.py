"""The vendors: where each is mounted, and the module that is it, with its `routes` and its `DIALECT`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.routing import BaseRoute

from b2b_sandbox import (
    chargebee,
    clarity,
    collector,
    demandbase,
    discourse,
    dynamics,
    ecb,
    ga4,
    google_ads,
    hubspot,
    intercom,
    klaviyo,
    linkedin_ads,
    linkedin_pages,
    mailchimp,
    marketo,
    meta_ads,
    microsoft_ads,
    pipedrive,
    reddit_ads,
    salesforce,
    search_console,
    stripe,
    tiktok_ads,
    typeform,
    x,
    x_ads,
    youtube,
    zendesk,
    zoho_crm,
    zoom_webinars,
)
from b2b_sandbox.toolkit import Dialect


class Vendor(Protocol):
    """What a vendor's module has. `routes` takes the world, and options of the vendor's own."""

    routes: Callable[..., list[BaseRoute]]
    DIALECT: Dialect


VENDORS: dict[str, Vendor] = {
    "google_ads": google_ads, "hubspot": hubspot, "salesforce": salesforce, "pipedrive": pipedrive, "ecb": ecb,
    "linkedin_ads": linkedin_ads, "meta_ads": meta_ads, "microsoft_ads": microsoft_ads, "reddit_ads": reddit_ads,
    "tiktok_ads": tiktok_ads, "x_ads": x_ads,
    "dynamics": dynamics,
    "zoho_crm": zoho_crm,
    "mailchimp": mailchimp,
    "klaviyo": klaviyo,
    "stripe": stripe,
    "chargebee": chargebee,
    "discourse": discourse,
    "demandbase": demandbase,
    "linkedin_pages": linkedin_pages,
    "ga4": ga4,
    "search_console": search_console,
    "typeform": typeform,
    "zendesk": zendesk, "intercom": intercom,
    "marketo": marketo,
    "youtube": youtube,
    "x": x,
    "collector": collector,
    "clarity": clarity,
    "zoom_webinars": zoom_webinars,
}  # fmt: skip
