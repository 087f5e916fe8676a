"""`pipeline.yaml`'s file mappings, what `files check` says of a file, and the mappings that it proposes."""

from __future__ import annotations

import json
import os
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pandas as pd
import pytest
import yaml
from pydantic import ValidationError
from typer.testing import CliRunner, Result

from b2b_pipeline.cli import app
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.currencies import KNOWN
from b2b_pipeline.configuration.file_mapping import FileMapping
from b2b_pipeline.configuration.schema import schema
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import ConfigError, ContractError
from b2b_pipeline.files import docs
from b2b_pipeline.files.check import Reason, TableCheck, check
from b2b_pipeline.files.propose import propose
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.files.rows import rows
from b2b_pipeline.warehouse.contract import Kind, enforce
from b2b_pipeline.warehouse.tables import metadata
from b2b_sandbox.generate import make_world

EXAMPLES = Path(__file__).parents[2] / "examples"
STAGES = ["lead", "mql", "sal", "sql", "opportunity", "customer"]


def complaint(written: str) -> str:
    with pytest.raises(ValidationError) as error:
        FileMapping.model_validate({"match": "*", "tables": yaml.safe_load(written)})
    return str(error.value)


# -- mappings that cannot be right


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("{}", "name at least one of lead, stage_event, opportunity"),
        ("{leads: {}}", "leads"),
        ("{lead: {columns: {email: Mail}}}", "created_at"),
        ("{lead: {columns: {created_at: {from: Day}}}}", "declare how it is written"),
        ("{lead: {columns: {created_at: Day}}}", "declare how it is written"),
        (
            '{lead: {columns: {created_at: {from: Day, timestamp: "%Y-%m-%d %H:%M"}}}}',
            "a timestamp needs its time zone",
        ),
        ('{lead: {columns: {created_at: {from: Day, timestamp: "%H", zone: Berlin}}}}', "unknown time zone 'Berlin'"),
        (
            "{lead: {columns: {created_at: {from: Day, date: DD.MM.YYYY}}}}",
            "'DD.MM.YYYY' is no date format: write it like %d.%m.%Y",
        ),
        ('{lead: {columns: {created_at: {from: Day, value: "2026", date: "%Y"}}}}', "give either `from`"),
        (
            '{lead: {columns: {created_at: {from: Day, date: "%Y"}, country: {from: C, aliases: {no: Norway}}}}}',
            "put it in quotes",
        ),
        ("{opportunity: {columns: {stage: S, amount: A}, won: [Won]}}", "an amount needs its currency"),
        ("{opportunity: {columns: {stage: S}}}", "`won` lists the values of `stage`"),
        ("{opportunity: {columns: {owner: O}}}", "say what is won"),
        ("{email_event: {columns: {send_id: Campaign}}}", "counts per campaign are the table `email_summary`"),
        (
            "{email_event: {columns: {send_id: Campaign, email: To}}}",
            "give `event_type` and `event_at` (a row per event)",
        ),
        ("{cost_ledger: {columns: {category: C, amount: A, currency: {value: EUR}}}}", "a cost needs its day"),
        (
            "{cost_ledger: {columns: {first_day: F, category: C, amount: A, currency: {value: EUR}}}}",
            "a `first_day` and a `last_day`",
        ),
        (
            "{cost_ledger: {columns: {date_day: D, category: {value: toys}, amount: A, currency: B}}}",
            "'toys' is none of ads, agency",
        ),
        ('{touchpoint: {columns: {touched_at: {from: D, date: "%Y"}}}}', "touchpoint: say whose it is"),
    ],
)
def test_a_mapping_that_cannot_be_right_is_refused_with_the_fix(written: str, says: str) -> None:
    assert says in complaint(written)


def test_a_wrong_name_in_the_configuration_names_its_line(tmp_path: Path) -> None:
    path = tmp_path / "pipeline.yaml"
    text = (EXAMPLES / "exports" / "pipeline.yaml").read_text(encoding="utf-8")
    path.write_text(text.replace("owner: Owner", "ownr: Owner"), encoding="utf-8")
    line = text.splitlines().index("          owner: Owner") + 1
    with pytest.raises(ConfigError, match=rf"pipeline\.yaml:{line}: files\.leads\.tables\.lead\.columns\.ownr"):
        load_config(path)


