"""`b2b doctor` and `b2b files check`: what is wrong, and the exact thing to do about it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from b2b_pipeline.connectors.http import Session
from b2b_pipeline.warehouse.migrate import HEAD
from b2b_pipeline_tests.connectors.test_http import answer, serving
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served
from b2b_sandbox.tokens import PRIVATE_APP_TOKEN


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def without_sources(installed: Installation) -> None:
    path = installed.folder / "pipeline.yaml"
    path.write_text("start_date: 2026-06-09\nsystem_of_record: files\n")


def test_nothing_fails_with_a_good_installation_and_no_secret_is_told(installed: Installation) -> None:
    with served(installed.world):
        done = installed.b2b("doctor")
    assert done.exit_code == 0, done.output
    for part in (
        "dagster 1.13.27",
        f"schema {HEAD}",
        "hash key",
        "HUBSPOT_ACCESS_TOKEN is set",
        "API calls left today",
        "nothing failed",
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


ODD = [
    b"null", b"[]", b"{}", b'"text"', b"[[]]", b"[{}]", b'{"error": "x"}', b'{"results": [{}], "fieldMask": "x"}',
    b'{"results": 5}', b'{"portalId": 1, "access_token": "opaque-token", "limits": []}',
    b'{"access_token": "opaque-token", "instance_url": 5, "id": 7, "results": [{"customerClient": {}}]}',
    b"[" * 200_000, b"<html>", b"\xff\xfe", b"",
]  # fmt: skip


@pytest.mark.parametrize(
    ("body", "status"), [*((body, 200) for body in ODD), *((body, s) for body in ODD[5:7] for s in (400, 403, 404))]
)
def test_whatever_a_vendor_answers_is_a_finding_and_no_traceback(
    body: bytes, status: int, installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "sleep", lambda seconds: None)
    with serving(answer(body, status)) as server:
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        for vendor in ("GOOGLE_ADS", "HUBSPOT", "SALESFORCE", "ECB"):
            monkeypatch.setenv(f"{vendor}_BASE_URL", server.url)
        done = installed.b2b("doctor")
    assert isinstance(done.exception, SystemExit), done.exc_info
    assert done.exit_code == 1
    for source in ("Google Ads", "HubSpot", "Salesforce", "ECB"):
        assert f"FAIL {source}" in done.output


def test_a_sandbox_that_is_not_running_is_told_without_waiting_and_not_taken_for_wrong_credentials(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail(f"waited {seconds} s"))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    done = installed.b2b("doctor")
    assert done.exit_code == 1
    assert done.output.count("connection refused") == 4
    assert done.output.count("-> the sandbox is not running: `b2b sandbox serve`") == 4
    assert "-> check" not in done.output


def test_an_account_that_is_left_out_is_a_warning_and_all_is_well(installed: Installation) -> None:
    with installed.world.connect() as connection:
        connection.execute("update ad_account set currency = null where id = '4100000002'")
    with served(installed.world):
        done = installed.b2b("doctor")
    assert done.exit_code == 0, done.output
    assert "warn account 4100000002 is left out: the account is not set up: it has no currency" in done.output
    assert "-> give its last day under sources.google_ads.ended, or list the others" in done.output


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
    good = next((installed.folder / "inbox").glob("costs_*.csv"))
    assert installed.b2b("files", "check", str(good)).exit_code == 0
    bad = installed.folder / "costs_bad.csv"
    bad.write_bytes(good.read_bytes().replace("€".encode("cp1252"), b"pounds", 1))
    done = installed.b2b("files", "check", str(bad))
    assert done.exit_code == 1
    assert "1 quarantined" in done.output
    unknown = installed.folder / "unknown.csv"
    unknown.write_text("Deal ID,Created date,Deal stage,Amount\nA,2026-06-01,Closed won,10\n")
    assert "no mapping matches. A proposal" in installed.b2b("files", "check", str(unknown)).output
