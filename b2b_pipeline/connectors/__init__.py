"""The registry of sources. To add one: write `connectors/<source>.py` with a `SOURCE`, and list it here."""

from __future__ import annotations

from b2b_pipeline.connectors.base import Source

SOURCES: dict[str, Source] = {}
