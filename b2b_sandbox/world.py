"""The sandbox's world: one SQLite file that every vendor server pages from.

What a vendor shows is kept as versions. At the sandbox's clock `now`, a record is its newest version
with `visible_at <= now`; nothing later exists yet for any API. The clock moves only by `advance`.
Times are milliseconds since the epoch (UTC), days are ISO dates, money is text in decimal notation.

Names and payloads in `record_version` (and in `property_history` and `association`):
- vendor `salesforce`: object is the API name (`Lead`, `OpportunityHistory`); the payload is the record, flat, `Id` in
  it.
- vendor `hubspot`: objects `contacts`, `companies` and `deals`; the payload is the properties, flat
  (`{"email": ..., ...}`), every value a string or null. Objects `marketing_email` and `owner`: the payload is what
  their own APIs show.
- `ad_entity`: level `campaign`, `ad_group` or `conversion_action`; the payload is the resource as GAQL's REST JSON has
  it, but that of other vendors' campaigns is `{"name": ..., "type": ..., "first": day, "last": day or null}`.
- `email_event`: the payload is what the type adds to the common fields; `sent_by_*` is null where HubSpot omits
  `sentBy`.
"""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = """
-- seed, start, until, leads_per_day, rough (0, 1), now (ms)
create table setting (name text primary key, value text not null) without rowid;

-- CRM objects as a vendor shows them. `modified_at` is the vendor's own stamp, `visible_at` when its API shows it:
-- later than `modified_at` for a late commit or a lagging index. `is_deleted`: archived (HubSpot), IsDeleted
-- (Salesforce); `is_gone`: no longer in any list (a HubSpot merge loser).
create table record_version (
    vendor text not null, object text not null, id text not null, version integer not null,
    modified_at integer not null, visible_at integer not null,
    is_deleted integer not null default 0, is_gone integer not null default 0,
    payload text not null,                              -- JSON: the vendor's field names
    primary key (vendor, object, id, version)
) without rowid;
create index record_version_by_time on record_version (vendor, object, modified_at, id);

-- History of single properties (HubSpot propertiesWithHistory).
create table property_history (
    vendor text not null, object text not null, id text not null, property text not null,
    at integer not null, visible_at integer not null, value text, source_type text,
    primary key (vendor, object, id, property, at)
) without rowid;

-- HubSpot e-mail events, one row per recipient and event.
create table email_event (
    id text not null, created integer not null, visible_at integer not null, type text not null,
    recipient text not null, email_campaign_id integer not null, app_id integer not null,
    sent_by_id text, sent_by_created integer, payload text not null,   -- JSON: what is particular to the type
    primary key (created, id)
) without rowid;

-- Associations (HubSpot): deal -> contact.
create table association (
    vendor text not null, from_object text not null, from_id text not null,
    to_object text not null, to_id text not null, label text, visible_at integer not null,
    primary key (vendor, from_object, from_id, to_object, to_id)
) without rowid;

-- Advertising. An `ad_day` row is what the platform says from `known_at` on: a later one restates it.
create table ad_account (vendor text, id text, name text, currency text, time_zone text, manager_id text, status text,
    primary key (vendor, id)) without rowid;
create table ad_entity (vendor text, account_id text, level text, id text, parent_id text, payload text not null,
    visible_at integer not null, primary key (vendor, account_id, level, id)) without rowid;
create table ad_day (
    vendor text not null, account_id text not null, campaign_id text not null, ad_group_id text not null,
    date_day text not null, known_at integer not null,
    impressions integer not null, clicks integer not null, cost_micros integer not null,
    interactions integer not null, conversions text not null, conversions_value text not null,
    all_conversions text not null, view_through_conversions integer not null,
    primary key (vendor, account_id, campaign_id, ad_group_id, date_day, known_at)
) without rowid;
create table ad_conversion_day (
    vendor text not null, account_id text not null, campaign_id text not null, ad_group_id text not null,
    conversion_action_id text not null, date_day text not null, known_at integer not null,
    conversions text not null, conversions_value text not null,
    primary key (vendor, account_id, campaign_id, ad_group_id, conversion_action_id, date_day, known_at)
) without rowid;

create table fx_rate (
    date_day text not null, currency text not null, per_eur text not null, visible_at integer not null,
    primary key (date_day, currency)) without rowid;

-- Files that people drop, as they were exported at `visible_at` (see `b2b sandbox serve --drops`).
create table file_drop (name text not null, visible_at integer not null, content blob not null,
    primary key (name, visible_at)) without rowid;

-- Faults waiting to be shown, see faults.py.
create table fault (fault_id integer primary key, vendor text not null, kind text not null, path_contains text not null,
    remaining integer not null, options text not null);
"""

# The newest visible version of every record of one object, at :now.
CURRENT = """
select v.id, v.modified_at, v.is_deleted, v.is_gone, v.payload
from record_version v
where v.vendor = :vendor and v.object = :object
  and v.version = (select max(n.version) from record_version n
                   where n.vendor = v.vendor and n.object = v.object and n.id = v.id and n.visible_at <= :now)
"""


class World:
    """An open world file. Safe to open from several processes: readers never block (WAL)."""

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise FileNotFoundError(f"no sandbox world at {path}: `b2b sandbox serve` makes one")
        self.path = path

    @contextmanager
    def connect(self) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(self.path, timeout=30)
        connection.row_factory = sqlite3.Row
        connection.execute("pragma journal_mode = wal")
        try:
            with connection:
                yield connection
        finally:
            connection.close()

    def setting(self, name: str) -> str:
        with self.connect() as connection:
            row = connection.execute("select value from setting where name = ?", (name,)).fetchone()
        if row is None:
            raise KeyError(f"the world has no setting {name!r}")
        return str(row["value"])

    @property
    def is_rough(self) -> bool:
        with self.connect() as connection:
            row = connection.execute("select value from setting where name = 'rough'").fetchone()
        return row is not None and row["value"] == "1"

    def now(self) -> int:
        """The sandbox's clock, in milliseconds since the epoch."""
        return int(self.setting("now"))
