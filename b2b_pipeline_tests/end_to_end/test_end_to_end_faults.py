"""What goes wrong at a vendor is either got over, or told and without effect: nothing half-read ever lands."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from b2b_pipeline.connectors.http import Session
from b2b_pipeline.connectors.registry import SOURCES
from b2b_pipeline.landing.ingest import IngestReport, ingest
from b2b_pipeline.pipeline import Pipeline
from b2b_pipeline_tests.support.end_to_end import START, UNTIL, at_once, inside, installation, nightly
from b2b_pipeline_tests.support.installation import CREDENTIALS, Installation
from b2b_sandbox.faults import add_fault, list_faults
from b2b_sandbox.server import VENDORS, running
from b2b_sandbox.world import World

SMALL_PAGES: dict[str, dict[str, Any]] = {"google_ads": {"page_size": 50}, "salesforce": {"page_size": 50}}
GOOGLE, SALESFORCE = ("google_ads", "campaign_daily"), ("salesforce", "lead_history")
CONTACTS, EVENTS, ECB = ("hubspot", "contact"), ("hubspot", "email_event"), ("ecb", "exchange_rate")

EVERYWHERE: list[tuple[str, dict[str, Any]]] = [
    ("throttle", {"retry_after": 1}), ("server_error", {"status": 500}), ("html_page", {}),
    ("add_field", {"field": "brand_new"}),
]  # fmt: skip
GOT_OVER: list[tuple[tuple[str, str], str, dict[str, Any]]] = [
    *((stream, *fault) for stream in (GOOGLE, CONTACTS, EVENTS, SALESFORCE) for fault in EVERYWHERE),
    (GOOGLE, "server_error", {"status": 503}), (ECB, "server_error", {}), (ECB, "html_page", {}),
    (GOOGLE, "error_in_200", {}), (SALESFORCE, "error_in_200", {}),
    (GOOGLE, "cut_body", {}), (SALESFORCE, "cut_body", {}),
    (GOOGLE, "expire_token", {}), (SALESFORCE, "expire_token", {}),
    (GOOGLE, "expire_cursor", {}), (SALESFORCE, "expire_cursor", {}),
]  # fmt: skip
TOLD = [
    (GOOGLE, "throttle", {"daily": True}, "wait until"), (CONTACTS, "throttle", {"daily": True}, "wait until"),
    (SALESFORCE, "throttle", {"daily": True}, "wait until"),
    (GOOGLE, "repeat_cursor", {}, "cursor repeats"), (EVENTS, "repeat_cursor", {}, "cursor repeats"),
    (SALESFORCE, "repeat_cursor", {}, "cursor repeats"),
    (GOOGLE, "total_mismatch", {}, "rows announced"), (CONTACTS, "total_mismatch", {}, "fewer records than its total"),
    (SALESFORCE, "total_mismatch", {}, "announced"),
    (CONTACTS, "error_in_200", {}, "status 200 without 'results'"), (CONTACTS, "cut_body", {}, "body is not JSON"),
    (EVENTS, "error_in_200", {}, "status 200 without 'events'"), (EVENTS, "cut_body", {}, "body is not JSON"),
    (CONTACTS, "expire_token", {}, "token"), (ECB, "cut_body", {}, "cut off|not CSV"),
    (CONTACTS, "drop_field", {"field": "id"}, r"not of the documented shape \(KeyError 'id'\)"),
    (ECB, "drop_field", {"field": "OBS_VALUE"}, "OBS_VALUE"),
    (SALESFORCE, "drop_field", {"field": "NewValue"}, "NewValue not in the answer"),
]  # fmt: skip


@pytest.fixture(autouse=True)
def without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Session.__init__.__kwdefaults__, "sleep", lambda seconds: None)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[tuple[Installation, Pipeline]]:
    """A new installation over the world of all nights, with small pages and no real waits."""
    shutil.copy(nightly()[0].world.path, tmp_path / "world.sqlite")
    found = installation(tmp_path, World(tmp_path / "world.sqlite"))
    with inside(found) as pipeline, small_pages(found):
        yield found, pipeline


@contextmanager
def small_pages(found: Installation) -> Iterator[None]:
    with running(found.world, **SMALL_PAGES) as url, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        for vendor in VENDORS:
            patch.setenv(f"{vendor.upper()}_BASE_URL", f"{url}/{vendor}")
        yield


def read(pipeline: Pipeline, source: str, stream: str) -> IngestReport:
    """All days of one stream."""
    vendor = SOURCES[source]
    client = vendor.connect(pipeline.config)
    return ingest(
        vendor, vendor.stream(stream), client, vendor.accounts(client, pipeline.config), START,
        UNTIL + timedelta(days=1), config=pipeline.config, landing=pipeline.landing, run_id="fault",
    )  # fmt: skip


def path_of(stream: tuple[str, str], kind: str) -> str:
    """What only the requests for a stream's rows hold."""
    if stream == SALESFORCE and kind in ("repeat_cursor", "expire_cursor", "total_mismatch"):
        return "/query"  # a following page's request holds no SOQL
    return {
        GOOGLE: "FROM campaign WHERE", SALESFORCE: "FROM LeadHistory WHERE", CONTACTS: "/contacts/search",
        EVENTS: "/email/public/v1/events", ECB: "/EXR/",
    }[stream]  # fmt: skip


def days(report: IngestReport) -> dict[str, Any]:
    assert not report.failed
    return {f"{item.account['id']} {day}": rows for item in report.slices for day, rows in item.days.items()}


@pytest.mark.parametrize(("stream", "kind", "options"), GOT_OVER, ids=str)
def test_a_passing_fault_is_got_over_with_the_same_records(
    stream: tuple[str, str], kind: str, options: dict[str, Any], new: tuple[Installation, Pipeline]
) -> None:
    found, pipeline = new
    add_fault(found.world, stream[0], kind, path_contains=path_of(stream, kind), **options)
    report = read(pipeline, *stream)
    assert not list_faults(found.world), "the fault was never shown"
    with inside(at_once()) as reference:
        slices = reference.landing.slices(*stream)
    expected = {f"{item.account['id']} {day}": rows for item in slices for day, rows in item.days.items()}
    if kind == "add_field":  # it lands as received, and changes nothing else
        assert {day: rows for day, (rows, _) in days(report).items()} == {
            day: rows for day, (rows, _) in expected.items()
        }
    else:
        assert days(report) == expected


@pytest.mark.parametrize(("stream", "kind", "options", "message"), TOLD, ids=str)
def test_a_lasting_fault_is_told_and_lands_nothing(
    stream: tuple[str, str], kind: str, options: dict[str, Any], message: str, new: tuple[Installation, Pipeline]
) -> None:
    found, pipeline = new
    times = 100 if kind == "total_mismatch" else 1  # the last page's total is the one that counts
    add_fault(found.world, stream[0], kind, path_contains=path_of(stream, kind), count=times, **options)
    report = read(pipeline, *stream)
    assert all(fault.remaining < times for fault in list_faults(found.world)), "the fault was never shown"
    assert report.failed
    assert all(re.search(message, str(error)) for error in report.failed.values())
    # Of a window that was cut into parts, those before the fault are there, each of them whole.
    assert pipeline.landing.slices(*stream) == sorted(report.slices, key=lambda item: item.slice_id)
    files = {path.name.split(".")[0] for path in (pipeline.landing.root / "raw").rglob("*") if path.is_file()}
    assert files == {item.slice_id for item in report.slices}
