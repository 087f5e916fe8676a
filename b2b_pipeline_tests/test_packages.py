"""What is installed."""

from __future__ import annotations

from collections import defaultdict
from importlib.metadata import distributions


def test_no_two_packages_bring_the_same_module_so_that_their_order_decides_nothing() -> None:
    brought = defaultdict(set)
    for distribution in distributions():
        name = distribution.metadata["Name"]  # which is read anew each time
        for path in distribution.files or ():
            if path.suffix == ".py" and path.parts[0] not in ("..", "tests", "test"):
                brought[str(path)].add(name)
    assert {path: names for path, names in brought.items() if len(names) > 1} == {}
