"""The Salesforce objects that the sandbox's org has, field by field: what `describe` tells and what SOQL knows.

https://developer.salesforce.com/docs/atlas.en-us.object_reference.meta/object_reference/sforce_api_objects_list.htm
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = frozenset({"int", "double", "currency", "percent"})
IDS = frozenset({"id", "reference"})
ADDRESS_PARTS = ("Street", "City", "State", "PostalCode", "Country")
SOAP_TYPES = {
    "id": "tns:ID", "reference": "tns:ID", "boolean": "xsd:boolean", "int": "xsd:int", "double": "xsd:double",
    "currency": "xsd:double", "percent": "xsd:double", "date": "xsd:date", "datetime": "xsd:dateTime",
    "anyType": "xsd:anyType", "address": "urn:address",
}  # fmt: skip


@dataclass(frozen=True)
class Field:
    """One field. `type` is Salesforce's field type; `refers_to` names the object that a reference points to."""

    name: str
    type: str
    refers_to: str | None = None

    @property
    def is_custom(self) -> bool:
        return self.name.endswith("__c")

    @property
    def is_filterable(self) -> bool:
        return self.type not in {"anyType", "textarea", "address"}

    @property
    def is_sortable(self) -> bool:
        return self.type not in {"textarea", "address"}

    @property
    def relationship(self) -> str | None:
        """The name that a query uses to reach the object referred to: `Owner` for `OwnerId`."""
        return self.name.removesuffix("Id") if self.refers_to else None

    def describe(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": _label(self.name.removesuffix("__c").removesuffix("Id") or self.name),
            "type": self.type,
            "soapType": SOAP_TYPES.get(self.type, "xsd:string"),
            "custom": self.is_custom,
            "filterable": self.is_filterable,
            "sortable": self.is_sortable,
            "groupable": self.is_filterable and self.type not in NUMBERS | {"datetime"},
            "nillable": self.type not in {"id", "boolean"},
            "nameField": self.name == "Name",
            "idLookup": self.type == "id",
            "calculated": False,
            "referenceTo": [self.refers_to] if self.refers_to else [],
            "relationshipName": self.relationship,
            "picklistValues": [],
        }


@dataclass(frozen=True)
class SObject:
    """One object. `key_prefix` begins the ids of its records."""

    name: str
    key_prefix: str
    fields: tuple[Field, ...]

    @cached_property
    def by_name(self) -> dict[str, Field]:
        """The fields by their names in lower case, because SOQL does not look at case."""
        return {field.name.lower(): field for field in self.fields}

    @cached_property
    def relationships(self) -> dict[str, Field]:
        """The reference fields by the names of their relationships in lower case."""
        return {field.relationship.lower(): field for field in self.fields if field.relationship}

    def describe_global(self, version: str) -> dict[str, Any]:
        """The object as `/sobjects` lists it."""
        url = f"/services/data/v{version}/sobjects/{self.name}"
        is_history = self.name.endswith("History")
        return {
            "name": self.name,
            "label": _label(self.name),
            "labelPlural": f"{_label(self.name)}s",
            "keyPrefix": self.key_prefix,
            "custom": False,
            "queryable": True,
            "retrieveable": True,
            "searchable": not is_history,
            "replicateable": True,
            "urls": {"sobject": url, "describe": f"{url}/describe", "rowTemplate": f"{url}/{{ID}}"},
        }

    def describe(self, version: str) -> dict[str, Any]:
        return self.describe_global(version) | {"fields": [field.describe() for field in self.fields]}


