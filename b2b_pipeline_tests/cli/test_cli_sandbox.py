"""`b2b sandbox`: serve, truth, fault, advance."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from typer.testing import CliRunner, Result

from b2b_pipeline.cli import app
from b2b_sandbox.tokens import PRIVATE_APP_TOKEN

WORLD = ("--days", "20", "--leads", "60", "--until", "2026-06-28")
B2B = "from b2b_pipeline.cli import app; app()"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("B2B_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("B2B_CONFIG", raising=False)
    return tmp_path


def sandbox(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["sandbox", *arguments])


@contextmanager
def serving(*arguments: str) -> Iterator[str]:
    """The command in a process of its own; gives the URL that it prints."""
    command = [sys.executable, "-c", B2B, "sandbox", "serve", "--port", "0", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            first = process.stdout.readline()
            found = re.fullmatch(r"serving on (http://127\.0\.0\.1:\d+)\n", first)
            assert found, first
            yield found[1]
        finally:
            process.send_signal(signal.SIGINT)
            process.communicate(timeout=20)


def status(url: str) -> dict[str, object]:
    with urlopen(f"{url}/_sandbox/status") as answer:
        found: dict[str, object] = json.load(answer)
    return found


def test_it_serves_moves_on_while_serving_and_drops_files(home: Path) -> None:
    with serving(*WORLD, "--drops", "drops") as url:
        before = status(url)
        assert str(before["now"]).startswith("2026-06-29")
        dropped = {path.name: path.read_bytes() for path in (home / "drops").iterdir()}
        assert set(dropped) == {"costs_2026-06.csv"}
        moved = sandbox("advance", "--days", "10")
        assert "until 2026-07-08" in moved.output
        assert str(status(url)["now"]).startswith("2026-07-09")
    assert f"dropped {home / 'drops' / 'costs_2026-06.csv'}" in moved.output
    assert (home / "drops" / "costs_2026-06.csv").read_bytes() != dropped["costs_2026-06.csv"]
    assert (home / "home" / "sandbox" / "world.sqlite").is_file()


def test_a_rough_world_is_served_on_request(home: Path) -> None:
    with serving(*WORLD, "--rough") as url:
        request = Request(
            f"{url}/hubspot/marketing/v3/emails", headers={"Authorization": f"Bearer {PRIVATE_APP_TOKEN}"}
        )
        with pytest.raises(HTTPError) as refused:
            urlopen(request)
        assert refused.value.code == 403
        assert json.load(refused.value)["category"] == "MISSING_SCOPES"


def test_truth_has_the_shape_of_kpi_and_reads_the_configuration(home: Path) -> None:
    with serving(*WORLD):
        pass
    asked = ("truth", "--metric", "leads", "--metric", "romi", "--format", "json")
    plain = json.loads(sandbox(*asked).output)
    assert [list(row) for row in plain] == [["metric", "value", "numerator", "denominator", "complete"]] * 2
    assert plain[1]["value"] is None
    (home / "pipeline.yaml").write_text("start_date: 2026-06-09\nsystem_of_record: files\ngross_margin: 0.8\n")
    configured = json.loads(sandbox(*asked).output)
    assert configured[1]["value"] is not None
    assert configured[0]["value"] > plain[0]["value"]  # nobody is excluded here
    early = json.loads(sandbox(*asked, "--as-of", "2026-06-12").output)
    assert early[0]["value"] < configured[0]["value"]
    by_day = sandbox("truth", "--metric", "leads", "--from", "2026-06-10", "--to", "2026-06-12", "--by", "day")
    assert by_day.output.count("\n") == 4


def test_a_fault_is_shown_listed_and_taken_back() -> None:
    with serving(*WORLD) as url:
        assert sandbox("fault", "server_error", "--vendor", "ecb", "--option", "status=503").exit_code == 0
        assert "waiting: server_error at ecb, 1 times, {'status': 503}" in sandbox("fault", "--list").output
        with pytest.raises(OSError, match="503"):
            urlopen(f"{url}/ecb/service/data/EXR")
        sandbox("fault", "withhold", "--vendor", "ecb")
        assert "no fault waits" in sandbox("fault", "--clear").output
        assert "waiting" not in sandbox("fault", "--list").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["throttle", "--vendor", "ecb"], "'ecb' has no fault 'throttle'; it has server_error"),
        (["throttle"], "--vendor says where"),
        (["server_error", "--vendor", "ecb", "--option", "503"], "name=value"),
        (["server_error", "--vendor", "ecb", "--option", "status=404"], "status must be 500, 502 or 503"),
    ],
)
def test_a_fault_that_makes_no_sense_is_refused(arguments: list[str], message: str) -> None:
    from datetime import date

    from b2b_sandbox.generate import make_world

    make_world(Path("home/sandbox/world.sqlite"), until=date(2026, 6, 28), days=1, leads=0)
    done = sandbox("fault", *arguments)
    assert done.exit_code == 2
    assert message in done.output


def test_without_a_world_it_says_who_makes_one() -> None:
    for command in ("truth", "advance", "fault"):
        done = sandbox(command)
        assert done.exit_code == 2
        assert "`b2b sandbox serve` makes one" in done.output


def test_where_it_is_not_installed_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("b2b_pipeline.cli.sandbox.find_spec", lambda name: None)
    result = sandbox("serve")
    assert result.exit_code == 2
    assert "the sandbox is not installed here" in result.stderr
