"""Product events as rows of the core table. Visits and forms: connectors/site_visits.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2b_pipeline.connectors.columns import column, email_key
from b2b_pipeline.connectors.site_visits import dated

if TYPE_CHECKING:
    import pandas as pd

    from b2b_pipeline.connectors.base import MappingContext


def product_events(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    return dated(
        records, context, "id", "occurred_at",
        event_id=records["id"], event_name=column(records, "name"), user_key=column(records, "user"),
        record_key=email_key(column(records, "email")), account_id=column(records, "account"),
        account_domain=column(records, "domain").astype("string").str.lower().astype(object), is_deleted=False,
    )  # fmt: skip
