"""An installation of one's own, from the wheel and outside any checkout, with a source and a metric of one's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = pytest.mark.thorough
CHECKOUT = Path(__file__).parents[2]
DAYS = {"2026-01-05": "12.50", "2026-01-06": "0.40", "2026-01-08": "7.10"}


class Vendor(BaseHTTPRequestHandler):
    """What `b2b new source --kind ad` expects: campaign days of a window, one a page."""

    def do_GET(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        days = [day for day in DAYS if asked.get("from", "") <= day < asked.get("to", "9")]
        page = int(asked.get("cursor", "0"))
        items = [
            {
                "campaign_id": "c1",
                "campaign_name": "One",
                "date": day,
                "impressions": 90,
                "clicks": 3,
                "cost": DAYS[day],
            }
            for day in days[page : page + 1]
        ]
        following = str(page + 1) if page + 1 < len(days) else None
        self.send_response(200 if self.headers["Authorization"] == "Bearer secret-token" else 401)
        self.end_headers()
        self.wfile.write(json.dumps({"items": items, "next": following}).encode())

    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def vendor() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Vendor)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel, unpacked: nothing of the checkout is beside it."""
    folder = tmp_path_factory.mktemp("wheel")
    uv = Path(sys.executable).with_name("uv")
    subprocess.run([uv, "build", "--wheel", "--quiet", "--out-dir", folder, CHECKOUT], check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    zipfile.ZipFile(built).extractall(folder / "site")
    return folder / "site"


def run(site: Path, folder: Path, *words: str, module: str = "b2b_pipeline.cli") -> subprocess.CompletedProcess[str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith(("B2B_", "DAGSTER_"))}
    return subprocess.run(
        [sys.executable, "-m", module, *words], cwd=folder, env={**own, "PYTHONPATH": str(site)}, check=False,
        capture_output=True, text=True,
    )  # fmt: skip


def test_a_team_installs_the_wheel_and_adds_a_source_and_a_metric_of_its_own(
    wheel: Path, vendor: str, tmp_path: Path
) -> None:
    def b2b(*words: str) -> str:
        done = run(wheel, company, *words)
        assert done.returncode == 0, done.stderr + done.stdout
        return done.stdout

    company = tmp_path
    b2b("init", "my-company")
    company = tmp_path / "my-company"
    assert "installation already" in run(wheel, tmp_path, "init", "my-company").stderr
    b2b("new", "source", "acme_ads", "--kind", "ad")
    b2b("new", "source", "acme_crm", "--kind", "crm")
    b2b("new", "metric", "won_per_lead")
    assert "is there already" in run(wheel, company, "new", "metric", "won_per_lead").stderr
    scaffolded = run(wheel, company, "-q", "--import-mode=importlib", "-p", "no:cacheprovider", ".", module="pytest")
    assert scaffolded.returncode == 0, scaffolded.stdout
    assert "passed" in scaffolded.stdout
    own_contract = company / "sources" / "acme_crm" / "contract.yaml"
    own_contract.rename(company / "contract.yaml")
    unheld = run(
        wheel, company, "-q", "--import-mode=importlib", "-p", "no:cacheprovider", "-k", "its_contract", module="pytest"
    )
    assert "contract.yaml is not there: write what the vendor says of its fields" in unheld.stdout
    (company / "contract.yaml").rename(own_contract)
    ours = wheel / "b2b_pipeline" / "connectors"
    assert {path.parent for path in ours.glob("*/contract.yaml")} == {path.parent for path in ours.glob("*/source.py")}

    settings = (company / "pipeline.yaml").read_text(encoding="utf-8")
    lines = ["start_date: 2026-01-01" if line.startswith("start_date") else line for line in settings.splitlines()]
    lines.insert(lines.index("sources:") + 1, "  acme_ads:")
    (company / "pipeline.yaml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with (company / ".env").open("a", encoding="utf-8") as environment:
        environment.write(f"ACME_ADS_BASE_URL={vendor}\nACME_ADS_TOKEN=secret-token\n")
    assert "acme_ads" in b2b("doctor")
    b2b("backfill", "--from", "2026-01-01", "--to", "2026-01-10")
    days = ("--from", "2026-01-05", "--to", "2026-01-06")
    (spend,) = json.loads(b2b("kpi", "spend", *days, "--format", "json"))
    assert (spend["value"], spend["complete"]) == ("12.90", True)
    assert "won_per_lead" in b2b("kpi", "--list", "--format", "json")
    (own,) = json.loads(b2b("kpi", "won_per_lead", *days, "--format", "json"))
    assert own["value"] is None


def test_where_there_is_no_installation_nothing_is_written_and_no_code_is_run(tmp_path: Path) -> None:
    refused = run(CHECKOUT, tmp_path, "new", "metric", "mine")
    assert (refused.returncode, "`b2b init FOLDER` makes an installation" in refused.stderr) == (2, True)
    (tmp_path / "metrics").mkdir()
    (tmp_path / "metrics" / "foreign.py").write_text("raise SystemExit('run')")
    assert run(CHECKOUT, tmp_path, "kpi", "--list").returncode == 0


def test_what_is_wrong_with_ones_own_code_is_told_with_its_file(tmp_path: Path) -> None:
    run(CHECKOUT, tmp_path, "init", "c")
    company = tmp_path / "c"
    broken = {
        "import nowhere\n": "ModuleNotFoundError: No module named 'nowhere'",
        "X = 1\n": "AttributeError: module 'b2b_own.metrics.mine' has no attribute 'FAMILY'",
    }
    for text, said in broken.items():
        (company / "metrics" / "mine.py").write_text(text, encoding="utf-8")
        told = run(CHECKOUT, company, "kpi", "--list")
        assert (told.returncode, f"mine.py: {said}" in told.stderr) == (2, True), told.stderr
    run(CHECKOUT, company, "new", "metric", "spend")
    (company / "metrics" / "mine.py").unlink()
    assert "two families called spend" not in run(CHECKOUT, company, "kpi", "--list").stderr
    assert "two metrics called spend: give yours another name" in run(CHECKOUT, company, "kpi", "--list").stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("stages: {a: [\n", "while parsing a flow node"),
        ("- a list\n", "validation error"),
        ("stages: {mine: {Hot: [mql]}}\n", "validation error"),
        ("stages: {hubspot: {lead: mql}}\n", "stages.hubspot belongs to another source"),
    ],
)
def test_words_of_ones_own_that_are_none_or_anothers_are_refused_with_their_file(
    tmp_path: Path, words: str, said: str
) -> None:
    run(CHECKOUT, tmp_path, "init", "c")
    run(CHECKOUT, tmp_path / "c", "new", "source", "mine", "--kind", "crm")
    (tmp_path / "c" / "sources" / "mine" / "words.yaml").write_text(words, encoding="utf-8")
    told = run(CHECKOUT, tmp_path / "c", "doctor")
    assert (told.returncode, "mine/words.yaml: " in told.stderr, said in told.stderr) == (2, True, True), told.stderr


