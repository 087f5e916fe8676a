"""The report as one HTML page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from b2b_pipeline.config import Config
from b2b_pipeline.report import charts, facts, words
from b2b_pipeline.report.facts import Facts


def render(found: Facts, config: Config) -> str:
    """The page. Names from elsewhere are escaped; numbers are those of `found`, in `<data value=…>` as `b2b kpi` gives them."""
    environment = Environment(
        loader=PackageLoader("b2b_pipeline.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "shown": partial(words.shown, currency=config.currency), "change": words.change, "formula": words.formula,
        "worked": words.worked, "day": words.day, "span": words.span, "channel": words.name, "cut": words.cut,
    }  # fmt: skip
    style = files(__package__ or "").joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html").render(
        facts=found, config=config, spec=facts, labels=words.LABELS, sources=words.SOURCES,
        made_at=datetime.now(UTC).astimezone(config.zone), style=Markup(style), gaps=gaps(found),  # noqa: S704 - our own file
        daily={name: charts.daily(found, name, config.currency) for name in ("spend", "leads", "cost_per_lead")},
        totals={name: charts.running_total(found, name, config.currency) for name in ("pipeline", "bookings")},
        funnel=charts.funnel(found.numbers, config.currency),
        attribution=charts.attribution(found.channels, config.currency),
    )  # fmt: skip


def gaps(found: Facts) -> dict[str, list[str]]:
    """Why numbers are not complete -> the labels of the numbers that it concerns."""
    told: dict[str, dict[str, None]] = {}
    for name, pair in found.numbers.items():
        for answer, suffix in ((pair.now, ""), (pair.before, " (before)")):
            for reason in answer.reasons:
                told.setdefault(reason, {})[words.LABELS[name] + suffix] = None
    return {reason: list(labels) for reason, labels in told.items()}
