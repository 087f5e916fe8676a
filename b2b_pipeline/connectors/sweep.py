"""Sweeps: the ids of all records that a CRM still has, object by object; what is missing among them is gone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta

from b2b_pipeline.connectors.base import Page, WindowPolicy
from b2b_pipeline.errors import PermanentError, SkippedError

POLICY = WindowPolicy(every=timedelta(days=7), max_days=36_500)


def sweep(objects: Iterable[tuple[str, Iterable[list[str]]]]) -> Iterator[Page]:
    """A page per object (as in `record_present`), of all its ids: one that is not whole would make the rest gone.

    An object that the vendor refuses is not swept, which stops no other; `b2b doctor` says why. Raises what it said
    when it refuses them all, and whatever may pass.
    """
    refusals: list[PermanentError | SkippedError] = []
    is_swept = False
    for object_, pages in objects:
        swept_at = datetime.now(UTC).isoformat(timespec="seconds")  # before its list: what is made meanwhile is newer
        try:
            ids = [identifier for page in pages for identifier in page]
        except (PermanentError, SkippedError) as error:
            refusals.append(error)
            continue
        is_swept = True
        yield Page([{"object": object_, "id": identifier, "swept_at": swept_at} for identifier in ids])
    if refusals and not is_swept:
        raise refusals[0]
