"""The sandbox's Google Ads API: what it answers is read by Google's own protos, and refused in Google's own words."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from b2b_sandbox import generate, tokens
from b2b_sandbox.gaql_fields import FIELDS, camel
from b2b_sandbox.server import running
from b2b_sandbox.world import SCHEMA, World

MANAGER, BERLIN, NEW_YORK, CLOSED = "1000000000", "2000000000", "3000000000", "4000000000"
BASE = "SELECT campaign.id FROM campaign "
DAILY = (
    "SELECT campaign.id, campaign.name, campaign.status, campaign.advertising_channel_type, customer.currency_code, "
    "customer.time_zone, segments.date, metrics.cost_micros, metrics.impressions, metrics.clicks, "
    "metrics.interactions, metrics.engagements, metrics.video_trueview_views, metrics.conversions, "
    "metrics.conversions_value, metrics.all_conversions, metrics.view_through_conversions FROM campaign "
    "WHERE segments.date BETWEEN '2026-03-09' AND '2026-03-12'"
)


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


def entity(account: str, level: str, id_: str, parent: str | None = None, **payload: object) -> tuple[Any, ...]:
    plural = {"campaign": "campaigns", "ad_group": "adGroups", "conversion_action": "conversionActions"}[level]
    own = {"resourceName": f"customers/{account}/{plural}/{id_}", "id": id_} | payload
    return ("google_ads", account, level, id_, parent, json.dumps(own), 0)


def day(campaign: str, group: str, date_day: str, known: str, *figures: object) -> tuple[Any, ...]:
    return ("google_ads", BERLIN, campaign, group, date_day, ms(known), *figures)


def make_world(path: Path) -> World:
    """Four accounts; in the Berlin one a campaign with two ad groups, a removed one, and one without traffic."""
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.execute("insert into setting values ('now', ?)", (str(ms("2026-03-12 06:00")),))
    accounts = [
        (MANAGER, "Manager", "EUR", "Europe/Berlin", None, "ENABLED"),
        (BERLIN, "Europe", "EUR", "Europe/Berlin", MANAGER, "ENABLED"),
        (NEW_YORK, "America", "USD", "America/New_York", MANAGER, "ENABLED"),
        (CLOSED, "Closed", "USD", "America/New_York", MANAGER, "CANCELED"),
    ]
    entities = [
        entity(BERLIN, "campaign", "11", name="Brand", status="ENABLED", advertisingChannelType="SEARCH"),
        entity(BERLIN, "campaign", "12", name="Old \"it's\"", status="REMOVED", advertisingChannelType="DISPLAY"),
        entity(BERLIN, "campaign", "13", name="Idle", status="PAUSED", advertisingChannelType="VIDEO"),
        entity(NEW_YORK, "campaign", "31", name="US", status="ENABLED", advertisingChannelType="SEARCH"),
        entity(BERLIN, "ad_group", "111", "11", name="Core", status="ENABLED"),
        entity(BERLIN, "ad_group", "112", "11", name="Long tail", status="PAUSED"),
        entity(BERLIN, "ad_group", "121", "12", name="Old", status="REMOVED"),
        entity(
            BERLIN, "conversion_action", "701", name="Form", status="ENABLED", category="SUBMIT_LEAD_FORM",
            type="WEBPAGE", includeInConversionsMetric=True, clickThroughLookbackWindowDays="90",
            viewThroughLookbackWindowDays="1",
        ),
        entity(
            BERLIN, "conversion_action", "703", name="News", status="ENABLED", category="SIGNUP", type="WEBPAGE",
            includeInConversionsMetric=False, clickThroughLookbackWindowDays="30", viewThroughLookbackWindowDays="1",
        ),
    ]  # fmt: skip
    days = [  # impressions, clicks, cost, interactions, conversions, value, all conversions, view-through
        day("11", "111", "2026-03-09", "2026-03-10", 100, 10, 5_000_000, 10, "1.5", "60.25", "2.5", 1),
        day("11", "112", "2026-03-09", "2026-03-10", 50, 5, 2_500_000, 5, "0", "0", "0", 0),
        day("11", "111", "2026-03-10", "2026-03-11", 200, 20, 9_000_000, 20, "2", "80", "2", 0),
        day("11", "111", "2026-03-10", "2026-03-13", 190, 19, 8_000_000, 19, "3", "120", "3", 0),
        day("11", "111", "2026-03-11", "2026-03-12", 0, 0, 0, 0, "0", "0", "0", 0),
        day("12", "121", "2026-03-09", "2026-03-10", 7, 0, 0, 0, "0", "0", "0", 0),
    ]
    conversions = [
        ("google_ads", BERLIN, "11", "111", "701", "2026-03-09", ms("2026-03-10"), "1.5", "60.25"),
        ("google_ads", BERLIN, "11", "111", "703", "2026-03-09", ms("2026-03-10"), "1", "5"),
    ]
    with connection:
        connection.executemany("insert into ad_account values ('google_ads', ?, ?, ?, ?, ?, ?)", accounts)
        connection.executemany("insert into ad_entity values (?, ?, ?, ?, ?, ?, ?)", entities)
        connection.executemany("insert into ad_day values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", days)
        connection.executemany("insert into ad_conversion_day values (?, ?, ?, ?, ?, ?, ?, ?, ?)", conversions)
    connection.close()
    return World(path)


class Client:
    """Speaks REST to one sandbox; every 200 is parsed by the protos, every refusal too."""

    def __init__(self, url: str, protos: SimpleNamespace) -> None:
        self.url, self.protos = f"{url}/google_ads", protos
        self.headers = {
            "Authorization": f"Bearer {self.token()}",
            "login-customer-id": MANAGER,
        }

    def token(self, **changes: str) -> str:
        answer = self.post_token(**changes)
        assert answer.status_code == 200
        return str(answer.json()["access_token"])

    def post_token(self, **changes: str) -> requests.Response:
        form = {"grant_type": "refresh_token", "client_id": tokens.CLIENT_ID, "client_secret": tokens.CLIENT_SECRET}
        form |= {"refresh_token": tokens.REFRESH_TOKEN}
        return requests.post(f"{self.url}/token", data=form | changes, timeout=10)

    def post(self, customer: str, body: object, method: str = "search", version: str = "v26") -> requests.Response:
        url = f"{self.url}/{version}/customers/{customer}/googleAds:{method}"
        return requests.post(url, json=body, headers=self.headers, timeout=10)

    def page(self, query: str, customer: str = BERLIN, **body: object) -> Any:
        answer = self.post(customer, {"query": query, **body})
        assert answer.status_code == 200, answer.text
        return self.protos.parse(answer.json(), self.protos.Response())

    def rows(self, query: str, customer: str = BERLIN) -> list[Any]:
        return list(self.page(query, customer).results)

    def failure(self, answer: requests.Response) -> tuple[int, str, str]:
        """Status, canonical code and the one error code, as `family.CODE`."""
        body = answer.json()
        error = (body[0] if isinstance(body, list) else body)["error"]
        [detail] = error["details"]
        version = detail.pop("@type").split(".")[-3]
        assert answer.url.split("/")[4] == version
        assert error["code"] == answer.status_code
        [problem] = self.protos.parse(detail, self.protos.Failure()).errors
        family = problem.error_code.WhichOneof("error_code")
        value = problem.error_code.DESCRIPTOR.fields_by_name[family].enum_type
        return (
            answer.status_code,
            error["status"],
            f"{family}.{value.values_by_number[getattr(problem.error_code, family)].name}",
        )

    def refusal(self, query: str, customer: str = BERLIN) -> str:
        status, canonical, code = self.failure(self.post(customer, {"query": query}))
        assert (status, canonical) == (400, "INVALID_ARGUMENT")
        return code.removeprefix("query_error.")


@pytest.fixture(scope="module")
def protos() -> SimpleNamespace:
    """Google's messages, imported late because the package is slow to import."""
    from google.ads.googleads.v26.errors.types.errors import GoogleAdsFailure
    from google.ads.googleads.v26.services.types import google_ads_service as service
    from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]

    def parse(content: object, message: Any) -> Any:
        return ParseDict(content, message)

    return SimpleNamespace(
        parse=parse,
        Row=service.GoogleAdsRow.pb(),
        Response=service.SearchGoogleAdsResponse.pb(),
        StreamResponse=service.SearchGoogleAdsStreamResponse.pb(),
        Failure=GoogleAdsFailure.pb(),
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, protos: SimpleNamespace) -> Iterator[Client]:
    """A sandbox that no test changes."""
    with running(make_world(tmp_path_factory.mktemp("world") / "world.sqlite")) as url:
        yield Client(url, protos)


