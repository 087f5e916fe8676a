"""The vendors: where each is mounted, and the module that is it, with its `routes` and its `DIALECT`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from starlette.routing import BaseRoute

from b2b_sandbox import (
    clarity,
    collector,
    ecb,
    google_ads,
    hubspot,
    linkedin_ads,
    meta_ads,
    microsoft_ads,
    pipedrive,
    reddit_ads,
    salesforce,
    tiktok_ads,
    x_ads,
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
    "collector": collector,
    "clarity": clarity,
}  # fmt: skip