def _label(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|_", " ", name)


def _fields(declared: str) -> Iterator[Field]:
    """Fields from `Name`, `Name:type` and `NameId>Object`, apart by blanks; the type is string unless said."""
    for word in declared.split():
        name, _, refers_to = word.partition(">")
        name, _, kind = name.partition(":")
        yield Field(name, "reference" if refers_to else kind or "string", refers_to or None)


def _object(name: str, key_prefix: str, declared: str) -> tuple[str, SObject]:
    return name, SObject(name, key_prefix, tuple(_fields(f"Id:id {declared}")))


_CREATED = "CreatedDate:datetime CreatedById>User"
_STAMPS = f"{_CREATED} LastModifiedDate:datetime LastModifiedById>User SystemModstamp:datetime"
_DELETABLE = f"IsDeleted:boolean {_STAMPS}"
_PERSON = "LastName FirstName Salutation:picklist Name Title Email:email Phone:phone"
_FIELD_CHANGE = f"IsDeleted:boolean {_CREATED} Field:picklist DataType:picklist OldValue:anyType NewValue:anyType"
_UTM = "gclid__c utm_source__c utm_medium__c utm_campaign__c"


def _address(prefix: str = "") -> str:
    """The parts of an address and the compound field over them."""
    street, *others = (f"{prefix}{part}" for part in ADDRESS_PARTS)
    return f"{street}:textarea {' '.join(others)} {prefix}Address:address"


OBJECTS = dict(
    (
        _object("Account", "001", f"{_DELETABLE} MasterRecordId>Account Name Type:picklist Industry:picklist "
                f"Website:url Phone:phone NumberOfEmployees:int AnnualRevenue:currency Description:textarea "
                f"OwnerId>User {_address('Billing')}"),
        _object("Contact", "003", f"{_DELETABLE} MasterRecordId>Contact AccountId>Account {_PERSON} "
                f"LeadSource:picklist Description:textarea OwnerId>User {_address('Mailing')}"),
        _object("Lead", "00Q", f"{_DELETABLE} MasterRecordId>Lead {_PERSON} Company Website:url LeadSource:picklist "
                f"Status:picklist Industry:picklist Rating:picklist Description:textarea OwnerId>User "
                f"IsConverted:boolean ConvertedDate:date ConvertedAccountId>Account ConvertedContactId>Contact "
                f"ConvertedOpportunityId>Opportunity CurrencyIsoCode:picklist {_address()} Region__c:picklist {_UTM}"),
        _object("LeadHistory", "017", f"LeadId>Lead {_FIELD_CHANGE}"),
        _object("Opportunity", "006", f"{_DELETABLE} AccountId>Account Name StageName:picklist Amount:currency "
                f"Probability:percent ExpectedRevenue:currency CloseDate:date Type:picklist NextStep "
                f"LeadSource:picklist IsClosed:boolean IsWon:boolean ForecastCategory:picklist CampaignId>Campaign "
                f"ContactId>Contact CurrencyIsoCode:picklist Description:textarea OwnerId>User Region__c:picklist"),
        _object("OpportunityHistory", "008", f"IsDeleted:boolean {_CREATED} SystemModstamp:datetime "
                f"OpportunityId>Opportunity StageName:picklist Amount:currency ExpectedRevenue:currency "
                f"CloseDate:date Probability:percent ForecastCategory:picklist PrevAmount:currency PrevCloseDate:date"),
        _object("OpportunityFieldHistory", "017", f"OpportunityId>Opportunity {_FIELD_CHANGE}"),
        _object("OpportunityContactRole", "00K", f"{_DELETABLE} OpportunityId>Opportunity ContactId>Contact "
                f"Role:picklist IsPrimary:boolean"),
        _object("Campaign", "701", f"{_DELETABLE} Name ParentId>Campaign Type:picklist Status:picklist "
                f"StartDate:date EndDate:date IsActive:boolean BudgetedCost:currency ActualCost:currency "
                f"CurrencyIsoCode:picklist Description:textarea OwnerId>User"),
        _object("CampaignMember", "00v", f"{_DELETABLE} CampaignId>Campaign LeadId>Lead ContactId>Contact "
                f"Status:picklist HasResponded:boolean FirstRespondedDate:date Type:picklist"),
        _object("User", "005", f"{_STAMPS} Username {_PERSON} IsActive:boolean Department UserRoleId:reference"),
    )
)  # fmt: skip
