"""What the report says: metrics of a period and of the one before it, as `ask` answers them, and how fresh they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from sqlalchemy import case, func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.configuration.file_mapping import FILES, file_stream
from b2b_pipeline.core.blanks import BLANK
from b2b_pipeline.derived.coverage import FX
from b2b_pipeline.metrics.answer import Answer
from b2b_pipeline.metrics.compare import Compared, compare
from b2b_pipeline.metrics.query import QuestionError, ask
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import campaign, coverage, kpi_component_daily, load_audit, metadata

HEADLINES = ("spend", "leads", "cost_per_lead", "cac", "pipeline", "bookings", "win_rate", "roas")
DAILY = ("spend", "leads", "cost_per_lead", "pipeline", "won", "bookings")
# Count, rate from the stage before it in the same period, rate of the cohort.
FUNNEL = (
    ("leads", "", ""),
    ("mqls", "lead_to_mql_rate_period", "lead_to_mql_rate"),
    ("sqls", "mql_to_sql_rate_period", "mql_to_sql_rate"),
    ("opportunities", "sql_to_opportunity_rate_period", "sql_to_opportunity_rate"),
    ("won", "opportunity_to_won_rate_period", "opportunity_to_won_rate"),
)
CHANNELS = (
    "spend", "leads", "cost_per_lead", "opportunities", "revenue_first_touch", "revenue_last_touch", "roas",
)  # fmt: skip
CAMPAIGNS = ("spend", "leads", "cost_per_lead_ads", "opportunities", "revenue_last_touch")
EMAIL = (
    "email_sends", "email_deliveries", "email_open_rate", "email_click_rate", "email_bounce_rate",
    "email_unsubscribe_rate",
)  # fmt: skip
METRICS = tuple(
    dict.fromkeys((*HEADLINES, *(name for row in FUNNEL for name in row if name), *CHANNELS, *CAMPAIGNS, *EMAIL))
)
TOP_CAMPAIGNS = 10


@dataclass(frozen=True)
class Period:
    """Both days included."""

    start: date
    end: date

    @property
    def days(self) -> int:
        return (self.end - self.start).days + 1

    @property
    def before(self) -> Period:
        """As many days, ending on the day before."""
        return Period(self.start - timedelta(days=self.days), self.start - timedelta(days=1))


@dataclass(frozen=True)
class Split:
    """One channel or campaign (None: rows without one); a metric that has nothing there is missing."""

    key: str | None
    name: str | None
    answers: dict[str, Answer]


@dataclass(frozen=True)
class Freshness:
    """What was read of a source. `until`: the newest day that all of its streams hold; of files, the newest in them."""

    source: str
    table: str | None
    until: date | None
    loaded_at: datetime | None


@dataclass(frozen=True)
class Facts:
    """`days`: metric -> one answer for each day of the period before and of the period, in order."""

    period: Period
    newest_day: date
    numbers: dict[str, Compared]
    days: dict[str, list[Answer]]
    channels: list[Split]
    campaigns: list[Split]
    freshness: list[Freshness]


def gather(warehouse: Warehouse, config: Config, to: date | None, days: int) -> Facts:
    """The `days` days up to `to`, by default up to the last complete day. Raises QuestionError without any data."""
    with warehouse.read():  # one state of the warehouse for all questions
        return _gather(warehouse, config, to, days)


def _gather(warehouse: Warehouse, config: Config, to: date | None, days: int) -> Facts:
    complete, newest = _days_read(warehouse)
    if newest is None:
        raise QuestionError(
            "nothing has been read yet: run the pipeline first, in the Dagster UI or with `b2b backfill`"
        )
    end = to or complete or newest
    if end > newest:
        raise QuestionError(f"nothing has been read after {newest} yet: name that day or an earlier one with --to")
    period = Period(end - timedelta(days=days - 1), end)
    daily = _of(warehouse, config, DAILY, Period(period.before.start, end), "day")
    campaigns = _splits(warehouse, config, CAMPAIGNS, period, "campaign", _campaign_names(warehouse))
    return Facts(
        period,
        newest,
        {pair.now.metric.name: pair for pair in compare(warehouse, config, METRICS, period.start, period.end)},
        {name: [a for a in daily if a.metric.name == name and a.keys["date"] is not None] for name in DAILY},
        _splits(warehouse, config, CHANNELS, period, "channel", {}),
        [row for row in campaigns if row.key is not None][:TOP_CAMPAIGNS],
        _freshness(warehouse, config),
    )


def _of(warehouse: Warehouse, config: Config, names: Sequence[str], period: Period, *by: str) -> list[Answer]:
    return ask(warehouse, config, names, period.start, period.end, by)


def _splits(
    warehouse: Warehouse, config: Config, metrics: Sequence[str], period: Period, by: str, names: dict[str, str]
) -> list[Split]:
    """The largest spend first, then the largest revenue, then the most leads."""
    found: dict[str | None, dict[str, Answer]] = {}
    for answer in _of(warehouse, config, metrics, period, by):
        if answer.numerator or answer.denominator or answer.why_null:
            found.setdefault(answer.keys[by], {})[answer.metric.name] = answer

    def size(row: Split) -> tuple[Fraction, ...]:
        answers = (row.answers.get(name) for name in ("spend", "revenue_last_touch", "leads"))
        return tuple((answer.value if answer else None) or Fraction(0) for answer in answers)

    rows = [Split(key, names.get(key or "", key), answers) for key, answers in found.items()]
    return sorted(sorted(rows, key=lambda row: str(row.key)), key=size, reverse=True)


def _campaign_names(warehouse: Warehouse) -> dict[str, str]:
    rows = warehouse.rows(
        select(campaign.c.campaign_id, campaign.c.name).order_by(campaign.c.source, campaign.c.campaign_id)
    )
    return {row["campaign_id"]: row["name"] for row in rows if row["name"]}


def _days_read(warehouse: Warehouse) -> tuple[date | None, date | None]:
    """The newest day that is complete for every stream, and the newest day that is for any."""
    days = coverage.c.date_day
    whole = func.min(case((coverage.c.is_complete, 1), else_=0))
    read = coverage.c.source != FILES
    complete = select(days).where(read).group_by(days).having(whole == 1).order_by(days.desc()).limit(1)
    newest = select(func.max(days)).where(read, coverage.c.is_complete)
    with warehouse.read() as connection:
        if (last := connection.scalar(newest)) is not None:
            return connection.scalar(complete), last
        # Files alone: nothing tells which days they should have.
        yesterday = datetime.now(UTC).date() - timedelta(days=1)
        stored = kpi_component_daily.c.date_day
        last = connection.scalar(select(func.max(stored)).where(stored <= yesterday))
        return last, last


def _freshness(warehouse: Warehouse, config: Config) -> list[Freshness]:
    covered = coverage.c
    streams = (
        select(covered.source, func.max(case((covered.is_complete, covered.date_day))).label("until"))
        .where(covered.stream.not_in((FX, BLANK)))
        .group_by(covered.source, covered.stream, covered.source_account)
    )
    until: dict[str, list[date | None]] = {}
    for row in warehouse.rows(streams):
        until.setdefault(row["source"], []).append(row["until"])
    audit = load_audit.c
    loads = select(audit.source, audit.stream, func.max(audit.loaded_at).label("at")).group_by(
        audit.source, audit.stream
    )
    loaded: dict[tuple[str, str | None], datetime] = {}
    for row in warehouse.rows(loads):
        at = row["at"].replace(tzinfo=UTC)
        for key in ((row["source"], row["stream"]), (row["source"], None)):
            loaded[key] = max(at, loaded.get(key, at))
    found = [
        Freshness(name, None, _all_until(until.get(name, [])), loaded.get((name, None)))
        for name in sorted(config.sources)
    ]
    for name in sorted({file_stream(mapping) for mapping in config.files.values()}):
        columns = metadata.tables[name].c
        newest = select(func.max(columns.date_day).label("day")).where(columns.source == FILES)
        found.append(Freshness(FILES, name, warehouse.rows(newest)[0]["day"], loaded.get((FILES, name))))
    return found


def _all_until(days: Sequence[date | None]) -> date | None:
    known = [day for day in days if day]
    return min(known) if known and len(known) == len(days) else None
