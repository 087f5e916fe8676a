"""What a backfill is said to take, against what the vendors are then asked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import time_machine

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Account, Page, Window
from b2b_pipeline.connectors.http import Session
from b2b_pipeline.forecast import SECONDS_PER_CALL, forecast
from b2b_pipeline.landing import Landing
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.sandbox.generate import make_world
from b2b_pipeline_tests.installation import DEMO, START, UNTIL, Installation, served, settle

YEAR = [(date(2025, 1, 1) + timedelta(days=120 * n), date(2025, 1, 1) + timedelta(days=120 * n + 119)) for n in range(3)]
UTC_ZONE = UTC


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    return Landing(tmp_path / "landing", Pseudonyms(b"key", tmp_path / "none"))


def land(landing: Landing, source: str, stream: str, account: str, start: date, days: int, rows: int) -> None:
    """A slice of `rows` records, as a run over `days` days leaves it."""
    from zoneinfo import ZoneInfo

    zone = ZoneInfo("UTC")
    landing.write(
        source, SOURCES[source].stream(stream), Account(account),
        Window.of_days(start, start + timedelta(days=days), zone), [Page([{"id": n} for n in range(rows)])],
        zone=zone, api_version="v1", run_id="test", now=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=start.toordinal() % 300),
    )  # fmt: skip
