"""Intercom over the sandbox, and by the answers that its description shows."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
import requests
import responses
from intercom import Intercom as Sdk
from intercom import MultipleFilterSearchRequest, SingleFilterSearchRequest, StartingAfterPaging

from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Reauth, Session, Stop, Wait
from b2b_pipeline.connectors.intercom import rows
from b2b_pipeline.connectors.intercom.source import (
    HOSTS,
    SOURCE,
    Intercom,
    classify,
    connect,
    read_conversations,
    read_present,
)
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import support_ticket
from b2b_pipeline_tests.support.asked import Asked
from b2b_sandbox import tokens, voices
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
BASE = HOSTS["us"]
SEARCH = f"{BASE}/conversations/search"
ACCOUNT = Account("wjw5eps7", "Our Company")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC"))


ASKED = Asked(SOURCE, ACCOUNT, WINDOW, "2026-01-01")
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120)


def read(window: Window = WINDOW, **settings: Any) -> list[Record]:
    client = connect(config(**settings))
    return [record for page in read_conversations(client, ACCOUNT, window) for record in page.records]


def asked(world: World) -> list[voices.Ticket]:
    with world.connect() as connection:
        found = voices.tickets(connection, world.now(), "intercom")
    return [each for each in found if each.changed < WINDOW.until.timestamp() * 1000]


# -- what is read


@pytest.mark.parametrize("options", [{}, {"page_size": 7}, {"page_size": 7, "inclusive": True}])
def test_every_conversation_is_read_once_whatever_its_bounds_mean(
    world: World, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was updated in the first second of the window is in it, and one of the second after it is not."""
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", tokens.PRIVATE_APP_TOKEN)
    moments = sorted({ticket.changed // 1000 for ticket in asked(world)})
    first, last = (datetime.fromtimestamp(moments[at], UTC) for at in (0, -1))
    with running(world, intercom=options) as url:
        monkeypatch.setenv("INTERCOM_BASE_URL", f"{url}/intercom")
        found = [record["id"] for record in read(Window(UNTIL, UNTIL, first, last))]
    expected = [str(each.number) for each in asked(world) if first.timestamp() <= each.changed // 1000 < moments[-1]]
    assert sorted(set(found) & set(expected)) == sorted(expected)
    assert len(found) == len(set(found)) > len(expected), "with what was sent to many"


def test_what_was_sent_to_many_and_nobody_answered_is_no_request(sandbox: World) -> None:
    stored = enforce(support_ticket, rows.tickets(flattened(read()), context()))
    assert stored.rejects.empty
    assert sorted(map(int, stored.rows["ticket_id"])) == sorted(ticket.number for ticket in asked(sandbox))
    assert len(read()) > len(stored.rows)


def test_a_sweep_has_every_conversation(sandbox: World) -> None:
    (page,) = read_present(connect(config()), ACCOUNT, WINDOW)
    swept = {record["id"] for record in page.records}
    assert {str(ticket.number) for ticket in asked(sandbox)} < swept


def test_nothing_that_was_said_and_no_name_is_kept(sandbox: World) -> None:
    found = read()
    text = json.dumps([{**record, "email": None} for record in found])
    for word in ("555 0100", "private.example", "@", "remark", "Jo", "title", "custom_attributes"):
        assert word not in text, word
    assert all("ourcompany.example" not in (record["email"] or "") for record in found), "we are no customer"


def test_fewer_than_were_announced_and_a_cursor_that_repeats_are_told(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with responses.RequestsMock() as vendor:
        vendor.post(SEARCH, json={"conversations": [], "pages": {"type": "pages"}, "total_count": 3})
        with pytest.raises(TransientError, match="0 conversations came, 3 were announced"):
            _read()
        vendor.replace(responses.POST, SEARCH, json={"conversations": [], "total_count": 0})
        with pytest.raises(TransientError, match="without 'pages'"):
            _read()
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", tokens.PRIVATE_APP_TOKEN)
    with running(world, intercom={"page_size": 7}) as url:
        monkeypatch.setenv("INTERCOM_BASE_URL", f"{url}/intercom")
        add_fault(world, "intercom", "repeat_cursor")
        with pytest.raises(TransientError, match="repeats"):
            read()
    clear_faults(world)


def _read(window: Window = WINDOW) -> list[Record]:
    client = Intercom(Session(BASE, classify=classify))
    return [record for page in read_conversations(client, ACCOUNT, window) for record in page.records]


@responses.activate
def test_the_question_is_as_documented_and_the_next_page_is_asked_for_by_its_cursor() -> None:
    for pages in ({"next": {"per_page": 150, "starting_after": "WzE3"}}, {"next": None}):
        responses.post(SEARCH, json={"conversations": [], "pages": pages, "total_count": 0})
    window = Window(UNTIL, UNTIL, datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 6, 2, tzinfo=UTC))
    assert _read(window) == []
    first, second = (json.loads(call.request.body or "") for call in responses.calls)
    assert first["query"]["value"] == [
        {"field": "updated_at", "operator": ">", "value": 1780271999},
        {"field": "updated_at", "operator": "<", "value": 1780358400},
    ]
    assert first["pagination"] == {"per_page": 150}
    assert second == {**first, "pagination": {"per_page": 150, "starting_after": "WzE3"}}
    assert _read(Window(UNTIL, UNTIL, window.until, window.until)) == []


# -- what becomes of it


def context() -> MappingContext:
    return ASKED.context("conversation")


AT = 1_780_300_000


def conversation(number: int, **more: Any) -> Record:
    statistics = {
        "first_admin_reply_at": AT + 600, "last_close_at": AT + 7199, "time_to_admin_reply": 300,
        "time_to_last_close": 3600, "count_reopens": 0, **more.pop("statistics", {}),
    }  # fmt: skip
    return {
        "id": str(number), "created_at": AT, "updated_at": AT + 9000, "state": "closed", "priority": "not_priority",
        "source": {"type": "email", "delivered_as": "customer_initiated"}, "first_contact_reply": {"created_at": AT},
        "statistics": statistics, "conversation_rating": {"rating": None}, "company": {"id": None}, "email": None,
        **more,
    }  # fmt: skip


def mapped(*given: Record) -> list[dict[str, Any]]:
    stored = enforce(support_ticket, rows.tickets(flattened(given), context()))
    assert stored.rejects.empty, stored.rejects
    return stored.rows.astype(object).to_dict("records")


def test_times_are_whole_minutes_by_the_calendar_and_in_office_hours() -> None:
    (row,) = mapped(conversation(1))
    assert (row["first_response_minutes"], row["first_response_business_minutes"]) == (10, 5)
    assert (row["resolution_minutes"], row["resolution_business_minutes"]) == (119, 60)
    assert (row["is_resolved"], row["reopens"], row["channel"]) == (True, 0, "email")


def test_one_that_is_open_again_has_no_solution_and_one_that_nobody_answered_no_answer() -> None:
    nothing = {"first_admin_reply_at": None, "time_to_admin_reply": None, "last_close_at": None}
    again, silent = mapped(
        conversation(1, state="open", statistics={"count_reopens": 1}),
        conversation(2, state="snoozed", statistics=nothing),
    )
    assert [again[name] for name in ("resolution_minutes", "resolution_business_minutes", "resolved_at")] == [None] * 3
    assert (again["first_response_minutes"], again["reopens"]) == (10, 1)
    assert [silent[name] for name in ("first_response_minutes", "first_response_at")] == [None] * 2


def test_what_was_answered_after_it_had_been_sent_to_many_is_a_request_from_then_on() -> None:
    later, never = {"created_at": AT + 300}, {"created_at": None}
    (row,) = mapped(conversation(1, first_contact_reply=later), conversation(2, first_contact_reply=never))
    assert row["ticket_id"] == "1"
    assert row["first_response_minutes"] == 5


@pytest.mark.parametrize(("rating", "expected"), [(1, 1), (5, 5), (None, None), (0, "refused"), (6, "refused")])
def test_a_rating_is_one_of_five(rating: int | None, expected: Any) -> None:
    given = flattened([conversation(1, conversation_rating={"rating": rating})])
    stored = enforce(support_ticket, rows.tickets(given, context()))
    if expected == "refused":
        assert len(stored.rejects) == 1
        return
    (row,) = stored.rows.astype(object).to_dict("records")
    assert (row["csat"], row["csat_scale"]) == (expected, None if expected is None else 5)


def test_a_state_that_nobody_knows_and_one_without_statistics_are_refused() -> None:
    none = dict.fromkeys(("count_reopens", "first_admin_reply_at"))
    given = flattened([conversation(1, state="merged"), conversation(2, statistics=none), conversation(3)])
    stored = enforce(support_ticket, rows.tickets(given, context()))
    assert stored.rows["ticket_id"].tolist() == ["3"]
    assert len(stored.rejects) == 2


@pytest.mark.parametrize("field", ["state", "first_contact_reply.created_at", "statistics.count_reopens"])
def test_without_a_field_that_decides_what_counts_there_are_no_rows(field: str) -> None:
    with pytest.raises(KeyError, match=field):
        rows.tickets(flattened([conversation(1)]).drop(columns=field), context())


# -- what goes wrong


def answer(status: int, code: str = "", **headers: str) -> requests.Response:
    made = requests.Response()
    body = {"type": "error.list", "errors": [{"code": code, "message": "not for a log"}]}
    made.status_code, made.url, made._content = status, SEARCH, json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


def test_answers_mean_what_intercom_says() -> None:
    assert classify(answer(401, "unauthorized")) == Reauth("unauthorized")
    assert classify(answer(403, "api_plan_restricted")) == Fatal("api_plan_restricted", auth=True)
    assert classify(answer(400, "parameter_invalid")) == Fatal("parameter_invalid")
    now = datetime.now(UTC).timestamp()
    outcome = classify(answer(429, "rate_limit_exceeded", **{"X-RateLimit-Reset": str(int(now) + 8)}))
    assert isinstance(outcome, Wait)
    assert 5 < outcome.seconds <= 8
    assert classify(answer(429, "rate_limit_exceeded")) == Wait(10, "rate_limit_exceeded")
    assert classify(answer(429, "x", **{"X-RateLimit-Reset": str(int(now) - 60)})) == Wait(1, "x"), "it is over"
    assert isinstance(classify(answer(429, "x", **{"X-RateLimit-Reset": str(int(now) + 7200)})), Stop)


def test_a_throttle_is_waited_out_and_a_wrong_token_is_told_without_it(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fault(sandbox, "intercom", "throttle", retry_after=1)
    assert read()
    add_fault(sandbox, "intercom", "throttle", daily=True)
    with pytest.raises(QuotaError):
        read()
    monkeypatch.setenv("INTERCOM_ACCESS_TOKEN", "a-wrong-token-of-mine")
    with pytest.raises(AuthError) as caught:
        read()
    assert "a-wrong-token-of-mine" not in str(caught.value)


def test_a_version_that_is_gone_and_a_region_that_there_is_not_are_one_clear_error(sandbox: World) -> None:
    with pytest.raises(PermanentError, match="status 400, bad_request"):
        read(options={"api_version": "2.99"})
    with pytest.raises(ConfigError, match=r"sources\.intercom\.options\.api_version"):
        read(options={"api_version": "latest"})
    with pytest.raises(ConfigError, match="'asia' is none of us, eu, au"):
        read(options={"region": "asia"})


def test_doctor_tells_the_workspace_and_that_it_is_elsewhere(
    world: World, sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert SOURCE.accounts(connect(config()), config()).read == [ACCOUNT]
    assert [finding.ok for finding in SOURCE.probe(connect(config()), config())] == [True, True]
    with running(world, intercom={"region": "EU"}) as url:
        monkeypatch.setenv("INTERCOM_BASE_URL", f"{url}/intercom")
        (elsewhere,) = (finding for finding in SOURCE.probe(connect(config()), config()) if not finding.ok)
        add_fault(world, "intercom", "missing_scope", path_contains="search", scope="read_conversations")
        refused = SOURCE.probe(connect(config(options={"region": "eu"})), config(options={"region": "eu"}))[-1]
    assert elsewhere.fix == "sources.intercom.options: {region: eu}"
    assert "Read conversations" in refused.fix


def test_its_official_client_reads_the_twin(sandbox: World) -> None:
    since = SingleFilterSearchRequest(field="updated_at", operator=">", value=str(int(WINDOW.since.timestamp())))
    query = MultipleFilterSearchRequest(operator="AND", value=[since])
    found, cursor = [], None
    with httpx.Client() as http:
        client = Sdk(token=tokens.PRIVATE_APP_TOKEN, base_url=os.environ["INTERCOM_BASE_URL"], httpx_client=http)
        while True:  # its own pager asks for the same page for ever (5.0.1)
            pagination = StartingAfterPaging(per_page=20, starting_after=cursor)
            page = client.conversations.search(query=query, pagination=pagination)
            found += page.items or []
            pages = page.response.pages if page.response else None
            if pages is None or pages.next is None:
                break
            cursor = pages.next.starting_after
    with sandbox.connect() as connection:
        every = {str(each.number): each for each in voices.tickets(connection, sandbox.now(), "intercom")}
    told = {item.id: item.statistics.count_reopens for item in found if item.statistics}
    assert told == {number: ticket.reopens for number, ticket in every.items()}
    assert len(found) > len(told) > 20
