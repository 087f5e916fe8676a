"""The measurements run, small: what they compare is the same, and no change of a table leaves them behind."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline_tests.support.installation import DEMO
from b2b_sandbox.vendors import VENDORS
from benchmarks.common import CHECKOUT, Installation


def run(name: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_way_in_is_measured_against_duckdb_s_own() -> None:
    told = run("extract", "--rows", "1000", "--days", "40", "--without-dlt")
    assert "| ours |" in told
    assert "| read_json |" in told


@pytest.mark.parametrize(
    "command",
    [("load", "--rows", "1000"), ("kpis", "--leads", "2000", "--touches", "10000")],
    ids=lambda command: command[0],
)
def test_a_measurement_runs_to_its_end_on_both_warehouses(command: tuple[str, ...]) -> None:
    told = run(*command, "--pairs", "1")
    assert all(f"| {warehouse} |" in told for warehouse in ("duckdb", "postgresql"))


def test_all_sources_of_the_sandbox_can_be_switched_on(tmp_path: Path) -> None:
    found = Installation(tmp_path)
    found.configuration.write_bytes(DEMO.read_bytes())
    found.switch_on_everything()
    assert {*load_config(found.configuration).sources} == {*VENDORS}
