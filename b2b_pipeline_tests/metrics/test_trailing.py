"""Rare events are shown over trailing days, with unit and currency."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction

import pytest

from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.query import ask, free_axes
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.metrics.shown import shown
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("spend", "1234.5", "EUR 1,234.50"), ("spend", "-0.5", "EUR -0.50"), ("spend", "0", "EUR 0.00"),
        ("ctr", "0.125", "12.5 %"), ("ctr", "0.0012", "0.12 %"), ("roas", "3.2", "3.20x"),
        ("time_on_site", "75.3", "75.3 s"),
        ("cycle_days_mean", "45", "45 days"), ("cycle_days_mean", "45.5", "45.5 days"), ("leads", "1234", "1,234"),
    ],
)  # fmt: skip
def test_a_value_is_shown_with_its_unit(metric: str, value: str, text: str) -> None:
    assert shown(Answer(METRICS[metric], {}, Fraction(value), Fraction(1)), "EUR") == text
    assert shown(Answer(METRICS[metric], {}, None, None), "EUR") == "no value"


def test_the_days_up_to_a_day_are_what_their_range_says(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = installation.shared(monkeypatch).pipeline()
    names = [metric.name for metric in METRICS.values() if not free_axes(metric)]
    days = [UNTIL - timedelta(days=n) for n in (1, 0)]
    trailing = ask(pipeline.warehouse, pipeline.config, names, *days, ["day"], over=14)
    assert len(trailing) == 2 * len(names)
    for day in days:
        for whole in ask(pipeline.warehouse, pipeline.config, names, day - timedelta(days=13), day):
            (found,) = (a for a in trailing if a.metric == whole.metric and a.keys["date"] == day)
            assert (found.numerator, found.denominator) == (whole.numerator, whole.denominator), whole.metric.name
            assert (found.complete, found.why_null) == (whole.complete, whole.why_null), whole.metric.name
            assert found.counts == whole.counts


def test_the_table_of_b2b_kpi_has_units_and_json_has_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installation.shared(monkeypatch)
    asked = ("kpi", "spend", "ctr", "--from", UNTIL.isoformat(), "--to", UNTIL.isoformat())
    table = installed.b2b(*asked).stdout
    assert "EUR " in table
    assert " %" in table
    assert "EUR " not in installed.b2b(*asked, "--format", "json").stdout