@pytest.fixture
def fresh(tmp_path: Path, protos: SimpleNamespace) -> Iterator[Callable[..., tuple[Client, World]]]:
    """Makes a sandbox of its own, with options."""
    with ExitStack() as stack:

        def start(**options: object) -> tuple[Client, World]:
            world = make_world(tmp_path / "world.sqlite")
            return Client(stack.enter_context(running(world, google_ads=options)), protos), world

        yield start


def set_clock(world: World, text: str) -> None:
    with world.connect() as connection:
        connection.execute("update setting set value = ? where name = 'now'", (str(ms(text)),))


def test_every_served_field_is_in_googles_protos_with_its_type(protos: SimpleNamespace) -> None:
    kinds = {"int64": "TYPE_INT64", "int32": "TYPE_INT32", "double": "TYPE_DOUBLE", "bool": "TYPE_BOOL"}
    field_type = {
        getattr(protos.Row.DESCRIPTOR.fields[0], name): name
        for name in dir(protos.Row.DESCRIPTOR.fields[0])
        if name.startswith("TYPE_")
    }
    for field, served in FIELDS.items():
        *parents, name = field.split(".")
        message = protos.Row.DESCRIPTOR
        for parent in parents:
            message = message.fields_by_name[parent].message_type
        [member] = [own for own in message.fields if own.json_name == camel(name)]
        kind, *constants = served.split()
        assert field_type[member.type] == kinds.get(kind, "TYPE_ENUM" if kind == "enum" else "TYPE_STRING"), field
        if constants:
            assert ["UNSPECIFIED", "UNKNOWN", *constants] == [value.name for value in member.enum_type.values], field


