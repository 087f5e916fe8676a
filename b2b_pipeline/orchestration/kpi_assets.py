"""`kpi/<family>`: the KPIs of a day, with value, change and trend where people look; and the Parquet copy for BI tools."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import dagster as dg

from b2b_pipeline.export import export_parquet
from b2b_pipeline.metrics.base import Family
from b2b_pipeline.metrics.query import Answer, ask
from b2b_pipeline.metrics.registry import COMPONENTS, FAMILIES, borrowed_families
from b2b_pipeline.metrics.store import publish_family
from b2b_pipeline.orchestration.common import OWNER, RETRY, Calendar, column_schema, days_of, report_days, translated
from b2b_pipeline.orchestration.pictures import headline
from b2b_pipeline.pipeline import Pipeline

TREND_DAYS = 30


def kpi_key(family: str) -> dg.AssetKey:
    return dg.AssetKey(["kpi", family])


def kpi_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for family in FAMILIES.values():
        yield _kpi_asset(family, calendar)
    yield _export(calendar)


def _kpi_asset(family: Family, calendar: Calendar) -> dg.AssetsDefinition:
    key = kpi_key(family.name)
    own = {table for component in family.components for table in component.tables}
    borrowed = {table for metric in family.metrics for name in metric.components for table in COMPONENTS[name].tables}
    upstream = [dg.AssetDep(name) for name in sorted(own | borrowed)]
    upstream += [dg.AssetDep(kpi_key(name)) for name in sorted(borrowed_families(family))]
    upstream.append(dg.AssetDep("coverage"))

    @dg.asset(
        key=key,
        deps=upstream,
        description=_description(family),
        group_name="kpi",
        kinds={"sql", "kpi"},
        owners=[OWNER],
        partitions_def=calendar.daily,
        backfill_policy=calendar.backfill,
        retry_policy=RETRY,
        freshness_policy=dg.FreshnessPolicy.cron(
            deadline_cron="0 8 * * *", lower_bound_delta=timedelta(hours=8), timezone=calendar.config.timezone
        ),
        metadata={"dagster/column_schema": column_schema("kpi_component_daily"), "dagster/table_name": "kpi_component_daily"},
    )
    def kpi(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        start, end = days_of(context)
        with translated():
            changed = publish_family(pipeline.warehouse, pipeline.config, family, context.run_id)
            restated = sorted(d for d in changed if d is not None and pipeline.config.start_date <= d < start)
            days = _day_metadata(pipeline, family, start, end)
            older = _day_metadata(pipeline, family, restated[0], restated[-1] + timedelta(days=1)) if restated else {}
        report_days(context, key, days, {day: older[day] for day in (d.isoformat() for d in restated)})

    return kpi


def _description(family: Family) -> str:
    lines = [f"- **{metric.name}**: {metric.formula}" for metric in family.metrics]
    return f"{family.description}\n\n" + "\n".join(lines) + "\n\nFrom a number to its rows: `b2b explain METRIC --on DAY`."


def _day_metadata(
    pipeline: Pipeline, family: Family, start: date, end: date
) -> dict[str, dict[str, Any]]:
    """ISO day -> metadata of `[start, end)`: the headline with change and trend, and each metric's value."""
    last = end - timedelta(days=1)
    names = [metric.name for metric in family.metrics if metric.median_of is None]
    answers = ask(pipeline.warehouse, pipeline.config, names, start - timedelta(days=TREND_DAYS), last, ["day"])
    by_metric: dict[str, dict[date, Answer]] = {}
    for answer in answers:
        by_metric.setdefault(answer.metric.name, {})[answer.keys["date"]] = answer
    found: dict[str, dict[str, Any]] = {}
    for ordinal in range(start.toordinal(), end.toordinal()):
        day = date.fromordinal(ordinal)
        main = by_metric[family.headline]
        metadata: dict[str, Any] = {family.headline: dg.MarkdownMetadataValue(_headline(main, day))}
        for name, days in by_metric.items():
            if name != family.headline and (value := days[day].value) is not None:
                metadata[name] = float(value)
        metadata["complete"] = main[day].complete
        if not main[day].complete:
            metadata["incomplete_because"] = "; ".join(main[day].reasons)
        found[day.isoformat()] = metadata
    return found


def _headline(days: dict[date, Answer], day: date) -> str:
    now, week_ago = days[day], days.get(day - timedelta(days=7))
    change = ""
    if week_ago is not None and now.value is not None and week_ago.value:
        change = f"{float((now.value - week_ago.value) / abs(week_ago.value)):+.0%} vs a week before"
    trend = [days.get(day - timedelta(days=n)) for n in range(TREND_DAYS - 1, -1, -1)]
    values = [None if answer is None or answer.value is None else float(answer.value) for answer in trend]
    return headline(shown(now), change, values, "" if now.complete else " (incomplete)")


def shown(answer: Answer) -> str:
    """A value as people read it."""
    value = answer.value
    if value is None:
        return "no value"
    match answer.metric.unit:
        case "money":
            return f"{float(value):,.2f}"
        case "count":
            return f"{int(value):,}"
        case "rate":
            return f"{float(value):.1%}"
        case _:
            return f"{float(value):,.2f}"


def _export(calendar: Calendar) -> dg.AssetsDefinition:
    @dg.asset(
        key=["export", "parquet"],
        deps=[kpi_key(name) for name in FAMILIES],
        description="Every table and the view `kpi_daily` as Parquet files for BI tools, which know nothing of the DuckDB lock.",
        group_name="export",
        kinds={"parquet"},
        owners=[OWNER],
        partitions_def=calendar.daily,
        backfill_policy=calendar.backfill,
        retry_policy=RETRY,
    )
    def parquet(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        with translated():
            files = export_parquet(pipeline.warehouse, pipeline.home / "exports")
        start, end = days_of(context)
        shared = {"files": len(files), "folder": "exports in B2B_HOME"}
        report_days(context, context.asset_key, {date.fromordinal(n).isoformat(): shared for n in range(start.toordinal(), end.toordinal())})

    return parquet
