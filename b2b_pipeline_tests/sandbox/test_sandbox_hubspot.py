"""The official hubspot-api-client, unmodified, against the sandbox; what it has no method for, over plain HTTP."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import requests
from hubspot import HubSpot  # type: ignore[import-untyped]
from hubspot.crm.associations.v4.models import BatchInputPublicFetchAssociationsBatchRequest  # type: ignore[import-untyped]
from hubspot.crm.contacts.exceptions import ApiException  # type: ignore[import-untyped]
from hubspot.crm.contacts.models import BatchReadInputSimplePublicObjectId, PublicObjectSearchRequest  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.routing import Mount

from b2b_sandbox import generate, hubspot, server, tokens
from b2b_sandbox.server import running
from b2b_sandbox.world import SCHEMA, World

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_790_000_000_000
HOUR = 3_600_000
MANY = 10_050
AUTHORIZED = {"Authorization": f"Bearer {tokens.PRIVATE_APP_TOKEN}"}
OBJECTS = "/crm/objects/2026-03/"


def iso(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.", time.gmtime(at // 1000)) + f"{at % 1000:03d}Z"


def put(
    connection: sqlite3.Connection, name: str, identifier: str, at: int, version: int = 1, /, *, visible: int = 0,
    deleted: bool = False, gone: bool = False, **values: object,
) -> None:  # fmt: skip
    created = {"createdate": iso(at)} if name != "marketing_email" else {}
    connection.execute(
        "insert into record_version values ('hubspot', ?, ?, ?, ?, ?, ?, ?, ?)",
        (name, identifier, version, at, visible or at, deleted, gone, json.dumps(created | values)),
    )


def fill(connection: sqlite3.Connection) -> None:
    connection.executescript(SCHEMA)
    connection.execute("insert into setting values ('now', ?)", (str(NOW),))
    for number in range(1, 131):  # modified one an hour, the last one an hour ago
        put(
            connection, "contacts", str(1000 + number), NOW - (131 - number) * HOUR, email=f"P{number}@example.com",
            lifecyclestage="customer" if number % 10 == 0 else "lead", utm_campaign=f"c{number % 3}",
            firstname="Ann-Marie" if number == 1 else None, phone="" if number == 1 else None,
        )  # fmt: skip
    put(connection, "contacts", "1001", NOW - 2 * HOUR, 2, email="p1@example.com", firstname="Ann-Marie", phone="")
    put(connection, "contacts", "1002", NOW, 2, visible=NOW + 1, email="not yet")
    put(connection, "contacts", "2001", NOW - HOUR, email="archived@example.com", deleted=True)
    put(connection, "contacts", "3001", NOW - HOUR, email="loser@example.com", gone=True)
    put(connection, "contacts", "3002", NOW - HOUR, email="winner@example.com", hs_merged_object_ids="2999;3001")
    put(connection, "deals", "501", NOW - HOUR, dealname="First", amount="900.5", closedate=iso(NOW))
    put(connection, "deals", "502", NOW - HOUR, dealname="Second", amount="1000", closedate=iso(NOW + HOUR))
    put(connection, "deals", "503", NOW - HOUR, dealname="Third", amount="")
    link = "insert into association values ('hubspot', 'deals', ?, 'contacts', ?, null, ?)"
    connection.executemany(
        link, [("501", "1001", NOW), ("501", "3001", NOW), ("501", "2001", NOW), ("502", "1003", NOW + 1)]
    )
    connection.executemany(
        "insert into property_history values ('hubspot', 'contacts', '1001', 'lifecyclestage', ?, ?, ?, 'CRM_UI')",
        [(NOW - 9, NOW - 9, "lead"), (NOW - 5, NOW - 5, "customer"), (NOW - 1, NOW + 1, "not yet")],
    )
    put(connection, "marketing_email", "91", NOW, name="Sent", subject="Hi", state="PUBLISHED",
        createdAt=iso(NOW - HOUR), allEmailCampaignIds=["77"])  # fmt: skip
    put(connection, "marketing_email", "92", NOW, name="Draft", subject="Hi", state="DRAFT", createdAt=iso(NOW))
    events = [
        (f"e{at}-{number}", at, kind, f"p{number}@example.com", json.dumps({"filteredEvent": number == 3}))
        for at, kind in ((NOW - 30, "SENT"), (NOW - 20, "DELIVERED"), (NOW - 10, "OPEN"))
        for number in (1, 2, 3)
    ]
    connection.executemany("insert into email_event values (?, ?, ?2, ?, ?, 77, 113, null, null, ?)", events)


def make_world(path: Path) -> World:
    connection = sqlite3.connect(path)
    with connection:
        fill(connection)
    connection.close()
    return World(path)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return make_world(tmp_path_factory.mktemp("hubspot") / "world.sqlite")


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with running(world) as base_url:
        yield f"{base_url}/hubspot"


@pytest.fixture(scope="module")
def client(url: str) -> HubSpot:
    return HubSpot(access_token=tokens.PRIVATE_APP_TOKEN, host=url)


def get(url: str, path: str, **query: object) -> requests.Response:
    return requests.get(url + path, params=query, headers=AUTHORIZED, timeout=10)  # type: ignore[arg-type]


def post(url: str, path: str, body: object) -> requests.Response:
    return requests.post(url + path, json=body, headers=AUTHORIZED, timeout=10)


def found(url: str, *filters: dict[str, Any], name: str = "contacts", **body: object) -> list[str]:
    """The ids that a search with one group of filters finds."""
    answer = post(url, f"{OBJECTS}{name}/search", {"filterGroups": [{"filters": filters}], "limit": 200} | body)
    assert answer.status_code == 200, answer.text
    return [record["id"] for record in answer.json()["results"]]


def condition(name: str, operator: str, *values: str) -> dict[str, Any]:
    if operator.endswith("IN"):
        return {"propertyName": name, "operator": operator, "values": values}
    return {"propertyName": name, "operator": operator} | dict(zip(("value", "highValue"), values, strict=False))


def test_get_all_follows_every_page_and_shows_neither_archived_nor_merged_records(client: HubSpot) -> None:
    contacts = client.crm.contacts.get_all()
    assert [contact.id for contact in contacts] == [*(str(1000 + n) for n in range(1, 131)), "3002"]
    assert contacts[1].properties["email"] == "P2@example.com"  # its next version is not visible yet
    assert contacts[0].properties.keys() == {
        "createdate", "email", "firstname", "hs_object_id", "lastmodifieddate", "lastname",
    }  # fmt: skip
    assert contacts[0].updated_at.isoformat() == "2026-09-21T12:13:20+00:00"


def test_archived_records_are_listed_apart_with_the_time_of_their_end(client: HubSpot) -> None:
    (contact,) = client.crm.contacts.get_all(archived=True)
    assert (contact.id, contact.archived) == ("2001", True)
    assert contact.archived_at == contact.updated_at


def test_asked_for_properties_come_beside_three_that_always_do_and_unknown_ones_are_ignored(url: str) -> None:
    page = get(url, OBJECTS + "contacts", limit=1, properties="phone,lastname,utm_campaign,no_such_property").json()
    properties = page["results"][0]["properties"]
    assert properties.keys() == {
        "createdate", "hs_object_id", "lastmodifieddate", "phone", "lastname", "utm_campaign",
    }  # fmt: skip
    assert (properties["phone"], properties["lastname"]) == ("", None)
    assert page["paging"]["next"]["link"].startswith(f"{url}{OBJECTS}contacts?limit=1&properties=phone")


def test_a_page_with_history_holds_fifty_records_at_most(client: HubSpot, url: str) -> None:
    contacts = client.crm.contacts.get_all(properties_with_history=["lifecyclestage"])
    assert len(contacts) == 131
    history = contacts[0].properties_with_history["lifecyclestage"]
    assert [(entry.value, entry.source_type) for entry in history] == [("customer", "CRM_UI"), ("lead", "CRM_UI")]
    assert get(url, OBJECTS + "contacts", limit=51, propertiesWithHistory="lifecyclestage").status_code == 400
    assert get(url, OBJECTS + "contacts", limit=101).json()["category"] == "VALIDATION_ERROR"


def test_a_batch_read_takes_one_hundred_ids_and_fifty_with_history(client: HubSpot) -> None:
    def read(number: int, history: list[str]) -> Any:
        inputs = [{"id": str(1001 + n)} for n in range(number)]
        return client.crm.contacts.batch_api.read(
            BatchReadInputSimplePublicObjectId(properties=["email"], properties_with_history=history, inputs=inputs)
        )

    assert len(read(100, []).results) == 100
    assert len(read(50, ["lifecyclestage"]).results[0].properties_with_history["lifecyclestage"]) == 2
    for number, history in ((101, []), (51, ["lifecyclestage"])):
        with pytest.raises(ApiException, match="maximum number of inputs") as refused:
            read(number, history)
        assert refused.value.status == 400


def test_the_id_of_a_merged_record_reads_its_survivor_and_an_unknown_one_is_named(client: HubSpot, url: str) -> None:
    assert client.crm.contacts.basic_api.get_by_id("3001").id == "3002"
    answer = post(url, "/crm/v3/objects/contacts/batch/read", {"inputs": [{"id": "3001"}, {"id": "9"}, {"id": "2001"}]})
    assert answer.status_code == 207
    assert [record["id"] for record in answer.json()["results"]] == ["3002"]
    assert answer.json()["errors"][0] | {"message": ""} == {
        "status": "error", "category": "OBJECT_NOT_FOUND", "message": "", "context": {"ids": ["9", "2001"]},
    }  # fmt: skip
    with pytest.raises(ApiException) as refused:
        client.crm.contacts.basic_api.get_by_id("2001")
    assert refused.value.status == 404
    assert client.crm.contacts.basic_api.get_by_id("2001", archived=True).archived


def test_a_search_pages_by_offset_and_gives_the_total(client: HubSpot) -> None:
    request = PublicObjectSearchRequest(
        filter_groups=[{"filters": [condition("lifecyclestage", "EQ", "LEAD")]}], sorts=["-hs_object_id"],
        properties=["email"], limit=100, after="0",
    )  # fmt: skip
    first = client.crm.contacts.search_api.do_search(request)
    request.after = first.paging.next.after
    second = client.crm.contacts.search_api.do_search(request)
    assert (first.total, request.after, len(second.results), second.paging) == (116, "100", 16, None)
    ids = [int(contact.id) for contact in first.results + second.results]
    assert ids == sorted(ids, reverse=True)


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        (condition("lastmodifieddate", "BETWEEN", str(NOW - 4 * HOUR), iso(NOW - 3 * HOUR)), ["1127", "1128"]),
        (condition("createdate", "GT", str(NOW - 3 * HOUR)), ["1129", "1130", "1001", "3002"]),
        (condition("hs_object_id", "GTE", "1130"), ["1130", "3002"]),
        (condition("email", "EQ", "p7@EXAMPLE.com"), ["1007"]),
        (condition("email", "IN", "p7@example.com", "p8@example.com"), ["1007", "1008"]),
        (condition("email", "IN", "P7@example.com"), []),  # HubSpot wants lower case in a list
        (condition("firstname", "HAS_PROPERTY"), ["1001"]),
        (condition("phone", "HAS_PROPERTY"), []),
        (condition("firstname", "CONTAINS_TOKEN", "marie"), ["1001"]),
        (condition("firstname", "CONTAINS_TOKEN", "mar"), []),
        (condition("firstname", "CONTAINS_TOKEN", "mar*"), ["1001"]),
        (condition("email", "CONTAINS_TOKEN", "loser"), []),
        (condition("email", "CONTAINS_TOKEN", "archived"), []),
    ],
)
def test_a_filter_finds(url: str, condition: dict[str, Any], expected: list[str]) -> None:
    assert sorted(found(url, condition)) == sorted(expected)


def test_numbers_compare_as_numbers_and_the_default_order_is_that_of_creation(url: str) -> None:
    assert found(url, condition("amount", "LT", "1000"), name="deals") == ["501"]
    assert found(url, condition("amount", "NEQ", "1000.0"), name="deals") == ["501", "503"]
    assert found(url, condition("closedate", "LTE", iso(NOW)), name="deals") == ["501"]
    by_amount = [{"propertyName": "amount", "direction": "DESCENDING"}]
    assert found(url, name="deals", sorts=by_amount) == ["502", "501", "503"]
    assert found(url, name="0-3", query="second") == ["502"]


def test_groups_are_alternatives(url: str) -> None:
    groups = [{"filters": [condition("hs_object_id", "EQ", identifier)]} for identifier in ("1002", "1001")]
    assert found(url, filterGroups=groups, sorts=["hs_object_id"]) == ["1001", "1002"]


@pytest.mark.parametrize(
    "body",
    [
        {"limit": 201},
        {"after": "x"},
        {"filterGroups": [{"filters": [condition("no_such_property", "EQ", "1")]}]},
        {"filterGroups": [{"filters": [condition("email", "IN")]}]},
        {"filterGroups": [{"filters": [condition("amount", "BETWEEN", "1")]}]},
        {"filterGroups": [{"filters": [{"operator": "EQ", "value": "1"}]}]},
        {"filterGroups": [{"filters": [condition("email", "LIKE", "1")]}]},
        {"filterGroups": [{"filters": [condition("email", "EQ", " ")]}]},
        {"filterGroups": [{"filters": [condition("lastmodifieddate", "GT", "yesterday")]}]},
        {"filterGroups": [{"filters": []}] * 6},
        {"filterGroups": [{"filters": [condition("email", "HAS_PROPERTY")] * 7}]},
        {"filterGroups": [{"filters": [condition("email", "HAS_PROPERTY")] * 5}] * 4},
        {"sorts": ["email", "createdate"]},
        {"sorts": ["no_such_property"]},
        [],
    ],
)
def test_a_bad_search_is_refused_in_hubspots_dialect(url: str, body: object) -> None:
    answer = post(url, OBJECTS + "contacts/search", body)
    assert answer.status_code == 400
    assert answer.json()["status"] == "error"
    assert answer.json()["correlationId"] == answer.headers["X-HubSpot-Correlation-Id"]


def test_an_unknown_object_type_is_a_bad_request(url: str) -> None:
    assert get(url, OBJECTS + "widgets").json()["message"] == "Unable to infer object type from: widgets"
    assert get(url, OBJECTS + "0-9999").json()["message"] == "Invalid object or event type id: 0-9999"


def test_no_page_of_a_search_ends_beyond_the_ten_thousandth_record(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world.sqlite")
    with world.connect() as connection:
        payload = json.dumps({"createdate": iso(NOW), "email": "same@example.com"})
        connection.executemany(
            "insert into record_version values ('hubspot', 'contacts', ?, 1, ?, ?, 0, 0, ?)",
            [(str(100_000 + number), NOW, NOW, payload) for number in range(MANY)],
        )
    with running(world) as base_url:
        search = HubSpot(access_token=tokens.PRIVATE_APP_TOKEN, host=f"{base_url}/hubspot").crm.contacts.search_api
        same = [{"filters": [condition("email", "EQ", "same@example.com")]}]
        request = PublicObjectSearchRequest(filter_groups=same, sorts=["hs_object_id"], limit=200, after="9800")
        last = search.do_search(request)
        assert (last.total, len(last.results), last.paging.next.after) == (MANY, 200, "10000")
        request.after = last.paging.next.after
        with pytest.raises(ApiException, match=r"There was a problem with the request\.") as refused:
            search.do_search(request)
        assert refused.value.status == 400
        # The way out: a new query behind the last id.
        same[0]["filters"].append(condition("hs_object_id", "GT", last.results[-1].id))
        rest = search.do_search(PublicObjectSearchRequest(filter_groups=same, sorts=["hs_object_id"], limit=200))
        assert (rest.total, rest.results[-1].id) == (MANY - 10_000, str(100_000 + MANY - 1))


def test_associations_lead_to_live_records_in_both_directions(client: HubSpot, url: str) -> None:
    request = BatchInputPublicFetchAssociationsBatchRequest(inputs=[{"id": "501"}])
    (deal,) = client.crm.associations.v4.batch_api.get_page("deals", "contacts", request).results
    assert [contact.to_object_id for contact in deal.to] == ["1001", "3002"]  # the archived one is left out
    assert (deal.to[0].association_types[0].type_id, deal.to[0].association_types[0].label) == (3, None)
    reverse = post(
        url, "/crm/associations/2026-03/contacts/deals/batch/read", {"inputs": [{"id": "3002"}, {"id": "1003"}]}
    )
    assert reverse.status_code == 207
    assert reverse.json()["results"][0]["to"][0]["toObjectId"] == "501"
    assert reverse.json()["errors"][0]["subCategory"] == "crm.associations.NO_ASSOCIATIONS_FOUND"
    contact = client.crm.contacts.basic_api.get_by_id("1001", associations=["deals"])
    assert [deal.type for deal in contact.associations["deals"].results] == ["contact_to_deal"]


def test_property_definitions_tell_custom_fields_from_hubspots_own(client: HubSpot) -> None:
    definitions = {item.name: item for item in client.crm.properties.core_api.get_all("contacts").results}
    assert definitions["lastmodifieddate"].type == "datetime"
    assert (definitions["email"].hubspot_defined, definitions["utm_campaign"].hubspot_defined) == (True, False)


def test_pipelines_and_owners_are_listed(client: HubSpot, url: str) -> None:
    (pipeline,) = client.crm.pipelines.pipelines_api.get_all("deals").results
    assert {stage.id for stage in pipeline.stages if stage.metadata["isClosed"] == "true"} == {
        "closedwon",
        "closedlost",
    }
    assert client.crm.owners.owners_api.get_page().results == []
    assert get(url, "/crm/owners/2026-03").status_code == 200


def test_emails_that_were_never_sent_are_missing_from_a_list_with_statistics(client: HubSpot) -> None:
    emails = client.marketing.emails.marketing_emails_api
    assert [email.name for email in emails.get_page().results] == ["Sent", "Draft"]
    (sent,) = emails.get_page(include_stats=True).results
    assert sent.stats.counters == {"sent": 2, "delivered": 2, "open": 2}  # without the machine
    assert sent.stats.ratios["openratio"] == 100.0
    assert emails.get_page(limit=1).paging.next.after == "91"


def test_email_events_come_newest_first_and_both_ends_of_their_range_count(url: str) -> None:
    def events(**query: object) -> dict[str, Any]:
        answer: dict[str, Any] = get(url, "/email/public/v1/events", **query).json()
        return answer

    window = {"startTimestamp": NOW - 20, "endTimestamp": NOW - 10}
    first = events(**window, limit=4)
    second = events(**window, limit=4, offset=first["offset"])
    assert (first["hasMore"], second["hasMore"]) == (True, False)
    seen = [(event["created"], event["type"]) for event in first["events"] + second["events"]]
    assert seen == [(NOW - 10, "OPEN")] * 3 + [(NOW - 20, "DELIVERED")] * 3
    assert len({event["id"] for event in first["events"] + second["events"]}) == 6
    assert [event["recipient"] for event in events(eventType="OPEN", excludeFilteredEvents="true")["events"]] == [
        "p2@example.com", "p1@example.com",
    ]  # fmt: skip
    assert get(url, "/email/public/v1/events", limit=1001).status_code == 400
    assert get(url, "/email/public/v1/campaigns/77").json()["contentId"] == 91


def test_oauth_tokens_are_issued_on_both_paths_and_bad_ones_refused(url: str) -> None:
    grant = {"grant_type": "refresh_token", "client_id": tokens.CLIENT_ID, "client_secret": tokens.CLIENT_SECRET}
    issued = HubSpot(host=url).oauth.tokens_api.create(**grant, refresh_token=tokens.REFRESH_TOKEN)
    contact = HubSpot(access_token=issued.access_token, host=url).crm.contacts.basic_api.get_by_id("1001")
    assert (contact.id, issued.expires_in) == ("1001", 1800)
    refused = requests.post(f"{url}/oauth/2026-03/token", data=grant | {"refresh_token": "x"}, timeout=10)
    assert (refused.status_code, refused.json()["status"]) == (400, "BAD_REFRESH_TOKEN")
    for token, category in ((tokens.issue("hubspot", -5), "EXPIRED_AUTHENTICATION"), ("x", "INVALID_AUTHENTICATION")):
        with pytest.raises(ApiException) as unauthorized:
            HubSpot(access_token=token, host=url).crm.contacts.basic_api.get_page()
        assert unauthorized.value.status == 401
        assert json.loads(unauthorized.value.body)["category"] == category


def test_account_information_counts_the_calls_of_the_day(url: str) -> None:
    assert get(url, "/account-info/v3/details").json()["companyCurrency"] == "EUR"
    (usage,) = get(url, "/account-info/2026-03/api-usage/daily/private-apps").json()["results"]
    assert 0 < usage["currentUsage"] < usage["usageLimit"]


def test_rate_limits_refuse_and_a_search_shows_no_rate_headers(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    routes = hubspot.routes(world, hubspot.Limits(ten_seconds=2, daily=4, search=1))
    monkeypatch.setattr(server, "create_app", lambda world: Starlette(routes=[Mount("/hubspot", routes=routes)]))
    with running(world) as base_url:

        def listed() -> requests.Response:
            return get(f"{base_url}/hubspot", OBJECTS + "deals")

        def searched() -> requests.Response:
            return post(f"{base_url}/hubspot", OBJECTS + "deals/search", {})

        assert listed().headers["X-HubSpot-RateLimit-Remaining"] == "1"
        assert listed().headers["X-HubSpot-RateLimit-Daily-Remaining"] == "2"
        refused = listed()
        assert (refused.status_code, refused.json()["policyName"]) == (429, "TEN_SECONDLY_ROLLING")
        assert "X-HubSpot-RateLimit-Max" not in searched().headers
        refused = searched()
        assert (refused.status_code, refused.json()["category"]) == (429, "RATE_LIMITS")
        time.sleep(1.01)
        assert searched().status_code == 200
        assert searched().json()["policyName"] == "DAILY"


@pytest.mark.parametrize("rough", [False, True], ids=["clean", "rough"])
def test_the_client_reads_everything_of_a_generated_world_that_its_portal_may_see(tmp_path: Path, rough: bool) -> None:
    made = generate.make_world(tmp_path / "world.sqlite", until=date(2026, 3, 11), days=20, leads=60, rough=rough)
    with running(made) as base_url:
        client = HubSpot(access_token=tokens.PRIVATE_APP_TOKEN, host=f"{base_url}/hubspot")
        there = {each.name for each in client.crm.properties.core_api.get_all("contacts").results}
        contacts = client.crm.contacts.get_all(properties=sorted(there))
        deals = client.crm.deals.get_all(properties=["dealname"])
        companies = client.crm.companies.get_all(properties=["domain"])
        page = client.marketing.emails.marketing_emails_api.get_page if not rough else None
        refused = get(f"{base_url}/hubspot", "/marketing/v3/emails")
        emails = page(limit=10).results if page else []
    assert len(contacts) > 20
    assert deals
    assert companies
    assert ("utm_campaign" in there, bool(emails)) == ((False, False) if rough else (True, True))
    assert (refused.status_code == 403) == rough
    clicked = [each for each in contacts if each.properties.get("hs_google_click_id")]
    assert all(each.properties["hs_analytics_source_data_1"] for each in clicked if rough)


def test_the_client_lists_forms_by_type_and_archived_ones_apart(client: HubSpot) -> None:
    forms = client.marketing.forms.forms_api
    assert [form.name for form in forms.get_page().results][:1] == ["Contact us"]
    assert {form.form_type for form in forms.get_page().results} == {"hubspot"}
    assert [form.name for form in forms.get_page(archived=True).results] == ["Old whitepaper"]