@pytest.mark.parametrize("rough", [False, True], ids=["clean", "rough"])
def test_the_protos_read_everything_that_a_generated_world_shows(
    tmp_path: Path, protos: SimpleNamespace, rough: bool
) -> None:
    world = generate.make_world(tmp_path / "world.sqlite", until=date(2026, 3, 11), days=20, leads=40, rough=rough)
    with running(world) as url:
        client = Client(url, protos)
        client.headers["login-customer-id"] = "4100000000"
        for resource in ("campaign", "ad_group", "conversion_action", "customer"):
            fields = [field for field in FIELDS if field.startswith(resource + ".")]
            assert client.rows(f"SELECT {', '.join(fields)} FROM {resource}", "4100000001")  # noqa: S608
        metrics = ", ".join(field for field in FIELDS if field.startswith("metrics."))
        [total] = client.rows(f"SELECT {metrics} FROM customer", "4100000001")  # noqa: S608
        split = client.rows(
            "SELECT segments.conversion_action, metrics.conversions, metrics.all_conversions FROM customer",
            "4100000001",
        )
        listed = "SELECT customer_client.id, customer_client.status, customer_client.level FROM customer_client"
        clients = {str(row.customer_client.id) for row in client.rows(listed, "4100000000")}
        unreadable = {"4100000012", "4100000013"} & clients
        for account in unreadable:
            refused = client.failure(client.post(account, {"query": "SELECT customer.id FROM customer"}))
            assert refused == (403, "PERMISSION_DENIED", "authorization_error.CUSTOMER_NOT_ENABLED")
    assert bool(unreadable) == rough
    assert total.metrics.conversions == sum(row.metrics.conversions for row in split) > 0
    assert (
        total.metrics.all_conversions == sum(row.metrics.all_conversions for row in split) > total.metrics.conversions
    )


