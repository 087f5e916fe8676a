"""Records that do not stand any more: deleted, merged into others, or gone from their CRM, which nobody is told of.

What is gone follows from the newest sweep of each object, the ids of all that is there (`record_present`), whenever
tables are derived. A sweep proves nothing about what changed after it began, nor about an object that it did not list.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Column,
    ColumnCollection,
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    MetaData,
    Select,
    Subquery,
    Table,
    Text,
    and_,
    exists,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.sweep import SWEPT
from b2b_pipeline.warehouse.tables import (
    account,
    customer,
    identity_link,
    lead,
    opp_contact_role,
    opportunity,
    record_present,
    support_ticket,
    survey_response,
    touchpoint,
)
from b2b_pipeline.warehouse.write import temporary

Columns = ColumnCollection[str, Any]
RECORD = ("source", "source_account", "object", "object_id")

# One row per record that is gone; `object` as in `record_present`. Made once for all that is asked of it.
GONE = Table("gone_record", MetaData(), *(Column(name, Text) for name in RECORD))


def deleted(table: FromClause) -> ColumnElement[bool]:
    return func.coalesce(table.c.is_deleted, false())


def is_merged(record_key: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a record was merged into another one: then its list no longer has it, and it lives on."""
    link = identity_link.alias("merge")
    return exists(select(1).where(link.c.rule == "merge", link.c.from_key == record_key, ~deleted(link)))


def is_gone(source: ColumnElement[str], identifier: ColumnElement[str], *objects: str) -> ColumnElement[bool]:
    """Whether GONE, which must be there, has a record of a source, as one of `objects`."""
    return exists(select(1).where(GONE.c.source == source, GONE.c.object.in_(objects), GONE.c.object_id == identifier))


