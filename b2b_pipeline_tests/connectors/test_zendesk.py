"""Zendesk over the sandbox, and by the answers that its documents and public clients show."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine
from requests.adapters import HTTPAdapter
from zenpy import Zenpy

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Reauth, Session, Stop, Wait
from b2b_pipeline.connectors.zendesk import rows
from b2b_pipeline.connectors.zendesk.source import (
    EXPORT,
    SOURCE,
    SURVEYS,
    Zendesk,
    classify,
    connect,
    read_surveys,
    read_tickets,
)
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, QuotaError, SkippedError, TransientError
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import support_ticket, survey_response
from b2b_sandbox import tokens, voices
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World
from b2b_sandbox.zendesk import LAG, SCALES, USER, said

UNTIL = date(2026, 6, 15)
BASE = "https://ourcompany.zendesk.com"
ACCOUNT = Account("ourcompany")
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC"))
CLIENT = {
    "ZENDESK_SUBDOMAIN": "ourcompany", "ZENDESK_CLIENT_ID": tokens.CLIENT_ID,
    "ZENDESK_CLIENT_SECRET": tokens.CLIENT_SECRET,
}  # fmt: skip


def config(**settings: Any) -> Config:
    return Config.model_validate(
        {"start_date": "2026-01-01", "system_of_record": "files", "sources": {"zendesk": settings}}
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    for name in ("ZENDESK_API_TOKEN", "ZENDESK_REFRESH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in CLIENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    return monkeypatch


@pytest.fixture
def sandbox(world: World, environment: pytest.MonkeyPatch) -> Iterator[World]:
    with running(world) as url:
        environment.setenv("ZENDESK_BASE_URL", f"{url}/zendesk")
        yield world
    clear_faults(world)
    with world.connect() as connection:  # tokens that were revoked then are no good in June either
        connection.execute("delete from setting where name like 'revoked_before.%'")


def read(window: Window = WINDOW) -> list[Record]:
    return [record for page in read_tickets(connect(config()), ACCOUNT, window) for record in page.records]


def asked(world: World, until: datetime = WINDOW.until) -> list[voices.Ticket]:
    """Those that had changed last before a moment."""
    with world.connect() as connection:
        found = voices.tickets(connection, world.now(), "zendesk")
    return [each for each in found if each.changed // 1000 + LAG < until.timestamp()]


# -- what is read


@pytest.mark.parametrize("most", [1000, 7])
def test_every_ticket_is_read_and_one_that_comes_on_two_pages_is_one(
    world: World, most: int, environment: pytest.MonkeyPatch
) -> None:
    with running(world, zendesk={"page_size": most}) as url:
        environment.setenv("ZENDESK_BASE_URL", f"{url}/zendesk")
        found = read()
    stored = enforce(support_ticket, rows.tickets(flattened(found), context()))
    assert stored.rejects.empty
    assert sorted(map(int, stored.rows["ticket_id"])) == [ticket.number for ticket in asked(world)]
    assert (stored.duplicates > 0) is (most == 7)


def surveyed(client: Zendesk | None = None, window: Window = WINDOW) -> list[Record]:
    return [record for page in read_surveys(client or connect(config()), ACCOUNT, window) for record in page.records]


def test_every_answer_to_a_survey_is_read_with_the_scale_of_its_version(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, shown = connect(config()), []
    get = client.session.get
    monkeypatch.setattr(client.session, "get", lambda path, *more: shown.append(path) or get(path, *more))
    found = surveyed(client)
    stored = enforce(survey_response, rows.surveys(flattened(found), context()))
    assert stored.rejects.empty
    with sandbox.connect() as connection:
        tickets = voices.tickets(connection, sandbox.now(), "zendesk")
    given = [pair for each in tickets if each.rated and each.rated / 1000 < WINDOW.until.timestamp()
             if (pair := said(each))]  # fmt: skip
    expected = sorted((SCALES[version].index(rating) + 1, len(SCALES[version])) for version, rating in given)
    assert {scale for _, scale in expected} == {3, 5}
    assert sorted((int(row["csat"]), int(row["csat_scale"])) for row in stored.rows.to_dict("records")) == expected
    assert sum("/en-us/" in path for path in shown) == 2, "a response is shown for each version of the survey"
    assert "555" not in json.dumps(found), "nobody's words are kept"


def response(identifier: str, *answers: Record) -> Record:
    return {"id": identifier, "answers": [*answers], "survey": {"id": "S", "version": 3, "state": "enabled"}}


def rated(rating: int, day: int = 2, **more: Any) -> Record:
    at = f"2026-06-{day:02}T12:00:00.000Z"
    question = {"id": "Q", "type": "rating_scale_numeric", "sub_type": "customer_satisfaction", **more}
    return {"type": "rating_scale", "rating": rating, "rating_category": "good", "question": question,
            "created_at": at, "updated_at": at}  # fmt: skip


def test_who_was_asked_and_said_nothing_is_no_response_and_a_scale_that_nobody_shows_is_no_number(
    environment: pytest.MonkeyPatch,
) -> None:
    with responses.RequestsMock() as vendor:
        vendor.post(f"{BASE}/oauth/tokens", json={"access_token": "t", "expires_in": 1800})
        skipped = {**rated(1), "type": "skipped"}
        listed = [response("A"), response("B", skipped), response("C", rated(5)), response("D", rated(5, day=20))]
        vendor.get(f"{BASE}/{SURVEYS}", json={"survey_responses": listed, "meta": {"has_more": False}})
        gone = {"errors": [{"code": "NotFound", "status": "404", "title": "The survey response could not be found"}]}
        vendor.get(f"{BASE}/api/v2/guide/en-us/survey_responses/C", json=gone, status=404)
        vendor.get(f"{BASE}/api/v2/guide/en-us/survey_responses/D", json=gone, status=404)
        found = surveyed()
        asked = dict(vendor.calls[1].request.params)  # type: ignore[attr-defined]
    assert [record["id"] for record in found] == ["C"], "that of the twentieth is of another window"
    stored = enforce(survey_response, rows.surveys(flattened(found), context()))
    assert stored.rejects["column_name"].tolist() == ["csat"]
    start, end = (int(asked[f"filter[created_at_{name}]"]) / 1000 for name in ("start", "end"))
    assert (end - start, end) == (timedelta(days=120).total_seconds(), WINDOW.until.timestamp())


def test_a_plan_without_surveys_is_left_out_and_fails_nothing(environment: pytest.MonkeyPatch) -> None:
    with responses.RequestsMock() as vendor:
        vendor.post(f"{BASE}/oauth/tokens", json={"access_token": "t", "expires_in": 1800})
        refused = {"errors": [{"code": "Forbidden", "status": "403", "title": "Access to the resource is forbidden"}]}
        vendor.get(f"{BASE}/{SURVEYS}", json=refused, status=403)
        with pytest.raises(SkippedError, match="forbidden: the plan has no such surveys"):
            surveyed()


def test_what_changed_after_the_window_is_left_to_the_next(sandbox: World) -> None:
    middle = WINDOW.since + timedelta(days=24)
    halves = [Window(UNTIL, UNTIL, *each) for each in ((WINDOW.since, middle), (middle, WINDOW.until))]
    first, second = ({record["id"] for record in read(half)} for half in halves)
    assert first
    assert second
    assert not first & second
    assert first | second == {ticket.number for ticket in asked(sandbox)}
    assert read(Window(UNTIL, UNTIL, middle, middle)) == []


def test_no_text_no_name_and_no_address_in_clear_is_kept(sandbox: World) -> None:
    text = json.dumps([{**record, "requester": None} for record in read()])
    for word in ("555 0100", "private.example", "SCRUBBED", "@", "comment", "custom_fields", "subject", "Jo"):
        assert word not in text, word


def test_a_cursor_that_repeats_and_an_export_that_does_not_say_where_it_goes_on_are_no_end(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    """As PostHog #59215 went round for ever."""
    with running(world, zendesk={"page_size": 7}) as url:
        environment.setenv("ZENDESK_BASE_URL", f"{url}/zendesk")
        add_fault(world, "zendesk", "repeat_cursor")
        with pytest.raises(TransientError, match="repeats"):
            read()
    clear_faults(world)
    for body in ({"tickets": []}, {"tickets": [], "end_of_stream": False, "after_cursor": None}):
        with responses.RequestsMock() as vendor:
            vendor.get(f"{BASE}/{EXPORT}", json=body)
            with pytest.raises(TransientError, match="neither ends nor says"):
                _read()


