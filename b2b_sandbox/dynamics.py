"""Dataverse's Web API v9.2 over the leads, contacts, accounts and opportunities of the world, as Dynamics 365 Sales has
them.

From https://learn.microsoft.com/power-apps/developer/data-platform/webapi, the table reference of Dynamics 365 Sales
(GitHub MicrosoftDocs/dynamics-365-customer-engagement) and error bodies that public clients recorded, read 2026-12-01.
What is deleted is in no list; what was merged away stays, inactive. The stage of a business process flow is the present
one alone. Of OData it speaks what tables are asked with here: $select, $expand, $filter of comparisons joined by `and`.
The audit log is that of leads (GitHub MicrosoftDocs/powerapps-docs, developer/data-platform/auditing and
reference/entities/audit.md; `changedata` as public clients recorded it): it has what is deleted, too, and what is no
change of a record, but that it was shared, or auditing switched on.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from b2b_sandbox import tokens
from b2b_sandbox.toolkit import Call, Dialect, Meter, Refused, Shapes, Shown, asked_by, page, route
from b2b_sandbox.world import CURRENT

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from b2b_sandbox.world import World

VENDOR = "dynamics"
TOKEN_LIFETIME = 3599.0
API = "/api/data/v9.2"
LABEL = "@OData.Community.Display.V1.FormattedValue"
KEYS = {
    "leads": "leadid", "contacts": "contactid", "accounts": "accountid", "opportunities": "opportunityid",
    "opportunitysalesprocesses": "businessprocessflowinstanceid",
    "leadtoopportunitysalesprocesses": "businessprocessflowinstanceid", "audits": "auditid",
}  # fmt: skip
NAMES = {
    "lead": "leads", "contact": "contacts", "account": "accounts", "opportunity": "opportunities",
    "opportunitysalesprocess": "opportunitysalesprocesses",
    "leadtoopportunitysalesprocess": "leadtoopportunitysalesprocesses", "audit": "audits",
}  # fmt: skip
LEAD_STATUS = {"Open - Not Contacted": (0, 1), "Working - Contacted": (0, 2), "Closed - Converted": (1, 3),
               "Closed - Not Converted": (2, 4)}  # fmt: skip
LEAD_SOURCES = ["Advertisement", "Employee Referral", "External Referral", "Partner", "Public Relations", "Seminar",
                "Trade Show", "Web", "Word of Mouth", "Other"]  # fmt: skip
WORDS = {
    "statuscode": {
        "lead": {1: "New", 2: "Contacted", 3: "Qualified", 4: "Lost", 7: "Canceled"},
        "opportunity": {1: "In Progress", 2: "On Hold", 3: "Won", 4: "Canceled", 5: "Out-Sold"},
        "contact": {1: "Active", 2: "Inactive"}, "account": {1: "Active", 2: "Inactive"},
    },
    "leadsourcecode": {"lead": dict(enumerate(LEAD_SOURCES, 1))},
    "new_type": {"opportunity": {100000000: "New Business", 100000001: "Existing Business", 100000002: "Renewal"}},
}  # fmt: skip
ALL = [("modifiedon", "ne", "null")]
COMPARISON = re.compile(r"(\w+) (eq|ne|ge|gt|le|lt) (null|'[^']*'|[^ ]+)")
PRIVILEGES = ("Lead", "Contact", "Account", "Opportunity", "TransactionCurrency", "Organization", "AuditSummary")

Change = tuple[str, str | None, str | None]  # of a column: its name, what it was, what it is
Tables = dict[str, dict[str, Shown]]  # by the names of the tables, then by the ids of the records


class Asked(NamedTuple):
    """What a request for records asks: of which table, in the words of OData."""

    table: str
    select: list[str]
    expand: list[tuple[str, list[str]]]
    filter: str
    order: list[str]
    limit: int
    words: bool


def guid(identifier: str) -> str:
    return str(uuid5(NAMESPACE_URL, identifier))


def routes(
    world: World, burst: int = 6000, page_size: int = 5000, is_audited: bool = True, audited_since: str = ""
) -> list[BaseRoute]:
    """The paths of one environment. `burst` requests in five minutes; at most `page_size` records a page; whether
    auditing is on, and since when (ISO time; empty for always)."""
    tables = Shapes(world, partial(tables_at, audited_since=audited_since))
    requests = Meter(burst, 300.0)

    async def token(request: Request) -> Response:
        return _token(await tokens.form(request))

    def enter(request: Request) -> dict[str, str]:
        if tokens.problem(world, VENDOR, tokens.bearer(request)):
            raise Refused(Response(status_code=401))
        if not requests.take():
            raise Refused(_throttled(None, False))
        left = {"x-ms-ratelimit-burst-remaining-xrm-requests": str(burst - requests.used())}
        return left | {"OData-Version": "4.0"}

    def records(call: Call) -> Shown:
        return _listed(call, tables(), page_size)

    def attributes(call: Call) -> Shown:
        name = NAMES[call.path("name")]
        columns = _columns(next(iter(tables()[name].values()), {}))
        known = {word.removeprefix("_").removesuffix("_value") for word in columns}
        return {"value": [{"LogicalName": column} for column in sorted(known)]}

    def entities(call: Call) -> Shown:
        [(_, _, wanted)] = COMPARISON.findall(call.query("$filter"))
        plural = NAMES.get(wanted.strip("'"))
        found = {
            "LogicalName": wanted.strip("'"),
            "EntitySetName": plural,
            "PrimaryIdAttribute": KEYS.get(plural or ""),
        }
        return {
            "value": [{**found, "MetadataId": guid(wanted), "SchemaName": wanted.strip("'").title()}] if plural else []
        }

    user = guid("application user")
    held = [{"PrivilegeName": f"prvRead{name}", "Depth": "Global", "PrivilegeId": guid(name),
             "BusinessUnitId": guid("business unit")} for name in PRIVILEGES]  # fmt: skip
    who = {"BusinessUnitId": guid("business unit"), "UserId": user, "OrganizationId": guid("organization")}
    company = {"organizationid": guid("organization"), "name": "Our Company",
               "basecurrencyid": {"isocurrencycode": "EUR", "transactioncurrencyid": guid("EUR")},
               "isauditenabled": is_audited, "auditretentionperiodv2": -1}  # fmt: skip
    audited = {"IsAuditEnabled": {"Value": True, "CanBeChanged": True,
                                  "ManagedPropertyLogicalName": "canmodifyauditsettings"}}  # fmt: skip
    status = {**audited, "LogicalName": "statuscode", "OptionSet": {"Options": [
        {"Value": value, "Label": {"UserLocalizedLabel": {"Label": word, "LanguageCode": 1033}}}
        for value, word in WORDS["statuscode"]["lead"].items()
    ]}}  # fmt: skip
    at = partial(route, world, enter=enter)
    return [
        Route("/{tenant}/oauth2/v2.0/token", token, methods=["POST"]),
        at(f"{API}/WhoAmI", lambda call: who),
        at(f"{API}/organizations", lambda call: {"value": [company]}),
        at(
            f"{API}/systemusers({user})/Microsoft.Dynamics.CRM.RetrieveUserPrivileges",
            lambda call: {"RolePrivileges": held},
        ),
        at(f"{API}/EntityDefinitions", entities),
        at(f"{API}/EntityDefinitions(LogicalName='{{name}}')/Attributes", attributes),
        at(f"{API}/EntityDefinitions(LogicalName='lead')", lambda call: {**audited, "LogicalName": "lead"}),
        at(
            f"{API}/EntityDefinitions(LogicalName='lead')/Attributes(LogicalName='statuscode')"
            "/Microsoft.Dynamics.CRM.StatusAttributeMetadata",
            lambda call: status,
        ),
        at(f"{API}/{{table}}", records),
    ]


def _token(fields: dict[str, str]) -> Response:
    problem = tokens.grant_problem(VENDOR, fields, ("client_credentials",))
    if problem or not fields.get("scope", "").endswith("/.default"):
        words = (
            "AADSTS7000215: Invalid client secret provided." if problem else "AADSTS1002012: The scope is not valid."
        )
        return JSONResponse(
            {"error": problem or "invalid_scope", "error_description": words, "error_codes": [7000215]}, 401
        )
    token = {"token_type": "Bearer", "expires_in": int(TOKEN_LIFETIME), "ext_expires_in": int(TOKEN_LIFETIME)}
    return JSONResponse({**token, "access_token": tokens.issue(VENDOR, TOKEN_LIFETIME)})


# -- the words of OData


def _listed(call: Call, tables: Tables, page_size: int) -> Shown:
    asked = _asked(call, page_size)
    if asked.table not in tables:
        raise _refused(404, "0x80060888", f"Resource not found for the segment '{asked.table}'.")
    rows = [*tables[asked.table].values()]
    known = _columns(rows[0]) if rows else []
    for name in (*asked.select, *asked.order, *(found[0] for found in COMPARISON.findall(asked.filter))):
        if rows and name not in known:
            kind = f"Microsoft.Dynamics.CRM.{asked.table}"
            raise _refused(400, "0x80060888", f"Could not find a property named '{name}' on type '{kind}'.")
    every = any if " or " in asked.filter else all
    rows = [row for row in rows if every(_holds(row, *each) for each in COMPARISON.findall(asked.filter) or ALL)]
    rows.sort(key=lambda row: [row[name] for name in asked.order or [KEYS[asked.table]]])
    try:
        shown, cursor = page(rows, call.query("$skiptoken"), asked.limit)
    except ValueError:
        raise _refused(400, "0x80060888", "Malformed XML in the Paging Cookie") from None
    answer: Shown = {"@odata.context": f"{_url(call)}/$metadata#{asked.table}"}
    answer["value"] = [_shown(row, asked, tables) for row in shown]
    if cursor and not call.query("$top"):
        query = {**call.request.query_params, "$skiptoken": cursor}
        answer["@odata.nextLink"] = f"{_url(call)}/{asked.table}?{urlencode(query)}"
    return answer


def _asked(call: Call, page_size: int) -> Asked:
    prefers = call.request.headers.get("prefer", "")
    size = re.search(r"odata\.maxpagesize=(\d+)", prefers)
    expand = re.findall(r"(\w+)\(\$select=([\w,]+)\)", call.query("$expand"))
    limit = int(call.query("$top") or min(int(size[1]) if size else page_size, page_size))
    return Asked(
        call.path("table"), [*filter(None, call.query("$select").split(","))],
        [(name, fields.split(",")) for name, fields in expand], call.query("$filter"),
        [*filter(None, call.query("$orderby").split(","))], limit, "FormattedValue" in prefers or '"*"' in prefers,
    )  # fmt: skip


def _holds(row: Shown, name: str, comparison: str, text: str) -> bool:
    value, other = row[name], None if text == "null" else text.strip("'")
    if comparison in ("eq", "ne") or value is None or other is None:
        is_same = (None if value is None else str(value)) == other
        return is_same if comparison == "eq" else not is_same and comparison == "ne"
    value, other = value.removesuffix("Z"), other.removesuffix("Z")  # some have milliseconds
    return bool({"ge": value >= other, "gt": value > other, "le": value <= other, "lt": value < other}[comparison])


def _shown(row: Shown, asked: Asked, tables: Tables) -> Shown:
    """A record as it was asked for; its key always comes along."""
    names = [*dict.fromkeys([*(asked.select or _columns(row)), KEYS[asked.table]])]
    shown: Shown = {"@odata.etag": f'W/"{re.sub(r"[^0-9]", "", row.get("modifiedon", ""))}"'}
    kind = next(name for name, plural in NAMES.items() if plural == asked.table)
    for name in names:
        shown[name] = row[name]
        word = row.get(f"{name}{LABEL}") or WORDS.get(name, {}).get(kind, {}).get(row[name])
        if asked.words and word is not None:
            shown[f"{name}{LABEL}"] = word
    for name, fields in asked.expand:
        shown[name] = _expanded(row, name, fields, tables)
    return shown


def _columns(row: Shown) -> list[str]:
    return [name for name in row if "@" not in name and name != "_currency"]


def _expanded(row: Shown, name: str, fields: list[str], tables: Tables) -> Shown | None:
    key = row[f"_{name}_value"]
    if name == "transactioncurrencyid":
        return key and {"isocurrencycode": row["_currency"], "transactioncurrencyid": key}
    plural = {"qualifyingopportunityid": "opportunities", "parentcontactid": "contacts", "parentaccountid": "accounts"}
    found = tables[plural[name]].get(key)
    return found and {field: found[field] for field in (*fields, KEYS[plural[name]])}


def _url(call: Call) -> str:
    return f"{call.request.url.scheme}://{call.request.url.netloc}/{VENDOR}{API}"


# -- what it makes of the world


def tables_at(connection: sqlite3.Connection, now: int, audited_since: str = "") -> Tables:
    def records(name: str) -> list[tuple[sqlite3.Row, Any]]:
        scope = {"vendor": "salesforce", "object": name, "now": now}
        found = connection.execute(CURRENT + " and v.is_gone = 0 order by v.id", scope)
        return [(row, json.loads(row["payload"])) for row in found]

    def standing(name: str) -> list[tuple[sqlite3.Row, Any]]:
        """What was merged away stays; what was deleted is in no list."""
        return [each for each in records(name) if not each[0]["is_deleted"] or each[1].get("MasterRecordId")]

    leads, contacts, deals = (standing(name) for name in ("Lead", "Contact", "Opportunity"))
    of_deal: dict[str, list[Any]] = defaultdict(list)
    for _, given in leads:
        of_deal[given["ConvertedOpportunityId"] or ""].append(given)
    master = {given["Id"]: given["MasterRecordId"] for _, given in contacts if given["MasterRecordId"]}
    contact_of: dict[str, list[Any]] = defaultdict(list)
    for _, role in standing("OpportunityContactRole"):
        contact_of[role["OpportunityId"]].append(role)
    steps: dict[str, list[Any]] = defaultdict(list)
    for _, step in standing("OpportunityHistory"):
        steps[step["OpportunityId"]].append(step)
    opened = {lead["Id"] for _, given in deals if (lead := _made_of(given, of_deal[given["Id"]]))}
    made = {
        given["ConvertedContactId"]: given["Id"]
        for _, given in leads  # some leads were a contact already, so that only an opportunity was made of them
        if given["ConvertedContactId"] and not (given["Id"] in opened and guid(given["Id"])[0] in "0123")
    }
    shown = [_deal(row, given, of_deal[given["Id"]], contact_of[given["Id"]], master) for row, given in deals]
    every = {
        "leads": [_lead(*lead, opened) for lead in leads],
        "contacts": [_contact(*contact, made) for contact in contacts],
        "accounts": [_account(*account) for account in standing("Account")],
        "opportunities": shown,
        "opportunitysalesprocesses": [*_processes(deals, steps, is_of_lead=False)],
        "leadtoopportunitysalesprocesses": [*_processes(deals, steps, is_of_lead=True)],
        "audits": [*_audits(records("Lead"), _first(connection, now), records("LeadHistory"), audited_since)],
    }
    return {name: {row[KEYS[name]]: row for row in rows} for name, rows in every.items()}


def _base(row: sqlite3.Row, given: Any) -> Shown:
    return {
        "createdon": _iso(given["CreatedDate"]), "modifiedon": _at(row["modified_at"]), "overriddencreatedon": None,
        "_ownerid_value": guid(given.get("OwnerId") or "nobody"), f"_ownerid_value{LABEL}": "Somebody of Sales",
    }  # fmt: skip


def _person(given: Any) -> Shown:
    return {
        "fullname": given["Name"], "firstname": given["FirstName"], "lastname": given["LastName"],
        "emailaddress1": (given["Email"] or "").strip() or None, "emailaddress2": None, "emailaddress3": None,
        "telephone1": given["Phone"], "_masterid_value": given["MasterRecordId"] and guid(given["MasterRecordId"]),
        f"_masterid_value{LABEL}": given["MasterRecordId"] and given["Name"], "merged": bool(given["MasterRecordId"]),
    }  # fmt: skip


def _lead(row: sqlite3.Row, given: Any, opened: set[str]) -> Shown:
    """It names its opportunity only where somebody put that in: the qualification does not."""
    state, status = (1, 3) if given["IsConverted"] else LEAD_STATUS[given["Status"]]
    state, status = (2, 7) if given["MasterRecordId"] else (state, status)
    joined = None if given["Id"] in opened else given["ConvertedOpportunityId"]
    links = {"_qualifyingopportunityid_value": joined,
             "_parentcontactid_value": given["ConvertedContactId"],
             "_parentaccountid_value": given["ConvertedAccountId"]}  # fmt: skip
    return {
        "leadid": guid(given["Id"]), **_base(row, given), **_person(given), "subject": f"Of {given['Company']}",
        "companyname": given["Company"], "address1_country": given["Country"], "statecode": state,
        "statuscode": status, "leadsourcecode": 1 + len(given["LeadSource"] or "") % 10,
        **{name: value and guid(value) for name, value in links.items()},
        "new_utmmedium": given["utm_medium__c"], "new_utmcampaign": given["utm_campaign__c"],
        "new_gclid": given["gclid__c"],
    }  # fmt: skip


def _contact(row: sqlite3.Row, given: Any, made: dict[str, str]) -> Shown:
    """Made of a lead at its qualification, if there is one."""
    lead = made.get(given["Id"])
    return {
        "contactid": guid(given["Id"]), **_base(row, given), **_person(given),
        "_parentcustomerid_value": given["AccountId"] and guid(given["AccountId"]),
        "_originatingleadid_value": lead and guid(lead), f"_originatingleadid_value{LABEL}": lead and given["Name"],
        "statecode": int(bool(given["MasterRecordId"])), "statuscode": 1 + bool(given["MasterRecordId"]),
    }  # fmt: skip


def _account(row: sqlite3.Row, given: Any) -> Shown:
    return {
        "accountid": guid(given["Id"]), **_base(row, given), "name": given["Name"], "websiteurl": given["Website"],
        "industrycode": None, "address1_country": given["BillingCountry"], "customertypecode": None, "statecode": 0,
        "statuscode": 1, "_originatingleadid_value": None, "merged": False, "_masterid_value": None,
    }  # fmt: skip


def _deal(row: sqlite3.Row, given: Any, leads: list[Any], roles: list[Any], master: dict[str, str]) -> Shown:
    state = 0 if not given["IsClosed"] else 1 if given["IsWon"] else 2
    lead = _made_of(given, leads)
    main = min(roles, key=lambda each: (not each["IsPrimary"], each["CreatedDate"], each["Id"]), default=None)
    contact = main and master.get(main["ContactId"], main["ContactId"])
    types = {word: number for number, word in WORDS["new_type"]["opportunity"].items()}
    amount = None if given["Amount"] is None else float(given["Amount"])
    account = given["AccountId"] and guid(given["AccountId"])
    return {
        "opportunityid": guid(given["Id"]), **_base(row, given), "name": given["Name"], "statecode": state,
        "statuscode": (1, 3, 5)[state], "stepname": None if state else given["StageName"], "estimatedvalue": amount,
        "actualvalue": (None, amount, 0.0)[state],  # who loses says in the dialog that it brought nothing
        "estimatedclosedate": given["CloseDate"], "actualclosedate": given["CloseDate"] if state else None,
        "_parentaccountid_value": account, "_customerid_value": account or (contact and guid(contact)),
        "_parentcontactid_value": contact and guid(contact), "_originatingleadid_value": lead and guid(lead["Id"]),
        f"_originatingleadid_value{LABEL}": lead and lead["Name"], "new_type": types[given["Type"]],
        "_transactioncurrencyid_value": guid(given["CurrencyIsoCode"]), "_currency": given["CurrencyIsoCode"],
    }  # fmt: skip


def _made_of(deal: Any, leads: list[Any]) -> Any:
    """The lead that an opportunity was made of; others joined it later."""
    made = [each for each in leads if each["ConvertedDate"] <= deal["CreatedDate"][:10]]
    return min(made, key=lambda each: (each["ConvertedDate"], each["Id"]), default=None)


def _processes(
    deals: list[tuple[sqlite3.Row, Any]], steps: dict[str, list[Any]], *, is_of_lead: bool
) -> Iterator[Shown]:
    """Every third deal has the flow that began with its lead; which stage it is in, while it is open."""
    for number, (_, given) in enumerate(deals):
        history = sorted(steps[given["Id"]], key=lambda step: (step["CreatedDate"], step["Id"]))
        opened = [step for step in history if not step["StageName"].startswith("Closed")]
        if not opened or (number % 3 == 0) is not is_of_lead:
            continue
        now = opened[-1]["StageName"]
        since = next(step for step in reversed(opened) if step["StageName"] == now)["CreatedDate"]
        path = [*dict.fromkeys(step["StageName"] for step in opened)]
        yield {
            "businessprocessflowinstanceid": guid(f"flow {given['Id']}"), "_opportunityid_value": guid(given["Id"]),
            f"_opportunityid_value{LABEL}": given["Name"], "_activestageid_value": guid(now),
            f"_activestageid_value{LABEL}": now, "activestagestartedon": _iso(since),
            "completedon": _iso(history[-1]["CreatedDate"]) if history[-1] is not opened[-1] else None,
            "traversedpath": ",".join(map(guid, path)), "createdon": _iso(history[0]["CreatedDate"]),
            "modifiedon": _iso(history[-1]["CreatedDate"]), "statecode": 0, "statuscode": 1,
        }  # fmt: skip


def _first(connection: sqlite3.Connection, now: int) -> dict[str, Any]:
    """What leads were made with, by id."""
    found = connection.execute(
        "select id, payload, min(version) from record_version where vendor = 'salesforce' and object = 'Lead'"
        " and visible_at <= ? group by id", (now,),
    )  # fmt: skip
    return {identifier: json.loads(payload) for identifier, payload, _ in found}


def _audits(leads: list[Any], first: dict[str, Any], changes: list[Any], since: str) -> Iterator[Shown]:
    """What is there to know of leads: how each was made, what has changed, and for each seventh, that it was shared."""
    found = [_audit("auditing", since or "2020-01-01T00:00:00Z", "", 105, 2, None)]
    for number, (_, given) in enumerate(leads):
        made, name, at = first[given["Id"]], given["Id"], given["CreatedDate"]
        columns = {"emailaddress1": made["Email"], "statecode": "0", "statuscode": _number(made["Status"])}
        told: list[Change] = [
            (column, None, to) for column, to in columns.items() if number % 5
        ]  # of some, not with what
        found.append(_audit(f"made {name}", at, name, 1, 1, told))
        if number % 7 == 0:
            found.append(_audit(f"shared {name}", at, name, 14, 2, None))
    for _, given in changes:
        old, new = given["OldValue"], given["NewValue"]
        change = ("statuscode", _number(old), _number(new)) if given["Field"] == "Status" else ("ownerid", old, new)
        found.append(_audit(given["Id"], given["CreatedDate"], given["LeadId"], 2, 2, [change]))
    return (audit for audit in found if audit["createdon"] >= since)


def _number(status: str) -> str:
    return str(LEAD_STATUS[status][1])


def _audit(name: str, at: str, lead: str, action: int, operation: int, changed: list[Change] | None) -> Shown:
    when = datetime.fromisoformat(at).astimezone(UTC)
    columns = [{"logicalName": column, "oldValue": old, "newValue": new} for column, old, new in changed or ()]
    return {
        "auditid": guid(f"audit {name}"), "createdon": f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03}Z",
        "action": action, "operation": operation, "objecttypecode": "lead", "attributemask": None,
        "_objectid_value": guid(lead) if lead else "00000000-0000-0000-0000-000000000000",
        "_userid_value": guid("nobody"), f"_userid_value{LABEL}": "Somebody of Sales",
        "changedata": json.dumps({"changedAttributes": columns}) if columns else "u1" if action == 14 else None,
    }  # fmt: skip


def _iso(text: str) -> str:
    """Seconds alone are shown."""
    return f"{datetime.fromisoformat(text).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _at(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


# -- what goes wrong, in Dataverse's words


def _error(status: int, code: str, message: str) -> Response:
    return JSONResponse({"error": {"code": code, "message": message}}, status)


def _refused(status: int, code: str, message: str) -> Refused:
    return Refused(_error(status, code, message))


def _throttled(wait: int | None, daily: bool) -> Response:
    answer = _error(429, "0x80072322", "Number of requests exceeded the limit of 6000 over time window of 300 seconds.")
    answer.headers["Retry-After"] = str(86_400 if daily else 5 if wait is None else wait)
    return answer


def _repeat(cursor: str, answer: Shown) -> None:
    if link := answer.get("@odata.nextLink"):
        answer["@odata.nextLink"] = re.sub(r"(?<=skiptoken=)[^&]*", cursor, link)


DIALECT = Dialect(
    throttled=_throttled,
    broken=lambda: _error(500, "0x80040216", "An unexpected error occurred."),
    expired=lambda: Response(status_code=401),
    missing_scope=lambda scope: _error(
        403, "0x80040220", "SecLib::CheckPrivilege failed. User: 1, PrivilegeName: prvReadLead, Required Depth: Basic"
    ),
    cursor=asked_by("$skiptoken"),
    repeat=_repeat,
    rows=("value",),
    token_route=True,
)
