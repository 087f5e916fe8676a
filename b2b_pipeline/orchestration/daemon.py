"""`python -m b2b_pipeline.orchestration.daemon ARGUMENTS`: `dagster-daemon`, ending with the process that started it.

Standard input is a pipe that only that process holds open: however it ends, the pipe closes.
"""

import os
import runpy
import signal
import sys
import threading


def _follow() -> None:
    while os.read(0, 1024):
        pass
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    threading.Thread(target=_follow, daemon=True).start()
    sys.argv[0] = "dagster-daemon"
    runpy.run_module("dagster._daemon", run_name="__main__", alter_sys=True)
