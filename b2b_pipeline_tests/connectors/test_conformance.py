"""Our own sources against what every source is held to, over the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import time_machine

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import MappingContext, Record, Stream
from b2b_pipeline.connectors.columns import local_day, utc
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.salesforce.source import OBJECTS
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.testing.conformance import Conformance
from b2b_pipeline.testing.contract import contract_of
from b2b_pipeline_tests.support.ga4_export import export
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox.generate import make_world
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
EVERY_STREAM = {name: {"streams": [stream.name for stream in source.streams]} for name, source in SOURCES.items()}


@pytest.fixture(scope="module", autouse=True)
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = make_world(tmp_path_factory.mktemp("world") / "world", until=UNTIL, days=30, leads=120)
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        yield world  # at the world's clock: what vendors forget after some time is still there


class OverTheSandbox(Conformance):
    window = (UNTIL - timedelta(days=14), UNTIL)


class TestGoogleAds(OverTheSandbox):
    source = SOURCES["google_ads"]


class TestHubSpot(OverTheSandbox):
    source = SOURCES["hubspot"]


class TestSalesforce(OverTheSandbox):
    source = SOURCES["salesforce"]

    def test_what_not_every_org_has_is_asked_for_only_where_the_org_has_it(self) -> None:
        contracts = contract_of(self.source).streams.values()
        some_have = {path for contract in contracts for path in contract.not_by_default}
        assert some_have
        assert not some_have & {path for sobject in OBJECTS for path in sobject.fields.split()}


class TestPipedrive(OverTheSandbox):
    source = SOURCES["pipedrive"]


class TestLinkedInAds(OverTheSandbox):
    source = SOURCES["linkedin_ads"]
    settings = EVERY_STREAM["linkedin_ads"]


class TestMetaAds(OverTheSandbox):
    source = SOURCES["meta_ads"]
    settings = EVERY_STREAM["meta_ads"]


class TestMicrosoftAds(OverTheSandbox):
    source = SOURCES["microsoft_ads"]


class TestRedditAds(OverTheSandbox):
    source = SOURCES["reddit_ads"]


class TestTikTokAds(OverTheSandbox):
    source = SOURCES["tiktok_ads"]


class TestXAds(OverTheSandbox):
    source = SOURCES["x_ads"]


class TestDynamics(OverTheSandbox):
    source = SOURCES["dynamics"]


class TestZohoCrm(OverTheSandbox):
    source = SOURCES["zoho_crm"]


class TestMailchimp(OverTheSandbox):
    source = SOURCES["mailchimp"]
    settings: ClassVar[dict[str, Any]] = {"options": {"leads": "all"}}


class TestKlaviyo(OverTheSandbox):
    source = SOURCES["klaviyo"]
    settings: ClassVar[dict[str, Any]] = {"options": {"leads": "all"}}


class TestStripe(OverTheSandbox):
    """At the sandbox's clock, by which events are kept for 30 days."""

    source = SOURCES["stripe"]

    def _asked(self, stream: Stream, start: date, end: date) -> list[Record]:
        with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC)):
            return super()._asked(stream, start, end)


class TestChargebee(OverTheSandbox):
    source = SOURCES["chargebee"]


class TestDiscourse(OverTheSandbox):
    source = SOURCES["discourse"]


class AtNight(OverTheSandbox):
    """What is told of now alone: of other times than the night after a day that is nothing."""

    window = (UNTIL - timedelta(days=14), UNTIL + timedelta(days=1))

    @pytest.fixture(autouse=True)
    def at_night(self) -> Iterator[None]:
        with time_machine.travel(datetime(2026, 6, 16, 2, tzinfo=UTC)):
            yield


class TestLinkedInPages(AtNight):
    source = SOURCES["linkedin_pages"]


class TestX(AtNight):
    source = SOURCES["x"]


class TestYouTube(OverTheSandbox):
    source = SOURCES["youtube"]


class TestDemandbase(OverTheSandbox):
    source = SOURCES["demandbase"]
    settings: ClassVar[dict[str, Any]] = {"options": {"keyword_sets": "7303, 9190"}}


class TestGa4(OverTheSandbox):
    source = SOURCES["ga4"]


class TestSearchConsole(OverTheSandbox):
    source = SOURCES["search_console"]


class TestTypeform(OverTheSandbox):
    source = SOURCES["typeform"]
    settings = {"options": {"lead_forms": "demo", "partial": "yes"}}  # noqa: RUF012


class TestZendesk(OverTheSandbox):
    source = SOURCES["zendesk"]


class TestIntercom(OverTheSandbox):
    source = SOURCES["intercom"]


class TestMarketo(OverTheSandbox):
    source = SOURCES["marketo"]
    settings: ClassVar[dict[str, Any]] = {"options": {"currency": "USD"}}
    window = (UNTIL - timedelta(days=28), UNTIL)


class TestCollector(OverTheSandbox):
    source = SOURCES["collector"]


class TestClarity(OverTheSandbox):
    source = SOURCES["clarity"]

    @pytest.fixture(autouse=True)
    def at_night(self) -> Iterator[None]:
        """Of other times than the night after a day it tells nothing."""
        with time_machine.travel(datetime(2026, 6, 15, 2, tzinfo=UTC)):
            yield


