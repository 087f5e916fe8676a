"""`b2b setup` in an empty folder, what `b2b demo` refuses to start on, and files that have landed already."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from dotenv import dotenv_values
from typer.testing import CliRunner, Result

from b2b_pipeline.cli import app
from b2b_pipeline.configuration.file_mapping import file_stream
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.errors import PermanentError
from b2b_pipeline.files.landing import land_file, settled
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse import migrate
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support.installation import DEMO

VARIABLES = ("B2B_", "DAGSTER_", "GOOGLE_ADS_", "HUBSPOT_", "SALESFORCE_", "ECB_")


def b2b(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, which reads `.env` of the folder and nothing of this machine's."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    command = [sys.executable, "-m", "b2b_pipeline.cli", *arguments]
    return subprocess.run(
        command, cwd=folder, env={**clean, **environment}, capture_output=True, text=True, timeout=120, check=False
    )


def files(folder: Path) -> dict[str, bytes]:
    found = {path.relative_to(folder): path for path in folder.rglob("*") if path.is_file()}
    return {str(name): path.read_bytes() for name, path in found.items()}


# -- setup


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty folder, with a blank in its name, after `b2b setup`."""
    folder = tmp_path_factory.mktemp("a fresh folder")
    result = b2b(folder, "setup", "--days", "30")
    assert result.returncode == 0, result.stderr
    assert "ready: home " in result.stderr
    return folder


def test_an_empty_folder_becomes_an_installation(fresh: Path) -> None:
    values = dotenv_values(fresh / ".env")
    assert values["B2B_HOME"] == str(fresh / ".b2b")
    assert values["B2B_CONFIG"] == str(fresh / "pipeline.yaml")
    assert stat.S_IMODE((fresh / ".env").stat().st_mode) == 0o600
    assert stat.S_IMODE((fresh / ".b2b").stat().st_mode) == 0o700
    config = load_config(fresh / "pipeline.yaml")
    assert datetime.now(UTC).date() - config.start_date in (timedelta(days=30), timedelta(days=31))
    assert (fresh / "inbox").is_dir()
    assert (fresh / ".b2b" / "dagster" / "dagster.yaml").is_file()
    assert migrate.state(Warehouse(f"duckdb:///{fresh}/.b2b/warehouse.duckdb")) == migrate.HEAD


def test_setting_up_again_overwrites_nothing(fresh: Path) -> None:
    for name in (".env", "pipeline.yaml", ".b2b/dagster/dagster.yaml"):
        with open(fresh / name, "a", encoding="utf-8") as file:
            file.write("# mine\n")
    (fresh / ".b2b").chmod(0o755)
    before = files(fresh)
    result = b2b(fresh, "setup")
    assert result.returncode == 0, result.stderr
    assert "wrote" not in result.stderr
    assert files(fresh) == before
    assert stat.S_IMODE((fresh / ".b2b").stat().st_mode) == 0o700


