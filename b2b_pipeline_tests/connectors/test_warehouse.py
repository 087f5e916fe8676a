"""Sources that a loader landed: the same rows as from the vendor's API, and nothing said before the loader has run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import time_machine
from sqlalchemy import create_engine, text

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Finding, MappingContext, Record, Source, Window
from b2b_pipeline.connectors.configured import complaints
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse.presets import presets
from b2b_pipeline.connectors.warehouse.read import through
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, TransientError
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import metadata
from b2b_pipeline_tests.support.installation import served
from b2b_pipeline_tests.support.loaders import Loader
from b2b_sandbox.generate import make_world
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
DAYS = 30
URL = "WAREHOUSE_SOURCE_URL"
STAMPS = {"slice_id", "run_id", "loaded_at", "source_account"}
NOT_TOLD = {("hubspot", "opp_contact_role"): "is_primary", ("salesforce", "campaign"): "account_id"}


def config(source: str, loader: str = "", **settings: Any) -> Config:
    landed = {"warehouse": {"loader": loader, "schema": "theirs"}} if loader else {}
    return Config.model_validate(
        {"start_date": "2026-05-01", "system_of_record": source, "sources": {source: {**landed, **settings}}}
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("world") / "world.sqlite", until=UNTIL, days=DAYS, leads=80)


@pytest.fixture
def now(world: World) -> Iterator[datetime]:
    """The time in the world."""
    found = datetime.fromtimestamp(world.now() / 1000, UTC)
    with time_machine.travel(found, tick=False):
        yield found


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    given = f"duckdb:///{tmp_path / 'loaded.duckdb'}"
    monkeypatch.setenv(URL, given)
    return given


def window(now: datetime, days: int = DAYS) -> Window:
    whole = Window.of_days(UNTIL - timedelta(days=days), UNTIL + timedelta(days=1), config("ecb").zone)
    return Window(whole.start, whole.end, whole.since, min(whole.until, now))


def records(source: Source, given: Config, stream: str, at: Window, number: int = 0) -> tuple[Account, list[Record]]:
    client = source.connect(given)
    account = source.accounts(client, given).read[number]
    pages = source.stream(stream).fetch(client, account, at)
    return account, [record for page in pages for record in page.records]


def mapped(source: str, given: Config, stream: str, found: tuple[Account, list[Record]]) -> dict[str, set[Any]]:
    """Core table -> its rows, but for who pulled them."""
    account, read = found
    context = MappingContext(given, source, stream, account)
    hashed = Pseudonyms(b"a key of the test", Path("nobody-is-forgotten"))
    read = [hashed.apply(record, SOURCES[source].stream(stream).personal) for record in read]
    rows = {}
    for name, mapping in SOURCES[source].stream(stream).feeds.items():
        table = metadata.tables[name]
        enforced = enforce(table, mapping(flattened(read), context))
        assert enforced.rejects.empty, enforced.rejects
        without = {*STAMPS, NOT_TOLD.get((source, name))}
        kept = [column for column in enforced.rows.columns if column not in without]
        rows[name] = {tuple(map(str, row)) for row in enforced.rows[kept].itertuples(index=False)}
    return rows


@pytest.fixture(scope="module")
def of_api() -> dict[tuple[str, str, int], dict[str, set[Any]]]:
    """What the vendors' APIs gave, by source, stream and account, once it was asked for."""
    return {}


@pytest.mark.parametrize(("source", "loader"), presets())
def test_a_loaders_tables_give_the_rows_that_the_vendors_api_gives(
    world: World, now: datetime, url: str, of_api: dict[tuple[str, str, int], Any], source: str, loader: str
) -> None:
    Loader(loader, url, "theirs", [now]).land(source, world)
    given, api = config(source, loader), config(source)
    for stream in presets()[source, loader].streams:
        ours = mapped(source, given, stream, records(through(SOURCES[source], given), given, stream, window(now)))
        number = 1 if loader == "airbyte" and source == "google_ads" else 0  # the account that it reads in the test
        if (source, stream, number) not in of_api:
            with served(world):
                theirs = records(SOURCES[source], api, stream, window(now), number)
                of_api[source, stream, number] = mapped(source, api, stream, theirs)
        for table, rows in of_api[source, stream, number].items():
            if loader == "dlt":  # which does not ask for what is in the bin
                assert ours[table] <= rows, table
            else:
                assert ours[table] == rows, table
            assert ours[table] or stream == "campaign_member"


