"""Which slices a table holds: the newest good word of every day, whether it came bit by bit or is built anew."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Page, Window
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core import mapped
from b2b_pipeline.core.load import LoadReport, load_table
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import Enforced, enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import campaign, load_audit, quarantine, spend
from b2b_pipeline_tests.support.migrated import migrated

CAMPAIGNS = 12


class Books:
    """A landing of one Google Ads account, a warehouse that follows it, and one that is built anew."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.landing = Landing(folder, Pseudonyms(b"key", folder / "forgotten.json"))
        self.warehouse = self.new()
        self.settings: dict[str, Any] = {
            "start_date": "2026-05-01", "system_of_record": "hubspot", "sources": {"google_ads": {}, "hubspot": {}},
        }  # fmt: skip
        self._now = datetime(2026, 5, 7, 6, tzinfo=UTC)

    def new(self) -> Warehouse:
        count = len(list(self.folder.glob("*.duckdb")))
        warehouse = Warehouse(f"duckdb:///{self.folder / f'{count}.duckdb'}")
        migrated(warehouse)
        return warehouse

    def land(self, stream: str, costs: dict[int, Any], *, bad: int = 0) -> str:
        """A slice of the days of May in `costs`: each campaign cost that much; `bad` rows of each day are no number."""
        self._now += timedelta(minutes=1)
        window = Window.of_days(date(2026, 5, min(costs)), date(2026, 5, max(costs) + 1), self.config.zone)
        records = [
            {
                "customer": {"id": "1", "currencyCode": "EUR", "timeZone": "Europe/Berlin"},
                "campaign": {"id": str(number), "name": f"c{number}", "advertisingChannelType": "SEARCH"},
                "segments": {"date": f"2026-05-{day:02}"},
                "metrics": {
                    "costMicros": "many" if number < bad else f"{cost}000000",
                    "impressions": "1",
                    "clicks": "1",
                    "conversions": 0.5,
                    "conversionsValue": 1,
                },
            }
            for day, cost in costs.items()
            if cost is not None
            for number in range(CAMPAIGNS)
        ]
        item = self.landing.write(
            "google_ads", SOURCES["google_ads"].stream(stream), Account("1", time_zone="Europe/Berlin"), window,
            [Page(records)], zone=self.config.zone, api_version="v1", run_id="run", now=self._now,
        )  # fmt: skip
        return item.slice_id

    @property
    def config(self) -> Config:
        return Config.model_validate(self.settings)

    def load(self, table: Any = spend) -> LoadReport:
        return load_table(self.warehouse, self.landing, self.config, table, "run")

    def costs(self) -> dict[int, int]:
        """Day of May -> cost of a campaign, the same in both warehouses."""
        both = []
        anew = self.new()
        load_table(anew, self.landing, self.config, spend, "anew")
        for warehouse in (self.warehouse, anew):
            rows = warehouse.rows(spend.select())
            refused = [
                (row["slice_id"], row["record_number"], row["date_day"]) for row in warehouse.rows(quarantine.select())
            ]
            both.append(({row["date_day"].day: int(row["spend"]) for row in rows}, len(rows), sorted(refused)))
        assert both[0] == both[1]
        return both[0][0]


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_a_row_that_was_refused_is_forgotten_when_its_day_is_restated(books: Books) -> None:
    books.settings["limits"] = {"max_quarantined": 0.2}
    books.land("campaign_daily", dict.fromkeys(range(1, 6), 10), bad=1)
    assert books.load().quarantined == 5
    books.land("campaign_daily", {2: 20, 3: 30})
    report = books.load()
    assert report.rows_in == report.loaded == 2 * CAMPAIGNS
    assert sorted(row["date_day"].day for row in books.warehouse.rows(quarantine.select())) == [1, 4, 5]
    assert books.costs() == {1: 10, 2: 20, 3: 30, 4: 10, 5: 10}


