"""Raw records of an export -> rows of core tables, for each shape that people's exports have."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal

from b2b_pipeline.configuration.config import Channels, Config
from b2b_pipeline.configuration.file_cells import CLICK_IDS
from b2b_pipeline.configuration.file_mapping import FileMapping, personal_paths
from b2b_pipeline.configuration.file_tables import TouchpointColumns
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.files import cells
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.files.rows import left_out, rows
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import REJECT, REJECT_ABOUT, REJECT_COLUMN, enforce
from b2b_pipeline.warehouse.tables import metadata

CONFIG = Config.model_validate(
    {"timezone": "Europe/Berlin", "currency": "EUR", "start_date": date(2026, 1, 1), "system_of_record": "files"}
)
HASHES = Pseudonyms(b"key", Path("none"), ["test*@*"])
ADA, BOB = HASHES.email("ada@acme.example"), HASHES.email("bob@acme.example")
ADA_KEY = "email:" + ADA.split(":")[1].split("@")[0]


def records_of(mapping: FileMapping, text: str) -> pd.DataFrame:
    """As landed and read back: personal fields hashed."""
    paths = personal_paths(mapping)
    landed = [HASHES.apply(dict(record), paths) for record in read_records(text.encode(), mapping)]
    return flattened(landed)


def mapped(written: str, table: str, text: str) -> pd.DataFrame:
    mapping = FileMapping.model_validate({"match": "*", **yaml.safe_load(written)})
    return rows(records_of(mapping, text), mapping, table, MappingContext(CONFIG, "files", table, Account("x.csv")))


def expect(frame: pd.DataFrame, **columns: list[Any]) -> None:
    wanted = pd.DataFrame(columns, dtype=object)
    got = frame[list(columns)].reset_index(drop=True)
    assert_frame_equal(got.where(got.notna(), None), wanted, check_dtype=False)


def reasons(frame: pd.DataFrame) -> list[tuple[str, str]]:
    """The file's column, and the text that does not fit with the reason that it does not."""
    bad = frame[frame[REJECT].notna()]
    told = zip(bad[REJECT_COLUMN], bad[REJECT_ABOUT], bad[REJECT], strict=True)
    return [(column, f"{about!r} {reason}" if isinstance(about, str) else reason) for column, about, reason in told]


# -- leads

LEADS = """
tables:
  lead:
    columns:
      lead_id: ID
      email: Mail
      created_at: {from: Created, timestamp: "%d.%m.%Y %H:%M", zone: America/New_York}
      country: {from: Country, aliases: {Deutschland: Germany, de: Germany}}
    stages:
      mql: {from: MQL, date: "%d.%m.%Y"}
      sql: {from: SQL, date: "%d.%m.%Y"}
  opportunity:
    when: Value
    columns:
      created_at: {from: SQL, date: "%d.%m.%Y"}
      won_date: {from: Won, date: "%d.%m.%Y"}
      lost_date: {from: Lost, date: "%d.%m.%Y"}
      amount: Value
      currency: {value: EUR}
"""
LEAD_ROWS = """ID,Mail,Created,Country,MQL,SQL,Won,Lost,Value
7, ADA@acme.example ,05.01.2026 22:30,DE,06.01.2026,08.01.2026,09.02.2026,,"1.200,50"
8,test.me@acme.example,05.01.2026 09:00,Deutschland,,,,,
9,N/A,06.01.2026 09:00,France,31.02.2026,,,,
"""


def test_a_row_per_lead_with_stages_in_columns_gives_the_lead() -> None:
    frame = mapped(LEADS, "lead", LEAD_ROWS)
    expect(
        frame,
        lead_id=["7", "8", "9"],
        record_key=["files:lead:7", "files:lead:8", "files:lead:9"],
        created_at=["2026-01-06T03:30:00+00:00", "2026-01-05T14:00:00+00:00", "2026-01-06T14:00:00+00:00"],
        date_day=["2026-01-06", "2026-01-05", "2026-01-06"],
        email_hash=[ADA, HASHES.email("test.me@acme.example"), None],
        email_domain=["acme.example", "acme.example", None],
        country=["Germany", "Germany", "France"],
        excluded_by=[None, "test*@*", None],
        source_account=["x.csv"] * 3,
        source_id=["2", "3", "4"],
    )
    assert len(enforce(metadata.tables["lead"], frame).rows) == 3


