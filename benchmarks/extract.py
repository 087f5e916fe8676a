"""The way in: recorded answers of Google Ads to typed rows in DuckDB, ours against dlt and DuckDB's own `read_json`.

    python -m benchmarks.extract [--rows 300000] [--days 100] [--without-dlt]

The same answers, pages of 10,000 campaign days, are served by a static server of its own. Ours (`way_ours.py`): the
connector reads them into landing, and `load_table` brings them into `spend`, hashed, checked, typed and converted. dlt
(`way_dlt.py`, in an environment of its own, made on first use): a resource that follows the pages, into a schema that
it finds by itself. `read_json` (`way_read_json.py`): from the files into the columns of `spend`. Each is a process;
compared are its processor time, from start to end, and its peak of memory.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import date, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from b2b_pipeline_tests.support.postgres import free_port
from benchmarks.common import CHECKOUT, load, show
from benchmarks.static import ACCOUNT, PAGE, windows

DLT = "dlt[duckdb]==1.31.0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--days", type=int, default=100)
    parser.add_argument("--without-dlt", action="store_true")
    options = parser.parse_args()
    with TemporaryDirectory(prefix="b2b-benchmark-") as name:
        folder = Path(name)
        record(folder / "answers", options.rows, options.days)
        with serving(folder / "answers") as url:
            found = [measured("ours", sys.executable, url, folder / "ours", options)]
            if not options.without_dlt:
                found.append(measured("dlt", dlt_python(), url, folder / "dlt", options))
        found.append(measured("read_json", sys.executable, str(folder / "answers"), folder / "own.duckdb", options))
        for row in found:
            row["rows/s, ours : this"] = found[0]["rows / processor s"] / row["rows / processor s"]
        show(f"{options.rows:,} rows of a Google Ads report of {options.days} days", found)


def record(folder: Path, rows: int, days: int) -> None:
    """The answers, as Google writes them."""
    folder.mkdir()
    chance, each = random.Random(1), rows // days
    for first, last in windows(days):
        of = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        records = (campaign_day(chance, day, number) for day in of for number in range(each))
        count, page = each * len(of), 0
        while part := list(islice(records, PAGE)):
            more = {"nextPageToken": str(page + 1)} if (page + 1) * PAGE < count else {}
            answer = {"results": part, "totalResultsCount": str(count), "fieldMask": "", **more}
            (folder / f"page-{first}-{page}.json").write_text(json.dumps(answer, indent=2), encoding="utf-8")
            page += 1


def campaign_day(chance: random.Random, day: date, number: int) -> dict[str, Any]:
    campaign = 20_000_000_000 + number
    return {
        "customer": {
            "resourceName": f"customers/{ACCOUNT}", "id": ACCOUNT, "currencyCode": "EUR", "timeZone": "Europe/Berlin",
        },
        "campaign": {
            "resourceName": f"customers/{ACCOUNT}/campaigns/{campaign}", "status": "ENABLED",
            "advertisingChannelType": "SEARCH", "name": f"DE | Brand | Search {number}", "id": str(campaign),
        },
        "metrics": {
            "clicks": str(chance.randrange(300)), "videoTrueviewViews": "0", "engagements": "0",
            "conversionsValue": chance.randrange(100_000) / 100, "conversions": chance.randrange(900) / 100,
            "costMicros": str(chance.randrange(10**9)), "allConversions": chance.randrange(900) / 100,
            "impressions": str(chance.randrange(9_000)), "interactions": "3", "viewThroughConversions": "0",
        },
        "segments": {"date": str(day)},
    }  # fmt: skip


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    port = free_port()
    server = subprocess.Popen([sys.executable, "-m", "benchmarks.static", str(folder), str(port)], cwd=CHECKOUT)
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


def measured(way: str, python: str, source: str, target: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Run it to its end; it tells how many rows it has loaded, and its peak."""
    rows = options.rows // options.days * options.days
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [python, "-m", f"benchmarks.way_{way}", source, str(target), str(options.days)],
        cwd=CHECKOUT,
        stdout=subprocess.PIPE,
        text=True,
    )
    out, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"{way} failed: {out[-2000:]}")
    loaded, peak = (int(word) for word in out.split()[-2:])
    if loaded != rows:
        raise RuntimeError(f"{way} loaded {loaded:,} of {rows:,} rows")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "way": way, "processor s": spent, "rows / processor s": rows / spent, "peak MB": peak / 1024, "load": load(),
    }  # fmt: skip


def dlt_python() -> str:
    """The interpreter of an environment with dlt, which is no dependency of ours."""
    folder = CHECKOUT / ".venv" / "dlt"
    if not (folder / "bin" / "python").exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", DLT], check=True)
    return str(folder / "bin" / "python")


if __name__ == "__main__":
    main()
