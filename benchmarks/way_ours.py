"""Recorded answers into all the core tables that they feed, by the connector, landing and the loader."""

from __future__ import annotations

import json
import os
import resource
import sys
from datetime import timedelta
from pathlib import Path

from b2b_pipeline.connectors.registry import SOURCES as CONNECTORS
from b2b_pipeline.core.load import load_tables
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.migrate import upgrade
from benchmarks.recorded import FIRST, SOURCES


def main(name: str, url: str, folder: Path, days: int) -> int:
    source, home, file = SOURCES[name], folder / "home", folder / "pipeline.yaml"
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
    found = Pipeline.from_environment()
    upgrade(found.warehouse)
    report = found.ingest(name, source.stream, FIRST, FIRST + timedelta(days=days), "run")
    fed = [tables.metadata.tables[table] for table in CONNECTORS[name].stream(source.stream).feeds]
    loads = load_tables(found.warehouse, found.landing, found.config, fed, "run")
    wrong = {table: load for table, load in loads.items() if load.quarantined or load.failures or load.broken}
    if report.failed or wrong or not loads[source.table].loaded:
        raise RuntimeError(f"not all of it was loaded: {report.failed or wrong or loads}")
    return sum(report.rows.values())


if __name__ == "__main__":
    loaded = main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    print(loaded, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