def test_the_daily_report_sums_ad_groups_and_drops_days_without_traffic(client: Client) -> None:
    answer = client.post(BERLIN, {"query": DAILY}).json()
    days = [(row["campaign"]["id"], row["segments"]["date"], row["metrics"]) for row in answer["results"]]
    assert [key[:2] for key in days] == [("11", "2026-03-09"), ("11", "2026-03-10"), ("12", "2026-03-09")]
    assert days[0][2] == {
        "costMicros": "7500000", "impressions": "150", "clicks": "15", "interactions": "15", "engagements": "0",
        "videoTrueviewViews": "0", "conversions": 1.5, "conversionsValue": 60.25, "allConversions": 2.5,
        "viewThroughConversions": "1",
    }  # fmt: skip
    assert answer["fieldMask"].startswith("campaign.id,campaign.name,campaign.status,campaign.advertisingChannelType")
    row = client.rows(DAILY)[2]
    assert (row.campaign.resource_name, row.campaign.name) == (f"customers/{BERLIN}/campaigns/12", 'Old "it\'s"')
    assert (row.customer.currency_code, row.customer.time_zone) == ("EUR", "Europe/Berlin")


def test_without_segments_every_campaign_has_one_row_removed_and_idle_ones_too(client: Client) -> None:
    rows = client.rows("SELECT campaign.id, metrics.clicks, metrics.conversions FROM campaign")
    assert [(row.campaign.id, row.metrics.clicks, row.metrics.conversions) for row in rows] == [
        (11, 35, 3.5),
        (12, 0, 0.0),
        (13, 0, 0.0),
    ]


def test_only_what_is_selected_is_answered_with_the_resource_name(client: Client) -> None:
    answer = client.post(BERLIN, {"query": "SELECT metrics.clicks FROM campaign WHERE campaign.id = 11"}).json()
    campaign = {"resourceName": f"customers/{BERLIN}/campaigns/11"}
    assert answer == {
        "results": [{"campaign": campaign, "metrics": {"clicks": "35"}}],
        "fieldMask": "metrics.clicks",
    }


def test_the_account_total_equals_the_sum_of_its_campaigns_and_ad_groups(client: Client) -> None:
    def total(resource: str) -> int:
        query = f"SELECT metrics.cost_micros, segments.month FROM {resource} WHERE segments.month = '2026-03-01'"  # noqa: S608
        return sum(row.metrics.cost_micros for row in client.rows(query))

    assert total("customer") == total("campaign") == total("ad_group") == 16_500_000


def test_a_day_is_restated_when_the_clock_moves_on(fresh: Callable[..., tuple[Client, World]]) -> None:
    client, world = fresh()
    query = (
        "SELECT metrics.cost_micros, metrics.conversions, segments.date FROM customer "
        "WHERE segments.date = '2026-03-10'"
    )
    assert [(row.metrics.cost_micros, row.metrics.conversions) for row in client.rows(query)] == [(9_000_000, 2)]
    set_clock(world, "2026-03-13 06:00")
    assert [(row.metrics.cost_micros, row.metrics.conversions) for row in client.rows(query)] == [(8_000_000, 3)]
    set_clock(world, "2026-03-10 06:00")
    assert client.post(BERLIN, {"query": query}).json() == {
        "fieldMask": "metrics.costMicros,metrics.conversions,segments.date"
    }


def test_the_split_by_conversion_action_adds_up_to_the_daily_conversions(client: Client) -> None:
    rows = client.rows(
        "SELECT campaign.id, segments.date, segments.conversion_action, segments.conversion_action_name, "
        "segments.conversion_action_category, metrics.conversions, metrics.conversions_value, metrics.all_conversions "
        "FROM campaign WHERE segments.date = '2026-03-09'"
    )
    assert [
        (row.segments.conversion_action_name, row.metrics.conversions, row.metrics.all_conversions) for row in rows
    ] == [("Form", 1.5, 1.5), ("News", 0.0, 1.0)]
    assert rows[0].segments.conversion_action == f"customers/{BERLIN}/conversionActions/701"
    counted = "SELECT segments.conversion_action, metrics.conversions FROM customer"
    assert [row.metrics.conversions for row in client.rows(counted)] == [1.5]  # rows of zeros are dropped


def test_the_lookback_windows_can_be_read(client: Client) -> None:
    [row] = client.rows(
        "SELECT conversion_action.click_through_lookback_window_days, conversion_action.type FROM conversion_action "
        "WHERE conversion_action.include_in_conversions_metric = TRUE"
    )
    assert row.conversion_action.click_through_lookback_window_days == 90


