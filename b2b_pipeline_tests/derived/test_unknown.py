"""Unknown is not zero: what nobody gave has no number, and says what to map."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from typer.testing import CliRunner

from b2b_pipeline.cli import app
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.metrics.query import ask, free_axes
from b2b_pipeline.metrics.registry import FAMILIES, METRICS
from b2b_pipeline.orchestration.assets.kpi import describe_days
from b2b_pipeline_tests.support.dropped import Dropped

DAY = 'date: "%Y-%m-%d"'
LEADS = f"""
  leads:
    match: "leads*.csv"
    tables:
      lead:
        columns:
          lead_id: ID
          created_at: {{from: Created, {DAY}}}
          source_original: Source
      touchpoint:
        columns:
          touch_id: ID
          lead_id: ID
          touched_at: {{from: Created, {DAY}}}
          channel: {{from: Source, aliases: {{Google: paid_search, LinkedIn: paid_social, Web: organic_search}}}}
"""
WON_ALONE = f"""
  deals:
    match: "deals*.csv"
    tables:
      opportunity:
        columns:
          opp_id: Deal
          lead_id: Lead
          won_date: {{from: Won, {DAY}}}
          amount: Amount
          currency: {{value: EUR}}
"""
ADS = f"""
  ads:
    match: "ads*.csv"
    read: {{nulls: ["", NA]}}
    tables:
      spend:
        columns:
          date_day: {{from: Day, {DAY}}}
          account_id: {{value: google}}
          campaign_id: Campaign
          channel: {{value: paid_search}}
          impressions: Impr
          clicks: Clicks
          spend: Cost
          currency: {{value: EUR}}
"""
COSTS = f"""
  costs:
    match: "costs*.csv"
    tables:
      cost_ledger:
        columns:
          date_day: {{from: Day, {DAY}}}
          category: Category
          channel: Channel
          amount: Amount
          currency: {{value: EUR}}
