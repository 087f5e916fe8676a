"""The warehouse behind SQLAlchemy: DuckDB in a file, or PostgreSQL. One definition of everything for both."""

from __future__ import annotations

import errno
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import fasteners
import psycopg
from sqlalchemy import Connection, Engine, Executable, create_engine, event, func, make_url, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from b2b_pipeline.configuration.settings import home, warehouse_url
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.warehouse import failures

# DuckDB's file lock is per process and refuses at once; threads of one process share it. Both queue up here instead.
_threads = threading.RLock()
HELD_SECONDS = 20.0  # how long another program may have the DuckDB file open
# What PostgreSQL's text output hangs on. Set on connecting: a role, a database or PGOPTIONS may say otherwise.
# And no compilation (jit): that of a long query of ours takes seconds, running it less.
SESSION = {
    "client_encoding": "UTF8", "DateStyle": "ISO, YMD", "IntervalStyle": "postgres", "TimeZone": "UTC",
    "bytea_output": "hex", "extra_float_digits": "1", "jit": "off", "standard_conforming_strings": "on",
    "xmlbinary": "base64",
}  # fmt: skip
KEPT_SECONDS = 0.3
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)


class Warehouse:
    """Opens short connections to the warehouse. Safe from many processes and threads.

    On DuckDB a writer is alone and readers share, by a lock on a file beside the database; it is held only inside
    `read()` and `write()`, so network and pandas work belongs outside them. What is wrong with the file or the server
    leaves them as a PipelineError.
    """

    def __init__(self, url: str | None = None) -> None:
        self.url = make_url(url or warehouse_url())
        self.dialect = self.url.get_backend_name()
        self._reading, self._keeping = threading.local(), threading.local()
        if self.dialect not in ("duckdb", "postgresql"):
            raise ConfigError(
                f"B2B_WAREHOUSE_URL: {self.dialect} is not supported; use duckdb:///… or postgresql+psycopg://…"
            )
        if self.dialect == "duckdb":
            path = Path(self.url.database or home() / "warehouse.duckdb")
            try:
                path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
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
            for engine in (self._writer, self._reader):
                event.listen(engine, "connect", _settle_session)

    @property
    def engine(self) -> Engine:
        """The writing engine, for schema migrations."""
        return self._writer

    def state(self) -> object:
        """Something that changes with every write to a DuckDB file; None for a server, which has to be asked."""
        if self.dialect != "duckdb":
            return None
        files = [Path(self._path), Path(f"{self._path}.wal")]
        return [
            (found.st_ino, found.st_size, found.st_mtime_ns)
            for path in files
            if path.exists()
            for found in [path.stat()]
        ]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """On DuckDB nobody else reads or writes meanwhile, so that the file itself may be replaced."""
        with _threads, self._explained(), self._lock.write_lock():
            yield

    @contextmanager
    def turn(self, *names: str) -> Iterator[None]:
        """Those who do the same thing take turns, over all processes; everybody else reads and writes meanwhile.

        Unlike a transaction it may be held for long. A process that dies gives it back. Several are taken in one order,
        so that nobody waits for another who waits for them; on a server, with one connection.
        """
        with ExitStack() as stack, self._explained():
            if self.dialect == "duckdb":
                for name in sorted(names):
                    stack.enter_context(_turns[f"{self._path} {name}"])
                    stack.enter_context(fasteners.InterProcessLock(f"{self._path}.{name}.lock"))
            else:
                connection = stack.enter_context(self._writer.connect())
                connection.execution_options(isolation_level="AUTOCOMMIT")
                for name in sorted(names):
                    connection.execute(select(func.pg_advisory_lock(func.hashtextextended(f"turn {name}", 0))))
            yield

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One state of the warehouse, whatever is written meanwhile; within another read of this thread, the same.

        To open a DuckDB file takes 20 ms: what asks several questions in a row asks them within one.
        """
        if (outer := getattr(self._reading, "connection", None)) is not None:
            yield outer
            return
        with self._explained(), ExitStack() as stack:
            if kept := getattr(self._keeping, "kept", None):
                self._reading.connection = stack.enter_context(kept.transaction())
            else:
                if self.dialect == "duckdb":
                    stack.enter_context(_threads)
                    self._share(stack)
                self._reading.connection = stack.enter_context(self._connect(self._reader))
            try:
                yield self._reading.connection
            finally:
                del self._reading.connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: commits at the end, rolls back on an exception."""
        with self._explained(), ExitStack() as stack:
            if kept := getattr(self._keeping, "kept", None):
                yield stack.enter_context(kept.transaction())
                return
            connection = self._writing(stack)
            with connection.begin():
                yield connection

    def _writing(self, stack: ExitStack) -> Connection:
        if self.dialect == "duckdb":
            stack.enter_context(self.alone())
        return stack.enter_context(self._connect(self._writer))

    @contextmanager
    def kept_open(self) -> Iterator[None]:
        """A DuckDB file stays open from one transaction of this thread to the next, up to KEPT_SECONDS at a time.

        To open and close it takes 50 ms, most transactions of a small warehouse less. Others wait until it is closed:
        nothing that takes long belongs between the transactions, and nothing that waits for another lock.
        """
        if self.dialect != "duckdb":
            yield
            return
        kept = self._keeping.kept = _Kept(self._writing)
        try:
            yield
        finally:
            self._keeping.kept = None
            kept.close()

    def rows(self, query: Executable) -> list[dict[str, Any]]:
        with self.read() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _share(self, stack: ExitStack) -> None:
        """The readers' lock; where nothing can be written there is no writer of ours to wait for."""
        try:
            stack.enter_context(self._lock.read_lock())
        except OSError as error:
            if error.errno not in (errno.EROFS, errno.EACCES, errno.EPERM):
                raise

    @staticmethod
    def _connect(engine: Engine) -> Connection:
        """A connection; to a DuckDB file that another program has open, once it is closed there."""
        end = time.monotonic() + HELD_SECONDS
        while True:
            try:
                return engine.connect()
            except DBAPIError as error:
                if not failures.is_held(error) or time.monotonic() > end:
                    raise
            time.sleep(0.2)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (DBAPIError, duckdb.Error, psycopg.Error) as error:
            ours = failures.explained(error, self.url)
            if ours is None:
                raise
            raise ours from error


def _settle_session(connection: Any, _: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("select " + ", ".join(["set_config(%s, %s, false)"] * len(SESSION)), [*chain(*SESSION.items())])
    connection.commit()


class _Kept:
    """A DuckDB file that is open for one transaction after the other."""

    def __init__(self, open_: Callable[[ExitStack], Connection]) -> None:
        self._open, self._stack, self._since = open_, ExitStack(), 0.0
        self._connection: Connection | None = None

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Commits at the end, rolls back on an exception."""
        if self._connection is None:
            self._connection = self._open(self._stack)
            self._since = time.monotonic()
        try:
            with self._connection.begin():
                yield self._connection
        except BaseException:
            self.close()
            raise
        if time.monotonic() - self._since > KEPT_SECONDS:
            self.close()

    def close(self) -> None:
        self._connection = None
        self._stack.close()
