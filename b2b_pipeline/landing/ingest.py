"""From a vendor to landing: one stream of one source, all its accounts, each in slices of its own."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from threading import Event
from typing import Any
from zoneinfo import ZoneInfo

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Accounts, Skipped, Source, Stream, Window
from b2b_pipeline.errors import PermanentError, PipelineError, SkippedError, SplitError
from b2b_pipeline.landing.absences import NEVER_READ, note_absences
from b2b_pipeline.landing.beside import beside, until
from b2b_pipeline.landing.collecting import seldom_collected
from b2b_pipeline.landing.store import Landing, Slice

DAY = timedelta(days=1)  # at what hour of its last day a vendor drops what it keeps for days, nobody says
# What Python says when an answer is not what the vendor documents.
MISSHAPEN = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class IngestReport:
    """What was landed. `rows` counts records by day; `failed` names the accounts that failed, with the error.

    `skipped` are accounts that cannot be read: a warning, with which the days are there all the same.
    """

    slices: list[Slice] = field(default_factory=list)
    rows: Counter[str] = field(default_factory=Counter)
    failed: dict[str, PipelineError] = field(default_factory=dict)
    skipped: list[Skipped] = field(default_factory=list)

    def add(self, other: IngestReport) -> None:
        self.slices += other.slices
        self.rows.update(other.rows)
        self.failed |= other.failed
        self.skipped += other.skipped


def ingest(
    source: Source,
    stream: Stream,
    client: Any,
    accounts: Accounts,
    start: date,
    end: date,
    *,
    config: Config,
    landing: Landing,
    run_id: str,
    before: Sequence[str] = (),
    early: bool = False,
    now: datetime | None = None,
) -> IngestReport:
    """Land days `[start, end)` of a stream, widened by its policy. An account that fails does not stop the others.

    Days after an account's configured end are not asked for. What this run, or one `before` it, landed is not asked for
    again. `early`: a snapshot is read although it is not its turn yet. As many accounts are read at once as the source
    says; the report is in their order.

    Of an account that failed, or that this process did not live to read, landing knows all the same: else nobody would
    miss its days.
    """
    now = now or datetime.now(UTC)
    today = now.astimezone(config.zone).date()
    if stream.of_now:
        accounts = replace(accounts, read=[replace(account, time_zone=None) for account in accounts.read])
    new = [account.id for account in accounts.read if not landing.slices(source.name, stream.name, account.id)]
    if new:
        never = [Skipped(account, NEVER_READ) for account in new]
        note_absences(landing.root, source.name, stream.name, never, (), now, today)
    report = IngestReport(skipped=_left_out(source, stream, accounts, start, config, landing))
    pull = _Pull(source, stream, client, start, end, config, landing, run_id, frozenset({run_id, *before}), early, now)
    with seldom_collected():
        for one in beside(accounts.read, pull.read, source.parallel):
            report.add(one)
    done = {item.account["id"] for item in report.slices}
    failed = [Skipped(account, str(error)) for account, error in report.failed.items()]
    note_absences(landing.root, source.name, stream.name, [*report.skipped, *failed], done, now, today)
    return report


@dataclass(frozen=True)
class _Pull:
    """What is the same for all accounts. What one of `runs` landed is not asked for again."""

    source: Source
    stream: Stream
    client: Any
    start: date
    end: date
    config: Config
    landing: Landing
    run_id: str
    runs: frozenset[str]
    early: bool
    now: datetime

    def read(self, account: Account, stop: Event) -> IngestReport:
        """What came of one account."""
        report = IngestReport()
        try:
            for landed in self._land(account, stop):
                report.slices.append(landed)
                report.rows.update({day: count for day, (count, _) in landed.days.items()})
        except SkippedError as error:
            report.skipped.append(Skipped(account.id, str(error), error.closed))
        except PipelineError as error:
            report.failed[account.id] = error
        except MISSHAPEN as error:
            what = f"{self.source.name}/{self.stream.name}: {misshapen(error)}"
            report.failed[account.id] = PermanentError(what)
            report.failed[account.id].__cause__ = error
        return report

    def _land(self, account: Account, stop: Event) -> Iterator[Slice]:
        """The account's slices: one for each piece that the vendor takes, halved where it is too large."""
        source, stream, landing, zone = self.source, self.stream, self.landing, self.config.zone
        last = self.config.last_day(source.name, account.id)
        start, end = self.start, min(self.end, last + timedelta(days=1)) if last else self.end
        if last and start >= end and self._still_changes(account, end):
            start = last
        slices = landing.slices(source.name, stream.name, account.id)
        if start >= end or (not self.early and _is_fresh(slices, stream, self.now)):
            return
        done = [item for item in slices if item.run_id in self.runs and not item.flaw]
        window = widen(
            source, stream, self.client, account, start, end,
            config=self.config, landing=landing, now=self.now,
        )  # fmt: skip
        waiting = deque(
            part for each in self._told(window, account) for part in chunks(each, stream.policy.max_days, zone)
        )
        while waiting:
            part = waiting.popleft()
            if landed := next((item for item in done if _covers(item, part)), None):
                yield landed
                continue
            try:
                yield landing.write(
                    source.name, stream, account, part, until(stop, stream.fetch(self.client, account, part)),
                    zone=zone, api_version=source.version(self.config), run_id=self.run_id,
                    provisional_days=provisional(stream, account, part, self.now),
                )  # fmt: skip
            except SplitError:
                if part.end - part.start <= timedelta(days=1):
                    raise
                waiting.extendleft(reversed(list(chunks(part, (part.end - part.start).days // 2, zone))))

    def _told(self, window: Window, account: Account) -> Iterator[Window]:
        """The window without what the vendor tells no more: an empty answer would close that gap. Raises PermanentError
        where it keeps nothing of it; of deletions those before the source's first pull concern nobody."""
        zone, source, policy = self.config.zone, self.source, self.stream.policy
        limit = policy.told if policy.kept is None else policy.kept
        oldest = window.since if limit is None else self.now - limit + DAY
        if window.since >= oldest:
            yield window
            return
        if policy.kept is not None:
            if window.until <= oldest:
                what = f"{source.title} keeps {self.stream.name} for {policy.kept.days} days"
                error = PermanentError(f"{what}: none of {window.start} is there any more")
                error.fix = f"read from a later day on: `b2b backfill --from {oldest.astimezone(zone).date() + DAY}`"
                raise error
        else:
            landed = (
                item for each in source.streams for item in self.landing.slices(source.name, each.name, account.id)
            )
            first = min((datetime.fromisoformat(item.pulled_at) for item in landed), default=self.now)
            if min(window.until, oldest) <= first:
                yield window
                return
            if window.since < first:
                yield Window(window.start, first.astimezone(zone).date() + DAY, window.since, first)
        if oldest < window.until:
            yield Window(oldest.astimezone(zone).date(), window.end, oldest, window.until)

    def _still_changes(self, account: Account, end: date) -> bool:
        """Whether the days of an account that ended, of which `end` is the first without it, may still be restated."""
        if self.stream.kind != "report":
            return False
        days = _restate_days(self.source, self.stream, self.client, account)
        return bool(days) and (_today(account, self.config, self.now) - end).days <= days


def _restate_days(source: Source, stream: Stream, client: Any, account: Account) -> int:
    own = source.restate_days(client, account) if source.restate_days is not None else 0
    return max(stream.policy.restate_days, own)


def _today(account: Account, config: Config, now: datetime) -> date:
    return now.astimezone(ZoneInfo(account.time_zone) if account.time_zone else config.zone).date()


def _is_fresh(slices: Sequence[Slice], stream: Stream, now: datetime) -> bool:
    """Whether a snapshot is not to be read again yet. An hour is forgiven: nights do not begin on the second."""
    pulled = [datetime.fromisoformat(item.pulled_at) for item in slices]
    return any(timedelta(0) <= now - at < stream.policy.every - timedelta(hours=1) for at in pulled)


def misshapen(error: Exception) -> str:
    """What a Python error in reading an answer means. Its message may quote personal data; a field's name does not."""
    what = f"{type(error).__name__} {error}" if isinstance(error, KeyError) else type(error).__name__
    return f"an answer is not of the documented shape ({what})"


def _left_out(
    source: Source, stream: Stream, accounts: Accounts, start: date, config: Config, landing: Landing
) -> list[Skipped]:
    """Accounts that cannot be read, and those that the credentials reached once; without those that have ended."""
    skipped = list(accounts.skipped)
    settings = config.sources.get(source.name)
    if settings is None or not settings.accounts:
        known = {account.id for account in accounts.read} | {item.account for item in skipped}
        once = {item.account["id"] for item in landing.slices(source.name, stream.name)}
        skipped += [Skipped(account, "not among the accounts any more") for account in sorted(once - known)]
    return [item for item in skipped if (config.last_day(source.name, item.account) or start) >= start]


def _covers(item: Slice, part: Window) -> bool:
    since, until = datetime.fromisoformat(item.since), datetime.fromisoformat(item.until)
    return since <= part.since and part.until <= until and item.start <= str(part.start) and str(part.end) <= item.end


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

    A gap that an outage left right before the window is read too, and of reports the days that could still change when
    they were last read, so that a source heals itself when it returns.
    """
    policy = stream.policy
    if stream.kind == "report":
        zone = ZoneInfo(account.time_zone) if account.time_zone else config.zone
        today, restate = _today(account, config, now), _restate_days(source, stream, client, account)
        if (today - end).days <= restate:
            # A day is settled when it is read more than `restate` days after it: on the last of them it still changes.
            before = _last_read(landing.slices(source.name, stream.name, account.id), restate, zone) or today
            changing = min(today - timedelta(days=restate + bool(restate)), before - timedelta(days=restate))
            start = max(min(start, changing), min(start, config.start_date))
        start -= policy.overlap
        return Window.of_days(start, end, config.zone)
    window = Window.of_days(start, end, config.zone)
    since, until = window.since, min(window.until, now - policy.settle)
    if stream.kind == "changes" and end == now.astimezone(config.zone).date():
        # A record that was changed again since midnight is found by that change alone: without it the day before, on
        # which it was made or changed too, would lack it. The next read asks for these hours once more.
        until = max(until, now - policy.settle)
    read = [
        datetime.fromisoformat(item.until)
        for item in landing.slices(source.name, stream.name, account.id)
        if not item.flaw
    ]
    if stream.kind == "changes" and read and max(read) < since:
        since = max(read)
        start = since.astimezone(config.zone).date()
    return Window(start, end, since - policy.overlap, until)


def _last_read(landed: list[Slice], restate: int, zone: ZoneInfo) -> date | None:
    """The day on which trailing days were last read: not that of a backfill of days long past."""
    pulls = (
        (datetime.fromisoformat(item.pulled_at).astimezone(zone).date(), date.fromisoformat(item.end))
        for item in landed
        if not item.flaw
    )
    return max((pulled for pulled, end in pulls if (pulled - end).days <= restate), default=None)


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
