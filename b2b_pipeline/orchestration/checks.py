"""Asset checks: contracts, reconciliation with the vendors' own totals, volume, completeness, freshness, API sunset.

The checks of one table run in one step, and so do those of all KPIs: a step is a process. Each can be run alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from statistics import median

import dagster as dg
from sqlalchemy import Connection, Table, func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import SUNSET_FAILURE, SUNSET_WARNING, Control, Source
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.control import reconcile
from b2b_pipeline.core.refused import quarantined_rows, refused_slices
from b2b_pipeline.derived.campaigns import ambiguous_campaigns
from b2b_pipeline.files.inbox import Trouble, troubles
from b2b_pipeline.files.source import file_streams
from b2b_pipeline.landing.absences import still_absent
from b2b_pipeline.metrics.gaps import FoundGaps
from b2b_pipeline.metrics.known import Known
from b2b_pipeline.metrics.leaks import DAYS
from b2b_pipeline.metrics.leaks import leaks as found_leaks
from b2b_pipeline.metrics.model import Family
from b2b_pipeline.metrics.periods import periods
from b2b_pipeline.metrics.query import free_axes, why_incomplete
from b2b_pipeline.orchestration.assets.kpi import kpi_key
from b2b_pipeline.orchestration.assets.raw import file_key, raw_key
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.freshness import ABOUT as ABOUT_FRESHNESS
from b2b_pipeline.orchestration.freshness import FRESHNESS, expected_day, freshness_result, spans
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.warehouse import tables

WATCHED = (tables.spend, tables.lead, tables.opportunity, tables.email_event)  # whose volume is regular enough
COMPLETENESS_DAYS = 30
SHOWN = 30  # offenders named in a check's metadata


def checks(calendar: Calendar) -> Iterator[dg.AssetChecksDefinition]:
    for table in calendar.core:
        yield _of_table(table, calendar)
    for source in (SOURCES[name] for name in calendar.config.sources):
        on = [stream.name for stream in calendar.streams(source.name)]
        if source.control is not None and {source.control.stream, source.control.totals} <= {*on}:
            yield _reconciliation(source, source.control)
        yield _of_source(source, on, calendar)
    for stream in file_streams(calendar.config.files):
        yield _accepted(stream)
    yield _leaks(calendar)
    yield _freshness(calendar)
    yield _completeness(calendar)


def told(items: Sequence[str]) -> str:
    """Offenders as text, which Dagster shows where it hides a list behind a click."""
    more = [f"and {len(items) - SHOWN} more"] if len(items) > SHOWN else []
    return "; ".join([*items[:SHOWN], *more]) or "none"


# -- tables

CONTRACT, QUARANTINE, VOLUME, CAMPAIGNS = "contract", "quarantine", "volume", "campaigns"
ABOUT = {
    CONTRACT: "Keys are unique, and of every slice rows in = loaded + quarantined + deduplicated.",
    QUARANTINE: "No slice failed as a whole (an error), and no row was quarantined (a warning).",
    VOLUME: "The newest day has about as many rows as the same weekday of the four weeks before.",
    CAMPAIGNS: "Every campaign that a touch names by its name is one campaign.",
}


def _of_table(table: Table, calendar: Calendar) -> dg.AssetChecksDefinition:
    names = [CONTRACT, QUARANTINE, *([VOLUME] if table in WATCHED else [])]
    names += [CAMPAIGNS] if table is tables.touchpoint else []

    @dg.multi_asset_check(
        name=f"{table.name}_checks",
        specs=[
            dg.AssetCheckSpec(name, asset=table.name, description=ABOUT[name], blocking=name == CONTRACT)
            for name in names
        ],
        can_subset=True,
    )
    def of_table(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        asked = {key.name for key in context.selected_asset_check_keys}
        results: list[dg.AssetCheckResult] = []
        with pipeline.warehouse.read():
            if CONTRACT in asked:
                results.append(_contract(table, pipeline))
            if QUARANTINE in asked:
                results.append(_quarantine(table, pipeline))
            if VOLUME in asked:
                results.append(_volume(table, pipeline, calendar))
            if CAMPAIGNS in asked:
                results.append(_campaigns(pipeline))
        yield from results

    return of_table


def _contract(table: Table, pipeline: Pipeline) -> dg.AssetCheckResult:
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
        check_name=CONTRACT,
        passed=not twice and not off,
        metadata={
            "repeated_keys": told([", ".join(str(row[column.name]) for column in key) for row in twice]),
            "slices_that_do_not_add_up": told([row["slice_id"] for row in off]),
        },
    )


def _quarantine(table: Table, pipeline: Pipeline) -> dg.AssetCheckResult:
    failed, rows = (read(pipeline.warehouse, table.name) for read in (refused_slices, quarantined_rows))
    return dg.AssetCheckResult(
        check_name=QUARANTINE,
        passed=not failed and not rows,
        severity=dg.AssetCheckSeverity.ERROR if failed else dg.AssetCheckSeverity.WARN,
        metadata={"failed_slices": told(failed), "quarantined": told(rows)},
    )


def _volume(table: Table, pipeline: Pipeline, calendar: Calendar) -> dg.AssetCheckResult:
    day = expected_day(calendar.now())
    days = [day - timedelta(weeks=week) for week in range(5)]
    query = select(table.c.date_day, func.count().label("n")).where(table.c.date_day.in_(days))
    counts = {row["date_day"]: row["n"] for row in pipeline.warehouse.rows(query.group_by(table.c.date_day))}
    rows, *before = (counts.get(day, 0) for day in days)
    usual = float(median(before))
    return dg.AssetCheckResult(
        check_name=VOLUME,
        passed=rows >= usual * (1 - calendar.config.limits.row_drop),
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"day": day.isoformat(), "rows": rows, "usual": usual},
    )


def _campaigns(pipeline: Pipeline) -> dg.AssetCheckResult:
    with pipeline.warehouse.read() as connection:
        found = ambiguous_campaigns(connection)
    return dg.AssetCheckResult(
        check_name=CAMPAIGNS,
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"names_of_several_campaigns": told(found)},
    )


def _leaks(calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=tables.credit.name,
        additional_deps=[tables.spend.name, tables.person.name],
        description=f"In the last {DAYS} days paid leads and revenue met spend, and campaigns that a source knows.",
    )
    def leaks(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        with pipeline.warehouse.read() as connection:
            found = found_leaks(connection, pipeline.config, calendar.now().date())
        lines = [leak.told(pipeline.config.currency) for leak in found]
        return dg.AssetCheckResult(
            passed=not found, severity=dg.AssetCheckSeverity.WARN, metadata={"leaks": told(lines)}
        )

    return leaks


# -- sources


def _reconciliation(source: Source, control: Control) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=raw_key(source.name, control.stream),
        name="reconciliation",
        additional_deps=[raw_key(source.name, control.totals)],
        description=f"{', '.join(control.fields)} add up, day by day, to what {source.title} says of the account.",
    )
    def reconciliation(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        found = reconcile(pipeline.landing, source, control)
        return dg.AssetCheckResult(
            passed=not found.differences and not found.without_totals and not found.damaged,
            severity=dg.AssetCheckSeverity.ERROR if found.differences or found.damaged else dg.AssetCheckSeverity.WARN,
            metadata={
                "damaged": told(found.damaged),
                "days_compared": found.days_compared,
                "differences": told(found.differences[::-1]),
                "without_totals": told(found.without_totals[::-1]),
            },
        )

    return reconciliation


def _of_source(source: Source, streams: Sequence[str], calendar: Calendar) -> dg.AssetChecksDefinition:
    version, left_out = raw_key(source.name, streams[0]), {raw_key(source.name, stream): stream for stream in streams}

    @dg.multi_asset_check(
        name=f"{source.name}_checks",
        specs=[
            dg.AssetCheckSpec(
                "api_version",
                asset=version,
                description=f"{source.title} keeps this API version long enough: warns {SUNSET_WARNING.days} days "
                f"before its end, fails {SUNSET_FAILURE.days} days before it.",
            ),
            *(
                dg.AssetCheckSpec("left_out", asset=key, description="Every account of this stream could be read.")
                for key in left_out
            ),
        ],
        can_subset=True,
    )
    def of_source(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        asked = context.selected_asset_check_keys
        if dg.AssetCheckKey(version, "api_version") in asked:
            asks = replace(source, api_version=source.version(pipeline.config), sunset=source.ends(pipeline.config))
            yield sunset_result(asks, version, calendar.now().date())
        for key, stream in left_out.items():
            if dg.AssetCheckKey(key, "left_out") in asked:
                yield _left_out(source.name, stream, key, pipeline)

    return of_source


def _left_out(source: str, stream: str, key: dg.AssetKey, pipeline: Pipeline) -> dg.AssetCheckResult:
    """Accounts that the last pull could not read; one whose end is configured is nobody's concern."""
    found = still_absent(pipeline.landing.root, source, pipeline.config, stream)
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="left_out",
        passed=not found,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"left_out": told([str(item) for item in found])},
    )


