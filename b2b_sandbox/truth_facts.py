"""What counts, on which day, for which channel: the additive components of every metric, by docs/semantics.md."""

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from datetime import date, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from b2b_sandbox.truth_files import Cost
from b2b_sandbox.truth_people import People, Person, Record, begins, current, day_in, normal, seconds

CENT_OF_CENT = Decimal("1e-6")
PAID = {"paid_search", "paid_social", "display", "video"}
NOT_MARKETING = {"direct", "offline", "unknown", None}
MARKETING_COSTS = {"ads", "agency", "tools", "salaries_marketing", "content", "event"}
AD_CHANNEL = {
    **dict.fromkeys(["SEARCH", "SHOPPING", "HOTEL", "TRAVEL", "LOCAL_SERVICES"], "paid_search"),
    **dict.fromkeys(["PERFORMANCE_MAX", "SMART", "LOCAL", "MULTI_CHANNEL"], "paid_search"),
    **dict.fromkeys(["DISPLAY", "DEMAND_GEN", "DISCOVERY"], "display"),
    "VIDEO": "video",
    **dict.fromkeys(["SPONSORED_UPDATES", "SPONSORED_INMAILS", "TEXT_AD"], "paid_social"),
    **dict.fromkeys(["OUTCOME_LEADS", "OUTCOME_TRAFFIC"], "paid_social"),
    **dict.fromkeys(["LEAD_GENERATION", "IMPRESSIONS", "CONVERSIONS"], "paid_social"),
    **dict.fromkeys(["TRAFFIC", "WEB_CONVERSIONS"], "paid_social"),
    **dict.fromkeys(["WEBSITE_CLICKS", "ENGAGEMENTS"], "paid_social"),
    "Search": "paid_search",
    "PerformanceMax": "paid_search",
    "Audience": "display",
}
LOOK_BACK = timedelta(days=365)


class Fact(NamedTuple):
    component: str
    day: date
    channel: str | None
    amount: Decimal | None  # None: it is not given, or cannot be converted
    who: str | None = None  # of what is counted once however often it comes
    age: int | None = None  # days that it took


class Money:
    """Conversion into the reporting currency, by the reference rates known at the time."""

    def __init__(self, connection: sqlite3.Connection, as_of: int, currency: str) -> None:
        self.currency = currency
        self._fixings: dict[str, dict[str, Decimal]] = defaultdict(lambda: {"EUR": Decimal(1)})
        for day, other, per_eur in connection.execute(
            "select date_day, currency, per_eur from fx_rate where visible_at <= ?", (as_of,)
        ):
            self._fixings[day][other] = Decimal(per_eur)
        self._rates: dict[tuple[str, date], Decimal | None] = {}

    def rate(self, currency: str, day: date) -> Decimal | None:
        """Of the newest fixing at most 7 days old that has both currencies."""
        if currency == self.currency:
            return Decimal(1)
        if (currency, day) not in self._rates:
            self._rates[currency, day] = None
            for age in range(8):
                fixing = self._fixings.get((day - timedelta(days=age)).isoformat(), {})
                if currency in fixing and self.currency in fixing:
                    rate = fixing[self.currency] / fixing[currency]
                    self._rates[currency, day] = rate.quantize(Decimal("1e-10"), ROUND_HALF_EVEN)
                    break
        return self._rates[currency, day]

    def convert(self, amount: Decimal, currency: str, day: date) -> Decimal | None:
        rate = self.rate(currency, day)
        return None if rate is None else (amount * rate).quantize(CENT_OF_CENT, ROUND_HALF_EVEN)