def test_names_that_only_the_whole_configuration_can_judge_are_reported() -> None:
    mapping = FileMapping.model_validate(
        {
            "match": "*",
            "tables": yaml.safe_load(
                '{lead: {columns: {created_at: {from: D, date: "%Y"}}, stages: {hot: {from: H, date: "%Y"}}},'
                " opportunity: {columns: {stage: S, amount: A, currency: {value: EURO}}, won: [Won]}}"
            ),
        }
    )
    assert list(mapping.unknown_names(STAGES, KNOWN)) == [
        "tables.lead.stages: 'hot' is not in stages.order: lead, mql, sal, sql, opportunity, customer",
        "tables.opportunity.columns.currency: unknown currency 'EURO': use an ISO 4217 code such as EUR",
    ]


# -- the examples


def checked(config: Config, path: Path) -> dict[str, tuple[int, int]]:
    report = check(path, config)
    assert report.problem is None, report.text()
    return {table.table: (table.loaded, table.quarantined) for table in report.tables}


def test_the_example_exports_load_and_their_two_bad_rows_are_quarantined() -> None:
    folder = EXAMPLES / "exports"
    config = load_config(folder / "pipeline.yaml")
    assert {path.stem: checked(config, path) for path in sorted(folder.glob("*.csv"))} == {
        "ad_spend": {"spend": (18, 0)},
        "costs": {"cost_ledger": (278, 0)},
        "deals": {"opportunity": (9, 1)},
        "email_events": {"email_event": (21, 0), "touchpoint": (2, 0)},
        "leads": {"lead": (21, 1), "touchpoint": (21, 1), "stage_event": (23, 0), "identity_link": (20, 0)},
    }
    assert not [m for mapping in config.files.values() for m in mapping.unknown_names(config.stages.order, KNOWN)]


def test_the_report_names_line_column_and_reason_and_nobody() -> None:
    folder = EXAMPLES / "exports"
    report = check(folder / "leads.csv", load_config(folder / "pipeline.yaml"))
    why = "fits none of the declared timestamp formats %d.%m.%Y %H:%M, %Y-%m-%d %H:%M"
    kind = Kind("Created", why, 1, ["31.02.2026 10:00"], [21])
    assert report.tables[0] == TableCheck("lead", 21, 1, 0, [Reason(kind, [25])], 22, 1, False)
    assert not report.ok
    text = report.text()
    assert f"1 x Created: {why} (31.02.2026 10:00), line 25" in text
    assert "max.ritter" not in text
    assert "Ritter" not in text


def test_a_file_that_would_fail_as_a_whole_says_so_before_it_is_loaded(tmp_path: Path) -> None:
    config = load_config(EXAMPLES / "exports" / "pipeline.yaml")
    path = tmp_path / "costs.csv"
    text = (EXAMPLES / "exports" / "costs.csv").read_text(encoding="utf-8")
    path.write_text(text.replace("Agency fee", "Hotel"), encoding="utf-8")
    report = check(path, config)
    assert (
        "cannot be loaded: 4 of 13 rows of cost_ledger would be quarantined, more than 5% (most: 4 x Type: "
        in report.text()
    )
    path.write_text(text.replace("Supplier", "Suplier"), encoding="utf-8")
    assert "column 'Supplier' is missing (did you mean 'Suplier'?)" in check(path, config).text()
    path.write_bytes(b"")
    assert check(path, config).text() == "costs.csv: cannot be loaded: the file is empty"


def test_one_fault_of_many_texts_is_one_reason_and_the_most_frequent_is_the_headline(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        """start_date: 2026-01-01
system_of_record: files
files:
  ads:
    match: "ads*.csv"
    tables:
      spend:
        columns:
          date_day: {from: Day, date: ["%d/%m/%Y", "%m/%d/%Y"]}
          account_id: {value: google}
          campaign_id: Campaign
          spend: Cost
          currency: {value: EUR}
""",
        encoding="utf-8",
    )
    days = [f"0{month}/0{day}/2025" for month in (1, 2, 3, 4) for day in (1, 2, 3, 4) if month != day]
    rows = [*(f"{day},a{number},1" for number, day in enumerate(days)), "01/01/2025,,1", "02/02/2025,,1"]
    path = tmp_path / "ads.csv"
    path.write_text("\n".join(["Day,Campaign,Cost", *rows, ""]), encoding="utf-8")
    text = check(path, load_config(tmp_path / "pipeline.yaml")).text()
    headline = "12 x Day: fits several of the declared date formats (01/02/2025, 01/03/2025, "
    assert f"(most: {headline}" in text
    assert f"    {headline}" in text
    assert "    2 x Campaign: the cell is empty, line 14, 15" in text
    assert text.count(" x Day: ") == 2


