"""Hard deletion at a vendor: a record is in no list any more, not even among the deleted ones, and nobody is told.

What goes with it goes the same way. CampaignMember never lies in a recycle bin at all: a removed one is purged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import sqlite3

    from b2b_sandbox.world import World

# Object -> what Salesforce deletes with a record of it, and the field that names the record.
TAKES_ALONG = {
    "Account": (("Contact", "AccountId"), ("Opportunity", "AccountId")),
    "Contact": (("OpportunityContactRole", "ContactId"), ("CampaignMember", "ContactId")),
    "Lead": (("CampaignMember", "LeadId"), ("LeadHistory", "LeadId")),
    "Opportunity": (("OpportunityContactRole", "OpportunityId"), ("OpportunityHistory", "OpportunityId")),
    "Campaign": (("CampaignMember", "CampaignId"),),
}


def purge(world: World, vendor: str, name: str, identifier: str) -> None:
    """Purge a record at the world's clock; a running server shows it at once. Raises LookupError without one."""
    with world.connect() as connection:
        if not purge_at(connection, vendor, name, identifier, world.now()):
            raise LookupError(f"{vendor} has no {name} {identifier}")


def purge_at(connection: sqlite3.Connection, vendor: str, name: str, identifier: str, at: int) -> bool:
    """From `at` (ms) on, no list shows the record. Whether it was there to be purged."""
    key = (vendor, name, identifier)
    connection.execute(
        "delete from record_version where (vendor, object, id) = (?, ?, ?) and visible_at > ?", (*key, at)
    )
    last = connection.execute(
        "select max(version), is_gone, payload from record_version where (vendor, object, id) = (?, ?, ?)", key
    ).fetchone()
    if last[0] is None or last[1]:
        return False
    connection.execute(
        "insert into record_version values (?, ?, ?, ?, ?, ?, 0, 1, ?)", (*key, last[0] + 1, at, at, last[2])
    )
    if vendor == "hubspot":
        _forget_company(connection, name, identifier)
    else:
        _take_along(connection, name, identifier, at)
    return True


def _take_along(connection: sqlite3.Connection, name: str, identifier: str, at: int) -> None:
    for child, field in TAKES_ALONG.get(name, ()):
        # A converted lead's membership is its contact's.
        alone = (
            " and json_extract(payload, '$.ContactId') is null" if (name, child) == ("Lead", "CampaignMember") else ""
        )
        children = connection.execute(
            "select distinct id from record_version v where vendor = 'salesforce' and object = ?"  # noqa: S608
            f" and json_extract(payload, ?) = ?{alone} and version = (select max(version) from record_version n"
            " where (n.vendor, n.object, n.id) = (v.vendor, v.object, v.id) and n.visible_at <= ?)",
            (child, f"$.{field}", identifier, at),
        ).fetchall()
        for (found,) in children:
            purge_at(connection, "salesforce", child, found, at)


def _forget_company(connection: sqlite3.Connection, name: str, identifier: str) -> None:
    """Deals lose their company without being modified: HubSpot computes this property."""
    if name == "companies":
        path = "$.hs_primary_associated_company"
        connection.execute(
            "update record_version set payload = json_set(payload, ?, null)"
            " where vendor = 'hubspot' and object = 'deals' and json_extract(payload, ?) = ?",
            (path, path, identifier),
        )
