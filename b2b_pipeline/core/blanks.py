"""Rows that give a part: what they give counts, and of what they do not give their day is incomplete."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, exists, func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_cells import COUNTED, SUMMED
from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.core.given import Facts, Need, stated_by
from b2b_pipeline.warehouse.tables import email_event, email_summary, metadata

BLANK = "empty cells"  # the stream under which they are reported in `coverage`, with `table.column` as account


def of_blanks(connection: Connection, config: Config) -> Iterator[dict[str, Any]]:
    """Rows of `coverage`: the days of ads or e-mail of which a row lacks its cost or a count that others give."""
    facts = Facts(connection, config)
    yield from _of_recipients(connection, config, facts)
    for table, name, what in ((table, *item) for table, columns in COUNTED.items() for item in columns.items()):
        given = [Need(table, (name,)), *([Need("email_event", (SUMMED[name],))] if table == "email_summary" else [])]
        if all(facts.why_not(need) for need in given):
            continue  # nobody gives it: then it is NULL altogether, and no day is better than another
        rows = metadata.tables[table].c
        place = (rows.source, rows.source_account, rows.date_day)
        query = select(*place, func.count().label("n")).where(rows[name].is_(None)).group_by(*place).order_by(*place)
        reasons: dict[tuple[Any, str], list[str]] = {}
        for source, account, day, n in connection.execute(query):
            where = account if source == FILES else f"{source} ({account})"
            reason = f"{n} row{'s' if n > 1 else ''} of {where} {'have' if n > 1 else 'has'} no {what}"
            reasons.setdefault((day, source), []).append(reason)
        for (day, source), told in reasons.items():
            yield {
                "source": source, "stream": BLANK, "source_account": f"{table}.{name}", "date_day": day,
                "is_complete": False, "reason": "; ".join(told),
            }  # fmt: skip


def _of_recipients(connection: Connection, config: Config, facts: Facts) -> Iterator[dict[str, Any]]:
    """The days of sends whose recipients a file gives without one type of event, which nothing else gives of them."""
    mails = [mapping for mapping in config.files.values() if mapping.tables.email_event is not None]
    event = email_event.c
    query = select(event.source_account, event.event_type).where(event.source == FILES).distinct()
    seen: dict[str, set[str]] = {}
    for account, kind in connection.execute(query) if mails else ():
        seen.setdefault(account, set()).add(kind)
    stated: dict[str, frozenset[str]] = {}
    for mapping in mails:
        fed = [account for account in seen if mapping.matches(account)]
        kinds = stated_by(mapping, email_event.name, set[str]().union(*(seen[account] for account in fed)))
        stated |= dict.fromkeys(fed, kinds)
    for name, kind in SUMMED.items():
        silent = sorted(account for account, kinds in stated.items() if kind not in kinds)
        others = (Need(email_event.name, (kind,)), Need(email_summary.name, (name,)))
        if silent and not all(facts.why_not(need) for need in others):
            yield from _untold(connection, silent, name, kind)


def _untold(connection: Connection, accounts: list[str], name: str, kind: str) -> Iterator[dict[str, Any]]:
    event, other, summed = email_event.c, email_event.alias().c, email_summary.c
    told = exists().where(other.source == event.source, other.send_id == event.send_id, other.event_type == kind)
    counted = exists().where(summed.source == event.source, summed.send_id == event.send_id, summed[name].is_not(None))
    sends = (
        select(event.source_account, event.date_day, func.count(event.send_id.distinct()))
        .where(event.source == FILES, event.source_account.in_(accounts), ~told, ~counted)
        .group_by(event.source_account, event.date_day)
        .order_by(event.date_day, event.source_account)
    )
    reasons: dict[Any, list[str]] = {}
    for account, day, n in connection.execute(sends):
        reasons.setdefault(day, []).append(f"of {n} send{'s' if n > 1 else ''} of {account} nothing gives {name}")
    for day, of_day in reasons.items():
        yield {
            "source": FILES, "stream": BLANK, "source_account": f"{email_event.name}.{kind}", "date_day": day,
            "is_complete": False, "reason": "; ".join(of_day),
        }  # fmt: skip
