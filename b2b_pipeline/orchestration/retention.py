"""Dagster's own history does not grow for ever: what is older than RETENTION_DAYS goes, every night.

A run goes with its events and compute logs, unless it holds the newest materialisation of an asset's day or file, for
without that the day would look as if nobody had read it; of such a run the compute logs go. Landing, the warehouse and
its ledger are not Dagster's history and stay. Ticks go by `retention:` in dagster.yaml.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg

RETENTION_DAYS = 90
RETENTION = "retention"
LONGEST_RUN = timedelta(days=1)
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
AT_ONCE = 500


def forget_old_runs(instance: dg.DagsterInstance, now: datetime) -> tuple[int, int]:
    """Remove what is older than RETENTION_DAYS. Returns how many runs went, and how many stay for their marks."""
    end = now - timedelta(days=RETENTION_DAYS)
    old = [run.run_id for run in instance.get_runs(dg.RunsFilter(statuses=ENDED, created_before=end))]
    holders = set(_holders(instance, end + LONGEST_RUN)) if old else set()
    for run_id in old:
        instance.compute_log_manager.delete_logs(prefix=[run_id])
        if run_id not in holders:
            instance.delete_run(run_id)
    return len(set(old) - holders), len(set(old) & holders)


def _holders(instance: dg.DagsterInstance, before: datetime) -> Iterator[str]:
    """The runs of every newest materialisation from before then, of a partition or of an asset."""
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    for key in instance.get_asset_keys():
        newest = instance.get_latest_materialization_event(key)
        if newest is not None:
            yield newest.run_id
        ids = sorted(instance.event_log_storage.get_latest_storage_id_by_partition(key, kind).values())
        for first in range(0, len(ids), AT_ONCE):
            some = ids[first : first + AT_ONCE]
            of_these = dg.AssetRecordsFilter(key, storage_ids=some, before_timestamp=before.timestamp())
            yield from (item.run_id for item in instance.fetch_materializations(of_these, limit=AT_ONCE).records)


@dg.op(description=f"Removes Dagster's runs, events and compute logs older than {RETENTION_DAYS} days.")
def forget_old_history(context: dg.OpExecutionContext) -> None:
    gone, kept = forget_old_runs(context.instance, datetime.now(UTC))
    context.log.info(f"{gone} runs went; {kept} stay because a day's newest materialisation is theirs")


@dg.job(name=RETENTION, description=f"Dagster's history of more than {RETENTION_DAYS} days ago goes; marks stay.")
def retention() -> None:
    forget_old_history()
