"""Small pictures for asset pages: Dagster shows markdown inline only below 1,000 characters, so they are terse."""

import base64
from collections.abc import Sequence

LIMIT = 1000
_WIDTH, _HEIGHT = 180, 36


def sparkline(values: Sequence[float | None]) -> str:
    """The values as a line in an SVG data URI; gaps where a value is missing, empty when there is nothing to draw."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    scale = (_HEIGHT - 4) / (high - low) if high > low else 0.0
    step = _WIDTH / (len(values) - 1)
    pen, path = "M", ""
    for position, value in enumerate(values):
        if value is None:
            pen = "M"
            continue
        path += f"{pen}{position * step:.0f} {_HEIGHT - 2 - (value - low) * scale:.0f}"
        pen = "L"
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{_HEIGHT}">'
        f'<path d="{path}" fill="none" stroke="#4f43dd" stroke-width="2"/></svg>'
    )
    return f"![trend](data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()})"


def headline(value: str, change: str, values: Sequence[float | None], note: str = "") -> str:
    """Value, change and sparkline as markdown that shows without a click."""
    for width in (30, 20, 14, 7):
        text = f"**{value}** {change} {sparkline(values[-width:])}{note}".strip()
        if len(text) < LIMIT:
            return text
    return f"**{value}** {change}{note}"
