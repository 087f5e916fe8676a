"""What the company bills: customers, subscriptions, invoices and credit notes, as they are at a moment.

Made of the people of the world, by their ids alone, and not kept anywhere. Each billing system has customers of its
own. Instants are seconds since the epoch; amounts are in units, without tax, before their discount.
"""

from __future__ import annotations

import json
import zlib
from calendar import monthrange
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

HOUR, DAY = 3_600, 86_400
TRIAL = 14 * DAY
CENT = Decimal("0.01")
TAX, OFF = Decimal("0.19"), Decimal("0.2")
CURRENCIES = ("EUR", "USD", "GBP", "EUR", "CHF", "USD")
COUNTRIES = ("DE", "US", "GB", "AT", "CH", "US")


class Plan(NamedTuple):
    name: str
    months: int
    price: Decimal


PLANS = (
    Plan("team", 1, Decimal("49.00")), Plan("business", 1, Decimal("199.50")), Plan("enterprise", 12, Decimal(5988)),
)  # fmt: skip


class Line(NamedTuple):
    """Of a plan, or a proration of one, with the instants between which it is served."""

    plan: Plan
    quantity: int
    amount: Decimal
    discount: Decimal
    since: int
    until: int
    is_proration: bool = False

    @property
    def net(self) -> Decimal:
        return self.amount - self.discount

    @property
    def tax(self) -> Decimal:
        return (self.net * TAX).quantize(CENT)


class Credit(NamedTuple):
    """A credit note over half of the first line of an invoice."""

    number: int
    at: int
    net: Decimal
    tax: Decimal
    voided: int | None

    @property
    def changes(self) -> list[int]:
        return [at for at in (self.at, self.voided) if at]


class Invoice(NamedTuple):
    """One that is not `issued` is a draft; `lost`: when it was given up."""

    number: int
    created: int
    issued: int | None
    due: int | None
    paid: int | None
    voided: int | None
    lost: int | None
    lines: list[Line]
    credit: Credit | None

    @property
    def net(self) -> Decimal:
        return sum((line.net for line in self.lines), Decimal(0))

    @property
    def tax(self) -> Decimal:
        return sum((line.tax for line in self.lines), Decimal(0))

    @property
    def changes(self) -> list[int]:
        return [at for at in (self.created, self.issued, self.paid, self.voided, self.lost) if at]


class Subscription(NamedTuple):
    """`starts`: when it is first paid for, which may be to come; `trial`: the end of a trial, if there is one."""

    number: int
    plan: Plan
    quantity: int
    has_coupon: bool
    created: int
    starts: int
    trial: int | None
    paused: int | None
    asked_to_end: int | None
    ends: int | None  # of one that is asked to end; may be to come
    ended: int | None
    changes: list[int]


class Customer(NamedTuple):
    number: int
    email: str
    company: str
    currency: str
    country: str
    created: int
    deleted: int | None
    subscription: Subscription
    invoices: list[Invoice]


