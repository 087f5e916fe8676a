"""A warehouse of an earlier release is brought up to date with what it holds."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import inspect, select, text

from b2b_pipeline.derived.made_of import Loads
from b2b_pipeline.derived.registry import ANY
from b2b_pipeline.warehouse import migrate
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import coverage, kpi_component_daily, metadata
from b2b_pipeline_tests.support.end_to_end import ENGINES


@pytest.fixture(params=ENGINES)
def warehouse(request: pytest.FixtureRequest, tmp_path: Path) -> Warehouse:
    """Without a schema."""
    if request.param == "postgresql":
        return Warehouse(request.getfixturevalue("postgres_database")())
    return Warehouse(f"duckdb:///{tmp_path / 'warehouse.duckdb'}")


def test_tables_and_columns_that_an_earlier_release_lacked_are_added_and_its_rows_stay(warehouse: Warehouse) -> None:
    migrate.upgrade(warehouse)
    with warehouse.write() as connection:
        connection.execute(coverage.insert().values(source="hubspot", stream="contact", reason="was not read"))
        connection.execute(text("alter table coverage drop column is_complete"))
        connection.execute(text("alter table lead drop column capture_type"))
        connection.execute(text("drop table cost_ledger"))
        connection.execute(text("update alembic_version set version_num = '0001'"))
    assert migrate.upgrade(warehouse) == "0001"
    assert migrate.state(warehouse) == migrate.HEAD
    with warehouse.read() as connection:
        there = inspect(connection)
        for table in metadata.sorted_tables:
            assert {column["name"] for column in there.get_columns(table.name)} == set(table.columns.keys())
    assert warehouse.rows(select(coverage.c.reason, coverage.c.is_complete)) == [
        {"reason": "was not read", "is_complete": None}
    ]


def test_a_new_warehouse_has_everything_and_upgrading_it_again_changes_nothing(warehouse: Warehouse) -> None:
    assert migrate.upgrade(warehouse) is None
    assert migrate.upgrade(warehouse) == migrate.HEAD


@pytest.mark.parametrize("had", [True, False], ids=["numbers of before", "nothing yet"])
def test_numbers_of_an_earlier_release_are_behind_until_the_next_derive(warehouse: Warehouse, had: bool) -> None:
    migrate.upgrade(warehouse)
    with warehouse.write() as connection:
        if had:
            connection.execute(kpi_component_daily.insert().values(component="leads", value=1, n_rows=1))
        connection.execute(text("update alembic_version set version_num = '0004'"))
    assert migrate.upgrade(warehouse) == "0004"
    with warehouse.read() as connection:
        assert Loads(connection, ANY).behind({}) == had
