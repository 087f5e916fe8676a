"""What of a dropped file is stored: the columns that somebody mapped, and no address in clear."""

from __future__ import annotations

from pathlib import Path

import pytest
import zstandard

from b2b_pipeline_tests.support.dropped import Dropped

MAPPING = """
files:
  ads:
    match: "ads*.csv"
    tables:
      spend:
        columns:
          date_day: {{from: Day, date: "%Y-%m-%d"}}
          account_id: {{value: google}}
          campaign_id: Campaign
          clicks: Clicks
          spend: Cost
          currency: {{value: EUR}}
{more}
"""
HEADER = "Day,Campaign,Clicks,Cost,Owner,Phone,Placement\n"


@pytest.fixture
def dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    return Dropped.of(tmp_path, monkeypatch, MAPPING.format(more=""))


def stored(found: Dropped) -> str:
    bodies = []
    for path in (found.folder / "home").rglob("*.zst"):
        with zstandard.open(path, "rb") as body:
            bodies.append(body.read().decode())
    return "".join(bodies)


def test_columns_that_nobody_mapped_are_not_stored(dropped: Dropped) -> None:
    assert not dropped.drop("ads.csv", HEADER + "2026-01-05,Brand,3,10.00,Ida Holm,+49 30 1234,top\n")
    dropped.load()
    assert dropped.value("spend") == "10.00"
    assert "Brand" in stored(dropped)
    for private in ("Ida", "Holm", "1234", "Owner", "Phone", "Placement"):
        assert private not in stored(dropped)


def test_rows_that_differ_only_in_a_column_that_nobody_mapped_are_no_repeats(dropped: Dropped) -> None:
    line = "2026-01-05,Brand,3,10.00,Ida,1"
    assert not dropped.drop("ads.csv", f"{HEADER}{line},top\n{line},side\n")
    report = dropped.load().loads["spend"]
    assert "several rows of the file have this campaign and day" in "".join(report.failures.values())
    (row,) = dropped.ask("spend", "2026-01-05", "2026-01-05")
    assert (row["value"], row["complete"]) == (None, False)


def test_an_address_in_a_mapped_column_that_is_not_declared_personal_is_stored_as_its_hash(dropped: Dropped) -> None:
    assert not dropped.drop("ads.csv", HEADER + "2026-01-05,for ida@holm.example,3,10.00,,,\n")
    dropped.load()
    assert dropped.value("spend") == "10.00"
    assert "ida@" not in stored(dropped)
    assert "@holm.example" in stored(dropped)


def test_a_column_that_is_mapped_later_asks_for_the_file_again_and_is_never_taken_for_empty(dropped: Dropped) -> None:
    dropped.drop("ads.csv", HEADER + "2026-01-05,Brand,3,10.00,,,top\n")
    dropped.load()
    path = dropped.folder / "pipeline.yaml"
    path.write_text(path.read_text().replace("clicks: Clicks", "clicks: Clicks\n          ad_group_id: Placement"))
    report = dropped.load().loads["spend"]
    assert "'Placement' were not mapped when the file came" in "".join(report.failures.values())
    (row,) = dropped.ask("spend", "2026-01-05", "2026-01-05")
    assert not row["complete"]
    dropped.drop("ads.csv", HEADER + "2026-01-05,Brand,3,10.00,,,top\n")
    assert not dropped.load().loads["spend"].failures
    assert dropped.ask("spend", "2026-01-05", "2026-01-05")[0]["complete"]
