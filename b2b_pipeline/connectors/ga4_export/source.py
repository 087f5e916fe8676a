"""Google Analytics 4's export to BigQuery: visits to the site, one by one, and the forms sent in them.

A visit is a session as Google counts it: the events of one browser (`user_pseudo_id`) with one `ga_session_id`. It ends
with the time without events that is set in Google Analytics (half an hour, unless changed), not with the day and not
with another campaign, and is engaged when Google says so (`session_engaged`). What it came by is told by the page it
began on, as of the collector's visits: click id, UTM parameters of its address or as Google collected them, else the
site that led there; the campaign of a click at Google without parameters is Google's (`google_ads_campaign`). Events
without `user_pseudo_id`, of visitors who did not consent, are in no visit; bots that Google knows are not exported.
Which events are key events is not told: `options: {key_events: "purchase sign_up"}` says it. Forms are the events
`form_submit`, or those that `options: {forms: "generate_lead"}` names; they are read only where `streams: [visit,
form]` says so, for a form that HubSpot, say, tells of too would count twice.

An account is a dataset, `analytics_<property>`. A day where we report is made of the daily tables of that day and of
both its neighbours, whatever the time zone of the property. It is whole when these three are there, and three days have
passed since the last of them: for so long Google adds what comes late. What a day lacks whose table has a million
events or more nobody knows, for more are not exported of a standard property; `options: {most_events: "20000000000"}`
for one of Google Analytics 360. Tables `events_intraday_` and `events_fresh_` are not final, and not read.

The export is read in BigQuery itself, or as a copy in a DuckDB file with the same columns, structures and lists. Rows
of a copy have to say when it was made, in a column that `options: {copied_at: NAME}` names, and each day has to be
copied anew for three days; else no day is whole. Every night reads the last nine tables.
Facts from https://developers.google.com/analytics/bigquery/event-schema and support.google.com/analytics/answer/7029846
(tables, columns, three days), read 2026-12-01; that `user_pseudo_id` and `ga_session_id` are null without consent, and
the limit of a million, from pages on the export (ga4bigquery.com, adriennevermorel.com), for Google's own could not be
read; shapes from github.com/Velir/dbt-ga4. No BigQuery could be asked: the queries to it are checked as text alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sqlalchemy import Engine, inspect

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors import google
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.ga4_export import queries
from b2b_pipeline.connectors.site_visits import forms, same_site, sessions
from b2b_pipeline.connectors.warehouse.asking import answers, asking, batches, names, reached
from b2b_pipeline.errors import ConfigError, PipelineError

URL = "GA4_EXPORT_URL"
DATASET, DAILY = re.compile(r"analytics_\d+"), re.compile(r"events_\d{8}")
LATE = timedelta(days=3)  # for which Google adds to a daily table
WEST = timedelta(hours=12)  # by which a day ends later than in UTC, at most
RESTATE_DAYS = 6  # until the table of the day after is final, anywhere
MOST_EVENTS = 1_000_000
MANY, LONGEST = 1000, timedelta(days=1)  # events, and time, of a visit that no person makes
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Export:
    """tables: dataset -> its tables; columns: dataset, table -> its columns."""

    engine: Engine
    config: Config
    tables: dict[str, list[str]] = field(default_factory=dict)
    columns: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def option(self, name: str, default: str = "") -> str:
        return self.config.sources["ga4_export"].options.get(name, default)

    def datasets(self) -> list[str]:
        with asking(self.engine, URL) as connection:
            return [name.rpartition(".")[2].strip('"') for name in inspect(connection).get_schema_names()]

    def named(self, dataset: str) -> list[str]:
        if dataset not in self.tables:
            with asking(self.engine, dataset) as connection:
                self.tables[dataset] = names(connection, dataset)
        return self.tables[dataset]

    def described(self, dataset: str, tables: Sequence[str]) -> dict[str, set[str]]:
        """Tables and their columns. Raises ConfigError for one that lacks what every export has."""
        with asking(self.engine, dataset) as connection:
            there = inspect(connection)
            for table in tables:
                if (dataset, table) not in self.columns:
                    self.columns[dataset, table] = {each["name"] for each in there.get_columns(table, dataset)}
        found = {table: self.columns[dataset, table] for table in tables}
        for table, columns in found.items():
            if missing := [name for name in queries.NEEDED if name not in columns]:
                raise ConfigError(f"{dataset}.{table} has no {missing[0]}: it is no daily table of the export")
        return found

    def counted(self, dataset: str, tables: Sequence[str]) -> dict[str, Any]:
        """Table -> its row of `queries.counts`. Raises ConfigError where the column of `copied_at` is not there."""
        if not tables:
            return {}
        copied = "" if self.is_original else self.option("copied_at")
        for table, columns in self.described(dataset, tables).items():
            if copied and copied not in columns:
                raise ConfigError(f"{dataset}.{table} has no column {copied}, as options.copied_at says")
        return {row.name: row for row in answers(self.engine, dataset, queries.counts(dataset, tables, copied))}  # type: ignore[attr-defined]

    @property
    def is_original(self) -> bool:
        return self.engine.dialect.name == "bigquery"

    @property
    def most_events(self) -> int:
        """So many events are exported of a day. Raises ConfigError for a number that is none."""
        given = self.option("most_events", str(MOST_EVENTS))
        if not given.isdecimal():
            raise ConfigError(f"sources.ga4_export.options.most_events: {given!r} is not a number of events")
        return int(given)


def _table(day: date) -> str:
    return f"events_{day:%Y%m%d}"


def _instant(micros: int) -> datetime:
    return datetime.fromtimestamp(micros / 1e6, UTC)


def _text(micros: int) -> str:
    return _instant(micros).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# -- reading


def _report(
    asked: Callable[[Export, str, queries.Tables, int, int], Any], made: Callable[[Export, str, Any], Record], at: str
) -> Callable[[Export, Account, Window], Iterator[Page]]:
    def fetch(client: Export, account: Account, window: Window) -> Iterator[Page]:
        dataset, zone = account.id, client.config.zone
        days = [window.start + DAY * n for n in range(-1, len(window.days()) + 1)]
        there = [table for table in map(_table, days) if table in client.named(dataset)]
        yield Page([], f"{dataset} {' '.join(there)}", _doubts(client, dataset, window, there))
        if there:
            since, until = (int(instant.timestamp()) * 1_000_000 for instant in (window.since, window.until))
            query = asked(client, dataset, client.described(dataset, there), since, until)
            for batch in batches(answers(client.engine, dataset, query)):
                records = [made(client, dataset, row) for row in batch]
                on = [datetime.fromisoformat(record[at]).astimezone(zone).date() for record in records]
                kept = [record for record, day in zip(records, on, strict=True) if _is_told(day, there)]
                yield Page(kept, dataset)

    return fetch


def _is_told(day: date, there: Sequence[str]) -> bool:
    """Whether there is a table of the day and, once it is over for long, of those beside it. What is left of a day is
    not all of it: what was read before stands."""
    is_late = datetime.now(UTC).date() - day > DAY * RESTATE_DAYS
    return all(_table(near) in there for near in ((day - DAY, day, day + DAY) if is_late else (day,)))


def _doubts(client: Export, dataset: str, window: Window, there: Sequence[str]) -> dict[str, str]:
    """Day -> why it is not whole: of a table of the three that lacks, may still grow, or was cut off."""
    counted, found = client.counted(dataset, there), {}
    for day in window.days():
        whys = (_doubt(client, dataset, near, counted) for near in (day, day - DAY, day + DAY))
        if why := next(filter(None, whys), ""):
            found[day.isoformat()] = why
    return found


def _doubt(client: Export, dataset: str, day: date, counted: Mapping[str, Any]) -> str:
    table = f"{dataset}.{_table(day)}"
    if (row := counted.get(_table(day))) is None:
        is_begun = f"events_intraday_{day:%Y%m%d}" in client.named(dataset)
        return f"there is no table {table}{', but for its intraday one, which is not final' if is_begun else ''}"
    if not (seen := _seen(client, row)):
        return f"nothing says when {table} was copied: options.copied_at has to name the column that does"
    if seen < datetime.combine(day + DAY, time(), UTC) + WEST + LATE:
        return f"{table} was read as it was on {seen:%Y-%m-%d}: for three days Google adds what comes late"
    if row.events >= client.most_events:
        return f"{table} has {row.events:,} events and may lack others: more of a day are not exported"
    return ""


def _seen(client: Export, row: Any) -> datetime | None:
    """As of when a table is read: a copy as of when it was made, where that is told."""
    if client.is_original:
        return datetime.now(UTC)
    found = datetime.fromisoformat(str(row.copied)) if row.copied else None
    return found.replace(tzinfo=UTC) if found and found.tzinfo is None else found


def _visit(client: Export, dataset: str, row: Any) -> Record:
    return {
        "session_id": f"{dataset}.{row.visitor}.{row.session}", "visitor": row.visitor,
        "started_at": _text(row.began), "updated_at": _text(row.ended), "is_deleted": False,
        "pageviews": row.pageviews, "key_events": row.key_events if client.option("key_events") else None,
        "engaged_ms": row.engaged_ms, "is_engaged": bool(row.is_engaged), **_came(client, row),
        "country": _plain(row.country), "device": _plain(row.device), "is_bot": _is_bot(row),
    }  # fmt: skip


def _form(client: Export, dataset: str, row: Any) -> Record:
    has_visit, who = row.began is not None, f"{dataset}.{row.visitor}.{row.session}"
    visit = {"session_id": who, "is_bot": _is_bot(row), **_came(client, row)} if has_visit else {"session_id": None}
    return {
        "id": f"{who}.{row.at}.{row.nth}", "form_id": _plain(row.form_id), "form_name": _plain(row.form_name),
        "page": _address(row.page)[0], "submitted_at": _text(row.at), "updated_at": _text(row.at), "visit": visit,
    }  # fmt: skip


def _is_bot(row: Any) -> bool:
    return row.events > MANY or _instant(row.ended) - _instant(row.began) > LONGEST


def _came(client: Export, row: Any) -> Record:
    """What led to the page that a visit began on."""
    page, query = _address(row.location)
    utm = {f"utm_{_OURS.get(name, name)}": name for name in queries.COLLECTED}
    told = {ours: _plain(query.get(ours)) for ours in utm}
    if not any(told.values()) and row.medium not in BY_REFERRER:
        told = {ours: _plain(getattr(row, theirs)) for ours, theirs in utm.items()}
    by_address = next((name for name in client.config.channels.click_ids if query.get(name)), None)
    click = by_address or ("gclid" if row.gclid else None)
    referrer, own = _host(row.referrer), [*client.option("own_hosts").lower().split(), *([_host(row.location) or ""])]
    is_own = any(host and referrer and same_site(referrer, host) for host in own)
    return {
        "page": page, "referrer": None if is_own else referrer, **told, "click_id": click,
        "campaign_id": _plain(row.campaign_id) if click == "gclid" else None,
    }  # fmt: skip


_OURS = {"campaign_name": "campaign"}
BY_REFERRER = ("organic", "referral")  # which Google makes of the site that led there, and we by words of ours


def _address(url: str | None) -> tuple[str | None, dict[str, str]]:
    """Host and path of a page, and its query, of which hardly anything is kept."""
    try:
        parts = urlsplit(url or "")
        host = parts.hostname
    except ValueError:  # brackets of no IPv6 address
        return None, {}
    query = {name.lower(): value for name, value in reversed(parse_qsl(parts.query))}
    return (_plain(f"{host}{parts.path or '/'}", 1000) if host else None), query


def _host(url: str | None) -> str | None:
    page, _ = _address(url)
    return page.partition("/")[0] if page else None


def _plain(words: str | None, most: int = 200) -> str | None:
    """Words that may hold anything; those in brackets, such as (not set), are none."""
    plain = "".join(letter for letter in words or "" if letter.isprintable()).strip()[:most]
    return None if plain.startswith("(") else plain or None


def _visits(client: Export, dataset: str, tables: queries.Tables, since: int, until: int) -> Any:
    keys = client.option("key_events").split()
    return queries.visits(client.engine.dialect.name, dataset, tables, since, until, keys)


def _forms(client: Export, dataset: str, tables: queries.Tables, since: int, until: int) -> Any:
    named = client.option("forms", "form_submit").split()
    return queries.forms(client.engine.dialect.name, dataset, tables, since, until, named)


# -- who we are


def connect(config: Config) -> Export:
    """Raises ConfigError for a warehouse whose words for repeated records are not known."""
    engine = reached(URL)
    if engine.dialect.name not in queries.PARAMETER:
        raise ConfigError(f"{URL}: the export is read in BigQuery or in a DuckDB file, not in {engine.dialect.name}")
    return Export(engine, config)


def accounts(client: Export, config: Config) -> Accounts:
    """The datasets that are configured, else those that are called as Google calls them."""
    chosen, where = config.sources["ga4_export"], "sources.ga4_export.accounts"
    every = client.datasets()
    found = [Account(name) for name in every if name in chosen.accounts or DATASET.fullmatch(name)]
    if not found and not chosen.accounts:
        raise ConfigError(f"{where}: no dataset is called analytics_<property>: name the one that has the export")
    return choose(found, chosen.accounts, where, set(chosen.ended))


def probe(client: Export, config: Config) -> list[Finding]:
    """Of each dataset the newest daily table, and what is known of it; what a copy does not say."""
    found = list[Finding]()
    for account in accounts(client, config).read:
        try:
            found += _findings(client, account.id)
        except PipelineError as error:
            fix = error.fix or "let the user read the dataset: in BigQuery the roles Data Viewer, of it, and Job User"
            found.append(Finding(False, str(error), fix))
    return found


def _findings(client: Export, dataset: str) -> Iterator[Finding]:
    daily = sorted(name for name in client.named(dataset) if DAILY.fullmatch(name))
    if not daily:
        fix = "in Google Analytics: Admin > Product links > BigQuery links, export type Daily; nothing else is final"
        yield Finding(False, f"{dataset} has no daily table of events", fix)
        return
    newest = daily[-1]
    row = client.counted(dataset, [newest])[newest]
    late = datetime.now(UTC).date() - datetime.strptime(newest, "events_%Y%m%d").date() > 3 * DAY  # noqa: DTZ007
    fix = "see in Google Analytics whether the export is paused, as it is above a million events a day" if late else ""
    yield Finding(True, f"{dataset}: {len(daily)} days, the newest {newest}, of {row.events:,} events", fix, late)
    if row.nobodys:
        what = f"{dataset}.{newest}: {row.nobodys:,} events are of visitors who did not consent, and in no visit"
        yield Finding(True, what)
    if not client.is_original and not client.option("copied_at"):
        fix = "let the copy write when it was made into a column of its rows, and options.copied_at name it"
        yield Finding(True, f"{dataset} is a copy that does not say of when: no day of it is whole", fix, warning=True)


_DAILY = WindowPolicy(restate_days=RESTATE_DAYS, max_days=7)

SOURCE = Source(
    name="ga4_export",
    title="Google Analytics (BigQuery export)",
    kind="web",
    api_version="1",
    streams=(
        Stream(
            "visit", "report", "Visits to the site: sessions as Google counts them.",
            _report(_visits, _visit, "started_at"), day="started_at", policy=_DAILY, page_size=5000,
            personal=("session_id", "visitor"), feeds={"web_session": sessions},
        ),
        Stream(
            "form", "report", "Forms that were sent, with the visit in which they were.",
            _report(_forms, _form, "submitted_at"), day="submitted_at", policy=_DAILY, page_size=5000,
            personal=("id", "visit.session_id"), feeds={"form_event": forms}, by_name=True,
            states={"form_event": lambda config: ("session_id",)},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=google.classify,
    environment={
        URL: "SQLAlchemy URL of where the export is, of a user that may only read: `bigquery://project`, with `pip "
        "install sqlalchemy-bigquery` and GOOGLE_APPLICATION_CREDENTIALS, the path of a service account's key (roles "
        "BigQuery Data Viewer of the dataset, BigQuery Job User of the project); or `duckdb:////folder/copy.duckdb`"
    },
)  # fmt: skip
