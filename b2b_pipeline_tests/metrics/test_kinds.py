"""Levels, cohorts with a horizon, quantiles and distinct counts: what they are of, and when they are not known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, select, text

from b2b_pipeline.errors import ConfigError
from b2b_pipeline.metrics import ledger
from b2b_pipeline.metrics.definitions import publish_definitions
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.operations.explain import explain
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import credit, kpi_change, kpi_component_daily
from b2b_pipeline_tests.support.dropped import Dropped

DAY = 'date: "%Y-%m-%d"'
OPENED, CLOSED = ("opened", f"created_at: {{from: Opened, {DAY}}}"), ("closed", f"close_date: {{from: Closed, {DAY}}}")
DEALS = """
  deals:
    match: "deals*.csv"
    cadence: once
    tables:
      opportunity:
        columns:
          opp_id: Deal
          amount: Amount
          account_id: Account
          currency: {{value: EUR}}
          stage: Stage
          {dates}
        won: [Won]
        lost: [Lost]
        open: [Open]
"""
LEADS = """
  leads:
    match: "leads*.csv"
    {cadence}
    tables:
      lead:
        columns: {{lead_id: ID, created_at: {{from: Created, date: "%Y-%m-%d"}}}}
        stages: {{mql: {{from: Mql, date: "%Y-%m-%d"}}, sql: {{from: Sql, date: "%Y-%m-%d"}}}}
