"""`b2b doctor` and `b2b files check`: what is wrong, and the exact thing to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from b2b_pipeline.sandbox.tokens import PRIVATE_APP_TOKEN
from b2b_pipeline_tests import installation
from b2b_pipeline_tests.installation import CREDENTIALS, Installation, served


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def without_sources(installed: Installation) -> None:
    path = installed.folder / "pipeline.yaml"
    path.write_text("start_date: 2026-06-09\nsystem_of_record: files\n")


def test_all_is_well_with_a_good_installation_and_no_secret_is_told(installed: Installation) -> None:
    with served(installed.world):
        done = installed.b2b("doctor")
    assert done.exit_code == 0, done.output
    for part in (
        "dagster 1.13.27",
        "schema 0001",
        "hash key",
        "HUBSPOT_ACCESS_TOKEN is set",
        "API calls left today",
        "all is well",
    ):
        assert part in done.output
    secrets = {value for name, value in CREDENTIALS.items() if "CLIENT_ID" not in name and "CUSTOMER" not in name}
    assert not [value for value in secrets if value in done.output]


def test_every_fault_is_named_with_what_to_do(installed: Installation) -> None:
    (installed.home / "hash.key").chmod(0o644)
    (installed.home / "warehouse.duckdb").unlink()
    with served(installed.world), pytest.MonkeyPatch.context() as patch:
        patch.delenv("SALESFORCE_CLIENT_ID")
        patch.setenv("HUBSPOT_ACCESS_TOKEN", "pat-eu1-wrong-and-secret")
        done = installed.b2b("doctor")
    assert done.exit_code == 1
    assert f"chmod 600 {installed.home / 'hash.key'}" in done.output
    assert "-> b2b migrate" in done.output
    assert "-> put SALESFORCE_CLIENT_ID into the environment or .env: consumer key" in done.output
    assert "FAIL HubSpot" in done.output
    assert "pat-eu1" not in done.output


def test_a_wrong_configuration_is_told_by_line(installed: Installation) -> None:
    path = installed.folder / "pipeline.yaml"
    path.write_text(
        path.read_text().replace("timezone: UTC", "timezone: Mars/Base").replace("gross_margin", "gros_margin")
    )
    done = installed.b2b("doctor")
    assert done.exit_code == 1
    assert f"FAIL {path}:2: timezone: unknown time zone 'Mars/Base'" in done.output
    assert "gros_margin" in done.output
    assert f"-> edit {path}" in done.output


def test_it_leaves_no_choice_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = Installation(tmp_path, installation.template().world)
    installation.settle(found, monkeypatch)
    without_sources(found)
    assert found.b2b("doctor").exit_code == 1  # no warehouse yet
    assert not (found.home / "fixed.json").exists()
    assert not (found.home / "hash.key").exists()


def test_the_password_of_a_warehouse_that_is_not_there_is_not_told(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_sources(installed)
    monkeypatch.setenv("B2B_WAREHOUSE_URL", "postgresql+psycopg://b2b:very-secret@127.0.0.1:1/b2b")
    for command in (["doctor"], ["kpi", "leads"]):
        done = installed.b2b(*command)
        assert done.exit_code in (1, 2)
        assert "cannot be read" in done.output
        assert "very-secret" not in done.output


def test_a_postgresql_warehouse_is_looked_at(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, postgres_database: Callable[[], str]
) -> None:
    without_sources(installed)
    monkeypatch.setenv("B2B_WAREHOUSE_URL", postgres_database())
    assert "FAIL postgresql+psycopg://postgres:***@" in installed.b2b("doctor").output
    assert "upgraded from nothing" in installed.b2b("migrate").output
    assert "ok   PostgreSQL 1" in installed.b2b("doctor").output


def test_settings_in_a_dotenv_file_fill_in_and_never_override(installed: Installation) -> None:
    with served(installed.world), pytest.MonkeyPatch.context() as patch:
        patch.delenv("HUBSPOT_ACCESS_TOKEN")
        (installed.folder / ".env").write_text(f"HUBSPOT_ACCESS_TOKEN={PRIVATE_APP_TOKEN}\nB2B_HOME=elsewhere\n")
        done = installed.b2b("doctor")
    assert done.exit_code == 0, done.output
    assert "HUBSPOT_ACCESS_TOKEN is set" in done.output
    assert f"B2B_HOME: {installed.home} is writable" in done.output


def test_a_file_is_checked_before_anything_is_loaded(installed: Installation) -> None:
    good = next((installed.home / "inbox").glob("costs_*.csv"))
    assert installed.b2b("files", "check", str(good)).exit_code == 0
    bad = installed.folder / "costs_bad.csv"
    bad.write_bytes(good.read_bytes().replace("€".encode("cp1252"), b"pounds", 1))
    done = installed.b2b("files", "check", str(bad))
    assert done.exit_code == 1
    assert "1 quarantined" in done.output
    unknown = installed.folder / "unknown.csv"
    unknown.write_text("Deal,Opened,Value\nA,2026-06-01,10\n")
    assert "no mapping matches. A proposal" in installed.b2b("files", "check", str(unknown)).output
