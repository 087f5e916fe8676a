"""What pulls had to leave out, and since when: `<landing>/skipped/<source>/<stream>.json`, beside the slices.

A vendor tells that an account is closed, but not since when: what counts is the day on which a pull first saw it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Skipped
from b2b_pipeline.connectors.registry import SOURCES

NEVER_READ = "was never read to its end"  # until it is; then nothing of it is kept
FIRST_ZONE = timedelta(hours=14)  # ahead of UTC: where a day begins before it does anywhere else


@dataclass(frozen=True)
class Absence:
    """An account that no pull could read, seen so from `since` to `seen` (ISO days); `over` once it was read again."""

    account: str
    reason: str
    closed: bool
    since: str
    seen: str
    over: bool = False

    def explains(self, day: date) -> bool:
        """Whether the vendor says that the account was closed all day: after it was first seen so, before the last."""
        return self.closed and self.since < day.isoformat() < self.seen

    def __str__(self) -> str:
        advice = "; if it is closed for good, give its last day under `ended`" if self.closed else ""
        return f"{self.account}: {self.reason}, since {self.since}{advice}"


def absences(root: Path, source: str, stream: str) -> list[Absence]:
    """All that was noted of a stream below the landing folder `root`, oldest first of each account."""
    path = _path(root, source, stream)
    return [Absence(**item) for item in json.loads(path.read_text(encoding="utf-8"))] if path.is_file() else []


def still_absent(root: Path, source: str, config: Config, stream: str | None = None) -> list[Absence]:
    """Accounts that the last pull of a stream (of any) could not read, without those whose end is configured."""
    streams = [stream] if stream else [item.name for item in SOURCES[source].switched_on(config)]
    found = [item for name in streams for item in absences(root, source, name)]
    return [item for item in found if not item.over and config.last_day(source, item.account) is None]


def note_absences(
    root: Path, source: str, stream: str, skipped: Sequence[Skipped], read: Collection[str], now: datetime, today: date
) -> None:
    """Keep what a pull at `now`, which is `today` in the reporting time zone, had to leave out, and what it read."""
    before, after = absences(root, source, stream), []
    told = {item.account: item for item in skipped}
    for item in before:
        again = None if item.over else told.get(item.account)
        if again and again.closed is item.closed:
            item = replace(item, reason=again.reason, seen=max(item.seen, today.isoformat()))
            del told[item.account]
        elif again or item.account in read:
            if item.reason == NEVER_READ:
                continue
            item = replace(item, over=True)
        after.append(item)
    since = (now.astimezone(UTC) + FIRST_ZONE).date().isoformat()
    after += [Absence(item.account, item.reason, item.closed, since, today.isoformat()) for item in told.values()]
    if after != before:
        path = _path(root, source, stream)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        temporary.write_text(json.dumps([asdict(item) for item in after], ensure_ascii=False), encoding="utf-8")
        os.replace(temporary, path)


def _path(root: Path, source: str, stream: str) -> Path:
    return root / "skipped" / source / f"{stream}.json"
