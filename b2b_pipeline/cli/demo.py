"""`b2b demo`: the whole main job on an invented company, then the Dagster UI, in one command."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import requests
import typer

from b2b_pipeline.cli import side_by_side
from b2b_pipeline.cli.backfill import open_launcher, run, split
from b2b_pipeline.cli.common import pipeline, say
from b2b_pipeline.cli.report import report
from b2b_pipeline.configuration import settings
from b2b_pipeline.connectors.transport import Transport
from b2b_pipeline.errors import ConfigError, TransientError


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    leads: Annotated[int, typer.Option(min=1, help="People who turn up in the invented company.")] = 3000,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the Dagster UI answers.")] = 3000,
    ui: Annotated[
        bool, typer.Option("--ui/--no-ui", help="Stay, with the UI; or stop when the numbers are there.")
    ] = True,
) -> None:
    """Serve the invented company, run the main job over all its days, and open the Dagster UI on them."""
    began = time.monotonic()
    found = pipeline()
    sandbox_port = _sandbox_port(found.config.sources)
    for wanted in (sandbox_port, *([port] if ui else [])):
        _refuse_used(wanted)
    last = datetime.now(found.config.zone).date() - timedelta(days=1)
    days = (last - found.config.start_date).days + 1
    options = {"--port": sandbox_port, "--until": last, "--days": days, "--leads": leads, "--drops": found.inbox}
    words = [str(word) for option in options.items() for word in option]
    with _process([sys.executable, "-m", "b2b_pipeline.cli", "sandbox", "serve", *words]) as sandbox:
        _wait(f"http://127.0.0.1:{sandbox_port}/_sandbox/status", sandbox)
        launcher = open_launcher(found)
        first, at_once = found.config.start_date, found.config.limits.backfill_days
        runs = {name: split(launcher.missing(name, first, last), at_once) for name in found.config.sources}
        # One process answers for all vendors, at once: there is nothing that reading side by side would wait for less.
        problems = run(found, launcher, runs, side_by_side.here(launcher, runs), first, last)
        if problems:
            raise TransientError(f"the demo did not come through: {problems[0]}")
        say(f"{days} days of {len(found.config.sources)} sources are there after {time.monotonic() - began:.0f} s")
        if ui:
            with _process([sys.executable, "-m", "b2b_pipeline.cli", "ui", "--port", str(port)]) as server:
                _wait(f"http://127.0.0.1:{port}/server_info", server)
                say(f"the Dagster UI: http://127.0.0.1:{port} after {time.monotonic() - began:.0f} s; Ctrl-C ends it")
                say(f"a KPI page: http://127.0.0.1:{port}/assets/kpi/lead_generation")
                report(None, None)
                say(f"for the marketing lead: {(found.home / 'report.html').as_uri()}")
                say(f"for a number and its reasons: b2b explain leads --on {last}")
                with suppress(KeyboardInterrupt):
                    server.wait()


def _sandbox_port(sources: Iterable[str]) -> int:
    """The port that the connectors are pointed at. Raises ConfigError when one is pointed at a real vendor."""
    urls = {f"{source.upper()}_BASE_URL": urlsplit(settings.base_url(source, "")) for source in sources}
    strangers = [name for name, url in urls.items() if url.hostname not in ("127.0.0.1", "localhost")]
    ports = {url.port for url in urls.values()} - {None}
    if strangers or len(ports) != 1:
        wrong = ", ".join(strangers or urls) or "the sources of pipeline.yaml"
        raise ConfigError(f"the demo runs on the sandbox alone: set {wrong} as in .env.example")
    return int(ports.pop() or 0)


def _refuse_used(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise ConfigError(
                f"port {port} is in use: stop what listens there, or choose another (--port; *_BASE_URL in .env)"
            ) from None


@contextmanager
def _process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child with everything it starts; ended, by its process group, however we end."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # again for each child: Dagster's runs replace it
    log = Path(os.environ["DAGSTER_HOME"]) / f"{command[3]}.log"
    with open(log, "wb") as out, subprocess.Popen(command, stdout=out, stderr=out, start_new_session=True) as child:
        try:
            yield child
        finally:
            for kind, patience in ((signal.SIGINT, 15), (signal.SIGKILL, 5)):
                try:
                    os.killpg(child.pid, kind)
                    child.wait(patience)
                    break
                except (ProcessLookupError, subprocess.TimeoutExpired):
                    continue


def _wait(url: str, child: subprocess.Popen[bytes], seconds: float = 120) -> None:
    """Until `url` answers. Raises TransientError when the child ends or takes too long."""
    end = time.monotonic() + seconds
    with Transport() as http:
        while time.monotonic() < end:
            if child.poll() is not None:
                why = f"its process ended with {child.returncode}; see the logs in DAGSTER_HOME"
                raise TransientError(f"{url} never answered: {why}")
            try:
                if http.get(url, timeout=2).ok:
                    return
            except requests.RequestException:
                pass  # not yet
            time.sleep(0.2)
    raise TransientError(f"{url} did not answer within {seconds:.0f} s")
