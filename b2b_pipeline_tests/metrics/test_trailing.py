"""Rare events are shown over trailing days, with unit and currency."""

from __future__ import annotations

from datetime import date, timedelta
from fractions import Fraction

import pytest

from b2b_pipeline.metrics.query import Answer, ask
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.metrics.shown import shown
from b2b_pipeline.metrics.trailing import Trailing
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import UNTIL


@pytest.mark.parametrize(
    ("metric", "value", "text"),
    [
        ("spend", "1234.5", "EUR 1,234.50"), ("spend", "-0.5", "EUR -0.50"), ("spend", "0", "EUR 0.00"),
        ("ctr", "0.125", "12.5 %"), ("ctr", "0.0012", "0.12 %"), ("roas", "3.2", "3.20x"),
        ("cycle_days_mean", "45", "45 days"), ("cycle_days_mean", "45.5", "45.5 days"), ("leads", "1234", "1,234"),
    ],
)  # fmt: skip
def test_a_value_is_shown_with_its_unit(metric: str, value: str, text: str) -> None:
    assert shown(Answer(METRICS[metric], {}, Fraction(value), Fraction(1)), "EUR") == text
    assert shown(Answer(METRICS[metric], {}, None, None), "EUR") == "no value"


@pytest.mark.parametrize("before", [0, 9], ids=["from their first day", "with days before them"])
def test_trailing_days_are_what_the_range_says(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    pipeline = installation.shared(monkeypatch).pipeline()
    names = [metric.name for metric in METRICS.values() if not metric.median_of]
    start = UNTIL - timedelta(days=13)
    days: dict[str, dict[date, Answer]] = {name: {} for name in names}
    for answer in ask(pipeline.warehouse, pipeline.config, names, start - timedelta(days=before), UNTIL, ["day"]):
        days[answer.metric.name][answer.keys["date"]] = answer
    for whole in ask(pipeline.warehouse, pipeline.config, names, start, UNTIL):
        found = Trailing(days[whole.metric.name], pipeline.config).over(UNTIL, 14)
        assert (found.numerator, found.denominator) == (whole.numerator, whole.denominator), whole.metric.name
        assert (found.complete, found.why_null) == (whole.complete, whole.why_null)


def test_the_table_of_b2b_kpi_has_units_and_json_has_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = installation.shared(monkeypatch)
    asked = ("kpi", "spend", "ctr", "--from", UNTIL.isoformat(), "--to", UNTIL.isoformat())
    table = installed.b2b(*asked).stdout
    assert "EUR " in table
    assert " %" in table
    assert "EUR " not in installed.b2b(*asked, "--format", "json").stdout
