"""What a source is: its streams, how each is read, and how its records become rows of the core tables.

Nothing here or in any connector knows Dagster. A connector module exports one `SOURCE`; the registry in
`connectors/__init__.py` lists it; assets, checks, jobs, schedules and docs follow from that.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal
from zoneinfo import ZoneInfo

from b2b_pipeline.connectors.warehouse.presets import provided
from b2b_pipeline.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd
    import requests

    from b2b_pipeline.configuration.config import Config, SourceConfig
    from b2b_pipeline.connectors.authorize import Login
    from b2b_pipeline.connectors.http import Outcome

Record = dict[str, Any]
Kind = Literal["report", "changes", "snapshot", "sweep", "collection"]
OF_NOW = ("snapshot", "sweep")  # kinds that have no days: the whole list, as it is when it is read
SUNSET_WARNING, SUNSET_FAILURE = timedelta(days=90), timedelta(days=30)  # before a version of an API ends
MERGED = ("changes", "sweep")  # kinds of which every slice counts


@dataclass(frozen=True)
class Window:
    """Half-open days `[start, end)` and the half-open instants `[since, until)` (UTC) that a stream is asked for."""

    start: date
    end: date
    since: datetime
    until: datetime

    @classmethod
    def of_days(cls, start: date, end: date, zone: ZoneInfo) -> Window:
        """The window of whole calendar days in `zone`."""
        if start >= end:
            raise ValueError(f"a window needs start < end, got {start} and {end}")

        def midnight(day: date) -> datetime:
            return datetime.combine(day, time(), zone).astimezone(UTC)

        return cls(start, end, midnight(start), midnight(end))

    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days)]


@dataclass(frozen=True)
class Page:
    """One page of raw records, in the vendor's own words. `request` is the request's fingerprint, without secrets.

    doubts: ISO day -> why it is not whole by what the vendor says: sampled, cut off, still being counted.
    """

    records: Sequence[Record]
    request: str = ""
    doubts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Account:
    """One account at a vendor. `time_zone` is set where the vendor reports days of its own."""

    id: str
    name: str = ""
    currency: str | None = None
    time_zone: str | None = None


@dataclass(frozen=True)
class Skipped:
    """An account that cannot be read, and why: a warning, never an error. `closed`: nothing happens in it any more."""

    account: str
    reason: str
    closed: bool = False


@dataclass(frozen=True)
class Accounts:
    """The accounts to read, and those that are left out."""

    read: Sequence[Account]
    skipped: Sequence[Skipped] = ()


def choose(
    found: Sequence[Account | Skipped], configured: Sequence[str], where: str, ended: Collection[str] = ()
) -> Accounts:
    """Of what a vendor lists, the configured accounts (all, when none is), without those that cannot be read.

    Raises ConfigError, which names `where` they are configured, for one that is not there at all and when none is left.
    Of those that have `ended` nothing is expected.
    """
    by_id = {item.id if isinstance(item, Account) else item.account: item for item in found}
    if missing := [account for account in configured if account not in by_id and account not in ended]:
        known = ", ".join(sorted(by_id)) or "there are none"
        raise ConfigError(f"{where}: {', '.join(missing)} not among the accounts that the credentials reach: {known}")
    chosen = [by_id[account] for account in configured or sorted(by_id) if account in by_id]
    read = [item for item in chosen if isinstance(item, Account)]
    skipped = [item for item in chosen if isinstance(item, Skipped)]
    if configured and not read and not ended:
        told = "; ".join(f"{item.account}: {item.reason}" for item in skipped)
        raise ConfigError(f"{where}: none of them can be read: {told}")
    return Accounts(read, skipped)


@dataclass(frozen=True)
class WindowPolicy:
    """How far a stream's window is widened, and cut.

    `overlap` reaches back before `since` (late commits, lagging indexes), `settle` keeps away from now, `restate_days`
    is for how many days after it a day may change: so many and one more are read again on every pull. `max_days` is the
    longest window one conversation may ask for. What has no days and is younger than `every` is not read again.
    `kept` is for how long the vendor keeps it, where that ends: what is older is never asked for, and stays a gap.
    `told` is the same of deletions, of which those before the source's first pull concern nobody.
    """

    overlap: timedelta = timedelta(0)
    settle: timedelta = timedelta(0)
    restate_days: int = 0
    max_days: int = 120
    every: timedelta = timedelta(0)
    kept: timedelta | None = None
    told: timedelta | None = None


@dataclass(frozen=True)
class MappingContext:
    """What a mapping may know beside the records."""

    config: Config
    source: str
    stream: str
    account: Account

    @property
    def settings(self) -> SourceConfig:
        return self.config.sources[self.source]

    def reads(self, stream: str) -> bool:
        """Whether another stream of the source is read."""
        settings = self.settings
        there = settings.warehouse is None or stream in provided(self.source, settings.warehouse.loader)
        return there and (not settings.streams or stream in settings.streams)

    @property
    def stages(self) -> Mapping[str, str]:
        """The source's own words -> our stages."""
        found: Mapping[str, str] = getattr(self.config.stages, self.source)
        return found

    def channels(self, words: str) -> Mapping[str, str]:
        """A table of the source's words -> channels: see its words.yaml."""
        found: Mapping[str, str] = getattr(self.config.channels, words)
        return found


# Raw records of one slice, one row each, nested keys joined by dots -> rows of a core table. The index tells which raw
# record a row came from (it may repeat). Cells may stay text: the table's contract types them and rejects what fails.
Mapping_ = Callable[["pd.DataFrame", MappingContext], "pd.DataFrame"]