def test_and_a_stage_event_for_each_stage_that_is_filled_and_quarantine_for_a_date_that_fits_no_format() -> None:
    frame = mapped(LEADS, "stage_event", LEAD_ROWS)
    expect(
        frame,
        object_id=["7", "9", "7"],
        to_stage=["mql", "mql", "sql"],
        entered_at=["2026-01-05T23:00:00+00:00", None, "2026-01-07T23:00:00+00:00"],
        date_day=["2026-01-06", None, "2026-01-08"],
        vendor_stage=["MQL", "MQL", "SQL"],
    )
    assert list(frame.index) == [0, 2, 0]
    assert reasons(frame) == [("MQL", "'31.02.2026' fits none of the declared date formats %d.%m.%Y")]


def test_and_an_opportunity_where_there_is_a_deal() -> None:
    frame = mapped(LEADS, "opportunity", LEAD_ROWS)
    expect(
        frame,
        opp_id=["7"],
        lead_id=["7"],
        date_day=["2026-01-08"],
        close_date=["2026-02-09"],
        amount=["1200.5"],
        currency=["EUR"],
        is_won=[True],
        is_closed=[True],
    )


def test_and_a_link_to_the_e_mail_for_each_lead_that_has_one() -> None:
    frame = mapped(LEADS, "identity_link", LEAD_ROWS)
    expect(frame.head(1), from_key=["files:lead:7"], to_key=[ADA_KEY], rule=["email"])
    assert list(frame["from_key"]) == ["files:lead:7", "files:lead:8"]


def test_a_lead_without_an_id_is_known_by_its_e_mail_and_without_that_by_its_row() -> None:
    written = 'tables: {lead: {columns: {email: Mail, created_at: {from: Day, date: "%Y-%m-%d"}}}}'
    text = "Mail,Day\nada@acme.example,2026-01-05\nADA@acme.example,2026-01-06\n,2026-01-07\n,2026-01-07\n,2026-01-08\n"
    frame = mapped(written, "lead", text)
    ids = list(frame["lead_id"])
    assert ids[0] == ids[1] == ADA_KEY
    assert len(set(ids[2:])) == 3
    assert ids[3] == f"{ids[2]}-2"
    assert list(mapped(written, "lead", "Day,Mail\n2026-01-07,\n")["lead_id"]) == [ids[2]]


def test_a_word_in_the_e_mail_column_is_quarantined_and_not_shown() -> None:
    frame = mapped(LEADS, "lead", "ID,Mail,Created,Country,MQL,SQL,Won,Lost,Value\n7,Ada King,05.01.2026 22:30,,,,,,\n")
    assert reasons(frame) == [("Mail", "not an e-mail address")]
    assert "Ada" not in frame.to_json()


def test_a_stage_list_gives_stage_events_and_an_unknown_stage_is_not_guessed() -> None:
    written = """
    tables:
      stage_event:
        columns:
          lead_id: ID
          to_stage: {from: Stage, aliases: {Marketing qualified: mql}}
          entered_at: {from: At, date: "%Y-%m-%d"}
    """
    frame = mapped(
        written, "stage_event", "ID,Stage,At\n1,marketing qualified,2026-01-05\n1,Hot,2026-01-06\n,mql,2026-01-06\n"
    )
    assert list(frame["to_stage"])[:2] == ["mql", "Hot"]
    assert reasons(frame) == [
        ("Stage", "'Hot' is no stage of stages.order: add an alias"),
        ("ID", "the cell is empty"),
    ]


def test_a_trade_show_list_gives_a_lead_and_a_touch() -> None:
    written = """
    tables:
      lead: {columns: {email: Mail, created_at: {from: Day, date: "%m/%d/%Y"}}}
      touchpoint:
        columns:
          touched_at: {from: Day, date: "%m/%d/%Y"}
          channel: {from: Where, aliases: {Booth 7: events}}
          utm_medium: Medium
          gclid: Click
          campaign_id: {value: Expo 2026}
    """
    text = (
        "Mail,Day,Where,Medium,Click\nada@acme.example,01/05/2026,Booth 7,,\n,01/05/2026,Paid Search,,\n"
        ",01/06/2026,,CPC,\n,01/07/2026,,,\n,01/07/2026,Moon,,\n,01/08/2026,,cpm,G1\n"
    )
    frame, leads = mapped(written, "touchpoint", text), mapped(written, "lead", text)
    expect(
        frame,
        record_key=list(leads["record_key"]),
        touched_at=[
            *["2026-01-04T23:00:00+00:00"] * 2,
            "2026-01-05T23:00:00+00:00",
            *["2026-01-06T23:00:00+00:00"] * 2,
            "2026-01-07T23:00:00+00:00",
        ],
        date_day=["2026-01-05", "2026-01-05", "2026-01-06", "2026-01-07", "2026-01-07", "2026-01-08"],
        channel=["events", "paid_search", "paid_search", None, None, "paid_search"],
        evidence=["channel", "channel", "utm_medium", None, None, "gclid"],
        campaign_id=["Expo 2026"] * 6,
    )
    [(column, reason)] = reasons(frame)
    assert column == "Where"
    assert reason.startswith("'Moon' is no known channel: add an alias for one of ")
    assert frame["touch_id"].is_unique


