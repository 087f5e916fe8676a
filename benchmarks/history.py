"""History of the demo's sources, or of all that there are, from the sandbox to KPIs through Dagster, how it grows, and
the nightly run after it.

    python -m benchmarks.history [--days 180 365 1096] [--sources all] [--without-daemon]

People and campaigns grow with the days: twice the days are twice the rows. The nightly run is what the schedules
launch, through the daemon's queue, each run and step in a process of its own: every ingest job, then `derive`, which
its sensor starts. Its clock runs from the launch to the end of `derive`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any

import requests
from sqlalchemy import func, select

from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.postgres import free_port
from benchmarks.common import CHECKOUT, Cost, Installation, end, follow, installation, load, show, wait_for, yesterday

LAUNCH = """
mutation launch($job: String!, $start: String!, $end: String!) {
  launchRun(executionParams: {
    selector: {repositoryLocationName: "b2b_pipeline", repositoryName: "__repository__", jobName: $job}
    runConfigData: {}
    executionMetadata: {tags: [{key: "dagster/asset_partition_range_start", value: $start},
                               {key: "dagster/asset_partition_range_end", value: $end}]}
  }) { __typename ... on PythonError { message } }
}"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, nargs="+", default=[180, 365, 1096])
    parser.add_argument("--sources", choices=["demo", "all"], default="demo")
    parser.add_argument("--without-daemon", action="store_true", help="Only the night by command.")
    parser.add_argument("--steps", type=int, default=0, help="Also show the slowest steps.")
    options = parser.parse_args()
    history: list[dict[str, Any]] = []
    nights: list[dict[str, Any]] = []
    for days in options.days:
        # Two days longer than the world is at first: it lives through two nights.
        with installation(days + 2) as found, found.sandbox(days, until=yesterday() - timedelta(days=2)) as made:
            if options.sources == "all":
                found.switch_on_everything()
            cost = backfilled(found, "--to", str(yesterday() - timedelta(days=2)))
            history.append({
                "days": days, "ratio": cost.processor / (history[0]["processor s"] if history else cost.processor),
                "seconds": cost.seconds, "processor s": cost.processor, "peak MB": cost.megabytes,
                "largest MB": cost.largest, "processes": cost.processes, "rows": stored_rows(found),
                "calls": found.asked(), "failed": found.failed(), "world s": made, "load": load(),
            })  # fmt: skip
            show("History", history)
            if options.steps:
                show(
                    "Slowest steps", [{"step": name, "seconds": took} for name, took in found.steps()[: options.steps]]
                )
            nights.append({"days before": days, **night_by_command(found)})
            if not options.without_daemon:
                nights[-1] |= night_by_daemon(found)
            show("One night", nights)


def backfilled(found: Installation, *days: str) -> Cost:
    """Of all sources some keep less than the days asked for: their runs of those fail, and the command says so."""
    process = found.start("backfill", *days)
    cost = follow(process)
    if process.returncode and not found.failed():
        raise RuntimeError((found.folder / "log.txt").read_text(errors="replace")[-3000:])
    return cost


def stored_rows(found: Installation) -> int:
    """Rows of all core tables."""
    warehouse = found.warehouse()
    return sum(warehouse.rows(select(func.count().label("n")).select_from(table))[0]["n"] for table in tables.CORE)


def night_by_command(found: Installation) -> dict[str, Any]:
    """One day more, by `b2b backfill`."""
    found.b2b("sandbox", "advance")
    day, asked, failed = str(yesterday() - timedelta(days=1)), found.asked(), found.failed()
    cost = backfilled(found, "--from", day, "--to", day)
    return {
        "by command s": cost.seconds, "processor s": cost.processor, "peak MB": cost.megabytes,
        "largest MB": cost.largest, "calls": found.asked() - asked, "failed": found.failed() - failed,
    }  # fmt: skip


def night_by_daemon(found: Installation) -> dict[str, Any]:
    """One day more, as the schedules launch it."""
    with dagster(found) as url:
        found.b2b("sandbox", "advance")
        jobs = [f"ingest_{source}" for source in SOURCES if (found.home / "landing" / "raw" / source).is_dir()]
        before, began = len(found.runs()), time.time()
        for job in jobs:
            launch(url, job, yesterday())
        ingested, derived = None, None
        while derived is None and time.time() - began < 1800:
            time.sleep(0.5)
            new = found.runs()[before:]
            ends = [ended for job, _, ended in new if job in jobs and ended]
            ingested = max(ends) if len(ends) == len(jobs) else None
            derived = next((run for run in new if run[0] == "derive" and run[2]), None)
        if ingested is None or derived is None:
            raise RuntimeError(f"the night did not end: {found.runs()[before:]}")
    return {
        "by daemon s": derived[2] - began, "of it ingest": ingested - began, "derive": derived[2] - derived[1],
        "sensor, queue": derived[1] - ingested,
    }  # fmt: skip


@contextmanager
def dagster(found: Installation) -> Iterator[str]:
    """`dagster dev` on the installation, once it answers and every run that its sensors start at first has ended."""
    port = free_port()
    server = found.start("-m", "dagster", "dev", "-w", str(CHECKOUT / "workspace.yaml"), "-p", str(port))
    try:
        wait_for(f"http://127.0.0.1:{port}/server_info", server)
        quiet = 0
        while quiet < 90:
            time.sleep(1)
            quiet = quiet + 1 if all(ended for *_, ended in found.runs()) else 0
        yield f"http://127.0.0.1:{port}/graphql"
    finally:
        end(server)


def launch(url: str, job: str, day: date) -> None:
    variables = {"job": job, "start": str(day), "end": str(day)}
    answer = requests.post(url, json={"query": LAUNCH, "variables": variables}, timeout=60).json()
    if answer.get("data", {}).get("launchRun", {}).get("__typename") != "LaunchRunSuccess":
        raise RuntimeError(f"{job} was not launched: {answer}")


if __name__ == "__main__":
    main()
