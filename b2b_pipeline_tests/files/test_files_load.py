"""Dropped files from the inbox to numbers: `files check` says what a load does, and no file may stop another one."""

from __future__ import annotations

import io
import unicodedata
import zipfile
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select
from typer.testing import CliRunner

from b2b_pipeline.cli import app
from b2b_pipeline.core.load import load_tables
from b2b_pipeline.core.refused import quarantined_rows, told
from b2b_pipeline.derived.identity import shared_addresses
from b2b_pipeline.files.check import CheckReport, check
from b2b_pipeline.landing.slices import sealed
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.dropped import Dropped

DEALS = """
deals:
  match: "deals*"
  read: {decimal: "."}
  tables:
    opportunity:
      columns:
        created_at: {from: Created Date, date: "%m/%d/%Y"}
        close_date: {from: Close Date, date: "%m/%d/%Y"}
        account_id: Account Name
        stage: Stage
        amount: Amount
        currency: {value: EUR}
      won: [Closed Won]
      lost: [Closed Lost]
      open: [Prospecting]
"""
REPORT = """"Opportunity Name","Account Name","Stage","Amount","Close Date","Created Date"
"Acme 1","Acme","Closed Won","1,200.50","2/13/2026","1/13/2026"
"Bob 1","Bob","Closed Lost","300.00","2/14/2026","1/14/2026"
"Cy 1","Cy","Prospecting","","3/1/2026","1/20/2026"

"Grand Totals (3 records)"

"Confidential Information - Do Not Distribute"
"Copyright (c) 2000-2026 example, inc. All rights reserved."
"""
LEADS = """
leads:
  match: "leads*"
  tables:
    lead:
      columns:
        lead_id: ID
        email: E-mail
        created_at: {from: Created, date: "%Y-%m-%d"}
        company: Company
"""


def dropped(folder: Path, patch: pytest.MonkeyPatch, files: str, settings: str = "") -> Dropped:
    """`files`: what stands under `files:`."""
    written = "".join(f"  {line}\n" for line in files.strip("\n").splitlines())
    return Dropped.of(folder, patch, f"{settings}files:\n{written}")


def checked(world: Dropped, name: str, content: str | bytes) -> CheckReport:
    """What `b2b files check` says of a file that has not been dropped yet."""
    path = world.folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return check(path, world.pipeline().config)


def test_a_report_with_a_footer_loads_and_the_footer_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, DEALS)
    report = checked(world, "deals.csv", REPORT)
    assert report.ok, report.text()
    assert "3 rows, 3 footer lines left out" in report.text()
    world.drop("deals.csv", REPORT)
    world.load()
    assert [world.value(name) for name in ("won", "lost", "bookings")] == [1, 1, "1200.50"]


def test_a_file_of_ragged_rows_is_refused_with_the_reason_and_the_good_one_beside_it_loads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, DEALS)
    ragged = REPORT.partition("\n")[0] + "\nonly\ntwo,cells\nthree,of,them\n"
    world.drop("deals_ragged.csv", ragged)
    world.drop("deals_good.csv", REPORT)
    [why] = world.load().loads["opportunity"].failures.values()
    assert "3 of 3 records fail the contract of opportunity (most: " in why
    assert "the row has" in why
    assert world.value("bookings") == "1200.50"


def test_one_bad_quote_costs_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    good = "".join(f"L{n},p{n}@x.example,2026-02-01,C\n" for n in range(2, 40))
    file = 'ID,E-mail,Created,Company\nL1,a@x.example,2026-02-01,"Acme "Best" Ltd"\n' + good
    report = checked(world, "leads.csv", file)
    assert (report.tables[0].loaded, report.tables[0].quarantined, report.tables[0].reasons[0].lines) == (38, 1, [2])
    world.drop("leads.csv", file)
    world.load()
    assert world.value("leads") == 38
    assert any("a quote within a quoted cell" in line for line in quarantined_rows(world.pipeline().warehouse, "lead"))


