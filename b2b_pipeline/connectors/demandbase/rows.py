"""Demandbase's records as rows of the core tables: frame in, frame out, by docs/semantics.md.

Touches of accounts: their record is an account of the tenant, or a company of Demandbase's data, and never a person's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from b2b_pipeline.connectors.columns import column, core_rows, local_day, start_of_day, text, utc

if TYPE_CHECKING:
    from b2b_pipeline.connectors.base import MappingContext

ACCOUNT, COMPANY = "demandbase:account:", "demandbase:company:"
DAY = r"\d{4}-\d\d-\d\d"


def engagement(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per activity of an account; one of none is nobody's touch. A date without a time is that day."""
    at, account, identifier = (column(records, name) for name in ("activity_date", "account_id", "id"))
    is_day = at.astype("string").str.fullmatch(DAY).fillna(False).astype(bool)
    days = at.where(is_day, None)
    rows = _rows(
        records, context, identifier, "demandbase:activity:" + identifier.astype("string"),
        _key(ACCOUNT, account), account, column(records, "account_domain"), "account_engagement",
        touched_at=_starts(days, context).where(is_day, utc(at)),
        date_day=days.where(is_day, local_day(at, context.config.zone)),
        asset=column(records, "activity_type"), evidence=None,
    )  # fmt: skip
    return rows[account.notna()]


def intent(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
    """One row per company, keyword and period, on its last day. Its number is not that of an account: the domain joins
    them."""
    company, keyword, day = text(column(records, "companyId")), column(records, "keyword"), column(records, "endDate")
    parts = (company, text(column(records, "keywordSetId")), column(records, "startDate"), day, keyword)
    touch = pd.Series("demandbase:intent", index=records.index, dtype="string")
    for part in parts:
        touch = touch + ":" + part.astype("string").fillna("")
    return _rows(
        records, context, company, touch, _key(COMPANY, company), None, column(records, "domain"), "intent",
        touched_at=_starts(day, context), date_day=day, asset=keyword, evidence=column(records, "intentStrength"),
    )  # fmt: skip


def _rows(
    records: pd.DataFrame, context: MappingContext, source_id: pd.Series, touch_id: pd.Series, record_key: pd.Series,
    account_id: pd.Series | None, domain: pd.Series, touch_type: str, **columns: Any,
) -> pd.DataFrame:  # fmt: skip
    """No channel: Demandbase's words for what an account did are not those of ours."""
    return core_rows(
        records, context, source_id, touch_id=touch_id.astype(object), record_key=record_key, account_id=account_id,
        account_domain=domain.astype("string").str.strip().str.lower().astype(object), touch_type=touch_type,
        channel=None, campaign_id=None, is_deleted=False, updated_at=columns["touched_at"], **columns,
    )  # fmt: skip


def _key(prefix: str, ids: pd.Series) -> pd.Series:
    return (prefix + ids.astype("string")).astype(object).where(ids.notna(), None)


def _starts(days: pd.Series, context: MappingContext) -> pd.Series:
    return start_of_day(days, context.config.zone, pd.Series(None, index=days.index, dtype=object))
