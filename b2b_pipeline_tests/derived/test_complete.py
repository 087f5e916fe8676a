"""No number says that it is complete while the tables, or pipeline.yaml, are ahead of what it was made of."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

from b2b_pipeline.core.load import load_tables
from b2b_pipeline.derived.coverage import update_coverage
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.derived.made_of import BEHIND
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.operations.export import export_parquet
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.derived.test_unknown import LEADS, THREE_LEADS, TWO_DEALS, WON_ALONE, world
from b2b_pipeline_tests.support.dropped import Dropped

ONCE = "    cadence: once\n"
SETTINGS = "files:" + "".join(part.replace('.csv"\n', '.csv"\n' + ONCE) for part in (LEADS, WON_ALONE))
ASKED = ["leads", "bookings", "lead_to_customer_rate", "average_deal_size"]
DAY = "2026-01-02"
MORE = "Deal,Lead,Won,Amount\nd1,1,2026-01-02,100\nd2,2,2026-01-02,50\n"


@pytest.fixture
def whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    found = world(tmp_path, monkeypatch, SETTINGS, leads=THREE_LEADS, deals=TWO_DEALS)
    assert incomplete(found.pipeline()) == set()
    return found


def incomplete(pipeline: Pipeline) -> set[str]:
    """The metrics that say that they are not complete because they are behind."""
    answers = ask(pipeline.warehouse, pipeline.config, ASKED)
    assert all(answer.reasons in ((), (BEHIND,)) for answer in answers)
    return {answer.metric.name for answer in answers if answer.reasons}


def load(pipeline: Pipeline) -> None:
    reports = load_tables(pipeline.warehouse, pipeline.landing, pipeline.config, tables.CORE, "next")
    assert not any(report.broken for report in reports.values())


def test_between_a_load_and_the_derive_that_follows_nothing_of_it_is_complete(whole: Dropped) -> None:
    pipeline = whole.pipeline()
    parts = pipeline.warehouse, pipeline.config
    whole.drop("deals.csv", MORE)
    load(pipeline)
    assert incomplete(pipeline) == {*ASKED}, "coverage is of before"
    update_coverage(pipeline.warehouse, pipeline.landing, pipeline.config, datetime.now(pipeline.config.zone).date())
    behind = {*ASKED}
    assert incomplete(pipeline) == behind
    for family in FAMILIES.values():  # by hand, before the tables that they are made of
        publish_family(*parts, family, "too early")
    assert incomplete(pipeline) == behind
    for table in tables.DERIVED:
        derive_table(*parts, table)
    assert incomplete(pipeline) == behind
    for name in ("pipeline", "attribution"):
        publish_family(*parts, FAMILIES[name], "next")
    assert incomplete(pipeline) == {"leads", "lead_to_customer_rate"}
    for family in FAMILIES.values():
        publish_family(*parts, family, "next")
    assert incomplete(pipeline) == set()


def test_a_derive_that_breaks_off_before_the_first_numbers_leaves_nothing_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Dropped.of(tmp_path, monkeypatch, SETTINGS)
    for name, content in (("leads.csv", THREE_LEADS), ("deals.csv", TWO_DEALS)):
        found.drop(name, content)
    pipeline = found.pipeline()
    load(pipeline)
    update_coverage(pipeline.warehouse, pipeline.landing, pipeline.config, datetime.now(pipeline.config.zone).date())
    assert incomplete(pipeline) == {*ASKED}


@pytest.mark.parametrize(
    "change",
    [
        'exclude: {email_patterns: ["test*@*"]}\n',
        "channels: {paid: [paid_social]}\n",
        "stages: {hubspot: {lead: lead}}\n",
        "sources: {hubspot: {}}\n",
    ],
)
def test_a_change_of_the_configuration_is_behind_until_it_is_derived(whole: Dropped, change: str) -> None:
    path = whole.folder / "pipeline.yaml"
    path.write_text(path.read_text(encoding="utf-8") + change, encoding="utf-8")
    answers = ask(whole.pipeline().warehouse, whole.pipeline().config, ASKED)
    assert all(BEHIND in answer.reasons for answer in answers)
    whole.load()
    answers = ask(whole.pipeline().warehouse, whole.pipeline().config, ASKED, None, None)
    assert not any(BEHIND in answer.reasons for answer in answers)


def test_what_changes_no_number_is_not_behind(whole: Dropped) -> None:
    path = whole.folder / "pipeline.yaml"
    path.write_text(path.read_text(encoding="utf-8") + "gross_margin: 0.5\nlimits: {row_drop: 0.4}\n", encoding="utf-8")
    assert incomplete(whole.pipeline()) == set()


def told(found: Dropped) -> dict[tuple[str, str], tuple[bool, str | None, str]]:
    """What `kpi_daily` and its copy for BI tools say: metric and day -> complete, why not or why null, unit."""
    pipeline = found.pipeline()
    rows = pipeline.warehouse.rows(text("select * from kpi_daily"))
    export_parquet(pipeline.warehouse, found.folder / "exports")
    copied = pq.read_table(found.folder / "exports" / "kpi_daily.parquet").to_pylist()
    kept = ("metric", "date_day", "complete", "because", "unit")
    assert {tuple(row[name] for name in kept) for row in rows} == {tuple(row[name] for name in kept) for row in copied}
    return {(row["metric"], str(row["date_day"])): (row["complete"], row["because"], row["unit"]) for row in rows}


def test_the_view_and_its_copy_say_what_is_complete_and_why_not(whole: Dropped) -> None:
    assert told(whole)["leads", DAY] == (True, None, "count")
    assert told(whole)["bookings", DAY] == (True, None, "money")
    lost = "nothing says which deals are lost: map lost_date or is_closed, or list the lost stages"
    assert told(whole)["win_rate", DAY] == (True, lost, "rate")
    rows = "".join(f"{n},2026-01-0{2 + n % 2},Web\n" for n in range(4, 40))
    assert not whole.drop("leads.csv", THREE_LEADS + rows + "40,2026-01-32,Web\n")
    whole.load()
    refused = "1 row of lead from leads.csv is in quarantine; 1 row of touchpoint from leads.csv is in quarantine"
    assert told(whole)["leads", DAY] == (False, refused, "count")
    whole.drop("deals.csv", MORE)
    load(whole.pipeline())
    parts = whole.pipeline().warehouse, whole.pipeline().landing, whole.pipeline().config
    update_coverage(*parts, datetime.now(parts[2].zone).date())
    assert not any(complete for complete, _, _ in told(whole).values()), "it is being derived"
