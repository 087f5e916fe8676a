"""`b2b forget`: the person is gone, the numbers stay."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime
from pathlib import Path
from threading import Event, Timer
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest
import zstandard
from sqlalchemy import select, text

from b2b_pipeline.connectors.base import Account, Page, Record, Stream, Window
from b2b_pipeline.core.load import load_table
from b2b_pipeline.errors import TransientError
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.export import export_parquet
from b2b_pipeline.operations.forget import forget
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import PREFIX, Pseudonyms
from b2b_pipeline.warehouse import tables
from b2b_pipeline_tests.support import installation
from b2b_pipeline_tests.support.installation import Installation
from b2b_pipeline_tests.support.migrated import migrated


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installation:
    return installation.copy(tmp_path, monkeypatch)


def everything(home: Path) -> dict[str, bytes]:
    """Every file below B2B_HOME, as it can be read: compressed ones opened."""
    found = {}
    for path in home.rglob("*"):
        if path.is_file():
            found[str(path.relative_to(home))] = path.read_bytes()
            if path.suffix == ".zst":
                with zstandard.open(path, "rb") as body:
                    found[f"{path.name} opened"] = body.read()
            if path.suffix == ".parquet":
                text = io.StringIO()
                pq.read_table(path).to_pandas().to_csv(text)
                found[f"{path.name} opened"] = text.getvalue().encode()
    return found


def holding(home: Path, word: str) -> list[str]:
    return sorted(name for name, content in everything(home).items() if word.encode() in content)


def numbers(pipeline: Pipeline) -> set[tuple[Any, ...]]:
    """Every component by day, channel and campaign: what all metrics are made of; and the one that is not stored."""
    stored = tables.kpi_component_daily.c
    query = select(stored.component, stored.date_day, stored.channel, stored.campaign_id, stored.value, stored.n_rows)
    with pipeline.warehouse.read() as connection:
        found = {tuple(row) for row in connection.execute(query)}
    return found | {
        ("median", answer.value) for answer in ask(pipeline.warehouse, pipeline.config, ["cycle_days_median"])
    }


def bodies(home: Path) -> int:
    return len(list(home.rglob("*.jsonl.zst")))


def test_a_person_is_gone_from_everywhere_and_stays_gone_and_no_number_changes(installed: Installation) -> None:
    email, excluded = installation.known_everywhere(installed.world)[:2]
    (installed.folder / "inbox" / "notes.csv").write_text(f"who\n{email.upper()}\n")
    pipeline = installed.pipeline()
    digest = pipeline.landing.pseudonyms.remembered(email).removeprefix(PREFIX).partition("@")[0]
    export_parquet(pipeline.warehouse, installed.home / "exports")
    before = numbers(pipeline)
    held = holding(installed.home, digest)
    assert {"lead.parquet opened", "email_event.parquet opened", "person.parquet opened"} <= set(held)
    assert "warehouse.duckdb" in held

    done = installed.b2b("forget", email.title(), "--yes")
    assert done.exit_code == 0, done.stderr
    assert email not in done.output.lower()
    assert "notes.csv" in done.stdout
    assert holding(installed.home, digest) == []
    assert (installed.home / "exports" / "lead.parquet").is_file()
    assert numbers(installed.pipeline()) == before

    assert installed.b2b("forget", excluded, "--yes").exit_code == 0  # by their domain, which is gone too
    assert numbers(installed.pipeline()) == before
    assert "nothing changed" in installed.b2b("replay").stdout

    (installed.folder / "inbox" / "notes.csv").unlink()
    installed.pull("second")
    once = bodies(installed.home)
    installed.pull("third")
    assert bodies(installed.home) == once
    rebuild(installed.pipeline(), "third", replay=False)
    assert holding(installed.home, digest) == []
    assert numbers(installed.pipeline()) == before


def test_it_can_be_repeated_and_a_stranger_changes_nothing(installed: Installation) -> None:
    before = everything(installed.home / "landing")
    done = installed.b2b("forget", "nobody@example.com", "--yes")
    assert "0 landed records, no rows" in done.stdout
    after = everything(installed.home / "landing")
    assert set(after) - set(before) <= {"forgotten.json", "forgotten.lock"}
    assert {name: after[name] for name in before} == before
    assert installed.b2b("forget", "nobody@example.com", "--yes").exit_code == 0


def test_it_asks_first_and_refuses_what_is_no_address(installed: Installation) -> None:
    done = installed.b2b("forget", "somebody@example.com")
    assert done.exit_code == 1
    assert not (installed.home / "landing" / "forgotten.json").exists()
    assert installed.b2b("forget", "somebody", "--yes").exit_code == 2


def test_a_load_that_was_in_progress_does_not_bring_them_back(
    installed: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    email = installation.known_everywhere(installed.world)[0]
    (installed.home / "warehouse.duckdb").unlink()
    pipeline = installed.pipeline()
    migrated(pipeline.warehouse)
    digest = pipeline.landing.pseudonyms.remembered(email).removeprefix(PREFIX).partition("@")[0]
    has_read, go_on = Event(), Event()

    class Slow(Landing):
        def records(self, item: Slice) -> Iterator[Record]:
            found = list(super().records(item))
            has_read.set()
            assert go_on.wait(60)
            return iter(found)

    def rewritten(self: Landing, before: datetime) -> None:
        Timer(1, go_on.set).start()  # whoever does not wait for the load has looked at the tables by then

    monkeypatch.setattr(Landing, "remove_leftovers", rewritten)
    slowly = Slow(pipeline.landing.root, pipeline.landing.pseudonyms)
    with ThreadPoolExecutor(1) as pool:
        arguments = (pipeline.warehouse, slowly, pipeline.config, tables.lead, "in progress")
        load = pool.submit(load_table, *arguments)
        assert has_read.wait(60)
        gone = forget(pipeline, email, "forget")
        assert load.result().loaded
    assert gone.rows[tables.lead.name]
    assert holding(installed.home, digest) == []


PERSONAL = ("email", "name", "history.*.value", "manager")


def landed(landing: Landing, *records: dict[str, Any]) -> list[dict[str, Any]]:
    stream = Stream("contact", "changes", "", lambda *_: iter(()), "day", personal=PERSONAL)
    zone = ZoneInfo("UTC")
    window = Window.of_days(date(2026, 6, 1), date(2026, 6, 2), zone)
    pages = iter([Page([json.loads(json.dumps(record)) for record in records])])
    item = landing.write("crm", stream, Account("1"), window, pages, zone=zone, api_version="1", run_id="r")
    return list(landing.records(item))


def test_a_later_pull_lands_no_more_of_a_forgotten_person_than_a_token(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms(b"key", tmp_path / "forgotten.json")
    landing = Landing(tmp_path, pseudonyms)
    record = {
        "id": "1", "day": "2026-06-01", "email": "Ann@Example.com ", "name": "Ann",
        "history": {"phone": [{"value": "0123"}], "mail": [{"value": "ann@example.com"}]},
        "manager": "boss@example.org",
    }  # fmt: skip
    Pseudonyms(b"key", tmp_path / "forgotten.json").forget("ann@example.com")  # by another process
    token = pseudonyms.forget_token("ann@example.com")
    assert landed(landing, record) == [
        {
            "id": "1", "day": "2026-06-01", "email": token, "name": None,
            "history": {"phone": [{"value": None}], "mail": [{"value": token}]},
            "manager": pseudonyms.email("boss@example.org"),
        }
    ]  # fmt: skip
    assert landed(landing, record | {"email": "bob@example.com", "history": {}})[0]["name"] == pseudonyms.text("Ann")


def test_a_pull_during_which_somebody_is_forgotten_lands_nothing(tmp_path: Path) -> None:
    class Late(Landing):
        def _without_repeats(self, *arguments: Any) -> Any:
            Pseudonyms(b"key", tmp_path / "forgotten.json").forget("ann@example.com")
            return super()._without_repeats(*arguments)

    with pytest.raises(TransientError, match="read it again"):
        landed(Late(tmp_path, Pseudonyms(b"key", tmp_path / "forgotten.json")), {"id": "1", "day": "2026-06-01"})
    assert not list(tmp_path.rglob("*.zst")) + list(tmp_path.rglob(".*part"))


def test_a_name_that_looks_like_a_pseudonym_is_hashed_all_the_same(tmp_path: Path) -> None:
    pseudonyms = Pseudonyms(b"key", tmp_path / "forgotten.json")
    assert pseudonyms.apply({"name": "h1:Ann Example"}, ["name"])["name"] == pseudonyms.text("h1:Ann Example")


def test_an_address_in_a_note_or_a_url_never_reaches_the_disk_and_goes_with_the_person(tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing", Pseudonyms.of_home(tmp_path))
    stream = Stream("contact", "changes", "", lambda *_: iter(()), "day", personal=("email",))
    window = Window.of_days(date(2026, 5, 8), date(2026, 5, 9), ZoneInfo("UTC"))
    ours = {"id": "1", "day": "2026-05-08", "email": "ida@holm.example", "name": "Ida", "note": "ida@holm.example"}
    others = {"id": "2", "day": "2026-05-08", "page": "/thanks?to=Ida%40Holm.example", "note": "ask IDA@holm.example"}
    landed = landing.write(
        "hubspot",
        stream,
        Account("1"),
        window,
        [Page([ours, others])],
        zone=ZoneInfo("UTC"),
        api_version="1",
        run_id="1",
    )
    assert holding(tmp_path, "ida@holm") == holding(tmp_path, "Ida%40Holm") == []
    pseudonym = landing.pseudonyms.remembered("ida@holm.example")
    assert [record["note"] for record in landing.records(landed)] == [pseudonym, f"ask {pseudonym}"]


def test_postgresql_keeps_nothing_of_a_forgotten_person_in_the_planners_statistics(
    installed: Installation, monkeypatch: pytest.MonkeyPatch, migrated_database: Callable[[], str]
) -> None:
    monkeypatch.setenv("B2B_WAREHOUSE_URL", migrated_database())
    email = installation.known_everywhere(installed.world)[0]
    pipeline = installed.pipeline()
    digest = pipeline.landing.pseudonyms.remembered(email).removeprefix(PREFIX).partition("@")[0]
    rebuild(pipeline, "first", replay=False)

    def told() -> int:
        query = "select count(*) from pg_stats where most_common_vals::text like :d or histogram_bounds::text like :d"
        with pipeline.warehouse.write() as connection:
            connection.execute(text("set local default_statistics_target = 10000"))
            if not forgotten:
                connection.execute(text("analyze"))
            return int(connection.execute(text(query), {"d": f"%{digest}%"}).scalar_one())

    forgotten = False
    assert told() > 0
    done = installed.b2b("forget", email, "--yes")
    assert done.exit_code == 0, done.stderr
    assert "write-ahead log and base backups" in done.stdout
    forgotten = True
    assert told() == 0
