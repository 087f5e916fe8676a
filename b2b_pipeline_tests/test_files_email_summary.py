"""Exports of e-mail tools with counts per send: what Mailchimp and the like give without their recipients."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2b_pipeline_tests.dropped import Dropped
from b2b_pipeline_tests.test_files_load import checked, dropped

COUNTS = """
  reports:
    match: "report*.csv"
    cadence: once
    tables:
      email_summary:
        columns:
          send_id: Title
          sent_at: {from: Send Date, date: "%Y-%m-%d"}
          sends: Total Recipients
          deliveries: Successful Deliveries
          opens: Unique Opens
          clicks: Unique Clicks
          bounces: {add: [Hard Bounces, Soft Bounces]}
          unsubscribes: Unsubscribes
"""
RECIPIENTS = """
  clicks:
    match: "clicks*.csv"
    cadence: once
    tables:
      email_event:
        columns: {send_id: Title, email: To, sent_at: {from: Sent, date: "%Y-%m-%d"}}
        events: {click: {from: At, date: "%Y-%m-%d"}}
"""
HEADER = (
    "Title,Send Date,Total Recipients,Successful Deliveries,Unique Opens,Unique Clicks,Hard Bounces,Soft Bounces,"
    "Unsubscribes\n"
)
MAY, JUNE = "May,2026-01-05,1000,980,245,49,15,5,2\n", 'June,2026-01-06,500,"1,250",100,10,0,0,1\n'


def world(tmp_path: Path, patch: pytest.MonkeyPatch, files: str, **given: str) -> Dropped:
    found = dropped(tmp_path, patch, files.replace("\n  ", "\n").strip())
    for name, content in given.items():
        assert not found.drop(f"{name}.csv", content)
    found.load()
    return found


def test_counts_of_a_send_give_the_rates_on_the_day_of_the_send(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = world(tmp_path, monkeypatch, COUNTS, report=HEADER + MAY)
    rates = ("email_open_rate", "email_click_rate", "email_bounce_rate", "email_unsubscribe_rate")
    assert found.value("email_sends", "2026-01-05", "2026-01-05") == 1000
    assert [float(found.value(rate, "2026-01-05", "2026-01-05")) for rate in rates] == [
        0.25, 0.05, 0.02, pytest.approx(2 / 980),
    ]  # fmt: skip
    assert found.ask("email_open_rate")[0]["complete"]


def test_recipients_that_are_known_count_and_not_the_sum_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clicks = "Title,To,Sent,At\nMay,a@x.example,2026-01-05,2026-01-07\nMay,b@x.example,2026-01-05,2026-01-07\n"
    found = world(tmp_path, monkeypatch, COUNTS + RECIPIENTS, report=HEADER + MAY, clicks=clicks)
    assert float(found.value("email_click_rate")) == pytest.approx(2 / 980)
    assert float(found.value("email_open_rate")) == 0.25


def test_a_count_that_is_missing_is_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = "April,2026-01-04,300,290,,3,0,0,1\n"
    found = world(tmp_path, monkeypatch, COUNTS, report=HEADER + MAY + more)
    (total,) = found.ask("email_open_rate")
    assert not total["complete"]
    assert "1 row of report.csv has no opens" in total["reasons"]
    assert found.ask("email_click_rate")[0]["complete"]


def test_counts_that_no_mapping_gives_are_unknown_beside_recipients_that_give_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = COUNTS.replace("          clicks: Unique Clicks\n", "")
    found = world(tmp_path, monkeypatch, silent, report=HEADER + MAY)
    assert found.ask("email_click_rate")[0]["value"] is None
    clicks = "Title,To,Sent,At\nJune,a@x.example,2026-01-06,2026-01-07\n"
    (tmp_path / "both").mkdir()
    both = world(tmp_path / "both", monkeypatch, silent + RECIPIENTS, report=HEADER + MAY, clicks=clicks)
    (total,) = both.ask("email_click_rate")
    assert not total["complete"]
    assert "1 row of report.csv has no clicks" in total["reasons"]


def test_more_opens_than_recipients_are_not_unique_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = dropped(tmp_path, monkeypatch, COUNTS.replace("\n  ", "\n").strip())
    report = checked(found, "report.csv", HEADER + "May,2026-01-05,1000,980,1200,49,15,5,2\n")
    assert not report.ok
    assert "more opens than recipients" in report.text()