def test_total_rows_of_any_kind_are_left_out_wherever_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ads = """
ads:
  match: "ads*"
  tables:
    spend:
      columns:
        date_day: {from: Day, date: "%Y-%m-%d"}
        account_id: {value: google}
        campaign_id: Campaign
        clicks: Clicks
        spend: Cost
        currency: Currency code
"""
    world = dropped(tmp_path, monkeypatch, ads)
    file = (
        'Campaign report\n"September 1, 2026 - September 30, 2026"\nDay,Campaign,Currency code,Impr.,Clicks,Cost\n'
        '2026-09-01,Total Energies,EUR,"1,234",12,"1,038.34"\nTotal: Campaigns, --,EUR,"2,534",26,"1,076.64"\n'
        '2026-09-02,Brand,EUR,"1,300",14,38.30\nTotal: Account,,EUR,"2,534",26,"1,076.64"\n'
        "Grand Total,,EUR,0,0,0.00\nSubtotal,,EUR,0,0,0.00\n"
    )
    assert "2 would load" in checked(world, "ads.csv", file).text()
    assert "4 of them left out as totals" in checked(world, "ads.csv", file).text()
    world.drop("ads.csv", file)
    world.load()
    assert world.value("spend") == "1076.64"


# -- one key on several rows

CRM = """
crm:
  match: "crm*"
  tables:
    lead:
      columns:
        lead_id: Lead
        created_at: {from: Created, date: "%Y-%m-%d"}
        owner: Owner
    opportunity:
      columns:
        lead_id: Lead
        created_at: {from: Created, date: "%Y-%m-%d"}
        won_date: {from: Won, date: "%Y-%m-%d"}
        product: Product
        amount: Amount
        currency: {value: EUR}
"""


def test_every_deal_of_a_lead_counts_and_a_repeat_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = dropped(tmp_path, monkeypatch, CRM)
    file = (
        "Lead,Created,Owner,Won,Product,Amount\nL1,2026-01-01,Ann,2026-01-02,A,100\nL1,2026-01-01,Ann,2026-01-03,B,250\n"
        "L2,2026-01-02,Ben,,A,70\nL1,2026-01-01,Ann,2026-01-03,B,250\n"
    )
    world.drop("crm.csv", file)
    world.load()
    assert [world.value(name) for name in ("won", "bookings", "leads", "opportunities")] == [2, "350.00", 2, 3]
    table = next(table for table in checked(world, "crm.csv", file).tables if table.table == "opportunity")
    assert (table.loaded, table.repeated, table.quarantined) == (3, 1, 0)


def test_of_rows_of_one_lead_that_differ_the_earliest_counts_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, CRM)
    header = "Lead,Created,Owner,Won,Product,Amount\n"
    file = header + "L1,2026-01-05,Ann,,A,1\nL1,2026-01-03,Ben,,A,1\nL2,2026-01-05,Ann,,A,1\n"
    world.drop("crm.csv", file)
    world.load()
    assert [row["value"] for row in world.ask("leads", "2026-01-03", "2026-01-05", ["day"])] == [1, 0, 1]
    text = checked(world, "crm.csv", file).text()
    assert "1 x a lead that stands on another row too: the earliest row counts (they differ in " in text
    assert any("a lead that stands on another row too" in line for line in told(world.pipeline().warehouse))


def test_an_id_that_a_spreadsheet_turned_into_a_number_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    file = "ID,E-mail,Created,Company\n" + "".join(f"4.71E+14,p{n}@x.example,2026-02-01,C{n}\n" for n in range(20))
    report = checked(world, "leads.csv", file)
    assert not report.ok
    assert [(table.loaded, table.quarantined) for table in report.tables] == [(0, 20), (0, 0)]
    assert "an id that a spreadsheet has turned into a number" in report.text()
    assert "4.71E+14" in report.text()


LEAD_CONFLICT = "7,a@x.example,2026-02-01,A\n7,b@x.example,2026-02-02,B\n"


def test_one_id_on_rows_of_different_people_is_a_conflict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    good = "".join(f"L{n},p{n}@x.example,2026-02-01,C\n" for n in range(60))
    file = "ID,E-mail,Created,Company\n" + LEAD_CONFLICT + good + "L1,p1@x.example,2026-02-01,C\n"
    report = checked(world, "leads.csv", file)
    lead, link = report.tables
    assert (lead.loaded, lead.quarantined, lead.repeated) == (60, 2, 1)
    assert (link.loaded, link.quarantined) == (60, 0), "told by the lead's own table, and links nobody"
    assert "2 x ID: stands on several rows that differ (7), line 2, 3" in report.text()
    assert not report.ok
    world.drop("leads.csv", file)
    world.load()
    assert world.value("leads") == 60