def _read() -> list[Record]:
    client = Zendesk(Session(BASE, classify=classify), "ourcompany")
    return [record for page in read_tickets(client, ACCOUNT, WINDOW) for record in page.records]


@responses.activate
def test_the_first_page_is_asked_for_by_its_time_and_the_next_by_the_cursor_alone() -> None:
    for after, ends in (("c1", False), ("c2", True)):
        responses.get(f"{BASE}/{EXPORT}", json={"tickets": [], "after_cursor": after, "end_of_stream": ends})
    assert _read() == []
    more = {"include": "metric_sets,users", "per_page": "500"}
    first, second = (dict(call.request.params) for call in responses.calls)  # type: ignore[attr-defined]
    assert first == {**more, "start_time": str(int(WINDOW.since.timestamp()))}
    assert second == {**more, "cursor": "c1"}


# -- what becomes of it


def context() -> MappingContext:
    return MappingContext(config(), "zendesk", "ticket", ACCOUNT)


def minutes(calendar: int | None, business: int | None) -> Record:
    return {"calendar": calendar, "business": business}


def ticket(number: int, **more: Any) -> Record:
    metrics = {
        "replies": 1, "reopens": 0, "solved_at": "2026-06-02T09:00:00Z", "reply_time_in_minutes": minutes(90, 30),
        "full_resolution_time_in_minutes": minutes(1440, 480), "first_resolution_time_in_minutes": minutes(600, 200),
        **more.pop("metrics", {}),
    }  # fmt: skip
    return {
        "id": number, "status": "solved", "priority": "high", "created_at": "2026-06-01T09:00:00Z",
        "updated_at": "2026-06-02T09:00:00Z", "generated_at": "2026-06-02T09:00:07+00:00", "organization_id": None,
        "via": {"channel": "email"}, "satisfaction_rating": {"score": "offered"}, "metric_set": metrics,
        "requester": {"email": None}, **more,
    }  # fmt: skip


