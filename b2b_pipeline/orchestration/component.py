"""The pipeline in a Dagster project that somebody has already: `type: b2b_pipeline.B2BPipelineComponent`.

    type: b2b_pipeline.B2BPipelineComponent
    attributes:
      start_date: 2026-01-01
      …

The attributes are the settings of `pipeline.yaml`. They are read from the file itself, by the same rules, and so does
`b2b` with `B2B_CONFIG=<project>/defs/<name>/defs.yaml`.
"""

import os
import warnings
from pathlib import Path
from typing import Any

import dagster as dg
from pydantic import BaseModel, ConfigDict

from b2b_pipeline.configuration.schema import schema
from b2b_pipeline.orchestration.build import build_defs
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import mask_logs


class Settings(BaseModel):
    """What `pipeline.yaml` may say. Judged when the file is read: Dagster's YAML takes the country `no` for a flag."""

    model_config = ConfigDict(extra="allow")

    @classmethod
    def model_json_schema(cls, *_: Any, **__: Any) -> dict[str, Any]:
        """That of `pipeline.yaml`, for `dg` and editors."""
        return schema()


class B2BPipelineComponent(dg.Component):
    """Assets, checks, jobs, schedules and sensors of one installation, whose `B2B_HOME` the environment names.

    Raises ConfigError with file and line for settings that cannot be right.
    """

    def __init__(self, file: Path) -> None:
        self.file = file

    @classmethod
    def get_model_cls(cls) -> type[BaseModel]:
        return Settings

    @classmethod
    def load(cls, attributes: BaseModel | None, context: dg.ComponentLoadContext) -> "B2BPipelineComponent":
        return cls(context.path / "defs.yaml")

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        warnings.filterwarnings("ignore", category=dg.BetaWarning)  # of our backfill policies, in every process
        mask_logs()
        os.environ["B2B_CONFIG"] = str(self.file)  # for the inbox, which is told as seen from it, and for the steps
        return build_defs(Pipeline.from_environment(), executor=None)
