"""The warehouse behind SQLAlchemy: DuckDB in a file, or PostgreSQL. One definition of everything for both."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fasteners
from sqlalchemy import Connection, Engine, Executable, create_engine, func, make_url, select
from sqlalchemy.pool import NullPool

from b2b_pipeline.errors import ConfigError
from b2b_pipeline.settings import home, warehouse_url

# DuckDB's file lock is per process and refuses at once; threads of one process share it. Both queue up here instead.
_threads = threading.RLock()
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Warehouse:
    """Opens short connections to the warehouse. Safe from many processes and threads.

    On DuckDB a writer is alone and readers share, by a lock on a file beside the database; it is held only inside
    `read()` and `write()`, so network and pandas work belongs outside them.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = make_url(url or warehouse_url())
        self.dialect = self.url.get_backend_name()
        if self.dialect not in ("duckdb", "postgresql"):
            raise ConfigError(
                f"B2B_WAREHOUSE_URL: {self.dialect} is not supported; use duckdb:///… or postgresql+psycopg://…"
            )
        if self.dialect == "duckdb":
            path = Path(self.url.database or home() / "warehouse.duckdb")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise ConfigError(f"the warehouse's folder {path.parent} cannot be made: {error.strerror}") from None
            self._path = path
            self._lock = fasteners.InterProcessReaderWriterLock(f"{path}.lock")
            self._writer = create_engine(self.url, poolclass=NullPool)
            self._reader = create_engine(self.url, poolclass=NullPool, connect_args={"read_only": True})
        else:
            # The driver is always named: SQLAlchemy 2.1 reads a bare postgresql:// as psycopg 3, others as psycopg 2.
            server = self.url.set(drivername="postgresql+psycopg")
            self._writer = create_engine(server, poolclass=NullPool)
            self._reader = create_engine(server, poolclass=NullPool, isolation_level="REPEATABLE READ")

    @property
    def engine(self) -> Engine:
        """The writing engine, for schema migrations."""
        return self._writer

    @contextmanager
    def alone(self) -> Iterator[None]:
        """On DuckDB nobody else reads or writes meanwhile, so that the file itself may be replaced."""
        with _threads, self._lock.write_lock():
            yield

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Those who do the same thing take turns, over all processes; everybody else reads and writes meanwhile.

        Unlike a transaction it may be held for long. A process that dies gives it back.
        """
        if self.dialect == "duckdb":
            with _turns[f"{self._path} {name}"], fasteners.InterProcessLock(f"{self._path}.{name}.lock"):
                yield
        else:
            with self._writer.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(select(func.pg_advisory_lock(func.hashtextextended(f"turn {name}", 0))))
                yield

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One state of the warehouse, whatever is written meanwhile."""
        if self.dialect == "duckdb":
            with _threads, self._lock.read_lock(), self._reader.connect() as connection:
                yield connection
        else:
            with self._reader.connect() as connection:
                yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: commits at the end, rolls back on an exception."""
        if self.dialect == "duckdb":
            with self.alone(), self._writer.begin() as connection:
                yield connection
        else:
            with self._writer.begin() as connection:
                yield connection

    def rows(self, query: Executable) -> list[dict[str, Any]]:
        with self.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]
