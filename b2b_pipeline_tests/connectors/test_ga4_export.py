"""The export of Google Analytics: what is a visit in it, which days are whole, and what is told of what it lacks."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
import time_machine
from google.auth.exceptions import DefaultCredentialsError
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Finding, MappingContext, Page, Record, Window
from b2b_pipeline.connectors.configured import complaints
from b2b_pipeline.connectors.ga4_export import queries
from b2b_pipeline.connectors.ga4_export.source import SOURCE
from b2b_pipeline.connectors.warehouse.asking import asking
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import metadata
from b2b_pipeline_tests.support.ga4_export import COLUMNS, DATASET, Event, event, write

DAY = date(2026, 6, 10)
NOON = datetime(2026, 6, 10, 12, tzinfo=UTC)
LATER = NOON + timedelta(days=9)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SITE = "https://www.our.example"


def config(zone: str = "UTC", **given: Any) -> Config:
    settings = {"options": {"copied_at": "copied_at"}, "streams": ["visit", "form"], **given}
    return Config.model_validate(
        {
            "start_date": "2026-06-01", "timezone": zone, "system_of_record": "files",
            "sources": {"ga4_export": settings},
        }
    )  # fmt: skip


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GA4_EXPORT_URL", f"duckdb:///{tmp_path / 'copy.duckdb'}")
    return tmp_path / "copy.duckdb"


def put(path: Path, *events: Event, copied: datetime | None = LATER, without: tuple[str, ...] = ()) -> None:
    """Events in the tables of their days in UTC, with those of the days around, which have something else."""
    days = [DAY + timedelta(days=n) for n in range(-2, 3)]
    other = {
        day: [event("page_view", datetime(day.year, day.month, day.day, 3, tzinfo=UTC), f"x{day}")] for day in days
    }
    for each in events:
        other.setdefault(datetime.fromtimestamp(each["event_timestamp"] / 1e6, UTC).date(), []).append(each)
    write(path, {f"events_{day:%Y%m%d}": [*told] for day, told in other.items()}, copied, without=without)


def pages(stream: str = "visit", given: Config | None = None, first: date = DAY, days: int = 1) -> list[Page]:
    asked = given or config()
    client = SOURCE.connect(asked)
    window = Window.of_days(first, first + timedelta(days=days), asked.zone)
    return [*SOURCE.stream(stream).fetch(client, Account(DATASET), window)]


def told(stream: str = "visit", given: Config | None = None, **asked: Any) -> list[Record]:
    """Without what `put` has of others."""
    found = [record for page in pages(stream, given, **asked) for record in page.records]
    return sorted(
        (each for each in found if not str(each.get("visitor")).startswith("x")),
        key=lambda each: str(each.get("started_at")),
    )


def doubts(given: Config | None = None, **asked: Any) -> dict[str, str]:
    return {day: why for page in pages("visit", given, **asked) for day, why in page.doubts.items()}


def rows(records: list[Record], stream: str = "visit", given: Config | None = None) -> list[dict[str, Any]]:
    ((table, mapping),) = SOURCE.stream(stream).feeds.items()
    context = MappingContext(given or config(), "ga4_export", stream, Account(DATASET))
    found = enforce(metadata.tables[table], mapping(flattened(records), context))
    assert found.rejects.empty
    return found.rows.astype(object).where(found.rows.notna(), None).to_dict("records")  # type: ignore[return-value]


# -- what a visit is


def test_the_events_of_a_session_are_one_visit_however_long_it_pauses_and_beyond_midnight(path: Path) -> None:
    late = datetime(2026, 6, 10, 23, 50, tzinfo=UTC)
    put(
        path,
        event("session_start", late, page_location=f"{SITE}/pricing?utm_source=x&utm_medium=cpc&token=secret"),
        event("page_view", late, page_location=f"{SITE}/pricing?utm_source=x&utm_medium=cpc&token=secret"),
        event("user_engagement", late + 20 * MINUTE, engagement_time_msec=12_345, session_engaged="1"),
        event("page_view", late + 55 * MINUTE, page_location=f"{SITE}/about", page_referrer=f"{SITE}/pricing"),
        event("page_view", late + 56 * MINUTE, "another"),
        event("page_view", late + 57 * MINUTE, session=2),
    )
    (visit,) = told()
    assert (visit["pageviews"], visit["engaged_ms"], visit["is_engaged"], visit["key_events"]) == (
        2,
        12_345,
        True,
        None,
    )
    assert (visit["page"], visit["utm_medium"], visit["referrer"]) == ("www.our.example/pricing", "cpc", None)
    assert "secret" not in str(visit)
    assert [each["session_id"][-1] for each in told(first=DAY + timedelta(days=1))] == ["1", "2"], "of the next day"
    ((row),) = rows([visit])
    assert (row["channel"], str(row["date_day"])[:10], float(row["engaged_seconds"])) == (
        "paid_search", "2026-06-10", 12.345,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("zone", "first"), [("UTC", DAY), ("Asia/Tokyo", DAY + timedelta(days=1)), ("America/Los_Angeles", DAY)]
)
def test_a_visit_counts_on_its_day_where_we_report_whatever_day_it_is_at_the_property(
    path: Path, zone: str, first: date
) -> None:
    put(path, event("page_view", datetime(2026, 6, 10, 20, tzinfo=UTC)))
    asked = config(zone)
    assert len(told(given=asked, first=first)) == 1
    around = [each for n in (-1, 1) for each in told(given=asked, first=first + timedelta(days=n))]
    assert around == []
    assert rows(told(given=asked, first=first), given=asked)[0]["date_day"] == first


def test_without_consent_there_is_no_visit_and_a_form_has_none(path: Path) -> None:
    put(
        path,
        event("page_view", NOON, None, None, page_location=SITE),
        event("form_submit", NOON, None, None, page_location=f"{SITE}/demo", form_id="demo"),
        event("form_submit", NOON, None, None, page_location=f"{SITE}/demo", form_id="demo"),
        event("page_view", NOON, "1.2", None),
        {**event("screen_view", NOON, "app"), "platform": "IOS"},
    )
    assert told() == []
    forms = rows(told("form"), "form")
    assert [(row["session_id"], row["channel"], row["page"]) for row in forms] == [
        (None, "unknown", "www.our.example/demo")
    ] * 2
    assert len({row["event_id"] for row in forms}) == 2


def test_a_form_has_the_visit_in_which_it_was_sent_and_counts_on_its_own_day(path: Path) -> None:
    late = datetime(2026, 6, 10, 23, 59, tzinfo=UTC)
    put(
        path,
        event("page_view", late, page_location=f"{SITE}/?gclid=Cj0", page_referrer="https://www.google.com/"),
        event("form_submit", late + 2 * MINUTE, page_location=f"{SITE}/demo?email=ida@x.example", form_id=17),
        event("generate_lead", late + 2 * MINUTE, page_location=f"{SITE}/demo"),
    )
    assert told("form") == []
    (form,) = told("form", first=DAY + timedelta(days=1))
    assert (form["form_id"], form["page"]) == ("17", "www.our.example/demo")
    assert form["visit"]["session_id"] == told()[0]["session_id"]
    assert rows([form], "form")[0]["channel"] == "paid_search"
    leads = config(options={"forms": "generate_lead"})
    assert [each["form_id"] for each in told("form", leads, first=DAY + timedelta(days=1))] == [None]


@pytest.mark.parametrize(
    ("came", "collected", "channel", "campaign"),
    [
        ({"page_location": f"{SITE}/?fbclid=x&utm_medium=email"}, {}, "paid_social", None),
        ({"page_location": f"{SITE}/?utm_medium=email&utm_campaign=June"}, {}, "email", "June"),
        ({"page_location": f"{SITE}/?utm_source=x"}, {}, "unknown", None),
        ({"page_location": SITE}, {"manual_medium": "newsletter", "manual_campaign_name": "July"}, "email", "July"),
        ({"page_location": SITE}, {"gclid": "Cj0"}, "paid_search", "77"),
        (
            {"page_location": SITE, "page_referrer": "https://www.linkedin.com/"},
            {"manual_source": "linkedin.com", "manual_medium": "referral"}, "organic_social", None,
        ),
        (
            {"page_location": SITE, "page_referrer": "https://www.google.com/"},
            {"manual_source": "google", "manual_medium": "organic"}, "organic_search", None,
        ),
        ({"page_location": SITE, "page_referrer": "https://shop.our.example/x"}, {}, "direct", None),
        ({"page_location": SITE, "page_referrer": "https://docs.other.example/x"}, {}, "direct", None),
        ({"page_location": SITE, "page_referrer": "https://a.example/"}, {"manual_medium": "(none)"}, "referral", None),
        ({}, {}, "direct", None),
        ({"page_location": "https://[broken/?utm_medium=email"}, {}, "direct", None),
    ],
)  # fmt: skip
def test_the_channel_is_that_of_the_page_a_visit_began_on(
    path: Path, came: dict[str, str], collected: dict[str, str], channel: str, campaign: str | None
) -> None:
    first = {
        **event("page_view", NOON, **came), "collected_traffic_source": collected,
        "session_traffic_source_last_click": {"google_ads_campaign": {"campaign_id": "77"}},
    }  # fmt: skip
    put(path, first, event("page_view", NOON + MINUTE, page_location=f"{SITE}/?utm_medium=cpc"))
    asked = config(options={"copied_at": "copied_at", "own_hosts": "docs.other.example"})
    (row,) = rows(told(given=asked))
    assert (row["channel"], row["campaign_id"]) == (channel, campaign)


def test_what_is_sent_at_one_moment_is_in_the_order_of_its_batch(path: Path) -> None:
    second = {**event("page_view", NOON, page_location=f"{SITE}/a"), "batch_page_id": 2}
    first = {**event("page_view", NOON, page_location=f"{SITE}/b"), "batch_page_id": 1}
    put(path, second, first, event("scroll", NOON - MINUTE, page_location=f"{SITE}/c"))
    assert told()[0]["page"] == "www.our.example/b", "of the first page that was seen, not of what came before it"


def test_whoever_goes_on_without_end_is_a_bot(path: Path) -> None:
    many = [event("scroll", NOON + n * MINUTE / 10, "many") for n in range(1001)]
    put(
        path,
        *many,
        event("page_view", NOON, "long"),
        event("page_view", NOON + 25 * HOUR, "long"),
        event("scroll", NOON),
    )
    assert {each["visitor"]: each["is_bot"] for each in told()} == {"many": True, "long": True, "1.2": False}
    assert [row["is_bot"] for row in rows(told(), given=config())].count(True) == 2


def test_key_events_are_counted_where_they_are_named(path: Path) -> None:
    put(path, event("page_view", NOON), event("purchase", NOON + MINUTE), event("sign_up", NOON + MINUTE))
    asked = config(options={"copied_at": "copied_at", "key_events": "purchase sign_up"})
    assert told(given=asked)[0]["key_events"] == 2


def test_tables_of_before_a_column_was_added_are_read_without_it(path: Path) -> None:
    later = ("collected_traffic_source", "session_traffic_source_last_click", *queries.IN_BATCH)
    put(path, event("page_view", NOON, page_location=f"{SITE}/?gclid=1"), without=later)
    (row,) = rows(told())
    assert (row["channel"], row["campaign_id"]) == ("paid_search", None)


def test_a_day_is_told_the_same_in_whichever_window_it_is_read(path: Path) -> None:
    put(path, *(event("page_view", NOON + n * 6 * HOUR, f"v{n}", n) for n in range(-4, 5)))
    whole = told(first=DAY - timedelta(days=1), days=3)
    apart = [each for n in (-1, 0, 1) for each in told(first=DAY + timedelta(days=n))]
    assert whole == apart
    assert len(whole) == 9


# -- which days are whole


def test_a_day_is_whole_when_it_and_its_neighbours_were_copied_after_three_days(path: Path) -> None:
    final = datetime(2026, 6, 15, 12, tzinfo=UTC)  # the day after is over everywhere, and three days more
    put(path, event("page_view", NOON), copied=final)
    assert doubts() == {}
    put(path, event("page_view", NOON), copied=final - timedelta(minutes=1))
    assert doubts() == {
        "2026-06-10": f"{DATASET}.events_20260611 was read as it was on 2026-06-15: for three days Google adds what "
                      "comes late"
    }  # fmt: skip
    assert len(told()) == 1, "it is there all the same"


@pytest.mark.parametrize("missing", [-1, 0, 1])
def test_a_table_that_is_not_there_leaves_its_day_and_those_beside_it_in_doubt(path: Path, missing: int) -> None:
    put(path, event("page_view", NOON), event("page_view", NOON + 12 * HOUR - MINUTE / 2))
    table = f"events_{DAY + timedelta(days=missing):%Y%m%d}"
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"alter table {DATASET}.{table} rename to events_intraday_{table[7:]}")
    assert doubts() == {
        "2026-06-10": f"there is no table {DATASET}.{table}, but for its intraday one, which is not final"
    }
    with time_machine.travel(NOON + timedelta(days=1)):
        assert len(told()) == (0 if missing == 0 else 1)
    assert told() == [], "long after, what was read before stands"


def test_what_was_read_of_a_day_stands_when_its_table_is_gone_and_its_neighbours_have_some_of_it(path: Path) -> None:
    put(path, event("page_view", datetime(2026, 6, 9, 20, tzinfo=UTC)))  # on the 10th in Tokyo
    asked = config("Asia/Tokyo")
    assert len(told(given=asked)) == 1
    with duckdb.connect(str(path)) as connection:
        connection.execute(f"drop table {DATASET}.events_20260610")
    assert told(given=asked) == []
    assert list(doubts(asked)) == ["2026-06-10"]


def test_no_day_of_a_copy_is_whole_that_does_not_say_when_it_was_made(path: Path) -> None:
    put(path, event("page_view", NOON), copied=None)
    (why,) = doubts().values()
    assert why == f"nothing says when {DATASET}.events_20260610 was copied: options.copied_at has to name the column " \
                  "that does"  # fmt: skip
    assert doubts(config(options={})) == {"2026-06-10": why}
    with pytest.raises(ConfigError, match=r"events_20260609 has no column made, as options\.copied_at says"):
        doubts(config(options={"copied_at": "made"}))


def test_a_day_of_as_many_events_as_are_exported_at_most_may_lack_others(path: Path) -> None:
    put(path, *(event("scroll", NOON + n * MINUTE) for n in range(5)))
    few = {"copied_at": "copied_at", "most_events": "6"}
    (why,) = doubts(config(options=few)).values()
    assert why.startswith(f"{DATASET}.events_20260610 has 6 events and may lack others")
    assert doubts(config(options={**few, "most_events": "7"})) == {}
    with pytest.raises(ConfigError, match="'all' is not a number of events"):
        doubts(config(options={**few, "most_events": "all"}))


def test_an_export_of_other_columns_is_none(path: Path) -> None:
    put(path, event("page_view", NOON), without=("geo",))
    with pytest.raises(ConfigError, match="events_20260609 has no geo: it is no daily table of the export"):
        told()


# -- where it is


def test_the_datasets_are_those_that_google_names_or_that_are_configured(path: Path) -> None:
    write(path, {"events_20260610": []})
    write(path, {"events_20260610": []}, dataset="site_of_ours")
    found = {
        names: [account.id for account in SOURCE.accounts(SOURCE.connect(given), given).read]
        for names, given in (("", config()), ("ours", config(accounts=["site_of_ours"])))
    }
    assert found == {"": [DATASET], "ours": ["site_of_ours"]}
    with pytest.raises(ConfigError, match="elsewhere not among the accounts"):
        SOURCE.accounts(SOURCE.connect(config()), config(accounts=["elsewhere"]))


def test_without_a_dataset_of_google_the_one_has_to_be_named(path: Path) -> None:
    write(path, {"events_20260610": []}, dataset="site_of_ours")
    with pytest.raises(
        ConfigError, match="no dataset is called analytics_<property>: name the one that has the export"
    ):
        SOURCE.accounts(SOURCE.connect(config()), config())


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ("", AuthError, "GA4_EXPORT_URL is not set"),
        ("export", ConfigError, "GA4_EXPORT_URL is not a SQLAlchemy URL"),
        ("postgresql+psycopg://me:hush@x/export", ConfigError, "in BigQuery or in a DuckDB file, not in postgresql"),
        ("snowflake://me:hush@account/export", ConfigError, "driver of its warehouse is not installed"),
    ],
)
def test_a_url_of_what_cannot_be_read_says_why_and_not_what_it_is(
    monkeypatch: pytest.MonkeyPatch, given: str, error: type[Exception], said: str
) -> None:
    monkeypatch.setenv("GA4_EXPORT_URL", given)
    with pytest.raises(error, match=said) as found:
        SOURCE.connect(config())
    assert "hush" not in str(found.value)


def probe(given: Config) -> list[Finding]:
    return SOURCE.probe(SOURCE.connect(given), given)


def test_doctor_tells_the_newest_day_who_did_not_consent_and_what_a_copy_does_not_say(path: Path) -> None:
    put(path, event("page_view", NOON + 2 * 24 * HOUR, None, None), copied=None)
    with time_machine.travel(NOON + timedelta(days=4)):
        found = [(finding.what, finding.warning) for finding in probe(config(options={}))]
    assert found == [
        (f"{DATASET}: 5 days, the newest events_20260612, of 2 events", False),
        (f"{DATASET}.events_20260612: 1 events are of visitors who did not consent, and in no visit", False),
        (f"{DATASET} is a copy that does not say of when: no day of it is whole", True),
    ]
    with time_machine.travel(NOON + timedelta(days=9)):
        assert [finding.warning for finding in probe(config())] == [True, False]


def test_doctor_says_of_an_export_that_streams_alone_that_nothing_in_it_is_final(path: Path) -> None:
    write(path, {"events_intraday_20260610": [event("page_view", NOON)]})
    (finding,) = probe(config())
    assert (finding.ok, finding.what) == (False, f"{DATASET} has no daily table of events")
    assert "export type Daily" in finding.fix


@pytest.mark.parametrize(
    ("collector", "export", "is_refused"),
    [
        ({}, {}, True),
        ({}, {"options": {"other_sites": "yes"}}, False),
        ({"options": {"other_sites": "yes"}}, {}, False),
        ({"streams": ["product"]}, {}, False),
    ],
)
def test_visits_of_two_sources_are_refused_unless_they_are_of_different_sites(
    collector: dict[str, Any], export: dict[str, Any], is_refused: bool
) -> None:
    given = {"start_date": "2026-06-01", "system_of_record": "files"}
    both = Config.model_validate({**given, "sources": {"collector": collector, "ga4_export": export}})
    assert [where for where, _ in complaints(both)] == ([("sources", "ga4_export")] if is_refused else [])


# -- as BigQuery is asked


class DatabaseError(Exception):
    """As that of google.cloud.bigquery.dbapi, which holds the client's."""


