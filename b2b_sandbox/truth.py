"""The world's own answer to every metric, to hold the pipeline against.

It is computed straight from the world's rows, from docs/semantics.md alone, and shares no code with the pipeline.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal, localcontext
from fractions import Fraction
from itertools import product
from typing import Any
from zoneinfo import ZoneInfo

from b2b_sandbox import truth_files, truth_sources
from b2b_sandbox.truth_facts import (
    PAID,
    Fact,
    Money,
    ad_facts,
    cost_facts,
    email_facts,
    opportunities,
    opportunity_facts,
    person_facts,
)
from b2b_sandbox.truth_metrics import Metric, Terms, metric
from b2b_sandbox.truth_people import People
from b2b_sandbox.world import World

OWN_DOMAINS = ("ourcompany.example",)
TEST_PATTERNS = ("*+test*@*",)
EXCLUDED_TYPES = ("Renewal",)

MONEY = {
    "spend", "marketing_costs", "sales_costs", "pipeline", "bookings", "lost_amount",
    "first_touch_revenue", "last_touch_revenue", "paid_revenue", "marketing_revenue", "conversion_value",
    "open_pipeline", *truth_sources.MONEY,
}  # fmt: skip
MARGIN = {"margin": frozenset({"marketing_revenue"})}
COST = "spend marketing_costs"
# What is paid, and what the money buys at once: it is known only for channels that some row of it names.
BOUGHT = {
    "spend", "impressions", "clicks", "marketing_costs", "sales_costs", "conversions", "conversion_value",
}  # fmt: skip
METRICS = {
    "spend": metric("money", "spend"),
    "impressions": metric("count", "impressions"),
    "clicks": metric("count", "clicks"),
    "ctr": metric("rate", "clicks", "impressions"),
    "cpc": metric("money", "spend", "clicks"),
    "cpm": metric("money", "1000*spend", "impressions"),
    "platform_conversions": metric("count", "conversions"),
    "platform_conversion_value": metric("money", "conversion_value"),
    "platform_roas": metric("rate", "conversion_value", "spend"),
    "platform_cost_per_conversion": metric("money", "spend", "conversions"),
    "leads": metric("count", "leads"),
    "mqls": metric("count", "mqls"),
    "sqls": metric("count", "sqls"),
    "cost_per_lead": metric("money", COST, "leads"),
    "cost_per_lead_ads": metric("money", "spend", "leads"),
    "cost_per_mql": metric("money", COST, "mqls"),
    "cost_per_sql": metric("money", COST, "sqls"),
    "lead_to_mql_rate": metric("rate", "leads_reached_mql", "leads"),
    "lead_to_mql_rate_30d": metric("rate", "leads_reached_mql_30d", "leads", within=30),
    "lead_to_mql_rate_30d_resolved": metric("rate", "leads_reached_mql_30d", "leads", within=30, is_resolved=True),
    "mql_to_sql_rate": metric("rate", "mqls_reached_sql", "mqls"),
    "sql_to_opportunity_rate": metric("rate", "sqls_with_opportunity", "sqls"),
    "opportunity_to_won_rate": metric("rate", "opened_won", "opportunities"),
    "opportunity_to_won_rate_resolved": metric("rate", "opened_won", "opened_won opened_lost"),
    "close_rate": metric("rate", "opened_won", "opportunities"),
    "lead_to_customer_rate": metric("rate", "leads_won", "leads"),
    "lead_to_mql_rate_period": metric("rate", "mqls", "leads"),
    "mql_to_sql_rate_period": metric("rate", "sqls", "mqls"),
    "sql_to_opportunity_rate_period": metric("rate", "opportunities", "sqls"),
    "opportunity_to_won_rate_period": metric("rate", "won", "opportunities"),
    "lead_to_customer_rate_period": metric("rate", "new_customers", "leads"),
    "opportunities": metric("count", "opportunities"),
    "pipeline": metric("money", "pipeline"),
    "open_opportunities": metric("count", "open_opportunities", is_level=True),
    "open_pipeline": metric("money", "open_pipeline", is_level=True),
    "accounts_with_opportunities": metric("count", "accounts", is_distinct=True),
    "won": metric("count", "won"),
    "lost": metric("count", "lost"),
    "bookings": metric("money", "bookings"),
    "win_rate": metric("rate", "won", "won lost"),
    "win_rate_amount": metric("rate", "bookings", "bookings lost_amount"),
    "average_deal_size": metric("money", "bookings", "won_with_amount"),
    "cycle_days_mean": metric("rate", "cycle_days", "cycles"),
    "new_customers": metric("count", "new_customers"),
    "cpa": metric("money", COST, "new_customers"),
    "cac": metric("money", COST + " sales_costs", "new_customers", needs_sales_costs=True),
    "revenue_first_touch": metric("money", "first_touch_revenue"),
    "revenue_last_touch": metric("money", "last_touch_revenue"),
    "roas": metric("rate", "paid_revenue", "spend"),
    "mer": metric("rate", "bookings", COST),
    "romi_multiple": metric("rate", "marketing_revenue", COST),
    "romi": metric("rate", "marketing_revenue -spend -marketing_costs", COST, **MARGIN),
    "roi": metric(
        "rate", "marketing_revenue -spend -marketing_costs -sales_costs", COST + " sales_costs",
        needs_sales_costs=True, **MARGIN,
    ),
    "email_sends": metric("count", "sends"),
    "email_deliveries": metric("count", "deliveries"),
    "email_open_rate": metric("rate", "opens", "deliveries"),
    "email_click_rate": metric("rate", "email_clicks", "deliveries"),
    "email_unsubscribe_rate": metric("rate", "unsubscribes", "deliveries"),
    "email_bounce_rate": metric("rate", "bounces", "sends"),
}  # fmt: skip
QUANTILES = {"cycle_days_median": ("cycle_days", Fraction(1, 2)), "cycle_days_p90": ("cycle_days", Fraction(9, 10))}
ESTIMATES = {
    "lead_to_customer_rate_90d": ("leads", "leads_won", 90, 30)
}  # entered, reached, days, how many have had them
NAMES = (*METRICS, *QUANTILES, *ESTIMATES)
GRAINS = ("day", "week", "month", "quarter", "year")


def truth(
    world: World,
    *,
    as_of: datetime | None = None,
    metrics: Sequence[str] | None = None,
    start: date | None = None,
    end: date | None = None,
    by: Sequence[str] = (),
    timezone: str = "UTC",
    currency: str = "EUR",
    gross_margin: Decimal | None = None,
    own_domains: Sequence[str] = OWN_DOMAINS,
    test_patterns: Sequence[str] = TEST_PATTERNS,
    excluded_types: Sequence[str] = EXCLUDED_TYPES,
    with_files: bool = True,
    platforms: Collection[str] = ("google_ads",),
) -> list[dict[str, Any]]:
    """What a perfect reader of the vendors' APIs could know at `as_of` (default: the world's clock), per metric.

    Both `start` and `end` are included. `by` takes one of day, week, month, quarter, year and/or `channel`. Without
    `channel` every period of the range appears (without a range: from the first to the last with something in it); with
    it, a period and channel appears where there is anything to count for the metric. Rows have the keys (`date`: first
    day of the period; `channel`), `metric`, `value`, `numerator`, `denominator`. Money is a decimal string, the value
    in cents; counts are integers, rates and days floats, the undefined is null.
    `test_patterns` are glob patterns for the whole address, trimmed and in lower case. `platforms` are the ad platforms
    that are read, and the sources beyond what the demo reads.
    """
    unknown = [
        name
        for name in (*(metrics or ()), *by)
        if name not in (*NAMES, *truth_sources.METRICS, *truth_sources.QUANTILES, *GRAINS, "channel")
    ]
    grains = [grain for grain in by if grain in GRAINS]
    if unknown or len(grains) > 1:
        raise ValueError(f"unknown: {unknown}" if unknown else "by takes one of day, week, month, quarter, year")
    now = world.now() if as_of is None else int(as_of.timestamp() * 1000)
    zone, grain, by_channel = ZoneInfo(timezone), grains[0] if grains else None, "channel" in by
    with localcontext(prec=60), world.connect() as connection:
        money = Money(connection, now, currency)
        costs = truth_files.costs(connection, now) if with_files else []
        event_leads = truth_files.event_leads(connection, now) if with_files else []
        with_email = not world.is_rough  # its portal has no Marketing Hub
        people = People(connection, now, zone, event_leads, own_domains, test_patterns, with_email=with_email)
        deals = opportunities(connection, now, people, money, zone, excluded_types)
        facts = [
            *ad_facts(connection, now, money, platforms),
            *cost_facts(costs, money),
            *person_facts(people, deals, zone),
            *opportunity_facts(deals),
            *(email_facts(connection, now, zone) if with_email else ()),
            *(
                fact
                for name in platforms
                if name in truth_sources.FACTS
                for fact in truth_sources.FACTS[name](world, connection, now, zone, money)
            ),
        ]
        bought = Bought(facts, {cost.channel for cost in costs if cost.category == "ads"})
        asked = [fact for fact in facts if (start or date.min) <= fact.day <= (end or date.max)]
        yesterday = datetime.fromtimestamp(now / 1000, zone).date() - timedelta(days=1)
        table = Table(asked, facts, grain, by_channel, start, end, bought, yesterday)
        has_sales_costs = any(cost.category == "salaries_sales" for cost in costs)
        rows = []
        for name in metrics or NAMES:
            if name in QUANTILES | truth_sources.QUANTILES:
                rows += table.quantiles(name)
            elif name in ESTIMATES:
                rows += table.estimates(name)
            elif (found := (METRICS | truth_sources.METRICS)[name]).is_level:
                rows += table.levels(name, found)
            else:
                rows += table.rows(name, found, gross_margin, has_sales_costs)
        return rows


Key = tuple[date | None, str | None]


class Bought:
    """In which channels it is known what was bought; `ads_booked` are those of the costs of category `ads`."""

    def __init__(self, facts: Sequence[Fact], ads_booked: set[str | None]) -> None:
        self._named: dict[str, set[str | None]] = defaultdict(set)
        for fact in facts:
            if fact.component in BOUGHT:
                self._named[fact.component].add(fact.channel)
        self._ads_booked = ads_booked

    def without_spend(self, terms: Terms) -> set[str]:
        """The paid channels that a ratio of these terms leaves out of its total, on both sides."""
        if not (BOUGHT - {"sales_costs"}) & terms.keys():
            return set()
        fed = self._named["spend"] | (self._ads_booked if "marketing_costs" in terms else set())
        return set() if None in fed else PAID - fed

    def is_unknown(self, terms: Terms, channel: str | None) -> bool:
        """Whether a sum of these terms is unknown in one channel. Marketing cost is ad spend and costs together."""
        costs = [name for name in terms if name in BOUGHT]
        if channel in self.without_spend(terms) and set(costs) - {"sales_costs"}:
            return True
        if "marketing_costs" in costs and channel in self._named["spend"] | self._named["marketing_costs"]:
            costs = [name for name in costs if name not in ("spend", "marketing_costs")]
        return any(channel not in self._named[name] for name in costs)


class Table:
    """The sum of each component per period and channel, and what the metrics make of it.

    A sum of rows of which none has an amount is None.
    """

    def __init__(
        self,
        facts: Sequence[Fact],
        history: Sequence[Fact],
        grain: str | None,
        by_channel: bool,
        start: date | None,
        end: date | None,
        bought: Bought,
        yesterday: date,
    ) -> None:
        self._grain, self._by_channel, self._range, self._bought = grain, by_channel, (start, end), bought
        self._facts, self._history, self._yesterday = facts, history, yesterday
        self._cache: dict[tuple[frozenset[str], date], dict[str, dict[Key, Decimal | None]]] = {}

    def _sums(self, without: set[str], until: date = date.max) -> dict[str, dict[Key, Decimal | None]]:
        """Component -> key -> sum, without the channels that are left out and days after `until`."""
        if (kept := (frozenset(without), until)) not in self._cache:
            sums = self._cache[kept] = defaultdict(dict[Key, Decimal | None])
            counted = set()
            for fact in (fact for fact in self._facts if fact.day <= until):
                if fact.who is not None:
                    if (fact.component, self._key(fact), fact.who) in counted:
                        continue
                    counted.add((fact.component, self._key(fact), fact.who))
                if fact.channel not in without:
                    key, so_far = self._key(fact), sums[fact.component]
                    before = so_far.get(key)
                    so_far[key] = before if fact.amount is None else fact.amount + (before or 0)
        return self._cache[kept]

    def _key(self, fact: Fact) -> Key:
        return (first_day(fact.day, self._grain) if self._grain else None, fact.channel if self._by_channel else None)

    def rows(
        self, name: str, metric: Metric, gross_margin: Decimal | None, has_sales_costs: bool
    ) -> list[dict[str, Any]]:
        terms = {**metric.numerator, **(metric.denominator or {})}
        is_given = (gross_margin is not None or not metric.margin) and (has_sales_costs or not metric.needs_sales_costs)
        left_out = self._bought.without_spend(terms) if metric.denominator and not self._by_channel else set()
        until = self._yesterday - timedelta(days=metric.within or 0) if metric.is_resolved else date.max
        sums, rows = self._sums(left_out, until), []
        for key in self._keys(terms):
            above, below = (
                self._sum(sums, side, key, metric.margin, gross_margin)
                if side and is_given and not (self._by_channel and self._bought.is_unknown(side, key[1]))
                else None
                for side in (metric.numerator, metric.denominator)
            )
            value = above
            if metric.denominator is not None:
                value = None if above is None or not below else above / below
            if metric.within and not metric.is_resolved and self._is_early(key, metric):
                value = None
            rows.append(
                self._row(key, name, shown(value, metric))
                | {"numerator": part(above, metric.numerator), "denominator": part(below, metric.denominator or {})}
            )
        return rows

    def _is_early(self, key: Key, metric: Metric) -> bool:
        """Whether one who entered has not had their time."""
        limit = self._yesterday - timedelta(days=metric.within or 0)
        entered = (fact for fact in self._facts if fact.component in (metric.denominator or {}))
        return any(fact.day > limit and self._key(fact) == key for fact in entered)

    def levels(self, name: str, metric: Metric) -> list[dict[str, Any]]:
        """What there was at the end of each period."""
        moves = [fact for fact in self._history if fact.component in metric.numerator]
        channels = {fact.channel for fact in moves} if self._by_channel else {None}
        rows = []
        for period, channel in product(self._periods(moves), sorted(channels, key=str)):
            end = min(
                next_day(period, self._grain) - timedelta(days=1) if period else date.max, self._range[1] or date.max
            )
            mine = [fact for fact in moves if fact.day <= end and (not self._by_channel or fact.channel == channel)]
            if not mine and self._by_channel:
                continue
            amounts = [fact.amount for fact in mine if fact.amount is not None]
            total = None if mine and not amounts else Fraction(sum(amounts, Decimal(0)))
            rows.append(
                self._row((period, channel), name, shown(total, metric))
                | {"numerator": part(total, metric.numerator), "denominator": None}
            )
        return rows

    def quantiles(self, name: str) -> list[dict[str, Any]]:
        of, share = (QUANTILES | truth_sources.QUANTILES)[name]
        return [
            self._row(key, name, quantile(values[key], share) if key in values else None)
            | {"numerator": None, "denominator": None}
            for values in [self._values(of)]
            for key in self._keys({of: 1})
        ]

    def estimates(self, name: str) -> list[dict[str, Any]]:
        """Kaplan and Meier's estimate of those who got there after so many days, and how many that would be."""
        entered, reached, days, least = ESTIMATES[name]
        rows = []
        for key in self._keys({entered: 1}):
            # Who got there is watched until then, the others until yesterday: (days watched, got there).
            mine = [fact for fact in self._facts if self._key(fact) == key]
            since = Counter(fact.day for fact in mine if fact.component == entered)
            ages = [(fact.day, max(fact.age or 0, 0)) for fact in mine if fact.component == reached]
            since.subtract(day for day, _ in ages)
            watched = [(age, True) for _, age in ages]
            watched += [((self._yesterday - day).days, False) for day in since.elements()]
            n = len(watched)
            stay = Fraction(1)
            for at in sorted({age for age, got_there in watched if got_there and age <= days}):
                still = sum(age >= at for age, _ in watched)
                stay *= 1 - Fraction(sum(each == (at, True) for each in watched), still)
            has_had = sum((self._yesterday - fact.day).days >= days for fact in mine if fact.component == entered)
            share = 1 - stay if n and (has_had >= least or has_had == n) else None
            rows.append(
                self._row(key, name, None if share is None else float(share))
                | {"numerator": counted((1 - stay) * n), "denominator": n}
            )
        return rows

    def _values(self, component: str) -> dict[Key, list[Decimal]]:
        found: dict[Key, list[Decimal]] = defaultdict(list)
        for fact in self._facts:
            if fact.component == component and fact.amount is not None:
                found[self._key(fact)].append(fact.amount)
        return found

    def _row(self, key: Key, name: str, value: Any) -> dict[str, Any]:
        period, channel = key
        row: dict[str, Any] = {"date": period.isoformat()} if period else {}
        return row | ({"channel": channel} if self._by_channel else {}) | {"metric": name, "value": value}

    def _keys(self, terms: Terms) -> list[Key]:
        found = {key for name in terms for key in self._sums(set()).get(name, ())}
        if self._by_channel:
            return sorted(found, key=lambda key: (key[0] or date.min, key[1] or ""))
        return [(period, None) for period in self._every([period for period, _ in found if period])]

    def _periods(self, moves: Sequence[Fact]) -> list[date | None]:
        return self._every([fact.day for fact in moves])

    def _every(self, days: Sequence[date]) -> list[date | None]:
        """Every period of the range."""
        if self._grain is None:
            return [None]
        start, end = self._range[0] or min(days, default=None), self._range[1] or max(days, default=None)
        if start is None or end is None:
            return []
        every = (start + timedelta(days=number) for number in range((end - start).days + 1))
        return [*sorted({first_day(day, self._grain) for day in every})]

    def _sum(
        self,
        sums: Mapping[str, Mapping[Key, Decimal | None]],
        terms: Terms,
        key: Key,
        margin: frozenset[str],
        gross_margin: Decimal | None,
    ) -> Fraction | None:
        total = Fraction(0)
        for name, factor in terms.items():
            share = Fraction(gross_margin) if name in margin and gross_margin is not None else 1
            amount = sums.get(name, {}).get(key, Decimal(0))
            if amount is None:
                return None
            total += Fraction(amount) * factor * share
        return total