"""
THREE_LEADS = "ID,Created,Source\n1,2026-01-01,Google\n2,2026-01-01,LinkedIn\n3,2026-01-02,Web\n"
TWO_DEALS = "Deal,Lead,Won,Amount\nd1,1,2026-01-02,100\nd2,2,,50\n"
ONE_AD = "Day,Campaign,Impr,Clicks,Cost\n2026-01-01,a,100,5,10.00\n"


def world(folder: Path, patch: pytest.MonkeyPatch, settings: str, **files: str) -> Dropped:
    """An installation whose files are `name=content`, loaded and derived."""
    found = Dropped.of(folder, patch, settings)
    for name, content in files.items():
        assert not found.drop(f"{name}.csv", content)
    found.load()
    return found


def answer(found: Dropped, metric: str, *range_: str) -> tuple[Any, str]:
    (row,) = found.ask(metric, *range_)
    return row["value"], row["why_null"]


class Unasked:
    """A connection of which nothing may be asked: the configuration tells it."""

    def execute(self, *_: Any) -> Any:
        raise AssertionError("told by the configuration alone")


class Dealt:
    """A connection that says that deals.csv was loaded, and nothing of its rows."""

    def execute(self, *_: Any) -> Dealt:
        return self

    def scalars(self) -> Dealt:
        return self

    def all(self) -> list[str]:
        return ["deals.csv"]

    def first(self) -> None:
        raise AssertionError("told by the configuration alone")


def deals_of(tables: dict[str, Any]) -> Config:
    files = {"deals": {"match": "deals*.csv", "tables": tables}}
    return Config.model_validate({"start_date": "2026-01-01", "system_of_record": "files", "files": files})


@pytest.fixture
def only_won(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    return world(tmp_path, monkeypatch, "files:" + LEADS + WON_ALONE, leads=THREE_LEADS, deals=TWO_DEALS)


NOT_LOST = Need("opportunity", ("lost",)).hint
UNSTATED = {
    "lost": NOT_LOST, "win_rate": NOT_LOST, "win_rate_amount": NOT_LOST,
    "new_customers": "map account_id", "lead_to_customer_rate_period": "map account_id",
    "close_rate": "map created_at", "opportunity_to_won_rate": "map created_at",
    "cycle_days_mean": "map created_at", "cycle_days_median": "map created_at",
    "mqls": "who became mql", "lead_to_mql_rate": "who became mql", "sqls": "who became sql",
    "mql_to_sql_rate": "who became", "sql_to_opportunity_rate": "who became sql",
    "lead_to_mql_rate_period": "who became mql", "cost_per_mql": "gives", "cpa": "gives", "spend": "gives spend",
    "ctr": "gives", "email_sends": "gives email sends", "romi": "gives", "email_bounce_rate": "gives email",
    "roas": "gives spend", "mer": "gives marketing cost",
}  # fmt: skip


def test_what_no_mapping_states_is_null_with_what_to_map(only_won: Dropped) -> None:
    pipeline = only_won.pipeline()
    for told in ask(pipeline.warehouse, pipeline.config, list(UNSTATED)):
        assert told.value is None, told.metric.name
        assert UNSTATED[told.metric.name] in told.why_null


def test_what_is_stated_keeps_its_number(only_won: Dropped) -> None:
    values = {name: answer(only_won, name)[0] for name in ("won", "bookings", "leads", "opportunities")}
    assert values == {"won": 1, "bookings": "100.00", "leads": 3, "opportunities": 2}
    assert answer(only_won, "revenue_last_touch")[0] == "100.00"
    # Nobody said when deals were opened: their number is known, their days are not.
    assert answer(only_won, "opportunities", "2026-01-01", "2026-01-31") == (
        None, Need("opportunity", ("created_at",)).hint,
    )  # fmt: skip


def test_an_unknown_side_of_a_ratio_is_null_and_not_zero(only_won: Dropped) -> None:
    (row,) = only_won.ask("win_rate")
    assert (row["numerator"], row["denominator"]) == (1, None)


def test_the_view_and_its_copy_say_null_where_b2b_kpi_does(only_won: Dropped) -> None:
    told = text("select distinct metric from kpi_daily where value is not null or numerator is not null")
    shown = {row["metric"] for row in only_won.pipeline().warehouse.rows(told)}
    stated = "leads won bookings average_deal_size revenue_first_touch revenue_last_touch lead_to_customer_rate"
    assert shown == set(stated.split())


def test_before_the_first_derive_every_metric_is_null(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = Dropped.of(tmp_path, monkeypatch, "files:" + LEADS + WON_ALONE + ADS).pipeline()
    asked = [name for name, metric in METRICS.items() if not free_axes(metric)]
    answers = ask(pipeline.warehouse, pipeline.config, asked)
    assert {a.value for a in answers} == {None}
    nothing = "nothing was derived yet: run `b2b backfill`, or the pipeline in the Dagster UI"
    assert {a.why_null for a in answers} == {nothing}
    assert all(nothing in a.reasons for a in answers)  # null, and not complete either


def test_deals_that_name_no_lead_give_no_rate_from_leads_and_no_credit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = "files:" + LEADS + WON_ALONE.replace("          lead_id: Lead\n", "") + ADS
    found = world(tmp_path, monkeypatch, settings, leads=THREE_LEADS, deals=TWO_DEALS, ads=ONE_AD)
    for metric in ("lead_to_customer_rate", "revenue_last_touch", "roas"):
        assert answer(found, metric) == (
            None,
            "nothing ties deals to leads: map lead_id or email, or read what a CRM ties them by",
        )


def test_event_types_that_no_row_ever_had_are_not_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mails = """
  mails:
    match: "mails*.csv"
    tables:
      email_event:
        columns:
          send_id: Send
          email: To
          event_type: What
          event_at: {from: At, date: "%Y-%m-%d"}
