"""An installation whose only source is a folder of dropped files: drop, load, ask, on a DuckDB file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Select, Table

from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.core.load import load_table
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.files.landing import land_file
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import Rebuilt, rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.migrated import migrated

SETTINGS = """
timezone: UTC
currency: EUR
start_date: 2026-01-01
system_of_record: files
inbox: inbox
"""


@dataclass(frozen=True)
class Dropped:
    """`pipeline.yaml` in `folder` is SETTINGS with the settings given, which win."""

    folder: Path

    @classmethod
    def of(cls, folder: Path, patch: pytest.MonkeyPatch, settings: str) -> Dropped:
        own = {line.partition(":")[0] for line in settings.splitlines() if line[:1].strip()}
        kept = [line for line in SETTINGS.splitlines() if line.partition(":")[0] not in own]
        (folder / "pipeline.yaml").write_text("\n".join([*kept, settings]), encoding="utf-8")
        for name in ("B2B_WAREHOUSE_URL", "B2B_LANDING_URL", "B2B_HASH_KEY"):
            patch.delenv(name, raising=False)
        patch.setenv("B2B_HOME", str(folder / "home"))
        patch.setenv("B2B_CONFIG", str(folder / "pipeline.yaml"))
        patch.chdir(folder)
        return cls(folder)

    def pipeline(self) -> Pipeline:
        found = Pipeline.from_environment()
        found.inbox.mkdir(parents=True, exist_ok=True)
        migrated(found.warehouse)
        return found

    def drop(self, name: str, content: str | bytes) -> str:
        """Put a file into the inbox and land it. Returns why it was refused, or nothing."""
        pipeline = self.pipeline()
        path = pipeline.inbox / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        mapping = pipeline.config.files[mapping_for(name, pipeline.config.files) or ""]
        try:
            land_file(path, mapping, file_stream(mapping), pipeline.landing, pipeline.config, "test")
        except PipelineError as error:
            return str(error)
        return ""

    def load(self) -> Rebuilt:
        return rebuild(self.pipeline(), "test", replay=False)

    def rows(self, query: Select[Any]) -> list[dict[str, Any]]:
        """What a core table says, loaded for it alone."""
        pipeline, (table,) = self.pipeline(), query.get_final_froms()
        assert isinstance(table, Table)
        load_table(pipeline.warehouse, pipeline.landing, pipeline.config, table, "test")
        return pipeline.warehouse.rows(query)

    def ask(
        self, metric: str, start: str | None = None, end: str | None = None, by: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """The rows of `b2b kpi`, each with its `reasons`."""
        pipeline = self.pipeline()
        days = (date.fromisoformat(day) if day else None for day in (start, end))
        answers = ask(pipeline.warehouse, pipeline.config, [metric], *days, by)
        return [answer.as_json() | {"reasons": answer.reasons, "why_null": answer.why_null} for answer in answers]

    def value(self, metric: str, start: str | None = None, end: str | None = None) -> Any:
        (row,) = self.ask(metric, start, end)
        return row["value"]
