"""HubSpot's forms with what was submitted to them, and its marketing campaigns, as the contacts of the world show them.

From HubSpot's specifications of forms v3 and campaigns 2026-03 and its reference of Forms API v1, read 2026-12-01: the
list of submissions knows no filter by time, and refuses forms of blog comments.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode
from uuid import NAMESPACE_URL, uuid5

from b2b_sandbox.generate_base import DAY
from b2b_sandbox.hubspot_call import HubSpotError, invalid, iso, milliseconds, not_found
from b2b_sandbox.tokens import sign, unsign

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    from b2b_sandbox.hubspot_call import Call

FORMS = (  # name, type, whether it is archived, page
    ("Contact us", "hubspot", False, "contact"),
    ("Demo \U0001f3af, \u201ctailored\u201d", "hubspot", False, "demo"),
    ("Newsletter pop-up", "flow", False, ""),
    ("#signup-old .embedded", "captured", False, "landing/one pager"),
    ("Old whitepaper", "hubspot", True, "whitepaper"),
    ("Comments", "blog_comment", False, "blog"),
)
CAMPAIGNS = (
    ("Product launch | all hands", "in_progress"),
    ("Webinar series (EMEA)", "completed"),
    ("\u00dcbersicht Q2", None),
)
CLICK_IDS = {"hs_google_click_id": "gclid", "hs_facebook_click_id": "fbclid", "hs_linkedin_click_id": "li_fat_id"}
AGAIN = 90_000  # ms after which some send it once more


class Submission(NamedTuple):
    """`form` is its number in FORMS."""

    at: int
    id: str
    form: int
    email: str
    url: str


def submissions(connection: sqlite3.Connection, now: int) -> list[Submission]:
    """All that there are, newest first: of every third who came by the site; some came twice, some gave no address."""
    found = []
    first = "select id, payload, min(version) from record_version where vendor = 'hubspot' and object = 'contacts'"
    for identifier, payload, _ in connection.execute(f"{first} and visible_at <= ? group by id", (now,)):
        given, number = json.loads(payload), int(hashlib.sha256(identifier.encode()).hexdigest(), 16)
        if number % 3 or given.get("hs_analytics_source") in (None, "OFFLINE"):
            continue
        form, at = number // 3 % 5, milliseconds(given["createdate"])
        email = "" if number % 13 == 0 else given.get("email") or ""
        for nth in range(1 + (number % 7 == 0)):
            known = str(uuid5(NAMESPACE_URL, f"{identifier}/{nth}"))
            found.append(Submission(at + nth * AGAIN, known, form, email, _url(form, given, email)))
    return sorted((each for each in found if each.at <= now), reverse=True)


def _url(form: int, given: dict[str, Any], email: str) -> str:
    """As a browser sends it; a newsletter tool has put the address into some."""
    query = {name: given[name] for name in ("utm_source", "utm_medium", "utm_campaign") if given.get(name)}
    query |= {word: given[name] for name, word in CLICK_IDS.items() if given.get(name)}
    query |= {"e": email} if given.get("utm_medium") == "email" else {}
    page = f"https://www.ourcompany.example/{FORMS[form][3]}".replace(" ", "%20")
    return f"{page}?{urlencode(query)}" if query else page


def form_id(number: int) -> str:
    return str(uuid5(NAMESPACE_URL, FORMS[number][0]))


def list_forms(call: Call) -> dict[str, Any]:
    """A page of forms; without `formTypes` only those of the type hubspot."""
    limit, types = call.limit(default=20, most=100), set(call.names("formTypes")) or {"hubspot"}
    rows = [
        _form(number)
        for number, (_, kind, archived, _) in enumerate(FORMS)
        if archived == call.is_set("archived") and types & {kind, "all"}
    ]
    start = call.integer("after", 0)
    return {"results": rows[start : start + limit]} | call.paged(rows[start:], limit, after=str(start + limit))


def _form(number: int) -> dict[str, Any]:
    name, kind, archived, _ = FORMS[number]
    made = {"createdAt": iso(0), "updatedAt": iso(0)}
    return {
        "id": form_id(number), "name": name, "formType": kind, "archived": archived, **made, "fieldGroups": [],
        "configuration": {"language": "en"}, "displayOptions": {"theme": "default_style"},
        "legalConsentOptions": {"type": "none"}, **({"archivedAt": iso(DAY)} if archived else {}),
    }  # fmt: skip


def list_submissions(submitted: Callable[[], list[Submission]], call: Call) -> dict[str, Any]:
    """A page of what was submitted to a form, newest first."""
    number = next((n for n in range(len(FORMS)) if form_id(n) == call.path["form"]), None)
    if number is None:
        raise not_found()
    if FORMS[number][1] == "blog_comment":
        raise invalid("Form submissions are not supported for this form type")
    limit, after = call.limit(default=20, most=50), call.query.get("after")
    position = unsign(after) if after else None
    if after and position is None:
        raise HubSpotError(400, "Invalid after")
    rows = [each for each in submitted() if each.form == number]
    if position:
        rows = [each for each in rows if [each.at, each.id] < position["before"]]
    shown = rows[:limit]
    following = sign({"before": [shown[-1].at, shown[-1].id]}) if shown else ""
    return {"results": [_shown(each) for each in shown]} | call.paged(rows, limit, after=following)


def _shown(each: Submission) -> dict[str, Any]:
    answers = {"firstname": "Ada", "message": "Call me, please", "email": each.email}
    values = [{"objectTypeId": "0-1", "name": name, "value": value} for name, value in answers.items() if value]
    values.append({"objectTypeId": "0-2", "name": "email", "value": "office@company.example"})  # of the company
    return {"conversionId": each.id, "submittedAt": each.at, "values": values, "pageUrl": each.url}


def list_campaigns(call: Call) -> dict[str, Any]:
    """A page of marketing campaigns."""
    limit, start = call.limit(default=50, most=100), call.integer("after", 0)
    if call.query.get("sort", "hs_name").lstrip("-") not in ("hs_name", "createdAt", "updatedAt"):
        raise invalid("Invalid sort")
    rows = [*_campaigns(call)]
    following = str(start + limit)
    shown = {"total": len(rows), "results": rows[start : start + limit]}
    return shown | call.paged(rows[start:], limit, after=following)


def _campaigns(call: Call) -> Iterator[dict[str, Any]]:
    begun = call.connection.execute("select value from setting where name = 'start'").fetchone()["value"]
    for number, (name, status) in enumerate(CAMPAIGNS):
        at = milliseconds(begun) + number * 9 * DAY
        if at <= call.now:
            known = {
                "hs_name": name,
                "hs_campaign_status": status,
                "hs_start_date": iso(at)[:10],
                "hs_utm": name.lower(),
            }
            properties = {asked: known[asked] for asked in call.names("properties") if known.get(asked)}
            made = {"createdAt": iso(at), "updatedAt": iso(at), "businessUnits": [{"id": 0}]}
            yield {"id": str(uuid5(NAMESPACE_URL, name)), "properties": properties, **made}
