"""Which days are whole, told by the landing manifest: an outage shows as its days, with the name of what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from itertools import chain
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, or_, select

from b2b_pipeline.configuration.config import Config, plain_id
from b2b_pipeline.configuration.currencies import why_not_converted
from b2b_pipeline.configuration.file_mapping import FILES
from b2b_pipeline.connectors.base import OF_NOW, Stream
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.core.blanks import of_blanks
from b2b_pipeline.core.feeds import Feed, feeds
from b2b_pipeline.core.file_coverage import Books, in_quarantine, of_files
from b2b_pipeline.core.fx import CONVERTED
from b2b_pipeline.core.plan import by_account
from b2b_pipeline.derived.made_of import COVERAGE, EVERY, Loads
from b2b_pipeline.derived.registry import behind, inputs
from b2b_pipeline.landing.absences import absences
from b2b_pipeline.landing.store import Landing, Slice
from b2b_pipeline.warehouse import tables
from b2b_pipeline.warehouse.bulk import stage
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.schema import arrow_table
from b2b_pipeline.warehouse.write import synchronise

OF_RECORD = ("opportunity", "opp_contact_role")  # of which derived tables take the system of record's rows alone
COUNTED_LISTS = ("cost_ledger", "email_summary")  # tables that lists feed, and whose rows count on days of theirs
WAITS = "what was read is not loaded yet"
FX = "exchange rates"  # the stream under which rows without a rate are reported, with their table as `source_account`


def streams_behind(table: str, config: Config) -> set[tuple[str, str, str]]:
    """(source, stream, core table) of everything that a table, core or derived, is made of.

    What a vendor tells without days counts where it is read, if only to decide which rows stand: it is there only while
    it is not whole. A stream of another source's opportunities is left out whole: of
    what else it gives, their stages, nothing is used. Of a file only its opportunities are. Touches of a stream that
    states no channel, as those of accounts, are nobody's, and so are stages of one that states none of a lead, as those
    of opportunities: nothing is derived from them.
    """
    found = [
        (feed, part)
        for part in behind(table)
        for feed in feeds(part, config)
        if feed.kind in OF_NOW or part in inputs(table)
        if table == part or not _is_nobodys(feed, part, config)
    ]
    others = {
        (feed.source, feed.stream)
        for part in OF_RECORD
        for feed in feeds(part, config)
        if feed.source != config.system_of_record
    }
    return {
        (feed.source, feed.stream, part)
        for feed, part in found
        if (feed.source, feed.stream) not in others or (feed.kind == "collection" and part not in OF_RECORD)
    }


def _is_nobodys(feed: Feed, part: str, config: Config) -> bool:
    if part not in (tables.touchpoint.name, tables.stage_event.name) or feed.files is not None:
        return False
    stated = SOURCES[feed.source].stream(feed.stream).states.get(part)
    return stated is not None and not [*stated(config)]


def amounts_behind(table: str, config: Config) -> set[tuple[str, str]]:
    """(source, core table) of every amount that a sum of money over a table, core or derived, is made of."""
    return {
        (source, part)
        for part in CONVERTED.keys() & inputs(table)
        for source in ((config.system_of_record,) if part in OF_RECORD else (*config.sources, FILES))
    }


def update_coverage(warehouse: Warehouse, landing: Landing, config: Config, today: date) -> None:
    """Bring the table `coverage` up to date: every stream and file mapping, every day from the start to yesterday."""
    # A writer keeps everybody out on DuckDB, and there may be many envelopes: they are read before, one run at a time,
    # so that no older state is written last.
    with warehouse.turn(tables.coverage.name):
        with warehouse.read() as connection:
            loads = Loads(connection, config)
        books = Books.of(warehouse)
        told = chain(_of_vendors(landing, config, books, today), of_files(landing, config, books, today))
        streams = arrow_table(tables.coverage, told)
        with warehouse.write() as connection:
            loads.note(connection, COVERAGE, EVERY)
            cells = arrow_table(tables.coverage, chain(_of_rates(connection, config), of_blanks(connection, config)))
            frame = pa.concat_tables([streams, cells])
            with stage(connection, tables.coverage, frame) as incoming:
                synchronise(connection, tables.coverage, select(incoming))


def _of_vendors(landing: Landing, config: Config, books: Books, today: date) -> Iterator[dict[str, Any]]:
    days = [config.start_date + timedelta(days=n) for n in range((today - config.start_date).days)]
    for name in config.sources:
        for stream in SOURCES[name].switched_on(config):
            if stream.kind in OF_NOW:
                yield from _of_list(landing, config, name, stream, days, books)
            else:
                yield from _of_stream(landing, config, name, stream, days, books)


def _of_list(
    landing: Landing, config: Config, source: str, stream: Stream, days: list[date], books: Books
) -> Iterator[dict[str, Any]]:
    """A list has no days of its own: while it is damaged, or a row of its newest is in quarantine, no day is whole.

    What it gives to be counted by day is told of no day since it was last read.
    """
    lists = {items[-1].account["id"]: items for items in by_account(landing.slices(source, stream.name))}
    for table in (name for name in stream.feeds if name in COUNTED_LISTS):
        yield from _not_listed(landing, config, source, stream, lists, days, table)
    for account, items in lists.items():
        for table in stream.feeds:
            errors = books.errors.get(table, {})
            reasons = [errors[item.slice_id] for item in items if item.slice_id in errors]
            rows = books.quarantined.get((source, stream.name, account, table), [])
            if bad := sum(slice_id == items[-1].holder for slice_id, _ in rows):
                reasons.append(in_quarantine(table, f"{source}/{stream.name}", bad))
            for day in days if reasons else ():
                yield {
                    "source": source, "stream": stream.name, "source_account": account, "target_table": table,
                    "date_day": day, "is_complete": False, "reason": reasons[-1],
                }  # fmt: skip


def _not_listed(
    landing: Landing, config: Config, source: str, stream: Stream, lists: dict[str, list[Slice]], days: list[date],
    table: str,
) -> Iterator[dict[str, Any]]:  # fmt: skip
    noted = {item.account: item for item in absences(landing.root, source, stream.name) if not item.over}
    for account in _accounts(config.sources[source].accounts, {*lists, *noted}):
        items = [item for item in lists.get(account, []) if not item.flaw]
        read = max((datetime.fromisoformat(item.pulled_at) for item in items), default=None)
        since = read.astimezone(config.zone).date() + stream.policy.every if read else date.min
        told = f"was last read on {read.astimezone(config.zone).date()}" if read else "was never read"
        reason = f"{source}/{stream.name} {told}" + (f": {noted[account]}" if account in noted else "")
        last = config.last_day(source, account)
        for day in (day for day in days if day >= since and not (last and day > last)):
            yield {
                "source": source, "stream": stream.name, "source_account": account, "target_table": table,
                "date_day": day, "is_complete": False, "reason": reason,
            }  # fmt: skip


def _of_stream(
    landing: Landing, config: Config, source: str, stream: Stream, days: list[date], books: Books
) -> Iterator[dict[str, Any]]:
    landed = {items[0].account["id"]: items for items in by_account(landing.slices(source, stream.name))}
    noted = absences(landing.root, source, stream.name)
    known = {*landed, *(item.account for item in noted if not item.closed and not item.over)}
    for account in _accounts(config.sources[source].accounts, known):
        slices = landed.get(account, [])
        unread = f"{source}/{stream.name} was not read for this day" + (f" ({account})" if len(landed) > 1 else "")
        missing = [item for item in noted if plain_id(item.account) == plain_id(account)]
        unread += "".join(f": {item}" for item in missing[-1:] if not item.over)
        last = config.last_day(source, account)
        over = {day for day in days if (last and day > last) or any(item.explains(day) for item in missing)}
        lost = partial(_lost, source, stream, config, max(days, default=config.start_date) + timedelta(days=1))
        for table in stream.feeds:
            waits = dict.fromkeys(
                {item.slice_id for item in slices} - books.loaded.get(table, set()), f"{source}/{stream.name}: {WAITS}"
            )
            errors = waits | books.errors.get(table, {})
            if stream.kind == "report":
                read = _report_days(slices, errors)
            else:
                read = _changes_days(slices, errors, config, lost)
            reasons = {day: read.get(day.isoformat(), unread + lost(day)) for day in days}
            reasons |= {day: "" for day in over if reasons[day] not in errors.values()}
            for day, why in _in_quarantine(books, source, stream.name, account, table, slices, days):
                reasons[day] = reasons.get(day) or why
            if stream.to_date:
                reasons = _with_the_day_before(reasons, f"{source}/{stream.name}")
            for day, reason in reasons.items():
                yield {
                    "source": source, "stream": stream.name, "source_account": account, "target_table": table,
                    "date_day": day, "is_complete": not reason, "reason": reason or None,
                }  # fmt: skip


def _with_the_day_before(reasons: dict[date, str], what: str) -> dict[date, str]:
    """Of counts to date: a day is what was added since the one before, which has to be whole, too."""
    lacking = f"{what} counts to date, and the day before is not whole"
    return {
        day: reason or (lacking if reasons.get(day - timedelta(days=1), lacking) else "")
        for day, reason in reasons.items()
    }


def _in_quarantine(
    books: Books, source: str, stream: str, account: str, table: str, slices: list[Slice], days: list[date]
) -> Iterator[tuple[date, str]]:
    """The days that lack rows of a table because they are in quarantine: their own, else all that their slice tells of.

    Of a report these are the days of its window, of changes all that came before its end.
    """
    refused = books.quarantined.get((source, stream, account, table), [])
    if not refused:
        return
    reason = in_quarantine(table, f"{source}/{stream}", len(refused))
    windows = {item.slice_id: (item.start if item.kind == "report" else "", item.end) for item in slices}
    for slice_id, own in set(refused):
        since, until = windows.get(slice_id, ("", "9"))
        told = own or [day for day in days if since <= day.isoformat() < until] or days[-1:]
        yield from ((day, reason) for day in told if days and day <= days[-1])


def _accounts(configured: Iterable[str], landed: Iterable[str]) -> list[str]:
    """The configured accounts, as they land, else all that landed. One that never landed stays as it is written."""

    known = {plain_id(account): account for account in landed}
    return [known.get(plain_id(account), account) for account in configured] or sorted(known.values()) or [""]


def _report_days(slices: list[Slice], errors: dict[str, str]) -> dict[str, str]:
    """Day -> why it is not complete, empty when it is; days never read are missing. The newest slice decides."""
    found: dict[str, str] = {}
    for item in slices:
        for day in item.doubts.keys() - item.days.keys():  # it says nothing: what an earlier one said of it stands
            found.setdefault(day, f"{item.source}/{item.stream} ({item.account['id']}): {item.doubts[day]}")
        for day in item.covered():
            found[day] = _error(item, errors, day)
            if (doubt := item.doubts.get(day)) and not found[day]:
                found[day] = f"{item.source}/{item.stream} ({item.account['id']}): {doubt}"
            if day in item.provisional_days:
                found[day] = f"{item.source}: the day was not over in {item.account.get('time_zone')}"
    return found


def _lost(source: str, stream: Stream, config: Config, today: date, day: date) -> str:
    """What makes a gap one for good: the vendor tells nothing of the day any more."""
    limit = stream.policy.told if stream.policy.kept is None else stream.policy.kept
    if limit is None or day > today - limit or config.sources[source].warehouse is not None:
        return ""
    return f", and {SOURCES[source].title} tells it for {limit.days} days alone"


def _changes_days(
    slices: list[Slice], errors: dict[str, str], config: Config, lost: Callable[[date], str]
) -> dict[str, str]:
    """A day of objects is whole when it and every day after it, up to the newest read, were read without a gap.

    What changed later is only known from later reads: a gap makes all earlier days doubtful. A slice that could not be
    loaded is a gap.
    """
    spans: list[tuple[datetime, datetime]] = []
    for since, until in sorted(_span(item) for item in slices if not _error(item, errors)):
        if spans and since <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], until))
        else:
            spans.append((since, until))
    found: dict[str, str] = {}
    for number, (since, until) in enumerate(spans):
        reason = ""
        if number + 1 < len(spans):
            gap = (until, spans[number + 1][0])
            reason = _reason(slices, errors, gap) + lost(gap[0].astimezone(config.zone).date())
        for day in _whole_days(since, until, config):
            found[day] = reason
    for item in slices:
        if error := _error(item, errors):
            for day in _whole_days(*_span(item), config):
                found.setdefault(day, error)
    for day, doubt in _doubts(slices, config).items():
        found[day] = found.get(day) or doubt
    return found


def _doubts(slices: list[Slice], config: Config) -> dict[str, str]:
    """Day of changes -> why it is not whole by what a slice says, unless a newer one was asked for that day again, and
    did not only look back at it. What a slice doubts of days before its own follows from all that it has read: it
    stands until that was asked for again."""
    found: list[tuple[str, Slice, tuple[datetime, datetime]]] = []
    for item in (item for item in slices if not item.flaw):
        since, until = _span(item)
        asked = {day for day in _whole_days(since, until, config) if item.start <= day < item.end} if found else ()
        found = [
            (day, of, span)
            for day, of, span in found
            if not (day in asked and of.start <= day < of.end) and not (since <= span[0] and span[1] <= until)
        ]
        found += [(day, item, (since, until)) for day in item.doubts]
    return {day: f"{item.source}/{item.stream}: {item.doubts[day]}" for day, item, _ in found}


def _reason(slices: list[Slice], errors: dict[str, str], gap: tuple[datetime, datetime]) -> str:
    for item in slices:
        since, until = _span(item)
        if (error := _error(item, errors)) and since < gap[1] and until > gap[0]:
            return error
    return f"{slices[0].source}/{slices[0].stream} was not read between {gap[0]:%Y-%m-%d} and {gap[1]:%Y-%m-%d}"


def _error(item: Slice, errors: dict[str, str], day: str = "*") -> str:
    """Why the slice that holds the records (of `day`) could not be loaded; a damaged one speaks for no day."""
    return errors.get(item.slice_id if item.flaw else item.same_as.get(day, item.slice_id), "")


def _span(item: Slice) -> tuple[datetime, datetime]:
    return datetime.fromisoformat(item.since), datetime.fromisoformat(item.until)


def _whole_days(since: datetime, until: datetime, config: Config) -> Iterator[str]:
    """The ISO days in the reporting time zone that lie wholly in `[since, until)`."""
    day = since.astimezone(config.zone).date()
    while (midnight := _midnight(day, config)) < until:
        if midnight >= since and _midnight(day + timedelta(days=1), config) <= until:
            yield day.isoformat()
        day += timedelta(days=1)


def _midnight(day: date, config: Config) -> datetime:
    return datetime.combine(day, time(), config.zone).astimezone(UTC)


def _of_rates(connection: Connection, config: Config) -> list[dict[str, Any]]:
    """The days on which an amount that could not be converted counts: of an opportunity both opening and close."""
    reasons: dict[tuple[str, str, date], list[str]] = {}
    for name, amounts in CONVERTED.items():
        table = tables.metadata.tables[name]
        unknown = or_(*(table.c[amount].is_not(None) & table.c[twin].is_(None) for amount, twin in amounts.items()))
        for day in (table.c[column] for column in ("date_day", "close_date") if column in table.c):
            query = (
                select(table.c.source, day.label("date_day"), table.c.currency)
                .where(unknown, day.is_not(None))
                .distinct()
                .order_by(table.c.currency)
            )
            for source, date_day, currency in connection.execute(query):
                why = why_not_converted(currency, config.currencies)
                reason = f"{name} in {currency or 'no currency'} cannot be converted: {why}"
                reasons.setdefault((source, name, date_day), []).append(reason)
    return [
        {
            "source": source, "stream": FX, "source_account": name, "target_table": name, "date_day": day,
            "is_complete": False, "reason": "; ".join(dict.fromkeys(found)),
        }
        for (source, name, day), found in reasons.items()
    ]  # fmt: skip
