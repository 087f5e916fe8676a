"""Whether every day of a KPI is there that should be: decided in one place, by `stale_days`.

The check `freshness` asks it every hour; the sensor `tell_state_changes` every minute, and gives the check its result
as soon as it is another. Dagster's freshness policy cannot ask it: it sees when something was computed last, and not of
which day. It has the same deadline, and is made the weaker of the two: what it calls stale the check calls stale.
"""

from collections.abc import Collection, Iterator
from datetime import date, datetime, timedelta

import dagster as dg

from b2b_pipeline.configuration.config import Config

FRESHNESS = "freshness"  # the check, and the job of its own that it is asked in
READY_HOUR = 8  # in the reporting time zone: by then yesterday must be there
ABOUT = f"Yesterday is there from {READY_HOUR}:00, and every day before it."
ABOUT_POLICY = (
    f"The check `{FRESHNESS}` says whether every day is there. The freshness policy only says that something was "
    f"computed in the night before {READY_HOUR}:00, be it of another day."
)


def expected_day(now: datetime) -> date:
    """The newest day that must be there at `now` (in the reporting time zone)."""
    return now.date() - timedelta(days=1 if now.hour >= READY_HOUR else 2)


def missing_days(there: Collection[str], expected: date) -> list[str]:
    """The ISO days that are not there, from the first one that is to the expected one."""
    first = date.fromisoformat(min(there)) if there else expected
    days = (date.fromordinal(n).isoformat() for n in range(first.toordinal(), expected.toordinal() + 1))
    return [day for day in days if day not in there]


def stale_days(there: Collection[str], config: Config, now: datetime) -> list[str]:
    """The ISO days that must be there at `now` (in the reporting time zone) and are not; none before the history."""
    expected = expected_day(now)
    return missing_days(there, expected) if expected >= config.start_date else []


def freshness_result(key: dg.AssetKey, there: Collection[str], config: Config, now: datetime) -> dg.AssetCheckResult:
    missing = stale_days(there, config, now)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name=FRESHNESS,
        passed=not missing,
        metadata={
            "expected": expected_day(now).isoformat(),
            "newest": max(there, default="none"),
            "missing": ", ".join(spans([date.fromisoformat(day) for day in missing])) or "none",
        },
    )


def freshness_policy(config: Config) -> dg.FreshnessPolicy:
    """Computed since the midnight before the deadline, when a day is over; an hour more, for clocks put back."""
    return dg.FreshnessPolicy.cron(
        deadline_cron=f"0 {READY_HOUR} * * *",
        lower_bound_delta=timedelta(hours=READY_HOUR + 1),
        timezone=config.timezone,
    )


def spans(days: Collection[date]) -> Iterator[str]:
    """`2026-01-01 to 2026-01-03`, newest first."""
    last = None
    for day in sorted(days, reverse=True):
        last = last or day
        if day - timedelta(days=1) not in days:
            yield f"{day} to {last}" if day < last else f"{day}"
            last = None
