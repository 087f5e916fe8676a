"""Stripe: customers, subscriptions, invoices with their lines and credit notes, of API version 2026-10-28.endive.

Stripe's lists are filtered by when an object was created, and objects do not say when they changed. What changed is
told by `/v1/events`, for 30 days: the objects that they name are read again, as they are now, for an event shows its
object in another version of the API. A window that begins before what events tell of (the first one, and the first
after an outage of a month) reads all that there is instead, and what it reads is as of then. Once a week everything is
listed that may have changed without an event: subscriptions, credit notes, and invoices that are not paid.

That a customer was deleted while nobody read for a month no event tells any more, and no list has them: a sweep of all
ids finds it out, which `b2b backfill --sweep` tells. The row in `customer` stays; no number is made of it. What an
object was like in between nobody can know.

Facts from the official SDK (PyPI stripe 16.1.0, made of Stripe's OpenAPI file), https://docs.stripe.com/rate-limits,
/currencies, /keys and /api/events, read 2026-12-01. Rates are 100 calls a second of an account, 25 in a sandbox and
of each endpoint; no `Retry-After` is documented. Reads are to be no more than 500 for each payment on the average of
30 days, or 10,000 a month. Of an end that a restricted key has by itself nothing was found: it ends when it is rolled
or deleted; those that the Stripe CLI makes end after 90 days. Then the answer is 401, `api_key_expired`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from math import ceil
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken
from b2b_pipeline.connectors.base import (
    Account,
    Accounts,
    Finding,
    Page,
    Record,
    Skipped,
    Source,
    Stream,
    Window,
    WindowPolicy,
    choose,
)
from b2b_pipeline.connectors.columns import present
from b2b_pipeline.connectors.http import Answer, Fatal, Outcome, Session, Skip, Wait, by_status, follow, json_or_none
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import beginning, iso_text, picked, readable
from b2b_pipeline.connectors.stripe import rows
from b2b_pipeline.connectors.sweep import POLICY as SWEEP
from b2b_pipeline.connectors.sweep import sweep
from b2b_pipeline.errors import PermanentError, SkippedError

VERSION = "2026-10-28.endive"
PERMISSIONS = "Read of Customers, Subscriptions, Invoices, Credit notes, Coupons, Events and Accounts"
RENEW = f"make a new restricted key in the Dashboard > Developers > API keys, with {PERMISSIONS}"
PAGE = 100  # the most that one call gives
TOLD = timedelta(days=29)  # events are kept for 30 days; one day for the clocks, and for how long a read takes
LOCKED = ("lock_timeout", "lock_timeout_error")  # another request holds the object


@dataclass(frozen=True)
class Stripe:
    """One key. `coupons`: by account and id, each read once; `connected`: accounts to name in a header."""

    session: Session
    config: Config
    connected: frozenset[str] = frozenset()
    coupons: dict[tuple[str, str], Record] = field(default_factory=dict)

    def get(self, account: Account, path: str, **query: Any) -> Answer:
        named = {"Stripe-Account": account.id} if account.id in self.connected else {}
        return self.session.get(path, query, **named)

    def listed(self, account: Account, path: str, **query: Any) -> Iterator[Page]:
        """Every page of a list. A page that does not say whether another one follows is none."""

        def ask(after: str | None) -> Answer:
            return self.get(account, path, **query, limit=PAGE, starting_after=after)

        for answer in follow(ask, lambda answer: answer.rows("data")[-1]["id"] if answer.json()["has_more"] else None):
            yield Page(answer.rows("data"), answer.request)


def classify(response: requests.Response) -> Outcome:
    """https://docs.stripe.com/error-handling; whether a call is worth repeating Stripe says in a header itself."""
    body = json_or_none(response)
    error = body.get("error") if isinstance(body, dict) else None
    error = error if isinstance(error, dict) else {}
    status, code = response.status_code, str(error.get("code") or error.get("type") or "refused")
    if status == 429 and "retry-after" not in response.headers:
        reason = response.headers.get("Stripe-Rate-Limited-Reason", "locked" if code in LOCKED else "throttled")
        return Wait(2.0 if "rate" in reason or code in LOCKED else 10.0, reason)
    if status == 200 and error:
        return Wait(5.0, code)
    if status == 409 or (status < 500 and response.headers.get("Stripe-Should-Retry") == "true" and status >= 400):
        return Wait(2.0, code)
    if status == 401:
        ended = "the key has ended" if code == "api_key_expired" else "the key is not known"
        return Fatal(f"{ended} ({code})", auth=True, fix=RENEW)
    if status == 403 and code == "account_invalid":
        return Skip("the key does not reach this account, or Connect has not connected it")
    if status == 403:
        return Fatal("the key may not read this", auth=True, fix=f"give the key {PERMISSIONS}")
    if status == 404 and code == "resource_missing" and re.search(r"/v1/\w+/[^/]+$", response.url.partition("?")[0]):
        return Skip("it is not there any more")
    if status == 400 and "api version" in str(error.get("message", "")).lower():
        return Fatal(f"API version {VERSION} is not served any more", fix="install a newer release of this pipeline")
    return by_status(response, code)


