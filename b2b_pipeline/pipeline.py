"""Everything that the steps of the pipeline work with, from the environment: configuration, landing, warehouse.

This is the one door between the pipeline and whatever runs it: Dagster's assets, the `b2b` command and the tests.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.configured import load_config
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.connectors.warehouse.read import through
from b2b_pipeline.errors import PipelineError
from b2b_pipeline.landing import shared
from b2b_pipeline.landing.ingest import IngestReport, ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.engine import Warehouse

_begun: set[tuple[str, ...]] = set()  # landing, warehouse and settings that this process knows to be fixed
_agreed: dict[tuple[str, ...], object] = {}  # the same, and whom landing has forgotten -> the warehouse that knows it


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
        """Refuse a change, since the first slice landed, of time zone, currency, first day: what is stored was cut by
        them. And of the hash key: what lands later would no longer join what landed before, and a person count twice.

        Asks landing alone, and writes nothing.
        """
        self._compare(shared.fixed_by(self.landing.root, self.home))

    def hold_together(self) -> dict[str, dict[str, Any]] | None:
        """The same with what the warehouse was begun with, maybe by another machine. Returns whom it has forgotten.

        None when it cannot be asked. That stops nothing but the first slice: later ones are compared when they load.
        """
        root = self.landing.root
        try:
            told = shared.told_by(self.warehouse)
        except (SQLAlchemyError, PipelineError):
            if shared.has_landed(root):
                return None
            raise
        if told is None:
            return None
        fixed, people = told
        if shared.has_landed(root) or fixed != shared.begun_with(root):  # else it was us, and nothing came of it
            self._compare(fixed)
        return people

    def _compare(self, fixed: Mapping[str, str]) -> None:
        now = self._settings()
        if "hash_key" in fixed:  # raises ConfigError when there is none any more: a new one would not be the same
            now["hash_key"] = Pseudonyms.of_home(self.home, make_key=False).fingerprint
        shared.refuse_changes(fixed, now, self.home)

    def _settings(self) -> dict[str, str]:
        config = self.config
        return {"timezone": config.timezone, "currency": config.currency, "start_date": config.start_date.isoformat()}

    def _fixed(self) -> tuple[str, ...]:
        fingerprint = self.landing.pseudonyms.fingerprint
        return str(self.landing.root), str(self.warehouse.url), *self._settings().values(), fingerprint

    def _in_step(self) -> None:
        """Before something lands or loads: agree with the other machines on this warehouse, and learn from them."""
        root, state = self.landing.root, self.warehouse.state()
        if state is not None and shared.has_landed(root) and _agreed.get(self._known()) == state:
            return  # nobody has written since
        people = self.hold_together()
        if people is None:
            return
        shared.learn_forgotten(self.landing, people)
        if self.landing.pseudonyms.people.keys() - people.keys():
            shared.tell_forgotten(self.warehouse, self.landing.pseudonyms.people)
        if shared.has_landed(root):
            self._first()
            _agreed[self._known()] = state

    def _known(self) -> tuple[str, ...]:
        return *self._fixed(), *sorted(self.landing.pseudonyms.people)

    def _first(self) -> None:
        """From the first slice on nothing of it may change."""
        if (both := self._fixed()) not in _begun:
            now = {**self._settings(), "hash_key": self.landing.pseudonyms.fingerprint}
            is_asked = self.hold_together() is not None
            shared.fix(self.landing.root, now)
            if is_asked:
                shared.fix_in(self.warehouse, now)
            _begun.add(both)

    @cached_property
    def landing(self) -> Landing:
        root = settings.landing_root()
        pseudonyms = Pseudonyms.of_home(self.home, self.config.exclude.email_patterns, landing=root)
        return Landing(root, pseudonyms, self._in_step, self._first)

    @cached_property
    def warehouse(self) -> Warehouse:
        return Warehouse()

    @property
    def inbox(self) -> Path:
        """The folder that people drop files into, seen from where pipeline.yaml is.

        `${NAME}` in it is a variable of the environment.
        """
        return settings.config_path().parent / Path(os.path.expandvars(self.config.inbox)).expanduser()

    def ingest(
        self, source: str, stream: str, start: date, end: date, run_id: str, before: Sequence[str] = (),
        *, early: bool = False,
    ) -> IngestReport:  # fmt: skip
        """Read `[start, end)` of one stream into landing. What the runs `before` it landed is not read again.

        `early`: also a snapshot whose turn has not come.
        """
        vendor = through(SOURCES[source], self.config)
        client = vendor.connect(self.config)
        return ingest(
            vendor, vendor.stream(stream), client, vendor.accounts(client, self.config), start, end,
            config=self.config, landing=self.landing, run_id=run_id, before=before, early=early,
        )  # fmt: skip


def sizes(counts: Mapping[str, int], start: date, end: date) -> dict[str, int]:
    """Rows of each ISO day of `[start, end)`, 0 where there are none."""
    days = (date.fromordinal(n).isoformat() for n in range(start.toordinal(), end.toordinal()))
    return {day: counts.get(day, 0) for day in days}
