"""A rebuild that is killed: `python -m b2b_pipeline_tests.support.kill AT` ends itself by SIGKILL at the AT-th moment.

A moment is the beginning or the end of an SQL statement, or a commit about to be made. AT 0 is never. Environment and
landing are those of an installation (B2B_HOME, B2B_CONFIG, B2B_WAREHOUSE_URL).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event

from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline

MOMENTS = ("before_cursor_execute", "after_cursor_execute", "commit")


@contextmanager
def at_every_moment(call: Callable[[], None]) -> Iterator[None]:
    """`call` is called at each moment of whatever this process does with any warehouse."""

    def listener(*_: Any) -> None:
        call()

    for name in MOMENTS:
        event.listen(Engine, name, listener)
    try:
        yield
    finally:
        for name in MOMENTS:
            event.remove(Engine, name, listener)


def run_until_killed(at: int, environment: dict[str, str]) -> int:
    """Rebuild in a process of its own that is killed at moment `at`. Returns its exit code, negative for a signal."""
    command = [sys.executable, "-m", "b2b_pipeline_tests.support.kill", str(at)]
    return subprocess.run(command, env={**os.environ, **environment}, check=False, timeout=300).returncode


def main(at: int) -> None:
    moments = iter(range(1, sys.maxsize))

    def check() -> None:
        if next(moments) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    pipeline = Pipeline.from_environment()
    with at_every_moment(check):
        rebuild(pipeline, "killed" if at else "alone", replay=False)


if __name__ == "__main__":
    main(int(sys.argv[1]))
