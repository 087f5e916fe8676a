"""Chargebee: customers, subscriptions, invoices with their lines and credit notes, by API v2, Product Catalog 2.0.

Lists are filtered by `updated_at`, deleted objects too. What was last updated before 2016-09-28 has no `updated_at`:
the first window, which begins with start_date, reads all that there is, without a filter. Whether the bounds of
`between` are among what it gives is not documented: a second more is asked for on both sides, and cut here. Credit
notes can be sorted by their date alone; the offset is a token, of which nothing else is documented.

Facts from the official SDK (PyPI chargebee 3.29.0), https://apidocs.chargebee.com/docs/api (list operations,
currencies, error handling) and Chargebee's article on API limits, read 2026-12-01. Limits are calls a minute, by plan:
150 on Starter and every test site, 1,000 and 3,500 on the larger ones; no header tells what is left, and a 429 may say
`Retry-After`. A live site that goes on asking is blocked by hand. Of an end that a key has by itself nothing was found.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import ceil
from typing import Any

import requests

from b2b_pipeline.configuration import settings
from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.auth import StaticToken, basic
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
from b2b_pipeline.connectors.chargebee import rows
from b2b_pipeline.connectors.http import (
    Fatal,
    Outcome,
    Session,
    Wait,
    by_status,
    json_or_none,
    retry_after,
    wait_or_stop,
)
from b2b_pipeline.connectors.rates import Rate
from b2b_pipeline.connectors.rest import Listing, beginning, iso_text, picked, readable
from b2b_pipeline.errors import TransientError
from b2b_pipeline.privacy import keep_secret

PAGE = 100  # the most that one call gives
LISTS = Listing("list", "next_offset", parameter="offset", asked={"limit": PAGE, "include_deleted": "true"})
SMALLEST = Rate(150, 60)  # of a Starter plan, and of a test site
RENEW = "make a read-only key in Settings > Configure Chargebee > API Keys, and put it into CHARGEBEE_API_KEY"
PASSING = {"internal_error", "internal_temporary_error", "api_request_limit_exceeded", "site_read_only_mode"}


@dataclass(frozen=True)
class Chargebee:
    """One site."""

    session: Session
    config: Config
    site: str


def classify(response: requests.Response) -> Outcome:
    """https://apidocs.chargebee.com/docs/api/error-handling"""
    body = json_or_none(response)
    code = str(body.get("api_error_code") or "refused") if isinstance(body, dict) else "an answer that is not JSON"
    if response.status_code == 429:
        return wait_or_stop(retry_after(response, 60.0))
    if response.status_code == 200 and code != "refused" and isinstance(body, dict):
        return Wait(5.0, code)
    if code in PASSING:
        return wait_or_stop(retry_after(response, 10.0), code)
    if response.status_code == 401:
        return Fatal(f"the key is not known ({code})", auth=True, fix=RENEW)
    if response.status_code == 403:
        what = "the site is blocked or not enabled" if code == "request_blocked" else "the key may not read this"
        return Fatal(f"{what} ({code})", auth=True, fix=RENEW)
    if code == "configuration_incompatible":
        return Fatal(
            "the site has another product catalog (configuration_incompatible)", fix="move to Product Catalog 2.0"
        )
    if code == "site_not_found":
        return Fatal("there is no such site", fix="put the first part of your address into CHARGEBEE_SITE")
    return by_status(response, code)


# -- what is kept of each


def _customer(client: Chargebee, record: Record) -> Record:
    address = record.get("billing_address") or {}
    found = picked(record, "id object created_at updated_at deleted email company preferred_currency_code")
    return found | {"billing_address": picked(address, "country")}


SUBSCRIBED = """id object customer_id status currency_code created_at updated_at started_at start_date trial_end
    cancelled_at cancel_reason cancel_reason_code mrr deleted plan_id plan_quantity pause_date resume_date"""


def _subscription(client: Chargebee, record: Record) -> Record:
    items = record.get("subscription_items") or ()
    of_item = "item_price_id item_type quantity quantity_in_decimal"
    return picked(record, SUBSCRIBED) | {"subscription_items": [picked(item, of_item) for item in items]}


INVOICED = """id object customer_id subscription_id recurring status date due_date paid_at voided_at generated_at
    updated_at currency_code price_type sub_total tax total amount_paid amount_due round_off_amount write_off_amount
    deleted"""
LINE = """id subscription_id date_from date_to quantity amount discount_amount item_level_discount_amount tax_amount
    is_taxed metered entity_type entity_id proration_mode"""


def _invoice(client: Chargebee, record: Record) -> Record:
    """With all its lines: of many the rest is asked for."""
    lines, offset = list(record.get("line_items") or ()), record.get("line_items_next_offset")
    seen = set[str]()
    while offset:
        if offset in seen:
            raise TransientError("api/v2/invoices: the cursor of an invoice's lines repeats")
        seen.add(offset)
        asked = {"line_items_limit": PAGE, "line_items_offset": offset}
        more = client.session.get(f"api/v2/invoices/{record['id']}", asked).json()["invoice"]
        lines, offset = [*lines, *(more.get("line_items") or ())], more.get("line_items_next_offset")
    return picked(record, INVOICED) | {"line_items": [picked(line, LINE) for line in lines]}


