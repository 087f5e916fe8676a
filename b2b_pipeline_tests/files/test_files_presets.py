"""Exports that `files check` knows by their headers: what is in the warehouse after them, and what they lack."""

from __future__ import annotations

from decimal import Decimal
from itertools import combinations
from pathlib import Path

import pytest
from sqlalchemy import select

from b2b_pipeline.configuration.file_mapping import Read
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.files.add import add
from b2b_pipeline.files.formats import grids
from b2b_pipeline.files.look import look
from b2b_pipeline.files.propose import propose
from b2b_pipeline.files.recognise import MISSING, known
from b2b_pipeline.files.vocabulary import presets
from b2b_pipeline.warehouse.tables import metadata
from b2b_pipeline_tests.files.test_files_propose import ANSWERS, EXPORTS, answered, content
from b2b_pipeline_tests.support.dropped import SETTINGS, Dropped

KNOWN = [name for name, export in EXPORTS.items() if "preset" in export]
LOADED = [name for name in KNOWN if "days" in EXPORTS[name]]
TIMES = {"spend": "date_day", "lead": "created_at", "touchpoint": "touched_at"}


@pytest.mark.parametrize("name", LOADED)
def test_a_dropped_export_is_in_the_warehouse_with_its_money_its_currency_and_its_days_and_nothing_else(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, file = EXPORTS[name], f"{name}.csv"
    written = answered(name, propose(file, content(name)).text)
    company = Dropped.of(tmp_path, monkeypatch, "files:\n" + "".join(f"  {line}\n" for line in written.splitlines()))
    assert company.drop(file, content(name)) == ""
    table = metadata.tables[export["table"]]
    rows = company.rows(select(table))
    assert len(rows) == export["loads"]
    assert {str(row[TIMES[table.name]])[:10] for row in rows} == set(export["days"])
    if table.name == "spend":
        assert sum((row["spend"] for row in rows), Decimal(0)) == Decimal(export["total"])
        assert {row["currency"] for row in rows} == set(export.get("currencies", [ANSWERS["currency"]]))
    if table.name == "lead":
        assert {row["capture_type"] for row in rows} == {"webinar"}


@pytest.mark.parametrize("name", EXPORTS)
def test_no_export_is_taken_for_that_of_another_tool(name: str) -> None:
    found = known(look(content(name)).columns)
    assert (found.name if found else None) == EXPORTS[name].get("preset")


def test_no_two_exports_have_two_headers_in_common_that_they_are_known_by() -> None:
    for one, other in combinations(presets(), 2):
        assert len(set(one.headers) & set(other.headers)) < 2, (one.name, other.name)


def test_of_each_export_that_is_known_it_is_said_where_its_headers_are_from_and_one_is_tried() -> None:
    assert {preset.name for preset in presets()} == {EXPORTS[name]["preset"] for name in KNOWN}
    assert all("2026" in preset.source for preset in presets())


def test_fifteen_ad_platforms_and_more_are_known_beside_those_that_are_pulled() -> None:
    platforms = {preset.account for preset in presets() if preset.table == "spend"}
    assert len(platforms) >= 15
    assert {"google", "meta", "linkedin", "microsoft", "x", "tiktok", "pinterest", "stackadapt"} < platforms


def without(name: str, *headers: str) -> bytes:
    """The export without the columns of these headers."""
    text = content(name)
    export = look(text)
    kept = [number for number, title in enumerate(export.header) if title.strip() not in headers]
    assert len(kept) == len(export.header) - len(headers)
    grid = max(grids(text, Read()), key=lambda item: max(len(row.cells) for row in item.head()))
    quote = chr(34)
    lines = [[cell for at, cell in enumerate(row.cells) if at in kept or len(row.cells) < 3] for row in grid.rows(None)]
    return "\n".join(",".join(f"{quote}{cell}{quote}" for cell in line) for line in lines).encode()


SPENT = {
    "display_video_360": ["Media Cost (Advertiser Currency)", "Revenue (Adv Currency)"],
    "google_daily": ["Cost"], "meta_daily": ["Amount spent (EUR)"], "linkedin": ["Total Spent"],
    "microsoft": ["Spend"], "tiktok": ["Cost"], "x_as_its_help_lists_the_columns": ["Spend"],
    "pinterest": ["Spend in account currency"], "the_trade_desk": ["Advertiser Cost (Adv Currency)"],
    "stackadapt": ["Cost"], "linkedin_of_ad_sets": ["Total Spent"], "capterra_clicks": ["cost"],
    "amazon_search_terms": ["Spend"], "criteo": ["AdvertiserCost"], "snapchat_media_mix": ["spend"],
    "apple_search": ["Spend"], "taboola": ["spent"],
}  # fmt: skip
DAY = {
    "google_daily": "Day", "meta_daily": "Day", "linkedin": "Start Date (in UTC)", "microsoft": "Gregorian date",
    "tiktok": "By Day", "x_as_its_help_lists_the_columns": "Time", "pinterest": "Date", "the_trade_desk": "Date",
    "stackadapt": "Date", "capterra_clicks": "date_of_report", "amazon_search_terms": "Date",
    "display_video_360": "Date", "criteo": "Day", "snapchat_media_mix": "date_start", "apple_search": "Day",
    "taboola": "date",
}  # fmt: skip


@pytest.mark.parametrize("name", SPENT)
def test_an_export_without_what_was_spent_says_so_and_feeds_nothing(name: str) -> None:
    proposal = propose("ads.csv", without(name, *SPENT[name]))
    assert proposal.table is None, proposal.text
    assert f"no column holds {MISSING['spend']}" in proposal.text


@pytest.mark.parametrize("name", DAY)
def test_a_total_over_a_range_is_refused_until_it_is_exported_with_days(name: str, tmp_path: Path) -> None:
    proposal = propose("ads.csv", without(name, DAY[name]))
    assert proposal.table == "spend", proposal.text
    assert 'date_day: {value: "?"}  # no column has the day' in proposal.text
    assert "or export with days" in proposal.text
    (tmp_path / "pipeline.yaml").write_text(SETTINGS, encoding="utf-8")
    with pytest.raises(ConfigError, match="no column has the day"):
        add(proposal, tmp_path / "pipeline.yaml")


@pytest.mark.parametrize("name", ["amazon_of_a_period", "apple_search_of_months", "snapchat_weeks"])
def test_sums_of_weeks_and_months_are_told_apart_from_those_of_days(name: str) -> None:
    text = propose("ads.csv", content(name)).text
    [line] = [line for line in text.splitlines() if "date_day: " in line]
    assert '"?"' in line
    assert "export with days" in line


def test_weeks_and_months_that_are_written_as_days_are_asked_for() -> None:
    for header, span in (("Week", "week"), ("Woche", "week"), ("Month", "month"), ("Mois", "month")):
        ads = f"{header},Campaign,Impr.,Clicks,Cost (EUR)\n2026-01-05,Brand,9,1,2.50\n2026-02-02,Brand,9,1,3.50\n"
        assert f'date: "?"}}  # sums of a {span}, and all of one' in propose("ads.csv", ads.encode()).text


def test_another_part_of_a_report_is_left_out_and_the_same_columns_again_are_not() -> None:
    teams = content("teams_attendance").decode("utf-16")
    assert "values: [Attendee]" in propose("teams.csv", teams.encode()).text
    assert len(look(teams.encode()).rows) == 3
    again = "Day,Campaign,Cost\n2026-01-01,A,1\n2026-01-02,A,2\nMore\nDay,Campaign,Cost\n2026-01-03,A,3\n"
    assert len(look(again.encode()).rows) == 4


def test_a_currency_above_the_header_is_that_of_the_amounts() -> None:
    told = content("apple_search").decode()
    assert "currency: {value: USD}  # as it says above the header" in propose("ads.csv", told.encode()).text
    unsaid = told.replace("Currency,USD\n", "").encode()
    assert 'currency: {value: "?"}' in propose("ads.csv", unsaid).text