def test_a_manager_lists_itself_and_its_clients(client: Client) -> None:
    query = (
        "SELECT customer_client.id, customer_client.level, customer_client.manager, customer_client.status, "
        "customer_client.time_zone, customer_client.currency_code FROM customer_client ORDER BY customer_client.level"
    )
    found = [
        (str(row.customer_client.id), row.customer_client.level, row.customer_client.manager)
        for row in client.rows(query, MANAGER)
    ]
    assert found == [(MANAGER, 0, True), (BERLIN, 1, False), (NEW_YORK, 1, False), (CLOSED, 1, False)]
    enabled = query.replace("ORDER", "WHERE customer_client.status = 'ENABLED' AND customer_client.level = 1 ORDER")
    assert len(client.rows(enabled, MANAGER)) == 2
    accessible = requests.get(f"{client.url}/v26/customers:listAccessibleCustomers", headers=client.headers, timeout=10)
    assert accessible.json() == {"resourceNames": [f"customers/{MANAGER}"]}


def test_accounts_are_nested_half_set_up_and_conversions_may_belong_to_the_manager(
    fresh: Callable[..., tuple[Client, World]],
) -> None:
    client, world = fresh()
    rows = [
        ("501", "Agency", "USD", "America/Chicago", MANAGER, "ENABLED"),
        ("502", "Below it", "USD", "America/Chicago", "501", "ENABLED"),
        ("503", "Half set up", None, None, "501", "ENABLED"),
    ]
    with world.connect() as connection:
        connection.executemany("insert into ad_account values ('google_ads', ?, ?, ?, ?, ?, ?)", rows)
        connection.execute("update ad_entity set account_id = ? where level = 'conversion_action'", (MANAGER,))
    query = "SELECT customer_client.id, customer_client.level, customer_client.currency_code FROM customer_client"
    found = [row["customerClient"] for row in client.post(MANAGER, {"query": query}).json()["results"]]
    assert {row["id"]: int(row["level"]) for row in found}.items() >= {("501", 1), ("502", 2), ("503", 2)}
    assert [row["id"] for row in found if "currencyCode" not in row] == ["503"]
    assert client.rows("SELECT customer.id FROM customer", "502"), "by the manager's manager"
    not_enabled = client.failure(client.post("503", {"query": "SELECT customer.id FROM customer"}))
    assert not_enabled == (403, "PERMISSION_DENIED", "authorization_error.CUSTOMER_NOT_ENABLED")
    owner = "customer.conversion_tracking_setting.google_ads_conversion_customer"
    [row] = client.rows(f"SELECT {owner} FROM customer", BERLIN)  # noqa: S608
    assert row.customer.conversion_tracking_setting.google_ads_conversion_customer == f"customers/{MANAGER}"
    assert client.rows("SELECT conversion_action.id FROM conversion_action", MANAGER)


def test_pages_follow_each_other_and_see_the_world_of_the_first(fresh: Callable[..., tuple[Client, World]]) -> None:
    client, world = fresh(page_size=2)
    first = client.page(DAILY, searchSettings={"returnTotalResultsCount": True})
    assert (len(first.results), first.total_results_count) == (2, 3)
    set_clock(world, "2026-03-09 06:00")  # another page of the same query: the move of the clock is not seen
    second = client.page(DAILY, pageToken=first.next_page_token)
    assert [row.campaign.id for row in second.results] == [12]
    assert not second.next_page_token


def test_a_page_token_belongs_to_its_query_and_expires(fresh: Callable[..., tuple[Client, World]]) -> None:
    client, _ = fresh(page_size=2, page_token_lifetime=-1)
    token = client.page(DAILY).next_page_token
    for query, asked, code in (
        (DAILY, token, "EXPIRED_PAGE_TOKEN"),
        (DAILY + " LIMIT 3", token, "INVALID_PAGE_TOKEN"),
        (DAILY, "made.up", "INVALID_PAGE_TOKEN"),
    ):
        answer = client.post(BERLIN, {"query": query, "pageToken": asked})
        assert client.failure(answer) == (400, "INVALID_ARGUMENT", f"request_error.{code}")