DAY = '{from: Day, date: "%Y-%m-%d"}'
KEYED = {
    "opportunity": (
        f"opp_id: ID, created_at: {DAY}, won_date: {DAY}, amount: X, currency: {{value: EUR}}",
        ("1000", "9000"),
    ),
    "cost_ledger": (
        f"cost_id: ID, date_day: {DAY}, category: {{value: tools}}, amount: X, currency: {{value: EUR}}",
        ("1000", "9000"),
    ),
    "touchpoint": (f"touch_id: ID, lead_id: X, touched_at: {DAY}", ("L1", "L2")),
    "email_event": (
        f"event_id: ID, send_id: X, email: Mail, event_type: {{value: sent}}, event_at: {DAY}",
        ("s1", "s2"),
    ),
}


@pytest.mark.parametrize("table", KEYED)
def test_one_key_with_different_content_is_a_conflict_in_every_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    columns, (one, other) = KEYED[table]
    world = dropped(tmp_path, monkeypatch, f'x: {{match: "x*", tables: {{{table}: {{columns: {{{columns}}}}}}}}}')
    rest = "".join(f"o{n},2026-02-01,{one},a@x.example\n" for n in range(3))
    file = f"ID,Day,X,Mail\nD1,2026-02-01,{one},a@x.example\nD1,2026-02-01,{other},a@x.example\n{rest}"
    report = checked(world, "x.csv", file + f"o1,2026-02-01,{one},a@x.example\n")
    assert (report.tables[0].loaded, report.tables[0].quarantined, report.tables[0].repeated) == (3, 2, 1)
    assert "2 x ID: stands on several rows that differ (D1), line 2, 3" in report.text()
    assert report.problem is None, "few or many: the other rows load"
    assert not world.drop("x.csv", file)
    assert not any(report.failures for report in world.load().loads.values())
    stored = tables.metadata.tables[table].c
    assert len(world.pipeline().warehouse.rows(select(stored.source_id))) == 3
    (row,) = world.ask({"opportunity": "won", "cost_ledger": "cpa", "email_event": "email_sends"}.get(table, "leads"))
    assert table == "touchpoint" or not row["complete"]


def test_a_file_of_nothing_but_conflicts_is_refused_and_leaves_the_older_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns, (one, other) = KEYED["opportunity"]
    world = dropped(tmp_path, monkeypatch, f'x: {{match: "x*", tables: {{opportunity: {{columns: {{{columns}}}}}}}}}')
    world.drop("x.csv", f"ID,Day,X\nD1,2026-02-01,{one}\nD2,2026-02-01,{one}\n")
    world.load()
    world.drop("x.csv", f"ID,Day,X\n4.71E+14,2026-02-01,{one}\n4.71E+14,2026-02-01,{other}\n")
    world.load()
    (row,) = world.ask("won")
    assert (row["value"], row["complete"]) == (2, False)


def test_across_files_the_newer_row_counts_and_the_change_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, DEALS.replace("columns:", "columns:\n        opp_id: Opportunity Name"))
    world.drop("deals_1.csv", REPORT)
    world.drop("deals_2.csv", REPORT.replace("1,200.50", "9,000.00"))
    world.load()
    assert world.value("bookings") == "9000.00"
    assert told(world.pipeline().warehouse) == [
        "files/opportunity deals_1.csv: 3 footer lines left out",
        "files/opportunity deals_2.csv: 3 footer lines left out",
        "files/opportunity deals_2.csv: 1 x a row that an older file has otherwise: the newer counts "
        "(they differ in amount)",
    ]


def test_a_cost_that_a_newer_file_shortens_leaves_no_days_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    costs = """
costs:
  match: "costs*"
  tables:
    cost_ledger:
      columns:
        cost_id: No
        first_day: {from: From, date: "%Y-%m-%d"}
        last_day: {from: To, date: "%Y-%m-%d"}
        category: {value: tools}
        amount: Amount
        currency: {value: EUR}
"""
    world = dropped(tmp_path, monkeypatch, costs)
    world.drop("costs_1.csv", "No,From,To,Amount\n1,2026-01-01,2026-01-10,100\n")
    world.drop("costs_2.csv", "No,From,To,Amount\n1,2026-01-01,2026-01-05,100\n")
    world.load()
    found = world.pipeline().warehouse.rows(select(func.count().label("n"), func.sum(tables.cost_ledger.c.amount)))
    assert [list(row.values()) for row in found] == [[5, Decimal(100)]]


