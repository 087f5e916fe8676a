"""What every part of the generator uses: the plan, clocks and ids, and records that become versions.

Everything that begins on a day (an account with its leads, an ad day, a mailing) is drawn whole from a generator
seeded by (seed, day, kind), its future included: rows of the future are written at once and stay hidden behind their
`visible_at`. So a day's rows never depend on when they were generated, or on how far.

Nothing happens between 00:00 and `CLOCK_HOUR` UTC, where the clock stands: what is visible at a clock never changes.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

SECOND, MINUTE, HOUR, DAY = 1_000, 60_000, 3_600_000, 86_400_000
CLOCK_HOUR = 6  # the days of all ad accounts (Berlin, New York) are over by then
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

Rows = defaultdict[str, list[tuple[Any, ...]]]  # table -> rows


@dataclass(frozen=True)
class Plan:
    """What a world is made from; with the same plan, every day comes out the same."""

    seed: int
    start: date
    leads_per_day: float
    rough: bool = False  # accounts as real ones are, see generate.py

    @property
    def org_zone(self) -> ZoneInfo:
        """Where Salesforce's dates without a time are days."""
        return ZoneInfo("America/Los_Angeles" if self.rough else "UTC")

    def rng(self, day: date, kind: str) -> random.Random:
        return random.Random(f"{self.seed}/{day.isoformat()}/{kind}")

    def index(self, day: date) -> int:
        """Days since the start."""
        return (day - self.start).days

    def is_every(self, day: date, days: int, first: int) -> bool:
        """Whether something that comes every so many days, first on day `first` of the world, comes on this one."""
        return self.index(day) >= first and (self.index(day) - first) % days == 0


def midnight(day: date) -> int:
    return (day - date(1970, 1, 1)).days * DAY


def day_of(at: int) -> date:
    return date(1970, 1, 1) + timedelta(milliseconds=at)


def day_in(zone: ZoneInfo, at: int) -> date:
    return datetime.fromtimestamp(at / 1000, zone).date()


def clock(until: date) -> int:
    """The clock of a world that ends with day `until`."""
    return midnight(until + timedelta(days=1)) + CLOCK_HOUR * HOUR


def awake(at: int) -> int:
    """The time itself, or the same time `CLOCK_HOUR` hours later when it is night."""
    return at if at % DAY >= CLOCK_HOUR * HOUR else at + CLOCK_HOUR * HOUR


def after(rng: random.Random, at: int, mean_days: float) -> int:
    """Some time later, by an exponential wait."""
    return awake(at + int(rng.expovariate(1 / mean_days) * DAY) + MINUTE)


def daytime(rng: random.Random, day: date) -> int:
    """A time of the day, most likely around noon."""
    return midnight(day) + int(rng.triangular(CLOCK_HOUR, 24, 13) * HOUR) - 1


def hubspot_time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


def salesforce_time(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")


def salesforce_id(prefix: str, number: int) -> str:
    """The 18 characters of a record id: key prefix, instance, number, and the checksum of the upper-case letters."""
    digits = ""
    while number:
        number, digit = divmod(number, 62)
        digits = BASE62[digit] + digits
    short = prefix + "Wx0" + digits.rjust(9, "0")
    suffix = "".join(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZ012345"[sum(1 << i for i, c in enumerate(short[k : k + 5]) if "A" <= c <= "Z")]
        for k in (0, 5, 10)
    )
    return short + suffix


def poisson(rng: random.Random, mean: float) -> int:
    """A count with this mean: Poisson below 30, its normal approximation above."""
    if mean > 30:
        return max(0, round(rng.gauss(mean, mean**0.5)))
    count, left = 0, rng.expovariate(1)
    while left < mean:
        count, left = count + 1, left + rng.expovariate(1)
    return count


Render = Callable[[dict[str, Any], int], dict[str, Any]]


def hubspot_properties(modified: str) -> Render:
    return lambda fields, at: {**fields, modified: hubspot_time(at)}


def salesforce_fields(fields: dict[str, Any], at: int) -> dict[str, Any]:
    return {**fields, "LastModifiedDate": salesforce_time(at), "SystemModstamp": salesforce_time(at)}


RENDER: dict[tuple[str, str], Render] = {
    ("hubspot", "contacts"): hubspot_properties("lastmodifieddate"),
    ("hubspot", "deals"): hubspot_properties("hs_lastmodifieddate"),
    ("hubspot", "companies"): hubspot_properties("hs_lastmodifieddate"),
    ("hubspot", "marketing_email"): lambda fields, at: {**fields, "updatedAt": hubspot_time(at)},
    ("hubspot", "owner"): lambda fields, at: {**fields, "updatedAt": hubspot_time(at)},
    # History rows never change and have no stamp but their CreatedDate.
    ("salesforce", "LeadHistory"): lambda fields, at: fields,
    ("salesforce", "OpportunityHistory"): lambda fields, at: {**fields, "SystemModstamp": salesforce_time(at)},
}


@dataclass
class Record:
    """A CRM record under way: what was set when, in any order; `write` turns it into versions."""

    vendor: str
    object: str
    id: str
    changes: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    history: list[tuple[int, str, str, str]] = field(default_factory=list)  # at, property, value, source type
    ends: tuple[int, str] | None = None  # when and how: "deleted" or "gone"

    def set(self, at: int, **fields: Any) -> None:
        self.changes.append((at, fields))

    def track(self, at: int, name: str, value: str, source: str) -> None:
        """Sets a property whose history the vendor keeps."""
        self.set(at, **{name: value})
        self.history.append((at, name, value, source))

    def end(self, at: int, how: str, **fields: Any) -> None:
        self.ends = (at, how)
        self.set(at, **fields)

    def write(self, rows: Rows, rng: random.Random) -> None:
        end, how = self.ends or (1 << 62, "")
        grain = SECOND if self.vendor == "salesforce" else 1
        at_once: dict[int, dict[str, Any]] = {}
        for at, fields in sorted(self.changes, key=lambda change: change[0]):
            if at <= end:
                at_once.setdefault(at - at % grain, {}).update(fields)
        state: dict[str, Any] = {}
        visible = 0
        render = RENDER.get((self.vendor, self.object), salesforce_fields)
        for version, (at, fields) in enumerate(at_once.items(), 1):
            state |= fields
            visible = max(visible, at + lag(self.vendor, rng))
            over = at >= end - end % grain
            payload = json.dumps(render(state, at), ensure_ascii=False, separators=(",", ":"))
            flags = (int(over and how == "deleted"), int(over and how == "gone"))
            key = (self.vendor, self.object, self.id, version)
            rows["record_version"].append((*key, at, visible, *flags, payload))
        seen: set[tuple[int, str]] = set()
        for at, name, value, source in self.history:
            if at <= end and (at, name) not in seen:
                seen.add((at, name))
                rows["property_history"].append(
                    (self.vendor, self.object, self.id, name, at, at + lag(self.vendor, rng), value, source)
                )


def lag(vendor: str, rng: random.Random) -> int:
    """How long a change stays unseen: HubSpot's index trails, a Salesforce transaction commits late now and then."""
    if vendor == "hubspot":
        return int(rng.random() ** 3 * MINUTE)
    return rng.randrange(5, 241) * SECOND if rng.random() < 0.04 else rng.randrange(2) * SECOND