# -- what is read of each


@dataclass(frozen=True)
class Kind:
    """A kind of object: its list, the events that tell of its changes, and what is made of each record.

    events: pattern -> the member of an event's object that names the object that changed. query: how it is asked for.
    once_a_week: what is listed again whatever events say, by further parameters; none where it is empty.
    """

    path: str
    events: dict[str, str]
    kept: Callable[[Stripe, Account, Record], Record]
    query: dict[str, Any] = field(default_factory=dict)
    expand: tuple[str, ...] = ()
    once_a_week: tuple[dict[str, str], ...] = ()


def _customer(client: Stripe, account: Account, record: Record) -> Record:
    address = record.get("address")
    found = picked(record, "id object created deleted livemode currency email business_name delinquent")
    return found | {"address": picked(address, "country") if address else None}


CREDITED = "id object created livemode currency customer invoice number status total total_excluding_tax effective_at"


def _credit_note(client: Stripe, account: Account, record: Record) -> Record:
    return picked(record, f"{CREDITED} reason type voided_at") | _taxes(record, "total_taxes")


def _taxes(record: Record, name: str) -> Record:
    taxes = record.get(name)
    return {name: taxes if taxes is None else [picked(tax, "amount tax_behavior") for tax in taxes]}


INVOICED = """id object created livemode currency customer number status billing_reason collection_method subtotal total
    total_excluding_tax amount_due amount_paid amount_remaining due_date effective_at status_transitions"""


def _invoice(client: Stripe, account: Account, record: Record) -> Record:
    """With all its lines: the first ones are with the invoice, the others are asked for."""
    lines, more = record["lines"]["data"], record["lines"]["has_more"]
    if more:
        pages = client.listed(account, f"v1/invoices/{record['id']}/lines")
        lines = [line for page in pages for line in page.records]
    parent = (record.get("parent") or {}).get("subscription_details") or {}
    found = picked(record, INVOICED) | {"subscription": parent.get("subscription")} | _taxes(record, "total_taxes")
    return found | {"lines": [_line(line) for line in lines]}


def _line(line: Record) -> Record:
    parent = line.get("parent") or {}
    of = parent.get("subscription_item_details") or parent.get("invoice_item_details") or {}
    price = ((line.get("pricing") or {}).get("price_details") or {}).get("price")
    credits_ = [picked(each, "amount type") for each in line.get("pretax_credit_amounts") or ()]
    return {
        **picked(line, "id amount currency quantity period"), **_taxes(line, "taxes"), "price": price,
        "discount_amounts": [picked(each, "amount") for each in line.get("discount_amounts") or ()],
        "pretax_credit_amounts": credits_,
        "parent": {"type": parent.get("type"), **picked(of, "subscription proration")},
    }  # fmt: skip