def test_what_is_there_of_files_counts_together_and_the_last_one_that_is_withdrawn_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    head, bad = "ID,E-mail,Created,Company\n", "X,x@x.example,yesterday,C\n"
    for name in ("a", "b"):
        lines = "".join(f"{name}{n},{name}{n}@x.example,2026-02-01,C\n" for n in range(30))
        world.drop(f"leads_{name}.csv", head + lines + bad)
    books = (tables.lead, tables.load_audit, tables.quarantine)
    counts = []
    for withdrawn in ("", "leads_a.csv", "leads_b.csv"):
        if withdrawn:
            assert CliRunner().invoke(app, ["files", "forget", withdrawn]).exit_code == 0
        world.load()
        counts.append(
            [len(world.pipeline().warehouse.rows(select(book).where(book.c.source == "files"))) for book in books]
        )
    assert counts == [[60, 4, 2], [30, 2, 1], [0, 0, 0]]


def test_a_file_that_an_earlier_version_landed_as_a_snapshot_stays_loaded_until_a_newer_one_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, DEALS)
    world.drop("deals.csv", REPORT)
    world.load()
    landing = world.pipeline().landing
    (item,) = landing.slices("files", "opportunity")
    assert item.kind == "collection"
    envelope = landing.folder("files", "opportunity", "deals.csv") / f"{item.slice_id}.json"
    envelope.write_text(sealed(replace(item, kind="snapshot")), encoding="utf-8")
    assert world.load().loads["opportunity"].slices == 0
    assert [each.kind for each in world.pipeline().landing.slices("files", "opportunity")] == ["snapshot"]
    world.drop("deals.csv", REPORT.replace("1,200.50", "9,000.00"))
    world.load()
    assert world.value("bookings") == "9000.00"


# -- what identifies


