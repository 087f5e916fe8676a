"""Contracts: their form, and ours against what vendors publish."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.google_ads import source as google_ads
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.testing import contract as contracts
from b2b_pipeline.testing.contract import StreamContract, contract_of

CONFIG = Config.model_validate({"start_date": "2026-01-01", "system_of_record": "files", "sources": {"hubspot": {}}})


def complaints(record: dict[str, Any], **contract: dict[str, str]) -> set[str]:
    return set(StreamContract.model_validate(contract).complaints(record))


def test_values_are_of_their_types_on_the_wire() -> None:
    good = {
        "string": "a", "integer": 3, "number": 1.5, "boolean": False, "date": "2026-03-01",
        "datetime": "2026-03-01T08:00:00.000+0000", "milliseconds": 1772352000000, "integer text": "-3",
        "number text": "1.0E7", "boolean text": "true", "object": {"any": 1}, "array": [1], "any": 0,
    }  # fmt: skip
    assert good.keys() == contracts.TYPES.keys()
    fields = {kind: kind for kind in good}
    assert not complaints(good, fields=fields)
    assert not complaints(dict.fromkeys(good), fields=fields)
    bad = {
        "string": 1, "integer": True, "number": "1", "boolean": "false", "date": "2026-03-01T00:00:00Z",
        "datetime": "2026-03-01", "milliseconds": 1772352000, "integer text": 3, "number text": "1,5",
        "boolean text": True, "object": "{}", "array": {},
    }  # fmt: skip
    assert len(complaints(bad, fields=fields)) == len(bad)


def test_what_is_nested_is_named_by_its_path_and_no_value_is_told() -> None:
    fields = {"owner.id": "integer", "tags[].name": "string", "open": "object"}
    record = {
        "owner": {"id": "7", "mail": "who@a.example"}, "tags": [{"name": "a"}, {"name": 2}], "open": {"any": "thing"},
    }  # fmt: skip
    assert complaints(record, fields=fields) == {
        "owner.id is no integer, but str", "owner.mail is not in contract.yaml", "tags[].name is no string, but int",
    }  # fmt: skip
    assert not complaints({"owner": None, "tags": []}, fields=fields)
    assert complaints({"owner": 1, "stranger": None}, fields=fields) == {
        "owner is neither an object nor a list, but int", "stranger is not in contract.yaml",
    }  # fmt: skip


def test_what_nothing_says_of_the_vendor_is_let_through_by_name_and_with_a_reason() -> None:
    fields, record = {"id": "string"}, {"id": "1", "score": {"high": 3}}
    assert not complaints(record, fields=fields, unknown={"score.high": "seen in one account"})
    assert complaints(record, fields=fields) == {"score is not in contract.yaml"}
    with pytest.raises(ValidationError):
        complaints(record, fields=fields, unknown={"score.high": ""})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file: Input should be"),
        ("source: docs\nstreams: {a: {fields: {id: string}}}\n", "read: Field required"),
        ("source: ''\nread: 2026-01-01\nstreams: {}\n", "source: String should have at least 1 character"),
        ("source: docs\nread: 2026-01-01\nstreams: {a: {fields: {id: text}}}\n", "streams.a.fields.id: .*no type"),
        ("source: docs\nread: 2026-01-01\nstreams: {a: {id: string}}\n", "streams.a.id: Extra inputs"),
        ("source: docs\nread: 2026-01-01\nstreams: {a: {fields: {}}}\n", "streams.a.fields: .*at least 1 item"),
        ("streams: [\n", "while parsing"),
    ],
)
def test_a_contract_that_is_none_is_told_with_its_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "a_source.py").write_text("def connect(config): ...\n")
    (tmp_path / "contract.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_source", raising=False)
    connect = import_module("a_source").connect
    with pytest.raises(ConfigError, match=rf"{re.escape(str(tmp_path))}/contract\.yaml: (.|\n)*{said}"):
        contract_of(replace(SOURCES["ecb"], connect=connect))


# -- what vendors publish


def test_what_is_said_of_google_ads_is_what_its_protos_say() -> None:
    """An asked field that the API's version does not have any more, or another type, fails here."""
    from google.ads.googleads.v26.services.types.google_ads_service import GoogleAdsRow
    from google.protobuf.descriptor import FieldDescriptor

    assert google_ads.VERSION == "v26"
    kinds = {
        FieldDescriptor.TYPE_STRING: "string", FieldDescriptor.TYPE_ENUM: "string",
        FieldDescriptor.TYPE_BOOL: "boolean", FieldDescriptor.TYPE_DOUBLE: "number",
        FieldDescriptor.TYPE_INT64: "integer text", FieldDescriptor.TYPE_INT32: "integer",
    }  # fmt: skip

    def kind(path: str) -> str:
        found = GoogleAdsRow.pb(GoogleAdsRow()).DESCRIPTOR
        for name in path.split("."):
            member = next(each for each in found.fields if each.json_name == name)
            found = member.message_type
        return "date" if path == "segments.date" else kinds[member.type]

    for stream in contract_of(google_ads.SOURCE).streams.values():
        assert stream.types == {path: kind(path) for path in stream.types}
    for query in (google_ads.CONVERSION_CUSTOMER, google_ads.CUSTOMER_CLIENT):
        assert all(map(kind, google_ads._selected(query, CONFIG)))


