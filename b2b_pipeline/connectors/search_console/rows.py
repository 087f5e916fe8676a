"""Reports of Search Console as rows of the core table `search_console_daily`, each at a level of its own."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import NOT_AT_THIS_LEVEL, column, core_rows

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext


def of_site(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per day of the site."""
    return _searches(records, context, "site")


def of_query(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per query and day: what few people asked is not among them."""
    return _searches(records, context, "query", query=column(records, "query"))


def of_page(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per page and day. Two pages of the site among the results of one search count twice here."""
    return _searches(records, context, "page", page=column(records, "page"))


def _searches(records: pd.DataFrame, context: MappingContext, level: str, **columns: Any) -> pd.DataFrame:
    at = dict.fromkeys(("query", "page", "country", "device"), NOT_AT_THIS_LEVEL)
    impressions, position = column(records, "impressions"), column(records, "position")
    rows = core_rows(
        records, context, column(records, "date"), date_day=column(records, "date"), site=context.account.id,
        search_type="web", level=level, impressions=impressions, clicks=column(records, "clicks"),
        position_sum=[_product(*cells) for cells in zip(position, impressions, strict=True)], **{**at, **columns},
    )  # fmt: skip
    return rows.astype(object)


def _product(position: Any, impressions: Any) -> Any:
    """What is no number stays to be seen."""
    if pd.isna(position) or pd.isna(impressions):
        return None
    try:
        return Decimal(str(position)) * Decimal(str(impressions))
    except InvalidOperation:
        return f"{position} x {impressions}"
