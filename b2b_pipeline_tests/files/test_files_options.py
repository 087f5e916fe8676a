"""What a mapping can say of a file, from the file to the number; and which kinds of files are read."""

from __future__ import annotations

import gzip
import os
from datetime import date, datetime
from pathlib import Path

import pytest
from sqlalchemy import select

from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.files.test_files_load import checked, dropped
from b2b_pipeline_tests.support.dropped import Dropped
from b2b_pipeline_tests.support.workbook import workbook

DAY = '{from: Day, date: "%Y-%m-%d"}'
DEAL = f"opp_id: ID, created_at: {DAY}, amount: Value, currency: {{value: EUR}}"


def landed(
    tmp_path: Path, patch: pytest.MonkeyPatch, table: str, columns: str, content: str | bytes,
    *, read: str = "{}", more: str = "", settings: str = "", name: str = "x.csv",
) -> Dropped:  # fmt: skip
    """One file of one table, landed; every row will load."""
    mapping = f'x: {{match: "x*", read: {read}, tables: {{{table}: {{columns: {{{columns}}}{more}}}}}}}'
    world = dropped(tmp_path, patch, mapping, settings)
    report = checked(world, name, content)
    assert report.ok, report.text()
    assert not world.drop(name, content)
    return world


# -- cells


@pytest.mark.parametrize(
    ("amount", "read", "value"),
    [
        ("1.20K", "{}", "1200.00"),
        ("0.8k", "{}", "800.00"),
        ("1.5M", "{}", "1500000.00"),
        ("1,5 Mio", "{}", "1500000.00"),
        ("€ 2.5K", "{}", "2500.00"),
        ("-1.20K", "{}", "-1200.00"),
    ],
)
def test_thousands_and_millions_may_have_a_suffix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, amount: str, read: str, value: str
) -> None:
    columns = f"date_day: {DAY}, category: {{value: agency}}, amount: Amount, currency: {{value: EUR}}"
    world = landed(tmp_path, monkeypatch, "cost_ledger", columns, f'Day,Amount\n2026-01-01,"{amount}"\n', read=read)
    [row] = world.rows(select(tables.cost_ledger.c.amount))
    assert f"{row['amount']:.2f}" == value


def test_micros_are_scaled_columns_multiplied_and_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (
        f"date_day: {DAY}, account_id: {{value: google}}, campaign_id: {{join: [Account, Campaign], with: /}}, "
        "spend: {from: Cost micros, scale: 0.000001}, conv_value_platform: {multiply: [Price, Quantity]}, "
        "currency: {value: EUR}"
    )
    file = "Day,Account,Campaign,Cost micros,Price,Quantity\n2026-01-01,a,7,12500000,2.50,3\n"
    world = landed(tmp_path, monkeypatch, "spend", columns, file)
    spend = tables.spend.c
    [row] = world.rows(select(spend.campaign_id, spend.spend, spend.conv_value_platform))
    assert [str(value) for value in row.values()] == ["a/7", "12.500000", "7.500000"]


def test_a_day_takes_a_timestamp_and_is_that_of_the_reporting_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        "opp_id: ID, created_at: {value: 2026-01-01, date: '%Y-%m-%d'}, stage: Stage, "
        'close_date: {from: Closed, timestamp: "%Y-%m-%d %H:%M", zone: America/New_York}'
    )
    world = landed(
        tmp_path, monkeypatch, "opportunity", columns, "ID,Stage,Closed\n1,Won,2026-02-01 22:30\n", more=", won: [Won]"
    )
    [row] = world.rows(select(tables.opportunity.c.close_date))
    assert row["close_date"] == date(2026, 2, 2)


@pytest.mark.parametrize(
    ("cell", "written"),
    [("1769985000", "epoch"), ("1769985000.25", "epoch"), ("1769985000000", "epoch_ms")],
)
def test_times_since_1970_are_read_and_need_no_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, written: str
) -> None:
    columns = f"lead_id: ID, created_at: {{from: At, timestamp: {written}}}"
    world = landed(tmp_path, monkeypatch, "lead", columns, f"ID,At\n1,{cell}\n")
    [row] = world.rows(select(tables.lead.c.created_at))
    assert row["created_at"] == datetime(2026, 2, 1, 22, 30)  # noqa: DTZ001 - the warehouse keeps UTC


@pytest.mark.parametrize(
    ("cell", "written"),
    [("1769985000", "epoch_ms"), ("1769985000000", "epoch"), ("2026-02-01", "epoch"), ("-5", "epoch")],
)
def test_seconds_taken_for_milliseconds_are_no_time_of_1970(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cell: str, written: str
) -> None:
    columns = f"lead_id: ID, created_at: {{from: At, timestamp: {written}}}"
    world = dropped(tmp_path, monkeypatch, f'x: {{match: "x*", tables: {{lead: {{columns: {{{columns}}}}}}}}}')
    report = checked(world, "x.csv", f"ID,At\n1,{cell}\n")
    assert not report.ok
    assert f"fits none of the declared timestamp formats {written}" in report.text()


