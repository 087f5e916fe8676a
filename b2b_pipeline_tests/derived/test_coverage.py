"""Which days are whole: told by what landed and what of it could be loaded, each gap with its reason."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import Table, delete

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Page, Record, Skipped, Window
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.given import Facts, Need
from b2b_pipeline.core.load import load_table
from b2b_pipeline.derived.coverage import streams_behind, update_coverage
from b2b_pipeline.derived.made_of import Loads
from b2b_pipeline.landing.absences import note_absences
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_schema
from b2b_pipeline.warehouse.tables import (
    DERIVED,
    cost_ledger,
    coverage,
    kpi_component_daily,
    lead,
    load_audit,
    opportunity,
    quarantine,
    spend,
)
from b2b_pipeline.warehouse.write import append
from b2b_pipeline_tests.support.migrated import migrated

START, TODAY = date(2026, 5, 1), date(2026, 5, 7)
SPEND, LEADS, DEALS = ("google_ads", "campaign_daily"), ("hubspot", "contact"), ("hubspot", "deal")
CLICKS = ("hubspot", "email_event")
XAF = (
    "in XAF cannot be converted: the ECB does not fix it: give a peg or rates, "
    "`currencies: {XAF: …}`, or a file of rates"
)


class Books:
    """A landing and a warehouse, from the first to the sixth of May."""

    def __init__(self, folder: Path) -> None:
        self.landing = Landing(folder, Pseudonyms(b"key", folder / "forgotten.json"))
        self.warehouse = Warehouse(f"duckdb:///{folder / 'warehouse.duckdb'}")
        self.accounts: list[str] = []
        self.ended: dict[str, str] = {}
        self.streams: list[str] = []
        self.system_of_record = "hubspot"
        migrated(self.warehouse)
        self._now = datetime(2026, 5, 7, 6, tzinfo=UTC)

    @property
    def config(self) -> Config:
        ads = {"accounts": self.accounts, "ended": self.ended}
        sources = {"google_ads": ads, "hubspot": {"streams": self.streams}}
        return Config.model_validate(
            {"start_date": START, "system_of_record": self.system_of_record, "sources": sources}
        )

    def land(
        self, stream: tuple[str, str], first: int, last: int, account: str = "1", loaded: bool = True,
        doubts: Mapping[str, str] = MappingProxyType({}), records: list[Record] | None = None, overlap: int = 0,
        **more: Any,
    ) -> Slice:  # fmt: skip
        """A slice of the days from `first` to `last` of May, for which it looks back at `overlap` days more."""
        self._now += timedelta(minutes=1)
        window = Window.of_days(date(2026, 5, first), date(2026, 5, last + 1), self.config.zone)
        window = replace(window, since=window.since - timedelta(days=overlap))
        made = [{"segments": {"date": day.isoformat()}, "at": self._now.isoformat()} for day in window.days()]
        records = made if records is None else records
        landed = self.landing.write(
            stream[0], SOURCES[stream[0]].stream(stream[1]), Account(account, time_zone="America/New_York"), window,
            [Page(records, doubts=doubts)], zone=self.config.zone, api_version="v1", run_id="run",
            now=self._now, **more,
        )  # fmt: skip
        if loaded:
            for table in SOURCES[stream[0]].stream(stream[1]).feeds:
                self.fill(load_audit, target_table=table, source=stream[0], slice_id=landed.slice_id)
        return landed

    def fail(self, item: Slice, error: str) -> None:
        with self.warehouse.write() as connection:
            connection.execute(delete(load_audit).where(load_audit.c.slice_id == item.slice_id))
        for table in SOURCES[item.source].stream(item.stream).feeds:
            self.fill(load_audit, target_table=table, source=item.source, slice_id=item.slice_id, error=error)

    def fill(self, table: Table, **row: Any) -> None:
        with self.warehouse.write() as connection:
            append(connection, table, pa.Table.from_pylist([row], schema=arrow_schema(table)))

    def reasons(self, *metrics: str, day: int = 6) -> dict[str, tuple[str, ...]]:
        """Metric -> why it is not complete on a day of May; complete ones are left out."""
        update_coverage(self.warehouse, self.landing, self.config, TODAY)
        with self.warehouse.write() as connection:
            for made in (*DERIVED, *FAMILIES.values()):
                Loads(connection, self.config).note(connection, made.name, getattr(made, "tables", None))
        at = date(2026, 5, day)
        answers = ask(self.warehouse, self.config, metrics, at, at)
        return {answer.metric.name: answer.reasons for answer in answers if answer.reasons}

    def gaps(self, stream: tuple[str, str]) -> dict[str, str]:
        """Account and day of May -> why it is not complete."""
        update_coverage(self.warehouse, self.landing, self.config, TODAY)
        rows = [row for row in self.warehouse.rows(coverage.select()) if (row["source"], row["stream"]) == stream]
        assert {row["date_day"].day for row in rows} == set(range(1, 7))
        return {
            f"{row['source_account']}/{row['date_day'].day}": row["reason"] for row in rows if not row["is_complete"]
        }


@pytest.fixture
def books(tmp_path: Path) -> Books:
    return Books(tmp_path)


def test_a_day_that_was_never_read_is_missing_by_name(books: Books) -> None:
    unread = "google_ads/campaign_daily was not read for this day"
    assert books.gaps(SPEND) == {f"/{day}": unread for day in range(1, 7)}
    books.land(SPEND, 1, 3)
    books.land(SPEND, 5, 6)
    assert books.gaps(SPEND) == {"1/4": unread}
    books.land(SPEND, 4, 4)
    assert books.gaps(SPEND) == {}


def test_a_day_is_provisional_until_it_is_read_after_its_end_where_the_account_is(books: Books) -> None:
    books.land(SPEND, 1, 6, provisional_days=["2026-05-06"])
    assert books.gaps(SPEND) == {"1/6": "google_ads: the day was not over in America/New_York"}
    books.land(SPEND, 6, 6)
    assert books.gaps(SPEND) == {}


def test_a_day_that_the_vendor_doubts_is_not_whole_until_it_is_read_without_a_doubt(books: Books) -> None:
    books.land(SPEND, 1, 6, doubts={"2026-05-04": "sampled", "2026-05-05": "still being counted"})
    told = "google_ads/campaign_daily (1): {}"
    assert books.gaps(SPEND) == {"1/4": told.format("sampled"), "1/5": told.format("still being counted")}
    books.land(SPEND, 5, 6, doubts={"2026-05-06": "withheld"})
    assert books.gaps(SPEND) == {"1/4": told.format("sampled"), "1/6": told.format("withheld")}
    refused = books.land(SPEND, 4, 4, doubts={"2026-05-04": "sampled"})
    books.fail(refused, "too many bad rows")
    assert books.gaps(SPEND)["1/4"] == "too many bad rows"


def test_a_later_read_that_cannot_tell_of_a_day_any_more_takes_nothing_from_an_earlier_one(books: Books) -> None:
    books.land(SPEND, 4, 4)
    books.land(SPEND, 1, 6, records=[], doubts={f"2026-05-0{day}": "it tells of now alone" for day in range(1, 7)})
    untold = "google_ads/campaign_daily (1): it tells of now alone"
    assert books.gaps(SPEND) == {f"1/{day}": untold for day in (1, 2, 3, 5, 6)}


def test_an_account_that_turns_up_later_lacks_the_days_before(books: Books) -> None:
    books.land(SPEND, 1, 6)
    books.land(SPEND, 4, 6, account="2")
    unread = "google_ads/campaign_daily was not read for this day (2)"
    assert books.gaps(SPEND) == {f"2/{day}": unread for day in (1, 2, 3)}


def test_configured_accounts_are_expected_however_they_are_written(books: Books) -> None:
    books.accounts = ["410-000-0001", "410-000-0002"]
    books.land(SPEND, 1, 6, account="4100000001")
    books.land(SPEND, 1, 6, account="4100000009")  # no longer configured
    unread = "google_ads/campaign_daily was not read for this day (410-000-0002)"
    assert books.gaps(SPEND) == {f"410-000-0002/{day}": unread for day in range(1, 7)}


def skip(books: Books, account: str, *days: int, closed: bool, read: Sequence[str] = ()) -> None:
    """What pulls in the mornings of May noted of an account."""
    for day in days:
        now = datetime(2026, 5, day, 3, tzinfo=UTC)
        skipped = [Skipped(account, "the account is CANCELED", closed)]
        note_absences(books.landing.root, *SPEND, skipped, read, now, now.date())


def test_a_closed_account_ends_on_the_day_that_it_was_first_seen_closed(books: Books) -> None:
    books.land(SPEND, 1, 6)
    books.land(SPEND, 1, 2, account="2")
    skip(books, "2", 4, 5, 6, 7, closed=True)
    because = "google_ads/campaign_daily was not read for this day (2): 2: the account is CANCELED, since 2026-05-04"
    gaps = books.gaps(SPEND)
    assert gaps.keys() == {"2/3", "2/4"}, "before it was seen closed it may have spent"
    assert gaps["2/3"].startswith(because)
    assert "give its last day under `ended`" in gaps["2/3"]


def test_days_after_the_configured_end_of_an_account_are_whole_without_it(books: Books) -> None:
    books.land(SPEND, 1, 6)
    books.land(SPEND, 1, 4, account="2", provisional_days=["2026-05-04"])
    skip(books, "2", 7, closed=True)
    assert books.gaps(SPEND).keys() == {"2/4", "2/5", "2/6"}
    books.ended = {"2": "2026-05-03"}
    assert books.gaps(SPEND) == {}
    books.ended = {"2": "2026-05-04"}
    assert books.gaps(SPEND) == {"2/4": "google_ads: the day was not over in America/New_York"}
    bad = books.land(SPEND, 5, 5, account="2")
    books.fail(bad, "too many bad rows")
    assert books.gaps(SPEND).keys() == {"2/4", "2/5"}, "what was read and not loaded is missing all the same"


def test_an_account_that_never_landed_counts_only_when_it_may_have_something(books: Books) -> None:
    books.land(SPEND, 1, 6)
    skip(books, "3", 7, closed=True)
    assert books.gaps(SPEND) == {}, "a closed account that nobody listed"
    skip(books, "4", 7, closed=False)
    assert books.gaps(SPEND).keys() == {f"4/{day}" for day in range(1, 7)}
    books.accounts = ["1", "3"]
    assert books.gaps(SPEND).keys() == {f"3/{day}" for day in range(1, 7)}


def test_a_stream_that_is_switched_off_is_no_source_of_anything(books: Books) -> None:
    for stream in (SPEND, LEADS, DEALS):
        books.land(stream, 1, 6)
    assert "hubspot/email_event was not read for this day" in books.reasons("email_sends")["email_sends"]
    books.streams = ["contact", "deal"]
    assert books.reasons("leads", "won") == {}
    at = date(2026, 5, 6)
    books.fill(kpi_component_daily, component="leads", date_day=at, value=Decimal(1))  # something was derived
    (answer,) = ask(books.warehouse, books.config, ["email_sends"], at, at)
    assert (answer.value, answer.why_null) == (None, "nothing that is switched on gives email sends")


def test_of_a_report_that_failed_whole_only_the_days_it_speaks_for_are_missing(books: Books) -> None:
    books.land(SPEND, 1, 6)
    bad = books.land(SPEND, 2, 4)
    books.land(SPEND, 3, 3)
    books.fail(bad, "too many bad rows")
    assert books.gaps(SPEND) == {"1/2": "too many bad rows", "1/4": "too many bad rows"}
    books.land(SPEND, 2, 4)
    assert books.gaps(SPEND) == {}


def test_a_gap_in_changes_makes_the_days_before_it_doubtful_too(books: Books) -> None:
    books.land(LEADS, 1, 2)
    books.land(LEADS, 5, 6)
    between = "hubspot/contact was not read between 2026-05-03 and 2026-05-05"
    unread = "hubspot/contact was not read for this day"
    assert books.gaps(LEADS) == {"1/1": between, "1/2": between, "1/3": unread, "1/4": unread}
    books.land(LEADS, 3, 4)
    assert books.gaps(LEADS) == {}


def test_a_doubted_day_of_changes_is_not_made_whole_by_a_night_that_looks_back_at_it(books: Books) -> None:
    for day in range(1, 7):
        books.land(LEADS, day, day, overlap=3, doubts={f"2026-05-0{day}": "nothing was written"} if day < 5 else {})
    assert books.gaps(LEADS).keys() == {f"1/{day}" for day in range(1, 5)}
    books.land(LEADS, 2, 3)
    assert books.gaps(LEADS).keys() == {"1/1", "1/4"}


def test_what_a_later_read_doubts_of_earlier_days_stands_until_it_is_read_again_too(books: Books) -> None:
    books.land(LEADS, 5, 6, doubts={f"2026-05-0{day}": "a lead of then has no timeline" for day in range(2, 6)})
    books.land(LEADS, 1, 4)
    assert books.gaps(LEADS).keys() == {f"1/{day}" for day in range(2, 6)}
    books.land(LEADS, 5, 6)
    assert books.gaps(LEADS) == {}


def test_changes_that_could_not_be_loaded_are_a_gap_until_they_are_read_again(books: Books) -> None:
    books.land(LEADS, 1, 3)
    bad = books.land(LEADS, 4, 4)
    books.land(LEADS, 5, 6)
    books.fail(bad, "a column is missing")
    assert books.gaps(LEADS) == {f"1/{day}": "a column is missing" for day in range(1, 5)}
    books.land(LEADS, 4, 5)
    assert books.gaps(LEADS) == {}


def test_a_day_after_the_last_build_is_not_taken_for_whole(books: Books) -> None:
    books.land(SPEND, 1, 6)
    assert books.gaps(SPEND) == {}
    assert books.reasons("spend", day=6) == {}
    assert books.reasons("spend", day=7) == {"spend": ("nothing was derived for 2026-05-07 yet",)}


@pytest.fixture
def everything(books: Books) -> Books:
    """After every stream that a number is made of was read for every day."""
    for stream in (SPEND, LEADS, DEALS, CLICKS):
        books.land(stream, 1, 6)
    return books


def test_spend_without_an_exchange_rate_concerns_sums_of_spend_alone(everything: Books) -> None:
    day = date(2026, 5, 6)
    everything.fill(
        spend,
        source="google_ads",
        campaign_id="1",
        date_day=day,
        spend=Decimal(5),
        currency="XAF",
        clicks=1,
        impressions=9,
    )
    asked = ("spend", "cpc", "cost_per_lead", "clicks", "ctr", "leads", "mqls", "won", "bookings", "pipeline")
    because = (f"spend {XAF}",)
    assert everything.reasons(*asked) == {"spend": because, "cpc": because, "cost_per_lead": because}
    assert everything.reasons(*asked, day=5) == {}


def test_a_cost_without_an_exchange_rate_concerns_sums_of_the_ledger_alone(everything: Books) -> None:
    day = date(2026, 5, 6)
    everything.fill(cost_ledger, source="files", cost_id="1", date_day=day, amount=Decimal(5), currency="XAF")
    asked = ("cost_per_lead", "cpa", "spend", "cost_per_lead_ads", "leads", "bookings", "new_customers")
    because = (f"cost_ledger {XAF}",)
    assert everything.reasons(*asked) == {"cost_per_lead": because, "cpa": because}


def test_an_opportunity_without_an_exchange_rate_concerns_sums_of_amounts_alone(everything: Books) -> None:
    day = date(2026, 5, 6)
    everything.fill(opportunity, source="hubspot", opp_id="1", date_day=day, amount=Decimal(5), currency="XAF")
    asked = ("bookings", "pipeline", "average_deal_size", "won", "cycle_days_median", "leads", "spend")
    because = (f"opportunity {XAF}",)
    assert everything.reasons(*asked) == {"bookings": because, "pipeline": because, "average_deal_size": because}


def test_opportunities_of_another_source_than_the_system_of_record_make_nothing_incomplete(books: Books) -> None:
    books.system_of_record = "files"
    for stream in (SPEND, LEADS, CLICKS):
        books.land(stream, 1, 6)
    day = date(2026, 5, 6)
    books.fill(opportunity, source="hubspot", opp_id="1", date_day=day, amount=Decimal(5), currency="XAF")
    asked = ("leads", "mqls", "bookings", "won", "revenue_last_touch")
    assert books.reasons(*asked) == {}
    books.fill(opportunity, source="files", opp_id="1", date_day=day, amount=Decimal(5), currency="XAF")
    because = (f"opportunity {XAF}",)
    assert books.reasons(*asked) == {"bookings": because, "revenue_last_touch": because}


def test_a_day_without_the_clicks_in_e_mails_is_whole_for_no_number_over_touches(books: Books) -> None:
    """A click may be the touch that a deal is credited to, or that a person came by, though all are of one channel."""
    for stream in (SPEND, LEADS, DEALS):
        books.land(stream, 1, 6)
    books.land(CLICKS, 1, 5)
    because = ("hubspot/email_event was not read for this day",)
    assert books.reasons("revenue_last_touch", "leads", "spend") == {"revenue_last_touch": because, "leads": because}


@pytest.mark.parametrize("name", ["mailchimp", "klaviyo", "zoom_webinars", "meta_ads", "demandbase"])
def test_touches_of_one_channel_alone_credit_no_deal(books: Books, name: str) -> None:
    """Whoever came by another channel would be credited to the one that is read. Of accounts nobody is told at all."""
    streams = {"meta_ads": ["lead"]}.get(name, [])
    config = Config.model_validate(
        {"start_date": START, "system_of_record": "files", "sources": {name: {"streams": streams}}}
    )
    assert any("touchpoint" in stream.feeds for stream in SOURCES[name].switched_on(config))
    with books.warehouse.read() as connection:
        assert Facts(connection, config).why_not(Need("touchpoint", ("channel",)))


def test_leads_of_every_source_count_whatever_the_system_of_record_is(books: Books) -> None:
    books.system_of_record = "files"
    books.land(CLICKS, 1, 6)
    because = ("hubspot/contact was not read for this day",)
    assert books.reasons("leads", "won") == {"leads": because, "won": because}


def test_others_read_the_warehouse_while_the_manifest_is_read(books: Books, monkeypatch: pytest.MonkeyPatch) -> None:
    books.land(SPEND, 1, 6)
    kept_out = []
    slices = books.landing.slices

    def read_meanwhile(*args: Any) -> list[Slice]:
        other = threading.Thread(target=books.warehouse.rows, args=(coverage.select(),))
        other.start()
        other.join(timeout=2)
        kept_out.append(other.is_alive())
        return slices(*args)

    monkeypatch.setattr(books.landing, "slices", read_meanwhile)
    update_coverage(books.warehouse, books.landing, books.config, TODAY)
    assert kept_out
    assert not any(kept_out)


def _contact(created: str) -> dict[str, Any]:
    return {
        "id": "7",
        "archived": False,
        "properties": {"createdate": created, "lastmodifieddate": "2026-05-03T10:00:00Z"},
    }


def test_a_record_leaves_quarantine_when_a_newer_read_says_it_well(books: Books) -> None:
    for stream in (DEALS, CLICKS):
        books.land(stream, 1, 6)
    window = Window.of_days(date(2026, 5, 1), date(2026, 5, 7), books.config.zone)
    contacts = SOURCES["hubspot"].stream("contact")

    def read(record: dict[str, Any], minute: int) -> None:
        now = datetime(2026, 5, 7, 7, minute, tzinfo=UTC)
        landed = books.landing.write(
            "hubspot", contacts, Account("1"), window, [Page([record])],
            zone=books.config.zone, api_version="v1", run_id="run", now=now,
        )  # fmt: skip
        load_table(books.warehouse, books.landing, books.config, lead, "run")
        for name in {*contacts.feeds} - {"lead"}:
            books.fill(load_audit, target_table=name, source="hubspot", slice_id=landed.slice_id)

    read(_contact("some day"), 1)
    why = ("1 row of lead from hubspot/contact is in quarantine",)
    assert books.reasons("leads", day=2)["leads"] == why == books.reasons("leads", day=6)["leads"]
    read(_contact("the other day"), 2)
    assert books.reasons("leads")["leads"] == why, "the same record counts once"
    read(_contact("2026-05-02T10:00:00Z"), 3)
    assert books.reasons("leads") == {}
    assert books.warehouse.rows(quarantine.select()) == []


def test_what_landed_and_is_not_loaded_yet_makes_no_day_complete(books: Books) -> None:
    """A late source may land while the others are derived: its days are not in the tables yet."""
    books.land(SPEND, 1, 5)
    books.land(LEADS, 1, 5)
    for stream in (SPEND, LEADS):
        books.land(stream, 6, 6, loaded=False)
        waits = f"{'/'.join(stream)}: what was read is not loaded yet"
        assert set(books.gaps(stream).items()) == {("1/6", waits)}


def test_costs_that_a_list_gives_are_unknown_of_days_since_it_was_last_read(tmp_path: Path) -> None:
    books = Books(tmp_path)
    sources = {"marketo": {"options": {"currency": "EUR"}}}
    config = Config.model_validate({"start_date": START, "system_of_record": "marketo", "sources": sources})

    def gaps() -> dict[int, str]:
        update_coverage(books.warehouse, books.landing, config, TODAY)
        rows = books.warehouse.rows(coverage.select().where(coverage.c.target_table == "cost_ledger"))
        return {row["date_day"].day: row["reason"] for row in rows if not row["is_complete"]}

    assert gaps() == dict.fromkeys(range(1, 7), "marketo/program was never read")
    refused = Skipped("1", "status 403")
    note_absences(books.landing.root, "marketo", "program", [refused], (), datetime(2026, 5, 2, 6, tzinfo=UTC), START)
    assert "marketo/program was never read: 1: status 403" in gaps()[6]
    note_absences(books.landing.root, "marketo", "program", [], {"1"}, datetime(2026, 5, 4, 6, tzinfo=UTC), START)
    stream, window = (
        SOURCES["marketo"].stream("program"),
        Window.of_days(date(2026, 5, 3), date(2026, 5, 4), config.zone),
    )
    landed = books.landing.write(
        "marketo", stream, Account("1"), window, [Page([])], zone=config.zone, api_version="v1", run_id="run",
        now=datetime(2026, 5, 4, 6, tzinfo=UTC),
    )  # fmt: skip
    for table in stream.feeds:
        books.fill(load_audit, target_table=table, source="marketo", slice_id=landed.slice_id)
    assert gaps() == dict.fromkeys((4, 5, 6), "marketo/program was last read on 2026-05-04")


def test_stages_of_a_stream_that_states_none_of_a_lead_make_nobody_s_entry_incomplete() -> None:
    """So an audit log that is switched off costs no SQL where no status stands for a stage."""

    def streams(**stages: Any) -> set[str]:
        given = {"start_date": START, "system_of_record": "dynamics", "sources": {"dynamics": {}}, "stages": stages}
        behind = streams_behind("stage_entry", Config.model_validate(given))
        return {stream for _, stream, table in behind if table == "stage_event"}

    assert streams() == {"lead"}
    assert streams(dynamics={"Contacted": "mql"}) == {"lead", "lead_history"}
