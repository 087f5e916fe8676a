"""Ends the runs that died with the last code container, so that Dagster retries them and frees their slots.

Runs are processes of the code container and it has just started: whatever is still marked as going is not. Without
this such a run would stay "started" until `run_monitoring.max_runtime_seconds`.
"""

import dagster as dg

MESSAGE = "The code container stopped while this run was going."

with dg.DagsterInstance.get() as instance:
    going = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED]
    for run in instance.get_runs(dg.RunsFilter(statuses=going)):
        instance.report_run_failed(run, MESSAGE)
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.CANCELING])):
        instance.report_run_canceled(run, MESSAGE)
