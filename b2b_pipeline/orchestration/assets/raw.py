"""`raw/<source>/<stream>`: one asset per stream, landing what the vendor says. What belongs here: only fetching."""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import dagster as dg

from b2b_pipeline.configuration.file_mapping import FILES, FileMapping
from b2b_pipeline.connectors.base import Source, Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.files.source import file_streams
from b2b_pipeline.landing.store import Slice
from b2b_pipeline.orchestration.common import (
    AGAIN,
    EARLY,
    OWNER,
    RETRY,
    Calendar,
    days_of,
    failure,
    report_days,
    translated,
)
from b2b_pipeline.orchestration.places import code_references, place_of
from b2b_pipeline.orchestration.versions import keep_versions
from b2b_pipeline.pipeline import Pipeline, sizes
from b2b_pipeline.privacy import mask


def raw_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for name in calendar.config.sources:
        for stream in calendar.streams(name):
            yield _raw_asset(SOURCES[name], stream, calendar)
    for stream_name, mappings in file_streams(calendar.config.files).items():
        yield _file_asset(stream_name, mappings, calendar)


def raw_key(source: str, stream: str) -> dg.AssetKey:
    return dg.AssetKey(["raw", source, stream])


def file_key(stream: str) -> dg.AssetKey:
    return raw_key(FILES, stream)


def _raw_asset(source: Source, stream: Stream, calendar: Calendar) -> dg.AssetsDefinition:
    @calendar.asset(
        key=raw_key(source.name, stream.name),
        description=stream.description,
        group_name=f"raw_{source.name}",
        kinds={"json", source.name},
        pool=source.name,
        code_version=calendar.versions.get(f"raw/{source.name}/{stream.name}"),
        metadata={
            "vendor": source.title,
            "api_version": source.api_version,
            "stream_kind": stream.kind,
            **code_references([place_of(stream.fetch, f"the fetch of {stream.name}")]),
        },
    )
    def raw(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        start, end = days_of(context)
        keep_versions(pipeline.config)
        with translated():
            tags = context.run.tags
            before, early = tags.get(AGAIN, "").split(","), EARLY in tags
            report = pipeline.ingest(source.name, stream.name, start, end, context.run.run_id, before, early=early)
        told: dict[str, Any] = {"slices": [item.slice_id for item in report.slices]}
        if report.skipped:
            told["left_out"] = mask("; ".join(f"{item.account}: {item.reason}" for item in report.skipped))
        if report.slices:
            told["watermark"] = max(item.until for item in report.slices)
        rows = sizes(report.rows, start, end) | {day: report.rows[day] for day in _restated(report.slices, start)}
        report_days(
            context, context.asset_key, {day: {"dagster/partition_row_count": n, **told} for day, n in rows.items()}
        )
        if report.failed:
            accounts = "; ".join(f"account {account}: {error}" for account, error in report.failed.items())
            raise failure(f"{source.title}: {accounts}", *report.failed.values())

    return raw


def _restated(slices: Iterable[Slice], start: date) -> set[str]:
    """The earlier days of a report that say something else on this re-read."""
    return {
        day
        for item in slices
        if item.kind == "report"
        for day in item.days
        if day < start.isoformat() and day not in item.same_as
    }


def file_partitions(stream: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=f"files_{stream}")


def _file_asset(stream: str, mappings: list[FileMapping], calendar: Calendar) -> dg.AssetsDefinition:
    patterns = ", ".join(f"`{pattern}`" for mapping in mappings for pattern in mapping.match)

    @dg.asset(
        key=file_key(stream),
        description=f"Files dropped into the inbox: {patterns}. One partition per file name: a file may hold any day.",
        group_name=f"raw_{FILES}",
        kinds={"csv", "file"},
        owners=[OWNER],
        partitions_def=file_partitions(stream),
        retry_policy=RETRY,
        pool=FILES,
        code_version=calendar.versions.get(f"raw/files/{stream}"),
        metadata=code_references([place_of(land_file, "the landing of files")]),
    )
    def raw_file(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.MaterializeResult[None]:
        name = context.partition_key
        mapping = next((mapping for mapping in mappings if mapping.matches(name)), None)
        if mapping is None:
            raise failure(f"{name} matches none of {patterns}")
        with translated():
            path, run_id = pipeline.inbox / name, context.run.run_id
            item = land_file(path, mapping, stream, pipeline.landing, pipeline.config, run_id)
        return dg.MaterializeResult(
            metadata={"dagster/partition_row_count": item.records, "slices": [item.slice_id]},
            data_version=dg.DataVersion(item.slice_id),
        )

    return raw_file
