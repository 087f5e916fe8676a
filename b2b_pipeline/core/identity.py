"""Who is who: record keys joined by conversion, merge and e-mail become one person."""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa
from sqlalchemy import false, func, select

from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import lead

MANY = 10  # lead records of one source with one address: hardly one person


def shared_addresses(warehouse: Warehouse) -> dict[str, int]:
    """Addresses (pseudonyms) of more lead records of one source than one person would have, and of how many."""
    count = func.count().label("records")
    standing = select(lead.c.email_hash, count).where(
        lead.c.email_hash.is_not(None), ~func.coalesce(lead.c.is_deleted, false())
    )
    many = standing.group_by(lead.c.source, lead.c.email_hash).having(func.count() >= MANY)
    found = warehouse.rows(many.order_by(count, lead.c.email_hash))
    return {row["email_hash"]: row["records"] for row in reversed(found)}


def clusters(links: Iterable[tuple[str, str]], records: Iterable[str]) -> pa.Table:
    """One row per key (record_key, person_key): the connected components of `links`, each named by its smallest key.

    The order of links does not matter. `records` without a link are persons of their own.
    """
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        top = key
        while (up := parent.setdefault(top, top)) != top:
            top = up
        while parent[key] != top:
            parent[key], key = top, parent[key]
        return top

    for record in records:
        root(record)
    for one, other in links:
        a, b = root(one), root(other)
        if a != b:
            low, high = (a, b) if a < b else (b, a)
            parent[high] = low
    keys = sorted(parent)
    return pa.table({"record_key": keys, "person_key": [root(key) for key in keys]})