def test_a_stream_is_a_list_of_batches_and_its_error_a_list_of_one(fresh: Callable[..., tuple[Client, World]]) -> None:
    client, _ = fresh(page_size=2)
    answer = client.post(BERLIN, {"query": DAILY}, "searchStream")
    batches = [client.protos.parse(batch, client.protos.StreamResponse()) for batch in answer.json()]
    assert [len(batch.results) for batch in batches] == [2, 1]
    assert all(batch.request_id for batch in batches)
    refused = client.post(BERLIN, {"query": "SELECT campaign.id"}, "searchStream")
    assert isinstance(refused.json(), list)
    assert client.failure(refused)[2] == "query_error.EXPECTED_FROM"


@pytest.mark.parametrize(
    ("where", "campaigns"),
    [
        ("campaign.id = 11", [11]),
        ("campaign.id != 11", [12, 13]),
        ("campaign.id > 11 AND campaign.id <= 12", [12]),
        ("campaign.id >= 12 and campaign.id < 13", [12]),
        ("campaign.id IN (11, 13)", [11, 13]),
        ("campaign.id NOT IN (11, 13)", [12]),
        ("campaign.id BETWEEN 12 AND 13", [12, 13]),
        ("campaign.status = ENABLED", [11]),
        ("campaign.status IN ('PAUSED', 'REMOVED')", [12, 13]),
        ("campaign.name = 'Old \"it\\'s\"'", [12]),
        ('campaign.name != "Brand"', [12, 13]),
        ("customer.manager = FALSE", [11, 12, 13]),
        ("metrics.clicks > 0", [11]),
        ("segments.date DURING LAST_7_DAYS AND metrics.impressions < 100", [12, 13]),
        ("segments.date = '20260310' AND metrics.impressions > 0", [11]),
    ],
)
def test_where_filters(client: Client, where: str, campaigns: list[int]) -> None:
    rows = client.rows(BASE + "WHERE " + where)
    assert [row.campaign.id for row in rows] == campaigns


def test_rows_are_ordered_and_limited(client: Client) -> None:
    query = (
        "SELECT campaign.id, metrics.impressions FROM campaign ORDER BY metrics.impressions DESC, campaign.id LIMIT 2"
    )
    assert [row.campaign.id for row in client.rows(query)] == [11, 12]
    assert [row.campaign.id for row in client.rows("SELECT campaign.id FROM campaign ORDER BY campaign.name DESC")] == [
        12,
        13,
        11,
    ]


def test_today_is_the_accounts_day(fresh: Callable[..., tuple[Client, World]]) -> None:
    client, world = fresh()
    set_clock(world, "2026-03-10 23:30")  # already the 11th in Berlin, still the 10th in New York
    with world.connect() as connection:
        for account, campaign in ((BERLIN, "11"), (NEW_YORK, "31")):
            for date_day, clicks in (("2026-03-09", 9), ("2026-03-10", 10), ("2026-03-11", 11)):
                row = (account, campaign, date_day, clicks)
                connection.execute(
                    "insert or replace into ad_day values ('google_ads', ?, ?, '9', ?, 0, 1, ?, 0, 0, 0, 0, 0, 0)", row
                )
    for name, account, days in (
        ("TODAY", BERLIN, ["2026-03-11"]),
        ("TODAY", NEW_YORK, ["2026-03-10"]),
        ("YESTERDAY", NEW_YORK, ["2026-03-09"]),
    ):
        query = (
            "SELECT segments.date, metrics.clicks FROM campaign WHERE campaign.id IN (11, 31) AND segments.date DURING "
        )
        assert [row.segments.date for row in client.rows(query + name, account)] == days


def test_a_bad_query_is_refused_by_the_api(client: Client) -> None:
    assert client.refusal("SELECT campaign.start_date FROM campaign") == "UNRECOGNIZED_FIELD"


def test_metrics_of_a_manager_are_refused(client: Client) -> None:
    assert client.refusal("SELECT metrics.clicks FROM customer", MANAGER) == "REQUESTED_METRICS_FOR_MANAGER"


def test_a_page_size_is_not_supported(client: Client) -> None:
    answer = client.post(BERLIN, {"query": DAILY, "pageSize": 10_000})
    assert client.failure(answer) == (400, "INVALID_ARGUMENT", "request_error.PAGE_SIZE_NOT_SUPPORTED")