class Refused(Exception):
    """As an error of BigQuery's client (google.api_core.exceptions), which has a code."""

    __module__ = "google.api_core.exceptions"

    def __init__(self, code: int | None) -> None:
        super().__init__("of analytics_123456789, as me@our.example")
        self.code = code


@pytest.mark.parametrize(
    ("error", "means"),
    [
        (DefaultCredentialsError("no file /home/me/key.json"), AuthError),
        (Refused(401), AuthError),
        (Refused(403), PermanentError),
        (Refused(404), PermanentError),
        (Refused(429), TransientError),
        (Refused(503), TransientError),
        (DBAPIError("select", None, DatabaseError(Refused(503))), TransientError),  # type: ignore[arg-type]
        (DBAPIError("select", None, DatabaseError(Refused(400))), PermanentError),  # type: ignore[arg-type]
        (DBAPIError("select", None, DatabaseError("me@our.example")), PermanentError),  # type: ignore[arg-type]
        (ConfigError("ours"), ConfigError),
    ],
)
def test_what_bigquery_says_becomes_an_error_that_does_not_repeat_it(error: Exception, means: type[Exception]) -> None:
    with pytest.raises(means) as found, asking(create_engine("duckdb://"), "the export"):
        raise error
    assert "me" not in str(found.value).split()
    assert "example" not in str(found.value)
    assert "key.json" not in str(found.value)


