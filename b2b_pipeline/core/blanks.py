"""Rows that give a part: what they give counts, and of what they do not give their day is incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, func, select

from b2b_pipeline.config import Config
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.files.mapping import SUMMED
from b2b_pipeline.warehouse.tables import metadata

BLANK = "empty cells"  # the stream under which they are reported in `coverage`, with `table.column` as account
# Table -> column -> what an empty one lacks.
COUNTED = {
    "spend": {
        "spend": "cost", "impressions": "impressions", "clicks": "clicks", "conversions_platform": "conversions",
        "conv_value_platform": "value of conversions",
    },
    "email_summary": {name: name for name in SUMMED},
}  # fmt: skip


def of_blanks(connection: Connection, config: Config) -> Iterator[dict[str, Any]]:
    """Rows of `coverage`: the days of ads or e-mail of which a row lacks its cost or a count that others give."""
    facts = Facts(connection, config)
    for table, name, what in ((table, *item) for table, columns in COUNTED.items() for item in columns.items()):
        given = [Need(table, (name,)), *([Need("email_event", (SUMMED[name],))] if table == "email_summary" else [])]
        if all(facts.why_not(need) for need in given):
            continue  # nobody gives it: then it is NULL altogether, and no day is better than another
        rows = metadata.tables[table].c
        place = (rows.source, rows.source_account, rows.date_day)
        query = select(*place, func.count().label("n")).where(rows[name].is_(None)).group_by(*place).order_by(*place)
        reasons: dict[tuple[Any, str], list[str]] = {}
        for source, account, day, n in connection.execute(query):
            where = account if source == "files" else f"{source} ({account})"
            reason = f"{n} row{'s' if n > 1 else ''} of {where} {'have' if n > 1 else 'has'} no {what}"
            reasons.setdefault((day, source), []).append(reason)
        for (day, source), told in reasons.items():
            yield {
                "source": source, "stream": BLANK, "source_account": f"{table}.{name}", "date_day": day,
                "is_complete": False, "reason": "; ".join(told),
            }  # fmt: skip
