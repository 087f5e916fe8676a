"""A warehouse of the user's, which is only read: how it is reached, what it has, and what its errors mean."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

from google.auth.exceptions import GoogleAuthError
from sqlalchemy import Connection, Engine, Executable, NullPool, create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError, SQLAlchemyError

from b2b_pipeline.configuration.settings import secret
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, PipelineError, TransientError

PAGE = 5_000  # rows at once
DRIVERS = "sqlalchemy-bigquery for BigQuery, snowflake-sqlalchemy for Snowflake"


def reached(variable: str) -> Engine:
    """By the SQLAlchemy URL in a variable of the environment. Nothing can be written through it to DuckDB, PostgreSQL.

    Raises AuthError when the URL, or a key of BigQuery, is not there, ConfigError when the URL is none or its driver
    not installed.
    """
    given = secret(variable)
    try:
        url = make_url(given)
        options: dict[str, Any] = {}
        if url.get_backend_name() == "duckdb":
            options = {"read_only": True}
        if url.get_backend_name() == "postgresql":
            options = {"options": "-c default_transaction_read_only=on -c timezone=UTC"}
        return create_engine(url, poolclass=NullPool, connect_args=options)
    except (NoSuchModuleError, ImportError):
        raise ConfigError(f"{variable}: the driver of its warehouse is not installed: pip install {DRIVERS}") from None
    except ArgumentError:
        raise ConfigError(
            f"{variable} is not a SQLAlchemy URL such as postgresql+psycopg://user@host/database"
        ) from None
    except GoogleAuthError as error:  # BigQuery's driver looks for a key at once
        raise _meant(error, variable) from None


@contextmanager
def asking(engine: Engine, label: str) -> Iterator[Connection]:
    """A connection. What the database says is not repeated: it may quote what is in it."""
    try:
        with engine.connect() as connection:
            yield connection
    except (OperationalError, OSError):
        raise TransientError(f"{label}: the warehouse cannot be reached, or broke off") from None
    except DBAPIError as error:
        told = next((each for each in getattr(error.orig, "args", ()) if _is_of_google(each)), None)
        raise (
            _meant(told, label)
            if told
            else PermanentError(f"{label}: the warehouse refuses a query ({type(error.orig).__name__})")
        ) from None
    except SQLAlchemyError as error:
        raise PermanentError(f"{label}: the warehouse cannot be asked ({type(error).__name__})") from None
    except Exception as error:  # BigQuery's driver lets the errors of its client through as they are
        if not _is_of_google(error):
            raise
        raise _meant(error, label) from None


def _is_of_google(error: object) -> bool:
    return isinstance(error, Exception) and type(error).__module__.startswith("google.")


def _meant(error: Exception, label: str) -> PipelineError:
    """What an error of BigQuery's client means: who is not let in, what may pass, or what it refuses."""
    name, code = type(error).__name__, getattr(error, "code", None)
    if isinstance(error, GoogleAuthError) or code == 401:
        return AuthError(f"{label}: Google does not take the credentials ({name}): see GOOGLE_APPLICATION_CREDENTIALS")
    if code is None or code == 429 or code >= 500:
        return TransientError(f"{label}: BigQuery cannot be reached, or broke off ({name})")
    return PermanentError(f"{label}: BigQuery refuses ({name}): see the roles of the user in dataset and project")


def answers(engine: Engine, label: str, query: Executable) -> Iterator[Sequence[Any]]:
    with asking(engine, label) as connection:
        yield from connection.execution_options(yield_per=PAGE).execute(query)


def names(connection: Connection, schema: str) -> list[str]:
    """The tables and views of a schema. BigQuery's driver names them with their dataset where the URL names none."""
    there = inspect(connection)
    return [name.rpartition(".")[2] for name in (*there.get_table_names(schema), *there.get_view_names(schema))]


def batches(found: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    rest = iter(found)
    while batch := list(islice(rest, PAGE)):
        yield batch
