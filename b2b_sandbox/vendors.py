"""The vendors: where each is mounted, and the module that is it, with its `routes` and its `DIALECT`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.routing import BaseRoute

from b2b_sandbox import (
    demandbase,
    discourse,
    ecb,
    google_ads,
    hubspot,
    linkedin_ads,
    linkedin_pages,
    meta_ads,
    microsoft_ads,
    pipedrive,
    reddit_ads,
    salesforce,
    tiktok_ads,
    x_ads,
    youtube,
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
    "discourse": discourse,
    "demandbase": demandbase,
    "linkedin_pages": linkedin_pages,
    "youtube": youtube,
}  # fmt: skip
