"""`raw/<source>/<stream>`: one asset per stream, landing what the vendor says. What belongs here: fetching. Nothing else."""

from collections.abc import Iterator
from datetime import date

import dagster as dg

from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.connectors.base import Source, Stream
from b2b_pipeline.core.feeds import file_stream
from b2b_pipeline.errors import PermanentError, QuotaError
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.files.mapping import FileMapping
from b2b_pipeline.landing import Slice
from b2b_pipeline.orchestration.common import OWNER, RETRY, Calendar, days_of, report_days, translated
from b2b_pipeline.pipeline import Pipeline, sizes


def raw_assets(calendar: Calendar) -> Iterator[dg.AssetsDefinition]:
    for name in calendar.config.sources:
        for stream in SOURCES[name].streams:
            yield _raw_asset(SOURCES[name], stream, calendar)
    for stream_name, mappings in file_streams(calendar.config.files).items():
        yield _file_asset(stream_name, mappings)


def _raw_asset(source: Source, stream: Stream, calendar: Calendar) -> dg.AssetsDefinition:
    key = dg.AssetKey(["raw", source.name, stream.name])

    @dg.asset(
        key=key,
        description=stream.description,
        group_name=f"raw_{source.name}",
        kinds={"json", source.name},
        owners=[OWNER],
        partitions_def=calendar.daily,
        backfill_policy=calendar.backfill,
        retry_policy=RETRY,
        pool=source.name,
        metadata={"vendor": source.title, "api_version": source.api_version, "kind": stream.kind},
    )
    def raw(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> None:
        start, end = days_of(context)
        with translated():
            report = pipeline.ingest(source.name, stream.name, start, end, context.run_id)
        counts = sizes(report.rows, start, end)
        watermark = max((item.until for item in report.slices), default=None)
        shared = {"watermark": watermark, "slices": [item.slice_id for item in report.slices]} if report.slices else {}
        report_days(
            context, key, {day: {"dagster/partition_row_count": rows, **shared} for day, rows in counts.items()},
            {day: {"dagster/partition_row_count": rows} for day, rows in _restated(report.slices, start, calendar).items()},
        )  # fmt: skip
        if report.failed:
            for account, error in report.failed.items():
                context.log.error(f"account {account}: {error}")
            final = all(isinstance(error, PermanentError | QuotaError) for error in report.failed.values())
            raise dg.Failure(
                f"{source.title}: {', '.join(f'account {account}: {error}' for account, error in report.failed.items())}",
                allow_retries=not final,
            )

    return raw


def _restated(slices: list[Slice], start: date, calendar: Calendar) -> dict[str, int]:
    """Earlier days of a report whose content came out different on this re-read."""
    begin = calendar.config.start_date.isoformat()
    return {
        day: rows
        for item in slices
        if item.kind == "report"
        for day, (rows, _) in item.days.items()
        if begin <= day < start.isoformat() and day not in item.same_as
    }


def file_streams(files: dict[str, FileMapping]) -> dict[str, list[FileMapping]]:
    """`raw/files/<table>` -> the mappings whose files land there: those of which it is the first table."""
    found: dict[str, list[FileMapping]] = {}
    for mapping in files.values():
        found.setdefault(file_stream(mapping), []).append(mapping)
    return found


def file_partitions(stream: str) -> dg.DynamicPartitionsDefinition:
    return dg.DynamicPartitionsDefinition(name=f"files_{stream}")


def _file_asset(stream: str, mappings: list[FileMapping]) -> dg.AssetsDefinition:
    key = dg.AssetKey(["raw", "files", stream])

    @dg.asset(
        key=key,
        description=f"Files dropped into the inbox that feed `{stream}` first: {', '.join(pattern for m in mappings for pattern in m.match)}. One partition per file name.",
        group_name="raw_files",
        kinds={"csv", "file"},
        owners=[OWNER],
        partitions_def=file_partitions(stream),
        pool="files",
        metadata={"inbox": "the folder `inbox` of pipeline.yaml", "kind": "snapshot"},
    )
    def raw_file(context: dg.AssetExecutionContext, pipeline: dg.ResourceParam[Pipeline]) -> dg.MaterializeResult[None]:
        path = pipeline.inbox / context.partition_key
        mapping = next(m for m in mappings if m.matches(path.name))
        with translated():
            item = land_file(path, mapping, stream, pipeline.landing, pipeline.config, context.run_id)
        return dg.MaterializeResult(metadata={"dagster/partition_row_count": item.records, "slices": [item.slice_id]})

    return raw_file
