"""Python's collector of cycles, while millions of records pass, among which there is none."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

SELDOM = (100_000, 20, 100)  # else half of the time goes into looking through what every module has made


@contextmanager
def seldom_collected() -> Iterator[None]:
    """It looks at what is new, and seldom at all that there is. It is one for all threads: for whom starts them."""
    before = gc.get_threshold()
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        gc.set_threshold(*before)
