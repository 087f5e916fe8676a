"""Mailchimp's Marketing API 3.0 over the newsletters and contacts of the world: one account, one audience.

Campaigns, reports, whom each was sent to, what they did, who left; members. From Mailchimp's OpenAPI document (3.0.55)
and what tests of Estuary's connector recorded of an account in 2026: a `since` leaves out its own second, a `before`
does not; the activity lists every recipient; the archive is a list of its own; the order of recipients does not last.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "mailchimp"
AUDIENCE = "f34247943d"
NEWSLETTERS = "payload ->> 'type' = 'BATCH_EMAIL'"
TOKEN_LIFETIME = 315_360_000.0  # a token does not end
DAY_MS = 86_400_000
ARCHIVED_AFTER = 5 * DAY_MS  # some members are put away then
TAGS = ((2225591, "Demo request"), (2225592, "Trade fair"))


class Account(NamedTuple):
    """All of it that can be listed; of a campaign's recipients by its id."""

    campaigns: list[Shown]
    reports: list[Shown]
    sent_to: dict[str, list[Shown]]
    activity: dict[str, list[Shown]]
    unsubscribed: dict[str, list[Shown]]
    members: list[Shown]


def routes(world: World, page_size: int = 1000, calls: int = 100_000, shuffled: bool = False) -> list[BaseRoute]:
    """The paths of one account. `page_size`: the most records of a page; `calls` a second, in place of ten at a time;
    `shuffled`: recipients come in another order on every page."""
    account, busy = Shapes(world, account_at), Meter(calls, 1.0)

    def enter(request: Request) -> dict[str, str]:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        key = base64.b64decode(word).decode().partition(":")[2] if scheme == "Basic" else word
        if key != f"{tokens.PRIVATE_APP_TOKEN}-us19" and tokens.problem(world, VENDOR, word):
            raise _refused(401, "API Key Invalid", "Your API key may be invalid, or you've attempted to access the "
                           "wrong datacenter.")  # fmt: skip
        if not busy.take():
            raise Refused(_throttled(None, False))
        return {}

    def listed(name: str, call: Call, found: list[Shown]) -> Shown:
        return _paged(call, name, found, page_size)

    def reports(call: Call) -> Shown:
        kind = call.query("type")
        found = [each for each in account().reports if not kind or each["type"] == kind]
        return listed("reports", call, _between(call, found, "send_time"))

    def of_campaign(part: str, name: str, call: Call) -> Shown:
        order = call.query("offset") if shuffled else ""
        found = sorted(
            getattr(account(), part).get(call.path("id"), []), key=lambda row: _hash(order, row["email_id"], 8)
        )
        if since := _stamp(call, "since"):
            found = [
                {**row, "activity": [each for each in row["activity"] if each["timestamp"] > since]} for row in found
            ]
        return listed(name, call, found) | {"campaign_id": call.path("id")}

    def members(call: Call) -> Shown:
        status = call.query("status")
        mine = [each for each in account().members if (each["status"] == "archived") is (status == "archived")]
        mine = [each for each in mine if not status or each["status"] == status]
        mine = _between(call, mine, "last_changed")
        return listed("members", call, sorted(mine, key=lambda row: (row["last_changed"], row["id"])))

    async def token(request: Request) -> Response:
        fields = await tokens.form(request)
        if problem := tokens.grant_problem(VENDOR, fields, ("authorization_code",)):
            return JSONResponse({"error": problem}, 400)
        made = tokens.issue(VENDOR, TOKEN_LIFETIME)
        return JSONResponse({"access_token": made, "expires_in": 0, "scope": None})

    def metadata(request: Request) -> Response:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        if scheme != "OAuth" or tokens.problem(world, VENDOR, word):
            return JSONResponse({"error": "invalid_token", "error_description": "invalid access token"})
        here = str(request.url).partition("/oauth2/")[0]
        return JSONResponse({"dc": "us19", "role": "owner", "accountname": "Example", "api_endpoint": here})

    at = partial(route, world, enter=enter)
    parts = (("sent_to", "sent-to", "sent_to"), ("activity", "email-activity", "emails"),
             ("unsubscribed", "unsubscribed", "unsubscribes"))  # fmt: skip
    return [
        Route("/oauth2/authorize", tokens.consent(VENDOR, has_scopes=False)),
        Route("/oauth2/token", token, methods=["POST"]),
        Route("/oauth2/metadata", metadata),
        at("/3.0/", lambda call: _only(call, ROOT)),
        at("/3.0/ping", lambda call: {"health_status": "Everything's Chimpy!"}),
        at("/3.0/lists", lambda call: listed("lists", call, [{"id": AUDIENCE, "name": "Newsletter"}])),
        at("/3.0/lists/{id}/members", members),
        at("/3.0/campaigns", lambda call: listed("campaigns", call, account().campaigns)),
        at("/3.0/reports", reports),
        *(at(f"/3.0/reports/{{id}}/{end}", partial(of_campaign, part, name)) for part, end, name in parts),
    ]


