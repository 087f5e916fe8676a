"""Pipedrive over the sandbox, and by the answers that its documents and public clients show."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import pytest
import requests
import responses

from b2b_pipeline.connectors.base import Account, Mapping_, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Reauth, Session, Stop, Wait
from b2b_pipeline.connectors.pipedrive import rows
from b2b_pipeline.connectors.pipedrive.source import (
    SOURCE,
    Pipedrive,
    classify,
    connect,
    read_deals,
    read_persons,
)
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, QuotaError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import opportunity
from b2b_pipeline_tests.support.asked import Asked
from b2b_sandbox.faults import add_fault
from b2b_sandbox.generate import make_world
from b2b_sandbox.pipedrive import FIELDS
from b2b_sandbox.server import running
from b2b_sandbox.tokens import PRIVATE_APP_TOKEN
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
BASE = "https://ourcompany.pipedrive.com"
ACCOUNT = Account("7654321", "Our Company", "EUR")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC"))


ASKED = Asked(SOURCE, ACCOUNT, WINDOW, "2026-01-01", "pipedrive")
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120)


# -- what answers mean


def answer(status: int, body: Any = None, headers: Mapping[str, str] = {}) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/api/v2/deals"
    made._content = body if isinstance(body, bytes) else json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


REFUSED = {"success": False, "error": "unauthorized access", "errorCode": 401}  # recorded 2026-09-26
LIMITED = {"success": False, "error": "Rate limit exceeded", "errorCode": 429}


def test_a_burst_is_waited_out_by_the_header_that_tells_how_long() -> None:
    for headers, seconds in (({"x-ratelimit-reset": "2"}, 2), ({"x-ratelimit-reset": "5"}, 5), ({}, 2)):
        left = {"x-daily-ratelimit-token-remaining": "29000"}
        assert classify(answer(429, LIMITED, {**headers, **left})) == Wait(seconds)
    assert classify(answer(429, LIMITED, {"Retry-After": "30"})) == Wait(30)


def test_when_the_company_s_tokens_are_spent_nothing_is_asked_before_the_next_day() -> None:
    outcome = classify(answer(429, LIMITED, {"x-daily-ratelimit-token-remaining": "0"}))
    assert isinstance(outcome, Stop)
    assert timedelta(0) < outcome.until - datetime.now(UTC) <= timedelta(days=1)


def test_a_block_for_asking_on_after_a_429_is_told_from_a_missing_permission() -> None:
    blocked = classify(answer(403, b"<html>Attention Required! | Cloudflare</html>", {"Content-Type": "text/html"}))
    assert isinstance(blocked, Fatal)
    assert not blocked.auth
    assert "an hour" in blocked.fix
    forbidden = classify(answer(403, {"success": False, "error": "Scope and URL mismatch"}))
    assert forbidden == Fatal("Scope and URL mismatch", auth=True)


def test_a_wrong_token_and_an_error_in_a_200_are_no_data() -> None:
    assert classify(answer(401, REFUSED)) == Reauth("unauthorized access")
    assert isinstance(classify(answer(200, {"success": False, "error": "Internal error", "data": None})), Wait)


# -- what is asked


@responses.activate
def test_windows_are_asked_in_whole_seconds_and_both_lists_of_deals_with_their_bins_are_read() -> None:
    """Pipedrive refuses a fraction of a second with status 400."""
    for path in ("deals", "deals/archived"):
        responses.get(f"{BASE}/api/v2/{path}", json={"success": True, "data": [], "additional_data": {}})
    window = Window(
        UNTIL, UNTIL, datetime(2026, 6, 1, 9, 30, 15, 250_000, UTC), datetime(2026, 6, 2, 7, 0, 0, 999_999, UTC)
    )
    client = Pipedrive(Session(BASE, classify=classify), config())
    assert [page.records for page in read_deals(client, ACCOUNT, window)] == [[], [], [], []]
    asked = [dict(call.request.params) for call in responses.calls]  # type: ignore[attr-defined]
    assert [query.pop("status", None) for query in asked] == [None, "deleted", None, "deleted"]
    assert asked == [
        {
            "updated_since": "2026-06-01T09:30:15Z", "updated_until": "2026-06-02T07:00:00Z", "sort_by": "update_time",
            "limit": "500",
        }
    ] * 4  # fmt: skip


def test_the_log_is_asked_for_only_of_deals_that_have_moved(sandbox: World) -> None:
    client = connect(config())
    deals = [deal for page in read_deals(client, ACCOUNT, WINDOW) for deal in page.records]
    moved = [deal for deal in deals if deal["stage_change_time"]]
    assert 0 < len(moved) < len(deals)
    assert all(deal["changes"] for deal in moved)
    assert client.session.calls == 4 + len(moved) + 2  # two lists and their bins, the logs, pipelines and stages
    kept = {change["field_key"] for deal in deals for change in deal["changes"]}
    assert kept <= {"stage_id", "status"}
    assert {deal["stage"]["name"] for deal in deals} >= {"Qualified", "Contact Made"}


def test_a_burst_limit_slows_a_read_down_and_loses_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", PRIVATE_APP_TOKEN)
    found = []
    for options in ({}, {"burst": 6, "page_size": 15}):
        with running(world, pipedrive=options) as url:
            monkeypatch.setenv("PIPEDRIVE_BASE_URL", f"{url}/pipedrive")
            client = connect(config())
            pages = read_persons(client, ACCOUNT, WINDOW)
            found.append(sorted(person["id"] for page in pages for person in page.records))
    assert found[0] == found[1] != []


def test_a_day_s_budget_that_is_spent_ends_the_read_until_tomorrow(sandbox: World) -> None:
    add_fault(sandbox, "pipedrive", "throttle", daily=True)
    with pytest.raises(QuotaError) as caught:
        list(read_persons(connect(config()), ACCOUNT, WINDOW))
    assert caught.value.until > datetime.now(UTC)


def test_a_token_that_is_no_good_is_told_without_the_token(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", "a-wrong-token-of-mine")
    with pytest.raises(AuthError) as caught:
        SOURCE.accounts(connect(config()), config())
    assert "a-wrong-token-of-mine" not in str(caught.value)


def test_without_a_company_there_is_no_address_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PIPEDRIVE_BASE_URL", raising=False)
    with pytest.raises(AuthError, match="PIPEDRIVE_COMPANY_DOMAIN is not set"):
        connect(config())
    monkeypatch.setenv("PIPEDRIVE_COMPANY_DOMAIN", "ourcompany")
    monkeypatch.setenv("PIPEDRIVE_API_TOKEN", "token-of-ours")
    assert connect(config()).session.base_url == BASE


def test_another_company_than_the_configured_one_is_refused(sandbox: World) -> None:
    settings = config(accounts=["1"])
    with pytest.raises(ConfigError, match=r"sources\.pipedrive\.accounts: 1 not among .* 7654321"):
        SOURCE.accounts(connect(settings), settings)


def test_doctor_tells_what_is_readable_what_is_left_of_today_and_which_field_is_not_there(sandbox: World) -> None:
    settings = config(fields={"utm_medium": FIELDS["utm_medium"], "gclid": "f" * 40})
    findings = SOURCE.probe(connect(settings), settings)
    told = [finding.what for finding in findings if finding.ok]
    assert any(what.startswith("Pipedrive company ourcompany") for what in told)
    assert "Pipedrive deal is readable" in told
    assert any("tokens left of today" in what for what in told)
    [wrong] = [finding for finding in findings if not finding.ok]
    assert "sources.pipedrive.fields.gclid" in wrong.what


@responses.activate
def test_doctor_warns_of_a_user_who_may_not_see_everything() -> None:
    """What such a user is not shown is missing without a word, and numbers would look whole."""
    me = {"company_id": 1, "company_name": "Our Company", "company_domain": "ourcompany", "default_currency": "EUR"}
    for access, warned in (([{"app": "sales", "admin": False}], True), ([{"app": "sales", "admin": True}], False)):
        responses.get(f"{BASE}/api/v1/users/me", json={"success": True, "data": {**me, "access": access}})
        for name in ("deals", "persons", "organizations"):
            responses.get(f"{BASE}/api/v2/{name}", json={"success": True, "data": [], "additional_data": {}})
        findings = SOURCE.probe(Pipedrive(Session(BASE, classify=classify), config()), config())
        assert any(finding.warning for finding in findings) is warned


# -- what becomes of it


def deal(number: int, **more: Any) -> Record:
    """A deal as the documents show one."""
    stamp = "2026-01-01T10:00:00Z"
    return {
        "id": number, "title": "Deal Title", "owner_id": 1, "value": 200, "person_id": 5, "org_id": 7, "stage_id": 2,
        "pipeline_id": 1, "currency": "USD", "add_time": stamp, "update_time": "2026-02-01T00:00:00Z",
        "stage_change_time": None, "status": "open", "is_archived": False, "is_deleted": False, "close_time": None,
        "won_time": None, "lost_time": None, "expected_close_date": "2026-03-31", "custom_fields": {},
        "pipeline": {"id": 1, "name": "Renewal"}, "stage": {"id": 2, "name": "Proposal Made"}, "changes": [], **more,
    }  # fmt: skip


def change(field: str, old: str, new: str, time: str) -> Record:
    """A line of the log, as recorded: values are words, times are UTC without a zone."""
    return {"field_key": field, "old_value": old, "new_value": new, "actor_user_id": 26, "time": time}


def plain(cells: pd.Series) -> list[Any]:
    return [None if pd.isna(cell) else cell for cell in cells]


def context(**settings: Any) -> MappingContext:
    return ASKED.context("deal", **settings)


def test_a_deal_without_a_value_has_no_amount_and_a_won_one_its_day() -> None:
    given = [
        deal(1, value=0),
        deal(2, value=1.0e7, status="won", close_time="2026-02-14T23:30:00Z", won_time="2026-02-14T23:30:00Z"),
        deal(3, status="deleted", is_deleted=True),
        deal(4, status="lost", close_time="2026-02-01T08:00:00Z", person_id=None, org_id=None),
    ]
    found = rows.opportunities(flattened(given), context())
    assert plain(found["amount"]) == [None, "10000000.0", "200", "200"]
    assert found["close_date"].tolist() == ["2026-03-31", "2026-02-14", "2026-03-31", "2026-02-01"]
    assert found["is_won"].tolist() == [False, True, False, False]
    assert found["is_closed"].tolist() == [False, True, False, True]
    assert found["is_deleted"].tolist() == [False, False, True, False]
    assert found["opp_type"].tolist() == ["Renewal"] * 4
    roles = rows.contact_roles(flattened(given), context())
    assert roles["role_id"].tolist() == ["1:5", "2:5", "3:5"]


@pytest.mark.parametrize(
    ("field", "mapping"),
    [
        ("status", rows.opportunities), ("person_id", rows.contact_roles), ("emails", rows.identity_links),
        ("id", rows.leads),
    ],
)  # fmt: skip
def test_without_a_field_that_decides_what_counts_there_are_no_rows(field: str, mapping: Mapping_) -> None:
    """Else every deal would be open and belong to nobody, and every person be somebody new: whole, and wrong."""
    record = {**deal(1), "emails": []}
    assert len(mapping(flattened([record]), context())) <= 1
    del record[field]
    with pytest.raises(KeyError, match=field):
        mapping(flattened([record]), context())


def test_a_status_that_nobody_knows_sends_the_deal_to_quarantine() -> None:
    given = [deal(1, status="paused"), deal(2, status=None), deal(3, status="won", close_time="2026-02-01T08:00:00Z")]
    found = enforce(opportunity, rows.opportunities(flattened(given), context()))
    assert found.rows["opp_id"].tolist() == ["3"]
    assert len(found.rejects) == 2


def test_a_closed_deal_without_its_time_was_not_closed_when_it_was_expected_to_be() -> None:
    found = rows.opportunities(flattened([deal(1, status="won"), deal(2)]), context())
    assert plain(found["close_date"]) == [None, "2026-03-31"]


@responses.activate
def test_a_full_page_that_says_nothing_of_a_next_one_is_not_taken_for_the_last() -> None:
    page = [{"id": number} for number in range(500)]
    responses.get(f"{BASE}/api/v2/persons", json={"success": True, "data": page})
    with pytest.raises(TransientError, match="full page without"):
        list(read_persons(Pipedrive(Session(BASE, classify=classify), config()), ACCOUNT, WINDOW))


def test_the_first_stage_is_the_one_that_the_oldest_change_left() -> None:
    """Newest first, as Pipedrive lists it; a deal that never moved is where it always was."""
    log = [
        change("status", "open", "won", "2026-01-20 09:00:00"),
        change("stage_id", "3", "5", "2026-01-15 09:00:00"),
        change("stage_id", "2", "3", "2026-01-10 09:00:00"),
    ]
    found = rows.deal_stages(flattened([deal(1, stage_id=5, changes=log), deal(2)]), context())
    entries = found.sort_values(["object_id", "entered_at"])
    at = pd.to_datetime(entries["entered_at"]).dt.strftime("%Y-%m-%d %H:%M")
    told = list(zip(entries["object_id"], plain(entries["from_stage"]), entries["to_stage"], at, strict=True))
    assert told == [
        ("1", None, "2", "2026-01-01 10:00"),
        ("1", "2", "3", "2026-01-10 09:00"),
        ("1", "3", "5", "2026-01-15 09:00"),
        ("2", None, "2", "2026-01-01 10:00"),
    ]


def test_a_person_is_known_by_all_their_addresses_the_primary_one_first() -> None:
    h1, h2 = "h1:" + "a" * 32 + "@x.example", "h1:" + "b" * 32 + "@y.example"
    emails = [{"value": h1, "primary": False, "label": "home"}, {"value": h2, "primary": True, "label": "work"}]
    stamp = "2026-01-01T10:00:00Z"
    people = [
        {"id": 5, "emails": emails, "add_time": stamp, "update_time": stamp, "owner_id": 1, "is_deleted": False},
        {"id": 6, "emails": [], "add_time": stamp, "update_time": stamp, "owner_id": 1, "is_deleted": False},
    ]
    leads = rows.leads(flattened(people), context())
    assert plain(leads["email_hash"]) == [h2, None]
    links = rows.identity_links(flattened(people), context())
    assert links["to_key"].tolist() == ["email:" + "b" * 32, "email:" + "a" * 32]
    assert set(links["from_key"]) == {"pipedrive:contact:5"}