def members(model: Any) -> dict[str, str]:
    """Name -> type of what a generated model of HubSpot's has; of a list, that of its items."""
    kinds = {"str": "string", "bool": "boolean", "int": "integer", "datetime": "datetime"}
    found = {}
    for attribute, kind in model.openapi_types.items():
        listed = re.fullmatch(r"list\[(\w+)\]", kind)
        found[model.attribute_map[attribute] + ("[]" if listed else "")] = kinds.get(
            listed[1] if listed else kind, "object"
        )
    return found


def said(stream: str, within: str = "") -> dict[str, str]:
    """Name -> type of what our contract has of HubSpot, below a path; that a number comes as text no model tells."""
    types = contract_of(SOURCES["hubspot"]).streams[stream].types
    below = {path.removeprefix(within): kind for path, kind in types.items() if path.startswith(within)}
    return {
        path.partition(".")[0]: "object" if "." in path else kind.replace("integer text", "string")
        for path, kind in below.items()
    }


@pytest.mark.parametrize(("stream", "history"), [("contact", "lifecyclestage"), ("deal", "dealstage")])
def test_what_is_said_of_records_of_hubspot_is_what_its_client_says(stream: str, history: str) -> None:
    from hubspot.crm.contacts.models import SimplePublicObject, ValueWithTimestamp

    put_there_by_us = {"associations": "object"} if stream == "deal" else {}
    of_the_newer_sdk = {"url": "string"}
    assert said(stream) == members(SimplePublicObject) | of_the_newer_sdk | put_there_by_us
    assert said(stream, f"propertiesWithHistory.{history}[].") == members(ValueWithTimestamp)


def test_what_is_said_of_marketing_emails_of_hubspot_is_what_its_client_says() -> None:
    from hubspot.marketing.emails.models import EmailStatisticsData, PublicEmail

    published = members(PublicEmail)
    assert said("marketing_email").items() >= published.items()
    assert said("marketing_email").keys() - published.keys() == {  # of the newer SDK, whose version is of 2026
        "isAb", "allEmailCampaignIds[]", "campaignUtm", "clonedFrom", "emailCampaignGroupId", "emailTemplateMode",
        "folderIdV2", "previewKey", "primaryEmailCampaignId", "publishedByEmail", "publishedByName",
        "teamsWithAccess[]", "unpublishedAt", "usersWithAccess[]",
    }  # fmt: skip
    assert said("marketing_email", "stats.") == members(EmailStatisticsData)
