"""Asset checks, each seen to fail and to pass."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import dagster as dg
import pytest
import time_machine
from sqlalchemy import delete, update

from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.orchestration.checks import sunset_result
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import MORNING, Orchestra, checked, memory_folder, values
from b2b_pipeline_tests.support.installation import START, UNTIL
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import advance

ERROR, WARN = dg.AssetCheckSeverity.ERROR, dg.AssetCheckSeverity.WARN
TOMORROW = UNTIL + timedelta(days=1)


@pytest.fixture(scope="module")
def shared() -> Iterator[Orchestra]:
    """After a backfill of everything; each test puts back what it breaks."""
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        yield orchestra


@pytest.fixture
def finished() -> Iterator[Orchestra]:
    with memory_folder() as folder, dagster_home.finished(folder) as orchestra:
        yield orchestra


@pytest.fixture
def empty() -> Iterator[Orchestra]:
    with memory_folder() as folder, dagster_home.empty(folder) as orchestra:
        yield orchestra


def test_after_a_backfill_of_everything_every_check_passes(shared: Orchestra) -> None:
    assert shared.check("raw/files/lead", "accepted").passed, "there was no trade show, and so no file to land"
    keys = shared.defs.resolve_asset_graph().asset_check_keys
    results = {
        f"{key.asset_key.to_user_string()}:{key.name}": shared.instance.get_latest_asset_check_evaluation_record(key)
        for key in keys
        if key.name != "freshness"
    }
    told = {
        name: record.event.asset_check_evaluation if record and record.event else None
        for name, record in results.items()
    }
    assert [name for name, result in told.items() if result is None] == []
    leaking = told.pop("credit:leaks")
    assert leaking is not None
    assert "paid_social: " in str(values(leaking.metadata)), "which the demo does not read"
    assert {name: values(result.metadata) for name, result in told.items() if result and not result.passed} == {}
    assert shared.run("freshness").get_asset_check_evaluations()[0].passed


def test_the_contract_fails_when_a_slice_does_not_add_up(shared: Orchestra) -> None:
    audit = tables.load_audit
    of_spend = audit.c.target_table == "spend"
    change(shared, update(audit).where(of_spend).values(rows_in=audit.c.rows_in + 1))
    result = shared.check("spend", "contract")
    assert (result.passed, result.severity, result.blocking) == (False, ERROR, True)
    assert len(values(result.metadata)["slices_that_do_not_add_up"].split("; ")) == 2, "those of both accounts"
    change(shared, update(audit).where(of_spend).values(rows_in=audit.c.rows_in - 1))
    assert shared.check("spend", "contract").passed


def test_a_day_with_far_fewer_rows_than_usual_is_a_warning(shared: Orchestra) -> None:
    assert shared.check("spend", "volume").passed
    rows = shared.pipeline.warehouse.rows(tables.spend.select().where(tables.spend.c.date_day == UNTIL))
    change(shared, delete(tables.spend).where(tables.spend.c.date_day == UNTIL))
    result = shared.check("spend", "volume")
    assert (result.passed, result.severity) == (False, WARN)
    told = values(result.metadata)
    assert (told["day"], told["rows"]) == ("2026-06-28", 0)
    assert told["usual"] > 1
    change(shared, *(tables.spend.insert().values(row) for row in rows))
    assert shared.check("spend", "volume").passed


def test_rows_that_do_not_add_up_to_the_account_s_total_are_an_error(shared: Orchestra) -> None:
    landing = shared.pipeline.landing
    totals = landing.slices("google_ads", "account_daily")
    assert shared.check("raw/google_ads/campaign_daily", "reconciliation").passed
    assert landing.rewrite(totals[0], lambda line: line.replace('"costMicros":"', '"costMicros":"1')) > 0
    result = shared.check("raw/google_ads/campaign_daily", "reconciliation")
    assert (result.passed, result.severity) == (False, ERROR)
    told = values(result.metadata)["differences"].split("; ")
    assert told[-1].startswith(f"google_ads {totals[0].account['id']} 2026-06-09: metrics.costMicros of the rows ")
    landing.rewrite(totals[0], lambda line: line.replace('"costMicros":"1', '"costMicros":"'))
    assert shared.check("raw/google_ads/campaign_daily", "reconciliation").passed


def test_totals_that_never_landed_are_a_warning_because_nothing_was_compared(shared: Orchestra) -> None:
    compared = values(shared.check("raw/google_ads/campaign_daily", "reconciliation").metadata)
    wanted = {"days_compared": 2 * 20, "damaged": "none", "differences": "none", "without_totals": "none"}
    assert compared == wanted, "of both accounts"
    totals = shared.pipeline.landing.root / "raw" / "google_ads" / "account_daily"
    away = totals.rename(totals.with_name("away"))
    result = shared.check("raw/google_ads/campaign_daily", "reconciliation")
    away.rename(totals)
    assert (result.passed, result.severity) == (False, WARN)
    told = values(result.metadata)
    assert (told["days_compared"], told["differences"]) == (0, "none")
    assert "2026-06-28; " in told["without_totals"]
    assert shared.check("raw/google_ads/campaign_daily", "reconciliation").passed


def test_a_quarantined_row_is_a_warning_and_a_failed_file_an_error(finished: Orchestra) -> None:
    path = finished.pipeline.inbox / "costs_2026-06.csv"
    whole = path.read_bytes()
    header, *lines = whole.decode("cp1252").splitlines()
    path.write_bytes(
        "\r\n".join(
            [header, *lines, lines[0].replace(lines[0].split(";")[0], "ODD-1", 1).rpartition(";")[0] + ";n/a €"]
        ).encode("cp1252")
    )

    def load() -> dg.AssetCheckEvaluation:
        finished.land("cost_ledger", path.name)
        return checked(finished.materialise("cost_ledger", start=UNTIL), "cost_ledger", "quarantine")

    result = load()
    assert (result.passed, result.severity) == (False, WARN)
    assert values(result.metadata)["quarantined"] == "1 of files/cost_ledger: Amount: is not an amount (n/a €)"
    broken = [line.rpartition(";")[0] + ";n/a €" for line in lines[:-1]]
    path.write_bytes("\r\n".join([header, *broken, lines[-1]]).encode("cp1252"))
    result = load()
    assert (result.passed, result.severity) == (False, ERROR)
    assert "allowed are 5%" in values(result.metadata)["failed_slices"]
    path.write_bytes(whole)
    assert load().passed


KEY = dg.AssetKey(["raw", "google_ads", "campaign_daily"])


@pytest.mark.parametrize(
    ("left", "passed", "severity"),
    [(91, True, WARN), (90, False, WARN), (31, False, WARN), (30, False, ERROR), (-1, False, ERROR)],
)
def test_an_api_version_warns_90_days_before_its_end_and_fails_30_days_before(
    left: int, passed: bool, severity: dg.AssetCheckSeverity
) -> None:
    source = replace(SOURCES["google_ads"], sunset=date(2027, 3, 1))
    result = sunset_result(source, KEY, date(2027, 3, 1) - timedelta(days=left))
    assert result.passed is passed
    assert passed or result.severity == severity
    assert values(result.metadata) == {"version": source.api_version, "sunset": "2027-03-01"}


def test_an_api_version_whose_end_is_not_announced_passes() -> None:
    assert sunset_result(replace(SOURCES["google_ads"], sunset=None), KEY, date(2027, 3, 1)).passed


def test_freshness_fails_for_a_day_withheld_and_passes_once_it_is_there(empty: Orchestra) -> None:
    assert values(empty.check("kpi/pipeline", "freshness").metadata)["missing"] == "2026-06-28"
    withheld = UNTIL - timedelta(days=5)
    empty.materialise("kpi/pipeline", start=START, end=withheld - timedelta(days=1))
    empty.materialise("kpi/pipeline", start=withheld + timedelta(days=1), end=UNTIL)
    result = empty.check("kpi/pipeline", "freshness")
    assert (result.passed, result.severity) == (False, ERROR)
    assert values(result.metadata) == {"expected": "2026-06-28", "newest": "2026-06-28", "missing": "2026-06-23"}
    empty.materialise("kpi/pipeline", start=withheld)
    assert empty.check("kpi/pipeline", "freshness").passed
    with time_machine.travel(MORNING + timedelta(hours=22)):  # seven o'clock
        assert empty.check("kpi/pipeline", "freshness").passed
    with time_machine.travel(MORNING + timedelta(hours=23)):  # eight
        assert values(empty.check("kpi/pipeline", "freshness").metadata)["missing"] == "2026-06-29"


def test_an_outage_of_one_source_is_named_and_stops_nobody_and_heals(
    finished: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    books = [table.name for table in (*Calendar(finished.pipeline.config).core, *tables.DERIVED)]
    loaded = (*books, "coverage", "kpi/paid_media", "kpi/lead_generation")
    advance(finished.installation.world)
    with time_machine.travel(MORNING + timedelta(days=1)):
        add_fault(finished.installation.world, "hubspot", "withhold")
        finished.run("ingest_hubspot", TOMORROW, fails=True)
        finished.run("ingest_salesforce", TOMORROW)
        finished.run("ingest_google_ads", TOMORROW)
        result = finished.materialise(*loaded, start=TOMORROW)
        completeness = checked(result, "kpi/lead_generation", "completeness")
        assert (completeness.passed, completeness.severity) == (False, WARN)
        incomplete = values(completeness.metadata)["incomplete"].split("; ")
        assert "2026-06-29: hubspot/contact was not read for this day" in incomplete
        assert not [line for line in incomplete if "hubspot" not in line]
        told = finished.metadata("kpi/lead_generation")[TOMORROW.isoformat()]
        assert told["leads"] > 0, "computed from what is there"
        assert told["complete"] is False
        assert "hubspot/contact was not read" in told["incomplete_because"]
        assert " (incomplete)" in told["at_a_glance"]

        clear_faults(finished.installation.world)
        finished.run("ingest_hubspot", TOMORROW)
        result = finished.materialise(*loaded, start=TOMORROW)
        assert values(checked(result, "kpi/lead_generation", "completeness").metadata) == {"incomplete": "none"}
        healed: dict[str, Any] = finished.metadata("kpi/lead_generation")[TOMORROW.isoformat()]
        assert healed["complete"] is True
        assert healed["leads"] > told["leads"]


def change(orchestra: Orchestra, *statements: Any) -> None:
    with orchestra.pipeline.warehouse.write() as connection:
        for statement in statements:
            connection.execute(statement)