# -- opportunities

DEALS = """
read: {skip_totals: {column: Deal, value: "total*"}}
tables:
  opportunity:
    columns:
      opp_id: Deal
      lead_id: Lead
      created_at: {from: Opened, date: ["%Y-%m-%d", "%d/%m/%Y", "%m/%d/%Y"]}
      close_date: {from: Closed, date: "%Y-%m-%d"}
      owner: Owner
      product: {from: Product, aliases: {GTXPro: GTX Pro}}
      account_id: Account
      stage: Stage
      amount: Value
      currency: {symbols: {$: USD, €: EUR}}
    won: [Won]
    lost: [Lost]
    open: [Talks]
"""
DEAL_HEADER = "Deal,Lead,Opened,Closed,Owner,Product,Account,Stage,Value\n"


def test_deals_join_their_leads_by_id_and_keep_owner_product_and_account() -> None:
    text = (
        DEAL_HEADER + 'D1,7,2026-01-05,2026-02-01,Ann,gtxpro,Acme,won,"$22,700.00"\n'
        'D2,,25/01/2026,2026-02-02,Ann,GTX Pro,Acme,LOST,"1.234,56 €"\nD3,,,,,,,Talks,\nTotal:,,,,,,,,99\n'
    )
    frame = mapped(DEALS, "opportunity", text)
    expect(
        frame,
        opp_id=["D1", "D2", "D3"],
        lead_id=["7", None, None],
        date_day=["2026-01-05", "2026-01-25", None],
        close_date=["2026-02-01", "2026-02-02", None],
        owner=["Ann", "Ann", None],
        product=["GTX Pro", "GTX Pro", None],
        account_id=["Acme", "Acme", None],
        amount=["22700", "1234.56", None],
        currency=["USD", "EUR", None],
        is_won=[True, False, False],
        is_closed=[True, True, False],
    )
    assert reasons(frame) == []
    assert len(enforce(metadata.tables["opportunity"], frame).rows) == 3


@pytest.mark.parametrize(
    ("cells_", "column", "reason"),
    [
        (
            "D1,,05/06/2026,,,,,Won,",
            "Opened",
            "'05/06/2026' fits several of the declared date formats",
        ),
        (
            "D1,,5 Jan 26,,,,,Won,",
            "Opened",
            "'5 Jan 26' fits none of the declared date formats %Y-%m-%d, %d/%m/%Y, %m/%d/%Y",
        ),
        ("D1,,0026-01-05,,,,,Won,", "Opened", "'0026-01-05' is no likely date: the year is not within 1970 to 2100"),
        ("D1,,,,,,,Won,€ n.a.", "Value", "'€ n.a.' is not an amount"),
        ("D1,,,,,,,Won,12 %", "Value", "'12 %' is a percentage, not an amount"),
        ("D1,,,,,,,Won,€1.234", "Value", '\'€1.234\' can be read in two ways: declare `read: {decimal: "."}` or `","`'),
        ("D1,,,,,,,Won,100", "Value", "its currency is not given"),
        ("D1,,,,,,,Win?,", "Stage", "'Win?' is in none of won, lost, open"),
        ("D1,,,,,,,,", "Stage", "the cell is empty"),
        (",,,,,,,Won,", "Deal", "the cell is empty"),
        ("D1,,,,,,,Won,£5", "Value", "its currency is not given"),
        ("D1,,,,,,,Won,XAU 5", "Value", "its currency is not given"),
        ("D1,Won", None, "the row has 2 cells, the header 9"),
    ],
)
def test_a_cell_that_does_not_fit_quarantines_its_row_and_says_why(
    cells_: str, column: str | None, reason: str
) -> None:
    frame = mapped(DEALS, "opportunity", f"{DEAL_HEADER}{cells_}\n")
    assert reasons(frame) == [(column, reason)]
    enforced = enforce(metadata.tables["opportunity"], frame)
    assert (len(enforced.rows), list(enforced.rejects["column_name"])) == (0, [column])


