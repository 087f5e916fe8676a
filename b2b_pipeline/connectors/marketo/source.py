"""Marketo Engage: leads, what they did with e-mails, forms and programs, changes of their status, programs, costs.

An error comes with HTTP status 200 and `success: false`. Activities are read on from a moment, all types mixed; leads
by a job that writes a file, or, where the subscription has no filter by update, by the changes of their fields.
Costs of programs in paid channels are what ad platforms tell as spend: they count only with `options: {paid_costs:
all}`, where no platform that is read has them.
Facts from Adobe's specifications (github.com/AdobeDocs/marketo-apis, 3d7e817) and documentation
(github.com/AdobeDocs/marketo-developer.en, c631b7c: rest/bulk-extract/bulk-activity-extract shows the attributes of a
change of status in a program), of other activities and their attributes from Adobe Experience Platform's pages on the
Marketo source, read 2026-12-01. For how long each activity is kept: Marketo's Activities Data
Retention Policy (nation.marketo.com/docs/DOC-1294): deletions 14 days; changes of values, sends and deliveries 90; the
rest that is read 25 months. What is older is in no answer, and so is not taken for nothing.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config, dimension_fields
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
from b2b_pipeline.connectors.http import (
    Answer,
    Fatal,
    Ok,
    Outcome,
    Reauth,
    Session,
    Skip,
    Stop,
    Wait,
    by_status,
    follow,
    json_or_none,
)
from b2b_pipeline.connectors.marketo import rows
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.visits import visit
from b2b_pipeline.errors import PermanentError, SkippedError, TransientError

RATE = Rate(100, 20)  # of a subscription: all its users together
NEW, CHANGED, MERGED = 12, 13, 32  # types of activities; those of a deletion come by a list of their own
LISTED = 300  # leads that one call gives
# The field that says how far a lead is, and what else is asked for; `fields` names others.
LEAD = {"company": "company", "country": "country", "region": "state", "status": "leadStatus", "owner": ""}
FIXED = ("id", "email", "createdAt", "updatedAt", "leadSource")
KEPT = {  # attributes of activities that say nothing of anybody -> as we call them
    "Is Bot Activity": "isBot", "New Status": "newStatus", "Success": "success", "Merge IDs": "mergeIds",
    "Campaign Run ID": "campaignRunId",
}  # fmt: skip
DELETIONS_KEPT, MANY_KEPT, KEPT_ELSE = timedelta(days=14), timedelta(days=90), timedelta(days=760)  # of the rest
CENTRAL = ZoneInfo("America/Chicago")  # where the day of the quotas ends
PASSING = {"604", "608", "611", "614", "713", "719"}


@dataclass(frozen=True)
class Marketo:
    """`programs`: what each is and its channel, by id, and `attributes`: of types of activities, each listed once."""

    session: Session
    config: Config
    programs: dict[str, Record] = field(default_factory=dict)
    attributes: dict[int, set[str]] = field(default_factory=dict)


def classify(response: requests.Response) -> Outcome:
    """https://experienceleague.adobe.com/en/docs/marketo-developer/marketo/rest/error-codes"""
    body = json_or_none(response)
    if response.status_code != 200:
        return by_status(response)
    if not isinstance(body, dict):  # else a file, or half of an answer
        is_file = "csv" in response.headers.get("Content-Type", "")
        return Ok() if is_file else Wait(5.0, "an answer that is not JSON")
    if body.get("success") is not False:
        return Ok()
    error: Record = next(iter(body.get("errors") or ()), {})
    code, message = str(error.get("code") or "no code"), str(error.get("message") or "")
    if code in ("601", "602"):
        return Reauth(f"error {code}")
    if code == "1029" and "already" in message.lower():
        return Ok()  # the job is queued: by ourselves, when the answer was lost
    if code == "607" or (code == "1029" and "quota" in message.lower()):
        return Stop(_midnight(), f"error {code}: what the subscription may ask of a day")
    if code in ("606", "615", "1029"):
        return Wait({"606": 20.0, "615": 2.0}.get(code, 60.0), f"error {code}")
    if code in PASSING or code.startswith("5"):
        return Wait(10.0, f"error {code}")
    if code in ("702", "1035"):
        return Skip(f"error {code}: {'nothing there' if code == '702' else 'a filter that the subscription has not'}")
    return Fatal(f"error {code}", auth=code == "603")


