"""The records of LinkedIn pages as rows of the core tables: frame in, frame out, by docs/semantics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, followed_rows

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

TOTAL = "totalShareStatistics."
NETWORK = "linkedin"


def content(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day of a page, of all its posts together: in the place of a post's id stands the page's."""
    day = column(records, "day")
    counts = {
        "impressions": "impressionCount", "reach": "uniqueImpressionsCount", "clicks": "clickCount",
        "likes": "likeCount", "comments": "commentCount", "shares": "shareCount",
    }  # fmt: skip
    return core_rows(
        records, context, context.account.id + "@" + day.astype(str), date_day=day, account_id=context.account.id,
        post_id=context.account.id, network=NETWORK, counted="day", title=None, url=None, content_type=None,
        topic=None, published_at=None, video_views=None, other_interactions=None,
        **{ours: column(records, TOTAL + theirs) for ours, theirs in counts.items()},
    )  # fmt: skip


def community(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per night: how many followed the page then."""
    return followed_rows(records, context, column(records, "firstDegreeSize"), NETWORK, None, is_public=True)
