"""How rows get into tables, on both engines: the newest wins, in any order; equal to a query, NULL for NULL."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from decimal import Decimal
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Connection, Table, create_engine, func, literal, select, text, union_all
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.derived.made_of import COVERAGE, EVERY, Loads
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.landing.shared import fix_in, tell_forgotten
from b2b_pipeline.metrics.definitions import publish_definitions, versions
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.metrics.view import refresh_view
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.compact import compact
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import (
    deal,
    identity_cluster,
    kpi_component_daily,
    lead,
    made_of,
    opp_contact_role,
    opportunity,
    person,
    touchpoint,
)
from b2b_pipeline.warehouse.write import MANY, MEMORY, append, merge_newest, read_whole, serialise, synchronise
from b2b_pipeline_tests.support.end_to_end import ENGINES, new_warehouses
from b2b_pipeline_tests.support.migrated import migrated

DAY = date(2026, 5, 4)
CONFIG = Config.model_validate({"start_date": DAY, "system_of_record": "hubspot", "sources": {"hubspot": {}}})


@pytest.fixture(params=ENGINES)
def warehouse(request: pytest.FixtureRequest) -> Warehouse:
    return Warehouse(new_warehouses(request)())


def at(hour: int) -> datetime:
    return datetime.fromisoformat(f"2026-05-04 {hour:02}:00")


def put(warehouse: Warehouse, table: Table, *rows: dict[str, Any]) -> None:
    with warehouse.write() as connection:
        append(connection, table, pa.Table.from_pylist(list(rows), schema=arrow_schema(table)))


def test_a_merge_gives_the_same_in_any_order_and_however_often(warehouse: Warehouse) -> None:
    def version(slice_id: str, hour: int, status: str, lead_id: str = "1") -> dict[str, Any]:
        return {
            "source": "hubspot", "lead_id": lead_id, "status": status, "updated_at": at(hour), "slice_id": slice_id,
        }  # fmt: skip

    slices = [
        [version("s1", 1, "old"), version("s1", 9, "newest", "2")],
        [version("s2", 5, "of the earlier slice"), version("s2", 2, "older", "2")],
        [version("s3", 5, "of the later slice")],
    ]
    for order in [*permutations(slices), [*slices, *slices]]:
        with warehouse.write() as connection:
            connection.execute(lead.delete())
            for rows in order:
                merge_newest(connection, lead, pa.Table.from_pylist(rows, schema=arrow_schema(lead)))
        found = {row["lead_id"]: row["status"] for row in warehouse.rows(lead.select())}
        assert found == {"1": "of the later slice", "2": "newest"}


def test_a_table_is_made_equal_to_a_query_and_only_what_differs_is_touched(warehouse: Warehouse) -> None:
    def component(value: str, channel: str | None, campaign: str | None = None) -> dict[str, Any]:
        return {
            "date_day": DAY, "component": "spend", "channel": channel, "campaign_id": campaign, "value": Decimal(value),
        }  # fmt: skip

    put(
        warehouse, kpi_component_daily,
        component("1", None), component("2", ""), component("3", "email"), component("4", "email", "7"),
    )  # fmt: skip
    wanted = kpi_component_daily.to_metadata(type(kpi_component_daily.metadata)(), name="wished")
    with warehouse.write() as connection:
        wanted.create(connection)
    put(
        warehouse, wanted, component("1", None), component("5", ""), component("4", "email", "7"), component("6", "seo")
    )
    with warehouse.write() as connection:
        changes = synchronise(connection, kpi_component_daily, select(wanted), tell=["channel", "value"])
    assert [(row["channel"], row["value"]) for row in sorted(changes.gone, key=lambda row: row["value"])] == [
        ("", Decimal(2)), ("email", Decimal(3)),
    ]  # fmt: skip
    assert sorted(row["value"] for row in changes.came) == [Decimal(5), Decimal(6)]
    query = select(kpi_component_daily.c.channel, kpi_component_daily.c.value).order_by(kpi_component_daily.c.value)
    assert [tuple(row.values()) for row in warehouse.rows(query)] == [
        (None, Decimal(1)), ("email", Decimal(4)), ("", Decimal(5)), ("seo", Decimal(6)),
    ]  # fmt: skip
    with warehouse.write() as connection:
        assert synchronise(connection, kpi_component_daily, select(wanted), tell=["date_day"]).days() == set()


def test_hostile_text_goes_through_the_bulk_loader_as_it_is(warehouse: Warehouse) -> None:
    texts = ["\";'\\", "a,b\n\r\tc", "\\.", "\\N", "", "NULL", "<script>", "=1+1", "x" * 2**20, "ü\u2028\U0001f600"]
    put(warehouse, lead, *({"source": "s", "lead_id": str(n), "company": t} for n, t in enumerate(texts)))
    put(warehouse, lead, {"source": "s", "lead_id": "none", "company": None})
    found = {row["lead_id"]: row["company"] for row in warehouse.rows(select(lead.c.lead_id, lead.c.company))}
    assert found == {str(number): value for number, value in enumerate(texts)} | {"none": None}


def ties(warehouse: Warehouse, config: Config = CONFIG) -> str:
    """The first touch of a person with touches at one moment, whose ids collations order differently."""
    key = "hubspot:contact:1"
    put(warehouse, identity_cluster, {"record_key": key, "person_key": key})
    put(warehouse, lead, {"source": "hubspot", "lead_id": "1", "record_key": key, "created_at": at(1), "date_day": DAY})
    put(
        warehouse, touchpoint,
        *(
            {"source": "hubspot", "touch_id": name, "record_key": key, "touched_at": at(1), "channel": name}
            for name in ("a", "B", "_", "é")
        ),
    )  # fmt: skip
    derive_table(warehouse, config, person)
    (row,) = warehouse.rows(select(person.c.channel))
    return str(row["channel"])


def test_ties_are_broken_by_code_point(warehouse: Warehouse) -> None:
    assert ties(warehouse) == "B" == min("a", "B", "_", "é")


def test_ties_are_broken_by_code_point_in_a_database_with_another_collation(
    postgres_url: str, postgres_database: Callable[[], str]
) -> None:
    url = make_url(postgres_database())
    name = f"{url.database}_sorted"
    engine = create_engine(postgres_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        try:
            connection.execute(
                text(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US' LOCALE 'C'")
            )
        except DBAPIError as error:
            pytest.skip(f"this PostgreSQL has no ICU collations: {error.orig}")
    try:
        warehouse = Warehouse(url.set(database=name).render_as_string(hide_password=False))
        upgrade(warehouse)
        with warehouse.read() as connection:
            assert connection.execute(text("select 'a' < 'B'")).scalar(), "the database does sort otherwise"
        assert ties(warehouse) == "B"
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def test_a_contact_that_a_newer_version_of_its_deal_no_longer_has_is_not_its_person(warehouse: Warehouse) -> None:
    keys = {number: f"hubspot:contact:{number}" for number in (1, 2)}
    put(warehouse, identity_cluster, *({"record_key": key, "person_key": key} for key in keys.values()))
    put(warehouse, opportunity, {"source": "hubspot", "opp_id": "9", "date_day": DAY, "updated_at": at(5)})
    role = {"source": "hubspot", "opp_id": "9", "created_at": at(1)}
    put(
        warehouse, opp_contact_role,
        {**role, "role_id": "9:1", "contact_id": "1", "is_primary": True, "updated_at": at(2)},
        {**role, "role_id": "9:2", "contact_id": "2", "is_primary": True, "updated_at": at(5)},
    )  # fmt: skip
    derive_table(warehouse, CONFIG, deal)
    assert [row["person_key"] for row in warehouse.rows(select(deal.c.person_key))] == [keys[2]]


def test_a_write_that_fails_in_the_middle_leaves_everything_as_it_was(warehouse: Warehouse) -> None:
    put(warehouse, person, {"person_key": "before"})

    def break_off() -> None:
        with warehouse.write() as connection:
            connection.execute(person.delete())
            append(connection, lead, pa.Table.from_pylist([{"lead_id": "1"}], schema=arrow_schema(lead)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        break_off()
    assert [row["person_key"] for row in warehouse.rows(select(person))] == ["before"]
    assert warehouse.rows(select(lead)) == []


WRITERS: dict[str, Callable[[Warehouse], object]] = {
    "schema": upgrade,
    "person": lambda warehouse: derive_table(warehouse, CONFIG, person),
    "installation": lambda warehouse: fix_in(warehouse, {"currency": "EUR"}),
    "kpi_component_daily paid_media": lambda warehouse: publish_family(warehouse, CONFIG, FAMILIES["paid_media"], "r"),
    "metric_def": lambda warehouse: publish_definitions(warehouse, CONFIG),
    "forgotten": lambda warehouse: tell_forgotten(warehouse, {"token": {"excluded_by": None, "was": None}}),
}


@pytest.mark.parametrize("warehouse", ["postgresql"], indirect=True)  # DuckDB has one writer
@pytest.mark.parametrize("name", WRITERS)
def test_who_writes_the_same_thing_waits_until_the_other_has_committed(
    warehouse: Warehouse, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with warehouse.write() as connection:
        serialise(connection, name)
        monkeypatch.setenv("PGOPTIONS", "-c lock_timeout=100ms")
        with pytest.raises((PipelineError, DBAPIError), match="lock timeout"):
            WRITERS[name](warehouse)
        WRITERS["forgotten" if name != "forgotten" else "person"](warehouse)  # another thing is not held up
    WRITERS[name](warehouse)


@pytest.mark.parametrize("warehouse", ["postgresql"], indirect=True)  # on DuckDB they take turns
def test_a_reader_sees_one_state_whatever_is_written_meanwhile(warehouse: Warehouse) -> None:
    put(warehouse, person, {"person_key": "1"})
    with warehouse.read() as connection:
        before = connection.execute(select(person.c.person_key)).all()
        put(warehouse, person, {"person_key": "2"})
        assert connection.execute(select(person.c.person_key)).all() == before
    assert len(warehouse.rows(select(person))) == 2


def test_compacting_after_a_writer_that_was_killed_keeps_each_row_once(tmp_path: Path) -> None:
    path = tmp_path / "warehouse.duckdb"
    migrated(Warehouse(f"duckdb:///{path}"))
    program = "import duckdb, os, sys; c = duckdb.connect(sys.argv[1]); c.execute(sys.argv[2]); os._exit(9)"
    arguments = [str(path), "insert into person (person_key) values ('1')"]
    subprocess.run([sys.executable, "-c", program, *arguments], check=False)
    assert Path(f"{path}.wal").is_file(), "what was committed is only in the log"
    warehouse = Warehouse(f"duckdb:///{path}")
    compact(warehouse)
    assert [row["person_key"] for row in warehouse.rows(select(person))] == ["1"]


def test_postgresql_plans_with_what_has_just_been_written(migrated_database: Callable[[], str]) -> None:
    warehouse = Warehouse(migrated_database())
    many = [{"record_key": f"hubspot:contact:{n}", "person_key": f"hubspot:contact:{n % 700}"} for n in range(MANY)]
    with (
        warehouse.write() as connection,
        stage(
            connection, identity_cluster, pa.Table.from_pylist(many, schema=arrow_schema(identity_cluster))
        ) as incoming,
    ):
        synchronise(connection, identity_cluster, select(incoming))
    with warehouse.read() as connection:
        query = "select n_distinct from pg_stats where tablename = 'identity_cluster' and attname = 'person_key'"
        (distinct,) = connection.execute(text(query)).scalars()
    assert distinct in (700, -0.7)


def test_many_turns_take_one_connection_of_a_server(warehouse: Warehouse) -> None:
    if warehouse.dialect != "postgresql":
        pytest.skip("a file has no connections")
    mine = text("select count(*) from pg_stat_activity where datname = current_database()")
    with warehouse.turn("a", "b", "c"), warehouse.read() as connection:
        assert connection.scalar(mine) == 2


def test_a_row_that_a_query_gives_twice_is_no_difference_from_the_one_that_is_there(warehouse: Warehouse) -> None:
    row = {"record_key": "hubspot:contact:1", "person_key": "hubspot:contact:1"}
    put(warehouse, identity_cluster, row)
    twice = union_all(*(select(literal(row["record_key"]), literal(row["person_key"])) for _ in range(2))).subquery()
    with warehouse.write() as connection:
        changes = synchronise(connection, identity_cluster, select(twice), tell=["record_key"])
    assert (changes.gone, changes.came) == ([], [])
    assert warehouse.rows(identity_cluster.select()) == [row]


def test_whole_tables_get_memory_to_hash_in_and_a_server_that_gives_more_is_left_alone(
    postgres_database: Callable[[], str],
) -> None:
    warehouse, found = Warehouse(postgres_database()), []
    for given in ("4MB", "256MB"):
        with warehouse.write() as connection:
            connection.execute(text(f"set local work_mem = '{given}'"))
            read_whole(connection)
            found.append(connection.scalar(text("show work_mem")))
    assert found == [MEMORY, "256MB"]


@pytest.mark.parametrize(
    "write",
    [
        lambda connection: refresh_view(connection, CONFIG, versions(CONFIG)),
        lambda connection: Loads(connection, CONFIG).note(connection, COVERAGE, EVERY),
    ],
    ids=["the view", "what coverage was made of"],
)
def test_whoever_makes_the_same_a_moment_later_waits_for_the_first(
    migrated_database: Callable[[], str], write: Callable[[Connection], None]
) -> None:
    found = Warehouse(migrated_database())
    waiting = text(
        "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    )

    def second() -> None:
        with found.write() as connection:
            write(connection)

    def is_waiting() -> int:
        with found.read() as another:
            return another.scalar(waiting) or 0

    with ThreadPoolExecutor(1) as pool:
        with found.write() as connection:
            write(connection)
            later = pool.submit(second)
            end = time.monotonic() + 60
            while not is_waiting():
                assert time.monotonic() < end
                time.sleep(0.01)
        later.result(timeout=60)
    with found.read() as connection:
        assert connection.scalar(select(func.count()).select_from(made_of)) == 1
