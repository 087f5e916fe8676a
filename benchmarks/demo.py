"""From a clone to the numbers and the UI: what `make setup` and `make demo` take, the packages being in the cache.

    python -m benchmarks.demo [--days 180] [--leads 3000] [--without-environment]

`make setup` runs in a clone of the last commit, virtual environment and all; a first one that is not counted warms the
cache. `--without-environment` leaves that out and measures the demo in a fresh folder with the environment there is.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from b2b_pipeline_tests.support.postgres import free_port
from benchmarks.common import CHECKOUT, Installation, end, load, show


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--leads", type=int, default=3000)
    parser.add_argument("--without-environment", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if not options.without_environment:
        clone()
        rows.append({"phase": "make setup, warm cache", "seconds": clone()})
    with TemporaryDirectory(prefix="b2b-benchmark-", ignore_cleanup_errors=True) as folder:
        found = Installation(Path(folder))
        began = time.monotonic()
        found.set_up(options.days)
        rows.append({"phase": "b2b setup", "seconds": time.monotonic() - began})
        rows += demo(found, options.leads)
    show(f"Demo, {options.days} days, {options.leads:,} leads; {load()}", rows)


def clone() -> float:
    """Seconds of `make setup` in a clone of the last commit."""
    with TemporaryDirectory(prefix="b2b-benchmark-") as folder:
        subprocess.run(["git", "clone", "--quiet", str(CHECKOUT), folder], check=True)
        began = time.monotonic()
        subprocess.run(["make", "setup"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        return time.monotonic() - began


def demo(found: Installation, leads: int) -> list[dict[str, Any]]:
    """`b2b demo` until its UI answers, and its phases by Dagster's runs."""
    process = found.start("demo", "--leads", str(leads), "--port", str(free_port()))
    log = found.folder / "log.txt"
    began, launched = time.monotonic(), time.time()
    while not re.search(r"Dagster UI.* after", log.read_text(errors="replace")):
        if process.poll() is not None:
            raise RuntimeError(log.read_text(errors="replace")[-3000:])
        time.sleep(0.2)
    ui = time.monotonic() - began
    there = re.search(r"sources are there after (\d+) s", log.read_text(errors="replace"))
    runs = [run for run in found.runs() if run[2]]
    end(process)
    phases = {"of it: world, server, imports": runs[0][1] - launched}
    for job, start, ended in runs:
        name = f"of it: {job if not job.startswith('__') else 'files'}"
        phases[name] = phases.get(name, 0) + ended - start
    return [
        *({"phase": phase, "seconds": seconds} for phase, seconds in phases.items()),
        {"phase": "to all partitions", "seconds": float(there[1]) if there else ui},
        {"phase": "to the UI", "seconds": ui},
    ]  # fmt: skip


if __name__ == "__main__":
    main()
