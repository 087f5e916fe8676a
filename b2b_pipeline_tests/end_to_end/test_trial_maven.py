"""Real CSV exports of a CRM, through the whole pipeline, to the answers that their publisher's data give."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TRIAL_DATA = os.environ.get("B2B_TRIAL_DATA", "")
pytestmark = pytest.mark.skipif(
    not (Path(TRIAL_DATA) / "maven_crm" / "sales_pipeline.csv").is_file(),
    reason="B2B_TRIAL_DATA does not name a folder with maven_crm/sales_pipeline.csv",
)
EXAMPLE = Path(__file__).parents[2] / "examples" / "maven_crm" / "pipeline.yaml"


class Trial:
    """An installation whose only source is the folder of exports."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("B2B_", "DAGSTER_"))}
        self.environment = {
            **kept, "B2B_TRIAL_DATA": TRIAL_DATA, "B2B_CONFIG": str(EXAMPLE), "B2B_HOME": str(folder / "home"),
            "DAGSTER_HOME": str(folder / "home" / "dagster"),
        }  # fmt: skip

    def b2b(self, *arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "b2b_pipeline.cli", *arguments],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def kpi(self, metric: str, *arguments: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.b2b("kpi", metric, *arguments, "--format", "json"))
        return rows


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    found = Trial(tmp_path_factory.mktemp("maven"))
    found.b2b("setup")
    found.b2b("backfill", "--to", "2017-12-31")
    return found


@pytest.mark.parametrize(
    ("metric", "value"),
    [("won", 4238), ("lost", 2473), ("bookings", "10005534.00"), ("opportunities", 8800)],
)
def test_counts_and_sums_of_the_whole_export_are_its_own(trial: Trial, metric: str, value: object) -> None:
    assert [row["value"] for row in trial.kpi(metric)] == [value]


def test_win_rate_close_rate_and_cycle_are_those_of_the_export(trial: Trial) -> None:
    assert trial.kpi("win_rate")[0]["value"] == pytest.approx(0.63150, abs=5e-6)
    assert trial.kpi("close_rate")[0]["value"] == pytest.approx(0.48159, abs=5e-6)
    dated = trial.kpi("close_rate", "--from", "2016-10-01", "--to", "2017-12-31")
    assert dated[0]["value"] == pytest.approx(0.51060, abs=5e-6)
    assert trial.kpi("cycle_days_mean")[0]["value"] == pytest.approx(51.782, abs=5e-4)


def test_what_nobody_gave_is_null_with_a_reason_and_never_zero(trial: Trial) -> None:
    for metric in ("spend", "cpa", "cost_per_lead", "email_sends"):
        assert [row["value"] for row in trial.kpi(metric)] == [None], metric


def test_opportunities_without_a_date_have_a_row_of_their_own_and_are_in_no_period(trial: Trial) -> None:
    rows = trial.kpi("opportunities", "--by", "year")
    assert [(row["date"], row["value"]) for row in rows] == [("2016-01-01", 358), ("2017-01-01", 7942), (None, 500)]
    assert (
        sum(
            row["value"]
            for row in trial.kpi("opportunities", "--by", "year", "--from", "2016-01-01", "--to", "2017-12-31")
        )
        == 8300
    )


def test_a_product_that_files_spell_differently_is_one_product(trial: Trial) -> None:
    won = {row["product"]: row["value"] for row in trial.kpi("won", "--by", "product")}
    assert "GTXPro" not in won
    assert won["GTX Pro"] == 729
    assert sum(won.values()) == 4238


def test_every_owner_adds_up_to_the_whole(trial: Trial) -> None:
    bookings = trial.kpi("bookings", "--by", "owner")
    assert len(bookings) == 30
    assert sum(float(row["value"]) for row in bookings) == 10_005_534
    best = max(bookings, key=lambda row: float(row["value"]))
    assert (best["owner"], best["value"]) == ("Darcel Schlecht", "1153214.00")