def mapped(*given: Record) -> list[dict[str, Any]]:
    stored = enforce(support_ticket, rows.tickets(flattened(given), context()))
    assert stored.rejects.empty, stored.rejects
    return stored.rows.astype(object).to_dict("records")


def test_a_ticket_has_the_times_that_zendesk_tells_by_the_calendar_and_by_its_schedule() -> None:
    (row,) = mapped(ticket(1))
    assert (row["first_response_minutes"], row["first_response_business_minutes"]) == (90, 30)
    assert (row["resolution_minutes"], row["resolution_business_minutes"]) == (1440, 480)
    assert str(row["first_response_at"]) == "2026-06-01 10:30:00"
    assert str(row["updated_at"]) == "2026-06-02 09:00:07", "by which the newer version is told"


def test_a_ticket_that_is_open_again_has_no_solution_any_more() -> None:
    (row,) = mapped(ticket(1, status="open", metrics={"reopens": 1}))
    told = [row[name] for name in ("resolution_minutes", "resolution_business_minutes", "resolved_at")]
    assert told == [None] * 3
    assert row["first_response_minutes"] == 90
    assert (row["is_resolved"], row["reopens"]) == (False, 1)


def test_nobody_answered_is_not_answered_at_once() -> None:
    times = {"reply_time_in_minutes": minutes(None, None), "replies": 0, "solved_at": None,
             "full_resolution_time_in_minutes": minutes(None, None)}  # fmt: skip
    (row,) = mapped(ticket(1, status="new", metrics=times))
    assert [row["first_response_minutes"], row["first_response_at"], row["resolution_minutes"]] == [None] * 3
    assert row["replies"] == 0


