"""Where money and people do not meet: paid leads without spend, campaigns that no source knows, spend without leads.

Each leak is told with its amount, the largest first. Revenue is that of won deals, by their last touch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, func, select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.warehouse.tables import campaign, cost_ledger, credit, person, spend

DAYS = 90  # that are looked at
SHOWN = 5  # of each kind; a line tells of the others


class Sums(NamedTuple):
    """Of a channel and campaign: ad spend, leads, won deals, their revenue, and how many of them have an amount."""

    spend: Decimal = Decimal(0)
    leads: int = 0
    deals: int = 0
    revenue: Decimal = Decimal(0)
    amounts: int = 0

    def __add__(self, other: Any) -> Sums:
        return Sums(*(one + another for one, another in zip(self, other, strict=True)))


Place = tuple[str | None, str | None]  # channel and campaign


@dataclass(frozen=True)
class Leak:
    """`kind`: what is wrong. `where`: the channel, and campaign if it is of one. `fix`: what to do about it."""

    kind: str
    where: str
    sums: Sums
    fix: str

    def told(self, currency: str) -> str:
        """`paid_social: 12 leads, 2 won deals of 31,000.00 EUR: no source gives what it cost`"""
        n, parts = self.sums, list[str]()
        if n.spend:
            parts.append(f"{n.spend:,.2f} {currency} spent")
        if n.leads:
            parts.append(f"{n.leads} lead{'s' * (n.leads > 1)}")
        if n.deals:
            amount = f"{n.revenue:,.2f} {currency}" if n.amounts else "unknown amount"
            parts.append(f"{n.deals} won deal{'s' * (n.deals > 1)} of {amount}")
        if 0 < n.amounts < n.deals:
            parts.append(f"{n.deals - n.amounts} of them without an amount")
        return f"{self.where}: {', '.join(parts)}: {self.kind}"


UNFED = "no source gives what it cost", "switch on its ad platform, drop its export, or book it as a cost: it is not 0"
UNKNOWN = "no source knows this campaign", "put a campaign's id, or its exact name, into utm_campaign of its links"
FRUITLESS = "no lead came by it", "see that its links name it, and that forms keep utm_campaign and click ids"
UNTOUCHED = "no touch of its people is known", "tie deals to people (contact roles), and let forms keep how they came"


def leaks(connection: Connection, config: Config, today: date) -> list[Leak]:
    """Of the days that are over, the last 90: of each kind the five with the most money, and the rest as one."""
    found = sorted(_all(connection, config, today), key=lambda leak: (leak.kind, [-n for n in _size(leak)], leak.where))
    told = list[Leak]()
    for kind, same in groupby(found, lambda leak: leak.kind):
        first, rest = (every := list(same))[:SHOWN], every[SHOWN:]
        told += first
        if rest:
            told.append(Leak(kind, f"{len(rest)} more", sum((leak.sums for leak in rest), Sums()), first[0].fix))
    return told


def _size(leak: Leak) -> tuple[Decimal, int, int]:
    return leak.sums.spend + leak.sums.revenue, leak.sums.deals, leak.sums.leads


def _all(connection: Connection, config: Config, today: date) -> Iterator[Leak]:
    by_campaign = _sums(connection, today - timedelta(days=DAYS), today)
    by_channel: dict[str | None, Sums] = {}
    for (channel, _), sums in by_campaign.items():
        by_channel[channel] = by_channel.get(channel, Sums()) + sums
    paid = config.channels.paid
    ads = select(cost_ledger.c.channel).where(cost_ledger.c.category == "ads")
    fed = {*connection.execute(select(spend.c.channel).distinct()).scalars(), *connection.execute(ads).scalars()}
    known = {*connection.execute(select(campaign.c.campaign_id).distinct()).scalars()}
    known |= {*connection.execute(select(spend.c.campaign_id).distinct()).scalars()}
    are_joined = any(name in known and (sums.leads or sums.deals) for (_, name), sums in by_campaign.items())
    for channel, sums in by_channel.items():
        if channel in paid and channel not in fed and (sums.leads or sums.deals):
            yield Leak(UNFED[0], channel, sums, UNFED[1])
        if channel is None and sums.deals:
            yield Leak(UNTOUCHED[0], "deals", sums._replace(leads=0, spend=Decimal(0)), UNTOUCHED[1])
    for (channel, name), sums in by_campaign.items():
        if channel not in paid or not name:
            continue
        if name not in known:
            yield Leak(UNKNOWN[0], f"{channel}, campaign {name!r}", sums, UNKNOWN[1])
        elif are_joined and not sums.leads and not sums.deals and _buys_leads(sums.spend, by_channel[channel]):
            yield Leak(FRUITLESS[0], f"{channel}, campaign {name!r}", sums, FRUITLESS[1])


def _buys_leads(spend: Decimal, channel: Sums) -> bool:
    """Whether so much buys three leads or more at the channel's cost: that none comes by chance is then 1 in 20."""
    return spend > 3 * channel.spend / channel.leads if channel.leads else spend > 0


def _sums(connection: Connection, start: date, end: date) -> dict[Place, Sums]:
    found: dict[Place, Sums] = {}

    def add(table: Table, names: tuple[str, ...], *columns: ColumnElement[Any], where: ColumnElement[bool]) -> None:
        place = table.c.channel, table.c.campaign_id
        days = table.c.date_day >= start, table.c.date_day < end
        for channel, name, *sums in connection.execute(select(*place, *columns).where(*days, where).group_by(*place)):
            given = {key: value for key, value in zip(names, sums, strict=True) if value is not None}
            found[channel, name] = found.get((channel, name), Sums()) + Sums(**given)

    amount = credit.c.amount_reporting
    add(spend, ("spend",), func.sum(spend.c.spend_reporting), where=spend.c.spend_reporting != 0)
    add(person, ("leads",), func.count(), where=~person.c.is_excluded)
    deals = func.count(), func.sum(amount), func.count(amount)
    add(credit, ("deals", "revenue", "amounts"), *deals, where=credit.c.model == "last")
    return found
