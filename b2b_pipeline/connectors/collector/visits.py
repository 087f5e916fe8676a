"""Events become visits, by docs/semantics.md: what belongs together follows from the events alone.

A visit is named by the first of its events. What comes late may bring an earlier first one, join two visits, or part
one: then what was told before is told again, with a later version, and a visit that is none any more as deleted. To
know that, three days before the window are looked at: an event is at most a day late, and a visit at most a day long.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from b2b_pipeline.connectors.base import Record
from b2b_pipeline.connectors.site_visits import same_site

PAUSE = timedelta(minutes=30)  # without any event, after which a new visit begins
LATE, EARLY = timedelta(days=1), timedelta(minutes=5)  # of a client's clock against ours, to be believed
LONGEST = timedelta(days=1)  # whoever goes on for longer is no person, and is cut at midnight UTC
BACK = timedelta(days=3)
MANY = 1000  # events of a visit that no person makes
TOLD = ("page", "referrer", "utm_source", "utm_medium", "utm_campaign", "utm_content", "utm_term", "click_id")
PAGES = ("page_view", "key_event", "form_submit")  # what a visit's facts are taken of, before anything else

Event = dict[str, Any]


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


def known(events: Iterable[Event]) -> list[Event]:
    """Each event once, as it was first received, with the time `occurred`: the client's, where that can be."""
    found: dict[str, Event] = {}
    for event in events:
        if event["id"] not in found:
            received = instant(event["received_at"])
            at = instant(event["at"]) if event.get("at") else received
            trusted = event.get("via") == "server" and event["type"] == "product_event"
            is_likely = at <= received + EARLY and (trusted or at >= received - LATE)
            found[event["id"]] = {**event, "occurred": at if is_likely else received, "received": received}
    return [*found.values()]


class Visitor:
    """All that is known of one, in the order in which it happened."""

    def __init__(self, events: Iterable[Event], own: Collection[str]) -> None:
        by_receipt = sorted(events, key=lambda each: (each["received"], each["id"]))
        self.version = by_receipt[-1]["received"]
        self.events = sorted(by_receipt, key=lambda each: (each["occurred"], each["received"], each["id"]))
        self._own = own
        newest, self._is_unsorted = by_receipt[0]["occurred"], False
        for event in by_receipt:
            self._is_unsorted |= event["occurred"] < newest
            newest = max(newest, event["occurred"])

    def visits(self) -> Iterator[tuple[list[Event], bool]]:
        """The events of each visit, and whether they are of a machine by their number."""
        for chain in _parted(self.events, lambda before, event: event["occurred"] - before["occurred"] > PAUSE):
            is_long = chain[-1]["occurred"] - chain[0]["occurred"] > LONGEST
            self._is_unsorted |= is_long
            pieces = _parted(chain, lambda a, b: b["occurred"].date() != a["occurred"].date()) if is_long else [chain]
            for piece in pieces:
                for visit in self._by_source(piece):
                    yield visit, is_long or len(visit) > MANY

    def _by_source(self, events: Sequence[Event]) -> Iterator[list[Event]]:
        """Who comes again from somewhere else begins another visit; on from one page of ours to the next, none."""
        visit: list[Event] = []
        source: tuple[Any, ...] | None = None
        viewed = False
        for event in events:
            came = self.source(event)
            if viewed and came and came != source:
                yield visit
                visit, source, viewed = [], None, False
            visit.append(event)
            source, viewed = source or came, viewed or event["type"] == "page_view"
        yield visit

    def source(self, event: Event) -> tuple[Any, ...] | None:
        if event["type"] != "page_view":
            return None
        campaign = tuple(event.get(name) for name in ("utm_source", "utm_medium", "utm_campaign", "click_id"))
        if any(campaign):
            return campaign
        return (event["referrer"],) if event.get("referrer") and not self.is_own(event) else None

    def is_own(self, event: Event) -> bool:
        """Whether what led there is the site itself, or another one of ours."""
        referrer: str = event.get("referrer") or ""
        hosts = filter(None, (*self._own, event.get("host")))
        return bool(referrer) and any(same_site(referrer, host) for host in hosts)

    def records(self, since: datetime) -> Iterator[tuple[Record, list[Event]]]:
        """What is to be told of the visits that an event received from `since` on may have changed, with the forms."""
        first = since - LATE - LONGEST - PAUSE
        heads = set()
        for visit, is_machine in self.visits():
            heads.add(visit[0]["id"])
            if visit[0]["occurred"] >= first:
                yield self._record(visit, is_machine), [each for each in visit if each["type"] == "form_submit"]
        for event in self.events if self._is_unsorted else ():
            if event["id"] not in heads and event["occurred"] >= first:
                yield self._identity(event) | {"is_deleted": True, "started_at": text(event["occurred"])}, []

    def _identity(self, first: Event) -> Record:
        name = hashlib.sha256(f"{first['visitor']} {first['id']}".encode()).hexdigest()[:32]
        return {"session_id": name, "visitor": first["visitor"], "updated_at": text(self.version)}

    def _record(self, visit: Sequence[Event], is_machine: bool) -> Record:
        landing = next((event for kind in (PAGES[:1], PAGES) for event in visit if event["type"] in kind), visit[0])
        emails = {event["email"] for event in visit if event.get("email")}
        told = {name: landing.get(name) for name in TOLD}
        if self.is_own(landing):
            told["referrer"] = None
        return {
            **self._identity(visit[0]), "is_deleted": False, "started_at": text(visit[0]["occurred"]),
            "pageviews": sum(event["type"] == "page_view" for event in visit),
            "key_events": sum(event["type"] in ("key_event", "form_submit") for event in visit),
            "engaged_ms": sum(event.get("engaged_ms") or 0 for event in visit),
            **told, "country": visit[0].get("country"), "device": visit[0].get("device"),
            "is_bot": is_machine or any(event.get("is_bot") for event in visit),
            "email": emails.pop() if len(emails) == 1 else None,  # of two who share a browser nobody knows whose it was
        }  # fmt: skip


def text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _parted(events: Sequence[Event], is_new: Any) -> Iterator[list[Event]]:
    part: list[Event] = []
    for event in events:
        if part and is_new(part[-1], event):
            yield part
            part = []
        part.append(event)
    if part:
        yield part


def by_visitor(events: Iterable[Event]) -> dict[str, list[Event]]:
    found: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        if event.get("visitor") and event["type"] != "product_event":
            found[event["visitor"]].append(event)
    return found
