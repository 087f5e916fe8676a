"""The warehouse's schema: brought to its newest revision by alembic, and asked which one it has.

A revision is `migrations/versions/NNNN_<words>.py`, numbered in order.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, column, inspect, select, table

from b2b_pipeline.errors import ConfigError
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.write import serialise

MIGRATIONS = Path(__file__).with_name("migrations")
KNOWN = {path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py")}
HEAD = max(KNOWN)


def revision(connection: Connection) -> str | None:
    """The revision of the schema that is there, None where there is none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(select(column("version_num")).select_from(table("alembic_version"))).scalar()
    return found


def upgrade(warehouse: Warehouse) -> str | None:
    """Bring the schema to HEAD, in one transaction; a second caller waits. Returns the old revision.

    Raises ConfigError when the schema is newer than this version.
    """
    with warehouse.write() as connection:
        serialise(connection, "schema")
        found = revision(connection)
        if found != HEAD:
            _refuse_newer(found)
            # Only now: alembic takes longer to import than an upgrade that has nothing to do.
            from alembic import command
            from alembic.config import Config

            settings = Config(attributes={"connection": connection})
            settings.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
            command.upgrade(settings, "head")
    return found


def state(warehouse: Warehouse) -> str | None:
    """The revision that the warehouse has. Raises a PipelineError, without a password, when it cannot be read."""
    if warehouse.dialect == "duckdb" and not Path(warehouse.url.database or "").is_file():
        return None
    with warehouse.read() as connection:
        return revision(connection)


def require(warehouse: Warehouse) -> None:
    """Raises ConfigError, with what to do, unless the warehouse can be read and its schema is at HEAD."""
    found = state(warehouse)
    _refuse_newer(found)
    if found != HEAD:
        has = f"is at revision {found}" if found else "is not there yet"
        raise ConfigError(f"the warehouse's schema {has}, this version needs {HEAD}: run `b2b migrate`")


def _refuse_newer(found: str | None) -> None:
    if found is not None and found not in KNOWN:
        raise ConfigError(
            f"the warehouse's schema is at revision {found}, which this version does not know: a newer b2b-pipeline "
            "wrote it. Upgrade b2b-pipeline, or restore a backup of before"
        )
