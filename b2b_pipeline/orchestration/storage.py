"""Dagster's own SQLite storage, used without a PostgreSQL: several times faster when it need not wait for the disk."""

import sqlite3
from typing import Any

from sqlalchemy import Engine, event


@event.listens_for(Engine, "connect")
def relax_sqlite(connection: Any, _: Any) -> None:
    """Commit without waiting for the disk, as SQLite advises for write-ahead logs.

    A range run writes an event for every asset and day, each in a transaction. A power cut may take the last few of
    them, never the file (sqlite.org/pragma.html#pragma_synchronous); the tables tell what was really loaded.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = normal").close()
