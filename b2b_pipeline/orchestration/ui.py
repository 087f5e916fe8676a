"""What `b2b ui` serves: Dagster's webserver behind the guard, with its daemon and code server as children.

It is what `dagster dev` starts, in the same parts, but for the guard, which wraps the webserver inside its process:
there is no second port behind it. These parts have no public name in Dagster 1.13, hence the private imports.
"""

import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
import uvicorn
import yaml
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.context import WorkspaceProcessContext  # noqa: TID251
from dagster._core.workspace.load_target import ModuleTarget, WorkspaceFileTarget  # noqa: TID251
from dagster_webserver.app import create_app_from_workspace_process_context

from b2b_pipeline.errors import ConfigError, TransientError
from b2b_pipeline.orchestration.guard import Guard

CODE = ModuleTarget("b2b_pipeline.definitions", "defs", None, "b2b_pipeline")  # as in workspace.yaml
PATIENCE = 20  # seconds for the daemon to end by itself


def serve(instance: dg.DagsterInstance, port: int, ready: Callable[[str], object]) -> None:
    """Serve on 127.0.0.1 until interrupted; `ready` is called with the URL once it answers.

    Raises ConfigError when the port is taken, TransientError when the daemon ends by itself.
    """
    try:
        listener = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise ConfigError(f"port {port} cannot be used: {error.strerror}; --port names another") from None
    instance.optimize_for_webserver(statement_timeout=15_000, pool_recycle=3600, max_overflow=20)
    with listener, _code_server(instance) as workspace, _daemon(["run", "-w", str(workspace)]) as daemon:
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)]), dg.__version__) as context:
            port = listener.getsockname()[1]
            app = Guard(create_app_from_workspace_process_context(context), port)
            config = uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=3)
            server = uvicorn.Server(config)
            threading.Thread(target=_stop_with, args=(daemon, server), daemon=True).start()
            ready(f"http://127.0.0.1:{port}")
            server.run(sockets=[listener])
        if daemon.poll() is not None:
            raise TransientError(f"the Dagster daemon ended with {daemon.returncode}: what it wrote above says why")


@contextmanager
def _code_server(instance: dg.DagsterInstance) -> Iterator[Path]:
    """A workspace file that points at one code server for both, restarted when it dies, reloaded from the UI."""
    with ProxyServerManager(instance, CODE, "WARNING") as servers, TemporaryDirectory() as folder:
        path = Path(folder) / "workspace.yaml"
        path.write_text(yaml.safe_dump({"load_from": list(servers.get_code_server_specs())}), encoding="utf-8")
        yield path


@contextmanager
def _daemon(arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "b2b_pipeline.orchestration.daemon", *arguments]
    # In a session of its own: Ctrl-C reaches us alone, and we end it after the webserver.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True) as daemon:
        try:
            yield daemon
        finally:
            assert daemon.stdin is not None
            daemon.stdin.close()
            try:
                daemon.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                daemon.kill()


def _stop_with(daemon: subprocess.Popen[bytes], server: uvicorn.Server) -> None:
    daemon.wait()
    server.should_exit = True
