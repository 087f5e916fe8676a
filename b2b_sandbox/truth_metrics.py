"""What a metric is to the truth: a sum of components, or the ratio of two."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Terms = Mapping[str, int]  # component -> coefficient


@dataclass(frozen=True)
class Metric:
    """Value = numerator / denominator, a plain sum without one. `margin`: the components to be multiplied by it."""

    unit: str  # money, count or rate
    numerator: Terms
    denominator: Terms | None = None
    margin: frozenset[str] = frozenset()
    needs_sales_costs: bool = False
    is_level: bool = False  # of all up to the end of the period
    is_distinct: bool = False
    within: int | None = None  # days that all who entered must have had
    is_resolved: bool = False  # those who have not had them are left out on both sides


def metric(unit: str, numerator: str, denominator: str | None = None, **more: Any) -> Metric:
    """`"1000*spend marketing_costs -sales_costs"` -> the terms of a sum."""

    def terms(text: str) -> Terms:
        found = {}
        for word in text.split():
            factor, _, name = word.rpartition("*")
            found[name.lstrip("-")] = int(factor or 1) * (-1 if name.startswith("-") else 1)
        return found

    return Metric(unit, terms(numerator), None if denominator is None else terms(denominator), **more)