ROOT = {
    "account_id": "8d3a3db4d97663a9074efcc16", "account_name": "Example", "account_timezone": "Europe/Berlin",
    "role": "owner", "pricing_plan_type": "monthly", "total_subscribers": 1, "login_id": "1",
}  # fmt: skip


def _paged(call: Call, name: str, found: list[Shown], most: int) -> Shown:
    offset, count = call.query("offset", "0"), call.query("count", "10")
    if not offset.isdecimal() or not count.isdecimal():
        raise _refused(400, "Invalid Resource", "The resource submitted could not be validated.")
    size = min(int(count), most)
    return _only(call, {name: found[int(offset) : int(offset) + size], "total_items": len(found), "_links": []})


def _only(call: Call, answer: Shown) -> Shown:
    """What `fields` asks for."""
    if not (asked := [field.split(".") for field in call.query("fields").split(",") if field]):
        return answer
    return {name: value for name, value in answer.items() if any(path == [name] for path in asked)} | {
        name: [_picked(row, [path[1:] for path in asked if path[0] == name and path[1:]]) for row in value]
        for name, value in answer.items()
        if isinstance(value, list) and any(path[0] == name and path[1:] for path in asked)
    }


def _picked(row: Shown, paths: list[list[str]]) -> Shown:
    kept: Shown = {}
    for name, *rest in paths:
        if name in row and not rest:
            kept[name] = row[name]
        elif isinstance(row.get(name), dict):
            kept[name] = {**kept.get(name, {}), **_picked(row[name], [rest])}
    return kept


def _between(call: Call, found: list[Shown], name: str) -> list[Shown]:
    since, before = _stamp(call, f"since_{name}"), _stamp(call, f"before_{name}")
    return [row for row in found if (not since or row[name] > since) and (not before or row[name] <= before)]


def _stamp(call: Call, name: str) -> str:
    if not (given := call.query(name)):
        return ""
    try:
        return _iso(int(datetime.fromisoformat(given).timestamp() * 1000))
    except ValueError:
        raise _refused(400, "Bad Request", f"{name} is no date") from None


# -- what it makes of the world


def account_at(connection: sqlite3.Connection, now: int) -> Account:
    mails = f"{CURRENT} and v.is_gone = 0 and v.{NEWSLETTERS} order by v.id"
    scope = {"vendor": "hubspot", "object": "marketing_email", "now": now}
    campaigns = [_campaign(json.loads(row["payload"])) for row in connection.execute(mails, scope)]
    numbers = {int(each["web_id"]): each for each in campaigns}
    events: dict[int, list[sqlite3.Row]] = defaultdict(list)
    query = "select * from email_event where visible_at <= ? order by created, id"
    for row in connection.execute(query, (now,)):
        if row["email_campaign_id"] in numbers:
            events[row["email_campaign_id"]].append(row)
    sent_to, activity, unsubscribed, reports = {}, {}, {}, []
    left: dict[str, int] = {}
    bounced: set[str] = set()
    for number, campaign in numbers.items():
        if campaign["status"] != "sent":
            continue
        of: dict[str, list[sqlite3.Row]] = defaultdict(list)
        for row in events[number]:
            of[row["recipient"].strip().lower()].append(row)
        of = {address: mine for address, mine in of.items() if any(row["type"] == "SENT" for row in mine)}
        identifier = campaign["id"]
        sent_to[identifier] = [_recipient(campaign, address, mine) for address, mine in of.items()]
        activity[identifier] = [_activity(campaign, address, mine) for address, mine in of.items()]
        gone = {address: at for address, mine in of.items() if (at := _left_at(number, address, mine)) and at <= now}
        unsubscribed[identifier] = [_left(campaign, address, at) for address, at in gone.items()]
        left.update(gone)
        bounced |= {row["email_address"] for row in sent_to[identifier] if row["status"] == "hard"}
        parts = sent_to[identifier], activity[identifier], unsubscribed[identifier]
        reports.append(_report(campaign, *parts))
    people = {"vendor": "hubspot", "object": "contacts", "now": now}
    contacts = connection.execute(CURRENT + " and v.is_gone = 0 order by v.id", people)
    members = {each["id"]: each for row in contacts if (each := _member(row, left, bounced, now))}
    return Account(campaigns, reports, sent_to, activity, unsubscribed, [*members.values()])


