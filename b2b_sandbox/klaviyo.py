"""Klaviyo's API, revision 2026-07-15, over the marketing e-mails and contacts of the world: one account.

Newsletters are campaigns, nurture e-mails the messages of a flow; events are of Klaviyo's metrics, which has none of
sending. From Klaviyo's OpenAPI document (2026-07-15), its SDK (PyPI klaviyo-api 24.0.0), and events that public
repositories recorded of accounts. The bodies of errors are of the document; which `code` a retired revision has is not
known.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_email import NURTURE, NURTURE_IDS
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "klaviyo"
ACCOUNT = "AbC123"
FLOW = "WFzxH9"
TOKEN_LIFETIME = 3600.0
LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # of ULIDs
METRICS = {
    "DELIVERED": "Received Email", "BOUNCE": "Bounced Email", "OPEN": "Opened Email", "CLICK": "Clicked Email",
    "STATUSCHANGE": "Unsubscribed from Email Marketing", "SPAMREPORT": "Marked Email as Spam",
    "DROPPED": "Dropped Email",
}  # fmt: skip
OTHERS = (("Opened Email", "API"), ("Active on Site", "API"), ("Placed Order", "Shopify"))  # of others' making
# What may be filtered by, and how.
FILTERS = {
    "events": {"metric_id": "equals", "datetime": "greater-or-equal greater-than less-or-equal less-than"},
    "campaigns": {"messages.channel": "equals", "archived": "equals"},
    "flows": {"archived": "equals"},
    "profiles": {"updated": "greater-than less-than", "created": "greater-than less-than", "email": "equals"},
    "metrics": {"integration.name": "equals"},
}
LARGEST = {"events": 1000, "campaigns": 100, "flows": 50, "profiles": 100, "metrics": 200, "accounts": 1}
CLAUSE = re.compile(r"([a-z-]+)\(([a-z_.]+),('[^']*'|\"[^\"]*\"|[^)]*)\)(?:,|$)")


class Account(NamedTuple):
    """All of it that can be listed; addresses of profiles by their id; lists by what was asked for, for their pages."""

    metrics: list[Shown]
    events: list[Shown]
    campaigns: list[Shown]
    flows: list[Shown]
    profiles: list[Shown]
    addresses: dict[str, str]
    asked: dict[tuple[str, str, str], list[Shown]]


def routes(world: World, page_size: int = 1000, calls: int = 100_000, tracks_opens: bool = True) -> list[BaseRoute]:
    """The paths of one account. `page_size`: the most records of a page; `calls` a minute; `tracks_opens`: whether
    campaigns do."""
    account, steady = Shapes(world, partial(account_at, tracks_opens=tracks_opens)), Meter(calls, 60.0)

    def enter(request: Request) -> dict[str, str]:
        scheme, _, word = request.headers.get("authorization", "").partition(" ")
        is_key = scheme == "Klaviyo-API-Key" and word == tokens.PRIVATE_APP_TOKEN
        if not is_key and tokens.problem(world, VENDOR, tokens.bearer(request)):
            raise Refused(_expired())
        revision = request.headers.get("revision", "")
        if not re.fullmatch(r"\d{4}-\d\d-\d\d", revision):
            raise _refused(400, "invalid", "Invalid revision.", "revision")
        if datetime.fromisoformat(revision).replace(tzinfo=UTC) < _at(world.now()) - timedelta(days=731):
            raise Refused(_error(410, "gone", "This revision is no longer supported."))
        if not steady.take():
            raise Refused(_throttled(None, False))
        return {
            "RateLimit-Limit": f"{calls}, {calls};w=60", "RateLimit-Remaining": str(calls - steady.used()),
            "RateLimit-Reset": "60",
        }  # fmt: skip

    def listed(kind: str, call: Call) -> Shown:
        known = account()
        sort = call.query("sort")
        asked = kind, call.query("filter"), sort
        if asked not in known.asked:
            clauses = _clauses(kind, call)
            found = [row for row in getattr(known, kind) if _fits(kind, row, clauses)]
            if sort:
                name = sort.removeprefix("-")
                found = sorted(found, key=lambda row: (_value(row, name), row["id"]), reverse=sort.startswith("-"))
            known.asked[asked] = found
        return _paged(call, kind, known.asked[asked], page_size, known.addresses)

    def accounts(call: Call) -> Shown:
        return _paged(call, "accounts", [OURS], page_size, {})

    def campaigns(call: Call) -> Shown:
        if not any(field == "messages.channel" for _, field, _ in _clauses("campaigns", call)):
            raise _refused(400, "invalid", "Invalid input.", "filter")
        return listed("campaigns", call)

    async def token(request: Request) -> Response:
        return _token(request, await tokens.form(request))

    at = partial(route, world, enter=enter)
    return [
        Route("/oauth/authorize", tokens.consent(VENDOR)),
        Route("/oauth/token", token, methods=["POST"]),
        at("/api/accounts", accounts),
        at("/api/campaigns", campaigns),
        *(at(f"/api/{kind}", partial(listed, kind)) for kind in ("metrics", "events", "flows", "profiles")),
    ]


OURS: Shown = {
    "type": "account", "id": ACCOUNT,
    "attributes": {
        "test_account": False, "timezone": "Europe/Berlin", "preferred_currency": "EUR", "public_api_key": ACCOUNT,
        "locale": "en-US", "industry": "Software / SaaS",
        "contact_information": {
            "default_sender_name": "Mara", "default_sender_email": "mara@ourcompany.example", "website_url": None,
            "organization_name": "Example",
            "street_address": {
                "address1": "1 Way", "address2": "", "city": "Berlin", "region": "BE", "country": "DE", "zip": "10115",
            },
        },
    },
    "links": {"self": "https://a.klaviyo.com/api/accounts/AbC123/"},
}  # fmt: skip


def _token(request: Request, fields: dict[str, str]) -> Response:
    """The client must be in the header."""
    scheme, _, pair = request.headers.get("authorization", "").partition(" ")
    client, _, secret = base64.b64decode(pair).decode().partition(":") if scheme == "Basic" else ("", "", "")
    asked = {**fields, "client_id": client, "client_secret": secret}
    if problem := tokens.grant_problem(VENDOR, asked, ("refresh_token", "authorization_code")):
        return JSONResponse({"error": problem}, 401 if problem == "invalid_client" else 400)
    return JSONResponse({
        "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "token_type": "bearer",
        "expires_in": int(TOKEN_LIFETIME), "scope": "events:read", **tokens.lasting(fields),
    })  # fmt: skip


def _clauses(kind: str, call: Call) -> list[tuple[str, str, str]]:
    """`equals(archived,true),less-than(updated,2026-06-01T00:00:00Z)`: all of them must hold."""
    given = call.query("filter")
    found = CLAUSE.findall(given)
    if "".join(f"{op}({field},{value})" for op, field, value in found) != given.replace("),", ")"):
        raise _refused(400, "invalid", "Invalid input.", "filter")
    for op, field, _ in found:
        if op not in FILTERS[kind].get(field, "").split():
            raise _refused(400, "invalid", f"Filter by {field} with {op} is not allowed.", "filter")
    return [(op, field, value.strip("'\"")) for op, field, value in found]


def _fits(kind: str, row: Shown, clauses: list[tuple[str, str, str]]) -> bool:
    for op, field, value in clauses:
        if field == "messages.channel":
            held = value == "email"
        elif field == "metric_id":
            held = row["relationships"]["metric"]["data"]["id"] == value
        elif field == "archived":
            held = row["attributes"]["archived"] is (value == "true")
        elif op == "equals":
            held = _value(row, field) == value
        else:
            mine, bound = (datetime.fromisoformat(each) for each in (_value(row, field), value))
            held = {
                "greater-or-equal": mine >= bound, "greater-than": mine > bound,
                "less-or-equal": mine <= bound, "less-than": mine < bound,
            }[op]  # fmt: skip
        if not held:
            return False
    return True


def _value(row: Shown, field: str) -> Any:
    return row["id"] if field == "id" else row["attributes"].get(field)


def _paged(call: Call, kind: str, found: list[Shown], most: int, addresses: dict[str, str]) -> Shown:
    size = call.query("page[size]", str(min(LARGEST[kind], 200)))
    if not size.isdecimal() or not 1 <= int(size) <= LARGEST[kind]:
        raise _refused(400, "invalid", "Page size must be an integer between 1 and the maximum.", "page[size]")
    try:
        shown, after = page(found, call.query("page[cursor]"), min(int(size), most))
    except ValueError:
        raise _refused(400, "invalid", "Invalid input.", "page[cursor]") from None
    here = call.request.url
    following = str(here.include_query_params(**{"page[cursor]": after})) if after else None
    type_ = kind.removesuffix("s")
    hidden = () if "subscriptions" in call.query(f"additional-fields[{type_}]") else ("subscriptions",)
    data = [_sparse(row, call.query(f"fields[{type_}]"), hidden) for row in shown]
    answer: Shown = {"data": data, "links": {"self": str(here), "next": following, "prev": None}}
    if "profile" in call.query("include").split(","):
        of = dict.fromkeys(row["relationships"]["profile"]["data"]["id"] for row in shown)
        answer["included"] = [_included(each, addresses[each], call.query("fields[profile]")) for each in of]
    if "metric" in call.query("include").split(","):
        ids = {row["relationships"]["metric"]["data"]["id"] for row in shown}
        answer.setdefault("included", []).extend(each for each in _metrics() if each["id"] in ids)
    return answer


def _sparse(row: Shown, fields: str, hidden: tuple[str, ...]) -> Shown:
    """What `fields[…]` asks for, and, if nothing is asked for, what is not told only on request."""
    attributes = {name: value for name, value in row["attributes"].items() if name not in hidden}
    paths = [field.split(".") for field in fields.split(",") if field]
    return {**row, "attributes": _picked(attributes, paths) if paths else attributes}


def _picked(node: Shown, paths: list[list[str]]) -> Shown:
    kept: Shown = {}
    for name, *rest in paths:
        if name in node and not rest:
            kept[name] = node[name]
        elif isinstance(node.get(name), dict):
            kept[name] = {**kept.get(name, {}), **_picked(node[name], [rest])}
    return kept


def _included(identifier: str, address: str, fields: str) -> Shown:
    whole = {"email": address, "first_name": "Ida", "phone_number": None, "location": {"city": "Berlin", "ip": None}}
    return _sparse({"type": "profile", "id": identifier, "attributes": whole, "links": _self("profiles", identifier)},
                   fields, ())  # fmt: skip


# -- what it makes of the world


def account_at(connection: sqlite3.Connection, now: int, tracks_opens: bool = True) -> Account:
    query = "select * from email_event where visible_at <= ? order by created, id"
    told = [row for row in connection.execute(query, (now,)) if row["type"] in METRICS]
    told = [row for row in told if tracks_opens or row["type"] != "OPEN" or row["email_campaign_id"] in NURTURE_IDS]
    events = [_event(row) for row in told]
    addresses = {_profile_id(row["recipient"]): row["recipient"].strip().lower() for row in told}
    mails = {"vendor": "hubspot", "object": "marketing_email", "now": now}
    sent = [
        json.loads(row["payload"]) for row in connection.execute(CURRENT + " and v.is_gone = 0 order by v.id", mails)
    ]
    campaigns = [_campaign(mail, tracks_opens) for mail in sent if mail["type"] == "BATCH_EMAIL"]
    people = {"vendor": "hubspot", "object": "contacts", "now": now}
    contacts = connection.execute(CURRENT + " and v.is_gone = 0 order by v.id", people)
    profiles = {each["id"]: each for row in contacts if not row["is_deleted"] and (each := _profile(row))}
    return Account(_metrics(), events, campaigns, _flows(), [*profiles.values()], addresses, {})


def _metrics() -> list[Shown]:
    every = [*((name, "Klaviyo") for name in METRICS.values()), *OTHERS]
    stamp = "2025-01-07T09:00:00+00:00"
    return [
        {
            "type": "metric", "id": _metric_id(name, by),
            "attributes": {
                "name": name, "created": stamp, "updated": stamp,
                "integration": {"object": "integration", "id": _short(by), "name": by, "category": "Internal"},
            },
            "relationships": {"flow-triggers": {"links": _related("metrics", name, "flow-triggers")}},
            "links": _self("metrics", name),
        }
        for name, by in every
    ]  # fmt: skip


def _metric_id(name: str, by: str = "Klaviyo") -> str:
    return _short(f"{name} {by}")


def _event(row: sqlite3.Row) -> Shown:
    """What is recorded of one. Every ninth campaign's has no address of its own, as older events have none."""
    given, number = json.loads(row["payload"]), row["email_campaign_id"]
    address, sent = row["recipient"].strip().lower(), row["sent_by_created"] or row["created"]
    is_flow = number in NURTURE_IDS
    message = _message(number)
    name = METRICS[row["type"]]
    properties: Shown = {"Subject": given.get("subject", "News"), "Email Domain": address.partition("@")[2]}
    if row["sent_by_id"] or row["type"] == "DROPPED":  # else it is of no message: who left by the preferences page
        properties |= {"$message": message, "Campaign Name": _title(number)}
        if is_flow:
            inside: Shown = {"Transmission ID": _ulid(sent, f"{address} {number}")}
            properties |= {"$flow": FLOW, "$internal": inside, "$event_id": f"{message}:{inside['Transmission ID']}"}
            if row["type"] == "DELIVERED":
                inside["Handoff Time"] = sent // 1000
        else:
            properties |= {"$_cohort$message_send_cohort": f"{sent // 1000}:{message}", "$event_id": f"{message}:1"}
    if is_flow or number % 9:
        properties["Recipient Email Address"] = row["recipient"]
    if name == "Opened Email":
        properties |= {"machine_open": bool(given.get("filteredEvent")), "Client OS": "iOS", "IP": "203.0.113.4"}
        properties["Apple Privacy Open"] = properties["machine_open"]
    if name == "Clicked Email":
        properties |= {"Bot Click": bool(given.get("filteredEvent")), "URL": given["url"]}
    if name == "Bounced Email":
        properties["Bounce Type"] = "Hard" if given["category"] == "UNKNOWN_USER" else "Soft"
    identifier, profile = _hash("event", row["id"], 11), _profile_id(row["recipient"])
    return {
        "type": "event", "id": identifier,
        "attributes": {
            "timestamp": row["created"] // 1000, "datetime": _iso(row["created"]), "event_properties": properties,
            "uuid": row["id"],
        },
        "relationships": {
            "profile": {
                "data": {"type": "profile", "id": profile}, "links": _related("events", identifier, "profile"),
            },
            "metric": {
                "data": {"type": "metric", "id": _metric_id(name)}, "links": _related("events", identifier, "metric"),
            },
        },
        "links": _self("events", identifier),
    }  # fmt: skip


