"""Who is the same person: the links say it, whatever their order."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise

import pytest
from sqlalchemy import delete, select

from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import identity_cluster, identity_link, lead
from b2b_pipeline_tests.warehouse.test_write import CONFIG, put, warehouse

__all__ = ["warehouse"]  # the fixture: on both engines

Links = list[tuple[str, str]]


@pytest.fixture
def persons(warehouse: Warehouse) -> Callable[[Links, list[str]], dict[str, str]]:
    """Record key -> person key, of links and lead records."""

    def persons(links: Links, records: list[str]) -> dict[str, str]:
        with warehouse.write() as connection:
            connection.execute(delete(identity_link))
            connection.execute(delete(lead))
        put(warehouse, identity_link, *({"from_key": one, "to_key": other, "rule": "email"} for one, other in links))
        put(warehouse, lead, *({"lead_id": key, "record_key": key} for key in records))
        derive_table(warehouse, CONFIG, identity_cluster)
        rows = warehouse.rows(select(identity_cluster))
        found = {row["record_key"]: row["person_key"] for row in rows}
        assert len(found) == len(rows)
        return found

    return persons


def closure(links: Links, records: list[str]) -> dict[str, str]:
    """The same, the slow way: grow the set of each key until it no longer grows."""
    known = {*records, *(key for link in links for key in link)}
    found = {}
    for key in known:
        group = {key}
        while more := {end for link in links if group & {*link} for end in link} - group:
            group |= more
        found[key] = min(group)
    return found


@pytest.mark.parametrize("seed", range(8))
def test_clusters_are_the_closure_of_the_links_in_any_order(
    seed: int, persons: Callable[[Links, list[str]], dict[str, str]]
) -> None:
    chance = random.Random(seed)
    # Capitals and letters with a mark: which key is the smallest is a matter of code points, not of a language.
    keys = [f"{letter}{number}" for letter in "kKé" for number in range(20)]
    links = [(chance.choice(keys), chance.choice(keys)) for _ in range(10 * seed)]
    records = chance.sample(keys, 8)
    expected = closure(links, records)
    assert persons(links, records) == expected
    shuffled = [link if chance.random() < 0.5 else link[::-1] for link in links]
    chance.shuffle(shuffled)
    assert persons(shuffled, records) == expected


@pytest.mark.parametrize("order", ["in order", "at random"])
def test_a_long_chain_is_one_person(order: str, persons: Callable[[Links, list[str]], dict[str, str]]) -> None:
    keys = [f"{number:05}" for number in range(20_000)]
    if order == "at random":
        random.Random(1).shuffle(keys)
    chain = list(pairwise(keys))
    assert set(persons(chain, []).values()) == {"00000"}


def test_no_link_and_no_record_is_nobody(persons: Callable[[Links, list[str]], dict[str, str]]) -> None:
    assert persons([], []) == {}
