"""A slice's envelope: what was asked, when, and what came; how it is stored, and what is wrong with one."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.connectors.base import OF_NOW, Window

AHEAD = timedelta(minutes=10)  # by which clocks may differ
FAST = ": the clock was ahead"
_SEALED = re.compile(rb'(\{.*), "checksum": "([0-9a-f]{64})"\}', re.DOTALL)
_NOT_JOURNALLED = ("days", "same_as", "body", "doubts", "flaw")


@dataclass(frozen=True)
class Slice:
    """A slice's envelope. Days are ISO dates; `days` holds rows and content hash of each partition day, `doubts` why a
    day is not whole by what the vendor says."""

    slice_id: str
    source: str
    stream: str
    kind: str
    account: dict[str, Any]
    start: str
    end: str
    since: str
    until: str
    pulled_at: str
    api_version: str
    run_id: str
    pages: int
    records: int
    requests: str
    provisional_days: list[str] = field(default_factory=list)
    days: dict[str, list[Any]] = field(default_factory=dict)  # day -> [rows, sha256]
    same_as: dict[str, str] = field(default_factory=dict)  # day -> id of the slice that holds its records; "*" = all
    body: dict[str, Any] | None = None  # name, size, sha256; empty when there is none, None in earlier versions
    doubts: dict[str, str] = field(default_factory=dict)
    flaw: str = field(default="", compare=False)  # why it cannot be used; found when it is read, not stored

    @property
    def stored(self) -> int:
        """How many records its own body holds."""
        own = (rows for day, (rows, _) in self.days.items() if day not in self.same_as)
        return 0 if "*" in self.same_as else sum(own)

    @property
    def holder(self) -> str:
        """The slice that holds the records of a slice of changes, or of a snapshot."""
        return self.same_as.get("*", self.slice_id)

    @property
    def is_ahead(self) -> bool:
        """Whether it was pulled by a clock that was ahead: what its days were then is unknown."""
        return self.flaw.endswith(FAST)

    def with_flaw(self, flaw: str) -> Slice:
        return replace(self, flaw=flaw)

    def covers(self, day: str) -> bool:
        return self.start <= day < self.end and not self._says_nothing(day)

    def covered(self) -> Iterator[str]:
        """Every ISO day of the window, but for those of which it has no record, and only says that they are not whole:
        what an earlier slice has of them stands."""
        for ordinal in range(date.fromisoformat(self.start).toordinal(), date.fromisoformat(self.end).toordinal()):
            if not self._says_nothing(day := date.fromordinal(ordinal).isoformat()):
                yield day

    def _says_nothing(self, day: str) -> bool:
        return day in self.doubts and day not in self.days


def in_time(items: Sequence[Slice]) -> list[Slice]:
    """Slices of one stream, oldest first; those that were pulled later than now, or than one after them, with a flaw.

    So a clock that was ahead is told by what came after it too, when its time has come.
    """
    now = datetime.now(UTC)
    limit, found = now, []
    for item in reversed(items):
        pulled = datetime.fromisoformat(item.pulled_at)
        if pulled <= limit + AHEAD:
            found.append(item)
        else:
            when = "is still to come" if pulled > now + AHEAD else "is later than what came after it"
            found.append(
                item if item.flaw else item.with_flaw(f"it was pulled at {item.pulled_at[:16]} UTC, which {when}{FAST}")
            )
        if not item.flaw:
            limit = min(limit, pulled)
    return found[::-1]


def refusal(item: Slice) -> str:
    """What is wrong with a slice, and how to mend it."""
    last = min(date.fromisoformat(item.end) - timedelta(days=1), datetime.now(UTC).date() - timedelta(days=1))
    if item.source == FILES:  # of one whose envelope is gone its kind is not known
        fix = f"drop {item.account['id']} into the inbox again"
    elif item.start <= last.isoformat():
        fix = f"read it again: b2b backfill --again --source {item.source} --from {item.start} --to {last}"
    else:
        fix = "read its days when they are over"
    account = f" (account {item.account['id']})" if item.account["id"] else ""
    what = "is not used" if item.is_ahead else "is damaged"
    return f"slice {item.slice_id} of {item.source}/{item.stream}{account} {what}: {item.flaw}; {fix}"


def outdated(items: Sequence[Slice], bad: Collection[str]) -> set[str]:
    """Of the slices `bad` of one account, oldest first, those whose every word a newer one that is not bad replaces.

    Of a report that is every day, of a list the whole of it. Changes are replaced by reads of the same time: what was
    altered again meanwhile is in the slice of that later change.
    """
    past = set()
    for number, item in enumerate(items):
        if item.slice_id not in bad:
            continue
        newer = [other for other in items[number + 1 :] if other.holder not in bad]
        if item.kind == "report":
            told = {day for other in newer for day in other.covered() if other.same_as.get(day) not in bad}
            is_past = told.issuperset(item.covered())
        elif item.kind in (*OF_NOW, "collection"):
            is_past = bool(newer)
        else:
            is_past = _is_covered(item, newer)
        if is_past:
            past.add(item.slice_id)
    return past


def _is_covered(item: Slice, others: Iterable[Slice]) -> bool:
    reached, end = datetime.fromisoformat(item.since), datetime.fromisoformat(item.until)
    for since, until in sorted((datetime.fromisoformat(o.since), datetime.fromisoformat(o.until)) for o in others):
        if since <= reached < until:
            reached = until
    return reached >= end


def sealed(item: Slice) -> str:
    """An envelope as it is stored, its checksum behind it."""
    fields = {name: value for name, value in vars(item).items() if name != "flaw"}
    text = json.dumps(fields, ensure_ascii=False)[:-1]
    return f'{text}, "checksum": "{hashlib.sha256(text.encode()).hexdigest()}"}}'


def opened(path: Path, entry: dict[str, Any] | None) -> Slice:
    """Raises ValueError or TypeError when it is not what was stored; one of an earlier version is taken as it is."""
    content = path.read_bytes()
    if whole := _SEALED.fullmatch(content):
        text, checksum = whole.groups()
        if hashlib.sha256(text).hexdigest() != checksum.decode():
            raise ValueError("checksum")
        content = text + b"}"
    elif entry and hashlib.sha256(content).hexdigest() != entry["envelope"]:
        raise ValueError("not as entered")
    item = _of(json.loads(content))
    if item.slice_id != path.stem or (item.body is None) == bool(whole):
        raise ValueError("another slice's")
    return item


def journalled(item: Slice, stored: bytes) -> dict[str, Any]:
    """What the journal keeps of a slice: enough to tell what is missing once its envelope is gone."""
    fields = {name: value for name, value in vars(item).items() if name not in _NOT_JOURNALLED}
    return fields | {"envelope": hashlib.sha256(stored).hexdigest()}


def of_journal(entry: dict[str, Any], flaw: str) -> Slice:
    return replace(_of({name: value for name, value in entry.items() if name != "envelope"}), flaw=flaw)


def _of(stored: dict[str, Any]) -> Slice:
    """Earlier versions wrote `complete`, which was always true."""
    return Slice(**{name: value for name, value in stored.items() if name != "complete"})


def unknown(path: Path) -> dict[str, Any]:
    """Of an envelope that nothing but its place tells of: `with_windows` gives it what the account's others have."""
    day = date.min
    with suppress(ValueError):
        day = date.fromisoformat(path.stem[:8])
    window = Window.of_days(day, day + timedelta(days=1), ZoneInfo("UTC"))
    return {
        "slice_id": path.stem, "source": path.parts[-4], "stream": path.parts[-3], "kind": "",
        "account": {"id": path.parent.name}, "start": window.start.isoformat(), "end": window.end.isoformat(),
        "since": window.since.isoformat(), "until": window.until.isoformat(), "pulled_at": window.since.isoformat(),
        "api_version": "", "run_id": "", "pages": 0, "records": 0, "requests": "",
    }  # fmt: skip


def with_windows(items: Sequence[Slice]) -> Iterator[Slice]:
    """Slices of one folder; one of which the window is unknown may have held all that the others cover."""
    known = [item for item in items if item.kind]
    if not known or len(known) == len(items):
        yield from items
        return
    widest: dict[str, Any] = {
        "kind": known[0].kind,
        "account": known[0].account,
        "start": min(item.start for item in known),
        "end": max(item.end for item in known),
        "since": min(item.since for item in known),
        "until": max(item.until for item in known),
    }
    yield from (item if item.kind else replace(item, **widest) for item in items)


def number_of(slice_id: str) -> int:
    number = slice_id.partition("-")[0]
    return int(number) if number.isdigit() else 0
