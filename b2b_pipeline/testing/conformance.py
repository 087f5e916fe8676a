"""What every source must do, whatever its vendor: a class of tests that a source's own tests inherit.

    class TestAcme(Conformance):
        source, window = SOURCES["acme"], (date(2026, 1, 1), date(2026, 1, 15))

Its client asks whatever `<SOURCE>_BASE_URL` names: a twin of the vendor, with records in the window. What the vendor
says of its fields is in the source's contract.yaml (`testing/contract.py`).
"""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from tempfile import gettempdir
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

import pandas as pd
import requests
from sqlalchemy import Date, DateTime

from b2b_pipeline.configuration.config import Config
from b2b_pipeline.connectors.base import OF_NOW, Account, MappingContext, Record, Source, Stream, Window
from b2b_pipeline.connectors.http import Fatal, Ok, Outcome, Reauth, Skip, Stop, Wait
from b2b_pipeline.core.flatten import flattened
from b2b_pipeline.privacy import Pseudonyms
from b2b_pipeline.testing.contract import StreamContract, contract_of
from b2b_pipeline.warehouse.contract import enforce
from b2b_pipeline.warehouse.tables import CORE, metadata

LONG = {"Retry-After": "7200"}  # longer than a process waits
HERE, ELSEWHERE = "UTC", ("America/New_York", "Asia/Tokyo")  # a day begins later, and earlier
FAR_OFF = (date(2002, 3, 4), date(2071, 8, 9))  # days that no record has
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
            self._holds(stream, self._landed(stream))

    def test_no_record_and_a_record_that_says_nothing_break_no_mapping(self) -> None:
        """But for a KeyError with the field without which there is no record: its slice is refused by that name."""
        for stream in self._streams():
            (*_, last) = self.records(stream)
            identified: Record = {name: last[name] for name in ("id", "Id", "properties") if name in last}
            found: list[list[Record]] = [[], [{}], [identified]]
            context = self._context(stream)
            for records in found:
                for table, mapping in stream.feeds.items():
                    with suppress(KeyError):
                        enforce(metadata.tables[table], mapping(flattened(records), context))

    # -- what the vendor says of its fields

    def test_its_contract_says_where_it_is_from_and_has_every_stream(self) -> None:
        """A sweep is left out: its records are ours. A stream that is not there any more is not in it."""
        assert contract_of(self.source).streams.keys() == {s.name for s in self.source.streams if s.kind != "sweep"}

    def test_it_asks_for_no_field_that_the_vendor_does_not_have(self) -> None:
        """But for those that the configuration names, which `probe` judges."""
        named = set(self.config().sources[self.source.name].fields.values())
        for stream, contract in self._contracts():
            asked = {path for path in stream.asks(self.config()) if not named & {path, path.rpartition(".")[2]}}
            assert not (missing := asked - contract.types.keys()), f"{stream.name} asks for {missing}"

    def test_the_twin_answers_with_fields_and_types_of_the_vendor(self) -> None:
        for stream, contract in self._contracts():
            found = {complaint for record in self.records(stream) for complaint in contract.complaints(record)}
            assert not found, f"{stream.name}: {'; '.join(sorted(found))}"

    def test_an_account_with_nothing_but_what_every_account_has_is_read(self) -> None:
        for stream, contract in self._contracts():
            landed = self._landed(stream)
            self._holds(stream, landed.drop(columns=list(contract.not_by_default), errors="ignore"))

    def test_a_date_is_that_day_in_every_time_zone(self) -> None:
        """A column that takes a `date` of the vendor over has it wherever we report; an instant made of it is on it.

        Dates inside lists are not tried.
        """
        for stream, contract in self._contracts():
            dates = [path for path, kind in contract.types.items() if kind == "date"]
            if not dates or not stream.feeds:
                continue
            landed, contexts = self._landed(stream), [self._context(stream, zone) for zone in (HERE, *ELSEWHERE)]
            for path, day in ((path, day) for path in dates if path in landed for day in FAR_OFF):
                is_given = landed[path].notna() & landed[path].ne("")
                moved = landed.assign(**{path: landed[path].mask(is_given, day.isoformat())})
                for table, mapping in stream.feeds.items():
                    here, *elsewhere = (_days(table, mapping(moved, its), its.config.zone) for its in contexts)
                    for zone, there in zip(ELSEWHERE, elsewhere, strict=True):
                        shifted = [name for name in here if ((here[name] == day) & (there[name] != day)).any()]
                        assert not shifted, f"{stream.name} -> {table}: {path} is another day in {zone}: {shifted}"

    # -- asking

    def _contracts(self) -> list[tuple[Stream, StreamContract]]:
        contracts = contract_of(self.source).streams
        return [(stream, contracts[stream.name]) for stream in self._streams() if stream.kind != "sweep"]

    def _landed(self, stream: Stream) -> pd.DataFrame:
        """All that a stream has in the window, as mappings get it."""
        names = Pseudonyms(b"k" * 32, _nowhere())
        return flattened([names.apply(json.loads(_text(each)), stream.personal) for each in self.records(stream)])

    def _holds(self, stream: Stream, landed: pd.DataFrame) -> None:
        context = self._context(stream)
        for table, mapping in stream.feeds.items():
            rows = mapping(landed, context)
            missing = {column.name for column in metadata.tables[table].c} - {*rows.columns} - WRITTEN_BY_US
            assert not missing, f"{stream.name} -> {table}: columns that the mapping leaves out: {missing}"
            found = enforce(metadata.tables[table], rows)
            assert found.rejects.empty, f"{stream.name} -> {table}: {found.rejects['reason'].iloc[0]}"

    def config(self, timezone: str = HERE) -> Config:
        start = self.window[0] - timedelta(days=1)
        given = {"start_date": start, "timezone": timezone, "system_of_record": "files"}
        return Config.model_validate({**given, "sources": {self.source.name: self.settings}})

    def _streams(self) -> list[Stream]:
        return self.source.switched_on(self.config())

    def _context(self, stream: Stream, timezone: str = HERE) -> MappingContext:
        return MappingContext(self.config(timezone), self.source.name, stream.name, self._account)

    @cached_property
    def _account(self) -> Account:
        return self.source.accounts(self.source.connect(self.config()), self.config()).read[0]

    def records(self, stream: Stream) -> list[Record]:
        """All that a stream has in the window."""
        return self._read(stream, *self.window)

    def _read(self, stream: Stream, start: date, end: date) -> list[Record]:
        """Read once for all tests of a class, which leave the records as they are."""
        asked = type(self), stream.name, start, end
        if asked not in _held:
            _held[asked] = self._asked(stream, start, end)
        return _held[asked]

    def _asked(self, stream: Stream, start: date, end: date) -> list[Record]:
        client = self.source.connect(self.config())
        account = self.source.accounts(client, self.config()).read[0]
        window = Window.of_days(start, end, self.config().zone)
        return [record for page in stream.fetch(client, account, window) for record in page.records]

    def _means(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> Outcome:
        response = requests.Response()
        response.status_code, response._content, response.url = status, body, "https://vendor.example/api"
        response.headers.update({"Content-Type": "application/json", **(headers or {})})
        return self.source.classify(response)


_held: dict[tuple[Any, ...], list[Record]] = {}
WRITTEN_BY_US = {
    "dimensions", "slice_id", "loaded_at", "run_id", "amount_reporting", "spend_reporting", "conv_value_reporting",
    "mrr_reporting", "fx_date",
}  # fmt: skip


def _days(table: str, rows: pd.DataFrame, zone: ZoneInfo) -> pd.DataFrame:
    """The days of a table's dates, and those in `zone` of its instants."""
    found = {}
    for column in metadata.tables[table].c:
        if isinstance(column.type, Date | DateTime) and column.name in rows:
            stamps = pd.to_datetime(rows[column.name], utc=True, errors="coerce", format="ISO8601")
            found[column.name] = (stamps.dt.tz_convert(zone) if isinstance(column.type, DateTime) else stamps).dt.date
    return pd.DataFrame(found).reset_index(drop=True)


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
