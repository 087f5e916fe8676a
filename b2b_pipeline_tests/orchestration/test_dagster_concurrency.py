"""Two runs of the same slices at the same time: one wins, and nothing is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from b2b_pipeline.operations.replay import fingerprints
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import memory_folder

LOADED = (tables.spend, tables.lead, tables.touchpoint, tables.cost_ledger)
ROUNDS = 4  # the first loads what is new, the others all of it again
PROGRAM = """
import sys
from b2b_pipeline.core.load import load_table
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
p = Pipeline.from_environment()
print("ready", flush=True)
for number, line in enumerate(sys.stdin):
    for name in line.split():
        table = tables.metadata.tables[name]
        load_table(p.warehouse, p.landing, p.config, table, sys.argv[1], replay=number > 0)
    print("done", flush=True)
"""


def test_two_loads_of_the_same_slices_on_postgresql_leave_no_duplicates(
    migrated_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        alone = {table.name: sorted(fingerprints(orchestra.pipeline.warehouse, table)) for table in LOADED}
        monkeypatch.setenv("B2B_WAREHOUSE_URL", migrated_database())
        warehouse = Warehouse()
        environment = {**os.environ, "B2B_HOME": str(orchestra.installation.home)}
        loads = [
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, run_id],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
            )
            for run_id in ("one", "other")
        ]  # fmt: skip
        try:
            assert answers(loads) == ["ready", "ready"]
            for number in range(ROUNDS):
                for load in loads:
                    print("fx_rate", *alone, file=load.stdin, flush=True)
                assert answers(loads) == ["done", "done"]
                for table in LOADED:
                    assert sorted(fingerprints(warehouse, table)) == alone[table.name], (table.name, number)
                audit = tables.load_audit.c
                twice = select(audit.slice_id).group_by(audit.slice_id, audit.target_table).having(func.count() > 1)
                assert warehouse.rows(twice) == []
        finally:
            for load in loads:
                load.communicate(timeout=60)


def answers(loads: list[subprocess.Popen[str]]) -> list[str]:
    return [load.stdout.readline().strip() for load in loads if load.stdout]
