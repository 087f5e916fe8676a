"""Two runs of the same slices at the same time: one wins, and nothing is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from b2b_pipeline.replay import fingerprints
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline_tests import dagster_home
from b2b_pipeline_tests.dagster_home import memory_folder

LOADED = (tables.spend, tables.lead, tables.touchpoint, tables.cost_ledger)
# Both wait until the other is ready, then load: first what is new, then all of it again and again.
PROGRAM = """
import sys
from b2b_pipeline.core.load import load_table
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
p = Pipeline.from_environment()
print("ready", flush=True)
names = sys.stdin.readline().split()
for replay in (False, True, True, True):
    for name in names:
        load_table(p.warehouse, p.landing, p.config, tables.metadata.tables[name], sys.argv[1], replay=replay)
print(*names)
"""


def test_two_loads_of_the_same_slices_on_postgresql_leave_no_duplicates(
    postgres_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        alone = {table.name: sorted(fingerprints(orchestra.pipeline.warehouse, table)) for table in LOADED}
        monkeypatch.setenv("B2B_WAREHOUSE_URL", postgres_database())
        warehouse = Warehouse()
        upgrade(warehouse)
        environment = {**os.environ, "B2B_HOME": str(orchestra.installation.home)}
        loads = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, run_id],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for run_id in ("one", "other")
        ]  # fmt: skip
        for load in loads:
            assert load.stdout is not None
            assert load.stdout.readline() == "ready\n"
        for load in loads:
            assert load.stdin is not None
            load.stdin.write(" ".join(["fx_rate", *alone]) + "\n")
            load.stdin.flush()
        for load in loads:
            told, _ = load.communicate(timeout=120)
            assert (load.returncode, told.split()) == (0, ["fx_rate", *alone])
        for table in LOADED:
            assert sorted(fingerprints(warehouse, table)) == alone[table.name], table.name
        audit = tables.load_audit.c
        twice = select(audit.slice_id).group_by(audit.slice_id, audit.target_table).having(func.count() > 1)
        assert warehouse.rows(twice) == []