SUBSCRIBED = """id object created livemode currency status start_date trial_start trial_end cancel_at canceled_at
    cancel_at_period_end ended_at pause_collection collection_method"""
PRICED = "id product currency type billing_scheme unit_amount_decimal tax_behavior transform_quantity recurring"


def _subscription(client: Stripe, account: Account, record: Record) -> Record:
    """With all its items, and the coupons that reduce it: its own, else those of its customer."""
    items, more = record["items"]["data"], record["items"]["has_more"]
    if more:
        pages = client.listed(
            account, "v1/subscription_items", subscription=record["id"], **{"expand[]": "data.discounts"}
        )
        items = [item for page in pages for item in page.records]
    customer, taxed = record["customer"], record.get("default_tax_rates") or []
    own = record.get("discounts") or []
    theirs = customer.get("discount") if isinstance(customer, dict) else None
    return {
        **picked(record, SUBSCRIBED),
        "customer": customer["id"] if isinstance(customer, dict) else customer,
        "cancellation_details": picked(record.get("cancellation_details") or {}, "feedback reason"),
        "has_automatic_tax": bool((record.get("automatic_tax") or {}).get("enabled")),
        "tax_rates": [picked(rate, "inclusive") for rate in taxed],
        "discounts": [_discount(client, account, each) for each in own or ([theirs] if theirs else [])],
        "items": [
            {
                **picked(item, "id quantity"), "price": picked(item["price"], PRICED),
                "discounts": [_discount(client, account, each) for each in item.get("discounts") or ()],
                "tax_rates": [picked(rate, "inclusive") for rate in item.get("tax_rates") or ()],
            }
            for item in items
        ],
    }  # fmt: skip


def _discount(client: Stripe, account: Account, discount: Record) -> Record:
    """A discount with what its coupon is worth. `applies_to` is told of one coupon only, and not in lists."""
    coupon = (discount.get("source") or {}).get("coupon")
    name = coupon["id"] if isinstance(coupon, dict) else coupon
    key = account.id, str(name)
    if name and key not in client.coupons:
        try:
            found = client.get(account, f"v1/coupons/{name}", **{"expand[]": "applies_to"}).json()
        except SkippedError:  # deleted; what it gave goes on, and what that was is not told
            found = {}
        client.coupons[key] = picked(found, "id percent_off amount_off currency duration applies_to")
    return {**picked(discount, "id start end"), "coupon": client.coupons.get(key, {})}


CHANGED, DISCOUNTED = "customer.subscription.*", "customer.discount.*"
CUSTOMERS = Kind(
    "v1/customers", {"customer.created": "id", "customer.updated": "id", "customer.deleted": "id"}, _customer
)
SUBSCRIPTIONS = Kind(
    "v1/subscriptions", {CHANGED: "id", DISCOUNTED: "subscription"}, _subscription, {"status": "all"},
    ("customer", "discounts", "items.data.discounts"), ({"status": "all"},),
)  # fmt: skip
INVOICES = Kind(
    "v1/invoices", {"invoice.*": "id"}, _invoice,
    once_a_week=({"status": "open"}, {"status": "uncollectible"}, {"status": "void"}),
)  # fmt: skip
CREDIT_NOTES = Kind("v1/credit_notes", {"credit_note.*": "id"}, _credit_note, once_a_week=({},))


