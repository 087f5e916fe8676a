from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import requests

from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.generate_base import CLOCK_HOUR, DAY, HOUR, MINUTE, salesforce_id
from b2b_sandbox.server import running
from b2b_sandbox.toolkit import Shapes
from b2b_sandbox.truth import NAMES, truth
from b2b_sandbox.world import SCHEMA, World

UNTIL = date(2026, 10, 31)
SHOWN_AT = {
    "record_version": "visible_at",
    "property_history": "visible_at",
    "email_event": "visible_at",
    "association": "visible_at",
    "ad_entity": "visible_at",
    "ad_day": "known_at",
    "ad_conversion_day": "known_at",
    "fx_rate": "visible_at",
    "file_drop": "visible_at",
}


@pytest.fixture(scope="module")
def default(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("default") / "world.sqlite", until=UNTIL)


def rows(world: World, query: str, *parameters: object) -> list[tuple[Any, ...]]:
    with world.connect() as connection:
        return [tuple(row) for row in connection.execute(query, parameters)]


def dump(world: World, clock: int | None = None) -> dict[str, list[tuple[Any, ...]]]:
    """All rows, or those visible at a clock."""
    at = 1 << 62 if clock is None else clock
    queries = {table: f"select * from {table} where {column} <= ?" for table, column in SHOWN_AT.items()}  # noqa: S608
    return {table: rows(world, query, at) for table, query in queries.items()}


# -- the world


def test_the_same_seed_makes_the_same_world_and_another_one_a_different_one(tmp_path: Path) -> None:
    one, two, other = (
        make_world(tmp_path / name, until=UNTIL, days=25, leads=100, seed=seed)
        for name, seed in (("a", 7), ("b", 7), ("c", 8))
    )
    assert dump(one) == dump(two)
    assert {table for table in SHOWN_AT if dump(one)[table] == dump(other)[table]} == {"ad_entity"}


def test_advancing_day_by_day_equals_generating_longer_and_leaves_the_past_alone(tmp_path: Path) -> None:
    world = make_world(tmp_path / "short", until=date(2026, 10, 11), days=22, leads=110)
    seen, clock = dump(world, world.now()), world.now()
    advance(world, 1)
    advance(world, 19)
    longer = make_world(tmp_path / "long", until=UNTIL, days=42, leads=210)
    assert dump(world) == dump(longer)
    assert dump(world, clock) == seen
    assert world.now() == longer.now() == clock + 20 * DAY
    assert world.setting("until") == "2026-10-31"


def test_the_rough_world_has_accounts_as_real_ones_are_and_goes_on_as_it_began(tmp_path: Path) -> None:
    world = make_world(tmp_path / "short", until=date(2026, 10, 11), days=22, leads=110, rough=True)
    advance(world, 20)
    assert dump(world) == dump(make_world(tmp_path / "long", until=UNTIL, days=42, leads=210, rough=True))
    contacts = "select payload from record_version where object = 'contacts'"
    assert not [name for (text,) in rows(world, contacts) for name in json.loads(text) if name.startswith("utm_")]
    fine = "'ENABLED', 'ACTIVE', 'Active', 'Pause', 'STATUS_ENABLE', 'VALID', 'TRUSTED'"
    unreadable = f"currency is null or status not in ({fine})"
    counts = f"select vendor, count(*) from ad_account where {unreadable} group by vendor"  # noqa: S608
    assert rows(world, counts) == [
        ("google_ads", 2),
        ("linkedin_ads", 3),
        ("meta_ads", 2),
        ("microsoft_ads", 2),
        ("reddit_ads", 1),
        ("tiktok_ads", 2),
        ("x_ads", 1),
    ]
    leads = rows(world, "select payload, modified_at from record_version where object = 'Lead' order by version")
    converted = {lead["Id"]: lead["ConvertedDate"] for lead, at in ((json.loads(p), at) for p, at in leads)}
    stamped = {json.loads(p)["Id"]: at for p, at in reversed(leads) if json.loads(p)["ConvertedDate"]}
    days = {datetime.fromtimestamp(at / 1000, UTC).date().isoformat() != converted[id_] for id_, at in stamped.items()}
    assert days == {True, False}  # early in the morning it is still the day before where the org is


def test_a_world_is_never_made_over_another_one(tmp_path: Path) -> None:
    make_world(tmp_path / "world", until=UNTIL, days=1, leads=1)
    with pytest.raises(FileExistsError):
        make_world(tmp_path / "world", until=UNTIL, days=1, leads=1)
    assert [path.name for path in tmp_path.iterdir()] == ["world"]


def test_the_clock_stands_after_the_last_day_of_every_account_and_before_anything_new_happens(default: World) -> None:
    assert default.now() == int(datetime(2026, 11, 1, CLOCK_HOUR, tzinfo=UTC).timestamp() * 1000)
    for table, column in (("record_version", "modified_at"), ("property_history", "at"), ("email_event", "created")):
        at_night = f"select count(*) from {table} where {column} % ? < ?"  # noqa: S608
        assert rows(default, at_night, DAY, CLOCK_HOUR * HOUR) == [(0,)]
    accounts = "select account_id, max(date_day) from ad_day where known_at <= ? group by account_id"
    assert {last for _, last in rows(default, accounts, default.now())} == {"2026-10-31"}