def test_every_file_of_the_sandbox_loads_whole(tmp_path: Path) -> None:
    config = load_config(EXAMPLES / "demo" / "pipeline.yaml")
    world = make_world(tmp_path / "world.db", until=date(2026, 3, 31), days=90, leads=200)
    with world.connect() as connection:
        drops = connection.execute("select name, content from file_drop order by visible_at").fetchall()
    names = set()
    for number, (name, content) in enumerate(drops):
        path = tmp_path / str(number) / name
        path.parent.mkdir()
        path.write_bytes(content)
        report = check(path, config)
        assert report.ok, report.text()
        names.add(report.mapping)
    assert names == {"costs", "event_leads"}


def test_a_touch_without_channel_is_told_with_the_way_to_leave_it_out(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        """start_date: 2026-01-01
system_of_record: files
files:
  leads:
    match: "leads*.csv"
    tables:
      touchpoint:
        columns:
          lead_id: ID
          touched_at: {from: Created, date: "%Y-%m-%d"}
          channel: {from: Source, aliases: {Google: paid_search}}
""",
        encoding="utf-8",
    )
    path = tmp_path / "leads.csv"
    path.write_text("ID,Created,Source\n1,2026-01-01,Google\n2,2026-01-01,unknown\n3,2026-01-01,\n", encoding="utf-8")
    text = check(path, load_config(tmp_path / "pipeline.yaml")).text()
    assert "    1 row gives no channel: it will count " in text
    assert "use `when: Source`" in text


def test_an_ad_row_without_cost_is_told_before_it_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(
        """
start_date: 2026-01-01
system_of_record: files
files:
  ads:
    match: "ads*.csv"
    tables:
      spend:
        columns:
          date_day: Day
          account_id: {value: google}
          campaign_id: Campaign
          clicks: Clicks
          spend: Cost
          currency: {value: EUR}
""",
        encoding="utf-8",
    )
    path = tmp_path / "ads.csv"
    path.write_text(
        "Day,Campaign,Clicks,Cost\n2026-01-01,a,1,2\n2026-01-02,a,3,\n2026-01-03,a,,4\n2026-01-04,a,,4\n",
        encoding="utf-8",
    )
    text = check(path, load_config(tmp_path / "pipeline.yaml")).text()
    assert "spend: 4 would load, 0 quarantined" in text
    assert "    1 row has no cost: what else it gives counts, cost of the day is incomplete" in text
    assert "    2 rows have no clicks: what else they give counts, clicks of the day are incomplete" in text
    assert "impressions" not in text


# -- adding a proposal


CONFIGURED = """# mine
timezone: UTC  # where we are
start_date: 2026-01-01
system_of_record: files
files:
  # the finance department
  costs:
    match: "costs*.csv"
    tables:
      cost_ledger:
        columns:
          date_day: {from: Day, date: "%Y-%m-%d"}
          category: {value: tools}
          amount: Cost
          currency: {value: EUR}
# the end
alerts: {}
"""


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["files", "check", str(folder / "leads.csv"), *arguments])


@pytest.fixture
def unmapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("B2B_CONFIG", str(tmp_path / "pipeline.yaml"))
    (tmp_path / "pipeline.yaml").write_text(CONFIGURED, encoding="utf-8")
    (tmp_path / "leads.csv").write_text(
        "Lead ID,Email,Lead Source,Create Date\n1,a@x.example,Web,2026-01-05 10:00\n", encoding="utf-8"
    )
    return tmp_path


def test_a_proposal_is_added_to_the_configuration_and_nothing_else_changes(unmapped: Path) -> None:
    done = run(unmapped, "--add", "--set", "zone=Europe/Berlin")
    assert done.exit_code == 0, done.stderr
    assert "lead: 1 would load, 0 quarantined" in done.stdout
    written = (unmapped / "pipeline.yaml").read_text(encoding="utf-8")
    before, after = CONFIGURED.split("# the end")
    assert written.startswith(before)
    assert written.endswith("# the end" + after)
    assert list(load_config(unmapped / "pipeline.yaml").files) == ["costs", "leads"]


def test_a_proposal_with_a_question_left_is_not_added_and_the_question_is_told(unmapped: Path) -> None:
    done = run(unmapped, "--add")
    assert done.exit_code == 2
    assert 'created_at: {from: Create Date, timestamp: "%Y-%m-%d %H:%M", zone: "?"}' in done.stderr
    assert "--set zone=Europe/Berlin" in done.stderr
    assert (unmapped / "pipeline.yaml").read_text(encoding="utf-8") == CONFIGURED
    wrong = run(unmapped, "--add", "--set", "zone=Berlin")
    assert wrong.exit_code == 2
    assert "unknown time zone 'Berlin'" in wrong.stderr
    assert (unmapped / "pipeline.yaml").read_text(encoding="utf-8") == CONFIGURED


