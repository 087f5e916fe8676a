"""Demandbase: which accounts engage with us, and which companies research what; of accounts, never of persons.

Activities come by jobs of the Data Export API, with no field that names a person; intent by the Intent API, a beta,
for the keyword sets and keywords that `options` name: `keyword_sets: "7303, 9190"`, `keywords: "zero trust, sase"`. A
signal is of a period (a week, in Demandbase's example) and counts on its last day. Companies of Demandbase's data and
accounts of the tenant are numbered apart, domains tell both.
Established: tokens, both APIs' questions, answers, pages and errors, states of jobs, limits of a day (60 jobs, one at a
time, 300 looks, 90 days of activities a job), names of the fields of activities. Not established, and how it is met:
whether bounds of an export are days included, and of which zone (a day more is asked for on either side, rows are cut
to the window by their own day); how the file names its columns (by names or labels of its fields; any other is
refused); whether intent is found by periods within the bounds or touching them (periods up to 31 days are asked for
from before); when either is final (days are read again for two weeks); engagement minutes of an activity (not read).
Facts from Demandbase's OpenAPI documents and pages of developer.demandbase.com as github.com/api-evangelist/demandbase
keeps them (2026-08), its collection github.com/DemandBase-Partner-Support/Data-Export-API (2026-05) and its SDK (PyPI
demandbase-sdk 0.1.7), read 2026-12-01.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import jobs
from b2b_pipeline.connectors.auth import OAuthToken
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.demandbase import rows
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Outcome,
    Reauth,
    Session,
    Skip,
    Wait,
    by_status,
    follow,
    json_or_none,
    place,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.errors import ConfigError, PermanentError, SkippedError, TransientError

API, EXPORT, INTENT = "https://uapi.demandbase.com", "data/export/v1", "data/intent/v1/companies/intent/query"
FIELDS = ("{Activity}.id", "{Account}.id", "{Activity}.accountDomain", "{Activity}.activityDate",
          "{Activity}.activityType")  # fmt: skip
MOST = {"keywordSetIds": 10, "keywords": 50}  # of one question
PAGE, LONGEST_PERIOD = 100, timedelta(days=31)
RESTATE_DAYS = 14
NO_KEY = (
    "make an API Key Set (Settings > API Key Sets) with Data Export and Intent, and let the account team enable the "
    "export collection that has activities"
)


@dataclass(frozen=True)
class Demandbase:
    """One tenant. `asked`: parameter of the Intent API -> what is configured, in parts that fit a question."""

    session: Session
    asked: Sequence[tuple[str, Sequence[Any]]]


def classify(response: requests.Response) -> Outcome:
    """https://developer.demandbase.com/docs/handling-errors: there is no Retry-After."""
    body = json_or_none(response)
    error = body if isinstance(body, dict) else {}
    code = str(error.get("errorCode") or "refused")
    told = f"{code} {str(error.get('errorMessage') or '')[:200]}".strip()
    status = response.status_code
    if status == 429:
        # The quota is that of the last 24 hours, so that it comes back bit by bit.
        return wait_or_stop(retry_after(response, 6 * 3600.0 if code == "429-101" else 60.0), told)
    if status == 401:
        return Reauth(told)
    if status == 404 and code == "404-302":
        return Skip("there is no such job")
    if status in (400, 403, 404):
        return Fatal(told, auth=status == 403, fix=NO_KEY if status == 403 else "")
    return Wait(10.0, told) if status == 200 and "errorCode" in error else by_status(response, told)


def of_file(response: requests.Response) -> Outcome:
    """The address of a result is good for a day."""
    if response.status_code in (403, 404):
        return Skip("the address of the export is no longer good")
    return by_status(response)


# -- reading activities


def read_activities(client: Demandbase, account: Account, window: Window) -> Iterator[Page]:
    """The activities of a day more on either side, cut to the window."""
    last = min(window.end, datetime.now(UTC).date())
    body = {
        "entityType": "activity", "jobName": f"b2b-pipeline {window.start} to {window.end}", "format": "CSV",
        "fromDate": str(window.start - timedelta(days=1)), "toDate": str(max(last, window.start)),
        "fields": list(FIELDS),
    }  # fmt: skip
    job = jobs.Job(
        "Demandbase export of activities", partial(_submit, client, body), partial(_poll, client),
        partial(_download, client),
    )  # fmt: skip
    for page in jobs.read(job, jobs.Kept.of("demandbase", [client.session.base_url, body], window.until)):
        yield Page([record for record in page.records if _is_of(record["day"], window)], page.request)


