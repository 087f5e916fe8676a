"""What a vendor purged is found by a sweep of ids, and by nothing else: each number before, after, and the truth."""

from __future__ import annotations

import atexit
import shutil
from collections.abc import Collection, Iterator
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import time_machine

from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.connectors.salesforce.source import SWEPT
from b2b_pipeline.core.load import load_tables
from b2b_pipeline.derived.derive import derive_table
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.end_to_end import clock, environment, installation
from b2b_pipeline_tests.support.installation import Installation, served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.drops import drop_files
from b2b_sandbox.generate import make_world
from b2b_sandbox.purge import purge
from b2b_sandbox.truth import truth
from b2b_sandbox.world import World

START, UNTIL = date(2026, 4, 24), date(2026, 6, 22)
WEEK = timedelta(days=7)
Numbers = dict[str | None, Any]  # channel, or None for the total -> value


# What the numbers asked for hang on; the rest would only take time.
TABLES = (
    tables.fx_rate, tables.lead, tables.account, tables.opportunity, tables.opp_contact_role, tables.touchpoint,
    tables.identity_link, tables.record_present,
)  # fmt: skip
READ = {
    "ecb": ["exchange_rate"],
    "hubspot": ["contact", "deal", "present"],
    "salesforce": [*SWEPT, "present"],
}


def read(found: Installation, start: date, streams: Collection[str], run_id: str) -> None:
    """A night that reads of READ the `streams`, and what is derived from it."""
    pipeline = found.pipeline()
    with served(found.world):
        for source, names in READ.items():
            for name in names:
                if name in streams:
                    assert not pipeline.ingest(source, name, start, UNTIL + timedelta(days=1), run_id).failed
    derive(pipeline, run_id)


def derive(pipeline: Pipeline, run_id: str) -> None:
    reports = load_tables(pipeline.warehouse, pipeline.landing, pipeline.config, TABLES, run_id)
    assert not any(report.broken for report in reports.values())
    for table in (tables.identity_cluster, tables.person, tables.deal):
        derive_table(pipeline.warehouse, pipeline.config, table)
    for name in ("lead_generation", "pipeline"):
        publish_family(pipeline.warehouse, pipeline.config, FAMILIES[name], run_id)


@cache
def template() -> Installation:
    """An installation that has read a small company's CRMs, and derived it; to be copied."""
    folder = Path(mkdtemp(prefix="b2b-purged-"))
    atexit.register(shutil.rmtree, folder)
    days = (UNTIL - START).days + 1
    world = make_world(folder / "world.sqlite", until=UNTIL, days=days, leads=150, seed=1)
    found = installation(folder, world, start_date=START.isoformat())
    with environment(found), time_machine.travel(clock(found.world)):
        pipeline = found.pipeline()
        migrated(pipeline.warehouse)
        for path in drop_files(found.world, pipeline.inbox):
            mapping = pipeline.config.files[mapping_for(path.name, pipeline.config.files) or ""]
            land_file(path, mapping, file_stream(mapping), pipeline.landing, pipeline.config, "first")
        read(found, START, {name for names in READ.values() for name in names}, "first")
    return found


@pytest.fixture
def company(tmp_path: Path) -> Iterator[Installation]:
    """A copy of it a week later: the sweeps' turn has come."""
    shutil.copytree(template().folder, tmp_path, dirs_exist_ok=True)
    found = Installation(tmp_path, World(tmp_path / "world.sqlite"))
    with environment(found), time_machine.travel(clock(found.world) + WEEK):
        yield found


def told(found: Installation, metric: str, *by: str) -> Numbers:
    """What the pipeline says, without channels in which there is nothing."""
    pipeline = found.pipeline()
    answers = [answer.as_json() for answer in ask(pipeline.warehouse, pipeline.config, [metric], START, UNTIL, by)]
    return {row.get("channel"): row["value"] for row in answers if row["value"]}


def true(world: World, metric: str, *by: str) -> Numbers:
    rows = truth(world, metrics=[metric], start=START, end=UNTIL, by=by, timezone="Europe/Berlin")
    return {row.get("channel"): row["value"] for row in rows if row["value"]}


