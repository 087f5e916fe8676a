"""A warehouse's schema at once, for to migrate takes half a second: the copy of a DuckDB file that was migrated, or of
a PostgreSQL database (the fixture `migrated_database`)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade


def migrated(warehouse: Warehouse) -> None:
    """What `upgrade` does. A DuckDB file that is there has been migrated before."""
    if warehouse.dialect != "duckdb":
        upgrade(warehouse)
        return
    path = Path(warehouse.url.database or "")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_file())
        Path(f"{path}.lock").touch()  # as who has opened it leaves one


@cache
def _file() -> bytes:
    with TemporaryDirectory(prefix="b2b-migrated-") as folder:
        path = Path(folder) / "warehouse.duckdb"
        upgrade(Warehouse(f"duckdb:///{path}"))
        return path.read_bytes()