def first_day(day: date, grain: str) -> date:
    """The first day of the period that a day is in; a week is ISO's, from Monday."""
    match grain:
        case "week":
            return day - timedelta(days=day.weekday())
        case "month":
            return day.replace(day=1)
        case "quarter":
            return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return day.replace(month=1, day=1)
    return day


def next_day(period: date, grain: str | None) -> date:
    """The first day after a period."""
    day = period
    while first_day(day, grain or "day") == period:
        day += timedelta(days=1)
    return day


def quantile(values: Sequence[Decimal], share: Fraction) -> float:
    """Between the two values that lie there, in proportion."""
    ranked = sorted(Fraction(value) for value in values)
    at = share * (len(ranked) - 1)
    low = ranked[int(at)]
    high = ranked[min(int(at) + 1, len(ranked) - 1)]
    return float(low + (high - low) * (at - int(at)))


def shown(value: Fraction | None, metric: Metric) -> str | int | float | None:
    if value is None:
        return None
    if metric.unit == "money":
        return rounded(value, 4 if metric.denominator and 0 < abs(value) < 1 else 2)
    return counted(value) if metric.unit == "count" else float(value)


def part(value: Fraction | None, terms: Terms) -> str | int | float | None:
    """A numerator or denominator: money with 6 decimals, else a count."""
    if value is None:
        return None
    return rounded(value, 6) if MONEY & terms.keys() else counted(value)


def rounded(value: Fraction, places: int) -> str:
    """Half-even, exactly: `round` of a Fraction does that."""
    return f"{Decimal(round(value * 10**places)).scaleb(-places):f}"


def counted(value: Fraction) -> int | float:
    """A platform may share one conversion out among campaigns."""
    return int(value) if value == int(value) else float(value)
