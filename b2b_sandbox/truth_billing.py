"""What counts of what the company bills, by docs/semantics.md: invoices, credit notes, subscriptions."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from b2b_sandbox.billing import customers
from b2b_sandbox.truth_facts import Fact, Money
from b2b_sandbox.truth_metrics import metric
from b2b_sandbox.truth_people import day_in

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from zoneinfo import ZoneInfo

    from b2b_sandbox.world import World

MONEY = {"revenue_invoiced"}
METRICS = {
    "revenue_invoiced": metric("money", "revenue_invoiced"),
    "invoices": metric("count", "invoices"),
    "customers_invoiced": metric("count", "customers_invoiced", is_distinct=True),
    "average_customer_value": metric("money", "revenue_invoiced", "customers_invoiced"),
    "new_subscriptions": metric("count", "new_subscriptions"),
    "churned_subscriptions": metric("count", "churned_subscriptions"),
    "active_subscriptions": metric("count", "active_subscriptions", is_level=True),
}
VENDORS = ("stripe", "chargebee")


def facts(
    vendor: str, world: World, connection: sqlite3.Connection, now: int, zone: ZoneInfo, money: Money
) -> Iterator[Fact]:
    one = Decimal(1)
    for customer in customers(connection, now, vendor):
        for bill in customer.invoices:
            if bill.issued and not bill.voided:
                day = day_in(zone, bill.issued)
                yield Fact("revenue_invoiced", day, None, money.convert(bill.net, customer.currency, day))
                yield Fact("invoices", day, None, one)
                yield Fact("customers_invoiced", day, None, one, f"{vendor}:{customer.number}")
            if bill.credit and not bill.credit.voided:
                day = day_in(zone, bill.credit.at)
                yield Fact("revenue_invoiced", day, None, money.convert(-bill.credit.net, customer.currency, day))
        its = customer.subscription
        if its.starts * 1000 > now or (its.ended and its.ended <= its.starts):
            continue
        yield Fact("new_subscriptions", day_in(zone, its.starts), None, one)
        yield Fact("active_subscriptions", day_in(zone, its.starts), None, one)
        if its.ended:
            yield Fact("churned_subscriptions", day_in(zone, its.ended), None, one)
            yield Fact("active_subscriptions", day_in(zone, its.ended), None, -one)
