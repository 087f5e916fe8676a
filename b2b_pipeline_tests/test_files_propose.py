"""What `files check` proposes for exports that nobody has mapped; the exports are in `fixtures/exports.yaml`."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from b2b_pipeline.config import Config, load_config
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.core.contract import enforce
from b2b_pipeline.files.check import check
from b2b_pipeline.files.propose import propose
from b2b_pipeline.files.reading import read_records
from b2b_pipeline.files.recognise import MISSING
from b2b_pipeline.files.rows import rows
from b2b_pipeline.files.vocabulary import tables
from b2b_pipeline.warehouse.tables import metadata

HEAD = "timezone: UTC\ncurrency: EUR\nstart_date: 2026-01-01\nsystem_of_record: files\nfiles:\n"
EXPORTS: dict[str, dict[str, Any]] = yaml.safe_load(
    (Path(__file__).parent / "fixtures" / "exports.yaml").read_text(encoding="utf-8")
)
FEEDING = [name for name, export in EXPORTS.items() if export["table"]]
ANSWERS = {
    "date_day": "2026-01-31",
    "created_at": "2026-01-31",
    "currency": "EUR",
    "category": "tools",
    "channel": "other",
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
    given = EXPORTS[name].get("answers", {})
    text = text.replace('"$": "?"', f'"$": {given.get("$", "USD")}')
    text = text.replace('won: ["?"]', f"won: {given.get('won', '[Won]')}")
    text = re.sub(r'date: "\?"}  # ambiguous: fits (\S+) and .*', r'date: "\1"}', text)
    text = text.replace('zone: "?"', "zone: UTC").replace('decimal: "?"', 'decimal: "."')
    return "\n".join(
        line.replace('"?"', ANSWERS.get(line.strip().partition(":")[0], "other")) for line in text.splitlines()
    )


def configured(folder: Path, written: str) -> Config:
    path = folder / "pipeline.yaml"
    path.write_text(HEAD + "".join(f"  {line}\n" for line in written.splitlines()), encoding="utf-8")
    return load_config(path)


@pytest.mark.parametrize("name", FEEDING)
def test_a_proposal_whose_questions_are_answered_loads_the_file(name: str, tmp_path: Path) -> None:
    export, path = EXPORTS[name], tmp_path / f"{name}.csv"
    path.write_bytes(content(name))
    written = answered(name, propose(path.name, path.read_bytes()).text)
    config = configured(tmp_path, written)
    report = check(path, config)
    assert report.problem is None, f"{report.text()}\n{written}"
    found = next(table for table in report.tables if table.table == export["table"])
    assert found.quarantined <= export.get("footers", 0), f"{report.text()}\n{written}"
    assert found.loaded == export.get("loads", found.loaded)
    [mapping] = yaml.safe_load(written).values()
    columns = mapping["tables"][export["table"]]["columns"]
    for ours, theirs in export.get("has", {}).items():
        given = columns[ours]
        assert given == theirs or (isinstance(given, dict) and given.get("from") == theirs), (ours, given)
    if "total" in export:
        assert total(config, path, export["table"]) == Decimal(export["total"])


def total(config: Config, path: Path, table: str) -> Decimal:
    """The sum of the amounts that would be loaded."""
    [mapping] = config.files.values()
    records = pd.json_normalize(read_records(path.read_bytes(), mapping)).astype(object)
    context = MappingContext(config, "files", table, Account(path.name))
    loaded = enforce(metadata.tables[table], rows(records, mapping, table, context)).rows
    return sum(loaded["spend" if table == "spend" else "amount"].dropna(), Decimal(0))


def test_what_a_table_needs_has_words_to_say_that_it_is_missing() -> None:
    assert {group[0] for kind in tables().values() for group in kind.needs} <= set(MISSING)
