"""A change of configuration or code loads again what hangs on it, and nothing else."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from sqlalchemy import Connection, Table, inspect, select

from b2b_pipeline.configuration.config import Config, dimension_fields
from b2b_pipeline.connectors.base import Record
from b2b_pipeline.core import fingerprint, load
from b2b_pipeline.core.fingerprint import code, is_as_seen, watched
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.core.load import LoadReport, load_table, load_tables
from b2b_pipeline.core.mapped import Mapped, SliceMapping
from b2b_pipeline.landing.slices import Slice
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.end_to_end import ENGINES, new_warehouses

Change = Callable[[str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the installation, which the tests change one after the other and back."""
    with pytest.MonkeyPatch.context() as patch:
        return installation.copy(tmp_path_factory.mktemp("reload"), patch).folder


def loaded_again(folder: Path, patch: pytest.MonkeyPatch, change: Change) -> set[str]:
    """The tables that load something after a change of `pipeline.yaml`; they are as before when this ends."""
    found = installation.Installation(folder, installation.template().world)
    installation.settle(found, patch)
    path = folder / "pipeline.yaml"
    before = path.read_text(encoding="utf-8")
    assert not loading(found), "the change is the only one"
    altered = change(before)
    assert altered != before
    try:
        path.write_text(altered, encoding="utf-8")
        return loading(found)
    finally:
        path.write_text(before, encoding="utf-8")
        loading(found)


def loading(found: installation.Installation) -> set[str]:
    pipeline = found.pipeline()
    reports = load_tables(pipeline.warehouse, pipeline.landing, pipeline.config, tables.CORE, "again")
    assert not any(report.broken for report in reports.values())
    return {name for name, report in reports.items() if report.slices}


def put(setting: str) -> Change:
    """A top-level setting more."""
    return lambda text: f"{text}\n{setting}\n"


@pytest.mark.parametrize(
    ("change", "tables_again"),
    [
        (lambda text: text.replace("google_ads: {}", "google_ads: {accounts: ['4100000001', '4100000002']}"), set()),
        (put("channels: {paid: [paid_search]}"), set()),
        (put("identity: {shared_emails: ['h1:00000000000000000000000000000000@x.example']}"), set()),
        (lambda text: text.replace("system_of_record: salesforce", "system_of_record: hubspot"), set()),
        (lambda text: text.replace("[ourcompany.example,", "[another.example, ourcompany.example,"), {"lead"}),
        (put("channels: {google_ads_type: {SEARCH: display}}"), {"spend", "campaign"}),
        (put("stages: {hubspot: {lead: lead}}"), {"stage_event"}),
    ],
    ids=["accounts", "paid channels", "shared addresses", "system of record", "own domains", "an ad vendor's words",
         "a CRM's stages"],
)  # fmt: skip
def test_a_change_loads_again_the_tables_whose_mappings_look_at_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, change: Change, tables_again: set[str]
) -> None:
    assert loaded_again(folder, monkeypatch, change) == tables_again


def test_a_file_mapping_loads_again_its_own_tables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dollars(text: str) -> str:
        return text.replace("{€: EUR}", "{€: USD}")

    assert loaded_again(folder, monkeypatch, dollars) == {"cost_ledger"}


def test_a_source_that_is_switched_off_takes_only_its_rows_along(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if not line.startswith("  ecb:")) + "\n"

    assert loaded_again(folder, monkeypatch, without) <= {"fx_rate"}


# -- the old table stands until the new one is whole


