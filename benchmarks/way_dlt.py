"""Recorded answers into a table, by dlt's own source for REST APIs."""

from __future__ import annotations

import dlt  # type: ignore[import-not-found]
from dlt.sources.rest_api import rest_api_source  # type: ignore[import-not-found]

from benchmarks.recorded import SOURCES
from benchmarks.way import tell


def main(name: str, url: str, folder: str, days: str) -> int:
    source = SOURCES[name]
    resources = [
        {
            "name": f"{source.stream}_{number}", "table_name": source.stream, "write_disposition": "append",
            "endpoint": source.endpoint(*question),
        }
        for number, question in enumerate(source.questions(int(days)))
    ]  # fmt: skip
    destination = dlt.destinations.duckdb(f"{folder}.duckdb")
    pipeline = dlt.pipeline("extract", destination=destination, dataset_name=name, pipelines_dir=folder)
    pipeline.run(rest_api_source({"client": {"base_url": url}, "resources": resources}))
    with pipeline.sql_client() as client:
        return int(client.execute_sql(f"select count(*) from {source.stream}")[0][0])  # noqa: S608 - ours


if __name__ == "__main__":
    tell(main)
