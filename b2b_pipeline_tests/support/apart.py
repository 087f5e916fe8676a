"""Packages of the lock `requirements-apart.lock`, which the Makefile puts into a folder of their own.

Klaviyo's client and Microsoft's both bring a top-level package `openapi_client`, each its own: in one place the one
that is installed last would overwrite the other.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

FOLDER = f"{sys.prefix}/apart"
NAMES = ("klaviyo_api", "openapi_client")


@contextmanager
def apart() -> Iterator[None]:
    """Inside, `NAMES` are imported from there; afterwards they mean again what they did."""

    def named() -> list[str]:
        return [name for name in sys.modules if name.partition(".")[0] in NAMES]

    usual = {name: sys.modules.pop(name) for name in named()}
    sys.path.insert(0, FOLDER)
    try:
        yield
    finally:
        sys.path.remove(FOLDER)
        for name in named():
            del sys.modules[name]
        sys.modules.update(usual)