CREDITED = """id object customer_id subscription_id reference_invoice_id type reason_code create_reason_code status date
    voided_at updated_at currency_code price_type sub_total total round_off_amount deleted"""


def _credit_note(client: Chargebee, record: Record) -> Record:
    taxes = record.get("taxes")
    kept = taxes if taxes is None else [picked(tax, "amount") for tax in taxes]
    return picked(record, CREDITED) | {"taxes": kept}


KEPT = {"customer": _customer, "subscription": _subscription, "invoice": _invoice, "credit_note": _credit_note}
# How each is sorted: what has no `updated_at` may not be in a list that is sorted by it.
MADE = {"customer": "created_at", "subscription": "created_at", "invoice": "date", "credit_note": "date"}
UPDATED = dict.fromkeys(("customer", "subscription", "invoice"), "updated_at") | {"credit_note": "date"}


def _read(kind: str, client: Chargebee, account: Account, window: Window) -> Iterator[Page]:
    """What was updated in the window, each as it is now."""
    since, until = ceil(window.since.timestamp()), ceil(window.until.timestamp())
    is_first = window.start <= client.config.start_date
    asked = {"sort_by[asc]": MADE[kind] if is_first else UPDATED[kind]}
    asked |= {} if is_first else {"updated_at[between]": f"[{since - 1},{until}]"}
    for page in LISTS.pages(client.session, f"api/v2/{kind}s", **asked):
        found = []
        for each in page.records:
            record = each[kind]
            at = next(record[name] for name in ("updated_at", "created_at", "generated_at", "date") if record.get(name))
            if record.get("status") != "pending" and record.get("date", until) < beginning(client.config):
                continue  # it was issued before the first day that counts
            if at < until and (is_first or at >= since):
                found.append(KEPT[kind](client, record) | {"changed_at": iso_text(at)})
        yield Page(found, page.request)


def connect(config: Config) -> Chargebee:
    base = settings.base_url("chargebee", "")
    site = settings.secret("CHARGEBEE_SITE") if not base else "sandbox"
    base = base or f"https://{site}.chargebee.com"
    key = settings.secret("CHARGEBEE_API_KEY")
    keep_secret(key)
    rates = (SMALLEST,) if base.endswith(".chargebee.com") else ()  # the sandbox says itself when it has had enough
    auth = StaticToken(basic(key, ""), "Authorization")  # the key is the user's name, without a password
    return Chargebee(Session(base, classify=classify, auth=auth, rates=rates), config, site)


def accounts(client: Chargebee, config: Config) -> Accounts:
    """The one site that the key belongs to."""
    return choose([Account(client.site)], config.sources["chargebee"].accounts, "sources.chargebee.accounts")


def probe(client: Chargebee, config: Config) -> list[Finding]:
    """A small call of each list; whether the site is a test, and of which product catalog."""
    found = []
    if client.site.endswith("-test"):
        what = "Chargebee: the site is a test: its invoices are no revenue"
        found.append(Finding(True, what, "put your live site into CHARGEBEE_SITE, and its key", warning=True))
    on = [stream.name for stream in SOURCE.switched_on(config)]
    calls = {name: partial(client.session.get, f"api/v2/{name}s", {"limit": 1}) for name in on}
    found += readable(f"Chargebee v2, site {client.site}", calls, RENEW)
    if "subscription" in on and all(finding.ok for finding in found):
        some = client.session.get("api/v2/subscriptions", {"limit": 1}).rows("list")
        if some and "subscription_items" not in some[0]["subscription"]:
            what = (
                "Chargebee: subscriptions have no items: the site has Product Catalog 1.0; plans are read by their id"
            )
            found.append(Finding(True, what, "move the site to Product Catalog 2.0", warning=True))
    return found


POLICY = WindowPolicy(overlap=timedelta(hours=1), settle=timedelta(minutes=2))


def _stream(name: str, description: str, feeds: dict[str, Any], personal: tuple[str, ...] = ()) -> Stream:
    return Stream(
        name, "changes", description, partial(_read, name), day="changed_at", policy=POLICY, page_size=PAGE,
        personal=personal, feeds=feeds,
    )  # fmt: skip


SOURCE = Source(
    name="chargebee",
    title="Chargebee",
    kind="billing",
    api_version="v2",
    streams=(
        _stream("customer", "Customers, deleted ones too.", {"customer": rows.customers}, ("email",)),
        _stream("subscription", "Subscriptions of every status, with what they bring in a month.",
                {"subscription": rows.subscriptions}),
        _stream("invoice", "Invoices, with all their lines.",
                {"invoice": rows.invoices, "invoice_line": rows.invoice_lines}),
        _stream("credit_note", "Credit notes, which take revenue back.", {"invoice": rows.credit_notes}),
    ),
    connect=connect,
    accounts=accounts,
    probe=probe,
    classify=classify,
    environment={
        "CHARGEBEE_API_KEY": "a read-only key of the live site: Settings > Configure Chargebee > API Keys",
        "CHARGEBEE_SITE": "the first part of your address, oursite of oursite.chargebee.com",
    },
    optional=frozenset({"CHARGEBEE_SITE"}),  # the sandbox has none
)  # fmt: skip