"""
HEAD = "Deal,Opened,Closed,Amount,Stage,Account\n"


@pytest.fixture
def office(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Dropped]:
    def made(settings: str, **files: str) -> Dropped:
        found = Dropped.of(tmp_path, monkeypatch, settings)
        for name, content in files.items():
            assert not found.drop(f"{name}.csv", content)
        found.load()
        return found

    return made


def deals(*dates: tuple[str, str], start: str = "2026-01-01") -> str:
    named = "\n          ".join(line for _, line in dates)
    return f"start_date: {start}\nfiles:{DEALS.format(dates=named)}"


def leads(cadence: str = "cadence: once") -> str:
    return f"files:{LEADS.format(cadence=cadence)}"


# -- levels


def test_what_is_open_at_the_end_of_a_period_is_all_that_was_opened_less_all_that_was_closed(
    office: Callable[..., Dropped],
) -> None:
    rows = "a,2026-01-05,2026-02-01,100,Won,A\nb,2026-01-05,,70,Open,A\nc,2026-03-07,,5,Open,B\n"
    found = office(deals(OPENED, CLOSED, start="2026-03-01"), deals=HEAD + rows)
    assert found.value("open_opportunities", "2026-01-01", "2026-01-31") == 2
    assert found.value("open_pipeline", "2026-02-10", "2026-02-20") == "70.00"
    by_month = found.ask("open_opportunities", None, "2026-03-31", ["month"])
    assert [(row["date"], row["value"]) for row in by_month] == [
        ("2026-01-01", 2), ("2026-02-01", 1), ("2026-03-01", 2),
    ]  # fmt: skip
    assert found.ask("open_opportunities", "2100-01-01", None, ["month"]) == []


@pytest.mark.parametrize("given", [OPENED, CLOSED], ids=["not when they closed", "not when they were opened"])
def test_a_level_needs_both_days_of_deals(office: Callable[..., Dropped], given: tuple[str, str]) -> None:
    found = office(deals(given), deals=HEAD + "a,2026-01-05,2026-02-05,100,Won,A\nb,2026-01-07,,70,Open,A\n")
    for days in (("2026-01-01", "2026-03-31"), (None, None)):
        (row,) = found.ask("open_opportunities", *days)
        assert (row["value"], row["complete"]) == (None, False)
        assert "nothing says when deals were" in row["why_null"]


def test_a_deal_that_does_not_say_when_is_in_no_level_and_makes_it_incomplete(office: Callable[..., Dropped]) -> None:
    rows = "a,2026-01-05,,100,Won,A\nb,,2026-02-06,50,Lost,A\nc,2026-01-07,,5,Open,B\n"
    found = office(deals(OPENED, CLOSED), deals=HEAD + rows)
    (row,) = found.ask("open_opportunities", "2026-01-01", "2026-03-31")
    assert row["value"] == 1
    assert row["reasons"] == ("1 opportunity has no opening day", "1 opportunity has no close date")


def test_what_is_open_without_an_amount_has_none_whatever_the_closed_ones_had(office: Callable[..., Dropped]) -> None:
    found = office(deals(OPENED, CLOSED), deals=HEAD + "a,2026-01-05,2026-02-01,100,Won,A\nb,2026-01-07,,,Open,A\n")
    (row,) = found.ask("open_pipeline", "2026-01-01", "2026-03-31")
    assert (row["value"], row["why_null"]) == (
        None, "none of 1 open opportunities has an amount in the reporting currency",
    )  # fmt: skip


def test_the_level_of_today_is_that_of_yesterday_and_knows_what_its_file_does_not_tell(
    office: Callable[..., Dropped],
) -> None:
    settings = deals(OPENED, CLOSED).replace("    cadence: once\n", "")
    found = office(settings, deals=HEAD + "a,2026-01-05,2026-02-05,1,Won,A\nb,2026-01-07,,70,Open,A\n")
    for days in (("2026-01-01", None), (None, None)):
        (row,) = found.ask("open_opportunities", *days)
        assert (row["value"], row["complete"]) == (1, False)
        assert any("no file of mapping deals has days after" in reason for reason in row["reasons"])


# -- distinct counts and quantiles


def test_an_account_counts_once_however_many_periods_or_deals_it_has(office: Callable[..., Dropped]) -> None:
    rows = "a,2026-01-05,,1,Open,A\nb,2026-02-05,,1,Open,A\nc,2026-02-06,,1,Open,B\nd,2026-02-07,,1,Open,\n"
    found = office(deals(OPENED, CLOSED), deals=HEAD + rows)
    assert found.value("accounts_with_opportunities", "2026-01-01", "2026-02-28") == 2
    by_month = found.ask("accounts_with_opportunities", "2026-01-01", "2026-02-28", ["month"])
    assert [row["value"] for row in by_month] == [1, 2]


def test_a_quantile_is_that_of_all_rows_of_its_grain(office: Callable[..., Dropped]) -> None:
    days = {"a": "2026-01-02", "b": "2026-01-05", "c": "2026-01-11", "d": "2026-02-10"}
    rows = "".join(f"{name},2026-01-01,{day},1,Won,A\n" for name, day in days.items())
    found = office(deals(OPENED, CLOSED), deals=HEAD + rows)  # 1, 4, 10 and 40 days
    assert found.value("cycle_days_median", "2026-01-01", "2026-02-28") == 7
    assert found.value("cycle_days_p90", "2026-01-01", "2026-02-28") == pytest.approx(10 + 30 * 0.7)
    assert [row["value"] for row in found.ask("cycle_days_median", by=["month"])][:2] == [4, 40]


def test_a_changed_cycle_is_a_change_of_its_values(office: Callable[..., Dropped]) -> None:
    found = office(deals(OPENED, CLOSED), deals=HEAD + "a,2026-01-01,2026-02-10,1,Won,A\n")
    found.drop("deals.csv", HEAD + "a,2026-01-11,2026-02-10,1,Won,A\n")
    found.load()
    pipeline = found.pipeline()
    of_cycle = kpi_change.c.component == "cycle_lengths"
    changes = pipeline.warehouse.rows(select(kpi_change).where(of_cycle).order_by(kpi_change.c.age))
    assert [(row["age"], row["old_value"], row["new_value"]) for row in changes] == [(30, 0, 1), (40, 1, 0)]
    day = changes[0]["date_day"]
    told = explain(pipeline.warehouse, pipeline.landing, pipeline.config, "cycle_days_median", day)
    assert [change["age"] for change in told.changes] == [30, 40]
    # Both come back into an empty warehouse.
    ledger.keep(pipeline.warehouse, pipeline.landing.root)
    with pipeline.warehouse.write() as connection:
        connection.execute(delete(kpi_change))
        connection.execute(delete(kpi_component_daily))
    ledger.restore(pipeline.warehouse, pipeline.landing.root)
    assert len(pipeline.warehouse.rows(select(kpi_change).where(of_cycle))) == 2


# -- cohorts


def test_who_came_beyond_a_stage_first_has_reached_it_then(office: Callable[..., Dropped]) -> None:
    rows = "1,2026-01-01,2026-03-15,2026-01-05\n2,2026-01-01,,2026-01-05\n3,2026-01-01,2026-03-15,\n"
    found = office(leads(), leads="ID,Created,Mql,Sql\n" + rows)
    (row,) = found.ask("lead_to_mql_rate_30d", "2026-01-01", "2026-01-01")
    assert (row["numerator"], row["denominator"], row["complete"]) == (2, 3, True)
    assert found.ask("lead_to_mql_rate", "2026-01-01", "2026-01-01")[0]["numerator"] == 3


def test_a_cohort_has_no_number_until_all_have_had_their_time_by_what_was_read(office: Callable[..., Dropped]) -> None:
    rows = "1,2026-01-01,2026-01-05,\n2,2026-02-25,,\n3,2026-03-01,,\n"
    found = office(leads(cadence=""), leads="ID,Created,Mql,Sql\n" + rows)
    told = {}
    for days in (("2026-01-01", "2026-01-01"), ("2026-02-25", "2026-02-25"), (None, None)):
        (row,) = found.ask("lead_to_mql_rate_30d", *days)
        told[days[0]] = (row["value"], row["why_null"])
    assert told["2026-01-01"] == (1.0, "")
    assert told["2026-02-25"] == (None, "1 of 1 leads have not had 30 days yet")
    assert told[None] == (None, "2 of 3 leads have not had 30 days yet")
    view = found.pipeline().warehouse.rows(
        text("select date_day, value, complete from kpi_daily where metric = 'lead_to_mql_rate_30d' order by 1")
    )
    by_day = [row for row in found.ask("lead_to_mql_rate_30d", by=["day"]) if row["denominator"]]
    assert [(row["value"], row["complete"]) for row in view] == [(row["value"], row["complete"]) for row in by_day]
    assert [row["value"] for row in view] == [1.0, None, None]


def test_of_those_with_an_outcome_the_open_ones_are_told_and_not_counted(office: Callable[..., Dropped]) -> None:
    rows = (
        "a,2026-01-05,2026-02-01,1,Won,A\nb,2026-01-06,2026-02-02,1,Lost,B\nc,2026-01-07,,1,Open,C\n"
        "d,2026-02-05,,1,Open,D\ne,2026-03-05,2026-03-09,1,Lost,E\n"
    )
    found = office(deals(OPENED, CLOSED), deals=HEAD + rows)
    pipeline, name = found.pipeline(), "opportunity_to_won_rate_resolved"
    days = date(2026, 1, 1), date(2026, 3, 31)
    january, february, march = ask(pipeline.warehouse, pipeline.config, [name], *days, ["month"])
    assert (january.value, january.numerator, january.denominator) == (Fraction(1, 2), 1, 2)
    assert january.notes == ("without 1 of 3 opportunities that have no outcome yet",)
    assert (february.value, february.why_null) == (None, "none of 1 opportunities has an outcome yet")
    assert (march.value, march.notes) == (0, ())
    assert found.value("opportunity_to_won_rate", "2026-01-01", "2026-01-31") == pytest.approx(1 / 3)
    of_it = text("select value, because from kpi_daily where metric = :name order by date_day").bindparams(name=name)
    view = pipeline.warehouse.rows(of_it)
    early = "not all who entered have an outcome yet"
    assert [(row["value"], row["because"]) for row in view] == [
        (1, None), (0, None), (None, early), (None, early), (0, None),
    ]  # fmt: skip


def test_of_those_who_have_had_their_days_the_others_are_told_and_not_counted(office: Callable[..., Dropped]) -> None:
    rows = "1,2026-01-01,2026-01-05,\n2,2026-01-02,2026-02-25,\n3,2026-02-25,2026-02-26,\n4,2026-03-01,,\n"
    found = office(leads(cadence=""), leads="ID,Created,Mql,Sql\n" + rows)  # known until 2026-03-01
    pipeline, name = found.pipeline(), "lead_to_mql_rate_30d_resolved"
    days = date(2026, 1, 1), date(2026, 3, 1)
    (total,) = ask(pipeline.warehouse, pipeline.config, [name], *days)
    assert (total.numerator, total.denominator, total.complete) == (1, 2, True)
    assert total.notes == ("without 2 of 4 leads that have not had 30 days yet",)
    january, february, march = ask(pipeline.warehouse, pipeline.config, [name], *days, ["month"])
    assert (january.value, january.notes) == (Fraction(1, 2), ())
    assert (february.value, february.why_null) == (None, "none of 1 leads has had 30 days yet")
    assert (march.numerator, march.denominator, march.value) == (0, 0, None)
    of_it = text("select value, because from kpi_daily where metric = :name order by date_day").bindparams(name=name)
    early = "not all who entered have had their time yet"
    assert [(row["value"], row["because"]) for row in pipeline.warehouse.rows(of_it)] == [
        (1, None), (0, None), (None, early), (None, early),
    ]  # fmt: skip


def test_a_cohort_is_resolved_only_where_it_is_said_what_was_lost(office: Callable[..., Dropped]) -> None:
    settings = deals(OPENED, CLOSED).replace("        lost: [Lost]\n", "")
    found = office(settings, deals=HEAD + "a,2026-01-05,2026-02-01,1,Won,A\nb,2026-01-05,,1,Open,B\n")
    (row,) = found.ask("opportunity_to_won_rate_resolved", "2026-01-01", "2026-01-31")
    assert row["value"] is None
    assert "nothing says which deals are lost" in row["why_null"]
    assert found.value("opportunity_to_won_rate", "2026-01-01", "2026-01-31") == 0.5


def test_what_a_cohort_became_is_told_whole_not_only_what_changed_of_it(office: Callable[..., Dropped]) -> None:
    head = "ID,Created,Mql,Sql\n"
    found = office(leads(), leads=head + "1,2026-01-01,2026-01-05,\n2,2026-01-01,2026-01-06,\n3,2026-01-01,,\n")
    found.drop("leads.csv", head + "1,2026-01-01,2026-01-05,\n2,2026-01-01,2026-01-06,\n3,2026-01-01,2026-01-05,\n")
    found.load()
    (row,) = found.pipeline().warehouse.rows(select(kpi_change).where(kpi_change.c.component == "leads_reached_mql"))
    assert (row["old_value"], row["new_value"]) == (2, 3)


# -- what is stored


def test_components_of_an_earlier_version_go_and_are_told(office: Callable[..., Dropped]) -> None:
    found = office(deals(OPENED, CLOSED), deals=HEAD + "a,2026-01-01,2026-02-10,7,Won,A\n")
    pipeline = found.pipeline()
    day = pipeline.warehouse.rows(select(credit.c.date_day))[0]["date_day"]
    with pipeline.warehouse.write() as connection:
        row = {"family": "attribution", "component": "revenue_last_touch", "date_day": day, "value": Decimal(5)}
        connection.execute(insert(kpi_component_daily).values(n_rows=1, **row))
    assert publish_family(pipeline.warehouse, pipeline.config, FAMILIES["attribution"], "again") == {day}
    changes = pipeline.warehouse.rows(select(kpi_change).where(kpi_change.c.component == "revenue_last_touch"))
    assert [(row["old_value"], row["new_value"]) for row in changes] == [(5, 0)]


def test_a_view_that_is_made_anew_keeps_its_readers_and_the_views_on_it(
    migrated_database: Callable[[], str], office: Callable[..., Dropped]
) -> None:
    config = office(deals(OPENED, CLOSED)).pipeline().config
    warehouse = Warehouse(migrated_database())
    publish_definitions(warehouse, config)
    with warehouse.write() as connection:
        connection.execute(text("grant select on kpi_daily to public"))
        connection.execute(text("create view board as select * from kpi_daily"))
    publish_definitions(warehouse, config.model_copy(update={"gross_margin": Decimal("0.5")}))
    assert warehouse.rows(text("select has_table_privilege('public', 'kpi_daily', 'select') as may"))[0]["may"]
    assert warehouse.rows(text("select * from board")) == []
    with pytest.raises(ConfigError, match="drop what hangs on it"), warehouse.write() as connection:
        connection.execute(text("drop view kpi_daily"))