def test_versions_become_visible_in_their_order_soon_after_they_are_made(default: World) -> None:
    pairs = """
        select count(*) from record_version a join record_version b
          on (a.vendor, a.object, a.id, a.version + 1) = (b.vendor, b.object, b.id, b.version)
        where a.modified_at >= b.modified_at or a.visible_at > b.visible_at
    """
    assert rows(default, pairs) == [(0,)]
    lags = dict(rows(default, "select vendor, max(visible_at - modified_at) from record_version group by vendor"))
    assert 30_000 < lags["hubspot"] <= MINUTE
    assert 2 * MINUTE < lags["salesforce"] <= 4 * MINUTE


def test_the_funnel_of_the_default_world_looks_like_a_real_one(default: World) -> None:
    found = {row["metric"]: row["value"] for row in truth(default, gross_margin=Decimal("0.8"))}
    assert 2_900 < found["leads"] < 3_300
    assert 0.30 < found["lead_to_mql_rate"] < 0.40
    assert 0.38 < found["mql_to_sql_rate"] < 0.50
    assert 0.45 < found["sql_to_opportunity_rate"] < 0.65
    assert 0.22 < found["win_rate"] < 0.38
    assert 28 < found["cycle_days_median"] < found["cycle_days_mean"] < 55
    assert 15_000 < Decimal(found["average_deal_size"]) < 35_000
    assert 0 < found["romi"] < 5
    unknown = [name for name, value in found.items() if value is None]
    assert unknown == ["lead_to_mql_rate_30d"], "the newest leads have not had 30 days"


def test_every_hard_case_is_in_the_default_world(default: World) -> None:
    newest = """
        select count(*) from (select vendor, object, id, max(version), is_deleted, is_gone, payload from record_version
                              where visible_at <= ? group by 1, 2, 3) where
    """
    cases = {
        "HubSpot merges": "object = 'contacts' and is_gone",
        "archived contacts": "object = 'contacts' and is_deleted",
        "merged Salesforce leads": "object = 'Lead' and payload ->> 'MasterRecordId' is not null",
        "deleted Salesforce leads": "object = 'Lead' and is_deleted and payload ->> 'MasterRecordId' is null",
        "merged contacts": "object = 'Contact' and payload ->> 'MasterRecordId' is not null",
        "deleted opportunities": "object = 'Opportunity' and is_deleted",
        "renewals": "object = 'Opportunity' and payload ->> 'Type' = 'Renewal'",
        "no amount": "object = 'Opportunity' and payload ->> 'Amount' is null",
        "no account": "object = 'Opportunity' and payload ->> 'AccountId' is null",
        "pounds": "object = 'Opportunity' and payload ->> 'CurrencyIsoCode' = 'GBP'",
        "own people": "object = 'contacts' and payload ->> 'email' like '%@ourcompany.example'",
        "test leads": "object = 'contacts' and payload ->> 'email' like 'qa+test%'",
        "addresses typed by hand": "object = 'Lead' and payload ->> 'Email' <> lower(trim(payload ->> 'Email'))",
        "formulas": "payload ->> 'company' like '=%'",
    }
    missing = [name for name, where in cases.items() if rows(default, newest + where, default.now()) == [(0,)]]
    assert missing == []
    reopened = """
        select count(distinct a.id) from record_version a join record_version b using (vendor, object, id)
        where a.object = 'Opportunity' and a.version < b.version
          and a.payload ->> 'IsClosed' and not b.payload ->> 'IsClosed'
    """
    assert rows(default, reopened)[0][0] > 3
    same_moment = (
        "select count(*) n from record_version where object = 'contacts' group by modified_at order by n desc limit 1"
    )
    assert rows(default, same_moment)[0][0] >= 200


def test_salesforce_ids_have_the_checksum_of_the_real_ones() -> None:
    assert salesforce_id("001", 0)[:6] == "001Wx0"
    assert salesforce_id("001", 61)[14] == "z"
    # Each letter of the suffix marks the upper-case ones among five characters: Q and W are 4 + 8, A is 8.
    assert salesforce_id("00Q", 10 * 62 + 36) == "00QWx00000000Aa" + "MAI"


