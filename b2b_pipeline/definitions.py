"""What Dagster loads: `b2b_pipeline.definitions:defs`."""

import warnings
from pathlib import Path

import dagster as dg

from b2b_pipeline.configuration.settings import load_environment

# Backfill policies are beta in Dagster 1.13 and warn in every process; nothing else is filtered.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

load_environment(Path(".env"))  # first: it says where sources and metrics of one's own lie

from b2b_pipeline.orchestration.build import build_defs, end_with_the_run  # noqa: E402
from b2b_pipeline.pipeline import Pipeline  # noqa: E402
from b2b_pipeline.privacy import mask_logs  # noqa: E402

end_with_the_run()
mask_logs()
defs = build_defs(Pipeline.from_environment())
