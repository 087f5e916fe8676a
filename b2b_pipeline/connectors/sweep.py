"""Sweeps: the ids of all records that a CRM still has, object by object; what is missing among them is gone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

from b2b_pipeline.connectors.base import Page, WindowPolicy
from b2b_pipeline.errors import PermanentError, SkippedError

POLICY = WindowPolicy(every=timedelta(days=7), max_days=36_500)
SWEPT = "*"  # the id of the row that says that an object was swept, for it may have no record any more


def sweep(objects: Sequence[tuple[str, Callable[[], Iterator[list[str]]]]]) -> Iterator[Page]:
    """A page per object (as in `record_present`), of all its ids: one that is not whole would make the rest gone.

    An object that the vendor refuses from the first page on is not swept, which stops no other; `b2b doctor` says why.
    Raises what it said when it refuses them all, or refuses in the end what it had listed before; and whatever breaks a
    list off.
    """
    refusals: list[PermanentError | SkippedError] = []
    listed: Callable[[], Iterator[list[str]]] | None = None
    for object_, pages_of in objects:
        swept_at = datetime.now(UTC).isoformat(timespec="seconds")  # before its list: what is made meanwhile is newer
        pages = pages_of()
        try:
            ids = [SWEPT, *next(pages, [])]
        except (PermanentError, SkippedError) as error:
            refusals.append(error)
            continue
        ids += [identifier for page in pages for identifier in page]
        listed = pages_of
        yield Page([{"object": object_, "id": identifier, "swept_at": swept_at} for identifier in ids])
    if refusals:
        if listed is None:
            raise refusals[0]
        next(listed(), None)  # the credentials may have ended meanwhile: then it was not the object that was refused