def test_a_currency_sign_and_a_word_of_the_file_are_answered_by_themselves(unmapped: Path) -> None:
    deals = "Deal ID,Deal Stage,Amount,Close Date\n1,Closed won,$5.50,2026-01-13\n2,Closed lost,$6.50,2026-01-14\n"
    (unmapped / "leads.csv").write_text(deals, encoding="utf-8")
    done = run(unmapped, "--add", "--set", "$=USD")
    assert done.exit_code == 0, done.stderr
    assert "opportunity: 2 would load" in done.stdout
    spend = "Day,Campaign,Channel,Account,Spend (EUR),Clicks\n2026-01-13,Brand,On a bus,Own,5.50,1\n"
    (unmapped / "pipeline.yaml").write_text(CONFIGURED, encoding="utf-8")
    (unmapped / "leads.csv").write_text(spend, encoding="utf-8")
    assert "spend: 1 would load" in run(unmapped, "--add", "--set", "On a bus=other").stdout


@pytest.mark.parametrize("files", ["", "files:\n", "files:  # exports\n"])
def test_a_proposal_is_added_where_there_are_no_files_yet(unmapped: Path, files: str) -> None:
    path = unmapped / "pipeline.yaml"
    path.write_text(f"start_date: 2026-01-01\nsystem_of_record: files\n{files}", encoding="utf-8")
    done = run(unmapped, "--add", "--set", "zone=UTC")
    assert done.exit_code == 0, done.stderr
    assert list(load_config(path).files) == ["leads"]


# -- what is written from the models


def test_the_page_of_files_and_the_schema_of_the_configuration_are_up_to_date() -> None:
    pages = Path(__file__).parents[2] / "docs"
    assert (pages / "files.md").read_text(encoding="utf-8") == docs.page(), "run: make docs"
    written = json.loads((pages / "pipeline.schema.json").read_text(encoding="utf-8"))
    assert written == schema(), "run: make docs"


