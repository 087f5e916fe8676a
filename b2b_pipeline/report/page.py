"""The report as one HTML page that needs nothing else: no script, no network, no other file."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.report import charts, facts, words
from b2b_pipeline.report.facts import Facts

DAILY, TOTALS = ("spend", "leads", "cost_per_lead"), ("pipeline", "won", "bookings")  # how each is drawn
TOUCHES = {"revenue_first_touch": "first touch", "revenue_last_touch": "last touch"}


def render(found: Facts, config: Config) -> str:
    """The page. Names from elsewhere are escaped; a number is in `<data value=…>` exactly as `b2b kpi` gives it."""
    currency = config.currency
    environment = Environment(
        loader=PackageLoader("b2b_pipeline.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"shown": partial(words.shown, currency=currency)}
    for function in (words.change, words.formula, words.worked, words.day, words.span, words.channel, words.cut):
        environment.filters[function.__name__] = function
    return environment.get_template("page.html").render(
        facts=found,
        config=config,
        spec=facts,
        labels=words.LABELS,
        sources={name: source.title for name, source in SOURCES.items()},
        gaps=gaps(found),
        without=sorted({note for pair in found.numbers.values() for note in pair.now.notes}),
        made_at=datetime.now(UTC).astimezone(config.zone),
        style=Markup(files("b2b_pipeline.report").joinpath("style.css").read_text(encoding="utf-8")),
        daily={name: charts.daily(found, name, currency) for name in DAILY},
        totals={name: charts.running_total(found, name, currency) for name in TOTALS},
        funnel=charts.funnel(found.numbers, currency),
        leads=charts.by_channel(found.channels, {"leads": "leads"}, currency),
        attribution=charts.by_channel(found.channels, TOUCHES, currency),
    )


def gaps(found: Facts) -> dict[str, list[str]]:
    """Why numbers are not complete -> which ones, `(before)` in the period before."""
    told: dict[str, list[str]] = {}
    for side, suffix in (("now", ""), ("before", " (before)")):
        concerned: dict[str, list[str]] = {}
        for name, pair in found.numbers.items():
            for reason in (pair.now if side == "now" else pair.before).reasons:
                concerned.setdefault(reason, []).append(words.LABELS[name] + suffix)
        for reason, labels in concerned.items():
            everything = len(labels) == len(found.numbers)
            told.setdefault(reason, []).extend([f"All numbers{suffix}"] if everything else labels)
    return told
