"""Zoho CRM's API v8 over the leads, contacts, accounts and deals of the world, as an organization in Berlin has them.

From Zoho's OpenAPI files (GitHub zoho/crm-oas, v8.0), https://www.zoho.com/crm/developer/docs/api/v8 and answers that
public clients recorded, read 2026-12-01. Only converted leads that are asked for are listed; what is deleted, or merged
into another, is in no list; nothing at all is status 204, nothing modified status 304. Who is shown has an owner, whose
name and address stand in every record. Of `If-Modified-Since` the later of two records of its second counts here.
Timelines are as the file timelines.yaml and https://www.zoho.com/crm/developer/docs/api/v8/timeline-of-a-record.html
show them.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "zoho_crm"
TOKEN_LIFETIME = 3600.0
API = "/crm/v8"
ZONE = ZoneInfo("Europe/Berlin")
SORTED = ("id", "Created_Time", "Modified_Time")
STAGES = {
    "Prospecting": "Open", "Qualification": "Open", "Needs Analysis": "Open", "Proposal/Price Quote": "Open",
    "Negotiation/Review": "Open", "Closed Won": "Closed Won", "Closed Lost": "Closed Lost",
}  # fmt: skip
STATUSES = ("Open - Not Contacted", "Working - Contacted", "Closed - Converted", "Closed - Not Converted")
PICKED: dict[tuple[str, str], dict[str, str | None]] = {
    ("Deals", "Stage"): {**STAGES}, ("Leads", "Lead_Status"): dict.fromkeys(STATUSES)
}  # fmt: skip
TYPES = {
    "lookup": "Contact_Name Campaign_Source Converted_Contact Converted_Account Converted_Deal", "ownerlookup": "Owner",
    "picklist": "Stage Type Lead_Status Lead_Source Industry Account_Type Currency", "email": "Email Secondary_Email",
    "datetime": "Created_Time Modified_Time Converted_Date_Time", "date": "Closing_Date", "boolean": "Converted__s",
    "currency": "Amount", "double": "Exchange_Rate", "integer": "Probability", "bigint": "id",
}  # fmt: skip

# And under Stage_History the lines of all deals, with the deal's id; under __timeline those of all leads, likewise.
Modules = dict[str, list[Shown]]
OF_A_TIMELINE = 25  # entries of a page, unless asked otherwise


def number(identifier: str) -> str:
    """An id as Zoho's are: a number of 64 bits, as text."""
    return str(5_725_767 * 10**12 + int(hashlib.sha256(identifier.encode()).hexdigest()[:12], 16) % 10**12)


def routes(world: World, credits_: int = 50_000, at_once: int = 100_000, page_size: int = 200) -> list[BaseRoute]:
    """The paths of one organization. `credits_` a day, `at_once` calls a second, at most `page_size` records a page."""
    modules = Shapes(world, modules_at)
    budget, calls = Meter(credits_, 86_400.0), Meter(at_once, 1.0)

    async def token(request: Request) -> Response:
        api = f"{request.url.scheme}://{request.url.netloc}/{VENDOR}"
        return _token(await tokens.form(request), api)

    def enter(request: Request) -> dict[str, str]:
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme != "Zoho-oauthtoken" or tokens.problem(world, VENDOR, given):
            raise _refused(401, "INVALID_TOKEN", "invalid oauth token")
        if not budget.take():
            raise Refused(_throttled(None, True))
        if not calls.take():
            raise Refused(_throttled(None, False))
        left = credits_ - budget.used()
        return {"X-API-CREDITS-REMAINING": str(left)} if left < credits_ / 2 else {}  # only told from then on

    def records(call: Call) -> Shown:
        name = call.path("module")
        if name not in modules() or name in ("Stage_History", "__timeline"):
            raise _refused(400, "INVALID_MODULE", "the module name given seems to be invalid")
        rows = modules()[name]
        if name == "Leads" and (converted := call.query("converted", "false")) != "both":
            rows = [row for row in rows if row["Converted__s"] is (converted == "true")]
        return _listed(call, rows, page_size)

    def history(call: Call) -> Shown:
        rows = [row for row in modules()["Stage_History"] if row["deal"] == call.path("id")]
        return _listed(call, rows, page_size)

    def timeline(call: Call) -> Shown:
        """Newest first; how long pages are is for the first to say."""
        if call.query("page_token") and call.query("per_page"):
            raise _refused(400, "AMBIGUITY_DURING_PROCESSING", "the given params cannot be used together")
        rows = [row for row in modules()["__timeline"] if row["lead"] == call.path("id")]
        rows.sort(key=lambda row: row["audited_time"], reverse=call.query("sort_order", "desc") == "desc")
        shown, cursor = page(rows, call.query("page_token"), min(page_size, OF_A_TIMELINE))
        if not shown:
            raise Refused(Response(status_code=204))
        info = {"per_page": OF_A_TIMELINE, "count": len(shown), "more_records": cursor is not None, "page": 1,
                "next_page_token": cursor, "previous_page_token": None}  # fmt: skip
        return {"__timeline": [{name: row[name] for name in row if name != "lead"} for row in shown], "info": info}

    def fields(call: Call) -> Shown:
        name = call.query("module")
        rows = modules().get(name) or [{}]
        return {"fields": [_field(name, each) for each in rows[0] if not each.startswith("$")]}

    at = partial(route, world, enter=enter)
    return [
        Route("/oauth/v2/auth", tokens.consent(VENDOR, ("access_type", "offline"))),
        Route("/oauth/v2/token", token, methods=["POST"]),
        at(f"{API}/org", lambda call: {"org": [ORG]}),
        at(f"{API}/users", lambda call: {"users": [USER], "info": {"more_records": False}}),
        at(f"{API}/settings/fields", fields),
        at(f"{API}/Deals/{{id}}/Stage_History", history),
        at(f"{API}/Leads/{{id}}/__timeline", timeline),
        at(f"{API}/{{module}}", records),
    ]


