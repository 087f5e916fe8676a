"""The Dagster UI as people use it, in a real browser: `make test-ui`. The tests tell one story, in this order.

It plays on an installation as `b2b setup` leaves it, with 30 days of history of which the last two were not read yet.
B2B_SCREENSHOTS names a folder that keeps what was seen.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests
import yaml
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline_tests.support.postgres import free_port

pytestmark = pytest.mark.browser

TOP = Path(__file__).parents[2]
MEMORY = Path("/dev/shm")
DAYS, WITHHELD = 30, 2
GROUPS = [
    "raw_google_ads",
    "raw_hubspot",
    "raw_salesforce",
    "raw_ecb",
    "raw_files",
    "core",
    "derived",
    "books",
    "kpi",
    "export",
]
FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
KPI = "/assets/kpi/lead_generation"
SECONDS = 480  # what the backfill may take on a busy machine; alone it is under two minutes

expect.set_options(timeout=30_000)


# -- the installation


# Those of the demo; of the others there is nothing to see.
FAMILIES = families_of(Config.model_validate(yaml.safe_load((TOP / "examples/demo/pipeline.yaml").read_text())))


@pytest.fixture(scope="module")
def ui() -> Iterator[str]:
    """URL of the Dagster UI."""
    memory = MEMORY if os.access(MEMORY, os.W_OK) else None
    with TemporaryDirectory(prefix="b2b-ui-", dir=memory) as name:
        with ExitStack() as stack:
            yield install(Path(name), stack)
        listing = subprocess.run(["ps", "axeww", "-o", "pid=,args="], capture_output=True, text=True, check=True).stdout
        assert [line[:100] for line in listing.splitlines() if f"TMPDIR={name}" in line] == []


def install(folder: Path, stack: ExitStack) -> str:
    """What a user does on a fresh machine, but for ports, time zone and the two newest days."""
    sandbox, dagster = free_port(), free_port()
    settings = (TOP / ".env.example").read_text().replace("/path/to/checkout", str(folder))
    (folder / ".env").write_text(settings.replace(":8765/", f":{sandbox}/"))
    start = f"start_date: {today() - timedelta(days=DAYS)}"
    configuration = re.sub("start_date: .*", start, (TOP / "examples/demo/pipeline.yaml").read_text())
    (folder / "pipeline.yaml").write_text(configuration.replace("timezone: UTC", f"timezone: {where_it_is_noon()}"))
    b2b(folder, "setup")
    inbox = folder / "inbox"
    world = ["sandbox", "serve", "--port", str(sandbox), "--days", str(DAYS), "--leads", "300", "--drops", str(inbox)]
    stack.enter_context(process(folder, f"http://127.0.0.1:{sandbox}/_sandbox/status", "b2b_pipeline.cli", *world))
    b2b(folder, "backfill", "--to", str(today() - timedelta(days=1 + WITHHELD)))
    for path in inbox.iterdir():
        path.unlink()  # landed; the file sensor would land it again, and have yesterday derived
    url = f"http://127.0.0.1:{dagster}"
    stack.enter_context(process(folder, f"{url}/server_info", "b2b_pipeline.cli", "ui", "--port", str(dagster)))
    return url


def today() -> date:
    return datetime.now(UTC).date()


def where_it_is_noon() -> str:
    """A time zone in which no schedule is near and no day ends while we look. Today is the same there as in UTC."""
    return f"Etc/GMT{datetime.now(UTC).hour - 12:+}"  # by POSIX, + is west


def environment(folder: Path) -> dict[str, str]:
    """Nothing of the machine's own installation: settings come from .env. TMPDIR marks our processes."""
    ours = ("B2B_", "DAGSTER_", "GOOGLE_ADS_", "HUBSPOT_", "SALESFORCE_", "ECB_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"TMPDIR": str(folder)}


def b2b(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "b2b_pipeline.cli", *arguments]
    done = subprocess.run(command, cwd=folder, env=environment(folder), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@contextmanager
def process(folder: Path, url: str, *arguments: str) -> Iterator[None]:
    """A module run as a process that answers on `url`; ended with everything that it started."""
    path = folder / f"{arguments[0]}.log"
    with path.open("wb") as log:
        child = subprocess.Popen(
            [sys.executable, "-m", *arguments],
            cwd=folder, env=environment(folder), stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        wait_for(lambda: child.poll() is not None or answers(url), 120)
        assert child.poll() is None, path.read_text()
        yield
    finally:
        child.send_signal(signal.SIGINT)
        try:
            wait_for(lambda: child.poll() is not None and not group_lives(child.pid), 30)
        except AssertionError:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()


def group_lives(leader: int) -> bool:
    try:
        os.killpg(leader, 0)
    except ProcessLookupError:
        return False
    return True


def answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=5).ok
    except requests.RequestException:
        return False


def wait_for(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s"
        time.sleep(0.5)


def graphql(url: str, query: str) -> Any:
    answer = requests.post(f"{url}/graphql", json={"query": query}, timeout=30).json()
    assert "errors" not in answer, json.dumps(answer["errors"])
    return answer["data"]


# -- the browser


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """An installed chromium, else the one that `playwright install chromium` brings."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def screenshots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = Path(os.environ.get("B2B_SCREENSHOTS") or tmp_path_factory.mktemp("screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def page(browser: Browser, ui: str, screenshots: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A fresh page; what it shows at the end of the test is kept as a picture named after the test."""
    page = browser.new_page(base_url=ui, viewport={"width": 1400, "height": 900})
    yield page
    page.screenshot(path=screenshots / f"{request.node.name}.png")
    page.close()


def visit(page: Page, path: str) -> None:
    page.goto(path, wait_until="domcontentloaded")


def graph(page: Page) -> Locator:
    return page.locator("svg")


def select(page: Page, assets: str) -> None:
    """Type a selection into the search field of the graph."""
    page.locator(".CodeMirror").click()
    page.keyboard.type(assets)
    page.keyboard.press("Enter")


def button(within: Page | Locator, words: str) -> Locator:
    """By what it says; its accessible name also holds its icon's."""
    return within.locator("button", has_text=re.compile(f"^{words}$"))


def result(page: Page, check: str) -> Locator:
    """What the list of checks says of one."""
    return page.get_by_title(check, exact=True).locator("xpath=following-sibling::*")


# -- the story


def test_schedules_and_sensors_are_running_without_anybody_having_started_them(page: Page) -> None:
    visit(page, "/automation")
    for name in ("google_ads", "hubspot", "salesforce", "ecb"):
        expect(page.get_by_text(f"nightly_{name}")).to_be_visible()
    others = ("freshness_every_hour", "retention_every_night", "ask_again", "derive_after_ingest", "file_drops")
    for name in (*others, "tell_state_changes"):
        expect(page.get_by_text(name)).to_be_visible()
    expect(page.locator("label[class*=formatSwitch] input:checked")).to_have_count(10)


def test_the_code_location_is_loaded(page: Page) -> None:
    visit(page, "/deployment")
    expect(page.get_by_text("b2b_pipeline.definitions").first).to_be_visible()
    expect(page.get_by_text("Loaded", exact=True)).to_be_visible()


def test_the_asset_graph_shows_the_groups_and_opens_one_to_its_assets(page: Page, screenshots: Path) -> None:
    visit(page, "/asset-groups")
    for name in GROUPS:
        expect(graph(page).get_by_text(name, exact=True)).to_be_visible()
    expect(page.get_by_text(re.compile("error|failed", re.IGNORECASE))).to_have_count(0)
    page.screenshot(path=screenshots / "groups.png")
    graph(page).get_by_text("kpi", exact=True).click()
    expect(graph(page).get_by_text(re.compile(f"^({'|'.join(FAMILIES)})$")).first).to_be_visible()
    select(page, 'group:"kpi"')
    for family in FAMILIES:
        expect(graph(page).get_by_text(family, exact=True)).to_be_visible()
    share = f"{(DAYS - WITHHELD) / DAYS:.0%} filled"
    expect(graph(page).get_by_text(share)).to_have_count(len(FAMILIES))


def test_a_kpi_page_shows_formulas_and_value_change_and_trend_without_a_click(page: Page) -> None:
    began = time.monotonic()
    visit(page, KPI)
    for metric in FAMILIES["lead_generation"].metrics:
        expect(page.get_by_text(f"{metric.name}: {metric.formula}", exact=True)).to_be_visible()
    print(f"the first paint of {KPI} took {time.monotonic() - began:.1f} s")
    expect(page.get_by_text(re.compile(r"leads on \d{4}-\d\d-\d\d: \d+.* vs a week before"))).to_be_visible()
    trend = page.get_by_alt_text("trend")
    expect(trend).to_be_visible()
    expect(trend).to_be_in_viewport()
    assert trend.evaluate("picture => picture.naturalWidth") > 0


def test_the_days_that_nobody_read_are_missing_and_the_checks_say_so(page: Page, screenshots: Path) -> None:
    visit(page, KPI)
    page.get_by_role("tab", name="Partitions").click()
    expect(page.get_by_text(f"Materialized ({DAYS - WITHHELD})")).to_be_visible()
    expect(page.get_by_text(f"Missing ({WITHHELD})")).to_be_visible()
    page.screenshot(path=screenshots / "missing_days.png")
    page.get_by_role("tab", name="Checks").click()
    expect(result(page, "completeness")).to_have_text("Failed")
    page.get_by_title("completeness", exact=True).click()
    expect(page.get_by_text("hubspot/contact was not read for this day")).to_be_visible()
    page.get_by_title("freshness", exact=True).click()
    button(page, "Execute").click()
    expect(result(page, "freshness")).to_have_text("Failed", timeout=60_000)


def test_a_backfill_launched_by_clicks_ends_with_its_partitions_green(page: Page, ui: str, screenshots: Path) -> None:
    visit(page, "/asset-groups")
    select(page, 'not group:"raw_files"')  # their partitions are file names, not days
    button(page, "Materialize all…").click()
    dialog = page.get_by_role("dialog")
    button(dialog, "Missing").click()
    expect(dialog.get_by_text(f"{WITHHELD} partitions", exact=True)).to_be_visible()
    page.screenshot(path=screenshots / "backfill_dialog.png")
    button(dialog, "Launch backfill").click()
    page.get_by_text("View", exact=True).click()
    page.wait_for_url("**/runs/b/*")

    backfill = page.url.rpartition("/")[2]
    backfill_of_ours = f'partitionBackfillOrError(backfillId: "{backfill}")'
    question = f"{{ {backfill_of_ours} {{ ... on PartitionBackfill {{ status runs {{ id }} }} }} }}"

    def state() -> Any:
        return graphql(ui, question)["partitionBackfillOrError"]

    wait_for(lambda: state()["status"] not in ("REQUESTED", "COMPLETING"), SECONDS)
    assert state()["status"] == "COMPLETED_SUCCESS"
    assert len(state()["runs"]) <= 2
    visit(page, f"/runs/b/{backfill}")
    expect(page.get_by_text("100% completed").first).to_be_visible()
    page.screenshot(path=screenshots / "backfill.png")
    for asset in ("raw/google_ads/campaign_daily", "raw/salesforce/lead", "person", "kpi/lead_generation"):
        visit(page, f"/assets/{asset}?view=partitions")
        expect(page.get_by_text(f"Materialized ({DAYS})")).to_be_visible()
        expect(page.get_by_text("Missing (0)")).to_be_visible()
    page.get_by_role("tab", name="Checks").click()
    expect(result(page, "freshness")).to_have_text("Succeeded")


def test_no_run_has_failed(page: Page) -> None:
    visit(page, "/runs")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    page.get_by_text("Failed", exact=True).click()
    expect(page.get_by_text("No matching runs")).to_be_visible()
