"""What would become of a file, before anything is loaded: `b2b files check FILE`."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from b2b_pipeline.configuration.file_cells import COUNTED
from b2b_pipeline.configuration.file_mapping import FileMapping, mapping_for, personal_paths
from b2b_pipeline.connectors.base import Account, MappingContext
from b2b_pipeline.errors import ContractError, PermanentError
from b2b_pipeline.files.formats import MEGABYTE
from b2b_pipeline.files.landing import read_file
from b2b_pipeline.files.propose import Proposal, propose
from b2b_pipeline.files.reading import FOOTER, ROW, mapped_columns, read_records
from b2b_pipeline.files.repeats import NOTES
from b2b_pipeline.files.rows import TOTAL, left_out, rows
from b2b_pipeline.files.sheet import SOURCE
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import REJECT, Kind, enforce, fails_whole, kinds
from b2b_pipeline.warehouse.tables import metadata

if TYPE_CHECKING:
    from b2b_pipeline.configuration.config import Config

LINES = 5  # that are named of each reason


@dataclass(frozen=True)
class Reason:
    """Why rows would go to quarantine; `lines` are the first few, as lines of the file."""

    kind: Kind
    lines: list[int]

    def __str__(self) -> str:
        more = ", …" if self.kind.count > len(self.lines) else ""
        return f"{self.kind}, line {', '.join(map(str, self.lines))}{more}"


@dataclass(frozen=True)
class TableCheck:
    """What one table would get: `loaded + quarantined + repeated` rows, from `records` rows of the file."""

    table: str
    loaded: int
    quarantined: int
    repeated: int
    reasons: list[Reason]
    records: int
    bad_records: int
    fails_whole: bool
    notes: list[str] = field(default_factory=list)  # what loads otherwise than it stands there


@dataclass(frozen=True)
class CheckReport:
    """What would become of a file. `problem`: why none of it could be loaded. `proposal`: a mapping, if none fits."""

    file: str
    mapping: str | None = None
    records: int = 0
    totals: int = 0
    footers: int = 0
    tables: list[TableCheck] = field(default_factory=list)
    problem: str | None = None
    proposal: Proposal | None = None

    @property
    def ok(self) -> bool:
        """Whether every row would load."""
        rejected = any(table.quarantined for table in self.tables)
        return self.problem is None and self.proposal is None and not rejected

    def text(self) -> str:
        """The report for people."""
        if self.proposal is not None:
            what = "A proposal, to complete and put under `files:` (`--add` does it)\n" if self.proposal.table else ""
            return f"{self.file}: no mapping matches. {what}\n{self.proposal.text}"
        lines = [f"{self.file}: cannot be loaded: {self.problem}"] if self.problem is not None else []
        if self.tables:
            totals = f", {self.totals} of them left out as totals" if self.totals else ""
            footers = f", {self.footers} footer line{'s' * (self.footers > 1)} left out" if self.footers else ""
            lines.append(f"{self.file}: mapping {self.mapping}, {self.records} rows{totals}{footers}")
        for table in self.tables:
            repeated = f", {table.repeated} repeated" if table.repeated else ""
            lines.append(f"  {table.table}: {table.loaded} would load, {table.quarantined} quarantined{repeated}")
            lines.extend(f"    {line}" for line in (*table.reasons, *table.notes))
        return "\n".join(lines)


def check(path: Path, config: Config) -> CheckReport:
    """What would become of the file at `path`. Reads only; says nothing that would tell who a person is."""
    try:
        content, _ = read_file(path, config)
        name = mapping_for(path.name, config.files)
        if name is None:
            return CheckReport(path.name, proposal=propose(path.name, content))
        mapping = config.files[name]
        records = read_records(content, mapping, config.limits.max_file_mb * MEGABYTE)
    except (ContractError, PermanentError) as error:
        return CheckReport(path.name, problem=str(error))
    hashed = Pseudonyms(secrets.token_bytes(32), path.with_name(".none"), config.exclude.email_patterns)
    paths = personal_paths(mapping)
    stored = mapped_columns(records, mapping, hashed.text)
    frame = pd.DataFrame([hashed.scrub(hashed.apply(record, paths)) for record in stored], dtype=object)
    context = MappingContext(config, SOURCE, mapping.feeds()[0], Account(path.name))
    tables = [_table(frame, mapping, table, context) for table in mapping.feeds()]
    problem = next((text for table in tables if (text := _too_many(table, config.limits.max_quarantined))), None)
    without = left_out(frame, mapping)
    footers = int((without == FOOTER).sum())
    totals = int((without == TOTAL).sum())
    return CheckReport(path.name, name, len(frame) - footers, totals, footers, tables, problem)


def _table(frame: pd.DataFrame, mapping: FileMapping, table: str, context: MappingContext) -> TableCheck:
    given = rows(frame, mapping, table, context)
    enforced = enforce(metadata.tables[table], given)
    rejects = enforced.rejects
    line = frame[ROW].astype(int)
    reasons = [Reason(kind, sorted(line[kind.records].tolist())[:LINES]) for kind in kinds(rejects)]
    records, bad = given.index.nunique(), rejects["record_number"].nunique()
    whole = fails_whole(rejects, records, context.config.limits.max_quarantined)
    notes = [note for note in given.attrs.get(NOTES, []) if not note.endswith("left out")]  # told by the report itself
    notes += _without_channel(given, mapping) if table == "touchpoint" else []
    notes += _without_count(given, mapping, table) if table in COUNTED else []
    return TableCheck(table, len(enforced.rows), len(rejects), enforced.duplicates, reasons, records, bad, whole, notes)


def _without_channel(touches: pd.DataFrame, mapping: FileMapping) -> Iterator[str]:
    """Touches that nothing gives a channel: they load, but in no channel, and are mostly no touches at all."""
    table = mapping.tables.touchpoint
    if table is None:
        return
    silent = touches["evidence"].isna() & touches[REJECT].isna()
    if not silent.any():
        return
    cells = (table.columns.channel, table.columns.utm_medium, table.columns.gclid)
    source = next((cell.source for cell in cells if cell is not None and cell.source is not None), None)
    counts = sorted({str(channel) for channel in touches.loc[silent, "channel"].dropna()})
    number = int(silent.sum())
    told = f"{number} row{'s give' if number > 1 else ' gives'} no channel: it will count {_as(counts)}"
    yield told + (f"; to leave such rows out, use `when: {source}`" if source else "")


def _without_count(given: pd.DataFrame, mapping: FileMapping, table: str) -> Iterator[str]:
    """Rows that lack a number which the file has: the rest of them counts, and their day is incomplete."""
    columns = mapping.tables.given()[table].columns
    for name, what in COUNTED[table].items():
        number = int((given[name].isna() & given[REJECT].isna()).sum())
        if number and getattr(columns, name) is not None:
            told = f"{number} row{'s have' if number > 1 else ' has'} no {what}"
            rest, verb = "they give" if number > 1 else "it gives", "are" if what.endswith("s") else "is"
            yield f"{told}: what else {rest} counts, {what} of the day {verb} incomplete"


def _as(channels: list[str]) -> str:
    return f"as {', '.join(channels)}" if channels else "in no channel"


def _too_many(table: TableCheck, limit: float) -> str | None:
    """Why the file as a whole would be refused, if it would: more rows of it are bad than the configuration bears."""
    if not table.fails_whole:
        return None
    return (
        f"{table.bad_records} of {table.records} rows of {table.table} would be quarantined, more than {limit:.0%} "
        f"(most: {table.reasons[0]})"
    )
