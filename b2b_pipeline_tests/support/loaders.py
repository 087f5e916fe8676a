"""What Fivetran, Airbyte and dlt would have landed of the sandbox's vendors, laid out as each of them documents."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Double,
    MetaData,
    NullPool,
    Numeric,
    Table,
    Text,
    create_engine,
)
from sqlalchemy.schema import CreateSchema, DropTable

from b2b_pipeline.connectors.warehouse.presets import plain
from b2b_sandbox.hubspot_objects import DEAL_STAGES
from b2b_sandbox.salesforce_schema import OBJECTS
from b2b_sandbox.world import World

Row = dict[str, Any]
STAMP = DateTime(timezone=True)
SALESFORCE = ("Lead", "LeadHistory", "Contact", "Account", "Opportunity", "OpportunityHistory",
              "OpportunityContactRole", "Campaign", "CampaignMember")  # fmt: skip
NOT_BY_DLT = ("LeadHistory", "OpportunityHistory")
CURRENT = """
select v.id, v.modified_at, v.visible_at, v.is_deleted, v.is_gone, v.payload from record_version v
where v.vendor = ? and v.object = ? and v.version = (
  select max(n.version) from record_version n
  where n.vendor = v.vendor and n.object = v.object and n.id = v.id and n.visible_at <= ?)
"""


@dataclass(frozen=True)
class Loader:
    """A loader that ran at some instants, the last of which is now, into a schema of a database."""

    name: str
    url: str
    schema: str
    runs: Sequence[datetime]

    def land(self, source: str, world: World) -> None:
        """Make the tables of a source anew, each row stamped with the run that brought it."""
        tables: dict[str, list[Row]] = {}
        with world.connect() as connection:
            LAYOUTS[source, self.name](self, connection, tables)
        if self.name == "dlt":
            tables["_dlt_loads"] = [
                {"load_id": str(run.timestamp()), "schema_name": self.schema, "status": 0, "inserted_at": run}
                for run in self.runs
            ]
        self._write(tables)

    @property
    def now(self) -> int:
        return int(self.runs[-1].timestamp() * 1000)

    def stamps(self, visible_at: int) -> Row:
        """The loader's own columns of a row that could be seen since an instant (ms)."""
        run = next(run for run in self.runs if run.timestamp() * 1000 >= visible_at)
        match self.name:
            case "fivetran":
                return {"_fivetran_synced": run}
            case "airbyte":
                return {"_airbyte_extracted_at": run, "_airbyte_raw_id": "0"}
        return {"_dlt_load_id": str(run.timestamp()), "_dlt_id": "0"}

    def spelt(self, name: str) -> str:
        """A table or column of Salesforce."""
        if self.name == "airbyte":
            return name
        words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name)
        if self.name == "fivetran":
            words = re.sub(r"([A-Za-z])(\d)", r"\1_\2", words)
        return re.sub("_+", "_", words).lower()

    def _write(self, tables: Mapping[str, list[Row]]) -> None:
        engine, made = create_engine(self.url, poolclass=NullPool), MetaData()
        with engine.begin() as connection:
            connection.execute(CreateSchema(self.schema, if_not_exists=True))
            for name, rows in tables.items():
                names = dict.fromkeys(column for row in rows for column in row)
                columns = [Column(column, _type(row.get(column) for row in rows)) for column in names]
                table = Table(name, made, *columns, schema=self.schema)
                connection.execute(DropTable(table, if_exists=True))
                table.create(connection)
                if rows:
                    connection.execute(table.insert(), [dict.fromkeys(names) | row for row in rows])
        engine.dispose()


def _type(cells: Iterable[Any]) -> Any:
    kinds = {type(cell) for cell in cells if cell is not None}
    for kind, found in ((datetime, STAMP), (date, Date), (Decimal, Numeric(38, 9)), (dict, JSON), (list, JSON)):
        if kind in kinds:
            return found
    if kinds and kinds <= {int, float}:
        return Double if float in kinds else BigInteger
    return Boolean if kinds == {bool} else Text


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


# -- Salesforce: an object is a table


def _salesforce(loader: Loader, connection: sqlite3.Connection, tables: dict[str, list[Row]]) -> None:
    for name in SALESFORCE:
        if loader.name == "dlt" and name in NOT_BY_DLT:
            continue
        rows = tables[loader.spelt(name)] = []
        for version in connection.execute(CURRENT, ("salesforce", name, loader.now)):
            if version["is_gone"] or (loader.name == "dlt" and version["is_deleted"]):
                continue  # dlt asks for what is not in the bin
            said = json.loads(version["payload"]) | {"IsDeleted": bool(version["is_deleted"])}
            row = {
                loader.spelt(field.name): _salesforce_cell(field.type, said.get(field.name))
                for field in OBJECTS[name].fields
                if field.type != "address"
            }
            rows.append(row | loader.stamps(version["visible_at"]))


