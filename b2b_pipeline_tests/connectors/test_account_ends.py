"""An account ends while others go on: from the vendor's answer, or the configuration, to the number."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
import time_machine

from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL, Installation, served
from b2b_sandbox.generate import advance

GONE = "4100000002"


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def day(number: int) -> date:
    """Days after the last one that both accounts were read for."""
    return UNTIL + timedelta(days=number)


def reasons(installed: Installation) -> dict[int, str]:
    """Day -> why spend is not complete on it, of the four days after the last one of both accounts."""
    pipeline = installed.pipeline()
    rebuild(pipeline, "derive", replay=False)
    answers = ask(pipeline.warehouse, pipeline.config, ["spend"], day(0), day(4), ["day"])
    assert all(answer.value for answer in answers), "the other account goes on"
    return {(answer.keys["date"] - UNTIL).days: answer.reasons[0] for answer in answers if answer.reasons}


def test_a_cancelled_account_ends_when_it_is_seen_so_and_its_configured_end_counts_before(
    installed: Installation,
) -> None:
    with time_machine.travel(datetime.combine(day(1), time(7), UTC)):
        installed.pull("first")  # once more: the copied installation was read by today's clock, ahead of these nights
    with installed.world.connect() as connection:
        connection.execute("update ad_account set status = 'CANCELED' where id = ?", (GONE,))
    with served(installed.world):
        for night in range(1, 5):
            advance(installed.world)
            with time_machine.travel(datetime.combine(day(night + 1), time(3), UTC)):
                report = installed.pipeline().ingest(
                    "google_ads", "campaign_daily", day(night), day(night + 1), f"{night}"
                )
                assert not report.failed
    with time_machine.travel(datetime.combine(day(5), time(4), UTC)):
        told = reasons(installed)
        assert told.keys() == {1, 2}, "it was seen closed on the second day, and may have spent until then"
        assert f"({GONE}): {GONE}: the account is CANCELED, since {day(2)}" in told[1]
        path = installed.folder / "pipeline.yaml"
        ended = f"  google_ads: {{ended: {{{GONE}: {UNTIL}}}}}\n"
        path.write_text(path.read_text().replace("  google_ads: {}\n", ended))
        assert reasons(installed) == {}