# -- the truth, on worlds so small that each number can be worked out by hand


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class Tiny:
    """A world written by hand. Times are like `2026-03-05T10:00:00`, UTC."""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path)
        self.connection.executescript(SCHEMA)
        self.run("insert into setting values ('now', ?)", ms("2026-04-01T06:00:00"))
        self.world = World(path)
        self.numbers = iter(range(1, 1000))

    def run(self, statement: str, *values: object) -> None:
        self.connection.execute(statement, values)
        self.connection.commit()

    def record(
        self, vendor: str, kind: str, key: str, at: str, *, deleted: bool = False, gone: bool = False, **data: Any
    ) -> None:
        """A new version, with what is given on top of the version before."""
        before = self.connection.execute(
            "select version, payload from record_version where (vendor, object, id) = (?, ?, ?) order by version desc",
            (vendor, kind, key),
        ).fetchone() or (0, "{}")
        payload = json.dumps(json.loads(before[1]) | data)
        self.run(
            "insert into record_version values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            vendor, kind, key, before[0] + 1, ms(at), ms(at), deleted, gone, payload,
        )  # fmt: skip

    def contact(self, key: str, at: str, email: str | None, **properties: Any) -> None:
        self.record("hubspot", "contacts", key, at, createdate=f"{at}.000Z", email=email, **properties)

    def stage(self, key: str, at: str, value: str) -> None:
        self.run("insert into property_history values ('hubspot', 'contacts', ?, 'lifecyclestage', ?, ?, ?, 'X')",
                 key, ms(at), ms(at), value)  # fmt: skip

    def lead(self, key: str, at: str, email: str, status: str = "Open - Not Contacted") -> None:
        self.record(
            "salesforce", "Lead", key, at, CreatedDate=f"{at}.000+0000", Email=email, Status=status, IsConverted=False
        )

    def status(self, lead: str, at: str, old: str, new: str) -> None:
        self.record("salesforce", "LeadHistory", f"017{next(self.numbers):03d}", at, Id=str(next(self.numbers)),
                    LeadId=lead, Field="Status", OldValue=old, NewValue=new, CreatedDate=f"{at}.000+0000")  # fmt: skip
        self.record("salesforce", "Lead", lead, at, Status=new)

    def opportunity(self, key: str, at: str, amount: float | None, account: str | None = "001", **more: Any) -> None:
        self.record(
            "salesforce", "Opportunity", key, at,
            **{"CreatedDate": f"{at}.000+0000", "Amount": amount, "CurrencyIsoCode": "EUR", "AccountId": account}
            | {"Type": "New Business", "IsClosed": False, "IsWon": False, "CloseDate": "2026-12-31"} | more,
        )  # fmt: skip

    def close(self, key: str, at: str, on: str, *, won: bool = True) -> None:
        self.record("salesforce", "Opportunity", key, at, IsClosed=True, IsWon=won, CloseDate=on)

    def fixing(self, day: str, **rates: str) -> None:
        for currency, rate in rates.items():
            self.run("insert into fx_rate values (?, ?, ?, ?)", day, currency, rate, ms(f"{day}T15:00:00"))

    def campaign(self, kind: str = "SEARCH", currency: str = "USD") -> None:
        self.run(
            "insert into ad_account values ('google_ads', '1', 'A', ?, 'America/New_York', null, 'ENABLED')", currency
        )
        payload = json.dumps({"advertisingChannelType": kind})
        self.run("insert into ad_entity values ('google_ads', '1', 'campaign', '9', null, ?, 0)", payload)

    def ad_day(self, group: str, day: str, known: str, micros: int, clicks: int = 1) -> None:
        self.run("insert into ad_day values ('google_ads', '1', '9', ?, ?, ?, 100, ?, ?, 0, '0', '0', '0', 0)",
                 group, day, ms(known), clicks, micros)  # fmt: skip

    def costs(self, at: str, *lines: str) -> None:
        text = "\r\n".join(["Document;Category;Channel;Supplier;From;To;Amount", *lines, "Total;;;;;;0,00 €"])
        self.run("insert into file_drop values ('costs_2026-03.csv', ?, ?)", ms(at), text.encode("windows-1252"))

    def email(
        self, kind: str, at: str, campaign: int = 5, who: str = "a@x.example", sent: str | None = None, **more: Any
    ) -> None:
        self.run(
            "insert into email_event values (?, ?, ?, ?, ?, ?, 1, ?, ?, ?)",
            f"e{next(self.numbers)}", ms(at), ms(at), kind, who, campaign, sent and "s", sent and ms(sent),
            json.dumps(more),
        )  # fmt: skip

    def ask(self, *metrics: str, as_of: str | None = None, **options: Any) -> list[dict[str, Any]]:
        at = None if as_of is None else datetime.fromisoformat(as_of).replace(tzinfo=UTC)
        return truth(self.world, metrics=metrics, as_of=at, **options)

    def value(self, metric: str, **options: Any) -> Any:
        (row,) = self.ask(metric, **options)
        return row["value"]

    def days(self, metric: str, **options: Any) -> dict[str, Any]:
        """Where it is not nought."""
        found = {row["date"][5:]: row["value"] for row in self.ask(metric, by=["day"], **options)}
        return {day: value for day, value in found.items() if value and value != "0.00"}

    def channels(self, metric: str, **options: Any) -> dict[str | None, Any]:
        return {row["channel"]: row["value"] for row in self.ask(metric, by=["channel"], **options)}


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Tiny]:
    world = Tiny(tmp_path / "tiny.sqlite")
    yield world
    world.connection.close()


