"""Dagster's own SQLite storage, used where there is no PostgreSQL, writing the days of a range run in one go.

A range run writes two events for every asset and day (planned, done), and Dagster opens and closes its databases for
each: 180 days of all assets took minutes. Dagster's PostgreSQL storage batches and keeps its connections; this gives
its SQLite storage the same.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import dagster as dg
import fasteners
from dagster._core.definitions.asset_checks.asset_check_evaluation import (  # noqa: TID251
    AssetCheckEvaluationPlanned,
)
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus  # noqa: TID251
from dagster._core.storage.event_log.sqlite import SqliteEventLogStorage  # noqa: TID251 - no public base
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME  # noqa: TID251
from dagster._core.storage.runs.sqlite import SqliteRunStorage  # noqa: TID251
from dagster._core.storage.schedules.sqlite import SqliteScheduleStorage  # noqa: TID251
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS  # noqa: TID251
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage  # noqa: TID251
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool, StaticPool

from b2b_pipeline.orchestration import alive

BATCHED = (dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED, dg.DagsterEventType.ASSET_MATERIALIZATION)


class BatchingSqliteEventLogStorage(SqliteEventLogStorage):
    """Named in `dagster.yaml`. Stores what its parent stores, where it does; a batch in one transaction each."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        self._open: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        """A transaction on the index or on a run's database; these, of the runs the last one used, stay open."""
        if shard not in self._initialized_dbs:
            with super()._connect(shard) as connection:
                yield connection
            return
        with self._db_lock, self._engine(shard).begin() as connection:
            yield connection

    def _engine(self, shard: str) -> Engine:
        if shard not in self._open:
            self._close(but=INDEX_SHARD_NAME)
            self._open[shard] = relaxed(create_engine(
                self.conn_string_for_shard(shard), poolclass=StaticPool,  # under the lock: one thread at a time
                connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            ))  # fmt: skip
        return self._open[shard]

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        super()._initdb(relaxed(engine), for_index_shard)

    def _close(self, but: str = "") -> None:
        for shard in self._open.keys() - {but}:
            self._open.pop(shard).dispose()

    def wipe(self) -> None:
        with self._db_lock:
            self._close()
        super().wipe()

    def dispose(self) -> None:
        with self._db_lock:
            self._close()
        super().dispose()

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        return cls(os.path.join(os.environ["DAGSTER_HOME"], "history"), inst_data)

    def store_event(self, event: dg.EventLogEntry) -> None:
        if event.dagster_event and event.dagster_event.event_type == dg.DagsterEventType.RUN_START:
            alive.hold_run(event.run_id)  # its own process says so; before the run can be seen as started
        super().store_event(event)

    def store_event_batch(self, events: Sequence[dg.EventLogEntry]) -> None:
        batched = [entry for entry in events if entry.get_dagster_event().event_type in BATCHED]
        super().store_event_batch([entry for entry in events if entry.get_dagster_event().event_type not in BATCHED])
        if not batched:
            return
        statement = self.prepare_insert_event_batch(batched)
        with self.run_connection(batched[0].run_id) as connection:
            connection.execute(statement)
        with self.index_transaction() as connection:
            ids = list(connection.execute(statement.returning(statement.table.c.id)).scalars())
            self._store_asset_event_tags(connection, batched, ids)
            newest = {entry.get_dagster_event().asset_key: place for place, entry in enumerate(batched)}
            for place in newest.values():
                self._store_asset_event(connection, batched[place], ids[place])

    def store_asset_check_event(self, event: dg.EventLogEntry, event_id: int | None) -> None:
        """Plan a check once for a run, not for each of its days: its result has no day, and the plans would stay."""
        found = event.get_dagster_event()
        planned = found.event_specific_data
        if isinstance(planned, AssetCheckEvaluationPlanned):
            once = AssetCheckEvaluationPlanned(asset_key=planned.asset_key, check_name=planned.check_name)
            event = event._replace(dagster_event=found._replace(event_specific_data=once))
        super().store_asset_check_event(event, event_id)


class _OneEngine:
    """Of a storage that has one database: its connections come from one engine, not from one each."""

    _conn_string: str

    @cached_property
    def _engine(self) -> Engine:
        return relaxed(create_engine(self._conn_string, poolclass=NullPool))

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        with self._engine.begin() as connection:
            yield connection


class OneDaemonRunStorage(_OneEngine, SqliteRunStorage):
    """Only a daemon sends heartbeats, before it does anything else. The second one on a home ends there."""

    def add_daemon_heartbeat(self, daemon_heartbeat: Any) -> None:
        if not alive.hold(alive.DAEMON):
            logging.getLogger("dagster.daemon").error(alive.TWO_DAEMONS)
            raise SystemExit(1)  # of this thread; the daemon stops when its threads are gone
        super().add_daemon_heartbeat(daemon_heartbeat)


class ScheduleStorage(_OneEngine, SqliteScheduleStorage):
    """Stores what its parent stores."""


class LocalStorage(DagsterSqliteStorage):
    """Named in `dagster.yaml`: runs, events and schedules in DAGSTER_HOME. One process at a time makes their tables."""

    def __init__(self, base_dir: str, inst_data: Any = None) -> None:
        super(DagsterSqliteStorage, self).__init__()  # type: ignore[no-untyped-call] # not our parent, which makes three of its own
        self.base_dir, self._inst_data = base_dir, inst_data
        Path(base_dir).mkdir(parents=True, exist_ok=True)
        with fasteners.InterProcessLock(Path(base_dir) / "opening.lock"):
            self._run_storage = OneDaemonRunStorage.from_local(os.path.join(base_dir, "history", ""))
            self._event_log_storage = BatchingSqliteEventLogStorage(os.path.join(base_dir, "history"))
            self._schedule_storage = ScheduleStorage.from_local(os.path.join(base_dir, "schedules"))

    @classmethod
    def config_type(cls) -> Mapping[str, Any]:
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        batch_events()
        return cls(os.environ["DAGSTER_HOME"], inst_data)


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Tells Dagster's run monitoring whether the process of a run lives, so that a killed one does not stay started."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        lives = alive.is_held(run.run_id)
        return CheckRunHealthResult(
            WorkerStatus.RUNNING if lives else WorkerStatus.FAILED, None if lives else alive.GONE
        )


def batch_events() -> None:
    """For a process that has opened the storage: Dagster knows no other way to be asked for batches."""
    os.environ.setdefault("DAGSTER_EVENT_BATCH_SIZE", "1000")


def relaxed(engine: Engine) -> Engine:
    """Commit without waiting for the disk (sqlite.org/pragma.html#pragma_synchronous).

    A power cut may take the last few events, never the file; the tables tell what was really loaded.
    """
    event.listen(engine, "connect", lambda connection, _: connection.execute("pragma synchronous = normal").close())
    return engine
