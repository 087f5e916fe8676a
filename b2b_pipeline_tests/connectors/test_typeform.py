"""Typeform over the sandbox, and by the answers that its documents and public clients show."""

from __future__ import annotations

import json
import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
from typeform import Typeform as Sdk

from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.columns import email_key
from b2b_pipeline.connectors.http import Fatal, Reauth, Session, Stop, Wait
from b2b_pipeline.connectors.typeform import rows
from b2b_pipeline.connectors.typeform.source import (
    HOSTS,
    SOURCE,
    Typeform,
    classify,
    connect,
    read_present,
    read_responses,
)
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, QuotaError, TransientError
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import form_event, survey_response
from b2b_pipeline_tests.support.asked import Asked
from b2b_pipeline_tests.support.end_to_end import inside
from b2b_pipeline_tests.support.installation import Installation, served
from b2b_sandbox import tokens, voices
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
BASE = HOSTS["us"]
WINDOW = Window.of_days(UNTIL - timedelta(days=30), UNTIL, ZoneInfo("UTC"))


ASKED = Asked(SOURCE, Account("1"), WINDOW, "2026-01-01")
config = ASKED.config


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=30, leads=120)


def read(client: Typeform | None = None, window: Window = WINDOW, **settings: Any) -> list[Record]:
    client = client or connect(config(**settings))
    account = SOURCE.accounts(client, client.config).read[0]
    return [record for page in read_responses(client, account, window) for record in page.records]


def said(world: World, *, partial: bool = False) -> list[voices.Answers]:
    with world.connect() as connection:
        found = voices.answers(connection, world.now())
    until = WINDOW.until.timestamp() * 1000
    return [each for each in found if each.landed < until and (partial or each.submitted)]


# -- what is read