def test_spend_is_what_the_platform_said_at_the_time_converted_at_the_fixing_before_the_weekend(tiny: Tiny) -> None:
    tiny.fixing("2026-03-06", USD="1.25", GBP="0.80")
    tiny.fixing("2026-03-09", USD="1.20", GBP="0.80")
    tiny.campaign()
    tiny.ad_day("1", "2026-03-07", "2026-03-08T05:00:00", 60_000_000)
    tiny.ad_day("2", "2026-03-07", "2026-03-08T05:00:00", 40_000_000)
    tiny.ad_day("2", "2026-03-07", "2026-03-10T05:30:00", 50_000_000, clicks=3)
    assert tiny.value("spend", as_of="2026-03-10T05:29:59") == "80.00"  # 100 / 1.25
    assert tiny.value("spend") == "88.00"  # 110 / 1.25
    assert tiny.value("spend", currency="GBP") == "70.40"  # 110 x 0.80 / 1.25
    assert tiny.value("spend", currency="USD") == "110.00"
    assert tiny.value("cpc") == "22.00"
    assert tiny.channels("spend") == {"paid_search": "88.00"}


def test_a_day_without_a_fixing_in_its_last_seven_days_has_no_spend_but_clicks(tiny: Tiny) -> None:
    tiny.fixing("2026-03-06", USD="1.25")
    tiny.campaign("VIDEO")
    for day in ("2026-03-05", "2026-03-13", "2026-03-14"):
        tiny.ad_day("1", day, "2026-03-20T00:00:00", 10_000_000)
    assert tiny.days("spend") == {"03-13": "8.00"}
    assert tiny.days("clicks") == {"03-05": 1, "03-13": 1, "03-14": 1}
    assert tiny.channels("clicks") == {"video": 3}


def test_a_cost_is_spread_over_its_days_and_the_last_one_takes_the_remainder(tiny: Tiny) -> None:
    tiny.costs("2026-03-04T16:00:00", "1;agency;partner;X;01.03.2026;03.03.2026;1.000,00 €")
    tiny.costs("2026-03-11T16:00:00", "1;agency;partner;X;01.03.2026;03.03.2026;200,00 €",
               "2;salaries_sales;;X;02.03.2026;02.03.2026;7,00 €",
               "3;rent;;X;02.03.2026;02.03.2026;9,00 €")  # fmt: skip
    found = [row for row in tiny.ask("cost_per_lead", by=["day"]) if row["numerator"] != "0.000000"]
    assert [row["numerator"] for row in found] == ["66.666666", "66.666666", "66.666668"]
    assert [row["value"] for row in found] == [None] * 3
    assert tiny.ask("cac")[0]["numerator"] == "207.000000"
    # Sales costs name no channel, so in none of them it is known what a customer cost.
    assert [row["numerator"] for row in tiny.ask("cac", by=["channel"])] == [None, None]
    assert tiny.ask("cpa", as_of="2026-03-11T15:00:00")[0]["numerator"] == "1000.000000"
    assert tiny.ask("cac", as_of="2026-03-11T15:00:00")[0]["numerator"] is None  # nobody gave a sales cost
    assert tiny.ask("cac", with_files=False)[0]["numerator"] is None


def test_records_with_one_address_are_one_person_on_the_earliest_day_of_the_reporting_zone(tiny: Tiny) -> None:
    tiny.contact("1", "2026-03-05T23:30:00", "ann@x.example")
    tiny.lead("00Q1", "2026-03-06T10:00:00", " Ann@X.example ")
    tiny.contact("2", "2026-03-06T10:00:00", None)
    tiny.contact("3", "2026-03-06T10:00:00", None)
    assert tiny.days("leads") == {"03-05": 1, "03-06": 2}
    assert tiny.days("leads", timezone="Europe/Berlin") == {"03-06": 3}
    assert [row["date"] for row in tiny.ask("leads", by=["week"])] == ["2026-03-02"]
    assert [row["date"] for row in tiny.ask("leads", by=["quarter"])] == ["2026-01-01"]
    assert tiny.value("leads", start=date(2026, 3, 6), end=date(2026, 3, 6)) == 2


def test_a_merge_in_hubspot_takes_the_losers_lead_and_stages_with_it(tiny: Tiny) -> None:
    tiny.contact("1", "2026-03-02T10:00:00", "ann@x.example", hs_analytics_source="ORGANIC_SEARCH")
    tiny.contact("2", "2026-03-05T10:00:00", "a@x.example")
    tiny.stage("2", "2026-03-06T10:00:00", "marketingqualifiedlead")
    tiny.record("hubspot", "contacts", "1", "2026-03-10T10:00:00", hs_merged_object_ids="2")
    tiny.record("hubspot", "contacts", "2", "2026-03-10T10:00:40", gone=True)
    tiny.stage("1", "2026-03-10T10:00:00", "marketingqualifiedlead")
    before = "2026-03-10T09:59:59"
    assert tiny.days("leads", as_of=before) == {"03-02": 1, "03-05": 1}
    assert tiny.days("mqls", as_of=before) == {"03-06": 1}
    assert tiny.value("leads", as_of="2026-03-10T10:00:20") == 1  # still listed, but the other one says so
    assert tiny.days("leads") == {"03-02": 1}
    assert tiny.days("mqls") == {"03-10": 1}
    assert tiny.channels("mqls") == {"organic_search": 1}