@pytest.mark.parametrize(
    ("cells", "first"),
    [
        (["03/02/2026", "25/02/2026"], date(2026, 2, 3)),
        (["03/02/2026", "02/25/2026"], date(2026, 3, 2)),
        (["05/01/2099", "05/01/2026"], None),
    ],
)
def test_one_cell_of_a_column_settles_the_order_of_day_and_month(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[str], first: date | None
) -> None:
    columns = 'lead_id: ID, created_at: {from: Day, date: ["%d/%m/%Y", "%m/%d/%Y"]}'
    content = "ID,Day\n" + "".join(f"{n},{cell}\n" for n, cell in enumerate(cells))
    if first is None:
        world = dropped(tmp_path, monkeypatch, f'x: {{match: "x*", tables: {{lead: {{columns: {{{columns}}}}}}}}}')
        assert not checked(world, "x.csv", content).ok
        return
    world = landed(tmp_path, monkeypatch, "lead", columns, content)
    lead = tables.lead.c
    assert world.rows(select(lead.date_day).order_by(lead.lead_id))[0]["date_day"] == first


def test_a_day_in_the_future_is_not_what_a_column_of_the_past_means(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    year = date.today().year  # noqa: DTZ011
    columns = 'lead_id: ID, created_at: {from: Day, date: ["%y/%m/%d", "%d/%m/%y"]}'
    world = landed(tmp_path, monkeypatch, "lead", columns, f"ID,Day\n1,28/02/{year % 100}\n")
    world.load()
    assert world.value("leads", f"{year}-02-28", f"{year}-02-28") == 1


# -- deals, e-mail


def test_won_and_closed_may_be_flags(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = f"{DEAL}, is_won: Won, is_closed: Closed, close_date: {DAY}, stage: Stage"
    file = (
        "ID,Day,Value,Won,Closed,Stage\n1,2026-02-01,10,TRUE,TRUE,s\n2,2026-02-01,20,0,1,s\n3,2026-02-01,40,no,no,s\n"
    )
    world = landed(tmp_path, monkeypatch, "opportunity", columns, file)
    world.load()
    assert [world.value(name) for name in ("won", "lost", "bookings", "opportunities")] == [1, 1, "10.00", 3]


def test_stages_of_deals_may_be_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = f"{DEAL}, won_date: {{from: Won, date: '%Y-%m-%d'}}"
    stages = ", stages: {proposal: {from: Offer, date: '%Y-%m-%d'}}"
    file = "ID,Day,Value,Won,Offer\n1,2026-02-01,10,2026-03-01,2026-02-10\n2,2026-02-01,20,,\n"
    world = landed(tmp_path, monkeypatch, "opportunity", columns, file, more=stages)
    event = tables.stage_event.c
    found = world.rows(select(event.object, event.object_id, event.to_stage, event.date_day))
    assert [list(row.values()) for row in found] == [["opportunity", "1", "proposal", date(2026, 2, 10)]]


def test_e_mail_flags_are_dated_by_the_send_and_recipients_may_have_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = "send_id: Send, recipient_id: Subscriber, sent_at: {from: Sent, date: '%Y-%m-%d'}"
    events = (
        ", events: {sent: {from: Sent, date: '%Y-%m-%d'}, delivered: {from: Delivered, flag: true}, "
        "open: {from: Opens, flag: true}, click: {from: Clicks, flag: true}}"
    )
    file = (
        "Send,Subscriber,Sent,Delivered,Opens,Clicks\ns1,1,2026-02-01,1,3,0\ns1,2,2026-02-01,1,1,1\n"
        "s1,3,2026-02-01,yes,0,\ns1,4,2026-02-01,0,0,0\n"
    )
    world = landed(tmp_path, monkeypatch, "email_event", columns, file, more=events)
    world.load()
    assert [world.value(name) for name in ("email_sends", "email_deliveries")] == [4, 3]
    assert round(float(world.value("email_open_rate")), 4) == 0.6667
    assert round(float(world.value("email_click_rate")), 4) == 0.3333


# -- kinds of files


def test_a_workbook_is_read_whatever_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns = (
        f"{DEAL}, is_won: Won, is_closed: Won, account_id: Account, "
        "close_date: {from: Closed, timestamp: '%Y-%m-%d %H:%M', zone: UTC}"
    )
    rows = [
        ["Report of Ann"],
        ["ID", "Day", "Value", "Won", "Closed", "Account"],
        [471000000001, date(2026, 2, 1), 0.1 + 0.2, True, datetime(2026, 3, 1, 10, 30), 7],  # noqa: DTZ001
        [2, date(2026, 2, 1), 1234.567, True, datetime(2026, 3, 2), 8.0],  # noqa: DTZ001
        [3, "2026-02-03", 40, False, None, "x"],
        [],
        ["Grand Totals (3 records)"],
    ]
    content = workbook({"Notes": [["nothing here"]], "Deals": rows})
    for name in ("x.csv", "x.xlsx"):
        (tmp_path / name).mkdir()
        world = landed(tmp_path / name, monkeypatch, "opportunity", columns, content, name=name)
        deal = tables.opportunity.c
        found = world.rows(
            select(deal.opp_id, deal.amount, deal.account_id, deal.close_date, deal.is_won).order_by(deal.amount)
        )
        assert [[str(value) for value in row.values()] for row in found] == [
            ["471000000001", "0.300000", "7", "2026-03-01", "True"],
            ["3", "40.000000", "x", "None", "False"],
            ["2", "1234.567000", "8", "2026-03-02", "True"],
        ]


def test_a_sheet_is_taken_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sheets = {"Old": [["ID", "Day"], [1, date(2026, 2, 1)]], "New": [["ID", "Day"], [2, date(2026, 2, 2)]]}
    world = landed(
        tmp_path, monkeypatch, "lead", f"lead_id: ID, created_at: {DAY}", workbook(sheets), read="{sheet: New}"
    )
    world.load()
    assert world.value("leads", "2026-02-02", "2026-02-02") == 1
    mapping = f'x: {{match: "x*", read: {{sheet: Mid}}, tables: {{lead: {{columns: {{created_at: {DAY}}}}}}}}}'
    (tmp_path / "b").mkdir()
    other = dropped(tmp_path / "b", monkeypatch, mapping)
    assert "there is no sheet 'Mid': the workbook has 'Old', 'New'" in checked(other, "x.csv", workbook(sheets)).text()


LEAD_LINES = "ID,Day\n1,2026-02-01\n2,2026-02-02\n"


@pytest.mark.parametrize(
    "content",
    [
        gzip.compress(LEAD_LINES.encode(), mtime=0),
        b"\xef\xbb\xbf\xef\xbb\xbf" + LEAD_LINES.encode(),
        LEAD_LINES.encode("utf-16"),
        LEAD_LINES.encode("utf-16-le"),
        LEAD_LINES.encode("utf-16-be"),
    ],
    ids=["gzip", "two byte order marks", "utf-16", "utf-16-le without mark", "utf-16-be without mark"],
)
def test_what_a_file_is_is_told_by_its_first_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    world = landed(tmp_path, monkeypatch, "lead", f"lead_id: ID, created_at: {DAY}", content)
    assert [row["lead_id"] for row in world.rows(select(tables.lead.c.lead_id).order_by("lead_id"))] == ["1", "2"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (gzip.compress(LEAD_LINES.encode(), mtime=0)[:-9], "a gzip that is cut off"),
        (
            gzip.compress(b"x" * 3_000_000, mtime=0),
            "a gzip that unpacks to more than 1 MB: split the file, or raise `limits:",
        ),
        (workbook({"a": [["ID", "Day"]]})[:200], "a zip archive or Excel workbook that is damaged"),
        (b"x" * 1_500_001, "x.csv: 2 MB, more than the 1 MB allowed: split the file, or raise `limits:"),
        ("ID,Day\nMüller,2026-02-01\n".encode("cp1252"), "declare `read: {encoding:"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, says: str
) -> None:
    mapping = f'x: {{match: "x*", tables: {{lead: {{columns: {{lead_id: ID, created_at: {DAY}}}}}}}}}'
    world = dropped(tmp_path, monkeypatch, mapping, "limits: {max_file_mb: 1}\n")
    problem = checked(world, "x.csv", content).problem or ""
    assert says in problem
    assert "\n" not in problem
    assert says in world.drop("x.csv", content)


def test_a_link_that_leaves_the_inbox_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mapping = f'x: {{match: "x*", tables: {{lead: {{columns: {{lead_id: ID, created_at: {DAY}}}}}}}}}'
    world = dropped(tmp_path, monkeypatch, mapping)
    (tmp_path / "secret").write_text(LEAD_LINES)
    os.symlink(tmp_path / "secret", world.pipeline().inbox / "x.csv")
    before = (tmp_path / "secret").read_bytes()
    assert "a link that leaves the inbox" in world.drop("x.csv", before)


def test_what_a_platform_claims_of_its_conversions_is_told_as_its_claim_and_small_prices_keep_their_decimals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = (
        f"date_day: {DAY}, account_id: {{value: a}}, campaign_id: Campaign, spend: Cost, clicks: Clicks, "
        "conversions_platform: Results, conv_value_platform: Result value, currency: {value: USD}"
    )
    rows = "2026-01-01,c,10.00,4000,2.5,30\n2026-01-02,c,5.00,2000,,\n"
    world = landed(
        tmp_path, monkeypatch, "spend", columns, f"Day,Campaign,Cost,Clicks,Results,Result value\n{rows}",
        settings='currencies: {USD: {rates: {2026-01-01: "2"}}}\n',
    )  # fmt: skip
    world.load()
    [row] = world.ask("platform_conversions")
    assert (row["value"], row["reasons"]) == (2.5, ("1 row of x.csv has no conversions",))
    assert world.value("platform_conversion_value") == "15.00"
    assert world.value("platform_roas", "2026-01-01", "2026-01-01") == 3.0
    assert world.value("platform_cost_per_conversion", "2026-01-01", "2026-01-01") == "2.00"
    assert world.value("cpc") == "0.0012"
    assert world.value("spend") == "7.50"
