"""A source as the tables of a loader give it: the same streams, asked of a warehouse through SQLAlchemy.

What happened until an instant is there only when the loader has run after it, so nothing is read before: a day is never
taken for whole because the loader was late. Rows are found by when the loader wrote them, not by the vendor's own
stamps, which may be older by as much as the loader lagged.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy import (
    Column,
    ColumnElement,
    Connection,
    Date,
    DateTime,
    Engine,
    FromClause,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    cast,
    func,
    inspect,
    or_,
    select,
)

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import (
    MERGED,
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Source,
    Stream,
    Window,
    choose,
)
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.connectors.warehouse.asking import answers, asking, batches, names, reached
from b2b_pipeline.connectors.warehouse.presets import Preset, Rows, StreamTable, plain, presets
from b2b_pipeline.errors import ConfigError, PipelineError, TransientError

OVERLAP = timedelta(days=3)  # the stamp of a row may be that of the beginning of its load, which may be long
QUIET = timedelta(days=7)  # after which nobody knows whether nothing changes in a table, or nothing loads it
RESTATED = 90  # days of reports that are read again each time: it costs the vendor nothing
LATE = timedelta(hours=26)


def through(source: Source, config: Config) -> Source:
    """The source, read from a warehouse where the configuration says so."""
    landed = config.sources[source.name].warehouse
    if landed is None:
        return source
    preset = presets()[source.name, landed.loader]
    streams = [
        replace(
            stream,
            fetch=partial(_fetch, stream),
            policy=replace(
                stream.policy, overlap=OVERLAP if stream.kind in MERGED else timedelta(0), kept=None, told=None
            ),
        )
        for stream in source.streams
        if stream.name in preset.provided
    ]
    return replace(
        source, streams=tuple(streams), connect=partial(_connect, source, preset), accounts=_accounts, probe=_probe,
        restate_days=lambda client, account: RESTATED, parallel=1, authorization=None, daily_calls=None, sunset=None,
        environment={landed.url: "SQLAlchemy URL of the warehouse, of a user that may only read"}, optional=frozenset(),
    )  # fmt: skip


@dataclass(frozen=True)
class Client:
    """The tables of one source in a warehouse. `tables`: those that were looked at; `stamps`: when each was written."""

    source: Source
    preset: Preset
    engine: Engine
    schema: str
    config: Config
    tables: dict[str, Table] = field(default_factory=dict)
    stamps: dict[str, datetime | None] = field(default_factory=dict)

    @property
    def label(self) -> str:
        return f"{self.source.title} by {self.preset.loader} in {self.schema}"

    def table(self, name: str) -> Table:
        """The table, or view, of that name in any spelling. Raises ConfigError where there is none."""
        if name not in self.tables:
            with self.asking() as connection:
                every = names(connection, self.schema)
                real = next((each for each in every if plain(each) == plain(name)), None)
                if real is None:
                    raise ConfigError(f"{self.label}: there is no table {name}: let {self.preset.loader} load it")
                found = inspect(connection).get_columns(real, self.schema)
                columns = [Column(each["name"], each["type"]) for each in found]
            self.tables[name] = Table(real, MetaData(), *columns, schema=self.schema)
        return self.tables[name]

    def column(self, table: FromClause, name: str) -> ColumnElement[Any] | None:
        """The column of that name in any spelling, if it is there."""
        return next((each for each in table.columns if plain(str(each.key)) == plain(name)), None)

    def needed(self, table: FromClause, name: str) -> ColumnElement[Any]:
        """The same. Raises ConfigError where it is not there."""
        if (found := self.column(table, name)) is None:
            raise ConfigError(
                f"{self.label}: {table.description} has no column {name}: let {self.preset.loader} load it"
            )
        return found

    def asking(self) -> AbstractContextManager[Connection]:
        return asking(self.engine, self.label)

    def rows(self, query: Select[Any]) -> Iterator[Sequence[Any]]:
        return answers(self.engine, self.label, query)

    def written_last(self, name: str) -> datetime | None:
        """When the loader last wrote a row of a table, in a load that came to its end where it tells that."""
        if name not in self.stamps:
            stamp = self.needed(self.table(name), self.preset.synced)
            query = select(func.max(_instant(stamp)))
            if self.preset.loads:
                loads = self.table(self.preset.loads)
                ours = self.needed(loads, "load_id").in_(select(stamp))  # a dataset may have those of other sources
                query = select(func.max(_instant(self.needed(loads, "inserted_at")))).where(ours, self._ended(loads))
            with self.asking() as connection:
                found = connection.execute(query).scalar_one()
            self.stamps[name] = found and _aware(found)
        return self.stamps[name]

    def last_load(self) -> datetime | None:
        """When the loader last wrote anything of this source. What happened after it is not there."""
        read = {layout.table for layout in self.preset.streams.values() if self.has(layout.table)}
        return max((at for name in read if (at := self.written_last(name))), default=None)

    def _ended(self, loads: FromClause) -> ColumnElement[bool]:
        return self.needed(loads, "status") == 0

    def has(self, table: str) -> bool:
        try:
            self.table(table)
        except ConfigError:
            return False
        return True

    def written(self, table: FromClause, since: datetime) -> ColumnElement[bool]:
        """Rows that the loader wrote since then."""
        preset = self.preset
        if not preset.loads:
            return _instant(self.needed(table, preset.synced)) >= since
        loads = self.table(preset.loads)
        since_then = _instant(self.needed(loads, "inserted_at")) >= since
        late = select(self.needed(loads, "load_id")).where(since_then, self._ended(loads))
        return self.needed(table, preset.synced).in_(late)

    def newest(self, table: FromClause) -> list[ColumnElement[bool]]:
        """Of a table that keeps every version of a row, the newest ones."""
        active = self.column(table, self.preset.active) if self.preset.active else None
        return [] if active is None else [active.is_(True)]


# -- connecting


def _connect(source: Source, preset: Preset, config: Config) -> Client:
    """Raises AuthError when the URL is not set, ConfigError when it is none, or its driver is not installed."""
    landed = config.sources[source.name].warehouse
    assert landed is not None
    return Client(source, preset, reached(landed.url), landed.in_schema, config)


def _accounts(client: Client, config: Config) -> Accounts:
    """The accounts that the loader lists; of a source with one, the one that the configuration names, or its schema."""
    settings, where = config.sources[client.source.name], f"sources.{client.source.name}.accounts"
    listed = client.preset.accounts
    if listed is None:
        name = settings.accounts[0] if settings.accounts else client.schema
        return Accounts([Account(name, currency=settings.options.get("currency"))])
    table: FromClause = client.table(listed.table)
    if listed.newest:
        table = _newest(client, table, [listed.id], listed.newest)
    names = {"id": listed.id, "name": listed.name, "currency": listed.currency, "time_zone": listed.time_zone}
    columns = [client.needed(table, name).label(key) for key, name in names.items() if name]
    found = [Account(**{**row._mapping, "id": str(row.id)}) for row in client.rows(select(*columns))]  # type: ignore[attr-defined]
    if len(found) > 1 and not all(layout.account for layout in client.preset.streams.values()):
        what = f"{client.label}: {listed.table} holds {len(found)} accounts, and rows do not say whose they are"
        raise ConfigError(f"{what}: let {client.preset.loader} load each into a schema of its own")
    return choose(found, settings.accounts, where, settings.ended)


def _probe(client: Client, config: Config) -> list[Finding]:
    """The loader's last run, tables and columns that lack, whether the user could write, what is never told."""
    loader, found = client.preset.loader, list[Finding]()
    try:
        last = client.last_load()
        late = last is None or datetime.now(UTC) - last > LATE
        when = "has never run" if last is None else f"last wrote {last:%Y-%m-%d %H:%M} UTC"
        fix = f"see in {loader} why it does not run: days after that stay incomplete"
        found.append(Finding(last is not None, f"{client.label}: it {when}", fix, warning=late and last is not None))
    except PipelineError as error:
        return [*found, Finding(False, str(error), error.fix or "see what stands in the schema, and its user's rights")]
    for stream in through(client.source, config).switched_on(config):
        if stream.name not in client.preset.streams:
            continue
        try:
            missing = [path for path, column in _laid(client, stream).paths.items() if column is None]
            absent = f", but for {', '.join(missing)}: they stay empty" if missing else ""
            fix = f"let {loader} load these columns, where you have them" if missing else ""
            what = f"{client.label}: {stream.name} is readable{absent}"
            found.append(Finding(True, what, fix, warning=bool(missing)))
        except PipelineError as error:
            fix = f"or leave {stream.name} out of sources.{client.source.name}.streams"
            found.append(Finding(False, str(error), error.fix or fix))
    if client.engine.dialect.name == "postgresql":
        asked = select(func.has_schema_privilege(client.schema, "CREATE"))
        if any(row[0] for row in client.rows(asked)):
            found.append(Finding(True, f"{client.label}: its user could write there", "let it only read", warning=True))
    fix = f"read {client.source.title} itself where it matters"
    return [*found, *(Finding(True, f"{client.label}: {limit}", fix, warning=True) for limit in client.preset.limits)]


