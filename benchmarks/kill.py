"""SIGKILL of a backfill at random moments, on both warehouses; the same command goes on, and the tables must be right.

    python -m benchmarks.kill [--kills 20] [--seed 7]

Right is: equal, row by row, to those of an undisturbed run from the same landing (`b2b replay` into an empty
warehouse), but for the stamps that say when and by which run a row came to be there. Each kill has a fresh
installation and hits the whole process group; its moment is drawn from the length of a run that nobody disturbed.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import Table

from b2b_pipeline.operations.replay import Fingerprints, fingerprints
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support.postgres import database, server
from benchmarks.common import Installation, installation, kill, load, show, yesterday

COMPARED = (*tables.CORE, *tables.DERIVED, tables.kpi_component_daily, tables.coverage, tables.quarantine)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--leads", type=int, default=200)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--on", nargs="+", choices=["duckdb", "postgresql"], default=["duckdb", "postgresql"])
    options = parser.parse_args()
    found: list[dict[str, Any]] = []
    with server() as url:
        for dialect in options.on:
            rounds = list(killed("" if dialect == "duckdb" else url, options))
            equal = sum(not each["differ"] for each in rounds)
            found.append({"warehouse": dialect, "equal": f"{equal}/{len(rounds)}", "load": load()})
            show(f"Kills on {dialect}", rounds)
    show(f"Tables after a SIGKILL and the same command again, {options.days} days, seed {options.seed}", found)


def killed(postgres: str, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    moments = random.Random(options.seed)
    with installed(postgres, options) as (found, _):
        whole = found.b2b("backfill").seconds
    for number in range(1, options.kills + 1):
        moment = moments.uniform(0.1, 1.0) * whole
        with installed(postgres, options) as (found, empty):
            run = found.start("backfill")
            time.sleep(moment)
            ended = run.poll() is not None
            kill(run)
            jobs = found.runs() if (found.home / "dagster" / "history" / "runs.db").is_file() else []
            found.b2b("backfill")
            where = "nothing: it had ended" if ended else jobs[-1][0] if jobs else "the start"
            yield {"kill": number, "after s": moment, "in": where, "differ": ", ".join(differing(found, empty))}


@contextmanager
def installed(postgres: str, options: argparse.Namespace) -> Iterator[tuple[Installation, Installation]]:
    """A fresh installation whose vendors answer, and the same one over a second warehouse, empty."""
    with (
        warehouses(postgres) as (one, other),
        installation(options.days, one) as found,
        found.sandbox(options.days, yesterday(), options.leads),
    ):
        yield found, replace(found, warehouse_url=other or f"duckdb:///{found.home / 'undisturbed.duckdb'}")


@contextmanager
def warehouses(postgres: str) -> Iterator[tuple[str, str]]:
    if not postgres:
        yield "", ""
        return
    with database(postgres) as one, database(postgres) as other:
        yield one, other


def differing(found: Installation, empty: Installation) -> list[str]:
    """The tables that say something else than an undisturbed run from the same landing."""
    empty.b2b("migrate")
    empty.b2b("replay")
    disturbed, undisturbed = found.warehouse(), empty.warehouse()

    def rows(warehouse: Warehouse, table: Table) -> Fingerprints:
        return np.sort(fingerprints(warehouse, table))

    return [each.name for each in COMPARED if not np.array_equal(rows(disturbed, each), rows(undisturbed, each))]


if __name__ == "__main__":
    main()