def test_a_key_of_bigquery_that_is_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sqlalchemy_bigquery")
    monkeypatch.setenv("GA4_EXPORT_URL", "bigquery://our-project")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere/key.json")
    with pytest.raises(AuthError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        SOURCE.accounts(SOURCE.connect(config()), config())


@pytest.mark.parametrize("asked", ["visits", "forms"])
def test_bigquery_is_asked_in_its_own_words(asked: str) -> None:
    """With the driver's own dialect, where it is installed; no BigQuery answers here."""
    dialect = pytest.importorskip("sqlalchemy_bigquery").BigQueryDialect()
    build = {"visits": queries.visits, "forms": queries.forms}[asked]
    tables = {"events_20260610": COLUMNS, "events_20260611": queries.NEEDED}
    said = str(build(dialect.name, DATASET, tables, 0, 1, ["purchase"]).compile(dialect=dialect))
    for word in (
        f"FROM `{DATASET}`.`events_20260610`", f"FROM `{DATASET}`.`events_20260611`", "UNION ALL",
        "(select max(p.value.int_value) from unnest(event_params) as p where p.key = 'ga_session_id')",
        "session_traffic_source_last_click.google_ads_campaign.campaign_id AS `campaign_id`",
        "CAST(NULL AS STRING) AS `campaign_id`", "GROUP BY `known`.`visitor`, `known`.`session`",
    ):  # fmt: skip
        assert word in said
    assert "list_filter" not in said
