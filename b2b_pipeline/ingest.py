"""From a vendor to landing: one stream of one source, all its accounts in turn, each a slice of its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from b2b_pipeline.config import Config
from b2b_pipeline.connectors.base import Account, Source, Stream, Window
from b2b_pipeline.errors import PermanentError, PipelineError, SplitError
from b2b_pipeline.landing import Landing, Slice


@dataclass
class IngestReport:
    """What was landed. `rows` counts records by day; `failed` names the accounts that failed, with the error."""

    slices: list[Slice] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    failed: dict[str, PipelineError] = field(default_factory=dict)


def ingest(
    source: Source,
    stream: Stream,
    client: Any,
    accounts: list[Account],
    start: date,
    end: date,
    *,
    config: Config,
    landing: Landing,
    run_id: str,
    now: datetime | None = None,
) -> IngestReport:
    """Land days `[start, end)` of a stream, widened by its policy. An account that fails does not stop the others."""
    now = now or datetime.now(UTC)
    report = IngestReport()
    for account in accounts:
        try:
            window = widen(source, stream, client, account, start, end, config=config, landing=landing, now=now)
            waiting = deque(chunks(window, stream.policy.max_days, config.zone))
            while waiting:
                part = waiting.popleft()
                try:
                    landed = landing.write(
                        source.name, stream, account, part, stream.fetch(client, account, part),
                        zone=config.zone, api_version=source.api_version, run_id=run_id,
                        provisional_days=provisional(stream, account, part, now),
                    )  # fmt: skip
                except SplitError:
                    if part.end - part.start <= timedelta(days=1):
                        raise
                    waiting.extendleft(reversed(list(chunks(part, (part.end - part.start).days // 2, config.zone))))
                    continue
                report.slices.append(landed)
                report.rows.update({day: count for day, (count, _) in landed.days.items()})
        except PipelineError as error:
            report.failed[account.id] = error
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            # The message of such an error may quote personal data; the name of a missing field does not.
            what = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else type(error).__name__
            report.failed[account.id] = PermanentError(
                f"{source.name}/{stream.name}: an answer is not of the documented shape ({what})"
            )
            report.failed[account.id].__cause__ = error
    return report


def widen(
    source: Source,
    stream: Stream,
    client: Any,
    account: Account,
    start: date,
    end: date,
    *,
    config: Config,
    landing: Landing,
    now: datetime,
) -> Window:
    """The window that is really read: trailing days that the vendor may have restated, overlap, and never past now.

    A gap that an outage left right before the window is read too, so that a source heals itself when it returns.
    """
    policy = stream.policy
    if stream.kind == "report":
        today = now.astimezone(ZoneInfo(account.time_zone) if account.time_zone else config.zone).date()
        restate = policy.restate_days
        if source.restate_days is not None:
            restate = max(restate, source.restate_days(client, account))
        if (today - end).days <= restate:
            start = max(min(start, today - timedelta(days=restate)), min(start, config.start_date))
        start -= policy.overlap
        return Window.of_days(start, end, config.zone)
    window = Window.of_days(start, end, config.zone)
    since, until = window.since, min(window.until, now - policy.settle)
    read = [datetime.fromisoformat(item.until) for item in landing.slices(source.name, stream.name, account.id)]
    if stream.kind == "changes" and read and max(read) < since:
        since = max(read)
        start = since.astimezone(config.zone).date()
    return Window(start, end, since - policy.overlap, until)


def provisional(stream: Stream, account: Account, window: Window, now: datetime) -> list[str]:
    """Days of an ad report that are not yet over where the account is."""
    if stream.kind != "report" or not account.time_zone:
        return []
    today = now.astimezone(ZoneInfo(account.time_zone)).date()
    return [day.isoformat() for day in window.days() if day >= today]


def chunks(window: Window, max_days: int, zone: ZoneInfo) -> Iterator[Window]:
    """The window in pieces of at most `max_days`; its overlap stays at the first, its settle lag at the last."""
    start = window.start
    while start < window.end:
        end = min(start + timedelta(days=max_days), window.end)
        whole = Window.of_days(start, end, zone)
        since = window.since if start == window.start else whole.since
        yield Window(start, end, since, window.until if end == window.end else min(whole.until, window.until))
        start = end
