"""What a table's rows hang on beside landing: the code that made them, and what it saw of `pipeline.yaml`.

Only what changes one of them makes slices loaded again. Comments, docstrings, layout and neighbours in a module are not
part of the code; a setting that no mapping looked at is not part of what it saw.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel
from pydantic_core import to_json

from b2b_pipeline.configuration import own
from b2b_pipeline.configuration.config import Config

OURS = own.packages()
Place = tuple[str, str]  # a module, and a name of its top level


def digest(*parts: bytes | str) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part if isinstance(part, bytes) else part.encode())
    return whole.hexdigest()[:16]


# -- what a mapping sees


def watched(config: Config, seen: dict[str, str]) -> Config:
    """The configuration, which notes each value that is taken out of it in `seen`: path -> digest."""
    return cast("Config", _Watched(config, "", seen))


def look_at(config: Config, path: str, seen: dict[str, str]) -> None:
    """Note a value that is looked at without the view."""
    seen[path] = _of_value(_at(config, path))


def is_as_seen(config: Config, seen: Mapping[str, str]) -> bool:
    """Whether each of the values that were seen is what it was."""
    return all(_of_value(_at(config, path)) == value for path, value in seen.items())


def _of_value(value: Any) -> str:
    return digest(to_json(sorted(value) if isinstance(value, frozenset) else value, fallback=str))


def _at(config: Config, path: str) -> Any:
    """The value at a dotted path; None where a part is not there any more."""
    found: Any = config
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else getattr(found, part, None)
    return found


class _Watched:
    """Stands for a section. It has no methods: their code would be nobody's."""

    def __init__(self, section: BaseModel, path: str, seen: dict[str, str]) -> None:
        self._section, self._path, self._seen = section, path, seen

    def __getattr__(self, name: str) -> Any:
        kind = type(self._section)
        how = getattr(kind, name, None)
        if name in kind.model_fields or isinstance(how, cached_property | property):
            return self._taken(getattr(self._section, name), f"{self._path}{name}")
        raise AttributeError(f"{name} of {kind.__name__} cannot be watched")

    def _taken(self, value: Any, path: str) -> Any:
        if isinstance(value, BaseModel):
            return _Watched(value, f"{path}.", self._seen)
        if isinstance(value, dict) and any(isinstance(each, BaseModel) for each in value.values()):
            return _WatchedByName({name: self._taken(each, f"{path}.{name}") for name, each in value.items()})
        self._seen[path] = _of_value(value)
        return value


class _WatchedByName:
    """Sections by name: one is asked for; which there are is not told."""

    __iter__ = None  # else Python would count from 0

    def __init__(self, sections: Mapping[str, Any]) -> None:
        self._sections = sections

    def __getitem__(self, name: str) -> Any:
        return self._sections[name]


# -- code


@cache
def code(*functions: Callable[..., Any]) -> str:
    """A digest of functions or classes of ours and of all else of ours that they reach by name, in any module."""
    waiting = [(each.__module__, each.__qualname__.partition(".")[0]) for each in functions]
    found: dict[Place, str] = {}
    while waiting:
        place = waiting.pop()
        if place not in found:
            defined = _top_level(place[0]).get(place[1])
            found[place] = defined.text if defined else ""
            waiting += defined.reached if defined else ()
    return digest(*(f"{place} {text}" for place, text in sorted(found.items())))


class _Defined:
    """A name of a module's top level: the statements that define it. Told once, however many functions reach it."""

    def __init__(self, module: str) -> None:
        self._module = module
        self.statements: list[ast.stmt] = []

    @cached_property
    def text(self) -> str:
        return "".join(map(ast.dump, self.statements))

    @cached_property
    def reached(self) -> list[Place]:
        return [place for statement in self.statements for place in _reached(self._module, statement)]


def _reached(module: str, statement: ast.stmt) -> Iterator[Place]:
    if isinstance(statement, ast.ImportFrom):
        yield from ((str(statement.module), alias.name) for alias in statement.names)
        return
    known = _top_level(module)
    for node in ast.walk(statement):
        if isinstance(node, ast.Name) and node.id in known:
            yield module, node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in known:
            for imported in known[node.value.id].statements:  # `cells.parse_id` of an imported module
                if isinstance(imported, ast.ImportFrom):
                    yield f"{imported.module}.{imported.names[0].name}", node.attr


@cache
def _top_level(module: str) -> dict[str, _Defined]:
    """Name -> what defines it in a module of ours, an import from ours among them; empty for others."""
    if module.partition(".")[0] not in OURS or (spec := _found(module)) is None:
        return {}
    defined: dict[str, _Defined] = {}
    package = module if spec.endswith("__init__.py") else module.rpartition(".")[0]
    for statement in _Bare().visit(ast.parse(Path(spec).read_text(encoding="utf-8"))).body:
        if isinstance(statement, ast.ImportFrom) and statement.level:
            relative = "." * statement.level + (statement.module or "")
            statement = ast.ImportFrom(importlib.util.resolve_name(relative, package), statement.names, 0)
        for name, of in _defined(statement):
            defined.setdefault(name, _Defined(module)).statements.append(of)
    return defined


def _found(module: str) -> str | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return spec.origin if spec else None


def _defined(statement: ast.stmt) -> Iterator[tuple[str, ast.stmt]]:
    match statement:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            yield name, statement
        case ast.ImportFrom(module=str(module), names=names) if module.partition(".")[0] in OURS:
            for alias in names:
                yield alias.asname or alias.name, ast.ImportFrom(module, [ast.alias(alias.name)], 0)
        case ast.Assign(targets=targets):
            for node in ast.walk(ast.Tuple(targets)):
                if isinstance(node, ast.Name):
                    yield node.id, statement
        case ast.AnnAssign(target=ast.Name(id=name)) | ast.AugAssign(target=ast.Name(id=name)):
            yield name, statement


class _Bare(ast.NodeTransformer):
    """Takes away what does nothing: docstrings, and what functions say of their types."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.returns = None
        for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]:
            if each:
                each.annotation = None
        return self._without_docstring(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._without_docstring(node)

    def _without_docstring(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        self.generic_visit(node)
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
        return node
