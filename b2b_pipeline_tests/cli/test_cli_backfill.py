"""`b2b backfill` on a small company: a plan first, then what is missing, whatever else fails."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
import time_machine
from typer.testing import Result

from b2b_pipeline.cli.backfill import split
from b2b_pipeline.connectors import registry
from b2b_pipeline.core.load import load_table
from b2b_pipeline.orchestration.launch import Launcher
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import Orchestra, memory_folder
from b2b_pipeline_tests.support.installation import START, UNTIL, Installation
from b2b_sandbox.faults import add_fault
from b2b_sandbox.purge import purge

FIRST = UNTIL - timedelta(days=2)
SOURCES = ("google_ads", "hubspot", "ecb")


@pytest.fixture
def orchestra() -> Iterator[Orchestra]:
    """Three days of three sources, two days a run."""
    with memory_folder() as folder, dagster_home.empty(folder) as orchestra:
        path = orchestra.installation.folder / "pipeline.yaml"
        text = path.read_text(encoding="utf-8").replace(str(START), str(FIRST)).replace(": salesforce", ": hubspot")
        text = re.sub(r"  salesforce:\n    fields: .*\n", "", text)
        path.write_text(f"{text}\nlimits: {{backfill_days: 2}}\n", encoding="utf-8")
        yield orchestra


@pytest.fixture
def derived(monkeypatch: pytest.MonkeyPatch) -> list[tuple[date, date]]:
    """What is derived, instead of doing it: other tests do, and it takes long."""
    asked: list[tuple[date, date]] = []

    def derive(_: Launcher, start: date, end: date) -> str:
        asked.append((start, end))
        return ""

    monkeypatch.setattr(Launcher, "derive", derive)
    return asked


def stored(installation: Installation) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(installation.home.rglob("*")) if path.is_file()}


def landed(orchestra: Orchestra) -> dict[str, set[str]]:
    """Source -> the days after the last of its slices, one for each run that read it."""
    streams = {"google_ads": "campaign_daily", "hubspot": "contact", "ecb": "exchange_rate"}
    slices = {source: orchestra.pipeline.landing.slices(source, stream) for source, stream in streams.items()}
    return {source: {item.end for item in found} for source, found in slices.items()}


def test_the_plan_tells_calls_quota_and_time_and_changes_nothing(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    for source in SOURCES:
        monkeypatch.setenv(f"{source.upper()}_BASE_URL", "http://127.0.0.1:9")  # nobody is asked
    assert orchestra.pipeline.landing.pseudonyms  # by now there is a hash key
    before = stored(orchestra.installation)
    result = orchestra.installation.b2b("backfill", "--plan")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert list(lines) == list(SOURCES)
    for line in lines.values():
        calls, quota = r"at least \d+ calls", r"\((\d\.\d% of [\d,]+ a day|no daily quota known)\)"
        assert re.fullmatch(rf"3 days in 2 runs, {calls} {quota}, at least \d+\.\d min", line), line
    assert "% of 2,880 a day" in lines["google_ads"]
    assert stored(orchestra.installation) == before
    assert not orchestra.instance.get_runs()


def test_a_source_that_fails_stops_no_other_and_the_next_backfill_reads_only_what_is_missing(
    orchestra: Orchestra, derived: list[tuple[date, date]], monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, middle, after = orchestra.installation, UNTIL - timedelta(days=1), UNTIL + timedelta(days=1)
    malformed = orchestra.pipeline.inbox / "event_leads.csv"
    malformed.write_text("not what the mapping says\n")
    token = os.environ["HUBSPOT_ACCESS_TOKEN"]
    monkeypatch.delenv("HUBSPOT_ACCESS_TOKEN")
    result = installation.b2b("backfill", "--to", str(middle))
    assert result.exit_code == 1, result.output
    assert "HUBSPOT_ACCESS_TOKEN is not set" in result.stderr
    assert "failed: event_leads.csv: " in result.stderr
    assert "error: 2 runs failed" in result.stderr
    assert landed(orchestra) == {"google_ads": {str(UNTIL)}, "hubspot": set(), "ecb": {str(UNTIL)}}
    assert orchestra.pipeline.landing.slices("files", "cost_ledger")
    assert derived == [(FIRST, middle)]

    monkeypatch.setenv("HUBSPOT_ACCESS_TOKEN", token)
    malformed.unlink()
    assert installation.b2b("files", "forget", malformed.name).exit_code == 0
    told = re.findall(r"(\w+): (\d) days in (\d) runs, (about|at least)", installation.b2b("backfill", "--plan").stdout)
    assert told == [("google_ads", "1", "1", "about"), ("hubspot", "3", "2", "at least"), ("ecb", "1", "1", "about")]
    result = installation.b2b("backfill")
    assert result.exit_code == 0, result.output
    assert landed(orchestra) == {source: {str(UNTIL), str(after)} for source in SOURCES}
    assert derived[1:] == [(FIRST, UNTIL)]
    freshness = dg.AssetCheckKey(dg.AssetKey(["kpi", "pipeline"]), "freshness")
    assert orchestra.instance.get_latest_asset_check_evaluation_record(freshness), "judged without waiting for the hour"
    plan = installation.b2b("backfill", "--plan").stdout
    assert plan.count("0 days in 0 runs, about 0 calls") == len(SOURCES)


def test_what_a_vendor_keeps_no_more_is_not_asked_for_and_fails_no_backfill(
    orchestra: Orchestra, derived: list[tuple[date, date]], monkeypatch: pytest.MonkeyPatch
) -> None:
    hubspot = registry.SOURCES["hubspot"]
    streams = [
        replace(each, policy=replace(each.policy, kept=timedelta(days=2))) if each.name == "email_event" else each
        for each in hubspot.streams
    ]
    monkeypatch.setitem(registry.SOURCES, "hubspot", replace(hubspot, streams=tuple(streams)))
    result = orchestra.installation.b2b("backfill")
    assert result.exit_code == 0, result.output

    def days(stream: str) -> set[str]:
        return orchestra.instance.get_materialized_partitions(dg.AssetKey(["raw", "hubspot", stream]))

    assert days("contact") == {str(FIRST + timedelta(days=n)) for n in range(3)}
    assert days("email_event") == {str(UNTIL)}, "the rest is told no more"
    plan = orchestra.installation.b2b("backfill", "--plan").stdout
    assert plan.count("0 days in 0 runs") == len(SOURCES)
    assert "hubspot: 3 days in 2 runs" in orchestra.installation.b2b("backfill", "--plan", "--again").stdout


def test_a_sweep_on_demand_does_not_wait_for_its_week_and_tells_what_is_gone(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, day = orchestra.installation, dg.AssetKey(["raw", "hubspot", "present"])
    loaded = tables.lead, tables.opportunity, tables.identity_link, tables.record_present

    def load(*_: Any) -> str:  # and no more: other tests derive, and it takes long
        pipeline = orchestra.pipeline
        for table in loaded:
            load_table(pipeline.warehouse, pipeline.landing, pipeline.config, table, "derive")
        return ""

    monkeypatch.setattr(Launcher, "derive", load)
    assert installation.b2b("backfill", "--source", "hubspot").exit_code == 0
    first = orchestra.pipeline.landing.slices("hubspot", "present")
    read = [record["id"] for item in orchestra.pipeline.landing.slices("hubspot", "contact")
            for record in orchestra.pipeline.landing.records(item) if not record.get("archived")]  # fmt: skip

    def swept(minutes: int, *arguments: str) -> Result:
        with time_machine.travel(now + timedelta(minutes=minutes)):
            return installation.b2b("backfill", "--sweep", *arguments)

    now = datetime.now(UTC)
    result = swept(1)
    assert result.exit_code == 0, result.output
    there = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert list(there) == ["hubspot account", "hubspot lead", "hubspot opportunity"]
    assert all(line.startswith("0 gone since ") for line in there.values())
    purge(installation.world, "hubspot", "contacts", read[0])
    result = swept(2, "--source", "hubspot")
    assert result.exit_code == 0, result.output
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert re.match(r"1 gone since 2026-06-29 \d\d:\d\d UTC, \d+ there", lines["hubspot lead"])
    assert lines["hubspot opportunity"].startswith("0 gone since ")
    assert len(orchestra.pipeline.landing.slices("hubspot", "present")) == len(first) + 2
    assert orchestra.instance.get_materialized_partitions(day) == {str(UNTIL - timedelta(days=n)) for n in range(3)}

    add_fault(
        installation.world, "hubspot", "missing_scope", path_contains="/contacts", scope="crm.objects.contacts.read"
    )
    result = swept(3, "--source", "hubspot")
    lines = dict(line.split(": ", 1) for line in result.stdout.splitlines())
    assert lines["hubspot lead"] == "not swept now; 1 are gone as before"
    assert lines["hubspot opportunity"].startswith("0 gone since ")


def test_files_that_fit_nowhere_are_named_and_hold_nobody_up(
    orchestra: Orchestra, derived: list[tuple[date, date]]
) -> None:
    inbox = orchestra.pipeline.inbox
    for name in ("notes.txt", "costs_2026-07.csv.part", ".costs_2026-08.csv"):
        (inbox / name).write_text("whatever")
    result = orchestra.installation.b2b("backfill", "--source", "ecb")
    assert result.exit_code == 0, result.output
    assert "left in the inbox: notes.txt matches no mapping" in " ".join(result.stderr.split())
    assert derived == [(FIRST, UNTIL)]
    accounts = {item.account["id"] for item in orchestra.pipeline.landing.slices("files", "cost_ledger")}
    assert accounts
    assert not {name for name in accounts if name.endswith(".part") or name.startswith(".")}


def test_what_was_refused_or_quarantined_is_told_at_the_end_and_by_the_doctor(orchestra: Orchestra) -> None:
    inbox = orchestra.pipeline.inbox
    header, first, *_ = (inbox / "costs_2026-06.csv").read_text("cp1252").splitlines()
    bad = [line.rpartition(";")[0] + ";n/a" for line in [first] * 3]
    (inbox / "costs_2026-07.csv").write_text("\n".join([header, bad[0]]), "cp1252")
    (inbox / "costs_2026-08.csv").write_text("\n".join([header, *bad]), "cp1252")
    result = orchestra.installation.b2b("backfill")
    assert result.exit_code == 1, result.output
    told = result.stderr.splitlines()
    assert told[-1] == ("error: 1 refused: correct them and run it again; `b2b files forget NAME` takes a file back")
    assert any(line.startswith("quarantined: 1 of files/cost_ledger: Amount: the cell is empty") for line in told)
    assert any(line.startswith("refused: files/cost_ledger ") and "allowed are 5%" in line for line in told)
    doctor = orchestra.installation.b2b("doctor").output
    assert doctor.count("not loaded: ") == 2


def test_an_inbox_that_is_not_there_is_told(
    orchestra: Orchestra, derived: list[tuple[date, date]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = orchestra.installation.folder / "pipeline.yaml"
    path.write_text(f"{path.read_text(encoding='utf-8')}\ninbox: ${{NOWHERE}}/exports\n", encoding="utf-8")
    result = orchestra.installation.b2b("backfill", "--source", "ecb")
    assert "left in the inbox: there is no folder " in result.stderr
    assert "${NOWHERE}/exports is not there" in orchestra.installation.b2b("doctor").output


@pytest.mark.parametrize("swallowed", [False, True])
def test_ctrl_c_ends_it_and_the_same_command_goes_on_from_there(
    swallowed: bool, orchestra: Orchestra, derived: list[tuple[date, date]], monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest = Pipeline.ingest

    def interrupted(*arguments: Any, **options: Any) -> Any:
        if swallowed:  # between its steps Dagster may take an interrupt for nothing
            signal.signal(signal.SIGINT, lambda number, frame: None)
        signal.raise_signal(signal.SIGINT)
        return ingest(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Pipeline, "ingest", interrupted)
        result = orchestra.installation.b2b("backfill")
    assert result.exit_code == 130, result.output
    assert derived == []
    assert landed(orchestra)["ecb"] == set(), "the sources after it were not read"
    result = orchestra.installation.b2b("backfill")
    assert result.exit_code == 0, result.output
    assert landed(orchestra)["ecb"] == {str(UNTIL), str(UNTIL + timedelta(days=1))}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--from", str(FIRST - timedelta(days=1))], "is before start_date"),
        (["--to", str(UNTIL + timedelta(days=1))], f"is not over yet: the last whole day is {UNTIL}"),
        (["--from", str(UNTIL), "--to", str(FIRST)], "is after --to"),
        (["--source", "pipedrive"], "pipedrive: not switched on; there are google_ads, hubspot, ecb"),
        (["--sweep", "--again"], "--sweep is of now"),
        (["--sweep", "--source", "ecb"], "ecb: none of them has a stream that is swept"),
        (["--from", "01.02.2026"], "'01.02.2026' is not a day"),
    ],
)
def test_what_cannot_be_read_is_refused(arguments: list[str], says: str, orchestra: Orchestra) -> None:
    result = orchestra.installation.b2b("backfill", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert not orchestra.instance.get_runs()


def test_without_a_home_for_dagster_it_says_where_to_get_one(
    orchestra: Orchestra, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DAGSTER_HOME")
    result = orchestra.installation.b2b("backfill", "--plan")
    assert result.exit_code == 2
    assert "DAGSTER_HOME is not set: `make setup` writes it into .env" in result.stderr


def test_ranges_are_split_into_runs_that_hold_each_day_once() -> None:
    days = [date(2026, 1, n) for n in range(1, 11)]
    assert split([(days[0], days[6]), (days[8], days[8])], 3) == [
        (days[0], days[2]),
        (days[3], days[5]),
        (days[6], days[6]),
        (days[8], days[8]),
    ]
    assert split([(days[0], days[2])], 3) == [(days[0], days[2])]
    assert split([], 3) == []
