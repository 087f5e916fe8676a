"""Fixtures that more than one test module uses."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from b2b_pipeline_tests import postgres

# What a shell puts into the background ignores Ctrl-C, and children inherit that; tests interrupt theirs.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of a running PostgreSQL server; take `postgres_database` for a place to write to."""
    with postgres.server() as url:
        yield url


@pytest.fixture(scope="session")
def postgres_database(postgres_url: str) -> Iterator[Callable[[], str]]:
    """A function that makes a fresh, empty database and returns its URL (`postgresql+psycopg://…`)."""
    with ExitStack() as stack:
        yield lambda: stack.enter_context(postgres.database(postgres_url))
