"""What every source must do, whatever its vendor: a class of tests that a source's own tests inherit.

    class TestAcme(Conformance):
        source, window = SOURCES["acme"], (date(2026, 1, 1), date(2026, 1, 15))

Its client asks whatever `<SOURCE>_BASE_URL` names: a twin of the vendor, with records in the window.
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date, timedelta
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar

import requests

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import OF_NOW, Account, MappingContext, Record, Source, Stream, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import CORE, metadata

LONG = {"Retry-After": "7200"}  # longer than a process waits
HTML, NOTHING, HALF = b"<html>maintenance</html>", b"", b'{"results": [{"id": 1'


class Conformance:
    """One method per promise. A source that has more to say of its configuration overrides `settings`."""

    source: ClassVar[Source]
    window: ClassVar[tuple[date, date]]  # half-open, two days at least
    settings: ClassVar[dict[str, Any]] = {}

    # -- what it says of itself

    def test_it_has_a_name_a_title_and_streams_that_feed_core_tables(self) -> None:
        source, core = self.source, {table.name for table in CORE}
        assert source.name.isidentifier()
        assert source.title
        assert len({stream.name for stream in source.streams}) == len(source.streams) > 0
        assert {table for stream in source.streams for table in stream.feeds} <= core
        for stream in source.streams:
            assert stream.description.endswith("."), stream.name
            assert stream.day or stream.kind in OF_NOW, f"{stream.name}: which field dates a record?"
            assert stream.kind != "collection", f"{stream.name}: files alone are one"

    def test_it_says_of_each_credential_where_it_comes_from_and_asks_for_no_other(self) -> None:
        prefix = self.source.name.upper()
        assert self.source.optional <= self.source.environment.keys()
        for name, where in self.source.environment.items():
            assert name.startswith(prefix), name
            assert where, name

    # -- what answers mean

    def test_an_answer_that_is_none_is_not_taken_for_one(self) -> None:
        for body in (HTML, NOTHING, HALF):
            assert not isinstance(self._means(503, body), Ok)
        assert not isinstance(self._means(200, HTML, {"Content-Type": "text/html"}), Ok)

    def test_throttling_is_waited_for_and_a_long_wait_is_left_to_the_orchestrator(self) -> None:
        assert isinstance(self._means(429, b"{}", {"Retry-After": "5"}), Wait | Stop)
        assert isinstance(self._means(429, b"{}", LONG), Stop), "the process would sleep for hours"

    def test_a_vendor_in_trouble_is_asked_again_and_no_credential_is_blamed(self) -> None:
        for status in (500, 502, 503, 504):
            for body in (HTML, NOTHING, b"{}"):
                assert isinstance(self._means(status, body), Wait | Stop), (status, body)

    def test_what_is_refused_stays_refused(self) -> None:
        for status in (400, 403, 404):
            for body in (HTML, NOTHING, b"{}", b"[]", b'"no"', b"null"):
                outcome = self._means(status, body)
                assert isinstance(outcome, Fatal | Skip | Reauth), (status, body, outcome)
        if self.source.environment:
            refused = self._means(401, b"{}")
            assert isinstance(refused, Reauth) or (isinstance(refused, Fatal) and refused.auth)

    # -- what it reads

    def test_two_windows_that_meet_hold_what_one_over_both_does(self) -> None:
        start, end = self.window
        middle = start + (end - start) // 2
        for stream in self._streams():
            if stream.kind not in OF_NOW:
                whole = self._read(stream, start, end)
                halves = [*self._read(stream, start, middle), *self._read(stream, middle, end)]
                assert sorted(map(_text, halves)) == sorted(map(_text, whole)), stream.name

    def test_every_record_says_its_day_and_there_are_some(self) -> None:
        for stream in self._streams():
            records = self.records(stream)
            assert records, f"{stream.name}: the twin has nothing in the window"
            for record in records if stream.day else ():
                value: Any = record
                for part in stream.day.split("."):
                    value = value[part]
                assert value not in (None, ""), f"{stream.name}: a record without {stream.day}"

    def test_no_address_is_left_in_what_is_kept(self) -> None:
        for stream in self._streams():
            names = Pseudonyms(b"k" * 32, _nowhere())
            for record in self.records(stream):
                kept = names.apply(json.loads(_text(record)), stream.personal)
                clear = [word for word in _words(kept) if "@" in word and "h1:" not in word]
                assert not clear, f"{stream.name}: a field that is not among `personal` has an address"

    # -- what becomes of it

    def test_every_record_becomes_rows_that_its_core_table_takes(self) -> None:
        for stream in self._streams():
            names = Pseudonyms(b"k" * 32, _nowhere())
            records = [names.apply(json.loads(_text(record)), stream.personal) for record in self.records(stream)]
            for table, mapping in stream.feeds.items():
                rows = mapping(flattened(records), self._context(stream))
                missing = {column.name for column in metadata.tables[table].c} - {*rows.columns} - WRITTEN_BY_US
                assert not missing, f"{stream.name} -> {table}: columns that the mapping leaves out: {missing}"
                found = enforce(metadata.tables[table], rows)
                assert found.rejects.empty, f"{stream.name} -> {table}: {found.rejects['reason'].iloc[0]}"

    def test_no_record_and_a_record_that_says_nothing_break_no_mapping(self) -> None:
        """But for a KeyError with the field without which there is no record: its slice is refused by that name."""
        for stream in self._streams():
            (*_, last) = self.records(stream)
            identified: Record = {name: last[name] for name in ("id", "Id", "properties") if name in last}
            found: list[list[Record]] = [[], [{}], [identified]]
            for records in found:
                for table, mapping in stream.feeds.items():
                    with suppress(KeyError):
                        enforce(metadata.tables[table], mapping(flattened(records), self._context(stream)))

    # -- asking

    def config(self) -> Config:
        start = self.window[0] - timedelta(days=1)
        sources = {self.source.name: self.settings}
        return Config.model_validate({"start_date": start, "system_of_record": "files", "sources": sources})

    def _streams(self) -> list[Stream]:
        return self.source.switched_on(self.config())

    def _context(self, stream: Stream) -> MappingContext:
        return MappingContext(self.config(), self.source.name, stream.name, self._account())

    def _account(self) -> Account:
        return self.source.accounts(self.source.connect(self.config()), self.config()).read[0]

    def records(self, stream: Stream) -> list[Record]:
        """All that a stream has in the window."""
        return self._read(stream, *self.window)

    def _read(self, stream: Stream, start: date, end: date) -> list[Record]:
        account = self._account()
        client = self.source.connect(self.config())
        self.source.accounts(client, self.config())
        window = Window.of_days(start, end, self.config().zone)
        return [record for page in stream.fetch(client, account, window) for record in page.records]

    def _means(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> Outcome:
        response = requests.Response()
        response.status_code, response._content, response.url = status, body, "https://vendor.example/api"
        response.headers.update({"Content-Type": "application/json", **(headers or {})})
        return self.source.classify(response)


WRITTEN_BY_US = {
    "dimensions", "slice_id", "loaded_at", "run_id", "amount_reporting", "spend_reporting", "conv_value_reporting",
    "fx_date",
}  # fmt: skip


def _text(record: Record) -> str:
    return json.dumps(record, sort_keys=True, default=str)


def _words(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [word for item in value.values() for word in _words(item)]
    if isinstance(value, list):
        return [word for item in value for word in _words(item)]
    return [value] if isinstance(value, str) else []


def _nowhere() -> Path:
    return Path(gettempdir()) / "b2b-conformance" / "nobody-is-forgotten.json"
