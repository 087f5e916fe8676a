"""The sandbox's HTTP server: each vendor under its own mount, faults in front of them, and `/_sandbox/status`."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from b2b_sandbox.faults import FaultMiddleware
from b2b_sandbox.vendors import VENDORS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from starlette.requests import Request

    from b2b_sandbox.world import World


def create_app(world: World, **options: Mapping[str, Any]) -> Starlette:
    """The sandbox over one world; faults are read from it at each request.

    Options are those of a vendor's `routes`, by vendor: `google_ads={"page_size": 100}`.
    """
    asked: Counter[str] = Counter()

    def status(request: Request) -> JSONResponse:
        now = world.now()
        with world.connect() as connection:
            tables = [row["name"] for row in connection.execute("select name from sqlite_master where type = 'table'")]
            counts = {table: connection.execute(f"select count(*) from {table}").fetchone()[0] for table in tables}  # noqa: S608
        clock = datetime.fromtimestamp(now / 1000, UTC).isoformat()
        return JSONResponse({"now": clock, "now_ms": now, "counts": counts, "asked": asked})

    mounts = [
        Mount(f"/{name}", routes=vendor.routes(world, **options.get(name, {}))) for name, vendor in VENDORS.items()
    ]
    return Starlette(
        routes=[Route("/_sandbox/status", status), *mounts],
        middleware=[Middleware(FaultMiddleware, world=world, asked=asked)],
    )


def serve(
    world: World, host: str = "127.0.0.1", port: int = 8765, ready: Callable[[str], object] | None = None
) -> None:
    """Serve until interrupted. `ready` is called once with the base URL, when connections are accepted."""
    with socket.create_server((host, port)) as listener:
        if ready:
            ready(_url(listener))
        _server(create_app(world)).run(sockets=[listener])


@contextmanager
def running(world: World, **options: Mapping[str, Any]) -> Iterator[str]:
    """The sandbox in a thread of this process, on a free loopback port; gives its base URL. Options: `create_app`."""
    listener = socket.create_server(("127.0.0.1", 0))  # which the server closes
    server = _server(create_app(world, **options))
    threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="sandbox", daemon=True).start()
    try:
        yield _url(listener)
    finally:
        server.should_exit = True  # it looks at this every tenth of a second, and nobody waits for it


def _server(app: Starlette) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(
        app, lifespan="off", ws="none", log_level="warning", access_log=False,
        timeout_graceful_shutdown=1,  # a slow answer may take minutes; who ends the sandbox does not wait for it
    ))  # fmt: skip


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://{host}:{port}"
