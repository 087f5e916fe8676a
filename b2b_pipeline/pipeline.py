"""Everything that the steps of the pipeline work with, from the environment: configuration, landing, warehouse.

This is the one door between the pipeline and whatever runs it: Dagster's assets, the `b2b` command and the tests.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from b2b_pipeline import settings
from b2b_pipeline.config import Config, load_config
from b2b_pipeline.connectors import SOURCES
from b2b_pipeline.errors import ConfigError
from b2b_pipeline.ingest import IngestReport, ingest
from b2b_pipeline.landing import Landing
from b2b_pipeline.privacy import Pseudonyms, write_private
from b2b_pipeline.warehouse.engine import Warehouse


@dataclass(frozen=True)
class Pipeline:
    """One installation of the pipeline."""

    config: Config
    home: Path

    @classmethod
    def from_environment(cls) -> Pipeline:
        """Raises ConfigError when `pipeline.yaml` is wrong or changes what may not change any more."""
        pipeline = cls(load_config(), settings.home())
        pipeline.hold_fast()
        return pipeline

    def hold_fast(self) -> None:
        """Refuse a later change of the time zone, the currency or the first day: what is stored was cut by them.

        And of the hash key: what lands later would no longer join what landed before, and a person would count twice.
        """
        path, config = self.home / "fixed.json", self.config
        fixed = json.loads(path.read_text()) if path.is_file() else {}
        # Once a key is known, a lost one must be restored: a new one in its place would only be refused.
        pseudonyms = Pseudonyms.of_home(self.home, make_key="hash_key" not in fixed)
        now = {
            "timezone": config.timezone, "currency": config.currency, "start_date": config.start_date.isoformat(),
            "hash_key": pseudonyms.fingerprint,
        }  # fmt: skip
        for name, value in fixed.items():
            if value != now[name] and name == "hash_key":
                raise ConfigError(
                    "the hash key is not the one that this pipeline was set up with: nobody who landed before would be "
                    f"known again. Put the old key back (B2B_HASH_KEY, or {self.home / 'hash.key'} without that "
                    "variable), or start anew with another B2B_HOME."
                )
            if value != now[name]:
                raise ConfigError(
                    f"{name} was {value} when this pipeline was set up and cannot become {now[name]}: "
                    f"days and amounts are stored by it. Put {name} back, or start anew with another B2B_HOME."
                )
        if fixed != now:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, json.dumps(now))

    @cached_property
    def landing(self) -> Landing:
        return Landing(settings.landing_root(), Pseudonyms.of_home(self.home, self.config.exclude.email_patterns))

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse()

    @property
    def inbox(self) -> Path:
        """The folder that people drop files into; `${NAME}` in it is a variable of the environment."""
        path = Path(os.path.expandvars(self.config.inbox)).expanduser()
        return path if path.is_absolute() else self.home / path

    def ingest(
        self, source: str, stream: str, start: date, end: date, run_id: str, before: Sequence[str] = ()
    ) -> IngestReport:
        """Read `[start, end)` of one stream into landing. What the runs `before` it landed is not read again."""
        vendor = SOURCES[source]
        client = vendor.connect(self.config)
        return ingest(
            vendor, vendor.stream(stream), client, vendor.accounts(client, self.config), start, end,
            config=self.config, landing=self.landing, run_id=run_id, before=before,
        )  # fmt: skip


def sizes(counts: Mapping[str, int], start: date, end: date) -> dict[str, int]:
    """Rows of each ISO day of `[start, end)`, 0 where there are none."""
    days = (date.fromordinal(n).isoformat() for n in range(start.toordinal(), end.toordinal()))
    return {day: counts.get(day, 0) for day in days}
