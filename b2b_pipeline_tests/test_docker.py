"""docker/: the compose file is valid and fits the code, and its processes work together, on a real PostgreSQL."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import compose_spec
import dagster as dg
import pytest
import requests
import yaml
from dagster_postgres import PostgresEventLogStorage, PostgresRunStorage, PostgresScheduleStorage
from sqlalchemy.engine import make_url
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from b2b_pipeline.configuration.config import Config
from b2b_pipeline_tests.support import postgres
from b2b_pipeline_tests.support.compose import DOCKER, PORTS, TOP, Host, example_environment, load

ENVIRONMENT = example_environment()
COMPOSE = load(ENVIRONMENT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OPERATOR = (ENVIRONMENT["B2B_UI_USER"], ENVIRONMENT["B2B_UI_PASSWORD"])
MUTATION = "mutation { setNuxSeen }"  # harmless, and it tells whether it was executed
PIPELINE_YAML = """\
start_date: 2026-01-01
system_of_record: salesforce
sources:
  salesforce: {}
"""


# -- the files


def test_the_compose_file_follows_the_compose_specification() -> None:
    compose_spec.PyCompose.from_yaml(yaml.safe_dump(COMPOSE)).validate()


def test_only_the_proxy_is_published_and_only_on_loopback() -> None:
    assert {name: service["ports"] for name, service in SERVICES.items() if "ports" in service} == {
        "proxy": [f"127.0.0.1:3000:{PORTS['proxy']}"]
    }
    assert set(SERVICES["proxy"]["networks"]) & set(SERVICES["db"]["networks"]) == set()


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "docker.sock" not in json.dumps(service)
    not_root = "user" in service or "unprivileged" in service["image"]  # our own image says so itself, see below
    assert not_root or "build" in service
    assert "healthcheck" in service or service["restart"] == "no"


def test_only_the_containers_that_run_the_pipeline_get_its_credentials() -> None:
    assert {name for name, service in SERVICES.items() if "env_file" in service} == {"code", "migrate"}
    password = ENVIRONMENT["WAREHOUSE_DB_PASSWORD"]
    holders = {name for name, service in SERVICES.items() if password in service["environment"].values()}
    assert holders == {"db", "code", "migrate"}


def test_the_example_environment_names_every_variable_and_no_other() -> None:
    used = set(re.findall(r"\$\{(\w+)", (DOCKER / "compose.yaml").read_text()))
    assert used == ENVIRONMENT.keys()


def test_no_password_has_a_default() -> None:
    for name in (name for name in ENVIRONMENT if name.endswith("PASSWORD")):
        with pytest.raises(ValueError, match=name):
            load({key: value for key, value in ENVIRONMENT.items() if key != name})


@pytest.mark.parametrize("name", ["PYTHON_IMAGE", "POSTGRES_IMAGE", "NGINX_IMAGE"])
def test_images_are_taken_by_digest_or_not_at_all(name: str) -> None:
    with pytest.raises(ValueError, match=r"docker/pin-images\.sh"):
        load({key: value for key, value in ENVIRONMENT.items() if key != name})
    assert name in (DOCKER / "pin-images.sh").read_text()
    ours = {service["image"] for service in SERVICES.values()} - {"b2b-pipeline"}
    assert all(re.search(r"@sha256:[0-9a-f]{64}$", image) for image in ours)
    assert re.findall(r"^FROM (\S+)", (DOCKER / "Dockerfile").read_text(), re.MULTILINE) == ["${PYTHON_IMAGE}"] * 2


def test_services_wait_only_for_services_that_exist_and_can_become_healthy() -> None:
    for service in SERVICES.values():
        for other, wanted in service.get("depends_on", {}).items():
            one_shot = SERVICES[other]["restart"] == "no"
            assert wanted["condition"] == ("service_completed_successfully" if one_shot else "service_healthy")


def test_workspaces_commands_and_code_agree_on_module_location_and_ports() -> None:
    (local,) = yaml.safe_load((TOP / "workspace.yaml").read_text())["load_from"]
    (remote,) = yaml.safe_load((DOCKER / "workspace.yaml").read_text())["load_from"]
    module, server = local["python_module"], remote["grpc_server"]
    assert module["location_name"] == server["location_name"] == "b2b_pipeline"
    assert (server["host"], server["port"]) == ("code", PORTS["code"])
    assert SERVICES["code"]["command"][-1].endswith(f"-p {PORTS['code']} -m {module['module_name']}")
    assert importlib.util.find_spec(module["module_name"])
    assert SERVICES["code"]["healthcheck"]["test"][-1] == str(PORTS["code"])
    assert str(PORTS["webserver"]) in SERVICES["webserver"]["command"]
    assert SERVICES["proxy"]["environment"]["PROXY_UPSTREAM"] == f"webserver:{PORTS['webserver']}"
    assert SERVICES["proxy"]["environment"]["PROXY_LISTEN"] == f"0.0.0.0:{PORTS['proxy']}"


def test_the_inbox_is_mounted_where_the_pipeline_looks_for_files() -> None:
    code = SERVICES["code"]
    folder, inbox = Path(code["environment"]["B2B_CONFIG"]).parent, Config.model_fields["inbox"].default
    assert f"{ENVIRONMENT['B2B_INBOX']}:{folder / inbox}:ro" in code["volumes"]


def test_the_image_holds_what_the_services_use_and_runs_as_nobody_in_particular() -> None:
    dockerfile = (DOCKER / "Dockerfile").read_text()
    last_stage = dockerfile[dockerfile.rindex("\nFROM") :]
    assert re.search(r"^USER b2b$", last_stage, re.MULTILINE)
    for name in ("dagster.yaml", "workspace.yaml", "janitor.py"):
        assert f"docker/{name}" in last_stage
        assert f"!docker/{name}\n" in (DOCKER / "Dockerfile.dockerignore").read_text()
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source in COMPOSE["volumes"] and source != "db":  # a fresh volume takes its owner from the image
                assert re.search(rf"install .*--owner b2b .*{target}\b", last_stage)


# -- the processes


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """Databases made by docker/init-db.sql, and a place for the services."""
    with postgres.own_server() as url, tempfile.TemporaryDirectory(prefix="b2b-docker-") as folder:
        server = make_url(url)
        environment = {**os.environ, **ENVIRONMENT, "PGPASSWORD": str(server.password)}
        subprocess.run(
            [postgres.binary_folder() / "psql", "--no-psqlrc", "--quiet", f"--file={DOCKER / 'init-db.sql'}",
             f"--host={server.host}", f"--port={server.port}", f"--username={server.username}"],
            env=environment, check=True,
        )  # fmt: skip
        host = Host(Path(folder), int(server.port or 0))
        (Path(folder) / "etc/b2b/pipeline.yaml").write_text(PIPELINE_YAML)
        host.run("migrate")
        yield host


@pytest.fixture
def instance(host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance of docker/dagster.yaml."""
    for name, value in host.environment("webserver").items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


