"""Who still works on this home, told by locks that the operating system drops when a process dies, however it dies.

Kept in DAGSTER_HOME/alive: `daemon.lock` of the one daemon, `<run id>.lock` of the process that executes a run.
"""

import atexit
import os
import threading
from pathlib import Path

import dagster as dg
import fasteners

DAEMON = "daemon"
TWO_DAEMONS = (
    "another Dagster daemon works on this home already (b2b ui, make demo or dagster dev): end it first, "
    "or give this one a B2B_HOME and a DAGSTER_HOME of its own"
)
GONE = "The process of this run is gone: it was killed, or the machine went down. The run was ended at the next start."
_held: dict[str, fasteners.InterProcessLock] = {}
_threads = threading.Lock()


@atexit.register
def _let_go() -> None:
    for lock in _held.values():
        lock.release()


def _path(name: str) -> Path:
    return Path(os.environ["DAGSTER_HOME"]) / "alive" / f"{name}.lock"


def hold(name: str) -> bool:
    """Hold the lock as long as this process lives. False when another process does."""
    with _threads:
        if name not in _held:
            lock = fasteners.InterProcessLock(_path(name))
            if not lock.acquire(timeout=1):  # who only asks holds it for a moment
                return False
            _held[name] = lock
    return True


def hold_run(run_id: str) -> None:
    """This process executes the run from now on, and none of those that it executed before."""
    with _threads:
        for name in [name for name in _held if name != DAEMON]:
            lock = _held.pop(name)
            _path(name).unlink(missing_ok=True)
            lock.release()
    hold(run_id)


def is_held(name: str) -> bool:
    """Whether a living process holds the lock."""
    with _threads:
        if name in _held:  # opening the file again would drop our own lock (fcntl(2))
            return True
        if not _path(name).exists():
            return False
        lock = fasteners.InterProcessLock(_path(name))
        if free := lock.acquire(blocking=False):
            lock.release()
        return not free


def end_dead_runs(instance: dg.DagsterInstance) -> None:
    """End the runs that are marked as going but whose process is gone, and give back what they held."""
    going = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        if is_held(run.run_id):
            continue
        if run.status == dg.DagsterRunStatus.CANCELING:
            instance.report_run_canceled(run, GONE)
        else:
            instance.report_run_failed(run, GONE)
        instance.event_log_storage.free_concurrency_slots_for_run(run.run_id)
