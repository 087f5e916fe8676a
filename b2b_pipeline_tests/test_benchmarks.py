"""The measurements run, small: what they compare is the same, and no change of a table leaves them behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline_tests.support.installation import DEMO
from b2b_sandbox.vendors import VENDORS
from benchmarks.common import CHECKOUT, Installation
from benchmarks.recorded import SOURCES, record


def run(name: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", *options],
        cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("source", SOURCES)
def test_every_recorded_source_goes_in_by_our_way_and_by_duckdb_s_own(source: str) -> None:
    told = run("extract", source, "--rows", "400", "--days", "130", "--without-dlt")
    assert f"| `{source}` |" in told
    assert "| read_json s |" in told


@pytest.mark.parametrize("source", SOURCES)
def test_the_questions_of_a_source_have_as_many_records_as_are_counted(source: str, tmp_path: Path) -> None:
    recorded = SOURCES[source]
    record(recorded, tmp_path / "answers", 400, 130)
    questions = [*recorded.questions(130)]
    assert recorded.count(400, 130) == sum(json.loads((tmp_path / "answers" / "totals.json").read_text()).values())
    assert {path.name.split("-")[1] for path in (tmp_path / "answers").glob("page-*")} == {
        str(number) for number in range(len(questions))
    }


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
