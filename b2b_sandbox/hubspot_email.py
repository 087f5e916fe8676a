"""HubSpot's marketing e-mails, and what happened to them per recipient (the legacy e-mail events API)."""

from __future__ import annotations

import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from b2b_sandbox.hubspot_call import LISTED, HubSpotError, iso, milliseconds, not_found
from b2b_sandbox.tokens import sign, unsign

if TYPE_CHECKING:
    import sqlite3

    from b2b_sandbox.hubspot_call import Call

PORTAL_ID = 4200001

# Event type -> the counter of an e-mail's statistics.
COUNTERS = {
    "SENT": "sent",
    "DELIVERED": "delivered",
    "OPEN": "open",
    "CLICK": "click",
    "BOUNCE": "bounce",
    "STATUSCHANGE": "unsubscribed",
    "SPAMREPORT": "spamreport",
}
OF_CAMPAIGN = " and :campaign in (select value from json_each(v.payload, '$.allEmailCampaignIds'))"
# Required members that the world holds nothing for.
ALWAYS_THERE = {"content": {}, "from": {}, "to": {}, "subcategory": "batch", "sendOnPublish": True}
STATS = """
select email_campaign_id, type, count(distinct recipient) as recipients from email_event
where visible_at <= :now and coalesce(json_extract(payload, '$.filteredEvent'), 0) = 0
  and (type <> 'STATUSCHANGE' or json_extract(payload, '$.portalSubscriptionStatus') = 'UNSUBSCRIBED')
group by email_campaign_id, type
"""


def list_emails(call: Call) -> dict[str, Any]:
    """A page of marketing e-mails. With `includeStats=true` those that were never sent are left out."""
    limit = call.limit(default=10, most=100)
    with_stats = call.is_set("includeStats")
    counted = _counted(call) if with_stats else {}
    emails = [
        email
        for row in call.records(
            "marketing_email", LISTED + " order by cast(v.id as integer)", archived=call.is_set("archived")
        )
        if _wanted(call, email := _email(row, counted)) and (not with_stats or "stats" in email)
    ]
    after = call.integer("after", 0)
    following = [email for email in emails if int(email["id"]) > after][: limit + 1]
    shown = following[:limit]
    paging = call.paged(following, limit, after=shown[-1]["id"] if shown else "")
    return {"total": len(emails), "results": shown} | paging


def list_events(call: Call) -> dict[str, Any]:
    """A page of e-mail events, newest first. Both ends of the time range are inclusive."""
    limit = call.limit(default=10, most=1000)
    start, end = call.integer("startTimestamp", 0), call.integer("endTimestamp", call.now)
    offset = call.query.get("offset")
    position = unsign(offset) if offset else {"created": end, "id": "\uffff"}
    if position is None:
        raise HubSpotError(400, "Invalid offset")
    rows = call.connection.execute(
        """
        select * from email_event
        where (created, id) < (:created, :id) and created between :start and :end and visible_at <= :now
          and type = coalesce(:type, type) and recipient = coalesce(:recipient, recipient)
          and email_campaign_id = coalesce(:campaign, email_campaign_id) and app_id = coalesce(:app, app_id)
          and (not :excluding or coalesce(json_extract(payload, '$.filteredEvent'), 0) = 0)
        order by created desc, id desc limit :rows
        """,
        position
        | {"start": start, "end": end, "now": call.now, "rows": limit + 1, "type": call.query.get("eventType")}
        | {"recipient": call.query.get("recipient"), "excluding": call.is_set("excludeFilteredEvents")}
        | {"campaign": call.query.get("campaignId"), "app": call.query.get("appId")},
    ).fetchall()
    shown = rows[:limit]
    following = sign({"created": shown[-1]["created"], "id": shown[-1]["id"]}) if shown else ""
    return {"hasMore": len(rows) > limit, "offset": following, "events": [_event(row) for row in shown]}


def read_campaign(call: Call) -> dict[str, Any]:
    """One sending of a marketing e-mail: what the events' `emailCampaignId` stands for."""
    row = call.records("marketing_email", OF_CAMPAIGN, campaign=call.path["id"]).fetchone()
    if row is None:
        raise not_found()
    email = json.loads(row["payload"])
    identifier = int(call.path["id"])
    counters = _counted(call).get(identifier, {})
    app = call.connection.execute(
        "select min(app_id) from email_event where email_campaign_id = ?", (identifier,)
    ).fetchone()[0]
    return {
        "id": identifier,
        "appId": app,
        "appName": "Batch",
        "contentId": int(row["id"]),
        "name": email["name"],
        "subject": email["subject"],
        "type": "BATCH_EMAIL",
        "subType": "CONTENT_EMAIL",
        "counters": counters,
        "numIncluded": counters.get("sent", 0),
        "numQueued": counters.get("sent", 0),
    }


def _email(row: sqlite3.Row, counted: dict[int, dict[str, int]]) -> dict[str, Any]:
    email: dict[str, Any] = (
        ALWAYS_THERE
        | json.loads(row["payload"])
        | {
            "id": row["id"],
            "updatedAt": iso(row["modified_at"]),
            "archived": bool(row["is_deleted"]),
        }
    )
    if row["is_deleted"]:
        email["deletedAt"] = iso(row["modified_at"])
    totals: dict[str, int] = defaultdict(int)
    for campaign in email.get("allEmailCampaignIds", []):
        for counter, recipients in counted.get(int(campaign), {}).items():
            totals[counter] += recipients
    if totals:
        email["stats"] = {
            "counters": totals,
            "ratios": _ratios(totals),
            "deviceBreakdown": {},
            "qualifierStats": {},
        }
    return email


def _ratios(counters: dict[str, int]) -> dict[str, float]:
    """Percentages, of the deliveries where not said otherwise."""
    delivered, sent = counters.get("delivered", 0), counters.get("sent", 0)
    return {
        "deliveredratio": 100 * delivered / sent if sent else 0.0,
        "bounceratio": 100 * counters.get("bounce", 0) / sent if sent else 0.0,
    } | {
        f"{name}ratio": 100 * counters.get(name, 0) / delivered if delivered else 0.0
        for name in ("open", "click", "unsubscribed", "spamreport")
    }


def _counted(call: Call) -> dict[int, dict[str, int]]:
    """Recipients per campaign and counter, machines left out."""
    counted: dict[int, dict[str, int]] = defaultdict(dict)
    for row in call.connection.execute(STATS, {"now": call.now}):
        if row["type"] in COUNTERS:
            counted[row["email_campaign_id"]][COUNTERS[row["type"]]] = row["recipients"]
    return counted


def _wanted(call: Call, email: dict[str, Any]) -> bool:
    """Whether the e-mail is in the ranges of time that the query names."""
    limits = (("createdAt", "created"), ("updatedAt", "updated"))
    return all(
        (not (low := call.query.get(f"{name}After")) or milliseconds(email[field]) > milliseconds(low))
        and (not (high := call.query.get(f"{name}Before")) or milliseconds(email[field]) < milliseconds(high))
        for field, name in limits
    )


def _event(row: sqlite3.Row) -> dict[str, Any]:
    event: dict[str, Any] = {
        "id": row["id"],
        "created": row["created"],
        "type": row["type"],
        "recipient": row["recipient"],
        "portalId": PORTAL_ID,
        "appId": row["app_id"],
        "appName": "Batch",
        "emailCampaignId": row["email_campaign_id"],
    }
    sent_by = {"sentBy": {"id": row["sent_by_id"], "created": row["sent_by_created"]}} if row["sent_by_id"] else {}
    details: dict[str, Any] = json.loads(row["payload"])
    return event | sent_by | details
