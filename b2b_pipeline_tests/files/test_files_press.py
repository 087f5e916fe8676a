"""Exports of press monitors: what others wrote about us."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2b_pipeline.warehouse.tables import pr_mention
from b2b_pipeline_tests.files.test_files_load import dropped
from b2b_pipeline_tests.support.dropped import Dropped

MONITOR = """
press:
  match: "mentions*.csv"
  cadence: once
  read: {decimal: "."}
  tables:
    pr_mention:
      columns:
        mention_id: ID
        published_at: {from: Date, date: "%Y-%m-%d"}
        outlet: Outlet
        title: Headline
        url: URL
        tone: Sentiment
        estimated_reach: Reach
"""
HEADER = "ID,Date,Outlet,Headline,URL,Sentiment,Reach\n"
ROWS = (
    'a1,2026-01-05,The Example,"Tools, compared",https://the.example/1,positive,"120,000"\n'
    "a2,2026-01-05,Blog,We tried it,https://blog.example/x,neutral,\n"
    "a3,2026-01-06,The Example,Tools again,https://the.example/2,positive,80000\n"
)


def world(tmp_path: Path, patch: pytest.MonkeyPatch, *contents: str) -> Dropped:
    found = dropped(tmp_path, patch, MONITOR.strip())
    for number, content in enumerate(contents):
        assert not found.drop(f"mentions_{number}.csv", HEADER + content)
    found.load()
    return found


def test_mentions_count_on_their_day_and_their_reach_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world(tmp_path, monkeypatch, ROWS)
    assert [found.value("pr_mentions", day, day) for day in ("2026-01-05", "2026-01-06")] == [2, 1]
    (row,) = found.ask("pr_estimated_reach", "2026-01-05", "2026-01-06")
    assert (row["value"], row["complete"]) == (200_000, False), "one has no estimate"
    assert "has no estimated reach" in " ".join(row["reasons"])
    (row,) = found.ask("pr_estimated_reach", "2026-01-06", "2026-01-06")
    assert (row["value"], row["complete"]) == (80_000, True)


def test_a_mention_in_two_exports_is_one_and_the_newer_row_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world(tmp_path, monkeypatch, ROWS, ROWS.replace("80000", "90000"))
    assert found.value("pr_mentions", "2026-01-05", "2026-01-06") == 3
    assert found.value("pr_estimated_reach", "2026-01-06", "2026-01-06") == 90_000


def test_a_reach_that_is_no_count_sends_its_row_to_quarantine_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "".join(f"b{n},2026-01-07,Blog,x,https://blog.example/{n},neutral,5\n" for n in range(40))
    found = world(tmp_path, monkeypatch, ROWS + more + "c1,2026-01-08,Blog,x,https://blog.example/c,neutral,12.5\n")
    rows = found.rows(pr_mention.select())
    assert len(rows) == 43
    assert {row["mention_id"] for row in rows} >= {"a1", "b0"}
    (row,) = found.ask("pr_mentions", "2026-01-08", "2026-01-08")
    assert not row["complete"]


def test_without_files_nobody_knows_who_wrote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world(tmp_path, monkeypatch)
    (row,) = found.ask("pr_mentions", "2026-01-05", "2026-01-05")
    assert (row["value"], row["complete"]) == (None, False)
