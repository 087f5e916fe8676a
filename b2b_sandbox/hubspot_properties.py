"""HubSpot's object types and their properties: those that HubSpot defines, and those that records hold."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from b2b_sandbox.hubspot_call import HubSpotError

if TYPE_CHECKING:
    from b2b_sandbox.hubspot_call import Call


@dataclass(frozen=True)
class ObjectType:
    """A CRM object. `defaults` are shown when no property is asked for; `always` whatever is asked for."""

    name: str
    singular: str
    type_id: str
    modified: str
    defaults: tuple[str, ...]
    searched: tuple[str, ...]  # by the `query` of a search

    @property
    def always(self) -> tuple[str, ...]:
        return ("createdate", self.modified, "hs_object_id")

    @staticmethod
    def path(name: str) -> str:
        """Where a record's payload has the property."""
        return f"$.{name}"


TYPES = (
    ObjectType(
        "contacts", "contact", "0-1", "lastmodifieddate",
        ("email", "firstname", "lastname"), ("firstname", "lastname", "email", "phone", "company"),
    ),
    ObjectType("companies", "company", "0-2", "hs_lastmodifieddate", ("name", "domain"), ("name", "domain", "website")),
    ObjectType(
        "deals", "deal", "0-3", "hs_lastmodifieddate",
        ("amount", "closedate", "dealname", "dealstage", "pipeline"), ("dealname", "pipeline", "dealstage", "dealtype"),
    ),
)  # fmt: skip
BY_NAME = {alias: kind for kind in TYPES for alias in (kind.name, kind.name, kind.type_id)}

# Property -> (type, field type, label). A time is a `datetime`, a calendar day a `date`.
COMMON: dict[str, tuple[str, str, str]] = {
    "createdate": ("datetime", "date", "Create Date"),
    "hs_object_id": ("number", "number", "Record ID"),
    "hs_merged_object_ids": ("enumeration", "checkbox", "Merged record IDs"),
    "hubspot_owner_id": ("enumeration", "select", "Owner"),
    "hs_analytics_source": ("enumeration", "select", "Original Traffic Source"),
    "hs_analytics_source_data_1": ("string", "text", "Original Traffic Source Drill-Down 1"),
    "hs_analytics_source_data_2": ("string", "text", "Original Traffic Source Drill-Down 2"),
    "hs_latest_source": ("enumeration", "select", "Latest Traffic Source"),
    "hs_latest_source_timestamp": ("datetime", "date", "Latest Traffic Source Date"),
    "hs_latest_source_data_1": ("string", "text", "Latest Traffic Source Drill-Down 1"),
    "hs_latest_source_data_2": ("string", "text", "Latest Traffic Source Drill-Down 2"),
}
STANDARD: dict[str, dict[str, tuple[str, str, str]]] = {
    "contacts": COMMON
    | {
        "lastmodifieddate": ("datetime", "date", "Last Modified Date"),
        "email": ("string", "text", "Email"),
        "hs_email_domain": ("string", "text", "Email Domain"),
        "hs_additional_emails": ("enumeration", "checkbox", "Additional email addresses"),
        "firstname": ("string", "text", "First Name"),
        "lastname": ("string", "text", "Last Name"),
        "phone": ("string", "phonenumber", "Phone Number"),
        "company": ("string", "text", "Company Name"),
        "jobtitle": ("string", "text", "Job Title"),
        "country": ("string", "text", "Country/Region"),
        "industry": ("string", "text", "Industry"),
        "website": ("string", "text", "Website URL"),
        "lifecyclestage": ("enumeration", "radio", "Lifecycle Stage"),
        "hs_lead_status": ("enumeration", "radio", "Lead Status"),
        "associatedcompanyid": ("number", "number", "Primary Associated Company ID"),
        "num_associated_deals": ("number", "number", "Number of Associated Deals"),
        "hs_calculated_merged_vids": ("enumeration", "checkbox", "Merged vids with timestamps of a contact"),
        "hs_email_optout": ("bool", "booleancheckbox", "Unsubscribed from all email"),
        "hs_analytics_first_timestamp": ("datetime", "date", "Time First Seen"),
        "hs_analytics_last_timestamp": ("datetime", "date", "Time Last Seen"),
        "hs_analytics_first_url": ("string", "text", "First Page Seen"),
        "hs_google_click_id": ("string", "text", "Google ad click id"),
        "hs_facebook_click_id": ("string", "text", "Facebook click id"),
        "hs_bing_click_id": ("string", "text", "Bing click id"),
        "hs_linkedin_click_id": ("string", "text", "LinkedIn click id"),
        "hs_tiktok_click_id": ("string", "text", "TikTok click id"),
    },
    "companies": COMMON
    | {
        "hs_lastmodifieddate": ("datetime", "date", "Last Modified Date"),
        "name": ("string", "text", "Company name"),
        "domain": ("string", "text", "Company Domain Name"),
        "website": ("string", "text", "Website URL"),
        "industry": ("enumeration", "select", "Industry"),
        "country": ("string", "text", "Country/Region"),
        "numberofemployees": ("number", "number", "Number of Employees"),
        "annualrevenue": ("number", "number", "Annual Revenue"),
        "lifecyclestage": ("enumeration", "radio", "Lifecycle Stage"),
    },
    "deals": COMMON
    | {
        "hs_lastmodifieddate": ("datetime", "date", "Last Modified Date"),
        "dealname": ("string", "text", "Deal Name"),
        "amount": ("number", "number", "Amount"),
        "amount_in_home_currency": ("number", "number", "Amount in company currency"),
        "deal_currency_code": ("enumeration", "select", "Currency"),
        "dealstage": ("enumeration", "radio", "Deal Stage"),
        "pipeline": ("enumeration", "select", "Pipeline"),
        "dealtype": ("enumeration", "radio", "Deal Type"),
        "closedate": ("datetime", "date", "Close Date"),
        "hs_is_closed": ("bool", "calculation_equation", "Is Deal Closed?"),
        "hs_is_closed_won": ("bool", "calculation_equation", "Is Closed Won"),
        "closed_lost_reason": ("string", "textarea", "Closed Lost Reason"),
        "hs_primary_associated_company": ("number", "number", "Primary Associated Company"),
        "num_associated_contacts": ("number", "number", "Number of Associated Contacts"),
    },
}