def test_dagster_yaml_is_an_instance_on_postgresql_that_watches_and_retries_runs(instance: dg.DagsterInstance) -> None:
    assert isinstance(instance.run_storage, PostgresRunStorage)
    assert isinstance(instance.event_log_storage, PostgresEventLogStorage)
    assert isinstance(instance.schedule_storage, PostgresScheduleStorage)
    assert instance.run_monitoring_enabled
    assert instance.run_retries_enabled
    assert not instance.telemetry_enabled
    assert not instance.nux_enabled


def test_runs_that_died_with_the_code_container_are_ended_and_waiting_ones_are_kept(
    host: Host, instance: dg.DagsterInstance
) -> None:
    @dg.job
    def some_job() -> None: ...

    before = {
        status: instance.create_run_for_job(some_job, status=status).run_id
        for status in (dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.NOT_STARTED)
    }
    host.run("code", ["python", "/opt/dagster/janitor.py"])
    after = {status: run.status for status, run_id in before.items() if (run := instance.get_run_by_id(run_id))}
    for run_id in before.values():
        instance.delete_run(run_id)
    assert after == {
        dg.DagsterRunStatus.STARTED: dg.DagsterRunStatus.FAILURE,
        dg.DagsterRunStatus.CANCELING: dg.DagsterRunStatus.CANCELED,
        dg.DagsterRunStatus.NOT_STARTED: dg.DagsterRunStatus.NOT_STARTED,
    }


@pytest.fixture(scope="module")
def ui(host: Host) -> Iterator[str]:
    """URL of the proxy, behind it everything else of the compose file."""
    missing = [
        name for name in ("nginx", "envsubst", "curl") if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")
    ]
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)} (Debian: apt-get install nginx-light gettext-base curl)")
    with host.running("code", "webserver", "daemon", "proxy"):
        yield f"http://localhost:{host.ports['proxy']}"


