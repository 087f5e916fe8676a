"""`b2b kpi`: ask for metrics."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2b_pipeline.cli.common import By, Format, From, To, pipeline, say, show, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from b2b_pipeline.configuration.config import Dimensions
    from b2b_pipeline.metrics.answer import Answer
    from b2b_pipeline.metrics.compare import Aimed, Compared
    from b2b_pipeline.metrics.theirs import Beside


def register(app: typer.Typer) -> None:
    app.command()(kpi)


def kpi(
    metrics: Annotated[list[str] | None, typer.Argument(metavar="METRIC...", show_default=False)] = None,
    start: From = None,
    end: To = None,
    by: By = "",
    against: Annotated[
        str | None,
        typer.Option(
            help="Hold each number against `target`, its own of `previous` (the period before) or `last_year`, or "
            "another tool's in a CSV file."
        ),
    ] = None,
    form: Format = "table",
    names: Annotated[bool, typer.Option("--list", help="Name every metric, with its formula and dimensions.")] = False,
) -> None:
    """Ask for metrics: b2b kpi cost_per_lead --from 2026-01-01 --to 2026-03-31 --by month,channel

    A table shows values with unit and currency; in JSON and CSV rates are fractions from 0 to 1. What is not known is
    null; a row that is not complete, or leaves channels out, says why on standard error, and so does an empty
    warehouse. `CPL` and `cost per lead` are names, too.
    """
    if names:
        from b2b_pipeline.configuration.config import Dimensions
        from b2b_pipeline.configuration.settings import config_path
        from b2b_pipeline.connectors.configured import load_config

        show(catalogue(load_config().dimensions if config_path().is_file() else Dimensions()), form)
        return
    if not metrics:
        raise typer.BadParameter("name at least one metric, or --list them")
    from b2b_pipeline.core.refused import has_data
    from b2b_pipeline.metrics.compare import hold
    from b2b_pipeline.metrics.query import ask, free_axes, named
    from b2b_pipeline.metrics.shown import shown
    from b2b_pipeline.metrics.theirs import beside

    found = pipeline()
    if not has_data(found.warehouse):
        say("the warehouse is empty: nothing was read yet. `b2b backfill` reads, `make demo` invents a company")
    currency = found.config.currency
    people = form == "table"  # who read units; programs read numbers
    asked = found.warehouse, found.config, metrics, start, end, words(by)
    if against:
        pairs: Sequence[Aimed | Beside | Compared] = (
            beside(*asked, Path(against)) if against.endswith(".csv") else hold(*asked, against)
        )
        show([pair.as_json() | (in_words(pair, currency) if people else {}) for pair in pairs], form)
        answers = [answer for pair in pairs for answer in pair.both]
    else:
        answers = ask(*asked)
        show([a.as_json() | ({"value": shown(a, currency)} if people else {}) for a in answers], form)
    # A split of nothing has no row that could say why: then the total does.
    told = {answer.metric.name for answer in answers}
    silent = [name for name in metrics if named(name).name not in told and not free_axes(named(name))]
    totals = ask(found.warehouse, found.config, silent, start, end) if silent else []
    for line in remarks([*answers, *totals]):
        say(line)


def catalogue(further: Dimensions) -> list[dict[str, Any]]:
    """One row per metric, with what this installation can split it by, as its configuration says."""
    from b2b_pipeline.metrics.periods import GRAINS
    from b2b_pipeline.metrics.query import dimensions_of
    from b2b_pipeline.metrics.registry import ADDITIVITY, FAMILIES

    return [
        {
            "metric": metric.name, "family": family.name, "unit": metric.unit, "additivity": ADDITIVITY[metric.name],
            "stage": metric.stage, "owner": metric.owner, "tier": metric.tier,
            "formula": metric.formula, "by": ",".join([*GRAINS, *sorted(dimensions_of(metric, further))]),
        }
        for family in FAMILIES.values()
        for metric in family.metrics
    ]  # fmt: skip


def in_words(pair: Aimed | Beside | Compared, currency: str) -> dict[str, str]:
    from b2b_pipeline.metrics.compare import Aimed
    from b2b_pipeline.metrics.shown import shown
    from b2b_pipeline.metrics.theirs import Beside

    if isinstance(pair, Beside):
        return {"value": shown(pair.now, currency)}
    if isinstance(pair, Aimed):
        share, difference = pair.attainment, replace(pair.target, numerator=pair.difference)
        return {
            "value": shown(pair.now, currency), "target": shown(pair.target, currency),
            "difference": shown(difference, currency),
            "attainment": "no value" if share is None else f"{float(share):.1%}",
        }  # fmt: skip
    rate = pair.change_rate
    return {
        "value": shown(pair.now, currency), "before": shown(pair.before, currency),
        "change_rate": "no value" if rate is None else f"{float(rate):+.1%}",
    }  # fmt: skip


def remarks(answers: Iterable[Answer]) -> list[str]:
    """Why rows are not complete, and why values are null; each reason once, with the metrics that it concerns."""
    told: dict[str, dict[str, None]] = {}
    for answer in answers:
        reasons = [f"not complete: {reason}" for reason in answer.reasons]
        reasons += [f"null: {answer.why_null}"] if answer.why_null and answer.why_null not in answer.reasons else []
        reasons += answer.notes
        for reason in reasons:
            told.setdefault(reason, {})[answer.metric.name] = None
    return [f"{reason} ({', '.join(metrics)})" for reason, metrics in told.items()]
