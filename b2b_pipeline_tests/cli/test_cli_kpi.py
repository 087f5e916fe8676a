"""`b2b kpi`, `b2b migrate`, `b2b replay` and how errors end a command."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import insert, inspect, text, update

from b2b_pipeline.cli.common import csv_cell, printable
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.warehouse import migrate, tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import START, UNTIL, Installation

RANGE = ("--from", START.isoformat(), "--to", UNTIL.isoformat())


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.shared(monkeypatch)


@pytest.fixture
def altered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def test_the_answers_are_those_of_the_truth(installed: Installation) -> None:
    asked = ["leads", "spend", "cost_per_lead", "email_open_rate", "cac"]
    answer = installed.b2b("kpi", *asked, *RANGE, "--by", "week", "--format", "json")
    metrics = [part for name in asked for part in ("--metric", name)]
    truth = installed.b2b(
        "sandbox", "truth", "--world", "world.sqlite", *metrics, *RANGE, "--by", "week", "--format", "json"
    )
    assert answer.exit_code == truth.exit_code == 0
    rows = json.loads(answer.stdout)
    assert len(rows) == 5 * 3
    known = [row for row in rows if row["complete"]]
    assert {row["metric"] for row in known} == set(asked)
    assert [row for row in json.loads(truth.stdout) if row in known] == known


def test_a_mistyped_year_is_told_and_makes_no_million_periods(altered: Installation) -> None:
    warehouse = altered.pipeline().warehouse
    stored = tables.kpi_component_daily
    mistyped = {date.max: 7, date(24, 5, 1): 8}
    cell = {"family": "pipeline", "component": "lost", "n_rows": 1}
    rows = [{**cell, "date_day": day, "value": n} for day, n in mistyped.items()]
    with warehouse.write() as connection:
        connection.execute(insert(stored), rows)
    for grain in ("day", "month", "year"):
        found = json.loads(altered.b2b("kpi", "lost", "--by", grain, "--format", "json").stdout)
        assert (found[0]["value"], found[-1]["value"]) == (8, 7)
        assert len(found) < 400


def test_costs_per_person_cannot_be_split_by_the_currency_that_people_do_not_have(installed: Installation) -> None:
    found = installed.b2b("kpi", "cost_per_lead", *RANGE, "--by", "currency")
    assert found.exit_code == 2
    assert "cost_per_lead cannot be split by 'currency'" in found.stderr
    assert installed.b2b("kpi", "spend", *RANGE, "--by", "currency").exit_code == 0


def test_csv_has_a_line_per_row_and_json_is_a_list_for_one_metric_too(installed: Installation) -> None:
    rows = json.loads(installed.b2b("kpi", "leads", *RANGE, "--by", "channel", "--format", "json").stdout)
    lines = list(
        csv.DictReader(io.StringIO(installed.b2b("kpi", "leads", *RANGE, "--by", "channel", "--format", "csv").stdout))
    )
    assert [row["metric"] for row in rows] == ["leads"] * len(lines)
    assert [(row["channel"] or "", str(row["value"])) for row in rows] == [
        (line["channel"], line["value"]) for line in lines
    ]


def test_a_row_that_is_not_complete_says_why_once(installed: Installation) -> None:
    found = installed.b2b("kpi", "leads", "mqls", "--from", "2026-06-01", "--to", START.isoformat(), "--by", "day")
    assert found.exit_code == 0
    assert found.stderr.count("nothing is read before start_date 2026-06-09 (leads, mqls)") == 1
    assert "not complete" not in found.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nonsense"], "unknown metric 'nonsense'"),
        (["leads", "--by", "shoe_size"], "leads cannot be split by 'shoe_size'; it can by day, week"),
        (["leads", "--by", "day,week"], "only one of day, week"),
        (["leads", "--from", "2026-06-30", "--to", "2026-06-01"], "is after --to"),
        (["leads", "--from", "01.06.2026"], "is not a day"),
        ([], "name at least one metric"),
    ],
)
def test_a_wrong_question_is_refused_with_what_would_be_right(
    installed: Installation, arguments: list[str], message: str
) -> None:
    found = installed.b2b("kpi", *arguments)
    assert (found.exit_code, found.stdout) == (2, "")
    assert message in found.stderr


@pytest.mark.parametrize(
    ("said", "meant"),
    [("CPL", "cost_per_lead"), ("cost per lead", "cost_per_lead"), ("MQL", "mqls"), ("Click-through rate", "ctr"),
     ("customer acquisition cost", "cac"), ("ROAS", "roas"), ("lead", "leads"), ("Win Rate", "win_rate")],
)  # fmt: skip
def test_a_metric_is_known_by_what_people_call_it(installed: Installation, said: str, meant: str) -> None:
    found = installed.b2b("kpi", said, *RANGE, "--format", "json")
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)[0]["metric"] == meant


@pytest.mark.parametrize(
    ("said", "near"),
    [("cost_per_leed", "cost_per_lead"), ("revenue", "bookings or revenue_first_touch"), ("cvr", "lead_to")],
)
def test_a_metric_that_could_be_several_is_answered_with_the_nearest(
    installed: Installation, said: str, near: str
) -> None:
    found = installed.b2b("kpi", said)
    assert found.exit_code == 2
    assert f"unknown metric '{said}': did you mean {near}" in found.stderr


def test_an_empty_warehouse_says_so_and_every_value_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Installation(tmp_path, installation.template().world)
    installation.settle(found, monkeypatch)
    found.b2b("setup")
    answer = found.b2b("kpi", "spend", "leads", "--format", "json")
    assert answer.exit_code == 0, answer.stderr
    assert [row["value"] for row in json.loads(answer.stdout)] == [None, None]
    assert "the warehouse is empty: nothing was read yet. `b2b backfill` reads, " in answer.stderr


def test_what_a_terminal_cannot_show_is_replaced(installed: Installation) -> None:
    code = (
        "from b2b_pipeline.cli import app; import typer\n"
        "@app.command('odd')\n"
        "def odd() -> None: typer.echo('Zürich \\u20ac \\ud800')\n"
        "app(['odd'])"
    )
    for encoding in ("ascii", "latin-1", "utf-8"):
        environment = {**os.environ, "PYTHONIOENCODING": encoding}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=False)
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith(b"?\n")


def test_every_metric_is_listed_without_any_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Installation(tmp_path, installation.template().world)
    installation.settle(found, monkeypatch)
    listed = json.loads(found.b2b("kpi", "--list", "--format", "json").stdout)
    assert [row["metric"] for row in listed] == list(METRICS)
    (cac,) = (row for row in listed if row["metric"] == "cac")
    assert (cac["stage"], cac["owner"], cac["tier"]) == ("revenue", "revenue operations", "primary")
    assert not found.home.exists()


def test_a_missing_warehouse_is_refused_with_the_command_that_makes_it(altered: Installation) -> None:
    (altered.home / "warehouse.duckdb").unlink()
    found = altered.b2b("kpi", "leads")
    assert found.exit_code == 2
    assert "run `b2b migrate`" in found.stderr
    assert "upgraded from nothing" in altered.b2b("migrate").stdout
    assert "nothing to do" in altered.b2b("migrate").stdout


@pytest.mark.parametrize("text", ["=cmd()", "+1 (2)", "-x", "@SUM(A1)", "\t=1", "\r=1"])
def test_a_cell_that_a_spreadsheet_would_run_is_made_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


def test_numbers_stay_numbers_in_csv() -> None:
    assert [csv_cell(value) for value in ("-12.50", -3, 0.5, None, True)] == ["-12.50", "-3", "0.5", "", "true"]


def test_text_from_elsewhere_cannot_steer_the_terminal() -> None:
    assert printable("\x1b[2Jevil\x07") == "\ufffd[2Jevil\ufffd"


def test_dagster_is_not_imported_for_a_number(installed: Installation) -> None:
    code = (
        "import sys; from b2b_pipeline.cli import app; app(['kpi', 'leads'], standalone_mode=False);"
        "print('dagster' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


def test_a_replay_changes_nothing_and_mends_what_was_altered(altered: Installation) -> None:
    with Warehouse().write() as connection:
        connection.execute(update(tables.spend).values(clicks=7))
    mended = altered.b2b("replay", "--table", "spend")
    assert "changed: spend: " in mended.stdout
    assert "nothing changed" in altered.b2b("replay").stdout
    assert altered.b2b("replay", "--table", "kpi").exit_code == 2


def test_the_schema_is_that_of_the_declaration_on_postgresql_and_two_upgrades_at_once_are_one(
    postgres_database: Callable[[], str],
) -> None:
    url = postgres_database()
    before: list[str | None] = []
    threads = [threading.Thread(target=lambda: before.append(migrate.upgrade(Warehouse(url)))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(before, key=str) == [migrate.HEAD, None]
    with Warehouse(url).read() as connection:
        found = inspect(connection)
        assert set(found.get_table_names()) == {*tables.metadata.tables, "alembic_version"}
        assert found.get_indexes("lead")


def test_the_view_says_what_b2b_kpi_says(installed: Installation) -> None:
    answer = installed.b2b("kpi", "ctr", "cost_per_lead", "cac", "--by", "day,channel,campaign", "--format", "json")
    keys = ("metric", "date", "channel", "campaign")
    asked = {tuple(row[key] for key in keys): row["value"] for row in json.loads(answer.stdout)}
    rows = Warehouse().rows(text("select * from kpi_daily where metric in ('ctr', 'cost_per_lead', 'cac')"))
    assert sum(row["value"] is not None for row in rows) > 50
    for row in rows:
        value = asked[row["metric"], row["date_day"].isoformat(), row["channel"], row["campaign_id"]]
        assert (row["value"] is None) == (value is None)
        assert value is None or float(row["value"]) == pytest.approx(float(value), abs=0.005)


def test_what_does_not_add_up_is_refused_with_what_can_be_asked(installed: Installation) -> None:
    refused = installed.b2b("kpi", "attributed_revenue", "--by", "month")
    assert refused.exit_code == 2
    assert "once per model, which do not add up: ask for it by model, or for revenue_first_touch" in refused.stderr


def test_the_numbers_of_an_old_model_are_held_beside_ours_one_by_one(installed: Installation, tmp_path: Path) -> None:
    ours = json.loads(installed.b2b("kpi", "leads", "spend", *RANGE, "--by", "week", "--format", "json").stdout)
    leads = {row["date"]: row["value"] for row in ours if row["metric"] == "leads"}
    spend = {row["date"]: row["value"] for row in ours if row["metric"] == "spend"}
    first, second, *_ = leads
    file = tmp_path / "old.csv"
    lines = [f"{first},{leads[first]},{spend[first]}", f"{second},{leads[second] + 3},"]
    file.write_text("date,leads,spend\n" + "\n".join(lines) + f"\n{UNTIL},7,\n", encoding="utf-8")
    asked = ("kpi", "leads", "spend", *RANGE, "--by", "week", "--against", str(file), "--format", "json")
    held = {(row["metric"], row["date"]): row for row in json.loads(installed.b2b(*asked).stdout)}
    assert held["leads", first]["difference"] == 0
    assert held["spend", first]["difference"] == "0.00"
    assert held["leads", second]["difference"] == -3
    assert (held["spend", second]["theirs"], held["spend", second]["difference"]) == (None, None)
    assert held["leads", UNTIL.isoformat()] == {
        "metric": "leads", "date": UNTIL.isoformat(), "value": None, "numerator": None, "denominator": None,
        "complete": False, "theirs": 7, "difference": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("day,leads\n2026-06-09,3\n", "has no column date"),
        ("date,leads\n09.06.2026,3\n", "line 2: date is no day such as 2026-01-31"),
        ("date,leads\n2026-06-09,three\n", "line 2: leads is no number"),
        (None, "cannot be read as CSV"),
    ],
)
def test_a_file_of_an_old_model_that_cannot_be_read_says_where(
    installed: Installation, tmp_path: Path, text: str | None, said: str
) -> None:
    file = tmp_path / "old.csv"
    if text:
        file.write_text(text, encoding="utf-8")
    found = installed.b2b("kpi", "leads", *RANGE, "--by", "day", "--against", str(file))
    assert found.exit_code == 2
    assert said in found.output


def test_of_a_metric_that_nothing_feeds_the_lacking_feed_is_told_and_no_derive_is_asked_for(
    installed: Installation,
) -> None:
    found = installed.b2b("kpi", "sessions", "revenue_invoiced", "nps", *RANGE)
    assert "run `derive`" not in found.output
    assert "nothing that is switched on gives sessions" in found.output
