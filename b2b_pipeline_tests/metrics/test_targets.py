"""A metric against its target: what is given holds for its own period and split, and changes no number."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import time_machine
from typer.testing import CliRunner

from b2b_pipeline.cli import app
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.targets import Period
from b2b_pipeline.metrics.compare import Aimed, aim
from b2b_pipeline.metrics.query import QuestionError
from b2b_pipeline.metrics.registry import METRICS
from b2b_pipeline.metrics.targets import Targets
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline_tests.support.dropped import Dropped

LEADS = """
files:
  leads:
    match: "leads*.csv"
    cadence: once
    tables:
      lead:
        columns: {lead_id: ID, created_at: {from: Created, date: "%Y-%m-%d"}}
        stages: {mql: {from: Mql, date: "%Y-%m-%d"}}
      touchpoint:
        columns:
          touch_id: ID
          lead_id: ID
          touched_at: {from: Created, date: "%Y-%m-%d"}
          channel: Channel
"""
ROWS = "ID,Created,Mql,Channel\n1,2026-01-05,2026-01-09,email\n2,2026-01-20,,email\n3,2026-02-03,,events\n"
TARGETS = """
targets:
  - {metric: leads, values: {2026-01: 4, 2026-02: 0, 2026-03: 8, 2026: 40}}
  - {metric: Leads, where: {channel: partner}, values: {2026-01: 5}}
  - {metric: mqls, values: {2026-Q1: 10}}
  - {metric: lead_to_mql_rate, values: {2026-01: 0.25, 2026-02: 0.25, 2026-03: 0.25}}