def ad_facts(connection: sqlite3.Connection, as_of: int, money: Money, platforms: Collection[str]) -> Iterator[Fact]:
    """Spend, impressions, clicks and conversions per campaign and day, as the platforms say at the time."""
    currencies = dict(connection.execute("select vendor || id, currency from ad_account").fetchall())
    types = {
        (account, campaign): kind
        for account, campaign, kind in connection.execute(
            "select vendor || account_id, id, coalesce(payload ->> 'advertisingChannelType', payload ->> 'type')"
            " from ad_entity where level = 'campaign' and visible_at <= ?",
            (as_of,),
        )
    }
    rows = connection.execute(
        f"""
        select account, campaign_id, date_day, sum(cost_micros), sum(impressions), sum(clicks),
            json_group_array(conversions), json_group_array(conversions_value)
        from (select vendor || account_id as account, campaign_id, ad_group_id, date_day, max(known_at),
                     cost_micros, impressions, clicks, conversions, conversions_value
              from ad_day where known_at <= ? and vendor in ({", ".join("?" * len(platforms))})
              group by account, campaign_id, ad_group_id, date_day)
        group by account, campaign_id, date_day
        """,  # noqa: S608
        (as_of, *platforms),
    )
    for account, campaign, day_text, micros, impressions, clicks, conversions, values in rows:
        day = date.fromisoformat(day_text)
        channel = AD_CHANNEL.get(types[account, campaign], "other")
        spend = money.convert(Decimal(micros).scaleb(-6), currencies[account], day)
        yield Fact("spend", day, channel, spend)
        yield Fact("impressions", day, channel, Decimal(impressions))
        yield Fact("clicks", day, channel, Decimal(clicks))
        yield Fact("conversions", day, channel, sum(map(Decimal, json.loads(conversions)), Decimal(0)))
        value = sum(map(Decimal, json.loads(values)), Decimal(0))
        yield Fact("conversion_value", day, channel, money.convert(value, currencies[account], day))


def cost_facts(costs: Sequence[Cost], money: Money) -> Iterator[Fact]:
    """Every day's share of each cost."""
    for cost in costs:
        days = (cost.last - cost.first).days + 1
        share = (cost.euros / days).quantize(CENT_OF_CENT, ROUND_DOWN)
        component = "sales_costs" if cost.category == "salaries_sales" else "marketing_costs"
        if component == "marketing_costs" and cost.category not in MARKETING_COSTS:
            continue
        for number in range(days):
            day = cost.first + timedelta(days=number)
            part = share if number < days - 1 else cost.euros - share * (days - 1)
            yield Fact(component, day, cost.channel, money.convert(part, "EUR", day))


class Opportunity(NamedTuple):
    id: str
    account: str | None
    opened: date
    closed: date | None  # None while it is open
    is_won: bool
    amount: Decimal | None  # in the reporting currency
    person: Person | None


def opportunities(
    connection: sqlite3.Connection,
    as_of: int,
    people: People,
    money: Money,
    zone: ZoneInfo,
    excluded_types: Sequence[str],
) -> list[Opportunity]:
    """Those of the system of record, Salesforce, that count."""
    by_lead: dict[str, list[Record]] = defaultdict(list)
    for lead in people.salesforce_leads:
        if lead.data.get("ConvertedOpportunityId") and not lead.is_deleted:
            by_lead[lead.data["ConvertedOpportunityId"]].append(lead)
    by_role: dict[str, list[Record]] = defaultdict(list)
    for role in current(connection, "salesforce", "OpportunityContactRole", as_of):
        if not role.is_deleted:
            by_role[role.data["OpportunityId"]].append(role)
    found = []
    for record in current(connection, "salesforce", "Opportunity", as_of):
        data = record.data
        if record.is_deleted or data["Type"] in excluded_types:
            continue
        person = None
        if leads := by_lead[record.id]:
            first = min(leads, key=lambda lead: (converted(lead, zone), lead.id))
            person = people.of(f"salesforce:lead:{first.id}")
        elif roles := by_role[record.id]:
            best = min(roles, key=lambda r: (not r.data["IsPrimary"], seconds(r.data["CreatedDate"]), r.id))
            person = people.of(f"salesforce:contact:{best.data['ContactId']}")
        opened = day_in(zone, seconds(data["CreatedDate"]))
        closed = date.fromisoformat(data["CloseDate"]) if data["IsClosed"] else None
        amount = None
        if data["Amount"] is not None:
            amount = money.convert(Decimal(data["Amount"]), data["CurrencyIsoCode"], closed or opened)
        found.append(Opportunity(record.id, data["AccountId"], opened, closed, data["IsWon"], amount, person))
    return found


def converted(lead: Record, zone: ZoneInfo) -> int:
    return begins(lead.data["ConvertedDate"], lead.data["CreatedDate"], zone)


