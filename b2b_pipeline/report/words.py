"""How the report writes numbers, changes and names."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from b2b_pipeline.metrics.answer import Answer, is_money
from b2b_pipeline.metrics.compare import Compared
from b2b_pipeline.metrics.model import Terms
from b2b_pipeline.report.facts import Period

LABELS = {
    "spend": "Ad spend",
    "leads": "Leads",
    "cost_per_lead": "Cost per lead",
    "cost_per_lead_ads": "Ad cost per lead",
    "cac": "CAC",
    "pipeline": "Pipeline",
    "bookings": "Bookings",
    "win_rate": "Win rate",
    "roas": "ROAS",
    "mqls": "MQLs",
    "sqls": "SQLs",
    "opportunities": "Opportunities",
    "won": "Won",
    "revenue_first_touch": "Bookings, first touch",
    "revenue_last_touch": "Bookings, last touch",
    "lead_to_mql_rate": "Lead to MQL, cohort",
    "lead_to_mql_rate_period": "Lead to MQL, period",
    "mql_to_sql_rate": "MQL to SQL, cohort",
    "mql_to_sql_rate_period": "MQL to SQL, period",
    "sql_to_opportunity_rate": "SQL to opportunity, cohort",
    "sql_to_opportunity_rate_period": "SQL to opportunity, period",
    "opportunity_to_won_rate": "Opportunity to won, cohort",
    "opportunity_to_won_rate_period": "Opportunity to won, period",
    "email_sends": "Sent",
    "email_deliveries": "Delivered",
    "email_open_rate": "Open rate",
    "email_click_rate": "Click rate",
    "email_bounce_rate": "Bounce rate",
    "email_unsubscribe_rate": "Unsubscribe rate",
}
LOWER_IS_BETTER = frozenset(
    {"cost_per_lead", "cost_per_lead_ads", "cac", "email_bounce_rate", "email_unsubscribe_rate", "ticket_reopened_rate"}
    | {f"{time}_{which}" for time in ("first_response_time", "resolution_time") for which in ("median", "p90")}
)
NEITHER = frozenset({"spend", "email_sends", "email_deliveries"})
SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£"}
MINUS, NO_BREAK = "\u2212", "\u00a0"
LONGEST = 80  # characters of a name from elsewhere


@dataclass(frozen=True)
class Change:
    """`text` is signed; `tone` says whether that is good."""

    text: str
    tone: Literal["good", "bad", "flat"]


def shown(answer: Answer, currency: str) -> str:
    """A value as people read it; large amounts without cents. `n/a` where there is none."""
    value = answer.value
    if value is None:
        return "n/a"
    match answer.metric.unit:
        case "money":
            return money(value, currency, 1000 if answer.metric.denominator else 100)
        case "count":
            return f"{int(value):,}" if value.denominator == 1 else _fixed(value, 1)
        case "rate":
            return f"{_fixed(value * 100, 2 if 0 < abs(value) < Fraction(1, 100) else 1)}%"
        case "multiple":
            return f"{_fixed(value, 2)}x"
        case "seconds":
            return f"{_fixed(value, 0)} s"
        case "score":
            return _fixed(value, 1)
    return f"{_fixed(value, 1)} {answer.metric.unit}"


def money(value: Fraction, currency: str, whole_from: int) -> str:
    """Without cents from `whole_from` on, and for 0."""
    digits = 0 if abs(value) >= whole_from or not value else 2
    symbol = SYMBOLS.get(currency, currency + NO_BREAK)
    return f"{MINUS if value < 0 else ''}{symbol}{_fixed(abs(value), digits)}"


def change(pair: Compared) -> Change | None:
    """Relative, of rates in percentage points. None where there is nothing to compare with.

    What is not complete is neither better nor worse.
    """
    now, before, name = pair.now.value, pair.before.value, pair.now.metric.name
    unit = pair.now.metric.unit
    if now is None or before is None or (not before and unit not in ("rate", "score")):
        return None
    if unit == "rate":
        difference, told = (now - before) * 100, " pp"
        digits = 2 if abs(now) < Fraction(1, 100) else 1
    elif unit == "score":  # which may be below 0
        difference, told, digits = now - before, " points", 1
    else:
        difference, told, digits = (now - before) / abs(before) * 100, "%", 1
    text = _fixed(abs(difference), digits)
    if not float(text.replace(",", "")):
        return Change("no change", "flat")
    signed = f"{'+' if difference > 0 else MINUS}{text}{told}"
    if name in NEITHER or not (pair.now.complete and pair.before.complete):
        return Change(signed, "flat")
    return Change(signed, "good" if (difference > 0) != (name in LOWER_IS_BETTER) else "bad")


def formula(answer: Answer) -> str:
    """The formula, with what went into it."""
    return f"{answer.metric.formula}: {worked(answer)}"


def worked(answer: Answer) -> str:
    """`46,327.53 / 16`, or why there is no value."""
    if answer.why_null:
        return answer.why_null
    numerator = part(answer.numerator, answer.metric.numerator)
    if answer.denominator is None:
        return numerator
    return f"{numerator} / {part(answer.denominator, answer.metric.denominator)}"


def part(value: Fraction | None, terms: Terms) -> str:
    if value is None:
        return "not given"
    return _fixed(value, 2 if is_money(terms) else 0)


def day(value: date, *, year: bool = True) -> str:
    return f"{value.day} {value:%b %Y}" if year else f"{value.day} {value:%b}"


def span(period: Period) -> str:
    same_year = period.start.year == period.end.year
    return f"{day(period.start, year=not same_year)} \u2013 {day(period.end)}"


def channel(name: str | None) -> str:
    """A channel as people write it."""
    return "No channel" if name is None else cut(name.replace("_", " ").capitalize())


def cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _fixed(value: Fraction, digits: int) -> str:
    """Rounded half-even once, with thousands separators."""
    return f"{Decimal(round(value * 10**digits)).scaleb(-digits):,f}"
