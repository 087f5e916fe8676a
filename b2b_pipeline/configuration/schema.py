"""JSON Schema of `pipeline.yaml`, for editors: `make docs` writes it to `docs/pipeline.schema.json`.

It knows names, shapes and descriptions; what only the whole file shows (`config.py`) it does not judge.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from b2b_pipeline.configuration import file_cells, file_mapping, file_tables
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_cells import Cell, When

OF_FILES = {module.__name__ for module in (file_cells, file_tables, file_mapping)}


def schema() -> dict[str, Any]:
    """The models' own schema, and the short forms that YAML may have in their place."""
    found: dict[str, Any] = Config.model_json_schema()
    short = {When.__name__, *(model.__name__ for model in _below(Cell))}
    of_files = {model.__name__ for model in _below(BaseModel) if model.__module__ in OF_FILES}
    for name, definition in found["$defs"].items():
        forms = [{"type": "null"}, *([{"type": ["string", "number"]}] if name in short else [])]
        found["$defs"][name] = {"anyOf": [_loose(definition) if name in of_files else definition, *forms]}
    top = {key: value for key, value in found.items() if key != "$defs"}
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **top, "$defs": found["$defs"]}


def _below(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for child in model.__subclasses__():
        yield from _below(child)


def _loose(part: Any) -> Any:
    """Numbers where text is wanted, one thing where a list of things is: file mappings take both, nothing else does."""
    if isinstance(part, list):
        return [_loose(item) for item in part]
    if not isinstance(part, dict):
        return part
    loose = {key: value if key in ("default", "enum", "const") else _loose(value) for key, value in part.items()}
    if loose.get("type") == "string" and not {"format", "enum"} & set(loose):
        loose["type"] = ["string", "number"]
    return {"anyOf": [loose, loose["items"]]} if loose.get("type") == "array" and "items" in loose else loose


if __name__ == "__main__":
    print(json.dumps(schema(), ensure_ascii=False, indent=1))
