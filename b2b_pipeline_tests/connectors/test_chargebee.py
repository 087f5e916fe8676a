"""Chargebee over the sandbox, and by the answers that its documents and its SDK show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import requests
import responses

from b2b_pipeline.connectors.base import Account, Record, Window
from b2b_pipeline.connectors.chargebee.source import SOURCE, accounts, classify, connect, probe
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Stop, Wait
from b2b_pipeline.errors import AuthError, ConfigError, TransientError
from b2b_pipeline.privacy import mask
from b2b_pipeline.warehouse.tables import customer, invoice, invoice_line, subscription
from b2b_pipeline_tests.support.asked import Asked, answer
from b2b_pipeline_tests.support.installation import served
from b2b_sandbox import tokens
from b2b_sandbox.billing import customers
from b2b_sandbox.faults import add_fault, clear_faults
from b2b_sandbox.generate import make_world
from b2b_sandbox.server import running
from b2b_sandbox.world import World

UNTIL = date(2026, 6, 15)
START = date(2026, 5, 1)
BASE = "https://oursite.chargebee.com/api/v2"
OURS = Account("oursite")
CHANGED = "2026-06-01T00:00:00+00:00"


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
    yield world
    clear_faults(world)


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Iterator[responses.RequestsMock]:
    monkeypatch.delenv("CHARGEBEE_BASE_URL", raising=False)
    monkeypatch.setenv("CHARGEBEE_SITE", "oursite")
    monkeypatch.setenv("CHARGEBEE_API_KEY", "live_0urK3y0fT3sts")
    with responses.RequestsMock() as mock:
        yield mock


def window(start: date, end: date) -> Window:
    return Window.of_days(start, end, ZoneInfo("UTC"))


ASKED = Asked(SOURCE, OURS, window(START, UNTIL + timedelta(days=2)))
config, fetch, mapped = ASKED.config, ASKED.fetch, ASKED.mapped


# -- what answers mean


def means(status: int, code: str = "", **headers: str) -> Outcome:
    body = {"message": "Sorry", "api_error_code": code} if code else {"list": []}
    return classify(answer(f"{BASE}/invoices", status, body, **{k.replace("_", "-"): v for k, v in headers.items()}))


def test_throttling_is_waited_for_a_minute_unless_it_is_told_for_how_long() -> None:
    assert means(429, "api_request_limit_exceeded") == Wait(60.0)
    assert means(429, "api_request_limit_exceeded", Retry_After="7") == Wait(7.0)
    assert isinstance(means(429, "api_request_limit_exceeded", Retry_After="7200"), Stop)
    assert isinstance(means(503, "internal_temporary_error"), Wait)
    assert isinstance(means(200, "internal_error"), Wait)
    assert means(200) == Ok()


def test_a_refusal_says_whether_it_is_the_key_the_site_or_its_catalog() -> None:
    found = {
        code: means(status, code)
        for status, code in ((401, "api_authentication_failed"), (403, "request_blocked"),
                             (403, "api_authorization_failed"), (400, "configuration_incompatible"),
                             (404, "site_not_found"), (400, "param_wrong_value"))
    }  # fmt: skip
    assert all(isinstance(each, Fatal) for each in found.values())
    told = {code: each.reason for code, each in found.items() if isinstance(each, Fatal)}
    assert "not known" in told["api_authentication_failed"]
    assert "blocked" in told["request_blocked"]
    assert "may not read" in told["api_authorization_failed"]
    assert "another product catalog" in told["configuration_incompatible"]
    assert "no such site" in told["site_not_found"]
    assert told["param_wrong_value"] == "param_wrong_value"


# -- what is read


def test_every_record_of_the_world_is_read_and_lines_are_whole(sandbox: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(sandbox, chargebee={"shown_lines": 1}) as base:
        monkeypatch.setenv("CHARGEBEE_BASE_URL", f"{base}/chargebee")
        bills, notes, people = fetch("invoice"), fetch("credit_note"), fetch("customer")
        subscriptions = fetch("subscription")
    with sandbox.connect() as connection:
        real = [*customers(connection, sandbox.now(), "chargebee")]
    issued = [bill for each in real for bill in each.invoices if bill.issued]
    assert len(people) == len(subscriptions) == len(real) > 100  # more than a page
    assert sum(each["deleted"] for each in people) == sum(bool(each.deleted) for each in real) > 0
    stored = mapped(invoice, "invoice", bills)
    assert stored.rejects.empty
    assert sum(stored.rows["amount"]) == sum(bill.net for bill in issued)
    assert sum(stored.rows["tax"]) == sum(bill.tax for bill in issued)
    lines = mapped(invoice_line, "invoice", bills).rows
    assert lines.groupby("invoice_id")["amount"].sum().to_dict() == dict(
        zip(stored.rows["invoice_id"], stored.rows["amount"], strict=True)
    )
    credits_ = mapped(invoice, "credit_note", notes).rows
    assert len(credits_) < len(notes)  # what was given up is no credit
    assert sum(credits_["amount"]) == -sum(bill.credit.net for bill in issued if bill.credit)


def test_what_was_updated_in_a_window_is_read_in_it_alone_whether_its_bounds_count_or_not(sandbox: World) -> None:
    day = UNTIL - timedelta(days=4)
    late = fetch("invoice", window(day, UNTIL + timedelta(days=1)))
    with sandbox.connect() as connection:
        bills = [bill for each in customers(connection, sandbox.now(), "chargebee") for bill in each.invoices]
    since = datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
    last = [max(bill.changes) for bill in bills]
    assert len(late) == sum(since <= at < since + 5 * 86_400 for at in last) > 0
    exactly = int(since)
    for at, is_read in ((exactly - 1, False), (exactly, True), (exactly + 86_399, True), (exactly + 86_400, False)):
        with pytest.MonkeyPatch.context() as patch, responses.RequestsMock() as mock:
            patch.delenv("CHARGEBEE_BASE_URL", raising=False)
            patch.setenv("CHARGEBEE_SITE", "oursite")
            mock.get(f"{BASE}/customers", json={"list": [{"customer": {"id": "c", "updated_at": at}}]})
            assert bool(fetch("customer", window(day, day + timedelta(days=1)))) is is_read
            asked = mock.calls[0].request.params  # type: ignore[attr-defined]
            assert asked["updated_at[between]"] == f"[{exactly - 1},{exactly + 86_400}]"
            assert asked["include_deleted"] == "true"


def test_the_first_window_reads_what_was_never_updated_since_updates_are_kept(vendor: responses.RequestsMock) -> None:
    old = {"id": "c1", "object": "customer", "created_at": 1_400_000_000, "deleted": False}
    vendor.get(f"{BASE}/customers", json={"list": [{"customer": old, "card": {"status": "valid"}}]})
    (found,) = fetch("customer")
    assert found["changed_at"] == "2014-05-13T16:53:20+00:00"
    asked = vendor.calls[0].request.params  # type: ignore[attr-defined]
    assert asked == {"limit": "100", "include_deleted": "true", "sort_by[asc]": "created_at"}


def test_what_people_wrote_and_who_they_are_is_not_kept(sandbox: World) -> None:
    kept = json.dumps([fetch(stream.name) for stream in SOURCE.streams])
    for word in ("Kim", "+4930", "Hauptstr", "Call before", "We are sorry", "a field of our own"):
        assert word not in kept


def test_a_page_without_records_and_a_cursor_that_repeats_are_told(sandbox: World) -> None:
    add_fault(sandbox, "chargebee", "repeat_cursor", path_contains="customers")
    with pytest.raises(TransientError, match="repeats"):
        fetch("customer")
    with pytest.MonkeyPatch.context() as patch, responses.RequestsMock() as mock:
        patch.delenv("CHARGEBEE_BASE_URL", raising=False)
        patch.setenv("CHARGEBEE_SITE", "oursite")
        mock.get(f"{BASE}/customers", json={"next_offset": "x"})
        with pytest.raises(TransientError, match="without 'list'"):
            fetch("customer")


# -- what becomes of it


def bill(**more: Any) -> Record:
    return {
        "id": "1", "object": "invoice", "customer_id": "c", "status": "paid", "date": 1_780_000_000, "total": 11_900,
        "tax": 1_900, "sub_total": 10_000, "currency_code": "EUR", "price_type": "tax_exclusive", "deleted": False,
        "amount_paid": 11_900, "changed_at": CHANGED, "line_items": [], **more,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("currency", "amount"), [("EUR", "100.000000"), ("JPY", "10000.000000"), ("KWD", "100.000000")]
)
def test_money_is_in_hundredths_also_where_a_currency_has_thousandths(currency: str, amount: str) -> None:
    assert [str(each) for each in mapped(invoice, "invoice", [bill(currency_code=currency)]).rows["amount"]] == [amount]


def test_pending_invoices_are_not_issued_voided_ones_are_void_and_one_without_tax_told_is_refused() -> None:
    given = [bill(), bill(id="2", status="pending"), bill(id="3", status="voided"), bill(id="4", tax=None),
             bill(id="5", total="many"), bill(id="6", deleted=True)]  # fmt: skip
    stored = mapped(invoice, "invoice", given)
    told = zip(stored.rows["invoice_id"], stored.rows["status"], stored.rows["is_deleted"], strict=True)
    assert [*told] == [("1", "paid", False), ("3", "void", False), ("6", "paid", True)]
    assert len(stored.rejects["record_number"].unique()) == 2


def test_a_line_is_without_discounts_and_the_tax_that_its_price_includes() -> None:
    line = {"id": "li_1", "subscription_id": "s", "date_from": 1_780_012_800, "date_to": 1_780_012_800 + 30 * 86_400,
            "amount": 12_900, "discount_amount": 1_000, "tax_amount": 1_900, "entity_type": "plan_item_price",
            "entity_id": "team-EUR"}  # fmt: skip
    given = [bill(price_type="tax_inclusive", line_items=[line]), bill(id="2", line_items=[{**line, "id": "li_2"}])]
    stored = mapped(invoice_line, "invoice", given).rows
    assert [str(each) for each in stored["amount"]] == ["100.000000", "119.000000"]
    assert [str(day) for day in (stored["first_day"].iloc[0], stored["last_day"].iloc[0])] == [
        "2026-05-29",
        "2026-06-27",
    ]
    assert stored["is_recurring"].tolist() == [True, True]


def test_a_credit_note_is_negative_and_one_of_a_write_off_takes_nothing_back() -> None:
    note = {"id": "CN-1", "object": "credit_note", "customer_id": "c", "date": 1_780_000_000, "status": "refund_due",
            "reason_code": "waiver", "total": 1_190, "taxes": [{"amount": 190}], "currency_code": "EUR",
            "reference_invoice_id": "1", "changed_at": CHANGED}  # fmt: skip
    given = [note, {**note, "id": "CN-2", "reason_code": "write_off"}, {**note, "id": "CN-3", "taxes": None},
             {**note, "id": "CN-4", "taxes": []}]  # fmt: skip
    stored = mapped(invoice, "credit_note", given)
    assert [str(each) for each in stored.rows["amount"]] == ["-10.000000", "-11.900000"]
    assert stored.rejects["record_number"].tolist() == [2]


def subscribed(**more: Any) -> Record:
    return {
        "id": "s1", "object": "subscription", "customer_id": "c", "status": "active", "currency_code": "EUR",
        "created_at": 1_780_000_000, "started_at": 1_780_000_000, "mrr": 4_900, "deleted": False,
        "changed_at": CHANGED, "subscription_items": [
            {"item_price_id": "team-EUR", "item_type": "plan", "quantity": 3},
            {"item_price_id": "calls-EUR", "item_type": "addon", "quantity": 9},
        ], **more,
    }  # fmt: skip


def test_a_subscription_ends_when_it_is_cancelled_and_not_when_that_is_asked_for() -> None:
    trial, end = 1_780_000_000 + 14 * 86_400, 1_780_000_000 + 20 * 86_400
    given = [
        subscribed(), subscribed(id="s2", status="non_renewing", cancelled_at=end),
        subscribed(id="s3", trial_end=trial),
        subscribed(id="s4", status="cancelled", cancelled_at=end, trial_end=trial),
        subscribed(id="s5", status="cancelled", cancelled_at=trial, trial_end=trial),
        subscribed(id="s6", status="paused"), subscribed(id="s7", status="transferred"), subscribed(id="s8", mrr=None),
        subscribed(id="s9", status="future", started_at=None, start_date=end),
    ]  # fmt: skip
    stored = mapped(subscription, "subscription", given)
    assert stored.rejects.empty
    rows = stored.rows.astype(object).where(stored.rows.notna(), None)
    told = [[str(row[name])[:10] for name in ("started_at", "ended_day", "mrr")] for _, row in rows.iterrows()]
    assert told == [
        ["2026-05-28", "None", "49.000000"], ["2026-05-28", "None", "49.000000"], ["2026-06-11", "None", "49.000000"],
        ["2026-06-11", "2026-06-17", "0.000000"], ["None", "2026-06-11", "0.000000"],
        ["2026-05-28", "None", "0.000000"], ["2026-05-28", "None", "0.000000"], ["2026-05-28", "None", "None"],
        ["2026-06-17", "None", "0.000000"],
    ]  # fmt: skip
    assert rows["is_deleted"].tolist() == [False] * 6 + [True] + [False] * 2
    assert set(rows["plan"]) == {"team-EUR"}
    assert set(rows["quantity"]) == {3}


def test_of_product_catalog_1_plans_are_read_by_their_id() -> None:
    old = subscribed(plan_id="team", plan_quantity=2, subscription_items=[])
    (row,) = mapped(subscription, "subscription", [old]).rows.to_dict("records")
    assert (row["plan"], row["quantity"]) == ("team", 2)


def test_a_deleted_customer_is_told(sandbox: World) -> None:
    stored = mapped(customer, "customer", fetch("customer"))
    assert stored.rejects.empty
    assert {True, False} == set(stored.rows["is_deleted"])


# -- the key, the site, doctor


def test_the_key_is_in_no_address_and_in_no_message(vendor: responses.RequestsMock) -> None:
    refused = {
        "message": "Sorry, authentication failed. Invalid api key",
        "api_error_code": "api_authentication_failed",
    }
    vendor.get(f"{BASE}/customers", status=401, json=refused)
    with pytest.raises(AuthError) as caught:
        fetch("customer")
    request = vendor.calls[0].request
    assert request.headers["Authorization"] == requests.auth._basic_auth_str("live_0urK3y0fT3sts", "")
    told = f"{caught.value} {request.url} {mask('live_0urK3y0fT3sts ' + str(request.headers['Authorization']))}"
    assert "0urK3y" not in told
    assert str(request.headers["Authorization"])[6:] not in told


def test_the_site_is_the_account_and_another_one_is_refused(vendor: responses.RequestsMock) -> None:
    assert list(accounts(connect(config()), config()).read) == [OURS]
    with pytest.raises(ConfigError, match="elsewhere not among the accounts"):
        accounts(connect(config()), config(accounts=["elsewhere"]))


def test_doctor_tells_what_is_readable_and_warns_of_a_test_and_of_an_old_catalog(
    sandbox: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = probe(connect(config()), config())
    assert [finding.what for finding in found if finding.ok and not finding.warning] == [
        f"Chargebee v2, site sandbox {stream.name} is readable" for stream in SOURCE.streams
    ]
    monkeypatch.delenv("CHARGEBEE_BASE_URL")
    monkeypatch.setenv("CHARGEBEE_SITE", "oursite-test")
    with responses.RequestsMock() as mock:
        for stream in SOURCE.streams:
            row = {stream.name: {"id": "1", "plan_id": "team"}}
            mock.get(f"https://oursite-test.chargebee.com/api/v2/{stream.name}s", json={"list": [row]})
        warned = [finding.what for finding in probe(connect(config()), config()) if finding.warning]
    assert ["is a test" in warned[0], "Product Catalog 1.0" in warned[1]] == [True, True]


# -- the official SDK


def test_chargebee_s_own_client_reads_the_twin(sandbox: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its address is of a site and a domain, which together may be any."""
    import chargebee as sdk  # type: ignore[import-untyped]  # a second, in each process that collects tests

    monkeypatch.setattr(sdk.Chargebee, "verify_ca_certs", False)  # without it http is asked by https
    site, _, domain = url.removeprefix("http://").partition(".")
    client = sdk.Chargebee(tokens.PRIVATE_APP_TOKEN, site, f"{domain}/chargebee", "http")
    ours, theirs, offset = fetch("invoice"), [], None
    while True:
        more = {"offset": offset} if offset else {}
        found = client.Invoice.list(client.Invoice.ListParams(limit=100, include_deleted=True, **more))
        theirs += [entry.invoice for entry in found.list]
        if not (offset := found.next_offset):
            break
    assert sorted(each.id for each in theirs) == sorted(each["id"] for each in ours)
    assert sum(each.total for each in theirs) == sum(each["total"] for each in ours)
    with pytest.raises(sdk.InvalidRequestError):
        client.CreditNote.list(client.CreditNote.ListParams(sort_by={"ASC": "updated_at"}))
    with pytest.raises(sdk.APIError):
        sdk.Chargebee("wrong", site, f"{domain}/chargebee", "http").Customer.list()
