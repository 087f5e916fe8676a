"""What Dagster loads: `b2b_pipeline.definitions:defs`."""

import logging
import warnings
from typing import Any

import dagster as dg
from dotenv import load_dotenv

# Backfill policies are beta in Dagster 1.13 and warn in every process; nothing else is filtered.
warnings.filterwarnings("ignore", category=dg.BetaWarning)

from b2b_pipeline.orchestration.build import build_defs  # noqa: E402
from b2b_pipeline.pipeline import Pipeline  # noqa: E402
from b2b_pipeline.privacy import SecretFilter  # noqa: E402


def mask_logs() -> None:
    """From now on secrets are masked in whatever this process logs, through Dagster's own loggers too."""
    make, secrets = logging.getLogRecordFactory(), SecretFilter()

    def masked(*args: Any, **options: Any) -> logging.LogRecord:
        record = make(*args, **options)
        secrets.filter(record)
        return record

    logging.setLogRecordFactory(masked)


load_dotenv()
mask_logs()
defs = build_defs(Pipeline.from_environment())
