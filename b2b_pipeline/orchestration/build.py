"""All of it together. Tests build definitions over a configuration of their own."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.connection import wait
from multiprocessing.context import ForkProcess, ForkServerProcess

import dagster as dg

from b2b_pipeline.orchestration.assets.core import core_assets
from b2b_pipeline.orchestration.assets.kpi import kpi_assets
from b2b_pipeline.orchestration.assets.raw import raw_assets
from b2b_pipeline.orchestration.checks import checks
from b2b_pipeline.orchestration.common import Calendar
from b2b_pipeline.orchestration.jobs import jobs, schedules
from b2b_pipeline.orchestration.sensors import sensors
from b2b_pipeline.pipeline import Pipeline

# Steps are processes of their own, so that Terminate works and a crash takes one step along; forked from a process that
# has everything imported already, which is twice as fast.
EXECUTOR = dg.multiprocess_executor.configured(
    {"max_concurrent": 2, "start_method": {"forkserver": {"preload_modules": ["b2b_pipeline.orchestration.build"]}}}
)


def end_with_the_run() -> None:
    """In the process of a step, or of a source: die with the process that started it, which may be killed; alone it
    would go on for long."""
    run = multiprocessing.parent_process()
    if run is not None and isinstance(multiprocessing.current_process(), ForkServerProcess | ForkProcess):

        def follow() -> None:
            wait([run.sentinel])
            os.kill(os.getpid(), signal.SIGKILL)

        threading.Thread(target=follow, daemon=True).start()


def build_defs(pipeline: Pipeline, executor: dg.ExecutorDefinition | None = EXECUTOR) -> dg.Definitions:
    """`executor`: of what has none of its own; none where somebody else's definitions have one."""
    calendar = Calendar(pipeline.config)
    asset_checks = list(checks(calendar))
    return dg.Definitions(
        assets=[*raw_assets(calendar), *core_assets(calendar), *kpi_assets(calendar)],
        asset_checks=asset_checks,
        jobs=list(jobs(calendar)),
        schedules=list(schedules(calendar)),
        sensors=list(sensors(calendar, [key for check in asset_checks for key in check.check_keys])),
        resources={"pipeline": pipeline},
        executor=executor,
    )
