"""Exports of e-mail tools with counts per send: what Mailchimp and the like give without their recipients."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2b_pipeline_tests.files.test_files_load import checked, dropped
from b2b_pipeline_tests.support.dropped import Dropped

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


# -- recipients of whom not every event is given

OPENS = """
  opens:
    match: "opens*.csv"
    cadence: once
    tables:
      email_event:
        columns: {send_id: Title, email: To, sent_at: {from: Sent, date: "%Y-%m-%d"}}
        events:
          delivered: {from: Sent, date: "%Y-%m-%d"}
          open: {from: At, date: "%Y-%m-%d"}
"""
OPENED = "Title,To,Sent,At\nApril,a@x.example,2026-01-04,2026-01-05\nApril,b@x.example,2026-01-04,\n"
CLICKED = "Title,To,Sent,At\nMay,a@x.example,2026-01-05,2026-01-07\n"
NOT_CLICKED = "of 1 send of opens.csv nothing gives clicks"


def test_sends_whose_clicks_nothing_gives_have_not_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = world(tmp_path, monkeypatch, COUNTS + OPENS, opens=OPENED, report=HEADER + MAY)
    (day,) = found.ask("email_click_rate", "2026-01-04", "2026-01-04")
    assert (day["value"], day["complete"], day["why_null"]) == (None, False, NOT_CLICKED)
    (total,) = found.ask("email_click_rate")
    assert not total["complete"]
    assert NOT_CLICKED in total["reasons"]
    assert found.ask("email_open_rate")[0]["complete"]
    assert found.ask("email_click_rate", "2026-01-05", "2026-01-05")[0]["complete"]


def test_sends_whose_clicks_another_file_gives_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = HEADER + "April,2026-01-04,2,2,1,1,0,0,0\n"
    found = world(tmp_path, monkeypatch, COUNTS + OPENS, opens=OPENED, report=counts)
    assert found.ask("email_click_rate")[0]["complete"]
    clicks = CLICKED.replace("May", "April").replace("-05", "-04")
    (tmp_path / "both").mkdir()
    both = world(tmp_path / "both", monkeypatch, OPENS + RECIPIENTS, opens=OPENED, clicks=clicks)
    assert float(both.value("email_click_rate")) == 0.5
    assert both.ask("email_click_rate")[0]["complete"]


def test_events_that_no_row_of_a_log_is_are_not_given_by_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = """
  log:
    match: "log*.csv"
    cadence: once
    tables:
      email_event:
        columns:
          send_id: Title
          email: To
          event_type: What
          event_at: {from: At, date: "%Y-%m-%d"}
"""
    rows = "Title,To,What,At\nApril,a@x.example,sent,2026-01-04\nApril,a@x.example,delivered,2026-01-04\n"
    found = world(tmp_path, monkeypatch, COUNTS + log, log=rows, report=HEADER + MAY)
    (total,) = found.ask("email_click_rate")
    assert "of 1 send of log.csv nothing gives clicks" in total["reasons"]
    clicked = rows + "May,a@x.example,sent,2026-01-05\nMay,a@x.example,click,2026-01-05\n"
    (tmp_path / "told").mkdir()
    told = world(tmp_path / "told", monkeypatch, COUNTS + log, log=clicked, report=HEADER + MAY)
    assert told.ask("email_click_rate")[0]["complete"]
    assert "of 2 sends of log.csv nothing gives unsubscribes" not in str(told.ask("email_click_rate")[0]["reasons"])