def object_type(call: Call, parameter: str = "object") -> ObjectType:
    """The object type that the path names: plural, singular or type id, in any case."""
    name = call.path[parameter]
    if kind := BY_NAME.get(name.lower()):
        return kind
    if re.fullmatch(r"\d+-\d+", name):
        raise HubSpotError(400, f"Invalid object or event type id: {name}")
    raise HubSpotError(400, f"Unable to infer object type from: {name}")


def value_type(call: Call, kind: ObjectType, name: str) -> str | None:
    """`string`, `number`, `datetime` and so on; None if the object has no such property."""
    if name in STANDARD[kind.name]:
        return STANDARD[kind.name][name][0]
    if not re.fullmatch(r"\w+", name):
        return None
    # A property that HubSpot does not define exists as soon as one record has it.
    first = call.records(
        kind.name, " and json_type(v.payload, :path) is not null limit 1", path=kind.path(name)
    ).fetchone()
    return _found_type(name) if first else None


def list_properties(call: Call) -> dict[str, Any]:
    """Every property of the object: HubSpot's own ones, and the custom ones that records hold."""
    kind = object_type(call)
    found = sorted({name for row in call.records(kind.name) for name in json.loads(row["payload"])})
    standard = STANDARD[kind.name]
    definitions = standard | {
        name: (_found_type(name), "date" if _found_type(name) == "datetime" else "text", name.replace("_", " ").title())
        for name in found
        if name not in standard
    }
    return {"results": [_definition(kind, name, *definition) for name, definition in definitions.items()]}


def _found_type(name: str) -> str:
    return "datetime" if name.startswith(("hs_v2_date_", "hs_date_")) else "string"


def _definition(kind: ObjectType, name: str, value: str, field: str, label: str) -> dict[str, Any]:
    is_standard = name in STANDARD[kind.name] or name.startswith("hs_")
    is_read_only = name in kind.always or name.startswith("hs_")
    return {
        "name": name,
        "label": label,
        "type": value,
        "fieldType": field,
        "description": "",
        "groupName": f"{kind.singular}information",
        "options": [],
        "displayOrder": -1,
        "calculated": field == "calculation_equation",
        "externalOptions": name == "hubspot_owner_id",
        "hasUniqueValue": name == "hs_object_id",
        "hidden": False,
        "formField": False,
        "hubspotDefined": is_standard,
        "archived": False,
        "modificationMetadata": {
            "archivable": not is_standard,
            "readOnlyDefinition": is_standard,
            "readOnlyValue": is_read_only,
        },
    }
