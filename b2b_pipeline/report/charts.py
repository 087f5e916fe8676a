"""The report's pictures: Altair, rendered to inline SVG. No script, no network; colours are the page's own variables."""

from __future__ import annotations

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

import altair as alt
from markupsafe import Markup

from b2b_pipeline.metrics.query import Answer
from b2b_pipeline.report import words
from b2b_pipeline.report.facts import FUNNEL, Compared, Facts, Split

WIDTH, HEIGHT = 320, 150
NOW, BEFORE = "var(--now)", "var(--before)"
_ROOT = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>')


def daily(facts: Facts, metric: str, currency: str) -> Markup:
    """Bars, of a ratio a line: both periods after each other; incomplete days pale."""
    answers = facts.days[metric]
    rows = [
        {
            "day": answer.keys["date"].isoformat(),
            "value": _number(answer),
            "period": "now" if answer.keys["date"] >= facts.period.start else "before",
            "opacity": 1 if answer.complete else 0.4,
        }
        for answer in answers
    ]  # fmt: skip
    ticks = [day.isoformat() for day in (facts.period.before.start, facts.period.start, facts.period.end)]
    axis = alt.Axis(
        values=ticks, labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelAngle=0, labelFlush=True, labelOverlap=False,
    )  # fmt: skip
    chart = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("day:O", axis=axis, title=None, scale=alt.Scale(paddingInner=0.25)),
        y=_amounts(),
        color=_periods(),
        opacity=alt.Opacity("opacity:Q", scale=None, legend=None),
    )
    ratio = bool(answers and answers[0].metric.denominator)
    drawn = chart.mark_line(strokeWidth=1.75, point=alt.OverlayMarkDef(size=9, filled=True)) if ratio else chart.mark_bar()
    if ratio:
        drawn = drawn.encode(opacity=alt.Undefined)
    return _svg(drawn.properties(width=WIDTH, height=HEIGHT), _described(facts.numbers[metric], "per day", currency))


def running_total(facts: Facts, metric: str, currency: str) -> Markup:
    """How far the period had come by each of its days, against the one before."""
    days, total, rows = facts.period.days, 0.0, []
    for position, answer in enumerate(facts.days[metric]):
        total = (0.0 if position == days else total) + (_number(answer) or 0.0)
        rows.append({"day": position % days + 1, "value": total, "period": "now" if position >= days else "before"})
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=2, interpolate="step-after")
        .encode(
            x=alt.X("day:Q", title=None, scale=alt.Scale(domain=[1, max(days, 2)], nice=False), axis=alt.Axis(
                values=sorted({1, (days + 1) // 2, days}), labelExpr="'Day ' + datum.value", labelFlush=True, format="d", grid=False)),
            y=_amounts(),
            color=_periods(),
        )
    )  # fmt: skip
    return _svg(chart.properties(width=WIDTH, height=HEIGHT), _described(facts.numbers[metric], "running total", currency))


def funnel(numbers: dict[str, Compared], currency: str) -> Markup:
    """A bar per stage with its count and its rate; a tick where the period before stood."""
    rows, told = [], []
    for count, rate, _ in FUNNEL:
        pair, label = numbers[count], words.LABELS[count]
        text = words.shown(pair.now, currency)
        if rate:
            text += f"  ({words.shown(numbers[rate].now, currency)} of {words.LABELS[rows[-1]['metric']]})"
        rows.append({"metric": count, "stage": label, "now": _number(pair.now), "before": _number(pair.before), "text": text})
        told.append(f"{label} {text}")
    base = alt.Chart(alt.Data(values=rows)).encode(y=alt.Y("stage:N", sort=None, title=None, axis=alt.Axis(labelFontSize=12)))
    largest = max(1.0, *(float(row[side] or 0) for row in rows for side in ("now", "before")))
    x = alt.X("now:Q", axis=None, scale=alt.Scale(domain=[0, largest * 1.45], nice=False))
    bars = base.mark_bar(color=NOW, size=20, cornerRadiusEnd=2).encode(x=x)
    ticks = base.mark_tick(color="var(--ink)", thickness=1.5, size=26).encode(x="before:Q")
    text = base.mark_text(align="left", dx=6, color="var(--ink)", fontSize=12).encode(x="edge:Q", text="text:N")
    text = text.transform_calculate(edge="max(datum.now, datum.before)")
    return _svg((bars + ticks + text).properties(width=WIDTH, height=alt.Step(34)), "Funnel: " + ", ".join(told))


def attribution(channels: Sequence[Split], currency: str) -> Markup:
    """Bookings of each channel that has any, by first and by last touch."""
    touches = {"revenue_first_touch": "First touch", "revenue_last_touch": "Last touch"}
    rows = [
        {"channel": words.name(row.key), "touch": touch, "value": _number(row.answers[metric])}
        for row in channels
        for metric, touch in touches.items()
        if metric in row.answers
    ]
    if not rows:
        return Markup("")
    order = sorted({str(row["channel"]) for row in rows}, key=lambda c: -sum(row["value"] or 0 for row in rows if row["channel"] == c))
    chart = (
        alt.Chart(alt.Data(values=rows))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            y=alt.Y("channel:N", sort=order, title=None, scale=alt.Scale(paddingInner=0.3), axis=alt.Axis(labelFontSize=12, labelLimit=140)),
            yOffset=alt.YOffset("touch:N", sort=list(touches.values())),
            x=alt.X("value:Q", title=None, axis=alt.Axis(format="~s", tickCount=4)),
            color=_colours("touch", list(touches.values()), ["var(--first)", NOW]),
        )
    )  # fmt: skip
    told = (f"{row['channel']} {str(row['touch']).lower()} {row['value']:,.0f} {currency}" for row in rows)
    return _svg(chart.properties(width=WIDTH - 60, height=alt.Step(13)), "Bookings by channel: " + ", ".join(told))


def _amounts() -> alt.Y:
    return alt.Y("value:Q", title=None, axis=alt.Axis(format="~s", tickCount=4))


def _periods() -> alt.Color:
    return _colours("period", ["before", "now"], [BEFORE, NOW])


def _colours(field: str, domain: list[str], colours: list[str]) -> alt.Color:
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=domain, range=colours), legend=None)


def _number(answer: Answer) -> float | None:
    return None if answer.value is None else float(answer.value)


def _described(pair: Compared, what: str, currency: str) -> str:
    return (
        f"{words.LABELS[pair.now.metric.name]}, {what}: {words.shown(pair.now, currency)} in the period, "
        f"{words.shown(pair.before, currency)} in the one before. The numbers are in the table below."
    )


def _svg(chart: Any, description: str) -> Markup:
    """Inline SVG that scales with the page, takes its colours and says what it shows."""
    styled = chart.configure(aria=False, background="transparent", padding=2).configure_view(stroke=None).configure_axis(
        labelColor="var(--quiet)", labelFontSize=11, gridColor="var(--line)", domainColor="var(--line)", tickColor="var(--line)",
        domain=False, ticks=False, labelPadding=6,
    )  # fmt: skip
    drawn = StringIO()
    styled.save(drawn, format="svg")
    opening = Markup('<svg role="img" aria-label="{}" viewBox="{}">')
    body = drawn.getvalue()
    root = _ROOT.search(body)
    assert root is not None
    return opening.format(description, root[1]) + Markup(body[root.end() :])  # noqa: S704 - Vega escapes what it writes