# -- reading


def _fetch(stream: Stream, client: Client, account: Account, window: Window) -> Iterator[Page]:
    """The stream's records, as the vendor would give them. Raises TransientError while the loader has not run yet."""
    if stream.name == "present":
        yield from _present(client)
        return
    doubts = _doubts(client, stream, account, window)
    layout, laid = client.preset.streams[stream.name], _laid(client, stream)
    there = {path: column for path, column in laid.paths.items() if column is not None}
    marks = [
        (path, mark)
        for path, names in layout.gone.items()
        for name in names
        if (mark := laid.column(client, name)) is not None
    ]
    keys = {name: client.needed(laid.table, name) for rows in layout.lists.values() for name in rows.by.values()}
    added = [_added(layout, path, column) for path, column in there.items()]
    columns = [column.label(f"c{n}") for n, column in enumerate([*added, *(mark for _, mark in marks), *keys.values()])]
    query = select(*columns).select_from(laid.source).where(*_asked(client, stream, laid.table, account, window))
    if layout.keys:
        query = query.group_by(*(there[path] for path in layout.keys))
    yield Page([], f"{client.preset.loader} {laid.table.description}", doubts)
    for batch in batches(client.rows(query)):
        records = [_record(client.preset, there, row) for row in batch]
        for record, row in zip(records, batch, strict=True):
            for (path, _), is_gone in zip(marks, row[len(there) :], strict=False):
                _put(record, path, bool(_at(record, path)) or bool(is_gone))
        owners = [dict(zip(keys, row[len(there) + len(marks) :], strict=True)) for row in batch]
        for path, rows in layout.lists.items():
            _add_lists(client, path, rows, records, owners)
        for record in records:
            for path, attribute in layout.of_account.items():
                _put(record, path, getattr(account, attribute))
        yield Page(records, f"{client.preset.loader} {laid.table.description}")


