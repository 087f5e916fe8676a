"""`identity_cluster`: who is who. Record keys joined by conversion, merge and e-mail are one person.

The connected components of the links, each named by its smallest key, are found in SQL by FastSV (Zhang, Azad and Hu,
"FastSV: A Distributed-Memory Connected Component Algorithm with Fast Convergence", 2020): each key takes the smallest
label that it, or its root, sees; rounds grow with the logarithm of the longest chain.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Select, Table, Text, func, select, union, union_all
from sqlalchemy.schema import DropTable
from sqlalchemy.sql.elements import ClauseElement

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.base import Derived, text_order
from b2b_pipeline.derived.gone import deleted
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import identity_cluster, identity_link, lead
from b2b_pipeline.warehouse.write import make_temporary, temporary

MANY = 10  # lead records of one source with one address: hardly one person

KEY = Table("identity_key", MetaData(), Column("id", BigInteger), Column("record_key", Text))
EDGE = Table("identity_edge", MetaData(), Column("one", BigInteger), Column("other", BigInteger))  # both ways
LABEL = Table("identity_label", MetaData(), Column("id", BigInteger), Column("label", BigInteger))


def shared_addresses(warehouse: Warehouse) -> dict[str, int]:
    """Addresses (pseudonyms) of more lead records of one source than one person would have, and of how many."""
    count = func.count().label("records")
    standing = select(lead.c.email_hash, count).where(lead.c.email_hash.is_not(None), ~deleted(lead))
    many = standing.group_by(lead.c.source, lead.c.email_hash).having(func.count() >= MANY)
    found = warehouse.rows(many.order_by(count, lead.c.email_hash))
    return {row["email_hash"]: row["records"] for row in reversed(found)}


def links(config: Config) -> Select[Any]:
    """Pairs of keys that are one person. Addresses that many share join nobody."""
    standing = select(identity_link.c.from_key, identity_link.c.to_key).where(~deleted(identity_link))
    shared = config.identity.shared_keys
    return standing.where(identity_link.c.to_key.not_in(shared)) if shared else standing


def records() -> Select[Any]:
    """Keys that are persons of their own without any link."""
    return select(lead.c.record_key)


@contextmanager
def clusters(connection: Connection, config: Config) -> Iterator[Select[Any]]:
    """Rows of `identity_cluster`."""
    pairs = links(config).subquery()
    every = union(select(pairs.c.from_key.label("key")), select(pairs.c.to_key), records()).subquery()
    numbered = select(func.row_number().over(order_by=text_order(every.c.key)), every.c.key)
    one, other = KEY.alias("one"), KEY.alias("other")
    joined = (
        select(one.c.id, other.c.id)
        .join_from(pairs, one, one.c.record_key == pairs.c.from_key)
        .join(other, other.c.record_key == pairs.c.to_key)
        .where(one.c.id != other.c.id)
    )
    ends = joined.cte("ends")
    both_ways = union_all(select(ends.c[0], ends.c[1]), select(ends.c[1], ends.c[0]))
    with (
        temporary(connection, KEY, KEY.c.keys(), numbered, KEY.name),
        temporary(connection, EDGE, EDGE.c.keys(), both_ways, EDGE.name),
    ):
        labels = _settled(connection)
        named = KEY.alias("named")
        yield (
            select(KEY.c.record_key, named.c.record_key)
            .join(labels, labels.c.id == KEY.c.id)
            .join(named, named.c.id == labels.c.label)
        )
        connection.execute(DropTable(labels))


def _settled(connection: Connection) -> Table:
    """A temporary table of each key's label once no label changes any more: the smallest of its component."""
    near = union_all(select(KEY.c.id, KEY.c.id.label("label")), select(EDGE.c.one, EDGE.c.other)).subquery()
    smallest = select(near.c.id, func.min(near.c.label)).group_by(near.c.id)
    labels = make_temporary(connection, LABEL, LABEL.c.keys(), smallest, f"{LABEL.name}_0")
    total, number = -1, 0
    while (now := connection.scalar(select(func.sum(labels.c.label)))) != total:
        total, number, before = now, number + 1, labels
        labels = make_temporary(connection, LABEL, LABEL.c.keys(), _round(before), f"{LABEL.name}_{number}")
        connection.execute(DropTable(before))
    return labels


def _round(labels: Table) -> Select[Any]:
    """Labels only become smaller: what a key's neighbours have is offered to it and to its root."""
    root = labels.alias("root")
    seen = (
        select(labels.c.id, labels.c.label, root.c.label.label("above"))
        .join(root, root.c.id == labels.c.label)
        .cte("seen")
    )
    mine, theirs = seen.alias("mine"), seen.alias("theirs")
    around = (
        select(mine.c.id, mine.c.label, theirs.c.above)
        .join_from(EDGE, mine, mine.c.id == EDGE.c.one)
        .join(theirs, theirs.c.id == EDGE.c.other)
        .cte("around")
    )
    offered = union_all(
        select(seen.c.id, seen.c.above.label("label")),
        select(around.c.id, around.c.above),
        select(around.c.label, around.c.above),
    ).subquery()
    return select(offered.c.id, func.min(offered.c.label)).group_by(offered.c.id)


def _made_from(config: Config) -> list[ClauseElement]:
    return [links(config), records()]


IDENTITY_CLUSTER = Derived(identity_cluster, clusters, _made_from)
