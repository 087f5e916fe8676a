"""What `b2b setup`, `b2b init` and `b2b new` write, with `$name` for what differs."""

from __future__ import annotations

from pathlib import Path
from string import Template

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
# In a checkout these lie where people look for them; a wheel has them here (pyproject.toml).
_BROUGHT = {
    "demo.env": CHECKOUT / ".env.example", "demo.yaml": CHECKOUT / "examples" / "demo" / "pipeline.yaml",
    "pipeline.schema.json": CHECKOUT / "docs" / "pipeline.schema.json", "workspace.yaml": CHECKOUT / "workspace.yaml",
}  # fmt: skip


def path(name: str) -> Path:
    here = HERE / name
    return here if here.is_file() else _BROUGHT[name]


def filled(template: str, /, **words: object) -> str:
    return Template(path(template).read_text(encoding="utf-8")).substitute(words)
