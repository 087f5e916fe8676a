"""Python's collector of cycles, while records pass."""

from __future__ import annotations

import gc

import pytest

from b2b_pipeline.landing.collecting import seldom_collected


def test_the_collector_of_cycles_runs_seldom_meanwhile_and_as_before_afterwards_also_after_an_error() -> None:
    before = gc.get_threshold()
    meanwhile = []

    def breaks() -> None:
        with seldom_collected():
            meanwhile.append((gc.get_threshold()[0] > before[0], gc.isenabled()))
            raise ValueError("broke")

    with pytest.raises(ValueError, match="broke"):
        breaks()
    assert meanwhile == [(True, True)]
    assert gc.get_threshold() == before
