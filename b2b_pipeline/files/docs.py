"""File mappings as a page, from their models: `python -m b2b_pipeline.files.docs > docs/files.md`."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from b2b_pipeline.configuration import file_cells, file_tables
from b2b_pipeline.configuration import file_mapping as mapping
from b2b_pipeline.files import vocabulary

KINDS = (
    file_cells.Text, file_cells.Category, file_cells.EventType, file_cells.Flag, file_cells.Channel, file_cells.Email,
    file_cells.Number, file_cells.Money, file_cells.Currency, file_cells.Day, file_cells.Month, file_cells.Moment,
)  # fmt: skip


def page() -> str:
    """What can stand under `files:`: the file, how it is written, kinds of columns, tables with theirs."""
    lines = [
        "# Files",
        "",
        "Written from `b2b_pipeline/configuration/file_mapping.py` by `make docs`.",
        "Examples: `examples/exports`, `examples/demo`.",
        "`b2b files check FILE` says what would become of a file, and proposes a mapping for one that none fits;",
        "`--add` puts it into `pipeline.yaml`.",
        "",
        "```yaml",
        *_example(),
        "```",
    ]
    lines += ["", "## Exports that are known by their headers", "", *_presets()]
    for model in (mapping.FileMapping, mapping.Read, mapping.Totals, file_cells.When):
        lines += ["", f"## {model.__name__}", "", *_said(model), "", "| key | default |", "|---|---|"]
        lines += [f"| `{field.alias or name}` | {_default(field)} |" for name, field in model.model_fields.items()]
    lines += ["", "## Columns", "", *_said(file_cells.Cell), "", "| kind | what | further keys |", "|---|---|---|"]
    common = set(file_cells.Cell.model_fields)
    for kind in KINDS:
        further = ", ".join(f"`{name}`" for name in kind.model_fields if name not in common)
        lines.append(f"| {kind.__name__} | {' '.join(_said(kind))} | {further} |")
    for name, field in file_tables.Tables.model_fields.items():
        lines += ["", f"## `{name}`", "", *_table(_model(field))]
    return "\n".join(lines) + "\n"


def _presets() -> Iterator[str]:
    yield from (
        "`files check` names these, and fills in what all their rows are of; the headers are in",
        "`b2b_pipeline/files/words/presets.yaml`. Any other export is read by the words of its headers, and what it is",
        "of is asked for: those of Reddit, whose headers are anybody's, and of Quora, G2, GoTo Webinar and ON24,",
        "of which nothing public tells them.",
        "",
        "| export | feeds | the headers are from |",
        "|---|---|---|",
    )
    for preset in vocabulary.presets():
        yield f"| {preset.name} | `{preset.table}` | {preset.source} |"


def _table(table: type[BaseModel]) -> Iterator[str]:
    yield from _said(table)
    yield from ("", "| column | kind | |", "|---|---|---|")
    columns = _model(table.model_fields["columns"])
    for name, field in columns.model_fields.items():
        yield f"| `{name}` | {_model(field).__name__} | {'needed' if field.is_required() else ''} |"
    if further := [f"`{name}`" for name in table.model_fields if name not in ("columns", "when")]:
        yield from ("", f"Beside `columns` and `when`: {', '.join(further)}.")


def _example() -> list[str]:
    lines = inspect.cleandoc(mapping.__doc__ or "").splitlines()
    return [line[4:] for line in lines if line.startswith("    ")]


def _said(model: type[BaseModel]) -> list[str]:
    """The docstring, with what is indented as a list."""
    lines = inspect.cleandoc(model.__doc__ or "").splitlines()
    return [f"- {line}" if ": " in line and line[:1].islower() else line.replace("    ", "  ") for line in lines]


def _model(field: FieldInfo) -> type[BaseModel]:
    kinds = [field.annotation, *get_args(field.annotation)]
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    return "" if value is None or isinstance(value, BaseModel) else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
