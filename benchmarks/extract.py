"""The way in: recorded answers of seven vendors to typed rows in DuckDB, ours against dlt and DuckDB's `read_json`.

    python -m benchmarks.extract [SOURCE …] [--rows 50000] [--days 100] [--without-dlt]

The answers (`recorded.py`) are served by a static server. Ours (`way_ours.py`): the connector reads them into landing,
and the loader brings them into every core table that the stream feeds, hashed, checked, typed and converted. dlt
(`way_dlt.py`, in an environment of its own, made on first use): its source for REST APIs, configured for the same
endpoint, into a schema that it finds by itself. `read_json` (`way_read_json.py`): from the files into the columns of
one table. Compared are processor time, without that of starting Python and importing modules, and the peak of the
largest process: ours reads in one and loads in another, as in a run.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from b2b_pipeline_tests.support.postgres import free_port
from benchmarks.common import CHECKOUT, load, show
from benchmarks.recorded import SOURCES, record

DLT = "dlt[duckdb]==1.31.0"


class Cost(NamedTuple):
    """Seconds of processor time, and megabytes at the peak."""

    processor: float
    peak: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help=f"of {', '.join(SOURCES)}; all without any")
    parser.add_argument("--rows", type=int, default=50_000, help="records of each source")
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--without-dlt", action="store_true")
    options = parser.parse_args()
    found = []
    for name in options.sources or SOURCES:
        print(f"{name} …", file=sys.stderr, flush=True)
        found.append(measured(name, options.rows, options.days, options.without_dlt))
    show(f"{options.rows:,} records of {options.days} days from each source ({load()})", found)


def measured(name: str, rows: int, days: int, without_dlt: bool) -> dict[str, str | float]:
    """One source, all ways in turn."""
    count = SOURCES[name].count(rows, days)
    with TemporaryDirectory(prefix="b2b-benchmark-") as place:
        folder = Path(place)
        answers = folder / "answers"
        record(SOURCES[name], answers, rows, days)
        with serving(name, answers) as url:
            asked = (name, url, str(folder / "ours"), str(days))
            _, *steps = [cost(count, sys.executable, "ours", *asked, step) for step in ("make", "read", "load")]
            ours = Cost(sum(step.processor for step in steps), max(step.peak for step in steps))
            dlt = None if without_dlt else cost(count, dlt_python(), "dlt", name, url, str(folder / "dlt"), str(days))
        own = cost(count, sys.executable, "read_json", name, str(answers), str(folder / "own.duckdb"))
    told: dict[str, str | float] = {"source": f"`{name}`", "rows / processor s": count / ours.processor}
    told |= {"ours : dlt": dlt.processor / ours.processor} if dlt else {}
    told |= {"read_json : ours": ours.processor / own.processor}
    for way, spent in (("ours", ours), ("dlt", dlt), ("read_json", own)):
        told |= {f"{way} s": spent.processor, f"{way} MB": spent.peak} if spent else {}
    return told


@contextmanager
def serving(name: str, folder: Path) -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.static", name, str(folder), str(port)], cwd=CHECKOUT)
    try:
        wait_for_port(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for_port(port: int, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError("the static server does not answer")


def cost(count: int, python: str, way: str, *arguments: str) -> Cost:
    """Run it to its end; it tells what it has loaded, and took (`way.py`)."""
    command = [python, "-m", f"benchmarks.way_{way}", *arguments]
    process = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    if process.returncode:
        raise RuntimeError(f"{way} failed: {process.stderr[-2000:]}")
    loaded, processor, peak = process.stdout.split()[-3:]
    if int(loaded) != count and arguments[-1] != "make":
        raise RuntimeError(f"{way} loaded {loaded} of {count} records")
    return Cost(float(processor), float(peak))


def dlt_python() -> str:
    """The interpreter of an environment with dlt, which is no dependency of ours."""
    folder = CHECKOUT / ".venv" / "dlt"
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", DLT], check=True)
    return str(folder / "bin" / "python")


if __name__ == "__main__":
    main()