def test_without_credentials_there_is_nothing_to_see(ui: str) -> None:
    assert requests.get(ui, timeout=10).status_code == 401
    assert requests.get(ui, auth=(OPERATOR[0], "wrong"), timeout=10).status_code == 401
    assert requests.post(f"{ui}/graphql", json={"query": "{ version }"}, timeout=10).status_code == 401


def test_with_credentials_the_page_opens_and_the_location_is_loaded_without_errors(ui: str) -> None:
    page = requests.get(ui, auth=OPERATOR, timeout=30)
    assert page.status_code == 200
    assert 'id="initialization-data"' in page.text  # the webserver's own start page
    assert page.headers["X-Frame-Options"] == "DENY"
    query = """{ workspaceOrError { ... on Workspace { locationEntries {
        name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }"""
    answer = requests.post(f"{ui}/graphql", json={"query": query}, auth=OPERATOR, headers={"Origin": ui}, timeout=60)
    assert answer.json()["data"]["workspaceOrError"]["locationEntries"] == [
        {"name": "b2b_pipeline", "loadStatus": "LOADED", "locationOrLoadError": {"__typename": "RepositoryLocation"}}
    ]


def test_the_daemon_is_seen_by_the_ui(ui: str) -> None:
    query = "{ instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }"
    answer = requests.post(f"{ui}/graphql", json={"query": query}, auth=OPERATOR, timeout=60).json()
    statuses = answer["data"]["instance"]["daemonHealth"]["allDaemonStatuses"]
    assert [status for status in statuses if status["required"] and not status["healthy"]] == []
    assert {"SENSOR", "SCHEDULER", "BACKFILL", "MONITORING"} <= {status["daemonType"] for status in statuses}


@pytest.mark.parametrize("path", ["/graphql", "/graphql/", "//graphql", "/x/../graphql", "/%67raphql"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_a_mutation_that_a_link_could_fire_is_refused(ui: str, method: str, path: str) -> None:
    request = requests.Request(method, ui, auth=OPERATOR).prepare()
    request.url = f"{ui}{path}?query={quote(MUTATION)}"
    with requests.Session() as session:
        assert session.send(request, timeout=10).status_code == 405


def test_a_mutation_that_only_pretends_to_be_a_websocket_is_not_executed(ui: str) -> None:
    answer = requests.get(
        f"{ui}/graphql", params={"query": MUTATION}, auth=OPERATOR, timeout=10,
        headers={"Upgrade": "websocket", "Connection": "Upgrade"},
    )  # fmt: skip
    assert answer.status_code >= 400
    assert "setNuxSeen" not in answer.text


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "http://localhost:1"])
def test_a_page_of_another_origin_can_do_nothing_even_with_the_operators_password(ui: str, origin: str) -> None:
    answer = requests.post(
        f"{ui}/graphql", json={"query": MUTATION}, auth=OPERATOR, headers={"Origin": origin}, timeout=10
    )
    assert answer.status_code == 403


def test_a_name_that_is_not_ours_gets_no_answer(ui: str) -> None:
    answer = requests.get(ui, auth=OPERATOR, headers={"Host": "rebound.example"}, timeout=10)
    assert answer.status_code == 421


def test_subscriptions_pass_for_our_own_page_only(ui: str) -> None:
    token = b64encode(":".join(OPERATOR).encode()).decode()

    def subscribe(origin: str) -> ClientConnection:
        return connect(
            ui.replace("http", "ws") + "/graphql", origin=Origin(origin), subprotocols=[Subprotocol("graphql-ws")],
            additional_headers={"Authorization": f"Basic {token}"}, proxy=None,
        )  # fmt: skip

    with subscribe(ui) as socket:
        socket.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(socket.recv(timeout=10))["type"] == "connection_ack"
    with pytest.raises(InvalidStatus, match="403"):
        subscribe("https://evil.example")


