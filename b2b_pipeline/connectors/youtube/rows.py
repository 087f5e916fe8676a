"""YouTube's records as rows of the core tables: frame in, frame out, by docs/semantics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext


def content(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day of a channel, of all its videos together: in the place of a video's id stands the channel's."""
    day = column(records, "day")
    counts = {"video_views": "views", "likes": "likes", "comments": "comments", "shares": "shares"}
    return core_rows(
        records, context, context.account.id + "@" + day.astype(str), date_day=day, account_id=context.account.id,
        post_id=context.account.id, network="youtube", counted="day", title=None, url=None, content_type="video",
        topic=None, published_at=None, impressions=None, reach=None, clicks=None, other_interactions=None,
        **{ours: column(records, theirs) for ours, theirs in counts.items()},
    )  # fmt: skip