def test_a_body_that_is_no_request_does_not_reach_the_api(client: Client) -> None:
    unknown = client.post(BERLIN, {"query": DAILY, "page_sizes": 1})
    assert (unknown.status_code, unknown.json()["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert 'Unknown name "page_sizes"' in unknown.json()["error"]["message"]
    assert client.post(BERLIN, [DAILY]).status_code == 400


def test_older_versions_answer_until_their_sunset(client: Client) -> None:
    for version in ("v23", "v24", "v25"):
        assert client.post(BERLIN, {"query": DAILY}, version=version).status_code == 200
    sunset = client.post(BERLIN, {"query": DAILY}, version="v22")
    assert client.failure(sunset) == (400, "INVALID_ARGUMENT", "request_error.UNSUPPORTED_VERSION")
    never = client.post(BERLIN, {"query": DAILY}, version="v99")
    assert (never.status_code, never.headers["content-type"].split(";")[0]) == (404, "text/html")


def test_a_developer_token_is_ignored_as_google_does_since_they_were_sunset(client: Client) -> None:
    url = f"{client.url}/v26/customers/{BERLIN}/googleAds:search"
    answer = requests.post(url, json={"query": DAILY}, headers=client.headers | {"developer-token": "x"}, timeout=10)
    assert answer.status_code == 200
    answer = requests.post(url, json={"query": DAILY}, headers=client.headers | {"developer-token": ""}, timeout=10)
    assert client.failure(answer) == (400, "INVALID_ARGUMENT", "request_error.DEVELOPER_TOKEN_PARAMETER_MISSING")


@pytest.mark.parametrize(
    ("customer", "headers", "status", "code"),
    [
        (BERLIN, {"Authorization": None}, 401, "authentication_error.AUTHENTICATION_ERROR"),
        (BERLIN, {"Authorization": "Bearer x"}, 401, "authentication_error.OAUTH_TOKEN_INVALID"),
        (BERLIN, {"login-customer-id": None}, 403, "authorization_error.USER_PERMISSION_DENIED"),
        (BERLIN, {"login-customer-id": BERLIN}, 403, "authorization_error.USER_PERMISSION_DENIED"),
        (BERLIN, {"login-customer-id": "1-2-3"}, 400, "header_error.INVALID_LOGIN_CUSTOMER_ID"),
        ("999", {}, 403, "authorization_error.USER_PERMISSION_DENIED"),
        ("200-000-0000", {}, 400, "request_error.INVALID_CUSTOMER_ID"),
        (CLOSED, {}, 403, "authorization_error.CUSTOMER_NOT_ENABLED"),
    ],
)
def test_a_caller_without_the_right_is_refused(
    client: Client, customer: str, headers: dict[str, str | None], status: int, code: str
) -> None:
    own = {name: value for name, value in (client.headers | headers).items() if value is not None}
    answer = requests.post(
        f"{client.url}/v26/customers/{customer}/googleAds:search", json={"query": DAILY}, headers=own, timeout=10
    )
    canonical = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED"}[status]
    assert client.failure(answer) == (status, canonical, code)


def test_an_expired_access_token_is_refused(client: Client) -> None:
    headers = client.headers | {"Authorization": f"Bearer {tokens.issue('google_ads', -1)}"}
    answer = requests.get(f"{client.url}/v26/customers:listAccessibleCustomers", headers=headers, timeout=10)
    assert client.failure(answer) == (401, "UNAUTHENTICATED", "authentication_error.OAUTH_TOKEN_EXPIRED")


def test_a_token_of_another_vendor_is_refused(client: Client) -> None:
    headers = client.headers | {"Authorization": f"Bearer {tokens.issue('salesforce', 60)}"}
    answer = requests.get(f"{client.url}/v26/customers:listAccessibleCustomers", headers=headers, timeout=10)
    assert client.failure(answer)[2] == "authentication_error.OAUTH_TOKEN_INVALID"


@pytest.mark.parametrize(
    ("change", "status", "error"),
    [
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_secret": "wrong"}, 401, "invalid_client"),
        ({"refresh_token": "revoked"}, 400, "invalid_grant"),
    ],
)
def test_wrong_credentials_get_no_token(client: Client, change: dict[str, str], status: int, error: str) -> None:
    answer = client.post_token(**change)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
