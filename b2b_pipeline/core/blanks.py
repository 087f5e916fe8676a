"""What is given in part counts, and of what is not given the day is incomplete: cells of rows, ads of a channel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, exists, func, select, true

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_cells import COUNTED, SUMMED
from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.given import Facts, Need, stated_by
from b2b_pipeline.warehouse.tables import community_daily, email_event, email_summary, metadata, spend, touchpoint

BLANK = "empty cells"  # the stream under which they are reported in `coverage`, with `table.column` as account
OF = {"community_daily": community_daily.c.network == "forum"}  # table -> rows that are to have all of its counts


def of_blanks(connection: Connection, config: Config) -> Iterator[dict[str, Any]]:
    """Rows of `coverage`: the days of ads or e-mail of which a row lacks its cost or a count that others give."""
    facts = Facts(connection, config)
    yield from _of_ads(connection, config)
    yield from _of_recipients(connection, config, facts)
    for table, name, what in ((table, *item) for table, columns in COUNTED.items() for item in columns.items()):
        given = [Need(table, (name,)), *([Need("email_event", (SUMMED[name],))] if table == "email_summary" else [])]
        if all(facts.why_not(need) for need in given):
            continue  # nobody gives it: then it is NULL altogether, and no day is better than another
        rows = metadata.tables[table].c
        place = (rows.source, rows.source_account, rows.date_day)
        query = select(*place, func.count().label("n")).where(rows[name].is_(None), OF.get(table, true()))
        query = query.group_by(*place).order_by(*place)
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


def _of_ads(connection: Connection, config: Config) -> Iterator[dict[str, Any]]:
    """The days on which people came by ads of a platform that nobody reads, in a channel whose spend others give.

    Without any spend the channel is unknown altogether. Where files give some, theirs may be among it.
    """
    query = select(spend.c.source, spend.c.channel).distinct()
    fed = {(row.source, row.channel) for row in connection.execute(query)}
    others = {channel for source, channel in fed} - {channel for source, channel in fed if source == FILES}
    known = {source for source, _ in fed} | {*config.sources}
    unread = {source.click_id: source for source in SOURCES.values() if source.click_id and source.name not in known}
    touch = touchpoint.c
    came = (
        select(touch.evidence, touch.date_day, func.count())
        .where(touch.evidence.in_(unread), touch.channel.in_(others), ~touch.is_deleted)
        .group_by(touch.evidence, touch.date_day)
        .order_by(touch.date_day, touch.evidence)
    )
    for click_id, day, n in connection.execute(came) if unread and None not in others else ():
        source = unread[click_id]
        reason = (
            f"{n} {'person' if n == 1 else 'people'} came by ads of {source.title} ({click_id}), which nobody reads: "
            f"switch {source.name} on, or drop its exports"
        )
        for name in COUNTED[spend.name]:
            yield {
                "source": source.name, "stream": BLANK, "source_account": f"{spend.name}.{name}", "date_day": day,
                "is_complete": False, "reason": reason,
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
