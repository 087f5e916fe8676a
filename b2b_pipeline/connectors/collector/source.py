"""Our own collector (`b2b collect`, docs/collector.md): visits, forms and product events of a site.

It gives the events that it received in a window, in that order, page by page; they become visits here (visits.py). They
are read over HTTP, wherever the collector runs. Days on which it was not there to receive any are not whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken
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
from b2b_pipeline.connectors.collector import rows, visits
from b2b_pipeline.connectors.http import Outcome, Session, Wait, by_status, json_or_none, place
from b2b_pipeline.connectors.rest import readable
from b2b_pipeline.connectors.site_visits import forms, sessions
from b2b_pipeline.errors import TransientError

SITE = "site"


@dataclass(frozen=True)
class Collector:
    """`own`: hosts of ours beside that of the page itself; who comes from them came from nowhere else."""

    session: Session
    zone: ZoneInfo
    own: tuple[str, ...] = ()


def classify(response: requests.Response) -> Outcome:
    body = json_or_none(response)
    error = str(body.get("error") or "refused") if isinstance(body, dict) else "refused"
    if response.status_code == 425:  # its clock is behind ours
        return Wait(5.0, error)
    return by_status(response, error)


@dataclass
class Day:
    """A day of the window (UTC, or what of it is in the window): when it begins, the events received in it behind those
    of three days before; and the days in the reporting zone on which nobody was there, with the reason."""

    since: datetime
    events: list[visits.Event]
    doubts: dict[str, str]

    def visitors(self, client: Collector) -> Iterator[visits.Visitor]:
        """Those of whom something was received in it."""
        for _, events in sorted(visits.by_visitor(self.events).items()):
            visitor = visits.Visitor(events, client.own)
            if visitor.version >= self.since:
                yield visitor

    def page(self, records: list[Record]) -> Page:
        return Page(records, visits.text(self.since), self.doubts)


def _days(client: Collector, window: Window) -> Iterator[Day]:
    """A day is told the same in whichever window it is read."""
    since, end = (visits.instant(visits.text(at)) for at in (window.since, window.until))  # as exact as events are
    read, held = since - visits.BACK, list[visits.Event]()
    while since < end:
        until = min(datetime(since.year, since.month, since.day, tzinfo=UTC) + timedelta(days=1), end)
        held = [event for event in held if visits.instant(event["received_at"]) >= since - visits.BACK]
        silent = list[tuple[datetime, datetime]]()
        held += _events(client, read, until, silent)
        yield Day(since, visits.known(held), dict(_doubts(silent, since, client.zone)))
        since = read = until


def _events(
    client: Collector, since: datetime, until: datetime, silent: list[tuple[datetime, datetime]]
) -> Iterator[visits.Event]:
    """Those received in `[since, until)`. Raises TransientError for an answer that is not the one to this question."""
    asked: dict[str, Any] = {"since": visits.text(since), "until": visits.text(until), "from": 0}
    while True:
        answer = client.session.get("events", asked)
        body = answer.json()
        yield from answer.rows("events")
        if not asked["from"]:
            silent += [(visits.instant(a), visits.instant(b)) for a, b in body["silent"]]
        following = body["next"]
        place_of = asked["since"], asked["from"]
        if body["until"] != asked["until"] or (following and (following["since"], following["from"]) <= place_of):
            raise TransientError(f"{place(answer.response)}: not the page that was asked for")
        if following is None:
            return
        asked |= following


def _doubts(silent: list[tuple[datetime, datetime]], since: datetime, zone: ZoneInfo) -> Iterator[tuple[str, str]]:
    for begun, ended in silent:
        day = max(begun, since).astimezone(zone).date()
        while ended > since and day <= (ended - timedelta(microseconds=1)).astimezone(zone).date():
            yield f"{day}", f"the collector was not there from {begun:%Y-%m-%d %H:%M} to {ended:%Y-%m-%d %H:%M} UTC"
            day += timedelta(days=1)


def read_visits(client: Collector, account: Account, window: Window) -> Iterator[Page]:
    for day in _days(client, window):
        yield day.page([told for visitor in day.visitors(client) for told, _ in visitor.records(day.since)])


def read_forms(client: Collector, account: Account, window: Window) -> Iterator[Page]:
    """Each form that was sent, with the visit in which it was; without consent it has none."""
    for day in _days(client, window):
        told = [
            _form(event, visit, visit["updated_at"])
            for visitor in day.visitors(client)
            for visit, forms in visitor.records(day.since)
            for event in forms
        ]
        told += [
            _form(event, {**event, "is_bot": bool(event.get("is_bot"))}, visits.text(event["received"]))
            for event in day.events
            if event["type"] == "form_submit" and not event.get("visitor") and event["received"] >= day.since
        ]
        yield day.page(told)


def _form(event: visits.Event, visit: Record, version: str) -> Record:
    own = {name: event.get(name) for name in ("id", "form_id", "form_name", "capture_type", "page", "email")}
    of_visit = {name: visit.get(name) for name in ("session_id", "is_bot", *visits.TOLD[1:])}
    return {**own, "submitted_at": visits.text(event["occurred"]), "updated_at": version, "visit": of_visit}


def read_product(client: Collector, account: Account, window: Window) -> Iterator[Page]:
    for day in _days(client, window):
        yield day.page([
            {name: event.get(name) for name in ("id", "name", "user", "email", "account", "domain")}
            | {"occurred_at": visits.text(event["occurred"]), "updated_at": visits.text(event["received"])}
            for event in day.events
            if event["type"] == "product_event" and event["received"] >= day.since
        ])  # fmt: skip


def connect(config: Config) -> Collector:
    base = settings.base_url("collector", "http://127.0.0.1:8780")
    auth = StaticToken(settings.secret("COLLECTOR_TOKEN"))
    options = config.sources["collector"].options
    own = tuple(options.get("own_hosts", "").lower().split())
    return Collector(Session(base, classify=classify, auth=auth), config.zone, own)


def accounts(client: Collector, config: Config) -> Accounts:
    return choose([Account(SITE, "what the collector receives")], config.sources["collector"].accounts,
                  "sources.collector.accounts")  # fmt: skip


def probe(client: Collector, config: Config) -> list[Finding]:
    """Whether it can be read, and whether something came in the last day."""
    until = datetime.now(UTC) - timedelta(seconds=10)
    day = Window(until.date(), until.date() + timedelta(days=1), until - timedelta(days=1), until)
    asked = {"since": visits.text(day.since), "until": visits.text(until), "limit": 1}
    calls = {"events": partial(client.session.get, "events", asked)}
    fix = "is `b2b collect` running there, with the same COLLECTOR_TOKEN?"
    found = [*readable("Collector", calls, fix)]
    if all(finding.ok for finding in found) and not client.session.get("events", asked).rows("events"):
        what = "Collector: no event was received in the last day"
        found.append(Finding(True, what, "see docs/collector.md for what the site has to send", warning=True))
    return found


# What is being written when it is read has been stamped before: it is on the disk within seconds, or is given up.
_RECEIVED = WindowPolicy(settle=timedelta(minutes=2), max_days=31)

SOURCE = Source(
    name="collector",
    title="Collector",
    kind="web",
    api_version="1",
    streams=(
        Stream(
            "visit", "changes", "Visits to the site, made of the events of each visitor who consented.", read_visits,
            day="updated_at", policy=_RECEIVED, page_size=5000, personal=("email",),
            feeds={"web_session": sessions},
        ),
        Stream(
            "form", "changes", "Forms that were sent, with the visit in which they were.", read_forms,
            day="updated_at", policy=_RECEIVED, page_size=5000, personal=("email",), feeds={"form_event": forms},
            states={"form_event": lambda config: ("session_id",)},
        ),
        Stream(
            "product", "changes", "Events of users in the product, as its server tells them.", read_product,
            day="updated_at", policy=_RECEIVED, page_size=5000, personal=("email", "user"),
            feeds={"product_event": rows.product_events},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={"COLLECTOR_TOKEN": "made by you (`openssl rand -hex 32`); `b2b collect` has the same one"},
)  # fmt: skip
