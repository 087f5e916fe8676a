"""Dagster for tests: an instance set up as `make setup` does it, and the jobs of a real installation in one process."""

from __future__ import annotations

import atexit
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cache, cached_property, partial
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import dagster as dg
import pytest
import time_machine

import b2b_pipeline.orchestration
from b2b_pipeline.cli import side_by_side
from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.orchestration import common
from b2b_pipeline.orchestration.build import build_defs
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.orchestration.launch import Launcher
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.installation import DEMO, START, UNTIL, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.drops import drop_files
from b2b_sandbox.generate import make_world
from b2b_sandbox.world import World

SETTINGS = Path(b2b_pipeline.orchestration.__file__).with_name("dagster.yaml")
MORNING = datetime.combine(UNTIL + timedelta(days=1), time(9), UTC)  # the world's last day must be there
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


def alone(
    sources: Sequence[str], opened: Callable[[], Launcher], read: side_by_side.Read = side_by_side.pulled
) -> nullcontext[side_by_side.Ingest]:
    """In the place of `readers`: in this process."""
    return nullcontext(partial(side_by_side.here, read=read))


@dataclass(frozen=True)
class Orchestra:
    """An installation with its Dagster instance. Its clock shows MORNING, and its vendors are the sandbox's."""

    installation: Installation
    instance: dg.DagsterInstance

    @property
    def pipeline(self) -> Pipeline:
        return self.installation.pipeline()

    @cached_property
    def defs(self) -> dg.Definitions:
        return build_defs(self.pipeline, dg.in_process_executor)

    def run(
        self, job: str, start: date | None = None, end: date | None = None, *, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Run a job over the days from `start` to `end`, both included, in this process."""
        return self._execute(self.defs.resolve_job_def(job), fails, tags=_days(start, end))

    def materialise(
        self, *assets: str, start: date, end: date | None = None, fails: bool = False
    ) -> dg.ExecuteInProcessResult:
        """Run these assets with their checks, as a backfill does."""
        return self._execute(self._assets, fails, asset_selection=keys(*assets), tags=_days(start, end))

    def land(self, stream: str, name: str, *, fails: bool = False) -> dg.ExecuteInProcessResult:
        """Run a file's partition, as the file-drop sensor does."""
        self.instance.add_dynamic_partitions(f"files_{stream}", [name])
        return self._execute(self._assets, fails, asset_selection=keys(f"raw/files/{stream}"), partition_key=name)

    def check(self, asset: str, name: str) -> dg.AssetCheckEvaluation:
        """Run one check, without its asset."""
        key = dg.AssetCheckKey(*keys(asset), name)
        job = self._assets.get_subset(asset_selection=set(), asset_check_selection={key})
        result = job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=QUIET)
        return checked(result, asset, name)

    @property
    def _assets(self) -> dg.JobDefinition:
        return self.defs.resolve_implicit_global_asset_job_def()

    def _execute(self, job: dg.JobDefinition, fails: bool, **options: Any) -> dg.ExecuteInProcessResult:
        result = job.execute_in_process(instance=self.instance, raise_on_error=False, run_config=QUIET, **options)
        assert result.success is not fails, failures(result)
        return result

    def metadata(self, asset: str) -> dict[str, dict[str, Any]]:
        """Partition -> metadata of its newest materialisation."""
        found: dict[str, dict[str, Any]] = {}
        for record in reversed(self.instance.fetch_materializations(*keys(asset), limit=10_000).records):
            event = record.asset_materialization
            assert event is not None
            found[event.partition or ""] = values(event.metadata)
        return found


def keys(*assets: str) -> list[dg.AssetKey]:
    return [dg.AssetKey(asset.split("/")) for asset in assets]


def _days(start: date | None, end: date | None) -> dict[str, str]:
    return {RANGE_START: start.isoformat(), RANGE_END: (end or start).isoformat()} if start else {}


def values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}


def checked(result: dg.ExecuteInProcessResult, asset: str, name: str) -> dg.AssetCheckEvaluation:
    return next(
        item
        for item in result.get_asset_check_evaluations()
        if (item.asset_key.to_user_string(), item.check_name) == (asset, name)
    )


def failures(result: dg.ExecuteInProcessResult) -> dict[str, str]:
    """Failed step -> what the asset's page says of it."""
    found = {}
    for event in result.all_events:
        if event.is_step_failure:
            told, error = event.step_failure_data.user_failure_data, event.step_failure_data.error
            cause = error.cause or error if error else None
            found[str(event.step_key)] = (told and told.description) or (cause.message if cause else "")
    return found


def set_up(folder: Path) -> dict[str, str]:
    """Write `dagster.yaml` as `make setup` does; returns the environment that Dagster needs."""
    folder.mkdir(exist_ok=True)
    shutil.copy(SETTINGS, folder / "dagster.yaml")
    return {"DAGSTER_HOME": str(folder)}


@contextmanager
def _opened(folder: Path, at: datetime = MORNING) -> Iterator[Orchestra]:
    with pytest.MonkeyPatch.context() as patch, time_machine.travel(at):
        found = Installation(folder, World(folder / "world.sqlite"))
        settle(found, patch)
        for name, value in set_up(folder / "dagster").items():
            patch.setenv(name, value)
        patch.setattr(side_by_side, "readers", alone)  # by this clock
        patch.setattr(common, "RETRY", dg.RetryPolicy(max_retries=common.RETRY.max_retries))  # at once
        with served(found.world), dg.DagsterInstance.get() as instance:
            yield Orchestra(found, instance)


@cache
def _built(build: Callable[[Path], None]) -> Path:
    folder = Path(mkdtemp(prefix="b2b-dagster-", dir=MEMORY))
    atexit.register(shutil.rmtree, folder)
    build(folder)
    return folder


def _empty(folder: Path) -> None:
    world = make_world(folder / "world.sqlite", until=UNTIL, days=(UNTIL - START).days + 1, leads=60)
    text = DEMO.read_text(encoding="utf-8").replace("2026-01-01", START.isoformat())
    (folder / "pipeline.yaml").write_text(text, encoding="utf-8")
    drop_files(world, folder / "inbox")
    with _opened(folder) as orchestra:
        migrated(orchestra.pipeline.warehouse)


def _finished(folder: Path) -> None:
    shutil.copytree(_built(_empty), folder, dirs_exist_ok=True)
    with _opened(folder, MORNING - timedelta(hours=2)) as orchestra:  # what is pulled from a copy is newer
        for source in orchestra.pipeline.config.sources:
            orchestra.run(f"ingest_{source}", START, UNTIL)
        for path in sorted(orchestra.pipeline.inbox.iterdir()):
            files = orchestra.pipeline.config.files
            orchestra.land(file_stream(files[mapping_for(path.name, files) or ""]), path.name)
        orchestra.run("derive", START, UNTIL)


@contextmanager
def empty(folder: Path) -> Iterator[Orchestra]:
    """With a schema, and nothing in it."""
    shutil.copytree(_built(_empty), folder, dirs_exist_ok=True)
    with _opened(folder) as orchestra:
        yield orchestra


@contextmanager
def finished(folder: Path) -> Iterator[Orchestra]:
    """After a backfill of all days of all sources and files: a run each, then `derive`. Built once, to be copied."""
    shutil.copytree(_built(_finished), folder, dirs_exist_ok=True)
    with _opened(folder) as orchestra:
        yield orchestra


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, in memory where there is such a place."""
    folder = Path(mkdtemp(prefix="b2b-dagster-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
