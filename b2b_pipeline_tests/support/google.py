"""Answers held against the discovery documents that Google's own client (google-api-python-client) comes with."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import googleapiclient

TYPES: dict[str, type | tuple[type, ...]] = {
    "string": str, "integer": int, "number": (int, float), "boolean": bool, "array": list, "object": dict,
}  # fmt: skip


def conforms(document: str, schema: str, value: Any) -> None:
    """Every member of an object is one that Google has, of its type: int64 as text."""
    _holds(_document(document)["schemas"], {"$ref": schema}, value, schema)


def _holds(schemas: dict[str, Any], schema: dict[str, Any], value: Any, path: str) -> None:
    if "$ref" in schema:
        members = schemas[schema["$ref"]].get("properties", {})
        assert isinstance(value, dict), path
        assert not value.keys() - members.keys(), f"{path}: {sorted(value.keys() - members.keys())}"
        for name, member in value.items():
            _holds(schemas, members[name], member, f"{path}.{name}")
        return
    assert isinstance(value, TYPES[schema["type"]]), f"{path} is no {schema['type']}"
    if schema.get("format") == "int64":
        int(value)
    if "enum" in schema:
        # Search Console writes `byProperty` where its document has BY_PROPERTY.
        known = {str(word).replace("_", "").lower() for word in schema["enum"]}
        assert str(value).replace("_", "").lower() in known, f"{path}: {value}"
    for number, item in enumerate(value if schema["type"] == "array" else ()):
        _holds(schemas, schema["items"], item, f"{path}[{number}]")


@cache
def _document(name: str) -> dict[str, Any]:
    path = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents" / f"{name}.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
