"""Salesforce's API: SOQL over REST and Bulk API 2.0, describe, and what each answer means.

References: https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/resources_queryall.htm
https://developer.salesforce.com/docs/atlas.en-us.api_asynch.meta/api_asynch/queries.htm
"""

from __future__ import annotations

import csv
import io
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from b2b_pipeline.connectors import jobs
from b2b_pipeline.connectors.base import Page, Record, Window
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Split,
    Stop,
    Wait,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.errors import (
    AuthError,
    PermanentError,
    PipelineError,
    QuotaError,
    SkippedError,
    SplitError,
    TransientError,
)
from b2b_pipeline.privacy import mask

if TYPE_CHECKING:
    import requests

VERSION = "67.0"
BULK_THRESHOLD = 50_000  # rows; a query cursor dies with its session, so what REST reads must be read in minutes
BULK_PAGE = 50_000  # rows of one CSV
BULK_DEADLINE = 3600.0  # seconds


@dataclass(frozen=True)
class SObject:
    """What is read of an object. `optional` fields are left out where the org, or the user, does not have them.

    `columns` are those of ours that the configuration may take from a field of the org's own.
    """

    name: str
    fields: str
    optional: str = ""
    columns: tuple[str, ...] = ()
    cursor: str = "SystemModstamp"
    only: str = ""