def test_a_package_brings_a_metric_by_an_entry_point_and_a_broken_one_is_named(tmp_path: Path) -> None:
    run(CHECKOUT, tmp_path, "init", "c")
    company, site = tmp_path / "c", tmp_path / "site"
    run(CHECKOUT, company, "new", "metric", "theirs")
    (site / "theirs-1.dist-info").mkdir(parents=True)
    (company / "metrics" / "theirs.py").rename(site / "their_metrics.py")
    (site / "theirs-1.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1\n")
    points = site / "theirs-1.dist-info" / "entry_points.txt"
    points.write_text("[b2b_pipeline.metrics]\ntheirs = their_metrics:FAMILY\n")
    both = Path(f"{CHECKOUT}{os.pathsep}{site}")
    assert '"theirs"' in run(both, company, "kpi", "--list", "--format", "json").stdout
    points.write_text("[b2b_pipeline.metrics]\ntheirs = their_metrics:NOTHING\n")
    told = run(both, company, "kpi", "--list")
    assert (told.returncode, "entry point theirs (their_metrics:NOTHING): AttributeError" in told.stderr) == (2, True)
    points.write_text("")
    asked = run(CHECKOUT, company, "kpi", "attributed_revenue", "--by", "model")
    assert (asked.returncode, "the warehouse is empty" in asked.stderr) == (0, True), asked.stderr
