"""Discourse's records as rows of the core tables: frame in, frame out, by docs/semantics.md."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

NETWORK = "forum"


def community(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day of the forum. Page views are not read."""
    day, login = column(records, "date"), column(records, "login_required")
    return core_rows(
        records, context, day, date_day=day, community_id=context.account.id, community_name=column(records, "title"),
        network=NETWORK, is_public=login.map({True: False, False: True}).astype(object),
        members=column(records, "members"), new_members=column(records, "signups"),
        active_members=column(records, "daily_engaged_users"), topics=column(records, "topics"),
        posts=column(records, "posts"), likes=column(records, "likes"), pageviews=None,
    )  # fmt: skip