@pytest.mark.parametrize(
    ("score", "expected"),
    [("good", 2), ("bad", 1), ("goodwithcomment", 2), ("bad with comment", 1), ("offered", None), ("unoffered", None),
     (None, None)],
)  # fmt: skip
def test_good_is_two_of_two_and_what_was_only_offered_is_no_rating(score: str | None, expected: int | None) -> None:
    (row,) = mapped(ticket(1, satisfaction_rating={"score": score}))
    assert row["csat"] == expected
    assert row["csat_scale"] == (None if expected is None else 2)


def test_what_nobody_knows_and_a_ticket_without_measures_are_refused_and_a_deleted_one_is_not() -> None:
    nothing = dict.fromkeys(("replies", "reopens", "solved_at"))
    given = [
        ticket(1, status="deleted", metrics=nothing), ticket(2, status="paused"), ticket(3, metrics=nothing),
        ticket(4, satisfaction_rating={"score": "splendid"}), ticket(5, status=None),
    ]  # fmt: skip
    stored = enforce(support_ticket, rows.tickets(flattened(given), context()))
    assert stored.rows["ticket_id"].tolist() == ["1"]
    assert stored.rows["is_deleted"].tolist() == [True]
    assert len(stored.rejects) == 4


@pytest.mark.parametrize("field", ["status", "created_at", "metric_set.replies"])
def test_without_a_field_that_decides_what_counts_there_are_no_rows(field: str) -> None:
    records = flattened([ticket(1)])
    with pytest.raises(KeyError, match=field):
        rows.tickets(records.drop(columns=field), context())


# -- what goes wrong


