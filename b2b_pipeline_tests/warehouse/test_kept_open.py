"""A DuckDB file that stays open for several transactions: each is its own, and others get their turn."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from b2b_pipeline.errors import ConfigError
from b2b_pipeline.warehouse.engine import KEPT_SECONDS, Warehouse

READ = "import sys; from sqlalchemy import text; from b2b_pipeline.warehouse.engine import Warehouse; print(*(row['n'] \
for row in Warehouse(sys.argv[1]).rows(text('select max(n) as n from t'))))"


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    found = Warehouse(f"duckdb:///{tmp_path / 'w.duckdb'}")
    with found.write() as connection:
        connection.execute(text("create table t (n integer)"))
    return found


def add(warehouse: Warehouse, n: int) -> None:
    with warehouse.write() as connection:
        connection.execute(text("insert into t values (:n)").bindparams(n=n))


def add_and_break(warehouse: Warehouse, n: int) -> None:
    with warehouse.write() as connection:
        connection.execute(text("insert into t values (:n)").bindparams(n=n))
        connection.execute(text("select nothing from nowhere"))


def there(warehouse: Warehouse) -> list[int]:
    return [row["n"] for row in warehouse.rows(text("select n from t order by n"))]


def test_each_transaction_stands_alone_and_a_read_sees_those_before(warehouse: Warehouse) -> None:
    with warehouse.kept_open():
        add(warehouse, 1)
        assert there(warehouse) == [1]
        with pytest.raises(ConfigError, match="nowhere does not exist"):
            add_and_break(warehouse, 2)
        add(warehouse, 3)
    assert there(warehouse) == [1, 3]
    add(warehouse, 4)
    assert there(Warehouse(str(warehouse.url))) == [1, 3, 4]


def test_another_process_has_its_turn_long_before_the_last_transaction(warehouse: Warehouse) -> None:
    with warehouse.kept_open():
        add(warehouse, 0)
        with subprocess.Popen([sys.executable, "-c", READ, str(warehouse.url)], stdout=subprocess.PIPE) as reader:
            end, n = time.monotonic() + 60, 0
            while reader.poll() is None and time.monotonic() < end:
                n += 1
                add(warehouse, n)
                time.sleep(KEPT_SECONDS / 10)
            assert reader.communicate(timeout=60)[0].strip(), "it has read while we went on"
        assert reader.returncode == 0
        assert time.monotonic() < end


def test_a_file_is_closed_when_nothing_keeps_it_open_any_more(warehouse: Warehouse) -> None:
    with warehouse.kept_open():
        add(warehouse, 1)
    done = subprocess.run([sys.executable, "-c", READ, str(warehouse.url)], capture_output=True, timeout=60, check=True)
    assert done.stdout.strip() == b"1"
