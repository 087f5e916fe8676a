"""What the address of a page tells of a visit: page, UTM parameters, by which click ids. No more of it is kept."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from b2b_pipeline.connectors.columns import channel_of, column

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.configuration.config import Channels


def visit(url: str | None, click_ids: Collection[str]) -> dict[str, Any]:
    """Without the rest of its query, which may hold anything of anybody; of click ids only which there are."""
    try:
        parts = urlsplit(url or "")
        host = parts.hostname or ""
    except ValueError:  # brackets of no IPv6 address
        parts, host = urlsplit(""), ""
    query = {name.lower(): value for name, value in parse_qsl(parts.query) if value.strip()}
    return {
        "page": f"{parts.scheme}://{host}{parts.path}" if host else None,
        "utm_medium": query.get("utm_medium"), "utm_campaign": query.get("utm_campaign"),
        "click_ids": [name for name in click_ids if name in query],
    }  # fmt: skip


def channel_of_visit(records: pd.DataFrame, rules: Channels) -> pd.Series:
    """The channel of what `visit` told, by the channel rules; null where it told nothing."""
    medium, clicked = column(records, "utm_medium"), column(records, "click_ids")
    clicks = {name: clicked.map(lambda names, name=name: _if_in(names, name)) for name in rules.click_ids}
    channel = channel_of(
        rules, click_ids=clicks, utm_medium=medium, vendor_source=None, vendor_rules={}, index=records.index
    )
    told = medium.notna() | clicked.map(lambda names: bool(names) if isinstance(names, list) else False).astype(bool)
    return channel.where(told, None)


def _if_in(names: Any, name: str) -> str | None:
    return name if isinstance(names, list) and name in names else None
