"""Listings of REST APIs, and what `b2b doctor` asks of each: what differs from vendor to vendor is data."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import partial, reduce
from typing import TYPE_CHECKING, Any

from b2b_pipeline.connectors.base import Finding, Page, Record, Source, Stream, Window
from b2b_pipeline.connectors.http import Answer, Session, follow, place
from b2b_pipeline.errors import PipelineError, TransientError

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import Config


@dataclass(frozen=True)
class Listing:
    """How a vendor lists records, page by page.

    rows: the member of an answer that holds them. cursor: dotted path of the next page's cursor, null on the last one,
    or absent; parameter: how it is sent. size: records of a full page, where the cursor is absent only on a page that
    is not full. more: dotted path of what is there only before the last page, where the cursor always is; asked: what
    else every page is asked with. total: dotted path of how many records all pages have, where an answer says so.
    """

    rows: str
    cursor: str
    size: int | None = None
    more: str = ""
    parameter: str = "cursor"
    asked: Mapping[str, Any] = field(default_factory=dict)
    total: str = ""

    def pages(self, session: Session, path: str, **query: Any) -> Iterator[Page]:
        """Every page. Raises TransientError for one that has no records' member, for a cursor that repeats, for a full
        page that does not say whether another one follows, and where fewer records come than the last one says."""
        asked, received = {**self.asked, **query}, 0
        for answer in follow(lambda at: session.get(path, {**asked, self.parameter: at}), self._next):
            found = answer.rows(self.rows)
            received += len(found)
            yield Page(found, answer.request)
            if self.total and not self._next(answer):
                announced = _at(answer, self.total)[1]
                if isinstance(announced, int) and received < announced:
                    where = place(answer.response)
                    raise TransientError(f"{where}: {received} records came, {announced} were announced")

    def records(self, session: Session, path: str, **query: Any) -> Iterator[Record]:
        for page in self.pages(session, path, **query):
            yield from page.records

    def _next(self, answer: Answer) -> str | None:
        if self.more and _at(answer, self.more)[1] is None:
            return None
        node, cursor = _at(answer, self.cursor)
        if self.more and not cursor:
            raise TransientError(f"{place(answer.response)}: there is a next page, but no {self.cursor!r}")
        name = self.cursor.rpartition(".")[2]
        if self.size and name not in node and len(answer.rows(self.rows)) >= self.size:
            raise TransientError(f"{place(answer.response)}: a full page without {self.cursor!r}")
        return str(cursor) if cursor else None


@dataclass(frozen=True)
class Offsets:
    """How a vendor lists records from a number on: until there are none, for a short page need not be the last.

    rows: the member of an answer that holds them. size: records that a page is asked for; start, count: how it is told.
    """

    rows: str
    size: int
    start: str
    count: str

    def records(self, session: Session, path: str, **query: Any) -> Iterator[Record]:
        """Raises TransientError for a page that is the one before once more."""
        at, before = 0, None
        while found := session.get(path, {**query, self.start: at, self.count: self.size}).rows(self.rows):
            if found == before:
                raise TransientError(f"{path}: the page from {at} on is the one before it")
            yield from found
            at, before = at + len(found), found


@dataclass(frozen=True)
class Numbered:
    """How a vendor lists records by the number of a page, and says how many there are.

    rows, total: dotted paths of a page's records and of the number of all. key: the member by which records differ: no
    two may have the same, for pages of what is not sorted may overlap, and then leave others out. size: records that a
    page is asked for; page, count: how it is told.
    """

    rows: str
    total: str
    key: str
    size: int
    page: str = "page"
    count: str = "page_size"

    def pages(self, session: Session, path: str, **query: Any) -> Iterator[Page]:
        """Every page. Raises TransientError for a record that comes twice, and where not as many come as there are."""
        keys: set[str] = set()
        received, number = 0, 1
        while True:
            answer = session.get(path, {**query, self.page: number, self.count: self.size})
            found, total = _at(answer, self.rows)[1], _at(answer, self.total)[1]
            if not isinstance(found, list) or not isinstance(total, int):
                raise TransientError(f"{place(answer.response)}: an answer without {self.rows!r} or {self.total!r}")
            for record in found:
                if (key := json.dumps(record.get(self.key), sort_keys=True)) in keys and key != "null":
                    raise TransientError(f"{place(answer.response)}: page {number} has a record of a page before it")
                keys.add(key)
            yield Page(found, answer.request)
            received += len(found)
            if received >= total or not found:
                break
            number += 1
        if received != total:
            raise TransientError(f"{place(answer.response)}: {received} records came, {total} were announced")


def _at(answer: Answer, path: str) -> tuple[dict[str, Any], Any]:
    """The object that holds what is at a dotted path, and that, if it is there."""
    *parents, name = path.split(".")
    node = reduce(_member, parents, answer.json())
    return node, node.get(name)


def _member(node: Any, name: str) -> dict[str, Any]:
    found = node.get(name) if isinstance(node, dict) else None
    return found if isinstance(found, dict) else {}


def picked(record: Mapping[str, Any], names: str) -> Record:
    """Some members of a record; what people have written, and what is about them, stays out."""
    return {name: record[name] for name in names.split() if name in record}


def beginning(config: Config) -> float:
    """When the first day begins that counts, in epoch seconds."""
    return datetime.combine(config.start_date, time(), config.zone).timestamp()


def iso_text(seconds: float) -> str:
    """Epoch seconds as the ISO text that dates a record."""
    return datetime.fromtimestamp(int(seconds), UTC).isoformat()


def readable(title: str, calls: Mapping[str, Callable[[], object]], fix: str) -> Iterator[Finding]:
    """A finding per stream: whether a small call of it is answered. `fix`: what to do where it is refused."""
    for stream, call in calls.items():
        try:
            call()
        except PipelineError as error:
            yield Finding(False, f"{title} {stream}: {error}", error.fix or fix)
        else:
            yield Finding(True, f"{title} {stream} is readable")


def absent_fields(source: Source, config: Config, has: Callable[[str], bool], fix: str) -> Iterator[Finding]:
    """Fields that the configuration names and that are nowhere."""
    try:
        for name, own in config.sources[source.name].fields.items():
            if own and not has(own):
                what = f"{source.title} has no field of the name in sources.{source.name}.fields.{name}"
                yield Finding(False, what, fix)
    except PipelineError as error:
        yield Finding(False, f"{source.title}: {error}", error.fix or "let the user read which fields there are")


def wrong_stages(title: str, config: Config, source: str, statuses: Collection[str]) -> Iterator[Finding]:
    """What is wrong with `stages` of a source, whose leads can have these statuses."""
    given, there = config.stages.of(source), ", ".join(statuses)
    if not given:
        what = f"{title}: no status of a lead is a stage: who became MQL is unknown"
        yield Finding(True, what, f"say which of {there} are under stages.{source}", warning=True)
    for status in (each for each in given if each not in statuses):
        yield Finding(False, f"stages.{source}: no lead can have the status {status!r}", f"use one of {there}")


def probe_accounts(source: Source, client: Any, config: Config, fix: str) -> list[Finding]:
    """For sources of many accounts and no custom fields: the accounts that are reached, and a look at each stream of
    each. `fix`: what to do where there is none, or something is refused."""
    where = f"sources.{source.name}.fields"
    found = [
        Finding(False, f"{where}.{name}: {source.title} has no custom fields", f"remove {name}")
        for name in config.sources[source.name].fields
    ]
    try:
        reached = source.accounts(client, config)
    except PipelineError as error:
        return [*found, Finding(False, f"{source.title}: {error}", error.fix or fix)]
    if not reached.read:
        found.append(Finding(False, f"{source.title}: no account is reached", fix))
    today = datetime.now(UTC).date()
    yesterday = Window.of_days(today - timedelta(days=1), today, config.zone)
    for account in reached.read:
        on = source.switched_on(config)
        calls = {stream.name: partial(_look, stream, client, account, yesterday) for stream in on}
        money = f" ({account.currency})" if account.currency else ""
        label = f"{source.title} {source.version(config)}, account {account.id}{money}"
        found += readable(label, calls, fix)
        if source.restate_days is not None:
            with suppress(PipelineError):
                found.append(Finding(True, f"{label}: re-reads {source.restate_days(client, account)} days"))
    return found


def _look(stream: Stream, *asked: Any) -> None:
    """All of it: of what is left in the middle, a job for instance, something would stay."""
    for _ in stream.fetch(*asked):
        pass
