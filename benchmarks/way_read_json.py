"""Recorded answers into the columns of a core table, by DuckDB alone: from files, with no promise kept."""

from __future__ import annotations

import duckdb

from benchmarks.recorded import SOURCES
from benchmarks.way import tell


def main(name: str, folder: str, file: str) -> int:
    source = SOURCES[name]
    with duckdb.connect(file) as connection:
        connection.execute(f"create table {source.table} as {source.select}", [f"{folder}/page-*.json"])
        rows = connection.execute(f"select count(*) from {source.table}").fetchone()  # noqa: S608 - ours
    return int(rows[0]) if rows else 0


if __name__ == "__main__":
    tell(main)
