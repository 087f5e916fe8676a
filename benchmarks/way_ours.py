"""Recorded answers of Google Ads into `spend`, by the connector, landing and the loader."""

from __future__ import annotations

import os
import resource
import sys
from datetime import timedelta
from pathlib import Path

from b2b_pipeline.core.load import load_table
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.migrate import upgrade
from benchmarks.static import ACCOUNT, FIRST

GIVEN = {"CLIENT_ID": "client", "CLIENT_SECRET": "secret", "REFRESH_TOKEN": "token", "LOGIN_CUSTOMER_ID": ACCOUNT}


def main(url: str, folder: Path, days: int) -> int:
    home, file = folder / "home", folder / "pipeline.yaml"
    home.mkdir(parents=True, mode=0o700)
    file.write_text(f"""\
start_date: {FIRST}
timezone: Europe/Berlin
currency: EUR
system_of_record: hubspot
sources: {{google_ads: {{}}, hubspot: {{}}}}
""")
    os.environ |= {f"GOOGLE_ADS_{name}": value for name, value in GIVEN.items()}
    os.environ |= {"GOOGLE_ADS_BASE_URL": url, "B2B_HOME": str(home), "B2B_CONFIG": str(file)}
    found = Pipeline.from_environment()
    upgrade(found.warehouse)
    report = found.ingest("google_ads", "campaign_daily", FIRST, FIRST + timedelta(days=days), "run")
    if report.failed:
        raise RuntimeError(report.failed)
    return load_table(found.warehouse, found.landing, found.config, tables.spend, "run").loaded


if __name__ == "__main__":
    print(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