def _message(number: int) -> str:
    """A campaign's own id; of a flow that of its message."""
    return _short(f"message {number}") if number in NURTURE_IDS else _ulid(1_700_000_000_000, f"campaign {number}")


def _title(number: int) -> str:
    return NURTURE[NURTURE_IDS.index(number)][1] if number in NURTURE_IDS else "Newsletter"


def _campaign(mail: Any, tracks_opens: bool) -> Shown:
    number = int(mail["primaryEmailCampaignId"])
    made, sent = _iso(_ms(mail["createdAt"])), mail["publishDate"] and _iso(_ms(mail["publishDate"]))
    return {
        "type": "campaign", "id": _message(number),
        "attributes": {
            "name": mail["name"], "status": "Sent" if sent else "Draft", "archived": number % 2 == 0,
            "audiences": {"included": ["V7adxq"], "excluded": []}, "send_options": {"use_smart_sending": True},
            "tracking_options": {
                "add_tracking_params": True, "custom_tracking_params": [], "is_tracking_clicks": True,
                "is_tracking_opens": tracks_opens,
            },
            "send_strategy": {"method": "immediate"}, "created_at": made, "scheduled_at": sent,
            "updated_at": sent or made, "send_time": sent,
        },
        "relationships": {"campaign-messages": {"links": _related("campaigns", str(number), "campaign-messages")}},
        "links": _self("campaigns", str(number)),
    }  # fmt: skip


