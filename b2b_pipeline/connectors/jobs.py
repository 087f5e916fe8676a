"""Reports that a vendor makes ready while we wait: ordered, looked at with growing pauses, then downloaded.

A vendor counts each order, and some bill it. So the id of a job is kept on disk until it is downloaded or gone: who was
killed, or lost patience, finds the same job again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from b2b_pipeline.configuration.settings import home
from b2b_pipeline.connectors.base import Page
from b2b_pipeline.errors import PipelineError, SkippedError, TransientError
from b2b_pipeline.privacy import write_private

DEADLINE = 3600.0  # seconds that one read waits for a job
FIRST_PAUSE, GROWTH, LONGEST_PAUSE = 1.0, 1.5, 30.0  # seconds, and by how much each pause is longer than the last
FRESH = timedelta(hours=6)  # a night. What an older job found is not what the vendor says now
FORGOTTEN = timedelta(days=7)  # nobody comes back for an id that was kept so long


@dataclass(frozen=True)
class Running:
    """Not ready yet."""


@dataclass(frozen=True)
class Done:
    """Ready. `rows` and `url`: how many there are and where, if the vendor says."""

    rows: int | None = None
    url: str = ""


@dataclass(frozen=True)
class Failed:
    """It will give nothing. `error` holds the vendor's reason, and is a SplitError where half of it may succeed."""

    error: PipelineError


@dataclass(frozen=True)
class Gone:
    """The vendor knows no such job, any more."""


State = Running | Done | Failed | Gone


@dataclass(frozen=True)
class Kept:
    """Where the id of a running job is kept: a private file for each question.

    `over`: when what is asked for was over. A job from before that has not seen all of it, and is not taken up.
    """

    path: Path
    over: datetime

    @classmethod
    def of(cls, source: str, question: Any, over: datetime) -> Kept:
        """`question` is all that an answer hangs on, in JSON: the account, the version, what is asked for."""
        digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()[:32]
        return cls(home() / "jobs" / source / f"{digest}.json", over)

    def id(self) -> str:
        """That of a job which may be taken up; else nothing."""
        try:
            kept = json.loads(self.path.read_text(encoding="utf-8"))
            submitted = datetime.fromisoformat(kept["submitted"])
        except (FileNotFoundError, ValueError, LookupError):  # none, or not one that we wrote
            return ""
        is_fresh = timedelta(0) <= datetime.now(UTC) - submitted < FRESH and submitted >= self.over
        return str(kept["id"]) if is_fresh else ""

    def keep(self, identifier: str, submitted: datetime) -> None:
        folder = self.path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_private(self.path, json.dumps({"id": identifier, "submitted": submitted.isoformat()}))
        for path in folder.glob("*.json"):
            if path != self.path and path.stat().st_mtime < (submitted - FORGOTTEN).timestamp():
                path.unlink(missing_ok=True)

    def forget(self) -> None:
        self.path.unlink(missing_ok=True)


@dataclass(frozen=True)
class Job:
    """One report of a vendor. Its functions may raise whatever asking the vendor raises; the id then stays kept.

    what: as errors call it: the vendor, and what it makes.
    submit: orders it; returns the id that the vendor gives it.
    poll: how it is.
    download: its pages, once it is done.
    """

    what: str
    submit: Callable[[], str]
    poll: Callable[[str], State]
    download: Callable[[str, Done], Iterator[Page]]


def read(
    job: Job, kept: Kept | None = None, *, deadline: float = DEADLINE, sleep: Callable[[float], None] = time.sleep
) -> Iterator[Page]:
    """The pages of a job: of the one that is kept for this question, else of a new one.

    Without `kept` it is always a new one. Raises TransientError when it is not done by the deadline, and when the rows
    are not as many as announced; the error of a job that failed.
    """
    identifier, done = _finished(job, kept, deadline, sleep)
    found = 0
    try:
        for page in job.download(identifier, done):
            found += len(page.records)
            yield page
    except SkippedError as error:
        _forget(kept)
        raise TransientError(f"{job.what} {identifier}: gone while it was read ({error})") from None
    _forget(kept)
    if done.rows is not None and found != done.rows:
        raise TransientError(f"{job.what} {identifier}: it processed {done.rows} rows, {found} received")


def _finished(job: Job, kept: Kept | None, deadline: float, sleep: Callable[[float], None]) -> tuple[str, Done]:
    """The id of a job that is done, and what it says."""
    identifier, waited, pause = kept.id() if kept else "", 0.0, FIRST_PAUSE
    is_new = not identifier
    while True:
        if not identifier:
            identifier, is_new = _submitted(job, kept), True
        match job.poll(identifier):
            case Done() as done:
                return identifier, done
            case Failed(error):
                _forget(kept)
                raise error
            case Gone():
                _forget(kept)
                if is_new:
                    raise TransientError(f"{job.what} {identifier}: gone before it was done")
                identifier = ""
                continue
        if waited >= deadline:
            raise TransientError(
                f"{job.what} {identifier}: not complete after {deadline:.0f} s, the next read goes on waiting"
            )
        sleep(pause)
        waited, pause = waited + pause, min(pause * GROWTH, LONGEST_PAUSE)


def _submitted(job: Job, kept: Kept | None) -> str:
    """The id of a new job. Its moment is that before it: what happens while it is ordered may be missing."""
    now = datetime.now(UTC)
    identifier = job.submit()
    if kept:
        kept.keep(identifier, now)
    return identifier


def _forget(kept: Kept | None) -> None:
    if kept:
        kept.forget()