def _campaign(mail: Any) -> Shown:
    number = int(mail["primaryEmailCampaignId"])
    sent = _iso(_ms(mail["publishDate"])) if mail["publishDate"] else ""
    return {
        "id": _hash("campaign", number, 10), "web_id": number, "type": "regular",
        "create_time": _iso(_ms(mail["createdAt"])), "send_time": sent, "status": "sent" if sent else "save",
        "emails_sent": 0, "content_type": "template", "parent_campaign_id": "",
        "recipients": {"list_id": AUDIENCE, "list_is_active": True, "list_name": "Newsletter", "segment_text": ""},
        "settings": {
            "title": mail["name"], "subject_line": mail["subject"], "from_name": "Mara", "folder_id": "",
            "reply_to": "mara@ourcompany.example", "template_id": 0,
        },
        "tracking": {"opens": True, "html_clicks": True, "text_clicks": False},
    }  # fmt: skip


def _about(campaign: Shown, address: str) -> Shown:
    return {
        "email_id": _md5(address), "email_address": address, "campaign_id": campaign["id"], "list_id": AUDIENCE,
        "list_is_active": True,
    }  # fmt: skip


def _recipient(campaign: Shown, address: str, mine: list[sqlite3.Row]) -> Shown:
    bounces = [json.loads(row["payload"])["category"] for row in mine if row["type"] == "BOUNCE"]
    status = "hard" if "UNKNOWN_USER" in bounces else "soft" if bounces else "sent"
    opens = [row["created"] for row in mine if row["type"] == "OPEN"]
    return {
        **_about(campaign, address), "status": status, "open_count": len(opens), "vip": False, "gmt_offset": 0,
        "last_open": _iso(max(opens)) if opens else "", "merge_fields": {"FNAME": "Ida", "PHONE": ""},
    }  # fmt: skip


def _activity(campaign: Shown, address: str, mine: list[sqlite3.Row]) -> Shown:
    did: list[Shown] = []
    for row in mine:
        given, at = json.loads(row["payload"]), _iso(row["created"])
        if row["type"] == "OPEN":
            did.append({"action": "open", "timestamp": at, "ip": "203.0.113.7"})
        elif row["type"] == "CLICK":
            did.append({"action": "click", "timestamp": at, "url": given["url"], "ip": "203.0.113.8"})
        elif row["type"] == "BOUNCE":
            kind = "hard" if given["category"] == "UNKNOWN_USER" else "soft"
            did.append({"action": "bounce", "type": kind, "timestamp": at})
    return {**_about(campaign, address), "activity": did}


def _left_at(number: int, address: str, mine: list[sqlite3.Row]) -> int | None:
    """When somebody left by this campaign: those of the world, and one in thirty of who opened it."""
    told = [row["created"] for row in mine if row["type"] == "STATUSCHANGE" and row["sent_by_id"]]
    opens = [row["created"] for row in mine if row["type"] == "OPEN"]
    if opens and int(_hash(number, address, 6), 16) % 30 == 0:
        told.append(min(opens) + 3_600_000)
    return min(told, default=None)


def _left(campaign: Shown, address: str, at: int) -> Shown:
    return {
        **_about(campaign, address), "timestamp": _iso(at), "vip": False, "reason": "NORMAL",
        "merge_fields": {"FNAME": "Ida"},
    }  # fmt: skip