def test_an_editor_takes_the_examples_for_valid_and_a_mistyped_key_not() -> None:
    validator = jsonschema.Draft202012Validator(schema())
    for path in EXAMPLES.rglob("pipeline.yaml"):
        given = json.loads(json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")), default=str))
        assert not [error.message for error in validator.iter_errors(given)], path
        assert list(validator.iter_errors({**given, "currencyy": "EUR"}))


@pytest.mark.parametrize(
    "given",
    [
        {"dimensions": {"lead": "industry"}}, {"dimensions": {"opportunity": 5}}, {"dimensions": {"lead": [5]}},
        {"exclude": {"email_domains": "us.example"}}, {"channels": {"paid": "video"}}, {"currency": 5},
    ],
)  # fmt: skip
def test_what_the_configuration_refuses_of_lists_and_text_an_editor_refuses_too(given: dict[str, Any]) -> None:
    whole = {"start_date": "2026-01-01", "system_of_record": "files", **given}
    with pytest.raises(ValidationError):
        Config.model_validate(whole)
    assert list(jsonschema.Draft202012Validator(schema()).iter_errors(whole))


# -- proposals


def proposed(name: str, content: bytes) -> dict[str, Any]:
    [mapping] = yaml.safe_load(propose(name, content).text).values()
    return dict(mapping)


@pytest.mark.parametrize(
    ("stem", "table"),
    [
        ("ad_spend", "spend"),
        ("costs", "cost_ledger"),
        ("deals", "opportunity"),
        ("email_events", "email_event"),
        ("leads", "lead"),
    ],
)
def test_an_unknown_export_gets_a_proposal_for_its_table(stem: str, table: str) -> None:
    mapping = proposed(f"{stem}.csv", (EXAMPLES / "exports" / f"{stem}.csv").read_bytes())
    assert list(mapping["tables"]) == [table]


def test_a_proposal_that_needs_no_answer_works_as_it_is(tmp_path: Path) -> None:
    content = (EXAMPLES / "exports" / "email_events.csv").read_bytes().replace(b",Sent,", b",sent,")
    mapping = FileMapping.model_validate(proposed("email_events.csv", content))
    assert mapping.headers() == ["Campaign", "Recipient", "Event", "Time"]
    assert len(read_records(content, mapping)) == 21


def test_a_proposal_sees_encoding_delimiter_header_totals_people_and_stages() -> None:
    deals = proposed("deals 2026-03.csv", (EXAMPLES / "exports" / "deals.csv").read_bytes())
    assert deals["match"] == "deals *.csv"
    assert deals["read"] == {
        "encoding": "cp1252",
        "delimiter": ";",
        "skip_totals": {"column": "Deal", "value": "Summe*"},
    }
    table = deals["tables"]["opportunity"]
    assert (table["won"], table["lost"], table["open"]) == (["Gewonnen"], ["Verloren"], ["Verhandlung", "Angebot"])
    assert table["columns"]["currency"] == {"symbols": {"$": "?", "€": "EUR"}}
    leads = proposed("leads.csv", (EXAMPLES / "exports" / "leads.csv").read_bytes())
    assert (leads["read"], leads["personal"]) == ({"header_row": 3}, ["Name", "Phone"])
    assert leads["tables"]["lead"]["stages"]["mql"] == {"from": "MQL date", "date": "%d.%m.%Y"}


def test_what_can_be_read_two_ways_is_left_open_and_the_configuration_refuses_it() -> None:
    content = b'Date,Campaign,Platform,Cost\n05/06/2026,Brand,X,"1,234"\n06/07/2026,Brand,X,"2,345"\n'
    text = propose("spend.csv", content).text
    assert 'date: "?"}  # ambiguous: fits %d/%m/%Y and %m/%d/%Y' in text
    assert 'decimal: "?"' in text
    assert 'currency: {value: "?"}  # no currency in the file' in text
    with pytest.raises(ValidationError, match="is no date format"):
        FileMapping.model_validate(proposed("spend.csv", content))


def test_counts_by_day_are_refused_with_the_way_out() -> None:
    text = propose("days.csv", b"Day,Sent,Opens,Clicks\n2026-05-01,100,30,5\n").text
    assert "they are by Day, and no column names the send" in text
    assert "Export a row per e-mail" in text


def test_a_hostile_header_cannot_write_into_the_proposal() -> None:
    content = b'"x: {y}\n- z","Created","E-mail","# a"\n1,2026-01-05,a@b.example,2\n'
    assert list(proposed("leads.csv", content)) == ["match", "tables"]


@pytest.mark.parametrize("odd", ["a\nb: {c}", "a\x85b", "a\0b", "a\x94b", "a\u2028- b", '"#'])
def test_a_hostile_header_cannot_write_into_a_comment_either(odd: str) -> None:
    quoted = odd.replace('"', '""')
    tickets = f'"Ticket ID","Case Owner","{quoted}",Priority\n1,Ann,x,High\n'.encode()
    assert yaml.safe_load(propose("tickets.csv", tickets).text) is None
    leads = f'Lead ID,Email,Created,"{quoted}"\n1,a@b.example,05/06/2026,13/06/2026\n'.encode()
    assert list(proposed("leads.csv", leads)["tables"]) == ["lead"]


def test_what_is_no_table_is_an_error() -> None:
    with pytest.raises(ContractError, match="no table found"):
        propose("letter.txt", b"Dear all,\nhello\nbye\n")


# -- the real exports


def test_the_answers_of_the_real_exports_come_out() -> None:
    folder = os.environ.get("B2B_TRIAL_DATA")
    if not folder or not (Path(folder) / "maven_crm").is_dir():
        pytest.skip("B2B_TRIAL_DATA names no folder with maven_crm/: the real exports were not tried")
    config = load_config(EXAMPLES / "maven_crm" / "pipeline.yaml")
    mapping = config.files["sales_pipeline"]
    records = flattened(read_records((Path(folder) / "maven_crm" / "sales_pipeline.csv").read_bytes(), mapping))
    context = MappingContext(config, "files", "opportunity", Account("sales_pipeline.csv"))
    enforced = enforce(metadata.tables["opportunity"], rows(records, mapping, "opportunity", context))
    deals = enforced.rows
    assert (len(deals), len(enforced.rejects), enforced.duplicates) == (8800, 0, 0)
    won = deals[deals["is_won"]]
    assert (len(won), int((deals["is_closed"] & ~deals["is_won"]).sum())) == (4238, 2473)
    assert sum(won["amount"]) == Decimal(10_005_534)
    assert int(deals["date_day"].isna().sum()) == 500
    cycle = (pd.to_datetime(won["close_date"]) - pd.to_datetime(won["date_day"])).dt.days
    assert round(cycle.mean(), 3) == 51.782
    assert deals["product"].value_counts()["GTX Pro"] == 1480
    assert "GTXPro" not in set(deals["product"])
    assert deals["owner"].nunique() == 30