ORG = {
    "id": "5725767000000000123", "zgid": "20069999999", "company_name": "Our Company", "iso_code": "EUR",
    "currency": "Euro - EUR", "mc_status": True, "time_zone": "Europe/Berlin", "type": "Production",
}  # fmt: skip
USER = {
    "id": "5725767000000411001", "full_name": "Sandbox", "email": "sandbox@ourcompany.example", "status": "active",
    "profile": {"name": "Administrator", "id": "5725767000000026011"}, "role": {"name": "CEO", "id": "1"},
}  # fmt: skip


def _token(fields: dict[str, str], api: str) -> Response:
    """Refusals come with status 200; a token says where the API is."""
    problem = tokens.grant_problem(VENDOR, fields, ("refresh_token", "authorization_code"))
    if problem:
        return JSONResponse({"error": "invalid_code" if problem == "invalid_grant" else problem})
    lasting = tokens.lasting(fields) if fields["grant_type"] == "authorization_code" else {}
    given = {"access_token": tokens.issue(VENDOR, TOKEN_LIFETIME), "expires_in": int(TOKEN_LIFETIME)}
    scope = "ZohoCRM.modules.leads.READ ZohoCRM.modules.deals.READ ZohoCRM.org.READ"
    return JSONResponse({**given, **lasting, "scope": scope, "api_domain": api, "token_type": "Bearer"})


def _listed(call: Call, rows: list[Shown], page_size: int) -> Shown:
    """A page of the fields that are asked for, with what follows; the id always comes along."""
    names, limit = [*filter(None, call.query("fields").split(","))], call.query("per_page", "200")
    key, since = call.query("sort_by", "id"), call.request.headers.get("if-modified-since")
    if not names:
        raise _refused(400, "REQUIRED_PARAM_MISSING", "One of the expected parameter is missing")
    if len(names) > 50 or key not in SORTED or not limit.isdecimal() or not 1 <= int(limit) <= 200:
        raise _refused(400, "LIMIT_EXCEEDED" if len(names) > 50 else "INVALID_DATA", "invalid data")
    if since:
        after = datetime.fromisoformat(since)
        if not (rows := [row for row in rows if datetime.fromisoformat(row["Modified_Time"]) > after]):
            raise Refused(Response(status_code=304))
    rows = sorted(rows, key=lambda row: (row[key], row["id"]), reverse=call.query("sort_order", "desc") == "desc")
    try:
        shown, cursor = page(rows, call.query("page_token"), min(int(limit), page_size))
    except ValueError:
        raise _refused(400, "INVALID_DATA", "the page_token given seems to be invalid") from None
    if not shown:
        raise Refused(Response(status_code=204))
    info = {"per_page": int(limit), "count": len(shown), "sort_by": key, "more_records": cursor is not None,
            "next_page_token": cursor, "previous_page_token": None, "page": 1}  # fmt: skip
    return {"data": [{name: row[name] for name in ("id", *names) if name in row} for row in shown], "info": info}


