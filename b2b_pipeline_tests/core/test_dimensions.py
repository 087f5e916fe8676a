"""Leads and deals are split by fields of the user's own, which `dimensions` in pipeline.yaml names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from sqlalchemy import select

from b2b_pipeline.cli.kpi import catalogue
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.connectors.columns import described
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.metrics.query import QuestionError, ask
from b2b_pipeline.warehouse.tables import deal
from b2b_pipeline_tests.derived.test_unknown import LEADS, WON_ALONE, world
from b2b_pipeline_tests.support.dropped import SETTINGS, Dropped

OWN = "dimensions: {lead: [industry, gone], opportunity: [segment]}\nfiles:"
INDUSTRY = "        dimensions: {industry: {from: Branch, aliases: {IT: Software}}}\n      touchpoint:"
SEGMENT = "        dimensions: {segment: Size}\n"
FILES = {
    "leads": 'ID,Created,Source,Branch\n1,2026-01-01,Google,IT\n2,2026-01-01,Web,"Bau ""& Co"", ä\'\\"\n'
    "3,2026-01-02,Web,\n",
    "deals": "Deal,Lead,Won,Amount,Size\nd1,1,2026-01-02,100,big\nd2,2,2026-01-02,50,small\nd3,3,2026-01-03,7,big\n",
}
ENGINES = ("duckdb", "postgresql")


@pytest.fixture(scope="module", params=ENGINES)
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dropped]:
    """Files of leads with a column for the industry, of deals with one for the segment."""
    settings = OWN + LEADS.replace("      touchpoint:", INDUSTRY) + WON_ALONE + SEGMENT
    with pytest.MonkeyPatch.context() as patch:
        found = Dropped.of(tmp_path_factory.mktemp("dimensions"), patch, settings)
        if request.param == "postgresql":
            patch.setenv("B2B_WAREHOUSE_URL", request.getfixturevalue("migrated_database")())
        for name, content in FILES.items():
            assert not found.drop(f"{name}.csv", content)
        found.load()
        yield found


def told(found: Dropped, metric: str, by: str) -> dict[Any, Any]:
    return {row[by]: row["value"] for row in found.ask(metric, by=[by])}


def test_leads_and_deals_are_split_by_the_columns_that_a_file_maps(split: Dropped) -> None:
    assert told(split, "leads", "industry") == {"Software": 1, 'Bau "& Co", ä\'\\': 1, None: 1}
    assert told(split, "bookings", "segment") == {"big": "107.00", "small": "50.00"}
    assert told(split, "average_deal_size", "segment") == {"big": "53.50", "small": "50.00"}
    assert told(split, "revenue_last_touch", "segment") == {"big": "107.00", "small": "50.00"}
    assert told(split, "lead_to_customer_rate", "industry") == dict.fromkeys(told(split, "leads", "industry"), 1.0)


def test_a_dimension_is_of_leads_or_of_deals(split: Dropped) -> None:
    with pytest.raises(QuestionError, match="cost_per_lead cannot be split by 'industry'"):
        split.ask("cost_per_lead", by=["industry"])
    with pytest.raises(QuestionError, match=r"leads cannot be split by 'segment'; it can by .*industry"):
        split.ask("leads", by=["segment"])
    by = {row["metric"]: row["by"].split(",") for row in catalogue(split.pipeline().config.dimensions)}
    assert "industry" in by["leads"]
    assert "segment" in by["bookings"]
    assert "industry" not in by["cost_per_lead"]


def test_a_dimension_that_nobody_has_says_where_to_look(split: Dropped) -> None:
    pipeline = split.pipeline()
    (row,) = ask(pipeline.warehouse, pipeline.config, ["leads"], by=["gone"])
    assert (row.keys, row.value) == ({"gone": None}, 3)
    assert "no row has gone" in row.notes[0]


def test_a_dimension_that_is_taken_away_is_no_longer_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = "files:" + LEADS + WON_ALONE
    found = world(tmp_path, monkeypatch, "dimensions: {opportunity: [segment]}\n" + files + SEGMENT, **FILES)
    assert told(found, "won", "segment") == {"big": 2, "small": 1}
    found.drop("deals.csv", FILES["deals"].replace("100,big", "100,small"))
    found.load()
    assert told(found, "won", "segment") == {"big": 1, "small": 2}
    Dropped.of(tmp_path, monkeypatch, files)
    found.load()
    assert {row["dimensions"] for row in found.pipeline().warehouse.rows(select(deal.c.dimensions))} == {None}


@pytest.mark.parametrize(
    ("dimensions", "why"),
    [
        ("{lead: [channel]}", "dimensions.lead.0: 'channel' is there already"),
        ("{lead: [month]}", "'month' is there already"),
        ("{opportunity: [value]}", "'value' is there already"),
        ("{lead: [industry, industry]}", "dimensions.lead.1: 'industry' is there already"),
        ("{lead: [Job Title]}", "'Job Title' is no name"),
        ("{}", "files.deals.tables.opportunity.dimensions.segment: it is not under dimensions.opportunity"),
    ],
)
def test_a_name_that_cannot_be_a_dimension_is_refused(tmp_path: Path, dimensions: str, why: str) -> None:
    path = tmp_path / "pipeline.yaml"
    path.write_text(f"{SETTINGS}dimensions: {dimensions}\nfiles:{WON_ALONE}{SEGMENT}", encoding="utf-8")
    with pytest.raises(ConfigError, match=why):
        load_config(path)


CRM = """
start_date: 2026-01-01
system_of_record: salesforce
dimensions: {lead: [industry, size], opportunity: [industry]}
sources:
  hubspot: {fields: {size: numemployees}}
  salesforce: {fields: {industry: Branch__c}}
"""
OPEN = {"hs_is_closed": "false", "hs_is_closed_won": "false"}
OPPORTUNITY = {"Id": "1", "IsClosed": False, "IsWon": False}


@pytest.mark.parametrize(
    ("source", "stream", "record", "said"),
    [
        (
            "hubspot",
            "contact",
            {"id": "1", "properties": {"industry": "IT", "numemployees": "5-25", "email": None}},
            '{"industry": "IT", "size": "5-25"}',
        ),
        ("hubspot", "deal", {"id": "1", "properties": OPEN | {"industry": "a\x00b"}}, '{"industry": "a\ufffdb"}'),
        ("hubspot", "deal", {"id": "1", "properties": OPEN | {"industry": "  "}}, None),
        ("salesforce", "lead", {"Id": "1", "BRANCH__c": "IT", "Size": 12.5}, '{"industry": "IT", "size": "12.5"}'),
        ("salesforce", "opportunity", OPPORTUNITY | {"Branch__c": True}, '{"industry": "true"}'),
        ("salesforce", "opportunity", OPPORTUNITY, None),
    ],
)
def test_a_vendors_field_of_that_name_or_the_one_named_fills_a_dimension(
    tmp_path: Path, source: str, stream: str, record: dict[str, Any], said: str | None
) -> None:
    (tmp_path / "pipeline.yaml").write_text(CRM, encoding="utf-8")
    context = MappingContext(load_config(tmp_path / "pipeline.yaml"), source, stream, Account("1"))
    table = "opportunity" if stream in ("deal", "opportunity") else "lead"
    frame = SOURCES[source].stream(stream).feeds[table](flattened([record]), context)
    assert frame["dimensions"].tolist() == [said]


def test_what_no_dimension_asks_for_is_not_kept() -> None:
    assert described({}, pd.RangeIndex(2)).tolist() == [None, None]
