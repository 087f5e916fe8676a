"""What a vendor tells of now alone, and of no day: it is dated to the day that has just ended."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from b2b_pipeline.connectors.base import Window

LATE = timedelta(hours=6)  # after the end of a day, what is told is not what was there then


def just_ended(window: Window, vendor: str) -> tuple[str, dict[str, str]]:
    """The last day of a window, if it ended within six hours, else "", and the other days, with why nothing can be
    known of them any more: `Page.doubts`, by which an earlier read of such a day stands."""
    in_time = timedelta(0) <= datetime.now(UTC) - window.until <= LATE
    day = window.end - timedelta(days=1) if in_time else None
    doubt = f"{vendor} tells of now alone, and nobody asked when the day had just ended"
    return str(day or ""), {str(each): doubt for each in window.days() if each != day}