def test_spellings_that_look_the_same_are_one_person(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    spellings = [
        "ida@x.example", "\u200bida@x.example", "Ida@X.example\u200b", "ida@x.example\u00a0",
        "\u202aida@x.example\u202c", "ida\u00ad@x.example", "\uff49\uff44\uff41\uff20x.example",
    ]  # fmt: skip
    lines = "".join(f"L{n},{email},2026-02-0{n + 1},C\n" for n, email in enumerate(spellings))
    world.drop("leads.csv", "ID,E-mail,Created,Company\n" + lines)
    world.load()
    assert world.value("leads") == 1
    assert CliRunner().invoke(app, ["forget", "ida@x.example", "--yes"]).exit_code == 0


def test_an_address_of_many_leads_is_told_and_joins_nobody_once_it_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = dropped(tmp_path, monkeypatch, LEADS)
    lines = "".join(f"L{n},info@x.example,2026-02-01,C{n}\n" for n in range(12))
    world.drop("leads.csv", "ID,E-mail,Created,Company\n" + lines)
    world.load()
    assert world.value("leads") == 1
    told_by_doctor = CliRunner().invoke(app, ["doctor"]).output
    [shared] = shared_addresses(world.pipeline().warehouse)
    assert "joins 12 lead records" in told_by_doctor
    assert shared.endswith("@x.example")
    world = dropped(tmp_path, monkeypatch, LEADS, f'identity: {{shared_emails: ["{shared}"]}}\n')
    world.load()
    assert world.value("leads") == 12
    assert "joins 12 lead records" not in CliRunner().invoke(app, ["doctor"]).output


def test_composed_and_decomposed_letters_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nfd = unicodedata.normalize("NFD", "Größe"), unicodedata.normalize("NFD", "Österreich")
    mapping = LEADS.replace("company: Company", "country: {from: Größe, aliases: {Österreich: Austria}}")
    world = dropped(tmp_path, monkeypatch, mapping)
    world.drop("leads.csv", f"ID,E-mail,Created,{nfd[0]}\n1,a@x.example,2026-02-01,{nfd[1]}\n")
    world.load()
    assert [row["country"] for row in world.pipeline().warehouse.rows(select(tables.lead.c.country))] == ["Austria"]


# -- whatever a file looks like

MAPPINGS = (
    DEALS
    + LEADS
    + """
events:
  match: "events*"
  tables:
    email_event:
      columns:
        send_id: Send
        email: E-mail
      events: {sent: {from: Sent, date: "%Y-%m-%d"}, click: {from: Click, date: "%Y-%m-%d"}}
costs:
  match: "costs*"
  tables:
    cost_ledger:
      columns:
        month: {from: Month, date: "%Y-%m"}
        category: {value: tools}
        amount: Amount
        currency: {value: EUR}
ads:
  match: "ads*"
  tables:
    spend:
      columns:
        date_day: {from: Day, date: "%Y-%m-%d"}
        account_id: {value: x}
        campaign_id: Campaign
        spend: Cost
        currency: {symbols: {"$": USD}}
crm:
  match: "crm*"
  tables:
    lead:
      columns:
        lead_id: ID
        created_at: {from: Created, date: "%Y-%m-%d"}
      stages: {mql: {from: MQL, date: "%Y-%m-%d"}}
    touchpoint:
      columns:
        lead_id: ID
        touched_at: {from: Created, date: "%Y-%m-%d"}
    opportunity:
      when: Value
      columns:
        won_date: {from: Won, date: "%Y-%m-%d"}
        amount: Value
        currency: {value: EUR}
stages:
  match: "stages*"
  tables:
    stage_event:
      columns:
        lead_id: ID
        to_stage: Stage
        entered_at: {from: At, timestamp: "%Y-%m-%d %H:%M", zone: UTC}
"""
)
HEADERS = {
    "deals": REPORT.partition("\n")[0].replace('"', ""), "leads": "ID,E-mail,Created,Company",
    "events": "Send,E-mail,Sent,Click", "costs": "Month,Amount", "ads": "Day,Campaign,Cost",
    "crm": "ID,Created,MQL,Value,Won", "stages": "ID,Stage,At",
}  # fmt: skip
CELL = st.sampled_from(
    ["", "2026-01-05", "2026-01", "2026-01-05 10:00", "1/13/2026", "1,234.50", "$5", "1.2K", "4.71E+14", "7", "L1",
     "mql", "ada@x.example", "a\u200bda@x.example", "Closed Won", "Total", "Grand Totals (3 records)", "n/a", '"',
     '"open', 'a"b', "\0", "\r", "\n", "é", "e\u0301", "=1+1", "inf", "NaN", "-1e400"]
)  # fmt: skip
FAST = (Phase.explicit, Phase.reuse, Phase.generate)  # making a failing file smaller takes minutes
LINE = st.lists(CELL, max_size=8).map(",".join)
MAGIC = [b"PK\x03\x04", b"\x1f\x8b\x08", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"]
RENAMED = st.sampled_from(["ID,ID", "", "\ufeff\ufeff", "Total", '"', "Created"])


@st.composite
def dropped_file(draw: st.DrawFn, header: str) -> bytes:
    shown = draw(st.sampled_from([header, header, header, header + "," + draw(RENAMED), draw(RENAMED)]))
    lines = draw(st.lists(LINE, max_size=8))
    content = "\n".join([*draw(st.lists(LINE, max_size=1)), shown, *lines]).encode()
    match draw(st.integers(0, 9)):
        case 0:
            return content[: draw(st.integers(0, len(content)))]
        case 1:
            return draw(st.binary(max_size=60))
        case 2:
            return content.decode().encode("utf-16")
        case 3:
            return (
                draw(st.sampled_from([b"PK\x03\x04", b"\x1f\x8b\x08", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"])) + content
            )
        case 4:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as archive:
                archive.writestr("xl/workbook.xml", content)
            return out.getvalue()
        case 5:
            return content * 2
    return content


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> object:
    with pytest.MonkeyPatch.context() as patch:
        yield dropped(tmp_path_factory.mktemp("everything"), patch, MAPPINGS)


@settings(max_examples=15, phases=FAST, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize("name", HEADERS)
def test_no_file_raises_in_the_check(everything: Dropped, name: str, data: st.DataObject) -> None:
    path = everything.folder / name
    path.write_bytes(data.draw(dropped_file(HEADERS[name])))
    report = check(path, everything.pipeline().config)
    assert report.text()
    for table in report.tables:
        assert all(table.reasons) or not table.quarantined


@settings(max_examples=5, phases=FAST, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_file_raises_in_the_loader(everything: Dropped, data: st.DataObject) -> None:
    for name, header in HEADERS.items():
        everything.drop(name, data.draw(dropped_file(header), label=name))
    found = everything.pipeline()
    for report in load_tables(found.warehouse, found.landing, found.config, tables.CORE, "run").values():
        assert report.broken is None
        assert report.rows_in == report.loaded + report.quarantined + report.deduplicated
        assert not [why for why in report.failures.values() if "fail the contract" not in why]
