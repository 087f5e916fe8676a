"""Which campaign a touch or a deal means: by its id, or by a name that exactly one campaign has.

CRMs and spreadsheets name campaigns as people do; ad platforms count by id. Names are compared as people read them:
case, width of characters and blanks say nothing. A name that several campaigns have stays a name, and is told. What
only gathers campaigns of others is meant where none of them has the name.
"""

from __future__ import annotations

import unicodedata

import pyarrow as pa
from sqlalchemy import Column, Connection, MetaData, Table, Text, select, union

from b2b_pipeline.warehouse.tables import campaign, opportunity, touchpoint

# A campaign's name as touches write it, and the id that it stands for.
NAMED = Table("named_campaign", MetaData(), Column("name", Text), Column("campaign_id", Text))
GATHERS = ("marketing_campaign",)  # types of campaigns: HubSpot's hold e-mails, ads and pages under one name
_SCHEMA = pa.schema([(column.name, pa.string()) for column in NAMED.columns])


def named_campaigns(connection: Connection) -> pa.Table:
    """The rows of NAMED: names in touches that stand for one campaign."""
    found = [{"name": name, "campaign_id": min(ids)} for name, ids in _candidates(connection).items() if len(ids) == 1]
    return pa.Table.from_pylist(found, schema=_SCHEMA)


def ambiguous_campaigns(connection: Connection) -> list[str]:
    """A line for each name in touches that several campaigns have."""
    found = sorted((name, sorted(ids)) for name, ids in _candidates(connection).items() if len(ids) > 1)
    return [f"{name!r} is the name of {', '.join(ids)}" for name, ids in found]


def _candidates(connection: Connection) -> dict[str, set[str]]:
    """What touches carry and is no campaign's id -> the ids of the campaigns of that name."""
    by_key: dict[str, set[str]] = {}
    gathering: dict[str, set[str]] = {}
    known = set()
    for identifier, name, kind in connection.execute(
        select(campaign.c.campaign_id, campaign.c.name, campaign.c.campaign_type)
    ):
        known.add(identifier)
        if key := _key(name):
            (gathering if kind in GATHERS else by_key).setdefault(key, set()).add(identifier)
    by_key = gathering | by_key
    # Distinct within each: of both together PostgreSQL expects as many as there are rows, and sorts them.
    used = union(*(select(table.c.campaign_id).distinct() for table in (touchpoint, opportunity)))
    names = connection.execute(used).scalars()
    return {name: by_key[_key(name)] for name in names if name and name not in known and _key(name) in by_key}


def _key(name: str | None) -> str:
    return " ".join(unicodedata.normalize("NFKC", name or "").casefold().split())