"""
    rows = "Send,To,What,At\ns,a@x.example,sent,2026-01-01\ns,a@x.example,delivered,2026-01-01\n"
    found = world(tmp_path, monkeypatch, "files:" + mails, mails=rows)
    assert answer(found, "email_deliveries") == (1, "")
    for metric, kind in (("email_bounce_rate", "bounce"), ("email_open_rate", "open")):
        assert answer(found, metric) == (None, f"nothing gives email event {kind}")


def test_costs_without_any_of_marketing_are_no_marketing_cost_of_zero(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = "Day,Category,Channel,Amount\n2026-01-01,salaries_sales,,90\n"
    found = world(tmp_path, monkeypatch, "files:" + LEADS + COSTS, leads=THREE_LEADS, costs=rows)
    value, why = answer(found, "cost_per_lead")
    assert (value, why) == (None, "nothing that is switched on gives marketing cost")


def test_a_stage_that_configuration_maps_to_nothing_is_given_by_nobody() -> None:
    crm = {"start_date": "2026-01-01", "system_of_record": "salesforce", "sources": {"salesforce": {}, "hubspot": {}}}
    words = {"hubspot": {"salesqualifiedlead": "sql"}, "salesforce": {"Working": "sql"}}

    for stages, missing in (({}, []), ({"stages": words}, ["mql"])):
        facts = Facts(Unasked(), Config.model_validate(crm | stages))  # type: ignore[arg-type]
        assert [stage for stage in ("mql", "sql") if facts.why_not(Need("stage_event", (stage,)))] == missing


@pytest.mark.parametrize(
    ("columns", "lists", "missing"),
    [
        ({"is_won": "Won"}, {}, {"lost", "close_date", "created_at", "amount", "person"}),
        ({"is_won": "Won", "is_closed": "Closed", "close_date": "Ended"}, {}, {"created_at", "amount", "person"}),
        (
            {"is_won": "Won", "stage": "Stage"},
            {"lost": ["No"]},
            {"lost", "close_date", "created_at", "amount", "person"},
        ),
        ({"stage": "Stage"}, {"won": ["Yes"]}, {"lost", "close_date", "created_at", "amount", "person"}),
        ({"stage": "Stage", "email": "Mail"}, {"won": ["Yes"], "lost": ["No"]}, {"close_date", "created_at", "amount"}),
        ({"lost_date": "Lost"}, {}, {"won", "created_at", "amount", "person"}),
        (
            {"is_won": "Won", "amount": {"multiply": ["Price", "Seats"]}, "currency": {"value": "EUR"}},
            {},
            {"lost", "close_date", "created_at", "person"},
        ),
    ],
)
def test_what_a_file_of_deals_states_follows_from_its_mapping(
    columns: dict[str, Any], lists: dict[str, Any], missing: set[str]
) -> None:
    config = deals_of({"opportunity": {"columns": {"opp_id": "Deal", **columns}, **lists}})
    facts = Facts(Dealt(), config)  # type: ignore[arg-type]
    every = ("won", "lost", "close_date", "created_at", "amount", "person")
    assert {fact for fact in every if facts.why_not(Need("opportunity", (fact,)))} == missing


@pytest.mark.parametrize(
    ("left_out", "missing"),
    [
        ("lead_history", {"mql"}),
        ("lead", {"sql", "person"}),
        ("opportunity_contact_role", {"person"}),
        ("campaign_member", set()),
    ],
)
def test_what_a_stream_tells_only_with_another_one_is_not_told_without_it(left_out: str, missing: set[str]) -> None:
    streams = [stream.name for stream in SOURCES["salesforce"].streams if stream.name != left_out]
    config = Config.model_validate(
        {
            "start_date": "2026-01-01", "system_of_record": "salesforce", "stages": {"salesforce": {"Working": "mql"}},
            "sources": {"salesforce": {"streams": streams}},
        }
    )  # fmt: skip
    facts = Facts(Unasked(), config)  # type: ignore[arg-type]
    needs = [Need("stage_event", ("mql",)), Need("stage_event", ("sql",)), Need("opportunity", ("person",))]
    assert {need.facts[0] for need in needs if facts.why_not(need)} == missing


@pytest.mark.parametrize(
    ("sources", "is_told"),
    [
        ({"collector": {"streams": ["visit"]}, "hubspot": {}}, False),
        ({"ga4_export": {}, "hubspot": {}}, False),
        ({"collector": {}, "hubspot": {}}, True),
        ({"ga4_export": {"streams": ["visit", "form"]}}, True),
    ],
)
def test_forms_in_visits_are_unknown_where_only_others_tell_of_forms(sources: dict[str, Any], is_told: bool) -> None:
    given = {"start_date": "2026-01-01", "system_of_record": "files", "sources": sources}
    facts = Facts(Unasked(), Config.model_validate(given))  # type: ignore[arg-type]
    why = facts.why_not(Need("form_event", ("session_id",)))
    assert why.startswith("nothing tells in which visits forms were sent") != is_told
    assert bool(why) != is_told


def test_stages_of_deals_are_no_stages_of_leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deals = WON_ALONE + f"        stages: {{sql: {{from: Talks, {DAY}}}}}\n"
    stages = f"""
  stages:
    match: "stages*.csv"
    tables:
      stage_event:
        columns:
          lead_id: ID
          to_stage: Stage
          entered_at: {{from: At, {DAY}}}
