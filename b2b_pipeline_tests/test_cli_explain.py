"""`b2b explain`: from a number down to what the vendor said."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, text, update

from b2b_pipeline.replay import rebuild
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests import installation
from b2b_pipeline_tests.installation import Installation

DAY = "2026-06-18"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def explained(installed: Installation, *arguments: str) -> dict[str, Any]:
    done = installed.b2b("explain", *arguments, "--format", "json")
    assert done.exit_code == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("metric", "table", "field"),
    [
        ("spend", "spend", "metrics.costMicros"),
        ("leads", "lead", "properties.email"),
        ("mqls", "stage_event", "propertiesWithHistory.lifecyclestage"),
        ("email_open_rate", "email_event", "recipient"),
        ("cost_per_lead", "cost_ledger", "Amount"),
    ],
)
def test_a_number_is_followed_down_to_the_vendors_record(
    installed: Installation, metric: str, table: str, field: str
) -> None:
    told = explained(installed, metric, "--on", DAY, "--rows", "100")
    landed = [payload for payload in told["payloads"] if payload["table"] == table]
    assert landed
    for payload in landed:
        assert payload["envelope"]["run_id"] == "first"
        assert payload["envelope"]["stream"]
        assert payload["record"] is not None
    value: Any = landed[0]["record"]
    for key in field.split("."):
        value = value[key]
    assert value


@pytest.mark.parametrize("metric", ["leads", "cost_per_lead", "email_click_rate", "lead_to_mql_rate"])
def test_rows_and_sql_add_up_to_the_components(installed: Installation, metric: str) -> None:
    told = explained(installed, metric, "--on", DAY, "--rows", "1000")
    for component in told["components"]:
        sums = Warehouse().rows(text(component["sql"]))
        assert sum(float(row["value"]) for row in sums) == float(component["value"])
        rows = [item for item in told["rows"] if item["because"] == component["component"]]
        assert sum(item["total"] for item in rows) == sum(row["n_rows"] for row in sums) or metric == "email_click_rate"
        assert all(item["total"] == len(item["rows"]) for item in rows)


def test_one_channel_is_explained_alone(installed: Installation) -> None:
    by_channel = installed.b2b("kpi", "leads", "--from", DAY, "--to", DAY, "--by", "channel", "--format", "json")
    for row in json.loads(by_channel.stdout):
        told = explained(installed, "leads", "--on", DAY, "--channel", row["channel"] or "")
        assert told["value"] == row["value"]
        assert {person["channel"] for person in told["rows"][0]["rows"]} == {row["channel"]}


def test_what_changed_since_is_told_with_its_cause(installed: Installation) -> None:
    pipeline = installed.pipeline()
    with pipeline.warehouse.write() as connection:
        connection.execute(update(tables.spend).where(tables.spend.c.date_day == date.fromisoformat(DAY)).values(clicks=1))
    rebuild(pipeline, "second", replay=False)
    before = explained(installed, "clicks", "--on", DAY)
    rebuild(pipeline, "third", replay=True, only=(tables.spend,))
    told = explained(installed, "clicks", "--on", DAY)
    last = [change for change in told["changes"] if change["run_id"] == "third"]
    assert last
    assert all(change["because"].startswith("google_ads/campaign_daily") for change in last)
    assert sum(float(c["new_value"]) - float(c["old_value"]) for c in last) == told["value"] - before["value"]


def test_for_people_it_is_text_with_the_payload(installed: Installation) -> None:
    done = installed.b2b("explain", "spend", "--on", DAY, "--rows", "1")
    assert done.exit_code == 0
    for part in ("spend on 2026-06-18: ", "sum of ad spend", "SELECT", "Landed record of spend", "costMicros", "nothing"):
        assert part in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["nonsense"], "unknown metric"), (["leads", "--channel", "carrier_pigeon"], "in channel carrier_pigeon; it has in")],
)
def test_what_cannot_be_explained_is_refused(installed: Installation, arguments: list[str], message: str) -> None:
    done = installed.b2b("explain", *arguments, "--on", DAY)
    assert done.exit_code == 2
    assert message in done.stderr


def test_no_row_of_a_core_table_is_without_its_record(installed: Installation) -> None:
    from b2b_pipeline.explain import payload

    pipeline = installed.pipeline()
    for table in tables.CORE:
        for row in pipeline.warehouse.rows(select(table).limit(3)):
            assert payload(pipeline.warehouse, pipeline.landing, pipeline.config, table, row).record is not None, table
