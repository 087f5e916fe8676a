"""Who imports whom: rooms look down, the sandbox and the product keep apart, and vendors stay in their folders."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import b2b_pipeline
import b2b_sandbox
from b2b_pipeline.connectors.registry import SOURCES

PRODUCT, SANDBOX = (Path(str(package.__file__)).parent for package in (b2b_pipeline, b2b_sandbox))


@cache
def modules(root: Path) -> dict[str, ast.Module]:
    """Module -> its syntax."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


@cache
def imported(tree: ast.Module) -> tuple[str, ...]:
    """Modules and names in them, wherever they are imported, but for what only a type checker sees."""
    return tuple(_imported(tree))


def _imported(tree: ast.AST) -> Iterator[str]:
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        if not isinstance(child, ast.expr):  # which holds no import
            yield from _imported(child)


def test_the_sandbox_imports_nothing_of_the_product() -> None:
    for name, tree in modules(SANDBOX).items():
        assert not [each for each in imported(tree) if each.startswith("b2b_pipeline")], name


def test_only_the_command_sandbox_imports_the_sandbox() -> None:
    importing = {
        name
        for name, tree in modules(PRODUCT).items()
        if any(each.startswith("b2b_sandbox") for each in imported(tree))
    }
    assert importing == {"b2b_pipeline.cli.sandbox"}


# From the ground up: a room may import those before it.
FLOORS = (
    "errors", "privacy", "failures", "templates", "configuration", "warehouse", "connectors", "landing", "files",
    "pipeline", "core", "testing", "derived", "metrics", "operations", "report", "orchestration", "definitions",
    "collect", "cli",
)  # fmt: skip


def test_every_room_looks_down_only() -> None:
    looking_up = [
        f"{name} -> {each}"
        for name, tree in modules(PRODUCT).items()
        for each in imported(tree)
        if each.startswith("b2b_pipeline.") and "." in name
        if FLOORS.index(each.split(".")[1]) > FLOORS.index(name.split(".")[1])
    ]
    assert not looking_up


def test_no_source_looks_at_another() -> None:
    found = modules(PRODUCT)
    for source in SOURCES:
        others = tuple(f"b2b_pipeline.connectors.{other}." for other in SOURCES if other != source)
        for name, tree in found.items():
            if name.startswith(f"b2b_pipeline.connectors.{source}."):
                assert not [each for each in imported(tree) if each.startswith(others)], name


def test_the_loader_goes_by_the_kind_of_a_stream_and_knows_no_source_by_name() -> None:
    sources, found = {"files", *SOURCES}, modules(PRODUCT)
    for name in ("feeds", "load", "mapped", "plan", "writing"):
        words = {node.value for node in ast.walk(found[f"b2b_pipeline.core.{name}"]) if isinstance(node, ast.Constant)}
        named = {each.rpartition(".")[2] for each in imported(found[f"b2b_pipeline.core.{name}"])}
        assert not words & sources, name
        assert "FILES" not in named or name == "feeds", name  # which says what the rows of files are called


def test_no_room_but_connectors_knows_a_vendor_by_name() -> None:
    """By the name or title of a source, where that is more than a letter; a hint may name one as an example."""
    named = (source for source in SOURCES.values() if source.kind != "fx")
    vendors = {word for source in named for word in (source.name, source.title) if len(word) > 1}
    knowing = [
        f"{name}:{node.lineno}: {node.value}"
        for name, tree in modules(PRODUCT).items()
        if not name.startswith("b2b_pipeline.connectors.")
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in vendors
    ]
    assert not knowing
