"""Daily tables of events as visits and forms, asked in SQL: events are many, and stay where they are.

A parameter of an event is in a repeated record, for which engines have words of their own: PARAMETER has those that the
export can be read with. Of columns that Google added in the course of time, older tables have none.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    MetaData,
    Select,
    String,
    Table,
    and_,
    case,
    cast,
    false,
    func,
    literal_column,
    null,
    select,
    union_all,
)

# Dialect -> the value, of a type, of the parameter of that name.
PARAMETER = {
    "bigquery": "(select max(p.value.{kind}) from unnest(event_params) as p where p.key = '{name}')",
    "duckdb": "list_filter(event_params, lambda p: p.key = '{name}')[1].value.{kind}",
}
NEEDED = ("event_timestamp", "event_name", "event_params", "user_pseudo_id", "platform", "device", "geo")
COLLECTED = ("source", "medium", "campaign_name", "content", "term")  # UTM parameters, as Google calls them
IN_BATCH = ("batch_page_id", "batch_ordering_id", "batch_event_index")  # the order of what is sent at one moment
OF_FIRST = ("location", "referrer", *COLLECTED, "gclid", "campaign_id", "country", "device")

Tables = Mapping[str, Collection[str]]  # table -> its columns


def visits(dialect: str, dataset: str, tables: Tables, since: int, until: int, keys: Sequence[str]) -> Select[Any]:
    """Those that began in `[since, until)`, in microseconds."""
    found = _sessions(_events(dialect, dataset, tables), keys)
    return select(found).where(found.c.began >= since, found.c.began < until)


def forms(dialect: str, dataset: str, tables: Tables, since: int, until: int, names: Sequence[str]) -> Select[Any]:
    """Each form that was sent in `[since, until)`, with the visit in which it was; without consent it has none."""
    events = _events(dialect, dataset, tables)
    found = _sessions(events, ())
    theirs = and_(events.c.visitor == found.c.visitor, events.c.session == found.c.session)
    several = [events.c.visitor, events.c.session, *_in_order(events), events.c.form_id]
    nth = func.row_number().over(partition_by=events.c.at, order_by=several)
    of_form = (events.c.at, events.c.form_id, events.c.form_name, events.c.location.label("page"), nth.label("nth"))
    sent = and_(events.c.name.in_(names), events.c.at >= since, events.c.at < until)
    return select(*of_form, found).select_from(events.outerjoin(found, theirs)).where(sent)


def counts(dataset: str, tables: Collection[str], copied: str) -> Select[Any]:
    """Of each table its name, how many events it has, and how many of them are nobody's; when it was copied, if that
    is told."""
    asked: list[Any] = [
        select(
            literal_column(f"'{name}'").label("name"),
            func.count().label("events"),
            (func.count() - func.count(literal_column("user_pseudo_id"))).label("nobodys"),
            literal_column(f"max({copied})" if copied else "null").label("copied"),
        ).select_from(_table(dataset, name))
        for name in tables
    ]
    return select(union_all(*asked).subquery("counted"))


def _table(dataset: str, name: str) -> Table:
    return Table(name, MetaData(), schema=dataset)


def _events(dialect: str, dataset: str, tables: Tables) -> CTE:
    return union_all(*(_of_day(dialect, dataset, name, columns) for name, columns in tables.items())).cte("events")


def _of_day(dialect: str, dataset: str, table: str, columns: Collection[str]) -> Select[Any]:
    """What is told of each event of the site; apps have none."""

    def parameter(name: str, kind: str) -> ColumnElement[Any]:
        found = PARAMETER[dialect].format(name=name, kind=kind)
        return literal_column(found, String() if kind == "string_value" else BigInteger())

    def words(name: str) -> ColumnElement[Any]:
        """Google takes words that are numbers for such."""
        return func.coalesce(parameter(name, "string_value"), cast(parameter(name, "int_value"), String))

    def there(record: str, field: str) -> ColumnElement[Any]:
        return literal_column(f"{record}.{field}", String()) if record in columns else cast(null(), String)

    name = literal_column("event_name", String())
    return (
        select(
            literal_column("user_pseudo_id", String()).label("visitor"),
            parameter("ga_session_id", "int_value").label("session"),
            literal_column("event_timestamp", BigInteger()).label("at"),
            name.label("name"),
            case((name == "page_view", 0), else_=1).label("is_no_page"),
            *(func.coalesce(literal_column(each) if each in columns else null(), 0).label(each) for each in IN_BATCH),
            parameter("page_location", "string_value").label("location"),
            parameter("page_referrer", "string_value").label("referrer"),
            *(there("collected_traffic_source", f"manual_{each}").label(each) for each in COLLECTED),
            there("collected_traffic_source", "gclid").label("gclid"),
            there("session_traffic_source_last_click", "google_ads_campaign.campaign_id").label("campaign_id"),
            words("session_engaged").label("engaged"),
            func.coalesce(parameter("engagement_time_msec", "int_value"), 0).label("engaged_ms"),
            words("form_id").label("form_id"),
            words("form_name").label("form_name"),
            literal_column("geo.country", String()).label("country"),
            literal_column("device.category", String()).label("device"),
        )
        .select_from(_table(dataset, table))
        .where(func.upper(literal_column("platform", String())) == "WEB")
    )


def _in_order(events: Any) -> list[ColumnElement[Any]]:
    return [events.c.at, *(events.c[name] for name in IN_BATCH), func.coalesce(events.c.location, "")]


def _sessions(events: CTE, keys: Sequence[str]) -> CTE:
    """One row per session, with what is told by the first page seen in it, else by its first event."""
    mine = [events.c.visitor, events.c.session]
    nth = func.row_number().over(partition_by=mine, order_by=[events.c.is_no_page, *_in_order(events)])
    known = select(events, nth.label("nth")).where(*(column.is_not(None) for column in mine)).cte("known")
    is_key = known.c.name.in_(keys) if keys else false()
    return (
        select(
            known.c.visitor,
            known.c.session,
            func.min(known.c.at).label("began"),
            func.max(known.c.at).label("ended"),
            func.count().label("events"),
            func.sum(1 - known.c.is_no_page).label("pageviews"),
            func.sum(case((is_key, 1), else_=0)).label("key_events"),
            func.sum(known.c.engaged_ms).label("engaged_ms"),
            func.max(case((known.c.engaged == "1", 1), else_=0)).label("is_engaged"),
            *(func.max(case((known.c.nth == 1, known.c[name]))).label(name) for name in OF_FIRST),
        )
        .group_by(known.c.visitor, known.c.session)
        .cte("sessions")
    )
