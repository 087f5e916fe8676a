"""Who is the same person: the links say it, whatever their order."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from b2b_pipeline.core.identity import clusters

KEYS = st.sampled_from([f"k{number}" for number in range(12)])
LINKS = st.lists(st.tuples(KEYS, KEYS), max_size=20)


def persons(links: list[tuple[str, str]], records: list[str]) -> dict[str, str]:
    table = clusters(links, records)
    return dict(zip(table["record_key"].to_pylist(), table["person_key"].to_pylist(), strict=True))


def closure(links: list[tuple[str, str]], records: list[str]) -> dict[str, str]:
    """The same, the slow way: grow the set of each key until it no longer grows."""
    known = {*records, *(key for link in links for key in link)}
    found = {}
    for key in known:
        group = {key}
        while more := {end for link in links if group & {*link} for end in link} - group:
            group |= more
        found[key] = min(group)
    return found


@given(links=LINKS, records=st.lists(KEYS, max_size=4), seed=st.randoms())
def test_clusters_are_the_closure_of_the_links_in_any_order(
    links: list[tuple[str, str]], records: list[str], seed: object
) -> None:
    expected = closure(links, records)
    assert persons(links, records) == expected
    shuffled = [link if seed.random() < 0.5 else link[::-1] for link in links]  # type: ignore[attr-defined]
    seed.shuffle(shuffled)  # type: ignore[attr-defined]
    assert persons(shuffled, records) == expected


def test_a_long_chain_is_one_person() -> None:
    chain = [(f"{number:06}", f"{number + 1:06}") for number in range(50_000)]
    assert set(persons(chain, []).values()) == {"000000"}
