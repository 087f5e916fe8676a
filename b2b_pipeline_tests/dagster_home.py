"""Dagster for tests: an instance of its own, set up as `make setup` does, and the jobs run in this process."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import dagster as dg
import pytest

import b2b_pipeline.orchestration
from b2b_pipeline.orchestration.build import build_defs
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.installation import UNTIL, Installation, copy

SETTINGS = Path(b2b_pipeline.orchestration.__file__).with_name("dagster.yaml")
MORNING = datetime.combine(UNTIL + timedelta(days=1), time(9), UTC)  # the world is over, and its last day must be there
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder that is gone afterwards, in memory where there is such a place."""
    with TemporaryDirectory(prefix="b2b-dagster-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        yield Path(name)


def settings(folder: Path) -> dict[str, str]:
    """Write `dagster.yaml` into the folder; returns the environment that it needs."""
    folder.mkdir(exist_ok=True)
    shutil.copy(SETTINGS, folder / "dagster.yaml")
    return {"DAGSTER_HOME": str(folder), "B2B_DAGSTER_EVENTS": str(folder / "history")}


@contextmanager
def instance(folder: Path) -> Iterator[dg.DagsterInstance]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in settings(folder).items():
            patch.setenv(name, value)
        with dg.DagsterInstance.get() as found:
            yield found


@contextmanager
def empty_installation() -> Iterator[tuple[Installation, dg.DagsterInstance]]:
    """An installation with a world to read and files to load, and nothing landed yet; and its Dagster instance."""
    from b2b_pipeline.warehouse.migrate import upgrade

    with memory_folder() as folder, pytest.MonkeyPatch.context() as patch:
        found = copy(folder, patch)
        shutil.rmtree(found.home / "landing")
        (found.home / "warehouse.duckdb").unlink()
        upgrade(found.pipeline().warehouse)
        with instance(folder / "dagster") as dagster:
            yield found, dagster


def definitions(pipeline: Pipeline | None = None) -> dg.Definitions:
    return build_defs(pipeline or Pipeline.from_environment(), dg.in_process_executor)


def run_job(
    defs: dg.Definitions, instance: dg.DagsterInstance, job: str, start: date | None = None, end: date | None = None
) -> dg.ExecuteInProcessResult:
    """Run a job over the days from `start` to `end`, both included, in this process."""
    tags = {RANGE_START: start.isoformat(), RANGE_END: (end or start).isoformat()} if start and (end or start) else {}
    return defs.resolve_job_def(job).execute_in_process(
        instance=instance, tags=tags, raise_on_error=False, run_config=QUIET
    )


def metadata_by_day(instance: dg.DagsterInstance, key: list[str]) -> dict[str, dict[str, Any]]:
    """Partition -> metadata values of its newest materialisation."""
    found: dict[str, dict[str, Any]] = {}
    records = instance.fetch_materializations(dg.AssetKey(key), limit=10_000).records
    for record in reversed(records):
        event = record.asset_materialization
        assert event is not None
        assert event.partition is not None
        found[event.partition] = values(event.metadata)
    return found


def values(metadata: Mapping[str, dg.MetadataValue[Any]]) -> dict[str, Any]:
    return {name: value.value for name, value in metadata.items()}