def _added(layout: StreamTable, path: str, column: ColumnElement[Any]) -> ColumnElement[Any]:
    if not layout.keys or path in layout.keys:
        return column
    return func.sum(column) if path in layout.sums else func.max(column)


def _doubts(client: Client, stream: Stream, account: Account, window: Window) -> dict[str, str]:
    """Days of a window of which not all is there, and why. Raises TransientError while the loader has not run since.

    A report is written by every load, so its own table tells. What changes now and then does not: the loader has run
    when it wrote anything of the source; of a table that it has not written for long nobody knows.
    """
    layout, own = client.preset.streams[stream.name], client.written_last(client.preset.streams[stream.name].table)
    if stream.kind == "report":
        zone = ZoneInfo(account.time_zone) if account.time_zone else client.config.zone
        _has_run(client, own, datetime.combine(window.end, time(), zone))
        return {}
    if stream.kind != "changes":
        return {}
    _has_run(client, client.last_load(), window.until)
    days = [day.isoformat() for day in window.days()]
    swept = {each.table for each in client.preset.present}
    found = dict.fromkeys(days, client.preset.doubt) if client.preset.doubt and layout.table not in swept else {}
    if own is None or window.until - own > QUIET:
        when = f"since {own:%Y-%m-%d}" if own else "ever"
        why = f"{client.preset.loader} has written nothing of {layout.table} {when}: it may not load it any more"
        found |= {
            day: why for day in days if own is None or day > own.astimezone(client.config.zone).date().isoformat()
        }
    return found


