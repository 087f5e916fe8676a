"""Forgets a person: gone from landing, tables, quarantine and exports, and from everything that is pulled later.

Their e-mail's pseudonym becomes a token that says nothing and stays the same, so that every total stays as it was; what
else is personal in the same records is removed. The order makes it safe to run again after a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import Column, ColumnElement, Table, Text, func, or_, select, update

from b2b_pipeline.configuration import settings
from b2b_pipeline.core.load import drop_reload
from b2b_pipeline.errors import ConfigError, DamagedError
from b2b_pipeline.files.formats import searchable
from b2b_pipeline.landing.shared import forgotten_line, tell_forgotten
from b2b_pipeline.landing.spool import Spool
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.operations.export import export_parquet
from b2b_pipeline.operations.replay import rebuild
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline.privacy import PREFIX, Pseudonyms, normalise_email
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.compact import compact
from b2b_pipeline.warehouse.engine import Warehouse


@dataclass(frozen=True)
class Forgotten:
    """What held the person: landed records and collected events, rows by table. What still does, and is left to its
    owner: files in the inbox, and `left`, a line for each other place.
    """

    records: int
    rows: dict[str, int]
    inbox: list[str]
    left: list[str]


def forget(pipeline: Pipeline, email: str, run_id: str) -> Forgotten:
    """Forget the person behind an address. Raises ConfigError when it is no address; never tells it."""
    landing, warehouse, pseudonyms = pipeline.landing, pipeline.warehouse, pipeline.landing.pseudonyms
    try:
        pseudonym = pseudonyms.remembered(email)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    digest, _, domain = pseudonym.removeprefix(PREFIX).partition("@")
    domains = {name.lower() for name in pipeline.config.exclude.email_domains}
    # First of all, so that no pull brings them back meanwhile.
    pseudonyms.forget(email, "email_domains" if domain in domains else None)
    tell_forgotten(warehouse, pseudonyms.people)
    change = _change(pseudonyms, pseudonym, pseudonyms.forget_token(email))
    records, unread = _rewrite(landing, change)
    events, damaged = Spool(settings.collected()).rewrite(change)
    landing.remove_leftovers(datetime.now(UTC) - timedelta(days=1))
    for table in tables.CORE:
        # A load that began before landing was rewritten may still bring them; it has ended when the turn comes to us.
        # One that begins later reads what was rewritten.
        with warehouse.turn(table.name), warehouse.write() as connection:
            drop_reload(connection, table)
    marks = (digest, normalise_email(email))
    rows = {table.name: count for table in tables.metadata.sorted_tables if (count := _count(warehouse, table, marks))}
    if rows:
        rebuild(pipeline, run_id, replay=True, only=_affected(warehouse, marks))
        _replace(warehouse, marks, pseudonyms.forget_token(email).removeprefix(PREFIX))
    compact(warehouse)
    _export_again(pipeline)
    return Forgotten(records + events, rows, _inbox(pipeline, email), [*unread, *damaged, *_left(warehouse, marks)])


def _rewrite(landing: Landing, change: Callable[[str], str]) -> tuple[int, list[str]]:
    """How many landed records were changed; and what could not be read, and so not be searched."""
    records, unread = 0, []
    for item in (item for stream in landing.streams() for item in landing.slices(*stream)):
        try:
            records += landing.rewrite(item, change)
        except DamagedError:
            place = landing.folder(item.source, item.stream, item.account["id"])
            unread.append(f"not searched, because it is damaged: {place}/{item.slice_id}.*: delete it, or restore it")
    return records, unread


def _change(pseudonyms: Pseudonyms, pseudonym: str, token: str) -> Callable[[str], str]:
    def change(line: str) -> str:
        return forgotten_line(pseudonyms, line, pseudonym, token)

    return change


def _texts(table: Table) -> list[Column[str]]:
    return [column for column in table.columns if isinstance(column.type, Text)]


def _names(column: Column[str], marks: tuple[str, str]) -> ColumnElement[bool]:
    """Whether a text holds the person: the hash of the address, or the address itself in any spelling of case."""
    digest, address = marks
    return column.contains(digest) | func.lower(column).contains(address, autoescape=True)


def _count(warehouse: Warehouse, table: Table, marks: tuple[str, str]) -> int:
    query = select(func.count().label("n")).select_from(table).where(or_(*(_names(c, marks) for c in _texts(table))))
    return int(warehouse.rows(query)[0]["n"])


def _affected(warehouse: Warehouse, marks: tuple[str, str]) -> tuple[Table, ...]:
    """Core tables that hold the person, in rows or in what was refused: they are loaded again from landing."""
    book = tables.quarantine.c
    refused = warehouse.rows(select(book.target_table).where(_names(book.record, marks)).distinct())
    names = {row["target_table"] for row in refused}
    return tuple(table for table in tables.CORE if table.name in names or _count(warehouse, table, marks))


def _replace(warehouse: Warehouse, marks: tuple[str, str], token: str) -> None:
    """Rows whose slice or source is no longer read keep nothing of them either."""
    with warehouse.write() as connection:
        for table in tables.metadata.sorted_tables:
            for column in _texts(table):
                for mark in marks:
                    changed = {column.name: func.replace(column, mark, token)}
                    connection.execute(update(table).where(column.contains(mark, autoescape=True)).values(changed))


def _left(warehouse: Warehouse, marks: tuple[str, str]) -> list[str]:
    """What could not be removed here: text in which the address is written in another case, and copies elsewhere."""
    left = [
        f"{count} rows of {table.name} have the address in their text: correct them at their source"
        for table in tables.metadata.sorted_tables
        if (count := _count(warehouse, table, marks))
    ]
    copies = "copies made before (b2b backup, exports that were taken elsewhere"
    if warehouse.dialect == "postgresql":
        copies += ", the server's write-ahead log and base backups"
    return [*left, f"{copies}) still have the person until they are deleted or age out"]


def _export_again(pipeline: Pipeline) -> None:
    folder = settings.shared() / "exports"
    there = folder.is_dir()
    for path in [*folder.rglob("*.parquet"), *(pipeline.home / "exports").rglob("*.parquet")]:
        path.unlink(missing_ok=True)
    if there:
        export_parquet(pipeline.warehouse, folder)


def _inbox(pipeline: Pipeline, email: str) -> list[str]:
    """Names of dropped files that still have the address: they are their owner's, who has to remove it there."""
    if not pipeline.inbox.is_dir():
        return []
    address = normalise_email(email)
    files = [path for path in pipeline.inbox.iterdir() if path.is_file()]
    return sorted(path.name for path in files if address in normalise_email(searchable(path.read_bytes())))
