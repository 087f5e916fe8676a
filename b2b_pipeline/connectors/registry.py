"""Every source, by name: those of the folders here that have a `source.py`. To add one, add its folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from b2b_pipeline.connectors.base import Source

_MODULES = [
    import_module(f"{__package__}.{path.parent.name}.source")
    for path in sorted(Path(__file__).parent.glob("*/source.py"))
]
SOURCES: dict[str, Source] = {module.SOURCE.name: module.SOURCE for module in _MODULES}
