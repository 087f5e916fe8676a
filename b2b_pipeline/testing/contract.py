"""The contract of a source: which fields its records have, by what its vendor says; the file `contract.yaml` beside it.

    source: >                    # where the facts are from: spec, SDK with its version, reference, recorded account
      The vendor's OpenAPI file, version 3.1
    read: 2026-11-30             # when they were read there
    streams:
      deal:                      # every stream but sweeps, whose records are ours
        fields:                  # what every account has
          id: string
          owner.id: integer      # dotted paths, as in the records that `fetch` yields
          tags[]: string         # of each item of a list
          closed_on: date
        not_by_default:          # what only some accounts have: custom fields, fields of an edition or a setting
          utm_campaign: string
        unknown:                 # what the twin gives and nothing says that the vendor does: path -> why it is there
          score: seen in one account in 2025; the reference does not have it

Any value may be null or empty text. Types are those of the wire (`TYPES`); nothing below `object`, `array` and `any` is
looked at. What could not be established is left out: who asks for it, and a twin that serves it, fails the suite.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from b2b_pipeline.connectors.base import Source
from b2b_pipeline.errors import ConfigError

FILE = "contract.yaml"
HELP = "its form is in b2b_pipeline/testing/contract.py"


def _text(pattern: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


def _is_datetime(value: Any) -> bool:
    try:
        return isinstance(value, str) and len(value) > len("2026-11-30") and bool(datetime.fromisoformat(value))
    except ValueError:
        return False


def _is_integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


# Name -> whether a value is one. A day is a `date`, which no time zone shifts; an instant is none.
TYPES: Mapping[str, Callable[[Any], bool]] = {
    "string": lambda value: isinstance(value, str),
    "integer": _is_integer,
    "number": lambda value: _is_integer(value) or isinstance(value, float),
    "boolean": lambda value: isinstance(value, bool),
    "date": _text(r"\d{4}-\d\d-\d\d"),
    "datetime": _is_datetime,
    "milliseconds": lambda value: _is_integer(value) and value > 10**11,  # since 1970
    "integer text": _text(r"-?\d+"),  # such as a 64-bit integer of protobuf
    "number text": _text(r"-?\d+(\.\d+)?([eE][+-]?\d+)?"),
    "boolean text": _text("true|false"),
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "any": lambda value: True,
}


def _known(name: str) -> str:
    if name not in TYPES:
        raise ValueError(f"no type: use one of {', '.join(TYPES)}")
    return name


Types = dict[str, Annotated[str, AfterValidator(_known)]]
Words = Annotated[str, Field(min_length=1)]


class StreamContract(BaseModel):
    """One stream: dotted path -> type, or why it is there although nothing says so."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    fields: Types = Field(min_length=1)
    not_by_default: Types = {}
    unknown: dict[str, Words] = {}

    @cached_property
    def types(self) -> Types:
        return self.fields | self.not_by_default

    @cached_property
    def _above(self) -> set[str]:
        """The objects and lists that the fields are in; the record itself is ""."""
        paths = [*self.types, *self.unknown]
        return {"", *(path[: end.start()] for path in paths for end in re.finditer(r"\.|\[\]", path))}

    def complaints(self, value: Any, path: str = "") -> Iterator[str]:
        """What is wrong with a record, or with the value at a path of it. It tells no value: that may be personal."""
        kind = self.types.get(path)
        if path in self.unknown or (value in (None, "") and (kind or path in self._above)):
            return
        if kind:
            if not TYPES[kind](value):
                yield f"{path} is no {kind}, but {type(value).__name__}"
        elif path not in self._above:
            yield f"{path} is not in {FILE}"
        elif isinstance(value, dict):
            for name, member in value.items():
                yield from self.complaints(member, f"{path}.{name}" if path else name)
        elif isinstance(value, list):
            for item in value:
                yield from self.complaints(item, f"{path}[]")
        else:
            yield f"{path} is neither an object nor a list, but {type(value).__name__}"


class Contract(BaseModel):
    """The whole file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Words
    read: date
    streams: dict[str, StreamContract]


def contract_of(source: Source) -> Contract:
    """The contract beside a source's module. Raises ConfigError, with the file, when there is none or it is none."""
    path = Path(inspect.getfile(source.connect)).with_name(FILE)
    try:
        return Contract.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise ConfigError(f"{path} is not there: write what the vendor says of its fields; {HELP}") from None
    except ValidationError as error:
        told = [f"{'.'.join(map(str, each['loc'])) or 'the file'}: {each['msg']}" for each in error.errors()]
        raise ConfigError(f"{path}: {'; '.join(told)}; {HELP}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: {error}") from None
