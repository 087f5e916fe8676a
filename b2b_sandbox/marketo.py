"""Marketo Engage over the contacts and e-mail events of the world, as a company would have them that mails with it.

Leads by id and by export jobs, activities of all types in one log, deleted leads, programs with their costs, usage.
From Adobe's specifications (github.com/AdobeDocs/marketo-apis) and documentation, read 2026-12-01. Each call for
activities looks at 300 of them, whatever types are asked for, so that a page may have none; an error comes with 200.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from uuid import uuid4

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.generate_base import DAY
from b2b_sandbox.hubspot_call import HubSpotError, milliseconds
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

TOKEN_LIFETIME = 3599.0
TWICE = 1_000_000_000  # what numbers of leads that were there for a day are above those of others
LOOKED_AT = 300  # activities of all types, by one call
PRUNED, SPAM_AFTER = 14 * DAY, 6 * DAY  # deletions; when somebody deletes what is none
MANY, MANY_PRUNED = (6, 7, 13), 90 * DAY  # activities that are kept for a shorter time than others
MAILED = {"SENT": 6, "DELIVERED": 7, "OPEN": 10, "CLICK": 11, "STATUSCHANGE": 9, "BOUNCE": 8}
FIELDS = {"leadSource": "hs_analytics_source", "leadStatus": "lifecyclestage", "state": "state"}
STANDARD = ("id", "email", "firstName", "lastName", "company", "country", "createdAt", "updatedAt", *FIELDS)
PROGRAMS = (  # id, name, type, channel, day of the world on which it was made, costs
    (1032, "Newsletter, monthly", "Email", "Email Send", 0, ()),
    (1035, "Webinar: \u00dcberblick \U0001f4c8", "Event", "Webinar", 1, (900, 350)),
    (1070, "Whitepaper", "Default", "Content", 2, (100,)),
    (1071, "Trade fair", "Event", "Tradeshow", 3, ()),
)


class Activity(NamedTuple):
    """`about`: id and name of what it is about."""

    at: int
    id: str
    kind: int
    lead: int
    about: tuple[int | None, str | None]
    attributes: dict[str, Any]


class Book(NamedTuple):
    """All of it, leads by id, activities oldest first."""

    leads: dict[int, Shown]
    activities: list[Activity]


def routes(
    world: World, burst: int = 100_000, daily: int = 10_000_000, with_updates: bool = True, polls: int = 0
) -> list[BaseRoute]:
    """`burst` calls in twenty seconds; `with_updates`: whether leads can be exported by when they were updated; `polls`
    of a job that is not done yet."""
    book, jobs = Shapes(world, book_at), dict[str, Shown]()
    meters = (Meter(daily, 86_400.0), "607", "Daily quota reached"), (Meter(burst, 20.0), "606", "Max rate limit")

    def enter(request: Request) -> dict[str, str]:
        problem = tokens.problem(world, "marketo", tokens.bearer(request))
        if problem:
            code, message = ("602", "expired") if problem == "expired" else ("601", "invalid")
            raise _refused(code, f"Access token {message}")
        for meter, code, message in meters:
            if not meter.take():
                raise _refused(code, message)
        return {}

    async def token(request: Request) -> Response:
        return _token(dict(request.query_params) | await tokens.form(request))

    def kept(call: Call) -> list[Activity]:
        return [each for each in book().activities if each.kind not in MANY or each.at > call.now - MANY_PRUNED]

    def activities(call: Call) -> Shown:
        types = set(",".join(call.request.query_params.getlist("activityTypeIds")).split(",")) - {""}
        if not 1 <= len(types) <= 10:
            raise _refused("1003", "Only 10 activity types can be specified")
        return _page(call, kept(call), lambda each: _shown(each) if str(each.kind) in types else None)

    def changes(call: Call) -> Shown:
        names = set(call.query("fields").split(","))
        if names == {""}:
            raise _refused("1002", "Missing value for the required parameter 'fields'")
        return _page(call, kept(call), lambda each: _change(each, names))

    def deleted(call: Call) -> Shown:
        log = [each for each in book().activities if each.at > call.now - PRUNED]
        return _page(call, log, lambda each: _shown(each) if each.kind == 37 else None)

    def leads(call: Call) -> Shown:
        names, ids = call.query("fields", "id,email").split(","), call.query("filterValues").split(",")
        if call.query("filterType") != "id" or len(ids) > 300:
            raise _refused("1003", "Invalid filterType, or too many values")
        known = book().leads
        return _result([_of_lead(known[int(each)], names) for each in ids if int(each) in known])

    def create(call: Call) -> Shown:
        request = json.loads(call.body)
        if "updatedAt" in request["filter"] and not with_updates:
            raise _refused("1035", "Unsupported filter type for target subscription: updatedAt")
        span = request["filter"].get("updatedAt") or request["filter"]["createdAt"]
        start, end = (milliseconds(span[name]) for name in ("startAt", "endAt"))
        if unknown := set(request["fields"]) - set(STANDARD):
            raise _refused("1006", f"Field '{min(unknown)}' not found")
        if end - start > 31 * DAY:
            raise _refused("1003", "Date range must be within 31 days")
        job = {"exportId": str(uuid4()), "status": "Created", "createdAt": _time(call.now), "format": "CSV"}
        jobs[job["exportId"]] = {"job": job, "request": request, "start": start, "end": end, "polls": polls}
        return _result([job])

    def of(call: Call) -> Shown:
        if call.path("id") not in jobs:
            raise _refused("1013", "Export job not found")
        return jobs[call.path("id")]

    def enqueue(call: Call) -> Shown:
        of(call)["job"]["status"] = "Queued"
        return _result([of(call)["job"]])

    def status(call: Call) -> Shown:
        kept = of(call)
        if kept["job"]["status"] == "Queued" and kept["polls"] <= 0:
            name = "updatedAt" if "updatedAt" in kept["request"]["filter"] else "createdAt"
            known = book().leads.values()
            kept["found"] = [each for each in known if kept["start"] <= milliseconds(each[name]) <= kept["end"]]
            kept["job"] |= {"status": "Completed", "numberOfRecords": len(kept["found"])}
        kept["polls"] -= 1
        return _result([kept["job"]])

    def file(request: Request) -> Response:
        enter(request)
        kept = jobs[request.path_params["id"]]
        text, names = io.StringIO(), kept["request"]["fields"]
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        for each in kept["found"]:
            writer.writerow(["null" if each.get(name) in (None, "") else each[name] for name in names])
        return Response(text.getvalue().encode(), media_type="text/csv")

    def programs(call: Call) -> Shown:
        offset, most = int(call.query("offset", "0")), min(int(call.query("maxReturn", "20")), 200)
        found = list(_programs(world, call.now))[offset : offset + most]
        if not found:
            return _said({"warnings": ["No assets found for the given search criteria."], "errors": []})
        return _result(
            [{name: value for name, value in each.items() if name not in ("costs", "tags")} for each in found]
        )

    def program(call: Call) -> Shown:
        found = [each for each in _programs(world, call.now) if str(each["id"]) == call.path("id")]
        if not found:
            raise _refused("702", f"Program with id {call.path('id')} not found")
        return _result(found)

    def usage(call: Call) -> Shown:
        return _result([{"date": _time(call.now)[:10], "total": 7, "users": []}])

    at = partial(route, world, enter=enter)
    return [
        Route("/identity/oauth/token", token, methods=["GET", "POST"]),
        at("/rest/v1/activities/pagingtoken.json", _since),
        at("/rest/v1/activities.json", activities),
        at("/rest/v1/activities/leadchanges.json", changes),
        at("/rest/v1/activities/deletedleads.json", deleted),
        at("/rest/v1/leads.json", leads),
        at("/rest/v1/leads/describe.json", lambda call: _result(_described())),
        at(
            "/rest/v1/stats/usage.json", lambda call: _result([{"date": _time(call.now)[:10], "total": 7, "users": []}])
        ),
        at("/bulk/v1/leads/export/create.json", create, method="POST"),
        at("/bulk/v1/leads/export/{id}/enqueue.json", enqueue, method="POST"),
        at("/bulk/v1/leads/export/{id}/status.json", status),
        Route("/bulk/v1/leads/export/{id}/file.json", file),
        at("/rest/asset/v1/programs.json", programs),
        at("/rest/asset/v1/program/{id:int}.json", program),
    ]


def _token(fields: dict[str, str]) -> Response:
    if tokens.grant_problem("marketo", fields, ("client_credentials",)):
        body = {"error": "unauthorized", "error_description": "Bad client credentials"}
        return JSONResponse(body, 401)
    lasts = {"token_type": "bearer", "expires_in": int(TOKEN_LIFETIME), "scope": "api@ourcompany.example"}
    return JSONResponse({"access_token": tokens.issue("marketo", TOKEN_LIFETIME), **lasts})


def _since(call: Call) -> Shown:
    try:
        at = milliseconds(call.query("sinceDatetime"))
    except HubSpotError:
        raise _refused("704", "Invalid date format") from None
    return _said({"nextPageToken": tokens.sign({"after": [at, ""]})})


def _page(call: Call, log: list[Activity], shown: Any) -> Shown:
    """The next ones after a token; there always is another token. Without any that was asked for there is no list."""
    position = tokens.unsign(call.query("nextPageToken"))
    if position is None:
        raise _refused("1001", "Invalid value for nextPageToken")
    following = [each for each in log if [each.at, each.id] >= position["after"]]
    looked_at, more = following[:LOOKED_AT], len(following) > LOOKED_AT
    after = [following[LOOKED_AT].at, following[LOOKED_AT].id] if more else [call.now, "~"]
    found = [record for each in looked_at if (record := shown(each))]
    return _said({
        **({"result": found} if found else {}), "nextPageToken": tokens.sign({"after": after}), "moreResult": more,
    })  # fmt: skip


def _shown(each: Activity) -> Shown:
    about = {"primaryAttributeValueId": each.about[0], "primaryAttributeValue": each.about[1]}
    return {
        "id": int(hashlib.sha256(each.id.encode()).hexdigest()[:8], 16), "marketoGUID": each.id, "leadId": each.lead,
        "activityDate": _time(each.at), "activityTypeId": each.kind,
        **{name: value for name, value in about.items() if value is not None},
        "attributes": [{"name": name, "value": value} for name, value in each.attributes.items()],
    }  # fmt: skip


def _change(each: Activity, names: set[str]) -> Shown | None:
    """Of a new lead there are no values."""
    if each.kind == 12:
        return _shown(each)
    if each.kind != 13 or each.attributes["Attribute Name"] not in names:
        return None
    given = each.attributes
    changed = {
        "id": 48,
        "name": given["Attribute Name"],
        "newValue": given["New Value"],
        "oldValue": given["Old Value"],
    }
    return {**_shown(each), "fields": [changed], "attributes": [{"name": "Source", "value": "Web service API"}]}


def _of_lead(lead: Shown, names: list[str]) -> Shown:
    return {name: lead.get(name) for name in {"id", *names}}


def _described() -> list[Shown]:
    return [
        {"id": n, "displayName": name, "dataType": "string", "rest": {"name": name, "readOnly": False}}
        for n, name in enumerate(STANDARD)
    ]


def _programs(world: World, now: int) -> Iterator[Shown]:
    begun = milliseconds(world.setting("start"))
    month = datetime.fromtimestamp(begun / 1000, UTC).date().replace(day=1)
    for number, name, kind, channel, day, costs in PROGRAMS:
        made = begun + day * DAY
        if made <= now:
            stamps = dict.fromkeys(("createdAt", "updatedAt"), f"{_time(made)}+0000")
            paid = [{"startDate": str(_later(month, n)), "cost": cost, "note": "?"} for n, cost in enumerate(costs)]
            yield {
                "id": number, "name": name, "description": "", **stamps, "url": f"https://app.example/#PG{number}A1",
                "type": kind, "channel": channel, "folder": {"type": "Folder", "value": 28, "folderName": "All"},
                "status": "on" if kind == "Email" else "", "workspace": "Default", "headStart": False, "tags": None,
                "costs": paid or None,
            }  # fmt: skip


def _later(month: date, months: int) -> date:
    return date(month.year + (month.month - 1 + months) // 12, (month.month - 1 + months) % 12 + 1, 1)


# -- what it makes of the world


def book_at(connection: sqlite3.Connection, now: int) -> Book:
    scope = {"vendor": "hubspot", "object": "contacts", "now": now}
    first = "select id, payload, min(version) from record_version where vendor = 'hubspot' and object = 'contacts'"
    rows = connection.execute(f"{first} and visible_at <= ? group by id", (now,))
    made = {int(identifier): json.loads(payload) for identifier, payload, _ in rows}
    leads, log = dict[int, Shown](), list[Activity]()
    for row in connection.execute(CURRENT + " order by v.id", scope):
        given, number = json.loads(row["payload"]), int(row["id"])
        if not row["is_deleted"] and not row["is_gone"]:
            leads[number] = _lead(number, row, given)
        if row["is_deleted"]:
            name = f"{given.get('firstname')} {given.get('lastname')}"
            log.append(Activity(row["modified_at"], f"d{number}", 37, number, (number, name), {}))
    for number, given in made.items():
        log += _own(number, given)
        if _digest(number) % 29 == 0 and (at := milliseconds(given["createdate"]) + SPAM_AFTER) <= now:
            leads.pop(number, None)
            log.append(Activity(at, f"x{number}", 37, number, (number, f"{given.get('firstname')} Muster"), {}))
    log += _changes(connection, now)
    log += _mails(connection, now, made)
    log += _merges(connection, now)
    return Book(leads, sorted((each for each in log if each.at <= now), key=lambda each: each[:2]))


def _lead(number: int, row: sqlite3.Row, given: Shown) -> Shown:
    known = {ours: given.get(theirs) or None for ours, theirs in FIELDS.items()}
    return {
        "id": number, "email": given.get("email"), "firstName": given.get("firstname"),
        "lastName": given.get("lastname"), "company": given.get("company"), "country": given.get("country"),
        "createdAt": _time(milliseconds(given["createdate"])), "updatedAt": _time(row["modified_at"]), **known,
    }  # fmt: skip


def _own(number: int, given: Shown) -> Iterator[Activity]:
    """That somebody is new; what some filled out, and how far others came in a program."""
    made, digest = milliseconds(given["createdate"]), _digest(number)
    yield Activity(made, f"n{number}", 12, number, (number, str(given.get("firstname"))), {"Source": "API"})
    if digest % 23 == 0:  # with one that came in twice on the same day
        told = {"Merge IDs": json.dumps([number + TWICE]), "Merged in Sales": False}
        yield Activity(made + DAY, f"t{number}", 32, number, (number, "Ada Muster"), told)
    if digest % 4 == 0:
        query = {name: given[name] for name in ("utm_source", "utm_medium", "utm_campaign") if given.get(name)}
        query |= {"gclid": given["hs_google_click_id"]} if given.get("hs_google_click_id") else {}
        told = {
            "Client IP Address": "192.0.2.44", "Form Fields": f"a:1:{{s:5:\"Email\";s:9:\"{given.get('email')}\";}}",
            "Query Parameters": urlencode(query), "Referrer URL": "https://www.ourcompany.example/demo",
            "User Agent": "Mozilla/5.0", "Webpage ID": 12,
        }  # fmt: skip
        yield Activity(made + 1000, f"f{number}", 2, number, (1029, "Demo form"), told)
    if digest % 3 == 0:
        program, name, _, _, _, _ = PROGRAMS[digest // 3 % len(PROGRAMS)]
        for n, (word, success) in enumerate((("Invited", False), ("Attended", True))):
            told = {
                "Reason": "Filled out by Ada", "Program Member ID": number, "Acquired By": False,
                "New Status ID": n + 2, "New Status": word, "Old Status ID": n + 1, "Old Status": "Not in Program",
                "Success": success,
            }  # fmt: skip
            yield Activity(made + (n + 1) * DAY, f"p{number}.{n}", 104, number, (program, name), told)


def _digest(number: int) -> int:
    return int(hashlib.sha256(f"m{number}".encode()).hexdigest(), 16)


def _changes(connection: sqlite3.Connection, now: int) -> Iterator[Activity]:
    query = (
        "select id, at, value from property_history where vendor = 'hubspot' and object = 'contacts'"
        " and property = 'lifecyclestage' and visible_at <= ? order by id, at"
    )
    before: dict[str, str | None] = {}
    for identifier, at, value in connection.execute(query, (now,)):
        if identifier in before and value:
            told = {"Attribute Name": "leadStatus", "New Value": value, "Old Value": before[identifier]}
            yield Activity(at, f"c{identifier}.{at}", 13, int(identifier), (48, "leadStatus"), told)
        before[identifier] = value


def _mails(connection: sqlite3.Connection, now: int, made: dict[int, Shown]) -> Iterator[Activity]:
    """What HubSpot's events tell, of those who were leads by then."""
    by_email: dict[str, int] = {}
    for number in sorted(made):
        by_email.setdefault((made[number].get("email") or "").strip().lower(), number)
    query = "select id, created, type, recipient, email_campaign_id, payload from email_event where visible_at <= ?"
    for identifier, created, kind, recipient, send, payload in connection.execute(query, (now,)):
        lead, told = by_email.get(recipient.strip().lower()), json.loads(payload)
        if lead is None or milliseconds(made[lead]["createdate"]) > created or kind not in MAILED:
            continue
        if told.get("portalSubscriptionStatus", "UNSUBSCRIBED") == "UNSUBSCRIBED":
            bot = bool(told.get("filteredEvent"))
            number = 27 if kind == "BOUNCE" and created % 3 == 0 else MAILED[kind]
            more = {"Is Bot Activity": bot, "User Agent": "Mozilla/5.0"} if number in (10, 11) else {}
            given = {"Campaign Run ID": send % 97, **more}
            yield Activity(created, identifier, number, lead, (send, f"Mailing.{send}"), given)


