"""The sandbox's Salesforce org, driven over HTTP by simple-salesforce as it is published."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests
from requests.adapters import HTTPAdapter
from simple_salesforce.api import Salesforce
from simple_salesforce.exceptions import (
    SalesforceAuthenticationFailed,
    SalesforceExpiredSession,
    SalesforceMalformedRequest,
    SalesforceRefusedRequest,
    SalesforceResourceNotFound,
)

from b2b_sandbox import salesforce, tokens
from b2b_sandbox.generate import make_world
from b2b_sandbox.salesforce_schema import OBJECTS
from b2b_sandbox.server import running
from b2b_sandbox.world import SCHEMA, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOW = 1_767_780_000_000  # 2026-01-07T10:00:00Z
HOUR, DAY = 3_600_000, 86_400_000
LEADS, DELETED_LEADS = 450, 5
BATCH_200 = {"Sforce-Query-Options": "batchSize=200"}


def record_id(prefix: str, number: int) -> str:
    return f"{prefix}Wx0{number:09}IAA"


def put(
    connection: sqlite3.Connection, name: str, id_: str, modified: int, *, visible: int | None = None,
    version: int = 1, is_deleted: bool = False, **payload: Any,
) -> None:  # fmt: skip
    connection.execute(
        "insert into record_version values ('salesforce', ?, ?, ?, ?, ?, ?, 0, ?)",
        (name, id_, version, modified, visible or modified, is_deleted, json.dumps(payload)),
    )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("salesforce") / "world.db"
    connection = sqlite3.connect(path)
    connection.executescript(SCHEMA)
    connection.execute("insert into setting values ('now', ?)", (str(NOW),))
    for number in range(1, LEADS + DELETED_LEADS + 1):
        put(connection, "Lead", record_id("00Q", number), NOW - number * HOUR, is_deleted=number > LEADS,
            LastName=f"Lead {number}", City="Bonn", Status="New", IsConverted=number % 2 == 0)  # fmt: skip
    deals: list[dict[str, Any]] = [
        {"Name": "Alpha", "StageName": "Prospecting", "Amount": "1200.50", "CloseDate": "2026-01-06"},
        {"Name": "beta", "StageName": "Closed Won", "Amount": "99", "CloseDate": "2026-01-07", "IsWon": True},
        {"Name": "O'Brien 100%", "StageName": "closed won", "CloseDate": "2026-02-01"},
        {"Name": 'Delta \\ "q", ü\nnext', "StageName": "", "Amount": "20000.00", "CloseDate": "2025-12-31"},
    ]
    for number, deal in enumerate(deals, 1):
        created = f"2026-01-0{number + 3}T12:00:00.000+0000"
        put(connection, "Opportunity", record_id("006", number), NOW - HOUR, **deal, CreatedDate=created)
    put(connection, "Campaign", record_id("701", 1), NOW - DAY, Name="Fair", Type="Trade Show")
    put(connection, "CampaignMember", record_id("00v", 1), NOW - DAY, CampaignId=record_id("701", 1), HasResponded=True)
    put(connection, "CampaignMember", record_id("00v", 2), NOW - DAY, CampaignId=None)
    put(connection, "LeadHistory", record_id("017", 1), NOW, LeadId=record_id("00Q", 1), Field="Status", NewValue="New")
    # A late commit: the second version carries an old stamp, but the API shows it from tomorrow on.
    put(connection, "Contact", record_id("003", 1), NOW - DAY, LastName="Before")
    put(connection, "Contact", record_id("003", 1), NOW - HOUR, visible=NOW + DAY, version=2, LastName="After")
    connection.commit()
    connection.close()
    return World(path)


@pytest.fixture(scope="module")
def base_url(world: World) -> Iterator[str]:
    with running(world) as url:
        yield f"{url}/salesforce"


class ToSandbox(HTTPAdapter):
    """Takes the client's https to the sandbox's plain http, and the host that it logs in at to the sandbox."""

    def __init__(self, base_url: str) -> None:
        super().__init__()
        self.base_url = base_url

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        host = urlsplit(str(request.url)).netloc
        there = self.base_url if host.endswith(".salesforce.com") else f"http://{host}"
        request.url = str(request.url).replace(f"https://{host}", there, 1)
        return super().send(request, *args, **kwargs)


def client(base_url: str, session_id: str | None = None, **login: str) -> Any:
    """The client, with a session of its own or with what it is to log in with.

    Its methods are typed for every API that it speaks at once, hence Any.
    """
    session = requests.Session()
    session.mount("https://", ToSandbox(base_url))
    instance = {
        "session_id": session_id or tokens.issue("salesforce", 60),
        "instance": base_url.removeprefix("http://"),
    }
    made: Any = Salesforce
    return made(version="67.0", session=session, **(login or instance))


@pytest.fixture
def sf(base_url: str) -> Iterator[Any]:
    opened = client(base_url)
    yield opened
    opened.session.close()


def get(base_url: str, path: str, **headers: str) -> requests.Response:
    authorization = {"Authorization": f"Bearer {tokens.issue('salesforce', 60)}"}
    return requests.get(f"{base_url}{path}", headers=authorization | headers, timeout=10)


def soql(fields: str, source: str, clauses: str = "") -> str:
    return " ".join(("SELECT", fields, "FROM", source, clauses))


def error(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()[0]["errorCode"]


def ids(answer: dict[str, Any]) -> list[int]:
    return [int(record["Id"][6:15]) for record in answer["records"]]


# --- Sessions --------------------------------------------------------------------------------------------------------


def test_the_client_logs_in_with_its_credentials_and_reads_from_the_instance_it_is_told(base_url: str) -> None:
    login = {"consumer_key": tokens.CLIENT_ID, "consumer_secret": tokens.CLIENT_SECRET, "domain": "example.my"}
    sf = client(base_url, **login)
    assert sf.query("SELECT COUNT() FROM Lead")["totalSize"] == LEADS
    with pytest.raises(SalesforceAuthenticationFailed, match="invalid client credentials"):
        client(base_url, **login | {"consumer_secret": "wrong"})


@pytest.mark.parametrize(
    ("changed", "answer"),
    [
        ({}, "Bearer"),
        ({"refresh_token": "old"}, "invalid_grant: expired access/refresh token"),
        ({"client_id": "other"}, "invalid_client_id: client identifier invalid"),
        ({"client_secret": "other"}, "invalid_client: invalid client credentials"),
        ({"grant_type": "password"}, "unsupported_grant_type: grant type not supported"),
    ],
)
def test_a_refresh_token_gives_an_access_token_or_an_oauth_error(
    base_url: str, changed: dict[str, str], answer: str
) -> None:
    fields = {
        "grant_type": "refresh_token",
        "client_id": tokens.CLIENT_ID,
        "client_secret": tokens.CLIENT_SECRET,
        "refresh_token": tokens.REFRESH_TOKEN,
    }
    got = requests.post(f"{base_url}/services/oauth2/token", data=fields | changed, timeout=10)
    body = got.json()
    if not changed:
        assert (body["token_type"], body["instance_url"]) == (answer, base_url)
    else:
        assert (got.status_code, f"{body['error']}: {body['error_description']}") == (400, answer)


def test_an_expired_session_is_refused(base_url: str) -> None:
    with pytest.raises(SalesforceExpiredSession) as refused:
        client(base_url, tokens.issue("salesforce", -1)).query("SELECT Id FROM Lead")
    content: Any = refused.value.content
    assert content == [{"message": "Session expired or invalid", "errorCode": "INVALID_SESSION_ID"}]


# --- Versions, sizes, limits -----------------------------------------------------------------------------------------


def test_every_listed_version_answers_and_no_other(base_url: str) -> None:
    versions = requests.get(f"{base_url}/services/data/", timeout=10).json()
    assert versions[-2:] == [
        {"label": "Summer '26", "url": "/services/data/v67.0", "version": "67.0"},
        {"label": "Winter '27", "url": "/services/data/v68.0", "version": "68.0"},
    ]
    assert get(base_url, versions[0]["url"] + "/limits").status_code == 200
    assert error(get(base_url, "/services/data/v30.0/limits")) == (410, "GONE")
    assert error(get(base_url, "/services/data/v69.0/limits")) == (404, "NOT_FOUND")
    assert error(get(base_url, "/services/data/v67.0/nowhere")) == (404, "NOT_FOUND")


def test_a_request_over_16384_bytes_is_too_long(base_url: str) -> None:
    path = "/services/data/v67.0/query?q="
    assert get(base_url, path + "x" * 16_400).status_code == 414
    assert get(base_url, path + "x" * 10_000, Cookie="x" * 8_000).status_code == 431


def test_the_daily_allowance_is_told_and_then_used_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salesforce, "routes", partial(salesforce.routes, daily_requests=2))
    with running(world) as url:
        sf = client(f"{url}/salesforce")
        assert sf.limits()["DailyApiRequests"] == {"Max": 2, "Remaining": 1}
        sf.query("SELECT Id FROM User")
        assert sf.api_usage["api-usage"] == (2, 2)
        with pytest.raises(SalesforceRefusedRequest, match="REQUEST_LIMIT_EXCEEDED"):
            sf.limits()
        sf.session.close()


# --- Queries ---------------------------------------------------------------------------------------------------------


def test_a_query_is_read_over_its_pages(sf: Any) -> None:
    first = sf.query("SELECT Id FROM Lead", headers=BATCH_200)
    assert (first["totalSize"], first["done"], len(first["records"])) == (LEADS, False, 200)
    assert first["nextRecordsUrl"].startswith("/services/data/v67.0/query/01g")
    assert first["nextRecordsUrl"].endswith("-200")
    everything = sf.query_all("SELECT Id FROM Lead", headers=BATCH_200)
    assert ids(everything) == list(range(1, LEADS + 1))


def test_deleted_records_are_seen_only_by_query_all(sf: Any) -> None:
    first = sf.query("SELECT Id FROM Lead", include_deleted=True, headers=BATCH_200)
    assert "/query/01g" in first["nextRecordsUrl"]  # not /queryAll/, though the pages that follow have them all
    assert sf.query("SELECT Id FROM Lead WHERE IsDeleted = true")["totalSize"] == 0
    leads = list(sf.query_all_iter("SELECT Id, IsDeleted FROM Lead", include_deleted=True, headers=BATCH_200))
    assert [lead["IsDeleted"] for lead in leads] == [False] * LEADS + [True] * DELETED_LEADS


def test_pages_show_the_moment_of_the_query_while_the_clock_moves(base_url: str, world: World) -> None:
    def change(sql: str, *values: Any) -> None:
        with world.connect() as connection:
            connection.execute(sql, values)

    path = "/services/data/v67.0/query?q=SELECT+Id,Status+FROM+Lead"
    first = get(base_url, path, **BATCH_200).json()
    change("update setting set value = ? where name = 'now'", str(NOW + DAY))
    try:
        change(
            "insert into record_version select vendor, object, id, 2, ?, ?, 0, 0, ? from record_version where id = ?",
            NOW + HOUR, NOW + HOUR, json.dumps({"Status": "Changed"}), record_id("00Q", 201),
        )  # fmt: skip
        following = get(base_url, first["nextRecordsUrl"], **BATCH_200).json()
        now_first = get(base_url, path + "+ORDER+BY+SystemModstamp+DESC", **BATCH_200).json()
    finally:
        change("delete from record_version where modified_at = ? and version = 2", NOW + HOUR)
        change("update setting set value = ? where name = 'now'", str(NOW))
    assert following["records"][0]["Status"] == "New"
    assert now_first["records"][0]["Status"] == "Changed"


def test_an_eleventh_open_query_releases_the_first(base_url: str) -> None:
    path = "/services/data/v67.0/query?q=SELECT+Id+FROM+Lead"
    urls = [get(base_url, path, **BATCH_200).json()["nextRecordsUrl"] for _ in range(11)]
    assert error(get(base_url, urls[0])) == (400, "INVALID_QUERY_LOCATOR")
    assert get(base_url, urls[1]).status_code == 200
    assert error(get(base_url, urls[1].rpartition("-")[0] + "-450")) == (400, "INVALID_QUERY_LOCATOR")


def test_a_late_commit_is_not_there_before_it_is_visible(sf: Any) -> None:
    contact = sf.query("SELECT LastName, SystemModstamp FROM Contact")["records"][0]
    assert (contact["LastName"], contact["SystemModstamp"]) == ("Before", "2026-01-06T10:00:00.000+0000")


def test_values_and_parents_come_in_their_types(sf: Any) -> None:
    member = sf.query("select id, hasresponded, Campaign.Type from CampaignMember WHERE Campaign.Name = 'fair'")
    sobjects, member_id, campaign_id = "/services/data/v67.0/sobjects", record_id("00v", 1), record_id("701", 1)
    assert member["records"] == [
        {
            "attributes": {"type": "CampaignMember", "url": f"{sobjects}/CampaignMember/{member_id}"},
            "Id": member_id,
            "HasResponded": True,
            "Campaign": {
                "attributes": {"type": "Campaign", "url": f"{sobjects}/Campaign/{campaign_id}"},
                "Type": "Trade Show",
            },
        }
    ]
    orphan = sf.query(soql("Campaign.Type, HasResponded", "CampaignMember", f"WHERE Id = '{record_id('00v', 2)}'"))
    assert (orphan["records"][0]["Campaign"], orphan["records"][0]["HasResponded"]) == (None, False)
    deal = sf.query("SELECT Amount, CloseDate, StageName FROM Opportunity ORDER BY Amount DESC NULLS LAST LIMIT 1")
    assert list(deal["records"][0].values())[1:] == [20000.0, "2025-12-31", None]


@pytest.mark.parametrize(
    ("clause", "expected"),
    [
        ("WHERE StageName = 'CLOSED WON'", [2, 3]),
        ("WHERE StageName != 'Closed Won'", [1, 4]),
        ("WHERE NOT StageName = 'Closed Won'", [1, 4]),
        ("WHERE StageName = null", [4]),
        ("WHERE StageName != NULL AND Amount > 99", [1]),
        ("WHERE StageName IN ('Prospecting', 'closed won') AND (IsWon = true OR Amount >= 1200.5)", [1, 2]),
        ("WHERE StageName NOT IN ('Prospecting', 'Closed Won')", [4]),
        ("WHERE Name LIKE 'o\\'brien%'", [3]),
        ("WHERE Name LIKE '%\\%'", [3]),
        ("WHERE Name LIKE '_eta'", [2]),
        ("WHERE Name = 'Delta \\\\ \\\"q\\\", ü\\nnext'", [4]),
        ("WHERE CloseDate = TODAY", [2]),
        ("WHERE CloseDate < YESTERDAY OR CloseDate > TODAY", [3, 4]),
        ("WHERE CloseDate <= YESTERDAY", [1, 4]),
        ("WHERE CloseDate >= 2026-01-07", [2, 3]),
        ("WHERE CreatedDate = LAST_N_DAYS:1", [3, 4]),
        ("WHERE CreatedDate != TODAY", [1, 2, 3]),
        ("WHERE CreatedDate >= 2026-01-05T13:00:00+01:00 AND CreatedDate < 2026-01-06T12:00:00.000Z", [2]),
        (f"WHERE Id IN ('{record_id('006', 1)[:15]}') OR (Id > '{record_id('006', 3)}')", [1, 4]),
        ("ORDER BY Amount", [3, 2, 1, 4]),
        ("ORDER BY Amount NULLS LAST", [2, 1, 4, 3]),
        ("ORDER BY StageName DESC NULLS LAST, Name DESC", [1, 3, 2, 4]),
        ("ORDER BY Name LIMIT 2 OFFSET 1", [2, 4]),
        ("LIMIT 0", []),
        ("LIMIT 0 OFFSET 1", []),
    ],
)
def test_soql_selects_what_salesforce_would(sf: Any, clause: str, expected: list[int]) -> None:
    answer = sf.query(soql("Id", "Opportunity", clause))
    assert ids(answer) == expected
    assert answer["totalSize"] == len(expected)


@pytest.mark.parametrize(
    ("query", "code", "message"),
    [
        ("SELECT Id, Nam FROM Lead", "INVALID_FIELD", "\n           ^\nERROR at Row:1:Column:12\nNo such column 'Nam'"),
        ("SELECT Owner.Foo FROM Lead", "INVALID_FIELD", "No such column 'Foo' on entity 'User'"),
        ("SELECT Boss.Name FROM Lead", "INVALID_FIELD", "Didn't understand relationship 'Boss' in field path"),
        ("SELECT Id, id FROM Lead", "INVALID_FIELD", "duplicate field selected: Id"),
        ("SELECT Id FROM Leads", "INVALID_TYPE", "sObject type 'Leads' is not supported"),
        ("SELECT Id FORM Lead", "MALFORMED_QUERY", "Column:11\nunexpected token: 'FORM'"),
        ("SELECT Id,\nFROM Lead", "MALFORMED_QUERY", "ERROR at Row:2:Column:1\nunexpected token: 'FROM'"),
        ("SELECT Id FROM Lead WHERE", "MALFORMED_QUERY", "unexpected token: '<EOF>'"),
        ("SELECT Id FROM Lead LIMIT -1", "MALFORMED_QUERY", "unexpected token: '-1'"),
        ("SELECT Id FROM Lead WHERE Name = 'x", "MALFORMED_QUERY", "mismatched character '<EOF>'"),
        ("SELECT Id FROM Lead WHERE Name = %", "MALFORMED_QUERY", "no viable alternative at character '%'"),
        ("SELECT Id FROM Lead WHERE Name = 'a' AND City = 'b' OR City = 'c'", "MALFORMED_QUERY", "token: 'OR'"),
        ("SELECT Status, COUNT(Id) FROM Lead GROUP BY Status", "MALFORMED_QUERY", "unexpected token: '('"),
        ("SELECT FIELDS(ALL) FROM Lead", "MALFORMED_QUERY", "must have a LIMIT of at most 200"),
        ("SELECT Id FROM Lead OFFSET 2001", "NUMBER_OUTSIDE_VALID_RANGE", "Maximum SOQL offset allowed is 2000"),
        ("SELECT Id FROM LeadHistory WHERE NewValue = 'a'", "INVALID_FIELD", "'NewValue' can not be filtered"),
        ("SELECT Id FROM Lead ORDER BY Description", "INVALID_FIELD", "field 'Description' can not be sorted"),
        ("SELECT Id FROM Lead WHERE CreatedDate > 2026-01-01", "INVALID_FIELD", "must be of type dateTime"),
        ("SELECT Id FROM Lead WHERE IsConverted = 'true'", "INVALID_FIELD", "must be of type boolean and should not"),
        ("SELECT Id FROM Lead WHERE Status = 1", "INVALID_FIELD", "must be of type string and should be enclosed"),
        ("SELECT Id FROM Lead WHERE Id = 'abc'", "INVALID_QUERY_FILTER_OPERATOR", "invalid ID field: abc"),
    ],
)  # fmt: skip
def test_soql_is_refused_in_salesforces_words(sf: Any, query: str, code: str, message: str) -> None:
    with pytest.raises(SalesforceMalformedRequest) as refused:
        sf.query(query)
    content: Any = refused.value.content
    (told,) = content
    assert told["errorCode"] == code
    assert message in told["message"]


# --- Objects ---------------------------------------------------------------------------------------------------------


def test_every_described_field_can_be_selected(sf: Any) -> None:
    described = [sobject["name"] for sobject in sf.describe()["sobjects"]]
    assert described == list(OBJECTS)
    for name in described:
        fields = getattr(sf, name).describe()["fields"]
        sf.query(soql(",".join(field["name"] for field in fields), name, "LIMIT 1"))
        filterable = [field["name"] for field in fields if field["filterable"]]
        sf.query(soql("Id", name, f"WHERE {' = null OR '.join(filterable)} = null"))


@pytest.mark.parametrize("rough", [False, True], ids=["clean", "rough"])
def test_every_field_of_a_generated_world_is_declared_and_read_by_the_client(tmp_path: Path, rough: bool) -> None:
    world = make_world(tmp_path / "world.db", until=date(2026, 6, 30), days=10, leads=200, rough=rough)
    with world.connect() as connection:
        payloads = connection.execute(
            "select object, payload from record_version where vendor = 'salesforce'"
        ).fetchall()
    written = {(row["object"], name) for row in payloads for name in json.loads(row["payload"])}
    declared = {(sobject.name, field.name) for sobject in OBJECTS.values() for field in sobject.fields}
    assert len(written) > 100
    assert written <= declared
    with running(world) as url:
        opened = client(f"{url}/salesforce")
        for name in OBJECTS:
            fields = sorted(field for sobject, field in written if sobject == name)
            records = opened.query_all(soql(",".join(["Id", *(f for f in fields if f != "Id")]), name))["records"]
            assert bool(records) == bool(fields), name
        leads = opened.query_all(soql("ConvertedDate", "Lead", "WHERE IsConverted = true"))["records"]
        opened.session.close()
    assert leads
    assert all(len(lead["ConvertedDate"]) == len("2026-06-30") for lead in leads)  # a day of the org, no instant


def test_one_record_is_read_by_its_id_unless_it_is_deleted(sf: Any) -> None:
    lead = sf.Lead.get(record_id("00Q", 1))
    assert (lead["LastName"], lead["Address"]["city"], lead["IsConverted"]) == ("Lead 1", "Bonn", False)
    with pytest.raises(SalesforceResourceNotFound, match="ENTITY_IS_DELETED"):
        sf.Lead.get(record_id("00Q", LEADS + 1))
    with pytest.raises(SalesforceResourceNotFound, match="NOT_FOUND"):
        sf.Lead.get(record_id("00Q", 9999))


# --- Bulk API 2.0 ----------------------------------------------------------------------------------------------------


def rows(results: Any) -> list[dict[str, str]]:
    return [row for text in results for row in csv.DictReader(io.StringIO(text))]


def test_a_bulk_query_gives_all_rows_in_sets_with_a_header_each(sf: Any) -> None:
    query = "SELECT Id, IsConverted, SystemModstamp, City, Email FROM Lead"
    sets = list(sf.bulk2.Lead.query(query, max_records=200, wait=0))
    assert [len(rows([text])) for text in sets] == [200, 200, 50]
    assert sets[0].splitlines()[:2] == [
        '"Id","IsConverted","SystemModstamp","City","Email"',
        f'"{record_id("00Q", 1)}","false","2026-01-07T09:00:00.000Z","Bonn",""',
    ]
    assert len(rows(sf.bulk2.Lead.query_all(query, wait=0))) == LEADS + DELETED_LEADS


def test_a_bulk_csv_keeps_odd_text_and_honours_delimiter_and_line_ending(sf: Any) -> None:
    query = "SELECT Name, Amount, StageName FROM Opportunity WHERE Amount > 1000 ORDER BY Amount"
    (text,) = sf.bulk2.Opportunity.query(query, column_delimiter="PIPE", line_ending="CRLF", wait=0)
    assert (
        text
        == '"Name"|"Amount"|"StageName"\r\n"Alpha"|"1200.5"|"Prospecting"\r\n"Delta \\ ""q"", ü\nnext"|"20000.0"|""\r\n'
    )


def test_a_bulk_job_goes_through_its_states(sf: Any, base_url: str) -> None:
    jobs = f"{base_url}/services/data/v67.0/jobs/query"
    job = sf.restful("jobs/query", method="POST", json={"operation": "query", "query": "SELECT Id FROM Lead"})
    assert (job["state"], job["object"], job["apiVersion"]) == ("UploadComplete", "Lead", 67.0)
    path = f"jobs/query/{job['id']}"
    assert sf.restful(path + "/results") is None
    assert sf.restful(path)["state"] == "InProgress"
    with pytest.raises(SalesforceMalformedRequest, match="INVALIDJOBSTATE"):
        sf.restful(path, method="DELETE")
    done = sf.restful(path)
    assert (done["state"], done["numberRecordsProcessed"]) == ("JobComplete", LEADS)
    with pytest.raises(SalesforceMalformedRequest, match="INVALIDJOBSTATE"):
        sf.restful(path, method="PATCH", json={"state": "Aborted"})
    results = sf.session.get(f"{jobs}/{job['id']}/results?maxRecords=449", headers=sf.headers, timeout=10)
    assert results.headers["Sforce-Locator"] == "NDQ5"
    last = sf.session.get(f"{jobs}/{job['id']}/results?locator=NDQ5", headers=sf.headers, timeout=10)
    assert (last.headers["Sforce-Locator"], last.headers["Sforce-NumberOfRecords"]) == ("null", "1")
    assert get(base_url, f"/services/data/v66.0/{path}/results").status_code == 409
    assert job["id"] in [known["id"] for known in sf.restful("jobs/query")["records"]]
    assert sf.restful(path, method="DELETE") is None
    with pytest.raises(SalesforceResourceNotFound):
        sf.restful(path)


def test_an_aborted_bulk_job_stays_aborted(sf: Any) -> None:
    job = sf.restful("jobs/query", method="POST", json={"operation": "queryAll", "query": "SELECT Id FROM Lead"})
    sf.restful(f"jobs/query/{job['id']}", method="PATCH", json={"state": "Aborted"})
    assert sf.restful(f"jobs/query/{job['id']}")["state"] == "Aborted"


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT Id, Address FROM Lead", "Selecting compound data not supported in Bulk Query"),
        ("SELECT COUNT() FROM Lead", "not supported in Bulk Query"),
        ("SELECT Id FROM Lead OFFSET 1", "not supported in Bulk Query"),
        ("SELECT Id FROM Nothing", "INVALID_TYPE"),
    ],
)
def test_a_bulk_job_refuses_what_it_can_not_do(sf: Any, query: str, message: str) -> None:
    with pytest.raises(SalesforceMalformedRequest, match=message):
        next(sf.bulk2.Lead.query(query, wait=0))
