"""Reading `pipeline.yaml`: every mistake with its line, and what would be right."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from b2b_pipeline.configuration.config import Complaint, Config, Location, inconsistent
from b2b_pipeline.configuration.words import nearest
from b2b_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


class _Words(yaml.SafeLoader):
    """YAML whose scalars are text or nothing. What expects a number or a day makes it one and complains in its place;
    an account id keeps its zeros and `no` stays a word."""


_Words.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if tag.endswith((":null", ":merge"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


COMPONENT = "B2BPipelineComponent"


def read(path: Path | None, complaints: Callable[[Config], Iterable[Complaint]]) -> Config:
    """Read and validate `pipeline.yaml` (default: `B2B_CONFIG`, else ./pipeline.yaml), or a component's `defs.yaml`.

    `complaints`: what else is wrong with it. Raises ConfigError with file, line, what is wrong and what would be right,
    a line for each mistake.
    """
    path = path or Path(os.environ.get("B2B_CONFIG") or "pipeline.yaml")
    node, data = _read(path)
    try:
        config = Config.model_validate(data)
        if wrong := [*complaints(config)]:
            raise ValidationError.from_exception_data("Config", inconsistent(wrong))
        return config
    except ValidationError as error:
        found = sorted(
            (_line(node, item["loc"]), ".".join(map(str, item["loc"])), _why(item)) for item in error.errors()
        )
        raise ConfigError("\n".join(f"{path}:{line}: {place}: {why}" for line, place, why in found)) from None


def _read(path: Path) -> tuple[yaml.Node, Any]:
    """The file as YAML nodes, which know their lines, and as data."""
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; `make setup` writes one, B2B_CONFIG names another")
    try:
        raw = path.read_bytes()
        text = unicodedata.normalize("NFC", raw.decode("utf-8-sig"))
        loader = _Words(text)
        node = loader.get_single_node()
        repeated = sorted(_repeated(node)) if node else []
        if repeated:
            raise ConfigError("\n".join(f"{path}:{line}: {why}" for line, why in repeated))
        if not isinstance(node, yaml.MappingNode):
            raise ConfigError(
                f"{path}:1: expected settings such as `timezone: Europe/Berlin`; `make setup` writes them"
            )
        node = _of_component(node)
        return node, loader.construct_document(node)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}:{raw.count(10, 0, error.start) + 1}: not UTF-8: save the file as UTF-8") from None
    except yaml.reader.ReaderError as error:
        raise ConfigError(f"{path}:{text.count(chr(10), 0, error.position) + 1}: an unprintable character") from None
    except yaml.MarkedYAMLError as error:
        why = str(error.problem)
        mark = error.context_mark if "expected ':'" in why else error.problem_mark  # where the key is, not what follows
        hint = ": indent with spaces" if "\\t" in why else ""
        raise ConfigError(f"{path}:{mark.line + 1 if mark else 1}: not valid YAML: {why}{hint}") from None


def _of_component(node: yaml.MappingNode) -> yaml.Node:
    """The settings in the `defs.yaml` of the Dagster component, else the file's own."""
    parts = {key.value: value for key, value in node.value}
    kind = parts.get("type")
    return parts.get("attributes", node) if kind and str(kind.value).endswith(COMPONENT) else node


def _repeated(node: yaml.Node) -> Iterator[tuple[int, str]]:
    """Keys that a mapping has twice, of which YAML would silently take the last."""
    waiting, seen = [node], {id(node)}  # an alias may lead back to where it is
    while waiting:
        node = waiting.pop()
        below = node.value if isinstance(node, yaml.SequenceNode) else []
        if isinstance(node, yaml.MappingNode):
            first: dict[str, int] = {}
            for key, _ in node.value:
                line, word = key.start_mark.line + 1, str(key.value)
                if word in first:
                    yield line, f"{word} stands on line {first[word]} already: leave one of them out"
                first.setdefault(word, line)
            below = [value for _, value in node.value]
        waiting += [item for item in below if id(item) not in seen]
        seen |= set(map(id, below))


def _why(item: ErrorDetails) -> str:
    match item["type"], item["input"]:
        case "extra_forbidden", _:
            return f"unknown key: {nearest(str(item['loc'][-1]), _keys(item['loc']))}"
        case "missing", _:
            return f"is missing: {_keys(item['loc'])[str(item['loc'][-1])] or 'it must be given'}"
        case "value_error" | "inconsistent", _:
            return item["msg"].removeprefix("Value error, ")
        case _, str(given):
            return f"{item['msg']}, not {given[:40]!r}"
    return item["msg"]


def _keys(location: Location) -> dict[str, str | None]:
    """The keys that may stand where the last part of `location` does, with what they are."""
    models: set[type[BaseModel]] = {Config}
    for part in location[:-1]:
        fields = [field for model in models for name, field in model.model_fields.items() if name == part]
        models = {model for field in fields for model in _models(field.annotation)} or models
    fields_by_name = [item for model in models for item in model.model_fields.items()]
    return {field.alias or name: field.description for name, field in fields_by_name}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)


def _line(node: yaml.Node, location: Location) -> int:
    """The line of the deepest part of `location` that is written in the file."""
    line = node.start_mark.line + 1
    for part in location:
        if isinstance(node, yaml.MappingNode):
            found = next(((key, value) for key, value in node.value if key.value == str(part)), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
            line = node.start_mark.line + 1
        else:
            return line
    return line