def _flows() -> list[Shown]:
    stamp = "2025-02-03T10:00:00+00:00"
    return [
        {
            "type": "flow", "id": identifier,
            "attributes": {
                "name": name, "status": "live" if not archived else "draft", "archived": archived, "created": stamp,
                "updated": stamp, "trigger_type": "Added to List",
            },
            "relationships": {"flow-actions": {"links": _related("flows", identifier, "flow-actions")}},
            "links": _self("flows", identifier),
        }
        for identifier, name, archived in ((FLOW, "Nurture", False), ("UiECQS", "Old | Welcome", True))
    ]  # fmt: skip


def _profile(row: sqlite3.Row) -> Shown | None:
    given = json.loads(row["payload"])
    if not (address := (given["email"] or "").strip().lower()):
        return None
    consent = "SUBSCRIBED" if int(row["id"]) % 6 else "NEVER_SUBSCRIBED"
    return {
        "type": "profile", "id": _profile_id(address),
        "attributes": {
            "email": address, "phone_number": None, "external_id": row["id"], "first_name": given["firstname"],
            "last_name": given["lastname"], "organization": given.get("company"), "title": None, "image": None,
            "locale": "de-DE", "created": _iso(_ms(given["createdate"])), "updated": _iso(row["modified_at"]),
            "last_event_date": None, "properties": {"Plan": "trial", "Boss": "boss@secret.example"},
            "location": {"city": "Berlin", "country": given.get("country"), "region": None, "ip": "203.0.113.5"},
            "subscriptions": {"email": {"marketing": {"consent": consent, "can_receive_email_marketing": True,
                                                      "suppression": [], "list_suppressions": []}}},
        },
        "links": _self("profiles", address.partition("@")[0]),
    }  # fmt: skip