def _read(kind: Kind, client: Stripe, account: Account, window: Window) -> Iterator[Page]:
    """What was created or changed in the window, each as it is now; what has changed since belongs to a later one."""
    now = datetime.now(UTC)
    since, until = ceil(window.since.timestamp()), ceil(window.until.timestamp())
    is_whole = window.start <= client.config.start_date or window.since < now - TOLD
    changed = _changes(kind, client, account, since)
    as_of = iso_text(now.timestamp())
    lists = kind.query | {"expand[]": [f"data.{name}" for name in kind.expand]} | {"created[lt]": until}
    seen: set[str] = set()
    for page in client.listed(account, kind.path, **lists, **({} if is_whole else {"created[gte]": since})):
        seen.update(record["id"] for record in page.records)
        at = {record["id"]: max(changed.get(record["id"], 0), record["created"]) for record in page.records}
        made = [
            kind.kept(client, account, each) | {"changed_at": as_of if is_whole else iso_text(at[each["id"]])}
            for each in page.records
            if (is_whole or at[each["id"]] < until) and not _is_past(each, client.config)
        ]
        yield Page(made, page.request)
    for identifier in sorted(changed.keys() - seen):
        if changed[identifier] < until:
            yield _again(kind, client, account, identifier, as_of if is_whole else iso_text(changed[identifier]))


def _is_past(record: Record, config: Config) -> bool:
    """Whether it was issued before the first day that counts; subscriptions and customers of before do count."""
    if record["object"] not in ("invoice", "credit_note"):
        return False
    moves = record.get("status_transitions") or {"finalized_at": record["created"]}  # a credit note is issued at once
    issued = record.get("effective_at") or moves["finalized_at"]
    return issued is not None and issued < beginning(config)


def _changes(kind: Kind, client: Stripe, account: Account, since: int) -> dict[str, int]:
    """Id -> when it last changed, of all that changed since, until now. Of what is only to come, an id is missing."""
    found: dict[str, int] = {}
    for pattern, member in kind.events.items():
        for page in client.listed(account, "v1/events", type=pattern, **{"created[gte]": since}):
            for event in page.records:
                if identifier := event["data"]["object"].get(member):
                    found[identifier] = max(found.get(identifier, 0), event["created"])
    return found


def _again(kind: Kind, client: Stripe, account: Account, identifier: str, changed: str) -> Page:
    try:
        answer = client.get(account, f"{kind.path}/{identifier}", **{"expand[]": list(kind.expand)})
    except SkippedError:  # a draft that was deleted: it was never issued
        return Page([])
    record = answer.json()
    if _is_past(record, client.config):
        return Page([])
    kept = kind.kept(client, account, record) if not record.get("deleted") else picked(record, "id object deleted")
    return Page([kept | {"changed_at": changed}], answer.request)


def read_standing(client: Stripe, account: Account, window: Window) -> Iterator[Page]:
    """All that may have changed without an event, as of now."""
    on = {stream.name for stream in SOURCE.switched_on(client.config)}
    for name, kind in KINDS.items():
        for query in kind.once_a_week if name in on else ():
            now = iso_text(datetime.now(UTC).timestamp())
            expand = {"expand[]": [f"data.{name}" for name in kind.expand]}
            for page in client.listed(account, kind.path, **query, **expand):
                found = [each for each in page.records if not _is_past(each, client.config)]
                yield Page([kind.kept(client, account, each) | {"changed_at": now} for each in found], page.request)


def read_present(client: Stripe, account: Account, window: Window) -> Iterator[Page]:
    """The ids of all customers that there are, if customers are read: what is missing was deleted."""
    is_read = any(stream.name == "customer" for stream in SOURCE.switched_on(client.config))
    return sweep([("customer", partial(_ids, client, account))] if is_read else [])


def _ids(client: Stripe, account: Account) -> Iterator[list[str]]:
    for page in client.listed(account, CUSTOMERS.path):
        yield [record["id"] for record in page.records]


KINDS = {
    "customer": CUSTOMERS, "subscription": SUBSCRIPTIONS, "invoice": INVOICES, "credit_note": CREDIT_NOTES,
}  # fmt: skip


# -- connecting


def connect(config: Config) -> Stripe:
    base = settings.base_url("stripe", "https://api.stripe.com")
    key = settings.secret("STRIPE_API_KEY")
    rates = (Rate(20, 1),) if base.endswith(".stripe.com") else ()  # the sandbox says itself when it has had enough
    headers = {"Stripe-Version": VERSION}
    session = Session(base, classify=classify, auth=StaticToken(key), headers=headers, rates=rates)
    return Stripe(session, config, frozenset(config.sources["stripe"].accounts))


