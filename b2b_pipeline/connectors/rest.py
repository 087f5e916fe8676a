"""Listings of REST APIs, and what `b2b doctor` asks of each: what differs from vendor to vendor is data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from b2b_pipeline.connectors.base import Finding, Page, Record
from b2b_pipeline.connectors.http import Answer, Session, follow
from b2b_pipeline.errors import PermanentError, SkippedError


@dataclass(frozen=True)
class Listing:
    """How a vendor lists records, page by page.

    rows: the member of an answer that holds them. cursor: dotted path of the next page's cursor, absent or null on the
    last one; parameter: how it is sent. asked: what every page is asked with, such as its size.
    """

    rows: str
    cursor: str
    parameter: str = "cursor"
    asked: Mapping[str, Any] = field(default_factory=dict)

    def pages(self, session: Session, path: str, **query: Any) -> Iterator[Page]:
        """Every page. Raises TransientError for one that has no records' member, and for a cursor that repeats."""
        asked = {**self.asked, **query}
        for answer in follow(lambda at: session.get(path, {**asked, self.parameter: at}), self._next):
            yield Page(answer.rows(self.rows), answer.request)

    def records(self, session: Session, path: str, **query: Any) -> Iterator[Record]:
        for page in self.pages(session, path, **query):
            yield from page.records

    def _next(self, answer: Answer) -> str | None:
        found = reduce(_member, self.cursor.split("."), answer.json())
        return None if found is None or found == "" else str(found)


def _member(node: Any, name: str) -> Any:
    return node.get(name) if isinstance(node, dict) else None


def readable(title: str, calls: Mapping[str, Callable[[], object]], fix: str) -> Iterator[Finding]:
    """A finding per stream: whether a small call of it is answered. `fix`: what to do where it is refused."""
    for stream, call in calls.items():
        try:
            call()
        except (PermanentError, SkippedError) as error:
            yield Finding(False, f"{title} {stream}: {error}", error.fix or fix)
        else:
            yield Finding(True, f"{title} {stream} is readable")
