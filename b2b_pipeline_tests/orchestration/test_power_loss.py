"""Everything is killed at once, as by a power cut: what the next start finds and ends. Nothing goes on alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from b2b_pipeline.orchestration.alive import GONE
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.installation import Installation
from b2b_pipeline_tests.support.webserver import UI, processes, recent, started, wait_for
from b2b_sandbox.faults import add_fault, list_faults

LAST = datetime.now(UTC).date() - timedelta(days=1)
B2B = [sys.executable, "-m", "b2b_pipeline.cli"]


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with recent(2, monkeypatch) as found:
        yield found


def wait_until_a_vendor_is_slow(found: Installation) -> None:
    """HubSpot takes its time with the next request; returns once it has that request."""
    wait_for(lambda: list_faults(found.world), [], 120)


def make_a_vendor_slow(found: Installation, seconds: float) -> None:
    add_fault(found.world, "hubspot", "slow", path_contains="/objects/", seconds=seconds)


def kill(found: Installation) -> None:
    while left := processes(found.folder):
        for process in left:
            os.kill(process, signal.SIGKILL)
        time.sleep(0.1)


def statuses() -> dict[str, list[str]]:
    """Job -> the statuses of its runs."""
    answer: dict[str, list[str]] = {}
    with dg.DagsterInstance.get() as instance:
        for run in instance.get_runs():
            answer.setdefault(run.job_name, []).append(run.status.value)
    return answer


def test_a_killed_backfill_is_ended_by_the_next_command_which_goes_on_from_there(installation: Installation) -> None:
    backfill = [*B2B, "backfill", "--source", "hubspot"]
    for times in (1, 2, 3):  # a dead run must not keep its place in the pool, which has two
        make_a_vendor_slow(installation, 45)
        with subprocess.Popen(backfill, stderr=subprocess.DEVNULL) as running:
            wait_until_a_vendor_is_slow(installation)
            assert statuses()["ingest_hubspot"].count("STARTED") == 1
            running.kill()
        assert statuses()["ingest_hubspot"] == ["STARTED", *["FAILURE"] * (times - 1)]
    done = subprocess.run(backfill, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert statuses()["ingest_hubspot"] == ["SUCCESS", *["FAILURE"] * 3]
    with dg.DagsterInstance.get() as instance:
        killed = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))[0]
        assert any(GONE in event.message for event in instance.all_logs(killed.run_id))


def test_a_vendor_that_hangs_holds_up_no_other_and_an_end_of_the_command_ends_them_all(
    installation: Installation,
) -> None:
    make_a_vendor_slow(installation, 300)
    with subprocess.Popen([*B2B, "backfill"], stderr=subprocess.DEVNULL) as running:
        wait_until_a_vendor_is_slow(installation)
        others = ("ingest_google_ads", "ingest_salesforce", "ingest_ecb")
        wait_for(lambda: [statuses().get(job) for job in others], [["SUCCESS"]] * 3, 120)
        assert statuses()["ingest_hubspot"] == ["STARTED"]
        running.send_signal(signal.SIGINT)  # to it alone, as a service manager does
        assert running.wait(60) == 130
    wait_for(lambda: processes(installation.folder), [], 10)
    assert statuses()["ingest_hubspot"] == ["FAILURE"]
    assert "derive" not in statuses()
    make_a_vendor_slow(installation, 300)
    with subprocess.Popen([*B2B, "backfill"], stderr=subprocess.DEVNULL) as running:
        wait_until_a_vendor_is_slow(installation)
        running.kill()
    wait_for(lambda: processes(installation.folder), [], 20)
    again = subprocess.run([*B2B, "backfill"], capture_output=True, text=True, timeout=300, check=False)
    assert again.returncode == 0, again.stderr
    found = statuses()
    assert [found[job] for job in (*others, "derive")] == [["SUCCESS"]] * 4
    assert found["ingest_hubspot"] == ["SUCCESS", "FAILURE", "FAILURE"]


def test_a_backfill_that_runs_is_left_alone_by_other_commands(installation: Installation) -> None:
    make_a_vendor_slow(installation, 20)
    with subprocess.Popen([*B2B, "backfill", "--source", "hubspot"], stderr=subprocess.PIPE, text=True) as running:
        wait_until_a_vendor_is_slow(installation)
        subprocess.run([*B2B, "backfill", "--source", "ecb", "--plan"], check=True, capture_output=True, timeout=120)
        assert statuses()["ingest_hubspot"] == ["STARTED"]
        _, told = running.communicate(timeout=300)
        assert running.returncode == 0, told


def test_after_a_power_cut_the_ui_ends_the_runs_that_it_finds_started(installation: Installation) -> None:
    with started(installation.folder, UI) as dagster:
        make_a_vendor_slow(installation, 45)
        run = dagster.launch(["raw", "hubspot", "contact"], LAST)
        wait_until_a_vendor_is_slow(installation)
        wait_for(lambda: dagster.runs()[run], "STARTED", 60)
        kill(installation)
    with started(installation.folder, UI) as dagster:
        assert dagster.runs()[run] == "FAILURE"
        kill(installation)


def test_the_step_of_a_killed_run_ends_with_it_and_writes_nothing_more(installation: Installation) -> None:
    settings = installation.folder / "dagster" / "dagster.yaml"
    watched = settings.read_text().replace("poll_interval_seconds: 30", "poll_interval_seconds: 2")
    assert watched != settings.read_text()
    settings.write_text(watched)
    with started(installation.folder, UI) as dagster:
        make_a_vendor_slow(installation, 8)
        run = dagster.launch(["raw", "hubspot", "contact"], LAST)
        wait_until_a_vendor_is_slow(installation)
        answers = time.monotonic() + 8
        before = set(processes(installation.folder))
        worker = the_worker_of(run, before)
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: dagster.runs()[run], "FAILURE", 90)
        time.sleep(max(0, answers + 2 - time.monotonic()))  # by then the vendor has answered
        landed = Pipeline.from_environment().landing.slices("hubspot", "contact")
        assert run not in {item.run_id for item in landed}, "only the run that Dagster tried again may land"
        kill(installation)


def the_worker_of(run: str, candidates: set[int]) -> int:
    """The process that holds the lock of the run."""
    lock = Path(os.environ["DAGSTER_HOME"]) / "alive" / f"{run}.lock"
    for process in candidates:
        for link in Path(f"/proc/{process}/fd").iterdir():
            if link.is_symlink() and os.readlink(link) == str(lock):
                return process
    raise AssertionError(f"nobody holds {lock}")


def test_two_first_commands_at_once_do_not_race_on_the_tables(installation: Installation) -> None:
    command = [*B2B, "backfill", "--source", "ecb", "--plan"]
    for _ in range(3):
        history = Path(os.environ["DAGSTER_HOME"]) / "history"
        assert not history.exists()
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
        told = [process.communicate(timeout=180)[1] for process in both]
        assert [process.returncode for process in both] == [0, 0, 0], told
        subprocess.run(["rm", "-r", history, history.parent / "schedules"], check=True)
