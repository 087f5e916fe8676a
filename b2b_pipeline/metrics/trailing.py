"""A metric over the days up to a day, from the answers of those days: what `ask` says of the whole range."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction

from b2b_pipeline.config import Config
from b2b_pipeline.metrics.query import Answer, Counts, combine, without_value


def trailing(days: Mapping[date, Answer], day: date, length: int, config: Config) -> Answer:
    """The answer over the `length` days up to `day`. Components are added, and only then divided."""
    answers = [days[day - timedelta(days=n)] for n in range(length)]
    last, parts = answers[0], dict[str, Fraction | None]()
    for answer in answers:
        for name, value in answer.parts.items():
            before = parts.get(name)
            if before is None or value:  # most days of what is rare have nothing to add
                parts[name] = before if value is None else value + (before or 0)
    counts = dict[str, Counts]()
    for answer in answers:
        for name, found in answer.counts.items():
            before_it = counts.get(name)
            if before_it is None or found.rows:
                rows, values = before_it or (0, 0)
                counts[name] = Counts(rows + found.rows, values + found.values)
    missing = {name: why for name, why in last.missing.items() if all(name in answer.missing for answer in answers)}
    missing |= {name: without_value(name, counts[name]) for name, part in parts.items() if part is None}
    numerator, denominator = combine(last.metric, config, parts, missing)
    return replace(
        last, keys={}, numerator=numerator, denominator=denominator, why_null=next(iter(missing.values()), ""),
        reasons=tuple(dict.fromkeys(reason for answer in answers for reason in answer.reasons)),
        parts=parts, missing=missing, counts=counts,
    )  # fmt: skip