def test_a_merge_in_salesforce_moves_the_losers_touches_and_a_delete_leaves_them(tiny: Tiny) -> None:
    tiny.lead("00Q1", "2026-03-05T10:00:00", "ann@x.example")
    tiny.lead("00Q2", "2026-03-02T10:00:00", "a@x.example")
    tiny.record(
        "salesforce", "Lead", "00Q2", "2026-03-08T10:00:00", deleted=True, IsDeleted=True, MasterRecordId="00Q1"
    )
    tiny.record("salesforce", "Campaign", "7011", "2026-03-01T10:00:00", Type="Webinar")
    tiny.record(
        "salesforce", "CampaignMember", "00v1", "2026-03-04T10:00:00", CampaignId="7011", LeadId="00Q2",
        HasResponded=True, FirstRespondedDate=None, CreatedDate="2026-03-04T10:00:00.000+0000",
    )  # fmt: skip
    assert tiny.channels("leads", as_of="2026-03-08T09:00:00") == {None: 1, "events": 1}
    assert tiny.channels("leads") == {"events": 1}
    assert tiny.days("leads") == {"03-05": 1}
    tiny.record("salesforce", "CampaignMember", "00v1", "2026-03-09T10:00:00", deleted=True)
    assert tiny.channels("leads") == {None: 1}
    tiny.record("salesforce", "Lead", "00Q1", "2026-03-10T10:00:00", deleted=True, IsDeleted=True)
    assert tiny.value("leads") == 0


def test_one_test_record_excludes_its_person_until_it_is_deleted(tiny: Tiny) -> None:
    tiny.contact("1", "2026-03-02T10:00:00", "QA+Test7@x.example")
    tiny.contact("2", "2026-03-02T10:00:00", "eve@ourcompany.example")
    tiny.contact("3", "2026-03-02T10:00:00", "eve@notourcompany.example", hs_merged_object_ids="4")
    tiny.lead("00Q1", "2026-03-05T10:00:00", "qa+test7@x.example")
    assert tiny.value("leads") == 1
    assert tiny.value("leads", own_domains=[], test_patterns=[]) == 3
    for key, email in (("00Q2", "qa+test8@x.example"), ("00Q3", "real@x.example")):
        tiny.lead(key, "2026-03-05T10:00:00", email)
        tiny.record("salesforce", "Lead", key, "2026-03-06T10:00:00", ConvertedContactId="0031")
    assert tiny.value("leads", as_of="2026-03-06T09:00:00") == 2
    assert tiny.value("leads") == 1  # converted into one contact: one person
    tiny.record("salesforce", "Lead", "00Q2", "2026-03-07T10:00:00", deleted=True)
    assert tiny.value("leads") == 2


def test_the_first_touch_decides_and_two_at_one_second_are_ordered_by_id(tiny: Tiny) -> None:
    at = "2026-03-05T10:00:00"
    tiny.contact("2", at, "ann@x.example", hs_analytics_source="DIRECT_TRAFFIC",
                 hs_analytics_first_timestamp="2026-03-05T10:00:00.900Z",
                 hs_latest_source="ORGANIC_SEARCH", hs_latest_source_timestamp="2026-03-05T10:00:00.100Z")  # fmt: skip
    assert tiny.channels("leads") == {"direct": 1}  # the latest visit is the first one
    tiny.contact("10", at, "ann@x.example", utm_medium="Paid_Social",
                 hs_analytics_first_timestamp="2026-03-05T10:00:00.950Z")  # fmt: skip
    assert tiny.channels("leads") == {"paid_social": 1}  # `...:10:original` before `...:2:original`
    tiny.email("CLICK", "2026-03-05T09:59:59", who="Ann@x.example", sent=at, filteredEvent=True)
    assert tiny.channels("leads") == {"paid_social": 1}
    tiny.email("CLICK", "2026-03-05T09:59:59", who="Ann@x.example", sent=at, filteredEvent=False)
    assert tiny.channels("leads") == {"email": 1}


def test_click_id_then_medium_then_source_say_the_channel(tiny: Tiny) -> None:
    at = "2026-03-05T10:00:00"
    tiny.contact("1", at, None, hs_google_click_id="x", utm_medium="email", hs_analytics_source="DIRECT_TRAFFIC")
    tiny.contact("2", at, None, utm_medium="newsletter", hs_analytics_source="DIRECT_TRAFFIC")
    tiny.contact("3", at, None, utm_medium="carrier pigeon", hs_analytics_source="AI_REFERRALS")
    tiny.contact("4", at, None)
    tiny.lead("00Q1", at, "z@x.example")
    assert tiny.channels("leads") == {"paid_search": 1, "email": 1, "referral": 1, "unknown": 1, None: 1}