@pytest.mark.parametrize("most", [1000, 7])
def test_every_response_is_read_once_however_small_the_pages_are(
    world: World, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TYPEFORM_ACCESS_TOKEN", tokens.PRIVATE_APP_TOKEN)
    with running(world, typeform={"page_size": most}) as url:
        monkeypatch.setenv("TYPEFORM_BASE_URL", f"{url}/typeform")
        found = [record["response_id"] for record in read()]
    assert sorted(found) == sorted(each.id for each in said(world))
    assert len(found) > 2 * 7


def test_partial_responses_come_only_where_they_are_asked_for(sandbox: World) -> None:
    found = read(options={"partial": "yes"})
    left = {record["response_id"] for record in found if record["is_partial"]}
    assert left == {each.id for each in said(sandbox, partial=True) if not each.submitted} != set()
    assert not any(record["is_partial"] for record in read())
    with pytest.raises(ConfigError, match="neither yes nor no"):
        read(options={"partial": "maybe"})


def test_nothing_that_was_written_and_nobody_s_number_is_kept(sandbox: World) -> None:
    found = read()
    with sandbox.connect() as connection:
        people = [contact.given for contact in voices.contacts(connection, sandbox.now())]
    text = json.dumps([{**record, "email": None} for record in found], ensure_ascii=False)
    for person in people:
        assert person["phone"] not in text
        assert person["email"] not in text
    for secret in ("friend.example", "Mozilla", "8a0111039f", "gclid", "short_text", "long_text"):
        assert secret not in text
    assert sum(record["email"] is not None for record in found) > 5


def test_in_landing_an_address_is_a_pseudonym_and_is_the_record_that_was_asked(world: World, tmp_path: Path) -> None:
    settings = f"start_date: {WINDOW.start}\nsystem_of_record: files\nsources: {{typeform: {{}}}}\n"
    (tmp_path / "pipeline.yaml").write_text(settings, encoding="utf-8")
    with inside(Installation(tmp_path, world)) as pipeline, served(world):
        assert not pipeline.ingest("typeform", "response", WINDOW.start, WINDOW.end, "first").failed
        landed = flattened(_landed(pipeline))
    keys = rows.surveys(landed, context())["record_key"]
    assert keys.dropna().str.startswith("email:").all()
    assert set(keys.dropna()) <= set(email_key(landed["email"]).dropna())
    assert 0 < keys.notna().sum() < len(keys)


def _landed(pipeline: Pipeline) -> list[Record]:
    items = pipeline.landing.slices("typeform", "response")
    return [record for item in items for record in pipeline.landing.records(item)]


def test_a_sweep_has_every_response_by_the_id_of_its_row(sandbox: World) -> None:
    client = connect(config())
    (page,) = read_present(client, SOURCE.accounts(client, client.config).read[0], WINDOW)
    swept = {record["id"] for record in page.records}
    rows_of = rows.surveys(flattened(read()), context())
    assert {"*", *(f"{each.form}:{each.id}" for each in said(sandbox))} <= swept
    assert set(rows_of["response_id"]) <= swept


@responses.activate
def test_a_window_is_asked_for_in_whole_seconds_both_of_them_included() -> None:
    """`until` is inclusive: of [9:30:15.25, 10:00) the last second is 9:59:59."""
    _forms(form("f"))
    responses.get(f"{BASE}/forms/f/responses", json={"items": [], "total_items": 0, "page_count": 0})
    window = Window(UNTIL, UNTIL, datetime(2026, 6, 1, 9, 30, 15, 250_000, UTC), datetime(2026, 6, 1, 10, tzinfo=UTC))
    assert _read(window) == []
    (asked,) = (call.request.params for call in responses.calls if "responses" in str(call.request.url))  # type: ignore[attr-defined]
    assert asked == {"page_size": "1000", "since": "2026-06-01T09:30:15", "until": "2026-06-01T09:59:59"}


@responses.activate
def test_more_in_one_second_than_a_page_holds_is_told_and_not_cut() -> None:
    _forms(form("f"))
    one = response("1")
    responses.get(f"{BASE}/forms/f/responses", json={"items": [one], "total_items": 2, "page_count": 2})
    second = Window(UNTIL, UNTIL, datetime(2026, 6, 1, 9, tzinfo=UTC), datetime(2026, 6, 1, 9, 0, 1, tzinfo=UTC))
    with pytest.raises(TransientError, match="not all responses of one second came"):
        _read(second)


@responses.activate
def test_responses_of_another_data_centre_are_not_taken_for_none() -> None:
    """Typeform answers with an empty list where an account's responses are elsewhere."""
    _forms(form("f", _links={"responses": "https://api.eu.typeform.com/forms/f/responses"}))
    with pytest.raises(PermanentError, match=r"form f at api\.eu\.typeform\.com") as caught:
        _read()
    assert caught.value.fix == "sources.typeform.options: {region: eu}"


def test_the_region_chooses_the_host_and_is_one_that_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TYPEFORM_ACCESS_TOKEN", "tfp-of-ours")
    monkeypatch.delenv("TYPEFORM_BASE_URL", raising=False)
    assert connect(config(options={"region": "eu"})).session.base_url == "https://api.eu.typeform.com"
    assert connect(config()).session.base_url == BASE
    with pytest.raises(ConfigError, match="'asia' is neither us nor eu"):
        connect(config(options={"region": "asia"}))


def form(identifier: str, *fields: Record, **more: Any) -> Record:
    return {"id": identifier, "title": "Survey", "fields": list(fields), **more}


def _forms(*forms: Record) -> None:
    listed = [{"id": each["id"], "title": each["title"]} for each in forms]
    responses.get(f"{BASE}/forms", json={"items": listed, "total_items": len(forms), "page_count": 1})
    for each in forms:
        responses.get(f"{BASE}/forms/{each['id']}", json=each)


def _read(window: Window = WINDOW, **settings: Any) -> list[Record]:
    client = Typeform(Session(BASE, classify=classify), config(**settings))
    return [record for page in read_responses(client, None, window) for record in page.records]  # type: ignore[arg-type]


# -- what becomes of it


def response(identifier: str, *answers: Record, **more: Any) -> Record:
    stamp = "2026-06-01T09:00:00Z"
    return {"response_id": identifier, "landed_at": stamp, "submitted_at": stamp, "answers": list(answers), **more}


def number(question: str, kind: str, value: Any) -> Record:
    return {"field": {"id": question, "type": kind, "ref": f"ref-{question}"}, "type": "number", "number": value}


def scale(question: str, kind: str, steps: int | None, start_at_one: bool | None = None) -> Record:
    asked = {"steps": steps, "start_at_one": start_at_one}
    return {"id": question, "type": kind, "ref": f"ref-{question}", "title": "?", "properties": asked}


def context(**settings: Any) -> MappingContext:
    return ASKED.context("response", **settings)


def mapped(questions: list[Record], *given: Record, **settings: Any) -> list[dict[str, Any]]:
    """The rows of a survey with these questions."""
    with responses.RequestsMock() as vendor:
        whole = form("f", *questions)
        vendor.get(f"{BASE}/forms", json={"items": [whole], "total_items": 1, "page_count": 1})
        vendor.get(f"{BASE}/forms/f", json=whole)
        vendor.get(f"{BASE}/forms/f/responses", json={"items": given, "total_items": len(given), "page_count": 1})
        found = _read(**settings)
    stored = enforce(survey_response, rows.surveys(flattened(found), context(**settings)))
    rejects = [{"nps": "refused", "csat": "refused", "csat_scale": "refused"} for _ in range(len(stored.rejects))]
    return [*stored.rows.astype(object).to_dict("records"), *rejects]


@pytest.mark.parametrize(
    ("kind", "steps", "start_at_one", "value", "expected"),
    [
        ("opinion_scale", 11, False, 0, (1, 11)),
        ("opinion_scale", 11, False, 10, (11, 11)),
        ("opinion_scale", 5, True, 5, (5, 5)),
        ("opinion_scale", 5, True, 1, (1, 5)),
        ("rating", 5, None, 1, (1, 5)),
        ("rating", 10, None, 10, (10, 10)),
        ("opinion_scale", 5, True, 0, "refused"),  # it had another scale then
        ("opinion_scale", 5, False, 5, "refused"),
        ("rating", 5, None, 7, "refused"),
        ("opinion_scale", 5, None, 3, "refused"),  # 0 to 4, or 1 to 5: nobody says
        ("rating", None, None, 3, "refused"),
    ],
)  # fmt: skip
def test_a_satisfaction_is_on_its_own_scale_which_begins_where_the_question_says(
    kind: str, steps: int | None, start_at_one: bool | None, value: int, expected: Any
) -> None:
    (row,) = mapped([scale("q", kind, steps, start_at_one)], response("1", number("q", kind, value)))
    told = row["csat"] if row["csat"] == "refused" else (int(row["csat"]), row["csat_scale"])
    assert told == expected


def test_the_first_question_of_the_form_counts_or_the_one_that_is_named_and_no_other() -> None:
    fields = [scale("q1", "rating", 5), scale("q2", "opinion_scale", 11, start_at_one=False)]
    answers = [number("old", "rating", 2), number("q2", "opinion_scale", 8), number("q1", "rating", 4)]
    (first,) = mapped(fields, response("1", *answers))
    (named,) = mapped(fields, response("1", *answers), fields={"csat": "ref-q2"})
    assert [(int(row["csat"]), row["csat_scale"]) for row in (first, named)] == [(4, 5), (9, 11)]
    (gone,) = mapped(fields, response("1", answers[0]))
    assert gone["csat"] is None, "to a question that the form does not have any more"


def test_a_likelihood_to_recommend_is_from_0_to_10_and_an_answer_that_is_missing_is_none() -> None:
    given = [response("1", number("q", "nps", 0)), response("2"), response("3", number("q", "nps", 11)),
             response("4", answers=None), response("5", number("q", "opinion_scale", 9))]  # fmt: skip
    found = mapped([scale("q", "nps", 11)], *given)
    assert [row["nps"] if row["nps"] == "refused" else str(row["nps"]) for row in found] == [
        "0", "None", "None", "None", "refused",
    ]  # fmt: skip


def test_choices_are_codes_and_what_was_written_beside_them_is_not() -> None:
    many = {"field": {"id": "q", "type": "multiple_choice"}, "type": "choices",
            "choices": {"labels": ["Price", "Für alle"], "other": "call 555 0100"}}  # fmt: skip
    one = {"field": {"id": "p", "type": "dropdown"}, "type": "choice", "choice": {"label": "Yes", "ref": "x"}}
    text = {"field": {"id": "t", "type": "short_text"}, "type": "text", "text": "my name is Jo"}
    first, none = mapped([], response("1", many, one, text), response("2", text))
    assert json.loads(first["codes"]) == ["Price", "Für alle", "other", "Yes"]
    assert none["codes"] is None


def test_a_form_by_which_leads_come_is_no_survey_and_tells_its_channel() -> None:
    given = response("1", hidden={"utm_medium": "cpc", "utm_campaign": "c-1"},
                     metadata={"referer": "https://www.ourcompany.example/demo?email=jo@x.example"})  # fmt: skip
    settings = {"options": {"lead_forms": "f, g"}}
    assert mapped([], given, **settings) == []
    with responses.RequestsMock() as vendor:
        vendor.get(f"{BASE}/forms", json={"items": [form("f")], "total_items": 1, "page_count": 1})
        vendor.get(f"{BASE}/forms/f", json=form("f"))
        vendor.get(f"{BASE}/forms/f/responses", json={"items": [given], "total_items": 1, "page_count": 1})
        found = flattened(_read(**settings))
    stored = enforce(form_event, rows.submissions(found, context(**settings)))
    (row,) = stored.rows.astype(object).to_dict("records")
    assert (row["channel"], row["campaign_id"], row["page"]) == ("paid_search", "c-1", "www.ourcompany.example/demo")
    assert rows.submissions(found, context()).empty


@pytest.mark.parametrize("field", ["answers", "form.scales"])
def test_without_answers_or_scales_there_are_no_rows_that_would_say_nobody_answered(field: str) -> None:
    records = flattened(
        [{**response("1"), "form": {"id": "f", "title": "", "scales": []}, "answered_at": "2026-06-01"}]
    )
    assert len(rows.surveys(records, context())) == 1
    with pytest.raises(KeyError, match=field):
        rows.surveys(records.drop(columns=field), context())


# -- what goes wrong


def answer(status: int, body: Any = None, **headers: str) -> requests.Response:
    made = requests.Response()
    made.status_code, made.url, made._content = status, f"{BASE}/forms", json.dumps(body).encode()
    made.headers.update({"Content-Type": "application/json", **headers})
    return made


def test_answers_mean_what_typeform_says() -> None:
    assert classify(answer(401, {"code": "AUTHENTICATION_FAILED"})) == Reauth("AUTHENTICATION_FAILED")
    assert classify(answer(403, {"code": "FORBIDDEN"})) == Fatal("FORBIDDEN", auth=True)
    assert classify(answer(404, {"code": "FORM_NOT_FOUND"})) == Fatal("FORM_NOT_FOUND")
    assert isinstance(classify(answer(429, {"code": "TOO_MANY_REQUESTS"})), Wait)
    assert classify(answer(429, None, **{"Retry-After": "3"})) == Wait(3)
    assert isinstance(classify(answer(429, None, **{"Retry-After": "7200"})), Stop)
    assert isinstance(classify(answer(499, {"code": "TIMEOUT"})), Wait), "Typeform gave up: Airbyte saw it"


def test_a_long_throttle_ends_the_read_and_a_wrong_token_is_told_without_it(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_fault(sandbox, "typeform", "throttle", daily=True)
    with pytest.raises(QuotaError):
        read()
    clear_faults(sandbox)
    monkeypatch.setenv("TYPEFORM_ACCESS_TOKEN", "a-wrong-token-of-mine")
    with pytest.raises(AuthError) as caught:
        read()
    assert "a-wrong-token-of-mine" not in str(caught.value)


def test_a_refresh_token_gets_an_access_token_and_the_next_one_is_kept(
    sandbox: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("TYPEFORM_ACCESS_TOKEN")
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in (("CLIENT_ID", tokens.CLIENT_ID), ("CLIENT_SECRET", tokens.CLIENT_SECRET),
                        ("REFRESH_TOKEN", tokens.REFRESH_TOKEN)):  # fmt: skip
        monkeypatch.setenv(f"TYPEFORM_{name}", value)
    assert read()
    add_fault(sandbox, "typeform", "expire_token", path_contains="responses")
    assert read()
    monkeypatch.setenv("TYPEFORM_REFRESH_TOKEN", "taken-back")
    with pytest.raises(AuthError, match="invalid_grant"):
        read()


def test_doctor_tells_the_forms_those_that_are_not_there_and_a_scope_that_is_missing(sandbox: World) -> None:
    settings = config(options={"lead_forms": "demo, dmeo"})
    told = SOURCE.probe(connect(settings), settings)
    assert [finding.ok for finding in told].count(False) == 1
    assert any("5 forms" in finding.what for finding in told)
    assert any("no form dmeo" in finding.what for finding in told)
    add_fault(sandbox, "typeform", "missing_scope", path_contains="forms", scope="forms:read")
    (refused,) = SOURCE.probe(connect(config()), config())
    assert "forms:read" in refused.fix


def test_its_official_client_reads_the_twin(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("typeform.client.API_BASE_URL", os.environ["TYPEFORM_BASE_URL"])
    client = Sdk(tokens.PRIVATE_APP_TOKEN)
    assert {item["id"] for item in client.forms.list(pageSize=200)["items"]} == set(voices.FORMS)
    found, before = [], None
    while True:
        page = client.responses.list("relation", pageSize=5, before=before)
        found += [item["response_id"] for item in page["items"]]
        if page["page_count"] <= 1:
            break
        before = page["items"][-1]["token"]
    expected = [each.id for each in said(sandbox) if each.form == "relation"]
    assert sorted(found) == sorted(expected)