def stands(table: Table, object_: str, identifier: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether the record of a core table's row is there by the newest sweep that began after it was last changed, if
    there is one: for what is counted without being derived. `object_` as in `record_present`."""
    swept, present, row = _swept(), _present().subquery("present"), table.c

    def same(found: Columns) -> tuple[ColumnElement[bool], ...]:
        same_account = found.source == row.source, found.source_account == row.source_account
        return (*same_account, found.object == object_)

    later = select(1).select_from(swept).where(*same(swept.c), swept.c.at > row.updated_at).correlate(table)
    found = select(1).select_from(present).where(*same(present.c), present.c.object_id == identifier).correlate(table)
    return or_(~exists(later), exists(found))


@contextmanager
def gone(connection: Connection, config: Config) -> Iterator[None]:
    """GONE inside the current transaction."""
    with temporary(connection, GONE, GONE.c.keys(), gone_records(config), GONE.name):
        yield


@dataclass(frozen=True)
class Sweep:
    """The newest sweep of one object of a source: when it began, how many records were there, which are gone."""

    at: datetime
    there: int
    gone: frozenset[str]


def sweeps(connection: Connection, config: Config) -> dict[tuple[str, str], Sweep]:
    """(source, object) -> its newest sweep."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in connection.execute(gone_records(config)):
        found.setdefault((row.source, row.object), set()).add(row.object_id)
    there = _present().subquery().c
    of = (there.source, there.object)
    records = func.count().filter(~there.object_id.endswith(SWEPT))
    rows = connection.execute(select(*of, func.max(there.swept_at), records).group_by(*of))
    return {
        (source, object_): Sweep(at, number, frozenset(found.get((source, object_), ())))
        for source, object_, at, number in rows
    }


def unread_before(connection: Connection, config: Config) -> int | None:
    """How many opportunities the system of record has that were never read: those of before the first day that nobody
    has changed since. None where no sweep says what it has."""
    present = _present().where(
        record_present.c.source == config.system_of_record, record_present.c.object == "opportunity"
    )
    there = present.subquery().c
    is_read = exists().where(opportunity.c.source == there.source, opportunity.c.opp_id == there.object_id)
    unread = func.count().filter(there.object_id != SWEPT, ~is_read)
    listed, number = connection.execute(select(func.count(), unread).select_from(there.source.table)).one()
    return number if listed else None


def gone_records(config: Config) -> CompoundSelect[Any]:
    """Rows of GONE: what a sweep that began after the record was last changed no longer found.

    A difference of sets, for PostgreSQL takes the few records that it expects to be swept for a reason to look each up.
    """
    known, swept, present = union_all(*_known(config)).subquery("known").c, _swept(), _present().subquery("present").c
    due = select(*(known[name] for name in RECORD)).join_from(
        known.source.table, swept, and_(*_same_list(known, swept.c), swept.c.at > known.updated_at)
    )
    found = due.except_(select(*(present[name] for name in RECORD))).subquery()
    return union_all(select(found), _gone_registrants())


def _gone_registrants() -> Select[Any]:
    """Whom the newest list of a webinar lacks; it is told for some weeks, and who is in none may be so still."""
    touch, told, listed = touchpoint.c, record_present.alias("told"), record_present.alias("listed")

    def of(table: FromClause, identifier: ColumnElement[str]) -> ColumnElement[bool]:
        same = (table.c[name] == touch[name] for name in ("source", "source_account"))
        return and_(*same, table.c.object == "registrant", table.c.object_id == identifier)

    key = touch.source, touch.source_account, told.c.object, touch.source_id, told.c.swept_at, listed.c.swept_at
    return (
        select(*key[:3], touch.source_id.label("object_id"))
        .join_from(touchpoint, told, of(told, touch.campaign_id.concat(f":{SWEPT}")))
        .outerjoin(listed, of(listed, touch.source_id))
        .where(touch.touch_type == "webinar_registration")
        .group_by(*key)
        .having(
            told.c.swept_at > func.max(touch.updated_at),
            or_(listed.c.swept_at.is_(None), listed.c.swept_at < told.c.swept_at),
        )
    )


def _swept() -> Subquery:
    """When the newest sweep of each object began that could list it."""
    of = [record_present.c[name] for name in RECORD[:-1]]
    return select(*of, func.max(record_present.c.swept_at).label("at")).group_by(*of).subquery("swept")


def _present() -> Select[Any]:
    """What that sweep found. Of what it did not there are rows of the sweeps before."""
    found, swept = record_present, _swept()
    newest = and_(*_same_list(found.c, swept.c), found.c.swept_at == swept.c.at)
    return select(*(found.c[name] for name in (*RECORD, "swept_at"))).join_from(found, swept, newest)


def _same_list(one: Columns, other: Columns) -> Iterator[ColumnElement[bool]]:
    yield from (one[name] == other[name] for name in RECORD[:-1])


def _known(config: Config) -> Iterator[Select[Any]]:
    """What we have read of each object that is swept. An account that was never read may be one that nobody may see."""

    def records(table: Table, object_: str, identifier: ColumnElement[str]) -> Select[Any]:
        column = table.c
        return select(
            column.source, column.source_account, literal(object_, Text).label("object"),
            identifier.label("object_id"), column.updated_at,
        )  # fmt: skip

    def newest(rows: Select[Any]) -> Select[Any]:
        """Where a record has several rows, the newest tells when it was last changed."""
        *key, updated_at = rows.subquery().c
        return select(*key, func.max(updated_at)).group_by(*key)

    link = identity_link.c
    yield records(lead, "lead", lead.c.lead_id).where(~is_merged(lead.c.record_key))
    # Contacts that are no leads have no table: their links tell which were read.
    contacts = records(identity_link, "contact", link.source_id)
    is_contact = link.from_key == link.source.concat(":contact:").concat(link.source_id)
    yield newest(contacts.where(is_contact, ~is_merged(link.from_key)))
    yield records(account, "account", account.c.account_id)
    yield records(opportunity, "opportunity", opportunity.c.opp_id)
    yield records(opp_contact_role, "opp_contact_role", opp_contact_role.c.role_id)
    yield newest(records(touchpoint, "campaign_member", touchpoint.c.source_id))
    yield records(survey_response, "survey_response", survey_response.c.response_id)
    yield records(support_ticket, "support_ticket", support_ticket.c.ticket_id)
    yield records(customer, "customer", customer.c.customer_id)
    # Some sources name accounts without reading them: there each one that is swept can be seen. What a field of the
    # user's own names may be anything.
    unread = [
        name
        for name, source in config.sources.items()
        if "account_id" not in source.fields and not any("account" in each.feeds for each in SOURCES[name].streams)
    ]
    named = records(opportunity, "account", opportunity.c.account_id)
    yield newest(named.where(opportunity.c.source.in_(unread), opportunity.c.account_id.is_not(None)))
