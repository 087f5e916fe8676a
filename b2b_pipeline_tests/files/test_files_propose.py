"""What `files check` proposes for exports that nobody has mapped; the exports are in `fixtures/exports.yaml`."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.files.add import answered as answer
from b2b_pipeline.files.check import check
from b2b_pipeline.files.propose import propose
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.files.recognise import MISSING
from b2b_pipeline.files.rows import rows
from b2b_pipeline.files.vocabulary import tables
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import metadata

HEAD = "timezone: UTC\ncurrency: EUR\nstart_date: 2026-01-01\nsystem_of_record: files\nfiles:\n"
EXPORTS: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parents[1] / "fixtures" / "exports.yaml").read_text(encoding="utf-8")
)
FEEDING = [name for name, export in EXPORTS.items() if export["table"]]
ANSWERS = {
    "date_day": "2026-01-31",
    "created_at": "2026-01-31",
    "currency": "EUR",
    "category": "tools",
    "channel": "other",
    "sent_at": "2026-01-31",
    "is_closed": "true",
}


def content(name: str) -> bytes:
    export = EXPORTS[name]
    return str(export["text"]).replace("\\t", "\t").encode(export.get("encoding", "utf-8"))


@pytest.mark.parametrize("name", EXPORTS)
def test_an_export_gets_its_table_or_none_and_never_a_wrong_one(name: str) -> None:
    proposal = propose(f"{name}.csv", content(name))
    assert proposal.table == EXPORTS[name]["table"], proposal.text
    if proposal.table is None:
        assert yaml.safe_load(proposal.text) is None
        assert EXPORTS[name].get("why", "None of the tables") in proposal.text


def test_there_are_many_exports_and_many_of_them_feed_nothing() -> None:
    assert len(FEEDING) >= 40
    assert len(EXPORTS) - len(FEEDING) >= 30


def answered(name: str, text: str) -> str:
    """The proposal with its questions answered, as a person would."""
    given: dict[str, str] = EXPORTS[name].get("answers", {})
    text = text.replace('"$": "?"', f'"$": {given.get("$", "USD")}')
    text = text.replace('won: ["?"]', f"won: {given.get('won', '[Won]')}")
    text = re.sub(r'date: "\?"}  # ambiguous: fits (\S+) and .*', r'date: "\1"}', text)
    text = text.replace('zone: "?"', "zone: UTC").replace('decimal: "?"', 'decimal: "."')
    return "\n".join(
        line.replace('"?"', (ANSWERS | given).get(line.strip().partition(":")[0], "other"))
        for line in text.splitlines()
    )


def configured(folder: Path, written: str) -> Config:
    path = folder / "pipeline.yaml"
    path.write_text(HEAD + "".join(f"  {line}\n" for line in written.splitlines()), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("name", FEEDING)
def test_a_proposal_whose_questions_are_answered_loads_the_file(name: str, tmp_path: Path) -> None:
    export, path = EXPORTS[name], tmp_path / f"{name}.csv"
    path.write_bytes(content(name))
    proposal = propose(path.name, path.read_bytes())
    left_open = {line.partition(":")[0] for line in proposal.questions}
    assert left_open >= set(export.get("asks", ())), proposal.text
    written = answered(name, proposal.text)
    config = configured(tmp_path, written)
    report = check(path, config)
    assert report.problem is None, f"{report.text()}\n{written}"
    found = next(table for table in report.tables if table.table == export["table"])
    assert found.quarantined <= export.get("footers", 0), f"{report.text()}\n{written}"
    assert found.loaded == export.get("loads", found.loaded)
    [mapping] = yaml.safe_load(written).values()
    columns = mapping["tables"][export["table"]]["columns"]
    for ours, theirs in export.get("has", {}).items():
        given = columns[ours] if ours in columns else mapping["tables"][export["table"]]["events"][ours]
        assert given == theirs or (isinstance(given, dict) and given.get("from") == theirs), (ours, given)
    if "total" in export:
        assert total(config, path, export["table"]) == Decimal(export["total"])


def total(config: Config, path: Path, table: str) -> Decimal:
    """The sum of the amounts that would be loaded."""
    [mapping] = config.files.values()
    records = flattened(read_records(path.read_bytes(), mapping))
    context = MappingContext(config, "files", table, Account(path.name))
    loaded = enforce(metadata.tables[table], rows(records, mapping, table, context)).rows
    return sum(loaded["spend" if table == "spend" else "amount"].dropna(), Decimal(0))


def text_of(name: str) -> str:
    return propose(f"{name}.csv", content(name)).text


def test_a_platform_is_only_named_by_two_of_its_headers() -> None:
    assert "account_id: {value: meta}" in text_of("meta_daily")
    for header in ("Amount spent (EUR)", "Ad set name", "Impr."):
        ads = f"Day,Campaign,{header},Spend\n2026-01-13,Brand,5,10.50\n2026-01-14,Brand,6,11.50\n".encode()
        assert 'account_id: {value: "?"}' in propose("ads.csv", ads).text


def test_interactions_are_not_taken_for_clicks() -> None:
    ads = b"Day,Campaign,Campaign type,Impr.,Interactions,Cost\n2026-01-13,Brand,Video,100,60,10.50\n"
    assert "clicks" not in propose("ads.csv", ads).text


def test_flags_of_what_is_won_and_closed_need_no_lists_of_stages() -> None:
    text = text_of("hubspot_deals_with_flags")
    assert "is_won: Is Closed Won" in text
    assert "won: [" not in text


def test_a_flag_of_what_is_won_alone_asks_what_the_others_are() -> None:
    assert 'is_closed: {value: "?"}  # those not won: true if they are all lost' in text_of("deals_with_a_flag_alone")


def test_the_days_on_which_deals_entered_stages_are_offered_and_those_on_which_they_left_are_not() -> None:
    [mapping] = yaml.safe_load(text_of("hubspot_stage_dates")).values()
    stages = mapping["tables"]["opportunity"]["stages"]
    assert {stage: cell["from"] for stage, cell in stages.items()} == {
        "Contract Sent": 'Date entered "Contract Sent (Sales Pipeline)"',
        "Closed Won": "Closed Won Date",
    }


def test_a_stage_of_two_pipelines_is_not_offered() -> None:
    deals = content("hubspot_stage_dates").replace(b"Date exited", b"Date entered").replace(b"Sales", b"Other", 1)
    assert "stages:\n        Closed Won: " in propose("deals.csv", deals).text


def test_rows_that_the_file_says_are_deleted_are_left_out() -> None:
    assert 'when: {column: ISDELETED, values: ["0"]}' in text_of("salesforce_data_export")
    unsaid = content("salesforce_data_export").replace(b",0,001A,Big", b",,001A,Big")
    assert "# ISDELETED says which rows are no more" in propose("deals.csv", unsaid).text


def test_events_that_nobody_had_yet_are_written_as_the_others() -> None:
    sends = (
        b"email,campaign,sent_at,opened_at,clicked_at\n"
        b"a@b.example,May,2026-05-13 09:00:00,2026-05-14 09:00:00,\nc@b.example,May,2026-05-13 09:00:00,,\n"
    )
    assert 'click: {from: clicked_at, timestamp: "%Y-%m-%d %H:%M:%S", zone: "?"}' in propose("sends.csv", sends).text


def test_a_state_that_is_a_condition_is_not_taken_for_a_region() -> None:
    leads = b"Lead ID,Email,Lead Source,State\n1,a@b.example,Web,active\n2,c@b.example,Web,bounced\n"
    assert "region" not in propose("leads.csv", leads).text
    assert "region: State" in propose("leads.csv", leads.replace(b"active", b"Texas").replace(b"bounced", b"Ohio")).text


def test_a_month_of_ads_is_told_to_count_on_one_day() -> None:
    ads = b"Month,Campaign,Spend (USD),Clicks\n2026-01,Brand,10.50,5\n2026-02,Brand,11.50,6\n"
    assert "# sums of a month, and all of one counts on its first day" in propose("ads.csv", ads).text


@pytest.mark.parametrize(
    "header",
    [
        "Begin van rapportage,Einde van rapportage,Campagnenaam,Besteed bedrag (EUR),Klikken op link",
        "Início dos relatórios,Encerramento dos relatórios,Nome da campanha,Valor usado (BRL),Cliques no link",
        "date_start,date_stop,campaign_name,spend,clicks",
    ],
)
def test_sums_of_a_period_are_not_taken_for_those_of_its_first_day_in_any_language(header: str) -> None:
    ads = f"{header}\n2026-01-01,2026-01-31,Brand,10.50,5\n2026-01-01,2026-01-31,Other,11.50,6\n".encode()
    assert 'date_day: {value: "?"}  # the rows are sums of a period' in propose("ads.csv", ads).text


def test_days_in_several_formats_are_listed_where_each_cell_is_one_of_them_beyond_doubt() -> None:
    assert 'date: ["%Y-%m-%d", "%d-%m-%Y", "%Y/%m/%d"]' in text_of("days_in_three_ways")
    unclear = content("days_in_three_ways").replace(b"20-11", b"05-11").replace(b"21-11", b"06-11")
    assert 'date: "?"' in propose("ads.csv", unclear).text


def test_a_column_that_may_mean_something_else_is_asked_for() -> None:
    text = text_of("campaigns_of_a_study")
    assert 'spend: "?"  # is it Acquisition_Cost? It can mean something else' in text
    assert "Acquisition_Cost" not in text.partition("# not used")[2]


def test_a_day_that_no_header_names_is_asked_for_beside_the_columns_that_hold_days() -> None:
    leads = b"Lead ID,Email,Lead Status,Last seen\n1,a@b.example,New,2026-01-13\n2,c@b.example,New,2026-01-14\n"
    assert "the day that all of them came; or is it Last seen?" in propose("leads.csv", leads).text


def test_channels_of_contacts_are_not_taken_for_paid_ones() -> None:
    touches = content("touches").replace(b"Paid Search", b"LinkedIn")
    assert 'aliases: {LinkedIn: "?", Organic Search: organic_search}' in propose("touches.csv", touches).text


def test_what_a_table_needs_has_words_to_say_that_it_is_missing() -> None:
    assert {group[0] for kind in tables().values() for group in kind.needs} <= set(MISSING)


def sends_of(header: str, *rows: str) -> str:
    return propose("sends.csv", "\n".join([header, *rows, ""]).encode()).text


def test_opens_that_count_every_time_are_not_taken_for_unique_ones() -> None:
    text = sends_of("Campaign,Send Date,Sent,Total Opens,Total Clicks", "May,2026-05-01,100,60,12")
    assert "# Total Opens counts every time, not each recipient once: export unique opens" in text
    assert "opens:" not in text
    unsaid = "Campaign,Send Date,Sent,Opens,Unsubscribes"
    asked = 'opens: "?"  # is it Opens? Only if it counts each recipient once; else leave this line out'
    assert asked in sends_of(unsaid, "May,2026-05-01,100,60,1", "June,2026-06-01,100,70,1")
    more = sends_of(unsaid, "May,2026-05-01,100,60,1", "June,2026-06-01,100,160,1")
    assert "# Opens counts every time" in more
    assert "opens:" not in more


@pytest.mark.parametrize("share", ["Unique opens (%),41", "Unique opens,40.8", "Unique opens,0.408", "Open rate,41"])
def test_shares_are_not_taken_for_counts(share: str) -> None:
    header, _, cell = share.partition(",")
    text = sends_of(f"Campaign,Send Date,Sent,{header},Opened", f"May,2026-05-01,100,{cell},40")
    assert 'opens: "?"  # is it Opened?' in text
    assert header not in text.partition("# not used")[0]


def test_hard_bounces_alone_are_asked_for() -> None:
    text = sends_of("Campaign,Send Date,Sent,Unique opens,Hard bounces", "May,2026-05-01,100,40,1")
    assert 'bounces: "?"  # is it Hard bounces? Only if there are no others' in text


def test_marks_in_counts_group_digits_and_tell_the_decimal_sign() -> None:
    header = "Campaign;Send Date;Sent;Unique opens"
    assert 'decimal: ","  # 1.100 is a count' in sends_of(header, "May;2026-05-01;1.100;40")
    assert 'decimal: "."  # 1,100 is a count' in sends_of(header, "May;2026-05-01;1,100;40")
    assert 'decimal: "?"' in sends_of(header, "May;2026-05-01;1,100;1.040")


def test_rows_that_are_no_sends_of_one_day_are_left_out_by_what_the_file_says() -> None:
    text = text_of("hubspot_marketing_emails")
    assert "when: {column: Email Type, values: [Regular]}  # those of one send; not Automated" in text
    assert "when: {column: Campaign Channel, values: [Email]}" in text_of("klaviyo_campaigns_with_text_messages")
    unknown = propose("sends.csv", content("emails_of_sorts_that_are_not_known"))
    assert 'when: {column: Type, values: ["?"]}' in unknown.text
    assert "when: {column: Type, values: [Regular, Sundry]}" in answer(unknown, {"values": "Regular, Sundry"}).text
    assert "when: Send date  # without it the e-mail was not sent" in text_of("campaigns_with_drafts")


def test_recipients_with_flags_are_not_counts_of_a_send() -> None:
    flags = b"Person,Campaign,Send date,Sent,Opened,Clicked\nP1,May,2026-05-01,1,1,0\nP2,June,2026-05-01,1,0,0\n"
    assert propose("flags.csv", flags).table is None
