"""A dropped file is derived alone where all else is up to date, and says the same as if everything were."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime

import dagster as dg
import numpy as np
import pytest
from sqlalchemy import delete, insert, select, update

from b2b_pipeline.operations.replay import fingerprints
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.jobs import RANGE_END, RANGE_START
from b2b_pipeline.orchestration.narrow import OF_FILES, changed, narrowed
from b2b_pipeline.orchestration.sensors import Run, decide_derive
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import dagster_home
from b2b_pipeline_tests.support.dagster_home import Orchestra, memory_folder
from b2b_pipeline_tests.support.installation import UNTIL

COSTS = "cost_ledger"
MORE = "Document;From;To;Category;Channel;Supplier;Amount\nX-1;20.06.2026;21.06.2026;event;events;Hall;1000,50 €\n"


pytestmark = pytest.mark.thorough


@pytest.fixture(scope="module")
def finished() -> Iterator[Orchestra]:
    """To be looked at, not to be changed."""
    with memory_folder() as folder, dagster_home.finished(folder) as found:
        yield found


@pytest.fixture
def orchestra() -> Iterator[Orchestra]:
    with memory_folder() as folder, dagster_home.finished(folder) as found:
        yield found


def names(selection: list[dg.AssetKey]) -> list[str]:
    return [key.to_user_string() for key in selection]


def asked(orchestra: Orchestra, day: date = UNTIL) -> list[str]:
    calendar = Calendar(orchestra.pipeline.config)
    return names(narrowed(calendar, orchestra.pipeline, orchestra.instance, {COSTS}, day))


def test_costs_that_are_dropped_are_derived_alone_and_say_what_a_whole_derive_says(orchestra: Orchestra) -> None:
    wanted = asked(orchestra)
    assert {COSTS, "coverage", "kpi/acquisition", "kpi/lead_generation", "export/parquet"} <= {*wanted}
    assert not {"lead", "person", "deal", "kpi/pipeline", "kpi/paid_media"} & {*wanted}
    (orchestra.pipeline.inbox / "costs_2026-07.csv").write_text(MORE, encoding="cp1252")
    orchestra.land(COSTS, "costs_2026-07.csv")
    selection = [dg.AssetKey(name.split("/")) for name in asked(orchestra)]
    tags = {RANGE_START: UNTIL.isoformat(), RANGE_END: UNTIL.isoformat()}
    job = orchestra.defs.resolve_job_def("derive")
    done = job.execute_in_process(instance=orchestra.instance, asset_selection=selection, tags=tags)
    made = {event.asset_key for event in done.get_asset_materialization_events()}
    assert made == {*selection}
    compared = [*tables.CORE, *tables.DERIVED, tables.coverage, tables.kpi_component_daily, tables.made_of]
    narrow = {table.name: fingerprints(orchestra.pipeline.warehouse, table) for table in compared}
    with orchestra.pipeline.warehouse.read() as connection:
        there = select(tables.cost_ledger.c.cost_id).where(tables.cost_ledger.c.cost_id.startswith("X-1"))
        assert connection.execute(there).first()
    orchestra.run("derive", UNTIL)
    for table in compared:
        whole = fingerprints(orchestra.pipeline.warehouse, table)
        assert np.array_equal(np.sort(narrow[table.name]), np.sort(whole)), table.name


def test_nothing_is_narrowed_on_a_day_that_was_not_derived(finished: Orchestra) -> None:
    assert asked(finished) != []
    assert asked(finished, date(2026, 7, 1)) == []


def test_nothing_is_narrowed_where_something_else_is_late_or_nobody_knows(orchestra: Orchestra) -> None:
    warehouse, audit, made_of = orchestra.pipeline.warehouse, tables.load_audit, tables.made_of
    with warehouse.write() as connection:  # loaded, and not derived
        row = connection.execute(select(audit).where(audit.c.target_table == "lead")).mappings().first()
        connection.execute(insert(audit), [{**(row or {}), "slice_id": "another"}])
    assert asked(orchestra) == []
    with warehouse.write() as connection:
        connection.execute(delete(audit).where(audit.c.slice_id == "another"))
    assert asked(orchestra) != []
    with warehouse.write() as connection:  # a derive broke off
        connection.execute(update(made_of).where(made_of.c.name == "person").values(state=""))
    assert asked(orchestra) == []
    with warehouse.write() as connection:  # filled by an earlier version
        connection.execute(delete(made_of))
    assert asked(orchestra) == []


def test_nothing_is_narrowed_where_a_vendor_was_read_and_nothing_derived_since(orchestra: Orchestra) -> None:
    orchestra.materialise("raw/ecb/exchange_rate", start=UNTIL)
    assert asked(orchestra) == []
    orchestra.run("derive", UNTIL)
    assert asked(orchestra) != []


def test_nothing_is_narrowed_after_the_code_has_changed(finished: Orchestra) -> None:
    calendar = Calendar(finished.pipeline.config)
    calendar.versions = {**calendar.versions, "person": "of another query"}
    assert narrowed(calendar, finished.pipeline, finished.instance, {COSTS}, UNTIL) == []


def test_of_leads_everything_that_knows_of_people_is_made_again(finished: Orchestra) -> None:
    found = names(changed(Calendar(finished.pipeline.config), {"lead"}))
    assert {"lead", "identity_cluster", "person", "deal", "credit", "kpi/pipeline", "kpi/acquisition"} <= {*found}


NOON = datetime(2026, 6, 29, 12, tzinfo=UTC)


def decided(ingests: list[Run], derives: list[Run]) -> dg.RunRequest | dg.SkipReason:
    return decide_derive(ingests, derives, NOON.replace(hour=13), UNTIL, lambda streams: [dg.AssetKey(COSTS)])


def test_a_narrow_derive_is_asked_for_files_alone_and_stands_for_nothing_else() -> None:
    file = Run(None, NOON, NOON.replace(minute=5), frozenset({COSTS}))
    request = decided([file], [])
    assert isinstance(request, dg.RunRequest)
    assert request.asset_selection == [dg.AssetKey(COSTS)]
    assert request.tags[OF_FILES] == COSTS
    vendor = Run((UNTIL, UNTIL), NOON, NOON.replace(minute=4))
    both = decided([file, vendor], [])
    assert isinstance(both, dg.RunRequest)
    assert both.asset_selection is None
    narrow = Run((UNTIL, UNTIL), NOON.replace(minute=6), None, frozenset({COSTS}))
    assert isinstance(decided([file], [narrow]), dg.SkipReason)
    assert isinstance(decided([file, vendor], [narrow]), dg.RunRequest), "the vendor's news is no file's"
    others = Run(None, NOON, NOON.replace(minute=5), frozenset({"lead"}))
    assert isinstance(decided([others], [narrow]), dg.RunRequest), "of another stream"
