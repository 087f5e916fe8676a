"""The report's pictures: Altair, rendered to inline SVG. No script, no network; colours are the page's own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

import altair as alt
import pandas as pd
from markupsafe import Markup

from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.compare import Compared
from b2b_pipeline.report import words
from b2b_pipeline.report.facts import FUNNEL, Facts, Split

WIDTH, HEIGHT = 320, 150  # readable on a phone; a wide page puts several side by side
NOW, BEFORE, INK, QUIET, LINE = (f"var(--{name})" for name in ("now", "before", "ink", "quiet", "line"))
PALE = 0.4
_AXIS = {
    "labelColor": QUIET,
    "labelFontSize": 11,
    "labelPadding": 6,
    "gridColor": LINE,
    "domain": False,
    "ticks": False,
}
_ROOT = re.compile(r'<svg [^>]*?viewBox="([^"]+)"[^>]*>')


def daily(facts: Facts, metric: str, currency: str) -> Markup:
    """Both periods after each other, a bar per day, incomplete ones pale; of a ratio a line."""
    rows = [
        {
            "day": answer.keys["date"].isoformat(),
            "value": _number(answer),
            "period": "now" if answer.keys["date"] >= facts.period.start else "before",
            "opacity": 1.0 if answer.complete else PALE,
        }
        for answer in facts.days[metric]
    ]
    marked = [day.isoformat() for day in (facts.period.before.start, facts.period.start, facts.period.end)]
    axis = alt.Axis(values=marked, labelExpr="utcFormat(toDate(datum.value), '%-d %b')", labelAngle=0, labelFlush=True)
    chart = alt.Chart(pd.DataFrame(rows)).encode(
        x=alt.X("day:O", axis=axis, title=None, scale=alt.Scale(paddingInner=0.25)), y=_amounts(), color=_periods()
    )
    if facts.numbers[metric].now.metric.denominator:
        drawn = chart.mark_line(strokeWidth=1.75, point=alt.OverlayMarkDef(size=9))
    else:
        drawn = chart.mark_bar().encode(opacity=alt.Opacity("opacity:Q", scale=None))
    return _svg(drawn.properties(width=WIDTH, height=HEIGHT), _told(facts.numbers[metric], "per day", currency))


def running_total(facts: Facts, metric: str, currency: str) -> Markup:
    """How far the period had come by each of its days, against the one before."""
    length, total, rows = facts.period.days, 0.0, []
    for position, answer in enumerate(facts.days[metric]):
        total = (_number(answer) or 0.0) + (total if position != length else 0.0)
        rows.append({"day": position % length + 1, "value": total, "period": "now" if position >= length else "before"})
    marked = sorted({1, (length + 1) // 2, length})
    axis = alt.Axis(values=marked, labelExpr="'Day ' + datum.value", labelFlush=True, grid=False)
    scale = alt.Scale(domain=[1, max(length, 2)], nice=False)
    chart = alt.Chart(pd.DataFrame(rows)).mark_line(strokeWidth=2)
    chart = chart.encode(x=alt.X("day:Q", title=None, scale=scale, axis=axis), y=_amounts(), color=_periods())
    told = _told(facts.numbers[metric], "running total", currency)
    return _svg(chart.properties(width=WIDTH, height=HEIGHT), told)


def funnel(numbers: Mapping[str, Compared], currency: str) -> Markup:
    """A bar per stage with its count and its rate from the stage above; a tick where the period before stood."""
    rows: list[dict[str, Any]] = []
    for count, rate, _ in FUNNEL:
        now, before = (_number(answer) or 0.0 for answer in (numbers[count].now, numbers[count].before))
        text = words.shown(numbers[count].now, currency)
        text += f" · {words.shown(numbers[rate].now, currency)}" if rate else ""
        rows.append({"stage": words.LABELS[count], "now": now, "before": before, "end": max(now, before), "text": text})
    room = alt.Scale(domain=[0, max(1.0, *(row["end"] for row in rows)) * 1.35], nice=False)
    base = alt.Chart(pd.DataFrame(rows)).encode(y=_names("stage", [row["stage"] for row in rows]))
    bars = base.mark_bar(color=NOW, size=20).encode(x=alt.X("now:Q", axis=None, scale=room))
    ticks = base.mark_tick(color=INK, thickness=1.5, size=26).encode(x="before:Q")
    text = base.mark_text(align="left", dx=7, color=INK, fontSize=12).encode(x="end:Q", text="text:N")
    told = "Funnel: " + ", ".join(f"{row['stage']} {row['text']}" for row in rows)
    return _svg((bars + ticks + text).properties(width=WIDTH - 70, height=alt.Step(34)), told)


def by_channel(channels: Sequence[Split], series: Mapping[str, str], currency: str) -> Markup:
    """Bars of each channel that has any, one per metric of `series` (metric -> its name); empty when there are none."""
    rows: list[dict[str, Any]] = [
        {
            "channel": words.channel(row.key),
            "series": label,
            "value": float(value),
            "text": words.shown(answer, currency),
        }
        for row in channels
        for metric, label in series.items()
        if (answer := row.answers.get(metric)) and (value := answer.value)
    ]
    if not rows:
        return Markup()
    frame, labels = pd.DataFrame(rows), list(series.values())
    order = frame.groupby("channel")["value"].max().sort_values(ascending=False, kind="stable").index.tolist()
    colours = [NOW] if len(labels) == 1 else ["var(--first)", NOW]
    chart = alt.Chart(frame).mark_bar()
    chart = chart.encode(
        y=_names("channel", order),
        yOffset=alt.YOffset("series:N", sort=labels),
        x=alt.X("value:Q", title=None, axis=alt.Axis(format="~s", tickCount=4)),
        color=_colours("series", labels, colours),
    )
    told = "By channel: " + ", ".join(f"{row['channel']} {row['series']} {row['text']}" for row in rows)
    return _svg(chart.properties(width=WIDTH - 90, height=alt.Step(20 if len(labels) == 1 else 13)), told)


def _amounts() -> alt.Y:
    return alt.Y("value:Q", title=None, axis=alt.Axis(format="~s", tickCount=4))


def _names(field: str, order: list[str]) -> alt.Y:
    axis = alt.Axis(labelFontSize=12, labelLimit=130, minExtent=100)
    return alt.Y(f"{field}:N", sort=order, title=None, axis=axis, scale=alt.Scale(paddingInner=0.3))


def _periods() -> alt.Color:
    return _colours("period", ["before", "now"], [BEFORE, NOW])


def _colours(field: str, domain: list[str], colours: list[str]) -> alt.Color:
    return alt.Color(f"{field}:N", scale=alt.Scale(domain=domain, range=colours), legend=None)


def _number(answer: Answer) -> float | None:
    return None if answer.value is None else float(answer.value)


def _told(pair: Compared, what: str, currency: str) -> str:
    return (
        f"{words.LABELS[pair.now.metric.name]}, {what}: {words.shown(pair.now, currency)} in the period, "
        f"{words.shown(pair.before, currency)} in the one before. The numbers by day are in the table below."
    )


def _svg(chart: Any, description: str) -> Markup:
    """Inline SVG that scales with the page, takes its colours and says what it shows."""
    drawn = StringIO()
    chart = chart.configure(aria=False, background="transparent", padding=2).configure_view(stroke=None)
    chart.configure_axis(**_AXIS).save(drawn, format="svg")
    body = drawn.getvalue()
    root = _ROOT.search(body)
    if root is None:
        raise AssertionError("the renderer gave no SVG")
    opening = Markup('<svg role="img" aria-label="{}" viewBox="{}">').format(description, root[1])
    return opening + Markup(body[root.end() :])  # the renderer escapes text