def test_stages_are_entered_first_in_either_crm_and_a_skipped_one_counts_as_reached_only(tiny: Tiny) -> None:
    # Recycled: the first entry counts.
    tiny.lead("00Q1", "2026-03-01T10:00:00", "a@x.example")
    tiny.status("00Q1", "2026-03-03T10:00:00", "Open - Not Contacted", "Working - Contacted")
    tiny.status("00Q1", "2026-03-05T10:00:00", "Working - Contacted", "Closed - Not Converted")
    tiny.status("00Q1", "2026-03-07T10:00:00", "Closed - Not Converted", "Working - Contacted")
    # Created as such; converted on a day that HubSpot says an hour earlier.
    tiny.lead("00Q2", "2026-03-02T10:00:00", "b@x.example", "Working - Contacted")
    tiny.status("00Q2", "2026-03-06T10:00:00", "Working - Contacted", "Closed - Converted")
    tiny.record("salesforce", "Lead", "00Q2", "2026-03-06T10:00:01", IsConverted=True, ConvertedDate="2026-03-06",
                ConvertedContactId="0031")  # fmt: skip
    tiny.contact("2", "2026-03-02T11:00:00", "b@x.example")
    tiny.stage("2", "2026-03-05T23:00:00", "salesqualifiedlead")
    # From lead to opportunity at once.
    tiny.contact("3", "2026-03-01T10:00:00", "c@x.example")
    tiny.stage("3", "2026-03-01T10:00:00", "lead")
    tiny.stage("3", "2026-03-04T10:00:00", "opportunity")
    assert tiny.days("mqls") == {"03-02": 1, "03-03": 1}
    assert tiny.days("sqls") == {"03-05": 1}
    assert tiny.days("lead_to_mql_rate") == {"03-01": 1.0, "03-02": 1.0}
    assert tiny.value("mql_to_sql_rate") == 0.5
    assert tiny.value("lead_to_mql_rate_period") == 2 / 3


def test_opportunities_count_when_opened_and_on_the_close_date_as_it_is_known_then(tiny: Tiny) -> None:
    tiny.fixing("2026-03-06", USD="1.25")
    tiny.fixing("2026-03-20", USD="1.60")
    tiny.opportunity("0061", "2026-03-06T16:00:00", 1000, CurrencyIsoCode="USD")
    tiny.close("0061", "2026-03-20T16:00:00", "2026-03-20", won=False)
    tiny.opportunity("0062", "2026-03-07T10:00:00", None)
    tiny.close("0062", "2026-03-20T10:00:00", "2026-03-10")
    tiny.opportunity(
        "0063", "2026-03-07T10:00:00", 500, Type="Renewal", IsClosed=True, IsWon=True, CloseDate="2026-03-08"
    )
    tiny.opportunity("0064", "2026-03-07T10:00:00", 500)
    tiny.record("salesforce", "Opportunity", "0064", "2026-03-08T10:00:00", deleted=True)
    assert tiny.days("opportunities", as_of="2026-03-08T09:00:00") == {"03-06": 1, "03-07": 2}
    assert tiny.days("pipeline", as_of="2026-03-08T09:00:00") == {"03-06": "800.00", "03-07": "500.00"}
    assert tiny.days("pipeline", as_of="2026-03-20T17:00:00") == {"03-06": "625.00"}
    assert tiny.days("lost") == {"03-20": 1}
    assert tiny.days("won") == {"03-10": 1}
    assert tiny.value("win_rate") == tiny.value("close_rate") == 0.5
    assert tiny.value("win_rate_amount") is None  # of all that was won nobody gave an amount
    assert tiny.value("average_deal_size") is None  # won, but without an amount
    assert tiny.value("cycle_days_mean") == tiny.value("cycle_days_median") == 3.0
    # Reopened: it is neither won nor lost any more, and its amount is that of the day it was opened.
    tiny.record("salesforce", "Opportunity", "0061", "2026-03-25T10:00:00", IsClosed=False, CloseDate="2026-06-30")
    assert tiny.value("lost") == 0
    assert tiny.value("win_rate") == 1.0
    assert tiny.days("pipeline") == {"03-06": "800.00"}


def test_an_account_becomes_a_customer_once_and_an_opportunity_without_one_never(tiny: Tiny) -> None:
    for key, account, closed in (("0063", "A", "09"), ("0062", "A", "09"), ("0061", "A", "12"), ("0064", None, "08")):
        tiny.opportunity(key, "2026-03-01T10:00:00", 100, account)
        tiny.close(key, "2026-03-20T10:00:00", f"2026-03-{closed}")
    tiny.costs("2026-03-04T16:00:00", "1;tools;;X;01.03.2026;01.03.2026;-50,00 €")
    assert tiny.days("new_customers") == {"03-09": 1}
    assert tiny.value("cpa") == "-50.00"
    assert tiny.value("mer") == -8.0


def won_by(tiny: Tiny, *roles: tuple[str, str, bool]) -> None:
    tiny.opportunity("0061", "2026-03-01T10:00:00", 900)
    tiny.close("0061", "2026-03-20T10:00:00", "2026-03-20")
    for key, contact, primary in roles:
        tiny.record("salesforce", "OpportunityContactRole", key, "2026-03-01T10:00:00", OpportunityId="0061",
                    ContactId=contact, IsPrimary=primary, CreatedDate="2026-03-01T10:00:00.000+0000")  # fmt: skip


