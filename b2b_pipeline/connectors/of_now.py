"""What a vendor tells of now alone, and of no day: it is dated to the day that has just ended."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from b2b_pipeline.connectors.base import Window

LATE = timedelta(hours=6)  # after the end of a day, what is told is not what was there then


def just_ended(window: Window, zone: ZoneInfo, vendor: str) -> tuple[str, dict[str, str]]:
    """The day of a window that ended within six hours in `zone`, "" without one, and its other days, with why nothing
    can be known of them any more: `Page.doubts`, by which an earlier read of such a day stands."""
    now = datetime.now(UTC)
    today = now.astimezone(zone).date()
    in_time = now - datetime.combine(today, time(), zone).astimezone(UTC) <= LATE
    day = today - timedelta(days=1) if in_time and today - timedelta(days=1) in window.days() else None
    doubt = f"{vendor} tells of now alone, and nobody asked when the day had just ended"
    return str(day or ""), {str(each): doubt for each in window.days() if each != day}