def _submit(client: Demandbase, body: Record) -> str:
    return str(_object(client.session.post(f"{EXPORT}/job", body))["jobId"])


def _poll(client: Demandbase, identifier: str) -> jobs.State:
    try:
        told = _object(client.session.get(f"{EXPORT}/job/{identifier}"))
    except SkippedError:
        return jobs.Gone()
    match str(told.get("jobStatus")).lower():
        case "finished":
            urls = told.get("resultsUrls") or [told.get("resultsUrl")]
            if not all(urls):
                return jobs.Failed(TransientError(f"Demandbase export {identifier} is finished and has no address"))
            return jobs.Done(url="\n".join(urls))
        case "failed":
            return jobs.Failed(TransientError(f"Demandbase could not make export {identifier}"))
    return jobs.Running()


def _object(answer: Answer) -> Record:
    found = answer.json()
    if not isinstance(found, dict) or "jobId" not in found:
        raise TransientError(f"{place(answer.response)}: an answer without a job")
    return found


def _download(client: Demandbase, identifier: str, done: jobs.Done) -> Iterator[Page]:
    for url in done.url.split("\n"):
        parts = urlsplit(url)
        answer = Session(f"{parts.scheme}://{parts.netloc}", classify=of_file).get(f"{parts.path}?{parts.query}")
        try:
            table = list(csv.reader(io.StringIO(answer.response.content.decode("utf-8-sig"), newline=""), strict=True))
        except (UnicodeDecodeError, csv.Error) as error:
            raise TransientError(f"Demandbase export {identifier} is damaged: {type(error).__name__}") from None
        if not table or any(len(row) != len(table[0]) for row in table):
            raise TransientError(f"Demandbase export {identifier} is cut: it has no header, or rows that end early")
        places = _places(client, table[0])
        yield Page([_activity([row[at] for at in places]) for row in table[1:]], answer.request)


def _places(client: Demandbase, header: Sequence[str]) -> list[int]:
    """Where each of FIELDS stands: by its name, else by its label."""
    if not set(FIELDS) <= set(header):
        labels = {item["name"]: item["label"] for item in _fields(client)}
        missing = [name for name in FIELDS if name not in header and header.count(labels.get(name, "")) != 1]
        if missing:
            raise PermanentError(f"a Demandbase export names {', '.join(missing)} neither by name nor by label")
        return [header.index(name if name in header else labels[name]) for name in FIELDS]
    return [header.index(name) for name in FIELDS]


def _fields(client: Demandbase) -> list[Record]:
    answer = client.session.get(f"{EXPORT}/fields", {"entityType": "activity"})
    found = answer.json()
    if not isinstance(found, list) or not all(isinstance(item, dict) and "name" in item for item in found):
        raise TransientError(f"{place(answer.response)}: no list of fields")
    return found


def _activity(cells: Sequence[str]) -> Record:
    """With names that are no paths, and its day, where it is one."""
    identifier, account, domain, at, kind = cells
    return {"id": identifier, "account_id": account, "account_domain": domain, "activity_date": at,
            "activity_type": kind, "day": at[:10]}  # fmt: skip


