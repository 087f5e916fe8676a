"""`dagster dev -w workspace.yaml`, as people run it: the UI's own calls, its daemon, a restart, and Terminate."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.sandbox.faults import add_fault, list_faults
from b2b_pipeline.sandbox.generate import make_world
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline_tests.dagster_home import memory_folder, set_up
from b2b_pipeline_tests.installation import DEMO, Installation, served, settle
from b2b_pipeline_tests.postgres import free_port

WORKSPACE = Path(__file__).parents[1] / "workspace.yaml"
DAYS = 20
LAST = datetime.now(UTC).date() - timedelta(days=1)  # the daemon's clock is the real one
FIRST = LAST - timedelta(days=DAYS - 1)
ASSETS = [["raw", "google_ads", "campaign_daily"], ["raw", "ecb", "exchange_rate"], ["spend"], ["kpi", "paid_media"]]
T = TypeVar("T")


class Dagster:
    """The webserver's GraphQL, which the UI speaks."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/graphql"

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(self._url, json={"query": query, "variables": variables}, timeout=60).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def location(self) -> str:
        """What became of the code location `b2b_pipeline`."""
        try:
            data = self.ask(
                "{workspaceOrError {... on Workspace {locationEntries {name locationOrLoadError {__typename}}}}}"
            )
        except requests.ConnectionError:
            return "nobody answers"
        entries = data["workspaceOrError"]["locationEntries"]
        return {entry["name"]: (entry["locationOrLoadError"] or {}).get("__typename", "") for entry in entries}[
            "b2b_pipeline"
        ]

    def reload(self) -> str:
        data = self.ask(
            'mutation {reloadRepositoryLocation(repositoryLocationName: "b2b_pipeline")'
            " {__typename ... on WorkspaceLocationEntry {locationOrLoadError {__typename}}}}"
        )
        return str(data["reloadRepositoryLocation"]["locationOrLoadError"]["__typename"])

    def backfill(self, assets: list[list[str]], days: list[str]) -> str:
        data = self.ask(
            "mutation ($assets: [AssetKeyInput!], $days: [String!]) {launchPartitionBackfill("
            "backfillParams: {assetSelection: $assets, partitionNames: $days})"
            " {__typename ... on LaunchBackfillSuccess {backfillId}}}",
            assets=[{"path": path} for path in assets],
            days=days,
        )
        return str(data["launchPartitionBackfill"]["backfillId"])

    def backfill_status(self, backfill_id: str) -> str:
        query = "query ($id: String!) {partitionBackfillOrError(backfillId: $id) {... on PartitionBackfill {status}}}"
        return str(self.ask(query, id=backfill_id)["partitionBackfillOrError"]["status"])

    def materialised(self, assets: list[list[str]]) -> dict[str, int]:
        data = self.ask(
            "query ($assets: [AssetKeyInput!]) {assetNodes(assetKeys: $assets)"
            " {assetKey {path} partitionStats {numMaterialized}}}",
            assets=[{"path": path} for path in assets],
        )
        return {
            "/".join(node["assetKey"]["path"]): node["partitionStats"]["numMaterialized"] for node in data["assetNodes"]
        }

    def runs(self) -> dict[str, str]:
        """Run id -> status."""
        data = self.ask("{runsOrError {... on Runs {results {runId status}}}}")
        return {run["runId"]: run["status"] for run in data["runsOrError"]["results"]}

    def launch(self, asset: list[str], day: date) -> str:
        data = self.ask(
            "mutation ($parameters: ExecutionParams!) {launchRun(executionParams: $parameters)"
            " {__typename ... on LaunchRunSuccess {run {runId}}}}",
            parameters={
                "selector": {
                    "repositoryLocationName": "b2b_pipeline",
                    "repositoryName": "__repository__",
                    "pipelineName": "__ASSET_JOB",
                    "assetSelection": [{"path": asset}],
                },
                "executionMetadata": {
                    "tags": [
                        {"key": RANGE_START, "value": day.isoformat()},
                        {"key": RANGE_END, "value": day.isoformat()},
                    ]
                },
            },
        )
        return str(data["launchRun"]["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        self.ask("mutation ($id: String!) {terminateRun(runId: $id) {__typename}}", id=run_id)


def wait_for(what: Callable[[], T], wanted: T, seconds: float, *unwanted: T) -> None:
    end = time.monotonic() + seconds
    while (found := what()) != wanted:
        assert found not in unwanted, found
        assert time.monotonic() < end, f"{found!r} after {seconds} s, not {wanted!r}"
        time.sleep(0.5)


@contextmanager
def dagster_dev(folder: Path) -> Iterator[Dagster]:
    """Everything that `dagster dev` starts, stopped afterwards as by Ctrl-C."""
    port = free_port()
    with (folder / "dagster.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "dagster", "dev", "-w", str(WORKSPACE), "-h", "127.0.0.1", "-p", str(port)],
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            dagster = Dagster(port)
            wait_for(dagster.location, "RepositoryLocation", 120, "PythonError")
            yield dagster
        except BaseException:
            print((folder / "dagster.log").read_text()[-5000:])
            raise
        finally:
            os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            finally:
                for left in children_of(folder):
                    os.kill(left, signal.SIGKILL)


def children_of(folder: Path) -> list[int]:
    """Processes that were started with this folder as DAGSTER_HOME; they notice within seconds that they are alone."""

    def alive() -> list[int]:
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    f"DAGSTER_HOME={folder}".encode() in (path / "environ").read_bytes()
                    and int(path.name) != os.getpid()
                ):
                    found.append(int(path.name))
            except OSError:
                continue  # it ended meanwhile, or is somebody else's
        return found

    end = time.monotonic() + 20
    while alive() and time.monotonic() < end:
        time.sleep(0.5)
    return alive()


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with memory_folder() as folder:
        world = make_world(folder / "world.sqlite", until=LAST, days=DAYS, leads=40)
        text = DEMO.read_text(encoding="utf-8").replace("2026-01-01", FIRST.isoformat())
        (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
        found = Installation(folder, world)
        settle(found, monkeypatch)
        for name, value in set_up(folder / "dagster").items():
            monkeypatch.setenv(name, value)
        upgrade(Pipeline.from_environment().warehouse)
        with served(world):
            yield found


def test_the_ui_backfills_in_one_run_terminates_a_long_step_and_finds_its_history_after_a_restart(
    installation: Installation,
) -> None:
    days = [(FIRST + timedelta(days=n)).isoformat() for n in range(DAYS)]
    everything = {"/".join(path): DAYS for path in ASSETS}
    with dagster_dev(installation.folder) as dagster:
        backfill = dagster.backfill(ASSETS, days)

        add_fault(installation.world, "hubspot", "slow", path_contains="/objects/", seconds=30)
        long = dagster.launch(["raw", "hubspot", "contact"], LAST)
        wait_for(lambda: list_faults(installation.world), [], 90)  # the vendor has the request, and takes its time
        began = time.monotonic()
        dagster.terminate(long)
        wait_for(lambda: dagster.runs()[long], "CANCELED", 15, "SUCCESS", "FAILURE")
        assert time.monotonic() - began < 15
        assert Pipeline.from_environment().landing.slices("hubspot", "contact") == []

        wait_for(lambda: dagster.backfill_status(backfill), "COMPLETED_SUCCESS", 240, "FAILED", "COMPLETED_FAILED")
        assert dagster.materialised(ASSETS) == everything
        runs = dagster.runs()
        assert len(runs) == 2, "one run for all days of all assets, beside the one that was terminated"
        assert dagster.reload() == "RepositoryLocation"

    with dagster_dev(installation.folder) as dagster:
        assert dagster.runs() == runs
        assert dagster.materialised(ASSETS) == everything
    assert children_of(installation.folder / "dagster") == []
