"""The pipeline in somebody's own Dagster project: scaffolded by `dg`, loaded beside their assets, and run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.errors import ConfigError
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.dagster_home import set_up
from b2b_pipeline_tests.support.installation import UNTIL, Installation, served
from b2b_pipeline_tests.support.migrated import migrated

PROJECT = {
    "pyproject.toml": """
[project]
name = "theirs"
version = "1"
[tool.dg]
directory_type = "project"
[tool.dg.project]
root_module = "theirs"
""",
    "theirs/__init__.py": "",
    "theirs/defs/__init__.py": "",
    "theirs/defs/own.py": """
import dagster as dg

@dg.asset(deps=[dg.AssetKey(["kpi", "lead_generation"])])
def board_report() -> None: ...
""",
    "theirs/definitions.py": """
from pathlib import Path
from dagster import definitions, load_from_defs_folder

@definitions
def defs():
    return load_from_defs_folder(path_within_project=Path(__file__).parent)
""",
}
ONE_DAY = """
import sys
import dagster as dg
from theirs.definitions import defs
loaded, day = defs(), sys.argv[1]
days = {"dagster/asset_partition_range_start": day, "dagster/asset_partition_range_end": day}
for job in ("ingest_hubspot", "derive"):
    result = loaded.resolve_job_def(job).execute_in_process(instance=dg.DagsterInstance.get(), tags=days)
    print(job, result.success)
print(sorted(key.to_user_string() for key in loaded.resolve_asset_graph().get_all_asset_keys() if "/" not in str(key)))
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in PROJECT.items():
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return tmp_path / "project"


def run(project: Path, environment: Mapping[str, str], *command: str) -> str:
    done = subprocess.run(
        command, cwd=project, env={**os.environ, "PYTHONPATH": str(project), **environment},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    return done.stdout


def test_a_foreign_project_takes_the_component_in_and_materialises_a_day(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Installation(tmp_path, installation.template().world)
    (tmp_path / "home").mkdir(mode=0o700)
    installation.settle(found, monkeypatch)
    monkeypatch.delenv("B2B_CONFIG")
    environment = set_up(tmp_path / "dagster")
    dg = str(Path(sys.executable).with_name("dg"))
    run(project, environment, dg, "scaffold", "defs", "b2b_pipeline.B2BPipelineComponent", "b2b")
    file = project / "theirs" / "defs" / "b2b" / "defs.yaml"
    scaffolded = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert scaffolded["type"] == "b2b_pipeline.B2BPipelineComponent"

    settings = {"start_date": UNTIL.isoformat(), "system_of_record": "hubspot", "sources": {"hubspot": {}}}
    file.write_text(yaml.safe_dump(scaffolded | {"attributes": settings}), encoding="utf-8")
    assert "All definitions loaded successfully." in run(project, environment, dg, "check", "defs")
    monkeypatch.setenv("B2B_CONFIG", str(file))  # the command reads the same file
    migrated(found.pipeline().warehouse)
    monkeypatch.delenv("B2B_CONFIG")
    with served(found.world):
        told = run(project, environment, sys.executable, "-c", ONE_DAY, UNTIL.isoformat())
    assert "ingest_hubspot True" in told
    assert "derive True" in told
    assert "'board_report'" in told
    monkeypatch.setenv("B2B_CONFIG", str(file))
    answer = found.b2b("kpi", "leads", "--format", "csv")
    assert answer.exit_code == 0, answer.output


def test_a_mistake_in_its_attributes_is_told_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "defs.yaml"
    file.write_text(
        "type: b2b_pipeline.B2BPipelineComponent\nattributes:\n  start_date: 2026-01-01\n  sytem_of_record: hubspot\n",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"defs.yaml:4: sytem_of_record: unknown key: did you mean system_of_record"):
        load_config(file)
