"""Recorded answers of Google Ads into a table, by dlt."""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from typing import Any

import dlt  # type: ignore[import-not-found]
import requests

from benchmarks.static import ACCOUNT, question, windows


def main(url: str, folder: str, days: int) -> int:
    @dlt.resource(name="campaign_daily", write_disposition="replace")  # type: ignore[untyped-decorator]
    def campaign_daily() -> Iterator[list[dict[str, Any]]]:
        session = requests.Session()
        for window in windows(days):
            body: dict[str, str] | None = {"query": question(*window)}
            while body:
                answer = session.post(f"{url}/v26/customers/{ACCOUNT}/googleAds:search", json=body).json()
                yield answer["results"]
                token = answer.get("nextPageToken")
                body = {**body, "pageToken": token} if token else None

    destination = dlt.destinations.duckdb(f"{folder}.duckdb")
    pipeline = dlt.pipeline("extract", destination=destination, dataset_name="ads", pipelines_dir=folder)
    pipeline.run(campaign_daily())
    with pipeline.sql_client() as client:
        return int(client.execute_sql("select count(*) from campaign_daily")[0][0])


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3])), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