def test_what_the_environment_names_is_made_where_it_says(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    places = {"B2B_HOME": "home", "B2B_CONFIG": "config/mine.yaml", "DAGSTER_HOME": "dagster"}
    result = b2b(here, "setup", **{name: str(there / place) for name, place in places.items()})
    assert result.returncode == 0, result.stderr
    assert sorted(files(here)) == [".env"]
    assert {"home/warehouse.duckdb", "config/mine.yaml", "dagster/dagster.yaml"} <= set(files(there))


def test_naming_another_home_makes_one_installation_and_not_two(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    result = b2b(here, "setup", B2B_HOME=str(there))
    assert result.returncode == 0, result.stderr
    assert sorted(files(here)) == [".env", "pipeline.yaml"]
    assert {"warehouse.duckdb", "dagster/dagster.yaml"} <= set(files(there))
    values = dotenv_values(here / ".env")
    assert (values["B2B_HOME"], values["DAGSTER_HOME"]) == (str(there), str(there / "dagster"))
    another = tmp_path / "another"
    assert b2b(here, "setup", B2B_HOME=str(another)).returncode == 0
    assert {"warehouse.duckdb", "dagster/dagster.yaml"} <= set(files(another))


def test_a_moved_checkout_says_so_and_works_after_one_command(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new place"
    old.mkdir()
    assert b2b(old, "setup").returncode == 0
    old.rename(new)
    told = b2b(new, "kpi", "leads")
    assert told.returncode == 2
    assert told.stderr == f"error: this checkout was moved from {old}, of which .env speaks: run `make setup`\n"
    assert b2b(new, "setup").returncode == 0
    values = dotenv_values(new / ".env")
    assert values["B2B_HOME"] == str(new / ".b2b")
    assert values["B2B_CONFIG"] == str(new / "pipeline.yaml")
    assert b2b(new, "kpi", "leads").returncode == 0
    assert not old.exists()


def test_an_editor_finds_the_schema_of_a_written_configuration(fresh: Path) -> None:
    first = (fresh / "pipeline.yaml").read_text(encoding="utf-8").splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert Path(first.partition("$schema=")[2]).is_file()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("B2B_HOME=home\n", "DAGSTER_HOME is not set: put its line of .env.example into .env"),
        ("B2B_CONFIG=wrong.yaml\n", "wrong.yaml:1: currency: unknown currency 'EURO': did you mean EUR?"),
    ],
)
def test_what_is_there_and_wrong_is_told_and_left_alone(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(text)
    (tmp_path / "wrong.yaml").write_text("currency: EURO\nstart_date: 2026-01-01\nsystem_of_record: files\n")
    result = b2b(tmp_path, "setup")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == f"error: {says}"
    assert (tmp_path / ".env").read_text() == text


# -- demo


@pytest.fixture
def demo(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The environment of the fresh folder, with its sandbox on a port that is taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        for name in [name for name in os.environ if name.startswith(VARIABLES)]:
            monkeypatch.delenv(name)
        for name, value in dotenv_values(fresh / ".env").items():
            monkeypatch.setenv(name, (value or "").replace(":8765/", f":{taken.getsockname()[1]}/"))
        monkeypatch.chdir(fresh.parent)
        yield taken


def run_demo(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["demo", *arguments])


def test_the_demo_does_not_start_on_a_port_that_is_in_use(demo: socket.socket) -> None:
    result = run_demo("--no-ui")
    assert result.exit_code == 2
    assert f"port {demo.getsockname()[1]} is in use" in result.stderr


def test_the_demo_looks_at_the_port_of_the_ui_too_before_anything_starts(
    demo: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = demo.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    for name, value in dict(os.environ).items():
        monkeypatch.setenv(name, value.replace(f":{port}/", f":{free}/"))
    result = run_demo("--port", str(port))
    assert result.exit_code == 2
    assert f"port {port} is in use" in result.stderr


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("GOOGLE_ADS_BASE_URL", ""),
        ("HUBSPOT_BASE_URL", None),
        ("SALESFORCE_BASE_URL", "https://ourcompany.my.salesforce.example"),
        ("ECB_BASE_URL", "http://127.0.0.1.vendor.example:8765/ecb"),
    ],
)
def test_the_demo_never_asks_a_real_vendor(
    name: str, url: str | None, demo: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    if url is None:
        monkeypatch.delenv(name)
    else:
        monkeypatch.setenv(name, url)
    result = run_demo("--no-ui")
    assert result.exit_code == 2
    assert f"the demo runs on the sandbox alone: set {name} as in .env.example" in result.stderr


def test_the_demo_does_not_start_on_two_sandboxes(demo: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECB_BASE_URL", "http://127.0.0.1:1/ecb")
    result = run_demo("--no-ui")
    assert result.exit_code == 2
    assert "the demo runs on the sandbox alone" in result.stderr


def test_a_demo_that_is_terminated_leaves_no_sandbox_behind(fresh: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(VARIABLES)}
    settings = {name: (value or "") for name, value in dotenv_values(fresh / ".env").items()}
    settings = {name: value.replace(":8765/", f":{port}/") for name, value in settings.items()}
    command = [sys.executable, "-m", "b2b_pipeline.cli", "demo", "--no-ui"]
    with subprocess.Popen(command, cwd=tmp_path, env={**clean, **settings}, stderr=subprocess.DEVNULL) as demo:
        wait_until(lambda: answers(port))
        demo.terminate()
        assert demo.wait(60) == 130
    assert not answers(port)


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def wait_until(true: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.1)


@pytest.mark.parametrize("port", ["0", "70000", "ui"])
def test_the_demo_refuses_what_is_no_port(port: str, demo: socket.socket) -> None:
    result = run_demo("--port", port)
    assert result.exit_code == 2
    assert "--port" in result.stderr


# -- dropped files


@pytest.fixture
def pipeline(tmp_path: Path) -> Pipeline:
    return Pipeline(load_config(DEMO), tmp_path)


def test_a_file_counts_as_landed_until_it_is_replaced(pipeline: Pipeline, tmp_path: Path) -> None:
    mapping = pipeline.config.files["event_leads"]
    stream, landing = file_stream(mapping), Landing(tmp_path / "landing", Pseudonyms(b"key", tmp_path / "none"))
    path = tmp_path / "event_leads.csv"
    header = "Badge,Name,E-mail,Date,Company,Country,Source,Event\n"
    path.write_text(header + "1,Ann,ann@example.com,01/31/2026,Example,DE,Trade Show,Expo\n")
    assert not settled(path, mapping, stream, landing)
    first = land_file(path, mapping, stream, landing, pipeline.config, "test")
    assert first.records == 1
    assert settled(path, mapping, stream, landing)
    assert not settled(path, mapping, "another", landing)

    os.utime(path, ns=(1, path.stat().st_mtime_ns + 1))
    assert not settled(path, mapping, stream, landing)
    again = land_file(path, mapping, stream, landing, pipeline.config, "test")
    assert again.same_as == {"*": first.slice_id}
    assert settled(path, mapping, stream, landing)

    path.write_text(header)
    assert not settled(path, mapping, stream, landing)
    path.unlink()
    with pytest.raises(OSError, match="event_leads"):
        settled(path, mapping, stream, landing)
    with pytest.raises(PermanentError, match=r"event_leads\.csv: cannot be read: No such file"):
        land_file(path, mapping, stream, landing, pipeline.config, "test")


def test_a_file_of_another_name_has_not_landed(pipeline: Pipeline, tmp_path: Path) -> None:
    mapping = pipeline.config.files["event_leads"]
    stream, landing = file_stream(mapping), Landing(tmp_path / "landing", Pseudonyms(b"key", tmp_path / "none"))
    path = tmp_path / "event_leads.csv"
    path.write_text("Badge,Name,E-mail,Date,Company,Country,Source,Event\n1,A,a@example.com,01/31/2026,E,DE,S,X\n")
    land_file(path, mapping, stream, landing, pipeline.config, "test")
    other = path.rename(tmp_path / "event_leads_2.csv")
    assert not settled(other, mapping, stream, landing)
