"""Shares estimated from those who were watched for less time too: published, recomputed, backtested, refused."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import date, timedelta
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Date, Engine, create_engine, insert, literal, text

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics.kinds import Fitted
from b2b_pipeline.metrics.model import Metric, ModelError
from b2b_pipeline.metrics.plan import Asked, plan
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import COMPONENTS
from b2b_pipeline.operations.explain import explain
from b2b_pipeline.warehouse.tables import kpi_component_daily
from b2b_pipeline_tests.derived.test_unknown import DAY, LEADS, WON_ALONE
from b2b_pipeline_tests.support.dropped import Dropped

CONFIG = Config(start_date=date(2020, 1, 1), system_of_record="files")
KNOWN = date(2026, 3, 1)
# Weeks of remission under 6-mercaptopurine (Freireich et al., Blood 21, 1963), the standard example of the estimator.
RELAPSED = (6, 6, 6, 7, 10, 13, 16, 22, 23)
CENSORED = (6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35)
PUBLISHED = {6: 0.857, 7: 0.807, 10: 0.753, 13: 0.690, 16: 0.627, 22: 0.538, 23: 0.448, 35: 0.448}
OF_DAY = "select value from kpi_daily where date_day = '2026-01-01'"
UNDATED = "1 of leads_with_won have no day, so nobody knows after how many days"
DEALS = f"""
  deals:
    match: "deals*.csv"
    tables:
      opportunity:
        columns:
          opp_id: Deal
          lead_id: Lead
          stage: Stage
          created_at: {{from: Opened, {DAY}}}
          close_date: {{from: Closed, {DAY}}}
        won: [Won]
        lost: [Lost]
        open: [Open]
