"""What is in the tables depends on what landed: on no order, repetition or batch, on no kill and no second loader."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count

import pytest

from b2b_pipeline.core import load
from b2b_pipeline.landing.store import Slice
from b2b_pipeline.operations.replay import rebuild, replay
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline_tests.support.end_to_end import (
    COMPARED,
    ENGINES,
    Workshop,
    assert_same,
    at_once,
    build,
    content,
    environment,
    inside,
    new_warehouses,
    nightly,
)
from b2b_pipeline_tests.support.kill import at_every_moment, run_until_killed

BOOKS = (*COMPARED, tables.kpi_change)


@pytest.fixture(scope="module", params=ENGINES)
def new_warehouse(request: pytest.FixtureRequest) -> Callable[[], str]:
    return new_warehouses(request)


@pytest.fixture(scope="module")
def reference(new_warehouse: Callable[[], str]) -> Workshop:
    """Everything of all nights, built at once."""
    return build(nightly()[0], new_warehouse())[0]


def test_slices_may_be_loaded_in_any_order_and_in_any_batches(
    reference: Workshop,
    new_warehouse: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rng = random.Random(1)
    monkeypatch.setattr(load, "BATCH_RECORDS", 500)
    monkeypatch.setattr(load, "READ_RECORDS", 7)
    found, _ = nightly()
    url, known = new_warehouse(), set[str]()
    with inside(found) as pipeline:
        items = [item for pair in pipeline.landing.streams() for item in pipeline.landing.slices(*pair)]
    rng.shuffle(items)
    for share in (0.5, 1.0):
        known |= with_holders(items[: int(len(items) * share)])
        shop, _ = build(found, url, f"{share:.0%}", known)
    assert_same(shop.warehouse, reference.warehouse)


def with_holders(items: list[Slice]) -> set[str]:
    """The slices, and those that hold the records which they only point to."""
    return {item.slice_id for item in items} | {holder for item in items for holder in item.same_as.values()}


def test_a_replay_and_a_second_build_change_nothing(reference: Workshop) -> None:
    # What other warehouses of this landing noted came with the ledger; nothing is added to it.
    noted = content(reference.warehouse, tables.kpi_change)
    with inside(nightly()[0]):
        again = rebuild(reference, "again", replay=False)
        _, differences = replay(reference, "replay")
    assert not any(report.slices for report in again.loads.values())
    assert not any([*again.derived.values(), *again.families.values()])
    assert differences == []
    assert content(reference.warehouse, tables.kpi_change) == noted


@pytest.mark.parametrize("seed", [1, 2])
def test_a_build_that_is_killed_goes_on_as_if_it_had_not_been(
    seed: int,
    undisturbed: tuple[Workshop, int],
    new_warehouse: Callable[[], str],
) -> None:
    whole, moments = undisturbed
    at = random.Random(seed).randrange(moments * (seed - 1) // 3 + 1, moments * seed // 3)
    url = new_warehouse()
    with environment(at_once()) as patch:
        patch.setenv("B2B_WAREHOUSE_URL", url)
        assert run_until_killed(at, {}) == -signal.SIGKILL, f"moment {at}"
        shop = Workshop.of(at_once().pipeline(), Warehouse(url))
        rebuild(shop, "resumed", replay=False)
    assert_same(shop.warehouse, whole.warehouse, BOOKS)


@pytest.fixture(scope="module")
def undisturbed(new_warehouse: Callable[[], str]) -> tuple[Workshop, int]:
    """A build that nothing disturbs, at the machine's own clock, and how many moments it has."""
    moments = count()
    with environment(at_once()):
        shop = Workshop.of(at_once().pipeline(), Warehouse(new_warehouse()))
        with at_every_moment(lambda: next(moments) and None):
            rebuild(shop, "undisturbed", replay=False)
    return shop, next(moments)


def test_two_processes_that_build_the_same_at_once_make_no_duplicates(
    undisturbed: tuple[Workshop, int],
    new_warehouse: Callable[[], str],
) -> None:
    url = new_warehouse()
    with environment(at_once()) as patch:
        patch.setenv("B2B_WAREHOUSE_URL", url)
        command = [sys.executable, "-m", "b2b_pipeline_tests.support.kill", "0"]
        both = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(2)]
        assert [process.wait(timeout=300) for process in both] == [0, 0]
    assert_same(Warehouse(url), undisturbed[0].warehouse, (*BOOKS, tables.load_audit))