def person_facts(people: People, deals: Sequence[Opportunity], zone: ZoneInfo) -> Iterator[Fact]:
    """Leads, MQLs and SQLs on their days, and what became of them."""
    with_opportunity = {id(deal.person) for deal in deals}
    won = defaultdict[int, list[date]](list)
    for deal in deals:
        if deal.is_won and deal.closed is not None:
            won[id(deal.person)].append(deal.closed)
    for person in people.leads():
        assert person.lead_since is not None
        channel, one = person.channel, Decimal(1)
        day = day_in(zone, person.lead_since)
        yield Fact("leads", day, channel, one)
        if person.reached("mql"):
            yield Fact("leads_reached_mql", day, channel, one)
            if (person.since("mql") - day).days <= 30:
                yield Fact("leads_reached_mql_30d", day, channel, one)
        if id(person) in won:
            yield Fact("leads_won", day, channel, one, age=(min(won[id(person)]) - day).days)
        if "mql" in person.entries:
            day = person.entries["mql"]
            yield Fact("mqls", day, channel, one)
            if person.reached("sql"):
                yield Fact("mqls_reached_sql", day, channel, one)
        if "sql" in person.entries:
            day = person.entries["sql"]
            yield Fact("sqls", day, channel, one)
            if id(person) in with_opportunity:
                yield Fact("sqls_with_opportunity", day, channel, one)


def opportunity_facts(deals: Sequence[Opportunity]) -> Iterator[Fact]:
    """Opportunities opened, won and lost, their amounts, and who gets the credit."""
    one, customers = Decimal(1), set()
    for deal in sorted(deals, key=lambda d: (d.closed or date.max, d.id)):
        channel = deal.person.channel if deal.person else None
        yield Fact("opportunities", deal.opened, channel, one)
        yield Fact("pipeline", deal.opened, channel, deal.amount)
        yield Fact("open_opportunities", deal.opened, channel, one)
        yield Fact("open_pipeline", deal.opened, channel, deal.amount)
        if deal.account is not None:
            yield Fact("accounts", deal.opened, channel, one, deal.account)
        if deal.is_won:
            yield Fact("opened_won", deal.opened, channel, one)
        if deal.closed is None:
            continue
        if not deal.is_won:
            yield Fact("opened_lost", deal.opened, channel, one)
        yield Fact("open_opportunities", deal.closed, channel, -one)
        yield Fact("open_pipeline", deal.closed, channel, None if deal.amount is None else -deal.amount)
        yield Fact("won" if deal.is_won else "lost", deal.closed, channel, one)
        yield Fact("bookings" if deal.is_won else "lost_amount", deal.closed, channel, deal.amount)
        if not deal.is_won:
            continue
        yield Fact("cycle_days", deal.closed, channel, Decimal((deal.closed - deal.opened).days))
        yield Fact("cycles", deal.closed, channel, one)
        if deal.account is not None and deal.account not in customers:
            customers.add(deal.account)
            yield Fact("new_customers", deal.closed, channel, one)
        if deal.amount is not None:
            yield Fact("won_with_amount", deal.closed, channel, one)
        yield from credit(deal, deal.closed, deal.amount)


def credit(deal: Opportunity, closed: date, amount: Decimal | None) -> Iterator[Fact]:
    touches = deal.person.touches if deal.person else []
    near = [touch for touch in touches if closed - LOOK_BACK <= touch.day <= closed]
    first, last = (min(near).channel, max(near).channel) if near else (None, None)
    yield Fact("first_touch_revenue", closed, first, amount)
    yield Fact("last_touch_revenue", closed, last, amount)
    if last in PAID:
        yield Fact("paid_revenue", closed, last, amount)
    if last not in NOT_MARKETING:
        yield Fact("marketing_revenue", closed, last, amount)


def email_facts(connection: sqlite3.Connection, as_of: int, zone: ZoneInfo) -> Iterator[Fact]:
    """Each recipient once per e-mail and type of event, on the day of the send."""
    sent_at: dict[tuple[str, int, str], int] = {}
    for kind, campaign, recipient, created, sent, payload in connection.execute(
        "select type, email_campaign_id, recipient, created, sent_by_created, payload from email_event"
        " where visible_at <= ?",
        (as_of,),
    ):
        component = email_component(kind, payload)
        at = created if kind == "SENT" else sent
        if component is not None and at is not None:
            key = (component, campaign, normal(recipient))
            sent_at[key] = min(at, sent_at.get(key, at))
    for (component, _, _), at in sent_at.items():
        yield Fact(component, day_in(zone, at // 1000), "email", Decimal(1))


def email_component(kind: str, payload: str) -> str | None:
    detail: dict[str, Any] = json.loads(payload) if kind in {"OPEN", "CLICK", "STATUSCHANGE"} else {}
    if detail.get("filteredEvent") or detail.get("portalSubscriptionStatus", "UNSUBSCRIBED") != "UNSUBSCRIBED":
        return None
    return {
        "SENT": "sends",
        "DELIVERED": "deliveries",
        "OPEN": "opens",
        "CLICK": "email_clicks",
        "BOUNCE": "bounces",
        "STATUSCHANGE": "unsubscribes",
    }.get(kind)
