"""The registry of sources. To add one: write `connectors/<source>.py` with a `SOURCE`, and list it here."""

from __future__ import annotations

from b2b_pipeline.connectors import ecb, google_ads, hubspot, salesforce
from b2b_pipeline.connectors.base import Source

SOURCES: dict[str, Source] = {module.SOURCE.name: module.SOURCE for module in (google_ads, hubspot, salesforce, ecb)}
