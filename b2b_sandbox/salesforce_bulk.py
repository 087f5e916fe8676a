"""Salesforce Bulk API 2.0 query jobs: create, poll, read as CSV, abort, delete.

A job's rows are those of the moment when it was created. Each look at a job moves it on: UploadComplete, InProgress,
JobComplete. https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

import base64
import binascii
import csv
import io
import json
import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from b2b_sandbox import salesforce_query
from b2b_sandbox.salesforce_call import Call, Gate, SalesforceError, not_found

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from b2b_sandbox.salesforce_query import Result
    from b2b_sandbox.world import World

DELIMITERS = {"BACKQUOTE": "`", "CARET": "^", "COMMA": ",", "PIPE": "|", "SEMICOLON": ";", "TAB": "\t"}
LINE_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
NEXT_STATE = {"UploadComplete": "InProgress", "InProgress": "JobComplete"}
MAX_RECORDS = 50_000  # in one set of results, unless the client asks for fewer
DAILY_JOBS = 10_000
USER = "005Wx0000000001IAA"  # whom the API's calls are made as


@dataclass(frozen=True)
class Job:
    """A query job. `now` is the sandbox's clock at its creation, `total` the number of its rows."""

    id: str
    operation: str
    query: str
    now: int
    object: str
    total: int
    version: str
    delimiter: str
    line_ending: str
    state: str = "UploadComplete"

    def describe(self) -> dict[str, Any]:
        """The job as its creation and its polls tell it."""
        created = salesforce_query.rest_time(self.now // 1000)
        told = {
            "id": self.id,
            "operation": self.operation,
            "object": self.object,
            "createdById": USER,
            "createdDate": created,
            "systemModstamp": created,
            "state": self.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(self.version),
            "jobType": "V2Query",
            "lineEnding": self.line_ending,
            "columnDelimiter": self.delimiter,
        }
        if self.state == "UploadComplete":
            return told
        return told | {
            "numberRecordsProcessed": self.total if self.state == "JobComplete" else 0,
            "retries": 0,
            "totalProcessingTime": 100,
            "isPkChunkingSupported": True,
        }


def routes(world: World, gate: Gate) -> list[BaseRoute]:
    """The paths under `jobs/query`. Jobs live in the memory of this server, their rows only while they are read."""
    jobs: dict[str, Job] = {}

    @lru_cache(maxsize=8)
    def run(operation: str, query: str, now: int) -> Result:
        return salesforce_query.run(world, query, now, include_deleted=operation == "queryAll")

    def find(call: Call) -> Job:
        if job := jobs.get(call.path("job")):
            return job
        raise not_found()

    def keep(job: Job) -> Response:
        jobs[job.id] = job
        return JSONResponse(job.describe())

    def create(call: Call) -> Response:
        if len(jobs) >= DAILY_JOBS:
            message = f"Max bulk v2 query jobs ({DAILY_JOBS}) per 24 hrs has been reached"
            raise SalesforceError(400, "LIMIT_EXCEEDED", message)
        operation, query, delimiter, line_ending = _asked(call)
        now = world.now()
        result = run(operation, query, now)
        _check_bulk(result)
        return keep(
            Job(
                f"750{secrets.token_hex(8)[:15]}", operation, query, now, result.sobject.name, result.total,
                call.version, delimiter, line_ending,
            )
        )  # fmt: skip

    def every(call: Call) -> Response:
        records = [job.describe() for job in list(jobs.values())]
        return JSONResponse({"done": True, "records": records, "nextRecordsUrl": None})

    def poll(call: Call) -> Response:
        job = find(call)
        return keep(replace(job, state=NEXT_STATE.get(job.state, job.state)))

    def abort(call: Call) -> Response:
        job = find(call)
        if _json(call).get("state") != "Aborted":
            raise SalesforceError(400, "INVALIDJOB", "The only state that a query job can be set to is Aborted")
        if job.state not in NEXT_STATE:
            raise SalesforceError(400, "INVALIDJOBSTATE", f"Aborting already {job.state} Job not allowed")
        return keep(replace(job, state="Aborted"))

    def delete(call: Call) -> Response:
        job = find(call)
        if job.state == "InProgress":
            raise SalesforceError(400, "INVALIDJOBSTATE", "A job that is InProgress can not be deleted")
        jobs.pop(job.id, None)
        return Response(status_code=204)

    def results(call: Call) -> Response:
        """One set of a complete job's rows, each set with its header; the locator is the number of the next row."""
        job = find(call)
        if job.version != call.version:
            raise SalesforceError(409, "API_ERROR", f"The job was created with version {job.version} of the API")
        if job.state != "JobComplete":
            return Response(status_code=204)
        asked = call.request.query_params
        size, locator = asked.get("maxRecords", str(MAX_RECORDS)), asked.get("locator")
        start = _row_number(locator) if locator else 0
        if not size.isdecimal() or int(size) < 1 or start is None or start > job.total:
            raise SalesforceError(
                400, "INVALID_QUERY_LOCATOR", "Unknown locator, or maxRecords is not a positive number"
            )
        end = min(start + min(int(size), MAX_RECORDS), job.total)
        headers = {
            "Content-Type": "text/csv; charset=UTF-8",
            "Sforce-NumberOfRecords": str(end - start),
            "Sforce-Locator": "null" if end == job.total else _locator(end),
        }
        return Response(_csv(job, run(job.operation, job.query, job.now), start, end), headers=headers)

    return [
        *gate.routes("/jobs/query", create, "POST"),
        *gate.routes("/jobs/query", every),
        *gate.routes("/jobs/query/{job}", poll),
        *gate.routes("/jobs/query/{job}", abort, "PATCH"),
        *gate.routes("/jobs/query/{job}", delete, "DELETE"),
        *gate.routes("/jobs/query/{job}/results", results),
    ]


def _asked(call: Call) -> tuple[str, str, str, str]:
    """Operation, query, delimiter and line ending that the body of a creation asks for."""
    body = _json(call)
    operation, query = body.get("operation"), body.get("query")
    if operation not in ("query", "queryAll") or not isinstance(query, str):
        raise SalesforceError(400, "INVALIDJOB", "A query job needs the operation query or queryAll, and a query")
    delimiter, line_ending = body.get("columnDelimiter", "COMMA"), body.get("lineEnding", "LF")
    if delimiter not in DELIMITERS or line_ending not in LINE_ENDINGS or body.get("contentType", "CSV") != "CSV":
        raise SalesforceError(400, "INVALIDJOB", "Unknown columnDelimiter, lineEnding or contentType")
    return operation, query, delimiter, line_ending


def _check_bulk(result: Result) -> None:
    """Refuse what the REST API can query and the Bulk API can not."""
    if not result.columns:
        unsupported = "Aggregate functions"
    elif any(shown.field.type == "address" for shown in result.columns):
        unsupported = "Selecting compound data"
    elif result.query.offset is not None:
        unsupported = "OFFSET"
    else:
        return
    raise SalesforceError(400, "API_ERROR", f"{unsupported} not supported in Bulk Query")


def _csv(job: Job, result: Result, start: int, end: int) -> bytes:
    out = io.StringIO()
    writer = csv.writer(
        out,
        delimiter=DELIMITERS[job.delimiter],
        lineterminator=LINE_ENDINGS[job.line_ending],
        quoting=csv.QUOTE_ALL,
    )
    writer.writerow(shown.path for shown in result.columns)
    writer.writerows(result.csv_rows(start, end))
    return out.getvalue().encode()


def _json(call: Call) -> dict[str, Any]:
    try:
        body = json.loads(call.body)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise SalesforceError(400, "JSON_PARSER_ERROR", "The body is not a JSON object")
    return body


def _locator(row: int) -> str:
    return base64.urlsafe_b64encode(str(row).encode()).decode().rstrip("=")


def _row_number(locator: str) -> int | None:
    try:
        return int(base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)))
    except (ValueError, binascii.Error):
        return None
