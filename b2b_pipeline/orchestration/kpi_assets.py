"""`kpi/<family>`: the KPIs of a day, with value, change and trend where people look; and the copy for BI tools."""

from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import func, select

from b2b_pipeline import settings
from b2b_pipeline.export import KPI_DAILY, export_parquet
from b2b_pipeline.metrics import ledger
from b2b_pipeline.metrics.base import Family
from b2b_pipeline.metrics.query import Answer, ask
from b2b_pipeline.metrics.registry import COMPONENTS, FAMILIES, borrowed_families
from b2b_pipeline.metrics.store import publish_definitions, publish_family, restated_days
from b2b_pipeline.orchestration.common import READY_HOUR, Calendar, about_columns, about_table, report_days, translated
from b2b_pipeline.orchestration.pictures import headline
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

TREND_DAYS = 30


def kpi_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for family in FAMILIES.values():
        yield _kpi_asset(family, calendar)
    yield _export(calendar)


def kpi_key(family: str) -> dg.AssetKey:
    return dg.AssetKey(["kpi", family])


def _kpi_asset(family: Family, calendar: Calendar) -> dg.AssetsDefinition:
    inputs = {table for component in family.components for table in component.tables}
    inputs |= {table for metric in family.metrics for name in metric.components for table in COMPONENTS[name].tables}
    lenders = (kpi_key(name) for name in borrowed_families(family))

    @calendar.asset(
        key=kpi_key(family.name),
        deps=[*sorted(inputs), *sorted(lenders), tables.coverage.name],
        description=_description(family),
        group_name="kpi",
        kinds={"table", "sql"},
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron=f"0 {READY_HOUR} * * *",
            lower_bound_delta=timedelta(hours=READY_HOUR),
            timezone=calendar.config.timezone,
        ),
        metadata=_about_components(),
    )
    def kpi(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            publish_family(pipeline.warehouse, pipeline.config, family, context.run.run_id)
            ledger.keep(pipeline.warehouse, pipeline.landing.root)
            there = context.instance.get_materialized_partitions(context.asset_key)
            restated = {day.isoformat() for day in restated_days(pipeline.warehouse, family, context.run.run_id)}
            asked = {*context.partition_keys, *(restated & there)}
            days = describe_days(pipeline, family, [date.fromisoformat(day) for day in asked])
        report_days(context, days)

    return kpi


def _about_components() -> dict[str, Any]:
    """The columns under a key of our own: under its own, Dagster shows them above the number that people come for."""
    about = about_table(tables.kpi_component_daily)
    return {"dagster/table_name": about["dagster/table_name"], "table_columns": about["dagster/column_schema"]}


def _description(family: Family) -> str:
    lines = [f"- **{metric.name}**: {metric.formula}" for metric in family.metrics]
    return (
        f"{family.description}\n\n" + "\n".join(lines) + "\n\nFrom a number to its rows: `b2b explain METRIC --on DAY`."
    )


def describe_days(pipeline: Pipeline, family: Family, days: Collection[date]) -> dict[str, dict[str, Any]]:
    """ISO day -> metadata: the headline with its change and trend, and each metric's value."""
    names = [metric.name for metric in family.metrics if metric.median_of is None]
    first = min(days) - timedelta(days=TREND_DAYS)
    answers: dict[str, dict[date, Answer]] = {name: {} for name in names}
    for answer in ask(pipeline.warehouse, pipeline.config, names, first, max(days), ["day"]):
        answers[answer.metric.name][answer.keys["date"]] = answer
    rows = _stored_rows(pipeline, family)
    return {
        day.isoformat(): {**_describe(family, answers, day), "dagster/partition_row_count": rows.get(day, 0)}
        for day in sorted(days)
    }


def _stored_rows(pipeline: Pipeline, family: Family) -> dict[date, int]:
    stored = tables.kpi_component_daily.c
    query = select(stored.date_day, func.count().label("n")).where(stored.family == family.name)
    return {row["date_day"]: row["n"] for row in pipeline.warehouse.rows(query.group_by(stored.date_day))}


def _describe(family: Family, answers: Mapping[str, Mapping[date, Answer]], day: date) -> dict[str, Any]:
    of_day = {name: days[day] for name, days in answers.items()}
    values = {name: _number(answer) for name, answer in of_day.items() if answer.value is not None}
    reasons = dict.fromkeys(reason for answer in of_day.values() for reason in answer.reasons)
    return {
        "at_a_glance": dg.MarkdownMetadataValue(_headline(answers[family.headline], day)),
        **values,
        "complete": not reasons,
        **({"incomplete_because": "; ".join(reasons)} if reasons else {}),
    }


def _headline(days: Mapping[date, Answer], day: date) -> str:
    now, week_ago = days[day], days[day - timedelta(days=7)]
    change = ""
    if now.value is not None and week_ago.value:
        change = f"{float((now.value - week_ago.value) / abs(week_ago.value)):+.0%} vs a week before"
    trend = [days[day - timedelta(days=n)].value for n in reversed(range(TREND_DAYS))]
    values = [None if value is None else float(value) for value in trend]
    value = f"{now.metric.name} on {day}: {shown(now)}"
    return headline(value, change, values, "" if now.complete else " (incomplete)")


def _number(answer: Answer) -> int | float:
    """A value as Dagster plots it."""
    value = answer.value or 0
    return int(value) if answer.metric.unit == "count" else round(float(value), 6)


def shown(answer: Answer) -> str:
    """A value as people read it."""
    if answer.value is None:
        return "no value"
    match answer.metric.unit:
        case "count":
            return f"{int(answer.value):,}"
        case "rate":
            return f"{float(answer.value):.1%}"
        case _:
            return f"{float(answer.value):,.2f}"


def _export(calendar: Calendar) -> dg.AssetsDefinition:
    @calendar.asset(
        key=["export", "parquet"],
        deps=[kpi_key(name) for name in FAMILIES],
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
        report_days(context, {day: {"files": [path.name for path in files]} for day in context.partition_keys})

    return parquet