def accounts(client: Stripe, config: Config) -> Accounts:
    """Those that are configured, which Connect must have connected; else the one of the key."""
    found: list[Account | Skipped] = []
    for name in config.sources["stripe"].accounts or [""]:
        try:
            its = client.get(Account(name), "v1/account").json()
        except SkippedError as error:
            found.append(Skipped(name, str(error)))
            continue
        shown = ((its.get("settings") or {}).get("dashboard") or {}).get("display_name") or ""
        found.append(Account(its["id"], shown, (its.get("default_currency") or "").upper() or None))
    return choose(found, config.sources["stripe"].accounts, "sources.stripe.accounts")


def probe(client: Stripe, config: Config) -> list[Finding]:
    """The key: of which mode, and whether it may write; the accounts, and a small call of each list and of events."""
    key, found = settings.secret("STRIPE_API_KEY"), []
    if not key.startswith("rk_"):
        what = "Stripe: a secret key may do anything, also charge and refund"
        found.append(Finding(True, what, f"{RENEW}, and put it into STRIPE_API_KEY", warning=True))
    if "_test_" in key:
        what = "Stripe: the key is of a sandbox or of test mode: its invoices are no revenue"
        found.append(Finding(True, what, "put a key of live mode into STRIPE_API_KEY", warning=True))
    try:
        reached = accounts(client, config).read
    except PermanentError as error:
        return [*found, Finding(False, f"Stripe: {error}", error.fix or f"give the key {PERMISSIONS}")]
    on = [stream.name for stream in SOURCE.switched_on(config) if stream.name in KINDS]
    for account in reached:
        asked = {name: KINDS[name].path for name in on} | {"event": "v1/events"}
        calls = {name: partial(client.get, account, path, limit=1) for name, path in asked.items()}
        found += readable(f"Stripe {VERSION}, account {account.id}", calls, f"give the key {PERMISSIONS}")
    return found


POLICY = WindowPolicy(overlap=timedelta(hours=2), settle=timedelta(minutes=2), max_days=36_500)
PERSONAL = ("email",)


def _stream(name: str, description: str, feeds: dict[str, Any]) -> Stream:
    return Stream(
        name, "changes", description, partial(_read, KINDS[name]), day="changed_at", policy=POLICY, personal=PERSONAL,
        feeds=feeds, page_size=PAGE,
    )  # fmt: skip


SOURCE = Source(
    name="stripe",
    title="Stripe",
    kind="billing",
    api_version=VERSION,
    streams=(
        _stream("customer", "Customers, deleted ones too.", {"customer": rows.customers}),
        _stream("subscription", "Subscriptions of every status, with their items and coupons.",
                {"subscription": rows.subscriptions}),
        _stream("invoice", "Invoices, with all their lines.",
                {"invoice": rows.invoices, "invoice_line": rows.invoice_lines}),
        _stream("credit_note", "Credit notes, which take revenue back.", {"invoice": rows.credit_notes}),
        Stream(
            "standing", "sweep", "Once a week, what may have changed without an event.", read_standing,
            day="changed_at", policy=SWEEP, personal=PERSONAL, page_size=PAGE,
            feeds={
                "subscription": rows.subscriptions, "invoice": rows.every_invoice,
                "invoice_line": rows.invoice_lines,
            },
        ),
        Stream(
            "present", "sweep", "Once a week, the ids of all customers: who is missing was deleted.", read_present,
            day="swept_at", policy=SWEEP, page_size=PAGE, feeds={"record_present": present},
        ),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "STRIPE_API_KEY": "a restricted key of live mode, rk_live_…: Dashboard > Developers > API keys > Create "
                          f"restricted key, with {PERMISSIONS}",
    },
)  # fmt: skip
