"""HubSpot's CRM records: list, read, batch read, associations, and the pipelines and owners that they refer to."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from b2b_sandbox.hubspot_call import LISTED, PAGE, in_list, invalid, iso, not_found
from b2b_sandbox.hubspot_properties import BY_NAME, ObjectType, object_type, value_type

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Sequence

    from b2b_sandbox.hubspot_call import Call

# How many values of a property HubSpot keeps.
HISTORY_KEPT = {"contacts": 45, "companies": 20, "deals": 20}
# Association type ids of pairs without a label (https://developers.hubspot.com/docs/api-reference/crm-associations-v4).
TYPE_IDS = {
    ("contacts", "companies"): 279, ("companies", "contacts"): 280,
    ("deals", "contacts"): 3, ("contacts", "deals"): 4,
    ("deals", "companies"): 341, ("companies", "deals"): 342,
}  # fmt: skip

# Stage -> label and win probability of the pipeline that every account starts with.
DEAL_STAGES = {
    "appointmentscheduled": ("Appointment Scheduled", "0.2"),
    "qualifiedtobuy": ("Qualified To Buy", "0.4"),
    "presentationscheduled": ("Presentation Scheduled", "0.6"),
    "decisionmakerboughtin": ("Decision Maker Bought-In", "0.8"),
    "contractsent": ("Contract Sent", "0.9"),
    "closedwon": ("Closed Won", "1.0"),
    "closedlost": ("Closed Lost", "0.0"),
}

WITH_EMAIL = " and json_extract(v.payload, '$.email') in (select value from json_each(:ids))"
SURVIVOR = """
  and v.is_gone = 0
  and instr(';' || json_extract(v.payload, '$.hs_merged_object_ids') || ';', ';' || :loser || ';') > 0
"""


def list_objects(call: Call) -> dict[str, Any]:
    """A page of records in id order; `archived=true` gives the archived ones instead."""
    kind = object_type(call)
    history = call.names("propertiesWithHistory")
    limit = call.limit(default=10, most=50 if history else 100)
    rows = _page(call, kind.name, limit)
    shown = rows[:limit]
    records = render(call, kind, shown, call.names("properties"), history, call.names("associations"))
    return {"results": records} | call.paged(rows, limit, after=shown[-1]["id"] if shown else "")


def read_object(call: Call) -> dict[str, Any]:
    """One record. The id of a record that was merged away reads the record that it was merged into."""
    kind = object_type(call)
    found = _find(call, kind, [call.path["id"]], call.query.get("idProperty"), archived=call.is_set("archived"))
    if not found:
        raise not_found()
    history, associations = call.names("propertiesWithHistory"), call.names("associations")
    return render(call, kind, list(found.values()), call.names("properties"), history, associations)[0]


def batch_read_objects(call: Call) -> dict[str, Any]:
    """Up to 100 records by id, 50 with history; ids that lead nowhere are named in `errors`."""
    kind = object_type(call)
    body = call.body("inputs")
    history = body.get("propertiesWithHistory") or []
    ids = call.input_ids(body, 50, " for property histories") if history else call.input_ids(body, 100)
    found = _find(call, kind, ids, body.get("idProperty"), archived=call.is_set("archived"))
    once = {row["id"]: row for row in found.values()}
    message = (
        f"Could not get some {kind.singular.upper()} objects, they may be deleted or not exist. "
        "Check that ids are valid."
    )
    missing = [identifier for identifier in ids if identifier not in found]
    errors = [_error(message, {"ids": missing})] if missing else []
    return call.batch(render(call, kind, list(once.values()), body.get("properties") or [], history), errors)


def batch_read_associations(call: Call) -> dict[str, Any]:
    """Up to 1,000 records' associations with one other object; records without any are named in `errors`."""
    source, target = object_type(call, "from"), object_type(call, "to")
    ids = call.input_ids(call.body("inputs"), 1000)
    found = _associated(call, source, target, ids)
    results = [
        {
            "from": {"id": identifier},
            "to": [
                {
                    "toObjectId": other,
                    "associationTypes": [
                        {"category": "HUBSPOT_DEFINED", "typeId": TYPE_IDS[source.name, target.name], "label": None}
                    ],
                }
                for other in found[identifier]
            ],
        }
        for identifier in ids
        if identifier in found
    ]
    errors = [
        _error(
            f"No {target.singular} is associated with {source.singular} {identifier}.",
            {
                "fromObjectId": [identifier],
                "fromObjectType": [source.singular],
                "toObjectType": [target.singular],
            },
            "crm.associations.NO_ASSOCIATIONS_FOUND",
        )
        for identifier in ids
        if identifier not in found
    ]
    return call.batch(results, errors)


