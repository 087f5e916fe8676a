"""Asset checks: contracts, reconciliation with the vendors' own totals, volume, completeness, freshness, API sunset."""

from collections.abc import Iterator
from datetime import date, timedelta
from statistics import median

import dagster as dg
from sqlalchemy import Table, func, select

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Control, Source
from b2b_pipeline.core.control import control_differences
from b2b_pipeline.metrics.base import Family
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.orchestration.common import READY_HOUR, Calendar, expected_day, missing_days
from b2b_pipeline.orchestration.kpi_assets import kpi_key
from b2b_pipeline.orchestration.raw_assets import raw_key
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

SUNSET_WARNING, SUNSET_FAILURE = timedelta(days=90), timedelta(days=30)
WATCHED = (tables.spend, tables.lead, tables.opportunity, tables.email_event)  # whose volume is regular enough
COMPLETENESS_DAYS = 30
SHOWN = 30  # offenders named in a check's metadata


def checks(calendar: Calendar) -> Iterator[dg.AssetChecksDefinition]:
    for table in tables.CORE:
        yield _contract(table)
        yield _quarantine(table)
    for table in WATCHED:
        yield _volume(table, calendar)
    for source in (SOURCES[name] for name in calendar.config.sources):
        if source.control is not None:
            yield _reconciliation(source, source.control)
        yield _api_version(source, calendar)
    for family in FAMILIES.values():
        yield _freshness(family, calendar)
        yield _completeness(family, calendar)


def _contract(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.name,
        name="contract",
        blocking=True,
        description="Keys are unique, and of every slice rows in = loaded + quarantined + deduplicated.",
    )
    def contract(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        key = [table.c[name] for name in table.info["key"]]
        repeated = select(*key, func.count().label("rows")).group_by(*key).having(func.count() > 1).limit(SHOWN)
        audit = tables.load_audit.c
        unbalanced = select(audit.slice_id).where(
            audit.target_table == table.name,
            audit.error.is_(None),
            audit.rows_in != audit.rows_loaded + audit.rows_quarantined + audit.rows_deduplicated,
        )
        twice, off = pipeline.warehouse.rows(repeated), pipeline.warehouse.rows(unbalanced)
        return dg.AssetCheckResult(
            passed=not twice and not off,
            metadata={
                "repeated_keys": [", ".join(str(row[column.name]) for column in key) for row in twice],
                "slices_that_do_not_add_up": [row["slice_id"] for row in off[:SHOWN]],
            },
        )

    return contract


def _quarantine(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.name,
        name="quarantine",
        description="No slice failed as a whole (an error), and no row was quarantined (a warning).",
    )
    def quarantine(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        audit, bad = tables.load_audit.c, tables.quarantine.c
        failed = pipeline.warehouse.rows(
            select(audit.slice_id, audit.source, audit.stream, audit.error).where(
                audit.target_table == table.name, audit.error.is_not(None)
            )
        )
        reason = (bad.source, bad.stream, bad.column_name, bad.reason)
        rows = pipeline.warehouse.rows(
            select(*reason, func.count().label("rows")).where(bad.target_table == table.name).group_by(*reason)
        )
        return dg.AssetCheckResult(
            passed=not failed and not rows,
            severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
            metadata={
                "failed_slices": [f"{r['source']}/{r['stream']} {r['slice_id']}: {r['error']}" for r in failed[:SHOWN]],
                "quarantined": [
                    f"{r['rows']} of {r['source']}/{r['stream']}: {r['column_name']} {r['reason']}"
                    for r in rows[:SHOWN]
                ],
            },
        )

    return quarantine


def _volume(table: Table, calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=table.name,
        name="volume",
        description="The newest day has about as many rows as the same weekday of the four weeks before.",
    )
    def volume(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        day = expected_day(calendar.now())
        days = [day - timedelta(weeks=week) for week in range(5)]
        query = select(table.c.date_day, func.count().label("n")).where(table.c.date_day.in_(days))
        counts = {row["date_day"]: row["n"] for row in pipeline.warehouse.rows(query.group_by(table.c.date_day))}
        rows, *before = (counts.get(day, 0) for day in days)
        usual = float(median(before))
        return dg.AssetCheckResult(
            passed=rows >= usual * (1 - calendar.config.limits.row_drop),
            severity=dg.AssetCheckSeverity.WARN,
            metadata={"day": day.isoformat(), "rows": rows, "usual": usual},
        )

    return volume


def _reconciliation(source: Source, control: Control) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(source.name, control.stream),
        name="reconciliation",
        additional_deps=[raw_key(source.name, control.totals)],
        description=f"{', '.join(control.fields)} add up, day by day, to what {source.title} says of the account.",
    )
    def reconciliation(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        differences = control_differences(pipeline.landing, source, control)
        return dg.AssetCheckResult(passed=not differences, metadata={"differences": differences[-SHOWN:]})

    return reconciliation


def _api_version(source: Source, calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(source.name, source.streams[0].name),
        name="api_version",
        description=f"{source.title} keeps this API version long enough: warns {SUNSET_WARNING.days} days before its "
        f"end, fails {SUNSET_FAILURE.days} days before it.",
    )
    def api_version() -> dg.AssetCheckResult:
        return sunset_result(source, calendar.now().date())

    return api_version


def sunset_result(source: Source, today: date) -> dg.AssetCheckResult:
    left = source.sunset - today if source.sunset else timedelta.max
    return dg.AssetCheckResult(
        passed=left > SUNSET_WARNING,
        severity=dg.AssetCheckSeverity.WARN if left > SUNSET_FAILURE else dg.AssetCheckSeverity.ERROR,
        metadata={"version": source.api_version, "sunset": str(source.sunset or "not announced")},
    )


def _freshness(family: Family, calendar: Calendar) -> dg.AssetChecksDefinition:
    key = kpi_key(family.name)

    @dg.asset_check(
        asset=key, name="freshness", description=f"Yesterday is there from {READY_HOUR}:00, and every day before it."
    )
    def freshness(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        there = context.instance.get_materialized_partitions(key)
        expected = expected_day(calendar.now())
        missing = missing_days(there, expected)
        newest = max(there, default="none")
        return dg.AssetCheckResult(
            passed=not missing,
            metadata={"expected": expected.isoformat(), "newest": newest, "missing": missing[-SHOWN:]},
        )

    return freshness


def _completeness(family: Family, calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=kpi_key(family.name),
        name="completeness",
        description=f"Every source behind these KPIs was read for each of the last {COMPLETENESS_DAYS} days.",
    )
    def completeness(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        end = expected_day(calendar.now())
        start = max(calendar.config.start_date, end - timedelta(days=COMPLETENESS_DAYS - 1))
        names = [metric.name for metric in family.metrics]
        answers = ask(pipeline.warehouse, calendar.config, names, start, end, ["day"]) if start <= end else []
        reasons = {f"{answer.keys['date']}: {reason}" for answer in answers for reason in answer.reasons}
        return dg.AssetCheckResult(
            passed=not reasons, severity=dg.AssetCheckSeverity.WARN, metadata={"incomplete": sorted(reasons)[-SHOWN:]}
        )

    return completeness
