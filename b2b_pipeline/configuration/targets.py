"""Targets: what a metric is to be in a month, quarter or year. Which metrics there are, metrics/targets.py knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

_PERIOD = r"(\d{4})(?:-(?:Q([1-4])|(0[1-9]|1[0-2])))?"
Amount = Annotated[Decimal, Field(max_digits=30)]


class Period(NamedTuple):
    """A month, a quarter or a year, by its first day."""

    grain: Literal["month", "quarter", "year"]
    first: date

    @classmethod
    def of(cls, text: str) -> Period | None:
        """`2026-03`, `2026-Q1`, `2026`; None of anything else."""
        found = re.fullmatch(_PERIOD, text)
        if not found or not int(found[1]):
            return None
        year, quarter, month = (int(part) if part else None for part in found.groups())
        grain: Literal["month", "quarter", "year"] = "month" if month else "quarter" if quarter else "year"
        return cls(grain, date(year or 1, month or (3 * quarter - 2 if quarter else 1), 1))

    def __str__(self) -> str:
        match self.grain:
            case "month":
                return f"{self.first:%Y-%m}"
            case "quarter":
                return f"{self.first:%Y}-Q{(self.first.month + 2) // 3}"
        return f"{self.first:%Y}"


class Target(BaseModel):
    """What one metric is to be, period by period: of everything, or of what is so `where`.

        targets:
          - {metric: leads, values: {2026-01: 120, 2026-02: 130, 2026-Q2: 420, 2026: 1700}}
          - {metric: bookings, where: {channel: paid_search}, values: {2026-Q1: 90000}}

    In the metric's own unit: money in the reporting currency, rates as fractions (0.25 is 25 %).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    metric: str = Field(description="the name of a metric, as `b2b kpi --list` has it")
    where: dict[str, str] = {}
    values: dict[str, Amount] = Field(
        description="of a month (2026-01), a quarter (2026-Q1) or a year (2026)",
        json_schema_extra={"propertyNames": {"pattern": f"^{_PERIOD}$"}},
    )

    @property
    def periods(self) -> dict[Period, Decimal]:
        return {period: value for name, value in self.values.items() if (period := Period.of(name))}

    def complaints(self) -> Iterator[tuple[tuple[str, str], str]]:
        """Where in it, and what is wrong."""
        for name in self.values:
            if Period.of(name) is None:
                yield ("values", name), "expected a month such as 2026-01, a quarter such as 2026-Q1, or a year"