def _profile_id(address: str) -> str:
    return _ulid(1_720_000_000_000, f"profile {address.strip().lower()}")


def _self(kind: str, identifier: str) -> Shown:
    return {"self": f"https://a.klaviyo.com/api/{kind}/{_short(identifier)}/"}


def _related(kind: str, identifier: str, name: str) -> Shown:
    here = _self(kind, identifier)["self"]
    return {"self": f"{here}relationships/{name}/", "related": f"{here}{name}/"}


def _ulid(milliseconds: int, of: str) -> str:
    time, rest = "", int(_hash("ulid", of, 32), 16)
    for _ in range(10):
        milliseconds, digit = divmod(milliseconds, 32)
        time = LETTERS[digit] + time
    return time + "".join(LETTERS[(rest >> 5 * n) & 31] for n in range(16))


def _short(of: str) -> str:
    number = int(_hash("short", of, 12), 16)
    return "".join(LETTERS[(number >> 5 * n) & 31] for n in range(6))


def _hash(kind: str, of: object, digits: int) -> str:
    return hashlib.sha256(f"klaviyo {kind} {of}".encode()).hexdigest()[:digits]


def _ms(stamp: str) -> int:
    return int(datetime.fromisoformat(stamp).timestamp() * 1000)


def _at(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds // 1000, UTC)


def _iso(milliseconds: int) -> str:
    return f"{_at(milliseconds):%Y-%m-%dT%H:%M:%S+00:00}"


# -- what goes wrong, in Klaviyo's words


def _error(status: int, code: str, title: str, where: str = "") -> Response:
    source = {"parameter": where} if where else {"pointer": "/data/"}
    error = {"id": str(uuid4()), "status": status, "code": code, "title": title, "detail": title, "source": source}
    return JSONResponse({"errors": [error]}, status, media_type="application/vnd.api+json")


def _refused(status: int, code: str, title: str, where: str = "") -> Refused:
    return Refused(_error(status, code, title, where))


def _expired() -> Response:
    return _error(401, "not_authenticated", "Authentication credentials were not provided.")


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "throttled", "Request was throttled.")
    answer.headers["Retry-After"] = str(86_400 if daily else 1 if wait is None else wait)
    return answer


def _repeat(cursor: str, answer: Shown) -> None:
    if following := answer["links"].get("next"):
        answer["links"]["next"] = re.sub(r"(page%5Bcursor%5D=|page\[cursor\]=)[^&]+", rf"\g<1>{cursor}", following)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "error", "A server error occurred."),
    expired=_expired,
    missing_scope=lambda scope: _error(403, "permission_denied", "You do not have permission to perform this action."),
    cursor=asked_by("page[cursor]"),
    repeat=_repeat,
    rows=("data",),
    token_route=True,
)
