"""A dropped file of some rows until the KPIs know it, by `b2b backfill` and by the sensors; a derive by command and UI.

    python -m benchmarks.drop [--days 180] [--files 3]

Medians of so many files each. By command everything counts, from the start of the process to its end; by the sensors
from the moment in which the file appears to the end of the `derive` that loaded it, which is when the page of a KPI
shows it; from the UI from the click to the end of the run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from statistics import median
from typing import Any

from sqlalchemy import func, select

from b2b_pipeline.warehouse import tables
from benchmarks.common import Installation, installation, load, show, yesterday
from benchmarks.history import dagster, launch

HEADER = "Document;From;To;Category;Channel;Supplier;Amount"
ROWS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=180)
    parser.add_argument("--files", type=int, default=3, help="How many of each way; the median counts.")
    options = parser.parse_args()
    with installation(options.days) as found:
        with found.sandbox(options.days, until=yesterday()):
            found.b2b("backfill")
        commands = [by_command(found, f"costs_command{n}.csv") for n in range(options.files)]
        with dagster(found) as url:
            sensors = [by_sensors(found, f"costs_sensor{n}.csv") for n in range(options.files)]
            clicks = [by_click(found, url) for _ in range(options.files)]
    show("A dropped file, to the KPIs", [
        {"way": "by command", **medians(commands), "load": load()},
        {"way": "by the sensors", **medians(sensors), "load": load()},
    ])  # fmt: skip
    show("A derive of one day", [
        {"way": "by command, of what the file changes", "seconds": median(each["derive s"] for each in commands)},
        {"way": "from the UI, of everything", **medians(clicks)},
    ])  # fmt: skip


def medians(measured: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: median(each[name] for each in measured) for name in measured[0]}


def by_command(found: Installation, name: str) -> dict[str, float]:
    drop(found, name)
    cost = found.b2b("backfill")
    loaded(found, name)
    return {"seconds": cost.seconds, "processor s": cost.processor, "derive s": run_seconds(found, "derive")}


def by_sensors(found: Installation, name: str) -> dict[str, float]:
    before, began = len(found.runs()), time.time()
    drop(found, name)
    _, started, ended = wait_for_run(found, before, lambda job, start: job != "derive")
    _, derive, done = wait_for_run(found, before, lambda job, start: job == "derive" and start >= ended)
    loaded(found, name)
    return {"seconds": done - began, "seen and started s": started - began, "landed s": ended - started,
            "derive started s": derive - ended, "derive s": done - derive}  # fmt: skip


def by_click(found: Installation, url: str) -> dict[str, float]:
    before, began = len(found.runs()), time.time()
    launch(url, "derive", yesterday())
    _, started, ended = wait_for_run(found, before, lambda job, start: job == "derive")
    return {"seconds": ended - began, "until it starts s": started - began, "derive s": ended - started}


def wait_for_run(found: Installation, before: int, wanted: Callable[[str, float], bool]) -> tuple[str, float, float]:
    """The first run after so many that is wanted (by its job and its start), once it has ended."""
    until = time.monotonic() + 600
    while time.monotonic() < until:
        for job, start, end in found.runs()[before:]:
            if end and wanted(job, start):
                return job, start, end
        time.sleep(0.1)
    raise RuntimeError(f"it did not end: {found.runs()[before:]}")


def run_seconds(found: Installation, job: str) -> float:
    """Of its newest run."""
    return next(end - start for name, start, end in reversed(found.runs()) if name == job)


def drop(found: Installation, name: str) -> None:
    """Some costs of the days before yesterday, as the finance department exports them."""
    first, last = (f"{yesterday() - timedelta(days=n):%d.%m.%Y}" for n in (5, 1))
    lines = [f"{name}-{n};{first};{last};event;events;Hall {n};{100 + n},50 €" for n in range(ROWS)]
    part = found.folder / f"{name}.part"
    part.write_text("\n".join([HEADER, *lines]) + "\n", encoding="cp1252")
    part.rename(found.folder / "inbox" / name)


def loaded(found: Installation, name: str) -> None:
    """Raises RuntimeError when the rows of a file are not in the warehouse."""
    cost = tables.cost_ledger.c.cost_id  # on each of its days
    count = select(func.count(cost.distinct()).label("n")).where(cost.startswith(name))
    rows: list[dict[str, Any]] = list(map(dict, found.warehouse().rows(count)))
    if rows[0]["n"] != ROWS:
        raise RuntimeError(f"{name}: {rows[0]['n']} of {ROWS} rows are loaded")


if __name__ == "__main__":
    main()