def sunset_result(source: Source, key: dg.AssetKey, today: date) -> dg.AssetCheckResult:
    left = source.sunset - today if source.sunset else timedelta.max
    return dg.AssetCheckResult(
        asset_key=key,
        check_name="api_version",
        passed=left > SUNSET_WARNING,
        severity=dg.AssetCheckSeverity.WARN if left > SUNSET_FAILURE else dg.AssetCheckSeverity.ERROR,
        metadata={"version": source.api_version, "sunset": str(source.sunset or "not announced")},
    )


# -- files

ACCEPTED = "accepted"


def _accepted(stream: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=file_key(stream),
        name=ACCEPTED,
        description="Every file in the inbox is landed: none was refused, fits no mapping, or is missing altogether. "
        "The sensor `file_drops` tells it at once.",
    )
    def accepted(pipeline: dg.ResourceParam[Pipeline]) -> dg.AssetCheckResult:
        return accepted_result(list(troubles(pipeline.inbox, pipeline.config.files, pipeline.landing)), stream)

    return accepted


def accepted_result(found: Sequence[Trouble], stream: str) -> dg.AssetCheckResult:
    """A file that fits no mapping may have been meant for any of them."""
    ours = [trouble for trouble in found if trouble.stream in (None, stream)]
    missing = all(trouble.kind == "missing" for trouble in ours)
    return dg.AssetCheckResult(
        passed=not ours,
        severity=dg.AssetCheckSeverity.WARN if missing else dg.AssetCheckSeverity.ERROR,
        metadata={"not_landed": dg.MetadataValue.text(told([f"{each.what}: {each.fix}" for each in ours]))},
    )


