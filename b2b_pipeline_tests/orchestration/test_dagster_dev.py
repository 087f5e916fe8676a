"""`dagster dev -w workspace.yaml`, as people run it: the UI's own calls, its daemon, a restart, and Terminate."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.installation import Installation
from b2b_pipeline_tests.support.webserver import children_of, recent, started, wait_for
from b2b_sandbox.faults import add_fault, list_faults

DAYS = 20
ASSETS = [["raw", "google_ads", "campaign_daily"], ["raw", "ecb", "exchange_rate"], ["spend"], ["kpi", "paid_media"]]


@pytest.fixture
def installation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    with recent(DAYS, monkeypatch) as found:
        yield found


def test_the_ui_backfills_in_one_run_terminates_a_long_step_and_finds_its_history_after_a_restart(
    installation: Installation,
) -> None:
    last = datetime.now(UTC).date() - timedelta(days=1)  # now: these tests may have been collected the day before
    days = [(last - timedelta(days=n)).isoformat() for n in reversed(range(DAYS))]
    everything = {"/".join(path): DAYS for path in ASSETS}
    with started(installation.folder) as dagster:
        backfill = dagster.backfill(ASSETS, days)

        add_fault(installation.world, "hubspot", "slow", path_contains="/objects/", seconds=30)
        long = dagster.launch(["raw", "hubspot", "contact"], last)
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

    with started(installation.folder) as dagster:
        assert dagster.runs() == runs
        assert dagster.materialised(ASSETS) == everything
    assert children_of(installation.folder / "dagster") == []