def listed(world: World, name: str) -> list[str]:
    """The ids of what a vendor shows as neither deleted nor purged."""
    rows = """
        select id from record_version v where object = ? and not is_deleted and not is_gone
          and version = (select max(version) from record_version n
                         where (n.vendor, n.object, n.id) = (v.vendor, v.object, v.id) and n.visible_at <= ?)
        order by id"""
    with world.connect() as connection:
        return [row["id"] for row in connection.execute(rows, (name, world.now()))]


def one_that_matters(found: Installation, name: str, metric: str, *by: str) -> str:
    """The first record in Salesforce without which the truth is another one, tried on a copy of the world."""
    before, trial = true(found.world, metric, *by), found.folder / "trial.sqlite"
    for identifier in listed(found.world, name):
        shutil.copy(found.world.path, trial)
        purge(World(trial), "salesforce", name, identifier)
        if true(World(trial), metric, *by) != before:
            return identifier
    raise AssertionError(f"{metric} depends on no {name}")


MODIFIED = {name for names in READ.values() for name in names} - {"present"}


# Object of Salesforce -> a number that hangs on one of its records. With it Salesforce deletes others.
NUMBERS = {
    "CampaignMember": ("leads", "channel"),
    "OpportunityContactRole": ("opportunities", "channel"),
    "Contact": ("opportunities", "channel"),
    "Opportunity": ("opportunities",),
    "Account": ("new_customers",),
    "Lead": ("leads",),
}


def test_what_salesforce_purged_counts_until_the_next_sweep_and_no_longer(company: Installation) -> None:
    def numbers() -> list[Numbers]:
        return [told(company, *asked) for asked in NUMBERS.values()]

    before = numbers()
    assert before == [true(company.world, *asked) for asked in NUMBERS.values()]
    for name, asked in NUMBERS.items():
        purge(company.world, "salesforce", name, one_that_matters(company, name, *asked))
    read(company, UNTIL, MODIFIED, "what was modified")
    assert numbers() == before
    read(company, UNTIL, ["present"], "the sweeps")
    after = numbers()
    assert after == [true(company.world, *asked) for asked in NUMBERS.values()]
    assert all(one != other for one, other in zip(before, after, strict=True))


@pytest.fixture
def of_hubspot(company: Installation) -> Installation:
    """The same with HubSpot's deals for the system of record."""
    path = company.folder / "pipeline.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("system_of_record: salesforce", "system_of_record: hubspot"), encoding="utf-8")
    derive(company.pipeline(), "another system of record")
    return company


def won_deals(world: World) -> list[dict[str, str]]:
    """Won deals of new business, with company and contact."""
    rows = """
        select v.id as deals, to_id as contacts, json_extract(payload, '$.hs_primary_associated_company') as companies
        from record_version v join association on from_id = v.id
        where object = 'deals' and not is_deleted and json_extract(payload, '$.hs_is_closed_won') = 'true'
          and json_extract(payload, '$.dealtype') = 'newbusiness'
          and version = (select max(version) from record_version n
                         where (n.vendor, n.object, n.id) = (v.vendor, v.object, v.id) and n.visible_at <= ?)"""
    with world.connect() as connection:
        return [dict(row) for row in connection.execute(rows, (world.now(),))]


def test_what_hubspot_deleted_for_good_counts_until_the_next_sweep_and_no_longer(of_hubspot: Installation) -> None:
    def numbers() -> dict[str, Any]:
        by_channel = told(of_hubspot, "opportunities", "channel")
        found = {name: told(of_hubspot, name).get(None, 0) for name in ("opportunities", "new_customers")}
        return found | {"of nobody we know": by_channel.get(None, 0)}

    before, (one, two, three, *_) = numbers(), won_deals(of_hubspot.world)
    purge(of_hubspot.world, "hubspot", "companies", one["companies"])
    purge(of_hubspot.world, "hubspot", "contacts", two["contacts"])
    purge(of_hubspot.world, "hubspot", "deals", three["deals"])
    read(of_hubspot, UNTIL, MODIFIED, "what was modified")
    assert numbers() == before
    read(of_hubspot, UNTIL, ["present"], "the sweeps")
    changes = {name: number - before[name] for name, number in numbers().items()}
    assert changes == {"opportunities": -1, "new_customers": -2, "of nobody we know": 1}