def customers(connection: sqlite3.Connection, now: int, vendor: str) -> Iterator[Customer]:
    """Every third person buys by this billing system; `now` in ms."""
    people = connection.execute(
        "select id, payload from record_version where vendor = 'hubspot' and object = 'contacts' and version = 1"
        " and visible_at <= ? order by id",
        (now,),
    )
    for identifier, payload in people:
        chance = zlib.crc32(f"{vendor}:{identifier}".encode())
        if chance % 3 == 0:
            customer = _customer(int(identifier), json.loads(payload), chance // 3, now // 1000)
            if customer.created <= now // 1000:
                yield customer


def _customer(number: int, person: dict[str, str], chance: int, now: int) -> Customer:
    created = int(datetime.fromisoformat(person["createdate"]).timestamp()) + chance % 30 * HOUR
    subscription = _subscription(number, chance, created + HOUR, now)
    invoices = [bill for bill in _invoices(subscription, chance, now) if bill.created <= now]
    domain = person["email"].rpartition("@")[2].lower()
    return Customer(
        number, person["email"].lower(), domain.partition(".")[0].replace("-", " ").title(),
        CURRENCIES[chance % 6], COUNTRIES[chance % 6], created,
        _by(now, created + 9 * DAY if chance % 23 == 4 else None), subscription, invoices,
    )  # fmt: skip


def _subscription(number: int, chance: int, created: int, now: int) -> Subscription:
    plan, quantity = PLANS[chance % 3], 1 + chance % 9
    trial = created + TRIAL if chance % 5 == 0 else None
    starts = trial or created
    asked, ends = None, None
    if trial and chance % 3 == 1:
        asked, ends = created + 2 * DAY, trial  # given up before it was paid for
    elif chance % 7 in (1, 4):
        asked = starts + (5 + chance % 12) * DAY
        ends = asked if chance % 7 == 1 else later(starts, plan.months)  # at once, or with the term
    if changed := _grows(chance, starts, ends, now):
        quantity += 2
    paused = _by(now, starts + 6 * DAY if chance % 11 == 2 and not asked else None)
    told = (created, _by(now, trial), changed, paused, _by(now, asked), _by(now, ends))
    changes = sorted({at for at in told if at})
    return Subscription(
        number, plan, quantity, chance % 8 == 5, created, starts, trial, paused, _by(now, asked),
        ends if _by(now, asked) else None, _by(now, ends), changes,
    )  # fmt: skip


def _grows(chance: int, starts: int, ends: int | None, now: int) -> int | None:
    """When its quantity grows by two, if it has."""
    at = starts + 8 * DAY
    return _by(now, at if chance % 4 == 3 and (ends is None or at < ends) else None)


def _invoices(its: Subscription, chance: int, now: int) -> Iterator[Invoice]:
    """One at the start of each term, and one of prorations where the quantity has grown."""
    grown = _grows(chance, its.starts, its.ended, now)
    base = its.quantity - 2 if grown else its.quantity
    for term in range(400):
        at, end = later(its.starts, its.plan.months * term), later(its.starts, its.plan.months * (term + 1))
        if at > now or (its.ends and at >= its.ends):
            return
        quantity = its.quantity if grown and grown < at else base
        yield _invoice(its, chance + term, term * 2, at, [_line(its, quantity, at, end)], now)
        if grown and at <= grown < end:
            left = Decimal(end - grown) / (end - at)
            old, new = (_line(its, count, grown, end, left * sign) for count, sign in ((base, -1), (its.quantity, 1)))
            yield _invoice(its, chance + term, term * 2 + 1, grown, [old, new], now)


def _line(its: Subscription, quantity: int, since: int, until: int, share: Decimal = Decimal(1)) -> Line:
    amount = (its.plan.price * quantity * share).quantize(CENT)
    discount = (amount * OFF).quantize(CENT) if its.has_coupon and share == 1 else Decimal(0)
    return Line(its.plan, quantity, amount, discount, since, until, share != 1)


def _invoice(its: Subscription, chance: int, number: int, at: int, lines: list[Line], now: int) -> Invoice:
    issued = at if number == 0 else at + HOUR
    if its.paused and at > its.paused:
        return Invoice(number, at, _by(now, issued), None, None, _by(now, issued), None, lines, None)
    voided = _by(now, issued + 2 * DAY if chance % 10 == 7 else None)
    lost = _by(now, issued + 5 * DAY if chance % 17 == 5 and not voided else None)
    is_paid = chance % 9 != 4 and chance % 10 != 7 and chance % 17 != 5
    paid = _by(now, issued + chance % 4 * DAY if is_paid else None)
    due = issued + 14 * DAY if chance % 2 else None
    credit = None
    if chance % 6 == 1 and not voided and issued + 3 * DAY <= now and lines[0].net > 0:
        net = (lines[0].net / 2).quantize(CENT)
        gone = _by(now, issued + 4 * DAY if chance % 18 == 1 else None)
        credit = Credit(number, issued + 3 * DAY, net, (net * TAX).quantize(CENT), gone)
    return Invoice(number, at, _by(now, issued), due, paid, voided, lost, lines, credit)


def later(at: int, months: int) -> int:
    """The same day so many months later, or the last one of that month."""
    given = datetime.fromtimestamp(at, UTC)
    year, month = divmod(given.year * 12 + given.month - 1 + months, 12)
    day = min(given.day, monthrange(year, month + 1)[1])
    return int((given.replace(day=1, month=month + 1, year=year) + timedelta(days=day - 1)).timestamp())


def _by(now: int, at: int | None) -> int | None:
    return at if at is not None and at <= now else None