def test_an_opportunity_is_its_converted_leads_else_its_primary_contacts(tiny: Tiny) -> None:
    for number, medium in ((1, "email"), (2, "social"), (3, "cpc"), (4, "affiliate")):
        tiny.contact(str(number), "2026-02-01T10:00:00", f"p{number}@x.example", utm_medium=medium)
        tiny.record("salesforce", "Contact", f"003{number}", "2026-02-01T10:00:00", Email=f"p{number}@x.example")
    won_by(tiny, ("00K1", "0031", False), ("00K2", "0032", True))
    assert tiny.channels("won") == {"organic_social": 1}
    tiny.record("salesforce", "OpportunityContactRole", "00K2", "2026-03-21T10:00:00", deleted=True)
    assert tiny.channels("won") == {"email": 1}
    tiny.record("salesforce", "Contact", "0031", "2026-03-22T10:00:00", deleted=True, Email=None, MasterRecordId="0034")
    assert tiny.channels("won") == {"partner": 1}
    tiny.lead("00Q3", "2026-02-01T10:00:00", "p3@x.example")
    tiny.record("salesforce", "Lead", "00Q3", "2026-03-23T10:00:00", ConvertedOpportunityId="0061",
                ConvertedContactId="0033", ConvertedDate="2026-03-01", IsConverted=True)  # fmt: skip
    assert tiny.channels("won") == {"paid_search": 1}
    assert tiny.channels("lead_to_customer_rate") == {
        "email": 0.0, "organic_social": 0.0, "paid_search": 1.0, "partner": 0.0,
    }  # fmt: skip
    tiny.record("salesforce", "Lead", "00Q3", "2026-03-24T10:00:00", deleted=True)
    assert tiny.channels("won") == {"partner": 1}


def test_a_won_amount_goes_to_the_first_and_last_touch_within_a_year_before_the_close(tiny: Tiny) -> None:
    tiny.campaign(currency="EUR")
    tiny.ad_day("1", "2026-03-01", "2026-03-02T05:00:00", 300_000_000)
    tiny.contact("1", "2025-03-19T10:00:00", "a@x.example", utm_medium="cpc", hs_latest_source="DIRECT_TRAFFIC",
                 hs_latest_source_timestamp="2026-03-20T09:00:00.000Z")  # fmt: skip
    tiny.record("salesforce", "Contact", "0031", "2026-02-01T10:00:00", Email="a@x.example")
    won_by(tiny, ("00K1", "0031", True))
    tiny.email("CLICK", "2026-03-21T00:00:00", who="a@x.example", sent="2026-03-01T10:00:00")
    assert tiny.channels("bookings") == {"paid_search": "900.00"}
    assert tiny.channels("revenue_first_touch") == {"direct": "900.00"}  # the ad click was a day too early
    assert tiny.value("roas") == tiny.value("romi_multiple") == 0.0
    tiny.email("CLICK", "2025-03-20T00:00:00", who="a@x.example", sent="2025-03-01T10:00:00")
    tiny.record("hubspot", "contacts", "1", "2026-03-22T10:00:00", hs_latest_source="PAID_SOCIAL")
    assert tiny.channels("revenue_first_touch") == {"email": "900.00"}
    assert tiny.channels("revenue_last_touch") == {"paid_social": "900.00"}
    assert tiny.value("roas") == tiny.value("romi_multiple") == 0.0  # nothing feeds the spend of paid_social
    tiny.record("hubspot", "contacts", "1", "2026-03-23T10:00:00", hs_latest_source="PAID_SEARCH")
    assert tiny.value("roas") == tiny.value("romi_multiple") == 3.0
    assert tiny.value("romi") is None
    assert tiny.value("romi", gross_margin=Decimal("0.5")) == 0.5  # (900 x 0.5 - 300) / 300
    assert tiny.value("romi", gross_margin=Decimal(0)) == -1.0
    assert tiny.value("roi", gross_margin=Decimal("0.5")) is None
    tiny.costs("2026-03-30T16:00:00", "1;salaries_sales;;X;01.03.2026;01.03.2026;60,00 €")
    assert tiny.value("roi", gross_margin=Decimal("0.5")) == 0.25  # (450 - 360) / 360