def test_a_currency_of_the_file_and_a_sign_of_another_one_do_not_go_together() -> None:
    written = DEALS.replace("{symbols: {$: USD, €: EUR}}", "{value: USD}")
    frame = mapped(written, "opportunity", f"{DEAL_HEADER}D1,,,,,,,Won,€5\nD2,,,,,,,Won,$5\nD3,,,,,,,Won,5 CHF\n")
    assert reasons(frame) == [
        ("Value", "'€' the amount is marked with another currency"),
        ("Value", "'CHF' the amount is marked with another currency"),
    ]


# -- money out

SPEND = """
tables:
  spend:
    columns:
      date_day: {from: Day, date: "%Y-%m-%d"}
      account_id: {value: linkedin}
      campaign_id: Campaign
      channel: {value: paid_social}
      impressions: Impr
      clicks: Clicks
      conv_value_platform: Value
      spend: Cost
      currency: Currency
"""
SPEND_HEADER = "Day,Campaign,Impr,Clicks,CTR,Value,Cost,Currency\n"


def test_spend_per_campaign_and_day() -> None:
    frame = mapped(
        SPEND,
        "spend",
        SPEND_HEADER + '2026-01-05,Brand,"1,234,567",12,0.1%,,"1,000.50",usd\n2026-01-05,Other,5,0,--,1.5,0,EUR\n',
    )
    expect(
        frame,
        date_day=["2026-01-05"] * 2,
        account_id=["linkedin"] * 2,
        campaign_id=["Brand", "Other"],
        ad_group_id=["-"] * 2,
        ad_id=["-"] * 2,
        level=["campaign"] * 2,
        channel=["paid_social"] * 2,
        impressions=["1234567", "5"],
        clicks=["12", "0"],
        conv_value_platform=[None, "1.5"],
        spend=["1000.5", "0"],
        currency=["USD", "EUR"],
        account_tz=["Europe/Berlin"] * 2,
    )
    assert len(enforce(metadata.tables["spend"], frame).rows) == 2


def test_parts_of_one_campaign_and_day_that_nothing_tells_apart_are_quarantined_and_repeats_are_one_row() -> None:
    text = (
        SPEND_HEADER
        + "2026-01-05,Brand,1,1,,,3,EUR\n2026-01-05,Brand,1,1,,,4,EUR\n"
        + "2026-01-06,Brand,1,1,,,5,EUR\n" * 2
    )
    frame = mapped(SPEND, "spend", text)
    assert [column for column, _ in reasons(frame)] == ["Campaign", "Campaign"]
    enforced = enforce(metadata.tables["spend"], frame)
    assert (list(enforced.rows["spend"]), enforced.duplicates) == ([Decimal(5)], 1)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("2026-01-05,Brand,1.5,1,,,3,EUR", "'1.5' is not a count"),
        ("2026-01-05,Brand,-1,1,,,3,EUR", "'-1' is not a count"),
        ("2026-01-05,Brand,1,1,,,3,", "its currency is not given"),
        ("2026-01-05,,1,1,,,3,EUR", "the cell is empty"),
    ],
)
def test_a_spend_cell_that_does_not_fit(line: str, reason: str) -> None:
    assert [why for _, why in reasons(mapped(SPEND, "spend", f"{SPEND_HEADER}{line}\n"))] == [reason]


COSTS = """
read: {decimal: "."}
tables:
  cost_ledger:
    columns:
      date_day: {from: Day, date: "%Y-%m-%d"}
      first_day: {from: From, date: "%Y-%m-%d"}
      last_day: {from: To, date: "%Y-%m-%d"}
      month: {from: Month, date: ["%b %Y", "%Y-%m"]}
      category: {from: Type, aliases: {Media agency: agency}}
      amount: Amount
      currency: {value: EUR}
"""
COST_HEADER = "Day,From,To,Month,Type,Amount\n"