def _has_run(client: Client, last: datetime | None, until: datetime) -> None:
    if last is None or last < until:
        told = "has never run" if last is None else f"last wrote {last:%Y-%m-%d %H:%M} UTC"
        raise TransientError(f"{client.label}: the loader {told}: what happened after that is not there yet")


def _present(client: Client) -> Iterator[Page]:
    def ids(table: str, name: str) -> Iterator[list[str]]:
        rows = client.table(table)
        for batch in batches(client.rows(select(client.needed(rows, name)).where(*client.newest(rows)))):
            yield [str(row[0]) for row in batch]

    return sweep([(each.object, partial(ids, each.table, each.id)) for each in client.preset.present])


def _asked(
    client: Client, stream: Stream, table: FromClause, account: Account, window: Window
) -> list[ColumnElement[bool]]:
    """Which rows of a stream's table are asked for."""
    layout, found = client.preset.streams[stream.name], client.newest(table)
    if layout.account:
        found.append(cast(client.needed(table, layout.account), Text) == account.id)
    if stream.kind == "report":
        day = cast(client.needed(table, layout.day), Date)
        return [*found, day >= window.start, day < window.end]
    if stream.kind != "changes":
        return found
    # All that was written since, also after the window: of a row only its newest state is there.
    changed = [client.written(table, window.since)]
    for rows in layout.lists.values():
        theirs = client.table(rows.table)
        for their, ours in rows.by.items():
            late = select(client.needed(theirs, their)).where(client.written(theirs, window.since))
            changed.append(client.needed(table, ours).in_(late))
    return [*found, or_(*changed)]


@dataclass(frozen=True)
class _Laid:
    """Where a stream is: its table, those of others, both together, and of each path its column, if it is there."""

    table: FromClause
    joined: dict[str, FromClause]
    source: FromClause
    paths: dict[str, ColumnElement[Any] | None]

    def column(self, client: Client, name: str, needed: bool = False) -> ColumnElement[Any] | None:
        """A column of the stream's own table, or `joined.column`."""
        place, _, rest = name.partition(".")
        of, name = (self.joined[place], rest) if place in self.joined else (self.table, name)
        return client.needed(of, name) if needed else client.column(of, name)


def _laid(client: Client, stream: Stream) -> _Laid:
    """Raises ConfigError for a table, or a column without which numbers would be wrong, that is not there."""
    layout = client.preset.streams[stream.name]
    table: FromClause = client.table(layout.table)
    if layout.newest:
        table = _newest(client, table, layout.newest[:1], layout.newest[1])
    if layout.grain:  # a loader that appends keeps what was restated, too
        grain = [name for name in layout.grain if client.column(table, name) is not None]
        table = _newest(client, table, grain, client.preset.synced)
    source = table
    others: dict[str, FromClause] = {}
    for name, rows in layout.joined.items():
        other = client.table(rows.table)
        others[name] = _newest(client, other, [*rows.by], rows.newest) if rows.newest else other.alias(name)
        on = [client.needed(others[name], theirs) == client.needed(table, ours) for theirs, ours in rows.by.items()]
        source = source.outerjoin(others[name], and_(*on))
    laid = _Laid(table, others, source, {})
    for path in dict.fromkeys([*layout.columns, *stream.asks(client.config)]):
        name = layout.columns.get(path) or _prefixed(path, layout.prefix)
        laid.paths[path] = laid.column(client, name, path in layout.needs)
    return laid