"""


def configured(*targets: dict[str, Any]) -> Config:
    given = {"start_date": "2026-01-01", "system_of_record": "files", "targets": list(targets)}
    return Config.model_validate(given)


def found(metric: str, period: str, *targets: dict[str, Any], **where: str) -> tuple[Fraction | None, str]:
    asked = Period.of(period)
    assert asked
    return tuple(Targets(configured(*targets)).of(METRICS[metric], where, asked))


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    made = Dropped.of(tmp_path, monkeypatch, LEADS)
    assert not made.drop("leads.csv", ROWS)
    made.load()
    return made


# -- which target holds


def leads(**values: int) -> dict[str, Any]:
    return {"metric": "leads", "values": {name.replace("_", "-")[1:]: value for name, value in values.items()}}


def test_months_of_what_adds_up_make_a_quarter_only_where_each_has_a_target() -> None:
    two = leads(_2026_01=4, _2026_02=5)
    assert found("leads", "2026-Q1", leads(_2026_01=4, _2026_02=5, _2026_03=6)) == (15, "")
    assert found("leads", "2026-Q1", two) == (
        None, "no target of leads for 2026-Q1: none is given for 2026-03 either",
    )  # fmt: skip
    assert found("leads", "2026", leads(_2026_Q1=4, _2026_Q2=5, _2026_Q3=6, _2026_Q4=7)) == (22, "")
    assert found("leads", "2026-Q1", two, leads(_2026_Q1=100)) == (100, "")


def test_months_of_a_rate_make_no_quarter() -> None:
    values = {"2026-01": "0.2", "2026-02": "0.3", "2026-03": "0.4"}
    for metric in ("lead_to_mql_rate", "open_opportunities", "cycle_days_median"):
        given = {"metric": metric, "values": values}
        assert found(metric, "2026-Q1", given) == (None, f"no target of {metric} for 2026-Q1")


def test_a_quarter_says_nothing_of_its_months_nor_all_of_a_channel() -> None:
    quarter = leads(_2026_Q1=12)
    assert found("leads", "2026-02", quarter) == (
        None, "no target of leads for 2026-02: it is given for 2026-Q1 as a whole",
    )  # fmt: skip
    assert found("leads", "2026-Q1", quarter, channel="email") == (
        None, "no target of leads, channel email is given",
    )  # fmt: skip
    assert found("mqls", "2026-Q1", quarter) == (None, "no target of mqls is given")


# -- asked


def test_each_answer_has_its_target_the_difference_and_which_share_of_it_is_there(office: Dropped) -> None:
    before = office.ask("leads", "2026-01-01", "2026-03-31", ["month"])
    with (office.folder / "pipeline.yaml").open("a", encoding="utf-8") as file:
        file.write(TARGETS)
    pipeline = office.pipeline()

    def asked(metric: str, start: str, end: str, *by: str) -> list[Aimed]:
        days = date.fromisoformat(start), date.fromisoformat(end)
        return aim(pipeline.warehouse, pipeline.config, [metric], *days, by)

    january, february, march = asked("leads", "2026-01-01", "2026-03-31", "month")
    assert (january.now.value, january.target.value, january.difference, january.attainment) == (
        2, 4, -2, Fraction(1, 2),
    )  # fmt: skip
    assert (february.difference, february.attainment, february.because) == (1, None, "a target of 0 has no attainment")
    assert (march.now.value, march.attainment) == (0, 0)
    # Targets change no number, and make nothing of before the next derive.
    assert [pair.now.as_json() | {"reasons": (), "why_null": ""} for pair in (january, february, march)] == before
    assert january.now.complete
    again = rebuild(pipeline, "again", replay=False)
    assert not any(report.slices for report in again.loads.values())
    assert not any([*again.derived.values(), *again.families.values()])

    (quarter,) = asked("leads", "2026-01-01", "2026-03-31")
    assert (quarter.now.value, quarter.target.value) == (3, 12)
    (year,) = asked("leads", "2026-01-01", "2026-12-31", "year")
    assert year.target.value == 40
    (rate,) = asked("lead_to_mql_rate", "2026-01-01", "2026-01-31")
    assert (rate.attainment, rate.difference) == (2, Fraction(1, 4))
    (part,) = asked("leads", "2026-01-01", "2026-01-20", "month")
    assert (part.now.value, part.target.value, part.attainment) == (2, None, None)
    assert part.because == "the target of 2026-01 is of all of it, not of the days asked for"
    # A channel of which there is a target and nothing else is told.
    channels = {pair.now.keys["channel"]: pair for pair in asked("leads", "2026-01-01", "2026-01-31", "channel")}
    assert (channels["partner"].now.value, channels["partner"].attainment) == (0, 0)
    assert channels["email"].because == "no target of leads, channel email is given"
    for by in ([], ["day"], ["week", "channel"]):
        with pytest.raises(QuestionError, match="targets are of a month, a quarter or a year"):
            asked("leads", "2026-01-01", "2026-02-10", *by)

    with time_machine.travel("2026-02-10"):
        (running,) = asked("leads", "2026-02-01", "2026-02-28", "month")
        assert running.target.value == 0
        assert not running.now.complete

    say = CliRunner().invoke(app, ["kpi", "leads", "mqls", "--from", "2026-01-01", "--to", "2026-01-31", "--by",
                                   "month", "--against", "target", "--format", "json"])  # fmt: skip
    assert say.exit_code == 0, say.output
    first, second = json.loads(say.stdout)
    assert first | {"target": 4, "difference": -2, "attainment": 0.5, "because": None} == first
    because = "no target of mqls for 2026-01: it is given for 2026-Q1 as a whole"
    assert second | {"target": None, "difference": None, "attainment": None, "because": because} == second
    assert f"null: {because} (mqls)" in say.stderr
    table = CliRunner().invoke(
        app, ["kpi", "leads", "--from", "2026-01-01", "--to", "2026-01-31", "--against", "target"]
    )
    assert "50.0%" in table.stdout


# -- what is wrong with targets


@pytest.mark.parametrize(
    ("target", "line", "why"),
    [
        ("{metric: leeds, values: {2026: 4}}", 8, "targets.0.metric: unknown metric 'leeds': did you mean leads?"),
        ("{metric: leads, values: {2026-13: 4}}", 8, "targets.0.values.2026-13: expected a month such as 2026-01"),
        ("{metric: leads, values: {2026-01: many}}", 8, "targets.0.values.2026-01: Input should be a valid decimal"),
        ("{metric: leads, vales: {2026: 4}}", 8, "targets.0.vales: unknown key: did you mean values?"),
        ("{metric: leads, where: {chanel: email}, values: {2026: 4}}", 8,
         "targets.0.where.chanel: leads cannot be split by it; it can by campaign, capture_type, channel"),
        ("{metric: leads, values: {2026: 4}}\n  - {metric: lead, values: {2026: 5}}", 9,
         "targets.1.values.2026: leads has a target of 2026 already"),
        ("{metric: attributed_revenue, values: {2026: 4}}", 8,
         "targets.0.metric: attributed_revenue is told once per model: say under `where` of which"),
        ("{metric: close_rate, values: {2026: 25}}", 8, "targets.0.values.2026: close_rate is a share, from 0 to 1"),
    ],
)  # fmt: skip
def test_a_wrong_target_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, line: int, why: str
) -> None:
    Dropped.of(tmp_path, monkeypatch, f"targets:\n  - {target}\n")
    told = CliRunner().invoke(app, ["kpi", "leads"])
    assert told.exit_code == 2
    assert f"pipeline.yaml:{line}: {why}" in told.stderr
    assert f"pipeline.yaml:{line}: {why}" in CliRunner().invoke(app, ["doctor"]).output.replace("\n", "")


def test_money_is_exact_and_a_target_may_be_of_cents() -> None:
    given = {"metric": "cpc", "values": {"2026-01": Decimal("0.4551")}}
    assert found("cpc", "2026-01", given) == (Fraction(4551, 10000), "")
