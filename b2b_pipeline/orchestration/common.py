"""What all assets share: one partition a day, one backfill policy, retries, and how an error of ours becomes Dagster's."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from typing import Any, NoReturn

import dagster as dg

from b2b_pipeline.config import Config
from b2b_pipeline.errors import PermanentError, PipelineError, QuotaError
from b2b_pipeline.privacy import mask
from b2b_pipeline.warehouse.tables import metadata as warehouse_metadata

OWNER = "team:revenue-operations"
NO_RETRY_TAGS = {"dagster/max_retries": "0"}
RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)


class Calendar:
    """The shared partitions and backfill policy; assets share a run only when these are the very same."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.daily = dg.DailyPartitionsDefinition(start_date=config.start_date.isoformat(), timezone=config.timezone)
        self.backfill = dg.BackfillPolicy.multi_run(max_partitions_per_run=config.limits.backfill_days)


def days_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """The run's half-open days; never `partition_key`, which a range run does not have."""
    window = context.partition_time_window
    return window.start.date(), window.end.date()


def report_days(
    context: dg.AssetExecutionContext, key: dg.AssetKey, days: Mapping[str, Mapping[str, Any]], extra: Mapping[str, Mapping[str, Any]] = {}
) -> None:
    """Give each day of the run its own metadata; `extra` are days outside it that changed too, as events of their own."""
    for day, metadata in days.items():
        context.add_asset_metadata(dict(metadata), asset_key=key, partition_key=day)
    for day, metadata in extra.items():
        context.log_event(dg.AssetMaterialization(key, partition=day, metadata=dict(metadata), description="restated"))


def fail(error: PipelineError) -> NoReturn:
    """Raise our error as Dagster's: only what may pass is retried."""
    raise dg.Failure(mask(str(error)), allow_retries=not isinstance(error, PermanentError | QuotaError)) from None


@contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except PipelineError as error:
        fail(error)


def column_schema(table: str) -> dg.TableSchema:
    columns = warehouse_metadata.tables[table].columns
    return dg.TableSchema([dg.TableColumn(column.name, str(column.type).lower()) for column in columns])
