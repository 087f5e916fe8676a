"""Recorded answers into all the core tables that they feed, by the connector, landing and the loader.

Three steps, as in a run: the schema is made, which is not counted, the stream read, and the tables loaded.
"""

from __future__ import annotations

import json
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


def main(name: str, url: str, place: str, days: str, step: str) -> int:
    source, folder = SOURCES[name], Path(place)
    home, file = folder / "home", folder / "pipeline.yaml"
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    file.write_text(f"""\
start_date: {FIRST}
timezone: Europe/Berlin
currency: EUR
system_of_record: hubspot
sources: {json.dumps({"hubspot": {}, name: {"options": source.options}})}
""")
    os.environ |= {f"{name}_{each}".upper(): value for each, value in source.environment.items()}
    os.environ |= {f"{name}_BASE_URL".upper(): url, "B2B_HOME": str(home), "B2B_CONFIG": str(file)}
    found = Pipeline.from_environment()
    match step:
        case "make":
            upgrade(found.warehouse)
        case "read":
            report = found.ingest(name, source.stream, FIRST, FIRST + timedelta(days=int(days)), "run")
            if report.failed:
                raise RuntimeError(report.failed)
        case "load":
            load(found, name)
    return sum(item.stored for item in found.landing.slices(name, source.stream))


def load(found: Pipeline, name: str) -> None:
    source = SOURCES[name]
    fed = [tables.metadata.tables[table] for table in CONNECTORS[name].stream(source.stream).feeds]
    loads = load_tables(found.warehouse, found.landing, found.config, fed, "run")
    wrong = {table: load for table, load in loads.items() if load.quarantined or load.failures or load.broken}
    if wrong or not loads[source.table].loaded:
        raise RuntimeError(f"not all of it was loaded: {wrong or loads}")


if __name__ == "__main__":
    tell(main)