def test_a_cost_of_a_day_a_period_and_a_month_is_spread_evenly_and_the_last_day_takes_the_remainder() -> None:
    text = COST_HEADER + "2026-01-05,,,,media agency,100\n,2026-01-30,2026-02-01,,tools,10\n,,,Feb 2026,tools,-28\n"
    frame = mapped(COSTS, "cost_ledger", text)
    assert list(frame.index) == [0, *[1] * 3, *[2] * 28]
    expect(
        frame.head(5),
        date_day=["2026-01-05", "2026-01-30", "2026-01-31", "2026-02-01", "2026-02-01"],
        amount=["100.000000", "3.333333", "3.333333", "3.333334", "-1.000000"],
        category=["agency", "tools", "tools", "tools", "tools"],
    )
    enforced = enforce(metadata.tables["cost_ledger"], frame)
    assert (len(enforced.rows), enforced.duplicates, sum(enforced.rows["amount"])) == (32, 0, Decimal(82))


def test_the_same_cost_twice_in_a_file_is_two_costs() -> None:
    frame = mapped(COSTS, "cost_ledger", COST_HEADER + "2026-01-05,,,,tools,5\n" * 2)
    assert len(enforce(metadata.tables["cost_ledger"], frame).rows) == 2


@pytest.mark.parametrize(
    ("line", "column", "reason"),
    [
        (",,,,tools,5", "From", "its day or period is not given"),
        (",2026-01-05,,,tools,5", "From", "its day or period is not given"),
        (",2026-01-05,2026-01-04,,tools,5", "To", "its last day is before its first"),
        (",1999-01-05,2026-01-04,,tools,5", "To", "its period is longer than 3660 days"),
        (
            "2026-01-05,,,,toys,5",
            "Type",
            "'toys' is none of ads, agency, tools, salaries_sales, salaries_marketing, content, event: add an alias",
        ),
        ("2026-01-05,,,,tools,five", "Amount", "'five' is not an amount"),
    ],
)
def test_a_cost_that_cannot_be_spread_is_one_quarantined_row(line: str, column: str, reason: str) -> None:
    frame = mapped(COSTS, "cost_ledger", f"{COST_HEADER}{line}\n")
    assert reasons(frame) == [(column, reason)]
    assert len(frame) == 1


# -- e-mail


def test_e_mail_events_count_on_the_day_of_the_send_and_human_clicks_are_touches() -> None:
    written = """
    tables:
      email_event:
        columns:
          send_id: Mailing
          email: To
          event_type: {from: What, aliases: {Opened: open, Clicked: click}}
          event_at: {from: At, timestamp: "%Y-%m-%dT%H:%M:%S%z"}
          is_machine: Bot
    """
    text = (
        "Mailing,To,What,At,Bot\nm1,ADA@acme.example,Sent,2026-01-05T23:30:00Z,\nm1,ada@acme.example,clicked,2026-01-07T08:00:00+01:00,no\n"
        "m1,ada@acme.example,Clicked,2026-01-07T08:00:05+01:00,YES\nm1,bob@acme.example,Opened,2026-01-07T08:00:00Z,\n"
    )
    frame = mapped(written, "email_event", text)
    expect(
        frame,
        send_id=["m1"] * 4,
        campaign_id=["m1"] * 4,
        recipient_hash=[ADA, ADA, ADA, BOB],
        event_type=["sent", "click", "click", "open"],
        sent_at=["2026-01-05T23:30:00+00:00"] * 3 + [None],
        date_day=["2026-01-06"] * 3 + [None],
        is_machine=["false", "false", "true", "false"],
    )
    assert [why for _, why in reasons(frame)] == [
        "the time of the send is not known: map sent_at, or keep the file's `sent` events"
    ]
    assert len(enforce(metadata.tables["email_event"], frame).rows) == 3
    touch = mapped(written, "touchpoint", text)
    expect(
        touch,
        record_key=[ADA_KEY],
        touched_at=["2026-01-07T07:00:00+00:00"],
        date_day=["2026-01-07"],
        channel=["email"],
        campaign_id=["m1"],
    )
    assert len(enforce(metadata.tables["touchpoint"], touch).rows) == 1


