"""Rows that give a part: what they give counts, and of what they do not give their day is incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, func, select

from b2b_pipeline.config import Config
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.warehouse.tables import spend

BLANK = "empty cells"  # the stream under which they are reported in `coverage`, with `table.column` as account
# Column of `spend` -> what an empty one lacks.
COUNTED = {
    "spend": "cost", "impressions": "impressions", "clicks": "clicks", "conversions_platform": "conversions",
    "conv_value_platform": "value of conversions",
}  # fmt: skip


def of_blanks(connection: Connection, config: Config) -> Iterator[dict[str, Any]]:
    """Rows of `coverage`: the days of ads of which a row lacks its cost or a count that others give."""
    facts = Facts(connection, config)
    for name, what in COUNTED.items():
        if facts.why_not(Need("spend", (name,))):
            continue  # nobody gives it: then it is NULL altogether, and no day is better than another
        query = (
            select(spend.c.source, spend.c.source_account, spend.c.date_day, func.count().label("n"))
            .where(spend.c[name].is_(None))
            .group_by(spend.c.source, spend.c.source_account, spend.c.date_day)
            .order_by(spend.c.source, spend.c.source_account, spend.c.date_day)
        )
        reasons: dict[tuple[Any, str], list[str]] = {}
        for source, account, day, n in connection.execute(query):
            place = account if source == "files" else f"{source} ({account})"
            reason = f"{n} row{'s' if n > 1 else ''} of {place} {'have' if n > 1 else 'has'} no {what}"
            reasons.setdefault((day, source), []).append(reason)
        for (day, source), told in reasons.items():
            yield {
                "source": source, "stream": BLANK, "source_account": f"spend.{name}", "date_day": day,
                "is_complete": False, "reason": "; ".join(told),
            }  # fmt: skip