"""
    found = world(
        tmp_path, monkeypatch, "files:" + LEADS + deals + stages, leads=THREE_LEADS,
        deals="Deal,Lead,Won,Amount,Talks\nd1,1,2026-01-02,100,2026-01-01\n",
        stages="ID,Stage,At\n1,mql,2026-01-01\n",
    )  # fmt: skip
    assert answer(found, "mqls") == (1, "")
    assert answer(found, "sqls") == (None, Need("stage_event", ("sql",)).hint)


def test_clicks_in_emails_give_the_channel_of_touches() -> None:
    mails = {
        "email_event": {
            "columns": {"send_id": "Send", "email": "To"},
            "events": {"click": {"from": "At", "date": "%Y"}},
        }
    }
    facts = Facts(Dealt(), deals_of(mails))  # type: ignore[arg-type]
    assert not facts.why_not(Need("touchpoint", ("channel",)))


def test_of_two_mappings_of_deals_the_one_that_is_silent_makes_the_number_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = WON_ALONE.replace("deals", "others") + WON_ALONE.replace(
        "          amount", f"          lost_date: {{from: Lost, {DAY}}}\n          amount"
    )
    deals = "Deal,Lead,Won,Lost,Amount\nd1,1,2026-01-02,,100\nd3,2,,2026-01-02,50\n"
    found = world(
        tmp_path, monkeypatch, "files:" + both, deals=deals, others="Deal,Lead,Won,Amount\nd2,1,2026-01-03,9\n"
    )
    (row,) = found.ask("win_rate")
    assert row["value"] == pytest.approx(2 / 3)
    assert f"others: {Need('opportunity', ('lost',)).hint}" in row["reasons"]
    assert not row["complete"]


# -- both sides of a ratio cover the same channels


@pytest.fixture
def one_fed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    """Leads of three channels, deals of two, ad spend of one."""
    deals = "Deal,Lead,Won,Amount\nd1,1,2026-01-02,100\nd2,2,2026-01-02,50\n"
    settings = "gross_margin: 0.5\nfiles:" + LEADS + WON_ALONE + ADS
    return world(tmp_path, monkeypatch, settings, leads=THREE_LEADS, deals=deals, ads=ONE_AD)


def test_a_total_leaves_out_what_paid_channels_without_spend_brought_and_says_so(one_fed: Dropped) -> None:
    pipeline = one_fed.pipeline()
    told = {
        a.metric.name: a for a in ask(pipeline.warehouse, pipeline.config, ["roas", "mer", "cost_per_lead", "romi"])
    }
    assert {name: float(a.value or 0) for name, a in told.items()} == {
        "roas": 10.0, "mer": 10.0, "cost_per_lead": 5.0, "romi": 4.0,
    }  # fmt: skip
    assert {a.notes for a in told.values()} == {("without paid_social: nothing feeds its spend",)}


def test_a_channel_of_which_nothing_was_bought_is_unknown_and_not_free(one_fed: Dropped) -> None:
    told = {row["channel"]: (row["value"], row["why_null"]) for row in one_fed.ask("cost_per_lead", by=["channel"])}
    assert told == {
        "paid_search": ("10.00", ""),
        "paid_social": (None, "nothing feeds the ad spend of paid_social"),
        "organic_search": (None, "nothing gives a marketing cost of organic_search"),
    }
    told = {row["channel"]: (row["value"], row["why_null"]) for row in one_fed.ask("spend", by=["channel"])}
    assert told == {"paid_search": ("10.00", ""), "paid_social": (None, "nothing feeds the ad spend of paid_social")}


def test_a_campaign_without_spend_has_no_cost_of_zero(one_fed: Dropped) -> None:
    told = {row["campaign"]: row["value"] for row in one_fed.ask("cost_per_lead_ads", by=["campaign"])}
    assert told == {"a": None, None: None}  # the leads name no campaign


def test_the_view_sums_to_what_the_total_says(one_fed: Dropped) -> None:
    (row,) = one_fed.pipeline().warehouse.rows(
        text("select sum(numerator) as n, sum(denominator) as d from kpi_daily where metric = 'roas'")
    )
    assert (row["n"], row["d"]) == (100, 10)


def test_an_ads_cost_in_the_ledger_makes_the_marketing_cost_of_its_channel_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = "Day,Category,Channel,Amount\n2026-01-01,ads,paid_social,20\n2026-01-01,agency,paid_search,2\n"
    settings = "files:" + LEADS + ADS + COSTS
    found = world(tmp_path, monkeypatch, settings, leads=THREE_LEADS, ads=ONE_AD, costs=costs)
    told = {row["channel"]: row["value"] for row in found.ask("cost_per_lead", by=["channel"])}
    assert told == {"paid_search": "12.00", "paid_social": "20.00", "organic_search": None}
    assert found.value("cost_per_lead") == "10.67"
    assert found.value("cost_per_lead_ads") == "5.00"


def test_an_agency_alone_does_not_tell_the_spend_and_is_left_out_with_its_channel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = "Day,Category,Channel,Amount\n2026-01-01,agency,paid_social,20\n"
    settings = "files:" + LEADS + ADS + COSTS
    found = world(tmp_path, monkeypatch, settings, leads=THREE_LEADS, ads=ONE_AD, costs=costs)
    assert found.value("cost_per_lead") == "5.00"


def test_spend_without_a_channel_may_be_anybodys_and_leaves_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ads = ADS.replace("          channel: {value: paid_search}\n", "")
    found = world(tmp_path, monkeypatch, "files:" + LEADS + ads, leads=THREE_LEADS, ads=ONE_AD)
    assert found.value("cost_per_lead") == "3.33"


@pytest.mark.parametrize(
    ("channels", "metric", "because"),
    [
        ("{paid: [paid_social]}", "roas",
         "the ad spend of paid_search counts, its revenue does not: add it to channels.paid"),
        ("{not_marketing: [paid_search]}", "romi_multiple",
         "the marketing cost of paid_search counts, its revenue does not: take it out of channels.not_marketing"),
    ],
)  # fmt: skip
def test_spend_of_a_channel_whose_revenue_does_not_count_makes_the_ratio_incomplete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: str, metric: str, because: str
) -> None:
    deals = "Deal,Lead,Won,Amount\nd1,1,2026-01-02,100\nd2,2,2026-01-02,50\n"
    settings = f"channels: {channels}\nfiles:" + LEADS + WON_ALONE + ADS
    found = world(tmp_path, monkeypatch, settings, leads=THREE_LEADS, deals=deals, ads=ONE_AD)
    (total,) = found.ask(metric)
    assert not total["complete"]
    assert because in total["reasons"]
    split = {row["channel"]: (row["value"], row["why_null"]) for row in found.ask(metric, by=["channel"])}
    assert split["paid_search"] == (None, because)
    (other,) = found.ask("spend")
    assert because not in other["reasons"]


# -- a row that gives a part counts with that part


def test_an_ad_row_without_cost_keeps_its_clicks_and_marks_the_spend_of_its_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ads = "Day,Campaign,Impr,Clicks,Cost\n2026-01-01,a,100,5,10.00\n2026-01-02,a,200,7,NA\n2026-01-03,a,100,NA,4.00\n"
    found = world(tmp_path, monkeypatch, "files:" + ADS, ads=ads)
    totals = {name: found.ask(name)[0] for name in ("impressions", "clicks", "spend")}
    assert {name: row["value"] for name, row in totals.items()} == {"impressions": 400, "clicks": 12, "spend": "14.00"}
    assert "1 row of ads.csv has no cost" in totals["spend"]["reasons"]
    assert "1 row of ads.csv has no clicks" in totals["clicks"]["reasons"]
    lacking = {"spend": "has no cost", "clicks": "has no clicks", "impressions": "has no"}
    marked = {
        name: [row["date"] for row in found.ask(name, by=["day"]) if any(words in r for r in row["reasons"])]
        for name, words in lacking.items()
    }
    assert marked == {"spend": ["2026-01-02"], "clicks": ["2026-01-03"], "impressions": []}
    assert [row["value"] for row in found.ask("spend", by=["day"])] == ["10.00", None, "4.00"]


def test_an_empty_channel_stays_apart_from_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leads = "ID,Created,Source\n1,2026-01-01,Google\n2,2026-01-01,unknown\n3,2026-01-01,\n"
    found = world(tmp_path, monkeypatch, "files:" + LEADS, leads=leads)
    told = {row["channel"]: row["value"] for row in found.ask("leads", by=["channel"])}
    assert told == {"paid_search": 1, "unknown": 1, None: 1}


def test_ad_spend_of_an_empty_channel_has_no_channel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ads = ADS.replace("{value: paid_search}", "Kind")
    rows = "Day,Campaign,Kind,Impr,Clicks,Cost\n2026-01-01,a,,1,1,5\n2026-01-01,b,display,1,1,7\n"
    found = world(tmp_path, monkeypatch, "files:" + ads, ads=rows)
    assert {row["channel"]: row["value"] for row in found.ask("spend", by=["channel"])} == {
        "display": "7.00",
        None: "5.00",
    }


def test_a_deal_of_a_lead_that_nobody_has_is_that_persons_and_finds_their_touches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touches = f"""
  touches:
    match: "touches*.csv"
    tables:
      touchpoint:
        columns:
          lead_id: Who
          touched_at: {{from: At, {DAY}}}
          channel: How