def test_of_a_slice_the_rows_of_days_restated_since_count_as_deduplicated(books: Books) -> None:
    books.settings["limits"] = {"max_quarantined": 0.2}
    books.land("campaign_daily", dict.fromkeys(range(1, 6), 10), bad=1)
    books.land("campaign_daily", {2: 20, 3: 30})
    report = books.load()
    assert (report.rows_in, report.loaded) == (7 * CAMPAIGNS, 5 * CAMPAIGNS - 3)
    assert (report.quarantined, report.deduplicated) == (3, 2 * CAMPAIGNS)


def test_a_row_that_is_lost_on_the_way_counts_as_nothing_so_that_the_books_do_not_add_up(
    books: Books, monkeypatch: pytest.MonkeyPatch
) -> None:
    def careless(table: Table, frame: pd.DataFrame) -> Enforced:
        enforced = enforce(table, frame)
        return replace(enforced, rows=enforced.rows[1:])

    monkeypatch.setattr(mapped, "enforce", careless)
    books.land("campaign_daily", {1: 10})
    report = books.load()
    assert (report.rows_in, report.loaded, report.deduplicated) == (CAMPAIGNS, CAMPAIGNS - 1, 0)


def test_a_day_that_is_empty_now_is_emptied(books: Books) -> None:
    books.land("campaign_daily", {1: 10, 2: 10, 3: 10})
    books.load()
    books.land("campaign_daily", {1: 10, 2: None, 3: 10})
    books.load()
    assert books.costs() == {1: 10, 3: 10}


def test_a_slice_that_fails_whole_leaves_its_days_to_the_one_before_until_a_good_one_comes(books: Books) -> None:
    books.land("campaign_daily", {1: 10, 2: 10, 3: 10})
    books.load()
    bad = books.land("campaign_daily", {2: 20, 3: 30}, bad=6)
    assert set(books.load().failures) == {bad}
    assert books.costs() == {1: 10, 2: 10, 3: 10}
    books.land("campaign_daily", {2: 20, 3: 31}, bad=6)  # of day 2 it says the same as the bad one
    books.load()
    assert books.costs() == {1: 10, 2: 10, 3: 10}
    books.land("campaign_daily", {3: 32})
    assert books.load().loaded == CAMPAIGNS
    assert books.costs() == {1: 10, 2: 10, 3: 32}
    books.land("campaign_daily", {2: 22})
    assert books.load().failures == {}
    assert books.costs() == {1: 10, 2: 22, 3: 32}


def test_of_a_list_the_newest_good_one_counts(books: Books) -> None:
    def names() -> tuple[list[str], list[str]]:
        anew = books.new()
        load_table(anew, books.landing, books.config, campaign, "anew")
        found = [[row["name"] for row in w.rows(campaign.select().order_by("name"))] for w in (books.warehouse, anew)]
        return found[0], found[1]

    books.land("campaign", {1: 1})
    books.load(campaign)
    stored = sorted(f"c{number}" for number in range(CAMPAIGNS))
    assert names() == (stored, stored)
    items = books.landing.slices("google_ads", "campaign")
    books.land("campaign", {1: 2})
    books.landing.rewrite(
        books.landing.slices("google_ads", "campaign")[-1], lambda line: line.replace('"campaign"', '"x"')
    )
    assert len(books.load(campaign).failures) == 1
    assert names() == (stored, stored)
    assert len(items) == 1


def test_a_table_is_built_anew_when_a_source_is_switched_off_or_the_configuration_changes(books: Books) -> None:
    books.land("campaign_daily", {1: 10})
    assert books.load().slices == 1
    assert books.load().slices == 0
    books.settings["limits"] = {"max_quarantined": 0.5}  # changes no meaning
    assert books.load().slices == 0
    books.settings["channels"] = {"google_ads_type": {"SEARCH": "display"}}
    assert books.load().slices == 1
    assert {row["channel"] for row in books.warehouse.rows(spend.select())} == {"display"}
    books.settings["sources"] = {"hubspot": {}}
    assert books.load().slices == 0
    assert books.warehouse.rows(spend.select()) == books.warehouse.rows(load_audit.select()) == []
