"""ECB-like reference rates: units of a currency per euro, on business days, published at 16:00 in Frankfurt."""

from __future__ import annotations

import math
from datetime import date, datetime, time
from decimal import Decimal
from zoneinfo import ZoneInfo

from b2b_sandbox.generate_base import Plan, Rows

LEVELS = {"USD": "1.1612", "GBP": "0.86985", "CHF": "0.9352", "PLN": "4.2613", "SEK": "10.9815"}


def write_day(plan: Plan, day: date, rows: Rows) -> None:
    """A slow swing around the level with a little noise; no fixing on weekends, 1 January and 25 December."""
    if day.weekday() >= 5 or (day.month, day.day) in {(1, 1), (12, 25)}:
        return
    rng = plan.rng(day, "fx")
    published = datetime.combine(day, time(16), ZoneInfo("Europe/Berlin"))
    visible = int(published.timestamp()) * 1000
    for number, (currency, level) in enumerate(LEVELS.items()):
        days = day.toordinal() + 40 * number
        swing = 0.03 * math.sin(days / 58) + 0.012 * math.sin(days / 17 + number) + rng.gauss(0, 0.0015)
        rate = round(Decimal(level) * Decimal(round(1 + swing, 6)), len(level.partition(".")[2]))
        rows["fx_rate"].append((day.isoformat(), currency, str(rate), visible))
