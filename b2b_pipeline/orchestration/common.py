"""What all assets share: a partition a day, one backfill policy, retries, and how our errors become Dagster's."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import cached_property
from typing import Any

import dagster as dg
from sqlalchemy import Table

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.feeds import feeds
from b2b_pipeline.derived.registry import DERIVED, behind
from b2b_pipeline.errors import PipelineError, QuotaError, TransientError
from b2b_pipeline.failures import explained
from b2b_pipeline.metrics.fed import families_of
from b2b_pipeline.metrics.model import Family
from b2b_pipeline.metrics.registry import tables_of
from b2b_pipeline.orchestration.versions import Versions, code_versions
from b2b_pipeline.privacy import mask
from b2b_pipeline.warehouse import tables

OWNER = "team:revenue-operations"
RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL)
RESTATED = "changed by a run of other days"
WAIT_UNTIL = "wait_until"  # in a failure's metadata: when the vendor may be asked again
AGAIN = "b2b/again"  # tag of a run that asks again: the runs before it
EARLY = "b2b/early"  # tag of a run that reads snapshots before it is their turn


class Calendar:
    """The shared partitions and backfill policy; assets share a run only when these are the very same.

    And what of it all an installation has: its families of metrics, and the core tables that these, or derived tables,
    are made of, or that something feeds.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.daily = dg.DailyPartitionsDefinition(start_date=config.start_date.isoformat(), timezone=config.timezone)
        self.backfill = dg.BackfillPolicy.multi_run(max_partitions_per_run=config.limits.backfill_days)

    def streams(self, source: str) -> list[Stream]:
        """The streams of a source that are switched on."""
        return SOURCES[source].switched_on(self.config)

    @cached_property
    def families(self) -> dict[str, Family]:
        return families_of(self.config)

    @cached_property
    def core(self) -> list[Table]:
        made = [*DERIVED, *(table for family in self.families.values() for table in tables_of(family))]
        read = {part for table in made for part in behind(table)}
        return [table for table in tables.CORE if table.name in read or feeds(table.name, self.config)]

    @cached_property
    def versions(self) -> Versions:
        """Asset -> its code version; those that only count or copy have none."""
        return code_versions(self.config)

    def now(self) -> datetime:
        """The time in the reporting time zone."""
        return datetime.now(self.config.zone)

    def asset(self, **about: Any) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """`dg.asset` for an asset with a partition a day."""
        decorator: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
            **{"owners": [OWNER], **about}, **self._shared
        )
        return decorator

    def assets(self, specs: Sequence[dg.AssetSpec], name: str) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
        """`dg.multi_asset` for assets of one step, with a partition a day, any of which may be selected."""
        return dg.multi_asset(name=name, specs=specs, can_subset=True, **self._shared)

    @property
    def _shared(self) -> dict[str, Any]:
        return {"partitions_def": self.daily, "backfill_policy": self.backfill, "retry_policy": RETRY}


def days_of(context: dg.AssetExecutionContext) -> tuple[date, date]:
    """The run's half-open days; never `partition_key`, which a range run does not have."""
    window = context.partition_time_window
    return window.start.date(), window.end.date()


def report_days(context: dg.AssetExecutionContext, key: dg.AssetKey, days: Mapping[str, Mapping[str, Any]]) -> None:
    """Give each day (ISO) its own metadata; one outside the run that is there and changed gets an event of its own.

    What the data are is another thing after every run: vendors restate. Dagster would take it from the code alone.
    """
    context.set_data_version(key, dg.DataVersion(context.run.run_id))
    asked = set(context.partition_keys)
    there = context.instance.get_materialized_partitions(key)
    for day, metadata in days.items():
        if day in asked:
            context.add_asset_metadata(metadata, asset_key=key, partition_key=day)
        elif day in there:  # a day that nobody has read must not look as if it had been
            context.log_event(dg.AssetMaterialization(key, RESTATED, metadata=metadata, partition=day))


def failure(message: str, *errors: PipelineError) -> dg.Failure:
    """Our errors as Dagster's: it tries again only when there is something among them that may pass.

    Where a vendor wants to be left alone it does not: the sensor `ask_again` does, once its time has come.
    """
    untils = [error.until for error in errors if isinstance(error, QuotaError)]
    return dg.Failure(
        mask(message),
        metadata={WAIT_UNTIL: max(untils).isoformat()} if untils else None,
        allow_retries=not untils and any(isinstance(error, TransientError) for error in errors),
    )


@contextmanager
def translated() -> Iterator[None]:
    """Our error, raised inside, leaves as Dagster's. Who interrupts a step does not want it tried again."""
    try:
        yield
    except (KeyboardInterrupt, dg.DagsterExecutionInterruptedError):
        raise dg.Failure("interrupted", allow_retries=False) from None
    except PipelineError as error:
        raise failure(str(error), error) from None
    except OSError as error:
        ours = explained(error)
        raise failure(str(ours), ours) from error
    except Exception as error:
        if mask(str(error)) == str(error):
            raise
        raise dg.Failure(mask(f"{type(error).__name__}: {error}")) from None


def about_table(table: Table) -> dict[str, Any]:
    return about_columns(table.name, ((column.name, str(column.type).lower()) for column in table.columns))


def about_columns(table: str, columns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A table's name and columns (name, type), as Dagster shows them."""
    shown = [dg.TableColumn(name, kind) for name, kind in columns]
    return {"dagster/table_name": table, "dagster/column_schema": dg.TableSchema(shown)}
