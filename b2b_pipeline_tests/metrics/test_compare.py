"""A metric against the period before, and against the same period a year before."""

from __future__ import annotations

import json
from datetime import date, timedelta
from fractions import Fraction

import pytest

from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.compare import Compared, compare, last_year, previous
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL, Installation


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.shared(monkeypatch)


@pytest.mark.parametrize(
    ("held", "first", "last", "grain", "expected"),
    [
        (previous, "2026-03-11", "2026-03-20", None, "2026-03-01 2026-03-10"),
        (previous, "2026-03-01", "2026-03-01", "day", "2026-02-28 2026-02-28"),
        (previous, "2026-03-02", "2026-03-08", "week", "2026-02-23 2026-03-01"),
        (previous, "2026-03-01", "2026-03-31", "month", "2026-02-01 2026-02-28"),
        (previous, "2026-03-01", "2026-03-20", "month", "2026-02-01 2026-02-20"),
        (previous, "2026-01-01", "2026-03-31", "quarter", "2025-10-01 2025-12-31"),
        (last_year, "2024-02-01", "2024-02-29", "month", "2023-02-01 2023-02-28"),
        (last_year, "2026-03-02", "2026-03-08", "week", "2025-03-03 2025-03-09"),
        (last_year, "2026-01-01", "2026-12-31", None, "2025-01-01 2025-12-31"),
    ],
)  # fmt: skip
def test_the_days_that_a_period_is_held_against(held, first, last, grain, expected) -> None:  # type: ignore[no-untyped-def]
    found = held(date.fromisoformat(first), date.fromisoformat(last), grain)
    assert " ".join(map(str, found)) == expected


def test_what_was_before_is_what_its_own_days_say(installed: Installation) -> None:
    pipeline, names = installed.pipeline(), ["leads", "cost_per_lead", "spend", "cycle_days_median", "open_pipeline"]
    start = UNTIL - timedelta(days=1)
    for by in ([], ["channel"]):
        pairs = compare(pipeline.warehouse, pipeline.config, names, start, UNTIL, by)
        days = start - timedelta(days=2), start - timedelta(days=1)
        own = ask(pipeline.warehouse, pipeline.config, names, *days, by)
        told = {(a.metric.name, *a.keys.values()): (a.value, a.reasons) for a in own if a.value is not None}
        found = {(p.now.metric.name, *p.now.keys.values()): (p.before.value, p.before.reasons) for p in pairs}
        assert told.items() <= found.items()
        now = {
            (a.metric.name, *a.keys.values()) for a in ask(pipeline.warehouse, pipeline.config, names, start, UNTIL, by)
        }
        assert {*found} == now | {*told} | {*found} - {*told}


def test_a_channel_that_had_nothing_before_had_none_and_is_not_left_out(installed: Installation) -> None:
    pipeline = installed.pipeline()
    days = [
        answer for answer in ask(pipeline.warehouse, pipeline.config, ["leads"], by=["day", "channel"]) if answer.value
    ]
    rare = next(a for a in days if not [b for b in days if b.keys["channel"] == a.keys["channel"]
                                        and b.keys["date"] == a.keys["date"] - timedelta(days=1)])  # fmt: skip
    at = rare.keys["date"]
    pairs = compare(pipeline.warehouse, pipeline.config, ["leads"], at, at, ["channel"])
    (pair,) = (p for p in pairs if p.now.keys["channel"] == rare.keys["channel"])
    assert pair.before.value in (0, None)
    assert (pair.before.value is None) == bool(pair.before.reasons)


def test_a_change_is_told_only_where_both_numbers_are_known_and_whole() -> None:
    def answer(value: int | None, *reasons: str) -> Answer:
        return Answer(METRICS["leads"], {}, None if value is None else Fraction(value), None, reasons)

    assert Compared(answer(6), answer(4)).change_rate == Fraction(1, 2)
    assert (Compared(answer(6), answer(0)).change, Compared(answer(6), answer(0)).change_rate) == (6, None)
    for now, before in ((answer(6, "a gap"), answer(4)), (answer(6), answer(4, "a gap")), (answer(6), answer(None))):
        assert (Compared(now, before).change, Compared(now, before).change_rate) == (None, None)


def test_b2b_kpi_shows_the_period_before_and_the_change(installed: Installation) -> None:
    day = ("--from", UNTIL.isoformat(), "--to", UNTIL.isoformat())
    (row,) = json.loads(installed.b2b("kpi", "spend", *day, "--against", "previous", "--format", "json").stdout)
    before = (UNTIL - timedelta(days=1)).isoformat()
    (own,) = json.loads(installed.b2b("kpi", "spend", "--from", before, "--to", before, "--format", "json").stdout)
    assert row["before"] == own["value"]
    assert row["change"] == f"{float(row['value']) - float(own['value']):.2f}"
    assert installed.b2b("kpi", "spend", *day, "--against", "previous").stdout.count("%") == 1
    assert "give --from and --to" in installed.b2b("kpi", "spend", "--against", "previous").stderr
    assert "previous or last_year, not 'budget'" in installed.b2b("kpi", "spend", *day, "--against", "budget").stderr
