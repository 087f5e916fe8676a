"""Demandbase over the sandbox, and by the answers that its documents show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import time_machine
from demandbase import DBClient
from demandbase.models.Common import EntityType
from sqlalchemy import func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, MappingContext, Record, Window
from b2b_pipeline.connectors.demandbase.source import FIELDS, SOURCE, classify, connect, probe
from b2b_pipeline.connectors.http import Fatal, Outcome, Reauth, Skip, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.errors import AuthError, ConfigError, PermanentError, TransientError
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import touchpoint
from b2b_pipeline_tests.support.end_to_end import content
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation, served, settle
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox import demandbase
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
WINDOW = Window.of_days(UNTIL - timedelta(days=21), UNTIL, ZoneInfo("UTC"))
TENANT = Account("tenant", "Demandbase")
HOST = "https://uapi.demandbase.com"
TOKENS, JOB, QUERY = (f"{HOST}/{path}" for path in (
    "auth/v1/token", "data/export/v1/job", "data/intent/v1/companies/intent/query",
))  # fmt: skip
FILE = "https://results.example.com/export.csv"
SETS = {"options": {"keyword_sets": "7303, 9190"}}


def config(**settings: Any) -> Config:
    given = {"start_date": "2026-05-01", "system_of_record": "files", "sources": {"demandbase": settings or SETS}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=25, leads=60)


@pytest.fixture
def sandbox(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    with served(world):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    monkeypatch.delenv("DEMANDBASE_BASE_URL", raising=False)
    monkeypatch.setenv("DEMANDBASE_CLIENT_ID", "key-of-ours")
    monkeypatch.setenv("DEMANDBASE_CLIENT_SECRET", "S3cr3t-of-key")
    with responses.RequestsMock() as mock:
        mock.post(TOKENS, json={"accessToken": "A-1", "tokenType": "bearer", "expiresIn": 28800})
        yield mock


def fetch(stream: str, window: Window = WINDOW, **settings: Any) -> list[Record]:
    pages = SOURCE.stream(stream).fetch(connect(config(**settings)), TENANT, window)
    return [record for page in pages for record in page.records]


def mapped(stream: str, records: list[Record]) -> Any:
    context = MappingContext(config(), "demandbase", stream, TENANT)
    return enforce(touchpoint, SOURCE.stream(stream).feeds["touchpoint"](flattened(records), context))


# -- what answers mean


def means(status: int, code: str = "", message: str = "told") -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, QUERY
    made._content = json.dumps({"errorCode": code, "errorMessage": message} if code else {"data": []}).encode()
    made.headers["Content-Type"] = "application/json"
    return classify(made)


def test_its_codes_tell_what_passes_from_what_takes_a_day_and_from_what_was_not_bought() -> None:
    assert means(429, "429-100", "Rate limit exceeded.") == Wait(60.0, "429-100 Rate limit exceeded.")
    assert means(429, "429-102") == Wait(60.0, "429-102 told"), "another export is being made"
    with time_machine.travel(datetime(2026, 6, 16, 6, tzinfo=UTC), tick=False):
        assert means(429, "429-101") == Stop(datetime(2026, 6, 16, 12, tzinfo=UTC), "429-101 told")
    lacking = means(403, "403-103")
    assert isinstance(lacking, Fatal)
    assert lacking.auth
    assert "export collection" in lacking.fix
    assert means(400, "400-115", "Invalid field names: {Account}.All") == Fatal(
        "400-115 Invalid field names: {Account}.All"
    )
    assert isinstance(means(401, "401-100"), Reauth)
    assert isinstance(means(404, "404-302"), Skip)
    assert isinstance(means(500, "500-100"), Wait)
    assert isinstance(means(200, "500-100"), Wait), "an error that came as an answer"


# -- activities

JULY = Window.of_days(date(2026, 7, 1), date(2026, 7, 3), ZoneInfo("UTC"))
ROWS = [
    ["9001", "6", "Example.com", "2026-07-01", "Web Visit"],
    ["9002", "8", "", "2026-07-02T23:30:00Z", 'Webinar: "Live", Q&A'],
    ["9003", "8", "other.example", "2026-06-30", "Web Visit"],
    ["9004", "8", "other.example", "2026-07-03", "Web Visit"],
]


def file(header: list[str], rows: list[list[str]] = ROWS) -> str:
    quoted = [[f'"{cell.replace(chr(34), chr(34) * 2)}"' for cell in row] for row in (header, *rows)]
    return "\ufeff" + "".join(",".join(row) + "\r\n" for row in quoted)


def finished(vendor: responses.RequestsMock, text: str | bytes, **told: Any) -> None:
    made = {"jobId": "j1", "jobName": "x", "entityType": "activity", "createdAt": "2026-07-05T00:00:00Z"}
    vendor.post(JOB, json=made | {"jobStatus": "accepted"}, status=202)
    done = {
        "updatedAt": "2026-07-05T00:01:00Z",
        "jobStatus": "finished",
        "resultsUrl": f"{FILE}?sig=S1",
        "message": None,
    }
    vendor.get(f"{JOB}/j1", json=made | done | told)
    vendor.get(FILE, body=text)


def test_an_activity_is_a_touch_of_its_account_and_of_no_person(vendor: responses.RequestsMock) -> None:
    of_nobody = ["9005", "", "", "2026-07-01", "Web Visit"]
    finished(vendor, file([*FIELDS], [*ROWS, of_nobody]))
    stored = mapped("activity", fetch("activity", JULY))
    assert stored.rejects.empty
    names = ["touch_id", "record_key", "account_id", "account_domain", "date_day", "touch_type", "asset", "channel"]
    found = [[str(row[name]) for name in names] for row in stored.rows.astype(object).to_dict("records")]
    assert found == [
        ["demandbase:activity:9001", "demandbase:account:6", "6", "example.com", "2026-07-01", "account_engagement",
         "Web Visit", "None"],
        ["demandbase:activity:9002", "demandbase:account:8", "8", "None", "2026-07-02", "account_engagement",
         'Webinar: "Live", Q&A', "None"],
    ]  # fmt: skip
    asked = json.loads(next(call.request.body for call in vendor.calls if call.request.url == JOB) or "")
    assert (asked["fromDate"], asked["toDate"], asked["entityType"]) == ("2026-06-30", "2026-07-03", "activity")
    assert asked["fields"] == [*FIELDS]
    assert not [name for name in asked["fields"] if "Person" in name or "mail" in name.lower()]
    assert len(asked["jobName"]) <= 50
    assert "Authorization" not in vendor.calls[-1].request.headers, "the file has an address of its own"


def test_columns_may_stand_in_another_order_or_under_their_labels_and_else_are_refused(
    vendor: responses.RequestsMock,
) -> None:
    labels = [{"name": name, "label": label, "dataType": "String"} for name, label in demandbase.LABELS.items()]
    vendor.get(f"{HOST}/data/export/v1/fields", json=labels)
    turned = [[*reversed(row)] for row in ROWS]
    finished(vendor, file([demandbase.LABELS[name] for name in reversed(FIELDS)], turned))
    assert [record["id"] for record in fetch("activity", JULY)] == ["9001", "9002"]
    vendor.replace(responses.GET, FILE, body=file(["a", "b", "c", "d", "e"]))
    with pytest.raises(PermanentError, match=r"names \{Activity\}\.id, .* neither by name nor by label"):
        fetch("activity", JULY)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "it has no header"),
        (file([*FIELDS])[:-20], "damaged: Error"),
        (file([*FIELDS]).rpartition(",")[0], "rows that end early"),
        (b"\xff\xfe\x00", "damaged: UnicodeDecodeError"),
    ],
)
def test_a_file_that_is_not_whole_is_told(vendor: responses.RequestsMock, text: str | bytes, why: str) -> None:
    finished(vendor, text)
    with pytest.raises(TransientError, match=why):
        fetch("activity", JULY)


def test_a_job_that_failed_or_has_no_file_gives_nothing_at_all(vendor: responses.RequestsMock) -> None:
    vendor.assert_all_requests_are_fired = False
    finished(vendor, "", jobStatus="failed", resultsUrl=None)
    with pytest.raises(TransientError, match="could not make export j1"):
        fetch("activity", JULY)
    vendor.replace(responses.GET, f"{JOB}/j1", json={"jobId": "j1", "jobStatus": "finished", "resultsUrl": None})
    with pytest.raises(TransientError, match="has no address"):
        fetch("activity", JULY)


def test_a_day_that_is_none_is_kept_to_be_seen(vendor: responses.RequestsMock) -> None:
    finished(vendor, file([*FIELDS], [["1", "6", "a.example", "07/01/2026", "Web Visit"], ROWS[0]]))
    stored = mapped("activity", fetch("activity", JULY))
    assert (len(stored.rows), len(stored.rejects)) == (1, 1)


# -- intent

SIGNAL = {
    "companyId": "726263", "domain": "Example.com", "keyword": "Zero Trust", "numPeopleResearching": 8,
    "intentStrength": "HIGH", "isTrending": True, "trendingScore": 72, "numTrendingDays": 3, "startDate": "2026-06-26",
    "endDate": "2026-07-02", "keywordSetId": 7303, "keywordSetName": "Security Keywords",
}  # fmt: skip


def answered(*found: Record, total: int | None = None, after: str | None = None) -> dict[str, Any]:
    count = len(found) if total is None else total
    return {"data": [*found], "pagination": {"after": after, "before": None, "totalCount": count}}


def test_a_signal_is_a_touch_of_its_company_on_the_last_day_of_its_period(vendor: responses.RequestsMock) -> None:
    elsewhere = SIGNAL | {"endDate": "2026-06-30"}
    vendor.post(QUERY, json=answered(SIGNAL, elsewhere))
    stored = mapped("intent", fetch("intent", JULY))
    (row,) = stored.rows.astype(object).to_dict("records")
    assert row["touch_id"] == "demandbase:intent:726263:7303:2026-06-26:2026-07-02:Zero Trust"
    assert (row["record_key"], row["account_domain"]) == ("demandbase:company:726263", "example.com")
    assert str(row["account_id"]) == "None", "companies are not numbered as accounts are"
    assert (str(row["date_day"]), row["touch_type"], row["asset"], row["evidence"]) == (
        "2026-07-02", "intent", "Zero Trust", "HIGH",
    )  # fmt: skip
    asked = json.loads(vendor.calls[-1].request.body or "")
    assert asked == {
        "keywordSetIds": [7303, 9190], "startDate": "2026-05-31", "endDate": "2026-07-02", "pageSize": 100,
        "sortBy": "endDate", "sortOrder": "ASC",
    }  # fmt: skip


def test_more_than_fits_a_question_is_asked_in_parts(vendor: responses.RequestsMock) -> None:
    vendor.post(QUERY, json=answered())
    options = {"keyword_sets": ",".join(map(str, range(11))), "keywords": " sase , zero trust,"}
    assert fetch("intent", JULY, options=options) == []
    asked = [json.loads(call.request.body or "") for call in vendor.calls if call.request.url == QUERY]
    sets = [body["keywordSetIds"] for body in asked if "keywordSetIds" in body]
    assert sets == [[*range(10)], [10]]
    assert [body["keywords"] for body in asked if "keywords" in body] == [["sase", "zero trust"]]


def test_fewer_signals_than_announced_or_a_page_that_repeats_are_no_answer(vendor: responses.RequestsMock) -> None:
    vendor.post(QUERY, json=answered(SIGNAL, total=2))
    with pytest.raises(TransientError, match="1 signals came, 2 were announced"):
        fetch("intent", JULY)
    vendor.replace(responses.POST, QUERY, json=answered(SIGNAL, after="again"))
    with pytest.raises(TransientError, match="cursor repeats"):
        fetch("intent", JULY)
    vendor.replace(responses.POST, QUERY, json={"data": [SIGNAL]})
    with pytest.raises(TransientError, match="does not say how many"):
        fetch("intent", JULY)


def test_what_intent_is_read_of_has_to_be_said(vendor: responses.RequestsMock) -> None:
    vendor.assert_all_requests_are_fired = False
    with pytest.raises(ConfigError, match="nothing says whose intent to read"):
        fetch("intent", JULY, options={"keywords": " "})
    with pytest.raises(ConfigError, match="'Security' is not the id of a set"):
        fetch("intent", JULY, options={"keyword_sets": "7303, Security"})


# -- over the sandbox


@pytest.mark.parametrize("options", [{}, {"labels": True, "within": False, "parts": 3, "page_size": 7}])
def test_all_that_the_sandbox_has_is_read_whatever_is_meant(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    monkeypatch.setenv("B2B_HOME", str(tmp_path))
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    with (
        running(world, demandbase=options) as url,
        time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)),
    ):
        monkeypatch.setenv("DEMANDBASE_BASE_URL", f"{url}/demandbase")
        found = {stream: fetch(stream) for stream in ("activity", "intent")}
    with world.connect() as connection:
        companies = demandbase.companies_at(connection, world.now())
    days = str(WINDOW.start), str(WINDOW.end - timedelta(days=1))
    acts = demandbase.activities(companies, world.now(), *days)
    weeks = [row for row in demandbase.signals(companies, world.now()) if days[0] <= row["endDate"] <= days[1]]
    assert {row["id"] for row in found["activity"]} == {row["{Activity}.id"] for row in acts}
    assert len(found["activity"]) == len(acts) > 20
    assert sorted(map(str, found["intent"])) == sorted(map(str, weeks))
    assert len(weeks) > 20


def test_doctor_looks_at_both_without_ordering_an_export(sandbox: World) -> None:
    add_fault(sandbox, "demandbase", "server_error", path_contains="/job")
    assert [(finding.ok, finding.what) for finding in probe(connect(config()), config())] == [
        (True, "Demandbase activity is readable"), (True, "Demandbase intent is readable"),
    ]  # fmt: skip
    add_fault(sandbox, "demandbase", "missing_scope", scope="intent", path_contains="intent")
    refused = [finding for finding in probe(connect(config()), config()) if not finding.ok]
    assert ["403-102" in finding.what for finding in refused] == [True]
    only = config(streams=["activity"])
    assert [finding.what for finding in probe(connect(only), only)] == ["Demandbase activity is readable"]


def test_wrong_credentials_are_told_and_stay_out_of_it(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMANDBASE_CLIENT_SECRET", "wr0ng-secret")
    with pytest.raises(AuthError, match="status 400") as caught:
        fetch("intent")
    assert "wr0ng-secret" not in str(caught.value)


def test_the_vendors_own_client_reads_the_sandbox(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEMANDBASE_CLIENT_ID", CREDENTIALS["DEMANDBASE_CLIENT_ID"])
    monkeypatch.setenv("DEMANDBASE_CLIENT_SECRET", CREDENTIALS["DEMANDBASE_CLIENT_SECRET"])
    with running(world) as url:
        for module in ("auth", "client"):  # its address is a constant
            monkeypatch.setattr(f"demandbase.{module}.API_BASE_URL", f"{url}/demandbase")
        with DBClient(retry_count=1) as client:
            exports, activity = client.data_export_api, EntityType.ACTIVITY
            names = {field.name for field in exports.get_available_export_fields(entity_type=activity)}
            days = {"from_date": "2026-06-01", "to_date": "2026-06-14"}
            job = exports.create_export_job(entity_type=activity, job_name="x", fields=[*FIELDS], **days)
            done = exports.check_status_of_export_job(job_id=job.jobId)
        answer = requests.get(done.resultsUrl, timeout=10)
    assert {*FIELDS} <= names
    assert (job.jobStatus.value, done.jobStatus.value) == ("accepted", "finished")
    assert answer.text.splitlines()[0] == ",".join(FIELDS)


SETTINGS = """
start_date: 2026-05-25
system_of_record: hubspot
sources:
  hubspot: {streams: [contact, deal, present]}
