"""Dagster shows what changed in code before a night makes it anew: a version for each asset, and where its code is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import pytest

import b2b_pipeline
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.orchestration import versions
from b2b_pipeline.orchestration.build import build_defs
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.installation import DEMO

TELL = """
import json
from b2b_pipeline.orchestration.versions import code_versions
from b2b_pipeline.pipeline import Pipeline
print(json.dumps(code_versions(Pipeline.from_environment().config)))
"""
Edit = tuple[str, str, str]  # a file, what it says, and what it says then
MAPPING = ("connectors/google_ads/rows.py", '"metrics.clicks"', '"metrics.interactions"')
FORMULA = ("metrics/families/lead_generation.py", "distinct persons by the day", "persons, each once, by the day")
QUERY = ("derived/credit.py", "cast(literal(1), RATE)", "cast(literal(2), RATE)")
ASKING = ("connectors/hubspot/client.py", "def read_deals(", "PATIENCE = 1\n\n\ndef read_deals(")
COMMENT = ("connectors/google_ads/rows.py", "    return spend_rows(", "    # a word\n    return spend_rows(")
DOCSTRING = ("metrics/families/lead_generation.py", '"""', '"""A word. ')
NEIGHBOUR = ("operations/doctor.py", "from __future__ import annotations", "from __future__ import annotations\nX = 1")


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], dict[str, str]]:
    """Asset -> code version, as a process of its own tells it from a copy of the package."""
    folder = tmp_path_factory.mktemp("edited")
    shutil.copytree(Path(str(b2b_pipeline.__file__)).parent, folder / "b2b_pipeline")
    (folder / "home").mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("B2B_", "DAGSTER_"))}
    environment = {**kept, "PYTHONPATH": str(folder), "B2B_CONFIG": str(DEMO), "B2B_HOME": str(folder / "home")}

    def told(*edits: Edit) -> dict[str, str]:
        before = {folder / "b2b_pipeline" / file: "" for file, _, _ in edits}
        try:
            for path in before:
                before[path] = path.read_text(encoding="utf-8")
            for file, old, new in edits:
                path = folder / "b2b_pipeline" / file
                text = path.read_text(encoding="utf-8")
                assert old in text, file
                path.write_text(text.replace(old, new, 1), encoding="utf-8")
            done = subprocess.run(
                [sys.executable, "-c", TELL], cwd=folder, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            found: dict[str, str] = json.loads(done.stdout)
            return found
        finally:
            for path, text in before.items():
                path.write_text(text, encoding="utf-8")

    return told


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_what_is_edited_shows_at_its_own_asset_and_what_does_nothing_shows_nowhere(
    copied: Callable[..., dict[str, str]],
) -> None:
    as_it_is = copied()
    assert changed(as_it_is, copied(COMMENT, DOCSTRING, NEIGHBOUR)) == set()
    assert changed(as_it_is, copied(MAPPING)) == {"spend"}
    edited = changed(as_it_is, copied(FORMULA, QUERY, ASKING))
    assert edited == {"kpi/lead_generation", "credit"}, "a constant that no function reads asks for nothing"


@pytest.fixture
def pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pipeline:
    monkeypatch.setenv("B2B_CONFIG", str(DEMO))
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    return Pipeline.from_environment()


def specs(pipeline: Pipeline) -> dict[str, dg.AssetSpec]:
    return {spec.key.to_user_string(): spec for spec in build_defs(pipeline).resolve_all_asset_specs()}


def test_every_asset_that_is_made_by_code_of_its_own_has_a_version(pipeline: Pipeline) -> None:
    without = {name for name, spec in specs(pipeline).items() if not spec.code_version}
    unfed = {table.name for table in Calendar(pipeline.config).core if not feeds(table.name, pipeline.config)}
    assert without == {"quarantine", "coverage", "export/parquet", *unfed}
    assert "email_summary" in unfed
    for name in pipeline.config.sources:
        first = SOURCES[name].streams[0].name
        assert str(specs(pipeline)[f"raw/{name}/{first}"].code_version).startswith(SOURCES[name].api_version)


def test_versions_that_a_load_kept_are_read_until_a_file_or_a_setting_is_another(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "code_versions.json"
    told, source = versions.code_versions(pipeline.config), tmp_path / "rows.py"
    assert not file.exists(), "looking keeps nothing"
    source.write_text("ROWS = 1", encoding="utf-8")
    files = [*versions.loaded_files(), str(source)]
    monkeypatch.setattr(versions, "loaded_files", lambda: files)
    versions.keep_versions(pipeline.config)
    kept = json.loads(file.read_text(encoding="utf-8"))
    assert kept["versions"] == told

    file.write_text(json.dumps({**kept, "versions": {**told, "lead": "as it was kept"}}), encoding="utf-8")
    assert versions.code_versions(pipeline.config)["lead"] == "as it was kept"
    other = pipeline.config.model_copy(update={"currency": "USD"})
    assert versions.code_versions(other)["lead"] == told["lead"]
    source.write_text("ROWS = 2", encoding="utf-8")
    assert versions.code_versions(pipeline.config)["lead"] == told["lead"]
    source.unlink()
    assert versions.code_versions(pipeline.config)["lead"] == told["lead"]
    file.write_text("torn", encoding="utf-8")
    assert versions.code_versions(pipeline.config) == told


def test_from_the_page_of_an_asset_one_gets_to_the_file_that_one_would_edit(pipeline: Pipeline) -> None:
    places = {
        name: [
            (Path(each.file_path).relative_to(Path(each.file_path).parents[2]).as_posix(), each.line_number)
            for each in spec.metadata["dagster/code_references"].code_references
        ]
        for name, spec in specs(pipeline).items()
        if "dagster/code_references" in spec.metadata
    }
    assert [file for file, _ in places["raw/google_ads/campaign_daily"]] == ["connectors/google_ads/source.py"]
    rows = "connectors/hubspot/rows.py", "connectors/salesforce/rows.py"
    assert {file for file, _ in places["lead"]} == {*rows, "examples/demo/pipeline.yaml"}
    for file, line in places["lead"]:
        lines = (Path(str(b2b_pipeline.__file__)).parent / file).read_text(encoding="utf-8").split("\n") if line else []
        assert not line or lines[line - 1].startswith("def "), file
    assert {name: places[name][0][0] for name in ("person", "credit")} == {
        "person": "b2b_pipeline/derived/person.py", "credit": "b2b_pipeline/derived/credit.py",
    }  # fmt: skip
    for family in families_of(pipeline.config):
        assert places[f"kpi/{family}"] == [(f"metrics/families/{family}.py", None)]
    unfed = {table.name for table in tables.CORE} - places.keys()
    assert unfed == {table.name for table in tables.CORE if not feeds(table.name, pipeline.config)}


def test_an_installation_shows_the_families_and_tables_that_something_feeds(pipeline: Pipeline) -> None:
    shown = specs(pipeline).keys()
    assert {"kpi/paid_media", "kpi/email_engagement", "spend", "email_summary"} <= shown
    assert not {"kpi/web_traffic", "kpi/recurring_revenue", "web_traffic_daily", "invoice", "pr_mention"} & shown