def test_a_recipient_counts_once_per_mailing_on_the_day_of_the_send(tiny: Tiny) -> None:
    sent = "2026-03-10T09:00:00"
    for who in ("a@x.example", "b@x.example", "A@X.example"):
        tiny.email("SENT", sent, who=who)
    tiny.email("SENT", "2026-03-12T09:00:00")
    tiny.email("DELIVERED", "2026-03-10T09:00:05", sent=sent)
    tiny.email("BOUNCE", "2026-03-10T09:00:05", who="b@x.example", sent=sent)
    tiny.email("OPEN", "2026-03-10T09:00:09", sent=sent, filteredEvent=True)
    tiny.email("CLICK", "2026-03-10T09:00:09", sent=sent, filteredEvent=True)
    tiny.email("STATUSCHANGE", "2026-03-11T09:00:00", sent=sent, portalSubscriptionStatus="SUBSCRIBED")
    tiny.email("STATUSCHANGE", "2026-03-11T09:00:00", portalSubscriptionStatus="UNSUBSCRIBED")  # not tied to a send
    assert tiny.days("email_sends") == {"03-10": 2}
    assert tiny.value("email_bounce_rate") == 0.5
    assert tiny.value("email_open_rate") == tiny.value("email_click_rate") == tiny.value("email_unsubscribe_rate") == 0
    tiny.email("OPEN", "2026-03-18T09:00:00", sent=sent, filteredEvent=False)
    tiny.email("OPEN", "2026-03-19T09:00:00", sent=sent, filteredEvent=False)
    assert tiny.value("email_open_rate", as_of="2026-03-18T08:00:00") == 0
    assert tiny.days("email_open_rate") == {"03-10": 1.0}
    assert tiny.channels("email_deliveries") == {"email": 1}


def test_a_lead_list_of_a_trade_show_brings_people_and_touches_on_its_own_day(tiny: Tiny) -> None:
    lines = ["Badge,Date,Name,E-mail,Company,Country,Event,Source",
             "1,03/05/2026,A B, ANN@x.example ,X,Y,Fair,Trade Show",
             "2,03/05/2026,C D,c@x.example,X,Y,Fair,Trade Show"]  # fmt: skip
    tiny.run("insert into file_drop values ('event_leads_2026-03-05.csv', ?, ?)", ms("2026-03-07T15:00:00"),
             "\n".join(lines).encode())  # fmt: skip
    tiny.contact("1", "2026-03-06T10:00:00", "ann@x.example", utm_medium="cpc")
    assert tiny.days("leads") == {"03-05": 2}
    assert tiny.days("leads", timezone="America/New_York") == {"03-05": 2}
    assert tiny.channels("leads") == {"events": 2}
    assert tiny.channels("leads", as_of="2026-03-07T14:00:00") == {"paid_search": 1}
    assert tiny.channels("leads", with_files=False) == {"paid_search": 1}


def test_the_parts_of_every_split_add_up_to_the_total_of_the_default_world(default: World) -> None:
    names = [
        "spend",
        "leads",
        "mqls",
        "opportunities",
        "bookings",
        "new_customers",
        "email_sends",
        "revenue_last_touch",
    ]
    total = {row["metric"]: row["numerator"] for row in truth(default, metrics=names)}
    split = truth(default, metrics=names, by=["day", "channel"])
    for name in names:
        parts = [row["numerator"] for row in split if row["metric"] == name and row["numerator"] is not None]
        assert sum(map(Decimal, parts)) == Decimal(total[name])


def test_what_was_true_at_an_earlier_clock_stays_so_when_the_world_moves_on(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", until=date(2026, 10, 1), days=40, leads=400)
    clock, then = datetime.fromtimestamp(world.now() / 1000, UTC), truth(world, by=["day", "channel"])
    advance(world, 10)
    assert truth(world, by=["day", "channel"], as_of=clock) == then
    assert truth(world, by=["day", "channel"]) != then


def test_an_unknown_metric_and_two_grains_are_refused(tiny: Tiny) -> None:
    with pytest.raises(ValueError, match="nonsense"):
        tiny.ask("nonsense")
    with pytest.raises(ValueError, match="one of"):
        tiny.ask("leads", by=["day", "month"])
    assert {row["metric"] for row in truth(tiny.world, by=["month"], start=date(2026, 1, 1), end=UNTIL)} == set(NAMES)


# -- what is served


def test_what_a_vendor_makes_of_the_world_is_made_anew_only_when_that_has_changed(tmp_path: Path) -> None:
    world, made = make_world(tmp_path / "world.sqlite", until=UNTIL, days=2, leads=2), list[int]()
    shapes = Shapes(world, lambda _, now: made.append(now))
    shapes()
    with world.connect() as reader:  # a file beside the world comes with the first who reads, and goes with the last
        reader.execute("select * from setting").fetchone()
        shapes()
    shapes()
    assert len(made) == 1
    with world.connect() as writer:
        writer.execute("update setting set value = value + 1 where name = 'now'")
    shapes()
    assert len(made) == 2
    with world.connect() as writer:
        writer.execute("delete from file_drop")
    shapes()
    assert len(made) == 3


def test_the_server_tells_how_often_each_vendor_was_asked(tmp_path: Path) -> None:
    with running(make_world(tmp_path / "world.sqlite", until=UNTIL, days=2, leads=2)) as url:
        for vendor in ("ecb", "ga4", "ga4"):
            requests.get(f"{url}/{vendor}/", timeout=10)
        told = requests.get(f"{url}/_sandbox/status", timeout=10).json()["asked"]
    assert (told["ecb"], told["ga4"]) == (1, 2)