"""
DERIVED = (tables.person, tables.stage_entry, tables.deal, tables.credit, tables.kpi_component_daily)
ASKED = ("leads", "lead_to_customer_rate", "revenue_first_touch", "bookings")


def answers(pipeline: Pipeline, by: tuple[str, ...]) -> list[dict[str, Any]]:
    found = ask(pipeline.warehouse, pipeline.config, ASKED, date(2026, 5, 25), date(2026, 6, 10), by)
    return [answer.as_json() for answer in found]


def test_touches_of_accounts_make_no_person_and_change_no_number_nor_its_completeness(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither when they are read, as activities are here, nor when they cannot be, as intent."""
    path = tmp_path / "pipeline.yaml"
    path.write_text(SETTINGS, encoding="utf-8")
    settle(Installation(tmp_path, world), monkeypatch)
    told: list[Any] = []
    with served(world), time_machine.travel(datetime.fromtimestamp(world.now() / 1000, UTC)):
        pipeline = Pipeline.from_environment()
        migrated(pipeline.warehouse)
        for stream in pipeline.config.sources["hubspot"].streams:
            report = pipeline.ingest("hubspot", stream, date(2026, 5, 25), UNTIL, "first")
            assert not report.failed
        for is_read in (False, True):
            if is_read:
                path.write_text(f"{SETTINGS}  demandbase: {{options: {{keyword_sets: '7303'}}}}\n", encoding="utf-8")
                pipeline = Pipeline.from_environment()
                assert not pipeline.ingest("demandbase", "activity", date(2026, 5, 25), UNTIL, "first").failed
                assert not pipeline.ingest("demandbase", "intent", date(2026, 5, 25), date(2026, 6, 8), "first").failed
                add_fault(world, "demandbase", "missing_scope", scope="all")
                assert pipeline.ingest("demandbase", "intent", date(2026, 6, 8), UNTIL, "second").failed
                clear_faults(world)
            rebuild(pipeline, f"is read {is_read}", replay=False)
            numbers = [answers(pipeline, by) for by in ((), ("channel",), ("day", "channel"))]
            told.append((numbers, [content(pipeline.warehouse, table) for table in DERIVED]))
        touch = touchpoint.c
        counts = select(touch.touch_type, func.count()).where(touch.source == "demandbase").group_by(touch.touch_type)
        lead, domain = tables.lead.c, touch.account_domain
        known = select(func.count(domain.distinct())).where(domain.in_(select(lead.email_domain)))
        with pipeline.warehouse.read() as connection:
            found = dict(tuple(row) for row in connection.execute(counts).all())
            assert connection.scalar(known), "they are of companies that leads are from"
        lacking = {
            row["stream"] for row in pipeline.warehouse.rows(select(tables.coverage)) if row["is_complete"] is False
        }
    assert found.keys() == {"account_engagement", "intent"}
    assert min(found.values()) > 5
    assert "intent" in lacking
    assert all(row["complete"] for row in told[0][0][0] if row["metric"] == "leads")
    assert any(row["value"] for row in told[0][0][0])
    assert told[1] == told[0]
