"""A damaged landing of a real installation: refused by name, its days incomplete, other tables load; read again."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import time_machine
from sqlalchemy import func, select

from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.files.landing import land_file, settled
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support.installation import START, UNTIL, Installation, copy, served


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return copy(tmp_path / "it", monkeypatch)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def of(found: Installation, source: str, stream: str, suffix: str) -> Path:
    """The largest file of a stream."""
    return max(
        (found.home / "landing/raw" / source / stream).glob(f"*/*{suffix}"), key=lambda path: path.stat().st_size
    )


def months(found: Installation, metric: str) -> list[tuple[Any, ...]]:
    """Value, and whether it is complete."""
    done = found.b2b("kpi", metric, "--from", str(START), "--to", str(UNTIL), "--by", "month", "--format", "json")
    assert done.exit_code == 0, done.stderr
    return [(row["value"], row["complete"]) for row in json.loads(done.stdout)]


def verified(found: Installation) -> tuple[int, str]:
    done = found.b2b("landing", "verify")
    return done.exit_code, done.stderr


@pytest.mark.parametrize(("suffix", "change"), [(".zst", cut), (".json", Path.unlink)])
def test_a_damaged_slice_is_refused_by_name_and_reading_it_again_heals(
    suffix: str, change: Callable[[Path], Any], found: Installation
) -> None:
    before = months(found, "leads"), months(found, "spend")
    assert verified(found) == (0, "")
    path = of(found, "hubspot", "contact", suffix)
    name = path.name.partition(".")[0]
    change(path)
    code, told = verified(found)
    assert (code, name in told) == (1, True)
    done = found.b2b("replay")
    assert done.exit_code == 1
    assert f"slice {name} of hubspot/contact" in done.stderr
    assert "read it again: b2b backfill --again --source hubspot --from" in done.stderr
    assert not any(complete for _, complete in months(found, "leads"))
    assert months(found, "spend") == before[1]
    assert name in found.b2b("doctor").stdout

    with served(found.world):
        for stream in SOURCES["hubspot"].streams:
            assert not found.pipeline().ingest("hubspot", stream.name, *_days(), "again").failed
    assert found.b2b("replay").exit_code == 0
    assert (months(found, "leads"), months(found, "spend")) == before
    assert verified(found)[0] == 0


def _days() -> tuple[Any, Any]:
    return START, UNTIL.fromordinal(UNTIL.toordinal() + 1)


def test_a_damaged_report_leaves_its_days_incomplete_and_reconciliation_says_so(found: Installation) -> None:
    cut(of(found, "google_ads", "campaign_daily", ".zst"))
    assert found.b2b("replay").exit_code == 1
    assert not any(complete for _, complete in months(found, "spend"))


def test_a_damaged_file_drop_is_named_and_dropping_it_again_heals(found: Installation) -> None:
    path = of(found, "files", "cost_ledger", ".zst")
    cut(path)
    name = next(item.account["id"] for item, _ in found.pipeline().landing.verify())
    assert f"drop {name} into the inbox again" in verified(found)[1]
    assert found.b2b("replay").exit_code == 1
    pipeline = found.pipeline()
    mapping = pipeline.config.files[mapping_for(name, pipeline.config.files) or ""]
    assert not settled(pipeline.inbox / name, mapping, "cost_ledger", pipeline.landing)
    land_file(pipeline.inbox / name, mapping, file_stream(mapping), pipeline.landing, pipeline.config, "again")
    assert found.b2b("replay").exit_code == 0
    assert verified(found)[0] == 0


def test_a_slice_loaded_while_the_clock_was_ahead_is_taken_out_when_the_clock_is_right_again(
    found: Installation,
) -> None:
    before = months(found, "spend")
    with time_machine.travel("2028-01-01T00:00:00Z"), served(found.world):
        report = found.pipeline().ingest("google_ads", "campaign_daily", *_days(), "ahead")
    assert not report.failed
    done = found.b2b("replay")
    assert (done.exit_code, "the clock was ahead" in done.stderr) == (1, True)
    assert months(found, "spend") == [(value, False) for value, _ in before]
    with served(found.world):
        found.pipeline().ingest("google_ads", "campaign_daily", *_days(), "again")
    assert found.b2b("replay").exit_code == 0
    assert months(found, "spend") == before


def test_a_record_nested_without_end_is_refused_by_name_and_other_tables_load(found: Installation) -> None:
    landing = Landing(found.home / "landing", Pseudonyms.of_home(found.home, landing=found.home / "landing"))
    item = next(each for each in landing.slices("hubspot", "deal") if each.stored)
    deep = "[" * 200_000 + "]" * 200_000
    assert landing.rewrite(item, lambda _: f'{{"id": "1", "deep": {deep}}}\n')
    done = found.b2b("replay")
    assert done.exit_code == 1
    assert f"slice {item.slice_id} of hubspot/deal" in done.stderr
    assert "Traceback" not in done.output
    leads = found.pipeline().warehouse.rows(select(func.count().label("n")).select_from(tables.lead))
    assert leads[0]["n"] > 0


def test_forgetting_says_what_it_could_not_search(found: Installation) -> None:
    path = of(found, "hubspot", "contact", ".zst")
    cut(path)
    done = found.b2b("forget", "somebody@somewhere.example", "--yes")
    assert f"not searched, because it is damaged: {path.parent}/{path.name.partition('.')[0]}" in done.stdout


def test_the_landing_of_an_installation_is_whole(found: Installation) -> None:
    landing = Landing(found.home / "landing", None)
    assert list(landing.verify()) == []
    assert landing.unreadable() == []