def _is_of(day: Any, window: Window) -> bool:
    """Whether it is of a day of the window; what says no day stays to be seen."""
    is_day = isinstance(day, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    return not is_day or str(window.start) <= day < str(window.end)


# -- reading intent


def read_intent(client: Demandbase, account: Account, window: Window) -> Iterator[Page]:
    """Signals whose period ends in the window. One that two questions find is one, by its key."""
    if not client.asked:
        error = ConfigError("sources.demandbase.options: nothing says whose intent to read")
        error.fix = 'name `keyword_sets: "7303"` or `keywords: "zero trust"`, or leave intent out of `streams`'
        raise error
    bounds = {"startDate": str(window.start - LONGEST_PERIOD), "endDate": str(window.end - timedelta(days=1))}
    for name, part in client.asked:
        body = {name: list(part), **bounds, "pageSize": PAGE, "sortBy": "endDate", "sortOrder": "ASC"}
        received, total = 0, 0
        for answer in follow(partial(_ask, client, body), _after):
            found = answer.rows("data")
            received, total = received + len(found), _pagination(answer)["totalCount"]
            yield Page([record for record in found if _is_of(record.get("endDate"), window)], answer.request)
        if received != total:
            raise TransientError(f"{INTENT}: {received} signals came, {total} were announced")


def _ask(client: Demandbase, body: Record, token: str | None) -> Answer:
    return client.session.post(INTENT, body | ({"pageToken": token} if token else {}))


def _after(answer: Answer) -> str | None:
    return _pagination(answer).get("after") or None


def _pagination(answer: Answer) -> Mapping[str, Any]:
    found = answer.json().get("pagination")
    if not isinstance(found, dict) or not isinstance(found.get("totalCount"), int):
        raise TransientError(f"{place(answer.response)}: an answer that does not say how many signals there are")
    return found


# -- who we are


def connect(config: Config) -> Demandbase:
    base = settings.base_url("demandbase", API)
    form = {"grant_type": "client_credentials"} | {
        name: settings.secret(f"DEMANDBASE_{name.upper()}") for name in ("client_id", "client_secret")
    }
    auth = OAuthToken(f"{base}/auth/v1/token", form, store=settings.credential_store("demandbase"), lifetime=3600)
    return Demandbase(Session(base, classify=classify, auth=auth), [*_asked(config)])


def _asked(config: Config) -> Iterator[tuple[str, Sequence[Any]]]:
    """Raises ConfigError for a keyword set that is no number."""
    for option, name in (("keyword_sets", "keywordSetIds"), ("keywords", "keywords")):
        words: list[Any] = [
            word for part in config.sources["demandbase"].options.get(option, "").split(",") if (word := part.strip())
        ]
        if option == "keyword_sets":
            if wrong := [word for word in words if not word.isdecimal()]:
                raise ConfigError(f"sources.demandbase.options.keyword_sets: {wrong[0]!r} is not the id of a set")
            words = [int(word) for word in words]
        yield from ((name, words[at : at + MOST[name]]) for at in range(0, len(words), MOST[name]))


def accounts(client: Demandbase, config: Config) -> Accounts:
    """The one tenant that the key is of; what it is called nothing says."""
    chosen = config.sources["demandbase"]
    return choose([Account("tenant", "Demandbase")], chosen.accounts, "sources.demandbase.accounts", set(chosen.ended))


def probe(client: Demandbase, config: Config) -> list[Finding]:
    """A look at each stream: of activities at their fields, for jobs are counted."""
    on = {stream.name for stream in SOURCE.switched_on(config)}
    today = datetime.now(UTC).date()
    calls: dict[str, Any] = {"activity": partial(_has_fields, client), "intent": partial(_look, client, today)}
    return [*readable("Demandbase", {name: call for name, call in calls.items() if name in on}, NO_KEY)]


def _has_fields(client: Demandbase) -> None:
    known = {item["name"] for item in _fields(client)}
    if missing := [name for name in FIELDS if name not in known]:
        raise PermanentError(f"the export collection of the tenant lacks {', '.join(missing)}")


def _look(client: Demandbase, today: date) -> None:
    window = Window.of_days(today - timedelta(days=1), today, ZoneInfo("UTC"))
    next(read_intent(client, Account("tenant"), window), None)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=85)
_NO_CHANNEL = {"touchpoint": lambda config: ()}

SOURCE = Source(
    name="demandbase",
    title="Demandbase",
    kind="intent",
    api_version="v1",
    streams=(
        Stream(
            "activity", "report", "One row per activity of an account: its type and day, and no person.",
            read_activities, day="day", policy=_DAILY, feeds={"touchpoint": rows.engagement}, states=_NO_CHANNEL,
        ),
        Stream(
            "intent", "report", "One row per company, keyword and period: how strongly it researches it.",
            read_intent, day="endDate", policy=_DAILY, page_size=PAGE, feeds={"touchpoint": rows.intent},
            states=_NO_CHANNEL,
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "DEMANDBASE_CLIENT_ID": "client id of an API Key Set (Settings > API Key Sets) with Data Export and Intent",
        "DEMANDBASE_CLIENT_SECRET": "its secret, shown once",
    },
)  # fmt: skip