def _field(module: str, name: str) -> Shown:
    kind = next((kind for kind, names in TYPES.items() if name in names.split()), "text")
    kind = "lookup" if name == "Account_Name" and module != "Accounts" else kind
    field: Shown = {"api_name": name, "field_label": name.replace("_", " "), "custom_field": name.startswith("Our_"),
                    "data_type": kind}  # fmt: skip
    field["pick_list_values"] = [
        {"display_value": value, "actual_value": value, "reference_value": value, "sequence_number": n,
         "forecast_type": kind, "type": "used", "id": number(value), "colour_code": None}
        for n, (value, kind) in enumerate(PICKED.get((module, name), {}).items(), 1)
    ]  # fmt: skip
    return field


# -- what it makes of the world


def modules_at(connection: sqlite3.Connection, now: int) -> Modules:
    def standing(name: str) -> list[tuple[sqlite3.Row, Any]]:
        scope = {"vendor": "salesforce", "object": name, "now": now}
        found = connection.execute(CURRENT + " and v.is_gone = 0 and v.is_deleted = 0 order by v.id", scope)
        return [(row, json.loads(row["payload"])) for row in found]

    contacts, deals = standing("Contact"), standing("Opportunity")
    scope = {"vendor": "salesforce", "object": "Contact", "now": now}
    every = [json.loads(row["payload"]) for row in connection.execute(CURRENT, scope)]
    master = {given["Id"]: given["MasterRecordId"] for given in every if given["MasterRecordId"]}
    since = {given["Id"]: given["CreatedDate"] for given in every}
    names = {given["Id"]: given["Name"] for _, given in [*contacts, *standing("Account"), *deals]}
    roles: dict[str, list[Any]] = defaultdict(list)
    for _, role in standing("OpportunityContactRole"):
        roles[role["OpportunityId"]].append(role)

    def link(identifier: str | None) -> Shown | None:
        known = master.get(identifier or "", identifier or "")
        return {"name": names[known], "id": number(known)} if known in names else None

    steps = sorted((step for _, step in standing("OpportunityHistory")), key=lambda step: step["CreatedDate"])
    return {
        "Leads": [_lead(*each, link, since) for each in standing("Lead")],
        "Contacts": [
            _base(*each) | _person(each[1]) | {"Account_Name": link(each[1]["AccountId"])} for each in contacts
        ],
        "Accounts": [_account(*each) for each in standing("Account")],
        "Deals": [_deal(*each, roles[each[1]["Id"]], link) for each in deals],
        "Stage_History": [*map(_step, steps)],
        "__timeline": [
            *(_made(given, n) for _, given in standing("Lead") for n in range(2)),
            *(_told(given) for _, given in standing("LeadHistory")),
        ],
    }


def _base(row: sqlite3.Row, given: Any) -> Shown:
    owner = {"name": "Somebody of Sales", "id": number(given["OwnerId"]), "email": "sales@ourcompany.example"}
    return {
        "id": number(given["Id"]), "Owner": owner, "Created_Time": _iso(given["CreatedDate"]),
        "Modified_Time": _at(row["modified_at"]), "$approved": True, "$editable": True, "Tag": [],
    }  # fmt: skip


def _person(given: Any) -> Shown:
    return {
        "Full_Name": given["Name"], "First_Name": given["FirstName"], "Last_Name": given["LastName"],
        "Email": (given["Email"] or "").strip() or None, "Secondary_Email": None, "Phone": given["Phone"],
    }  # fmt: skip


def _lead(row: sqlite3.Row, given: Any, link: Any, since: dict[str, str]) -> Shown:
    """Converted when its contact was made."""
    contact = given["ConvertedContactId"]
    made = {"account": given["ConvertedAccountId"], "contact": contact, "deal": given["ConvertedOpportunityId"]}
    return {
        **_base(row, given), **_person(given), "Company": given["Company"], "Country": given["Country"],
        "Lead_Status": given["Status"], "Lead_Source": given["LeadSource"], "Converted__s": given["IsConverted"],
        "Converted_Date_Time": _iso(since[contact]) if given["IsConverted"] else None,
        "Converted_Contact": link(contact), "Converted_Account": link(given["ConvertedAccountId"]),
        "Converted_Deal": link(given["ConvertedOpportunityId"]), "$converted": given["IsConverted"],
        "$converted_detail": {name: number(known) for name, known in made.items() if known},
        "Our_UTM_Medium": given["utm_medium__c"], "Our_UTM_Campaign": given["utm_campaign__c"],
        "Our_GCLID": given["gclid__c"],
    }  # fmt: skip


