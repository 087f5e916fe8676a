"""Range runs: every day with its own metadata, the right numbers, and days outside the range that a run restates."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal

import dagster as dg
import pytest
from sqlalchemy import func, select

from b2b_pipeline.metrics.query import ask, free_axes
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.operations.replay import fingerprints
from b2b_pipeline.orchestration.common import RESTATED, Calendar, families_of
from b2b_pipeline.orchestration.pictures import headline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import Orchestra, memory_folder
from b2b_pipeline_tests.support.installation import START, UNTIL
from b2b_sandbox.world import World

DAYS = [(START + timedelta(days=n)).isoformat() for n in range((UNTIL - START).days + 1)]


@pytest.fixture(scope="module")
def finished() -> Iterator[Orchestra]:
    """To be looked at, not to be changed."""
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        yield orchestra


@pytest.fixture
def own() -> Iterator[Orchestra]:
    """To be changed."""
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        yield orchestra


def materialised(orchestra: Orchestra, asset: str) -> set[str]:
    return orchestra.instance.get_materialized_partitions(dg.AssetKey(asset.split("/")))


def test_a_range_run_materialises_every_day_of_every_asset_in_one_run_per_job(finished: Orchestra) -> None:
    daily = [
        spec.key.to_user_string()
        for spec in finished.defs.resolve_all_asset_specs()
        if isinstance(spec.partitions_def, dg.DailyPartitionsDefinition)
    ]
    assert len(daily) > 40
    assert {name: materialised(finished, name) for name in daily} == {name: set(DAYS) for name in daily}
    assert len(finished.instance.get_runs()) == 5 + 1, "and one of a file"


def test_each_day_of_a_table_has_its_own_row_count_and_none_is_zero(finished: Orchestra) -> None:
    warehouse = finished.pipeline.warehouse
    core = Calendar(finished.pipeline.config).core
    for table in (*core, *tables.DERIVED, tables.quarantine, tables.coverage):
        told = finished.metadata(table.name)
        total = warehouse.rows(select(func.count().label("n")).select_from(table))[0]["n"]
        assert {metadata["dagster/row_count"] for metadata in told.values()} == {total}, table.name
        if "date_day" not in table.c:
            continue
        query = select(table.c.date_day, func.count().label("n")).group_by(table.c.date_day)
        there = {str(row["date_day"]): row["n"] for row in warehouse.rows(query)}
        counts = {day: metadata["dagster/partition_row_count"] for day, metadata in told.items()}
        assert counts == {day: there.get(day, 0) for day in DAYS}, table.name
    assert len({metadata["dagster/partition_row_count"] for metadata in finished.metadata("lead").values()}) > 1
    weekend = finished.metadata("fx_rate")["2026-06-13"]
    assert weekend["dagster/partition_row_count"] == 0, "the ECB fixes no rates on a Saturday"


def test_each_day_of_a_stream_has_its_own_row_count_with_the_slices_and_the_watermark(finished: Orchestra) -> None:
    told = finished.metadata("raw/google_ads/campaign_daily")
    slices = finished.pipeline.landing.slices("google_ads", "campaign_daily")
    landed = {day: sum(item.days.get(day, [0])[0] for item in slices) for day in DAYS}
    assert {day: metadata["dagster/partition_row_count"] for day, metadata in told.items()} == landed
    assert min(landed.values()) > 0
    assert set(told[DAYS[0]]["slices"]) == {item.slice_id for item in slices}
    assert told[DAYS[0]]["watermark"] == max(item.until for item in slices)


def test_each_day_of_a_kpi_has_its_own_right_numbers(finished: Orchestra) -> None:
    pipeline = finished.pipeline
    for family in families_of(finished.pipeline.config).values():
        told = finished.metadata(f"kpi/{family.name}")
        names = [metric.name for metric in family.metrics if not free_axes(metric)]
        for length in family.trailing:
            start = UNTIL - timedelta(days=length - 1)
            for answer in ask(pipeline.warehouse, pipeline.config, names, start, UNTIL):
                shown = told[UNTIL.isoformat()].get(f"{answer.metric.name}_{length}_days")
                assert shown == (None if answer.value is None else pytest.approx(float(answer.value), abs=1e-6))
        for answer in () if family.trailing else ask(pipeline.warehouse, pipeline.config, names, START, UNTIL, ["day"]):
            shown = told[answer.keys["date"].isoformat()].get(answer.metric.name)
            if answer.value is None:
                assert shown is None
            else:
                assert shown == pytest.approx(float(answer.value), abs=1e-6), (answer.metric.name, answer.keys)
        stored = tables.kpi_component_daily.c
        counted = select(stored.date_day, func.count().label("n")).where(stored.family == family.name)
        rows = {row["date_day"]: row["n"] for row in pipeline.warehouse.rows(counted.group_by(stored.date_day))}
        for day, metadata in told.items():
            assert metadata["dagster/partition_row_count"] == rows.get(date.fromisoformat(day), 0)
    assert len({metadata["spend"] for metadata in finished.metadata("kpi/paid_media").values()}) == len(DAYS)


def test_a_kpi_page_shows_value_change_and_sparkline_without_a_click(finished: Orchestra) -> None:
    for family in families_of(finished.pipeline.config).values():
        told = finished.metadata(f"kpi/{family.name}")
        for day, metadata in told.items():
            text = metadata["at_a_glance"]
            assert len(text) < 1000
            name = METRICS[family.headline].name
            assert text.startswith(f"**{name}, 28 days to {day}: " if family.trailing else f"**{name} on {day}: ")
            assert metadata["complete"] is True, metadata
    last = finished.metadata("kpi/paid_media")
    before, now = (Decimal(str(last[day]["spend"])) for day in (DAYS[-8], DAYS[-1]))
    text = last[DAYS[-1]]["at_a_glance"]
    assert f"**spend on {UNTIL}: EUR {now:,.2f}** {float((now - before) / before):+.0%} vs a week before" in text
    assert "![trend](data:image/svg+xml;base64," in text


def test_a_check_of_a_range_run_is_planned_and_judged_once_whatever_the_number_of_days(finished: Orchestra) -> None:
    no_file = dg.AssetKey(["raw", "files", "lead"])  # of which none was dropped
    for key in finished.defs.resolve_asset_graph().asset_check_keys:
        records = finished.instance.event_log_storage.get_asset_check_execution_history(key, limit=1000)
        judged = "FAILED" if key.name == "leaks" else "SUCCEEDED"  # the demo reads no paid social
        assert [(record.status.value, record.partition) for record in records] == (
            [] if key.name == "freshness" or key.asset_key == no_file else [(judged, None)]
        ), key


def test_a_day_says_by_which_code_it_was_made_and_is_another_after_every_run(finished: Orchestra) -> None:
    """Dagster takes the data of the same code for the same data; vendors restate."""
    for spec in finished.defs.resolve_all_asset_specs():
        if spec.code_version and not isinstance(spec.partitions_def, dg.DynamicPartitionsDefinition):
            event = finished.instance.get_latest_materialization_event(spec.key)
            assert event is not None
            materialization = event.asset_materialization
            assert materialization is not None
            tags = materialization.tags or {}
            said = tags["dagster/code_version"], tags["dagster/data_version"]
            assert said == (spec.code_version, event.run_id), spec.key


def test_a_headline_stays_short_enough_to_show_inline_whatever_the_values_are() -> None:
    assert len(headline("9" * 30, "+1,000,000% vs a week before", [1e9, -1e9] * 15, " (incomplete)")) < 1000
    assert headline("1", "", [None] * 30) == "**1**"


def test_materialising_again_changes_no_table(own: Orchestra) -> None:
    watched = (tables.spend, tables.campaign, tables.kpi_component_daily, tables.kpi_change)
    before = [sorted(fingerprints(own.pipeline.warehouse, table)) for table in watched]
    slices = own.metadata("raw/google_ads/campaign_daily")[DAYS[0]]["slices"]
    own.run("ingest_google_ads", START, UNTIL)
    assert own.metadata("raw/google_ads/campaign_daily")[DAYS[0]]["slices"] != slices
    own.materialise("spend", "campaign", "kpi/paid_media", start=START, end=UNTIL)
    assert [sorted(fingerprints(own.pipeline.warehouse, table)) for table in watched] == before


def test_a_restated_day_outside_the_run_gets_an_event_of_its_own_all_the_way_up(own: Orchestra) -> None:
    restated = (START + timedelta(days=4)).isoformat()
    lent = ("kpi/lead_generation", "kpi/acquisition")  # cac is made of what lead_generation stores
    assets = ("raw/google_ads/campaign_daily", "spend", "kpi/paid_media", *lent)
    old = own.metadata("kpi/paid_media")
    restate(own.installation.world, restated)
    own.run("ingest_google_ads", UNTIL)
    own.materialise("spend", "kpi/paid_media", *lent, start=UNTIL)
    for asset in assets:
        records = own.instance.fetch_materializations(dg.AssetKey(asset.split("/")), limit=2).records
        events = [record.asset_materialization for record in records]
        told = {(event.partition, event.description) for event in events if event}
        assert told == {(restated, RESTATED), (UNTIL.isoformat(), None)}, asset
    new = own.metadata("kpi/paid_media")
    assert new[restated]["spend"] > old[restated]["spend"]
    assert {day for day in DAYS if new[day]["spend"] != old[day]["spend"]} == {restated}


def restate(world: World, day: str) -> None:
    """The ad platform thinks better of what it said."""
    with world.connect() as connection:
        connection.execute("update ad_day set cost_micros = cost_micros + 1000000 where date_day = ?", (day,))


def test_days_before_the_start_date_get_no_event(own: Orchestra) -> None:
    inbox = own.pipeline.inbox
    text = "Document;From;To;Category;Channel;Supplier;Amount\nOLD-1;01.05.2026;31.05.2026;tools;;Example;3.100,00 €\n"
    (inbox / "costs_2026-05.csv").write_bytes(text.encode("cp1252"))
    own.land("cost_ledger", "costs_2026-05.csv")
    assert own.metadata("raw/files/cost_ledger")["costs_2026-05.csv"]["dagster/partition_row_count"] == 1
    own.materialise("cost_ledger", start=date(2026, 6, 20))
    ledger = tables.cost_ledger.c
    assert len(own.pipeline.warehouse.rows(select(ledger.date_day).where(ledger.date_day < date(2026, 6, 1)))) == 31
    assert min(own.metadata("cost_ledger")) == START.isoformat()
