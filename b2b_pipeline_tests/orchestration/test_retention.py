"""Dagster's history of more than 90 days ago goes; every day that was read stays marked as read."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import time_machine

from b2b_pipeline.orchestration.retention import RETENTION_DAYS, forget_old_runs
from b2b_pipeline_tests.support.dagster_home import set_up

NOW = datetime(2026, 11, 1, 6, tzinfo=UTC)
OLD, YOUNG = NOW - timedelta(days=RETENTION_DAYS + 1), NOW - timedelta(days=RETENTION_DAYS - 1)
DAYS = dg.DailyPartitionsDefinition("2026-06-01", end_date="2026-06-06")


@dg.asset(partitions_def=DAYS, backfill_policy=dg.BackfillPolicy.single_run())
def rows(context: dg.AssetExecutionContext) -> None:
    print("something for the compute log")


@dg.asset
def whole() -> None: ...


@dg.asset
def fails() -> None:
    raise dg.Failure("on purpose")


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    for name, value in set_up(tmp_path / "dagster").items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as found:
        yield found


def run(instance: dg.DagsterInstance, at: datetime, asset: dg.AssetsDefinition, first: str = "", last: str = "") -> str:
    tags = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last} if first else {}
    with time_machine.travel(at):
        job = dg.Definitions(assets=[asset]).resolve_implicit_global_asset_job_def()
        result = job.execute_in_process(instance=instance, raise_on_error=False, tags=tags)
    log = Path(instance.compute_log_manager.get_captured_local_path([result.run_id, "compute_logs", "x"], "out"))  # type: ignore[attr-defined]
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("what the run printed")
    return result.run_id


def logs(instance: dg.DagsterInstance, run_id: str) -> bool:
    log = instance.compute_log_manager.get_captured_local_path([run_id, "compute_logs", "x"], "out")  # type: ignore[attr-defined]
    return Path(log).exists()


def test_old_runs_go_with_their_events_and_logs_and_no_day_loses_its_mark(instance: dg.DagsterInstance) -> None:
    superseded = run(instance, OLD, rows, "2026-06-01", "2026-06-02")
    partly = run(instance, OLD + timedelta(hours=1), rows, "2026-06-01", "2026-06-03")
    again = run(instance, OLD + timedelta(hours=2), rows, "2026-06-02", "2026-06-03")
    failed = run(instance, OLD, fails)
    earlier, latest = (run(instance, OLD + timedelta(hours=n), whole) for n in (3, 4))
    young = run(instance, YOUNG, rows, "2026-06-04", "2026-06-04")
    young_failed = run(instance, YOUNG, fails)
    before = instance.get_materialized_partitions(dg.AssetKey("rows"))
    assert before == {"2026-06-01", "2026-06-02", "2026-06-03", "2026-06-04"}

    assert forget_old_runs(instance, NOW) == (3, 3)

    assert instance.get_materialized_partitions(dg.AssetKey("rows")) == before
    last = instance.get_latest_materialization_event(dg.AssetKey("whole"))
    assert last is not None
    assert last.run_id == latest
    assert {found.run_id for found in instance.get_runs()} == {partly, again, latest, young, young_failed}
    for gone in (superseded, failed, earlier):
        assert instance.all_logs(gone) == []
        assert not logs(instance, gone)
    assert not logs(instance, partly), "a run that stays for its marks keeps no logs"
    assert logs(instance, young)
    assert forget_old_runs(instance, NOW) == (0, 3), "there is nothing more to do"


def test_what_is_still_going_is_never_old(instance: dg.DagsterInstance) -> None:
    with time_machine.travel(OLD):
        job = dg.Definitions(assets=[whole]).resolve_implicit_global_asset_job_def()
        waiting = instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED).run_id
    assert forget_old_runs(instance, NOW) == (0, 0)
    assert instance.get_run_by_id(waiting) is not None
