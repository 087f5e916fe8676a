"""Dagster's own SQLite storage, used without a PostgreSQL: several times faster when it need not wait for the disk.

A range run writes an event for every asset and day, and Dagster opens and closes its databases for each.
"""

import sqlite3
from typing import Any

from sqlalchemy import Engine, event

_kept_open: dict[str, sqlite3.Connection] = {}


@event.listens_for(Engine, "connect")
def relax_sqlite(connection: Any, _: Any) -> None:
    """Commit without waiting for the disk, and do not fold the write-ahead log into the file at every close.

    A power cut may take the last few events, never the file (sqlite.org/pragma.html#pragma_synchronous); the tables
    tell what was really loaded. The log is folded in when the last connection closes: one per file stays open here.
    """
    if isinstance(connection, sqlite3.Connection):
        connection.execute("pragma synchronous = normal").close()
        path = connection.execute("pragma database_list").fetchone()[2]
        if path and path not in _kept_open:
            _kept_open[path] = sqlite3.connect(path, check_same_thread=False)
            _kept_open[path].execute("select count(*) from sqlite_master").fetchone()