@pytest.fixture(params=ENGINES)
def leads(request: pytest.FixtureRequest, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Leads:
    """The table `lead` of the installation, loaded into a warehouse of its own, in batches of some records."""
    installation.settle(installation.Installation(folder, installation.template().world), monkeypatch)
    monkeypatch.setattr(load, "BATCH_RECORDS", 20)
    monkeypatch.setenv("B2B_WAREHOUSE_URL", new_warehouses(request)())
    found = Leads(Pipeline.from_environment())
    assert found.load().loaded
    return found


@dataclass(frozen=True)
class Leads:
    pipeline: Pipeline

    def load(self, *, replay: bool = False) -> LoadReport:
        pipeline = self.pipeline
        return load_table(pipeline.warehouse, pipeline.landing, pipeline.config, tables.lead, "again", replay=replay)

    def load_all(self) -> dict[str, LoadReport]:
        found = self.pipeline
        return load_tables(found.warehouse, found.landing, found.config, tables.CORE, "again", replay=True)

    def count(self, table: Table) -> int:
        return len(self.pipeline.warehouse.rows(select(table)))

    def rows(self) -> list[tuple[object, ...]]:
        """As somebody else reads them, with their books."""
        other = Warehouse(self.pipeline.warehouse.url.render_as_string(hide_password=False))
        audit = tables.load_audit.c
        found = [tuple(row.values()) for row in other.rows(select(tables.lead.c.lead_id, tables.lead.c.slice_id))]
        books = [tuple(row.values()) for row in other.rows(select(audit.slice_id, audit.rows_loaded))]
        return sorted([*found, *books], key=str)

    def names(self) -> set[str]:
        with self.pipeline.warehouse.read() as connection:
            return set(inspect(connection).get_table_names())


def test_readers_see_the_old_table_between_the_batches_of_a_reload(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, seen, write = leads.rows(), [], load._Load._write_batch

    def looking(self: load._Load, batch: list[Mapped]) -> None:
        write(self, batch)
        seen.append(leads.rows() == before)

    monkeypatch.setattr(load._Load, "_write_batch", looking)
    assert leads.load(replay=True).loaded
    assert seen == [True, True]  # two sources, read to their end
    assert leads.rows() == before


def test_a_reload_that_dies_leaves_the_old_table_and_the_next_one_goes_through(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, write, batches = leads.rows(), load._Load._write, iter(range(100))

    def dying(self: load._Load, connection: Connection, batch: list[Mapped]) -> None:
        if next(batches) == 1:
            raise SystemExit("killed")
        write(self, connection, batch)

    with monkeypatch.context() as patch:
        patch.setattr(load._Load, "_write", dying)
        with pytest.raises(SystemExit):
            leads.load(replay=True)
    assert leads.rows() == before
    assert "reload_lead_lead" in leads.names()
    assert leads.load(replay=True).loaded
    assert leads.rows() == before
    assert not {name for name in leads.names() if name.startswith("reload_")}


def test_a_slice_is_read_once_for_all_the_tables_that_it_feeds(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    read, times = Landing.records, Counter[str]()

    def counting(self: Landing, item: Slice) -> Iterator[Record]:
        times[item.slice_id] += 1
        return read(self, item)

    monkeypatch.setattr(Landing, "records", counting)
    reports = leads.load_all()
    assert set(times.values()) == {1}
    assert len(times) < sum(report.slices for report in reports.values())


def test_a_table_that_breaks_is_named_in_its_report_and_stops_no_other(
    leads: Leads, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = leads.load_all()
    touches, add = leads.count(tables.touchpoint), SliceMapping.add

    def breaking(self: SliceMapping, *given: Any) -> None:
        if self.table is tables.touchpoint:
            raise ZeroDivisionError
        add(self, *given)

    monkeypatch.setattr(SliceMapping, "add", breaking)
    reports = leads.load_all()
    assert {name for name, report in reports.items() if report.broken} == {"touchpoint"}
    assert {name: report for name, report in reports.items() if name != "touchpoint"} == {
        name: report for name, report in whole.items() if name != "touchpoint"
    }
    assert leads.count(tables.touchpoint) == touches
    with pytest.raises(ZeroDivisionError):
        rebuild(leads.pipeline, "again", replay=True)


def test_a_table_that_breaks_before_it_has_begun_stops_no_other(leads: Leads, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "load_rates", Mock(side_effect=ZeroDivisionError))
    reports = leads.load_all()
    assert {name for name, report in reports.items() if report.broken} == {*CONVERTED}
    assert reports["lead"].loaded


# -- what a mapping saw


CONFIG = Config.model_validate(
    {
        "start_date": "2026-01-01", "system_of_record": "hubspot", "timezone": "Europe/Berlin",
        "sources": {"hubspot": {"fields": {"region": "area"}}, "salesforce": {}}, "dimensions": {"lead": ["industry"]},
    }
)  # fmt: skip


def altered(**settings: object) -> Config:
    return Config.model_validate(CONFIG.model_dump() | settings)


def test_what_is_computed_of_settings_is_seen_as_the_settings_that_it_is_made_of() -> None:
    seen: dict[str, str] = {}
    view = watched(CONFIG, seen)
    assert view.zone.key == "Europe/Berlin"
    assert dimension_fields(view, "hubspot", "lead") == {"industry": "industry"}
    assert seen.keys() == {"zone", "dimensions.lead", "sources.hubspot.fields"}
    assert is_as_seen(CONFIG, seen)
    assert is_as_seen(altered(sources={"hubspot": {"fields": {"region": "area"}, "accounts": ["1"]}}), seen)
    assert not is_as_seen(altered(timezone="UTC"), seen)
    assert not is_as_seen(altered(sources={"hubspot": {}}), seen)
    assert not is_as_seen(altered(sources={"salesforce": {}}, system_of_record="salesforce"), seen)


def test_the_whole_configuration_cannot_be_seen_at_once() -> None:
    with pytest.raises(TypeError):
        list(watched(CONFIG, {}).sources)
    with pytest.raises(TypeError):
        dict(watched(CONFIG, {}))


# -- code


MODULE = '''
"""Rows."""
from b2b_pipeline.connectors.columns import column
WORDS = {"a": "b"}
def rows(records, context):
    """One row per record."""
    return _cells(column(records, "x").map(WORDS))
def _cells(values):
    return values
def neighbour():
    return 1
'''


@pytest.mark.parametrize(
    ("old", "new", "is_the_same"),
    [
        ('"""One row per record."""', '"""One row per day.""" # and a comment', True),
        ("return 1", "return 2", True),
        ("def rows(records, context):", "def rows(records: object, context: object) -> object:", True),
        ('"a": "b"', '"a": "c"', False),
        ("return values", "return values.fillna(0)", False),
        ("import column", "import utc as column", False),
    ],
    ids=["comments", "a neighbour", "annotations", "a constant", "a helper", "an import"],
)
def test_code_is_what_a_mapping_reaches_and_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, is_the_same: bool
) -> None:
    import b2b_pipeline

    monkeypatch.setattr(b2b_pipeline, "__path__", [*b2b_pipeline.__path__, str(tmp_path)])

    def digest(text: str) -> str:
        (tmp_path / "invented_rows.py").write_text(text, encoding="utf-8")
        for name in ("b2b_pipeline.invented_rows",):
            sys.modules.pop(name, None)
        fingerprint._top_level.cache_clear()
        code.cache_clear()
        module = __import__("b2b_pipeline.invented_rows", fromlist=["rows"])
        try:
            return code(module.rows)
        finally:
            sys.modules.pop("b2b_pipeline.invented_rows", None)
            fingerprint._top_level.cache_clear()
            code.cache_clear()

    assert (digest(MODULE) == digest(MODULE.replace(old, new))) == is_the_same
