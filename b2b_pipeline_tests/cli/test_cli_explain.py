"""`b2b explain`: from a number down to what the vendor said."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from b2b_pipeline.core.load import load_table
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.operations.explain import open_slice, payload
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import Installation

DAY = "2026-06-18"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.shared(monkeypatch)


def explained(installed: Installation, *arguments: str) -> dict[str, Any]:
    done = installed.b2b("explain", *arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def at(record: Any, path: str) -> Any:
    for key in path.split("."):
        record = record.get(key, {})
    return record


@pytest.mark.parametrize(
    ("metric", "table", "field"),
    [
        ("spend", "spend", "metrics.costMicros"),
        ("leads", "lead", "properties.email"),
        ("mqls", "stage_event", "NewValue"),
        ("opportunities", "opportunity", "StageName"),
        ("email_open_rate", "email_event", "recipient"),
        ("cost_per_lead", "cost_ledger", "Amount"),
    ],
)
def test_a_number_is_followed_down_to_the_vendors_record(
    installed: Installation, metric: str, table: str, field: str
) -> None:
    by_day = json.loads(installed.b2b("kpi", metric, "--by", "day", "--format", "json").stdout)
    day = next(row["date"] for row in by_day if row["numerator"] not in (None, 0, "0.000000"))
    told = explained(installed, metric, "--on", day, "--rows", "100")
    landed = [payload for payload in told["payloads"] if payload["table"] == table]
    assert {payload["envelope"]["run_id"] for payload in landed} == {"first"}
    assert any(at(payload["record"], field) for payload in landed)


@pytest.mark.parametrize("metric", ["leads", "cost_per_lead", "email_click_rate", "lead_to_mql_rate"])
def test_rows_and_sql_add_up_to_the_components(installed: Installation, metric: str) -> None:
    told = explained(installed, metric, "--on", DAY, "--rows", "1000")
    for component in told["components"]:
        sums = Warehouse().rows(text(component["sql"]))
        assert sum(row["value"] for row in sums) == Decimal(component["value"])
        rows = [item for item in told["rows"] if item["because"] == component["component"]]
        if component["component"] != "email_clicks":  # most recipients add 0 to it, and are not shown
            assert sum(item["total"] for item in rows) == sum(row["n_rows"] for row in sums)
        assert all(item["total"] == len(item["rows"]) for item in rows)


def test_one_channel_is_explained_alone(installed: Installation) -> None:
    by_channel = installed.b2b("kpi", "leads", "--from", DAY, "--to", DAY, "--by", "channel", "--format", "json")
    for row in json.loads(by_channel.stdout):
        told = explained(installed, "leads", "--on", DAY, "--channel", row["channel"] or "")
        assert told["value"] == row["value"]
        assert {person["channel"] for person in told["rows"][0]["rows"]} == {row["channel"]}


def test_what_changed_since_is_told_with_its_cause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installation.copy(tmp_path, monkeypatch)
    pipeline = installed.pipeline()
    with pipeline.warehouse.write() as connection:
        connection.execute(update(tables.spend).values(clicks=1))
    publish_family(pipeline.warehouse, pipeline.config, FAMILIES["paid_media"], "second")
    before = explained(installed, "clicks", "--on", DAY)
    load_table(pipeline.warehouse, pipeline.landing, pipeline.config, tables.spend, "third", replay=True)
    publish_family(pipeline.warehouse, pipeline.config, FAMILIES["paid_media"], "third")
    told = explained(installed, "clicks", "--on", DAY)
    last = [change for change in told["changes"] if change["run_id"] == "third"]
    assert last
    assert all(change["because"].startswith("google_ads/campaign_daily") for change in last)
    assert sum(float(c["new_value"]) - float(c["old_value"]) for c in last) == told["value"] - before["value"]


def test_for_people_it_is_a_page_first(installed: Installation) -> None:
    done = installed.b2b("explain", "ad spend", "--on", DAY)
    assert done.exit_code == 0
    assert "spend on 2026-06-18: " in done.stdout
    assert ": EUR " in done.stdout
    assert "spend: 5 of " in done.stdout
    assert "What changed since it was first published" in done.stdout
    assert "all of it: --all" in done.stdout
    assert "SELECT" not in done.stdout
    assert "Landed record" not in done.stdout
    assert "SELECT" in installed.b2b("explain", "spend", "--on", DAY, "--sql").stdout
    assert "Landed record of spend" in installed.b2b("explain", "spend", "--on", DAY, "--payload").stdout


def test_all_of_it_is_there_on_request(installed: Installation) -> None:
    done = installed.b2b("explain", "spend", "--on", DAY, "--rows", "1", "--all")
    assert done.exit_code == 0
    for part in (
        "spend on 2026-06-18: ",
        "sum of ad spend",
        "SELECT",
        "Landed record of spend",
        "costMicros",
        "nothing",
    ):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown metric"),
        (["leads", "--channel", "carrier_pigeon"], "in channel carrier_pigeon; it has in"),
    ],
)
def test_what_cannot_be_explained_is_refused(installed: Installation, arguments: list[str], message: str) -> None:
    done = installed.b2b("explain", *arguments, "--on", DAY)
    assert done.exit_code == 2
    assert message in done.stderr


def test_a_row_is_traced_to_its_own_record_and_to_no_other_day_of_its_campaign(installed: Installation) -> None:
    pipeline = installed.pipeline()
    rows = pipeline.warehouse.rows(select(tables.spend).where(tables.spend.c.clicks > 0).limit(10))
    for row in rows:
        opened = open_slice(pipeline.warehouse, pipeline.landing, pipeline.config, tables.spend, row["slice_id"])
        record = payload(tables.spend, row, opened).record
        assert record is not None
        assert (record["segments"]["date"], int(record["metrics"]["clicks"])) == (str(row["date_day"]), row["clicks"])


def test_no_row_of_a_core_table_is_without_its_record(installed: Installation) -> None:
    pipeline = installed.pipeline()
    for table in tables.CORE:
        for row in pipeline.warehouse.rows(select(table).limit(3)):
            opened = open_slice(pipeline.warehouse, pipeline.landing, pipeline.config, table, row["slice_id"])
            assert payload(table, row, opened).record is not None, table