# -- KPIs


def _of_kpis(calendar: Calendar, name: str, description: str) -> list[dg.AssetCheckSpec]:
    return [dg.AssetCheckSpec(name, asset=kpi_key(family), description=description) for family in calendar.families]


def _freshness(calendar: Calendar) -> dg.AssetChecksDefinition:
    @dg.multi_asset_check(name="kpi_freshness", specs=_of_kpis(calendar, FRESHNESS, ABOUT_FRESHNESS), can_subset=True)
    def freshness(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        now = calendar.now()
        for key in sorted(check.asset_key for check in context.selected_asset_check_keys):
            there = context.instance.get_materialized_partitions(key)
            yield freshness_result(key, there, calendar.config, now)

    return freshness


def _completeness(calendar: Calendar) -> dg.AssetChecksDefinition:
    name = "completeness"
    about = f"Every source behind these KPIs was read for each of the last {COMPLETENESS_DAYS} days."

    @dg.multi_asset_check(name="kpi_completeness", specs=_of_kpis(calendar, name, about), can_subset=True)
    def completeness(
        context: dg.AssetCheckExecutionContext, pipeline: dg.ResourceParam[Pipeline]
    ) -> Iterator[dg.AssetCheckResult]:
        end = expected_day(calendar.now())
        start = max(calendar.config.start_date, end - timedelta(days=COMPLETENESS_DAYS - 1))
        keys = sorted(check.asset_key for check in context.selected_asset_check_keys)
        days = [*periods(start, end, "day")]
        with pipeline.warehouse.read() as connection:
            asked = connection, calendar.config
            known, gaps = Known(*asked), FoundGaps(*asked)
            found = {key: _incomplete(calendar.families[key.path[-1]], days, *asked, known, gaps) for key in keys}
        for key, reasons in found.items():
            yield dg.AssetCheckResult(
                asset_key=key,
                check_name=name,
                passed=not reasons,
                severity=dg.AssetCheckSeverity.WARN,
                metadata={"incomplete": told(reasons)},
            )

    return completeness


def _incomplete(
    family: Family, days: Sequence[date], connection: Connection, config: Config, known: Known, gaps: FoundGaps
) -> list[str]:
    """A line for each reason, with the days that are incomplete because of it."""
    names = [metric.name for metric in family.metrics if not free_axes(metric)]
    found: dict[str, set[date]] = {}
    for _, day, reasons in why_incomplete(connection, config, known, gaps, dict.fromkeys(names, days), ()):
        for reason in reasons:
            found.setdefault(reason, set()).add(day)
    return [f"{', '.join(spans(of))}: {reason}" for reason, of in sorted(found.items())]