def _midnight() -> datetime:
    tomorrow = datetime.now(CENTRAL).date() + timedelta(days=1)
    return datetime.combine(tomorrow, time(), CENTRAL).astimezone(UTC)


# -- activities


def _activities(client: Marketo, path: str, window: Window, **query: Any) -> Iterator[Page]:
    """The activities of a window, oldest first. A page may have none and still not be the last."""
    before = {"sinceDatetime": _seconds(window.since - timedelta(seconds=1))}  # what comes is after it
    first = str(client.session.get("rest/v1/activities/pagingtoken.json", before).json()["nextPageToken"])

    def ask(token: str | None) -> Answer:
        return client.session.get(f"rest/v1/activities{path}.json", {**query, "nextPageToken": token or first})

    def following(answer: Answer) -> str | None:
        body = answer.json()
        if not isinstance(body, dict) or "moreResult" not in body or "nextPageToken" not in body:
            raise TransientError(f"Marketo activities{path}: an answer that does not say whether there is more")
        found = body.get("result") or ()
        is_past = bool(found) and min(_at(each) for each in found) >= window.until
        return str(body["nextPageToken"]) if body["moreResult"] and not is_past else None

    for answer in follow(ask, following):
        found = answer.json().get("result") or ()
        yield Page([each for each in found if window.since <= _at(each) < window.until], answer.request)


def _at(activity: Record) -> datetime:
    return datetime.fromisoformat(activity["activityDate"])


def _seconds(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H:%M:%SZ}"  # without milliseconds, as filters of jobs want them