def list_pipelines(call: Call) -> dict[str, Any]:
    """The object's pipelines with their stages: deals have HubSpot's default one, the other objects none."""
    if object_type(call).name != "deals":
        return {"results": []}
    stamps = {"createdAt": iso(0), "updatedAt": iso(0), "archived": False}
    stages = [
        {"id": stage, "label": label, "displayOrder": order, **stamps}
        | {"metadata": {"isClosed": str(stage.startswith("closed")).lower(), "probability": probability}}
        for order, (stage, (label, probability)) in enumerate(DEAL_STAGES.items())
    ]
    return {"results": [{"id": "default", "label": "Sales Pipeline", "displayOrder": 0, **stamps, "stages": stages}]}


def list_owners(call: Call) -> dict[str, Any]:
    """A page of the users that records can be assigned to."""
    limit = call.limit(default=100, most=500)
    rows = _page(call, "owner", limit)
    shown = rows[:limit]
    owners = [
        json.loads(row["payload"])
        | {"id": row["id"], "updatedAt": iso(row["modified_at"]), "archived": bool(row["is_deleted"])}
        for row in shown
    ]
    return {"results": owners} | call.paged(rows, limit, after=shown[-1]["id"] if shown else "")


def _page(call: Call, record_type: str, limit: int) -> list[sqlite3.Row]:
    """The page's records, and one more if another page follows."""
    archived, after = call.is_set("archived"), call.query.get("after", "")
    return call.records(record_type, PAGE, archived=archived, after=after, rows=limit + 1).fetchall()