def test_a_row_per_recipient_with_times_in_columns_gives_an_event_for_each_time() -> None:
    written = """
    tables:
      email_event:
        columns: {send_id: {value: m1}, email: To}
        events:
          sent: {from: Sent, timestamp: "%d.%m.%Y %H:%M", zone: UTC}
          open: {from: Opened, timestamp: "%d.%m.%Y %H:%M", zone: UTC}
    """
    frame = mapped(
        written,
        "email_event",
        "To,Sent,Opened\nada@acme.example,05.01.2026 08:00,06.01.2026 09:00\nbob@acme.example,05.01.2026 08:00,-\n",
    )
    expect(frame, recipient_hash=[ADA, BOB, ADA], event_type=["sent", "sent", "open"], date_day=["2026-01-05"] * 3)
    assert frame["event_id"].is_unique


# -- amounts


@pytest.mark.parametrize(
    ("text", "decimal", "amount"),
    [
        ("$22,700.00", None, "22700"),
        ("1.234,56 €", None, "1234.56"),
        ("1 234,56", None, "1234.56"),
        ("1'234.50 CHF", None, "1234.5"),
        ("(12.50)", None, "-12.5"),
        ("-$5", None, "-5"),
        ("5-", None, "-5"),
        ("12,34,567.00", None, "1234567"),
        ("5,--", None, "5"),
        ("1.234.567", None, "1234567"),
        ("1054.3000000000002", None, "1054.3"),
        ("1,234", ".", "1234"),
        ("1,234", ",", "1.234"),
        ("EUR 1,200.00", None, "1200"),
        ("0,5", None, "0.5"),
        ("1234.567", None, "1234.567"),
    ],
)
def test_an_amount_as_people_write_it(text: str, decimal: cells.DecimalSign | None, amount: str) -> None:
    assert cells.parse_money(text, decimal) == amount


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "1,23.45",
        "1e5",
        "22.7q",
        "1.05E+06",
        "=1+1",
        "(5",
        "--5",
        "12.34.56",
        "9" * 15,
        "٣",
        "5" + " " * 100_000 + "x",
    ],
)
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(cells.Unfit):
        cells.parse_money(text, None)


def test_a_column_that_shows_its_decimal_sign_settles_the_cells_that_do_not() -> None:
    assert cells.decimal_sign(pd.Series(["1.234", "1.234,56", None, "x", "01.02.2026"], dtype=object)) == ","
    assert cells.decimal_sign(pd.Series(["1.234", "1.234,56", "1,234.56"], dtype=object)) is None


# -- whatever is in the cells

TEXT = st.text(max_size=12) | st.sampled_from(
    ["2026-01-05", "05/06/2026", "1.234,56 €", "1,234", "Won", "Talks", "-", "7", "total", "a@b.example"]
)


@settings(max_examples=15)
@given(st.lists(st.lists(TEXT, min_size=9, max_size=9), min_size=1, max_size=8))
@pytest.mark.parametrize(
    ("written", "header", "table"),
    [
        (DEALS, DEAL_HEADER, "opportunity"),
        (SPEND, SPEND_HEADER, "spend"),
        (LEADS, LEAD_ROWS, "lead"),
        (COSTS, COST_HEADER, "cost_ledger"),
    ],
)
def test_every_record_is_loaded_or_quarantined_whatever_its_cells_say(
    written: str, header: str, table: str, lines: list[list[str]]
) -> None:
    mapping = FileMapping.model_validate({"match": "*", **yaml.safe_load(written)})
    names = header.splitlines()[0].split(",")
    raw = [{**dict(zip(names, line, strict=False)), "_row": str(number)} for number, line in enumerate(lines)]
    frame = flattened([HASHES.apply(dict(record), personal_paths(mapping)) for record in raw])
    result = rows(frame, mapping, table, MappingContext(CONFIG, "files", table, Account("x.csv")))
    kept = frame[left_out(frame, mapping).isna()]
    assert set(frame.loc[result.index, "_row"]) == set(kept["_row"])
    assert len(kept) >= sum("total" not in map(str.lower, line) for line in lines)
    enforced = enforce(metadata.tables[table], result)
    assert len(enforced.rows) + len(enforced.rejects) + enforced.duplicates == len(result)
    assert enforced.rejects["column_name"].notna().all()


def test_a_click_id_that_has_a_channel_can_be_a_column_of_a_file() -> None:
    """Those of the sources that put one into their links, too."""
    known = {*Channels().click_ids}
    assert known == {*CLICK_IDS} == known & {*TouchpointColumns.model_fields}
    assert {source.click_id for source in SOURCES.values() if source.click_id} <= known