def _report(campaign: Shown, sent: list[Shown], did: list[Shown], gone: list[Shown]) -> Shown:
    acts = {
        kind: [each["timestamp"] for row in did for each in row["activity"] if each["action"] == kind]
        for kind in ("open", "click")
    }
    unique = {kind: sum(any(each["action"] == kind for each in row["activity"]) for row in did) for kind in acts}
    statuses = [row["status"] for row in sent]
    campaign["emails_sent"] = len(sent)
    return {
        "id": campaign["id"], "type": campaign["type"], "campaign_title": campaign["settings"]["title"],
        "subject_line": campaign["settings"]["subject_line"], "list_id": AUDIENCE, "list_is_active": True,
        "emails_sent": len(sent), "abuse_reports": 0, "unsubscribed": len({row["email_id"] for row in gone}),
        "send_time": campaign["send_time"],
        "bounces": {"hard_bounces": statuses.count("hard"), "soft_bounces": statuses.count("soft"), "syntax_errors": 0},
        "opens": {
            "opens_total": len(acts["open"]), "unique_opens": unique["open"], "open_rate": 0.25,
            "last_open": max(acts["open"], default=""),
        },
        "clicks": {
            "clicks_total": len(acts["click"]), "unique_clicks": len(acts["click"]), "click_rate": 0.05,
            "unique_subscriber_clicks": unique["click"], "last_click": max(acts["click"], default=""),
        },
    }  # fmt: skip


def _member(row: sqlite3.Row, left: dict[str, int], bounced: set[str], now: int) -> Shown | None:
    given = json.loads(row["payload"])
    if not (address := (given["email"] or "").strip().lower()):
        return None
    number, changed = int(row["id"]), max(row["modified_at"], left.get(address, 0))
    status = "cleaned" if address in bounced else "unsubscribed" if address in left else "subscribed"
    put_away = changed + ARCHIVED_AFTER
    if row["is_deleted"] or (number % 11 == 0 and put_away <= now):
        status, changed = "archived", changed if row["is_deleted"] else put_away
    return {
        "id": _md5(address), "contact_id": _hash("contact", number, 32), "unique_email_id": _hash("email", number, 10),
        "email_address": address, "full_name": f"{given['firstname']} {given['lastname']}", "web_id": number,
        "email_type": "html", "status": status,
        "merge_fields": {"FNAME": given["firstname"], "COMPANY": given.get("company") or "", "PHONE": ""},
        "ip_signup": "", "timestamp_signup": _iso(_ms(given["createdate"])) if number % 3 else "",
        "ip_opt": "203.0.113.9", "timestamp_opt": _iso(_ms(given["createdate"])), "last_changed": _iso(changed),
        "language": "", "vip": False, "location": {"latitude": 0, "longitude": 0, "country_code": "", "region": ""},
        "source": "API - Generic" if number % 3 else "Admin Add", "list_id": AUDIENCE,
        "tags": [{"id": of, "name": name} for n, (of, name) in enumerate(TAGS) if number % 5 == n],
        "tags_count": int(number % 5 < len(TAGS)),
    }  # fmt: skip


def _hash(kind: object, of: object, digits: int) -> str:
    return hashlib.sha256(f"mailchimp {kind} {of}".encode()).hexdigest()[:digits]


def _md5(address: str) -> str:
    return hashlib.md5(address.encode(), usedforsecurity=False).hexdigest()


def _ms(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)


def _iso(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%S+00:00}"


# -- what goes wrong, in Mailchimp's words


def _problem(status: int, title: str, detail: str) -> Response:
    body = {
        "type": "https://mailchimp.com/developer/marketing/docs/errors/", "title": title, "status": status,
        "detail": detail, "instance": "995c5cb0-3280-4a6e-808b-3b096d0bb219",
    }  # fmt: skip
    return JSONResponse(body, status, media_type="application/problem+json")


def _refused(status: int, title: str, detail: str) -> Refused:
    return Refused(_problem(status, title, detail))


def _throttled(wait: int | None, daily: bool) -> Response:
    if wait is None:  # what stands before the API says so, without a word
        return PlainTextResponse("", 403)
    answer = _problem(429, "Too Many Requests", "You have exceeded the limit of 10 simultaneous connections.")
    answer.headers["Retry-After"] = str(86_400 if daily else wait)
    return answer


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _problem(500, "InternalServerError", "An unexpected internal error has occurred."),
    expired=lambda: _problem(401, "API Key Invalid", "Your API key may be invalid."),
    rows=("campaigns", "reports", "sent_to", "emails", "unsubscribes", "members", "lists"),
    token_route=True,
)