def test_what_happened_after_the_loader_last_ran_is_not_taken_for_read(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("salesforce", world)
    given = config("salesforce", "fivetran")
    later = Window.of_days(UNTIL, UNTIL + timedelta(days=2), given.zone)
    with pytest.raises(TransientError, match=r"the loader last wrote 2026-06-.* after that is not there yet"):
        records(through(SOURCES["salesforce"], given), given, "lead", later)


def test_a_report_is_whole_only_when_the_loader_ran_after_the_accounts_own_day(
    world: World, now: datetime, url: str
) -> None:
    Loader("fivetran", url, "theirs", [now]).land("google_ads", world)
    given = config("google_ads", "fivetran")
    today = Window.of_days(now.date(), now.date() + timedelta(days=1), given.zone)
    with pytest.raises(TransientError, match="not there yet"):
        records(through(SOURCES["google_ads"], given), given, "campaign_daily", today)


def changed(url: str, *statements: str) -> None:
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_report_whose_own_table_is_not_loaded_any_more_is_not_vouched_for_by_another(
    world: World, now: datetime, url: str
) -> None:
    Loader("fivetran", url, "theirs", [now]).land("google_ads", world)
    changed(url, "update theirs.campaign_stats set _fivetran_synced = _fivetran_synced - interval 5 day")
    given = config("google_ads", "fivetran")
    with pytest.raises(TransientError, match="not there yet"):
        records(through(SOURCES["google_ads"], given), given, "campaign_daily", window(now, days=2))


def test_days_since_a_table_was_last_written_are_in_doubt_when_that_is_long_ago(
    world: World, now: datetime, url: str
) -> None:
    Loader("fivetran", url, "theirs", [now]).land("salesforce", world)
    changed(url, "update theirs.lead set _fivetran_synced = _fivetran_synced - interval 9 day")
    given, at = config("salesforce", "fivetran"), window(now)
    source = through(SOURCES["salesforce"], given)
    client = source.connect(given)
    account = source.accounts(client, given).read[0]
    doubts = {stream: next(source.stream(stream).fetch(client, account, at)).doubts for stream in ("lead", "contact")}
    assert sorted(doubts["lead"]) == [str(UNTIL - timedelta(days=n)) for n in range(7, -1, -1)]
    assert "fivetran has written nothing of lead since 2026-06-07" in doubts["lead"][str(UNTIL)]
    assert doubts["contact"] == {}


@pytest.mark.parametrize(
    ("loader", "stream", "is_told"),
    [("dlt", "opportunity", False), ("dlt", "account", False), ("dlt", "lead", True), ("airbyte", "lead", False),
     ("airbyte", "campaign_member", False), ("fivetran", "opportunity", True)],
)  # fmt: skip
def test_days_are_in_doubt_where_a_loader_does_not_tell_of_deletions(
    world: World, now: datetime, url: str, loader: str, stream: str, is_told: bool
) -> None:
    Loader(loader, url, "theirs", [now]).land("salesforce", world)
    given, at = config("salesforce", loader), window(now, days=3)
    source = through(SOURCES["salesforce"], given)
    client = source.connect(given)
    page = next(source.stream(stream).fetch(client, source.accounts(client, given).read[0], at))
    assert set(page.doubts) == (set() if is_told else {day.isoformat() for day in at.days()})


def test_loads_of_another_source_in_the_same_dataset_do_not_count(world: World, now: datetime, url: str) -> None:
    Loader("dlt", url, "theirs", [now - timedelta(days=4)]).land("salesforce", world)
    changed(url, f"insert into theirs._dlt_loads values ('hubspot', 'theirs', 0, '{now.isoformat()}')")  # noqa: S608
    given = config("salesforce", "dlt")
    with pytest.raises(TransientError, match="not there yet"):
        records(through(SOURCES["salesforce"], given), given, "lead", window(now))


def test_two_accounts_whose_rows_do_not_say_whose_they_are_are_refused(world: World, now: datetime, url: str) -> None:
    Loader("airbyte", url, "theirs", [now]).land("google_ads", world)
    changed(url, """update theirs.customer set "customer.id" = 7 where "segments.date" = (
        select max("segments.date") from theirs.customer)""", "insert into theirs.customer by name "
        """select * replace (8 as "customer.id") from theirs.customer""")  # fmt: skip
    given = config("google_ads", "airbyte")
    source = through(SOURCES["google_ads"], given)
    with pytest.raises(ConfigError, match="holds 2 accounts, and rows do not say whose they are"):
        source.accounts(source.connect(given), given)


def test_of_rows_that_a_loader_appended_again_the_newest_counts(world: World, now: datetime, url: str) -> None:
    Loader("airbyte", url, "theirs", [now]).land("google_ads", world)
    given = config("google_ads", "airbyte")

    def micros() -> dict[tuple[Any, ...], Any]:
        _, found = records(through(SOURCES["google_ads"], given), given, "campaign_daily", window(now))
        return {(each["campaign"]["id"], each["segments"]["date"]): each["metrics"]["costMicros"] for each in found}

    before = micros()
    changed(url, """insert into theirs.campaign by name select * replace (
        _airbyte_extracted_at - interval 1 day as _airbyte_extracted_at, 1 as "metrics.cost_micros")
        from theirs.campaign""")  # fmt: skip
    assert micros() == before


def test_a_deal_that_was_merged_into_another_is_deleted(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("hubspot", world)
    changed(url, "insert into theirs.merged_deal by name select 1 as deal_id, min(deal_id) as merged_deal_id "
                 "from theirs.deal where not is_deleted")  # fmt: skip
    given = config("hubspot", "fivetran")
    found = mapped("hubspot", given, "deal", records(through(SOURCES["hubspot"], given), given, "deal", window(now)))
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        (merged,) = connection.execute("select max(merged_deal_id) from theirs.merged_deal").fetchone() or (None,)
    (loser,) = [row for row in found["opportunity"] if row[1] == str(merged)]
    assert "True" in loser


def test_loads_of_dlt_that_did_not_finish_do_not_count(world: World, now: datetime, url: str) -> None:
    Loader("dlt", url, "theirs", [now]).land("salesforce", world)
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        connection.execute("update theirs._dlt_loads set status = 1")
    given = config("salesforce", "dlt")
    with pytest.raises(TransientError, match="the loader has never run"):
        records(through(SOURCES["salesforce"], given), given, "lead", window(now))


def test_what_the_loader_wrote_since_is_read_however_old_the_vendors_own_stamp(
    world: World, now: datetime, url: str
) -> None:
    """Fivetran was away for three days: what changed meanwhile comes with its return."""
    Loader("fivetran", url, "theirs", [now - timedelta(days=10), now]).land("salesforce", world)
    given = config("salesforce", "fivetran")
    _, found = records(through(SOURCES["salesforce"], given), given, "lead", window(now, days=1))
    stamps = {record["SystemModstamp"][:10] for record in found}
    assert min(stamps) < str(UNTIL - timedelta(days=5))


def test_the_days_of_a_campaign_that_was_renamed_are_added_up_once(world: World, now: datetime, url: str) -> None:
    Loader("airbyte", url, "theirs", [now]).land("google_ads", world)
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        connection.execute("""update theirs.campaign set "campaign.name" = 'was so' where "segments.hour" = 1""")
    given = config("google_ads", "airbyte")
    _, found = records(through(SOURCES["google_ads"], given), given, "campaign_daily", window(now))
    keys = [(record["campaign"]["id"], record["segments"]["date"]) for record in found]
    assert len(set(keys)) == len(keys) > 0


# -- what can be wrong


def probe(source: str, loader: str) -> list[Finding]:
    given = config(source, loader)
    vendor = through(SOURCES[source], given)
    return vendor.probe(vendor.connect(given), given)


def test_doctor_tells_the_last_load_and_what_the_loader_does_not_tell(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("hubspot", world)
    found = probe("hubspot", "fivetran")
    assert all(finding.ok for finding in found)
    assert "it last wrote 2026-06-" in found[0].what
    assert any("which contact of a deal is the first is not told" in finding.what for finding in found)


def test_doctor_warns_of_a_loader_that_has_stopped(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("salesforce", world)
    with time_machine.travel(now + timedelta(days=3)):
        assert probe("salesforce", "fivetran")[0].warning


def test_doctor_names_the_columns_and_tables_that_lack(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("salesforce", world)
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        connection.execute("alter table theirs.lead drop column country")
        connection.execute("alter table theirs.opportunity drop column amount")
        connection.execute("drop table theirs.campaign_member")
    told = [(finding.ok, finding.what) for finding in probe("salesforce", "fivetran")]
    assert (True, "Salesforce by fivetran in theirs: lead is readable, but for Country: they stay empty") in told
    assert any(not ok and "opportunity has no column Amount" in what for ok, what in told)
    assert any(not ok and "there is no table campaign_member" in what for ok, what in told)


def test_a_column_without_which_numbers_would_be_wrong_stops_the_stream(world: World, now: datetime, url: str) -> None:
    Loader("fivetran", url, "theirs", [now]).land("google_ads", world)
    with duckdb.connect(url.removeprefix("duckdb:///")) as connection:
        connection.execute("alter table theirs.campaign_stats drop column cost_micros")
    given = config("google_ads", "fivetran")
    with pytest.raises(ConfigError, match="campaign_stats has no column cost_micros"):
        records(through(SOURCES["google_ads"], given), given, "campaign_daily", window(now))


def test_a_loader_whose_tables_nobody_knows_and_a_stream_that_it_does_not_give_are_named() -> None:
    unknown = [why for _, why in complaints(config("pipedrive", "fivetran"))]
    assert any("known are google_ads by airbyte" in why for why in unknown)
    missing = [why for _, why in complaints(config("salesforce", "dlt", streams=["lead", "lead_history"]))]
    assert any("unknown stream" in why for why in missing)


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("", AuthError, "WAREHOUSE_SOURCE_URL is not set"),
        ("theirs", ConfigError, "is not a SQLAlchemy URL"),
        ("snowflake://me:hush@account/database", ConfigError, "driver of its warehouse is not installed"),
    ],
)
def test_a_url_that_cannot_be_used_says_why_and_not_what_it_is(
    monkeypatch: pytest.MonkeyPatch, given: str, error: type[Exception], said: str
) -> None:
    monkeypatch.setenv(URL, given)
    with pytest.raises(error, match=said) as found:
        through(SOURCES["salesforce"], config("salesforce", "fivetran")).connect(config("salesforce", "fivetran"))
    assert "hush" not in str(found.value)


def test_a_warehouse_that_is_away_is_told_without_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "postgresql+psycopg://me:hush@127.0.0.1:1/theirs")
    given = config("salesforce", "fivetran")
    with pytest.raises(TransientError, match="the warehouse cannot be reached") as found:
        records(through(SOURCES["salesforce"], given), given, "lead", window(datetime(2026, 6, 16, tzinfo=UTC)))
    assert "hush" not in str(found.value)


def test_the_session_cannot_write(postgres_database: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    address = postgres_database()
    monkeypatch.setenv(URL, address)
    given = config("salesforce", "fivetran")
    client = through(SOURCES["salesforce"], given).connect(given)
    with pytest.raises(PermanentError, match="ReadOnly"), client.asking() as connection:
        connection.execute(text("create table public.mine (id int)"))
    engine = create_engine(address)
    with engine.connect() as connection:
        assert not connection.execute(text("select 1 from pg_tables where tablename = 'mine'")).first()
    engine.dispose()