def _prefixed(path: str, prefix: Mapping[str, str]) -> str:
    return next((theirs + path.removeprefix(ours) for ours, theirs in prefix.items() if path.startswith(ours)), path)


def _newest(client: Client, table: FromClause, by: Sequence[str], newest: str) -> FromClause:
    """The last of the rows that are the same in some columns."""
    keys = [client.needed(table, name) for name in by]
    nth = func.row_number().over(partition_by=keys, order_by=client.needed(table, newest).desc()).label("nth_newest")
    ranked = select(table, nth).subquery()
    return select(*[ranked.c[name] for name in table.columns.keys()]).where(ranked.c.nth_newest == 1).subquery()  # noqa: SIM118


def _add_lists(
    client: Client, path: str, rows: Rows, records: list[Record], owners: Sequence[Mapping[str, Any]]
) -> None:
    """Rows of another table as a list in each record, oldest first; with one column named "", of its values alone."""
    ((their, ours),) = rows.by.items()
    table = client.table(rows.table)
    columns = {member: client.needed(table, name) for member, name in rows.columns.items()}
    key = client.needed(table, their)
    query = select(key, *columns.values()).where(key.in_([owner[ours] for owner in owners]), *client.newest(table))
    query = query.where(*(client.needed(table, name) == value for name, value in rows.only.items()))
    found: dict[str, list[Any]] = {}
    for owner, *cells in client.rows(query.order_by(*columns.values())):
        said = {member: _said(client.preset, path, cell) for member, cell in zip(columns, cells, strict=True)}
        found.setdefault(str(owner), []).append(said.get("", said))
    for record, mine in zip(records, owners, strict=True):
        _put(record, path, found.get(str(mine[ours]), []))


def _record(preset: Preset, paths: Mapping[str, object], row: Sequence[Any]) -> Record:
    record: Record = {}
    for path, cell in zip(paths, row, strict=False):
        _put(record, path, _said(preset, path, cell))
    return record


def _said(preset: Preset, path: str, cell: Any) -> Any:
    """A cell as the vendor would have said it in JSON."""
    if path in preset.json_ and isinstance(cell, str):
        return json.loads(cell)
    if path in preset.split and isinstance(cell, str):
        return [part for each in cell.split(preset.split[path]) if (part := each.strip())]
    if cell is None or isinstance(cell, list | dict):
        return cell
    if path in preset.dates:
        return str(cell)[:10]
    if isinstance(cell, datetime):
        return _aware(cell).astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if preset.text and path.startswith(preset.text):
        return str(cell).lower() if isinstance(cell, bool) else _number(cell)
    return cell if isinstance(cell, str | bool | int | float) else _number(cell)


def _number(cell: Any) -> str:
    """Numbers without what a database adds to them: 100 of 100.000000."""
    said = format(cell, "f") if isinstance(cell, Decimal | float) else str(cell)
    return said.rstrip("0").rstrip(".") if isinstance(cell, Decimal | float) and "." in said else said


def _put(record: Record, path: str, value: Any) -> None:
    *parents, name = path.split(".")
    for parent in parents:
        record = record.setdefault(parent, {})
    record[name] = value


def _at(record: Record, path: str) -> Any:
    *parents, name = path.split(".")
    for parent in parents:
        record = record.get(parent) or {}
    return record.get(name)


def _instant(column: ColumnElement[Any]) -> ColumnElement[datetime]:
    """A stamp without a zone is UTC, and so is the session."""
    return cast(column, DateTime(timezone=True))


def _aware(at: datetime) -> datetime:
    return at if at.tzinfo else at.replace(tzinfo=UTC)
