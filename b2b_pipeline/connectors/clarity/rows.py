"""Clarity's metrics as rows of `web_behaviour_daily`. What it does not give is NULL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import NOT_AT_THIS_LEVEL, column, core_rows, decimal_text

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

COUNTED = {
    "dead_clicks": "DeadClickCount", "rage_clicks": "RageClickCount", "excessive_scrolls": "ExcessiveScroll",
    "quickbacks": "QuickbackClick", "script_errors": "ScriptErrorCount", "error_clicks": "ErrorClickCount",
}  # fmt: skip
USERS = ("distinctUserCount", "distantUserCount")  # as it is answered, and as it is documented


def site(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day: the project as a whole."""
    users = (column(records, f"Traffic.{name}") for name in USERS)
    return _rows(records, context, "property", pd.Series(NOT_AT_THIS_LEVEL, index=records.index),
        sessions=column(records, "Traffic.totalSessionCount"), users=next(users).combine_first(next(users)),
        bot_sessions=column(records, "Traffic.totalBotSessionCount"),
        depth=column(records, "ScrollDepth.averageScrollDepth"),
        **{name: column(records, f"{metric}.subTotal") for name, metric in COUNTED.items()},
    )  # fmt: skip


def pages(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day and page. Of a page under several addresses clicks are summed; sessions and users, who may be in
    several, are not."""
    traffic = column(records, "Traffic")
    return _rows(records, context, "page", records["url"],
        sessions=traffic.map(lambda rows: _only(rows, "totalSessionCount")),
        users=traffic.map(lambda rows: next(filter(None, (_only(rows, name) for name in USERS)), None)),
        bot_sessions=traffic.map(lambda rows: _only(rows, "totalBotSessionCount")),
        depth=column(records, "ScrollDepth").map(lambda rows: _only(rows, "averageScrollDepth")),
        **{name: column(records, metric).map(_sum) for name, metric in COUNTED.items()},
    )  # fmt: skip


def _rows(
    records: pd.DataFrame, context: MappingContext, level: str, url: pd.Series, *, sessions: pd.Series,
    depth: pd.Series, **columns: pd.Series,
) -> pd.DataFrame:  # fmt: skip
    nothing = pd.Series(None, index=records.index, dtype=object)
    product = pd.to_numeric(sessions, errors="coerce") * pd.to_numeric(depth, errors="coerce")
    return core_rows(
        records, context, context.account.id + " " + url.astype(str),
        date_day=records["day"], property_id=context.account.id, level=level, url=url, sessions=sessions,
        pageviews=nothing, engagement_seconds=nothing, active_seconds=nothing,
        scroll_depth_sum=decimal_text(product.round(6).astype(object).where(product.notna(), None)), **columns,
    )  # fmt: skip


def _only(rows: Any, name: str) -> Any:
    return rows[0].get(name) if isinstance(rows, list) and len(rows) == 1 else None


def _sum(rows: Any) -> Any:
    """Of a metric without a row nothing is known; a count that is none stays, which the contract refuses."""
    found = [row.get("subTotal") for row in rows] if isinstance(rows, list) else []
    try:
        return sum(map(int, found)) if found else None
    except (TypeError, ValueError):
        return next((f"{value}" for value in found if not str(value).isdecimal()), None)