class Client:
    """The API of one org, at the instance that its tokens name.

    custom_fields: object -> fields of the org's own that are asked for where it has them, in upper or lower case.
    """

    def __init__(
        self,
        session: Session,
        version: str = VERSION,
        custom_fields: Mapping[str, Collection[str]] | None = None,
        bulk_threshold: int = BULK_THRESHOLD,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.session = session
        self.version = version
        self.organization = ""
        self.swept: Sequence[tuple[SObject, str]] = ()  # objects whose ids are swept, and as what
        self._custom = custom_fields or {}
        self._bulk_threshold = bulk_threshold
        self._sleep = sleep
        self._door = urlsplit(session.base_url).netloc
        self._described: dict[str, dict[str, Any]] = {}

    def use(self, token: Mapping[str, str]) -> None:
        """Go on at the `instance_url` of a token's answer; its `id` URL (…/id/<organization>/<user>) names the org.

        Raises PermanentError for a host that is neither Salesforce's nor the one that gave the token: it gets no token.
        """
        instance = str(token.get("instance_url", "")).rstrip("/")
        url = urlsplit(instance)
        if url.scheme != urlsplit(self.session.base_url).scheme:
            raise PermanentError(f"refused to go on at {url.netloc}: not the scheme of the token's answer")
        if url.netloc != self._door and not _OF_SALESFORCE.fullmatch(url.netloc.lower()):
            raise PermanentError(f"refused to go on at {url.netloc}: not a host of Salesforce")
        self.session.base_url = instance
        parts = token.get("id", "").split("/")
        self.organization = parts[-2] if len(parts) > 2 else urlsplit(instance).netloc

    def get(self, path: str, params: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        return self.session.get(self._path(path), params, **headers)

    def query(self, soql: str) -> int:
        """How many rows a query has, deleted ones included."""
        return int(json_object(self.get("queryAll", {"q": soql}), "totalSize")["totalSize"])

    def describe(self, name: str) -> dict[str, Any]:
        """The fields that the user may see of an object, by name; a relationship is there as `Campaign.`."""
        if name not in self._described:
            fields = json_object(self.get(f"sobjects/{name}/describe"), "fields")["fields"]
            relations = {f"{field['relationshipName']}.": field for field in fields if field.get("relationshipName")}
            self._described[name] = {field["name"]: field for field in fields} | relations
        return self._described[name]

    def has(self, name: str, path: str) -> bool:
        """Whether an object has a field, or the relationship of a dotted path."""
        parent, dot, _ = path.partition(".")
        return self.spelt(name, parent + dot) in self.describe(name)

    def spelt(self, name: str, path: str) -> str:
        """A field as the org spells it, in whose answers it stands so; a name that it does not have stays."""
        return next((known for known in self.describe(name) if known.lower() == path.lower()), path)

    def selection(self, sobject: SObject) -> list[str]:
        """The fields to ask for. Raises AuthError when one that matters is not there, or not visible to the user."""
        needed = sobject.fields.split()
        if missing := [path for path in needed if not self.has(sobject.name, path)]:
            raise AuthError(
                f"Salesforce {sobject.name}: {', '.join(missing)} not visible: give the integration user read access "
                "(object permission and field-level security)"
            )
        custom = [self.spelt(sobject.name, path) for path in self._custom.get(sobject.name, ())]
        wanted = [path for path in [*sobject.optional.split(), *custom] if self.has(sobject.name, path)]
        return list(dict.fromkeys([*needed, *wanted]))

    def changes(self, sobject: SObject, window: Window) -> Iterator[Page]:
        """Every record that changed in the window, deleted ones included.

        Raises TransientError when the rows are not as many as announced, SplitError when the window is too large.
        """
        source = f"FROM {sobject.name} WHERE {_condition(sobject, window)}"
        count = self.query(f"SELECT COUNT() {source}")
        if count == 0:
            return
        selection = self.selection(sobject)
        soql = f"SELECT {', '.join(selection)} {source}"
        is_large = count > self._bulk_threshold
        asked = {path.partition(".")[0] for path in selection}
        for page in self._bulk(soql, window.until) if is_large else self._rest(f"{soql} ORDER BY {sobject.cursor}, Id"):
            # An empty field is null: one that is not there would overwrite what we know with nothing.
            if missing := {name for record in page.records for name in asked - record.keys()}:
                raise TransientError(f"Salesforce {sobject.name}: {', '.join(sorted(missing))} not in the answer")
            yield page

    def ids(self, name: str) -> Iterator[list[str]]:
        """The ids of all records of an object, those in the recycle bin too, as they are now, in pages.

        No window can be made smaller here: what is too large to be counted is read by a job.
        """
        soql = f"SELECT Id FROM {name}"  # noqa: S608  # SOQL; the name is ours
        try:
            is_large = self.query(f"SELECT COUNT() FROM {name}") > self._bulk_threshold  # noqa: S608
        except SplitError:
            is_large = True
        yield []  # it may be listed: what goes wrong from here on is no refusal
        for page in self._bulk(soql) if is_large else self._rest(f"{soql} ORDER BY Id"):
            yield [record["Id"] for record in page.records]

    def _rest(self, soql: str) -> Iterator[Page]:
        body: dict[str, Any] = {}

        def ask(url: str | None) -> Answer:
            nonlocal body
            answer = self.session.get(url) if url else self.get("queryAll", {"q": soql})
            body = json_object(answer, "totalSize", "records")
            return answer

        found = 0
        for answer in follow(ask, lambda _: body.get("nextRecordsUrl")):
            found += len(body["records"])
            yield Page(body["records"], answer.request)
        if found != body["totalSize"]:
            raise TransientError(f"Salesforce: {body['totalSize']} rows announced, {found} received")

    def _bulk(self, soql: str, over: datetime | None = None) -> Iterator[Page]:
        """By a query job, which one that is killed leaves to the next where what is asked for was `over` by then.

        It takes no ORDER BY: that would keep Salesforce from reading in chunks.
        """
        path = self._path("jobs/query")

        def submit() -> str:
            job = self.session.post(path, {"operation": "queryAll", "query": soql})
            return str(json_object(job, "id")["id"])

        def download(identifier: str, _: jobs.Done) -> Iterator[Page]:
            def ask(locator: str | None) -> Answer:
                page = {"maxRecords": BULK_PAGE} | ({"locator": locator} if locator else {})
                return self.session.get(f"{path}/{identifier}/results", page, Accept="text/csv")

            for answer in follow(ask, _next_locator):
                yield Page(_csv(answer), answer.request)

        job = jobs.Job("Salesforce job", submit, self._state, download)
        kept = jobs.Kept.of("salesforce", [self.session.base_url, path, soql], over) if over else None
        return jobs.read(job, kept, deadline=BULK_DEADLINE, sleep=self._sleep)

    def _state(self, identifier: str) -> jobs.State:
        path = f"jobs/query/{identifier}"
        try:
            job = json_object(self.get(path), "state")
        except SkippedError:
            return jobs.Gone()
        match job["state"]:
            case "JobComplete":
                return jobs.Done(int(job["numberRecordsProcessed"]))
            case "Failed":
                reason = str(job.get("errorMessage") or "")
                return jobs.Failed(_job_failed(f"Salesforce {path}: the job failed", reason))
            case "Aborted":
                return jobs.Failed(TransientError(f"Salesforce {path}: somebody aborted the job"))
        return jobs.Running()

    def _path(self, path: str) -> str:
        return f"services/data/v{self.version}/{path}"


def _condition(sobject: SObject, window: Window) -> str:
    """The half-open window in SOQL. Salesforce stamps whole seconds."""
    since, until = (f"{moment:%Y-%m-%dT%H:%M:%SZ}" for moment in (window.since, window.until))
    condition = f"{sobject.cursor} >= {since} AND {sobject.cursor} < {until}"
    return f"{condition} AND {sobject.only}" if sobject.only else condition


def json_object(answer: Answer, *members: str) -> dict[str, Any]:
    """The JSON object of an answer. Raises TransientError when it lacks one of `members`."""
    body = answer.json()
    if not isinstance(body, dict) or not body.keys() >= set(members):
        raise TransientError(f"{place(answer.response)}: no {' and '.join(members)} in the answer")
    return body


def _next_locator(answer: Answer) -> str | None:
    locator = answer.response.headers.get("Sforce-Locator", "null")
    return None if locator == "null" else locator


def _csv(answer: Answer) -> list[Record]:
    """The records of a Bulk result, nested as REST nests them; all values are text, and "N/A" is text too.

    Raises TransientError when the rows are not as many as the header `Sforce-NumberOfRecords` says.
    """
    where, announced = place(answer.response), answer.response.headers.get("Sforce-NumberOfRecords")
    try:
        table = list(csv.reader(io.StringIO(answer.response.content.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error):
        raise TransientError(f"{where}: the answer is not CSV") from None
    header, lines = table[0] if table else [], table[1:]
    if announced != str(len(lines)) or any(len(line) != len(header) for line in lines):
        raise TransientError(f"{where}: {announced} rows announced, {len(lines)} received")
    paths = [name.split(".") for name in header]
    return [_nested(paths, line) for line in lines]


def _nested(paths: list[list[str]], values: list[str]) -> Record:
    record: Record = {}
    for path, value in zip(paths, values, strict=True):
        node = record
        for parent in path[:-1]:
            node = node.setdefault(parent, {})
        node[path[-1]] = value
    return record


def _job_failed(what: str, reason: str) -> PipelineError:
    """By the job's `errorMessage`: a smaller window only mends what took too long, or gave no reason.

    Salesforce itself tries 15 times before it calls a job failed.
    """
    told = mask(f"{what}: {reason[:200] or 'no reason given'}")
    if any(code in reason for code in _QUOTA):
        return QuotaError(told, datetime.now(UTC) + _QUOTA_PAUSE)
    if not reason or any(word in reason.upper() for word in _TOO_SLOW):
        return SplitError(told)
    return PermanentError(told)


# -- what an answer means

# The hosts of orgs: My Domain and instances, US government (.mil), on Alibaba Cloud (.cn).
# https://help.salesforce.com/s/articleView?id=sf.domain_name_url_formats.htm, looked up 2026-11-25
_OF_SALESFORCE = re.compile(
    r"[a-z0-9.-]+\.(?:salesforce\.com|force\.com|cloudforce\.com|salesforce\.mil|crmforce\.mil|sfcrmproducts\.cn|sfcrmapps\.cn)"
)
_TOO_SLOW = (
    "TIMEOUT",
    "TIMED OUT",
    "TIME LIMIT",
    "RETRIED MORE THAN",
    "TOO LARGE",
    "TOO_LARGE",
    "TOO MANY",
    "EXCEEDED",
)
_QUOTA = {"REQUEST_LIMIT_EXCEEDED", "LIMIT_EXCEEDED"}
# The daily limits count the last 24 hours, so calls come back all the time; an hour is soon enough for the same night,
# and a try that comes too early costs nothing.
_QUOTA_PAUSE = timedelta(hours=1)
# A query cursor ends with its session, after two days, and when ten newer ones are open: fewer rows are read in time.
_TOO_LARGE = {"QUERY_TIMEOUT", "OPERATION_TOO_LARGE", "INVALID_QUERY_LOCATOR"}
_LATER = {"SERVER_UNAVAILABLE", "UNABLE_TO_LOCK_ROW", "UNKNOWN_EXCEPTION"}
_NAMED = re.compile(
    r"(?:No such column|sObject type|understand relationship|unexpected token:?) '[\w.]+'(?: on entity '\w+')?"
)


def classify(response: requests.Response) -> Outcome:
    """What Salesforce says: a list of `{"errorCode", "message"}`, usually with an error's status.

    https://developer.salesforce.com/docs/atlas.en-us.api_rest.meta/api_rest/errorcodes.htm
    """
    status = response.status_code
    code, message = _error(response)
    if status < 300 and not code:
        return Ok() if _is_whole(response) else Wait(5, "not an answer of the API, or cut off")
    if code == "REQUEST_LIMIT_EXCEEDED" and message.startswith("Concurrent"):
        return Wait(30, "too many long requests at once")
    if code in _QUOTA:
        return Stop(datetime.now(UTC) + _QUOTA_PAUSE, code)
    if code in _TOO_LARGE:
        return Split(code)
    if code in _LATER or status in (406, 420, 429) or status >= 500:
        return wait_or_stop(retry_after(response, 5), code or "server error")
    if status == 401:
        return Reauth(code or "INVALID_SESSION_ID")
    if status == 404 and "/jobs/query/" in place(response):
        return Skip("Salesforce has no such job, any more")
    if status in (414, 431):
        return Fatal("the query is too long: map fewer custom fields")
    if status == 410:
        return Fatal("this API version is retired: set sources.salesforce.options.api_version")
    if 300 <= status < 400:
        return Fatal("redirected: set SALESFORCE_BASE_URL to your My Domain URL")
    named = _NAMED.search(message)
    return Fatal(f"{code or 'refused'}{': ' + named[0] if named else ''}", auth=status == 403)


def _error(response: requests.Response) -> tuple[str, str]:
    """The first error's code and message; empty without one."""
    if not response.content.lstrip().startswith(b"["):
        return "", ""
    errors = json_or_none(response)
    first = errors[0] if isinstance(errors, list) and errors else None
    if not isinstance(first, dict):
        return "", ""
    return str(first.get("errorCode") or ""), str(first.get("message") or "")


def _is_whole(response: requests.Response) -> bool:
    """Whether a good answer looks complete; a CSV is checked by its number of rows."""
    if response.status_code == 204 or response.headers.get("Content-Type", "").startswith("text/csv"):
        return True
    return response.content.rstrip().endswith((b"}", b"]"))