"""


class Person(NamedTuple):
    """entered: so many days before KNOWN. reached: after how many days."""

    entered: int
    reached: int | None
    channel: str | None = None


def estimated(
    engine: Engine, people: Iterable[Person], within: int, **asked: object
) -> dict[tuple[object, ...], float]:
    """Key -> estimate, by the plan of a metric, of components stored as a derive stores them."""
    metric = Metric("estimated", "", "rate", Fitted("leads_reached_mql", "leads", within, minimum_n=1))
    rows = []
    for person in people:
        at = {"date_day": KNOWN - timedelta(days=person.entered), "channel": person.channel, "value": 1, "n_rows": 1}
        rows.append(at | {"component": "leads", "age": None})
        if person.reached is not None:
            rows.append(at | {"component": "leads_reached_mql", "age": person.reached})
    with engine.begin() as connection:
        kpi_component_daily.drop(connection, checkfirst=True)
        kpi_component_daily.create(connection)
        connection.execute(insert(kpi_component_daily), rows)
        query = plan(metric, CONFIG, Asked(known_until=literal(KNOWN, Date), **asked))  # type: ignore[arg-type]
        n_keys = len(query.selected_columns) - 10
        found = connection.execute(query).all()
        return {tuple(row[:n_keys]): float(row.numerator / row.denominator) for row in found}


def product_limit(people: Sequence[Person], within: int) -> Fraction:
    stay = Fraction(1)
    for age in range(within + 1):
        watched = [p for p in people if p.entered >= age and (p.reached is None or max(p.reached, 0) >= age)]
        arrived = [p for p in watched if p.reached is not None and max(p.reached, 0) == age]
        stay *= 1 - Fraction(len(arrived), len(watched)) if watched else 1
    return 1 - stay


@pytest.fixture(scope="module", params=["duckdb", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    url = "duckdb:///:memory:"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_database")()
    found = create_engine(url)
    yield found
    found.dispose()


@pytest.mark.parametrize("within", PUBLISHED)
def test_the_published_example_of_the_product_limit_estimator_comes_out(engine: Engine, within: int) -> None:
    people = [Person(40, weeks) for weeks in RELAPSED] + [Person(weeks, None) for weeks in CENSORED]
    assert estimated(engine, people, within) == {(): pytest.approx(1 - PUBLISHED[within], abs=6e-4)}


@settings(max_examples=60)
@given(
    people=st.lists(
        st.builds(
            Person,
            st.integers(-3, 60),
            st.none() | st.integers(-2, 60),
            st.sampled_from(["paid_search", "email", None]),
        ),
        min_size=1,
        max_size=40,
    ),
    within=st.integers(0, 45),
)
def test_each_channel_and_month_has_the_estimate_of_its_own_people(people: list[Person], within: int) -> None:
    duckdb = create_engine("duckdb:///:memory:")
    assert estimated(duckdb, people, within)[()] == pytest.approx(float(product_limit(people, within)), abs=1e-9)
    found = estimated(duckdb, people, within, grain="month", dimensions=("channel",))
    own: dict[tuple[object, ...], list[Person]] = {}
    for person in people:
        own.setdefault(((KNOWN - timedelta(days=person.entered)).replace(day=1), person.channel), []).append(person)
    assert found == {key: pytest.approx(float(product_limit(of, within)), abs=1e-9) for key, of in own.items()}


def test_what_was_estimated_comes_true_where_the_share_so_far_is_far_too_low() -> None:
    """Twelve dates, the leads of the 150 days before each, growing; it takes those who buy 60 days, more or less."""
    duckdb, rng, within = create_engine("duckdb:///:memory:"), random.Random(7), 90
    estimates, so_far, came_true = [], [], []
    for _ in range(12):
        people = []
        for entered in range(150):
            for _ in range(rng.randint(20, 30) - entered // 10):
                people.append(Person(entered, int(rng.gammavariate(4, 15)) if rng.random() < 0.2 else None))
        seen = [p if p.reached is None or p.reached <= p.entered else p._replace(reached=None) for p in people]
        estimates.append(estimated(duckdb, seen, within)[()])
        so_far.append(sum(p.reached is not None and p.reached <= within for p in seen) / len(seen))
        came_true.append(sum(p.reached is not None and p.reached <= within for p in people) / len(people))
    errors = [estimate - truth for estimate, truth in zip(estimates, came_true, strict=True)]
    assert max(map(abs, errors)) < 0.03
    assert abs(sum(errors) / 12) < 0.01
    assert sum(so_far) / sum(came_true) < 0.7


# -- asked for


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Dropped]:
    """A lead a day from 2025-11-01 for so many days; every fourth buys after 20 days. Known until the last won deal."""

    def made(n_days: int) -> Dropped:
        found = Dropped.of(tmp_path, monkeypatch, "start_date: 2025-11-01\nfiles:" + LEADS + WON_ALONE)
        leads, deals = ["ID,Created,Source"], ["Deal,Lead,Won,Amount"]
        for n in range(n_days):
            day = date(2025, 11, 1) + timedelta(days=n)
            leads.append(f"{n},{day},Web")
            if n % 4 == 0 and n + 20 < n_days:
                deals.append(f"d{n},{n},{day + timedelta(days=20)},10")
        for name, lines in (("leads", leads), ("deals", deals)):
            assert not found.drop(f"{name}.csv", "\n".join(lines) + "\n")
        found.load()
        return found

    return made


def test_too_few_who_have_had_their_days_give_no_estimate_and_it_says_how_many_there_are(
    shop: Callable[[int], Dropped],
) -> None:
    (row,) = shop(119).ask("lead_to_customer_rate_90d")
    assert row["value"] is None
    assert row["why_null"] == "27 of 119 leads have had 90 days: an estimate takes 30"


def test_an_estimate_tells_that_it_is_one_and_its_sql_gives_it(shop: Callable[[int], Dropped]) -> None:
    found = shop(140)
    pipeline, name = found.pipeline(), "lead_to_customer_rate_90d"
    (told,) = ask(pipeline.warehouse, pipeline.config, [name])
    assert float(told.value or 0) == pytest.approx(0.25, abs=0.01)
    assert found.value("lead_to_customer_rate") == pytest.approx(30 / 140)
    assert told.notes == ("estimated: 93 of 140 leads were watched for less than 90 days",)
    for day in (date(2025, 11, 5), date(2026, 3, 1)):
        explained = explain(pipeline.warehouse, pipeline.landing, pipeline.config, name, day)
        (row,) = pipeline.warehouse.rows(text(explained.sql))
        assert row["numerator"] == explained.answer.numerator
    query = text("select value, numerator from kpi_daily where metric = :name order by date_day").bindparams(name=name)
    view = pipeline.warehouse.rows(query)
    assert [row["value"] for row in view] == [row["value"] for row in found.ask(name, by=["day"])]
    assert [row["value"] for row in view[44:]] == [1.0, 0.0, 0.0] + [None] * 93, "no later day has 30 leads"
    assert {row["numerator"] for row in view} == {None}, "which nobody may sum"


def test_a_won_deal_without_a_day_makes_it_unknown_and_not_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Dropped.of(tmp_path, monkeypatch, "files:" + LEADS + DEALS)
    rows = "d1,1,2026-01-02,2026-01-09,Won\nd2,3,2026-05-01,2026-05-01,Open\n"
    assert not found.drop("leads.csv", "ID,Created,Source\n1,2026-01-01,Web\n2,2026-01-01,Web\n3,2026-05-01,Web\n")
    for undated, expected in (("", (0.5, "")), ("d3,2,2026-01-02,,Won\n", (None, UNDATED))):
        assert not found.drop("deals.csv", "Deal,Lead,Opened,Closed,Stage\n" + rows + undated)
        found.load()
        (row,) = found.ask("lead_to_customer_rate_90d", "2026-01-01", "2026-01-01")
        assert (row["value"], row["why_null"]) == expected
        view = text(f"{OF_DAY} and metric = 'lead_to_customer_rate_90d'")
        assert [each["value"] for each in found.pipeline().warehouse.rows(view)] == [expected[0]]


@pytest.mark.parametrize(
    "kind",
    [
        Fitted("leads_reached_mql", "leads"),
        Fitted("leads_reached_mql", "leads", 30, minimum_n=0),
        Fitted("leads_reached_mql", "leads", 30, "resolved"),
    ],
)
def test_an_estimate_needs_its_days_and_those_who_have_had_them(kind: Fitted) -> None:
    with pytest.raises(ModelError, match="is estimated of all who entered"):
        kind.additivity(COMPONENTS)