def read_sendings(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """E-mails sent and delivered."""
    for page in _activities(client, "", window, activityTypeIds=",".join(map(str, rows.SENDINGS))):
        yield Page([_activity(each) for each in page.records], page.request)


def read_activities(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """What leads did with e-mails, forms and programs. Of attributes only those that say nothing of anybody."""
    click_ids = [*client.config.channels.click_ids]
    types = ",".join(map(str, (kind for kind in rows.TYPES if kind not in rows.SENDINGS)))
    for page in _activities(client, "", window, activityTypeIds=types):
        yield Page([_with_program(client, _activity(each, click_ids)) for each in page.records], page.request)


def _activity(record: Record, click_ids: Collection[str] = ()) -> Record:
    """The name of what it is about is there but of forms and leads, where it may be a person's."""
    given = {each["name"]: each.get("value") for each in record.get("attributes") or ()}
    of_form = visit(f"https://form/?{given.get('Query Parameters') or ''}", click_ids) if click_ids else {}
    named = {"name": record.get("primaryAttributeValue")} if record["activityTypeId"] in rows.TYPES else {}
    return {
        "id": str(record.get("marketoGUID") or record["id"]), "leadId": record["leadId"],
        "activityDate": record["activityDate"], "activityTypeId": record["activityTypeId"],
        "about": record.get("primaryAttributeValueId"), **named,
        **{ours: given[theirs] for theirs, ours in KEPT.items() if theirs in given},
        **({name: of_form[name] for name in ("utm_medium", "utm_campaign", "click_ids")} if of_form else {}),
    }  # fmt: skip


def _with_program(client: Marketo, activity: Record) -> Record:
    if activity["activityTypeId"] != rows.PROGRESSION:
        return activity
    if "success" not in activity:  # Marketo leaves out what is null: but has it such an attribute here at all?
        _tells_success(client)
    if not client.programs:
        client.programs.update({str(each["id"]): each for each in _programs(client)})
    return {**activity, "channel": client.programs.get(str(activity["about"]), {}).get("channel")}


def _tells_success(client: Marketo) -> None:
    """Raises PermanentError where a status in a program does not say whether it is a success: no touch would come of
    any. Asked once."""
    if not client.attributes:
        described = client.session.get("rest/v1/activities/types.json").rows("result")
        client.attributes.update({each["id"]: {one["name"] for one in each["attributes"]} for each in described})
    if "Success" not in client.attributes.get(rows.PROGRESSION, set()):
        error = PermanentError(f"Marketo's activities of type {rows.PROGRESSION} have no attribute Success here")
        error.fix = "leave the stream activity out of sources.marketo.streams, and tell us what they have"
        raise error


def read_statuses(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """Changes of the field that says how far a lead is. Marketo keeps them for so many days."""
    name = fields(client.config)["status"]
    for page in _activities(client, "/leadchanges", window, fields=name):
        changes = [each for each in page.records if each["activityTypeId"] == CHANGED]
        found = [(each, change) for each in changes for change in each["fields"] if change["name"] == name]
        yield Page(
            [{**_activity(each), "from": change.get("oldValue"), "to": change["newValue"]} for each, change in found],
            page.request,
        )


def read_removed(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """Leads that were deleted. What was before the first pull concerns nobody: that is why older days are no error."""
    for page in _activities(client, "/deletedleads", window):
        yield Page([_activity(each) for each in page.records], page.request)


def read_merged(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """Leads that were merged into another."""
    for page in _activities(client, "", window, activityTypeIds=str(MERGED)):
        yield Page([_activity(each) for each in page.records], page.request)


# -- leads


def fields(config: Config) -> dict[str, str]:
    """Our name -> Marketo's field."""
    named = {name: config.sources["marketo"].fields.get(name, default) for name, default in LEAD.items()}
    return {name: field for name, field in named.items() if field} | dimension_fields(config, "marketo", "lead")


def asked(config: Config) -> list[str]:
    return sorted({*FIXED, *fields(config).values()})


def read_leads(client: Marketo, account: Account, window: Window) -> Iterator[Page]:
    """Leads of which some field was updated in the window."""
    span = {"startAt": _seconds(window.since), "endAt": _seconds(window.until - timedelta(seconds=1))}
    request = {"format": "CSV", "fields": asked(client.config), "filter": {"updatedAt": span}}
    submit = partial(_submit, client, request)
    job = jobs.Job("Marketo lead export", submit, partial(_poll, client), partial(_download, client))
    try:
        yield from jobs.read(job, jobs.Kept.of("marketo", [account.id, request], window.until))
    except SkippedError:
        yield from _changed_leads(client, window)


def _submit(client: Marketo, request: Record) -> str:
    made = client.session.post("bulk/v1/leads/export/create.json", request).rows("result")[0]
    client.session.post(f"bulk/v1/leads/export/{made['exportId']}/enqueue.json", {})
    return str(made["exportId"])


def _poll(client: Marketo, identifier: str) -> jobs.State:
    job = client.session.get(f"bulk/v1/leads/export/{identifier}/status.json").rows("result")[0]
    match job["status"]:
        case "Completed":
            return jobs.Done(rows=job.get("numberOfRecords"))
        case "Failed" | "Canceled" | "Cancelled":
            return jobs.Failed(TransientError(f"Marketo lead export {identifier}: {job['status']}"))
    return jobs.Running()


def _download(client: Marketo, identifier: str, done: jobs.Done) -> Iterator[Page]:
    """What is empty is written as null. Without a lead there is no file."""
    if done.rows == 0:
        return
    answer = client.session.get(f"bulk/v1/leads/export/{identifier}/file.json")
    try:
        found = list(csv.DictReader(io.StringIO(answer.response.content.decode(), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TransientError(f"Marketo lead export {identifier} is damaged: {type(error).__name__}") from None
    if any(None in each or None in each.values() for each in found):
        raise TransientError(f"Marketo lead export {identifier} is damaged: a row has not as many cells as its header")
    yield Page(
        [{name: None if cell in ("null", "") else cell for name, cell in each.items()} for each in found],
        answer.request,
    )


def _changed_leads(client: Marketo, window: Window) -> Iterator[Page]:
    """Leads that are new, or of which a field that we ask for has changed, as they are now."""
    if window.since < datetime.now(UTC) - MANY_KEPT:
        what = f"changes of values for {MANY_KEPT.days} days"
        error = PermanentError(f"Marketo keeps {what}: not all since {window.start} are there any more")
        error.fix = "read from a later day on: `b2b backfill --from DAY`"
        raise error
    names = ",".join(name for name in asked(client.config) if name not in ("id", "createdAt", "updatedAt"))
    pages = _activities(client, "/leadchanges", window, fields=names)
    ids = sorted({int(each["leadId"]) for page in pages for each in page.records})
    for start in range(0, len(ids), LISTED):
        yield _leads(client, ids[start : start + LISTED])


def _leads(client: Marketo, ids: Sequence[int]) -> Page:
    """Those that are there still; as text, as they are in files."""
    query = {"filterType": "id", "filterValues": ",".join(map(str, ids)), "fields": ",".join(asked(client.config))}
    answer = client.session.get("rest/v1/leads.json", {**query, "batchSize": LISTED})
    return Page([{name: _text(cell) for name, cell in each.items()} for each in answer.rows("result")], answer.request)


def _text(cell: Any) -> str | None:
    return None if cell is None else str(cell).lower() if isinstance(cell, bool) else str(cell)


# -- programs

PROGRAM_LIST = "rest/asset/v1/programs.json"


def read_programs(client: Marketo, account: Account, window: Window | None) -> Iterator[Page]:
    """Every program, and where their currency is known, with its costs, which only a program by itself tells."""
    with_costs = bool(client.config.sources["marketo"].options.get("currency"))
    for each in _programs(client):
        costs = _costs(client, each["id"]) if with_costs else None
        yield Page([{**{name: each.get(name) for name in PROGRAM}, "costs": costs}])


PROGRAM = ("id", "name", "createdAt", "updatedAt", "type", "channel", "status", "workspace")


def _programs(client: Marketo) -> Iterator[Record]:
    """Page by page until there is none, which a warning says, in place of a list."""
    offset = 0
    while True:
        body = client.session.get(PROGRAM_LIST, {"offset": offset, "maxReturn": PAGE}).json()
        found = body.get("result")
        if found is None and not body.get("warnings"):
            raise TransientError(f"{PROGRAM_LIST}: an answer without 'result'")
        if not found:
            return
        yield from found
        offset += len(found)


PAGE = 200


def _costs(client: Marketo, identifier: int) -> list[Mapping[str, Any]]:
    """Without their notes, which are free text."""
    try:
        (program,) = client.session.get(f"rest/asset/v1/program/{identifier}.json").rows("result")
    except SkippedError:
        return []  # deleted meanwhile
    return [{"startDate": cost["startDate"], "cost": cost["cost"]} for cost in program.get("costs") or ()]


# -- who we are


def connect(config: Config) -> Marketo:
    base = settings.base_url("marketo", "")
    form = {"grant_type": "client_credentials"} | {
        name: settings.secret(f"MARKETO_{name.upper()}") for name in ("client_id", "client_secret")
    }
    rates = () if base else (RATE,)  # the sandbox says itself when it has had enough
    base = base or f"https://{settings.secret('MARKETO_MUNCHKIN_ID')}.mktorest.com"
    auth = OAuthToken(f"{base}/identity/oauth/token", form, store=settings.credential_store("marketo"), lifetime=3600)
    return Marketo(Session(base, classify=classify, auth=auth, rates=rates), config)


def accounts(client: Marketo, config: Config) -> Accounts:
    """The one subscription that the credentials belong to."""
    one = Account(os.environ.get("MARKETO_MUNCHKIN_ID") or "marketo")
    return choose([one], config.sources["marketo"].accounts, "sources.marketo.accounts")


def probe(client: Marketo, config: Config) -> list[Finding]:
    """Calls of today, a small call per stream, fields that are asked for and not there, what is not mapped."""
    try:
        usage = client.session.get("rest/v1/stats/usage.json").rows("result")
    except PermanentError as error:
        fix = "put the client of a LaunchPoint service into MARKETO_CLIENT_ID and MARKETO_CLIENT_SECRET"
        return [Finding(False, f"Marketo: {error}", error.fix or fix)]
    found = [Finding(True, f"Marketo: {sum(day.get('total', 0) for day in usage)} calls today, of all users")]
    on = {stream.name for stream in SOURCE.switched_on(config)}
    now = Window.of_days(datetime.now(UTC).date(), datetime.now(UTC).date() + timedelta(days=1), config.zone)
    calls: dict[str, Callable[[], object]] = {
        "lead": partial(_leads, client, [1]),
        "sending": lambda: next(read_sendings(client, Account(""), now), None),
        "activity": lambda: next(read_activities(client, Account(""), now), None),
        "status": lambda: next(read_statuses(client, Account(""), now), None),
        "removed": lambda: next(read_removed(client, Account(""), now), None),
        "merged": lambda: next(read_merged(client, Account(""), now), None),
        "program": partial(client.session.get, PROGRAM_LIST, {"maxReturn": 1}),
    }
    fix = "give the role of the API user Read-Only Lead, Read-Only Activity and Read-Only Assets"
    found += readable("Marketo", {name: call for name, call in calls.items() if name in on}, fix)
    if not all(finding.ok for finding in found):
        return found
    described = client.session.get("rest/v1/leads/describe.json").rows("result")
    there = {each["rest"]["name"] for each in described if each.get("rest")}
    for name in sorted(set(asked(config)) - there):
        fix = "name an API field of leads under sources.marketo.fields (Admin > Field Management > Export Field Names)"
        found.append(Finding(False, f"Marketo leads have no field {name}", fix))
    if "status" in on and not config.stages.of("marketo"):
        what = f"Marketo: no value of {fields(config)['status']} is a stage: who became MQL or SQL is unknown"
        found.append(Finding(True, what, "say which are under stages.marketo", warning=True))
    if "program" in on and not config.sources["marketo"].options.get("currency"):
        what = "Marketo: costs of programs have no currency: they are not read"
        found.append(Finding(True, what, "give it as sources.marketo.options.currency, to read them", warning=True))
    return found


_ACTIVITIES = WindowPolicy(overlap=timedelta(hours=2), settle=timedelta(minutes=10), max_days=31)
_KEPT = replace(_ACTIVITIES, kept=KEPT_ELSE)
_MANY = replace(_ACTIVITIES, kept=MANY_KEPT)
_DELETIONS = replace(_ACTIVITIES, told=DELETIONS_KEPT)

SOURCE = Source(
    name="marketo",
    title="Marketo Engage",
    kind="email",
    api_version="v1",
    streams=(
        Stream(
            "lead", "changes", "Leads as they are, by an export of what was updated.", read_leads, day="updatedAt",
            policy=WindowPolicy(overlap=timedelta(hours=2), settle=timedelta(minutes=10), max_days=30),
            personal=("email",), feeds={"lead": rows.leads, "identity_link": rows.identity_links}, asks=asked,
        ),
        Stream(
            "sending", "changes", "E-mails sent and delivered, which Marketo keeps for 90 days.", read_sendings,
            day="activityDate", policy=_MANY, page_size=LISTED, feeds={"email_event": rows.email_events},
            states={"email_event": lambda config: ("sent", "delivered")},
        ),
        Stream(
            "activity", "changes", "E-mails opened, clicked, bounced and unsubscribed from; forms filled out; statuses "
            "reached in programs.", read_activities, day="activityDate", policy=_KEPT, page_size=LISTED,
            feeds={
                "email_event": rows.email_events, "form_event": rows.form_events, "touchpoint": rows.touchpoints,
            },
            states={"email_event": lambda config: ("bounce", "unsubscribe", "open", "click")},
        ),
        Stream(
            "status", "changes", "Changes of the status of leads, which Marketo keeps for 90 days.", read_statuses,
            day="activityDate", policy=_MANY, page_size=LISTED, feeds={"stage_event": rows.stages},
            states={"stage_event": lambda config: config.stages.of("marketo").values()},
        ),
        Stream(
            "removed", "changes", "Leads that were deleted, which Marketo tells for 14 days.", read_removed,
            day="activityDate", policy=_DELETIONS, page_size=LISTED, feeds={"lead": rows.deleted},
        ),
        Stream(
            "merged", "changes", "Leads that were merged into others.", read_merged, day="activityDate",
            policy=_KEPT, page_size=LISTED, feeds={"identity_link": rows.merged},
        ),
        Stream(
            "program", "snapshot", "Programs as they are now; with their costs where options.currency names the "
            "currency of these; of paid channels only with options.paid_costs.", read_programs, day="", page_size=1,
            feeds={"campaign": rows.campaigns, "cost_ledger": rows.costs},
            states={"cost_ledger": rows.states_costs},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "MARKETO_MUNCHKIN_ID": "123-ABC-456 of https://123-ABC-456.mktorest.com (Admin > Web Services > REST API)",
        "MARKETO_CLIENT_ID": "of a custom service of an API-only user (Admin > LaunchPoint > View Details)",
        "MARKETO_CLIENT_SECRET": "its secret",
    },
    optional=frozenset({"MARKETO_MUNCHKIN_ID"}),  # the sandbox has none
    daily_calls=50_000,
)  # fmt: skip
