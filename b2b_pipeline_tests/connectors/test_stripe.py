"""Stripe over the sandbox, and by the answers that its documents and its SDK show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses
import stripe as sdk
import time_machine
from sqlalchemy import select

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import Account, Accounts, MappingContext, Record, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Skip, Stop, Wait
from b2b_pipeline.connectors.stripe.rows import monthly
from b2b_pipeline.connectors.stripe.source import SOURCE, VERSION, Stripe, accounts, classify, connect, probe
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.core.load import load_tables
from b2b_pipeline.derived.gone import gone_records
from b2b_pipeline.errors import AuthError, ConfigError, TransientError
from b2b_pipeline.landing.ingest import ingest
from b2b_pipeline.landing.store import Landing
from b2b_pipeline.privacy import Pseudonyms, mask
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.engine import Warehouse
from b2b_pipeline.warehouse.tables import customer, invoice, invoice_line, record_present, subscription
from b2b_pipeline_tests.support.installation import served
from b2b_pipeline_tests.support.migrated import migrated
from b2b_sandbox.billing import OFF, customers
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import advance, make_world
from b2b_sandbox.server import running
from b2b_sandbox.stripe import ACCOUNT, KEY
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
OURS = Account(ACCOUNT, "Our Company", "EUR")
BASE = "https://api.stripe.com/v1"
START = date(2026, 5, 1)


def config(**settings: Any) -> Config:
    given = {"start_date": START, "system_of_record": "files", "sources": {"stripe": settings}}
    return Config.model_validate(given)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    path: Path = tmp_path_factory.mktemp("world") / "world.sqlite"
    return make_world(path, until=UNTIL, days=45, leads=400)


@pytest.fixture(scope="module")
def url(world: World) -> Iterator[str]:
    with served(world) as base:
        yield base


@pytest.fixture
def sandbox(world: World, url: str) -> Iterator[World]:
    with time_machine.travel(clock(world)):
        yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("STRIPE_BASE_URL", raising=False)
    monkeypatch.setenv("STRIPE_API_KEY", "rk_live_0urK3y0fT3sts")
    with responses.RequestsMock() as mock:
        yield mock


def clock(world: World) -> datetime:
    return datetime.fromtimestamp(world.now() / 1000, UTC)


def window(start: date, end: date) -> Window:
    return Window.of_days(start, end, ZoneInfo("UTC"))


WHOLE = window(START, UNTIL + timedelta(days=2))


def fetch(stream: str, its: Window = WHOLE, by: Stripe | None = None) -> list[Record]:
    pages = SOURCE.stream(stream).fetch(by or connect(config()), OURS, its)
    return [record for page in pages for record in page.records]


def mapped(table: Any, stream: str, records: list[Record]) -> Any:
    context = MappingContext(config(), "stripe", stream, OURS)
    return enforce(table, SOURCE.stream(stream).feeds[table.name](flattened(records), context))


def listing(*rows: Record, more: bool = False) -> dict[str, Any]:
    return {"object": "list", "url": "/v1/x", "has_more": more, "data": list(rows)}


# -- what answers mean


def means(status: int, error: dict[str, Any] | None = None, path: str = "invoices", **headers: str) -> Outcome:
    made = requests.Response()
    made.status_code, made.url = status, f"{BASE}/{path}"
    made._content = json.dumps({"error": error} if error else {"data": []}).encode()
    made.headers.update({"Content-Type": "application/json", **{k.replace("_", "-"): v for k, v in headers.items()}})
    return classify(made)


def test_throttling_names_its_limit_and_a_lock_is_no_limit() -> None:
    limited = {"type": "invalid_request_error", "code": "rate_limit", "message": "Request rate limit exceeded."}
    assert means(429, limited, Stripe_Rate_Limited_Reason="global-rate") == Wait(2.0, "global-rate")
    assert means(429, limited, Stripe_Rate_Limited_Reason="endpoint-concurrency") == Wait(10.0, "endpoint-concurrency")
    assert means(429, {"code": "lock_timeout", "type": "invalid_request_error"}) == Wait(2.0, "locked")
    assert means(409, {"type": "idempotency_error"}) == Wait(2.0, "idempotency_error")
    assert isinstance(means(429, limited, Retry_After="7200"), Stop)


def test_a_key_that_has_ended_is_told_from_one_that_nobody_knows_and_from_one_that_may_not() -> None:
    expired = means(401, {"code": "api_key_expired", "message": "Expired API Key provided: rk_live_****aaaa"})
    assert isinstance(expired, Fatal)
    assert expired.auth
    assert "has ended" in expired.reason
    assert "restricted key" in expired.fix
    unknown = means(401, {"type": "invalid_request_error", "message": "Invalid API Key provided: rk_live_****aaaa"})
    assert isinstance(unknown, Fatal)
    assert "not known" in unknown.reason
    refused = means(403, {"type": "invalid_request_error", "message": "does not have the required permissions"})
    assert isinstance(refused, Fatal)
    assert "Read of Customers" in refused.fix


def test_one_object_may_be_gone_and_a_list_may_not() -> None:
    missing = {"code": "resource_missing", "message": "No such invoice: 'in_1'", "type": "invalid_request_error"}
    assert isinstance(means(404, missing, "invoices/in_1?expand[]=x"), Skip)
    assert isinstance(means(404, missing, "invoices"), Fatal)
    assert isinstance(means(404, {"message": "Unrecognized request URL"}, "invoices/in_1"), Fatal)


def test_a_version_that_ended_is_one_clear_error_and_an_error_in_a_200_is_no_data() -> None:
    ended = means(400, {"message": f"Invalid Stripe API version: {VERSION}", "type": "invalid_request_error"})
    assert isinstance(ended, Fatal)
    assert "install a newer release" in ended.fix
    assert isinstance(means(200, {"type": "api_error", "message": "Sorry"}), Wait)
    assert isinstance(means(500, {"type": "api_error"}, Stripe_Should_Retry="true"), Wait)
    assert means(200) == Ok()


# -- what is read


def test_every_object_of_the_world_is_read_and_its_lines_are_whole(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(sandbox, stripe={"shown_lines": 2}) as base:
        monkeypatch.setenv("STRIPE_BASE_URL", f"{base}/stripe")
        invoices, subscriptions = fetch("invoice"), fetch("subscription")
        notes, people = fetch("credit_note"), fetch("customer")
    with sandbox.connect() as connection:
        real = [*customers(connection, sandbox.now(), "stripe")]
    bills = [bill for each in real for bill in each.invoices]
    assert len(invoices) == len(bills) > 100  # more than a page
    assert len(notes) == sum(bill.credit is not None for bill in bills) > 0
    assert len(subscriptions) == len(real)
    told = clock(sandbox).timestamp() - 30 * 86_400  # who was deleted before that is in no list and no event
    known = [each for each in real if not each.deleted or each.deleted >= told]
    assert len(people) == len(known) < len(real)
    assert sum(bool(each.get("deleted")) for each in people) == sum(bool(each.deleted) for each in known) > 0
    assert max(len(each["lines"]) for each in invoices) > 5
    issued = mapped(invoice, "invoice", invoices)
    assert issued.rejects.empty
    assert sum(issued.rows["amount"]) == sum(bill.net for bill in bills if bill.issued)
    lines = mapped(invoice_line, "invoice", invoices)
    by_invoice = lines.rows.groupby("invoice_id")["amount"].sum().to_dict()
    assert by_invoice == dict(zip(issued.rows["invoice_id"], issued.rows["amount"], strict=True))


def test_what_changed_is_read_again_once_in_the_window_of_its_last_change(sandbox: World) -> None:
    """Paid, voided and cancelled ones, though they were made before."""
    day = UNTIL - timedelta(days=4)
    late = fetch("invoice", window(day, UNTIL + timedelta(days=1)))
    with sandbox.connect() as connection:
        bills = [bill for each in customers(connection, sandbox.now(), "stripe") for bill in each.invoices]
    since = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    until = since + 5 * 86_400
    last = [max(bill.changes) for bill in bills]
    assert len(late) == sum(since <= at < until for at in last)
    assert sum(each["created"] < since for each in late) > 0
    assert all(since <= datetime.fromisoformat(each["changed_at"]).timestamp() < until for each in late)


def test_a_window_beyond_what_events_tell_reads_all_that_there_is_as_of_now(sandbox: World) -> None:
    """After an outage of more than a month: what an older object became in between no event tells any more."""
    client = connect(config())
    beyond = window(START + timedelta(days=2), UNTIL)  # more than 29 days ago, and not the first window
    found = fetch("subscription", beyond, client)
    everything = {each["id"] for each in fetch("subscription", WHOLE, client)}
    until = datetime(UNTIL.year, UNTIL.month, UNTIL.day, tzinfo=UTC).timestamp()
    assert {each["id"] for each in found} == {each["id"] for each in fetch("subscription") if each["created"] < until}
    assert any(each["created"] < beyond.since.timestamp() for each in found)
    assert {each["id"] for each in found} < everything
    assert {each["changed_at"][:10] for each in found} == {clock(sandbox).date().isoformat()}


def test_once_a_week_what_may_have_changed_without_an_event_is_listed_again(sandbox: World) -> None:
    found = fetch("standing")
    kinds = {each["object"] for each in found}
    assert kinds == {"subscription", "invoice", "credit_note"}
    assert {each["status"] for each in found if each["object"] == "invoice"} <= {"open", "void", "uncollectible"}
    for table in (subscription, invoice, invoice_line):
        stored = mapped(table, "standing", found)
        assert stored.rejects.empty
        assert len(stored.rows) > 0


def test_what_people_wrote_and_who_they_are_is_not_kept(sandbox: World) -> None:
    kept = json.dumps([fetch(name) for name in ("customer", "subscription", "invoice", "credit_note", "standing")])
    for word in ("likes to be called", "+49 30", "too expensive", "Thank you", "We are sorry"):
        assert word not in kept
    assert all(set(each) & {"email"} <= set(SOURCE.stream("customer").personal) for each in fetch("customer"))


def test_a_draft_that_was_deleted_is_left_out(vendor: responses.RequestsMock) -> None:
    now = datetime.now(UTC)
    event = {"id": "evt_1", "created": int(now.timestamp()) - 90_000, "type": "invoice.deleted",
             "data": {"object": {"id": "in_gone"}}}  # fmt: skip
    coming = {**event, "id": "evt_0", "type": "invoice.upcoming", "data": {"object": {"object": "invoice"}}}
    vendor.get(f"{BASE}/events", json=listing(event, coming))
    vendor.get(f"{BASE}/invoices", json=listing())
    vendor.get(f"{BASE}/invoices/in_gone", status=404, json={
        "error": {"code": "resource_missing", "message": "No such invoice: 'in_gone'", "type": "invalid_request_error"},
    })  # fmt: skip
    assert fetch("invoice", window(now.date() - timedelta(days=2), now.date())) == []
    asked = vendor.calls[1].request
    assert asked.headers["Stripe-Version"] == VERSION
    assert set(asked.params) == {"created[lt]", "created[gte]", "limit"}  # type: ignore[attr-defined]


def test_a_page_that_does_not_say_whether_another_follows_is_none(vendor: responses.RequestsMock) -> None:
    vendor.get(f"{BASE}/events", json={"object": "list", "data": []})
    with pytest.raises(KeyError, match="has_more"):
        fetch("invoice")
    vendor.replace(responses.GET, f"{BASE}/events", json={"object": "list", "has_more": False})
    with pytest.raises(TransientError, match="without 'data'"):
        fetch("invoice")


def test_a_cursor_that_repeats_is_told(sandbox: World) -> None:
    add_fault(sandbox, "stripe", "repeat_cursor", path_contains="/v1/invoices?")
    with pytest.raises(TransientError, match="repeats"):
        fetch("invoice")


def test_throttling_is_sat_out_and_nothing_is_lost(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fetch("invoice")
    client = connect(config())
    monkeypatch.setattr(client.session, "_sleep", lambda seconds: None)
    add_fault(sandbox, "stripe", "throttle", path_contains="/v1/invoices", count=3)
    assert [each["id"] for each in fetch("invoice", by=client)] == [each["id"] for each in whole]


# -- money and subscriptions


def bill(**more: Any) -> Record:
    """An invoice as the connector keeps one."""
    return {
        "id": "in_1", "object": "invoice", "created": 1_780_000_000, "livemode": True, "currency": "eur",
        "customer": "cus_1", "number": "A-1", "status": "paid", "total": 11_900, "total_excluding_tax": 10_000,
        "total_taxes": None, "amount_paid": 11_900, "due_date": None, "effective_at": 1_780_003_600,
        "status_transitions": {"finalized_at": 1_780_000_000, "paid_at": 1_780_090_000}, "subscription": None,
        "changed_at": "2026-06-01T00:00:00+00:00", "lines": [], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "amount"),
    [("eur", "100.000000"), ("jpy", "10000.000000"), ("kwd", "10.000000"), ("isk", "100.000000"),
     ("ugx", "100.000000"), ("huf", "100.000000")],
)  # fmt: skip
def test_money_is_counted_in_the_smallest_unit_of_its_currency(currency: str, amount: str) -> None:
    stored = mapped(invoice, "invoice", [bill(currency=currency)])
    assert [str(each) for each in stored.rows["amount"]] == [amount]
    assert stored.rows["currency"].tolist() == [currency.upper()]


def test_amounts_are_without_tax_and_one_that_nobody_tells_is_refused() -> None:
    taxes = [{"amount": 1_000, "tax_behavior": "exclusive"}, {"amount": 900, "tax_behavior": "inclusive"}]
    given = [
        bill(), bill(id="in_2", total_excluding_tax=None, total_taxes=taxes),
        bill(id="in_3", total_excluding_tax=None), bill(id="in_4", total="many"),
        bill(id="in_5", total_excluding_tax=1.5), bill(id="in_6", total=-500, total_excluding_tax=-420),
    ]  # fmt: skip
    stored = mapped(invoice, "invoice", given)
    told = dict(zip(stored.rows["invoice_id"], map(str, stored.rows["amount"]), strict=True))
    assert told == {"in_1": "100.000000", "in_2": "100.000000", "in_6": "-4.200000"}
    assert len(stored.rejects["record_number"].unique()) == 3


def test_drafts_are_not_issued_and_the_date_of_issue_is_the_one_on_the_invoice() -> None:
    dated = bill(id="in_2", effective_at=None)
    stored = mapped(
        invoice, "invoice", [bill(), dated, bill(id="in_3", status="draft"), bill(id="in_4", status="void")]
    )
    assert stored.rows["invoice_id"].tolist() == ["in_1", "in_2", "in_4"]
    assert [f"{at:%Y-%m-%d %H:%M}" for at in stored.rows["issued_at"]] == [
        "2026-05-28 21:26", "2026-05-28 20:26", "2026-05-28 21:26",
    ]  # fmt: skip
    assert mapped(invoice, "invoice", [bill(effective_at=None, status_transitions={"finalized_at": None})]).rows.empty


def test_a_credit_note_takes_back_what_it_is_without_tax() -> None:
    note = {"id": "cn_1", "object": "credit_note", "created": 1_780_000_000, "currency": "jpy", "customer": "cus_1",
            "invoice": "in_1", "status": "issued", "total": 1_190, "total_excluding_tax": 1_000, "total_taxes": None,
            "effective_at": None, "changed_at": "2026-06-01T00:00:00+00:00"}  # fmt: skip
    (row,) = mapped(invoice, "credit_note", [note]).rows.to_dict("records")
    assert (str(row["amount"]), str(row["tax"]), row["kind"]) == ("-1000.000000", "-190.000000", "credit_note")
    assert row["credited_invoice_id"] == "in_1"


def test_a_line_is_without_inclusive_tax_discounts_and_credits_and_its_last_day_is_served() -> None:
    line = {
        "id": "il_1", "amount": 12_000, "currency": "eur", "quantity": 1, "price": "price_1",
        "period": {"start": 1_780_012_800, "end": 1_780_012_800 + 30 * 86_400},  # midnight to midnight
        "discount_amounts": [{"amount": 1_000}], "taxes": [{"amount": 900, "tax_behavior": "inclusive"}],
        "pretax_credit_amounts": [{"amount": 1_000, "type": "discount"},
                                  {"amount": 100, "type": "credit_balance_transaction"}],
        "parent": {"type": "subscription_item_details", "subscription": "sub_1", "proration": False},
    }  # fmt: skip
    untold = {**line, "id": "il_2", "taxes": None}
    stored = mapped(invoice_line, "invoice", [bill(lines=[line, untold])]).rows
    assert [str(each) for each in stored["amount"]] == ["100.000000", "<NA>"]
    assert [str(day) for day in (*stored["first_day"], *stored["last_day"])] == ["2026-05-29"] * 2 + ["2026-06-27"] * 2
    assert stored["is_recurring"].tolist() == [True, True]
    free = mapped(invoice_line, "invoice", [bill(lines=[untold], total_excluding_tax=11_900)]).rows
    assert [str(each) for each in free["amount"]] == ["109.000000"]  # the invoice has no tax at all


def price(unit: str | None = "12000", interval: str = "month", count: int = 1, **more: Any) -> Record:
    recurring = {"interval": interval, "interval_count": count, "usage_type": more.pop("usage", "licensed")}
    return {"id": "price_1", "billing_scheme": "per_unit", "unit_amount_decimal": unit, "tax_behavior": "exclusive",
            "transform_quantity": None, "recurring": recurring, **more}  # fmt: skip


def item(quantity: int | None = 1, discounts: tuple[Record, ...] = (), **its: Any) -> Record:
    return {"id": "si_1", "quantity": quantity, "price": price(**its), "discounts": list(discounts), "tax_rates": []}


def off(**coupon: Any) -> Record:
    return {"id": "di_1", "coupon": {"id": "C", "duration": "forever", **coupon}}


def brings(*items: Record, **more: Any) -> Decimal | None:
    found = monthly({"status": "active", "currency": "eur", "items": list(items), "discounts": [], **more})
    return None if found is None else round(found, 4)


def test_what_a_subscription_brings_in_a_month_follows_from_its_prices() -> None:
    assert brings(item(2)) == 24_000
    assert brings(item(interval="year"), item(interval="month", count=3)) == 1_000 + 4_000
    assert brings(item(unit="1200", interval="week")) == 5_200
    assert brings(item(unit="0.5", quantity=300)) == 150
    assert brings(item(7, transform_quantity={"divide_by": 5, "round": "up"})) == 24_000
    assert brings(item(), item(usage="metered", unit=None)) == 12_000  # what is charged by use is left out


def test_what_the_world_s_subscriptions_bring_in_a_month_is_what_their_plans_cost(sandbox: World) -> None:
    stored = mapped(subscription, "subscription", fetch("subscription")).rows
    brought = dict(zip(stored["subscription_id"], stored["mrr"], strict=True))
    with sandbox.connect() as connection:
        real = [each.subscription for each in customers(connection, sandbox.now(), "stripe")]
    now = sandbox.now() // 1000
    for its in real:
        cost = its.plan.price * its.quantity / its.plan.months * (1 - OFF * its.has_coupon)
        is_nothing = its.ended or its.paused or (its.trial or 0) > now
        assert brought[f"sub_1{its.number:x}"] == (0 if is_nothing else round(cost, 6))
    assert any(its.has_coupon and brought[f"sub_1{its.number:x}"] for its in real)


def test_coupons_count_while_they_are_in_force() -> None:
    assert brings(item(), discounts=[off(percent_off=25.5)]) == 8_940
    assert brings(item(), discounts=[off(percent_off=50, duration="once")]) == 12_000
    assert brings(item(interval="year"), discounts=[off(amount_off=2_400, currency="eur")]) == 800
    assert brings(item(discounts=(off(percent_off=10.0),)), discounts=[off(percent_off=50.0)]) == 5_400
    assert brings(item(unit="100"), discounts=[off(amount_off=2_400, currency="eur")]) == 0


def test_what_cannot_be_said_is_unknown_and_not_zero() -> None:
    assert brings(item(billing_scheme="tiered", unit=None)) is None
    assert brings(item(unit=None)) is None
    assert brings(item(None)) is None
    assert brings(item(tax_behavior="inclusive"), has_automatic_tax=True) is None
    assert brings(item(), tax_rates=[{"inclusive": True}]) is None
    assert brings(item(), discounts=[{"id": "di_1", "coupon": {}}]) is None
    assert brings(item(), discounts=[off(percent_off=10, applies_to={"products": ["prod_1"]})]) is None
    assert brings(item(), item(interval="year"), discounts=[off(amount_off=1, currency="eur")]) is None


def test_a_subscription_that_is_not_paid_for_brings_nothing() -> None:
    for status in ("trialing", "incomplete", "incomplete_expired", "paused", "unpaid", "canceled"):
        assert brings(item(billing_scheme="tiered"), status=status) == 0
    assert brings(item(), **{"pause_collection.behavior": "void"}) == 0
    assert brings(item(), status="past_due") == 12_000


def subscribed(**more: Any) -> Record:
    return {
        "id": "sub_1", "object": "subscription", "created": 1_780_000_000, "currency": "eur", "customer": "cus_1",
        "status": "active", "start_date": 1_780_000_000, "trial_start": None, "trial_end": None, "canceled_at": None,
        "ended_at": None, "pause_collection": None, "cancellation_details": {}, "has_automatic_tax": False,
        "tax_rates": [], "discounts": [], "items": [item()], "changed_at": "2026-06-01T00:00:00+00:00", **more,
    }  # fmt: skip


def test_a_subscription_starts_after_its_trial_and_one_that_was_never_paid_for_did_not() -> None:
    trial = 1_780_000_000 + 14 * 86_400
    given = [
        subscribed(), subscribed(id="sub_2", trial_end=trial), subscribed(id="sub_3", trial_end=trial, ended_at=trial),
        subscribed(id="sub_4", status="incomplete_expired", ended_at=1_780_082_800),
        subscribed(id="sub_5", trial_end=trial, ended_at=trial + 86_400, status="canceled", canceled_at=trial),
    ]  # fmt: skip
    stored = mapped(subscription, "subscription", given)
    assert stored.rejects.empty
    rows = stored.rows.astype(object).where(stored.rows.notna(), None)
    told = [[str(row[name])[:10] for name in ("started_at", "date_day", "ended_day")] for _, row in rows.iterrows()]
    assert told == [
        ["2026-05-28", "2026-05-28", "None"], ["2026-06-11", "2026-06-11", "None"],
        ["None", "2026-06-11", "2026-06-11"], ["None", "2026-05-28", "2026-05-29"],
        ["2026-06-11", "2026-06-11", "2026-06-12"],
    ]  # fmt: skip


def test_a_coupon_is_read_once_and_one_that_was_deleted_makes_the_amount_unknown(
    vendor: responses.RequestsMock,
) -> None:
    vendor.get(f"{BASE}/events", json=listing())
    thing = {
        **subscribed(), "customer": {"id": "cus_1", "discount": None}, "default_tax_rates": [],
        "automatic_tax": {"enabled": False}, "items": listing({**item(), "price": price()}),
    }  # fmt: skip
    reduced = [{**thing, "id": f"sub_{code}{n}", "discounts": [{"id": "di_1", "source": {"coupon": code}}]}
               for code in ("HALF", "GONE") for n in (1, 2)]  # fmt: skip
    vendor.get(f"{BASE}/subscriptions", json=listing(*reduced))
    half = vendor.get(f"{BASE}/coupons/HALF", json={"id": "HALF", "percent_off": 50.0, "duration": "repeating"})
    gone = vendor.get(f"{BASE}/coupons/GONE", status=404, json={
        "error": {"code": "resource_missing", "message": "No such coupon: 'GONE'", "type": "invalid_request_error"},
    })  # fmt: skip
    stored = mapped(subscription, "subscription", fetch("subscription"))
    assert (half.call_count, gone.call_count) == (1, 1)
    assert [str(each) for each in stored.rows["mrr"]] == ["60.000000"] * 2 + ["<NA>"] * 2


def test_a_deleted_customer_is_told_without_what_they_were() -> None:
    gone = {"id": "cus_2", "object": "customer", "deleted": True, "changed_at": "2026-06-01T00:00:00+00:00"}
    kept = {
        "id": "cus_1",
        "object": "customer",
        "created": 1_780_000_000,
        "currency": "usd",
        "email": None,
        "business_name": "Maple Transport",
        "address": {"country": "US"},
        "changed_at": "2026-06-01T00:00:00+00:00",
    }
    stored = mapped(customer, "customer", [kept, gone])
    assert stored.rejects.empty
    assert stored.rows["is_deleted"].tolist() == [False, True]
    assert stored.rows["country"].tolist()[0] == "US"


def test_a_customer_who_was_deleted_while_nobody_read_for_a_month_is_gone_by_the_next_list(tmp_path: Path) -> None:
    """Events tell of the last 30 days alone, and no list has a deleted customer."""
    world = make_world(tmp_path / "world.sqlite", until=UNTIL, days=20, leads=800)
    landing = Landing(tmp_path, Pseudonyms(b"key", tmp_path / "gone.json"))

    def read(*streams: str) -> set[str]:
        """The customers that are there."""
        with served(world), time_machine.travel(clock(world)):
            end = clock(world).date()
            for stream in streams:
                start = end - timedelta(days=1) if landing.slices("stripe", "customer") else START
                report = ingest(
                    SOURCE, SOURCE.stream(stream), connect(config()), Accounts([OURS]), start, end,
                    config=config(), landing=landing, run_id=f"{end}",
                )  # fmt: skip
                assert not report.failed
            return {
                each["id"]
                for each in fetch("customer", window(START, end + timedelta(days=1)))
                if not each.get("deleted")
            }

    before = read("customer")
    advance(world, 45)
    lost = before - read("customer", "present")
    assert lost, "some are deleted meanwhile"
    warehouse = Warehouse(f"duckdb:///{tmp_path / 'warehouse.duckdb'}")
    migrated(warehouse)
    load_tables(warehouse, landing, config(), [customer, record_present], "1")
    with warehouse.read() as connection:
        gone = {row.object_id for row in connection.execute(gone_records(config()))}
    told = {row["customer_id"] for row in warehouse.rows(select(customer.c.customer_id).where(customer.c.is_deleted))}
    assert gone - told == lost


# -- the key, accounts, doctor


def test_the_key_is_in_no_address_and_in_no_message(vendor: responses.RequestsMock) -> None:
    refused = {"error": {"message": "Invalid API Key provided: rk_live_****sts", "type": "invalid_request_error"}}
    vendor.get(f"{BASE}/account", status=401, json=refused)
    with pytest.raises(AuthError) as caught:
        accounts(connect(config()), config())
    assert "0urK3y0fT3sts" not in str(caught.value)
    assert "0urK3y0fT3sts" not in str(vendor.calls[0].request.url)
    assert "0urK3y0fT3sts" not in mask("rk_live_0urK3y0fT3sts")


def test_connected_accounts_are_named_in_a_header_and_one_that_is_not_connected_is_refused(sandbox: World) -> None:
    named = config(accounts=[ACCOUNT])
    assert list(accounts(connect(named), named).read) == [OURS]
    assert list(accounts(connect(config()), config()).read) == [OURS]
    other = config(accounts=["acct_other"])
    with pytest.raises(ConfigError, match=r"none of them can be read: acct_other: .* does not reach this account"):
        accounts(connect(other), other)
    both = config(accounts=[ACCOUNT, "acct_other"])
    assert [each.account for each in accounts(connect(both), both).skipped] == ["acct_other"]


def test_doctor_warns_of_a_key_that_may_write_and_of_one_of_test_mode(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert all(finding.ok and not finding.warning for finding in probe(connect(config()), config()))
    told = {finding.what for finding in probe(connect(config()), config())}
    assert f"Stripe {VERSION}, account {ACCOUNT} event is readable" in told
    monkeypatch.setenv("STRIPE_API_KEY", "sk_test_0123")
    found = probe(connect(config()), config())
    assert [("may do anything" in each.what, "no revenue" in each.what) for each in found if each.warning] == [
        (True, False), (False, True),
    ]  # fmt: skip
    assert [each.ok for each in found] == [True, True, False]


# -- the official SDK


def test_stripe_s_own_client_reads_the_twin(sandbox: World, url: str) -> None:
    client = sdk.StripeClient(KEY, base_addresses={"api": f"{url}/stripe"})
    invoices = [*client.v1.invoices.list({"limit": 100}).auto_paging_iter()]
    ours = fetch("invoice")
    assert [each.id for each in invoices] == [each["id"] for each in ours]
    assert sum(each.total_excluding_tax or 0 for each in invoices) == sum(each["total_excluding_tax"] for each in ours)
    some = client.v1.subscriptions.list({"status": "all", "limit": 3, "expand": ["data.customer"]})
    assert isinstance(some.data[0].customer, sdk.Customer)
    assert client.v1.events.list({"type": "invoice.*"}).data[0].type.startswith("invoice.")
    with pytest.raises(sdk.InvalidRequestError, match="unknown parameter"):
        client.v1.customers.list({"updated": 1})  # type: ignore[typeddict-unknown-key]
    with pytest.raises(sdk.AuthenticationError):
        sdk.StripeClient("rk_live_wrong", base_addresses={"api": f"{url}/stripe"}).v1.customers.list()
