"""docker/compose.yaml without an engine: read as Compose reads it, its services started as processes of this machine.

With `B2B_TEST_CONTAINER` (a buildah container, see docker/try-image.sh) the same processes run from the built image.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import yaml

from b2b_pipeline_tests.support.postgres import free_port, unprivileged

TOP = Path(__file__).parents[2]
DOCKER = TOP / "docker"
PORTS = {"db": 5432, "code": 4000, "webserver": 3000, "proxy": 8080}
CONTAINER = os.environ.get("B2B_TEST_CONTAINER")


def load(environment: Mapping[str, str]) -> dict[str, Any]:
    """The compose file with its anchors merged and `${NAME}`, `${NAME:-default}`, `${NAME:?message}` filled in."""

    def fill(match: re.Match[str]) -> str:
        name, operator, rest = match.groups()
        if value := environment.get(name):
            return value
        if operator == ":-":
            return str(rest)
        raise ValueError(f"{name}: {rest or 'not set'}")

    def walk(node: Any) -> Any:
        if isinstance(node, dict):
            return {key: walk(value) for key, value in node.items()}
        if isinstance(node, list):
            return [walk(value) for value in node]
        return re.sub(r"\$\{(\w+)(?:(:[-?])([^}]*))?\}", fill, node) if isinstance(node, str) else node

    loaded: dict[str, Any] = walk(yaml.safe_load((DOCKER / "compose.yaml").read_text()))
    return loaded


def example_environment() -> dict[str, str]:
    """docker/.env.example filled in; database passwords with all that a URL or a shell could trip on."""
    lines = (DOCKER / ".env.example").read_text().splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    images = {"PYTHON": "library/python", "POSTGRES": "library/postgres", "NGINX": "nginxinc/nginx-unprivileged"}
    filled = {f"{name}_IMAGE": f"docker.io/{image}@sha256:{'0' * 64}" for name, image in images.items()}
    filled["B2B_UI_PASSWORD"] = "right-1_2.3~"
    return {name: value or filled.get(name, f"{name} @:/?#%20'\"\\") for name, value in pairs}


class Host:
    """The services of the compose file on this machine: other paths, ports and addresses, else as they are there."""

    def __init__(self, folder: Path, database_port: int) -> None:
        """`folder` becomes the containers' file system, open to every user of the machine."""
        self.services = load(example_environment())["services"]
        self.folder = folder
        self.ports = {"code": free_port(), "webserver": free_port(), "proxy": free_port(), "db": database_port}
        for name in ("opt/dagster", "etc/b2b", "var/lib/b2b", "var/lib/dagster", "etc/b2b/inbox", "srv/b2b", "tmp"):
            (folder / name).mkdir(parents=True)
        for name in ("proxy.sh", "nginx.conf.template"):
            shutil.copy(DOCKER / name, folder / "etc/b2b")
        for name in ("dagster.yaml", "workspace.yaml", "janitor.py"):
            (folder / "opt/dagster" / name).write_text(self.here((DOCKER / name).read_text()))
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o777 if path.is_dir() else 0o644)

    def here(self, text: str) -> str:
        """What a path, address or port of the compose network is on this machine."""
        text = re.sub(r"/(?=(opt/dagster|etc/b2b|var/lib/b2b|var/lib/dagster|srv/b2b)\b)", f"{self.folder}/", text)
        text = re.sub(r"\b0\.0\.0\.0\b|\b(code|webserver|db)(?=:\d)|(?<=host: )code$", "127.0.0.1", text, flags=re.M)
        for service, port in PORTS.items():
            text = re.sub(rf"\b{port}\b", str(self.ports[service]), text)
        return text

    def environment(self, service: str) -> dict[str, str]:
        given = {name: self.here(value) for name, value in self.services[service]["environment"].items()}
        return given | {name: "127.0.0.1" for name, value in given.items() if value == "db"}

    def popen(self, service: str, argv: list[str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """The service's process, or that of another command in its container."""
        definition = self.services[service]
        argv = [self.here(word) for word in argv or [*definition.get("entrypoint", []), *definition.get("command", [])]]
        environment = self.environment(service)
        if CONTAINER and service != "proxy":
            argv = [
                *("buildah", "--storage-driver", "vfs", "run", "--isolation", "chroot", "--user", "b2b"),
                *(f"--env={name}={value}" for name, value in environment.items()),
                *(f"--volume={self.folder}:{self.folder}", CONTAINER, "--", *argv),
            ]
        if service == "proxy" and (user := unprivileged() if os.geteuid() == 0 else None):
            options |= {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
        own = {"PATH": path, "HOME": str(self.folder), "PROXY_RUN": str(self.folder / "tmp")}
        return subprocess.Popen(argv, cwd=self.folder / "srv/b2b", env=own | environment, text=True, **options)

    def run(self, service: str, argv: list[str] | None = None) -> None:
        """Run to the end; raises with everything that was printed when it fails."""
        with self.popen(service, argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            output, _ = process.communicate(timeout=120)
        if process.returncode:
            raise RuntimeError(f"{service}: exit code {process.returncode}\n{output}")

    @contextmanager
    def running(self, *services: str) -> Iterator[None]:
        """The services as long as the `with` lasts; each is healthy by its own health check before the next starts."""
        with ExitStack() as stack:
            for service in services:
                path = self.folder / f"{service}.log"
                log = stack.enter_context(path.open("w+"))
                path.chmod(0o666)  # nginx opens its standard output again, as its own user
                process = stack.enter_context(self.popen(service, stdout=log, stderr=subprocess.STDOUT))
                stack.callback(process.terminate)
                self._wait(service, process, log)
            yield

    def _wait(self, service: str, process: subprocess.Popen[str], log: IO[str]) -> None:
        kind, *check = self.services[service]["healthcheck"]["test"]
        assert kind == "CMD"
        for _ in range(240):
            if process.poll() is not None:
                break
            if self._listens(service):  # a health check is a Python of its own: not before it can succeed
                with self.popen(service, check, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as probe:
                    if probe.wait() == 0:
                        return
            time.sleep(0.5)
        log.seek(0)
        raise RuntimeError(f"{service} is not healthy; exit code {process.poll()}\n{log.read()}")

    def _listens(self, service: str) -> bool:
        with socket.socket() as probe:
            return service not in self.ports or probe.connect_ex(("127.0.0.1", self.ports[service])) == 0