@pytest.fixture(scope="module")
def exported(sandbox: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    path = tmp_path_factory.mktemp("export") / "copy.duckdb"
    export(sandbox, path, UNTIL - timedelta(days=16), ZoneInfo("Asia/Tokyo"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GA4_EXPORT_URL", f"duckdb:///{path}")
        yield


@pytest.mark.usefixtures("exported")
class TestGa4Export(OverTheSandbox):
    """Over a copy in a DuckDB file, of what Google would have exported."""

    source = SOURCES["ga4_export"]
    settings: ClassVar[dict[str, Any]] = {"streams": ["visit", "form"], "options": {"key_events": "form_submit"}}


class TestZoomWebinars(OverTheSandbox):
    source = SOURCES["zoom_webinars"]
    settings: ClassVar[dict[str, Any]] = {"options": {"leads": "all"}}


class TestEcb(OverTheSandbox):
    source = SOURCES["ecb"]


def test_every_source_of_ours_is_held_to_it() -> None:
    cases = {*OverTheSandbox.__subclasses__(), *AtNight.__subclasses__()} - {AtNight}
    held = {case.source.name for case in cases}
    assert held == {name for name, source in SOURCES.items() if source.connect.__module__.startswith("b2b_pipeline.")}


# -- what fails it


def changed(source: str, stream: str, **changes: Any) -> Conformance:
    """The suite over a source, one stream of which is another."""
    case, given = OverTheSandbox(), SOURCES[source]
    streams = tuple(replace(each, **changes) if each.name == stream else each for each in given.streams)
    case.source = replace(given, streams=streams)  # type: ignore[misc]  # of this case alone
    return case


def connect_without_a_contract(config: Config) -> Any:
    return SOURCES["ecb"].connect(config)


def test_a_source_without_its_contract_fails() -> None:
    case = OverTheSandbox()
    case.source = replace(SOURCES["ecb"], connect=connect_without_a_contract)  # type: ignore[misc]
    with pytest.raises(ConfigError, match=r"contract\.yaml is not there: write what the vendor says of its fields"):
        case.test_its_contract_says_where_it_is_from_and_has_every_stream()


def test_a_stream_that_its_contract_does_not_have_fails() -> None:
    case = changed("ecb", "exchange_rate", name="rates")
    with pytest.raises(AssertionError):
        case.test_its_contract_says_where_it_is_from_and_has_every_stream()


def test_a_field_that_is_asked_for_and_that_the_vendor_does_not_have_fails() -> None:
    """As `msclkid` and `li_fat_id` were asked for, which no portal of HubSpot has by default."""
    asks = lambda config: ["properties.email", "properties.msclkid"]  # noqa: E731
    with pytest.raises(AssertionError, match=r"contact asks for \{'properties.msclkid'\}"):
        changed("hubspot", "contact", asks=asks).test_it_asks_for_no_field_that_the_vendor_does_not_have()


def test_a_field_that_the_configuration_names_is_the_users_own() -> None:
    case = changed("hubspot", "contact")
    case.settings = {"fields": {"region": "sales_region"}}  # type: ignore[misc]
    assert "properties.sales_region" in case.source.stream("contact").asks(case.config())
    case.test_it_asks_for_no_field_that_the_vendor_does_not_have()


def test_a_mapping_that_cannot_do_without_what_only_some_accounts_have_fails() -> None:
    def needs_it(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
        return lead(records.assign(medium=records["properties.utm_medium"]), context)

    lead = SOURCES["hubspot"].stream("contact").feeds["lead"]
    case = changed("hubspot", "contact", feeds={"lead": needs_it})
    case.test_every_record_becomes_rows_that_its_core_table_takes()
    with pytest.raises(KeyError, match=r"properties\.utm_medium"):
        case.test_an_account_with_nothing_but_what_every_account_has_is_read()


def test_a_twin_with_a_field_of_its_own_fails() -> None:
    def fetch(*asked: Any) -> Iterator[Any]:
        for page in SOURCES["ecb"].stream("exchange_rate").fetch(*asked):
            yield replace(page, records=[{**record, "RATE": 1, "DECIMALS": 4} for record in page.records])

    with pytest.raises(AssertionError, match=r"DECIMALS is no integer text, but int; RATE is not in contract\.yaml"):
        changed("ecb", "exchange_rate", fetch=fetch).test_the_twin_answers_with_fields_and_types_of_the_vendor()


@pytest.mark.parametrize("column", ["date_day", "converted_at"])
def test_a_date_taken_for_midnight_in_utc_fails(column: str) -> None:
    """As `ConvertedDate` was: in America it is the day before, which no test in UTC sees."""

    def shifted(records: pd.DataFrame, context: MappingContext) -> pd.DataFrame:
        midnight = utc(records["ConvertedDate"])
        value = {"date_day": local_day(midnight, context.config.zone), "converted_at": midnight}[column]
        return lead(records, context).assign(**{column: value})

    lead = SOURCES["salesforce"].stream("lead").feeds["lead"]
    case = changed("salesforce", "lead", feeds={"lead": shifted})
    case.test_every_record_becomes_rows_that_its_core_table_takes()
    with pytest.raises(AssertionError, match=rf"ConvertedDate is another day in America/New_York: \['{column}'\]"):
        case.test_a_date_is_that_day_in_every_time_zone()
