"""`b2b ui`: the Dagster UI for its own page; other web pages on the same machine get nothing, and change nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import quote

import dagster as dg
import pytest
import requests
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from b2b_pipeline_tests.support.installation import Installation
from b2b_pipeline_tests.support.webserver import UI, Dagster, children_of, processes, recent, started, wait_for

EVIL = "https://evil.example"
WIPE = 'mutation { wipeAssets(assetPartitionRanges: [{assetKey: {path: ["spend"]}}]) { __typename } }'


@pytest.fixture(scope="module")
def installation() -> Iterator[Installation]:
    with pytest.MonkeyPatch.context() as patch, recent(3, patch) as found:
        yield found


@pytest.fixture(scope="module")
def ui(installation: Installation) -> Iterator[Dagster]:
    """The UI over an asset with one materialisation, which every attack tries to wipe."""
    with dg.DagsterInstance.get() as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("spend"))
    with started(installation.folder, UI) as dagster:
        yield dagster


@pytest.fixture(autouse=True)
def nothing_is_wiped(ui: Dagster) -> Iterator[None]:
    yield
    with dg.DagsterInstance.get() as instance:
        assert instance.get_latest_materialization_event(dg.AssetKey("spend")) is not None


def post(ui: Dagster, **headers: str) -> int:
    body = json.dumps({"query": WIPE})
    headers = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return requests.post(f"{ui.base}/graphql", body, headers=headers, timeout=10).status_code


def test_our_own_page_opens_and_asks(ui: Dagster) -> None:
    page = requests.get(ui.base, headers={"Sec-Fetch-Site": "none", "Sec-Fetch-Dest": "document"}, timeout=30)
    assert 'id="initialization-data"' in page.text
    assert page.headers["X-Frame-Options"] == "DENY"
    own = {"Origin": ui.base, "Sec-Fetch-Site": "same-origin"}
    answer = requests.post(f"{ui.base}/graphql", json={"query": "{ version }"}, headers=own, timeout=30)
    assert answer.json()["data"]["version"] == dg.__version__
    by_name = ui.base.replace("127.0.0.1", "localhost")
    assert requests.get(f"{by_name}/server_info", timeout=30).status_code == 200


def test_its_daemon_is_healthy(ui: Dagster) -> None:
    query = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"

    def sick() -> list[str]:
        statuses = ui.ask(query)["instance"]["daemonHealth"]["allDaemonStatuses"]
        return [status["daemonType"] for status in statuses if status["required"] and not status["healthy"]]

    wait_for(sick, [], 60)


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "//graphql", "/x/../graphql", "/%67raphql", "/GRAPHQL"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "OPTIONS"])
def test_a_mutation_that_an_image_or_a_link_could_fire_is_refused(ui: Dagster, method: str, path: str) -> None:
    request = requests.Request(method, ui.base).prepare()
    request.url = f"{ui.base}{path}?query={quote(WIPE)}"
    for headers in ({}, {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, {"Accept": "text/html"}):
        request.headers.update(headers)
        with requests.Session() as session:
            assert session.send(request, timeout=10).status_code in (403, 405)


@pytest.mark.parametrize("origin", [EVIL, "null", "http://localhost", "http://localhost:1", "https://127.0.0.1"])
def test_a_page_of_another_origin_can_do_nothing(ui: Dagster, origin: str) -> None:
    assert post(ui, Origin=origin) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_calls_another_site_can_do_nothing(ui: Dagster, site: str) -> None:
    assert post(ui, Sec_Fetch_Site=site) == 403
    picture = {"Sec-Fetch-Site": site, "Sec-Fetch-Dest": "image"}
    assert requests.get(f"{ui.base}/server_info", headers=picture, timeout=10).status_code == 403


def test_a_link_from_elsewhere_opens_a_page(ui: Dagster) -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert requests.get(f"{ui.base}/assets/spend", headers=link, timeout=10).status_code == 200
    assert requests.get(f"{ui.base}/graphql", params={"query": WIPE}, headers=link, timeout=10).status_code == 403


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "text/plain; application/json"])
def test_a_form_can_do_nothing_even_where_a_browser_names_no_origin(ui: Dagster, kind: str) -> None:
    assert post(ui, Content_Type=kind) == 415
    address = f"{ui.base}/report_asset_materialization/spend"
    assert requests.post(address, "{}", headers={"Content-Type": kind}, timeout=10).status_code == 415


@pytest.mark.parametrize("host", ["rebound.example", "rebound.example:3000", "127.0.0.1", "localhost:1", ""])
def test_a_name_that_is_not_ours_gets_no_answer(ui: Dagster, host: str) -> None:
    assert requests.get(ui.base, headers={"Host": host}, timeout=10).status_code in (400, 421)
    assert post(ui, Host=host) in (400, 421)


def test_subscriptions_pass_for_our_own_page_only(ui: Dagster) -> None:
    def subscribe(origin: str, **headers: str) -> ClientConnection:
        return connect(
            f"{ui.base.replace('http', 'ws')}/graphql", origin=Origin(origin), additional_headers=headers, proxy=None,
            subprotocols=[Subprotocol("graphql-ws")],
        )  # fmt: skip

    with subscribe(ui.base) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(timeout=10))["type"] == "connection_ack"
    for origin in (EVIL, "null", "http://localhost:1"):
        with pytest.raises(InvalidStatus, match="403"):
            subscribe(origin)


def test_it_answers_on_this_machine_only(ui: Dagster) -> None:
    port = int(ui.base.rpartition(":")[2])
    listeners = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False).stdout
    if not listeners:
        pytest.skip("not installed: ss (Debian: apt-get install iproute2)")
    addresses = {line.split()[3] for line in listeners.splitlines()}
    assert {address for address in addresses if address.endswith(f":{port}")} == {f"127.0.0.1:{port}"}


# -- one daemon a home, and nobody is left behind


def run(folder: Installation, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", *command]
    return subprocess.run(argv, cwd=folder.folder, capture_output=True, text=True, timeout=120, check=False)


def test_a_second_daemon_on_the_home_is_refused(installation: Installation, ui: Dagster) -> None:
    wait_for((installation.folder / "dagster/alive/daemon.lock").exists, True, 60)
    second = run(installation, *UI, "--port", "0")
    assert second.returncode == 2
    assert second.stderr.splitlines()[-1].startswith("error: another Dagster daemon works on this home already")
    assert "Traceback" not in second.stderr
    bare = run(installation, "dagster._daemon", "run", "-m", "b2b_pipeline.definitions")
    assert bare.returncode != 0
    assert "another Dagster daemon works on this home already" in bare.stdout + bare.stderr  # its logger chooses
    ticks = ui.ask("{ runsOrError { ... on Runs { results { runId } } } }")
    assert ticks["runsOrError"]["results"] == []


def test_the_daemon_and_the_code_server_end_with_it_even_when_it_is_killed(installation: Installation) -> None:
    with pytest.MonkeyPatch.context() as patch, recent(3, patch) as other, started(other.folder, UI) as dagster:
        assert len(processes(other.folder)) >= 3
        os.kill(dagster.pid, signal.SIGKILL)
        assert children_of(other.folder, 90) == []