"""
    found = world(
        tmp_path, monkeypatch, "files:" + WON_ALONE + touches,
        touches="Who,At,How\n9,2026-01-01,events\n", deals="Deal,Lead,Won,Amount\nd1,9,2026-01-02,100\n",
    )  # fmt: skip
    for metric in ("bookings", "revenue_last_touch"):
        assert [(row["channel"], row["value"]) for row in found.ask(metric, by=["channel"])] == [("events", "100.00")]


def test_a_deals_own_campaign_wins_over_that_of_its_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deals = WON_ALONE.replace("          amount", "          campaign_id: Campaign\n          amount")
    leads = LEADS + "          campaign_id: Utm\n"
    found = world(
        tmp_path, monkeypatch, "files:" + leads + deals,
        leads="ID,Created,Source,Utm\n1,2026-01-01,Google,spring\n2,2026-01-01,Google,spring\n",
        deals="Deal,Lead,Won,Campaign,Amount\nd1,1,2026-01-02,fair,100\nd2,2,2026-01-02,,50\n",
    )  # fmt: skip
    told = {row["campaign"]: row["value"] for row in found.ask("bookings", by=["campaign"])}
    assert told == {"fair": "100.00", "spring": "50.00"}


def test_leads_are_split_by_source_status_company_and_capture_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = "          status: State\n          company: Firm\n          capture_type: Form\n      touchpoint:"
    found = world(
        tmp_path, monkeypatch, "files:" + LEADS.replace("      touchpoint:", more, 1),
        leads="ID,Created,Source,State,Firm,Form\n1,2026-01-01,Google,new,A,demo\n2,2026-01-01,Web,new,B,demo\n",
    )  # fmt: skip
    split = {
        by: {row[by]: row["value"] for row in found.ask("leads", by=[by])} for by in ("source", "status", "company")
    }
    assert split == {"source": {"Google": 1, "Web": 1}, "status": {"new": 2}, "company": {"A": 1, "B": 1}}
    assert {row["capture_type"]: row["value"] for row in found.ask("leads", by=["capture_type"])} == {"demo": 2}


# -- deals without an amount


AMOUNTS = "Deal,Lead,Won,Amount\nd1,1,2026-01-02,100\nd2,2,2026-01-02,\nd3,3,2026-01-02,\nd4,3,2026-01-03,\n"
SOME_LACK = "2 of 3 won deals have no amount in the reporting currency"
NONE_HAS = "none of 1 won deals has an amount in the reporting currency"


@pytest.fixture
def half_priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dropped:
    return world(
        tmp_path, monkeypatch, "files:" + LEADS + WON_ALONE + ADS, leads=THREE_LEADS, deals=AMOUNTS, ads=ONE_AD
    )


def test_a_sum_of_deals_of_which_some_have_no_amount_says_how_many(half_priced: Dropped) -> None:
    pipeline = half_priced.pipeline()
    names = ["bookings", "revenue_last_touch", "average_deal_size", "won", "leads"]
    told = {(a.metric.name, a.keys["date"].day): a for a in ask(pipeline.warehouse, pipeline.config, names, by=["day"])}
    for name in ("bookings", "revenue_last_touch", "average_deal_size"):
        assert (told[name, 2].value, told[name, 2].notes) == (100, (SOME_LACK,))
    assert (told["bookings", 3].value, told["bookings", 3].why_null) == (None, NONE_HAS)
    assert not told["bookings", 3].notes
    assert [(told["won", day].value, told["won", day].notes) for day in (2, 3)] == [(3, ()), (1, ())]
    (total,) = ask(pipeline.warehouse, pipeline.config, ["bookings"])
    assert (total.value, total.notes) == (100, ("3 of 4 won deals have no amount in the reporting currency",))
    of_channel = {a.keys["channel"]: a for a in ask(pipeline.warehouse, pipeline.config, ["bookings"], by=["channel"])}
    assert of_channel["paid_search"].notes == ()
    assert of_channel["organic_search"].why_null == "none of 2 won deals has an amount in the reporting currency"
    by_currency = ask(pipeline.warehouse, pipeline.config, ["bookings"], by=["product"])  # computed live
    assert by_currency[0].notes[-1].startswith("3 of 4 won deals")


def test_every_surface_tells_that_won_deals_have_no_amount(half_priced: Dropped) -> None:
    run = CliRunner()
    asked = run.invoke(app, ["kpi", "bookings", "--from", "2026-01-02", "--to", "2026-01-02"])
    assert f"{SOME_LACK} (bookings)" in asked.stderr
    explained = run.invoke(app, ["explain", "bookings", "--on", "2026-01-02"])
    assert "bookings on 2026-01-02: EUR 100.00" in explained.stdout
    assert SOME_LACK in explained.stdout
    family, days = FAMILIES["pipeline"], [date(2026, 1, 2), date(2026, 1, 3)]
    described = describe_days(half_priced.pipeline(), family, days)
    assert "3 of 4 won deals have no amount" in described["2026-01-03"]["leaves_out"]
    of = "open_opportunities, open_pipeline, lost, win_rate, win_rate_amount"
    assert f"{NOT_LOST} ({of})" in described["2026-01-03"]["no_value_because"]
    page = half_priced.folder / "page.html"
    assert run.invoke(app, ["report", "--to", "2026-01-03", "--out", str(page)]).exit_code == 0
    assert "3 of 4 won deals have no amount in the reporting currency" in page.read_text(encoding="utf-8")