def _merges(connection: sqlite3.Connection, now: int) -> Iterator[Activity]:
    query = """
        select id, json_extract(payload, '$.hs_merged_object_ids') as losers, min(modified_at) from record_version
        where vendor = 'hubspot' and object = 'contacts' and visible_at <= ? and losers is not null group by id"""
    for identifier, losers, at in connection.execute(query, (now,)):
        told = {"Merge IDs": json.dumps([int(each) for each in losers.split(";")]), "Merged in Sales": False}
        yield Activity(at, f"m{identifier}", 32, int(identifier), (int(identifier), "Ada Muster"), told)


def _time(at: int) -> str:
    return f"{datetime.fromtimestamp(at // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Marketo's words


def _said(content: Shown) -> Shown:
    return {"requestId": "e42b#14272d07d78", "success": True, **content}


def _result(found: list[Shown]) -> Shown:
    return _said({"result": found})


def _error(code: str, message: str) -> Response:
    body = {"requestId": "e42b#14272d07d78", "success": False, "errors": [{"code": code, "message": message}]}
    return JSONResponse(body)


def _refused(code: str, message: str) -> Refused:
    return Refused(_error(code, message))


def _throttled(wait: int | None, daily: bool) -> Response:
    if daily:
        return _error("607", "Daily quota reached")
    return _error("606", "Max rate limit '100' exceeded with in '20' secs")


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error("611", "System error"),
    expired=lambda: _error("602", "Access token expired"),
    missing_scope=lambda scope: _error("603", f"Access denied: {scope}"),
    cursor=asked_by("nextPageToken"),
    repeat=lambda cursor, answer: answer.update(nextPageToken=cursor, moreResult=True),
    rows=("result",),
    token_route=True,
)
