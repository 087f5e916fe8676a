"""Asset checks: contracts, reconciliation with the vendors' own totals, volume, completeness, freshness, API sunset."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from statistics import median

import dagster as dg
from sqlalchemy import Table, func, select

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Source
from b2b_pipeline.core.control import control_differences
from b2b_pipeline.metrics.base import Family
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.metrics.registry import FAMILIES
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.kpi_assets import kpi_key
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

READY_HOUR = 8  # in the reporting time zone: by then yesterday must be there
SUNSET_WARNING, SUNSET_FAILURE = timedelta(days=90), timedelta(days=30)


def checks(calendar: Calendar) -> Iterator[dg.AssetChecksDefinition]:
    for table in tables.CORE:
        yield _contract(table)
        yield _slices(table)
    for table in (tables.spend, tables.lead, tables.opportunity, tables.email_event):
        yield _volume(table)
    for name in calendar.config.sources:
        if SOURCES[name].control is not None:
            yield _reconciliation(SOURCES[name])
        yield _api_version(SOURCES[name])
    for family in FAMILIES.values():
        yield _freshness(family)
        yield _completeness(family)


def _contract(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=table.name, name="contract", blocking=True, description="Keys are unique, and rows in = loaded + quarantined + deduplicated.")
    def contract(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        key = [table.c[name] for name in table.info["key"]]
        twice = pipeline.warehouse.rows(select(*key, func.count().label("times")).group_by(*key).having(func.count() > 1).limit(10))
        audit = tables.load_audit.c
        off = pipeline.warehouse.rows(
            select(audit.slice_id).where(
                audit.target_table == table.name,
                audit.error.is_(None),
                audit.rows_in != audit.rows_loaded + audit.rows_quarantined + audit.rows_deduplicated,
            )
        )
        return dg.AssetCheckResult(
            passed=not twice and not off,
            metadata={"duplicate_keys": [str(row) for row in twice], "slices_that_do_not_add_up": [row["slice_id"] for row in off]},
        )

    return contract


def _slices(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=table.name, name="quarantine", description="No slice failed as a whole (error), no row was quarantined (warning).")
    def slices(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        audit, bad = tables.load_audit.c, tables.quarantine.c
        failed = pipeline.warehouse.rows(
            select(audit.slice_id, audit.source, audit.stream, audit.error).where(audit.target_table == table.name, audit.error.is_not(None))
        )
        rows = pipeline.warehouse.rows(
            select(bad.source, bad.stream, bad.column_name, bad.reason, func.count().label("rows"))
            .where(bad.target_table == table.name)
            .group_by(bad.source, bad.stream, bad.column_name, bad.reason)
        )
        return dg.AssetCheckResult(
            passed=not failed and not rows,
            severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
            metadata={
                "failed_slices": [f"{r['source']}/{r['stream']} {r['slice_id']}: {r['error']}" for r in failed],
                "quarantined": [f"{r['rows']} x {r['source']}/{r['stream']}: {r['column_name']} {r['reason']}" for r in rows],
            },
        )

    return slices


def _volume(table: Table) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=table.name, name="volume", description="The newest day has about as many rows as the same weekday of the four weeks before.")
    def volume(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        today = datetime.now(pipeline.config.zone).date()
        query = select(table.c.date_day, func.count().label("rows")).where(table.c.date_day < today).group_by(table.c.date_day)
        counts = {row["date_day"]: row["rows"] for row in pipeline.warehouse.rows(query)}
        day = today - timedelta(days=1)
        before = [counts.get(day - timedelta(weeks=week), 0) for week in range(1, 5)]
        usual = median(before)
        passed = usual == 0 or counts.get(day, 0) >= usual * (1 - pipeline.config.limits.row_drop)
        return dg.AssetCheckResult(
            passed=bool(passed), severity=dg.AssetCheckSeverity.WARN,
            metadata={"day": day.isoformat(), "rows": counts.get(day, 0), "usual": float(usual)},
        )  # fmt: skip

    return volume


def _reconciliation(source: Source) -> dg.AssetChecksDefinition:
    control = source.control
    assert control is not None

    @dg.asset_check(
        asset=["raw", source.name, control.stream], name="reconciliation",
        description=f"{', '.join(control.fields)} add up to what {source.title} says of the account as a whole, day by day.",
        additional_deps=[["raw", source.name, control.totals]],
    )  # fmt: skip
    def reconciliation(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        differences = control_differences(pipeline.landing, source, control)
        return dg.AssetCheckResult(passed=not differences, metadata={"differences": differences[:20]})

    return reconciliation


def _api_version(source: Source) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=["raw", source.name, source.streams[0].name], name="api_version",
        description="The vendor keeps this API version for long enough: warns at 90 days, fails at 30.",
    )  # fmt: skip
    def api_version() -> dg.AssetCheckResult:
        return sunset_result(source, datetime.now().astimezone().date())

    return api_version


def sunset_result(source: Source, today: date) -> dg.AssetCheckResult:
    left = source.sunset - today if source.sunset else None
    return dg.AssetCheckResult(
        passed=left is None or left > SUNSET_WARNING,
        severity=dg.AssetCheckSeverity.ERROR if left is not None and left <= SUNSET_FAILURE else dg.AssetCheckSeverity.WARN,
        metadata={"version": source.api_version, "sunset": str(source.sunset or "not announced")},
    )


def expected_day(now: datetime) -> date:
    """The newest day that must be there at `now` (in the reporting time zone)."""
    return now.date() - timedelta(days=1 if now.hour >= READY_HOUR else 2)


def _freshness(family: Family) -> dg.AssetChecksDefinition:
    key = kpi_key(family.name)

    @dg.asset_check(asset=key, name="freshness", description=f"Yesterday is there from {READY_HOUR}:00, and every day before it.")
    def freshness(context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        there = set(context.instance.get_materialized_partitions(key))
        expected = expected_day(datetime.now(pipeline.config.zone))
        first = min(there, default=expected.isoformat())
        days = [date.fromordinal(n).isoformat() for n in range(date.fromisoformat(first).toordinal(), expected.toordinal() + 1)]
        missing = [day for day in days if day not in there]
        return dg.AssetCheckResult(
            passed=not missing,
            metadata={"expected": expected.isoformat(), "newest": max(there, default="none"), "missing": missing[-30:]},
        )

    return freshness


def _completeness(family: Family) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=kpi_key(family.name), name="completeness", description="Every source behind these KPIs was read for the last 30 days.")
    def completeness(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        end = expected_day(datetime.now(pipeline.config.zone))
        start = max(pipeline.config.start_date, end - timedelta(days=29))
        names = [metric.name for metric in family.metrics]
        reasons = {
            f"{answer.keys['date']}: {reason}"
            for answer in (ask(pipeline.warehouse, pipeline.config, names, start, end, ["day"]) if start <= end else [])
            if answer.keys["date"] is not None
            for reason in answer.reasons
        }
        return dg.AssetCheckResult(
            passed=not reasons, severity=dg.AssetCheckSeverity.WARN, metadata={"incomplete": sorted(reasons)[-30:]}
        )

    return completeness
