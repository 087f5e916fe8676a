"""SIGKILL of a real backfill at a seeded moment: what `benchmarks/kill.py` does 20 times, on both warehouses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path


def test_a_backfill_that_is_killed_and_started_again_gives_the_tables_of_an_undisturbed_one() -> None:
    few = ["--kills", "1", "--days", "4", "--leads", "20", "--seed", "3", "--on", "duckdb"]
    command = [sys.executable, "-m", "benchmarks.kill", *few]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert re.findall(r"\| (\w+) \| (\d+/\d+) \|", done.stdout) == [("duckdb", "1/1")]
    assert len(re.findall(r"\| (?:ingest_\w+|derive|\w*ASSET_JOB|the start) \|", done.stdout)) >= 1, done.stdout
