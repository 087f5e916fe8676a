"""Dagster's own tool, `dg`, finds a project in the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from b2b_pipeline_tests.support.dagster_home import set_up
from b2b_pipeline_tests.support.installation import DEMO
from benchmarks.common import CHECKOUT


def test_dg_check_defs_loads_the_definitions_and_writes_nothing_at_home(tmp_path: Path) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("B2B_")}
    ours = {"B2B_HOME": str(tmp_path / "home"), "B2B_CONFIG": str(DEMO), **set_up(tmp_path / "dagster")}
    done = subprocess.run(
        [str(Path(sys.executable).with_name("dg")), "check", "defs"], cwd=CHECKOUT, env=kept | ours,
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "All definitions loaded successfully." in done.stdout
    assert not (tmp_path / "home").exists()