@dataclass(frozen=True)
class Stream:
    """One stream of a source, landed as the asset `raw/<source>/<name>`.

    kind:
        `report`    rows by day; for each day the newest slice that covers it counts;
        `changes`   objects and events by modification; every slice counts, merged by (id, version);
        `snapshot`  the whole list, now; the newest slice counts;
        `sweep`     the ids of all that is there, now, object by object; of each object the newest slice that lists it
                    counts (`connectors/sweep.py`);
        `collection` lists that stand beside each other, each an account of its own; the newest slice of each counts,
                    and all that are there count together. So it is with files, and with no vendor (`files/source.py`).
    day: dotted path of the field that dates a record (ISO text or epoch milliseconds): its partition.
    page_size: records a page, for the forecast of a backfill.
    personal: dotted paths that are replaced by keyed hashes before anything reaches the disk. `*` matches any key.
    feeds: core table -> mapping.
    states: core table -> the facts that its rows may state (`core/given.py`), where these are not all that it can.
    asks: dotted paths of the fields that it asks the vendor for by name, or cannot do without.
    level: of a table with rows of several kinds, the only one that it gives: what it lacks concerns no other.
    to_date: its counts are all that there was until the end of a day, which is whole only with the day before.
    of_now: it tells of now alone (`connectors/of_now.py`): its days are ours, and not those of the account.
    by_name: it is read only where the configuration names it, for it takes a permission that few have.
    """

    name: str
    kind: Kind
    description: str
    fetch: Callable[[Any, Account, Window], Iterator[Page]]
    day: str
    policy: WindowPolicy = WindowPolicy()
    personal: tuple[str, ...] = ()
    feeds: Mapping[str, Mapping_] = field(default_factory=dict)
    page_size: int = 1000
    states: Mapping[str, Callable[[Config], Iterable[str]]] = field(default_factory=dict)
    asks: Callable[[Config], Iterable[str]] = lambda config: ()
    level: str = ""
    to_date: bool = False
    of_now: bool = False
    by_name: bool = False


@dataclass(frozen=True)
class Finding:
    """One line of `b2b doctor`. `fix` is the exact thing to do; empty when `ok`. A `warning` is ok, and has one."""

    ok: bool
    what: str
    fix: str = ""
    warning: bool = False


@dataclass(frozen=True)
class Control:
    """A stream whose `fields`, summed by account and day, must equal those of the stream `totals`.

    rounded: field -> how far the vendor's rounding may take each row, and the total, from what they are.
    """

    stream: str
    totals: str
    fields: tuple[str, ...]
    rounded: Mapping[str, Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """One vendor.

    connect: builds the authenticated client that `fetch`, `accounts` and `probe` receive; raises AuthError.
    accounts: the accounts to read, by the configuration or by asking the vendor.
    probe: the live checks of `b2b doctor`: one test call, scopes, custom fields, versions.
    classify: what an answer of the vendor means, whatever it is.
    environment: variable -> what it is and where it comes from; those in `optional` may be missing.
    daily_calls: requests a day that the vendor allows, where it says; by level of access where there are several, of
        which the configuration names one (`options.access`), else the first counts.
    versions: what else `options.api_version` may be, as a regular expression; empty where the version is fixed.
    sunset: the day on which `api_version` stops working, if announced.
    authorization: how `b2b connect` gets a token that lasts, where the vendor gives one out.
    restate_days: trailing days that may still change at an account by its own settings, where the vendor tells; they
        take the place of a report's `WindowPolicy.restate_days`.
    parallel: accounts that are read at once, each in a thread; `client` must bear that where it is more than one.
    click_id: what an ad platform puts into the links of its ads, and into no other: who comes by one came by its ads.
    """

    name: str
    title: str
    kind: Literal["ad", "crm", "fx", "email", "web", "intent", "event", "community", "support", "billing"]
    api_version: str
    streams: tuple[Stream, ...]
    connect: Callable[[Config], Any]
    accounts: Callable[[Any, Config], Accounts]
    probe: Callable[[Any, Config], list[Finding]]
    classify: Callable[[requests.Response], Outcome]
    environment: Mapping[str, str] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    sunset: date | None = None
    restate_days: Callable[[Any, Account], int] | None = None
    control: Control | None = None
    daily_calls: int | Mapping[str, int | None] | None = None
    authorization: Callable[[], Login] | None = None
    parallel: int = 1
    click_id: str = ""
    versions: str = ""

    def version(self, config: Config) -> str:
        """The version of the API that is asked. Raises ConfigError for one that is spelt wrong."""
        settings = config.sources.get(self.name)
        given = settings.options.get("api_version") if settings and self.versions else None
        if given is not None and not re.fullmatch(self.versions, given):
            where = f"sources.{self.name}.options.api_version"
            raise ConfigError(f"{where}: {given!r} is not a version such as {self.api_version}")
        return given or self.api_version

    def ends(self, config: Config) -> date | None:
        """The day on which that version stops working, if announced; of another than ours nothing is known."""
        return self.sunset if self.version(config) == self.api_version else None

    def stream(self, name: str) -> Stream:
        return next(stream for stream in self.streams if stream.name == name)

    def switched_on(self, config: Config) -> list[Stream]:
        """Its streams that are read: those that the configuration names, else all but those that are so `by_name`
        alone; of what a loader has landed those that it gives."""
        settings = config.sources[self.name]
        named, landed = settings.streams, settings.warehouse
        there = provided(self.name, landed.loader) if landed else {stream.name for stream in self.streams}
        asked = [stream for stream in self.streams if (stream.name in named if named else not stream.by_name)]
        return [stream for stream in asked if stream.name in there]