def render(
    call: Call,
    kind: ObjectType,
    rows: Sequence[sqlite3.Row],
    properties: Collection[str],
    history: Collection[str] = (),
    associations: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Records as the CRM APIs show them. Properties asked for that do not exist are left out, empty ones are null."""
    wanted = {name for name in {*properties, *history} if value_type(call, kind, name)}
    shown = sorted({*kind.always, *(wanted or kind.defaults)})
    histories = _histories(call, kind, [row["id"] for row in rows], wanted.intersection(history))
    linked = {
        target.name: _associated(call, kind, target, [row["id"] for row in rows])
        for target in (BY_NAME[name.lower()] for name in associations if name.lower() in BY_NAME)
    }
    return [_record(kind, row, shown, histories, linked) for row in rows]


def _record(
    kind: ObjectType,
    row: sqlite3.Row,
    shown: Sequence[str],
    histories: dict[str, dict[str, list[dict[str, Any]]]],
    linked: dict[str, dict[str, list[str]]],
) -> dict[str, Any]:
    identifier, modified = row["id"], iso(row["modified_at"])
    values = json.loads(row["payload"]) | {"hs_object_id": identifier, kind.modified: modified}
    record = {
        "id": identifier,
        "properties": {name: values.get(name) for name in shown},
        "createdAt": values["createdate"],
        "updatedAt": modified,
        "archived": bool(row["is_deleted"]),
    }
    if row["is_deleted"]:
        record["archivedAt"] = modified
    if histories:
        record["propertiesWithHistory"] = histories[identifier]
    associations = {
        name: {"results": [{"id": other, "type": f"{kind.singular}_to_{BY_NAME[name].singular}"} for other in found]}
        for name, by_id in linked.items()
        if (found := by_id.get(identifier))
    }
    return record | ({"associations": associations} if associations else {})


def _find(
    call: Call, kind: ObjectType, ids: Collection[str], id_property: str | None = None, *, archived: bool = False
) -> dict[str, sqlite3.Row]:
    """The record for each id asked for, a merged one's survivor included; unknown ids are left out.

    Contacts can be asked for by their `email` instead.
    """
    if id_property == "email" and kind.name == "contacts":
        rows = call.records(kind.name, LISTED + WITH_EMAIL, archived=archived, ids=in_list(ids)).fetchall()
        return {json.loads(row["payload"])["email"]: row for row in rows}
    if id_property not in (None, "hs_object_id"):
        raise invalid(f"Property '{id_property}' is not a unique property of {kind.name}.")
    rows = call.records(kind.name, " and v.id in (select value from json_each(:ids))", ids=in_list(ids)).fetchall()
    by_id = {row["id"]: _survivor(call, kind, row["id"]) if row["is_gone"] else row for row in rows}
    return {
        identifier: row
        for identifier in ids
        if (row := by_id.get(identifier)) is not None and bool(row["is_deleted"]) == archived
    }


def _survivor(call: Call, kind: ObjectType, identifier: str) -> sqlite3.Row | None:
    """The record that names the id among those merged into it."""
    row: sqlite3.Row | None = call.records(kind.name, SURVIVOR, loser=identifier).fetchone()
    return row


def _histories(
    call: Call, kind: ObjectType, ids: Collection[str], properties: Collection[str]
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Per record and property the values that it had, newest first. Empty if no property is asked for."""
    if not properties:
        return {}
    histories: dict[str, dict[str, list[dict[str, Any]]]] = {i: {name: [] for name in properties} for i in ids}
    rows = call.connection.execute(
        """
        select id, property, at, value, source_type from property_history
        where vendor = 'hubspot' and object = :object and visible_at <= :now
          and id in (select value from json_each(:ids)) and property in (select value from json_each(:properties))
        order by at desc
        """,
        {"object": kind.name, "now": call.now, "ids": in_list(ids), "properties": in_list(properties)},
    )
    for row in rows:
        values = histories[row["id"]][row["property"]]
        if len(values) < HISTORY_KEPT[kind.name]:
            values.append({"value": row["value"], "timestamp": iso(row["at"]), "sourceType": row["source_type"]})
    return histories


def _associated(call: Call, source: ObjectType, target: ObjectType, ids: Collection[str]) -> dict[str, list[str]]:
    """Per record that has any, the ids of its associated records. Associations hold in both directions.

    Archived records have none; those of a merged record are its survivor's.
    """
    live = _find(call, source, ids)
    heirs = {loser: identifier for identifier, row in live.items() for loser in _merged_into(row)}
    rows = call.connection.execute(
        """
        select from_id as id, to_id as other from association
        where vendor = 'hubspot' and from_object = :source and to_object = :target and visible_at <= :now
          and from_id in (select value from json_each(:ids))
        union
        select to_id, from_id from association
        where vendor = 'hubspot' and from_object = :target and to_object = :source and visible_at <= :now
          and to_id in (select value from json_each(:ids))
        order by 1, 2
        """,
        {"source": source.name, "target": target.name, "now": call.now, "ids": in_list([*live, *heirs])},
    ).fetchall()
    others = _find(call, target, {row["other"] for row in rows})
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        identifier = heirs.get(row["id"], row["id"])
        if (other := others.get(row["other"])) and other["id"] not in found[identifier]:
            found[identifier].append(other["id"])
    return dict(found)


def _merged_into(row: sqlite3.Row) -> list[str]:
    """The ids of the records that were merged into this one."""
    return [loser for loser in (json.loads(row["payload"]).get("hs_merged_object_ids") or "").split(";") if loser]


def _error(message: str, context: dict[str, list[str]], sub_category: str | None = None) -> dict[str, Any]:
    error: dict[str, Any] = {"status": "error", "category": "OBJECT_NOT_FOUND", "message": message, "context": context}
    return error | ({"subCategory": sub_category} if sub_category else {})
