"""A backup, restored onto an empty machine, answers the same; what is damaged or in the way is told first."""

from __future__ import annotations

import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from b2b_pipeline_tests.support.installation import START, UNTIL, Installation, copy, settle, shared

METRICS = ("spend", "leads", "cost_per_lead", "won", "roas", "email_open_rate")


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return copy(tmp_path / "it", monkeypatch)


def answers(found: Installation) -> list[str]:
    return [
        found.b2b(
            "kpi", name, "--from", str(START), "--to", str(UNTIL), "--by", "month,channel", "--format", "json"
        ).stdout
        for name in METRICS
    ]


def empty_machine(found: Installation, folder: Path, patch: pytest.MonkeyPatch) -> Installation:
    folder.mkdir()
    other = Installation(folder, found.world)
    settle(other, patch)
    patch.setenv("B2B_HOME", str(folder / "elsewhere"))
    return other


def test_a_backup_restored_onto_an_empty_machine_answers_the_same_and_goes_on(
    found: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = answers(found)
    token = found.home / "credentials" / "hubspot.json"
    token.parent.mkdir(mode=0o700, exist_ok=True)
    token.write_text("{}")
    token.chmod(0o600)
    own = Path("metrics") / "mine.py"
    (found.folder / own).parent.mkdir()
    (found.folder / own).write_text("# ours")
    history = found.home / "dagster" / "storage" / "runs.db"
    history.parent.mkdir(parents=True)
    with closing(sqlite3.connect(history)) as writer:  # as a running Dagster has it: the last words are in the log
        writer.execute("pragma journal_mode = wal")
        writer.execute("create table runs (id text)")
        writer.execute("insert into runs values ('one')")
        writer.commit()
        done = found.b2b("backup", str(tmp_path / "backup"))
    assert done.exit_code == 0, done.stderr
    assert "not in it: .env and secrets of the environment" in done.stderr
    assert stat.S_IMODE((tmp_path / "backup").stat().st_mode) == 0o700

    other = empty_machine(found, tmp_path / "other", monkeypatch)
    shutil.rmtree(found.folder / "home")
    done = other.b2b("restore", str(tmp_path / "backup"))
    assert done.exit_code == 0, done.stderr
    home = other.folder / "elsewhere"
    assert [stat.S_IMODE((home / name).stat().st_mode) for name in ("hash.key", "credentials/hubspot.json")] == [
        0o600
    ] * 2
    with closing(sqlite3.connect(home / "dagster" / "storage" / "runs.db")) as restored:
        assert restored.execute("select id from runs").fetchall() == [("one",)]
    assert answers(other) == before
    assert (other.folder / own).read_text() == "# ours"
    assert other.b2b("landing", "verify").exit_code == 0
    done = other.b2b("replay")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "nothing changed")


def test_a_restore_does_not_touch_what_is_there_unless_it_is_put_aside(found: Installation, tmp_path: Path) -> None:
    assert found.b2b("backup", str(tmp_path / "backup")).exit_code == 0
    done = found.b2b("restore", str(tmp_path / "backup"))
    assert done.exit_code == 2
    assert f"there is an installation already: {found.home / 'warehouse.duckdb'}" in done.stderr
    key = (found.home / "hash.key").read_text()
    (found.home / "hash.key").write_text("lost")
    done = found.b2b("restore", str(tmp_path / "backup"), "--aside")
    assert done.exit_code == 0, done.stderr
    assert (found.home / "hash.key").read_text() == key
    (kept,) = found.home.glob("hash.key.before-*")
    assert kept.read_text() == "lost"


def test_a_damaged_backup_is_refused_before_anything_is_written(
    found: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found.b2b("backup", str(tmp_path / "backup")).exit_code == 0
    other = empty_machine(found, tmp_path / "other", monkeypatch)
    path = next((tmp_path / "backup").rglob("*.zst"))
    content = path.read_bytes()
    for damaged, says in ((content[:-1], "the backup is damaged, nothing was restored"), (None, "is damaged")):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        done = other.b2b("restore", str(tmp_path / "backup"))
        assert (done.exit_code, says in done.stderr, path.name in done.stderr) == (1, True, True)
    path.write_bytes(content)
    (tmp_path / "backup" / "manifest.json").write_text("{}")
    done = other.b2b("restore", str(tmp_path / "backup"))
    assert (done.exit_code, "is no whole backup" in done.stderr) == (2, True)
    assert not list((other.folder / "elsewhere").rglob("*"))


def test_a_backup_goes_into_a_folder_of_its_own_and_leaves_nothing_when_it_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = shared(monkeypatch)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    done = found.b2b("backup", str(tmp_path / "full"))
    assert (done.exit_code, done.stderr) == (2, f"error: {tmp_path / 'full'} is not empty: name a new folder\n")

    def no_room(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("b2b_pipeline.operations.backup._copy_file", no_room)
    done = found.b2b("backup", str(tmp_path / "new"))
    assert (done.exit_code, "No space left on device" in done.stderr, done.stderr.count("\n")) == (1, True, 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full"]


def test_a_server_is_backed_up_by_its_own_tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = shared(monkeypatch)
    monkeypatch.setenv("B2B_WAREHOUSE_URL", "postgresql+psycopg://nobody@127.0.0.1:9/none")
    for command in ("backup", "restore"):
        done = found.b2b(command, str(tmp_path / "backup"))
        assert (done.exit_code, "back it up with `pg_dump --format=custom`" in done.stderr) == (2, True)
