"""What the engines say when something is wrong, as one sentence with the cure. Their own words stay in it."""

from __future__ import annotations

import re

import duckdb
import psycopg
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

from b2b_pipeline.errors import ConfigError, PermanentError, PipelineError, TransientError

_HOLDER = re.compile(r"lock is held in (?P<program>\S+)(?: \([^)]*\))* ?\(PID (?P<pid>\d+)\)")
_DAMAGED = re.compile(
    r"not a valid DuckDB|corrupt|checksum|not read enough bytes|serializ|database has been invalidated", re.IGNORECASE
)
_OF_THE_SERVER = (psycopg.OperationalError, psycopg.InternalError, psycopg.errors.InsufficientPrivilege)
_MAKE_ROOM = "make room and run the same command again: what was written before is whole"
_TRY_AGAIN = "run the same command again when the server is back: what was written before is whole"


def is_held(error: DBAPIError) -> bool:
    """Whether another program has the DuckDB file open."""
    return "Could not set lock on file" in str(error.orig)


def explained(error: Exception, url: URL) -> PipelineError | None:
    """The error as one of ours, None when it is not about the warehouse's file or server."""
    found = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(found, duckdb.Error):
        return _duckdb(str(found).strip().splitlines()[0], f"the warehouse {url.database}")
    if isinstance(found, psycopg.errors.DependentObjectsStillExist):
        said = f"{_where(url)}: {_first(found)}"
        return ConfigError(f"{said}: drop what hangs on it (a view of your own), run `b2b migrate`, make it again")
    if isinstance(
        found, psycopg.OperationalError | psycopg.errors.InsufficientPrivilege | psycopg.errors.InternalError
    ):
        return _postgresql(found, url)
    if isinstance(found, psycopg.errors.ReadOnlySqlTransaction):
        return ConfigError(f"{_where(url)} is read-only: name the primary in B2B_WAREHOUSE_URL, not its copy")
    if isinstance(found, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
        return ConfigError(f"{_where(url)}: {_first(found)}: run `b2b migrate`")
    return None


def _duckdb(said: str, where: str) -> PipelineError | None:
    """`said` is DuckDB's first line."""
    if holder := _HOLDER.search(said):
        program = f"{holder['program'].rpartition('/')[2]} (process {holder['pid']})"
        return TransientError(f"{where} is open in {program}: close it there, then run the same command again")
    if "Could not set lock" in said:
        return TransientError(f"{where} is open in another program: close it there, then run the same command again")
    if "version number" in said or "newer version of DuckDB" in said:
        return ConfigError(f"{where} was written by another version of DuckDB ({said}): upgrade duckdb")
    if "No space left" in said or "write all bytes" in said or "File too large" in said:
        return PermanentError(f"{where}: the disk is full ({said}): {_MAKE_ROOM}")
    if "Read-only file system" in said or "Permission denied" in said or "read-only mode" in said:
        return ConfigError(f"{where} cannot be written to ({said}): let this user write there, or set B2B_HOME")
    if _DAMAGED.search(said):
        cure = "restore it from a backup, or move it away and run `b2b migrate` and `b2b replay`, which reads landing"
        return PermanentError(f"{where} is damaged ({said}): {cure}")
    if said.startswith("Catalog Error: Table with name"):
        return ConfigError(f"{where}: {said}: run `b2b migrate`")
    if "Out of Memory" in said:
        return TransientError(f"{where}: {said}: close other programs, or give this machine more memory")
    if said.startswith("IO Error"):
        return ConfigError(f"{where} cannot be read ({said}): correct B2B_WAREHOUSE_URL or B2B_HOME")
    return None


def _postgresql(found: psycopg.Error, url: URL) -> PipelineError:
    said, user, where = _first(found), url.username or "this user", _where(url)
    state = found.sqlstate or ""
    if state == "42501":
        grant = f"GRANT CREATE, USAGE ON SCHEMA public TO {user};"
        if "schema" not in said:
            grant = f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {user};"
        return ConfigError(f"{where}: {said}: as the database's owner run {grant}")
    if state == "53100":
        return PermanentError(f"{where}: the server's disk is full ({said}): {_MAKE_ROOM}")
    if state or not said.startswith(("connection failed", "failed to resolve", "connection timeout")):
        return TransientError(f"{where} went away ({said}): {_TRY_AGAIN}")
    return _first_contact(said, user, where, url)


def _first_contact(said: str, user: str, where: str, url: URL) -> PipelineError:
    """A connection that was not made."""
    database = url.database
    cures = {
        "password authentication failed": f"put the password of {user} into PGPASSWORD, or correct B2B_WAREHOUSE_URL",
        "no password supplied": f"put the password of {user} into PGPASSWORD",
        "role .* does not exist": f"make it: CREATE ROLE {user} LOGIN PASSWORD '…';",
        "database .* does not exist": f"make it: CREATE DATABASE {database} OWNER {user};",
        "permission denied for database": f"as its owner run GRANT CONNECT, TEMP ON DATABASE {database} TO {user};",
        "no encryption|SSL off|SSL connection is required": "it wants TLS: add ?sslmode=require to B2B_WAREHOUSE_URL",
        "does not support SSL": "take sslmode out of B2B_WAREHOUSE_URL, or switch TLS on at the server",
        "certificate": "sslrootcert=… in B2B_WAREHOUSE_URL names the file of the server's authority",
        "no pg_hba.conf entry": f"let this machine in: a line for {user} in the server's pg_hba.conf",
        "failed to resolve": "correct the host in B2B_WAREHOUSE_URL",
    }
    for words, cure in cures.items():
        if re.search(words, said):
            return ConfigError(f"{where}: {said}: {cure}")
    return TransientError(
        f"{where} cannot be read: it does not answer ({said}): start the server, or correct B2B_WAREHOUSE_URL"
    )


def _where(url: URL) -> str:
    return f"PostgreSQL {url.host or 'on this machine'}{f':{url.port}' if url.port else ''}/{url.database or ''}"


def _first(error: BaseException) -> str:
    """The first line of what the server said, without libpq's preamble."""
    said = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return re.sub(r"^connection failed: connection to server .*? failed: (FATAL:\s*)?", "connection failed: ", said)
