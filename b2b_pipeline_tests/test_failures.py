"""What goes wrong on a real machine is told in one line with its cure: by the real command, on really broken things."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from sqlalchemy import Engine, create_engine, make_url, text
from sqlalchemy.pool import NullPool
from typer.testing import Result

from b2b_pipeline.warehouse import engine as engines
from b2b_pipeline.warehouse import migrate
from b2b_pipeline.warehouse.engine import SESSION, Warehouse
from b2b_pipeline_tests.support import postgres
from b2b_pipeline_tests.support.dagster_home import set_up
from b2b_pipeline_tests.support.installation import Installation, copy


def admin(url: object) -> Engine:
    return create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)  # type: ignore[arg-type]


READING = [["kpi", "leads", "--from", "2026-06-10", "--to", "2026-06-12"], ["explain", "leads", "--on", "2026-06-12"]]


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    found = copy(tmp_path / "installation", monkeypatch)
    for name, value in set_up(found.folder / "dagster").items():
        monkeypatch.setenv(name, value)
    return found


def b2b(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "b2b_pipeline.cli", *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=240, check=False
    )


def told(done: subprocess.CompletedProcess[str] | Result) -> str:
    """The one line that says what is wrong."""
    code = done.exit_code if isinstance(done, Result) else done.returncode
    assert code in (1, 2), (code, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr + done.stdout
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == errors[0]
    return errors[0]


# -- the DuckDB file


def garbage(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1000)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(12_288)
        file.write(b"x" * (path.stat().st_size - 20_000))


@pytest.mark.parametrize("damage", [garbage, empty, cut_in_half, overwritten])
def test_a_damaged_warehouse_is_told_in_duckdbs_own_words(
    installation: Installation, damage: Callable[[Path], None]
) -> None:
    damage(installation.home / "warehouse.duckdb")
    is_damaged(told(b2b(*READING[0])))


@pytest.mark.parametrize("command", [READING[1], ["report"], ["backfill", "--plan"], ["replay"], ["migrate"]])
def test_every_command_tells_of_a_damaged_warehouse(installation: Installation, command: list[str]) -> None:
    garbage(installation.home / "warehouse.duckdb")
    is_damaged(told(installation.b2b(*command)))


def is_damaged(line: str) -> None:
    assert "warehouse.duckdb is damaged (IO Error: " in line
    assert "restore it from a backup" in line
    assert "b2b replay" in line


def test_doctor_goes_on_after_a_damaged_warehouse(installation: Installation) -> None:
    garbage(installation.home / "warehouse.duckdb")
    done = b2b("doctor")
    assert done.returncode == 1
    assert "not a valid DuckDB database file" in done.stdout
    assert "hubspot" in done.stdout
    assert "Traceback" not in done.stderr


@contextmanager
def another_program(path: Path) -> Iterator[subprocess.Popen[str]]:
    """It has the file open, as a notebook has."""
    code = f"import duckdb, sys; held = duckdb.connect({str(path)!r}); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "open\n"
        yield program
        program.kill()


def test_a_file_that_another_program_has_open_is_waited_for_and_then_named_with_it(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = installation.home / "warehouse.duckdb"
    with another_program(path) as program:
        monkeypatch.setattr(engines, "HELD_SECONDS", 1.0)
        began = time.monotonic()
        result = installation.b2b(*READING[0])
        assert time.monotonic() - began >= 1
        assert result.exit_code == 1
        name = Path(os.readlink(f"/proc/{program.pid}/exe")).name
        assert f"warehouse.duckdb is open in {name} (process {program.pid}): close it there" in result.stderr
    monkeypatch.setattr(engines, "HELD_SECONDS", 30.0)
    with another_program(path) as program:
        assert program.stdin is not None
        waiting = subprocess.Popen(["sh", "-c", f"sleep 1; kill {program.pid}"])
        assert installation.b2b(*READING[0]).exit_code == 0
        waiting.wait()


def test_a_schema_that_is_newer_than_the_code_is_refused_and_left_alone(installation: Installation) -> None:
    path = installation.home / "warehouse.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.execute("update alembic_version set version_num = '9999'")
    for command in (*READING, ["migrate"], ["replay"], ["backfill", "--plan"]):
        line = told(installation.b2b(*command))
        assert "revision 9999, which this version does not know: a newer b2b-pipeline wrote it" in line
    assert "upgrade b2b-pipeline" in installation.b2b("doctor").stdout
    with duckdb.connect(str(path)) as connection:
        assert connection.execute("select version_num from alembic_version").fetchall() == [("9999",)]


# -- the disk


@contextmanager
def mounted(folder: Path, options: str) -> Iterator[Path]:
    """A small disk in memory. Skips aloud where this user may not mount one."""
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.decode().strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def on_disk(installation: Installation, folder: Path, mib: int) -> Iterator[dict[str, str]]:
    """A copy of the installation's home and Dagster's home on a disk of that size, and the environment for it."""
    with mounted(folder, f"size={mib}m") as disk:
        shutil.copytree(installation.home, disk / "home")
        shutil.copytree(installation.folder / "dagster", disk / "dagster")
        yield {"B2B_HOME": str(disk / "home"), "DAGSTER_HOME": str(disk / "dagster")}


def test_commands_that_read_work_on_a_read_only_disk_and_others_say_so(
    installation: Installation, tmp_path: Path
) -> None:
    before = [b2b(*command).stdout for command in READING]
    with on_disk(installation, tmp_path / "disk", 200) as environment:
        shutil.rmtree(Path(environment["B2B_HOME"]) / "warehouse.duckdb.lock", ignore_errors=True)
        subprocess.run(["mount", "-o", "remount,ro", tmp_path / "disk"], check=True)
        for command, output in zip(READING, before, strict=True):
            done = b2b(*command, **environment)
            assert (done.returncode, done.stdout) == (0, output), done.stderr
        page = tmp_path / "page.html"
        assert b2b("report", "--out", str(page), **environment).returncode == 0
        assert "cannot be written: Read-only file system; --out names another place" in told(
            b2b("report", **environment)
        )
        doctor = b2b("doctor", **environment)
        assert "cannot be written to: Read-only file system" in doctor.stdout
        assert "Traceback" not in doctor.stderr
        for command in (["replay"], ["backfill", "--to", "2026-06-12"], ["forget", "a@example.com", "--yes"]):
            line = told(b2b(*command, **environment))
            assert "ead-only" in line or "readonly" in line, line


def test_a_full_disk_is_told_and_what_was_there_stays(installation: Installation, tmp_path: Path) -> None:
    with on_disk(installation, tmp_path / "disk", 64) as environment:
        filler = tmp_path / "disk" / "filler"
        subprocess.run(["dd", "if=/dev/zero", f"of={filler}", "bs=64k"], capture_output=True, check=False)
        for command in (["replay"], ["migrate"], ["forget", "a@example.com", "--yes"], ["report"]):
            done = b2b(*command, **environment)
            if command != ["migrate"]:  # which has nothing to do
                assert "No space left" in told(done) or "disk is full" in told(done), done.stderr
        backfill = b2b("backfill", "--to", "2026-06-12", "--again", **environment)
        assert "Traceback" not in backfill.stderr
        assert backfill.returncode == 1
        assert "full" in backfill.stderr
        filler.unlink()
        assert b2b(*READING[0], **environment).stdout == b2b(*READING[0]).stdout


# -- PostgreSQL


@pytest.fixture
def weak(postgres_url: str, postgres_database: Callable[[], str]) -> Iterator[str]:
    """URL of a fresh database, of a role that may log in and nothing else."""
    url = make_url(postgres_database())
    with admin(postgres_url).connect() as connection:
        connection.execute(text("create role weak login password 'right'"))
    try:
        yield url.set(username="weak", password="right").render_as_string(hide_password=False)
    finally:
        with admin(url).connect() as connection:
            connection.execute(text("drop owned by weak"))
            connection.execute(text("drop role weak"))


def test_a_role_that_may_not_create_tables_is_told_the_grant_and_the_grant_cures(
    installation: Installation, weak: str
) -> None:
    line = told(b2b("migrate", B2B_WAREHOUSE_URL=weak))
    assert "permission denied for schema public" in line
    assert "right" not in line
    grant = line.partition("as the database's owner run ")[2]
    with admin(make_url(weak).set(username="postgres", password="postgres")).begin() as connection:
        connection.execute(text(grant.rstrip(";")))
    assert b2b("migrate", B2B_WAREHOUSE_URL=weak).returncode == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"password": "wrong-one"}, 'failed for user "weak": put the password of weak into PGPASSWORD'),
        ({"database": "nowhere"}, 'database "nowhere" does not exist: make it: CREATE DATABASE nowhere OWNER weak;'),
        ({"port": 1}, "does not answer (connection failed: Connection refused): start the server"),
        ({"host": "nohost.invalid"}, "correct the host in B2B_WAREHOUSE_URL"),
        ({"query": {"sslmode": "require"}}, "server does not support SSL, but SSL was required: take sslmode out"),
    ],
)  # fmt: skip
def test_the_first_contact_fails_in_one_sentence_with_the_cure(
    installation: Installation, weak: str, change: dict[str, object], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B2B_WAREHOUSE_URL", make_url(weak).set(**change).render_as_string(hide_password=False))
    monkeypatch.setenv("PGCONNECT_TIMEOUT", "5")
    line = told(installation.b2b("kpi", "leads"))
    assert says in line
    assert "wrong-one" not in line
    assert says.partition(":")[0] in installation.b2b("migrate").stderr
    assert says.partition(":")[0] in installation.b2b("doctor").stdout


def test_what_a_role_or_database_sets_does_not_change_what_is_read(postgres_database: Callable[[], str]) -> None:
    url = postgres_database()
    name = make_url(url).database
    odd = {
        "datestyle": "SQL, DMY", "intervalstyle": "sql_standard", "timezone": "Asia/Kathmandu",
        "bytea_output": "escape", "extra_float_digits": "-15", "client_encoding": "LATIN1",
        "standard_conforming_strings": "off",
    }  # fmt: skip
    with admin(url).connect() as connection:
        for setting, value in odd.items():
            connection.execute(text(f"alter database {name} set {setting} = '{value}'"))
    warehouse = Warehouse(url)
    for door in (warehouse.read, warehouse.write):
        with door() as connection:
            for setting, wanted in SESSION.items():
                assert connection.execute(text(f"show {setting}")).scalar_one() == wanted


def test_a_server_that_goes_away_in_mid_run_is_told_and_the_run_can_be_repeated(installation: Installation) -> None:
    with postgres.own_server() as url:
        environment = {"B2B_WAREHOUSE_URL": url}
        assert b2b("migrate", **environment).returncode == 0
        assert b2b("replay", **environment).returncode == 0
        command = [sys.executable, "-m", "b2b_pipeline.cli", "replay"]
        with subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as running:
            stop_the_server_once_it_is_used(url)
            out, err = running.communicate(timeout=120)
        line = told(subprocess.CompletedProcess(command, running.returncode, out, err))
        assert "went away" in line or "does not answer" in line
        assert "postgres:postgres" not in err
        for reading in READING:
            assert "does not answer" in told(b2b(*reading, **environment))


def stop_the_server_once_it_is_used(url: str) -> None:
    with admin(url).connect() as connection:
        folder = Path(connection.execute(text("show data_directory")).scalar_one())
        writing = text("select count(*) from pg_stat_activity where pid <> pg_backend_pid() and query ilike '%copy%'")
        end = time.monotonic() + 60
        while not connection.execute(writing).scalar_one():
            assert time.monotonic() < end
            time.sleep(0.01)
    os.kill(int((folder / "postmaster.pid").read_text().splitlines()[0]), signal.SIGQUIT)  # at once, as a crash


# -- anything else


def test_dagsters_own_tables_may_be_damaged_too(installation: Installation) -> None:
    history = installation.folder / "dagster" / "history"
    history.mkdir()
    (history / "runs.db").write_bytes(b"this is no database " * 1000)
    line = told(b2b("backfill", "--to", "2026-06-12"))
    assert "Dagster's tables in" in line
    assert "are damaged" in line


def test_what_nobody_foresaw_is_one_line_too_and_b2b_debug_shows_the_trace(installation: Installation) -> None:
    (installation.home / "landing").mkdir(exist_ok=True)
    (installation.home / "landing" / "forgotten.json").write_text("[[[")
    assert "unexpected JSONDecodeError" in told(b2b("kpi", "leads"))
    assert "Traceback" in b2b("kpi", "leads", B2B_DEBUG="1").stderr


def test_the_schema_of_this_version_is_known() -> None:
    assert migrate.HEAD in migrate.KNOWN
