"""`kpi/<family>`: the KPIs of a day, with value, change and trend where people look; and the copy for BI tools."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import date, timedelta
from fractions import Fraction
from functools import partial
from typing import Any

import dagster as dg
from sqlalchemy import func, select

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.metrics import ledger
from b2b_pipeline.metrics.answer import Answer, whole_or_float
from b2b_pipeline.metrics.definitions import publish_definitions
from b2b_pipeline.metrics.gaps import FoundGaps
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.model import Family
from b2b_pipeline.metrics.query import ask, free_axes, why_incomplete
from b2b_pipeline.metrics.registry import borrowed_families, tables_of
from b2b_pipeline.metrics.shown import shown
from b2b_pipeline.metrics.store import publish_family, restated_days
from b2b_pipeline.operations.export import KPI_DAILY, export_parquet
from b2b_pipeline.orchestration.common import Calendar, about_columns, about_table, report_days, translated
from b2b_pipeline.orchestration.freshness import ABOUT_POLICY, freshness_policy
from b2b_pipeline.orchestration.pictures import headline
from b2b_pipeline.orchestration.places import code_references, place_of_family
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

TREND_DAYS = 30
EXPORT = dg.AssetKey(["export", "parquet"])


def kpi_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for family in calendar.families.values():
        yield _kpi_asset(family, calendar)
    yield _export(calendar)


def kpi_key(family: str) -> dg.AssetKey:
    return dg.AssetKey(["kpi", family])


def _kpi_asset(family: Family, calendar: Calendar) -> dg.AssetsDefinition:
    lenders = (kpi_key(name) for name in borrowed_families(family) & calendar.families.keys())

    @calendar.asset(
        key=kpi_key(family.name),
        deps=[*sorted(tables_of(family)), *sorted(lenders), tables.coverage.name],
        description=_description(family),
        group_name="kpi",
        kinds={"table", "sql"},
        owners=owners_of(family),
        freshness_policy=freshness_policy(calendar.config),
        code_version=calendar.versions.get(f"kpi/{family.name}"),
        metadata={**_about_components(), **code_references([place_of_family(family)])},
    )
    def kpi(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            ledger.restore(pipeline.warehouse, pipeline.landing.root)
            publish_family(pipeline.warehouse, pipeline.config, family, context.run.run_id)
            ledger.keep(pipeline.warehouse, pipeline.landing.root)
            there = context.instance.get_materialized_partitions(context.asset_key)
            with pipeline.warehouse.read():
                restated = {day.isoformat() for day in restated_days(pipeline.warehouse, family, context.run.run_id)}
                asked = {*context.partition_keys, *(restated & there)}
                days = describe_days(pipeline, family, [date.fromisoformat(day) for day in asked])
        report_days(context, context.asset_key, days)

    return kpi


def _about_components() -> dict[str, Any]:
    """The columns under a key of our own: under its own, Dagster shows them above the number that people come for."""
    about = about_table(tables.kpi_component_daily)
    return {"dagster/table_name": about["dagster/table_name"], "table_columns": about["dagster/column_schema"]}


def owners_of(family: Family) -> list[str]:
    """The teams whose metrics a family has, as Dagster names them."""
    return sorted({f"team:{metric.owner.replace(' ', '-')}" for metric in family.metrics})


def _description(family: Family) -> str:
    lines = [f"- **{metric.name}**: {metric.formula}" for metric in family.metrics]
    trace = "From a number to its rows: `b2b explain METRIC --on DAY`."
    return "\n\n".join([family.description, ABOUT_POLICY, "\n".join(lines), trace])


def describe_days(pipeline: Pipeline, family: Family, days: Collection[date]) -> dict[str, dict[str, Any]]:
    """ISO day -> metadata: the headline with its change and trend, and each metric's value.

    Of rare events a day says next to nothing: they are shown over the family's `trailing` days.
    """
    names = [metric.name for metric in family.metrics if not free_axes(metric)]
    first = min(days) - timedelta(days=TREND_DAYS + min(family.trailing, default=0))
    rows, config = _stored_rows(pipeline, family), pipeline.config

    def asked(length: int | None) -> dict[str, dict[date, Answer]]:
        """Metric -> day -> its answer, over so many days up to it."""
        found: dict[str, dict[date, Answer]] = {name: {} for name in names}
        for answer in ask(pipeline.warehouse, config, names, first, max(days), ["day"], over=length):
            found[answer.metric.name][answer.keys["date"]] = answer
        return found

    if family.trailing:
        over = {length: asked(length) for length in family.trailing}
        reasons = _reasons(pipeline, names, days)
        described = partial(_trailing, family, reasons, over, config=config)
    else:
        described = partial(_daily, family, asked(None), config=config)

    return {
        day.isoformat(): {**described(day), "dagster/partition_row_count": rows.get(day, 0)} for day in sorted(days)
    }


def _reasons(pipeline: Pipeline, names: Sequence[str], days: Collection[date]) -> dict[date, dict[str, None]]:
    """Why each of the days is not whole for any of the metrics."""
    found: dict[date, dict[str, None]] = {day: {} for day in days}
    with pipeline.warehouse.read() as connection:
        known, gaps = Known(connection, pipeline.config), FoundGaps(connection, pipeline.config)
        asked = {name: [*days] for name in names}
        for _, day, reasons in why_incomplete(connection, pipeline.config, known, gaps, asked, ()):
            found[day] |= dict.fromkeys(reasons)
    return found


def _stored_rows(pipeline: Pipeline, family: Family) -> dict[date, int]:
    stored = tables.kpi_component_daily.c
    query = select(stored.date_day, func.count().label("n")).where(stored.family == family.name)
    return {row["date_day"]: row["n"] for row in pipeline.warehouse.rows(query.group_by(stored.date_day))}


def _daily(family: Family, answers: Mapping[str, Mapping[date, Answer]], day: date, config: Config) -> dict[str, Any]:
    of_day = {name: days[day] for name, days in answers.items()}
    days = answers[family.headline]
    trend = [days[day - timedelta(days=n)] for n in reversed(range(TREND_DAYS))]
    value = f"{family.headline} on {day}: {shown(days[day], config.currency)}"
    return {
        "at_a_glance": _headline(value, "a week before", days[day], days[day - timedelta(days=7)], trend),
        "numbers": _table(["metric", str(day)], [[name, shown(a, config.currency)] for name, a in of_day.items()]),
        **{name: _number(answer) for name, answer in of_day.items() if answer.value is not None},
        **_completeness(dict.fromkeys(reason for a in of_day.values() for reason in a.reasons), of_day.values()),
    }


def _trailing(
    family: Family,
    reasons: Mapping[date, Mapping[str, None]],
    over: Mapping[int, Mapping[str, Mapping[date, Answer]]],
    day: date,
    config: Config,
) -> dict[str, Any]:
    shortest, first = family.trailing[0], family.headline
    told = {name: {length: over[length][name][day] for length in family.trailing} for name in over[shortest]}
    now = told[first]
    others = [f"{length} days: {_told(now[length], config)}" for length in family.trailing[1:]]
    value = f"{family.headline}, {shortest} days to {day}: {shown(now[shortest], config.currency)}"
    of_headline = over[shortest][first]
    trend = [of_headline[day - timedelta(days=n)] for n in reversed(range(TREND_DAYS))]
    before = of_headline[day - timedelta(days=shortest)]
    rows = [[name, *(_told(found[length], config) for length in family.trailing)] for name, found in told.items()]
    return {
        "at_a_glance": _headline("; ".join([value, *others]), "the same before", now[shortest], before, trend),
        "numbers": _table(["metric", *(f"{length} days" for length in family.trailing)], rows),
        **{
            f"{name}_{length}_days": _number(answer)
            for name, found in told.items()
            for length, answer in found.items()
            if answer.value is not None
        },
        **_completeness(reasons[day], [a for found in told.values() for a in found.values()]),
    }


def _told(answer: Answer, config: Config) -> str:
    """A value, and whether days of it are missing."""
    return shown(answer, config.currency) + ("" if answer.complete or answer.value is None else " (incomplete)")


def _completeness(reasons: Collection[str], told: Collection[Answer]) -> dict[str, Any]:
    """Whether the day is whole and why not; of the numbers told, what they leave out, and why some have no value."""
    notes = dict.fromkeys(note for answer in told for note in answer.notes)
    unknown: dict[str, dict[str, None]] = {}
    for answer in told:
        if answer.why_null:
            unknown.setdefault(answer.why_null, {})[answer.metric.name] = None
    texts = {
        "incomplete_because": reasons,
        "leaves_out": notes,
        "no_value_because": [f"{why} ({', '.join(names)})" for why, names in unknown.items()],
    }
    return {"complete": not reasons, **{name: "; ".join(said) for name, said in texts.items() if said}}


def _headline(
    value: str, against: str, now: Answer, before: Answer, trend: Iterable[Answer]
) -> dg.MarkdownMetadataValue:
    change = ""
    if now.value is not None and before.value:
        change = f"{float((now.value - before.value) / abs(before.value)):+.0%} vs {against}"
    values = [None if answer.value is None else float(answer.value) for answer in trend]
    return dg.MarkdownMetadataValue(headline(value, change, values, "" if now.complete else " (incomplete)"))


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> dg.MarkdownMetadataValue:
    """A table in markdown, right-aligned but for its first column."""
    lines = [columns, [":--", *["--:"] * (len(columns) - 1)], *rows]
    return dg.MarkdownMetadataValue("\n".join(f"|{'|'.join(line)}|" for line in lines))


def _number(answer: Answer) -> int | float:
    """A value as Dagster plots it."""
    value = answer.value or Fraction(0)
    return whole_or_float(value) if answer.metric.unit == "count" else round(float(value), 6)


def _export(calendar: Calendar) -> dg.AssetsDefinition:
    @calendar.asset(
        key=EXPORT,
        deps=[kpi_key(name) for name in calendar.families],
        description="Every table and the view `kpi_daily` as Parquet files in `exports` beside landing, for BI tools: "
        "they know nothing of the DuckDB lock.",
        group_name="export",
        kinds={"parquet"},
        metadata=about_columns("kpi_daily", ((field.name, str(field.type)) for field in KPI_DAILY)),
    )
    def parquet(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            # Only now: whether sales costs were ever given is told by the components.
            publish_definitions(pipeline.warehouse, pipeline.config)
            files = export_parquet(pipeline.warehouse, settings.shared() / "exports")
        report_days(
            context,
            context.asset_key,
            {day: {"files": [path.name for path in files]} for day in context.partition_keys},
        )

    return parquet
