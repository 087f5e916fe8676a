"""Recorded answers into all the core tables that they feed, by the connector, landing and the loader.

The schema is made, the stream read and the tables loaded in a process each, as the steps of a run are.
"""

from __future__ import annotations

import json
import multiprocessing
import os
from datetime import timedelta
from pathlib import Path

from b2b_pipeline.connectors.registry import SOURCES as CONNECTORS
from b2b_pipeline.core.load import load_tables
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.migrate import upgrade
from benchmarks.recorded import FIRST, SOURCES
from benchmarks.way import tell


def main(name: str, url: str, place: str, days: str) -> int:
    source, folder = SOURCES[name], Path(place)
    home, file = folder / "home", folder / "pipeline.yaml"
    home.mkdir(parents=True, mode=0o700)
    file.write_text(f"""\
start_date: {FIRST}
timezone: Europe/Berlin
currency: EUR
system_of_record: hubspot
sources: {json.dumps({"hubspot": {}, name: {"options": source.options}})}
""")
    os.environ |= {f"{name}_{each}".upper(): value for each, value in source.environment.items()}
    os.environ |= {f"{name}_BASE_URL".upper(): url, "B2B_HOME": str(home), "B2B_CONFIG": str(file)}
    for step, arguments in ((make, ()), (read, (name, int(days))), (load, (name,))):
        process = multiprocessing.get_context("fork").Process(target=step, args=arguments)
        process.start()
        process.join()
        if process.exitcode:
            raise SystemExit(f"{step.__name__} failed")
    landing = Pipeline.from_environment().landing
    return sum(item.stored for item in landing.slices(name, source.stream))


def make() -> None:
    upgrade(Pipeline.from_environment().warehouse)


def read(name: str, days: int) -> None:
    report = Pipeline.from_environment().ingest(
        name, SOURCES[name].stream, FIRST, FIRST + timedelta(days=days), "run"
    )
    if report.failed:
        raise RuntimeError(report.failed)


def load(name: str) -> None:
    found, source = Pipeline.from_environment(), SOURCES[name]
    fed = [tables.metadata.tables[table] for table in CONNECTORS[name].stream(source.stream).feeds]
    loads = load_tables(found.warehouse, found.landing, found.config, fed, "run")
    wrong = {table: load for table, load in loads.items() if load.quarantined or load.failures or load.broken}
    if wrong or not loads[source.table].loaded:
        raise RuntimeError(f"not all of it was loaded: {wrong or loads}")


if __name__ == "__main__":
    tell(main)