def _salesforce_cell(kind: str, stored: Any) -> Any:
    if stored is None:
        return False if kind == "boolean" else None
    match kind:
        case "datetime":
            return datetime.fromisoformat(stored)
        case "date":
            return date.fromisoformat(stored)
        case "currency" | "double" | "percent":
            return Decimal(str(stored))
        case "boolean":
            return bool(stored)
    return stored


# -- Google Ads


def _google_by_fivetran(loader: Loader, connection: sqlite3.Connection, tables: dict[str, list[Row]]) -> None:
    accounts = [row for row in _accounts(connection) if row["manager_id"]]
    tables["account_history"] = [
        {"id": int(row["id"]), "updated_at": at, "descriptive_name": row["name"], "currency_code": row["currency"],
         "time_zone": row["time_zone"], "manager": False} | loader.stamps(0)
        for row in accounts
        for at in (_at(0), loader.runs[0])
    ]  # fmt: skip
    tables["campaign_history"] = [
        {"id": int(entity["id"]), "customer_id": int(row["account_id"]), "updated_at": at, "name": name,
         "status": entity["status"], "advertising_channel_type": entity["advertisingChannelType"]}
        | loader.stamps(row["visible_at"])
        for row, entity in _campaigns(connection, loader.now)
        for at, name in ((_at(0), "as it was called before"), (loader.runs[0], entity["name"]))
    ]  # fmt: skip
    stats = tables["campaign_stats"] = []
    totals = tables["account_stats"] = []
    for day in _ad_days(connection, loader.now):
        for device, numbers in _by_device(day):
            about = {"customer_id": int(day["account_id"]), "date": date.fromisoformat(day["date_day"])}
            stats.append({"_fivetran_id": f"{len(stats)}", "id": int(day["campaign_id"]), "device": device,
                          **about, **numbers, **loader.stamps(day["known_at"])})  # fmt: skip
            totals.append({"_fivetran_id": f"{len(stats)}", "device": device, **about, **numbers,
                           **loader.stamps(day["known_at"])})  # fmt: skip


def _google_by_airbyte(loader: Loader, connection: sqlite3.Connection, tables: dict[str, list[Row]]) -> None:
    """One account: the second, whose campaigns alone are in the schema."""
    account = [row for row in _accounts(connection) if row["manager_id"]][1]
    tables["customer"] = [
        {"customer.id": int(account["id"]), "customer.descriptive_name": account["name"],
         "customer.currency_code": account["currency"], "customer.time_zone": account["time_zone"],
         "segments.date": run.date()} | loader.stamps(0)
        for run in loader.runs
    ]  # fmt: skip
    entities = {entity["id"]: entity for _, entity in _campaigns(connection, loader.now)}
    tables["campaign"] = [
        {"campaign.id": int(day["campaign_id"]), "campaign.name": entities[day["campaign_id"]]["name"],
         "campaign.status": entities[day["campaign_id"]]["status"],
         "campaign.advertising_channel_type": entities[day["campaign_id"]]["advertisingChannelType"],
         "segments.date": date.fromisoformat(day["date_day"]), "segments.hour": hour,
         **{f"metrics.{name}": number for name, number in numbers.items()}, **loader.stamps(day["known_at"])}
        for day in _ad_days(connection, loader.now)
        if day["account_id"] == account["id"]
        for hour, (_, numbers) in enumerate(_by_device(day))
    ]  # fmt: skip


def _accounts(connection: sqlite3.Connection) -> list[sqlite3.Row]:
    return connection.execute("select * from ad_account where vendor = 'google_ads' order by id").fetchall()


def _campaigns(connection: sqlite3.Connection, now: int) -> list[tuple[sqlite3.Row, Row]]:
    query = "select * from ad_entity where vendor = 'google_ads' and level = 'campaign' and visible_at <= ?"
    return [(row, json.loads(row["payload"])) for row in connection.execute(query, (now,))]


def _ad_days(connection: sqlite3.Connection, now: int) -> list[Row]:
    """Campaign, day: what is known of it now."""
    query = "select * from ad_day where vendor = 'google_ads' and known_at <= ? order by known_at"
    found: dict[tuple[str, ...], sqlite3.Row] = {}
    for row in connection.execute(query, (now,)):
        found[row["campaign_id"], row["ad_group_id"], row["date_day"]] = row
    sums: dict[tuple[str, ...], Row] = {}
    for row in found.values():
        day = sums.setdefault((row["campaign_id"], row["date_day"]), {**dict(row), **dict.fromkeys(NUMBERS, 0)})
        for name in NUMBERS:
            day[name] += Decimal(row[name])
    return list(sums.values())


NUMBERS = ("impressions", "clicks", "cost_micros", "interactions", "conversions", "conversions_value",
           "all_conversions", "view_through_conversions")  # fmt: skip