def _account(row: sqlite3.Row, given: Any) -> Shown:
    return {
        **_base(row, given), "Account_Name": given["Name"], "Website": given["Website"], "Industry": given["Industry"],
        "Billing_Country": given["BillingCountry"], "Account_Type": given["Type"],
    }  # fmt: skip


def _deal(row: sqlite3.Row, given: Any, roles: list[Any], link: Any) -> Shown:
    main = min(roles, key=lambda each: (not each["IsPrimary"], each["CreatedDate"], each["Id"]), default=None)
    return {
        **_base(row, given), "Deal_Name": given["Name"], "Stage": given["StageName"], "Type": given["Type"],
        "Amount": None if given["Amount"] is None else float(given["Amount"]), "Closing_Date": given["CloseDate"],
        "Probability": given["Probability"], "Account_Name": link(given["AccountId"]),
        "Contact_Name": main and link(main["ContactId"]), "Campaign_Source": None,
        "Currency": given["CurrencyIsoCode"], "Exchange_Rate": 1.0,
    }  # fmt: skip


def _step(given: Any) -> Shown:
    return {
        "deal": number(given["OpportunityId"]), "id": number(given["Id"]), "Stage": given["StageName"],
        "Amount": given["Amount"], "Probability": given["Probability"], "Closing_Date": given["CloseDate"],
        "Modified_Time": _iso(given["CreatedDate"]), "Modified_By": {"name": "Somebody of Sales", "id": "1"},
    }  # fmt: skip


def _made(given: Any, n: int) -> Shown:
    """That a lead was added and, at once, mailed to."""
    return _entry(f"{n} {given['Id']}", given["Id"], given["CreatedDate"], ("added", "email_notification_sent")[n], [])


def _told(given: Any) -> Shown:
    """A change of a lead. It may change more than one field; what was empty is `blank`."""
    name = "Lead_Status" if given["Field"] == "Status" else "Owner"
    fields = [(name, given["OldValue"], given["NewValue"]), ("Phone", "blank", "+49 30 1")]
    history = [{"api_name": each, "_value": {"old": old, "new": new}} for each, old, new in fields]
    return _entry(given["Id"], given["LeadId"], given["CreatedDate"], "updated", history)


def _entry(name: str, lead: str, at: str, action: str, history: list[Shown]) -> Shown:
    return {
        "lead": number(lead), "id": number(f"entry {name}"), "audited_time": _iso(at), "action": action,
        "source": "crm_ui", "done_by": {"name": "Somebody of Sales", "id": "1"}, "related_record": None,
        "automation_details": None, "record": {"name": "Somebody", "id": number(lead), "module": None},
        "type": "timeline", "field_history": history or None,
    }  # fmt: skip


def _iso(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(ZONE).isoformat(timespec="seconds")


def _at(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, ZONE).isoformat(timespec="seconds")


# -- what goes wrong, in Zoho's words


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"code": code, "details": {}, "message": message, "status": "error"}, status)


def _refused(status: int, code: str, message: str) -> Refused:
    return Refused(_error(status, code, message))


def _throttled(wait: int | None, daily: bool) -> Response:
    """It has the same words for both; where credits are few, they are told."""
    answer = _error(429, "TOO_MANY_REQUESTS", "too many requests. please try again after some time")
    if daily:
        answer.headers["X-API-CREDITS-REMAINING"] = "0"
    if wait is not None:
        answer.headers["Retry-After"] = str(wait)
    return answer


def _repeat(cursor: str, answer: Shown) -> None:
    if "info" in answer:
        answer["info"] |= {"more_records": True, "next_page_token": cursor}


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "INTERNAL_ERROR", "Internal Server Error"),
    expired=lambda: _error(401, "INVALID_TOKEN", "invalid oauth token"),
    missing_scope=lambda scope: _error(401, "OAUTH_SCOPE_MISMATCH", "invalid oauth scope to access this URL"),
    cursor=asked_by("page_token"),
    repeat=_repeat,
    rows=("data", "__timeline"),
    token_route=True,
)
