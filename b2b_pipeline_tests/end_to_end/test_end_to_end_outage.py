"""An outage or bad rows of one source: the others go on, what is missing is named, and it heals when it is there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import pytest
import time_machine
from sqlalchemy import func, select

from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.landing.store import Slice
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.tables import coverage, load_audit, quarantine, spend
from b2b_pipeline_tests.support.end_to_end import (
    ENGINES,
    EVERY,
    UNTIL,
    Workshop,
    assert_same,
    assert_true,
    at_once,
    build,
    clock,
    content,
    environment,
    load,
    new_warehouses,
    pull,
)
from b2b_pipeline_tests.support.installation import Installation
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import advance
from b2b_sandbox.world import World


@pytest.fixture(autouse=True)
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "sleep", lambda seconds: None)


@pytest.fixture(scope="module", params=ENGINES)
def new_warehouse(request: pytest.FixtureRequest) -> Callable[[], str]:
    return new_warehouses(request)


@pytest.fixture
def found(tmp_path: Path) -> Installation:
    """A copy of the installation that read everything at once, with a world of its own."""
    shutil.copytree(at_once().home, tmp_path / "home")
    shutil.copy(at_once().folder / "pipeline.yaml", tmp_path)
    shutil.copy(at_once().world.path, tmp_path / "world.sqlite")
    return Installation(tmp_path, World(tmp_path / "world.sqlite"))


def night(found: Installation, url: str, days: int = 1) -> tuple[Workshop, dict[str, str]]:
    """The world moves on, the last day is read, everything is built."""
    advance(found.world, days)
    until = date.fromisoformat(found.world.setting("until"))
    with environment(found), time_machine.travel(clock(found.world)):
        failed = pull(found, found.pipeline(), until, until, f"night {until}")
    return build(found, url, f"night {until}")[0], failed


@pytest.mark.parametrize("new_warehouse", ["duckdb"], indirect=True)  # nothing in it is particular to an engine
def test_an_outage_of_one_source_is_named_and_heals_with_the_next_night(
    found: Installation, new_warehouse: Callable[[], str]
) -> None:
    url, day = new_warehouse(), UNTIL + timedelta(days=1)
    build(found, url, "before")
    add_fault(found.world, "hubspot", "withhold")
    shop, failed = night(found, url)
    assert set(failed) == {f"hubspot/{stream.name}" for stream in SOURCES["hubspot"].streams}
    with time_machine.travel(clock(found.world)):
        answers = {a.metric.name: a for a in ask(shop.warehouse, shop.config, ["spend", "won", "leads"], day, day)}
        before = ask(shop.warehouse, shop.config, EVERY, UNTIL - timedelta(days=7), UNTIL)
    # The 30 or 90 days that a cohort of before has reach into the outage.
    reaching = {"lead_to_mql_rate_30d", "lead_to_customer_rate_90d"}
    assert {answer.metric.name for answer in before if not answer.complete} == reaching
    assert answers["spend"].complete
    assert not answers["leads"].complete
    assert all(reason.startswith("hubspot/") for reason in answers["leads"].reasons)
    assert_true(found, shop, day, ("day",), names=["spend", "cpc", "opportunities", "bookings"], incomplete=True)

    clear_faults(found.world)
    shop, failed = night(found, url)
    assert not failed
    for by in ((), ("day",), ("day", "channel")):
        assert_true(found, shop, day + timedelta(days=1), by)


def spoil(pipeline: Pipeline, item: Slice, share: float) -> int:
    """Make the cost of that share of a slice's records something that is no number; at least of one."""
    records = list(pipeline.landing.records(item))
    spoilt = {json.dumps(record, sort_keys=True) for record in records[: max(1, round(len(records) * share))]}

    def change(line: str) -> str:
        bad = json.dumps(json.loads(line), sort_keys=True) in spoilt
        return line.replace('"costMicros":"', '"costMicros":"about ') if bad else line

    return pipeline.landing.rewrite(item, change)


def newest(shop: Pipeline) -> Slice:
    return shop.landing.slices("google_ads", "campaign_daily")[-1]


def test_a_bad_row_is_quarantined_with_its_reason_and_the_rest_counts(
    found: Installation, new_warehouse: Callable[[], str]
) -> None:
    with environment(found):
        item = newest(found.pipeline())
        assert spoil(found.pipeline(), item, 0) == 1
    shop, reports = load(found, new_warehouse(), spend)
    (bad,) = shop.warehouse.rows(quarantine.select())
    assert (bad["column_name"], bad["reason"], bad["slice_id"]) == ("spend", "not an amount", item.slice_id)
    assert '"costMicros": "about ' in bad["record"]
    report = reports["spend"]
    assert report.quarantined == 1
    assert report.rows_in == report.loaded + report.quarantined + report.deduplicated
    assert not report.failures


def test_a_slice_with_too_many_bad_rows_fails_whole_and_is_loaded_once_it_may(
    found: Installation, new_warehouse: Callable[[], str]
) -> None:
    url = new_warehouse()
    before, _ = load(found, url, spend)
    rows = content(before.warehouse, spend)
    advance(found.world, 1)
    until = UNTIL + timedelta(days=1)
    with environment(found), time_machine.travel(clock(found.world)):
        pull(found, found.pipeline(), until, until, "spoilt")
        item = newest(found.pipeline())
        spoilt = spoil(found.pipeline(), item, 0.4)
        assert spoilt > 3
    shop, reports = load(found, url, spend)
    assert set(reports["spend"].failures) == {item.slice_id}
    ours = spend.c.source_account == item.account["id"]
    assert shop.warehouse.rows(select(func.max(spend.c.date_day).label("day")).where(ours)) == [{"day": UNTIL}]
    kept = [row for row in content(shop.warehouse, spend) if row[1] == item.account["id"]]
    assert set(kept) == {row for row in rows if row[1] == item.account["id"]}
    (error,) = shop.warehouse.rows(select(load_audit.c.error).where(load_audit.c.error.is_not(None)))
    assert f"fail the contract of spend (most: {spoilt} x spend: not an amount); allowed are 5%" in error["error"]
    days = {date.fromisoformat(day) for day in item.days if day not in item.same_as}
    said = shop.warehouse.rows(select(coverage.c.date_day).where(coverage.c.reason == error["error"]))
    assert {row["date_day"] for row in said} == days
    # Whoever builds anew from this landing gets the same.
    assert_same(shop.warehouse, load(found, new_warehouse(), spend)[0].warehouse, (spend, quarantine, coverage))

    path = found.folder / "pipeline.yaml"
    path.write_text(path.read_text() + "limits: {max_quarantined: 0.5}\n")
    shop, reports = load(found, url, spend)
    assert reports["spend"].quarantined == spoilt
    assert not shop.warehouse.rows(select(load_audit.c.error).where(load_audit.c.error.is_not(None)))
    assert {row[1] for row in content(shop.warehouse, spend) if row[3] == until} >= {item.account["id"]}
