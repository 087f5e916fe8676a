"""Fixtures that more than one test module uses."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import hypothesis
import pytest

from b2b_pipeline.connectors import rates
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.migrate import upgrade
from b2b_pipeline_tests.support import postgres

# Modules that set up whole installations, services or Dagster's processes: in `make test`, not in `make check`.
THOROUGH = (
    "test_account_ends", "test_backup", "test_benchmarks", "test_cli_backfill", "test_cli_files", "test_cli_forget",
    "test_cli_init", "test_cli_kpi", "test_cli_ui", "test_complete", "test_component", "test_currencies",
    "test_dagster_", "test_damage", "test_dimensions",
    "test_docker", "test_end_to_end", "test_failures", "test_file_coverage", "test_files_email_summary",
    "test_files_load", "test_files_options", "test_files_private", "test_kill", "test_kinds", "test_power_loss",
    "test_purged", "test_reload", "test_retention", "test_sandbox_world", "test_setup", "test_shared",
    "test_sweep", "test_trial_", "test_unknown", "test_versions",
    "test_cli_doctor", "test_cli_explain", "test_collector", "test_compare", "test_demandbase", "test_fitted",
    "test_export", "test_report", "test_side_effects", "test_targets", "test_trailing", "test_warehouse",
    "test_zoom_webinars",
)  # fmt: skip

# What a shell puts into the background ignores Ctrl-C, and children inherit that; tests interrupt theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes is the machine's matter: the first one of a busy machine took a second.
hypothesis.settings.register_profile("ours", deadline=None)
hypothesis.settings.load_profile("ours")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.name.startswith(THOROUGH):
            item.add_marker("thorough")
    # The long ones first: no worker is left alone with one at the end.
    items.sort(key=lambda item: item.get_closest_marker("thorough") is None)


@pytest.fixture(autouse=True)
def environment() -> Iterator[None]:
    """The commands of an installation set variables of their process, which is that of the tests: undone after each."""
    before = dict(os.environ)
    yield
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(autouse=True)
def rates_of_no_installation(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a test names no home, what was asked of vendors is counted nowhere but in the tests."""
    elsewhere = tmp_path_factory.getbasetemp()
    monkeypatch.setattr(rates, "folder", lambda: Path(os.environ.get("B2B_HOME") or elsewhere) / "rates")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a running PostgreSQL server; take `postgres_database` for a place to write to."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """A function that makes a fresh, empty database and returns its URL (`postgresql+psycopg://…`)."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(postgres.database(postgres_url))


@pytest.fixture(scope="session")
def migrated_database(postgres_url: str, postgres_database: Callable[[], str]) -> Iterator[Callable[[], str]]:
    """The same of a database that has the schema, and nothing in it."""
    template = postgres_database()
    upgrade(Warehouse(template))
    with ExitStack() as stack:
        yield lambda: stack.enter_context(postgres.database(postgres_url, like=template))