@pytest.mark.parametrize("password", ["", "#comment", "colon:inside", "new\nline"])
def test_the_proxy_does_not_start_with_a_password_that_nginx_would_cut_short(host: Host, password: str) -> None:
    environment = {**host.environment("proxy"), "B2B_UI_PASSWORD": password, "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", DOCKER / "proxy.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "letters, digits" in done.stderr


@pytest.mark.parametrize("password", ["abcdefg", "elevenchars", "$6$bad hash$x", "$6$a$b#c"])
def test_the_proxy_does_not_start_with_a_password_that_is_soon_guessed_or_a_hash_that_is_none(
    host: Host, password: str
) -> None:
    environment = {**host.environment("proxy"), "B2B_UI_PASSWORD": password, "PATH": os.environ["PATH"]}
    done = subprocess.run(["sh", DOCKER / "proxy.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "B2B_UI_PASSWORD" in done.stderr
    assert password not in done.stderr


def test_the_proxy_keeps_a_hash_of_the_password(host: Host, ui: str) -> None:
    kept = (host.folder / "tmp" / "htpasswd").read_text()
    assert kept.startswith(f"{OPERATOR[0]}:$6$")
    assert OPERATOR[1] not in kept
    assert OPERATOR[1] not in (host.folder / "tmp" / "nginx.conf").read_text()


@contextmanager
def another_proxy(host: Host, run: Path, **environment: str) -> Iterator[int]:
    """A second proxy, of other settings, in front of the same webserver."""
    port = postgres.free_port()
    run.chmod(0o777)
    listen = {"PROXY_LISTEN": f"127.0.0.1:{port}", "PROXY_RUN": str(run)}
    argv = ["env", *(f"{name}={value}" for name, value in {**listen, **environment}.items()), "sh"]
    with host.popen("proxy", [*argv, "/etc/b2b/proxy.sh"], stdout=subprocess.DEVNULL) as process:
        try:
            end = time.monotonic() + 20
            while time.monotonic() < end:
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield port
        finally:
            process.terminate()


def test_a_hash_can_be_given_instead_of_the_password(host: Host, ui: str) -> None:
    made = subprocess.run(["openssl", "passwd", "-6", "a long enough one"], capture_output=True, text=True, check=True)
    with (
        tempfile.TemporaryDirectory() as run,
        another_proxy(host, Path(run), B2B_UI_PASSWORD=made.stdout.strip()) as port,
    ):
        url = f"http://localhost:{port}/server_info"
        assert requests.get(url, auth=(OPERATOR[0], "a long enough one"), timeout=10).status_code == 200
        assert requests.get(url, auth=OPERATOR, timeout=10).status_code == 401


def test_with_a_certificate_it_speaks_tls_only_and_is_healthy(host: Host, ui: str) -> None:
    folder = host.folder / "etc/b2b/tls"
    folder.mkdir()
    make = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    subprocess.run(
        [*make.split(), "-keyout", folder / "tls.key", "-out", folder / "tls.crt"], check=True, capture_output=True
    )
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    try:
        with tempfile.TemporaryDirectory() as run, another_proxy(host, Path(run)) as port:
            safe = f"https://localhost:{port}"
            answer = requests.get(f"{safe}/server_info", auth=OPERATOR, timeout=10, verify=str(folder / "tls.crt"))
            assert answer.status_code == 200
            assert "; Secure" in answer.headers["Set-Cookie"]
            own = {"Origin": safe}
            asked = requests.post(
                f"{safe}/graphql", json={"query": "{ version }"}, auth=OPERATOR, headers=own, timeout=10,
                verify=str(folder / "tls.crt"),
            )  # fmt: skip
            assert asked.status_code == 200
            assert requests.get(f"http://localhost:{port}/", auth=OPERATOR, timeout=10).status_code == 400
            check = SERVICES["proxy"]["healthcheck"]["test"][-1].replace("8080", str(port))
            assert subprocess.run(["sh", "-c", check], check=False).returncode == 0
    finally:
        shutil.rmtree(folder)


def test_guesses_are_limited_and_whoever_has_given_the_password_is_not(ui: str) -> None:
    with requests.Session() as operator, requests.Session() as guesser:
        operator.auth, guesser.auth = OPERATOR, (OPERATOR[0], "guess")
        answers = [operator.get(f"{ui}/server_info", timeout=10).status_code]
        while answers[-1] == 429:  # the tests before have been quick
            time.sleep(2)
            answers.append(operator.get(f"{ui}/server_info", timeout=10).status_code)
        assert answers[-1] == 200
        guesses = [guesser.get(f"{ui}/server_info", timeout=10).status_code for _ in range(100)]
        assert set(guesses) == {401, 429}
        assert guesses.count(401) <= 75
        guesser.auth = OPERATOR
        assert guesser.get(f"{ui}/server_info", timeout=10).status_code == 429, "the right one is not looked at either"
        assert {operator.get(f"{ui}/server_info", timeout=10).status_code for _ in range(100)} == {200}
