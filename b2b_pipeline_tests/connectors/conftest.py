"""The sandbox, of which a module's `world` is served."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.faults import clear_faults
from b2b_sandbox.world import World


@pytest.fixture
def sandbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world):
        yield world
    clear_faults(world)
