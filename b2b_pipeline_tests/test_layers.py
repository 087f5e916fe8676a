"""Who imports whom: the sandbox and the product keep apart."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import b2b_pipeline
import b2b_sandbox

PRODUCT, SANDBOX = (Path(str(package.__file__)).parent for package in (b2b_pipeline, b2b_sandbox))


def modules(root: Path) -> dict[str, ast.Module]:
    """Module -> its syntax."""
    found = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imported(tree: ast.AST) -> Iterator[str]:
    """Modules and names in them, wherever they are imported, but for what only a type checker sees."""
    if isinstance(tree, ast.If) and isinstance(tree.test, ast.Name) and tree.test.id == "TYPE_CHECKING":
        return
    if isinstance(tree, ast.Import):
        yield from (alias.name for alias in tree.names)
    elif isinstance(tree, ast.ImportFrom) and tree.module:
        yield from (f"{tree.module}.{alias.name}" for alias in tree.names)
    for child in ast.iter_child_nodes(tree):
        yield from imported(child)


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
