"""X's records as rows of the core tables: frame in, frame out, by docs/semantics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, followed_rows, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

NETWORK = "x"


def community(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per night: how many followed the account then."""
    is_public = column(records, "protected").map({True: False, False: True}).astype(object)
    followers = column(records, "public_metrics.followers_count")
    return followed_rows(records, context, followers, NETWORK, column(records, "username"), is_public)


def content(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per post and night: what had become of it until then, unpaid. Shares are reposts, and posts that quote
    it, which are never paid."""
    post, day = column(records, "id"), column(records, "day")
    counts = {"impressions": "impression_count", "clicks": "url_link_clicks", "likes": "like_count",
              "comments": "reply_count"}  # fmt: skip
    reposts, quotes = column(records, "organic_metrics.retweet_count"), column(records, "public_metrics.quote_count")
    return core_rows(
        records, context, post.astype(str) + "@" + day.astype(str), date_day=day, account_id=context.account.id,
        post_id=post, network=NETWORK, counted="to_date", title=None, url="https://x.com/i/status/" + post.astype(str),
        content_type=None, topic=None, published_at=utc(column(records, "created_at")), reach=None, video_views=None,
        other_interactions=None,
        shares=reposts.astype("Int64") + quotes.astype("Int64"),
        **{ours: column(records, f"organic_metrics.{theirs}") for ours, theirs in counts.items()},
    )  # fmt: skip
