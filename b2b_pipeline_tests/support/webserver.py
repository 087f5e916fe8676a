"""Dagster as people start it, with all its processes: the webserver's GraphQL, and who is still there afterwards."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
import requests

from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.dagster_home import memory_folder, set_up
from b2b_pipeline_tests.support.installation import DEMO, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_pipeline_tests.support.postgres import free_port
from b2b_sandbox.generate import make_world

WORKSPACE = Path(__file__).parents[2] / "workspace.yaml"
DEV = ["dagster", "dev", "-w", str(WORKSPACE), "-h", "127.0.0.1"]
UI = ["b2b_pipeline.cli", "ui"]
T = TypeVar("T")


class Dagster:
    """The webserver's GraphQL, which the UI speaks."""

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid  # of the process that started all others
        self.base = f"http://127.0.0.1:{port}"

    def ask(self, query: str, **variables: Any) -> Any:
        answer = requests.post(f"{self.base}/graphql", json={"query": query, "variables": variables}, timeout=60).json()
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
def started(folder: Path, command: Sequence[str] = DEV) -> Iterator[Dagster]:
    """Everything that `dagster dev` or `b2b ui` starts, once the code is loaded; stopped afterwards as by Ctrl-C."""
    port = free_port()
    with (folder / "dagster.log").open("a") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", str(port)],
            cwd=folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            dagster = Dagster(port, process.pid)
            wait_for(dagster.location, "RepositoryLocation", 120, "PythonError")
            yield dagster
        except BaseException:
            print((folder / "dagster.log").read_text()[-5000:])
            raise
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
            try:
                process.wait(30)
            finally:
                for left in children_of(folder):
                    os.kill(left, signal.SIGKILL)


def processes(folder: Path) -> list[int]:
    """Those that were started with this folder, or one in it, as DAGSTER_HOME."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            mine = int(path.name) == os.getpid()
            if not mine and f"DAGSTER_HOME={folder}".encode() in (path / "environ").read_bytes():
                found.append(int(path.name))
        except OSError:
            continue  # it ended meanwhile, or is somebody else's
    return found


def children_of(folder: Path, seconds: float = 20) -> list[int]:
    """Those that are left: they notice within seconds that they are alone."""
    end = time.monotonic() + seconds
    while processes(folder) and time.monotonic() < end:
        time.sleep(0.5)
    return processes(folder)


@contextmanager
def recent(days: int, patch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An installation with a schema and nothing in it, of the last days: a daemon's clock is the real one."""
    last = datetime.now(UTC).date() - timedelta(days=1)
    with memory_folder() as folder:
        world = make_world(folder / "world.sqlite", until=last, days=days, leads=40)
        start = last - timedelta(days=days - 1)
        text = DEMO.read_text(encoding="utf-8").replace("2026-01-01", start.isoformat())
        (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
        found = Installation(folder, world)
        settle(found, patch)
        for name, value in set_up(folder / "dagster").items():
            patch.setenv(name, value)
        migrated(Pipeline.from_environment().warehouse)
        with served(world):
            yield found
