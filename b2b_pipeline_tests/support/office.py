"""A company without any source but the files that people drop: one folder with its pipeline.yaml and its inbox."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import b2b_pipeline.orchestration
from b2b_pipeline.cli import app
from b2b_pipeline.configuration.file_mapping import file_stream, mapping_for
from b2b_pipeline.errors import ContractError
from b2b_pipeline.files.landing import land_file, settled
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.query import ask
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.migrated import migrated

SETTINGS = Path(b2b_pipeline.orchestration.__file__).with_name("dagster.yaml")
HEAD = "timezone: UTC\ncurrency: EUR\nstart_date: 2026-01-01\nsystem_of_record: files\nfiles:\n"
MAPPINGS = {
    "ads": """
    match: "ads*.csv"
    tables:
      spend:
        columns:
          date_day: Day
          account_id: {value: google}
          campaign_id: Campaign
          channel: {value: paid_search}
          clicks: Clicks
          spend: Cost
          currency: {value: EUR}
""",
    "leads": """
    match: "leads*.csv"
    tables:
      lead:
        columns:
          lead_id: ID
          email: Mail
          created_at: {from: Created, date: "%Y-%m-%d"}
      touchpoint:
        columns:
          touch_id: ID
          lead_id: ID
          touched_at: {from: Created, date: "%Y-%m-%d"}
          channel: {value: paid_search}
""",
    "deals": """
    match: "deals*.csv"
    tables:
      opportunity:
        columns:
          opp_id: Deal
          created_at: {from: Opened, date: "%Y-%m-%d"}
          close_date: Closed
          amount: Amount
          currency: {value: EUR}
          stage: Stage
        won: [Won]
        lost: [Lost]
        open: [Open]
""",
    "costs": """
    match: "costs*.csv"
    tables:
      cost_ledger:
        columns:
          cost_id: Invoice
          date_day: Day
          category: {value: agency}
          amount: Amount
          currency: {value: EUR}
""",
    "mails": """
    match: "mails*.csv"
    tables:
      email_event:
        columns:
          event_id: ID
          send_id: Send
          email: Mail
          event_type: Event
          event_at: {from: At, date: "%Y-%m-%d"}
          sent_at: {from: Sent, date: "%Y-%m-%d"}
""",
}
ADS, LEADS, DEALS = "Day,Campaign,Clicks,Cost\n", "ID,Mail,Created\n", "Deal,Opened,Closed,Amount,Stage\n"
COSTS, MAILS = "Invoice,Day,Amount\n", "ID,Send,Mail,Event,At,Sent\n"


class Office:
    """The environment points at it as long as the patch holds."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self.folder, self.inbox = folder, folder / "inbox"
        self.inbox.mkdir()
        for name in list(os.environ):
            if name.startswith("B2B_"):
                patch.delenv(name)
        patch.setenv("B2B_HOME", str(folder / "home"))
        patch.setenv("B2B_CONFIG", str(folder / "pipeline.yaml"))
        patch.setenv("DAGSTER_HOME", str(folder / "home" / "dagster"))
        patch.chdir(folder)

    def set_up(self, *names: str, **cadences: str) -> Office:
        """The mappings of these names, some with a cadence."""
        texts = [f"  {name}:{MAPPINGS[name]}" for name in (*names, *cadences)]
        for at, name in enumerate((*names, *cadences)):
            if name in cadences:
                texts[at] += f"    cadence: {cadences[name]}\n"
        (self.folder / "pipeline.yaml").write_text(HEAD + "".join(texts), encoding="utf-8")
        dagster = self.folder / "home" / "dagster"
        dagster.mkdir(parents=True, exist_ok=True)
        shutil.copy(SETTINGS, dagster / "dagster.yaml")
        migrated(self.pipeline().warehouse)
        return self

    def pipeline(self) -> Pipeline:
        return Pipeline.from_environment()

    def drop(self, name: str, text: str, written: date | None = None) -> None:
        """A file, written now or on the given day."""
        path = self.inbox / name
        path.write_text(text, encoding="utf-8")
        if written is not None:
            at = datetime.combine(written, time(9), UTC).timestamp()
            os.utime(path, (at, at))

    def derive(self) -> None:
        """What a backfill does, without Dagster's runs: land what is new in the inbox and derive."""
        pipeline = self.pipeline()
        files = pipeline.config.files
        for path in sorted(self.inbox.iterdir()):
            mapping = files[mapping_for(path.name, files) or ""]
            stream = file_stream(mapping)
            if not settled(path, mapping, stream, pipeline.landing):
                with suppress(ContractError):
                    land_file(path, mapping, stream, pipeline.landing, pipeline.config, "run")
        rebuild(pipeline, "run", replay=False)

    def ask(self, metric: str, start: str = "", end: str = "", by: Sequence[str] = ()) -> list[Answer]:
        pipeline = self.pipeline()
        days = [date.fromisoformat(day) if day else None for day in (start, end or start)]
        return ask(pipeline.warehouse, pipeline.config, [metric], days[0], days[1], by)

    def why(self, metric: str, start: str = "", end: str = "") -> tuple[str, ...]:
        """The reasons for which a number is not complete."""
        (answer,) = self.ask(metric, start, end)
        return answer.reasons

    def backfill(self) -> Result:
        """Of yesterday: files are read whole whatever the days."""
        return self.b2b("backfill", "--from", str(datetime.now(UTC).date() - timedelta(days=1)))

    def b2b(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, arguments)
