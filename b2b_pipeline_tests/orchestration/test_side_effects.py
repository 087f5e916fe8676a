"""What importing and opening do to the rest of a process: somebody else's Dagster project shares it with us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import Connection, create_engine

from b2b_pipeline_tests.support.dagster_home import set_up
from b2b_pipeline_tests.support.installation import DEMO

IMPORT_ALL = """
import importlib, os, pkgutil
from pathlib import Path
from sqlalchemy import create_engine
import b2b_pipeline
before = dict(os.environ)
found = (module.name for module in pkgutil.walk_packages(b2b_pipeline.__path__, "b2b_pipeline."))
names = [name for name in found if not name.endswith("__main__") and ".migrations." not in name]
assert {"b2b_pipeline.definitions", "b2b_pipeline.orchestration.storage", "b2b_pipeline.cli.backfill"} <= {*names}
for name in names:
    importlib.import_module(name)
assert dict(os.environ) == before, dict(os.environ).items() ^ before.items()
with create_engine("sqlite:///foreign.db").connect() as connection:
    print(connection.exec_driver_sql("pragma synchronous").scalar())
Path("foreign.db").unlink(missing_ok=True)
print(sorted(path.name for path in Path().iterdir()))
"""
FULL, NORMAL = 2, 1  # sqlite.org/pragma.html#pragma_synchronous


def test_importing_changes_no_variable_no_foreign_database_and_no_file(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("B2B_", "DAGSTER_"))}
    home = {"B2B_CONFIG": str(DEMO), "B2B_HOME": str(tmp_path / "home"), "DAGSTER_HOME": str(tmp_path / "dagster")}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL], cwd=tmp_path, env={**kept, **home},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.split("\n")) == (0, [f"{FULL}", "[]", ""]), done.stderr


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dg.DagsterInstance:
    for name, value in set_up(tmp_path / "dagster").items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("DAGSTER_EVENT_BATCH_SIZE", raising=False)
    return dg.DagsterInstance.get()


def synchronous(connect: Callable[[], AbstractContextManager[Connection]]) -> list[object]:
    """As the first connection has it, which makes the tables, and one after it."""
    found = []
    for _ in range(2):
        with connect() as connection:
            found.append(connection.exec_driver_sql("pragma synchronous").scalar())
    return found


def test_the_storage_of_this_home_waits_for_no_disk_and_another_one_does(
    instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    events, runs, schedules = instance.event_log_storage, instance.run_storage, instance.schedule_storage
    run = instance.create_run_for_job(dg.job(name="nothing")(lambda: None))
    for connect in (
        events.index_connection, lambda: events.run_connection(run.run_id), runs.connect, schedules.connect,  # type: ignore[attr-defined,union-attr]
    ):  # fmt: skip
        assert synchronous(connect) == [NORMAL, NORMAL]
    with create_engine(f"sqlite:///{tmp_path / 'foreign.db'}").connect() as connection:
        assert connection.exec_driver_sql("pragma synchronous").scalar() == FULL


def test_a_process_that_opened_the_storage_writes_events_in_batches(instance: dg.DagsterInstance) -> None:
    assert os.environ["DAGSTER_EVENT_BATCH_SIZE"] == "1000"