def answer(status: int, body: Any = None, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url, made._content = status, f"{BASE}/{EXPORT}", json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


def test_answers_mean_what_zendesk_says() -> None:
    limited = {"error": "APIRateLimitExceeded", "description": "Number of allowed incremental export API requests"}
    assert classify(answer(429, limited, **{"Retry-After": "13"})) == Wait(13, "APIRateLimitExceeded")
    assert classify(answer(429, limited)) == Wait(60, "APIRateLimitExceeded")
    assert isinstance(classify(answer(429, limited, **{"Retry-After": "3600"})), Stop)
    assert isinstance(classify(answer(503, None, **{"Retry-After": "30"})), Wait)
    assert isinstance(classify(answer(504, "upstream request timeout")), Wait)
    assert classify(answer(401, {"error": "Couldn't authenticate you"})) == Reauth("Couldn't authenticate you")
    assert classify(answer(403, {"error": {"title": "Forbidden", "message": "x"}})) == Fatal("Forbidden", auth=True)
    nobody = classify(answer(404, {"error": {"title": "No help desk at nobody.zendesk.com"}}))
    assert isinstance(nobody, Fatal)
    assert "ZENDESK_SUBDOMAIN" in nobody.fix


def test_ten_exports_a_minute_slow_a_read_down_and_a_long_wait_ends_it(
    world: World, environment: pytest.MonkeyPatch
) -> None:
    with running(world) as url:
        environment.setenv("ZENDESK_BASE_URL", f"{url}/zendesk")
        add_fault(world, "zendesk", "throttle", path_contains="incremental", retry_after=1)
        assert read()
        add_fault(world, "zendesk", "throttle", path_contains="incremental", retry_after=3600)
        with pytest.raises(QuotaError):
            read()
    clear_faults(world)


def test_a_client_of_its_own_gets_tokens_and_a_wrong_secret_is_told_without_it(
    sandbox: World, environment: pytest.MonkeyPatch
) -> None:
    add_fault(sandbox, "zendesk", "expire_token", path_contains="incremental")
    assert read()
    environment.setenv("ZENDESK_CLIENT_SECRET", "a-wrong-secret-of-mine")
    with pytest.raises(AuthError, match="invalid_client") as caught:
        read()
    assert "a-wrong-secret-of-mine" not in str(caught.value)


def test_a_refresh_token_goes_before_the_client_and_an_api_token_before_both(
    sandbox: World, environment: pytest.MonkeyPatch
) -> None:
    environment.setenv("ZENDESK_REFRESH_TOKEN", "taken-back")
    with pytest.raises(AuthError, match="invalid_grant"):
        read()
    environment.setenv("ZENDESK_REFRESH_TOKEN", tokens.REFRESH_TOKEN)
    assert read()
    environment.setenv("ZENDESK_REFRESH_TOKEN", "taken-back")
    environment.setenv("ZENDESK_EMAIL", USER.partition("/")[0])
    environment.setenv("ZENDESK_API_TOKEN", tokens.PRIVATE_APP_TOKEN)
    assert read()
    environment.setenv("ZENDESK_API_TOKEN", "a-wrong-token-of-mine")
    with pytest.raises(AuthError) as caught:
        read()
    assert "a-wrong-token-of-mine" not in str(caught.value)


def test_doctor_warns_of_an_api_token_and_fails_where_no_administrator_asks(
    world: World, sandbox: World, environment: pytest.MonkeyPatch
) -> None:
    with time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        told = SOURCE.probe(connect(config()), config())
    assert [(finding.ok, finding.warning) for finding in told] == [(True, False)] * 3, told
    environment.setenv("ZENDESK_EMAIL", USER.partition("/")[0])
    environment.setenv("ZENDESK_API_TOKEN", tokens.PRIVATE_APP_TOKEN)
    (warned,) = (each for each in SOURCE.probe(connect(config()), config()) if each.warning)
    assert "2027-04-30" in warned.what
    environment.setenv("ZENDESK_API_TOKEN", "wrong")
    (refused,) = SOURCE.probe(connect(config()), config())
    assert "was refused" in refused.what
    environment.delenv("ZENDESK_API_TOKEN")
    with running(world, zendesk={"role": "agent"}) as url:
        environment.setenv("ZENDESK_BASE_URL", f"{url}/zendesk")
        found = SOURCE.probe(connect(config()), config())
    assert [finding.ok for finding in found] == [False, False, False]


@responses.activate
def test_who_is_taken_for_a_visitor_has_no_credentials() -> None:
    """Zendesk answers with an anonymous user and status 200."""
    responses.get(f"{BASE}/api/v2/users/me.json", json={"user": {"id": None, "role": "end-user"}})
    (found,) = SOURCE.probe(Zendesk(Session(BASE, classify=classify), "ourcompany"), config())
    assert not found.ok
    assert "anonymous" in found.what


@responses.activate
def test_doctor_warns_of_a_token_that_may_write() -> None:
    responses.get(f"{BASE}/api/v2/users/me.json", json={"user": {"id": 1, "role": "admin"}})
    responses.get(f"{BASE}/api/v2/oauth/tokens/current.json", json={"token": {"scopes": ["read", "write"]}})
    responses.get(f"{BASE}/{EXPORT}", json={"tickets": [], "end_of_stream": True})
    found = SOURCE.probe(Zendesk(Session(BASE, classify=classify), "ourcompany"), config())
    assert [finding.what for finding in found if finding.warning] == [
        "Zendesk: the token may do more than it needs: write"
    ]


class ToTheTwin(HTTPAdapter):
    """What is asked of the vendor's host goes to the sandbox."""

    def send(self, request: requests.PreparedRequest, *args: Any, **how: Any) -> requests.Response:
        asked, parts = str(request.url), urlsplit(str(request.url))
        request.url = f"{os.environ['ZENDESK_BASE_URL']}{parts.path}?{parts.query}"
        response = super().send(request, *args, **how)
        request.url = asked
        return response


def test_its_usual_client_reads_the_twin(sandbox: World) -> None:
    session = requests.Session()
    session.mount("https://", ToTheTwin())
    client = Zenpy(
        subdomain="ourcompany", email=USER.partition("/")[0], token=tokens.PRIVATE_APP_TOKEN, session=session
    )
    session.auth = (USER, tokens.PRIVATE_APP_TOKEN)
    start = datetime(2026, 5, 16, tzinfo=UTC)
    found = client.tickets.incremental(start_time=start, paginate_by_time=False, include=["metric_sets"])
    told = {item.id: item.metric_set["replies"] for item in found if item.status != "deleted"}
    with sandbox.connect() as connection:
        every = voices.tickets(connection, sandbox.now(), "zendesk")
    assert told == {each.number: each.replies for each in every if not each.is_deleted}
    assert client.users.me().role == "admin"