def _by_device(day: Row) -> list[tuple[str, Row]]:
    """Two rows of what the vendor's campaign report adds up."""
    some = {name: int(day[name]) // 3 for name in NUMBERS}
    rest = {name: day[name] - some[name] for name in NUMBERS}
    whole = ("impressions", "clicks", "cost_micros", "interactions", "view_through_conversions")
    rest = {name: int(number) if name in whole else number for name, number in rest.items()}
    return [("MOBILE", some), ("DESKTOP", rest)]


# -- HubSpot


def _hubspot_by_fivetran(loader: Loader, connection: sqlite3.Connection, tables: dict[str, list[Row]]) -> None:
    for kind, table, key in (("contacts", "contact", "id"), ("deals", "deal", "deal_id")):
        rows = tables[table] = []
        for version in connection.execute(CURRENT, ("hubspot", kind, loader.now)):
            if version["is_gone"]:
                continue
            said, is_deleted = json.loads(version["payload"]), bool(version["is_deleted"])
            stages = {
                "deal_pipeline_stage_id": said.get("dealstage"), "deal_pipeline_id": said.get("pipeline"),
                "owner_id": said.get("hubspot_owner_id"), "is_deleted": is_deleted,
            } if kind == "deals" else {}  # fmt: skip
            modified = {"contacts": "lastmodifieddate", "deals": "hs_lastmodifieddate"}[kind]
            said |= {modified: _at(version["modified_at"]).isoformat()}
            rows.append(
                {key: int(version["id"]), **stages, "_fivetran_deleted": is_deleted}
                | {f"property_{name}": _property(name, value) for name, value in said.items()}
                | loader.stamps(version["visible_at"])
            )
        ours = f"{table}_id"
        tables[f"{table}_property_history"] = [
            {ours: int(row["id"]), "name": row["property"], "timestamp": _at(row["at"]), "value": row["value"],
             "source": row["source_type"]} | loader.stamps(row["visible_at"])
            for row in connection.execute(
                "select * from property_history where vendor = 'hubspot' and object = ? and visible_at <= ?",
                (kind, loader.now),
            )
        ]  # fmt: skip
    tables["deal_contact"] = [
        {"deal_id": int(row["from_id"]), "contact_id": int(row["to_id"])} | loader.stamps(row["visible_at"])
        for row in connection.execute(
            "select * from association where from_object = 'deals' and to_object = 'contacts' and visible_at <= ?",
            (loader.now,),
        )
    ]
    # A deal of long ago, merged into another one: a table without rows has no columns in this test.
    tables["merged_deal"] = [{"deal_id": 1, "merged_deal_id": 2} | loader.stamps(0)]
    tables["deal_pipeline_stage"] = [
        {"stage_id": stage, "pipeline_id": "default", "label": label, "is_closed": stage.startswith("closed"),
         "closed_won": stage == "closedwon"} | loader.stamps(0)
        for stage, (label, _) in DEAL_STAGES.items()
    ]  # fmt: skip
    events, changes = tables["email_event"], tables["email_event_status_change"] = [], []
    for row in connection.execute("select * from email_event where visible_at <= ?", (loader.now,)):
        payload = json.loads(row["payload"])
        events.append(
            {"id": row["id"], "created": _at(row["created"]), "type": row["type"], "recipient": row["recipient"],
             "email_campaign_id": row["email_campaign_id"], "sent_by_id": row["sent_by_id"],
             "sent_by_created": _at(row["sent_by_created"]) if row["sent_by_created"] else None,
             "filtered_event": bool(payload.get("filteredEvent"))} | loader.stamps(row["visible_at"])
        )  # fmt: skip
        if row["type"] == "STATUSCHANGE":
            changes.append(
                {"id": row["id"], "portal_subscription_status": payload.get("portalSubscriptionStatus"),
                 "subscriptions": json.dumps(payload.get("subscriptions"))} | loader.stamps(row["visible_at"])
            )  # fmt: skip


def _property(name: str, value: str | None) -> Any:
    """Fivetran types properties: stamps, numbers and flags are no text."""
    if value is None or name in ("hs_additional_emails", "hs_merged_object_ids", "hs_calculated_merged_vids"):
        return value
    if name in ("createdate", "closedate", "lastmodifieddate") or plain(name).endswith("timestamp"):
        return datetime.fromisoformat(value).astimezone(UTC)
    return float(value) if name == "amount" and value else value


LAYOUTS: dict[tuple[str, str], Callable[[Loader, sqlite3.Connection, dict[str, list[Row]]], None]] = {
    ("salesforce", "fivetran"): _salesforce, ("salesforce", "airbyte"): _salesforce, ("salesforce", "dlt"): _salesforce,
    ("google_ads", "fivetran"): _google_by_fivetran, ("google_ads", "airbyte"): _google_by_airbyte,
    ("hubspot", "fivetran"): _hubspot_by_fivetran,
}  # fmt: skip
